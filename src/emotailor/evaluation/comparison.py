"""How sure a number is: bootstrap intervals, spread over seeds, paired tests of two systems.

- The bootstrap draws test samples with replacement. Segments of one video are not independent;
  pass ``groups`` to draw whole videos instead, which gives wider and more honest intervals.
- A resample is a vector of counts per sample. The threshold metrics need only the counts' products
  with per-sample statistics; the ranking metrics sort each label once and weight by the counts.
- The interval says how the number would vary with other test samples, not with another training
  seed: for that, see ``summarise_seeds``.
- All resamples of a single sample, or of a single group, are alike: there is nothing to say.
- A metric of others is called once per resample, on the samples as they were drawn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped
from pydantic import BaseModel, ConfigDict

from emotailor.errors import DataError
from emotailor.evaluation.custom import CustomMetric, MetricLike, resolve_metrics
from emotailor.evaluation.intervals import (
    Resampling,
    difference_ends,
    difference_p_value,
    metric_ends,
)
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
Resamples = tuple[dict[Any, float], dict[Any, np.ndarray], Resampling]
JudgedRun = tuple[Any, Any]  # probabilities (n, L) of one trained model, and its thresholds
_CHUNK_VALUES = 2**18  # counts held at once: 2 MB, so that sums stay in cache


class Interval(BaseModel):
    """A metric and its bootstrap interval.

    Attributes:
        value: metric on the samples as they are.
        low: lower end.
        high: upper end.
        level: share of cases in which the true value is to lie between the two.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return format(self, ".3f")

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, form: str) -> str:
        if not form:
            return str(self)

        # the form of one number is that of all three
        low = format(self.low, form)
        high = format(self.high, form)
        return f"{self.value:{form}} [{low}, {high}]"

    def _repr_html_(self) -> str:
        return f"<span>{escape(str(self))}</span>"


class PairedDifference(Interval):
    """How much higher a metric is for system A than for B on the same samples.

    Attributes:
        p_value: two-sided; it is below 0.05 where 0 lies outside the 95 % interval.
    """

    p_value: float

    def __str__(self) -> str:
        ends = f"[{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.value:+.3f} {ends}, p = {self.p_value:.4f}"

    def __repr__(self) -> str:
        return str(self)


