"""Finding the labels of samples in a table of their own, by what the ids of both mean.

The SDK's label file counts the annotated segments of a video: ``video[k]`` is row k. MMSA counts
the clips of the raw transcript, which are more: ``video$_$c`` is clip c. The annotated segments are
in the order of the clip numbers sorted as strings (0, 1, 10, 2), so that the k-th clip of a video
is its row k. Where both files know the sentiment, every pair found in this way must agree in it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotailor.data.ids import SegmentId, parse_raw_clip, parse_segment
from emotailor.data.readers.joining.labels import LabelTable, Segment
from emotailor.errors import DataError

SENTIMENT_TOLERANCE = 0.06
"""By how much the sentiment of one segment may differ between two files.

It is in sixths and halves, and some files round it to one decimal.
"""


_MOST_ROWS = 2000
"""Rows of a video up to which clips that are missing are looked for; real ones have 100."""


@dataclass(frozen=True)
class Wanted:
    """A sample that looks for its labels.

    Attributes:
        name: its id.
        sentiment: what its file says, where it does.
        text: what is said, where its file says it.
    """

    name: str
    sentiment: float | None = None
    text: str | None = None


@dataclass
class Joined:
    """What was found.

    Attributes:
        segments: one for each sample; None where there is none.
        notes: how it was found.
    """

    segments: list[Segment | None]
    notes: list[str] = field(default_factory=list)


def join(path: Path, table: LabelTable, wanted: Sequence[Wanted]) -> Joined:
    """Find the segment of each sample by its id.

    Args:
        path: the file of the samples, for messages.
        table: the labels.
        wanted: the samples of all splits together, since clips are counted over the whole video.

    Raises:
        DataError: samples and labels contradict each other in sentiment, or the ids can be
            understood in two ways.
    """
    joined = Joined([table.find(sample.name) for sample in wanted])
    clips: _Clips = {}
    rows: _Clips = {}
    direct = _Attempt()
    for i, sample in enumerate(wanted):
        name = _parts(sample.name, joined.segments[i])
        if name is None:
            continue
        kind = rows if name.spelling == "[]" else clips
        kind[i] = _Clip(name.video, name.number, sample)
        if kind is rows:
            direct.add(i, sample, joined.segments[i])

    # equal ids need not be the same segment: k may count something else
    if direct.contradictions:
        raise _contradiction(path, table, direct)
    if clips or rows:
        table = _with_raw_clips(table)

    in_clips = any(segment.clip is not None for segment in table.segments)
    in_rows = any(segment.number is not None for segment in table.segments)
    if clips and in_clips:
        _by_clip(path, table, clips, joined)
    elif clips and in_rows:
        _clips_in_rows(path, table, clips, joined)
    elif rows and in_clips and not in_rows:
        _rows_in_clips(table, rows, joined)
    return joined


def _with_raw_clips(table: LabelTable) -> LabelTable:
    """Return the table with ids ``video_3`` taken as clips, where nothing else numbers its rows."""
    segments = []
    for segment in table.segments:
        parts = parse_raw_clip(segment.key)
        numbered = segment.number is not None or segment.clip is not None
        if numbered or parts is None:
            return table
        segments.append(replace(segment, video=parts.video, clip=parts.number))
    return LabelTable(table.path, table.names, segments, table.notes)


@dataclass(frozen=True)
class _Clip:
    """A sample whose id names a video and a number in it."""

    video: str
    number: str
    sample: Wanted


_Clips = dict[int, _Clip]
"""By the position of the sample."""


def _parts(name: str, found: Segment | None) -> SegmentId | None:
    """Return what an id says; ``video_3`` is read only where the table has no such id."""
    parts = parse_segment(name)
    if parts is None and found is None:
        return parse_raw_clip(name)
    return parts


@dataclass
class _Attempt:
    """One way to understand the ids.

    Attributes:
        segments: by the position of the sample.
        agree: how many pairs have the same sentiment.
        contradictions: pairs that do not, in words.
        ambiguous: how many samples could be of several segments with different labels.
    """

    segments: dict[int, Segment | None] = field(default_factory=dict)
    agree: int = 0
    contradictions: list[str] = field(default_factory=list)
    ambiguous: int = 0

    @property
    def missing(self) -> int:
        """How many samples have no segment."""
        return sum(segment is None for segment in self.segments.values())

    def add(self, index: int, sample: Wanted, segment: Segment | None) -> None:
        """Take a pair, and compare what both say."""
        self.segments[index] = segment
        if segment is None or sample.sentiment is None or segment.sentiment is None:
            return
        if _same_sentiment(sample, segment):
            self.agree += 1
            return
        self.contradictions.append(
            f"{sample.name!r} has the sentiment {sample.sentiment:.4g}, and {segment.key!r} "
            f"{segment.sentiment:.4g}"
        )

    def differs_from(self, other: "_Attempt") -> bool:
        """Say whether some sample gets other labels."""
        for index, segment in self.segments.items():
            its = other.segments[index]
            if segment is None or its is None:
                continue
            if segment.labels.tolist() != its.labels.tolist():
                return True
        return False


def _same_sentiment(sample: Wanted, segment: Segment) -> bool:
    """Say whether two may be the same segment, by their sentiment."""
    if sample.sentiment is None or segment.sentiment is None:
        return True
    return abs(sample.sentiment - segment.sentiment) <= SENTIMENT_TOLERANCE


def _by_clip(path: Path, table: LabelTable, clips: _Clips, joined: Joined) -> None:
    """Join clips by their numbers, which the table has."""
    attempt = _by_number(table, clips, lambda segment: segment.clip)
    if attempt.contradictions:
        raise _contradiction(path, table, attempt)

    _take(attempt, joined)
    joined.notes.append(f"labels are joined by clip number; {_checked(attempt)}")


def _clips_in_rows(path: Path, table: LabelTable, clips: _Clips, joined: Joined) -> None:
    """Join clips to a table of numbered segments, which may be rows or clips."""
    by_rank = _by_rank(table, clips)
    by_number = _by_number(table, clips, _number_of)

    chosen = by_rank
    if _are_numbered_from(0, table, clips):
        # a table of clips without a gap looks the same
        numbers_fit = not by_number.contradictions and not by_number.missing
        unknown = not by_rank.agree and not by_rank.contradictions
        if by_rank.contradictions and numbers_fit:
            chosen = by_number
        elif unknown and numbers_fit and by_rank.differs_from(by_number):
            raise _two_meanings(path, table)
    elif not by_number.contradictions:
        both = not by_rank.contradictions
        if both and by_rank.differs_from(by_number):
            raise _two_meanings(path, table)

        # rows that somebody counted from 1
        unchecked = not by_number.agree
        if unchecked and by_number.missing and _are_numbered_from(1, table, clips):
            raise _two_meanings(path, table)
        if not both or by_number.missing < by_rank.missing:
            chosen = by_number

    if chosen.contradictions:
        raise _contradiction(path, table, chosen)
    _take(chosen, joined)
    if chosen is by_number:
        joined.notes.append(f"labels are joined by equal numbers; {_checked(chosen)}")
        return

    joined.notes.append(
        "labels are joined by rank: the clips of a video, their numbers sorted as text, are the "
        f"rows of {table.path.name} in order; {_checked(chosen)}"
    )
    if chosen.ambiguous:
        joined.notes.append(
            f"{chosen.ambiguous} samples could be of several rows with different labels: a label "
            "file with a column clip would tell"
        )


def _number_of(segment: Segment) -> str | None:
    return None if segment.number is None else str(segment.number)


def _by_number(
    table: LabelTable, clips: _Clips, number_of: Callable[[Segment], str | None]
) -> _Attempt:
    """Pair clips with the segments of equal number."""
    by_number = {}
    for segment in table.segments:
        number = number_of(segment)
        if number is not None:
            by_number[segment.video, _plain(number)] = segment

    attempt = _Attempt()
    for i, clip in clips.items():
        found = by_number.get((clip.video, _plain(clip.number)))
        attempt.add(i, clip.sample, found)
    return attempt


def _plain(number: str) -> str:
    """Return a number without zeros in front, so that 03 is 3."""
    return number.lstrip("0") or "0"


def _are_numbered_from(first: int, table: LabelTable, clips: _Clips) -> bool:
    """Say whether the segments of every video asked for are numbered on and on, without a gap."""
    videos = {clip.video for clip in clips.values()}
    for video in videos:
        numbers = {segment.number for segment in table.of_video(video)}
        if numbers != set(range(first, first + len(numbers))):
            return False
    return True


def _by_rank(table: LabelTable, clips: _Clips) -> _Attempt:
    """Pair the clips of each video, their numbers sorted as text, with its rows in order."""
    # video -> number -> the samples of this clip, of which there should be one
    by_video: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, clip in clips.items():
        by_video[clip.video][clip.number].append(i)

    attempt = _Attempt()
    for video, numbers in by_video.items():
        rows = {s.number: s for s in table.of_video(video) if s.number is not None}
        order = sorted(numbers)
        samples = [clips[numbers[number][0]].sample for number in order]
        for number, segments in zip(order, _rows_of_video(samples, rows), strict=True):
            for i in numbers[number]:
                _settle(attempt, i, clips[i].sample, segments)
    return attempt


def _settle(
    attempt: _Attempt, index: int, sample: Wanted, segments: Sequence[Segment | None] | None
) -> None:
    """Take the one segment that a clip can be, or count why there is none."""
    if segments is None:
        attempt.segments[index] = None
        attempt.contradictions.append(
            f"{sample.name!r} has the sentiment {sample.sentiment}, and no order of the rows of "
            "its video fits"
        )
        return

    known = [segment for segment in segments if segment is not None]
    distinct = {tuple(segment.labels.tolist()) for segment in known}
    if len(segments) > 1 and (len(distinct) > 1 or len(known) < len(segments)):
        attempt.segments[index] = None
        attempt.ambiguous += 1
        return
    attempt.add(index, sample, known[0] if known else None)


def _rows_of_video(
    clips: Sequence[Wanted], rows: Mapping[int, Segment]
) -> list[Sequence[Segment | None] | None]:
    """Return for each clip of a video, in order, the rows that it can be.

    A row that the table lacks is None. Where there are as many clips as rows, each is one. Else
    some clips are not in the file of the samples, and all ways to leave out rows are tried in which
    sentiment and text agree; where there is no way at all, every clip gets None instead of rows.
    """
    total = max([len(clips), *(number + 1 for number in rows)])
    if len(clips) == total or not rows:
        return [[rows.get(k)] for k in range(len(clips))]

    # numbers so large do not count the rows of a video
    if total > _MOST_ROWS:
        return [[None] for _ in clips]

    texts = {_normal(row.text) for row in rows.values()}
    in_order = [rows.get(k) for k in range(total)]
    fits = [_fits(clip, in_order, texts) for clip in clips]

    before = _ways(fits)
    after = _ways([list(reversed(row)) for row in reversed(fits)])
    if not before[-1][-1]:
        return [None] * len(clips)

    # a clip can be row k where the clips before it fit into the rows before k, and so on
    found: list[Sequence[Segment | None] | None] = []
    for i, row in enumerate(fits):
        behind = after[len(clips) - 1 - i]
        possible = [k for k in range(total) if row[k] and before[i][k] and behind[total - 1 - k]]
        found.append([rows.get(k) for k in possible])
    return found


def _ways(fits: Sequence[Sequence[bool]]) -> list[list[bool]]:
    """Return whether the first i clips fit, in order, into the first k rows, as ``[i][k]``."""
    total = len(fits[0])
    table = [[True] * (total + 1)]
    for row in fits:
        last = table[-1]
        current = [False]
        for k in range(total):
            current.append(current[k] or (last[k] and row[k]))
        table.append(current)
    return table


def _fits(clip: Wanted, rows: Sequence[Segment | None], texts: set[str]) -> list[bool]:
    """Say of each row whether a clip can be it."""
    return [_can_be(clip, row, texts) for row in rows]


def _can_be(clip: Wanted, row: Segment | None, texts: set[str]) -> bool:
    """Say whether a clip can be this row, by what both tell."""
    # nothing is known of a row that the table lacks
    if row is None:
        return True

    # a text that is in the video at all decides; others may be of another release
    text = _normal(clip.text)
    if text and text in texts and text != _normal(row.text):
        return False
    return _same_sentiment(clip, row)


def _normal(text: str | None) -> str:
    """Return the letters and digits of a text, in lower case."""
    return re.sub(r"[\W_]+", "", text or "").lower()


def _rows_in_clips(table: LabelTable, rows: _Clips, joined: Joined) -> None:
    """Join rows of the SDK's label file to a table that has clip numbers alone."""
    for i, row in rows.items():
        clips = {s.clip: s for s in table.of_video(row.video) if s.clip is not None}
        order = sorted(clips)
        position = int(row.number)
        joined.segments[i] = clips[order[position]] if position < len(order) else None

    joined.notes.append(
        f"labels are joined by rank: row k of a video is the k-th of its clips in "
        f"{table.path.name}, their numbers sorted as text; not checked by sentiment"
    )


def _take(attempt: _Attempt, joined: Joined) -> None:
    for index, segment in attempt.segments.items():
        joined.segments[index] = segment


def _checked(attempt: _Attempt) -> str:
    paired = len(attempt.segments) - attempt.missing
    if not attempt.agree:
        return "not checked, because not both files tell the sentiment"
    return f"{attempt.agree} of {paired} pairs are checked by their sentiment"


def _contradiction(path: Path, table: LabelTable, attempt: _Attempt) -> DataError:
    wrong = len(attempt.contradictions)
    paired = wrong + attempt.agree
    return DataError(
        f"{wrong} of {paired} samples of {path} contradict {table.path} in sentiment: "
        f"{attempt.contradictions[0]}",
        expected="labels of the same segments",
        fix="give the label file of this data set, best with a column clip (the number in the "
        "sample's id)",
    )


def _two_meanings(path: Path, table: LabelTable) -> DataError:
    return DataError(
        f"the numbers in {table.path} may be the clips of {path} or rows of the SDK's label file, "
        "and nothing tells which",
        expected="a column clip or sentiment in the label file",
        fix="name the column clip if its numbers are those in the sample's ids",
    )
