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

    text_size: int = Field(64, ge=1)  # width of h_l; the program's
    audio_size: int = Field(16, ge=1)  # width of h_a; the program's
    visual_size: int = Field(64, ge=1)  # width of h_v; the program's
    vertex_size: int = Field(128, ge=1)  # width of bimodal and trimodal vertices and of T; program
    vertex_hidden: int = Field(100, ge=1)  # inner width of every D_j and of D_alpha; the program's
    memory_size: int = Field(300, ge=1)  # width of u; the program's
    candidate_hidden: int = Field(32, ge=1)  # inner width of D_u; the program's
    candidate_dropout: float = Field(0.5, ge=0, lt=1)  # inside D_u; the program's
    retain_hidden: int = Field(64, ge=1)  # inner width of D_gamma1; the program's
    retain_dropout: float = Field(0.0, ge=0, lt=1)  # inside D_gamma1; the program's
    update_hidden: int = Field(256, ge=1)  # inner width of D_gamma2; the program's
    update_dropout: float = Field(0.7, ge=0, lt=1)  # inside D_gamma2; the program's
    classifier_hidden: int = Field(128, ge=1)  # inner width of the classifier; the program's
    classifier_dropout: float = Field(0.7, ge=0, lt=1)  # inside the classifier; the program's

    efficacy: Literal["sigmoid", "linear"] = "sigmoid"  # of alpha; paper: sigmoid, program: linear
    activation: Literal["relu", "none"] = "relu"  # inside D_j, D_alpha; deep nets, program: none
    vertex_states: Literal["hidden", "cell"] = "hidden"  # h: paper, program; c: the earlier MFN

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

RECIPES: Mapping[Any, Mapping[str, Any]] = {"paper": _PROGRAM, "authors": _PROGRAM}
"""MMSA's for MOSEI; the paper names no values."""
