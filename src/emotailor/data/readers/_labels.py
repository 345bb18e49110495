"""Emotion labels from a file of their own, joined to features by id or by time, never by row."""

import csv
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import (
    ConvertOptions,
    pick_columns,
    require_file,
    unreadable,
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
            if segment.key in self._by_key:
                raise DataError(
                    f"{self.path}: the segment {segment.key!r} occurs twice",
                    expected="every segment once",
                )
            self._by_key[segment.key] = segment
            self._by_video[segment.video].append(segment)

    def find(self, sample_id: str) -> Segment | None:
        """Return the segment ``video[k]``, also when it is written ``video$_$k``."""
        if found := self._by_key.get(sample_id):
            return found
        match = _SEGMENT_ID.fullmatch(sample_id)
        return self._by_key.get(f"{match['video']}[{match['a'] or match['b']}]") if match else None

    def find_time(self, video: str, start: float, end: float) -> Segment | None:
        """Return the segment of ``video`` with this start and end, within ``TOLERANCE``."""

        def distance(segment: Segment) -> float:
            if segment.span is None:
                return np.inf
            return max(abs(segment.span[0] - start), abs(segment.span[1] - end))

        best = min(self._by_video.get(video, ()), key=distance, default=None)
        return best if best is not None and distance(best) <= TOLERANCE else None


def read_label_table(path: Path, options: ConvertOptions) -> LabelTable:
    """Read labels from a CSV or a ``.csd`` file.

    Raises:
        DataError: the file is missing or damaged, lacks a label, or has one that is not a number.
    """
    require_file(path, _EXPECTED)
    if path.suffix.lower() in (".csd", ".h5", ".hdf5"):
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
        names = tuple(c for c in columns if canonical_label(c) in EMOTIONS)
    if not names:
        raise DataError(
            f"{where} has the columns {', '.join(columns)[:200]} and no emotion among them",
            expected=_EXPECTED,
            fix="name the label columns with --label-names",
        )
    return pick_columns(where, columns, names, canonical_label)


def _from_csv(path: Path, options: ConvertOptions) -> LabelTable:
    places: list[tuple[str, str, tuple[float, float] | None]] = []
    values: list[list[float]] = []
    with unreadable(path, _EXPECTED), path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = list(rows.fieldnames or [])
        if "id" not in columns and "key" not in columns:
            raise DataError(
                f"{path} has the columns {', '.join(columns)[:200]}", expected=_EXPECTED
            )
        wanted = _wanted(str(path), columns, options)
        times = ["start", "end"] if {"start", "end"} <= set(columns) else []
        for row in rows:
            key, video = _names(row)
            if not key:
                raise DataError(f"{path}, line {rows.line_num}: no id", expected="one in every row")
            try:
                values.append([float(row[c]) for c in wanted])
                span = [float(row[c]) for c in times]
            except (TypeError, ValueError):
                cells = {c: row[c] for c in (*wanted, *times)}
                raise DataError(
                    f"{path}, line {rows.line_num}: {cells}", expected="a number in each"
                ) from None
            places.append((key, video, (span[0], span[1]) if span else None))
    if not places:
        raise DataError(f"{path} has no rows", expected=_EXPECTED)
    labels = options.binarise(str(path), np.array(values))
    segments = [Segment(*place, labels[i]) for i, place in enumerate(places)]
    return LabelTable(path, tuple(options.label_names or wanted), segments)


def _names(row: dict[str, str]) -> tuple[str, str]:
    """Return the segment's key and its video."""
    name, number = row.get("id") or "", row.get("segment_id")
    key = row.get("key") or (f"{name}[{number}]" if name and number else name)
    match = _SEGMENT_ID.fullmatch(key)
    return key, name or (match["video"] if match else key)


def _from_csd(path: Path, options: ConvertOptions) -> LabelTable:
    segments, notes = [], []
    with Csd(path) as csd:
        columns = csd.metadata("dimension names")
        if not isinstance(columns, list) or len(columns) != csd.dim:
            if csd.dim != len(SDK_LABELS):
                raise DataError(
                    f"{path} has {csd.dim} label columns without names",
                    expected=f"the SDK's 7 columns {', '.join(SDK_LABELS)}",
                )
            columns = list(SDK_LABELS)
            notes.append(f"{path.name} does not name its columns: assumed {', '.join(columns)}")
        columns = [str(c) for c in columns]
        wanted = _wanted(str(path), columns, options)
        at = [columns.index(c) for c in wanted]
        for key in csd.keys:
            values, spans, rows = csd.entry(key)
            if values.shape[1] != len(columns):
                raise DataError(
                    f"{path}: entry {key!r} has {values.shape[1]} columns",
                    expected=f"{len(columns)} as in the first entry",
                )
            labels = options.binarise(f"{path}: entry {key!r}", values[:, at])
            match = _SEGMENT_ID.fullmatch(key)
            for i in np.argsort(rows).tolist():
                # an entry that is a segment already keeps its name; others are numbered by row
                name = key if match and len(spans) == 1 else f"{key}[{rows[i]}]"
                video = match["video"] if match else key
                span = float(spans[i, 0]), float(spans[i, 1])
                segments.append(Segment(name, video, span, labels[i]))
        if csd.bad_intervals:
            notes.append(
                f"{path.name}: {csd.bad_intervals} segments with a negative, reversed or "
                "non-finite interval ignored"
            )
    return LabelTable(path, tuple(options.label_names or wanted), segments, notes)
