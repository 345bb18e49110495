"""Decision thresholds: the authors' fixed one, or chosen on the validation split.

- ``fixed``: 0.35, which the authors' program uses and the paper does not mention.
- ``tuned``: one threshold for all labels, with the highest micro-F1 on validation.
- ``per_label``: one threshold per label, with the highest joint micro-F1 on validation. It has L
  numbers to fit instead of one, so it may fit a small split too well: labels with few positives
  keep the single tuned threshold.
- ``macro``: one threshold per label, with the highest F1 of this label on validation, however few
  positives it has. For macro-F1, where a rare label counts as much as a frequent one.
- ``share``: one threshold per label, above which as many validation samples lie as have the label.
  For people who read names: every F1 is highest where a label is named more often than it holds,
  and a label that holds for half of the samples is then named for most of them.

Thresholds are chosen on validation data and then applied to test data. Chosen on the data they are
reported on, they make every metric look better than it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

ThresholdMode = Literal["fixed", "tuned", "per_label", "macro", "share"]


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
            raise DataError(
                f"threshold {value}",
                expected="a number from 0 to 1",
            )
        values = dict.fromkeys(label_names, float(value))
        return cls(mode="fixed", values=values)

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
            mode: ``fixed`` (the data are then only checked), ``tuned``, ``per_label``, ``macro`` or
                ``share``.
            labels: labels of the validation split, (n, L), 0 or 1.
            probabilities: probabilities of the same samples, (n, L), from 0 to 1.
            label_names: one name per column.

        Raises:
            DataError: there are no samples, or the arrays do not fit.
        """
        truth = check_labels(labels)
        scores = check_probabilities(probabilities, truth.shape)
        names = check_label_names(label_names, truth.shape[1])

        if mode == "fixed":
            return cls.fixed(names)

        if mode == "tuned":
            single = tune_threshold(truth, scores)
            values = dict.fromkeys(names, single)
            return cls(mode=mode, values=values)

        by_label = {"per_label": tune_per_label, "macro": tune_macro, "share": tune_share}[mode]
        tuned = by_label(truth, scores).tolist()
        values = dict(zip(names, tuned, strict=True))
        return cls(mode=mode, values=values)

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

        ordered = [self.values[name] for name in label_names]
        return np.array(ordered, np.float64)


@dataclass(frozen=True)
class _Cuts:
    """Every threshold that decides differently, in ascending order.

    Attributes:
        thresholds: (cuts,), in [0, 1].
        hits: (cuts,), number of true pairs above the threshold.
        predicted: (cuts,), number of pairs above the threshold.
    """

    thresholds: Float64[np.ndarray, "cuts"]
    hits: Int64[np.ndarray, "cuts"]
    predicted: Int64[np.ndarray, "cuts"]

    def f1(self, positives: int) -> Float64[np.ndarray, "cuts"]:
        """Return 2 TP / (predicted + true) at each cut; 0 where nothing is predicted or true.

        Equal fractions of integers round to the same float, so ties are found exactly.

        Args:
            positives: number of true pairs.
        """
        predicted_and_true = self.predicted + positives
        scores: Float64[np.ndarray, "cuts"] = 2 * self.hits / np.maximum(predicted_and_true, 1)
        return scores


def _cuts(labels: Bool[np.ndarray, "pairs"], scores: Float64[np.ndarray, "pairs"]) -> _Cuts:
    """Return every threshold in [0, 1] that decides differently.

    Thresholds lie midway between consecutive values among 0, the scores and 1; when a score is 1,
    the last one is 1, which predicts nothing.
    """
    edges = np.unique(np.concatenate([[0.0, 1.0], scores]))
    lower = edges[:-1]
    upper = edges[1:]
    middle = (lower + upper) / 2

    # between neighbouring floats there is no middle; the lower one cuts at the same place
    thresholds = np.where(middle < upper, middle, lower)
    if scores.max() == 1:
        thresholds = np.append(thresholds, 1.0)

    # in ascending order of scores, the pairs before a position are not predicted
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    position = np.searchsorted(ascending, thresholds, side="right")
    position = position.astype(np.int64)  # (cuts,)

    # how many true pairs stand before each position: (pairs + 1,)
    true_before = np.zeros(len(labels) + 1, np.int64)
    true_before[1:] = np.cumsum(labels[order], dtype=np.int64)

    return _Cuts(
        thresholds=thresholds,
        hits=true_before[-1] - true_before[position],
        predicted=len(scores) - position,
    )


def _nearest(
    thresholds: Float64[np.ndarray, "cuts"], best: Bool[np.ndarray, "cuts"], wanted: float
) -> int:
    """Return the index of the best threshold nearest to ``wanted``; of two, the lower."""
    distance = np.abs(thresholds - wanted)
    distance_of_best = np.where(best, distance, np.inf)
    return int(np.argmin(distance_of_best))


