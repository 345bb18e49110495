"""Bodies, connections and clients that never end leave nothing behind and keep nobody waiting."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from emotailor.service import bodies, guard, protocol, videos
from emotailor.service.app import Service
from emotailor.service.config import Limits
from tests.service.serving import Place, Process, made_job, serving, until

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def small(run: Path) -> Iterator[tuple[Place, Service]]:
    """A service that takes two megabytes, and has little patience."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "Workers", Process)
        patch.setattr(bodies, "PATIENCE", 2.0)
        patch.setattr(protocol, "HEADERS_WITHIN", 2.0)
        patch.setattr(guard, "SEND_WITHIN", 1.0)
        patch.setattr(protocol, "SEND_WITHIN", 1.0)
        with serving(made_job(run, Limits(upload=2 * MEGABYTE))) as both:
            yield both


def uploads(service: Service) -> list[str]:
    """What lies in the folder of uploads."""
    return [path.name for path in service.videos._folder.iterdir() if path.name != ".lock"]


def send(connection: socket.socket, body: bytes, times: int) -> int:
    """Send a body in parts; return how much the other side took before it closed."""
    sent = 0
    try:
        for _ in range(times):
            connection.sendall(body)
            sent += len(body)
    except OSError:
        pass
    return sent


def answer_on(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("chunked", [True, False])
def test_an_upload_beyond_the_limit_is_stopped_at_it(
    small: tuple[Place, Service], chunked: bool
) -> None:
    """200 MB, with and without its length: a few megabytes travel, most of it in buffers."""
    place, service = small
    read: list[int] = []

    with place.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        head = "POST /v1/videos?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\n"
        part = b"x" * 65536
        if chunked:
            head += "Transfer-Encoding: chunked\r\n\r\n"
            part = b"10000\r\n" + part + b"\r\n"
        else:
            head += f"Content-Length: {200 * MEGABYTE}\r\n\r\n"
        connection.sendall(head.encode())
        thread = threading.Thread(target=lambda: read.append(send(connection, part, 3200)))
        thread.start()
        answer = answer_on(connection)
        connection.close()
        thread.join(20)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["expected"] == "at most 2,000,000"
    # the limit, what is read so that the answer arrives, and what both systems hold in between
    assert read[0] < (2 if chunked else 0) * MEGABYTE + guard.LINGER_BYTES + 6 * MEGABYTE
    assert uploads(service) == []
    assert service.videos.all() == []


def test_the_service_itself_reads_no_further_than_the_limit(
    small: tuple[Place, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0
    receive = guard._Exchange.receive

    async def counted(self: guard._Exchange) -> guard.Message:
        nonlocal read
        message = await receive(self)
        read += len(message.get("body", b""))
        return message

    monkeypatch.setattr(guard._Exchange, "receive", counted)
    place, _ = small
    with place.connect() as connection:
        connection.sendall(
            b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        part = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        thread = threading.Thread(target=send, args=(connection, part, 3200))
        thread.start()
        assert b" 413 " in answer_on(connection)
        connection.close()
        thread.join(20)
    assert 2 * MEGABYTE < read < 2 * MEGABYTE + guard.LINGER_BYTES + MEGABYTE


def test_a_body_that_trickles_is_given_up(small: tuple[Place, Service]) -> None:
    place, service = small
    with place.connect() as connection:
        connection.sendall(
            b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        )
        connection.sendall(b"x")
        assert answer_on(connection).startswith(b"HTTP/1.1 408 ")
    assert uploads(service) == []
    assert service.videos._uploading == 0


def test_a_head_that_trickles_is_given_up(small: tuple[Place, Service]) -> None:
    place, _ = small
    begun = time.monotonic()
    with place.connect() as silent, place.connect() as slow, place.connect() as second:
        slow.sendall(b"GET /health HTT")
        second.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        assert answer_on(silent) == b""
        assert answer_on(slow) == b""
        assert answer_on(second).count(b"HTTP/1.1 200 OK") == 1
    assert time.monotonic() - begun < 10
    until(lambda: not place.server.server_state.connections)


def test_a_client_that_takes_nothing_is_given_up(small: tuple[Place, Service]) -> None:
    place, service = small
    made = place.post("/v1/videos?name=a.mp4", b"x" * 2 * MEGABYTE)
    job = made.json["id"]
    until(lambda: place.get(f"/v1/videos/{job}").json["status"] == "done")
    with place.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = f"GET /v1/videos/{job}/media HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        connection.sendall(ask * 8)
        until(lambda: not place.server.server_state.connections)
    assert place.ask("DELETE", f"/v1/videos/{job}").status == 204
    assert uploads(service) == []


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="an option of Linux")
def test_a_client_that_does_not_take_the_last_part_is_given_up(
    small: tuple[Place, Service],
) -> None:
    """Answers of many sizes: of some, all but a last part fits into what both systems hold."""
    place, _ = small
    job = place.post("/v1/videos?name=a.mp4", b"x" * 2 * MEGABYTE).json["id"]
    head = f"GET /v1/videos/{job}/media HTTP/1.1\r\nHost: localhost\r\n"
    with ExitStack() as stack:
        for size in range(50_000, 2 * MEGABYTE, 50_000):
            connection = stack.enter_context(place.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"{head}\r\n{head}Range: bytes=0-{size}\r\n\r\n".encode())
        until(lambda: not place.server.server_state.connections)
    assert place.ask("DELETE", f"/v1/videos/{job}").status == 204


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(
    small: tuple[Place, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    # it is the client that ends it
    monkeypatch.setattr(bodies, "PATIENCE", 60.0)
    place, service = small
    with place.connect() as connection:
        connection.sendall(
            b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        )
        until(lambda: uploads(service))
    until(lambda: not uploads(service))
    until(lambda: service.videos._uploading == 0)
    assert service.videos.all() == []


def test_too_many_connections_are_told_so(
    small: tuple[Place, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 2)
    monkeypatch.setattr(protocol, "HEADERS_WITHIN", 5.0)
    place, _ = small
    until(lambda: not place.server.server_state.connections)
    with place.connect(), place.connect(), place.connect() as third:
        told = answer_on(third)
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After" in told
    assert json.loads(told.partition(b"\r\n\r\n")[2])["error"]["fix"]
    until(lambda: not place.server.server_state.connections)
    assert place.get("/health").status == 200


def test_what_nobody_reads_does_not_become_the_next_request(small: tuple[Place, Service]) -> None:
    place, _ = small
    smuggled = b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(smuggled)}\r\n\r\n"
    with place.connect() as connection:
        connection.sendall(head.encode() + smuggled)
        assert answer_on(connection).count(b"HTTP/1.1 ") == 1
