"""How deep and how large a value is when what it shares is written out."""

from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.readers.safe.arrays import EmptyArray
from emotailor.errors import DataError

MAX_DEPTH = 8
_REPEATED = 4
_SMALL_REPEATED = 100
_MOST_REPEATED = 2**26
_SPARE = 2**20
_LEAVES = frozenset({str, bytes, int, float, bool, type(None)})
_CONTAINERS = (list, tuple, dict, set, frozenset)


def refuse_deep_nesting(content: Any, path: Path) -> None:
    """Refuse what data never are: deep nesting, endless repetition, arrays that were never filled.

    A list that holds a list a thousand times, that holds a list a thousand times, and so on, takes
    a few kilobytes in a file and fills the memory when it is turned into an array.

    Raises:
        DataError: deeper than ``MAX_DEPTH`` levels, a container that holds itself, or far more
            values than the file holds once each is counted wherever it stands.
    """
    measure = _Measure(path)
    written_out = measure.height_and_size(content, 0)[1]
    held = measure.held

    # rows of padding are often one list; what is large is not as large once more
    repeated = min(_SMALL_REPEATED * held, _MOST_REPEATED)
    if written_out <= _REPEATED * held + repeated + _SPARE:
        return

    raise DataError(
        f"{path} holds {held} values, and {written_out} once what it shares is written out",
        expected="data that do not repeat themselves",
        fix="export the arrays again, each by itself, if you trust where the file is from",
    )


class _Measure:
    """Goes through everything once.

    Attributes:
        held: values in all containers and arrays, those that are shared counted once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[int, tuple[int, int]] = {}  # by identity
        self.held = 1

    def height_and_size(self, value: Any, level: int) -> tuple[int, int]:
        """Return how many levels of containers begin at ``value``, and how many values are in it.

        Args:
            value: anything from a pickle.
            level: of ``value`` in the whole.
        """
        if isinstance(value, EmptyArray):
            raise _never_filled(self._path)

        key = id(value)
        if key not in self._known:
            children = _children(value)
            if children is None:
                return 0, self._leaf(key, value)

            # one that holds itself ends here too
            if level >= MAX_DEPTH:
                raise _too_deep(self._path)
            self._known[key] = self._container(children, level)

        # what is shared may be deeper at its second place
        height, size = self._known[key]
        if level + height > MAX_DEPTH:
            raise _too_deep(self._path)
        return height, size

    def _container(self, children: Any, level: int) -> tuple[int, int]:
        self.held += 1 + len(children)
        height = 0
        size = 1 + len(children)
        for child in children:
            if type(child) in _LEAVES:
                continue
            inner_height, inner_size = self.height_and_size(child, level + 1)
            height = max(height, inner_height)
            size += inner_size
        return 1 + height, size

    def _leaf(self, key: int, value: Any) -> int:
        """Return the size of an array; anything else is counted by what holds it."""
        if not isinstance(value, np.ndarray):
            return 0

        # remembered, so that it is held once
        self._known[key] = 0, value.size
        self.held += value.size
        return value.size


def _children(value: Any) -> Any:
    """Return what a container holds, or None where it is none."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, _CONTAINERS):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return value.ravel().tolist()
    return None


def _too_deep(path: Path) -> DataError:
    return DataError(
        f"{path}: lists nested more than {MAX_DEPTH} deep",
        expected="arrays, or lists of numbers",
    )


def _never_filled(path: Path) -> DataError:
    return DataError(
        f"{path} cannot be read: it uses an array before that has its numbers",
        expected="a complete pickle of NumPy arrays",
    )
