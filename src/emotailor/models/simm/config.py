"""Settings of SIMM (IJCAI 2019), and its two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from emotailor.config import Config


class SIMMConfig(Config):
    """SIMM (IJCAI 2019). Defaults follow the paper; see :meth:`authors` for the program's.

    ``adversary`` and ``orthogonality`` are the places where the program departs from the paper; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(64, ge=1)  # d, width of s^v and c^v; program
    adversarial_weight: float = Field(0.5, ge=0)  # weight of L_adv; program
    shared_weight: float = Field(0.5, ge=0)  # weight of L_sml; program
    orthogonality_weight: float = Field(0.01, ge=0)  # weight of L_specific; program

    # reversal: the discriminator learns to be right; joint: it minimises L_adv too; paper; program:
    # joint
    adversary: Literal["reversal", "joint"] = "reversal"
    # squared: (s^v c)^2 of each sample; absolute: its absolute value; all_pairs: squares over all
    # pairs of samples of the batch; paper; program: all_pairs
    orthogonality: Literal["squared", "absolute", "all_pairs"] = "squared"

    @classmethod
    def tuned(cls) -> "SIMMConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(hidden_size=128, adversarial_weight=0.1)

    @classmethod
    def paper(cls) -> "SIMMConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "SIMMConfig":
        """The model as the authors' program computes it."""
        return cls(adversary="joint", orthogonality="all_pairs")


_PROGRAM: Mapping[str, Any] = {
    "epochs": 25,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 1e-5,  # there inside the gradient, here decoupled
    "clip_norm": 0.0,
    "threshold": 0.5,
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": _PROGRAM,
    # it decides at logit > 0.5, which is probability > 1 / (1 + exp(-0.5))
    "authors": {**_PROGRAM, "threshold": 0.6224593312018546},
}
"""The program's, with Adam; the paper's were not at hand."""
