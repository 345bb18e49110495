"""The regressions among the baselines: their features, their fits, and where they are kept.

They take seconds on CMU-MOSEI, and each command wants them. So their probabilities are kept in
``baselines-SPLIT.json`` beside the results, for one data set, one split and some modalities. A file
that is damaged, or of other data, is made anew.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import BaseModel, ConfigDict, ValidationError

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Modality
from emotailor.errors import DataError
from emotailor.evaluation.linear import STRENGTHS, Features, Scores, best_fit
from emotailor.evaluation.words import word_regressions
from emotailor.files import write_json
from emotailor.verified import is_there, read_json

VERSION = 3
"""Of the file, and of how the regressions are computed."""

REGRESSION = "logistic regression"

BATCH = 64  # samples pooled at a time
MOST_KEPT = 8  # regressions that one process remembers

_remembered: dict[str, "RegressionScores"] = {}


class RegressionScores(BaseModel):
    """What all regressions predict.

    Attributes:
        version: of the file.
        key: what they depend on: data, splits, modalities.
        found: name of a baseline -> its scores.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    version: int = VERSION
    key: dict[str, Any]
    found: dict[str, Scores]


def file_of(folder: Path, split: str) -> Path:
    """Return where a folder keeps the regressions for a split."""
    return folder / f"baselines-{split}.json"


def regression_scores(
    data: tuple[EmotionDataset, EmotionDataset],
    splits: tuple[Split, Split, Split],
    dims: Mapping[Modality, int],
    folder: Path | None = None,
) -> dict[str, Scores]:
    """Return the regressions by name, from memory, from a file, or fitted.

    Those on words are there where every split has words and the text is among the modalities. The
    split that is chosen on has none of them: they would be judged on what chose them, and it is
    judged after every training.

    Args:
        data: the data set to fit and to choose on, and the one to judge on; mostly the same.
        splits: to fit on, to choose on, and to judge on; only samples with labels.
        dims: modality -> feature width, of the modalities that they see.
        folder: where they are kept; found there, or one or two folders above. None: nowhere.
    """
    # data in memory have no fingerprint
    source = data[0]
    if not all(dataset.card.splits for dataset in data):
        return _fitted(source, splits, dims)

    key = {
        "data": [dataset.card.fingerprint for dataset in data],
        "splits": [split.name for split in splits],
        "modalities": list(dims),
    }
    name = json.dumps(key)
    scores = _remembered.get(name) or _stored(folder, splits, key)
    if scores is None:
        found = _fitted(source, splits, dims)
        scores = RegressionScores(key=key, found=found)

    if len(_remembered) >= MOST_KEPT:
        _remembered.clear()
    _remembered[name] = scores
    _store(folder, splits, scores)
    return scores.found


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
        sizes = {(len(one.valid), len(one.judged)) for one in found.found.values()}
        if sizes == {(len(valid), len(judged))}:
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
) -> dict[str, Scores]:
    """Fit all regressions, each at the strength that is best on validation."""
    train, valid, judged = splits
    pooling = _Features(dims, len(dataset.label_names), aligned=dataset.aligned)
    of_train, there = pooling.measured(train)
    of_valid = pooling.of(valid)
    of_judged = pooling.of(judged)
    features = Features(([of_train], [of_valid], [of_judged]), train.labels[there], valid.labels)

    found = {REGRESSION: best_fit(features, STRENGTHS)}
    if "text" not in dims or judged is valid or judged.name == valid.name:
        return found

    fitted_on = train.take(np.flatnonzero(there))
    columns = pooling.columns(dims)
    return found | word_regressions(features, (fitted_on, valid, judged), columns)


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

    def columns(self, dims: Mapping[Modality, int]) -> dict[Modality, slice]:
        """Return the columns of each modality: the means of its features, then the deviations."""
        places: dict[Modality, slice] = {}
        start = 0
        for m, width in dims.items():
            places[m] = slice(start, start + 2 * width)
            start += 2 * width
        return places

    def measured(
        self, train: Split
    ) -> tuple[Float64[np.ndarray, "n features"], Bool[np.ndarray, "samples"]]:
        """Keep the means and deviations of the training samples; return their features.

        Samples without any of the modalities are left out, as no system is trained on them. The
        second array says which samples of the split are there.
        """
        import torch

        x, present = self._pooled(train)
        there: Bool[np.ndarray, "samples"] = np.asarray(present.any(1))
        if not there.any():
            there = np.ones(len(train), np.bool_)
        x = x[there]
        present = present[there]

        self.model.measure(torch.from_numpy(x), torch.from_numpy(present))
        return self._standardised(x, present), there

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
