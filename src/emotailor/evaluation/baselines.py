"""What a system must beat before its numbers mean anything: three baselines on the same samples.

- ``all labels`` predicts every label for every sample.
- ``label frequencies`` gives every sample the training frequency of each label.
- ``logistic regression`` is one regression per label on the mean and the deviation over the steps
  of each modality, as the system ``br`` computes them. Its strength is the one with the lowest
  cross-entropy on the validation split.

Their thresholds are chosen as those of any system: on the validation split. All labels are
predicted whatever the threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import DataError
from emotailor.evaluation.metrics import Metrics, decide, evaluate
from emotailor.evaluation.thresholds import (
    FIXED_THRESHOLD,
    ThresholdMode,
    tune_per_label,
    tune_threshold,
)

ALL_LABELS = "all labels"
FREQUENCIES = "label frequencies"
REGRESSION = "logistic regression"
NAMES = (ALL_LABELS, FREQUENCIES, REGRESSION)

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Inverse strengths of the regression's penalty that are tried, the strongest penalty first."""

BATCH = 64  # samples pooled at a time


@dataclass(frozen=True)
class _Scores:
    """Probabilities of one baseline, on the validation split and on the split that is judged."""

    valid: Float64[np.ndarray, "n_valid labels"]
    judged: Float64[np.ndarray, "n_judged labels"]
    strength: float | None = None

    @classmethod
    def constant(cls, row: Float64[np.ndarray, "labels"], valid: int, judged: int) -> "_Scores":
        """Return the same probabilities for every sample."""
        return cls(np.tile(row, (valid, 1)), np.tile(row, (judged, 1)))


@dataclass(frozen=True)
class BaselineResult:
    """How one baseline does on one split.

    Attributes:
        name: one of ``NAMES``.
        probabilities: (n, L), of the samples with labels, in the order of the split.
        thresholds: (L,), chosen on the validation split.
        decisions: (n, L), which labels are predicted.
        metrics: its metrics.
        strength: C of the regression, chosen on the validation split; None of the others.
    """

    name: str
    probabilities: Float64[np.ndarray, "n labels"]
    thresholds: Float64[np.ndarray, "labels"]
    decisions: Bool[np.ndarray, "n labels"]
    metrics: Metrics
    strength: float | None = None


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
) -> dict[str, BaselineResult]:
    """Judge the baselines on one split; samples without labels are left out.

    Args:
        dataset: the data set, with the splits to fit and to choose on.
        split: name of the split to judge on.
        mode: how the thresholds are chosen: ``fixed``, ``tuned`` or ``per_label``.
        modalities: those that the regression sees; by default all of the data.
        label_names: the labels in the order of the results; by default that of the data.
        fixed: the threshold of the mode ``fixed``.
        train: name of the split to fit on.
        valid: name of the split on which strength and thresholds are chosen.

    Returns:
        Name of the baseline -> result, in the order of ``NAMES``.

    Raises:
        DataError: a split is missing, or has no sample with labels.
    """
    names = tuple(label_names or dataset.label_names)
    columns = [dataset.label_names.index(name) for name in names]
    fitted = _labelled(dataset, train)
    chosen_on = _labelled(dataset, valid)
    judged = _labelled(dataset, split)
    splits = (fitted, chosen_on, judged)

    frequencies = fitted.labels[:, columns].mean(0, dtype=np.float64)  # (L,)
    every = np.ones(len(names))
    sizes = (len(chosen_on), len(judged))
    scores = {
        ALL_LABELS: _Scores.constant(every, *sizes),
        FREQUENCIES: _Scores.constant(frequencies, *sizes),
        REGRESSION: _regression(dataset, splits, modalities, columns),
    }

    found = {}
    labels = judged.labels[:, columns]
    for name, own in scores.items():
        cuts = _cuts(name, mode, fixed, chosen_on.labels[:, columns], own.valid)
        found[name] = BaselineResult(
            name=name,
            probabilities=own.judged,
            thresholds=cuts,
            decisions=decide(own.judged, cuts),
            metrics=evaluate(labels, own.judged, names, cuts),
            strength=own.strength,
        )
    return found


