"""Multi-label metrics: 0/1 labels and probabilities in, numbers out.

- A label is predicted where its probability is strictly above its threshold.
- "Accuracy" is the paper's: the mean over samples of ``|Y ∩ Ŷ| / |Y ∪ Ŷ|``, 0 where both are
  empty.
- Precision, recall and F1 are micro-averaged over all (sample, label) pairs, 0 where undefined.
  The authors' program exchanges precision and recall; here they are as defined.
- Average precision and ROC AUC need no threshold. A label without positives has neither, and one
  without negatives has no AUC: None, left out of the mean, and listed.
- All but the ranking metrics are functions of sums over samples (``sample_statistics``), so a
  bootstrap only has to weight those sums.
- Metrics of others stand beside ours, in ``Metrics.extra``; see ``custom.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from pydantic import BaseModel, ConfigDict, Field, model_serializer

from emotailor.errors import DataError
from emotailor.evaluation.custom import MetricLike, resolve_metrics
from emotailor.evaluation.notebook import format_number, html_table
from emotailor.frames import data_frame

OVERALL = (
    "accuracy",
    "micro_precision",
    "micro_recall",
    "micro_f1",
    "macro_f1",
    "mean_average_precision",
    "mean_roc_auc",
    "hamming_loss",
    "subset_accuracy",
    "label_ranking_average_precision",
)
"""The overall metrics, in the order in which they are shown."""

NUMBER_KINDS = "biuf"
"""The kinds of numpy types that are numbers: booleans, integers and floats."""


class LabelMetrics(BaseModel):
    """Metrics of one label.

    Attributes:
        threshold: a sample has the label where its probability is strictly above this.
        support: number of samples that have the label.
        predicted: number of samples predicted to have it.
        precision: precision of the label; 0 where nothing is predicted.
        recall: recall of the label; 0 where the label has no positives.
        f1: F1 of the label; 0 where precision and recall are.
        average_precision: average precision; None without positives.
        roc_auc: area under the ROC curve; None without positives or without negatives.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float
    support: int
    predicted: int
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    roc_auc: float | None


