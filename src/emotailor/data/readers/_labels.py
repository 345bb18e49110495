"""Emotion labels from a file of their own, joined to features by id or by time, never by row."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import (
    ConvertOptions,
    pick_columns,
    read_csv,
    require_file,
)
from emotailor.data.readers._csd import Csd
from emotailor.data.sample import EMOTIONS, canonical_label
from emotailor.errors import DataError

TOLERANCE = 0.05
"""Seconds by which start and end of the same segment may differ between two files."""

SDK_LABELS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
"""The columns of the SDK's label file."""

_SEGMENT_ID = re.compile(r"(?P<video>.+?)(?:\[(?P<a>\d+)\]|\$_\$(?P<b>\d+))")
_EXPECTED = "a CSV with columns id, segment_id, start, end and one per emotion, or a .csd file"


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a video.

    Attributes:
        key: its id, such as ``video[3]``.
        video: the video.
        span: start and end in seconds, where known.
        labels: 0/1 per label.
    """

    key: str
    video: str
    span: tuple[float, float] | None
    labels: UInt8[np.ndarray, "labels"]


@dataclass
class LabelTable:
    """Segments with labels, found by id or by video and time."""

    path: Path
    names: tuple[str, ...]
    segments: list[Segment]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_key: dict[str, Segment] = {}
        self._by_video: defaultdict[str, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            key = segment.key
            # which of the two would be right cannot be known
            if key in self._by_key:
                raise DataError(
                    f"{self.path}: the segment {key!r} occurs twice",
                    expected="every segment once",
                )

            self._by_key[key] = segment
            self._by_video[segment.video].append(segment)

    def find(self, sample_id: str) -> Segment | None:
        """Return the segment ``video[k]``, also when it is written ``video$_$k``."""
        found = self._by_key.get(sample_id)
        if found is not None:
            return found

        match = _SEGMENT_ID.fullmatch(sample_id)
        if match is None:
            return None

        # under the other way to write it
        video = match["video"]
        number = match["a"] or match["b"]
        return self._by_key.get(f"{video}[{number}]")

    def find_time(self, video: str, start: float, end: float) -> Segment | None:
        """Return the segment of ``video`` with this start and end, within ``TOLERANCE``."""
        # two programs may round the same time in two ways
        best = None
        least = np.inf
        for segment in self._by_video.get(video, ()):
            distance = _distance(segment, start, end)
            if distance < least:
                best = segment
                least = distance
        return best if least <= TOLERANCE else None


def _distance(segment: Segment, start: float, end: float) -> float:
    """Return by how many seconds a segment begins or ends elsewhere, whichever is more."""
    if segment.span is None:
        return np.inf
    first, last = segment.span
    return max(abs(first - start), abs(last - end))


def read_label_table(path: Path, options: ConvertOptions) -> LabelTable:
    """Read labels from a CSV or a ``.csd`` file.

    Raises:
        DataError: the file is missing or damaged, lacks a label, or has one that is not a number.
    """
    require_file(path, _EXPECTED)
    suffix = path.suffix.lower()
    if suffix in (".csd", ".h5", ".hdf5"):
        return _from_csd(path, options)
    return _from_csv(path, options)


def need_label_file(path: Path, options: ConvertOptions) -> LabelTable:
    """Read the label file that a format without emotions needs.

    Raises:
        DataError: none was given, or it cannot be read.
    """
    if options.labels is None:
        raise DataError(
            f"{path} has sentiment and no emotion labels",
            expected="a file with the emotion labels, joined by segment id",
            fix="pass --labels with a CSV (columns id, segment_id, start, end, happy, sad, anger, "
            "surprise, disgust, fear) or the SDK's CMU_MOSEI_Labels.csd",
        )
    return read_label_table(options.labels, options)


def _wanted(where: str, columns: list[str], options: ConvertOptions) -> list[str]:
    names = options.label_names
    if names is None:
        # one column per emotion that has a name known here
        names = tuple(column for column in columns if canonical_label(column) in EMOTIONS)

    if not names:
        found = ", ".join(columns)[:200]
        raise DataError(
            f"{where} has the columns {found} and no emotion among them",
            expected=_EXPECTED,
            fix="name the label columns with --label-names",
        )
    return pick_columns(where, columns, names, canonical_label)


def _from_csv(path: Path, options: ConvertOptions) -> LabelTable:
    table = read_csv(path, _EXPECTED)
    columns = table.columns
    if "id" not in columns and "key" not in columns:
        found = ", ".join(columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=_EXPECTED)

    wanted = _wanted(str(path), columns, options)
    if not table.rows:
        raise DataError(f"{path} has no rows", expected=_EXPECTED)

    # labels, then start and end where the file has them
    numeric = list(wanted)
    timed = "start" in columns and "end" in columns
    if timed:
        numeric += ["start", "end"]

    # the labels of all rows are turned into 0 and 1 together, so they are collected first
    names = []
    spans: list[tuple[float, float] | None] = []
    values = []
    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"{path}, line {line}"
        key, video = _names(row)
        if not key:
            raise DataError(f"{where}: no id", expected="one in every row")

        numbers = _numbers(row, numeric, where)
        span = None
        if timed:
            end = numbers.pop()
            start = numbers.pop()
            span = (start, end)

        names.append((key, video))
        spans.append(span)
        values.append(numbers)

    labels = options.binarise(str(path), np.array(values))  # (segments, labels)
    segments = []
    for (key, video), span, held in zip(names, spans, labels, strict=True):
        segments.append(Segment(key, video, span, held))

    label_names = tuple(options.label_names or wanted)
    return LabelTable(path, label_names, segments)


def _numbers(row: dict[str, str], columns: list[str], where: str) -> list[float]:
    """Return the cells of a row as numbers."""
    try:
        return [float(row[column]) for column in columns]
    except (TypeError, ValueError) as error:  # the former where the row is too short
        cells = {column: row[column] for column in columns}
        raise DataError(f"{where}: {cells}", expected="a number in each") from error


def _names(row: dict[str, str]) -> tuple[str, str]:
    """Return the segment's key and its video."""
    name = row.get("id") or ""
    number = row.get("segment_id")
    key = row.get("key")

    # without a key, the id and the number of the segment are one
    if not key:
        key = name
        if name and number:
            key = f"{name}[{number}]"
    if name:
        return key, name

    # a key says which video it is of
    match = _SEGMENT_ID.fullmatch(key)
    video = match["video"] if match else key
    return key, video


