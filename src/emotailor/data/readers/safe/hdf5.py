"""Reading HDF5 files that anybody may have written.

An HDF5 file can name other files (external links, external storage, virtual data sets), declare
sizes that it does not hold, and name code to load (filter plugins). Here nothing outside the file
is opened: groups are entered by hard links alone, data that lie elsewhere are refused before they
are read, and every declared size is checked against what the file holds. gzip, with which a byte
can stand for a thousand, is inflated here, never beyond what was declared.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.readers._common import require_file, unreadable
from emotailor.errors import DataError

LARGEST = 256 << 20
"""Most bytes of one array, and of one chunk. Half an hour of 700 features 30 times a second has
150 MiB."""

EXPANSION = 64
"""Bytes that may be read for each byte of the file, beyond ``LARGEST``."""

ENTRIES = 2_000_000
"""Most entries of one group."""

_GZIP = 1
_SHUFFLE = 2
_PIPELINES: tuple[list[int], ...] = ([], [_GZIP], [_SHUFFLE], [_SHUFFLE, _GZIP])
_NUMBERS = "fiu"

# of zlib: what it adds to data that cannot be compressed
_OVERHEAD = 1024


class Hdf5:
    """An opened HDF5 file; a context manager.

    Args:
        path: the file.
        expected: what would be right, for messages.

    Attributes:
        path: as given.
        top: its top-level group.

    Raises:
        DataError: the file is missing or damaged.
    """

    def __init__(self, path: Path, expected: str) -> None:
        import h5py

        self.path = require_file(path, expected)
        self._expected = expected
        self._size = path.stat().st_size
        self._left = LARGEST + EXPANSION * self._size
        with self.damage():
            self._file = h5py.File(path, "r")
        self.top: Any = self._file

    def __enter__(self) -> "Hdf5":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def damage(self) -> Iterator[None]:
        """Turn what the library raises into a ``DataError`` that names the file."""
        with unreadable(self.path, self._expected):
            yield

    def refuse(self, what: str, expected: str, fix: str) -> DataError:
        """Return the error over something that this file must not hold."""
        return DataError(f"{self.path}: {what}", expected=expected, fix=fix)

    def names(self, group: Any) -> list[str]:
        """Return the names in a group.

        Raises:
            DataError: there are more than ``ENTRIES``, or the file is damaged.
        """
        with self.damage():
            count = len(group)
        if count > ENTRIES:
            raise self.refuse(
                f"{group.name} has {count} entries",
                f"at most {ENTRIES}",
                "split it into several files",
            )
        with self.damage():
            return [str(name) for name in group]

    def child(self, group: Any, name: str) -> Any:
        """Return what a group holds under a name, a group or data set; None where it has no such.

        Raises:
            DataError: it is a link to elsewhere, or the file is damaged.
        """
        import h5py

        with self.damage():
            link = group.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            kind = type(link).__name__
            raise self.refuse(
                f"{group.name}/{name} is a link ({kind})",
                "a file that holds its data itself: no other file is opened",
                "copy the data into the file, such as with h5repack or h5py",
            )
        with self.damage():
            return group[name]

    def group(self, group: Any, name: str) -> Any:
        """Return a group in a group; None where there is none of this name."""
        import h5py

        found = self.child(group, name)
        return found if isinstance(found, h5py.Group) else None

    def dataset(self, group: Any, name: str) -> Any:
        """Return a data set in a group; None where there is none of this name.

        Raises:
            DataError: its values lie in another file.
        """
        import h5py

        found = self.child(group, name)
        if not isinstance(found, h5py.Dataset):
            return None

        # even its shape may be that of another file
        with self.damage():
            layout = found.id.get_create_plist()
            virtual = layout.get_layout() == h5py.h5d.VIRTUAL
            external = layout.get_external_count() > 0
        if virtual or external:
            kind = "a virtual data set" if virtual else "in external storage"
            raise self.refuse(
                f"{found.name} is {kind}",
                "a file that holds its data itself: no other file is opened",
                "copy the data into the file, such as with h5repack or h5py",
            )
        return found

    def is_numeric(self, dataset: Any) -> bool:
        """Say whether a data set holds numbers."""
        with self.damage():
            return dataset.dtype.kind in _NUMBERS and dataset.shape is not None

    def is_textual(self, dataset: Any) -> bool:
        """Say whether a data set holds texts."""
        import h5py

        with self.damage():
            known = h5py.check_string_dtype(dataset.dtype)
            return known is not None and dataset.shape is not None

    def numbers(self, dataset: Any) -> np.ndarray:
        """Return the numbers of a data set.

        Raises:
            DataError: it declares more than it holds or than ``LARGEST``, is compressed in a way
                that is not known, or is damaged.
        """
        with self.damage():
            kind = dataset.dtype
            same = dataset.id.get_type().equal(_stored_as(kind))
        if kind.kind not in _NUMBERS or not same:
            raise self.refuse(
                f"{dataset.name} holds {kind}", "whole or floating-point numbers", "convert them"
            )
        return self._read(dataset, kind)

    def texts(self, dataset: Any) -> list[str] | None:
        """Return the texts of a data set, end to end; None where it holds something else.

        Raises:
            DataError: as ``numbers``.
        """
        import h5py

        if not self.is_textual(dataset):
            return None
        kind = dataset.dtype
        known = h5py.check_string_dtype(kind)
        if known is not None and known.length is not None:
            values = self._read(dataset, kind).ravel().tolist()
        else:
            values = self._long_texts(dataset)
        return [_decoded(value) for value in values]

    def _long_texts(self, dataset: Any) -> list[Any]:
        """Return texts of any length, which lie beside the data set; few at a time.

        Many rows may share one text, so that their sum says nothing about the file.
        """
        # rows are pointers of 16 bytes: they are checked like other values
        pointers = np.dtype("V16")
        self._read(dataset, pointers)

        values: list[Any] = []
        rows = dataset.shape[0] if dataset.shape else 1
        block = max(1, min(256, LARGEST // (4 * self._size)))
        for first in range(0, rows, block):
            with self.damage():
                part = dataset[first : first + block] if dataset.shape else dataset[()]
            listed = np.asarray(part, object).ravel().tolist()
            self._spend(dataset, sum(len(value) for value in listed))
            values += listed
        return values

    def _read(self, dataset: Any, kind: np.dtype) -> np.ndarray:
        """Return the values of a data set, when its sizes are checked."""
        with self.damage():
            shape = dataset.shape
            chunk = dataset.chunks
            stored = dataset.id.get_storage_size()
        count = math.prod(shape) * kind.itemsize
        self._spend(dataset, count)
        if count == 0:
            return np.zeros(shape, kind)

        if chunk is None:
            # compressed or not, a byte is a byte here
            if stored < count or count > self._size:
                raise self._short(dataset, count, stored)
            return self._plain(dataset, kind)

        pipeline = self._pipeline(dataset, kind)
        in_chunk = math.prod(chunk) * kind.itemsize
        if in_chunk > LARGEST:
            raise self._large(dataset, in_chunk)
        return self._chunked(dataset, kind, chunk, pipeline)

    def _plain(self, dataset: Any, kind: np.dtype) -> np.ndarray:
        # pointers to texts were only to be checked
        if kind.kind == "V":
            return np.zeros(0, kind)
        with self.damage():
            return np.asarray(dataset[()])

    def _pipeline(self, dataset: Any, kind: np.dtype) -> list[int]:
        """Return the numbers of the filters that its chunks went through."""
        found = []
        names = []
        with self.damage():
            layout = dataset.id.get_create_plist()
            for i in range(layout.get_nfilters()):
                code, _, _, name = layout.get_filter(i)
                found.append(code)
                names.append(f"{name.decode(errors='replace')} ({code})")

        if found not in _PIPELINES:
            raise self.refuse(
                f"{dataset.name} is stored with {', '.join(names)}",
                "no compression, or gzip, with or without shuffle",
                f"h5repack -f GZIP=4 {self.path.name} copy{self.path.suffix}",
            )
        return found

    def _chunked(
        self, dataset: Any, kind: np.dtype, chunk: tuple[int, ...], pipeline: list[int]
    ) -> np.ndarray:
        """Put an array together from its chunks."""
        shape = dataset.shape
        count = math.prod(chunk) * kind.itemsize
        steps = [range(0, whole, part) for whole, part in zip(shape, chunk, strict=True)]

        array = np.empty(shape, kind)
        sizes = self._chunk_sizes(dataset)
        for corner in product(*steps):
            raw = self._raw_chunk(dataset, corner, count, sizes.get(corner, 0))
            values = self._unfiltered(dataset, raw, count, kind, pipeline)
            block = np.frombuffer(values, kind).reshape(chunk)

            # the last chunks reach beyond the array
            target = []
            source = []
            for first, whole, part in zip(corner, shape, chunk, strict=True):
                inside = min(part, whole - first)
                target.append(slice(first, first + inside))
                source.append(slice(0, inside))
            array[tuple(target)] = block[tuple(source)]
        return array

    def _chunk_sizes(self, dataset: Any) -> dict[tuple[int, ...], int]:
        """Return how many bytes each chunk takes in the file, by its first corner."""
        sizes = {}

        def note(told: Any) -> None:
            sizes[tuple(told.chunk_offset)] = told.size

        # one after the other: to look one up, the library goes through all of them
        with self.damage():
            dataset.id.chunk_iter(note)
        return sizes

    def _raw_chunk(
        self, dataset: Any, corner: tuple[int, ...], count: int, stored: int
    ) -> tuple[int, bytes]:
        """Return the bits of the filters that a chunk skipped, and the chunk as it is stored."""
        # gzip makes noise a little larger
        most = min(self._size, count + count // 64 + _OVERHEAD)
        if not 0 < stored <= most:
            raise self._short(dataset, count, stored)
        with self.damage():
            skipped, raw = dataset.id.read_direct_chunk(corner)
        return skipped, raw

    def _unfiltered(
        self,
        dataset: Any,
        stored: tuple[int, bytes],
        count: int,
        kind: np.dtype,
        pipeline: list[int],
    ) -> bytes:
        """Undo the filters of a chunk, the last first."""
        skipped, values = stored
        for place in reversed(range(len(pipeline))):
            if skipped >> place & 1:
                continue
            if pipeline[place] == _GZIP:
                with self.damage():
                    values = zlib.decompressobj().decompress(values, count + 1)
            elif len(values) == count:
                # shuffled: all first bytes, then all second bytes
                by_byte = np.frombuffer(values, np.uint8).reshape(kind.itemsize, -1)
                values = by_byte.T.tobytes()

        if len(values) != count:
            raise self._short(dataset, count, len(values))
        return values

    def _spend(self, dataset: Any, count: int) -> None:
        """Count bytes that are going to be read."""
        if count > LARGEST:
            raise self._large(dataset, count)
        self._left -= count
        if self._left < 0:
            raise self.refuse(
                f"at {dataset.name}, it has given more than {EXPANSION} times its own size",
                "a data file: so much is only in one made to fill the memory",
                "write the file again",
            )

    def _large(self, dataset: Any, count: int) -> DataError:
        return self.refuse(
            f"{dataset.name} declares {count} bytes",
            f"at most {LARGEST} in one piece",
            "cut long recordings into several",
        )

    def _short(self, dataset: Any, count: int, stored: int) -> DataError:
        return self.refuse(
            f"{dataset.name} declares {count} bytes and holds {stored} in their place",
            self._expected,
            "check that it is complete, or copy or download it again",
        )


def _stored_as(kind: np.dtype) -> Any:
    """Return how HDF5 stores a NumPy type."""
    import h5py

    return h5py.h5t.py_create(kind)


def _decoded(value: Any) -> str:
    """Return a text of a file; what is not UTF-8 in it becomes U+FFFD."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)
