"""How far probabilities can be believed: of what is given 0.8, do eight in ten hold?

A decision is a pair of a sample and a label. Decisions are put into bins by their probability. The
expected calibration error is the mean over decisions of the distance, within their bin, between
the mean probability and the share that holds (Naeini et al., AAAI 2015; Guo et al., ICML 2017)::

    sum over bins b of  n_b / n * |mean probability of b - share of b that holds|

- Ten bins of equal width are what one reads: "at p >= .9". Most decisions about rare labels are
  then in the first bin, where errors of both signs cancel.
- Ten bins of equal mass hold as many decisions each, up to ties. They tell more of rare labels.
- Few samples have an error though every probability is right: the shares vary. How large that
  error is on average is computed too, as ``error_by_chance``.
- The Brier score, the mean of (p - y)^2, is lower for right and for decided probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from pydantic import BaseModel, ConfigDict

from emotailor.evaluation.metrics import check_label_names, check_labels, check_probabilities
from emotailor.evaluation.notebook import format_number, html_table
from emotailor.frames import data_frame

BINS = 10
ENOUGH = 20
"""Decisions that a bin must hold to be told of in a sentence."""


class Bin(BaseModel):
    """The decisions whose probability lies between two numbers.

    Attributes:
        low: least probability of the bin, which belongs to it.
        high: upper end, which belongs to the next bin, or to the last.
        count: number of decisions.
        mean_probability: mean of their probabilities.
        share_true: share of them that hold.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float
    count: int
    mean_probability: float
    share_true: float


