"""The names of splits: how people write them, and the order in which they are shown."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

PartT = TypeVar("PartT")

ORDER = ("train", "valid", "test")
"""The splits that most data have, in the order of every output."""

ALIASES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "development": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""What people write -> the name of the split."""


def in_order(parts: Mapping[str, PartT]) -> dict[str, PartT]:
    """Return parts by split: train, valid, test, then the others in the order they came in."""
    known = [name for name in ORDER if name in parts]
    others = [name for name in parts if name not in ORDER]
    return {name: parts[name] for name in known + others}


def split_meant(name: str, there: Iterable[str]) -> str | None:
    """Return the split of a data set that a name means; None where it means none.

    Args:
        name: as given; a split of exactly this name comes first.
        there: the splits of the data set.
    """
    names = list(there)
    if name in names:
        return name

    written = name.strip().lower()
    usual = ALIASES.get(written, written)
    for known in names:
        if usual in (known, known.lower(), ALIASES.get(known.lower())):
            return known
    return None
