"""Cutting the tracks of a video into samples: segment by segment, aligned to words or not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from emotailor.data.readers._common import as_float32
from emotailor.data.readers.account import Account
from emotailor.data.readers.joining.labels import TOLERANCE, Segment
from emotailor.data.readers.timed.align import SHARED, mean_per_word, overlapping, windows
from emotailor.data.readers.timed.track import Track, piece_of
from emotailor.data.sample import Modality, Sample

_SAME_WORD = 0.01
"""Seconds by which two files may differ over the same word."""

_TOGETHER = 8
"""How many words may begin at the same time and still be told apart."""

_NO_WORD = "without a word in the text file"

Words = tuple[list[str], Float64[np.ndarray, "n 2"]]
"""The words of a video and their intervals, in order of time."""

_Means = tuple[Float32[np.ndarray, "words dim"], Bool[np.ndarray, "words"]]


@runtime_checkable
class Tracks(Protocol):
    """Where tracks come from, such as a ``.csd`` file."""

    @property
    def name(self) -> str:
        """Name of the file or folder, for messages."""

    def track(self, video: str) -> Track | None:
        """Return all rows of a video, in order of time; None where it has none."""


@runtime_checkable
class Spoken(Protocol):
    """Where words come from."""

    def words(self, video: str) -> Words:
        """Return the words of a video and their intervals, in order of time."""


@dataclass
class Cutter:
    """Cuts segments out of the tracks of their video.

    Aligned, the steps are the words of the text, or, where there are no text features, of
    ``spoken``. The others are averaged over the rows of each word first, over the whole video.

    Attributes:
        sources: modality -> its tracks.
        aligned: one step per word, or the rows of each modality.
        spoken: the words themselves, where there are any.
        account: counts the segments that are dropped.
        beyond: modality -> how many segments start after its last row.
        imputed: modality -> how many rows of zeros stood for words without rows.
        put_together: names of the files whose pieces are words.
    """

    sources: Mapping[Modality, Tracks]
    aligned: bool
    spoken: Spoken | None = None
    account: Account = field(default_factory=Account)
    beyond: Counter[Modality] = field(default_factory=Counter)
    imputed: Counter[Modality] = field(default_factory=Counter)
    put_together: set[str] = field(default_factory=set)

    def cut(
        self, video: str, segments: Sequence[Segment], labelled: Sequence[Segment]
    ) -> Iterator[Sample]:
        """Yield segments of one video; drop and count those without a step to align to.

        Args:
            video: the video.
            segments: which of its segments.
            labelled: all that have labels, to tell what the pieces of a file are.
        """
        tracks = self._tracks(video)
        words = self.spoken.words(video) if self.spoken is not None else None

        # the words, whether or not they have features
        steps = tracks.get("text")
        if steps is None and words is not None:
            steps = _without_features(words)
        if steps is not None:
            tracks = self._without_imputed(tracks, steps)

        placed = {}
        for m, track in tracks.items():
            name = self.sources[m].name
            by_segment = _pieces_are_segments(track, labelled)
            placed[m] = _Placed(f"{name}, {video!r}", track, segments, by_segment)
            self.beyond[m] += _after_the_last(track, segments)
            if track.in_pieces and not placed[m].by_segment:
                self.put_together.add(name)

        if not self.aligned:
            yield from _own_rows(placed, segments, words)
            return

        if steps is None:
            for segment in segments:
                self.account.drop("segment", _NO_WORD, segment.key)
            return

        of_words = placed.get("text")
        if of_words is None:
            of_words = _Placed(f"the words of {video!r}", steps, segments, by_segment=False)
        found = _per_word(placed, of_words, segments, words)
        for segment, sample in zip(segments, found, strict=True):
            if sample is None:
                self.account.drop("segment", _NO_WORD, segment.key)
            else:
                yield sample

    def _tracks(self, video: str) -> dict[Modality, Track]:
        """Return the tracks of a video that have any row."""
        found = {}
        for m, source in self.sources.items():
            track = source.track(video)
            if track is not None and len(track.intervals):
                found[m] = track
        return found

    def _without_imputed(
        self, tracks: Mapping[Modality, Track], steps: Track
    ) -> dict[Modality, Track]:
        """Return tracks without the zeros that the SDK's ``impute`` put in for lacking rows."""
        found = {}
        for m, track in tracks.items():
            found[m] = track
            if m == "text" or not track.in_pieces:
                continue

            imputed = _imputed(track, steps)
            count = int(imputed.sum())
            if count:
                self.imputed[m] += count
                found[m] = track.rows(~imputed)
        return {m: track for m, track in found.items() if len(track.intervals)}


