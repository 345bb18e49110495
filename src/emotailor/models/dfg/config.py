"""Settings of DFG, the Graph-MFN (ACL 2018), and its two presets: the paper and the program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from emotailor.config import Config


class DFGConfig(Config):
    """DFG, the Graph-MFN (ACL 2018). Defaults follow the paper; see :meth:`authors`.

    The paper gives no sizes; they are those of the full program (MMSA) for CMU-MOSEI. The last
    three fields are the places where the programs depart from the paper; in ``model.py`` each
    is marked with ``DIVERGENCE`` where it acts.
    """

    text_size: int = Field(64, ge=1)  # width of h_l and of its vertex; program
    audio_size: int = Field(16, ge=1)  # width of h_a and of its vertex; program
    visual_size: int = Field(64, ge=1)  # width of h_v and of its vertex; program
    vertex_size: int = Field(128, ge=1)  # width of all other vertices and of the summary T; program
    vertex_hidden: int = Field(100, ge=1)  # inner width of every D_j and of D_alpha; program
    memory_size: int = Field(300, ge=1)  # width of u; program
    candidate_hidden: int = Field(32, ge=1)  # inner width of D_u, where u^ = tanh(D_u(T)); program
    candidate_dropout: float = Field(0.5, ge=0, lt=1)  # dropout inside D_u; program
    retain_hidden: int = Field(64, ge=1)  # inner width of gamma_1; program
    retain_dropout: float = Field(0.0, ge=0, lt=1)  # dropout inside gamma_1; program
    update_hidden: int = Field(256, ge=1)  # inner width of gamma_2; program
    update_dropout: float = Field(0.7, ge=0, lt=1)  # dropout inside gamma_2; program
    classifier_hidden: int = Field(128, ge=1)  # inner width of the classifier; program
    classifier_dropout: float = Field(0.7, ge=0, lt=1)  # dropout inside the classifier; program

    # range of alpha; linear: unbounded, possibly negative; paper; program: linear
    efficacy: Literal["sigmoid", "linear"] = "sigmoid"
    # activation between the linear maps of D_j and D_alpha; paper (deep networks); program: none
    activation: Literal["relu", "none"] = "relu"
    # what the unimodal vertices read; paper and program; cell is that of the earlier MFN
    vertex_states: Literal["hidden", "cell"] = "hidden"

    @classmethod
    def tuned(cls) -> "DFGConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(vertex_size=32, vertex_hidden=32, memory_size=128, classifier_dropout=0.3)

    @classmethod
    def paper(cls) -> "DFGConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "DFGConfig":
        """The model as the programs compute it: the authors' graph in MMSA's network."""
        return cls(efficacy="linear", activation="none")


_PROGRAM: Mapping[str, Any] = {
    "epochs": 100,  # ours: there training ends only by its patience
    "patience": 8,
    "batch_size": 64,
    "learning_rate": 2e-3,
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 1e-3,  # there added to the gradient, here decoupled
    "clip_norm": 0.0,
    "threshold": 0.5,
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "tuned": {"learning_rate": 3e-3},
    "paper": _PROGRAM,
    "authors": _PROGRAM,
}
"""MMSA's for MOSEI; the paper names no values."""
