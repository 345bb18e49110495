"""One vector for a word, wherever it stands: GloVe, word2vec and their kin.

A word is looked up as it is written, in lower case, and without the punctuation around it, in this
order. Where none of these is known, its parts are: ``don't`` is ``do`` and ``n't``, as these files
divide words, and ``easy-going`` is two words; then the mean of the known parts counts. A word of
which nothing is known has no vector.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from emotailor.data.extraction import Extraction
from emotailor.encoders.base import Encoded, Pooling, TextEncoder, unit_mean
from emotailor.encoders.vectors import Vectors
from emotailor.encoders.words import RULE

LOOKUP = "as written, lower case, bare, parts"
"""Name of the rule in the settings of an encoder; another rule has another name."""

APOSTROPHE = "\u2019"
"""As books print it."""

_AROUND = re.compile(r"^[\W_]+|[\W_]+$")
_CONTRACTION = re.compile(r"(.+?)(n't|'(?:s|re|ve|ll|d|m))", re.IGNORECASE)
_BETWEEN_PARTS = re.compile(r"[-\u2013\u2014/_.,\u2026]+")

Found = tuple[Float32[np.ndarray, "dim"] | None, bool]
"""The vector of a word, and whether all of the word is known."""


class StaticEncoder(TextEncoder):
    """Word vectors that do not depend on what stands around a word.

    With the pooling ``sentence`` one vector per text: the mean over the words that have one, scaled
    to length 1.

    Args:
        vectors: the words that are known.
        name: what they are called.
        pooling: what a vector is of.
        version: of the package that carries them.
    """

    def __init__(self, vectors: Vectors, *, name: str, pooling: Pooling, version: str = "") -> None:
        self.dim = vectors.dim
        self.pooling = pooling
        self.extraction = Extraction(
            extractor=name,
            version=version,
            settings={"pooling": pooling, "words": RULE, "lookup": LOOKUP},
            sha256=vectors.sha256,
        )
        self._vectors = vectors
        self._look_up = lru_cache(maxsize=50_000)(self._found)

    def encode(self, texts: Sequence[Sequence[str]]) -> list[Encoded]:
        """Return the vectors of texts, in their order.

        Raises:
            ModelError: a vector is damaged.
        """
        return [self._encoded(list(words)) for words in texts]

    def _encoded(self, words: list[str]) -> Encoded:
        vectors = np.zeros((len(words), self.dim), np.float32)
        known = np.zeros(len(words), np.bool_)
        strange = 0
        for place, word in enumerate(words):
            vector, is_whole = self._look_up(word)
            if not is_whole:
                strange += 1
            if vector is not None:
                vectors[place] = vector
                known[place] = True

        if self.pooling == "words" or not words:
            return Encoded(words, vectors, known, strange)

        # words without a vector are not words of zeros
        any_known = np.array([known.any()])
        mean = np.zeros((1, self.dim), np.float32)
        if known.any():
            mean = unit_mean(vectors[known])
        return Encoded(words, mean, any_known, strange)

    def _found(self, word: str) -> Found:
        plain = word.replace(APOSTROPHE, "'")
        for written in _spellings(plain):
            vector = self._vectors.get(written)
            if vector is not None:
                return vector, True

        known = []
        parts = _parts(_AROUND.sub("", plain.lower()))
        for part in parts:
            vector = self._vectors.get(part)
            if vector is not None:
                known.append(vector)

        if not known:
            return None, False
        is_whole = len(known) == len(parts)
        return np.stack(known).mean(axis=0), is_whole


def _spellings(word: str) -> Iterator[str]:
    """Yield the ways in which a word is looked up."""
    lower = word.lower()
    yield word
    yield lower
    for bare in (_AROUND.sub("", word), _AROUND.sub("", lower)):
        if bare:
            yield bare


def _parts(word: str) -> list[str]:
    """Return the parts of a word that may be known: those of a compound, and its contraction."""
    parts: list[str] = []
    for part in _BETWEEN_PARTS.split(word):
        contraction = _CONTRACTION.fullmatch(part)
        if contraction is not None:
            parts += contraction.groups()
        elif part:
            parts.append(part)
    return parts
