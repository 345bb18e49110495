"""One file with a modality of many samples, all steps end to end: ``.npz`` or ``.safetensors``.

::

    values (total steps, dim)     numbers; float16 stays float16
    offsets (N + 1,)              sequence i is values[offsets[i]:offsets[i + 1]]; an empty one is
                                  missing
    missing (total steps,)        1 at steps that are missing; optional
    id (N,)                       ids, by which rows find their sequences; optional
    words (total steps,)          the word of each step; optional

Texts are arrays of text in ``.npz``. In both they may be ``id.bytes`` and ``id.offsets`` (or
``ids``), ``words.bytes`` and ``words.offsets``: UTF-8, end to end. The name of the modality may
stand before each name: ``text.values``. Values stay on disk until a sample is read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Int64

from emotailor.data.readers._common import as_float, require_file, unreadable
from emotailor.data.readers.account import Account, Parts
from emotailor.data.readers.array_files import EXPECTED, load_some, texts_of
from emotailor.data.readers.beside import Lengths
from emotailor.data.readers.safe.npy import map_array
from emotailor.data.sample import Modality, Sample
from emotailor.data.shard import wrong_offsets
from emotailor.errors import DataError

_PARTS = ("offsets", "missing", "words", "words.bytes", "words.offsets")
_IDS = ("id", "ids")


class RaggedFile:
    """The sequences of one modality for all rows of a table.

    Args:
        m: the modality.
        file: ``.npz`` or ``.safetensors``.
        ids: the id of each row.
        account: takes in what the file holds.

    Raises:
        DataError: the file is damaged, its arrays do not fit each other or the rows, or an id
            occurs twice.
    """

    def __init__(self, m: Modality, file: Path, ids: Sequence[str], account: Account) -> None:
        require_file(file, EXPECTED)
        wanted = {*_PARTS, *_IDS}
        for name in _IDS:
            wanted |= {f"{name}.bytes", f"{name}.offsets"}
        prefixed = {f"{m}.{name}" for name in wanted}
        arrays = load_some(file, wanted | prefixed)
        parts = _Named(m, account.hold(f"arrays of {file.name}", arrays))

        self._modality = m
        self._values = _values(file, parts)
        total, width = self._values.shape
        self._offsets = _offsets(file, parts, total)
        self._missing = _missing(file, parts, total)
        self._words = texts_of(file, parts, "words", total)
        self._places = self._find(file, parts, ids, account)
        self.dims: dict[Modality, int] = {m: width}

        # one more at the end, for the rows whose place is -1
        steps = np.append(np.diff(self._offsets), 0)
        self.lengths: Lengths | None = steps[self._places]

    def of(self, row: int, name: str) -> Sample:
        """Return the sequence of a row, with its words and missing steps."""
        place = int(self._places[row])
        if place < 0:
            return Sample(name, {})

        first = int(self._offsets[place])
        end = int(self._offsets[place + 1])
        values = as_float(self._values[first:end])
        missing = {}
        if self._missing is not None and self._missing[first:end].any():
            missing[self._modality] = self._missing[first:end]
        words = None
        if self._words is not None:
            words = [self._words[step] for step in range(first, end)]
        return Sample(name, {self._modality: values}, None, missing, words)

    def _find(
        self, file: Path, parts: "_Named", ids: Sequence[str], account: Account
    ) -> Int64[np.ndarray, "rows"]:
        """Return which sequence is that of each row; -1 where there is none."""
        count = len(self._offsets) - 1
        own = None
        for name in _IDS:
            own = own or texts_of(file, parts, name, count)
        if own is None:
            if count != len(ids):
                raise DataError(
                    f"{file} has {count} sequences, and the table {len(ids)} rows",
                    expected="one for each row, in their order; or an array id with the id of each",
                )
            return np.arange(count)

        names = [own[i] for i in range(count)]
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise DataError(f"{file} holds {twice[0]!r} twice", expected="every id once")

        known = set(ids)
        for name in names:
            if name not in known:
                account.leave(file.name, "sequences of no row", name)
        place_of = {name: place for place, name in enumerate(names)}
        return np.array([place_of.get(name, -1) for name in ids], np.int64)


class _Named(Mapping[str, np.ndarray]):
    """The arrays of a file by name, with or without the modality before it."""

    def __init__(self, m: Modality, parts: Parts) -> None:
        self._modality = m
        self._parts = parts

    def key(self, name: str) -> str:
        """Return what an array is called in the file."""
        prefixed = f"{self._modality}.{name}"
        return prefixed if prefixed in self._parts else name

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.key(name) in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self._parts[self.key(name)])

    def use(self, name: str) -> str:
        """Count an array as used that is read in another way, and return what it is called."""
        key = self.key(name)
        self._parts.use([key])
        return key

    @property
    def names(self) -> str:
        """What is in the file, for messages."""
        return ", ".join(self._parts)[:200] or "no arrays"


def _values(file: Path, parts: _Named) -> "np.ndarray | _SafetensorsRows":
    expected = "an array values (total steps, dim) of numbers, beside offsets"
    if "values" not in parts:
        raise DataError(f"{file} holds {parts.names}", expected=expected)

    key = parts.use("values")
    values: np.ndarray | _SafetensorsRows
    if file.suffix.lower() == ".safetensors":
        values = _SafetensorsRows(file, key)
    else:
        values = map_array(file, EXPECTED, key)

    numeric = values.dtype.kind in "fiub"
    if not numeric or len(values.shape) != 2 or not values.shape[1]:
        raise DataError(
            f"{file}: {key} is {values.dtype} of shape {tuple(values.shape)}", expected=expected
        )
    return values


class _SafetensorsRows:
    """The rows of a tensor, read when they are asked for.

    Raises:
        DataError: the file is damaged, or the tensor is of a type that NumPy lacks.
    """

    def __init__(self, file: Path, name: str) -> None:
        from safetensors import safe_open

        self._path = file
        with unreadable(file, EXPECTED):
            # what is opened lies in a memory map, which ends with this object
            self._file = cast("Any", safe_open(file, "numpy"))  # the library has no types
            self._tensor = self._file.get_slice(name)
            self.shape = tuple(self._tensor.get_shape())
        self.dtype = self._type(name)

    def _type(self, name: str) -> np.dtype[np.generic]:
        """Return the type that rows will have."""
        if not self.shape:
            return np.dtype(np.void)
        return self[0:0].dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        with unreadable(self._path, EXPECTED):
            part = self._tensor[rows]
        return np.asarray(part)


def _offsets(file: Path, parts: _Named, total: int) -> Int64[np.ndarray, "n_plus_1"]:
    key = parts.key("offsets")
    expected = f"whole numbers that rise from 0 to {total}, the number of steps"
    if "offsets" not in parts:
        raise DataError(f"{file} holds {parts.names}", expected=f"an array offsets: {expected}")

    offsets = parts["offsets"]
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        found = f"{offsets.dtype} of shape {offsets.shape}"
        raise DataError(f"{file}: {key} is {found}", expected=expected)

    misfit = wrong_offsets(key, offsets, total)
    if misfit is not None:
        raise DataError(f"{file}: {misfit}", expected=expected)
    return offsets.astype(np.int64)


def _missing(file: Path, parts: _Named, total: int) -> Bool[np.ndarray, "total"] | None:
    if "missing" not in parts:
        return None
    missing = parts["missing"]
    if missing.dtype.kind not in "biu" or missing.shape != (total,):
        raise DataError(
            f"{file}: {parts.key('missing')} is {missing.dtype} of shape {missing.shape}",
            expected=f"0 or 1 for each of the {total} steps",
        )
    return missing.astype(np.bool_)
