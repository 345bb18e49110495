"""The encoder that made a model's features of text, to make more of them."""

from pathlib import Path

from emotailor.data.extraction import Extraction, check_extraction
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.table import ENCODERS, load_encoder, name_of
from emotailor.errors import ConfigError, ModelError
from emotailor.serving.samples import SamplePredictor


def encoder_of(
    predictor: SamplePredictor, encoder: str | Path | TextEncoder | None = None
) -> TextEncoder:
    """Return the encoder that made the features of text that a model was trained on.

    Args:
        predictor: the model.
        encoder: as for :func:`emotailor.encode_texts`; None where the model says which.

    Raises:
        ModelError: the model takes no text, or was trained on features of another encoder.
        ConfigError: nobody says which encoder it was, or a package is not installed.
    """
    if "text" not in predictor.dims:
        raise ModelError(
            f"the model takes {' and '.join(predictor.modalities)}, and no text",
            expected="a model that was trained on features of text",
        )

    known = predictor.card.extraction.get("text")
    pooling = "words" if known is None else str(known.settings.get("pooling", "words"))
    if encoder is None:
        # a model that trained its encoder along knows where that is
        encoder = predictor.card.adapters.encoder or _name_of(known)
    found = load_encoder(encoder, pooling=pooling)

    check_extraction({"text": found.extraction}, predictor.card.extraction, ["text"], "these texts")
    if found.dim != predictor.dims["text"]:
        raise ModelError(
            f"{found.extraction.extractor} makes {found.dim} features",
            expected=f"the {predictor.dims['text']} that the model was trained on",
            fix="name the encoder of its training data with --encoder",
        )
    return found


def _name_of(known: Extraction | None) -> str:
    """Return the name of the encoder that made features; it must have one."""
    if known is None:
        raise ConfigError(
            "the model does not say what made its features of text",
            expected="the encoder of its training data",
            fix=f"name it with --encoder: {', '.join(ENCODERS)}, a folder or a file",
        )
    name = name_of(known)
    if name is not None:
        return name
    raise ConfigError(
        f"the model was trained on features of {known.describe()}",
        expected="to be told where that is",
        fix="name its folder or file with --encoder",
    )
