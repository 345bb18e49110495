"""Words as an encoder reads them: windows of pieces, and the word that each piece is of."""

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
        real: (W, S), whether a piece is there and may be seen.
        step: (W, S), for each piece that counts the number of its step, where the steps of all
            texts are counted one text after the other; -1 elsewhere.
    """

    pieces: Int64[Tensor, "windows steps"]
    real: Bool[Tensor, "windows steps"]
    step: Int64[Tensor, "windows steps"]

    def to(self, device: torch.device) -> "Reading":
        """Return the same on a device."""
        return Reading(self.pieces.to(device), self.real.to(device), self.step.to(device))


def read(
    texts: Sequence[Sequence[str]],
    seen: Bool[np.ndarray, "texts words"],
    tokenizer: Tokenizer,
    most: int,
) -> Reading:
    """Return texts as a network reads them.

    Args:
        texts: the words of each.
        seen: (B, T), whether a word may be seen: no piece of another one is attended to.
        tokenizer: cuts words into pieces.
        most: steps that the network takes at once.
    """
    pieces_of = tokenizer.cut(texts)
    windows: list[Window] = []
    for number, pieces in enumerate(pieces_of):
        windows += windows_of(number, pieces, most)

    longest = max(len(window.numbers) for window in windows)
    shape = (len(windows), longest)
    numbers = np.zeros(shape, np.int64)
    real = np.zeros(shape, np.bool_)
    step = np.full(shape, -1, np.int64)
    words = seen.shape[1]
    for row, window in enumerate(windows):
        length = len(window.numbers)
        word = _words_in(window, pieces_of[window.text])
        numbers[row, :length] = window.numbers

        # marks, and pieces of no word, are always seen
        is_word = word >= 0
        real[row, :length] = ~is_word | seen[window.text, word]

        counts = is_word & real[row, :length]
        counts[: window.kept.start] = False
        counts[window.kept.stop :] = False
        step[row, :length][counts] = window.text * words + word[counts]

    return Reading(torch.from_numpy(numbers), torch.from_numpy(real), torch.from_numpy(step))


def _words_in(window: Window, pieces: Pieces) -> Int64[np.ndarray, "steps"]:
    """Return the word of each step of a window; -1 for a mark."""
    word = np.full(len(window.numbers), -1, np.int64)
    start = len(pieces.before)
    end = len(window.numbers) - len(pieces.behind)
    word[start:end] = pieces.word[window.first : window.first + end - start]
    return word
