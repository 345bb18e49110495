"""Times of words: in order, inside the sound, and none without a moment of its own."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from emotailor.extraction.base import Word

_SHORTEST = 0.06  # seconds of a word; a recogniser gives some of them none
_LETTER = 0.06  # seconds
_TOUCHING = 0.01  # seconds between words that follow each other without a pause


def in_order(words: Iterable[Word], duration: float) -> list[Word]:
    """Return words of which none begins before the one before ends, nor ends after the sound.

    Args:
        words: in the order in which they are said.
        duration: seconds of the sound.
    """
    ordered: list[Word] = []
    earliest = 0.0
    for word in words:
        start = min(max(word.start, earliest), duration)
        end = min(max(word.end, start), duration)
        ordered.append(replace(word, start=start, end=end))
        earliest = end
    return ordered


def with_room(words: Sequence[Word]) -> list[Word]:
    """Return words in which those without length have some.

    They take it from the pause before them, or else share the time of the longer word beside them.

    Args:
        words: in order.
    """
    roomy = list(words)
    for i, word in enumerate(roomy):
        if word.end - word.start >= _SHORTEST:
            continue

        earliest = roomy[i - 1].end if i > 0 else 0.0
        begin = max(earliest, word.end - _LETTER * len(word.text))
        roomy[i] = replace(word, start=min(begin, word.start))
        if word.end - begin < _SHORTEST:
            _share(roomy, i)
    return roomy


def spread(texts: Sequence[str], start: float, end: float) -> list[Word]:
    """Return words that fill a stretch of time, each in proportion to its length.

    Args:
        texts: the words.
        start: seconds.
        end: seconds.
    """
    total = sum(map(len, texts))
    seconds = end - start
    letters = 0
    begin = start

    words = []
    for text in texts:
        letters += len(text)
        finish = start + seconds * letters / total
        words.append(Word(text, begin, finish))
        begin = finish
    return words


def _share(words: list[Word], i: int) -> None:
    """Divide the time of a word and of the longer one that touches it, by their letters."""
    # each pair by its first word
    pairs = [j for j in (i - 1, i) if 0 <= j < len(words) - 1]
    touching = [j for j in pairs if words[j + 1].start - words[j].end <= _TOUCHING]
    if not touching:
        return

    def seconds(j: int) -> float:
        return words[j + 1].end - words[j].start

    j = max(touching, key=seconds)
    one = words[j]
    other = words[j + 1]
    parts = spread([one.text, other.text], one.start, other.end)
    words[j] = replace(one, end=parts[0].end)
    words[j + 1] = replace(other, start=parts[1].start)
