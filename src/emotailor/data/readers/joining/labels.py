"""Emotion labels from a file of their own, joined to features by id or by time, never by row."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.ids import parse_segment, segment_key, video_of
from emotailor.data.readers._common import (
    ConvertOptions,
    as_number,
    pick_columns,
    read_csv,
    require_file,
)
from emotailor.data.readers._sniff import holds_pickle, kind_of
from emotailor.data.readers.account import Account, Parts
from emotailor.data.readers.timed.csd_files import Csd
from emotailor.data.sample import EMOTIONS, canonical_label
from emotailor.errors import DataError

TOLERANCE = 0.05
"""Seconds by which start and end of the same segment may differ between two files."""

SDK_LABELS = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
"""The columns of the SDK's label file."""

_BAD_SPANS = "segments that end before they or the video begin"
EXPECTED_LABELS = (
    "a CSV with columns id, segment_id or clip, start, end and one per emotion, "
    "or the SDK's CMU_MOSEI_Labels.csd"
)

_DIGITS = 9
"""Digits that the number of a segment has at most."""

_COLUMNS = {
    "id": ("id", "video_id", "video", "input.video_id", "file"),
    "number": ("segment_id", "segment", "segment_number"),
    "clip": ("clip", "clip_id", "clip_number", "input.clip"),
    "key": ("key",),
    "start": ("start", "start_time", "interval_start", "begin", "onset"),
    "end": ("end", "end_time", "interval_end", "stop", "offset"),
    "sentiment": ("sentiment", "answer.sentiment", "regression_label"),
    "text": ("text", "transcript", "raw_text", "sentence"),
}
"""The names under which a column is known, by what it holds, in lower case."""

_CHECKS = ("sentiment", "text")
"""Columns that say nothing but whether a sample and a row are the same segment."""


