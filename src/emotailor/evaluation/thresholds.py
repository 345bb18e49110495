"""Decision thresholds: the authors' fixed one, or chosen on the validation split.

- ``fixed``: 0.35, which the authors' program uses and the paper does not mention.
- ``tuned``: one threshold for all labels, with the highest micro-F1 on validation.
- ``per_label``: one threshold per label, with the highest joint micro-F1 on validation. It has L
  numbers to fit instead of one, so it may fit a small split too well: labels with few positives
  keep the single tuned threshold.

Thresholds are chosen on validation data and then applied to test data. Chosen on the data they are
reported on, they make every metric look better than it is.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from pydantic import BaseModel, ConfigDict, Field

from emotailor.errors import DataError
from emotailor.evaluation.metrics import check_label_names, check_labels, check_probabilities

FIXED_THRESHOLD = 0.35
"""The threshold of the authors' program."""

MIN_POSITIVES = 50
"""A label with fewer positives than this gets no threshold of its own.

Measured by 25 random divisions of the training videos of CMU-MOSEI (binary relevance; thresholds
chosen on 170 videos): without this guard per-label thresholds lose 0.006 micro-F1 against a single
one on videos not seen, with it 0.003.
"""

ThresholdMode = Literal["fixed", "tuned", "per_label"]


class Thresholds(BaseModel):
    """The thresholds of a trained system, by label name.

    Attributes:
        mode: how they were chosen.
        values: label name -> threshold; a probability strictly above it predicts the label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: ThresholdMode
    values: dict[str, Annotated[float, Field(ge=0, le=1)]]

    @classmethod
    def fixed(cls, label_names: Sequence[str], value: float = FIXED_THRESHOLD) -> "Thresholds":
        """Return ``value`` for every label.

        Raises:
            DataError: ``value`` is not in [0, 1].
        """
        if not 0 <= value <= 1:
            raise DataError(f"threshold {value}", expected="a number from 0 to 1")
        return cls(mode="fixed", values=dict.fromkeys(label_names, float(value)))

    @classmethod
    def choose(
        cls,
        mode: ThresholdMode,
        labels: Shaped[np.ndarray, "..."],
        probabilities: Shaped[np.ndarray, "..."],
        label_names: Sequence[str],
    ) -> "Thresholds":
        """Choose thresholds by ``mode`` on validation data.

        Args:
            mode: ``fixed`` (the data are then only checked), ``tuned`` or ``per_label``.
            labels: (n, L), 0 or 1, of the validation split.
            probabilities: (n, L), from 0 to 1, of the same samples.
            label_names: one per column.

        Raises:
            DataError: no samples, or arrays that do not fit.
        """
        truth = check_labels(labels)
        scores = check_probabilities(probabilities, truth.shape)
        names = check_label_names(label_names, truth.shape[1])
        if mode == "fixed":
            return cls.fixed(names)
        if mode == "tuned":
            return cls(mode=mode, values=dict.fromkeys(names, tune_threshold(truth, scores)))
        tuned = tune_per_label(truth, scores)
        return cls(mode=mode, values=dict(zip(names, tuned.tolist(), strict=True)))

    def array(self, label_names: Sequence[str]) -> Float64[np.ndarray, "labels"]:
        """Return the thresholds in the order of ``label_names``, (L,).

        Raises:
            DataError: a label has no threshold.
        """
        missing = [name for name in label_names if name not in self.values]
        if missing:
            raise DataError(
                f"no threshold for {', '.join(missing)}",
                expected=f"labels among {', '.join(self.values)}",
                fix="use the model on data with the labels it was trained on",
            )
        return np.array([self.values[name] for name in label_names], np.float64)


def _cuts(
    labels: Bool[np.ndarray, "pairs"], scores: Float64[np.ndarray, "pairs"]
) -> tuple[Float64[np.ndarray, "cuts"], Int64[np.ndarray, "cuts"], Int64[np.ndarray, "cuts"]]:
    """Return every threshold in [0, 1] that decides differently, with its hits and predictions.

    Thresholds ascend and lie midway between consecutive values among 0, the scores and 1; when a
    score is 1, the last one is 1, which predicts nothing.
    """
    order = np.argsort(scores, kind="stable")
    edges = np.unique(np.concatenate([[0.0, 1.0], scores]))
    middle = (edges[:-1] + edges[1:]) / 2
    # between neighbouring floats there is no middle; the lower one cuts at the same place
    thresholds = np.where(middle < edges[1:], middle, edges[:-1])
    if scores.max() == 1:
        thresholds = np.append(thresholds, 1.0)
    below = np.searchsorted(scores[order], thresholds, side="right")  # not predicted
    missed = np.concatenate([[0], np.cumsum(labels[order], dtype=np.int64)])
    return thresholds, missed[-1] - missed[below], len(scores) - below.astype(np.int64)


def _nearest(
    thresholds: Float64[np.ndarray, "cuts"], best: Bool[np.ndarray, "cuts"], wanted: float
) -> int:
    """Return the index of the best threshold nearest to ``wanted``; of two, the lower."""
    return int(np.argmin(np.where(best, np.abs(thresholds - wanted), np.inf)))


def tune_threshold(
    labels: Shaped[np.ndarray, "..."], probabilities: Shaped[np.ndarray, "..."]
) -> float:
    """Return the threshold in [0, 1] with the highest micro-F1. For validation data.

    Every cut that changes a decision is tried, O(nL log nL). Among equally good thresholds the one
    nearest to 0.5 is taken, and of two equally near, the lower.

    Args:
        labels: (n, L), 0 or 1, of the validation split.
        probabilities: (n, L), from 0 to 1, of the same samples.

    Raises:
        DataError: no samples, or arrays that do not fit.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)
    thresholds, hits, predicted = _cuts(truth.ravel(), scores.ravel())
    f1 = 2 * hits / np.maximum(predicted + truth.sum(), 1)
    # equal fractions of integers round to the same float, so ties are found exactly
    return float(thresholds[_nearest(thresholds, f1 == f1.max(), 0.5)])


