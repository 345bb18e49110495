"""Running a site: its address, and how it ends.

The first SIGTERM or SIGINT lets what runs come to its end, the second ends it at once.
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

from emotailor.errors import ConfigError, InterruptedRunError
from emotailor.service.protocol import PatientProtocol
from emotailor.service.site import Site

PORT = 8000
LAST_ANSWERS = 15  # seconds that answers under way have at the end

Finish = Callable[[], Awaitable[None]]
"""Takes no more work, and returns when what is under way has ended."""


async def nothing_runs() -> None:
    """Finish nothing: there is no work but that of requests."""


def run_site(
    site: Site,
    *,
    port: int = PORT,
    tell: Callable[[str], None] = print,
    finish: Finish = nothing_runs,
) -> None:
    """Serve a site until a signal comes.

    Args:
        site: what is served, at the host of its access.
        port: to listen on; 0 for any that is free.
        tell: takes the address as soon as requests are answered there.
        finish: is awaited at the first signal, while requests are still answered.

    Raises:
        ConfigError: nobody can listen there, or others could without a token.
        InterruptedRunError: a second signal came.
    """
    site.access.check()
    listening = _listen(site.access.host, port)
    address = _address(site.access.host, listening)
    server = Server(site, lambda: tell(address), finish)
    with listening:
        server.run([listening])
    if server.force_exit:
        raise InterruptedRunError("stopped at once: what was under way is lost")


class Server(uvicorn.Server):
    """A server that finishes its work before it stops to answer.

    Args:
        site: what is served.
        on_ready: is called as soon as requests are answered.
        finish: as for :func:`run_site`.
    """

    def __init__(
        self, site: Site, on_ready: Callable[[], None], finish: Finish = nothing_runs
    ) -> None:
        config = uvicorn.Config(
            site.guarded,
            loop="asyncio",
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=LAST_ANSWERS,
        )
        super().__init__(config)
        self._on_ready = on_ready
        self._finish = finish
        self._is_asked = False
        self._finishing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the second one ends everything."""
        if self._is_asked:
            self.force_exit = True
            self.should_exit = True
        self._is_asked = True

    async def on_tick(self, counter: int) -> bool:
        """Begin to finish where a signal came; say whether it is time to stop."""
        if self._is_asked and self._finishing is None:
            self._finishing = asyncio.create_task(self._finish_and_exit())
        return await super().on_tick(counter)

    async def _finish_and_exit(self) -> None:
        try:
            await self._finish()
        finally:
            self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: nobody can listen there.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        fix = "another --port; --port 0 takes one that is free" if taken else "another --host"
        raise ConfigError(
            f"nobody can listen on port {port} of {host}: {error.strerror or error}",
            expected="an address of this machine, and a port that is free",
            fix=fix,
        ) from error


def _address(host: str, listening: socket.socket) -> str:
    """Return the address to open in a browser."""
    port = listening.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"
