"""From text to features: words, and a vector for each.

    >>> from emotailor.encoders import load_encoder  # doctest: +SKIP
    >>> encoder = load_encoder("minilm")
    >>> encoder.encode([["what", "a", "day"]])[0].vectors.shape
    (3, 384)

Which encoder made the features of a data set is stored with it, and with every model that is
trained on it: see :class:`emotailor.data.extraction.Extraction`.
"""

from emotailor.encoders.base import Encoded, TextEncoder
from emotailor.encoders.encode import encode_texts
from emotailor.encoders.table import ENCODERS, load_encoder
from emotailor.encoders.words import words_of

__all__ = ["ENCODERS", "Encoded", "TextEncoder", "encode_texts", "load_encoder", "words_of"]
