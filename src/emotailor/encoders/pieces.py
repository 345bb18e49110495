"""Words in pieces: cutting texts for a transformer, and words out of its pieces again.

A text with more pieces than the model has places is read in windows that overlap. Every piece has
its vector from the window in which it is farthest from an end, so that it is seen with what stands
before and behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from emotailor.errors import ModelError


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a text.

    Attributes:
        before: numbers of the marks that begin every text.
        numbers: (n,), numbers of the pieces of the words.
        behind: numbers of the marks that end every text.
        word: (n,), the word that each piece is of; -1 where it is of none.
        strange: (n,), whether a piece stands for what the tokenizer does not know.
    """

    before: Int64[np.ndarray, "marks"]
    numbers: Int64[np.ndarray, "n"]
    behind: Int64[np.ndarray, "end_marks"]
    word: Int64[np.ndarray, "n"]
    strange: Bool[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a text that a model reads at once.

    Attributes:
        text: number of the text.
        numbers: (steps,), marks and pieces.
        kept: those of its steps whose vectors count.
        first: number of its first piece.
    """

    text: int
    numbers: Int64[np.ndarray, "steps"]
    kept: slice
    first: int


class Tokenizer:
    """A tokenizer of the ``tokenizers`` package, for texts whose words are known.

    Args:
        tokenizer: a ``tokenizers.Tokenizer``; it is set to neither cut nor fill.
    """

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

        # what stands for all that has no piece; no piece has the number -1
        unknown = getattr(tokenizer.model, "unk_token", None)
        number = None if unknown is None else tokenizer.token_to_id(str(unknown))
        self._unknown = -1 if number is None else int(number)

    def cut(self, texts: Sequence[Sequence[str]]) -> list[Pieces]:
        """Return the pieces of texts, given their words."""
        encodings = self._tokenizer.encode_batch([" ".join(words) for words in texts])
        pairs = zip(texts, encodings, strict=True)
        return [self._pieces(words, encoding) for words, encoding in pairs]

    def _pieces(self, words: Sequence[str], encoding: Any) -> Pieces:
        numbers = np.array(encoding.ids, np.int64)
        is_mark = np.array(encoding.special_tokens_mask, np.bool_)
        inside = np.flatnonzero(~is_mark)

        # a text without pieces still has its marks: half of them before it
        first = len(is_mark) // 2
        end = first
        if len(inside):
            first = int(inside[0])
            end = int(inside[-1]) + 1
        own = slice(first, end)

        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)  # (n, 2), characters
        word = _word_of_pieces(words, offsets[own])
        strange = numbers[own] == self._unknown
        return Pieces(numbers[:first], numbers[own], numbers[end:], word, strange)


def _word_of_pieces(
    words: Sequence[str], offsets: Int64[np.ndarray, "n 2"]
) -> Int64[np.ndarray, "n"]:
    """Return the word that holds the last character of each piece; -1 where none does."""
    word_of_character: list[int] = []
    for number, word in enumerate(words):
        word_of_character += [number] * len(word)
        word_of_character.append(-1)  # the space behind it
    lookup = np.array([*word_of_character, -1], np.int64)

    starts = offsets[:, 0]
    ends = offsets[:, 1]
    last = np.maximum(ends - 1, 0)

    # a piece of no characters is of no word
    return np.where(starts == ends, -1, lookup[last])


def windows_of(number: int, pieces: Pieces, most: int) -> list[Window]:
    """Return the windows in which a text is read; together their kept steps are the whole text.

    Args:
        number: of the text.
        pieces: its pieces.
        most: steps that the model takes at once.

    Raises:
        ModelError: the model has no place for a single piece.
    """
    marks = len(pieces.before) + len(pieces.behind)
    room = most - marks
    if room < 1:
        raise ModelError(
            f"the encoder has {most} places, and {marks} marks need some",
            expected="a model that can read a text",
        )

    total = len(pieces.numbers)
    if total <= room:
        whole = np.concatenate([pieces.before, pieces.numbers, pieces.behind])
        return [Window(number, whole, slice(0, len(whole)), 0)]

    windows = []
    spans = _spans(total, room)
    for place, (start, first, end) in enumerate(spans):
        inside = pieces.numbers[start : start + room]
        numbers = np.concatenate([pieces.before, inside, pieces.behind])

        # the marks of the first and of the last window are those of the text
        kept_from = len(pieces.before) + first - start
        kept_to = len(pieces.before) + end - start
        if place == 0:
            kept_from = 0
        if place == len(spans) - 1:
            kept_to = len(numbers)
        windows.append(Window(number, numbers, slice(kept_from, kept_to), start))
    return windows


def _spans(total: int, room: int) -> list[tuple[int, int, int]]:
    """Return where windows start, and which pieces have their vectors from each.

    Neighbours share half of their pieces, but for the last two, which share more.
    """
    step = max(room // 2, 1)
    starts = list(range(0, total - room, step))
    starts.append(total - room)

    # a piece is farthest from all ends in the window whose middle is nearest
    borders = []
    for left, right in pairwise(starts):
        borders.append((left + right + room) // 2)

    firsts = [0, *borders]
    ends = [*borders, total]
    return list(zip(starts, firsts, ends, strict=True))


def mean_of_words(
    vectors: Float32[np.ndarray, "n dim"], word: Int64[np.ndarray, "n"], count: int
) -> tuple[Float32[np.ndarray, "words dim"], Bool[np.ndarray, "words"]]:
    """Return the mean over the pieces of each word, and which words have any.

    Args:
        vectors: of the pieces.
        word: the word that each is of; -1 for none.
        count: number of words.
    """
    kept = word >= 0
    own = word[kept]
    dim = vectors.shape[1]

    sums = np.zeros((count, dim), np.float32)
    np.add.at(sums, own, vectors[kept])  # a word may have many pieces

    pieces = np.bincount(own, minlength=count)  # (words,)
    divisors = np.maximum(pieces, 1).astype(np.float32)
    return sums / divisors[:, None], pieces > 0
