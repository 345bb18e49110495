"""Settings of MISA (ACM MM 2020), and its two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config

Activation = Literal[
    "elu", "hardshrink", "hardtanh", "leaky_relu", "prelu", "relu", "rrelu", "tanh"
]


class MISAConfig(Config):
    """MISA (ACM MM 2020). Defaults follow the paper; see :meth:`authors` for the program's.

    Fields from ``decoder`` on are the places where the program departs from the paper; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(128, ge=1)  # d_h, width of u_m, h_m^c, h_m^p; the program's
    heads: int = Field(2, ge=1)  # of the fusion Transformer; the program's
    feedforward_size: int = Field(2048, ge=1)  # inner width of the fusion Transformer; program
    cell: Literal["lstm", "gru"] = "lstm"  # sLSTM of the paper
    activation: Activation = "relu"  # of u_m, head and discriminator; the program's
    dropout: float = Field(0.5, ge=0, lt=1)  # head, discriminator; the program's
    fusion_dropout: float = Field(0.1, ge=0, lt=1)  # of the fusion Transformer; the program's
    layer_norm_eps: float = Field(1e-5, gt=0)  # the program's

    similarity: Literal["cmd", "adversarial"] = "cmd"  # paper; adversarial: the program's option
    moments: int = Field(5, ge=1)  # K of CMD; paper
    reversal_weight: float = Field(1.0, gt=0)  # of the reversed gradient, adversarial; program
    similarity_weight: float = Field(1.0, ge=0)  # alpha; the program's
    difference_weight: float = Field(0.3, ge=0)  # beta; the program's
    reconstruction_weight: float = Field(1.0, ge=0)  # gamma; the program's

    decoder: Literal["shared", "per_modality"] = "shared"  # the paper has one decoder D
    head: Literal["linear", "mlp"] = "linear"  # the paper's G; the program has a hidden layer
    detach_norms: bool = False  # program: no gradient through the norms in the difference loss
    utterance_norm: bool = False  # program: z-normalises visual and audio in each utterance

    @model_validator(mode="after")
    def _check(self) -> "MISAConfig":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}"
            )
        return self

    @classmethod
    def paper(cls) -> "MISAConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "MISAConfig":
        """The model as the authors' program computes it."""
        return cls(decoder="per_modality", head="mlp", detach_norms=True, utterance_norm=True)


_PROGRAM: Mapping[str, Any] = {
    "epochs": 500,
    "patience": 6,
    "batch_size": 16,
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup": 0.0,
    "clip_norm": 1.0,  # there every entry is clipped to [-1, 1]; a norm of 1 keeps all within
    "threshold": 0.5,
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {"paper": _PROGRAM, "authors": _PROGRAM}
"""The program's for MOSEI; the paper's own table was not at hand."""
