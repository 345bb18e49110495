"""HTTP of uvicorn that does not wait for ever, and not for everybody."""

import asyncio
import json
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from emotailor.service.errors import busy, error_json
from emotailor.service.guard import ABORT, SEND_WITHIN

HEADERS_WITHIN = 15.0
"""Seconds in which the head of a request has to be there."""

MOST_CONNECTIONS = 256


class PatientProtocol(H11Protocol):
    """A connection that is closed where no request comes, and refused where there are too many."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, ABORT: transport.abort}
        _bound_last_parts(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.write(_refusal())
            transport.close()
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering:
            self._stop_waiting()
        elif self._late is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEADERS_WITHIN, self._give_up)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        self.transport.close()


def _bound_last_parts(transport: asyncio.BaseTransport) -> None:
    """Let the system end a connection whose client does not take what was sent.

    The last part of an answer is awaited by nobody: a connection would stay until it is taken.
    """
    # of Linux
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, option, round(1000 * SEND_WITHIN))


def _refusal() -> bytes:
    error = busy(f"more than {MOST_CONNECTIONS} connections", fix="close some, or try again")
    body = json.dumps(error_json(error)).encode()
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {error.headers['Retry-After']}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
