"""The CMU-MultimodalSDK's ``.csd`` file: HDF5 with features and intervals per video or piece.

/<root>/data/<video or video[k]>/features    (n, dim)
/<root>/data/<video or video[k]>/intervals   (n, 2), start and end in seconds
/<root>/metadata/<name>                      JSON in an array of one byte string

A piece ``video[k]`` is a segment, or, in files that the SDK aligned to words, a word.
"""

import json
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Num

from emotailor.data.readers.safe.hdf5 import LARGEST, Hdf5
from emotailor.data.readers.timed.track import Track, piece_of, with_length
from emotailor.errors import DataError
from emotailor.text import plural

_EXPECTED = "a complete CMU-MultimodalSDK .csd file (HDF5)"
_LONGEST_METADATA = 1 << 20
_PARTS = ("data", "metadata")
_ARRAYS = ("features", "intervals")


class Csd:
    """An opened ``.csd`` file; a context manager.

    Attributes:
        path: path of the file.
        root: name of its one top-level group, such as ``COVAREP``.
        keys: names of its entries: videos, or pieces ``video[k]``.

    Raises:
        DataError: the file is missing or damaged, not laid out as a .csd file, or refers to
            another file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Hdf5(path, _EXPECTED)
        try:
            self.root, self._group, self._data, self.keys = self._layout()
        except BaseException:
            self._file.close()
            raise
        self._by_video = self._pieces()
        self._bad: dict[str, int] = {}  # by entry, since an entry can be read twice
        self._others: defaultdict[str, set[str]] = defaultdict(set)
        for name in self._file.names(self._group):
            if name not in _PARTS:
                self._others[name].add("")

    def _layout(self) -> tuple[str, Any, Any, list[str]]:
        """Return the name of the root, the root, its data, and the keys of the entries."""
        names = self._file.names(self._file.top)
        group = None
        if len(names) == 1:
            group = self._file.group(self._file.top, names[0])

        data = None
        if group is not None:
            data = self._file.group(group, "data")

        keys = []
        if data is not None:
            keys = self._file.names(data)
        if not keys:
            raise DataError(
                f"{self.path} has the top-level groups {names[:5]} and no /<root>/data with "
                "entries",
                expected=_EXPECTED,
            )
        return names[0], group, data, keys

    def _pieces(self) -> dict[str, list[tuple[int, str]]]:
        """Return the entries of each video, by the numbers of their pieces."""
        entries: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for key in self.keys:
            video, number = piece_of(key)
            entries[video].append((number, key))

        for of_video in entries.values():
            of_video.sort()
        return dict(entries)

    def __enter__(self) -> "Csd":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def metadata(self, name: str) -> Any:
        """Return one metadata field, parsed; None where it is absent or not JSON.

        Raises:
            DataError: the file is damaged there.
        """
        described = self._file.group(self._group, "metadata")
        if described is None:
            return None
        stored = self._file.dataset(described, name)
        if stored is None or stored.size != 1:
            return None
        texts = self._file.texts(stored)
        if not texts or len(texts[0]) > _LONGEST_METADATA:
            return None

        try:
            return json.loads(texts[0])
        except (ValueError, RecursionError):
            return None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def videos(self) -> Collection[str]:
        """The videos that it has entries of."""
        return self._by_video.keys()

    @property
    def others(self) -> dict[str, str]:
        """What it holds besides features and intervals, and where, of the entries read so far."""
        found = {}
        for name, entries in self._others.items():
            inside = len(entries - {""})
            found[name] = f"in {plural(inside, 'video')}" if inside else ""
        return found

    @property
    def bad_intervals(self) -> int:
        """How many rows were ignored so far for their interval."""
        return sum(self._bad.values())

    @property
    def dim(self) -> int | None:
        """Feature width; None where the features are not numbers (words, phones)."""
        # all entries of a file are of one kind, so the first tells
        features, _ = self._arrays(self.keys[0])
        if not self._file.is_numeric(features):
            return None
        shape = features.shape
        return int(shape[1]) if len(shape) == 2 else None

    @property
    def holds_texts(self) -> bool:
        """Whether the features are texts, such as the words themselves."""
        features, _ = self._arrays(self.keys[0])
        return self._file.is_textual(features)

    def _arrays(self, key: str) -> tuple[Any, Any]:
        """Return features and intervals of an entry, not read yet."""
        entry = self._file.group(self._data, key)
        if entry is not None:
            for name in self._file.names(entry):
                if name not in _ARRAYS:
                    self._others[name].add(key)
        arrays = []
        for name in _ARRAYS:
            array = None if entry is None else self._file.dataset(entry, name)
            if array is None:
                raise DataError(f"{self.path}: entry {key!r} has no {name}", expected=_EXPECTED)
            arrays.append(array)
        return arrays[0], arrays[1]

    def entry(
        self, key: str
    ) -> tuple[Num[np.ndarray, "n dim"], Float64[np.ndarray, "n 2"], Int64[np.ndarray, "n"]]:
        """Return features, intervals and row numbers of one entry, in order of time.

        Rows whose interval is not finite or reversed are ignored and counted.

        Raises:
            DataError: the entry is damaged.
        """
        stored, timed = self._arrays(key)
        numeric = self._file.is_numeric(stored) and self._file.is_numeric(timed)
        if not numeric or len(stored.shape) != 2 or timed.shape != (len(stored), 2):
            raise self._unlike(key, stored, timed)

        spans = self._file.numbers(timed).astype(np.float64)  # (n, 2)
        kept = self._in_time(key, spans)
        features = self._file.numbers(stored)

        # a copy of what is in order already would double the memory
        if np.array_equal(kept, np.arange(len(spans))):
            return features, spans, kept
        return features[kept], spans[kept], kept

    def texts(self, key: str) -> tuple[list[str], Float64[np.ndarray, "n 2"]]:
        """Return the texts of one entry and their intervals, in order of time.

        Raises:
            DataError: the entry is damaged or holds something else.
        """
        stored, timed = self._arrays(key)
        texts = self._file.texts(stored)
        if texts is None or timed.shape != (len(texts), 2):
            raise self._unlike(key, stored, timed)

        spans = self._file.numbers(timed).astype(np.float64)  # (n, 2)
        kept = self._in_time(key, spans)
        return [texts[i] for i in kept.tolist()], spans[kept]

    def _unlike(self, key: str, stored: Any, timed: Any) -> DataError:
        return DataError(
            f"{self.path}: entry {key!r} has features {stored.dtype} {stored.shape} "
            f"and intervals {timed.shape}",
            expected="numbers (n, dim) and (n, 2)",
        )

    def _in_time(self, key: str, spans: Float64[np.ndarray, "n 2"]) -> Int64[np.ndarray, "kept"]:
        """Return the numbers of the rows that have a time, in order of their start."""
        start = spans[:, 0]
        end = spans[:, 1]

        # comparisons with NaN are false, but infinity is no time either
        finite = np.isfinite(spans).all(axis=1)
        rows = np.flatnonzero(finite & (end >= start))
        self._bad[key] = len(spans) - len(rows)

        # not every file is in order of time
        in_time = np.argsort(start[rows], kind="stable")
        return rows[in_time]

    def track(self, video: str) -> Track | None:
        """Return all rows of a video, put together from its pieces; None where it has none.

        Raises:
            DataError: an entry is damaged, or all are too large together.
        """
        features = []
        intervals = []
        pieces = []
        size = 0
        for number, key in self._by_video.get(video, ()):
            values, spans, _ = self.entry(key)
            features.append(values)
            intervals.append(spans)
            pieces.append(np.full(len(spans), number))
            size += values.nbytes
            if size > LARGEST:
                raise DataError(
                    f"{self.path}: the entries of {video!r} have more than {LARGEST} bytes",
                    expected="recordings that fit into the memory",
                    fix="cut long recordings into several",
                )
        if not features:
            return None
        if len(features) == 1:
            return Track(features[0], with_length(intervals[0]), pieces[0])

        self._same_width(video, features)
        spans = np.concatenate(intervals)  # (n, 2)
        in_time = np.argsort(spans[:, 0], kind="stable")
        together = Track(np.concatenate(features), with_length(spans), np.concatenate(pieces))
        return together.rows(in_time)

    def _same_width(self, video: str, features: list[np.ndarray]) -> None:
        widths = {values.shape[1] for values in features}
        if len(widths) > 1:
            raise DataError(
                f"{self.path}: the entries of {video!r} have {sorted(widths)} features",
                expected="the same number in all",
            )

    def words(self, video: str) -> tuple[list[str], Float64[np.ndarray, "n 2"]]:
        """Return the words of a video and their intervals, in order of time."""
        words: list[str] = []
        intervals = [np.zeros((0, 2))]
        for _, key in self._by_video.get(video, ()):
            texts, spans = self.texts(key)
            words += texts
            intervals.append(spans)

        spans = np.concatenate(intervals)  # (n, 2)
        in_time = np.argsort(spans[:, 0], kind="stable").tolist()
        return [words[i] for i in in_time], spans[in_time]
