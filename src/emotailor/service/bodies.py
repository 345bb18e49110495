"""Bodies of requests, read as streams and no further than they may go."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from time import monotonic

from starlette.requests import Request

from emotailor.service.errors import RequestError

PATIENCE = 20.0  # seconds that a body may be late
SLOWEST = 10_000.0  # bytes a second, on average


async def body_parts(
    request: Request, *, most: int, fix: str = "send less"
) -> AsyncIterator[bytes]:
    """Yield the parts of a body as they come.

    Args:
        request: whose body it is.
        most: bytes that it may have.
        fix: what to do where it has more.

    Raises:
        RequestError: it has more, or comes too slowly.
        ClientDisconnect: the client has gone.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > most:
        raise _too_large(most, fix)

    begun = monotonic()
    read = 0
    parts = aiter(request.stream())
    while True:
        # who sends a byte now and then has to stop some time
        until = begun + PATIENCE + read / SLOWEST
        try:
            async with asyncio.timeout(until - monotonic()):
                part = await anext(parts, None)
        except TimeoutError:
            raise RequestError(
                HTTPStatus.REQUEST_TIMEOUT,
                f"{read:,} bytes of a body in {monotonic() - begun:.0f} s",
                expected=f"at least {SLOWEST:,.0f} bytes a second",
                fix="use a faster connection",
            ) from None
        if part is None:
            return
        read += len(part)
        if read > most:
            raise _too_large(most, fix)
        yield part


async def read_body(request: Request, *, most: int, fix: str = "send less") -> bytes:
    """Return a whole body.

    Raises:
        RequestError: it is too large, or comes too slowly.
        ClientDisconnect: the client has gone.
    """
    return b"".join([part async for part in body_parts(request, most=most, fix=fix)])


def _too_large(most: int, fix: str) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"a body of more than {most:,} bytes",
        expected=f"at most {most:,}",
        fix=fix,
    )