class _Placed:
    """A track, and where the segments of its video lie in it.

    Attributes:
        where: file and video, for messages.
        track: the track.
        by_segment: whether its pieces are the segments, so that their rows are known by number.
    """

    def __init__(
        self, where: str, track: Track, segments: Sequence[Segment], by_segment: bool
    ) -> None:
        self.where = where
        self.track = track
        self.by_segment = by_segment
        self._segments = segments

        # a segment without times has none of the rows
        spans = [segment.span or (0.0, 0.0) for segment in segments]
        self._firsts, self._lasts = windows(self.where, track.intervals, np.array(spans))

    def rows(self, i: int) -> Int64[np.ndarray, "rows"]:
        """Return the numbers of the rows of a segment, in order of time."""
        segment = self._segments[i]
        if self.by_segment:
            return np.flatnonzero(self.track.pieces == _number(segment))
        if segment.span is None:
            return np.zeros(0, np.int64)

        first = self._firsts[i]
        near = self.track.intervals[first : self._lasts[i]]
        return first + np.flatnonzero(overlapping(near, *segment.span))


def _own_rows(
    placed: Mapping[Modality, _Placed], segments: Sequence[Segment], words: Words | None
) -> Iterator[Sample]:
    """Yield samples with the rows of each modality."""
    texts = None
    if "text" in placed:
        texts = _texts(words, placed["text"].track)

    for i, segment in enumerate(segments):
        sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {}
        times = {}
        said = None
        for m, of_modality in placed.items():
            rows = of_modality.rows(i)
            if not len(rows):
                continue

            track = of_modality.track.rows(rows)
            sequences[m] = as_float32(track.features)
            times[m] = _seconds(track)
            if m == "text" and texts is not None:
                said = [texts[row] for row in rows.tolist()]
        yield Sample(segment.key, sequences, segment.labels, words=said, times=times)


def _per_word(
    placed: Mapping[Modality, _Placed],
    of_words: _Placed,
    segments: Sequence[Segment],
    words: Words | None,
) -> Iterator[Sample | None]:
    """Yield samples with one step per word; None for a segment without any."""
    steps = of_words.track
    texts = _texts(words, steps)

    # over the whole video, so that a word is the same in every segment
    means = {}
    for m, of_modality in placed.items():
        if m != "text":
            means[m] = _means(of_modality, of_words)

    for i, segment in enumerate(segments):
        rows = of_words.rows(i)
        if not len(rows):
            yield None
            continue

        chosen = steps.rows(rows)
        sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {}
        missing: dict[Modality, Bool[np.ndarray, "_"]] = {}
        if "text" in placed:
            sequences["text"] = as_float32(chosen.features)
        for m, (values, lacking) in means.items():
            lacks = lacking[rows]
            if lacks.all():
                continue
            sequences[m] = values[rows]
            if lacks.any():
                missing[m] = lacks

        said = None
        if texts is not None:
            said = [texts[row] for row in rows.tolist()]
        times = dict.fromkeys(sequences, _seconds(chosen))
        yield Sample(segment.key, sequences, segment.labels, missing, said, times)


def _means(of_modality: _Placed, of_words: _Placed) -> _Means:
    """Return the mean of the rows of each word, and the words that have none."""
    track = of_modality.track
    steps = of_words.track
    same_pieces = track.in_pieces and steps.in_pieces
    if same_pieces and of_modality.by_segment == of_words.by_segment:
        return _mean_by_piece(of_modality.where, track, steps)
    return mean_per_word(of_modality.where, track.features, track.intervals, steps.intervals)


def _mean_by_piece(where: str, track: Track, steps: Track) -> _Means:
    """Average the rows of each word among those of its own piece.

    Words may overlap, and then a row of the next word is none of this one.
    """
    dim = track.features.shape[1]
    means = np.zeros((len(steps.intervals), dim), np.float32)
    lacking = np.ones(len(means), bool)

    rows_of = _by_piece(track)
    for piece, words in _by_piece(steps).items():
        rows = rows_of.get(piece)
        if rows is None:
            continue
        own = track.rows(rows)
        spans = steps.intervals[words]

        # where the SDK averaged already, row i is that of word i
        if _row_by_row(own.intervals, spans):
            means[words] = as_float32(own.features)
            lacking[words] = False
            continue
        means[words], lacking[words] = mean_per_word(where, own.features, own.intervals, spans)
    return means, lacking


