"""A stored data set, read like a foreign one: to divide it, or to take a part of it."""

from collections.abc import Iterator
from pathlib import Path

from emotailor.data.card import CARD_FILE
from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.sample import Sample
from emotailor.data.store import open_dataset


def is_stored(path: Path) -> bool:
    """Say whether a folder is a stored data set."""
    return (path / CARD_FILE).is_file()


def read_stored(path: Path, options: ConvertOptions) -> Reading:
    """Open a stored data set; ``options`` are for whoever takes the samples.

    Raises:
        DataError: it is damaged.
    """
    dataset = open_dataset(path)

    def samples() -> Iterator[tuple[str, Sample]]:
        for name, split in dataset.splits.items():
            for i in range(len(split)):
                yield name, split.sample(i)

    return Reading(
        dataset.label_names,
        dataset.dims,
        dataset.aligned,
        samples(),
        [path / CARD_FILE],
        list(dataset.card.repairs),
        dict(dataset.card.extraction),
    )
