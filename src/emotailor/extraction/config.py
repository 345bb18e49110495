"""The settings of extraction; all of them are part of the features' fingerprint."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from emotailor.config import Config, merge, parse_overrides


class PictureConfig(Config):
    """What is seen."""

    per_second: float = Field(10.0, gt=0, le=60)  # pictures looked at in a second of video
    most_pixels: int = Field(640, ge=64)  # longer side that larger pictures are reduced to
    most_faces: int = Field(4, ge=1, le=16)  # faces that are followed at a time


class SoundConfig(Config):
    """What is heard."""

    step: float = Field(0.02, gt=0, le=1)  # seconds from one row of features to the next


class SpeechConfig(Config):
    """What is said."""

    model: str = "tiny.en"  # of faster-whisper: a name, or the folder of a model
    language: str | None = None  # such as en; None: as heard, where the model knows several
    longest: float = Field(28.0, gt=1, le=30)  # seconds recognised at once, cut at silences


class UtteranceConfig(Config):
    """Where one utterance ends and the next begins."""

    pause: float = Field(0.6, gt=0)  # seconds of silence that end an utterance
    sentence_pause: float = Field(0.35, gt=0)  # likewise, behind the end of a sentence
    most_words: int = Field(60, ge=1)  # a longer one is cut at its longest pause
    most_seconds: float = Field(20.0, gt=0)  # likewise
    without_words: float = Field(5.0, gt=0)  # length of the pieces where nobody says anything


class ExtractionConfig(Config):
    """How a video becomes features."""

    picture: PictureConfig = PictureConfig()
    sound: SoundConfig = SoundConfig()
    speech: SpeechConfig = SpeechConfig()
    utterance: UtteranceConfig = UtteranceConfig()
    encoder: str = "minilm"  # of the words: minilm, glove, or the folder of a model
    aligned: bool = True  # one step a word in every modality; else native rates
    visual: Literal["face", "none"] = "face"  # what is extracted from pictures
    # what is extracted from sound; opensmile is not for commercial use
    audio: Literal["acoustic", "opensmile", "none"] = "acoustic"


def chosen_config(
    settings: Sequence[str] = (),
    *,
    encoder: str | None = None,
    aligned: bool | None = None,
    visual: str | None = None,
    audio: str | None = None,
    speech_model: str | None = None,
    language: str | None = None,
) -> ExtractionConfig:
    """Return the settings that a command line chooses; None stands for what is not given.

    Args:
        settings: any settings as ``KEY=VALUE``; the options win over them.
        encoder: of the words.
        aligned: one step a word, or native rates.
        visual: what is extracted from pictures.
        audio: what is extracted from sound.
        speech_model: name or folder of the recogniser.
        language: that is spoken.

    Raises:
        ConfigError: there is no such setting, or its value is out of range.
    """
    given: dict[str, Any] = {
        "encoder": encoder,
        "aligned": aligned,
        "visual": visual,
        "audio": audio,
    }
    of_speech = {"model": speech_model, "language": language}
    options = {key: value for key, value in given.items() if value is not None}
    speech = {key: value for key, value in of_speech.items() if value is not None}
    if speech:
        options["speech"] = speech
    values = merge(parse_overrides(settings), options)
    return ExtractionConfig.parse(values, "the extraction")