@dataclass(frozen=True)
class Name:
    """What a row says of which segment it is."""

    key: str
    video: str
    number: int | None
    clip: str | None


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a video.

    Attributes:
        key: its id, such as ``video[3]``.
        video: the video.
        span: start and end in seconds, where known.
        labels: 0/1 per label.
        number: its row in the SDK's label file, where known.
        clip: its number in the raw transcript, as MMSA counts, where known.
        sentiment: from -3 to 3, where known.
        text: what is said, where known.
    """

    key: str
    video: str
    span: tuple[float, float] | None
    labels: UInt8[np.ndarray, "labels"]
    number: int | None = None
    clip: str | None = None
    sentiment: float | None = None
    text: str | None = None


@dataclass
class LabelTable:
    """Segments with labels, found by id or by video and time.

    Attributes:
        path: the file.
        names: names of the labels.
        segments: its rows, with a label for each name.
        notes: what was ignored or assumed.
        columns: what the labels are called in the file.
        account: what the file holds, and what of it is used.
        held: its columns, as taken into the account.
        comparable: the columns by which a match can be checked.
        timed: whether a row without usable times should have some.
    """

    path: Path
    names: tuple[str, ...]
    segments: list[Segment]
    notes: list[str] = field(default_factory=list)
    columns: Sequence[str] | None = None
    account: Account = field(default_factory=Account)
    held: Parts = field(default_factory=lambda: Parts({}))
    comparable: Sequence[str] = ()
    timed: bool = False

    def __post_init__(self) -> None:
        self._by_key: dict[str, Segment] = {}
        self._by_video: defaultdict[str, list[Segment]] = defaultdict(list)
        for segment in self.segments:
            # both ways to write an id name one segment
            key = segment_key(segment.key)
            other = self._by_key.get(key)

            # which of the two would be right cannot be known
            if other is not None:
                also = "" if other.key == segment.key else f", once as {other.key!r}"
                raise DataError(
                    f"{self.path}: the segment {segment.key!r} occurs twice{also}",
                    expected="every segment once",
                )

            self._by_key[key] = segment
            self._by_video[segment.video].append(segment)

    def find(self, sample_id: str) -> Segment | None:
        """Return the segment with this id, as it is or with its number written the other way."""
        return self._by_key.get(segment_key(sample_id))

    def of_video(self, video: str) -> Sequence[Segment]:
        """Return the segments of a video, in the order of the file."""
        return self._by_video.get(video, ())

    def compare(self) -> None:
        """Count the columns as used by which a match can be checked."""
        self.held.use(self.comparable)

    def leave_others(self, used: Collection[str]) -> None:
        """Count the rows of which no sample is.

        Args:
            used: the keys of the segments that have a sample.
        """
        for segment in self.segments:
            if segment.key not in used:
                self.account.leave(self.path.name, "rows of no sample", segment.key)

    def find_time(self, video: str, start: float, end: float) -> Segment | None:
        """Return the segment of ``video`` with this start and end, within ``TOLERANCE``."""
        # segments are cut at 0; two programs may round the same time in two ways
        start = max(start, 0.0)
        best = None
        least = np.inf
        for segment in self.of_video(video):
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


def read_label_table(
    path: Path, options: ConvertOptions, account: Account | None = None
) -> LabelTable:
    """Read labels from a CSV or a ``.csd`` file.

    Args:
        path: the file.
        options: names and rule of the labels.
        account: takes in what the file holds.

    Raises:
        DataError: the file is missing, damaged or of another kind, lacks a label, or has one that
            is not a number.
    """
    require_file(path, EXPECTED_LABELS)
    account = account or Account()
    kind = kind_of(path)
    if kind == "HDF5" or path.suffix.lower() in (".csd", ".h5", ".hdf5"):
        return _from_csd(path, options, account)

    # an intact file, but of a kind that cannot be joined
    if kind == "pickle" or holds_pickle(path):
        raise DataError(
            f"{path} is a pickle or a file of torch, as features are stored: its labels have no "
            "ids of segments to be joined by",
            expected=EXPECTED_LABELS,
            fix="give a label file with ids; segments are found in it by id or by time",
        )
    return _from_csv(path, options, account)


def _wanted(where: str, columns: Sequence[str], options: ConvertOptions) -> list[str]:
    names = options.label_names
    if names is None:
        # one column per emotion that has a name known here
        names = tuple(column for column in columns if _label(column) in EMOTIONS)
        _refuse_double(where, names)

    if not names:
        found = ", ".join(columns)[:200]
        raise DataError(
            f"{where} has the columns {found} and no emotion among them",
            expected=EXPECTED_LABELS,
            fix="name the label columns with --label-names",
        )
    return pick_columns(where, columns, names, _label)


def _refuse_double(where: str, columns: Sequence[str]) -> None:
    """Refuse two columns for one emotion, such as ``happy`` and ``happiness``."""
    by_label: dict[str, str] = {}
    for column in columns:
        other = by_label.setdefault(_label(column), column)
        if other != column:
            raise DataError(
                f"{where} has two columns for one emotion: {other} and {column}",
                expected="one column per emotion",
                fix="leave one of them in the file",
            )


def _label(column: str) -> str:
    """Return the label that a column holds: ``Answer.happiness`` -> ``happy``."""
    prefix, _, name = column.rpartition(".")
    known = prefix.strip().lower() == "answer"
    return canonical_label(name if known else column)


def _label_names(wanted: Sequence[str], options: ConvertOptions) -> tuple[str, ...]:
    if options.label_names is not None:
        return tuple(options.label_names)

    names = []
    for column in wanted:
        name = column.rpartition(".")[2].strip().lower()
        names.append(name)
    return tuple(names)


def roles_in(columns: Sequence[str]) -> dict[str, str]:
    """Return which column holds the id, the start and so on, for those that there are."""
    by_name = {column.strip().lower().replace(" ", "_"): column for column in columns}
    roles = {}
    for role, names in _COLUMNS.items():
        known = [by_name[name] for name in names if name in by_name]
        if known:
            roles[role] = known[0]
    return roles


def _from_csv(path: Path, options: ConvertOptions, account: Account) -> LabelTable:
    table = read_csv(path, EXPECTED_LABELS)
    columns = table.columns
    roles = roles_in(columns)
    if "id" not in roles and "key" not in roles:
        found = ", ".join(columns)[:200]
        raise DataError(f"{path} has the columns {found}", expected=EXPECTED_LABELS)

    wanted = _wanted(str(path), columns, options)
    if not table.rows:
        raise DataError(f"{path} has no rows", expected=EXPECTED_LABELS)
    timed = "start" in roles and "end" in roles

    # the labels of all rows are turned into 0 and 1 together, so they are collected first
    names = []
    spans: list[tuple[float, float] | None] = []
    values = []
    timeless = 0
    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"{path}, line {line}"
        names.append(name_in(row, roles, where))
        values.append(_numbers(row, wanted, where))

        span = None
        if timed:
            start, end = _numbers(row, [roles["start"], roles["end"]], where)
            span = _usable(start, end)
            if span is None:
                timeless += 1
        spans.append(span)

    parts = account.hold(columns_of(path), columns)
    parts.use(wanted)
    parts.use(column for role, column in roles.items() if role not in _CHECKS)
    notes: list[str] = []
    if timed:
        names = _numbered(path, names, notes)

    labels = options.binarise(str(path), np.array(values))  # (segments, labels)
    segments = []
    for name, row, span, held in zip(names, table.rows, spans, labels, strict=True):
        sentiment = _number_or_none(_cell(row, roles, "sentiment"))
        text = _cell(row, roles, "text") or None
        segment = Segment(name.key, name.video, span, held, name.number, name.clip, sentiment, text)
        segments.append(segment)

    if timeless:
        notes.append(f"{path.name}: {timeless} {_BAD_SPANS} ignored")
    return LabelTable(
        path,
        _label_names(wanted, options),
        segments,
        notes,
        columns=wanted,
        account=account,
        held=parts,
        comparable=[roles[role] for role in _CHECKS if role in roles],
        timed=timed,
    )


def columns_of(path: Path) -> str:
    """Return what the columns of a file are called in an account."""
    return f"columns of {path.name}"


def _numbered(path: Path, names: Sequence[Name], notes: list[str]) -> list[Name]:
    """Number the segments of each video in the order of the file, where it has times alone."""
    told = any(name.number is not None or name.clip is not None for name in names)
    videos = {name.video for name in names}
    if told or len(videos) == len(names):
        return list(names)

    notes.append(
        f"{path.name} does not number its segments: called video[0], video[1], ... in its order"
    )
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        number = seen[name.video]
        seen[name.video] += 1
        numbered.append(Name(f"{name.video}[{number}]", name.video, number, None))
    return numbered


def _cell(row: Mapping[str, str], roles: Mapping[str, str], role: str) -> str:
    """Return what a row has in the column of a role; nothing where there is no such column."""
    if role not in roles:
        return ""
    # a row that is too short has None
    return row[roles[role]] or ""


def _usable(start: float, end: float) -> tuple[float, float] | None:
    """Return start and end of a segment, cut at 0; None where they are no time in a video."""
    # comparisons with NaN are false
    forward = start <= end and end > 0
    if not forward or not np.isfinite([start, end]).all():
        return None
    return max(start, 0.0), end


def _numbers(row: Mapping[str, str | None], columns: Sequence[str], where: str) -> list[float]:
    """Return the cells of a row as numbers."""
    try:
        return [_number(row[column]) for column in columns]
    except ValueError as error:
        cells = [f"{column} is {row[column] or ''!r}" for column in columns]
        raise DataError(
            f"{where}: {', '.join(cells)}",
            expected="a number in each; times in seconds",
            fix="correct the line",
        ) from error


_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


def _number(cell: str | None) -> float:
    if cell is None:
        raise ValueError("the row is too short")
    if _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    return as_number(cell)


def _number_or_none(cell: str | None) -> float | None:
    try:
        number = _number(cell or "")
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def name_in(row: Mapping[str, str], roles: Mapping[str, str], where: str) -> Name:
    """Return how a row names its segment."""
    cells = {}
    for role in ("id", "number", "clip", "key"):
        cells[role] = _cell(row, roles, role).strip()

    number = _whole(cells["number"], where)
    clip = cells["clip"].removesuffix(".0") or None

    # a key comes first; without one, the id and the number of the segment are one
    key = cells["key"] or cells["id"]
    parts = parse_segment(key)
    if not key:
        raise DataError(f"{where}: no id", expected="one in every row")
    if parts is None and number is not None:
        return Name(f"{key}[{number}]", key, number, clip)
    if parts is None and clip is not None:
        return Name(f"{key}$_${clip}", key, None, clip)
    if parts is None:
        return Name(key, cells["id"] or key, None, None)

    # the two spellings count differently: rows of the label file, and clips of the transcript
    if parts.spelling == "$_$":
        return Name(key, parts.video, number, parts.number)
    return Name(key, parts.video, int(parts.number), clip)


def _whole(cell: str, where: str) -> int | None:
    if not cell:
        return None
    digits = cell.removesuffix(".0")
    if not digits.isdecimal() or len(digits) > _DIGITS:
        raise DataError(
            f"{where}: the number of the segment is {cell[:30]!r}", expected="0 or more"
        )
    return int(digits)


def _from_csd(path: Path, options: ConvertOptions, account: Account) -> LabelTable:
    notes: list[str] = []
    segments = []
    timeless = 0
    with Csd(path) as csd:
        columns = _columns(csd, notes, options)
        wanted = _wanted(str(path), columns, options)
        for key in csd.keys:
            for segment in _segments(csd, key, columns, wanted, options):
                if segment.span is None:
                    timeless += 1
                else:
                    segments.append(segment)

        # complete when every entry is read
        bad = csd.bad_intervals + timeless
        if bad:
            notes.append(f"{path.name}: {bad} {_BAD_SPANS} ignored")
    held = account.hold(columns_of(path), columns)
    held.use(wanted)
    account.hold(f"arrays of {path.name}", csd.others)
    return LabelTable(
        path,
        _label_names(wanted, options),
        segments,
        notes,
        columns=wanted,
        account=account,
        held=held,
        comparable=[column for column in columns if column in _CHECKS],
    )


def _columns(csd: Csd, notes: list[str], options: ConvertOptions) -> list[str]:
    """Return the names of the label columns: what the file says, or else the SDK's."""
    columns = csd.metadata("dimension names")
    count = csd.dim
    if isinstance(columns, list) and len(columns) == count:
        return [str(column) for column in columns]

    # CMU-MOSI's and POM's files
    if count == 1:
        return ["sentiment"]
    if options.label_names is not None and len(options.label_names) == count:
        return list(options.label_names)

    known = ", ".join(SDK_LABELS)
    if count != len(SDK_LABELS):
        raise DataError(
            f"{csd.path} has {count} label columns without names",
            expected=f"the SDK's 7 columns {known}",
            fix="name all of them, in order, with --label-names",
        )

    # as many columns as in the SDK's file, so in all likelihood the same
    notes.append(f"{csd.path.name} does not name its columns: assumed {known}")
    return list(SDK_LABELS)


def _segments(
    csd: Csd, key: str, columns: list[str], wanted: list[str], options: ConvertOptions
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

    positions = [columns.index(name) for name in wanted]
    labels = options.binarise(where, values[:, positions])  # (segments, labels)
    sentiment = None
    if "sentiment" in columns:
        sentiment = values[:, columns.index("sentiment")]  # (segments,)

    # an entry that is a segment already keeps its name; others are numbered by row
    parts = parse_segment(key)
    is_segment = parts is not None and len(spans) == 1

    # entries come in order of time; segments are numbered as they stand in the file
    in_file = np.argsort(rows).tolist()
    found = []
    for i in in_file:
        name = key
        number = int(rows[i])
        if is_segment and parts is not None:
            number = int(parts.number)
        else:
            name = f"{key}[{number}]"

        start, end = spans[i].tolist()
        felt = None if sentiment is None else float(sentiment[i])
        video = video_of(key)
        span = _usable(start, end)
        segment = Segment(name, video, span, labels[i], number, sentiment=felt)
        found.append(segment)
    return found
