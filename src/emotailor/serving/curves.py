"""What is shown of face and voice over time: a few columns by name, with few points.

They are for the eye alone. Whether a model has seen such features, and took them for evidence, is
another matter (:class:`emotailor.serving.timeline.Timeline` says it).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from emotailor.data.readers.timed.align import windows
from emotailor.extraction.base import Recording, Timed

MOST_POINTS = 600
"""Points of a curve at most, however long the video is."""
SHORTEST = 0.1  # seconds from one point to the next at least
DIGITS = 4  # of the values of a curve

Part = Literal["face", "voice"]


@dataclass(frozen=True)
class Shown:
    """What a curve is made of.

    Attributes:
        name: of the curve.
        part: whose columns these are.
        unit: of the values; empty for shares from 0 to 1.
        columns: names of the columns, whose mean is taken.
        above: rows with a lower value are left out, such as those without a pitch.
    """

    name: str
    part: Part
    unit: str
    columns: tuple[str, ...]
    above: float = -math.inf


OPENSMILE_PITCH = "F0semitoneFrom27.5Hz_sma3nz"

SHOWN = (
    Shown("smile", "face", "", ("mouthSmileLeft", "mouthSmileRight")),
    Shown("jaw open", "face", "", ("jawOpen",)),
    Shown("head turned", "face", "degrees", ("yaw",)),
    Shown("energy", "voice", "dB", ("energy",)),
    Shown("pitch", "voice", "Hz", ("f0",), above=1e-3),
    Shown("loudness", "voice", "arbitrary units", ("Loudness_sma3",)),
    Shown("pitch above 27.5 Hz", "voice", "semitones", (OPENSMILE_PITCH,), above=1e-3),
)
"""The curves of a timeline, as far as their columns are there."""

VOICED = {"voiced": 0.5, OPENSMILE_PITCH: 1e-3}
"""Column of the sound that says whether it has a pitch -> above which value it does."""


@dataclass(frozen=True)
class Curve:
    """Something of face or voice over time, on an even grid from the start of the video.

    Attributes:
        name: what it is.
        part: of what.
        unit: of the values; empty for shares from 0 to 1.
        step: seconds from one point to the next; a point is the mean over a step.
        values: of the points; None where there was nothing to see or hear.
    """

    name: str
    part: Part
    unit: str
    step: float
    values: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "part": self.part,
            "unit": self.unit,
            "step": self.step,
            "values": list(self.values),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Curve":
        """Return what :meth:`to_json` told of."""
        return cls(**{**values, "values": tuple(values["values"])})


def curves_of(recording: Recording) -> tuple[Curve, ...]:
    """Return the curves of a recording, as far as there are rows of them."""
    points = math.ceil(recording.duration / SHORTEST)
    points = min(max(points, 1), MOST_POINTS)
    step = recording.duration / points

    found = []
    for shown in SHOWN:
        track = _track(recording, shown.part)
        values = None if track is None else column_of(track, shown)
        if track is None or values is None or not step:
            continue
        means = _on_grid(track, values, shown.above, step, points)
        found.append(Curve(shown.name, shown.part, shown.unit, round(step, 6), means))
    return tuple(found)


def column_of(track: Timed, shown: Shown) -> Float64[np.ndarray, "n"] | None:
    """Return the values of a curve row by row; None where a column is not there."""
    if not set(shown.columns) <= set(track.names):
        return None
    columns = [track.column(name).astype(np.float64) for name in shown.columns]
    return np.mean(columns, axis=0)


def mean_between(recording: Recording, name: str, start: float, end: float) -> float | None:
    """Return the mean of what a curve is made of between two times; None where there is nothing."""
    shown = next(shown for shown in SHOWN if shown.name == name)
    track = _near(_track(recording, shown.part), start, end)
    values = None if track is None else column_of(track, shown)
    if track is None or values is None:
        return None

    weights = _shared(track, start, end) * (values >= shown.above)  # (n,), seconds
    total = weights.sum()
    if not total:
        return None
    return round(float(weights @ values / total), DIGITS)


def share_of_face(recording: Recording, start: float, end: float) -> float | None:
    """Return in how much of a stretch the face is seen; None where nobody looked for one."""
    face = _near(recording.face, start, end)
    if face is None:
        return None
    return _share(face, np.ones(len(face.values), np.bool_), start, end)


def share_of_voice(recording: Recording, start: float, end: float) -> float | None:
    """Return in how much of a stretch the sound has a pitch; None where there is no sound."""
    voice = _near(recording.voice, start, end)
    if voice is None:
        return None
    for name, least in VOICED.items():
        if name in voice.names:
            return _share(voice, voice.column(name) > least, start, end)
    return None


def _share(track: Timed, counted: Bool[np.ndarray, "n"], start: float, end: float) -> float:
    length = end - start
    if length <= 0:
        return 0.0
    seconds = (_shared(track, start, end) * counted).sum()
    return round(min(float(seconds) / length, 1.0), DIGITS)


def _track(recording: Recording, part: Part) -> Timed | None:
    return recording.face if part == "face" else recording.voice


def _near(track: Timed | None, start: float, end: float) -> Timed | None:
    """Return the rows that may share time with a stretch: a few of an hour's."""
    if track is None:
        return None
    span = np.array([[start, end]], np.float64)
    (first,), (last,) = windows("the video", track.intervals, span)
    near = slice(int(first), int(last))
    return Timed(track.names, track.values[near], track.intervals[near])


def _shared(track: Timed, start: float, end: float) -> Float64[np.ndarray, "n"]:
    """Return how many seconds each row shares with a stretch."""
    first = np.maximum(track.intervals[:, 0], start)
    last = np.minimum(track.intervals[:, 1], end)
    return np.maximum(last - first, 0.0)


def _on_grid(
    track: Timed, values: Float64[np.ndarray, "n"], above: float, step: float, points: int
) -> tuple[float | None, ...]:
    """Return the mean of the rows whose middle is in each step; None where there is none."""
    middles = track.intervals.mean(1)  # (n,)
    places = np.floor(middles / step).astype(np.int64)
    inside = (places >= 0) & (places < points)
    kept = inside & np.isfinite(values) & (values >= above)

    # of no rows at all, the sums would be whole numbers
    sums = np.bincount(places[kept], values[kept], points).astype(np.float64)
    counts = np.bincount(places[kept], minlength=points)
    return tuple(_means(sums.tolist(), counts.tolist()))


def _means(sums: Sequence[float], counts: Sequence[int]) -> list[float | None]:
    means: list[float | None] = []
    for total, count in zip(sums, counts, strict=True):
        means.append(round(total / count, DIGITS) if count else None)
    return means
