"""How sure a number is: bootstrap intervals, spread over seeds, paired tests of two systems.

- The bootstrap draws test samples with replacement. Segments of one video are not independent;
  pass ``groups`` to draw whole videos instead, which gives wider and more honest intervals.
- A resample is a vector of counts per sample. The threshold metrics need only the counts' products
  with per-sample statistics; the ranking metrics sort each label once and weight by the counts.
- The interval says how the number would vary with other test samples, not with another training
  seed: for that, see ``summarise_seeds``.
- All resamples of a single sample, or of a single group, are alike: there is nothing to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped
from pydantic import BaseModel, ConfigDict

from emotailor.errors import DataError
from emotailor.evaluation.metrics import (
    OVERALL,
    Metrics,
    Ranking,
    check_labels,
    check_probabilities,
    overall_from_sums,
    sample_statistics,
    threshold_vector,
)

RESAMPLES = 2000
LEVEL = 0.95
Run = tuple[Any, Any]  # probabilities (n, L) of one trained model, and its thresholds
_CHUNK_VALUES = 2**18  # counts held at once: 2 MB, so that sums stay in cache


class Interval(BaseModel):
    """A metric and its percentile bootstrap interval.

    Attributes:
        value: on the samples as they are.
        low: lower end.
        high: upper end.
        level: share of the resamples between the two.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    level: float


class PairedDifference(Interval):
    """How much higher a metric is for system A than for B on the same samples.

    Attributes:
        p_value: two-sided; twice the smaller share of resamples on one side of no difference.
    """

    p_value: float


class Spread(BaseModel):
    """A metric over several runs.

    Attributes:
        mean: over the runs in which it is defined.
        std: sample standard deviation (n - 1); None for a single run.
        runs: in how many it is defined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    std: float | None
    runs: int


class SeedSummary(BaseModel):
    """Several runs of one system that differ in their seed.

    Attributes:
        runs: how many.
        overall: overall metric -> spread; metrics that no run defines are left out.
        labels: label name -> metric of that label -> spread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: int
    overall: dict[str, Spread]
    labels: dict[str, dict[str, Spread]]


def _resamples(
    samples: int,
    groups: Shaped[np.ndarray, "..."] | None,
    resamples: int,
    seed: int,
) -> Iterator[Float64[np.ndarray, "n columns"]]:
    """Yield how often each sample is drawn, some resamples (columns) at a time.

    There are none of fewer than two units (samples, or groups): they would all be alike.
    """
    if resamples < 1:
        raise DataError(f"{resamples} resamples", expected="1 or more, usually 2000")
    if groups is None:
        units, member = samples, None
    else:
        if groups.shape != (samples,):
            raise DataError(
                f"groups of shape {groups.shape}", expected=f"one per sample: ({samples},)"
            )
        names, member = np.unique(groups, return_inverse=True)
        units = len(names)
    if units < 2:
        return
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // samples)
    for start in range(0, resamples, chunk):
        columns = min(chunk, resamples - start)
        drawn = rng.integers(0, units, (columns, units))
        drawn += units * np.arange(columns)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=columns * units).reshape(columns, units).T
        yield np.ascontiguousarray(counts if member is None else counts[member], np.float64)


class _Judged:
    """Labels and probabilities of one system, prepared for being judged under many weightings."""

    def __init__(
        self,
        labels: Shaped[np.ndarray, "..."],
        probabilities: Shaped[np.ndarray, "..."],
        thresholds: float | Shaped[np.ndarray, "..."],
        *,
        ranking: bool,
    ) -> None:
        truth = check_labels(labels)
        scores = check_probabilities(probabilities, truth.shape)
        self.samples, count = truth.shape
        self.statistics = sample_statistics(truth, scores > threshold_vector(thresholds, count))
        columns = range(count) if ranking else ()
        self.rankings = [Ranking(truth[:, j], scores[:, j]) for j in columns]

    def metrics(
        self, weights: Float64[np.ndarray, "n columns"]
    ) -> dict[str, Float64[np.ndarray, "columns"]]:
        """Return each metric under each column of sample weights; NaN where undefined."""
        # groups differ in size, so a resample need not have the original number of samples
        total = weights.sum(0)
        sums = weights.T @ self.statistics
        per_sample = overall_from_sums(sums / total[:, None], 1)
        if self.rankings:
            ap, auc = zip(*(r.metrics(weights) for r in self.rankings), strict=True)
            per_sample["mean_average_precision"] = _mean_defined(np.array(ap))
            per_sample["mean_roc_auc"] = _mean_defined(np.array(auc))
        return {name: per_sample[name] for name in OVERALL if name in per_sample}


