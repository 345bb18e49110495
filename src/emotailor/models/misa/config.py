"""Settings of MISA (ACM MM 2020), and its two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config, check_multiple

Activation = Literal[
    "elu", "hardshrink", "hardtanh", "leaky_relu", "prelu", "relu", "rrelu", "tanh"
]


class MISAConfig(Config):
    """MISA (ACM MM 2020). Defaults follow the paper; see :meth:`authors` for the program's.

    Fields from ``decoder`` on are the places where the program departs from the paper; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(128, ge=1)  # d_h, width of u_m, h_m^c and h_m^p; program
    heads: int = Field(2, ge=1)  # attention heads of the fusion Transformer; program
    feedforward_size: int = Field(2048, ge=1)  # inner width of the fusion Transformer; program
    cell: Literal["lstm", "gru"] = "lstm"  # recurrent cell of the encoders; paper
    activation: Activation = "relu"  # activation of u_m, head and discriminator; program
    dropout: float = Field(0.5, ge=0, lt=1)  # dropout in the head and the discriminator; program
    fusion_dropout: float = Field(0.1, ge=0, lt=1)  # dropout in the fusion Transformer; program
    layer_norm_eps: float = Field(1e-5, gt=0)  # epsilon of all layer normalisation; program

    # L_sim; adversarial: a modality discriminator behind gradient reversal; paper; adversarial is
    # the program's option
    similarity: Literal["cmd", "adversarial"] = "cmd"
    moments: int = Field(5, ge=1)  # K of CMD; paper
    # factor of the reversed gradient, with similarity = adversarial; program
    reversal_weight: float = Field(1.0, gt=0)
    similarity_weight: float = Field(1.0, ge=0)  # alpha, weight of L_sim; program
    difference_weight: float = Field(0.3, ge=0)  # beta, weight of L_diff; program
    reconstruction_weight: float = Field(1.0, ge=0)  # gamma, weight of L_recon; program

    # one decoder D, or one for each modality; paper; program: per_modality
    decoder: Literal["shared", "per_modality"] = "shared"
    # G: one projection, or with a hidden layer of half the width; paper; program: mlp
    head: Literal["linear", "mlp"] = "linear"
    # whether no gradient goes through the row norms in the difference loss; paper: no; program: yes
    detach_norms: bool = False
    # visual and audio to mean 0 and deviation 1 within each utterance; ours: no; program: yes
    utterance_norm: bool = False

    @model_validator(mode="after")
    def _check(self) -> "MISAConfig":
        check_multiple(self, "hidden_size", "heads")
        return self

    @classmethod
    def tuned(cls) -> "MISAConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(
            feedforward_size=256,
            dropout=0.2,
            similarity_weight=0.1,
            difference_weight=0.03,
            reconstruction_weight=0.1,
        )

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
