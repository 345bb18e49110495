"""The limits of a service."""

from pydantic import Field

from emotailor.config import Config

DAY = 86_400


class Limits(Config):
    """How much a service takes, and how long it keeps it."""

    upload: int = Field(300_000_000, ge=1)  # bytes of a video
    duration: float = Field(1800.0, gt=0, le=DAY)  # seconds of a video
    body: int = Field(32_000_000, ge=1)  # bytes of a request with features
    samples: int = Field(256, ge=1)  # of a request with features
    steps: int = Field(2000, ge=1)  # of a modality of a sample
    questions: int = Field(64, ge=1)  # requests with features that are read or wait
    waiting: int = Field(16, ge=1)  # videos that are uploaded or wait
    kept: int = Field(32, ge=1)  # videos that are done and kept
    kept_seconds: float = Field(3600.0, gt=0, le=366 * DAY)  # how long
