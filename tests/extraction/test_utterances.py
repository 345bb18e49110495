"""Where one utterance ends and the next begins."""

import numpy as np
import pytest

from emotailor.extraction.base import Utterance, Word
from emotailor.extraction.config import UtteranceConfig
from emotailor.extraction.utterances import cut_utterances

SETTINGS = UtteranceConfig()


def said(text: str, **pauses: float) -> list[Word]:
    """Words of 0.3 seconds, with a pause behind some of them, named without punctuation."""
    words = []
    time = 0.0
    for word in text.split():
        words.append(Word(word, time, time + 0.3))
        time += 0.3 + pauses.get(word.strip(".,?\"'"), 0.0)
    return words


def texts_of(utterances: list[Utterance]) -> list[str]:
    return [utterance.text for utterance in utterances]


def test_an_utterance_ends_at_a_pause() -> None:
    words = said("so we went home and then", home=0.7)
    found = cut_utterances(words, 10.0, SETTINGS)
    assert texts_of(found) == ["so we went home", "and then"]
    times = np.array([(u.start, u.end) for u in found])
    assert times == pytest.approx(np.array([(0.0, 1.2), (1.9, 2.5)]))


@pytest.mark.parametrize(
    ("word", "pause", "parts"),
    [
        ("Dr.", 0.4, 1),  # a title
        ("E.", 0.4, 1),  # an initial
        ("U.S.", 0.4, 1),
        ("them.", 0.0, 1),  # a mark alone
        ("them.", 0.4, 2),
        ('"them."', 0.4, 2),
        ("them,", 0.4, 1),
        ("Dr.", 0.7, 2),  # a pause is a pause
    ],
)
def test_behind_a_sentence_a_shorter_pause_is_enough(word: str, pause: float, parts: int) -> None:
    words = [Word("met", 0.0, 0.3), Word(word, 0.3, 0.6), Word("Then", 0.6 + pause, 2.0)]
    assert len(cut_utterances(words, 10.0, SETTINGS)) == parts


def test_a_pause_is_what_nobody_speaks_in() -> None:
    # the first word seems to end early, the third to begin in the silence
    words = [Word("no", 0.0, 0.3), Word("more", 1.2, 1.5), Word("today", 1.5, 2.0)]
    assert len(cut_utterances(words, 10.0, SETTINGS)) == 2

    regions = np.array([(0.0, 1.6), (2.6, 3.0)])
    assert len(cut_utterances(words, 10.0, SETTINGS, regions)) == 1
    late = [*words[:2], Word("today", 1.5, 4.0)]
    assert texts_of(cut_utterances(late, 10.0, SETTINGS, regions)) == ["no more", "today"]


def test_a_long_one_is_divided_at_its_longest_pause() -> None:
    settings = UtteranceConfig(most_words=6)
    words = said("a b c d e f g h i", a=0.5, d=0.3, g=0.2)
    # behind "a" would leave one word alone
    assert texts_of(cut_utterances(words, 10.0, settings)) == ["a b c d", "e f g h i"]


def test_without_pauses_it_is_divided_in_the_middle() -> None:
    words = said(" ".join(f"w{i}" for i in range(100)))
    settings = UtteranceConfig(most_words=30, most_seconds=100)
    sizes = [len(u.words) for u in cut_utterances(words, 40.0, settings)]
    assert sizes == [25, 25, 25, 25]


def test_seconds_bound_it_too() -> None:
    words = said(" ".join(f"w{i}" for i in range(100)))
    found = cut_utterances(words, 40.0, UtteranceConfig(most_words=1000, most_seconds=8))
    assert max(u.end - u.start for u in found) <= 8
    assert sum(len(u.words) for u in found) == 100


def test_one_word_that_is_too_long_stays() -> None:
    word = Word("ooooh", 0.0, 50.0)
    assert cut_utterances([word], 60.0, SETTINGS) == [Utterance((word,), 0.0, 50.0)]


def test_many_words_without_a_pause() -> None:
    words = [Word("so", 0.3 * i, 0.3 * (i + 1)) for i in range(3_000)]
    found = cut_utterances(words, 900.0, SETTINGS)
    assert sum(len(u.words) for u in found) == 3_000
    assert max(len(u.words) for u in found) <= 60


def test_without_words_the_medium_is_cut_evenly() -> None:
    found = cut_utterances([], 12.0, SETTINGS)
    assert [(u.start, u.end) for u in found] == [(0, 4), (4, 8), (8, 12)]
    assert not any(u.words for u in found)
    assert len(cut_utterances([], 0.2, SETTINGS)) == 1
    assert cut_utterances([], 0.0, SETTINGS) == []
