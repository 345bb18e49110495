"""Misheard words by hand, and as often as it is said."""

import numpy as np
import pytest

from emotailor.data.mishearing import WRONG, Heard, heard_words, mishear


class Drawn(np.random.Generator):
    """Numbers that were drawn before: for each word what happens to it, and another word."""

    def __init__(self, *pairs: tuple[float, int]) -> None:
        super().__init__(np.random.PCG64(0))
        self._kinds = [kind for kind, _ in pairs]
        self._places = [place for _, place in pairs]

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return self._kinds.pop(0)

    def integers(self, *_: object, **__: object) -> int:  # type: ignore[override]
        return self._places.pop(0)


OTHERS = ["x", "y", "z"]


def test_dropped_replaced_put_in_and_kept() -> None:
    # of .15 each third has .05
    draw = Drawn((0.01, 0), (0.06, 1), (0.14, 2), (0.15, 0))
    heard = mishear(["a", "b", "c", "d"], draw, OTHERS)
    assert heard == [
        Heard(None, 0), Heard("y", 1), Heard("c", 2), Heard("z", None), Heard("d", 3)
    ]  # fmt: skip
    assert heard_words(heard) == ["y", "c", "z", "d"]


def test_where_every_word_would_be_dropped_all_are_heard() -> None:
    heard = mishear(["a", "b"], Drawn((0.0, 0), (0.049, 0)), OTHERS)
    assert heard == [Heard("a", 0), Heard("b", 1)]
    assert mishear([], Drawn(), OTHERS) == []


def test_fifteen_of_a_hundred_words_are_wrong() -> None:
    words = [f"w{number}" for number in range(30_000)]
    heard = mishear(words, np.random.default_rng(5), ["other"])
    dropped = [one for one in heard if one.word is None]
    put_in = [one for one in heard if one.step is None]
    replaced = [one for one in heard if one.word == "other" and one.step is not None]
    for errors in (dropped, put_in, replaced):
        assert len(errors) == pytest.approx(WRONG / 3 * len(words), rel=0.08)
    steps = [one.step for one in heard if one.step is not None]
    assert steps == list(range(len(words)))
    assert mishear(words, np.random.default_rng(5), ["other"]) == heard
