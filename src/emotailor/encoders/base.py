"""What an encoder is: words in, one vector per word out, and a fingerprint of how.

An encoder says of every word whether it has a vector. What has none is a missing step, never a
vector of zeros, so that no model can take it for something that was said.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32

from emotailor.data.extraction import Extraction
from emotailor.errors import ConfigError

Pooling = Literal["words", "sentence"]
"""One vector per word, or one per text."""

POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


TINY = 1e-12
"""A length below this is none."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text and its vectors.

    Attributes:
        words: the words of the text.
        vectors: (steps, dim), one step per word, or one for the whole text; zeros where there is
            no vector.
        known: (steps,), whether a step has a vector.
        strange: number of words that the encoder does not know, or knows in part alone.
        windows: number of pieces in which the text was read; 1 where it fits the encoder at once.
    """

    words: list[str]
    vectors: Float32[np.ndarray, "steps dim"]
    known: Bool[np.ndarray, "steps"]
    strange: int = 0
    windows: int = 1

    def __repr__(self) -> str:
        steps, dim = self.vectors.shape
        return f"Encoded({len(self.words)} words, {steps} steps of {dim})"


class TextEncoder(ABC):
    """Turns words into vectors.

    Attributes:
        dim: width of a vector.
        pooling: what a vector is of.
        extraction: the fingerprint: name, version, settings and hash of the weights.
    """

    dim: int
    pooling: Pooling
    extraction: Extraction

    @abstractmethod
    def encode(self, texts: Sequence[Sequence[str]]) -> list[Encoded]:
        """Return the vectors of texts, in their order.

        Args:
            texts: the words of each, as :func:`emotailor.encoders.words.words_of` returns them.

        Raises:
            DataError: a vector is not finite, since the weights are damaged.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extraction.describe()}, {self.dim} features)"


def unit_mean(vectors: Float32[np.ndarray, "steps dim"]) -> Float32[np.ndarray, "1 dim"]:
    """Return the mean of vectors, scaled to length 1; of zeros, zeros."""
    mean = vectors.mean(axis=0, keepdims=True, dtype=np.float64)  # (1, dim)
    length = max(float(np.linalg.norm(mean)), TINY)
    return (mean / length).astype(np.float32)


def check_pooling(pooling: str) -> Pooling:
    """Return a pooling that exists.

    Raises:
        ConfigError: there is no such pooling.
    """
    for known in POOLINGS:
        if pooling == known:
            return known
    raise ConfigError(f"pooling {pooling!r}", expected=" or ".join(POOLINGS))
