"""Settings of HHMPN (AAAI 2021)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class HHMPNConfig(Config):
    """HHMPN (AAAI 2021). Sizes are the authors' program's, the structure is the method described.

    Fields from ``label_to_label`` on are places where the authors' program departs from the method;
    in ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(512, ge=2)  # d; the program's
    encoder_heads: int = Field(4, ge=1)  # of all encoder attention; the program's
    encoder_layers: int = Field(6, ge=1)  # of each cross-modal Transformer; the program's
    memory_layers: int = Field(6, ge=1)  # of each memory; the program: max(encoder_layers, 3)
    decoder_layers: int = Field(3, ge=1)  # rounds of messages to the labels; the program's
    decoder_heads: int = Field(8, ge=1)  # of all label attention; the program's
    feedforward_size: int = Field(512, ge=1)  # inner width of the labels' updates; the program's
    score_size: int = Field(32, ge=1)  # inner width of the modality score; the program's
    graph_threshold: float = Field(0.2, ge=0, le=1)  # co-occurrence that is an edge; the program's

    dropout: float = Field(0.2, ge=0, lt=1)  # everywhere in the decoder; the program's
    embedding_dropout: float = Field(0.25, ge=0, lt=1)  # of the encoder; the program's
    attention_dropout: float = Field(0.1, ge=0, lt=1)  # text as source, text memory; the program's
    attention_dropout_visual: float = Field(0.0, ge=0, lt=1)  # the same, visual; the program's
    attention_dropout_audio: float = Field(0.0, ge=0, lt=1)  # the same, audio; the program's
    relu_dropout: float = Field(0.1, ge=0, lt=1)  # inside the encoder's feed-forward; the program's
    residual_dropout: float = Field(0.1, ge=0, lt=1)  # on what its parts add; the program's

    label_to_label: bool = True  # messages between labels; the program leaves them out
    modality_softmax: Literal["modalities", "labels"] = "modalities"  # the program: labels
    share_embedding: bool = True  # label embeddings are output vectors; the program keeps two
    crossed: bool = False  # the program's text labels read the visual stream, and the reverse
    future_mask: bool = False  # the program's encoder is causal
    attend_to_padding: bool = False  # the program's encoder has no key masks

    @model_validator(mode="after")
    def _check(self) -> "HHMPNConfig":
        for name in ("encoder_heads", "decoder_heads"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(
                    f"hidden_size {self.hidden_size} must be a multiple of {name} "
                    f"{getattr(self, name)}"
                )
        return self

    @classmethod
    def paper(cls) -> "HHMPNConfig":
        """The method as it is described, with the program's sizes."""
        return cls()

    @classmethod
    def authors(cls) -> "HHMPNConfig":
        """The model as the authors' program computes it."""
        return cls(
            label_to_label=False,
            modality_softmax="labels",
            share_embedding=False,
            crossed=True,
            future_mask=True,
            attend_to_padding=True,
        )


_RECIPE = {
    "epochs": 50,
    "batch_size": 8,
    "accumulate": 8,
    "learning_rate": 1e-5,
    "clip_norm": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "patience": 5,
    "threshold": 0.5,
}
RECIPES: Mapping[Any, Mapping[str, Any]] = {"paper": _RECIPE, "authors": _RECIPE}
"""The shipped command; patience is ours. Its second moment decays by 0.98, here by 0.999."""
