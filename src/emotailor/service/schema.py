"""What requests and answers look like, for ``/openapi.json``."""

from typing import Any, Literal

from pydantic import BaseModel


class Told(BaseModel):
    """An error."""

    found: str
    expected: str | None = None
    fix: str | None = None


class ErrorAnswer(BaseModel):
    """The answer to a request that is refused."""

    error: Told


class PredictionsAnswer(BaseModel):
    """A prediction for each sample, in order; ``id`` and ``error`` of one that has none."""

    predictions: list[dict[str, Any]]


class VideoAnswer(BaseModel):
    """A video, and how far it is."""

    id: str
    name: str
    status: Literal["waiting", "working", "done", "failed", "cancelled"]
    share: float
    stage: str
    place: int | None
    error: Told | None
    links: dict[str, str]


class VideosAnswer(BaseModel):
    """All videos that are kept."""

    videos: list[VideoAnswer]


class ModelAnswer(BaseModel):
    """What there is to know of the model, and the limits of the service."""

    system: str
    name: str
    labels: list[str]
    thresholds: dict[str, float]
    takes: dict[str, int]
    aligned: bool
    extraction: dict[str, Any]
    card: dict[str, Any]
    versions: dict[str, str]
    limits: dict[str, float]
    videos: dict[str, Any]


_NUMBERS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_SAMPLE = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 500},
        "words": {"type": "array", "items": {"type": "string"}},
        "visual": _NUMBERS,
        "audio": _NUMBERS,
        "text": _NUMBERS,
    },
    "additionalProperties": False,
}
QUESTION = {
    "type": "object",
    "properties": {
        "samples": {"type": "array", "items": _SAMPLE, "minItems": 1},
        "explain": {"type": "boolean"},
    },
    "required": ["samples"],
    "additionalProperties": False,
}
BYTES = {"type": "string", "format": "binary"}


def body(**content: Any) -> dict[str, Any]:
    """Return the description of a body, by its kinds."""
    kinds = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": kinds}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of answers that refuse."""
    return {status: {"model": ErrorAnswer} for status in (401, 403, *statuses)}
