"""One file of frames per video, as the extractors write them.

    OpenFace    ``frame, face_id, timestamp, confidence, success, AU01_r, ...``, with or without
                the blanks; of several faces the one that is seen in most frames
    openSMILE   ``name;frameTime;F0_sma;...``, with commas, or as ARFF
    openSMILE   for Python: ``file,start,end,F0_sma,...``
    COVAREP     numbers without a header, a row per 10 ms

Any other table with the columns ``start`` and ``end``, or ``timestamp``, is read like openSMILE's;
a column ``word`` holds what is said.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from emotailor.data.readers._common import require_file, unreadable
from emotailor.data.readers.timed.track import Track, with_length
from emotailor.errors import DataError

HOP = 0.01
"""Seconds from one row of COVAREP to the next."""

SURE = 0.5
"""OpenFace's confidence below which a frame counts as failed, even where it says success."""

_LARGEST = 512 << 20
_EXPECTED = "a table of OpenFace, openSMILE or COVAREP, or one with the columns start and end"
_TIMES = {
    "start": ("start", "start_time", "begin", "onset"),
    "end": ("end", "end_time", "stop", "offset"),
    "stamp": ("timestamp", "frametime", "time"),
    "word": ("word", "token", "text"),
}
_NO_FEATURES = {"frame", "face_id", "name", "file", "frameindex", "class"}
_OF_USE = {"confidence", "success"}
"""Columns that say which frames failed."""

_DURATION = re.compile(r"(?P<days>\d+) days? (?P<h>\d+):(?P<m>\d+):(?P<s>[\d.]+)")


@dataclass(frozen=True)
class Frames:
    """The file of one video.

    Attributes:
        extractor: the program that wrote it.
        columns: names of its features.
        track: its rows, in order of time, without those that failed.
        words: one text per row, where it holds words.
        failed: how many rows the program could not fill.
        others: names of the columns that are neither features nor of any other use.
        timeless: how many other rows have no time that is possible.
        beside: how many rows are of faces beside the one that is seen most often.
    """

    extractor: str
    columns: tuple[str, ...]
    track: Track
    words: list[str] | None
    failed: int
    others: tuple[str, ...] = ()
    timeless: int = 0
    beside: int = 0


def read_frames(path: Path) -> Frames:
    """Read the file of one video.

    Raises:
        DataError: it is missing, damaged, too large or of another kind.
    """
    require_file(path, _EXPECTED)
    size = path.stat().st_size
    if size > _LARGEST:
        raise DataError(
            f"{path} has {size} bytes",
            expected=f"at most {_LARGEST} for one video",
            fix="cut long recordings into several",
        )

    header, rows = _table(path)
    if header is None:
        return _without_header(path, rows)

    names = [name.strip().lower() for name in header]
    places = {}
    for role, known in _TIMES.items():
        found = [names.index(name) for name in known if name in names]
        if found:
            places[role] = found[0]

    intervals = _intervals(path, rows, places)
    texts = None
    if "word" in places:
        texts = [row[places["word"]].strip() for row in rows]

    # everything else that is a number, and neither a time nor a name
    no_feature = set(places.values())
    features = []
    others = []
    for i, name in enumerate(names):
        if i in no_feature or name in _OF_USE:
            continue
        if name not in _NO_FEATURES and _is_number(rows[0][i]):
            features.append(i)
        else:
            others.append(header[i].strip())
    columns = tuple(header[i].strip() for i in features)
    values = _numbers(path, rows, features)

    kept = np.ones(len(rows), bool)
    ours = kept
    extractor = "table"
    if "frametime" in names or "file" in names:
        extractor = "openSMILE"
    if "success" in names:
        extractor = "OpenFace"
        kept = _sure(path, rows, names)
        ours = _followed(path, rows, names, kept)

    beside = int((~ours).sum())
    failed = int((ours & ~kept).sum())
    order = _in_time(intervals, ours & kept)
    timeless = len(rows) - beside - failed - len(order)
    if texts is not None:
        texts = [texts[row] for row in order.tolist()]
    track = _track(values[order], intervals[order])
    return Frames(extractor, columns, track, texts, failed, tuple(others), timeless, beside)


def _sure(path: Path, rows: Sequence[Sequence[str]], names: Sequence[str]) -> Bool[np.ndarray, "n"]:
    """Return in which rows OpenFace found the face."""
    sure = _numbers(path, rows, [names.index("success")])[:, 0] > 0
    if "confidence" in names:
        sure &= _numbers(path, rows, [names.index("confidence")])[:, 0] >= SURE
    return sure


