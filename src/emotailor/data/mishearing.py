"""Words as a bad recogniser hears them: some dropped, some replaced, some put in too many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WRONG = 0.15
"""Errors for each word that is said: a third each drops it, replaces it, puts one in behind it."""


@dataclass(frozen=True)
class Heard:
    """What became of a word, or a word that nobody said.

    Attributes:
        word: what was heard; None where nothing was.
        step: place of the word that was said; None where nobody said one.
    """

    word: str | None
    step: int | None


def mishear(
    words: Sequence[str], draw: np.random.Generator, others: Sequence[str], wrong: float = WRONG
) -> list[Heard]:
    """Return words as a bad recogniser hears them; at least one is heard where one is said.

    Args:
        words: of one text.
        draw: random numbers; two are drawn for each word.
        others: words to replace by and to put in, each as often as it is said.
        wrong: errors for each word.
    """
    heard = []
    for step, word in enumerate(words):
        kind = draw.random() / (wrong / 3)
        place = int(draw.integers(len(others)))
        other = others[place]
        if kind < 1:
            heard.append(Heard(None, step))
            continue
        if kind < 2:
            heard.append(Heard(other, step))
            continue

        heard.append(Heard(word, step))
        if kind < 3:
            heard.append(Heard(other, None))

    if heard_words(heard):
        return heard
    # an empty text would have nothing to predict
    return [Heard(word, step) for step, word in enumerate(words)]


def heard_words(heard: Sequence[Heard]) -> list[str]:
    """Return the words that were heard, in their order."""
    return [one.word for one in heard if one.word is not None]
