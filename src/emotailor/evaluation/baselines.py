"""What a system must beat before its numbers mean anything: baselines on the same samples.

- ``all labels`` predicts every label for every sample.
- ``label frequencies`` gives every sample the training frequency of each label.
- ``logistic regression`` is one regression per label on the mean and the deviation over the steps
  of each modality, as the system ``br`` computes them. Its strength is the one with the lowest
  cross-entropy on the validation split.
- Data with words have three more: see ``words.py``.

Their thresholds are chosen as those of any system: on the validation split. All labels are
predicted whatever the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import DataError
from emotailor.evaluation.calibration import Calibration, calibration
from emotailor.evaluation.custom import CustomMetric, MetricLike, resolve_metrics
from emotailor.evaluation.metrics import OVERALL, Metrics, decide, evaluate
from emotailor.evaluation.regression import REGRESSION, regression_scores
from emotailor.evaluation.thresholds import FIXED_THRESHOLD, ThresholdMode, Thresholds
from emotailor.evaluation.words import SENTENCE, TFIDF, UNION, WORDS

ALL_LABELS = "all labels"
FREQUENCIES = "label frequencies"
NAMES = (ALL_LABELS, FREQUENCIES, REGRESSION)
WORD_NAMES = (WORDS, SENTENCE, TFIDF, UNION)
"""Those that data with words have, too; of the first two, the one of their kind of text."""

BLIND = (ALL_LABELS, FREQUENCIES)
"""Those that know nothing of the input."""


@dataclass(frozen=True)
class BaselineResult:
    """How one baseline does on one split.

    Attributes:
        name: one of ``NAMES`` or ``WORD_NAMES``.
        probabilities: (n, L), of the samples with labels, in the order of the split.
        thresholds: (L,), chosen on the validation split.
        decisions: (n, L), which labels are predicted.
        metrics: its metrics.
        strength: C of a regression, chosen on the validation split; None of the others.
        calibration: how far its probabilities can be believed; None of ``all labels``, which gives
            none.
    """

    name: str
    probabilities: Float64[np.ndarray, "n labels"]
    thresholds: Float64[np.ndarray, "labels"]
    decisions: Bool[np.ndarray, "n labels"]
    metrics: Metrics
    strength: float | None = None
    calibration: Calibration | None = None


def baselines(
    dataset: EmotionDataset,
    split: str,
    mode: ThresholdMode,
    *,
    modalities: Sequence[Modality] | None = None,
    label_names: Sequence[str] | None = None,
    fixed: float = FIXED_THRESHOLD,
    train: str = "train",
    valid: str = "valid",
    fitted_on: EmotionDataset | None = None,
    metrics: Sequence[MetricLike] = (),
    folder: Path | None = None,
) -> dict[str, BaselineResult]:
    """Judge the baselines on one split; samples without labels are left out.

    Args:
        dataset: the data set that is judged on.
        split: name of the split to judge on.
        mode: how the thresholds are chosen.
        modalities: those that the regressions see; by default all of the data.
        label_names: the labels in the order of the results; by default that of the data.
        fixed: the threshold of the mode ``fixed``.
        train: name of the split to fit on.
        valid: name of the split on which strength and thresholds are chosen.
        fitted_on: the data set with these two splits; by default ``dataset``.
        metrics: metrics of others, as for ``evaluate``.
        folder: where the regressions are kept in ``baselines-SPLIT.json``; also found one or two
            folders above. None: nowhere.

    Returns:
        Name of the baseline -> result, in the order of ``NAMES``; behind them those of
        ``WORD_NAMES``, where all three splits have words, the text is among the modalities, and
        ``split`` is another than ``valid``.

    Raises:
        DataError: a split is missing, or has no sample with labels.
        ConfigError: a metric of others cannot be found, or fails.
    """
    source = fitted_on or dataset
    fitted = _labelled(source, train)
    chosen_on = _labelled(source, valid)
    judged = _labelled(dataset, split)
    splits = (fitted, chosen_on, judged)

    # columns are matched by name
    names = tuple(label_names or dataset.label_names)
    columns = [source.label_names.index(name) for name in names]
    labels = judged.labels[:, [dataset.label_names.index(name) for name in names]]

    dims = {m: source.dims[m] for m in MODALITIES if m in (modalities or source.dims)}
    frequencies = fitted.labels[:, columns].mean(0, dtype=np.float64)  # (L,)
    every = np.ones(len(names))
    regressions = regression_scores((source, dataset), splits, dims, folder)
    scores = {
        ALL_LABELS: (_tiled(every, chosen_on), _tiled(every, judged)),
        FREQUENCIES: (_tiled(frequencies, chosen_on), _tiled(frequencies, judged)),
    }
    for name, regression in regressions.items():
        on_valid = np.array(regression.valid)[:, columns]
        on_judged = np.array(regression.judged)[:, columns]
        scores[name] = (on_valid, on_judged)

    found = {}
    others = resolve_metrics(metrics, taken=OVERALL)
    for name, (on_valid, probabilities) in scores.items():
        known = chosen_on.labels[:, columns]
        cuts = _cuts(name, mode, names, known, on_valid, fixed=fixed)
        found[name] = BaselineResult(
            name=name,
            probabilities=probabilities,
            thresholds=cuts,
            decisions=decide(probabilities, cuts),
            metrics=_judged(labels, probabilities, names, cuts, others),
            strength=regressions[name].strength if name in regressions else None,
            calibration=_calibration(name, labels, probabilities, names),
        )
    return found


def _calibration(
    name: str,
    labels: UInt8[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
    names: Sequence[str],
) -> Calibration | None:
    if name == ALL_LABELS:
        return None
    return calibration(labels, probabilities, names)


def _judged(
    labels: UInt8[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
    names: Sequence[str],
    cuts: Float64[np.ndarray, "labels"],
    others: Sequence[CustomMetric],
) -> Metrics:
    """Return the metrics; those of others where they are defined: a baseline may be an odd case."""
    ours = evaluate(labels, probabilities, names, cuts)
    truth = labels.astype(np.bool_)
    extra = {}
    for metric in others:
        value = metric(truth, probabilities, probabilities > cuts)
        if np.isfinite(value):
            extra[metric.name] = value
    return ours.model_copy(update={"extra": extra})


def _tiled(row: Float64[np.ndarray, "labels"], split: Split) -> Float64[np.ndarray, "n labels"]:
    """Return the same probabilities for every sample."""
    return np.tile(row, (len(split), 1))


def _cuts(
    name: str,
    mode: ThresholdMode,
    label_names: Sequence[str],
    labels: UInt8[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
    *,
    fixed: float,
) -> Float64[np.ndarray, "labels"]:
    """Return the thresholds of a baseline, chosen on validation data."""
    if name == ALL_LABELS:
        chosen = Thresholds.fixed(label_names, 0.5)
    elif mode == "fixed":
        chosen = Thresholds.fixed(label_names, fixed)
    else:
        chosen = Thresholds.choose(mode, labels, probabilities, label_names)
    return chosen.array(label_names)


def _labelled(dataset: EmotionDataset, split: str) -> Split:
    """Return the samples of a split whose labels are known."""
    found = dataset[split].with_labels()
    if not len(found):
        raise DataError(
            f"split {split!r} of {dataset.card.name!r} is empty",
            expected="samples with labels, for the baselines",
        )
    return found