def _followed(
    path: Path, rows: Sequence[Sequence[str]], names: Sequence[str], sure: Bool[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Return which rows are of the face that is found most often; of several, the first."""
    if "face_id" not in names:
        return np.ones(len(rows), bool)

    faces = _numbers(path, rows, [names.index("face_id")])[:, 0]
    known, places = np.unique(faces, return_inverse=True)
    often = np.bincount(places[sure], minlength=len(known))
    return places == np.argmax(often)


def _table(path: Path) -> tuple[list[str] | None, list[list[str]]]:
    """Return the header, where there is one, and the rows."""
    with unreadable(path, _EXPECTED):
        text = path.read_text(encoding="utf-8-sig")
    # how programs of Windows write what is no number
    text = text.replace("nan(ind)", "nan")

    header = None
    if path.suffix.lower() == ".arff":
        header, text = _arff(path, text)
    first, _, _ = text.lstrip().partition("\n")
    delimiter = max(";,\t", key=first.count)
    with unreadable(path, _EXPECTED):
        lines = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
        rows = [row for row in lines if row]

    # names are no numbers
    if header is None and rows and not all(_is_number(cell) for cell in rows[0]):
        header = rows.pop(0)
    if not rows:
        raise DataError(f"{path} has no rows", expected=_EXPECTED)

    width = len(rows[0]) if header is None else len(header)
    for i, row in enumerate(rows):
        if len(row) != width:
            raise DataError(
                f"{path}: row {i + 1} has {len(row)} cells", expected=f"{width} as in the first"
            )
    return header, rows


def _arff(path: Path, text: str) -> tuple[list[str], str]:
    """Return the names of an ARFF file's attributes, and its data."""
    parts = re.split(r"(?im)^@data[^\n]*\n", text, maxsplit=1)
    head = parts[0]
    names = re.findall(r"(?im)^@attribute\s+('[^']*'|\"[^\"]*\"|\S+)", head)
    if len(parts) < 2 or not names:
        raise DataError(f"{path} has no attributes and data", expected="a complete ARFF file")
    return [name.strip("'\"") for name in names], parts[1]


def _without_header(path: Path, rows: Sequence[Sequence[str]]) -> Frames:
    """Return what COVAREP writes: numbers alone, a row per 10 ms."""
    values = _numbers(path, rows, range(len(rows[0])))
    start = np.arange(len(values)) * HOP
    intervals = np.stack([start, start + HOP], axis=1)
    columns = tuple(str(i) for i in range(values.shape[1]))
    return Frames("COVAREP", columns, _track(values, intervals), None, 0)


def _intervals(
    path: Path, rows: Sequence[Sequence[str]], places: dict[str, int]
) -> Float64[np.ndarray, "n 2"]:
    """Return start and end of each row."""
    if "start" in places and "end" in places:
        return _seconds(path, rows, [places["start"], places["end"]])
    stamp = places.get("stamp", places.get("start"))
    if stamp is None:
        raise DataError(
            f"{path} has no column that tells the time",
            expected=_EXPECTED,
            fix="let openSMILE write frameTime (-timestampcsv 1)",
        )
    return with_length(_seconds(path, rows, [stamp, stamp]))


def _seconds(
    path: Path, rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> Float64[np.ndarray, "n columns"]:
    """Return times in seconds, also where they are written as ``0 days 00:00:01.5``."""
    written = []
    for row in rows:
        cells = [row[column].strip() for column in columns]
        written.append([_in_seconds(cell) for cell in cells])
    return _numbers(path, written, range(len(columns)))


def _in_seconds(cell: str) -> str:
    match = _DURATION.fullmatch(cell)
    if match is None:
        return cell
    hours = int(match["days"]) * 24 + int(match["h"])
    minutes = hours * 60 + int(match["m"])
    return str(minutes * 60 + float(match["s"]))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(
    path: Path, rows: Sequence[Sequence[str]], columns: Sequence[int]
) -> Float64[np.ndarray, "n columns"]:
    chosen = [[row[column] for column in columns] for row in rows]
    try:
        return np.array(chosen, np.float64).reshape(len(rows), len(columns))
    except ValueError as error:
        raise DataError(f"{path}: {error}", expected="a number in every cell") from error


def _in_time(
    intervals: Float64[np.ndarray, "n 2"], kept: Bool[np.ndarray, "n"]
) -> Int64[np.ndarray, "rows"]:
    """Return the numbers of the rows that are kept and have a time, in order of time."""
    timed = np.isfinite(intervals).all(axis=1) & (intervals[:, 1] >= intervals[:, 0])
    rows = np.flatnonzero(kept & timed)
    return rows[np.argsort(intervals[rows, 0], kind="stable")]


def _track(
    values: Float64[np.ndarray, "n columns"], intervals: Float64[np.ndarray, "n 2"]
) -> Track:
    """Return the track of a whole video."""
    return Track(values, intervals, np.full(len(values), -1))
