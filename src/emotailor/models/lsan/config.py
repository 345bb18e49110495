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

    # k, width of one LSTM direction and of a label vector; paper † and program
    state_size: int = Field(300, ge=1)
    # d_a, inner width of the self-attention; paper † and program
    attention_size: int = Field(200, ge=1)
    # b, inner width of the label-wise classifier; paper †; unused with classifier = average
    classifier_size: int = Field(256, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)  # dropout of the word vectors; program
    # sum over the words, in both sources; mean (ours) divides by their number
    label_attention: Literal["sum", "mean"] = "sum"

    # what is scored: each label's own document, or the mean of all; paper †; program: average
    classifier: Literal["per_label", "average"] = "per_label"
    # whether attention, fusion and classifier have biases; paper †: none; program: yes
    biases: bool = False
    # whether vectors that the user gives are trained; paper †: yes; program: no
    train_label_vectors: bool = True

    @classmethod
    def tuned(cls) -> "LSANConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(state_size=128, attention_size=100, classifier_size=128)

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