class CalibrationErrors(BaseModel):
    """How far some probabilities are from what holds; all lie in 0..1, lower is better.

    Attributes:
        expected_calibration_error: over ten bins of equal width.
        equal_mass_error: the same over ten bins of equal mass.
        error_by_chance: expected calibration error that samples of this number have on average
            though each probability is right, were they independent.
        brier_score: mean of (p - y)^2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    expected_calibration_error: float
    equal_mass_error: float
    error_by_chance: float
    brier_score: float


class Calibration(CalibrationErrors):
    """The calibration of one system on one split, over all decisions and for each label.

    Attributes:
        bins: reliability curve: the bins of equal width that hold any decision, from low to high.
        labels: label name -> its own errors, over its n decisions.
    """

    bins: tuple[Bin, ...]
    labels: dict[str, CalibrationErrors]

    @property
    def highest(self) -> Bin:
        """The highest bin that holds 20 decisions; where none does, the one that holds most."""
        enough = [found for found in self.bins if found.count >= ENOUGH]
        if enough:
            return enough[-1]
        return max(self.bins, key=lambda found: found.count)

    def to_dataframe(self) -> Any:
        """Return the reliability curve as a ``pandas.DataFrame``, one row per bin.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [found.model_dump() for found in self.bins]
        return data_frame(rows, index="low")

    def labels_to_dataframe(self) -> Any:
        """Return the errors of the labels as a ``pandas.DataFrame``, one row per label.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = []
        for name, errors in self.labels.items():
            row = {"label": name, **errors.model_dump()}
            rows.append(row)
        return data_frame(rows, index="label")

    def __str__(self) -> str:
        error = format_number(self.expected_calibration_error)
        chance = format_number(self.error_by_chance)
        found = self.highest
        where = _range(found)
        mean = format_number(found.mean_probability)
        share = format_number(found.share_true)
        return (
            f"calibration error {error} (by chance {chance}): "
            f"at {where} the mean probability is {mean} and {share} hold"
        )

    def __repr__(self) -> str:
        return f"Calibration({self})"

    def _repr_html_(self) -> str:
        header = ("p", "decisions", "mean p", "holds")
        rows = []
        for found in self.bins:
            mean = format_number(found.mean_probability)
            share = format_number(found.share_true)
            row = (f"{found.low:g} to {found.high:g}", f"{found.count:,}", mean, share)
            rows.append(row)
        return html_table(header, rows, caption=str(self))


def _range(found: Bin) -> str:
    """Return where a bin lies, in as few signs as possible."""
    if found.high == 1:
        return f"p >= {found.low:g}"
    if found.low == 0:
        return f"p < {found.high:g}"
    return f"p from {found.low:g} to {found.high:g}"


def calibration(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    label_names: Sequence[str],
) -> Calibration:
    """Compare probabilities with what holds.

    Args:
        labels: (n, L), 0 or 1.
        probabilities: (n, L), from 0 to 1.
        label_names: names of the columns, distinct.

    Raises:
        DataError: there are no samples, shapes do not fit, or a value is out of range.
    """
    truth = check_labels(labels)
    scores = check_probabilities(probabilities, truth.shape)
    names = check_label_names(label_names, truth.shape[1])

    by_label = {}
    for j, name in enumerate(names):
        by_label[name] = _errors(truth[:, j], scores[:, j])

    overall = _errors(truth.ravel(), scores.ravel())
    groups = _grouped(truth.ravel(), scores.ravel(), _equal_width())
    return Calibration(**overall.model_dump(), bins=groups.bins(), labels=by_label)


def pooled_bins(runs: Sequence[Calibration]) -> tuple[Bin, ...]:
    """Return the reliability curve of several runs: the decisions of all in the same bins.

    Args:
        runs: calibrations on the same samples, such as those of the seeds of a system.
    """
    together: dict[float, list[Bin]] = {}
    for run in runs:
        for found in run.bins:
            together.setdefault(found.low, []).append(found)

    bins = []
    for low in sorted(together):
        alike = together[low]
        count = sum(found.count for found in alike)
        expected = sum(found.count * found.mean_probability for found in alike)
        true = sum(found.count * found.share_true for found in alike)
        one = Bin(
            low=low,
            high=alike[0].high,
            count=count,
            mean_probability=expected / count,
            share_true=true / count,
        )
        bins.append(one)
    return tuple(bins)


# ---------------------------------------------------------------------- bins


@dataclass(frozen=True)
class _Groups:
    """Sums over the decisions of each bin that holds any.

    Attributes:
        low: (bins,), lower edge.
        high: (bins,), upper edge.
        count: (bins,), number of decisions.
        expected: (bins,), sum of the probabilities.
        true: (bins,), number of decisions that hold.
        variance: (bins,), that of ``true``, were each probability right and all independent.
    """

    low: Float64[np.ndarray, "bins"]
    high: Float64[np.ndarray, "bins"]
    count: Int64[np.ndarray, "bins"]
    expected: Float64[np.ndarray, "bins"]
    true: Float64[np.ndarray, "bins"]
    variance: Float64[np.ndarray, "bins"]

    def error(self) -> float:
        """Return the expected calibration error over these bins."""
        distance = np.abs(self.expected - self.true)
        return float(distance.sum() / self.count.sum())

    def error_by_chance(self) -> float:
        """Return what :meth:`error` is on average where every probability is right."""
        # the mean of |x| for a normal x with mean 0
        distance = np.sqrt(2 / np.pi * self.variance)
        return float(distance.sum() / self.count.sum())

    def bins(self) -> tuple[Bin, ...]:
        """Return the bins, from low to high."""
        means = self.expected / self.count
        shares = self.true / self.count

        found = []
        for k, count in enumerate(self.count.tolist()):
            one = Bin(
                low=float(self.low[k]),
                high=float(self.high[k]),
                count=count,
                mean_probability=float(means[k]),
                share_true=float(shares[k]),
            )
            found.append(one)
        return tuple(found)


def _equal_width() -> Float64[np.ndarray, "edges"]:
    # divided, and not added up: 0.3 is then the 0.3 that a program writes
    return np.arange(BINS + 1) / BINS


def _equal_mass(scores: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "edges"]:
    shares = np.linspace(0, 1, BINS + 1)
    edges: Float64[np.ndarray, "edges"] = np.quantile(scores, shares)
    return edges


def _grouped(
    truth: Bool[np.ndarray, "n"],
    scores: Float64[np.ndarray, "n"],
    edges: Float64[np.ndarray, "edges"],
) -> _Groups:
    """Put decisions into bins; a probability at an edge belongs to the upper one."""
    inner = edges[1:-1]
    place = np.searchsorted(inner, scores, side="right")  # (n,)
    size = len(edges) - 1

    count = np.bincount(place, minlength=size)
    expected = np.bincount(place, weights=scores, minlength=size)
    true = np.bincount(place, weights=truth, minlength=size)
    variance = np.bincount(place, weights=scores * (1 - scores), minlength=size)

    held = count > 0
    return _Groups(
        low=edges[:-1][held],
        high=edges[1:][held],
        count=count[held],
        expected=expected[held],
        true=true[held],
        variance=variance[held],
    )


def _errors(truth: Bool[np.ndarray, "n"], scores: Float64[np.ndarray, "n"]) -> CalibrationErrors:
    by_width = _grouped(truth, scores, _equal_width())
    by_mass = _grouped(truth, scores, _equal_mass(scores))
    distance = scores - truth
    return CalibrationErrors(
        expected_calibration_error=by_width.error(),
        equal_mass_error=by_mass.error(),
        error_by_chance=by_width.error_by_chance(),
        brier_score=float((distance**2).mean()),
    )
