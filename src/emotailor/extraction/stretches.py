"""What is recognised at once: stretches of speech that begin and end in silence.

An hour of sound given to Whisper whole takes gigabytes, and one stretch costs as much as another
however short it is. So regions of speech are joined, up to a length.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from emotailor.extraction.base import RATE, Sound

_MARGIN = 0.4  # seconds around what is spoken; with half of it, last words are misheard
_LOUDNESS = 0.05  # seconds over which the loudness is looked at


def stretches_of(
    sound: Sound, regions: Float64[np.ndarray, "regions 2"], longest: float
) -> list[tuple[float, float]]:
    """Return start and end of each stretch, in seconds.

    A stretch ends at the longest silence in the second half of what is possible, or, where somebody
    speaks on, at the quietest moment there.

    Args:
        sound: where loud and quiet is seen.
        regions: where somebody speaks, in order.
        longest: seconds of a stretch.
    """
    most = longest - 2 * _MARGIN
    parts: list[tuple[float, float]] = []
    for start, end in regions.tolist():
        parts += _short_parts(sound, start, end, most)

    joined: list[tuple[float, float]] = []
    first = 0
    while first < len(parts):
        last = _last_of(parts, first, most)
        joined.append((parts[first][0], parts[last][1]))
        first = last + 1
    return _with_margins(joined, sound.duration)


def _short_parts(sound: Sound, start: float, end: float, most: float) -> list[tuple[float, float]]:
    """Return a region in parts that are short enough, cut at quiet moments."""
    parts = []
    while end - start > most:
        cut = _quietest(sound, start + most / 2, start + most)
        parts.append((start, cut))
        start = cut
    parts.append((start, end))
    return parts


def _quietest(sound: Sound, start: float, end: float) -> float:
    """Return the middle of the quietest moment between two times."""
    width = round(_LOUDNESS * RATE)
    samples = sound.between(start, end)
    count = len(samples) // width
    frames = samples[: count * width].reshape(count, width)

    power = np.mean(frames**2, axis=1)
    quietest = int(power.argmin())
    return start + (quietest + 0.5) * _LOUDNESS


def _last_of(parts: list[tuple[float, float]], first: int, most: float) -> int:
    """Return the last part of the stretch that begins with part ``first``."""
    begin = parts[first][0]
    last = first
    while last + 1 < len(parts) and parts[last + 1][1] - begin <= most:
        last += 1
    if last + 1 == len(parts):
        return last

    def silence(i: int) -> float:
        return parts[i + 1][0] - parts[i][1]

    half = begin + most / 2
    late = [i for i in range(first, last + 1) if parts[i][1] >= half]
    return max(late or [last], key=silence)


def _with_margins(
    stretches: list[tuple[float, float]], duration: float
) -> list[tuple[float, float]]:
    """Return stretches with some silence around them, but for what belongs to their neighbours."""
    halves = [(before[1] + after[0]) / 2 for before, after in pairwise(stretches)]
    bounds = [0.0, *halves, duration]

    found = []
    for i, (start, end) in enumerate(stretches):
        begin = max(start - _MARGIN, bounds[i])
        finish = min(end + _MARGIN, bounds[i + 1])
        found.append((begin, finish))
    return found
