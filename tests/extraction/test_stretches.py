"""What is recognised at once, loops, and times of words."""

import numpy as np
import pytest

from emotailor.extraction.base import RATE, Sound, Word
from emotailor.extraction.loops import without_loops
from emotailor.extraction.stretches import stretches_of
from emotailor.extraction.timing import in_order, spread, with_room


def silence(seconds: float) -> Sound:
    return Sound(np.zeros(round(seconds * RATE), np.int16))


def said(text: str, seconds: float = 0.5) -> list[Word]:
    texts = text.split()
    return [Word(word, i * seconds, (i + 1) * seconds) for i, word in enumerate(texts)]


def test_regions_are_joined_up_to_the_length() -> None:
    regions = np.array([(1.0, 3.0), (4.0, 6.0), (6.5, 9.0), (20.0, 21.0)])
    found = stretches_of(silence(30), regions, 10.0)
    assert np.array(found) == pytest.approx(np.array([(0.6, 9.4), (19.6, 21.4)]))


def test_a_stretch_ends_at_the_longest_silence_of_its_second_half() -> None:
    regions = np.array([(0.0, 2.0), (4.0, 6.0), (7.0, 8.0), (8.2, 11.0)])
    found = stretches_of(silence(30), regions, 10.0)
    # 2 to 4 is longer, but too early
    assert np.array(found) == pytest.approx(np.array([(0.0, 6.4), (6.6, 11.4)]))


def test_speech_without_a_silence_is_cut_where_it_is_quiet() -> None:
    samples = np.random.default_rng(1).integers(-9_000, 9_000, 40 * RATE).astype(np.int16)
    samples[round(17.3 * RATE) : round(17.4 * RATE)] //= 100
    found = stretches_of(Sound(samples), np.array([(0.0, 40.0)]), 20.0)
    assert found[0] == pytest.approx((0.0, 17.35), abs=0.05)
    assert found[0][1] == found[1][0]
    assert max(end - start for start, end in found) <= 20.0
    assert found[-1][1] == 40.0


def test_stretches_of_an_hour_are_short_and_in_order() -> None:
    rng = np.random.default_rng(2)
    edges = np.sort(rng.uniform(0, 3600, 1200)).reshape(-1, 2)
    found = np.array(stretches_of(silence(3600), edges, 28.0))
    assert (found[:, 1] - found[:, 0] <= 28.0).all()
    assert (found[1:, 0] >= found[:-1, 1]).all()
    # nothing that is spoken is left out
    for start, end in edges:
        assert ((found[:, 0] <= start) & (found[:, 1] >= end)).any()


def test_no_speech_no_stretch() -> None:
    assert stretches_of(silence(5), np.zeros((0, 2)), 28.0) == []


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ("you " * 9, "you"),
        ("no no no no no no no", "no no no no no no no"),  # seven
        ("so I said to him " * 4 + "go", "so I said to him go"),
        ("one two three one two three one two three", "one two three " * 3),  # three times
        ("Thanks. thanks, THANKS " * 3 + "bye", "Thanks. bye"),
    ],
)
def test_loops(heard: str, expected: str) -> None:
    assert [word.text for word in without_loops(said(heard))] == expected.split()


def test_the_first_of_a_loop_keeps_its_times() -> None:
    (first, last) = without_loops(said("you " * 8 + "go"))
    assert (first.start, first.end) == (0, 0.5)
    assert last.start == 4.0


def test_times_in_order() -> None:
    words = [Word("a", -1.0, 2.0), Word("b", 1.0, 1.5), Word("c", 5.0, 4.0), Word("d", 9.0, 99.0)]
    times = [(word.start, word.end) for word in in_order(words, 10.0)]
    assert times == [(0.0, 2.0), (2.0, 2.0), (5.0, 5.0), (9.0, 10.0)]


def test_a_word_without_length_takes_of_the_pause_before() -> None:
    words = [Word("legal,", 1.0, 1.5), Word("ethical,", 2.5, 2.5), Word("and", 2.5, 3.0)]
    found = with_room(words)
    assert found[1] == Word("ethical,", 2.5 - 8 * 0.06, 2.5)
    assert found[0] == words[0]
    assert found[2] == words[2]


def test_a_word_without_length_shares_with_the_longer_beside_it() -> None:
    words = [Word("and", 1.0, 2.3), Word("classrooms", 2.3, 2.3), Word("we", 2.3, 2.5)]
    first, second, third = with_room(words)
    assert (first.end, second.start) == pytest.approx((1.3, 1.3))
    assert second.end == 2.3
    assert third == words[2]


def test_a_lone_word_without_length_stays() -> None:
    assert with_room([Word("I", 0.0, 0.0)]) == [Word("I", 0.0, 0.0)]


def test_words_spread_by_their_length() -> None:
    found = spread(["I", "see", "it"], 1.0, 4.0)
    assert [word.start for word in found] == pytest.approx([1.0, 1.5, 3.0])
    assert [word.end for word in found] == pytest.approx([1.5, 3.0, 4.0])
