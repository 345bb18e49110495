"""What is recognised at once: stretches of speech that begin and end in silence.

An hour of sound given to Whisper whole takes gigabytes, and one stretch costs as much as another
however short it is. So regions of speech are joined, up to a length.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from emotailor.extraction.base import RATE, Sound

_MARGIN = 0.4  # seconds around what is spoken; with half of it, last words are misheard
_LOUDNESS = 0.05  # seconds over which the loudness is looked at


class Stretch(NamedTuple):
    """A part of a sound.

    Attributes:
        start: seconds.
        end: seconds.
    """

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


def stretches_of(
    sound: Sound, regions: Float64[np.ndarray, "regions 2"], longest: float
) -> list[Stretch]:
    """Return the stretches that are recognised one by one, in order.

    A stretch ends at the longest silence in the second half of what is possible, or, where somebody
    speaks on, at the quietest moment there.

    Args:
        sound: where loud and quiet is seen.
        regions: where somebody speaks, in order.
        longest: seconds of a stretch.
    """
    most = longest - 2 * _MARGIN
    parts: list[Stretch] = []
    for start, end in regions.tolist():
        parts += _short_parts(sound, Stretch(start, end), most)

    joined: list[Stretch] = []
    first = 0
    while first < len(parts):
        last = _last_of(parts, first, most)
        whole = Stretch(parts[first].start, parts[last].end)
        joined.append(whole)
        first = last + 1
    return _with_margins(joined, sound.duration)


def _short_parts(sound: Sound, region: Stretch, most: float) -> list[Stretch]:
    """Return a region in parts that are short enough, cut at quiet moments."""
    parts = []
    rest = region
    while rest.seconds > most:
        half = rest.start + most / 2
        cut = _quietest(sound, half, rest.start + most)
        parts.append(Stretch(rest.start, cut))
        rest = Stretch(cut, rest.end)
    return [*parts, rest]


def _quietest(sound: Sound, start: float, end: float) -> float:
    """Return the middle of the quietest moment between two times."""
    width = round(_LOUDNESS * RATE)
    samples = sound.between(start, end)
    count = len(samples) // width
    frames = samples[: count * width].reshape(count, width)

    power = np.mean(frames**2, axis=1)
    quietest = int(power.argmin())
    return start + (quietest + 0.5) * _LOUDNESS


def _last_of(parts: list[Stretch], first: int, most: float) -> int:
    """Return the last part of the stretch that begins with part ``first``."""
    begin = parts[first].start
    latest = begin + most
    last = first
    while last + 1 < len(parts) and parts[last + 1].end <= latest:
        last += 1
    if last + 1 == len(parts):
        return last

    def silence(i: int) -> float:
        following = parts[i + 1]
        return following.start - parts[i].end

    half = begin + most / 2
    late = [i for i in range(first, last + 1) if parts[i].end >= half]
    return max(late or [last], key=silence)


def _with_margins(stretches: list[Stretch], duration: float) -> list[Stretch]:
    """Return stretches with some silence around them, but for what belongs to their neighbours."""
    halves = [(one.end + other.start) / 2 for one, other in pairwise(stretches)]
    earliest = [0.0, *halves]
    latest = [*halves, duration]

    found = []
    for stretch, before, after in zip(stretches, earliest, latest, strict=False):
        start = max(stretch.start - _MARGIN, before)
        end = min(stretch.end + _MARGIN, after)
        found.append(Stretch(start, end))
    return found
