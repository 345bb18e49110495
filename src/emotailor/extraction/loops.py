"""Loops of a recogniser: a model that has lost the thread says the same again and again."""

from collections.abc import Sequence

from emotailor.extraction.base import Word

_LONGEST = 12  # words of what is repeated
_TIMES = 4
_WORDS = 8  # in all; who says "no, no, no, no" means it


def without_loops(words: Sequence[Word]) -> list[Word]:
    """Return words of which no passage stands four times or more in a row, and has eight words.

    The first of such passages stays.

    Args:
        words: in the order in which they are said.
    """
    texts = [_bare(word.text) for word in words]
    kept: list[Word] = []
    i = 0
    while i < len(words):
        length, times = _loop_at(texts, i)
        kept += words[i : i + length]
        i += length * times
    return kept


def _bare(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _loop_at(texts: Sequence[str], i: int) -> tuple[int, int]:
    """Return the length of the passage that begins at a word, and how often it stands there."""
    for length in range(1, _LONGEST + 1):
        times = _repeats(texts, i, length)
        if times >= _TIMES and times * length >= _WORDS:
            return length, times
    return 1, 1


def _repeats(texts: Sequence[str], i: int, length: int) -> int:
    """Return how often a passage stands in a row."""
    passage = texts[i : i + length]
    times = 1
    end = i + length
    while texts[end : end + length] == passage:
        times += 1
        end += length
    return times
