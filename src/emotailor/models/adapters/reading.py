"""Words as an encoder reads them: windows of pieces, and the word that each piece is of.

The pieces of a word that may not be seen are left out, and the others keep their places: nothing
attends to them, as if they were masked, and they cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from emotailor.encoders.pieces import Pieces, Tokenizer, Window, windows_of


@dataclass(frozen=True, eq=False)
class Reading:
    """Texts in windows of pieces; nearly always a window is a whole text.

    Attributes:
        pieces: (W, S), numbers of pieces; 0 where it is padded.
        place: (W, S), where in its window each piece is.
        real: (W, S), whether a piece is there.
        step: (W, S), for each piece that counts the number of its step, where the steps of all
            texts are counted one text after the other; -1 elsewhere.
    """

    pieces: Int64[Tensor, "windows steps"]
    place: Int64[Tensor, "windows steps"]
    real: Bool[Tensor, "windows steps"]
    step: Int64[Tensor, "windows steps"]

    def to(self, device: torch.device) -> "Reading":
        """Return the same on a device."""
        return Reading(
            self.pieces.to(device),
            self.place.to(device),
            self.real.to(device),
            self.step.to(device),
        )


def read(
    texts: Sequence[Sequence[str]],
    seen: Bool[np.ndarray, "texts words"],
    tokenizer: Tokenizer,
    most: int,
) -> Reading:
    """Return texts as a network reads them.

    Args:
        texts: the words of each; those without a word that may be seen are left out.
        seen: (B, T), whether a word may be seen: no piece of another one is attended to.
        tokenizer: cuts words into pieces.
        most: steps that the network takes at once.
    """
    # copies of a sample with other words hidden are one text
    distinct = list(dict.fromkeys(tuple(words) for words in texts))
    cut = dict(zip(distinct, tokenizer.cut(distinct), strict=True))
    pieces_of = [cut[tuple(words)] for words in texts]

    # of what nobody may see nothing counts; without any text, one is read in vain
    looked_at = np.flatnonzero(seen.any(1)).tolist() or [0]
    windows: list[Window] = []
    for number in looked_at:
        windows += windows_of(number, pieces_of[number], most)

    steps_of = [_seen_steps(window, pieces_of[window.text], seen) for window in windows]
    longest = max(len(steps) for steps in steps_of)
    shape = (len(windows), longest)
    numbers = np.zeros(shape, np.int64)
    place = np.zeros(shape, np.int64)
    real = np.zeros(shape, np.bool_)
    step = np.full(shape, -1, np.int64)
    words = seen.shape[1]
    for row, (window, steps) in enumerate(zip(windows, steps_of, strict=True)):
        length = len(steps)
        numbers[row, :length] = window.numbers[steps]
        place[row, :length] = steps
        real[row, :length] = True

        # a word has the mean of the pieces that this window is there for
        word = _words_in(window, pieces_of[window.text])[steps]
        inside = (steps >= window.kept.start) & (steps < window.kept.stop)
        counts = inside & (word >= 0)
        step[row, :length][counts] = window.text * words + word[counts]

    arrays = (numbers, place, real, step)
    return Reading(*[torch.from_numpy(array) for array in arrays])


def _seen_steps(
    window: Window, pieces: Pieces, seen: Bool[np.ndarray, "texts words"]
) -> Int64[np.ndarray, "seen_steps"]:
    """Return the steps of a window that may be seen: marks, and pieces of no word, always are."""
    word = _words_in(window, pieces)
    is_word = word >= 0
    return np.flatnonzero(~is_word | seen[window.text, word])


def _words_in(window: Window, pieces: Pieces) -> Int64[np.ndarray, "steps"]:
    """Return the word of each step of a window; -1 for a mark."""
    word = np.full(len(window.numbers), -1, np.int64)
    start = len(pieces.before)
    end = len(window.numbers) - len(pieces.behind)
    word[start:end] = pieces.word[window.first : window.first + end - start]
    return word