class Metrics(BaseModel):
    """Metrics of one system on one split; ours lie in 0..1, higher is better but for Hamming loss.

    Attributes:
        samples: number of samples that were judged.
        accuracy: mean over samples of ``|Y ∩ Ŷ| / |Y ∪ Ŷ|``, 0 where both are empty.
        micro_precision: precision over all (sample, label) pairs; 0 where nothing is predicted.
        micro_recall: recall over all pairs; 0 where there are no positives.
        micro_f1: harmonic mean of the two, 0 where both are.
        macro_f1: mean of the labels' F1, those without positives included as 0.
        mean_average_precision: mean over the labels that have one; None where none has.
        mean_roc_auc: mean over the labels that have one; None where none has.
        hamming_loss: share of wrong (sample, label) pairs.
        subset_accuracy: share of samples with every label right.
        label_ranking_average_precision: mean over samples of how much of what ranks above each
            true label is true; 1 for samples with no label or all of them.
        labels: label name -> metrics of this label, in the order of the columns.
        without_average_precision: labels left out of ``mean_average_precision``.
        without_roc_auc: labels left out of ``mean_roc_auc``.
        extra: metric of others -> value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int
    accuracy: float
    micro_precision: float
    micro_recall: float
    micro_f1: float
    macro_f1: float
    mean_average_precision: float | None
    mean_roc_auc: float | None
    hamming_loss: float
    subset_accuracy: float
    label_ranking_average_precision: float
    labels: dict[str, LabelMetrics]
    without_average_precision: tuple[str, ...]
    without_roc_auc: tuple[str, ...]
    extra: dict[str, float] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _serialize(self, handler: Callable[[Any], Any]) -> dict[str, Any]:
        """Leave ``extra`` out where it is empty: files without it are as they always were."""
        values: dict[str, Any] = handler(self)
        if not self.extra:
            values.pop("extra", None)
        return values

    def overall(self) -> dict[str, float | None]:
        """Return the overall metrics by name: ours in the order of ``OVERALL``, then others'."""
        values: dict[str, float | None] = {}
        for name in OVERALL:
            values[name] = getattr(self, name)
        return values | self.extra

    def to_dataframe(self) -> Any:
        """Return the overall metrics as a ``pandas.DataFrame``, one row per metric.

        Raises:
            ConfigError: pandas is not installed.
        """
        overall = self.overall()

        rows = []
        for name, value in overall.items():
            row = {"metric": name, "value": value}
            rows.append(row)
        return data_frame(rows, index="metric")

    def labels_to_dataframe(self) -> Any:
        """Return the metrics of the labels as a ``pandas.DataFrame``, one row per label.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = []
        for name, label in self.labels.items():
            values = label.model_dump()
            row = {"label": name, **values}
            rows.append(row)
        return data_frame(rows, index="label")

    def __repr__(self) -> str:
        shown = [f"{name}={text}" for name, text in self._overall_cells()]
        values = ", ".join(shown)
        count = len(self.labels)
        return f"Metrics({self.samples} samples, {count} labels: {values})"

    def _repr_html_(self) -> str:
        samples = f"{self.samples:,} samples"
        overall = html_table(("metric", "value"), self._overall_cells(), caption=samples)

        header = ("label", *LabelMetrics.model_fields)
        rows = []
        for name, label in self.labels.items():
            cells = _label_cells(label)
            rows.append((name, *cells))
        by_label = html_table(header, rows, caption="per label")

        return f"{overall}\n{by_label}"

    def _overall_cells(self) -> list[tuple[str, str]]:
        """Return name and value of each overall metric as text."""
        overall = self.overall()
        return [(name, format_number(value)) for name, value in overall.items()]


def _label_cells(label: LabelMetrics) -> list[str]:
    """Return the metrics of a label as text: counts whole, the others with three decimals."""
    cells = []
    for value in label.model_dump().values():
        is_count = isinstance(value, int)
        cells.append(str(value) if is_count else format_number(value))
    return cells


def check_labels(labels: Shaped[np.ndarray, "..."]) -> Bool[np.ndarray, "n labels"]:
    """Return 0/1 labels (n, L) as booleans.

    Raises:
        DataError: the array is not two-dimensional, is empty, or has a value other than 0 and 1.
    """
    if labels.ndim != 2 or labels.size == 0:
        raise DataError(
            f"labels of shape {labels.shape}",
            expected="(samples, labels), with at least one of each",
            fix="evaluate on a split that is not empty",
        )

    is_number = labels.dtype.kind in NUMBER_KINDS
    if not is_number or not ((labels == 0) | (labels == 1)).all():
        raise DataError(
            f"labels are not 0/1: {_some(labels)} ({labels.dtype})",
            expected="only 0 and 1, as numbers or booleans",
        )
    return labels.astype(bool)


def check_probabilities(
    probabilities: Shaped[np.ndarray, "..."], shape: tuple[int, ...] | None = None
) -> Float64[np.ndarray, "n labels"]:
    """Return probabilities (n, L) in float64.

    Args:
        probabilities: one number per sample and label.
        shape: shape of the labels that the probabilities belong to; None where there are no labels.

    Raises:
        DataError: the shape is another, a value is not a number, or it lies outside [0, 1].
    """
    _check_shape(probabilities, shape)
    dtype = probabilities.dtype
    if dtype.kind not in NUMBER_KINDS:
        raise DataError(f"probabilities of type {dtype}", expected="numbers")

    values = probabilities.astype(np.float64)
    inside = (values >= 0) & (values <= 1)  # false for NaN as well
    if inside.all():
        return values

    # say how many there are, and where the first one is
    outside = np.argwhere(~inside)
    row, column = outside[0].tolist()
    value = values[row, column]
    raise DataError(
        f"{len(outside)} of {values.size} probabilities are not in [0, 1]: "
        f"the first is {value} of sample {row}, label {column}",
        expected="numbers from 0 to 1",
        fix="pass probabilities, not logits; for NaN, check whether training diverged",
    )


def _check_shape(probabilities: Shaped[np.ndarray, "..."], wanted: tuple[int, ...] | None) -> None:
    """Check the shape of probabilities: ``wanted``, or any with two axes where that is None.

    Raises:
        DataError: the shape is another.
    """
    shape = probabilities.shape
    if wanted is None and len(shape) != 2:
        raise DataError(
            f"probabilities of shape {shape}",
            expected="shape (samples, labels)",
        )
    if wanted is not None and shape != wanted:
        raise DataError(
            f"probabilities of shape {shape}", expected=f"shape {wanted}, as the labels"
        )


def check_label_names(label_names: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the names of ``count`` label columns as a tuple.

    Raises:
        DataError: the number of names is another, or a name stands there twice.
    """
    names = tuple(label_names)
    distinct = set(names)
    if len(names) != count or len(distinct) != count:
        raise DataError(
            f"label names {list(names)}",
            expected=f"{count} distinct names, one per label column",
        )
    return names


