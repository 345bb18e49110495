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

    label_size: int = Field(256, ge=1)  # k, width of label embeddings; paper (AAPD)
    encoder_size: int = Field(256, ge=1)  # width per direction; paper; program: 512
    encoder_layers: int = Field(2, ge=1)  # paper; program: 3
    decoder_layers: int = Field(2, ge=1)  # program of 2018: as many as in the encoder
    cell: Literal["lstm", "gru"] = "lstm"  # of encoder and decoder; paper: LSTM
    dropout: float = Field(0.5, ge=0, lt=1)  # between recurrent layers; program of 2018
    attention_dropout: float = Field(0.5, ge=0, lt=1)  # of what is attended; program of 2018
    beam: int = Field(5, ge=1)  # hypotheses kept in decoding; paper; 1 is greedy
    max_steps: int | None = Field(None, ge=1)  # of decoding; None: all labels and the end; ours
    exact_limit: int = Field(2000, ge=1)  # ordered subsets scored at most, else the beam's; ours
    least_prefix: float = Field(1e-5, ge=0, lt=1)  # probability worth continuing in scoring; ours

    global_embedding: Literal["mixed", "beside", "off"] = "mixed"  # input is mix, or label and mix
    temperature: float = Field(1.0, gt=0)  # tau, of the average embedding; not in the paper
    gate: Literal["sigmoid", "linear"] = "sigmoid"  # H; the paper's is linear, without biases
    directions: Literal["concatenated", "summed"] = "concatenated"  # of the encoder
    reversed_text: bool = False  # the program reads each text from its end
    attention: Literal["multiplicative", "additive", "selu"] = "multiplicative"  # paper: additive
    attend_to_padding: bool = False  # the program's attention has no mask
    feed_context: bool = False  # the paper feeds c_{t-1} to the decoder; no program does
    mask_training: bool = False  # I_t in training too, as printed; no program does
    special_outputs: bool = False  # the program also predicts padding, unknown and beginning
    search: Literal["masked", "program"] = "masked"  # program: a beam > 1 repeats labels
    length_norm: bool = False  # rank hypotheses by log probability per token

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
