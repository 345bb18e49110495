"""The extractors of sound by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from emotailor.data.extraction import Extraction
from emotailor.extraction.acoustic import (
    ACOUSTIC_NAMES,
    acoustic_extraction,
    acoustic_features,
)
from emotailor.extraction.base import Sound, Timed
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.opensmile import OpenSmile


@dataclass(frozen=True)
class SoundFeatures:
    """An extractor of sound.

    Attributes:
        names: what each column is.
        extraction: its fingerprint.
        features: computes the rows of a sound.
    """

    names: tuple[str, ...]
    extraction: Extraction
    features: Callable[[Sound], Timed]


def sound_features(config: ExtractionConfig) -> SoundFeatures | None:
    """Return the extractor that the settings choose; None where sound is not looked at.

    Raises:
        ConfigError: its package is not installed, or it has no such step.
    """
    if config.audio == "none":
        return None
    if config.audio == "opensmile":
        smile = OpenSmile(config.sound)
        return SoundFeatures(smile.names, smile.extraction, smile.features)

    compute = partial(acoustic_features, settings=config.sound)
    return SoundFeatures(ACOUSTIC_NAMES, acoustic_extraction(config.sound), compute)