def _by_piece(track: Track) -> dict[int, Int64[np.ndarray, "rows"]]:
    """Return the rows of each piece, in order of time."""
    order = np.argsort(track.pieces, kind="stable")
    pieces, firsts = np.unique(track.pieces[order], return_index=True)
    parts = np.split(order, firsts[1:])
    return dict(zip(pieces.tolist(), parts, strict=True))


def _row_by_row(rows: Float64[np.ndarray, "n 2"], words: Float64[np.ndarray, "words 2"]) -> bool:
    """Say whether there is one row per word, and within it."""
    if rows.shape != words.shape:
        return False
    after = rows[:, 0] >= words[:, 0] - SHARED
    before = rows[:, 1] <= words[:, 1] + SHARED
    return bool((after & before).all())


def _imputed(track: Track, steps: Track) -> Bool[np.ndarray, "n"]:
    """Say which rows are zeros that last exactly as long as a word."""
    starts = steps.intervals[:, 0]
    order = np.argsort(starts, kind="stable")
    place = np.searchsorted(starts[order], track.intervals[:, 0] - SHARED)

    zero = (track.features == 0).all(axis=1)  # (n,)
    found = np.zeros(len(track.features), bool)
    for row in np.flatnonzero(zero).tolist():
        # few words begin at the same time
        for k in order[place[row] : place[row] + _TOGETHER].tolist():
            apart = np.abs(steps.intervals[k] - track.intervals[row])
            if apart.max() <= SHARED:
                found[row] = True
    return found


def _pieces_are_segments(track: Track, segments: Sequence[Segment]) -> bool:
    """Say whether the pieces ``video[k]`` of a track are the segments, and not its words.

    Files of both kinds name them alike. A segment's rows lie within its time.
    """
    if not track.in_pieces:
        return False

    spans = {}
    for segment in segments:
        spans[_number(segment)] = segment.span
    for piece, rows in _by_piece(track).items():
        if piece not in spans:
            return False
        span = spans[piece]
        if span is None:
            continue

        # segments are cut at 0
        intervals = track.intervals[rows]
        start = max(0.0, intervals[:, 0].min())
        end = intervals[:, 1].max()
        if start < span[0] - TOLERANCE or end > span[1] + TOLERANCE:
            return False
    return True


def _number(segment: Segment) -> int | None:
    """Return k of the segment ``video[k]``; None for one without a number."""
    if segment.number is not None:
        return segment.number
    _, number = piece_of(segment.key)
    return number if number >= 0 else None


def _after_the_last(track: Track, segments: Sequence[Segment]) -> int:
    """Count the segments that start after the last row."""
    last = float(track.intervals[:, 1].max())
    starts = [segment.span[0] for segment in segments if segment.span is not None]
    return sum(start >= last for start in starts)


def _without_features(words: Words) -> Track | None:
    """Return a track of words that have no features."""
    _, intervals = words
    count = len(intervals)
    if not count:
        return None
    return Track(np.zeros((count, 0)), intervals, np.full(count, -1))


def _texts(words: Words | None, steps: Track) -> list[str] | None:
    """Return the word of each step, found by its time; empty where there is none."""
    if words is None or not words[0]:
        return None
    texts, intervals = words
    starts = steps.intervals[:, 0]
    firsts = np.searchsorted(intervals[:, 0], starts - _SAME_WORD)

    found = []
    for step, first in zip(steps.intervals, firsts.tolist(), strict=True):
        # few words begin at the same time
        near = intervals[first : first + _TOGETHER]
        apart = np.abs(near - step).max(axis=1, initial=0)
        same = np.flatnonzero(apart <= _SAME_WORD)
        text = ""
        if len(same):
            closest = same[apart[same].argmin()]
            text = texts[first + int(closest)]
        found.append(text)
    return found if any(found) else None


def _seconds(track: Track) -> Float64[np.ndarray, "n 2"]:
    """Return the times of rows; what began before the video began with it."""
    return np.maximum(track.intervals, 0.0)