def _from_csd(path: Path, options: ConvertOptions) -> LabelTable:
    notes: list[str] = []
    segments = []
    with Csd(path) as csd:
        columns = _columns(csd, notes)
        wanted = _wanted(str(path), columns, options)
        positions = [columns.index(name) for name in wanted]
        for key in csd.keys:
            segments += _segments(csd, key, columns, positions, options)

        # complete when every entry is read
        bad = csd.bad_intervals
        if bad:
            notes.append(
                f"{path.name}: {bad} segments with a negative, reversed or "
                "non-finite interval ignored"
            )

    label_names = tuple(options.label_names or wanted)
    return LabelTable(path, label_names, segments, notes)


def _columns(csd: Csd, notes: list[str]) -> list[str]:
    """Return the names of the label columns: what the file says, or else the SDK's."""
    columns = csd.metadata("dimension names")
    count = csd.dim
    if isinstance(columns, list) and len(columns) == count:
        return [str(column) for column in columns]

    known = ", ".join(SDK_LABELS)
    if count != len(SDK_LABELS):
        raise DataError(
            f"{csd.path} has {count} label columns without names",
            expected=f"the SDK's 7 columns {known}",
        )

    # as many columns as in the SDK's file, so in all likelihood the same
    notes.append(f"{csd.path.name} does not name its columns: assumed {known}")
    return list(SDK_LABELS)


def _segments(
    csd: Csd, key: str, columns: list[str], positions: list[int], options: ConvertOptions
) -> list[Segment]:
    """Return the labelled segments of one entry, in the order of its rows."""
    where = f"{csd.path}: entry {key!r}"
    values, spans, rows = csd.entry(key)
    count = values.shape[1]
    if count != len(columns):
        raise DataError(
            f"{where} has {count} columns",
            expected=f"{len(columns)} as in the first entry",
        )
    labels = options.binarise(where, values[:, positions])  # (segments, labels)

    match = _SEGMENT_ID.fullmatch(key)
    video = match["video"] if match else key
    # an entry that is a segment already keeps its name; others are numbered by row
    is_segment = match is not None and len(spans) == 1

    # entries come in order of time; segments are numbered as they stand in the file
    in_file = np.argsort(rows).tolist()
    found = []
    for i in in_file:
        name = key
        if not is_segment:
            name = f"{key}[{rows[i]}]"

        start, end = spans[i].tolist()
        segment = Segment(name, video, (start, end), labels[i])
        found.append(segment)
    return found