def _mean_defined(values: Float64[np.ndarray, "labels columns"]) -> Float64[np.ndarray, "columns"]:
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Float64[np.ndarray, "columns"] = np.where(defined, values, 0).sum(0) / defined.sum(0)
    return mean


def _stack(parts: Sequence[Mapping[Any, Any]]) -> dict[Any, Float64[np.ndarray, "resamples"]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}


def _ends(values: Float64[np.ndarray, "resamples"], level: float) -> dict[str, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return {"low": float(low), "high": float(high), "level": level}


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise DataError(f"confidence level {level}", expected="between 0 and 1, such as 0.95")


def bootstrap(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    thresholds: float | Shaped[np.ndarray, "..."],
    *,
    groups: Shaped[np.ndarray, "..."] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    ranking: bool = True,
) -> dict[str, Interval]:
    """Return percentile bootstrap intervals of the overall metrics, by name.

    Args:
        labels: (n, L), 0 or 1.
        probabilities: (n, L), from 0 to 1.
        thresholds: one number, or (L,). They are not chosen again in each resample.
        groups: (n,), any type; samples with equal values (of one video, say) are drawn together.
        resamples: how many times the samples are drawn again.
        seed: of the drawing.
        level: share of the resamples inside the interval.
        ranking: include mAP and mean AUC, which take most of the time. In each resample they are
            means over the labels that are defined in it.

    Returns:
        Metric name -> interval; a metric that is undefined on these samples, or in some resample,
        is left out. Empty with a single sample, or a single group.

    Raises:
        DataError: no samples, or arguments that do not fit.
    """
    _check_level(level)
    judged = _Judged(labels, probabilities, thresholds, ranking=ranking)
    values = judged.metrics(np.ones((judged.samples, 1)))
    drawn = _stack([judged.metrics(w) for w in _resamples(judged.samples, groups, resamples, seed)])
    return {
        name: Interval(value=float(values[name][0]), **_ends(sample, level))
        for name, sample in drawn.items()
        if not np.isnan(sample).any()
    }


def paired_bootstrap(
    labels: Shaped[np.ndarray, "..."],
    a: Shaped[np.ndarray, "..."],
    b: Shaped[np.ndarray, "..."],
    *,
    thresholds_a: float | Shaped[np.ndarray, "..."],
    thresholds_b: float | Shaped[np.ndarray, "..."],
    groups: Shaped[np.ndarray, "..."] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    ranking: bool = True,
) -> dict[str, PairedDifference]:
    """Compare systems A and B on the same samples: A minus B, its interval and p-value.

    Both are judged on the same resamples. The p-value is 2 min(P(d <= 0), P(d >= 0)) over the
    resampled differences d, each share as (k + 1) / (resamples + 1) so that it is never 0, and at
    most 1. It belongs to the interval: 0 lies outside a 95 % interval where p < 0.05, up to the
    added one. It is not corrected for looking at several metrics or systems.

    Args:
        labels: (n, L), 0 or 1.
        a: (n, L), probabilities of system A.
        b: (n, L), probabilities of system B, of the same samples in the same order.
        thresholds_a: of system A: one number, or (L,).
        thresholds_b: of system B.
        groups: (n,), samples with equal values are drawn together.
        resamples: how many times the samples are drawn again.
        seed: of the drawing.
        level: share of the resamples inside the interval.
        ranking: include mAP and mean AUC.

    Returns:
        Metric name -> difference; metrics undefined in some resample are left out. Empty with a
        single sample, or a single group.

    Raises:
        DataError: no samples, or arguments that do not fit.
    """
    _check_level(level)
    first = _Judged(labels, a, thresholds_a, ranking=ranking)
    second = _Judged(labels, b, thresholds_b, ranking=ranking)

    def differences(weights: Float64[np.ndarray, "n columns"]) -> dict[str, Any]:
        one, two = first.metrics(weights), second.metrics(weights)
        return {name: one[name] - two[name] for name in one}

    values = differences(np.ones((first.samples, 1)))
    drawn = _stack([differences(w) for w in _resamples(first.samples, groups, resamples, seed)])
    return {
        name: PairedDifference(
            value=float(values[name][0]), p_value=_p_value(sample), **_ends(sample, level)
        )
        for name, sample in drawn.items()
        if not np.isnan(sample).any()
    }


def compare_systems(
    labels: Shaped[np.ndarray, "..."],
    systems: Mapping[str, Sequence[Run]],
    reference: str,
    *,
    groups: Shaped[np.ndarray, "..."] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    ranking: bool = False,
) -> dict[str, dict[str, PairedDifference]]:
    """Compare systems of several runs each with one of them: each system minus the reference.

    What is compared is the mean of a metric over the runs of a system, the number that tables show;
    probabilities are not averaged, which would compare ensembles. All runs are judged on the same
    resamples, and the p-value is that of :func:`paired_bootstrap`. It says whether other test
    samples would turn the order of these trained models round, not whether other seeds would.

    Args:
        labels: (n, L), 0 or 1.
        systems: name -> probabilities (n, L) and thresholds (a number or (L,)) of each run.
        reference: the name of the system that the others are compared with.
        groups: (n,), samples with equal values are drawn together.
        resamples: how many times the samples are drawn again.
        seed: of the drawing.
        level: share of the resamples inside the interval.
        ranking: include mAP and mean AUC, which take most of the time.

    Returns:
        System -> metric -> difference, without the reference; metrics undefined in some resample
        are left out. Empty with a single sample, or a single group.

    Raises:
        DataError: the reference is not among the systems, a system has no runs, or arguments that
            do not fit.
    """
    _check_level(level)
    if empty := sorted(name for name in {*systems, reference} if not systems.get(name)):
        raise DataError(f"no runs of {', '.join(empty)}", expected="at least one of each system")
    judged = {
        name: [_Judged(labels, p, thresholds, ranking=ranking) for p, thresholds in runs]
        for name, runs in systems.items()
    }

    def differences(weights: Float64[np.ndarray, "n columns"]) -> dict[tuple[str, str], Any]:
        means = {}
        for name, runs in judged.items():
            found = [run.metrics(weights) for run in runs]
            means[name] = {m: np.mean([run[m] for run in found], axis=0) for m in found[0]}
        base = means.pop(reference)
        return {(name, m): x - base[m] for name, values in means.items() for m, x in values.items()}

    samples = judged[reference][0].samples
    values = differences(np.ones((samples, 1)))
    drawn = _stack([differences(w) for w in _resamples(samples, groups, resamples, seed)])
    if not drawn:
        return {}
    result: dict[str, dict[str, PairedDifference]] = {n: {} for n in systems if n != reference}
    for (name, metric), sample in drawn.items():
        if not np.isnan(sample).any():
            result[name][metric] = PairedDifference(
                value=float(values[name, metric][0]),
                p_value=_p_value(sample),
                **_ends(sample, level),
            )
    return result


def _p_value(differences: Float64[np.ndarray, "resamples"]) -> float:
    # the two systems' sums are rounded alike, yet not always to the last bit
    not_above = int((differences <= 1e-12).sum())
    not_below = int((differences >= -1e-12).sum())
    return min(1.0, 2 * (min(not_above, not_below) + 1) / (len(differences) + 1))


def summarise_seeds(runs: Sequence[Metrics]) -> SeedSummary:
    """Return mean and standard deviation of each metric over runs with different seeds.

    Args:
        runs: the metrics of each run on the same split.

    Raises:
        DataError: no runs, or runs on different labels or numbers of samples.
    """
    if not runs:
        raise DataError("no runs to summarise", expected="the metrics of at least one run")
    first = runs[0]
    for position, run in enumerate(runs):
        if list(run.labels) != list(first.labels) or run.samples != first.samples:
            raise DataError(
                f"run {position} judges {run.samples} samples, labels {list(run.labels)}",
                expected=f"{first.samples} samples and labels {list(first.labels)}, as run 0",
                fix="summarise runs on one split of one data set",
            )
    return SeedSummary(
        runs=len(runs),
        overall=_spreads([run.overall() for run in runs]),
        labels={
            label: _spreads([run.labels[label].model_dump() for run in runs])
            for label in first.labels
        },
    )


def _spreads(tables: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    spreads = {}
    for name in tables[0]:
        values = [value for table in tables if (value := table[name]) is not None]
        if values:
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spreads[name] = Spread(mean=float(np.mean(values)), std=std, runs=len(values))
    return spreads