class Spread(BaseModel):
    """A metric over several runs.

    Attributes:
        mean: mean over the runs in which it is defined.
        std: sample standard deviation (n - 1); None for a single run.
        runs: number of runs in which it is defined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    std: float | None
    runs: int

    def __str__(self) -> str:
        deviation = "" if self.std is None else f" ± {self.std:.3f}"
        return f"{self.mean:.3f}{deviation}"

    def __repr__(self) -> str:
        return str(self)


class SeedSummary(BaseModel):
    """Several runs of one system that differ in their seed.

    Attributes:
        runs: number of runs.
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

    With fewer than two units (samples, or groups) there are none: they would all be alike.
    """
    if resamples < 1:
        raise DataError(f"{resamples} resamples", expected="1 or more, usually 2000")

    units = samples
    member = None  # (n,), the unit of each sample, where units are groups
    if groups is not None:
        if groups.shape != (samples,):
            raise DataError(
                f"groups of shape {groups.shape}",
                expected=f"one per sample: ({samples},)",
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

        # each column gets numbers of its own, so that one bincount serves all
        drawn += units * np.arange(columns)[:, None]
        flat = np.bincount(drawn.ravel(), minlength=columns * units)
        counts = flat.reshape(columns, units).T  # (units, columns)

        if member is not None:
            counts = counts[member]  # (n, columns)
        yield np.ascontiguousarray(counts, np.float64)


class _Judged:
    """Labels and probabilities of one system, prepared for being judged under many weightings."""

    def __init__(
        self,
        labels: Shaped[np.ndarray, "..."],
        probabilities: Shaped[np.ndarray, "..."],
        thresholds: float | Shaped[np.ndarray, "..."],
        *,
        ranking: bool,
        extra: Sequence[CustomMetric] = (),
    ) -> None:
        truth = check_labels(labels)  # (n, L)
        scores = check_probabilities(probabilities, truth.shape)
        samples, count = truth.shape
        cuts = threshold_vector(thresholds, count)  # (L,)
        decisions = scores > cuts  # (n, L)

        self.samples = samples
        self.labels = truth
        self.scores = scores
        self.decisions = decisions
        self.statistics = sample_statistics(truth, decisions)
        self.extra = extra

        # each label is sorted once, whatever the number of weightings
        self.rankings: list[Ranking] = []
        if ranking:
            for j in range(count):
                label = Ranking(truth[:, j], scores[:, j])
                self.rankings.append(label)

    def metrics(
        self, weights: Float64[np.ndarray, "n columns"]
    ) -> dict[str, Float64[np.ndarray, "columns"]]:
        """Return each metric under each column of sample weights; NaN where undefined."""
        # groups differ in size, so a resample need not have the original number of samples
        total = weights.sum(0)  # (columns,)
        sums = weights.T @ self.statistics  # (columns, statistics)
        means = sums / total[:, None]
        found = overall_from_sums(means, 1) | self._ranking_metrics(weights)

        ordered = {}
        for name in OVERALL:
            if name in found:
                ordered[name] = found[name]
        return ordered | self._extra_metrics(weights)

    def _ranking_metrics(
        self, weights: Float64[np.ndarray, "n columns"]
    ) -> dict[str, Float64[np.ndarray, "columns"]]:
        """Return the means over labels of the ranking metrics; empty without rankings."""
        if not self.rankings:
            return {}

        precisions = []
        areas = []
        for ranking in self.rankings:
            precision, area = ranking.metrics(weights)
            precisions.append(precision)
            areas.append(area)

        return {
            "mean_average_precision": _mean_defined(np.array(precisions)),
            "mean_roc_auc": _mean_defined(np.array(areas)),
        }

    def _extra_metrics(
        self, weights: Float64[np.ndarray, "n columns"]
    ) -> dict[str, Float64[np.ndarray, "columns"]]:
        """Call the metrics of others once per column, on the samples as they were drawn."""
        if not self.extra:
            return {}

        columns = weights.shape[1]
        found = {metric.name: np.empty(columns) for metric in self.extra}
        rows = np.arange(self.samples)

        for column in range(columns):
            # a sample drawn twice stands there twice
            counts = weights[:, column].astype(np.int64)
            drawn = np.repeat(rows, counts)

            labels = self.labels[drawn]
            scores = self.scores[drawn]
            decisions = self.decisions[drawn]
            for metric in self.extra:
                value = metric(labels, scores, decisions)
                found[metric.name][column] = value
        return found


def _mean_defined(values: Float64[np.ndarray, "labels columns"]) -> Float64[np.ndarray, "columns"]:
    """Return the mean over the labels that are defined; NaN where none is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(0)
    with np.errstate(invalid="ignore"):
        mean: Float64[np.ndarray, "columns"] = total / defined.sum(0)
    return mean


def _resample(
    judge: Callable[[Float64[np.ndarray, "n columns"]], Mapping[Any, Any]],
    samples: int,
    groups: Shaped[np.ndarray, "..."] | None,
    resamples: int,
    *,
    seed: int,
    level: float,
) -> Resamples:
    """Judge the samples as they are, and all resamples of them.

    Returns:
        Values on the samples, and values on the resamples of what is defined in all of them, both
        empty where there are no resamples; and what was drawn.
    """
    every_sample_once = np.ones((samples, 1))
    as_they_are = judge(every_sample_once)

    weightings = _resamples(samples, groups, resamples, seed)
    parts = [judge(weights) for weights in weightings]
    units = samples if groups is None else len(np.unique(groups))
    resampling = Resampling(samples, units, level)
    if not parts:
        return {}, {}, resampling

    values = {}
    drawn = {}
    for name in parts[0]:
        of_parts = [part[name] for part in parts]
        of_resamples = np.concatenate(of_parts)  # (resamples,)

        # a metric that some resample leaves undefined has no interval
        if np.isnan(of_resamples).any():
            continue
        drawn[name] = of_resamples
        values[name] = float(as_they_are[name][0])
    return values, drawn, resampling


