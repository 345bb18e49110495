"""Vectors of words in their context: what a transformer makes of a text."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Encoded, Pooling, TextEncoder, unit_mean
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

    Attributes:
        network: computes the last layer.
        tokenizer: cuts texts for it.
        most: steps that it takes at once.
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
        self.network = network
        self.tokenizer = tokenizer
        self.most = most

    def encode(self, texts: Sequence[Sequence[str]]) -> list[Encoded]:
        """Return the vectors of texts, in their order.

        Raises:
            DataError: a vector is not finite, since the weights are damaged.
        """
        cut = self.tokenizer.cut(texts)
        windows = []
        for number, pieces in enumerate(cut):
            # a text without words is never read
            if texts[number]:
                windows += windows_of(number, pieces, self.most)
        vectors = self._compute(windows)

        # the windows of a text follow each other
        parts: dict[int, list[np.ndarray]] = defaultdict(list)
        for window, found in zip(windows, vectors, strict=True):
            parts[window.text].append(found[window.kept])

        encoded = []
        for number, words in enumerate(texts):
            if words:
                encoded.append(self._pooled(words, cut[number], parts[number]))
            else:
                encoded.append(self._nothing())
        return encoded

    def _nothing(self) -> Encoded:
        vectors = np.zeros((0, self.dim), np.float32)
        known = np.zeros(0, np.bool_)
        return Encoded([], vectors, known)

    def _pooled(
        self, words: Sequence[str], pieces: Pieces, parts: Sequence[Float32[np.ndarray, "_ dim"]]
    ) -> Encoded:
        """Return the vectors of a text, given those of its marks and pieces in order."""
        vectors = np.concatenate(parts)  # (marks + pieces, dim)
        self._refuse_damage(vectors, words)

        if self.pooling == "sentence":
            # marks alone say nothing
            known = np.array([len(pieces.numbers) > 0])
            found = unit_mean(vectors) * known[:, None]  # (1, dim)
        else:
            first = len(pieces.before)
            inside = vectors[first : first + len(pieces.numbers)]
            found, known = mean_of_words(inside, pieces.word, len(words))

        strange = np.unique(pieces.word[pieces.strange])
        count = int(np.count_nonzero(strange >= 0))
        return Encoded(list(words), found, known, count, windows=len(parts))

    def _refuse_damage(self, vectors: np.ndarray, words: Sequence[str]) -> None:
        """Refuse values that no whole model yields."""
        if np.isfinite(vectors).all():
            return
        text = " ".join(words)[:60]
        raise DataError(
            f"{self.extraction.extractor} yields values that are not finite for {text!r}",
            expected="numbers",
            fix="the weights are damaged: install or copy the model again",
        )

    # ------------------------------------------------------------------ computing

    def _compute(self, windows: Sequence[Window]) -> list[Float32[np.ndarray, "_ dim"]]:
        """Return the vectors of all steps of each window."""
        # windows of about one length, so that little is filled up
        order = sorted(range(len(windows)), key=lambda i: len(windows[i].numbers))
        batches = list(_batches(windows, order))

        def computed(batch: list[int]) -> list[np.ndarray]:
            return self._of_batch([windows[i] for i in batch])

        found: dict[int, np.ndarray] = {}
        with _one_thread_each() as pool:
            results = pool.map(computed, batches)
            for batch, vectors in zip(batches, results, strict=True):
                found.update(zip(batch, vectors, strict=True))

        # in the order in which they were given
        return [found[i] for i in range(len(windows))]

    def _of_batch(self, windows: Sequence[Window]) -> list[Float32[np.ndarray, "_ dim"]]:
        lengths = [len(window.numbers) for window in windows]
        shape = (len(windows), max(lengths))
        numbers = torch.zeros(shape, dtype=torch.int64)
        real = torch.zeros(shape, dtype=torch.bool)
        for row, window in enumerate(windows):
            own = slice(lengths[row])
            numbers[row, own] = torch.from_numpy(window.numbers)
            real[row, own] = True

        with torch.inference_mode():
            hidden: Float[Tensor, "texts steps dim"] = self.network(numbers, real)

        # what is filled up means nothing
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
