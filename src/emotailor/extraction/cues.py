"""Texts with times, of which a transcript is made: subtitles, words, or anything in between."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from emotailor.encoders.words import words_of
from emotailor.extraction.base import Word
from emotailor.extraction.timing import in_order, spread, with_room
from emotailor.text import plural

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_TOGETHER = 0.02  # seconds; cues that begin as near as that are of one moment
_ROUNDED = 0.05  # seconds that a time may be wrong without anybody being told


@dataclass(frozen=True)
class Cue:
    """A text, and when it is said.

    Attributes:
        start: seconds.
        end: seconds.
        text: without tags; may hold several words.
        probability: of a single word, where its recogniser says so.
    """

    start: float
    end: float
    text: str
    probability: float | None = None


def words_of_cues(cues: Sequence[Cue], duration: float) -> tuple[list[Word], list[str]]:
    """Return the words of cues in order of time, and what was repaired.

    Args:
        cues: in any order; they may overlap, or lie outside the medium.
        duration: seconds of the medium.
    """
    repairs: Counter[str] = Counter()
    inside = _inside(cues, duration, repairs)
    apart = _apart(inside, repairs)

    words: list[Word] = []
    for cue in apart:
        texts = plain_words(cue.text)
        found = spread(texts, cue.start, cue.end)
        words += [replace(word, probability=cue.probability) for word in found]
        repairs[_ESTIMATED] += len(texts) > 1

    notes = [what.format(plural(count, "cue")) for what, count in repairs.items() if count]
    return with_room(in_order(words, duration)), notes


def plain_words(text: str) -> list[str]:
    """Return the words of a text, in which nothing moves the cursor of a terminal.

    Args:
        text: from a file.
    """
    return words_of(_CONTROLS.sub(" ", text))


_BACKWARDS = "{} ended before beginning: left out"
_NEGATIVE = "{} began before the medium: what lies before it was left out"
_BEYOND = "{} ended after the medium: what lies behind it was left out"
_OVERLAP = "{} overlapped the next: cut off where that begins"
_ESTIMATED = "the times of words within {} are estimates, by the length of the words"


def _inside(cues: Sequence[Cue], duration: float, repairs: Counter[str]) -> list[Cue]:
    """Return what of the cues lies inside the medium."""
    kept = []
    for cue in cues:
        if cue.end < cue.start:
            repairs[_BACKWARDS] += 1
            continue

        repairs[_NEGATIVE] += cue.start < 0
        repairs[_BEYOND] += cue.end > duration + _ROUNDED
        if cue.end < 0 or cue.start >= duration:
            continue
        kept.append(replace(cue, start=max(cue.start, 0.0), end=min(cue.end, duration)))
    return kept


def _apart(cues: Sequence[Cue], repairs: Counter[str]) -> list[Cue]:
    """Return cues in order, none of which overlaps the next."""
    apart: list[Cue] = []
    for cue in sorted(cues, key=lambda cue: cue.start):
        if not apart or apart[-1].end <= cue.start:
            apart.append(cue)
            continue

        before = apart[-1]
        repairs[_OVERLAP] += before.end > cue.start + _ROUNDED
        if cue.start - before.start >= _TOGETHER:
            apart[-1] = replace(before, end=cue.start)
            apart.append(cue)
        else:
            # two speakers at once: one after the other
            text = f"{before.text} {cue.text}"
            apart[-1] = Cue(before.start, max(before.end, cue.end), text)
    return apart