def _cuts(
    name: str,
    mode: ThresholdMode,
    fixed: float,
    labels: UInt8[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
) -> Float64[np.ndarray, "labels"]:
    """Return the thresholds of a baseline, chosen on validation data."""
    count = labels.shape[1]
    if name == ALL_LABELS:
        return np.full(count, 0.5)
    if mode == "fixed":
        return np.full(count, fixed)
    if mode == "tuned":
        single = tune_threshold(labels, probabilities)
        return np.full(count, single)
    return tune_per_label(labels, probabilities)


def _labelled(dataset: EmotionDataset, split: str) -> Split:
    """Return the samples of a split whose labels are known."""
    found = dataset[split].with_labels()
    if not len(found):
        raise DataError(
            f"split {split!r} of {dataset.card.name!r} is empty",
            expected="samples with labels, for the baselines",
        )
    return found


# ---------------------------------------------------------------------- the regression


def _regression(
    dataset: EmotionDataset,
    splits: tuple[Split, Split, Split],
    modalities: Sequence[Modality] | None,
    columns: Sequence[int],
) -> _Scores:
    """Return the probabilities of the strength that is best on validation."""
    from emotailor.models.classic.logistic import predict_logistic
    from emotailor.models.classic.path import fit_path

    train, valid, judged = splits
    dims = {m: dataset.dims[m] for m in MODALITIES if m in (modalities or dataset.dims)}
    features = _Features(dims, len(dataset.label_names), aligned=dataset.aligned)
    of_train, labels = features.measured(train)
    of_valid = features.of(valid)
    of_judged = features.of(judged)

    fits = []
    losses = []
    for fit in fit_path(of_train, labels, STRENGTHS):
        on_valid = predict_logistic(of_valid, fit.coef, fit.intercept)
        loss = log_loss(valid.labels, on_valid)
        fits.append((fit, on_valid))
        losses.append(loss)

    best = int(np.argmin(losses))  # of equals the first, the strongest penalty
    fit, on_valid = fits[best]
    on_judged = predict_logistic(of_judged, fit.coef, fit.intercept)
    return _Scores(on_valid[:, columns], on_judged[:, columns], fit.strength)


def log_loss(
    labels: UInt8[np.ndarray, "n labels"], probabilities: Float64[np.ndarray, "n labels"]
) -> float:
    """Return the mean cross-entropy of all labels of all samples, of bounded probabilities."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    log_likelihood = np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(-log_likelihood.mean())


class _Features:
    """Pooled and standardised features, as the system ``br`` has them.

    Args:
        dims: modality -> feature width.
        labels: number of labels.
        aligned: whether the data are aligned.
    """

    def __init__(self, dims: dict[Modality, int], labels: int, *, aligned: bool) -> None:
        from emotailor.models.classic.config import BinaryRelevanceConfig
        from emotailor.models.classic.model import BinaryRelevance

        self.dims = dims
        self.aligned = aligned
        self.model = BinaryRelevance(BinaryRelevanceConfig(), dims, labels)

    def measured(
        self, train: Split
    ) -> tuple[Float64[np.ndarray, "n features"], UInt8[np.ndarray, "n labels"]]:
        """Keep the means and deviations of the training samples; return features and labels.

        Samples without any of the modalities are left out, as no system is trained on them.
        """
        import torch

        x, present = self._pooled(train)
        there = present.any(1)
        if not there.any():
            there = np.ones(len(train), np.bool_)
        x = x[there]
        present = present[there]

        self.model.measure(torch.from_numpy(x), torch.from_numpy(present))
        return self._standardised(x, present), train.labels[there]

    def of(self, split: Split) -> Float64[np.ndarray, "n features"]:
        """Return the features of a split."""
        return self._standardised(*self._pooled(split))

    def _standardised(
        self, x: Float64[np.ndarray, "n features"], present: Bool[np.ndarray, "n features"]
    ) -> Float64[np.ndarray, "n features"]:
        import torch

        scaled = self.model.standardised(torch.from_numpy(x), torch.from_numpy(present))
        return scaled.numpy()

    def _pooled(
        self, split: Split
    ) -> tuple[Float64[np.ndarray, "n features"], Bool[np.ndarray, "n features"]]:
        from emotailor.data.batching import batches

        # neighbours in length together, for little padding
        lengths = np.max([split.lengths(m) for m in self.dims], axis=0)
        order = np.argsort(lengths, kind="stable")

        x = np.zeros((len(split), self.model.width))
        present = np.zeros(x.shape, np.bool_)
        parts = batches(split, self.dims, batch_size=BATCH, aligned=self.aligned, order=order)
        start = 0
        for batch in parts:
            rows = order[start : start + len(batch)]
            start += len(batch)
            pooled, there = self.model.pool(batch)
            x[rows] = pooled.numpy()
            present[rows] = there.numpy()
        return x, present