def tune_per_label(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    *,
    min_positives: int = MIN_POSITIVES,
) -> Float64[np.ndarray, "labels"]:
    """Return one threshold per label, jointly with the highest micro-F1. For validation data.

    A label with fewer than ``min_positives`` positives keeps the single threshold of
    ``tune_threshold``, and so do labels that another threshold would not help: of equally good
    thresholds, the one nearest to the single one is taken.

    The maximum is global: 2 TP / (predicted + true) is maximised by Dinkelbach's method. At the
    present value F each label picks the cut with the largest 2 TP - F predicted, on its own; the
    new F is larger until it is the largest there is. It starts from the single threshold.

    Args:
        labels: (n, L), 0 or 1, of the validation split.
        probabilities: (n, L), from 0 to 1, of the same samples.
        min_positives: labels with fewer positives get no threshold of their own.

    Raises:
        DataError: no samples, or arrays that do not fit.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)
    single = tune_threshold(truth, scores)
    chosen = np.full(truth.shape[1], single)
    free = np.nonzero(truth.sum(0) >= max(min_positives, 1))[0].tolist()
    cuts = {j: _cuts(truth[:, j], scores[:, j]) for j in free}
    positives = int(truth.sum())
    while free:
        decisions = scores > chosen
        # F as a fraction of integers, so that comparisons are exact and the loop ends
        numerator = 2 * int((truth & decisions).sum())
        denominator = int(decisions.sum()) + positives
        gains = 0
        for j in free:
            thresholds, hits, predicted = cuts[j]
            value = 2 * hits * denominator - numerator * predicted
            now = 2 * int((truth[:, j] & decisions[:, j]).sum()) * denominator
            gains += int(value.max()) - (now - numerator * int(decisions[:, j].sum()))
            chosen[j] = thresholds[_nearest(thresholds, value == value.max(), single)]
        if gains == 0:
            break
    return chosen