def tune_threshold(
    labels: Shaped[np.ndarray, "..."], probabilities: Shaped[np.ndarray, "..."]
) -> float:
    """Return the threshold in [0, 1] with the highest micro-F1. For validation data.

    Every cut that changes a decision is tried, O(nL log nL). Among equally good thresholds the one
    nearest to 0.5 is taken, and of two equally near, the lower.

    Args:
        labels: labels of the validation split, (n, L), 0 or 1.
        probabilities: probabilities of the same samples, (n, L), from 0 to 1.

    Raises:
        DataError: there are no samples, or the arrays do not fit.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)

    # over all pairs of sample and label
    cuts = _cuts(truth.ravel(), scores.ravel())
    f1 = cuts.f1(int(truth.sum()))

    is_best = f1 == f1.max()
    best = _nearest(cuts.thresholds, is_best, 0.5)
    return float(cuts.thresholds[best])


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
        labels: labels of the validation split, (n, L), 0 or 1.
        probabilities: probabilities of the same samples, (n, L), from 0 to 1.
        min_positives: labels with fewer positives get no threshold of their own.

    Raises:
        DataError: there are no samples, or the arrays do not fit.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)
    single = tune_threshold(truth, scores)
    chosen = np.full(truth.shape[1], single)  # (L,)

    # the labels that may leave the single threshold
    enough = truth.sum(0) >= max(min_positives, 1)
    free = np.flatnonzero(enough).tolist()
    if not free:
        return chosen

    cuts = {j: _cuts(truth[:, j], scores[:, j]) for j in free}
    positives = int(truth.sum())
    while True:
        decisions = scores > chosen
        hits = (truth & decisions).sum(0)  # (L,)
        predicted = decisions.sum(0)

        # F as a fraction of integers, so that comparisons are exact and the loop ends
        numerator = 2 * int(hits.sum())
        denominator = int(predicted.sum()) + positives

        gains = 0
        for j in free:
            # 2 TP - F predicted, times the denominator of F
            own = cuts[j]
            value = 2 * own.hits * denominator - numerator * own.predicted  # (cuts,)
            present = 2 * int(hits[j]) * denominator - numerator * int(predicted[j])

            highest = int(value.max())
            gains += highest - present
            best = _nearest(own.thresholds, value == highest, single)
            chosen[j] = own.thresholds[best]

        if gains == 0:
            return chosen


def tune_macro(
    labels: Shaped[np.ndarray, "..."], probabilities: Shaped[np.ndarray, "..."]
) -> Float64[np.ndarray, "labels"]:
    """Return one threshold per label, each with the highest F1 of its label. For validation data.

    Together they give the highest macro-F1 there is. Of equally good thresholds the one nearest to
    the single one of ``tune_threshold`` is taken; a label without positives, whose F1 is 0 at any
    threshold, keeps the single one.

    Args:
        labels: labels of the validation split, (n, L), 0 or 1.
        probabilities: probabilities of the same samples, (n, L), from 0 to 1.

    Raises:
        DataError: there are no samples, or the arrays do not fit.
    """

    def quality(cuts: _Cuts, positives: int) -> Float64[np.ndarray, "cuts"] | None:
        return cuts.f1(positives) if positives else None

    return _by_label(labels, probabilities, quality)


def tune_share(
    labels: Shaped[np.ndarray, "..."], probabilities: Shaped[np.ndarray, "..."]
) -> Float64[np.ndarray, "labels"]:
    """Return one threshold per label, above which as many samples lie as have it. For validation.

    Precision, recall and F1 of a label are then equal. Where equal probabilities leave no such
    threshold, the nearest number is taken, and of equally good thresholds the one nearest to the
    single one of ``tune_threshold``.

    Args:
        labels: labels of the validation split, (n, L), 0 or 1.
        probabilities: probabilities of the same samples, (n, L), from 0 to 1.

    Raises:
        DataError: there are no samples, or the arrays do not fit.
    """

    def quality(cuts: _Cuts, positives: int) -> Float64[np.ndarray, "cuts"]:
        return -np.abs(cuts.predicted - positives).astype(np.float64)

    return _by_label(labels, probabilities, quality)


def _by_label(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    quality: Callable[[_Cuts, int], Float64[np.ndarray, "cuts"] | None],
) -> Float64[np.ndarray, "labels"]:
    """Return for each label the threshold of highest quality, of equals the nearest to one for all.

    Args:
        labels: labels of the validation split, (n, L), 0 or 1.
        probabilities: probabilities of the same samples, (n, L), from 0 to 1.
        quality: of each threshold of a label with so many positives; None where any is as good as
            another, and the one for all labels stays.

    Raises:
        DataError: there are no samples, or the arrays do not fit.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)
    single = tune_threshold(truth, scores)
    chosen = np.full(truth.shape[1], single)  # (L,)

    for j, positives in enumerate(truth.sum(0).tolist()):
        cuts = _cuts(truth[:, j], scores[:, j])
        found = quality(cuts, positives)
        if found is not None:
            best = _nearest(cuts.thresholds, found == found.max(), single)
            chosen[j] = cuts.thresholds[best]
    return chosen