def threshold_vector(
    thresholds: float | Shaped[np.ndarray, "..."], count: int
) -> Float64[np.ndarray, "labels"]:
    """Return one threshold, or one per label, as ``count`` thresholds.

    Raises:
        DataError: the number of thresholds is another, or a threshold is not in [0, 1].
    """
    vector = np.asarray(thresholds, np.float64)
    shape = vector.shape
    if shape not in ((), (count,)):
        raise DataError(
            f"thresholds of shape {shape}",
            expected=f"one number, or {count}: one per label",
        )

    inside = (vector >= 0) & (vector <= 1)  # false for NaN as well
    if not inside.all():
        raise DataError(
            f"thresholds {vector.tolist()}",
            expected="numbers from 0 to 1",
        )
    return np.broadcast_to(vector, (count,))


def decide(
    probabilities: Shaped[np.ndarray, "..."], thresholds: float | Shaped[np.ndarray, "..."]
) -> Bool[np.ndarray, "n labels"]:
    """Return which labels are predicted: probability strictly above the threshold.

    The comparison is made in float64, whatever the type of ``probabilities``.

    Args:
        probabilities: probabilities, (n, L).
        thresholds: one number, or (L,).

    Raises:
        DataError: the shapes do not fit, or a value lies outside [0, 1].
    """
    values = check_probabilities(probabilities)
    count = values.shape[1]
    cuts = threshold_vector(thresholds, count)  # (L,)
    return values > cuts


def ratio(numerator: Any, denominator: Any) -> Any:
    """Divide elementwise; 0 where the denominator is 0."""
    above = np.asarray(numerator, np.float64)
    below = np.asarray(denominator, np.float64)
    above, below = np.broadcast_arrays(above, below)

    quotient = np.zeros(above.shape)
    return np.divide(above, below, out=quotient, where=below != 0)


def sample_statistics(
    labels: Bool[np.ndarray, "n labels"], decisions: Bool[np.ndarray, "n labels"]
) -> Float64[np.ndarray, "n statistics"]:
    """Return what each sample adds to the sums that the threshold metrics are made of.

    The 2 + 3 L columns are: Jaccard index, all labels right, then per label: hit, predicted, true.
    """
    # |Y ∩ Ŷ| / |Y ∪ Ŷ| of each sample
    hits = labels & decisions
    either = labels | decisions
    jaccard = ratio(hits.sum(1), either.sum(1))

    right = labels == decisions
    exact = right.all(1)
    columns = np.column_stack([jaccard, exact, hits, decisions, labels])
    return columns.astype(np.float64)


def overall_from_sums(
    sums: Float64[np.ndarray, "resamples statistics"], samples: int
) -> dict[str, Float64[np.ndarray, "resamples"]]:
    """Return the threshold metrics by name.

    Args:
        sums: ``sample_statistics`` summed over samples, once per row.
        samples: number of samples summed in each row.
    """
    jaccard = sums[:, 0]
    exact = sums[:, 1]
    per_label = sums[:, 2:]  # (resamples, 3 L)
    hits, predicted, true = np.split(per_label, 3, axis=1)  # each (resamples, L)
    label_f1 = ratio(2 * hits, predicted + true)

    # over all labels: (resamples,)
    all_hits = hits.sum(1)
    all_predicted = predicted.sum(1)
    all_true = true.sum(1)
    either = all_predicted + all_true

    # a pair is wrong where it is either predicted or true, but not both
    wrong = either - 2 * all_hits
    pairs = samples * hits.shape[1]

    return {
        "accuracy": jaccard / samples,
        "micro_precision": ratio(all_hits, all_predicted),
        "micro_recall": ratio(all_hits, all_true),
        "micro_f1": ratio(2 * all_hits, either),
        "macro_f1": label_f1.mean(1),
        "hamming_loss": wrong / pairs,
        "subset_accuracy": exact / samples,
    }


