"""Settings of SGM (COLING 2018)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class SGMConfig(Config):
    """SGM (COLING 2018). Defaults are the 2018 form; :meth:`authors` is the program of today.

    "Program" is the rewrite of January 2020, "program of 2018" the code of the paper's time. Fields
    from ``global_embedding`` on are the places where they or the printed equations differ; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    label_size: int = Field(256, ge=1)  # k, width of label embeddings; paper † (AAPD); program: 512
    # width of each direction of the encoder; paper †; program: 512
    encoder_size: int = Field(256, ge=1)
    encoder_layers: int = Field(2, ge=1)  # layers of the encoder; paper †; program: 3
    # layers of the decoder; program of 2018: as many as in the encoder
    decoder_layers: int = Field(2, ge=1)
    cell: Literal["lstm", "gru"] = "lstm"  # recurrent cell of encoder and decoder; paper †: LSTM
    dropout: float = Field(0.5, ge=0, lt=1)  # dropout between recurrent layers; program of 2018
    # dropout after the attention; with selu also before it and on scores; program of 2018
    attention_dropout: float = Field(0.5, ge=0, lt=1)
    beam: int = Field(5, ge=1)  # hypotheses kept in decoding; 1 is greedy; paper †
    # most steps of decoding; none: all labels and the end; ours
    max_steps: int | None = Field(None, ge=1)
    # ordered subsets of the labels that are scored one by one; ours
    exact_limit: int = Field(2000, ge=1)
    # prefixes less probable count as if they ended; 0: exact; ours
    least_prefix: float = Field(1e-5, ge=0, lt=1)

    # input of the decoder: the mix; beside: label and mix; off: the label; paper; program: beside
    global_embedding: Literal["mixed", "beside", "off"] = "mixed"
    temperature: float = Field(1.0, gt=0)  # tau of the distribution that averages; program: 0.1
    # H; linear: the paper's, without biases; program
    gate: Literal["sigmoid", "linear"] = "sigmoid"
    # how the encoder's two directions are put together; program: summed
    directions: Literal["concatenated", "summed"] = "concatenated"
    reversed_text: bool = False  # whether a text is read from its end; program: yes
    # kind of attention; additive: the paper's; program of 2018; program: selu
    attention: Literal["multiplicative", "additive", "selu"] = "multiplicative"
    # attention without a mask, so that a result depends on its batch; program: yes
    attend_to_padding: bool = False
    # whether the previous context enters the decoder, as in the paper; no program does it
    feed_context: bool = False
    # whether written labels are masked in the loss too, as in the paper; no program does it
    mask_training: bool = False
    # whether begin, padding and unknown tokens can be predicted; program: yes
    special_outputs: bool = False
    # how beams above 1 are searched; program: labels may repeat
    search: Literal["masked", "program"] = "masked"
    # whether hypotheses are ranked by log-probability per token; program: yes
    length_norm: bool = False

    @model_validator(mode="after")
    def _check(self) -> "SGMConfig":
        if self.decoder_layers > self.encoder_layers:
            raise ValueError(
                f"decoder_layers {self.decoder_layers} start from the encoder's, so at most "
                f"encoder_layers = {self.encoder_layers}"
            )
        return self

    @property
    def decoder_size(self) -> int:
        """Width of the encoder's states and of the decoder."""
        return self.encoder_size * (2 if self.directions == "concatenated" else 1)

    @classmethod
    def tuned(cls) -> "SGMConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(
            label_size=64,
            encoder_size=64,
            encoder_layers=1,
            decoder_layers=1,
            dropout=0.2,
            attention_dropout=0.2,
        )

    @classmethod
    def paper(cls) -> "SGMConfig":
        """The form of 2018, masked and searched as the paper describes it."""
        return cls()

    @classmethod
    def authors(cls) -> "SGMConfig":
        """The authors' program as it stands, with global embedding, hence greedy."""
        return cls(
            label_size=512,
            encoder_size=512,
            encoder_layers=3,
            decoder_layers=3,
            dropout=0.1,
            attention_dropout=0.1,
            beam=1,  # its file's, and all that it can do with global embedding
            max_steps=30,
            global_embedding="beside",  # off in its file, on in its published checkpoint
            temperature=0.1,
            directions="summed",
            reversed_text=True,
            attention="selu",
            attend_to_padding=True,
            special_outputs=True,
            search="program",
            length_norm=True,
        )


RECIPES: Mapping[Any, Mapping[str, Any]] = {
    # rate: paper; the rest: program of 2018, whose cosine decay is linear here; patience: ours
    "paper": {
        "epochs": 50,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "schedule": "linear",
        "warmup": 0.0,
        "clip_norm": 10.0,
        "patience": 5,
        "threshold": 0.5,
    },
    # program, which halves the rate after every epoch from the second on; linear here
    "authors": {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 3e-4,
        "schedule": "linear",
        "warmup": 0.0,
        "clip_norm": 10.0,
        "threshold": 0.5,
    },
}
