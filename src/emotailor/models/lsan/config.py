"""Settings of LSAN (EMNLP 2019)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from emotailor.config import Config


class LSANConfig(Config):
    """LSAN (EMNLP 2019). Defaults are the paper's; see :meth:`authors` for the program's.

    Fields from ``classifier`` on are the places where the authors' program departs from the paper;
    in ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    state_size: int = Field(300, ge=1)  # k, of one LSTM direction and of a label vector; paper
    attention_size: int = Field(200, ge=1)  # d_a, inner width of the self-attention; paper
    classifier_size: int = Field(256, ge=1)  # b, inner width of the label-wise classifier; paper
    dropout: float = Field(0.3, ge=0, lt=1)  # of the word vectors; the program's
    label_attention: Literal["sum", "mean"] = "sum"  # paper: sum over the words; mean is ours

    classifier: Literal["per_label", "average"] = "per_label"  # paper: each label's own document
    biases: bool = False  # of attention, fusion and classifier; the paper's equations have none
    train_label_vectors: bool = True  # those that the user gives; the paper: C is trainable

    @classmethod
    def paper(cls) -> "LSANConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "LSANConfig":
        """The model as the authors' program computes it."""
        return cls(classifier="average", biases=True, train_label_vectors=False)


_RECIPE = {
    "epochs": 10,  # the program's
    "learning_rate": 1e-3,  # paper and program
    "schedule": "constant",
    "warmup": 0.0,
    "clip_norm": 0.0,  # the program does not clip
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {"paper": _RECIPE, "authors": _RECIPE}
"""Batches of 64 are the default, too. Neither source decides at a threshold: both rank labels."""
