"""A service that is asked over real connections, and one whose videos nobody extracts."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from emotailor.errors import DataError
from emotailor.extraction.base import Recording
from emotailor.extraction.find import Found
from emotailor.extraction.recording import Task
from emotailor.extraction.workers import Done
from emotailor.runs.videos import VideoJob
from emotailor.service.access import Access
from emotailor.service.app import Service, ServiceJob
from emotailor.service.config import Limits
from emotailor.service.run import Server, nothing_runs
from emotailor.service.site import Site
from emotailor.serving.timeline import Timeline
from emotailor.serving.video import timeline_of
from tests.serving.test_timeline import always, recording, samples_of, utterance

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str | None]:
        """The parts of an error, which must be all there is."""
        told = self.json
        assert set(told) == {"error"}
        assert set(told["error"]) == {"found", "expected", "fix"}
        assert told["error"]["found"]
        error: dict[str, str | None] = told["error"]
        return error


@dataclass(frozen=True)
class Place:
    """Where a site listens."""

    port: int
    server: Server

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        **headers: str,
    ) -> Answer:
        """Send a request; ``content_type`` is the header ``Content-Type``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body or None, headers=named)
            answered = connection.getresponse()
            told = {name.lower(): value for name, value in answered.getheaders()}
            return Answer(answered.status, told, answered.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, b"", **headers)

    def post(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return self.ask("POST", path, body, **headers)

    def predict(self, question: Any) -> Answer:
        return self.post(
            "/v1/predict", json.dumps(question).encode(), content_type="application/json"
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def listening(site: Site, finish: Any = nothing_runs) -> Iterator[Place]:
    """Serve a site in a thread of this process."""
    ready = threading.Event()
    server = Server(site, ready.set, finish)
    with socket.create_server(("127.0.0.1", 0)) as place:
        thread = threading.Thread(target=server.run, args=([place],))
        thread.start()
        try:
            assert ready.wait(30)
            yield Place(place.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@contextmanager
def serving(job: ServiceJob, access: Access | None = None) -> Iterator[tuple[Place, Service]]:
    """Serve a model; its folder and its threads are gone afterwards."""
    service = Service(job, access or Access())
    before = set(threading.enumerate())
    with service.running(), listening(service.site, service.finish) as place:
        yield place, service
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not any(name == "model" or name.startswith("video ") for name in left)


# ---------------------------------------------------------------------- videos that nobody extracts


class _NoExtractor:
    """Stands in for what needs the packages of the extra ``video``."""

    extractions: Mapping[str, Any] = {}

    def check_recogniser(self) -> None:
        pass


@dataclass(frozen=True)
class MadeVideos(VideoJob):
    """Videos in which two sentences are said, whatever is in the file."""

    @cached_property
    def extractor(self) -> Any:
        return _NoExtractor(), []

    def task(self, video: Found, threads: int | None = None) -> Task:
        return Task(video, self.config, None, None, threads)

    def predicting(self, predictor: Any) -> Any:
        return object()

    def timeline(self, predicting: Any, name: str, recording: Recording) -> Timeline:
        samples = [replace(s, id=s.id.replace("one", name)) for s in samples_of(recording)]
        return timeline_of(always(), recording, samples)


class Process:
    """Stands in for ``Workers``: what happens is what the bytes of the upload say.

    ``fail``: it fails; ``wait``: it goes on until it is ended; anything else: two sentences.
    """

    def __init__(self, _: Any, tasks: Iterable[Any], *, processes: int, on_share: Any) -> None:
        assert processes == 1
        (self._task,) = tasks
        self._on_share = on_share
        self._ended = threading.Event()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def begin(self) -> None:
        pass

    def cancel(self) -> None:
        self._ended.set()

    def ended(self) -> Iterator[Done[Any, Any]]:
        path: Path = self._task.task.video.path
        content = path.read_bytes()
        self._on_share(0.5)
        if content == b"fail":
            yield Done(self._task, None, DataError(f"{path} is no video", fix=f"look at {path}"))
            return
        if content == b"wait":
            assert self._ended.wait(30)
            yield Done(self._task, None, DataError("the process that read it ended by SIGTERM"))
            return
        said = recording(utterance("so very happy", 1.0), utterance("bye", 4.0), path=str(path))
        yield Done(self._task, said)


def made_job(model: Path, limits: Limits | None = None, processes: int = 1) -> ServiceJob:
    """A service whose videos are made up."""
    return ServiceJob(MadeVideos(model, (), processes=processes, device="cpu"), limits or Limits())


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """The jobs that a stream of events told of."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0] == "event: progress":
            found.append(json.loads(lines[1].removeprefix("data: ")))
    return found


def until(condition: Any, seconds: float = 20.0) -> None:
    """Wait until something holds."""

    async def wait() -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    asyncio.run(wait())
