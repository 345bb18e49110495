"""Where one utterance ends and the next begins: at pauses, since punctuation also ends "Dr."."""

import itertools
import math
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from emotailor.extraction.base import Utterance, Word
from emotailor.extraction.config import UtteranceConfig

_SENTENCE = re.compile(r"[.!?…。！？][\"')\]”’»]*$")  # noqa: RUF001
_TITLE = re.compile(
    r"^(?:\w|dr|mr|mrs|ms|prof|st|sr|jr|vs|etc|e\.g|i\.e|(?:\w\.)+\w)\.$", re.IGNORECASE
)
_EDGE = 0.2  # of its words stay on either side where a long utterance is divided


def cut_utterances(
    words: Sequence[Word],
    duration: float,
    settings: UtteranceConfig,
    regions: Float64[np.ndarray, "regions 2"] | None = None,
) -> list[Utterance]:
    """Return the words in utterances.

    An utterance ends at a pause; behind the end of a sentence a shorter one is enough. One that has
    too many words or seconds is divided until it has not, at its longest pause that leaves a fifth
    of the words on either side. Where there are no words at all, the medium is cut into pieces of
    equal length, so that face and voice can be looked at.

    Args:
        words: in order of time.
        duration: seconds of the medium.
        settings: what a pause is, and how long an utterance may be.
        regions: where somebody speaks. A pause is then what nobody speaks in between the middles of
            two words, since the times of recognised words are not exact.

    Returns:
        In order of time, without overlaps. None where there are no words and the medium has no
        length.
    """
    if not words:
        return _pieces(duration, settings.without_words)

    pauses = [_silence(words[i], words[i + 1], regions) for i in range(len(words) - 1)]
    utterances: list[Utterance] = []
    first = 0
    for i, word in enumerate(words):
        is_last = i == len(words) - 1
        if not is_last and not _ends(word, pauses[i], settings):
            continue
        for begin, end in _divided(words, pauses, first, i + 1, settings):
            utterances.append(_utterance(words[begin:end]))
        first = i + 1
    return utterances


def _pieces(duration: float, length: float) -> list[Utterance]:
    """Return pieces without words, all of one length and none longer than asked for."""
    if duration <= 0:
        return []
    count = math.ceil(duration / length - 1e-9)
    edges = np.linspace(0.0, duration, count + 1).tolist()
    return [Utterance((), start, end) for start, end in itertools.pairwise(edges)]


def _silence(
    word: Word, following: Word, regions: Float64[np.ndarray, "regions 2"] | None
) -> float:
    """Return the longest time between two words in which nobody speaks, in seconds."""
    if regions is None:
        return max(following.start - word.end, 0.0)

    start = (word.start + word.end) / 2
    end = (following.start + following.end) / 2
    first = np.searchsorted(regions[:, 1], start, side="right")
    last = np.searchsorted(regions[:, 0], end, side="left")
    spoken = np.clip(regions[first:last], start, end)

    # from the end of each region to the start of the next
    ends = [start, *spoken[:, 1].tolist()]
    starts = [*spoken[:, 0].tolist(), end]
    silences = [later - earlier for earlier, later in zip(ends, starts, strict=True)]
    return max(*silences, 0.0)


def _ends(word: Word, pause: float, settings: UtteranceConfig) -> bool:
    """Whether an utterance ends with a word that a pause follows."""
    if _is_end(word.text):
        return pause >= min(settings.sentence_pause, settings.pause)
    return pause >= settings.pause


def _is_end(text: str) -> bool:
    """Whether a word ends a sentence: it has the mark, and is no title or initial."""
    return bool(_SENTENCE.search(text)) and not _TITLE.match(text)


def _divided(
    words: Sequence[Word], pauses: Sequence[float], begin: int, end: int, settings: UtteranceConfig
) -> list[tuple[int, int]]:
    """Return the first and the last word, exclusive, of parts that are short enough."""
    done: list[tuple[int, int]] = []
    waiting = [(begin, end)]
    while waiting:
        first, last = waiting.pop()
        if _fits(words[first:last], settings):
            done.append((first, last))
            continue

        cut = _cut_between(words, pauses, first, last)
        # the earlier part comes next
        waiting += [(cut, last), (first, cut)]
    return done


def _fits(words: Sequence[Word], settings: UtteranceConfig) -> bool:
    if len(words) == 1:
        return True
    seconds = words[-1].end - words[0].start
    return len(words) <= settings.most_words and seconds <= settings.most_seconds


def _cut_between(words: Sequence[Word], pauses: Sequence[float], first: int, last: int) -> int:
    """Return the word that the second part begins with.

    Of equal pauses, the one behind a sentence is taken, and then the one next to the middle.
    """
    edge = math.ceil(_EDGE * (last - first))
    middle = (first + last) / 2

    def rank(cut: int) -> tuple[float, bool, float]:
        last = cut - 1
        is_end = _is_end(words[last].text)
        return pauses[last], is_end, -abs(cut - middle)

    possible = range(first + edge, last - edge + 1)
    return max(possible, key=rank)


def _utterance(words: Sequence[Word]) -> Utterance:
    return Utterance(tuple(words), words[0].start, words[-1].end)
