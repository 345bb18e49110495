"""All that one modality holds of one video, in order of time."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Num

_PIECE = re.compile(r"(?P<video>.+?)(?:\[(?P<a>\d{1,9})\]|\$_\$(?P<b>\d{1,9}))", re.S)


@dataclass(frozen=True)
class Track:
    """All rows of one video, in order of their start.

    Attributes:
        features: one row per moment.
        intervals: start and end in seconds.
        pieces: number k of the piece ``video[k]`` that each row is from; -1 where the source holds
            the video as a whole.
    """

    features: Num[np.ndarray, "n dim"]
    intervals: Float64[np.ndarray, "n 2"]
    pieces: Int64[np.ndarray, "n"]

    @property
    def in_pieces(self) -> bool:
        """Whether all rows are from pieces."""
        return bool((self.pieces >= 0).all())

    def rows(self, chosen: Any) -> "Track":
        """Return some of the rows, by number or mask."""
        return Track(self.features[chosen], self.intervals[chosen], self.pieces[chosen])


def with_length(intervals: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Return intervals that last, for rows that have a time stamp alone.

    Where no row of a video lasts, each lasts until the next one begins, and the last as long as
    the one before it. Where some rows last, the others keep their length of 0, and share time
    with nothing.
    """
    if not len(intervals):
        return intervals
    start = intervals[:, 0]
    lasting = intervals[:, 1] > start
    if lasting.any():
        return intervals

    stamps = np.unique(start)
    if len(stamps) == 1:
        return np.stack([start, start + 1], axis=1)  # no other row to tell how long
    steps = np.diff(stamps)
    ends = np.append(stamps[1:], stamps[-1] + steps[-1])
    place = np.searchsorted(stamps, start)
    return np.stack([start, ends[place]], axis=1)


def piece_of(key: str) -> tuple[str, int]:
    """Return video and number of a piece ``video[k]`` or ``video$_$k``; -1 for a whole video."""
    match = _PIECE.fullmatch(key)
    if match is None:
        return key, -1
    number = match["a"] or match["b"]
    return match["video"], int(number)
