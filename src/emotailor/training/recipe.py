"""How a system is trained where nobody says otherwise: the recipe of each preset.

The recipes of ``paper`` and ``authors`` are those of the publications, whatever the data. That of
``tuned`` depends on the number of training samples: it chooses as many epochs as give the
parameters the updates that they need.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotailor.data.card import DatasetCard
from emotailor.data.store import read_card
from emotailor.errors import DataError
from emotailor.models.system import Preset
from emotailor.models.table import find_system
from emotailor.text import plural
from emotailor.training.config import TrainingConfig

UPDATES = 500
"""Updates of the parameters after which the systems have learned most of what they learn."""

FEWEST_EPOCHS = 5
MOST_EPOCHS = 60
"""Beyond so many, few samples are learned by heart, and no update helps."""

UNKNOWN_SAMPLES = 2000
"""Training samples of a data set that is not known yet."""

LARGE = 8000
"""Training samples from which larger batches save time and leave updates enough."""

COMMON: Mapping[str, Any] = {
    "batch_size": 32,
    "learning_rate": 1e-3,
    "average": 0.98,
    "select_by": "tuned",
}
"""What all systems share under ``tuned``; a row of the table of systems may differ."""

_BATCHES = ("batch_size", "accumulate")
"""The settings that say how many samples an update has."""


def recipe(
    system: str,
    preset: Preset = "paper",
    *,
    aligned: bool = True,
    samples: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> TrainingConfig:
    """Return how a system is trained, on some data, unless told otherwise.

    Args:
        system: name of the system.
        preset: whose recipe.
        aligned: whether the data are word-aligned.
        samples: number of training samples, which ``tuned`` goes by; None where it is not known.
        given: settings of training that are chosen already; the size of batches decides about
            the number of epochs.

    Raises:
        ConfigError: no such system, or a size of batches that is out of range.
    """
    row = find_system(system)
    further = {} if aligned else row.unaligned.get(preset, {})
    settings = {**row.recipes.get(preset, {}), **further}
    if preset != "tuned":
        return TrainingConfig().replace(**settings)

    known = UNKNOWN_SAMPLES if samples is None else samples
    common = dict(COMMON)
    if known >= LARGE:
        common["batch_size"] = 2 * common["batch_size"]

    chosen = {key: value for key, value in (given or {}).items() if key in _BATCHES}
    batches = TrainingConfig.parse({**common, **settings, **chosen}, prefix="training.")
    usual = epochs_for(updates_per_epoch(known, batches))

    # a system of others may have a recipe of its own, with epochs
    return TrainingConfig().replace(**{**common, "epochs": usual, **settings})


def updates_per_epoch(samples: int, training: TrainingConfig) -> int:
    """Return the updates of the parameters in one pass over the training samples."""
    batches = math.ceil(samples / training.batch_size)
    return math.ceil(batches / training.accumulate)


def epochs_for(per_epoch: int) -> int:
    """Return the epochs that ``tuned`` chooses for so many updates in each."""
    wanted = math.ceil(UPDATES / max(per_epoch, 1))
    return min(max(wanted, FEWEST_EPOCHS), MOST_EPOCHS)


def find_card(path: str | Path) -> DatasetCard | None:
    """Return the card of a data set; None where it cannot be read, which training reports."""
    try:
        return read_card(path)
    except DataError:
        return None


def training_samples(card: DatasetCard, split: str = "train") -> int | None:
    """Return the number of samples of a split whose labels are known; None without that split."""
    found = card.splits.get(split)
    if found is None:
        return None
    return found.samples if found.labelled is None else found.labelled


def in_words(training: TrainingConfig, samples: int) -> str:
    """Say what a recipe comes to: ``635 training samples: 30 epochs of 20 updates, …``."""
    epochs = plural(training.epochs, "epoch")
    updates = plural(updates_per_epoch(samples, training), "update")
    return (
        f"{plural(samples, 'training sample')}: {epochs} of {updates}, "
        f"learning rate {training.learning_rate:g}"
    )