class Ranking:
    """One label's samples sorted by score; ties form one group of the ranking.

    Sorting is done once, and the two metrics may then be asked for many weightings.

    Args:
        labels: (n,), whether each sample has the label.
        scores: (n,), higher means more likely.
    """

    def __init__(self, labels: Bool[np.ndarray, "n"], scores: Float64[np.ndarray, "n"]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._positive = labels[self._order]

        # a group ends where the next score is another, and at the end
        ranked = scores[self._order]
        changes = np.diff(ranked) != 0
        is_last = np.append(changes, True)
        last = np.flatnonzero(is_last)

        # how many samples, and how many positives, are ranked up to the end of each group
        ends = last + 1
        hits = np.cumsum(self._positive)[last]

        # and how many before it
        starts = np.append(0, ends[:-1])
        hits_before = np.append(0, hits[:-1])

        # only groups that hold a positive matter
        kept = hits > hits_before
        self._starts = starts[kept]
        self._ends = ends[kept]
        self._hits_before = hits_before[kept]
        self._hits = hits[kept]

    def metrics(
        self, weights: Float64[np.ndarray, "n resamples"]
    ) -> tuple[Float64[np.ndarray, "resamples"], Float64[np.ndarray, "resamples"]]:
        """Return average precision and ROC AUC under sample weights; NaN where undefined.

        Average precision is sum_k (R_k - R_{k-1}) P_k over the distinct scores, without
        interpolation. AUC is the chance that a positive outranks a negative, a tie counting half.

        Args:
            weights: (n, resamples); each column weights the samples once.
        """
        ordered = weights[self._order]
        ranked = _running_sum(ordered)  # (n + 1, resamples)
        true = _running_sum(ordered[self._positive])  # (positives + 1, resamples)
        positives = true[-1]
        negatives = ranked[-1] - positives

        # a row per group that holds a positive, from here on: (groups, resamples)
        ranked_before = ranked[self._starts]
        ranked_at_end = ranked[self._ends]
        hits_before = true[self._hits_before]
        hits = true[self._hits]
        gain = hits - hits_before

        # negatives above a positive, twice: those before its group, and those up to its end
        wrong_above = ranked_before + ranked_at_end - hits_before - hits

        # nothing is gained where the weights ranked so far are all 0
        tiny = np.finfo(np.float64).tiny
        with np.errstate(invalid="ignore"):
            precision = hits / np.maximum(ranked_at_end, tiny)
            average_precision = np.einsum("ij,ij->j", gain, precision) / positives
            wrong_pairs = np.einsum("ij,ij->j", gain, wrong_above)
            auc = 1 - wrong_pairs / (2 * positives * negatives)
        return average_precision, auc


def _running_sum(
    values: Float64[np.ndarray, "n resamples"],
) -> Float64[np.ndarray, "n_plus_1 resamples"]:
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, 0, out=sums[1:])
    return sums


def label_ranking_average_precision(
    labels: Bool[np.ndarray, "n labels"], probabilities: Float64[np.ndarray, "n labels"]
) -> float:
    """Return the mean over samples of the precision at the rank of each true label.

    A tie takes the worst rank. Samples with no label, or with every label, count as 1.
    """
    # at_least[i, j, k]: label k of sample i ranks no lower than label j
    other = probabilities[:, None, :]  # (n, 1, L)
    own = probabilities[:, :, None]  # (n, L, 1)
    at_least = other >= own  # (n, L, L)
    true_at_least = at_least & labels[:, None, :]

    # precision[i, j]: share of true labels down to the rank of label j
    ranked = at_least.sum(2)  # (n, L)
    hits = true_at_least.sum(2)
    precision = hits / ranked

    # mean over the true labels of each sample
    count = labels.sum(1)  # (n,)
    total = (precision * labels).sum(1)
    scores = ratio(total, count)
    scores = np.where(count == 0, 1.0, scores)
    return float(scores.mean())


