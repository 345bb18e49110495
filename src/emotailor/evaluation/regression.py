"""The logistic regression among the baselines: its features, its fit, and where it is kept.

It takes seconds on CMU-MOSEI, and each command wants it. So its probabilities are kept in
``baselines-SPLIT.json`` beside the results, for one data set, one split and some modalities. A file
that is damaged, or of other data, is made anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.files import write_json
from emotailor.verified import is_there, read_json

VERSION = 2
"""Of the file, and of how the regression is computed."""

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Inverse strengths of the regression's penalty that are tried, the strongest penalty first."""

BATCH = 64  # samples pooled at a time
MOST_KEPT = 8  # regressions that one process remembers

_remembered: dict[str, "RegressionScores"] = {}


class RegressionScores(BaseModel):
    """What the regression predicts.

    Attributes:
        version: of the file.
        key: what it depends on: data, splits, modalities.
        strength: C, chosen on the validation split.
        valid: (n_valid, L), probabilities on the validation split.
        judged: (n_judged, L), on the split that is judged.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    version: int = VERSION
    key: dict[str, Any]
    strength: float
    valid: list[list[float]]
    judged: list[list[float]]


def file_of(folder: Path, split: str) -> Path:
    """Return where a folder keeps the regression for a split."""
    return folder / f"baselines-{split}.json"


def regression_scores(
    data: tuple[EmotionDataset, EmotionDataset],
    splits: tuple[Split, Split, Split],
    dims: Mapping[Modality, int],
    folder: Path | None = None,
) -> RegressionScores:
    """Return the regression, from memory, from a file, or fitted.

    Args:
        data: the data set to fit and to choose on, and the one to judge on; mostly the same.
        splits: to fit on, to choose on, and to judge on; only samples with labels.
        dims: modality -> feature width, of the modalities that it sees.
        folder: where it is kept; found there, or one or two folders above. None: nowhere.
    """
    # data in memory have no fingerprint
    source = data[0]
    if not all(dataset.card.splits for dataset in data):
        return _fitted(source, splits, dims, {})

    key = {
        "data": [dataset.card.fingerprint for dataset in data],
        "splits": [split.name for split in splits],
        "modalities": list(dims),
    }
    name = json.dumps(key)
    found = _remembered.get(name) or _stored(folder, splits, key)
    if found is None:
        found = _fitted(source, splits, dims, key)

    if len(_remembered) >= MOST_KEPT:
        _remembered.clear()
    _remembered[name] = found
    _store(folder, splits, found)
    return found


def log_loss(
    labels: UInt8[np.ndarray, "n labels"], probabilities: Float64[np.ndarray, "n labels"]
) -> float:
    """Return the mean cross-entropy of all labels of all samples, of bounded probabilities."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    log_likelihood = np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(-log_likelihood.mean())


# ---------------------------------------------------------------------- the file


def _places(folder: Path) -> list[Path]:
    """Return the folders that may keep it: those of the run, of its seeds, of the comparison."""
    whole = folder.absolute()
    return [whole, *whole.parents[:2]]


def _stored(
    folder: Path | None, splits: tuple[Split, Split, Split], key: Mapping[str, Any]
) -> RegressionScores | None:
    """Return what a file holds; None where it is not there, damaged, or of other data."""
    if folder is None:
        return None

    _, valid, judged = splits
    for place in _places(folder):
        found = _read(file_of(place, judged.name))
        if found is None or found.key != key:
            continue
        if len(found.valid) == len(valid) and len(found.judged) == len(judged):
            return found
    return None


def _read(file: Path) -> RegressionScores | None:
    if not is_there(file):
        return None
    try:
        values = read_json(file, fix="it is made again")
        found = RegressionScores.model_validate(values)
    except (DataError, ValidationError):
        return None
    return found if found.version == VERSION else None


def _store(
    folder: Path | None, splits: tuple[Split, Split, Split], scores: RegressionScores
) -> None:
    """Keep it, unless it is kept already; where nothing can be written, it is fitted again."""
    if folder is None or not folder.is_dir():
        return
    if _stored(folder, splits, scores.key) is not None:
        return
    try:
        write_json(file_of(folder, splits[-1].name), scores.model_dump(mode="json"))
    except OSError:  # a medium that is read-only or full: the results themselves say so
        return


# ---------------------------------------------------------------------- the fit


def _fitted(
    dataset: EmotionDataset,
    splits: tuple[Split, Split, Split],
    dims: Mapping[Modality, int],
    key: dict[str, Any],
) -> RegressionScores:
    """Fit it at each strength, and keep the one that is best on validation."""
    from emotailor.models.classic.logistic import predict_logistic
    from emotailor.models.classic.path import fit_path

    train, valid, judged = splits
    features = _Features(dims, len(dataset.label_names), aligned=dataset.aligned)
    of_train, labels = features.measured(train)
    of_valid = features.of(valid)

    fits = []
    losses = []
    for fit in fit_path(of_train, labels, STRENGTHS):
        on_valid = predict_logistic(of_valid, fit.coef, fit.intercept)
        loss = log_loss(valid.labels, on_valid)
        fits.append((fit, on_valid))
        losses.append(loss)

    best = int(np.argmin(losses))  # of equals the first, the strongest penalty
    fit, on_valid = fits[best]
    of_judged = features.of(judged)
    on_judged = predict_logistic(of_judged, fit.coef, fit.intercept)
    return RegressionScores(
        key=key,
        strength=fit.strength,
        valid=on_valid.tolist(),
        judged=on_judged.tolist(),
    )


class _Features:
    """Pooled and standardised features, as the system ``br`` has them.

    Args:
        dims: modality -> feature width.
        labels: number of labels.
        aligned: whether the data are aligned.
    """

    def __init__(self, dims: Mapping[Modality, int], labels: int, *, aligned: bool) -> None:
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
