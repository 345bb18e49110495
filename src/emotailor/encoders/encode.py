"""Texts to vectors, in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotailor.encoders.base import Encoded, TextEncoder
from emotailor.encoders.table import load_encoder
from emotailor.encoders.words import words_of
from emotailor.errors import DataError

CHUNK = 256
"""Texts that are computed at once."""


def encode_texts(
    texts: Sequence[str],
    encoder: str | Path | TextEncoder = "minilm",
    *,
    pooling: str = "words",
) -> list[Encoded]:
    """Return the words of texts with a vector for each.

    Args:
        texts: any texts. HTML entities become their characters; words are what white space
            separates.
        encoder: a name such as ``minilm``, the folder of a Hugging Face model, a text file of word
            vectors, or an encoder that :func:`load_encoder` returned.
        pooling: ``words`` for one vector per word, ``sentence`` for one per text.

    Returns:
        For each text its words and vectors, (steps, dim) of float32; no steps where it is empty.

    Raises:
        ConfigError: there is no such encoder or pooling, or a package is not installed.
        ModelError: a file of the encoder is missing or damaged.
        DataError: there is something else than text, or the encoder yields NaN.
    """
    check_texts(texts)
    chosen = load_encoder(encoder, pooling=pooling)

    encoded = []
    for start in range(0, len(texts), CHUNK):
        lot = texts[start : start + CHUNK]
        encoded += chosen.encode([words_of(text) for text in lot])
    return encoded


def check_texts(texts: Any) -> None:
    """Refuse what is no list of texts: a single text is one of letters.

    Raises:
        DataError: it is something else.
    """
    expected = "a list of texts"
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        found = type(texts).__name__
        raise DataError(f"a {found} in the place of texts", expected=expected)

    for place, text in enumerate(texts):
        if not isinstance(text, str):
            found = type(text).__name__
            raise DataError(f"a {found} at place {place} of texts", expected=expected)
