"""The data that a run belongs to: the path of its data set, and labels matched by name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotailor.data.dataset import EmotionDataset, Split
from emotailor.errors import ConfigError, DataError
from emotailor.training.stored_config import has_run_config, read_run_config


def trained_on(folder: Path) -> Path:
    """Return the path of the data set that a run was trained on.

    Raises:
        DataError: the run does not say, as an imported model, its settings are damaged, or the
            data set is gone.
    """
    if not has_run_config(folder):
        raise DataError(
            f"{folder} does not say which data it was trained on",
            fix="name a data set with --data",
        )
    try:
        stored = read_run_config(folder)
    except ConfigError as error:
        raise DataError(
            f"which data {folder} was trained on cannot be told: {error.found}",
            expected=error.expected,
            fix="name a data set with --data",
        ) from error

    # a relative path is one from where the training was started
    path = Path(stored.config.data.path)
    if not path.exists():
        raise DataError(
            f"the data set {path}, on which {folder} was trained, is not there",
            fix="name it with --data, or start where the training was started",
        )
    return path


def matching_labels(
    dataset: EmotionDataset, split: Split, label_names: Sequence[str]
) -> np.ndarray:
    """Return the labels of a split in the order of ``label_names``, matched by name, (n, L).

    Raises:
        DataError: the data set has other labels, or those of some samples are unknown.
    """
    labelled = len(split.with_labels())
    if labelled < len(split):
        raise DataError(
            f"only {labelled} of {len(split)} samples of split {split.name!r} have labels",
            expected="labels to compare with",
            fix="leave out the others with EmotionDataset.with_labels",
        )

    found = dataset.label_names
    if set(found) != set(label_names):
        raise DataError(
            f"the data set {dataset.card.name!r} has the labels {', '.join(found)}",
            expected=f"those of the model: {', '.join(label_names)}",
            fix="evaluate on data with the same labels, in any order",
        )

    columns = [found.index(name) for name in label_names]
    return split.labels[:, columns]
