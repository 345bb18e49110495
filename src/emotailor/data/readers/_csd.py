"""The CMU-MultimodalSDK's ``.csd`` file: HDF5 with features and intervals per video or segment.

/<root>/data/<video or video[k]>/features    (n, dim)
/<root>/data/<video or video[k]>/intervals   (n, 2), start and end in seconds
/<root>/metadata/<name>                      JSON in an array of one byte string
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from emotailor.data.readers._common import require_file, unreadable
from emotailor.errors import DataError

_EXPECTED = "a complete CMU-MultimodalSDK .csd file (HDF5)"


class Csd:
    """An opened ``.csd`` file; a context manager.

    Attributes:
        path: path of the file.
        root: name of its one top-level group, such as ``COVAREP``.
        keys: names of its entries: videos, or segments ``video[k]``.

    Raises:
        DataError: the file is missing or damaged, or not laid out as a .csd file.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        self.path = require_file(path, _EXPECTED)
        with unreadable(path, _EXPECTED):
            self._file = h5py.File(path, "r")
        try:
            self.root, self._group, self._data, self.keys = self._layout()
        except BaseException:
            self._file.close()
            raise
        self._known = set(self.keys)
        self._bad: dict[str, int] = {}  # by entry, since an entry can be read twice

    def _layout(self) -> tuple[str, Any, Any, list[str]]:
        """Return the name of the root, the root, its data, and the keys of the entries."""
        import h5py

        group = None
        data = None
        keys = []
        with unreadable(self.path, _EXPECTED):
            names = list(self._file)
            if len(names) == 1:
                group = self._file[names[0]]
            if isinstance(group, h5py.Group):
                data = group.get("data")
            if isinstance(data, h5py.Group):
                keys = [str(key) for key in data]

        if not keys:
            raise DataError(
                f"{self.path} has the top-level groups {names[:5]} and no /<root>/data with "
                "entries",
                expected=_EXPECTED,
            )
        return str(names[0]), group, data, keys

    def __enter__(self) -> "Csd":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def metadata(self, name: str) -> Any:
        """Return one metadata field, parsed; None where it is absent or not JSON.

        Raises:
            DataError: the file is damaged there.
        """
        import h5py

        raw = np.zeros(0)
        with unreadable(self.path, _EXPECTED):
            stored = self._group.get(f"metadata/{name}")
            if isinstance(stored, h5py.Dataset):
                raw = np.asarray(stored[()])
        if not raw.size:
            return None

        # one text, in an array of one or none at all
        text: Any = raw.ravel()[0]
        try:
            return json.loads(text)
        except (ValueError, TypeError, RecursionError):
            return None

    @property
    def bad_intervals(self) -> int:
        """How many rows were ignored so far for their interval."""
        return sum(self._bad.values())

    @property
    def dim(self) -> int | None:
        """Feature width; None where the features are not numbers (words, phones)."""
        # all entries of a file are of one kind, so the first tells
        first = self.keys[0]
        with unreadable(self.path, _EXPECTED):
            features = self._data[first]["features"]
            shape = tuple(features.shape)
            kind = features.dtype.kind

        numeric = kind in "fiu"
        if not numeric or len(shape) != 2:
            return None
        return int(shape[1])

    def entry(
        self, key: str
    ) -> tuple[Float64[np.ndarray, "n dim"], Float64[np.ndarray, "n 2"], Int64[np.ndarray, "n"]]:
        """Return features, intervals and row numbers of one entry, in order of time.

        Rows whose interval is not finite, negative or reversed are ignored and counted.

        Raises:
            DataError: the entry is damaged.
        """
        with unreadable(self.path, _EXPECTED):
            entry = self._data[key]
            features = np.asarray(entry["features"][()])
            intervals = np.asarray(entry["intervals"][()])

        numeric = features.dtype.kind in "fiu" and intervals.dtype.kind in "fiu"
        if not numeric or features.ndim != 2 or intervals.shape != (len(features), 2):
            raise DataError(
                f"{self.path}: entry {key!r} has features {features.dtype} {features.shape} "
                f"and intervals {intervals.shape}",
                expected="numbers (n, dim) and (n, 2)",
            )

        spans = intervals.astype(np.float64)  # (n, 2)
        start = spans[:, 0]
        end = spans[:, 1]

        # comparisons with NaN are false, but infinity is no time either
        finite = np.isfinite(spans).all(axis=1)
        forward = (start >= 0) & (end >= start)
        rows = np.flatnonzero(finite & forward)
        self._bad[key] = len(spans) - len(rows)

        # not every file is in order of time
        in_time = np.argsort(start[rows], kind="stable")
        kept = rows[in_time]
        values = features[kept].astype(np.float64)  # (kept, dim)
        return values, spans[kept], kept