def evaluate(
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    label_names: Sequence[str],
    thresholds: float | Shaped[np.ndarray, "..."],
    *,
    metrics: Sequence[MetricLike] = (),
) -> Metrics:
    """Judge probabilities against labels.

    Args:
        labels: (n, L), 0 or 1.
        probabilities: (n, L), from 0 to 1.
        label_names: names of the columns, distinct.
        thresholds: one number, or (L,), from 0 to 1.
        metrics: metrics of others; see :mod:`emotailor.evaluation.custom`.

    Raises:
        DataError: there are no samples, shapes do not fit, or a value is out of range.
        ConfigError: a metric of others cannot be found, fails, or returns NaN or no number.
    """
    truth = check_labels(labels)
    n, count = truth.shape
    scores = check_probabilities(probabilities, truth.shape)
    names = check_label_names(label_names, count)
    cuts = threshold_vector(thresholds, count)
    others = resolve_metrics(metrics, taken=OVERALL)
    decisions = scores > cuts  # (n, L)

    # the threshold metrics, from sums over samples: (2 + 3 L,)
    sums = sample_statistics(truth, decisions).sum(0)
    from_sums = overall_from_sums(sums[None], n)
    overall = {name: float(value[0]) for name, value in from_sums.items()}

    # the ranking metrics, which not every label has
    by_label = _judge_labels(names, cuts, truth, scores, sums)
    precisions = {name: label.average_precision for name, label in by_label.items()}
    areas = {name: label.roc_auc for name, label in by_label.items()}
    lrap = label_ranking_average_precision(truth, scores)

    extra = {}
    for metric in others:
        extra[metric.name] = metric.of_split(truth, scores, decisions)

    return Metrics(
        samples=n,
        **overall,
        mean_average_precision=_mean(precisions),
        mean_roc_auc=_mean(areas),
        label_ranking_average_precision=lrap,
        labels=by_label,
        without_average_precision=_undefined(precisions),
        without_roc_auc=_undefined(areas),
        extra=extra,
    )


def _judge_labels(
    names: Sequence[str],
    cuts: Float64[np.ndarray, "labels"],
    truth: Bool[np.ndarray, "n labels"],
    scores: Float64[np.ndarray, "n labels"],
    sums: Float64[np.ndarray, "statistics"],
) -> dict[str, LabelMetrics]:
    """Return the metrics of each label; ``sums`` are those of ``sample_statistics``."""
    per_label = sums[2:]
    hits, predicted, true = np.split(per_label, 3)  # each (L,)
    precision = ratio(hits, predicted)
    recall = ratio(hits, true)
    f1 = ratio(2 * hits, predicted + true)

    every_sample_once = np.ones((len(truth), 1))
    by_label = {}
    for j, name in enumerate(names):
        ranking = Ranking(truth[:, j], scores[:, j])
        average_precision, auc = ranking.metrics(every_sample_once)  # each (1,)

        by_label[name] = LabelMetrics(
            threshold=float(cuts[j]),
            support=int(true[j]),
            predicted=int(predicted[j]),
            precision=float(precision[j]),
            recall=float(recall[j]),
            f1=float(f1[j]),
            average_precision=_defined(average_precision),
            roc_auc=_defined(auc),
        )
    return by_label


def _defined(values: Float64[np.ndarray, "1"]) -> float | None:
    value = float(values[0])
    return None if np.isnan(value) else value


def _mean(values: Mapping[str, float | None]) -> float | None:
    """Return the mean over the labels that have a value; None where no label has one."""
    defined = [value for value in values.values() if value is not None]
    return float(np.mean(defined)) if defined else None


def _undefined(values: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return the labels that have no value."""
    return tuple(name for name, value in values.items() if value is None)


def _some(values: Shaped[np.ndarray, "..."]) -> str:
    """Return at most five different values as text."""
    distinct = np.unique(values)
    few = distinct[:5].tolist()
    return ", ".join(map(str, few))