def _difference(
    value: float, drawn: Float64[np.ndarray, "resamples"], resampling: Resampling
) -> PairedDifference:
    low, high = difference_ends(value, drawn, resampling)
    p_value = difference_p_value(value, drawn, resampling)
    return PairedDifference(
        value=value,
        low=low,
        high=high,
        level=resampling.level,
        p_value=p_value,
    )


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
    metrics: Sequence[MetricLike] = (),
) -> dict[str, Interval]:
    """Return bootstrap intervals of the overall metrics, by name.

    How the resamples become an interval, and how often it holds the true value, see
    :mod:`emotailor.evaluation.intervals`.

    Args:
        labels: (n, L), 0 or 1.
        probabilities: (n, L), from 0 to 1.
        thresholds: one number, or (L,). They are not chosen again in each resample.
        groups: (n,), any type; samples with equal values (of one video, say) are drawn together.
        resamples: how many times the samples are drawn again.
        seed: seed of the drawing.
        level: share of cases in which the interval is to hold the true value.
        ranking: include mAP and mean AUC, which take most of the time. In each resample they are
            means over the labels that are defined in it.
        metrics: metrics of others; each is called once per resample, and more slowly than ours.

    Returns:
        Metric name -> interval; a metric that is undefined on these samples, or in some resample,
        is left out. Empty with a single sample, or a single group.

    Raises:
        DataError: there are no samples, or arguments do not fit.
        ConfigError: a metric of others cannot be found, or fails.
    """
    values, drawn, resampling = resample_metrics(
        labels,
        probabilities,
        thresholds,
        groups=groups,
        resamples=resamples,
        seed=seed,
        level=level,
        ranking=ranking,
        metrics=metrics,
    )
    intervals = {}
    for name, of_resamples in drawn.items():
        value = values[name]
        low, high = metric_ends(value, of_resamples, resampling)
        intervals[name] = Interval(value=value, low=low, high=high, level=level)
    return intervals


def resample_metrics(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    thresholds: float | Shaped[np.ndarray, "..."],
    *,
    groups: Shaped[np.ndarray, "..."] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    ranking: bool = True,
    metrics: Sequence[MetricLike] = (),
) -> Resamples:
    """Return what :func:`bootstrap` makes its intervals of; arguments and errors are its own.

    With the same samples, groups, number and seed, two systems are judged on the same resamples.

    Returns:
        Metric name -> value on the samples as they are, and on the resamples, (resamples,), of
        what is defined in all of them; and what was drawn.
    """
    _check_level(level)
    extra = resolve_metrics(metrics, taken=OVERALL)
    judged = _Judged(labels, probabilities, thresholds, ranking=ranking, extra=extra)
    return _resample(
        judged.metrics,
        judged.samples,
        groups,
        resamples,
        seed=seed,
        level=level,
    )


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
    metrics: Sequence[MetricLike] = (),
) -> dict[str, PairedDifference]:
    """Compare systems A and B on the same samples: A minus B, its interval and p-value.

    Both are judged on the same resamples. The p-value comes from min(P(d <= 0), P(d >= 0)) over the
    resampled differences d, moved so that their mean is the difference; each share is taken as
    (k + 1) / (resamples + 1), so that p is never 0. It belongs to the interval: 0 lies outside a
    95 % interval where p < 0.05, up to the added one. It is not corrected for looking at several
    metrics or systems.

    Args:
        labels: (n, L), 0 or 1.
        a: (n, L), probabilities of system A.
        b: (n, L), probabilities of system B, of the same samples in the same order.
        thresholds_a: thresholds of system A: one number, or (L,).
        thresholds_b: thresholds of system B.
        groups: (n,), samples with equal values are drawn together.
        resamples: how many times the samples are drawn again.
        seed: seed of the drawing.
        level: share of cases in which the interval is to hold the true value.
        ranking: include mAP and mean AUC.
        metrics: metrics of others; each is called once per resample, and more slowly than ours.

    Returns:
        Metric name -> difference; metrics undefined in some resample are left out. Empty with a
        single sample, or a single group.

    Raises:
        DataError: there are no samples, or arguments do not fit.
        ConfigError: a metric of others cannot be found, or fails.
    """
    _check_level(level)
    extra = resolve_metrics(metrics, taken=OVERALL)
    first = _Judged(labels, a, thresholds_a, ranking=ranking, extra=extra)
    second = _Judged(labels, b, thresholds_b, ranking=ranking, extra=extra)

    def differences(weights: Float64[np.ndarray, "n columns"]) -> dict[str, Any]:
        # both systems on the same resamples
        of_first = first.metrics(weights)
        of_second = second.metrics(weights)
        return {name: of_first[name] - of_second[name] for name in of_first}

    values, drawn, resampling = _resample(
        differences,
        first.samples,
        groups,
        resamples,
        seed=seed,
        level=level,
    )
    found = {}
    for name, of_resamples in drawn.items():
        found[name] = _difference(values[name], of_resamples, resampling)
    return found


