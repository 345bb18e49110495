"""Errors of a request, and the one shape in which all of them are told."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from emotailor.errors import ConfigError, DataError, EmotailorError, ModelError


class RequestError(EmotailorError):
    """A request that is refused.

    Args:
        status: number of the answer.
        found: as in the base class.
        expected: as in the base class.
        fix: as in the base class.
        headers: of the answer, beside those of all.
    """

    def __init__(
        self,
        status: HTTPStatus,
        found: str,
        *,
        expected: str | None = None,
        fix: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(found, expected=expected, fix=fix)
        self.status = status
        self.headers = dict(headers or {})


def busy(found: str, *, fix: str, seconds: int = 5) -> RequestError:
    """Return the error of a service that has too much to do.

    Args:
        found: what there is too much of.
        fix: what the client can do.
        seconds: after which it may try again.
    """
    return RequestError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        found,
        expected="a moment with less to do",
        fix=fix,
        headers={"Retry-After": str(seconds)},
    )


def status_of(error: EmotailorError) -> HTTPStatus:
    """Return the number of the answer to a request that ended in an error."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, DataError | ModelError):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    if isinstance(error, ConfigError):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.INTERNAL_SERVER_ERROR


def headers_of(error: EmotailorError) -> dict[str, str]:
    """Return the headers that the answer to an error has, beside those of all."""
    return error.headers if isinstance(error, RequestError) else {}


def error_json(error: EmotailorError) -> dict[str, Any]:
    """Return an error as its answer tells it."""
    return {"error": parts_of(error)}


def parts_of(error: EmotailorError) -> dict[str, str | None]:
    """Return what was found, what was expected, and what to do."""
    return {"found": error.found, "expected": error.expected, "fix": error.fix}
