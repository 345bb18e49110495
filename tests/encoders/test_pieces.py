"""Words out of pieces, and texts longer than a model reads at once."""

import json

import numpy as np
import pytest

from emotailor.encoders.pieces import Pieces, Tokenizer, mean_of_words, windows_of
from emotailor.errors import ModelError
from tests.encoders import tiny


def pieces(count: int) -> Pieces:
    numbers = np.arange(100, 100 + count)
    word = np.arange(count) // 2
    return Pieces(np.array([1]), numbers, np.array([2]), word, np.zeros(count, np.bool_))


def test_a_text_that_fits_is_one_window_with_its_marks() -> None:
    (window,) = windows_of(5, pieces(11), 13)
    assert window.text == 5
    assert window.numbers.tolist() == [1, *range(100, 111), 2]
    assert window.kept == slice(0, 13)


@pytest.mark.parametrize("count", [12, 13, 17, 22, 23, 101, 1000])
def test_windows_keep_every_piece_once_and_in_order(count: int) -> None:
    windows = windows_of(0, pieces(count), 13)
    assert len(windows) > 1
    kept = np.concatenate([window.numbers[window.kept] for window in windows])
    assert kept.tolist() == [1, *range(100, 100 + count), 2]
    for window in windows:
        assert len(window.numbers) == 13
        assert (window.numbers[0], window.numbers[-1]) == (1, 2)


def test_a_piece_comes_from_the_window_in_which_it_is_farthest_from_an_end() -> None:
    windows = windows_of(0, pieces(23), 13)  # 11 pieces in each: from 0, 5, 10 and 12
    inside = [window.numbers[window.kept] for window in windows]
    of_text = [[n - 100 for n in part.tolist() if n >= 100] for part in inside]
    starts = [0, 5, 10, 12]
    for start, part in zip(starts, of_text, strict=True):
        for piece in part:
            # the ends of the text are no ends: nothing is cut off there
            margins = {}
            for other in starts:
                if other <= piece < other + 11:
                    before = 99 if other == 0 else piece - other
                    behind = 99 if other + 11 == 23 else other + 10 - piece
                    margins[other] = min(before, behind)
            assert margins[start] >= max(margins.values()) - 1, (piece, margins)


def test_a_model_without_places_is_refused() -> None:
    with pytest.raises(ModelError, match="2 places"):
        windows_of(0, pieces(1), 2)


def test_the_mean_of_a_words_pieces() -> None:
    vectors = np.array([[1, 2], [3, 6], [5, 5], [7, 7]], np.float32)
    means, known = mean_of_words(vectors, np.array([0, 0, -1, 2]), 3)
    assert means.tolist() == [[2, 4], [0, 0], [7, 7]]
    assert known.tolist() == [True, False, True]


def test_pieces_know_their_words() -> None:
    tiny.need("tokenizers")
    import tokenizers

    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(tiny.tokenizer_json())))
    first, second = tokenizer.cut([["So", "greatly!", "DON't", "\u200e", "😀"], ["a"] * 30])
    names = [tiny.VOCABULARY[n] for n in first.numbers]
    assert names == ["so", "great", "##ly", "!", "don", "'", "t", "[UNK]"]
    assert first.word.tolist() == [0, 1, 1, 1, 2, 2, 2, 4]  # nothing of what does not show
    assert first.strange.tolist() == [False] * 7 + [True]
    assert (first.before.tolist(), first.behind.tolist()) == ([2], [3])
    assert len(second.numbers) == 30  # the file says to cut at 5