def compare_systems(
    labels: Shaped[np.ndarray, "..."],
    systems: Mapping[str, Sequence[JudgedRun]],
    reference: str,
    *,
    groups: Shaped[np.ndarray, "..."] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    ranking: bool = False,
    metrics: Sequence[MetricLike] = (),
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
        seed: seed of the drawing.
        level: share of cases in which the interval is to hold the true value.
        ranking: include mAP and mean AUC, which take most of the time.
        metrics: metrics of others; each is called once per resample, and more slowly than ours.

    Returns:
        System -> metric -> difference, without the reference; metrics undefined in some resample
        are left out. Empty with a single sample, or a single group.

    Raises:
        DataError: the reference is not among the systems, a system has no runs, or arguments that
            do not fit.
        ConfigError: a metric of others cannot be found, or fails.
    """
    _check_level(level)
    wanted = {*systems, reference}
    empty = sorted(name for name in wanted if not systems.get(name))
    if empty:
        raise DataError(f"no runs of {', '.join(empty)}", expected="at least one of each system")

    extra = resolve_metrics(metrics, taken=OVERALL)
    judged: dict[str, list[_Judged]] = {name: [] for name in systems}
    for name, runs in systems.items():
        for probabilities, thresholds in runs:
            run = _Judged(labels, probabilities, thresholds, ranking=ranking, extra=extra)
            judged[name].append(run)

    def differences(weights: Float64[np.ndarray, "n columns"]) -> dict[tuple[str, str], Any]:
        base = _mean_metrics(judged[reference], weights)

        found = {}
        for name, runs in judged.items():
            if name == reference:
                continue
            means = _mean_metrics(runs, weights)
            for metric, mean in means.items():
                found[name, metric] = mean - base[metric]
        return found

    samples = judged[reference][0].samples
    values, drawn, resampling = _resample(
        differences,
        samples,
        groups,
        resamples,
        seed=seed,
        level=level,
    )
    if not drawn:
        return {}

    others = [name for name in systems if name != reference]
    result: dict[str, dict[str, PairedDifference]] = {name: {} for name in others}
    for pair, of_resamples in drawn.items():
        name, metric = pair
        result[name][metric] = _difference(values[pair], of_resamples, resampling)
    return result


def _mean_metrics(
    runs: Sequence[_Judged], weights: Float64[np.ndarray, "n columns"]
) -> dict[str, Any]:
    """Return the mean of each metric over the runs of one system, under each weighting."""
    found = [run.metrics(weights) for run in runs]

    means = {}
    for name in found[0]:
        of_runs = [metrics[name] for metrics in found]
        means[name] = np.mean(of_runs, axis=0)  # (columns,)
    return means


def summarise_seeds(runs: Sequence[Metrics]) -> SeedSummary:
    """Return mean and standard deviation of each metric over runs with different seeds.

    Args:
        runs: metrics of each run on the same split.

    Raises:
        DataError: there are no runs, or they differ in labels, number of samples, or metrics of
            others.
    """
    if not runs:
        raise DataError("no runs to summarise", expected="the metrics of at least one run")
    _check_alike(runs)

    overall = _spreads([run.overall() for run in runs])

    by_label = {}
    for label in runs[0].labels:
        of_runs = [run.labels[label].model_dump() for run in runs]
        by_label[label] = _spreads(of_runs)
    return SeedSummary(runs=len(runs), overall=overall, labels=by_label)


def _check_alike(runs: Sequence[Metrics]) -> None:
    """Refuse runs that cannot be averaged.

    Raises:
        DataError: a run differs from the first in labels, number of samples, or metrics of others.
    """
    first = runs[0]
    labels = list(first.labels)
    extra = sorted(first.extra)

    for position, run in enumerate(runs):
        own_labels = list(run.labels)
        if own_labels != labels or run.samples != first.samples:
            raise DataError(
                f"run {position} judges {run.samples} samples, labels {own_labels}",
                expected=f"{first.samples} samples and labels {labels}, as run 0",
                fix="summarise runs on one split of one data set",
            )

        own_extra = sorted(run.extra)
        if own_extra != extra:
            raise DataError(
                f"run {position} has the metrics {own_extra} of others",
                expected=f"{extra}, as run 0",
                fix="evaluate all runs with the same metrics",
            )


def _spreads(tables: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    """Return the spread of each value over the tables in which it is defined."""
    spreads = {}
    for name in tables[0]:
        found = [table[name] for table in tables]
        values = [float(value) for value in found if value is not None]
        if values:
            spreads[name] = spread_of(values)
    return spreads


def spread_of(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of at least one value."""
    mean = float(np.mean(values))
    std = None
    if len(values) > 1:
        std = float(np.std(values, ddof=1))
    return Spread(mean=mean, std=std, runs=len(values))
