"""Vectors of words in their context: what a transformer makes of a text."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Encoded, Pooling, TextEncoder
from emotailor.encoders.pieces import Pieces, Tokenizer, Window, mean_of_words, windows_of
from emotailor.errors import DataError

Network = Callable[[Int64[Tensor, "texts steps"], Bool[Tensor, "texts steps"]], Tensor]
"""Numbers of pieces, and which are real -> (texts, steps, dim)."""

BATCH = 1024
"""Steps that are computed at once: more is not faster on a CPU, and takes memory."""


class ContextualEncoder(TextEncoder):
    """Word vectors from the last layer of a transformer: the mean of a word's pieces.

    With the pooling ``sentence`` one vector per text: the mean over all pieces and marks, scaled to
    length 1, as sentence transformers are trained.

    Args:
        network: computes the last layer; is called from several threads at a time.
        tokenizer: cuts texts for it.
        dim: width of its vectors.
        most: steps that it takes at once.
        pooling: what a vector is of.
        extraction: its fingerprint.
    """

    def __init__(
        self,
        network: Network,
        tokenizer: Tokenizer,
        *,
        dim: int,
        most: int,
        pooling: Pooling,
        extraction: Extraction,
    ) -> None:
        self.dim = dim
        self.pooling = pooling
        self.extraction = extraction
        self._network = network
        self._tokenizer = tokenizer
        self._most = most

    def encode(self, texts: Sequence[Sequence[str]]) -> list[Encoded]:
        """Return the vectors of texts, in their order.

        Raises:
            DataError: a vector is not finite, since the weights are damaged.
        """
        # a text without words is never read
        spoken = [number for number, words in enumerate(texts) if words]
        cut = self._tokenizer.cut([texts[number] for number in spoken])

        windows = []
        for number, pieces in zip(spoken, cut, strict=True):
            windows += windows_of(number, pieces, self._most)
        vectors = self._compute(windows)

        # the windows of a text follow each other
        of_text: dict[int, list[np.ndarray]] = {}
        for window, found in zip(windows, vectors, strict=True):
            of_text.setdefault(window.text, []).append(found[window.kept])

        pieces_of = dict(zip(spoken, cut, strict=True))
        encoded = []
        for number, words in enumerate(texts):
            if number in of_text:
                encoded.append(self._pooled(words, pieces_of[number], of_text[number]))
            else:
                encoded.append(self._nothing(words))
        return encoded

    def _nothing(self, words: Sequence[str]) -> Encoded:
        empty = np.zeros((0, self.dim), np.float32)
        return Encoded(list(words), empty, np.zeros(0, np.bool_))

    def _pooled(
        self, words: Sequence[str], pieces: Pieces, parts: Sequence[Float32[np.ndarray, "_ dim"]]
    ) -> Encoded:
        """Return the vectors of a text, given those of its marks and pieces in order."""
        vectors = np.concatenate(parts)  # (marks + pieces, dim)
        if not np.isfinite(vectors).all():
            raise DataError(
                f"{self.extraction.extractor} yields values that are not finite for "
                f"{' '.join(words)[:60]!r}",
                expected="numbers",
                fix="the weights are damaged: install or copy the model again",
            )

        strange = len(set(pieces.word[pieces.strange & (pieces.word >= 0)].tolist()))
        if self.pooling == "sentence":
            mean = vectors.mean(0, dtype=np.float64)
            unit = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
            has_pieces = np.array([len(pieces.numbers) > 0])
            return Encoded(list(words), unit[None] * has_pieces, has_pieces, strange, len(parts))

        first = len(pieces.before)
        inside = vectors[first : first + len(pieces.numbers)]
        means, known = mean_of_words(inside, pieces.word, len(words))
        return Encoded(list(words), means, known, strange, len(parts))

    # ------------------------------------------------------------------ computing

    def _compute(self, windows: Sequence[Window]) -> list[Float32[np.ndarray, "_ dim"]]:
        """Return the vectors of all steps of each window."""
        # windows of about one length, so that little is filled up
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].numbers))
        batches = list(_batches(windows, order))

        found: dict[int, np.ndarray] = {}
        with _one_thread_each() as pool:
            results = pool.map(lambda batch: self._of_batch([windows[i] for i in batch]), batches)
            for batch, vectors in zip(batches, results, strict=True):
                found.update(zip(batch, vectors, strict=True))
        return [found[i] for i in range(len(windows))]

    def _of_batch(self, windows: Sequence[Window]) -> list[Float32[np.ndarray, "_ dim"]]:
        lengths = [len(window.numbers) for window in windows]
        numbers = torch.zeros(len(windows), max(lengths), dtype=torch.int64)
        real = torch.zeros(len(windows), max(lengths), dtype=torch.bool)
        for row, window in enumerate(windows):
            numbers[row, : lengths[row]] = torch.from_numpy(window.numbers)
            real[row, : lengths[row]] = True

        with torch.inference_mode():
            hidden: Float[Tensor, "texts steps dim"] = self._network(numbers, real)
        values = hidden.float().numpy()
        return [values[row, :length] for row, length in enumerate(lengths)]


def _batches(windows: Sequence[Window], order: Sequence[int]) -> Iterator[list[int]]:
    """Yield numbers of windows that are computed at once, the shortest first."""
    batch: list[int] = []
    for i in order:
        # all are filled up to the longest, which is the last
        if batch and (len(batch) + 1) * len(windows[i].numbers) > BATCH:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@contextmanager
def _one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """Yield as many threads as torch may use, each of which computes a batch by itself.

    Threads that share every small operation wait for each other after each.
    """
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)  # part of the setting is shared by all threads
