"""What stands between a connection and the application: who may ask, how long, and headers.

It is plain ASGI, so that bodies pass through as streams.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from emotailor.errors import EmotailorError
from emotailor.service.access import Access
from emotailor.service.errors import error_json, headers_of, status_of
from emotailor.service.policy import SECURITY_HEADERS

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SEND_WITHIN = 60.0
"""Seconds in which a client has to take a part of an answer."""

LINGER_SECONDS = 1.0
LINGER_BYTES = 1 << 18
"""How much of a body that nobody wants is still read, so that its sender sees the answer."""


ABORT = "abort"
"""Key of the state of a request under which its server puts what ends the connection at once."""


def _nothing() -> None:
    """Do nothing: there is no connection."""


class Guard:
    """An application, guarded.

    Args:
        app: the application.
        access: who may ask.
    """

    def __init__(self, app: Application, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        # a server sends the answer to HEAD without its body by itself
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        exchange = _Exchange(scope, receive, send)
        refused = self._refusal(scope)
        if refused is None:
            await self.app(scope, exchange.receive, exchange.send)
        else:
            await refused(scope, exchange.receive, exchange.send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to who may not ask; None to who may."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        path = scope["path"]
        try:
            self.access.check_host(host)
            self.access.check_origin(
                scope["method"], headers.get("origin"), headers.get("sec-fetch-site"), host
            )
            if not self.access.is_open(path):
                self.access.check_token(headers.get("authorization"), headers.get("cookie"))
        except EmotailorError as error:
            status = status_of(error)
            wants_page = "text/html" in headers.get("accept", "")
            # who looks at the page can give the token there
            if status == 401 and wants_page and scope["method"] == "GET":
                return RedirectResponse("/login", 303)
            return JSONResponse(error_json(error), status, headers_of(error))
        return None


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self._unread = length != "0" or "transfer-encoding" in headers
        self._receive = receive
        self._send = send
        self._abort: Callable[[], None] = scope.get("state", {}).get(ABORT, _nothing)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            # the rest of a body that nobody read would be taken for the next request
            if self._unread:
                headers["Connection"] = "close"
            await self._put(message)
            return

        is_last = not message.get("more_body", False)
        if is_last and self._unread:
            await self._put({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._put(message)

    async def _put(self, message: Message) -> None:
        """Send a part; a client that does not take it has gone, whatever its connection says."""
        try:
            async with asyncio.timeout(SEND_WITHIN):
                await self._send(message)
        except TimeoutError:
            # what is sent from here on goes nowhere
            self._abort()

    async def _linger(self) -> None:
        """Read a little more: a connection that is closed at once takes the answer with it."""
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread and left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return
