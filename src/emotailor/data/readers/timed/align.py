"""Which rows share time with a segment or a word, and the mean of a word's rows.

The rules are those of the CMU-MultimodalSDK's ``align``: rows share time with a stretch where they
overlap it by more than ``SHARED`` seconds, and a word has the mean of all its rows, whichever
segment it is in.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Num

from emotailor.errors import DataError

SHARED = 1e-5
"""Seconds: a shorter overlap is rounding error of the two files' times."""

CROWD = 200
"""How often the segments or words of a video may overlap each of its rows, on average."""

MOST_VALUES = 1 << 26
"""Most values of the words of a video in one modality."""


def overlapping(
    intervals: Float64[np.ndarray, "n 2"], start: float, end: float
) -> Bool[np.ndarray, "n"]:
    """Say which intervals share more than ``SHARED`` seconds with [start, end]."""
    first = np.maximum(intervals[:, 0], start)
    last = np.minimum(intervals[:, 1], end)
    return last - first > SHARED


def mean_per_word(
    where: str,
    features: Num[np.ndarray, "n dim"],
    intervals: Float64[np.ndarray, "n 2"],
    words: Float64[np.ndarray, "words 2"],
) -> tuple[Float32[np.ndarray, "words dim"], Bool[np.ndarray, "words"]]:
    """Average the rows that overlap each word.

    Args:
        where: file and video, for messages.
        features: one row per interval.
        intervals: start and end of each row in seconds, in order of their start.
        words: start and end of each word in seconds.

    Returns:
        The means, zeros where no row overlaps the word, and the words of which that is so.

    Raises:
        DataError: words and rows overlap so often that nobody can have spoken them.
    """
    dim = features.shape[1]
    if len(words) * dim > MOST_VALUES:
        raise DataError(
            f"{where}: {len(words)} words with {dim} features each",
            expected=f"at most {MOST_VALUES} values",
            fix="cut long recordings into several",
        )
    means = np.zeros((len(words), dim), np.float32)
    lacking = np.ones(len(words), bool)

    firsts, lasts = windows(where, intervals, words)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, and reported as such
        for i, (start, end) in enumerate(words.tolist()):
            window = slice(firsts[i], lasts[i])
            inside = overlapping(intervals[window], start, end)
            if not inside.any():
                continue

            # all of them but for rows of unequal length
            rows = features[window]
            if not inside.all():
                rows = rows[inside]
            means[i] = rows.mean(axis=0, dtype=np.float64)
            lacking[i] = False
    return means, lacking


def windows(
    where: str, intervals: Float64[np.ndarray, "n 2"], spans: Float64[np.ndarray, "spans 2"]
) -> tuple[Int64[np.ndarray, "spans"], Int64[np.ndarray, "spans"]]:
    """Return the first row that may overlap each span, and the row behind the last.

    Args:
        where: file and video, for messages.
        intervals: start and end of each row in seconds, in order of their start.
        spans: start and end of words or segments in seconds.

    Raises:
        DataError: spans and rows overlap so often that nobody can have spoken them.
    """
    # rows come by their start; the latest end so far never falls, so it can be searched too
    latest_end = np.maximum.accumulate(intervals[:, 1])
    firsts = np.searchsorted(latest_end, spans[:, 0], side="right")
    lasts = np.searchsorted(intervals[:, 0], spans[:, 1], side="left")
    lasts = np.maximum(firsts, lasts)

    overlaps = int((lasts - firsts).sum())
    most = CROWD * (len(intervals) + len(spans)) + 1_000_000
    if overlaps > most:
        raise DataError(
            f"{where}: {len(spans)} intervals overlap {len(intervals)} rows {overlaps} times",
            expected="intervals that follow each other in time",
            fix="check the intervals",
        )
    return firsts, lasts
