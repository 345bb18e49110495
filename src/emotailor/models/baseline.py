"""The floor that every system must pass: label frequencies, which know nothing of the input."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from emotailor.data.dataset import Split
from emotailor.errors import DataError, ModelError


class LabelFrequency:
    """Predicts for every sample how frequent each label is in training.

    Attributes:
        label_names: names of the label columns; empty before ``fit``.
        frequencies: (L,), share of the training samples that have the label; None before ``fit``.
    """

    def __init__(self) -> None:
        self.label_names: tuple[str, ...] = ()
        self.frequencies: Float64[np.ndarray, "labels"] | None = None

    def fit(self, split: Split, label_names: Sequence[str]) -> "LabelFrequency":
        """Count the labels of ``split``.

        Raises:
            DataError: the split is empty, it has no labels, or the names do not fit them.
        """
        split = split.with_labels()
        if not len(split):
            raise DataError(f"split {split.name!r} has no samples", expected="samples to train on")

        names = len(label_names)
        columns = split.labels.shape[1]
        if columns != names:
            raise DataError(
                f"{names} label names for {columns} label columns",
                expected="one name per column",
            )

        self.label_names = tuple(label_names)
        self.frequencies = split.labels.mean(0, dtype=np.float64)
        return self

    def predict_proba(self, split: Split) -> Float64[np.ndarray, "n labels"]:
        """Return the training frequencies, once per sample.

        Raises:
            ModelError: not fitted.
        """
        if self.frequencies is None:
            raise ModelError(
                "LabelFrequency has not been trained", fix="call fit before predict_proba"
            )

        return np.tile(self.frequencies, (len(split), 1))
