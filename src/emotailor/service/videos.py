"""Videos as jobs: a queue, a process for each that is worked at, and what is kept of them."""

import asyncio
import secrets
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from time import monotonic
from typing import Any, Literal
from urllib.parse import quote

from emotailor.errors import DataError, EmotailorError
from emotailor.extraction.base import Recording
from emotailor.extraction.find import Found
from emotailor.extraction.recording import Task
from emotailor.extraction.workers import Workers
from emotailor.report.timelines import TimelineForm
from emotailor.service.config import Limits
from emotailor.service.errors import RequestError, busy, parts_of
from emotailor.service.extracting import UploadTask, extract_upload
from emotailor.service.model import ModelThread
from emotailor.service.uploads import discard, new_place
from emotailor.serving.timeline import Timeline

Status = Literal["waiting", "working", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
FORMS: tuple[TimelineForm, ...] = ("json", "csv", "srt", "html")

EXTRACTED = 0.95
"""Share of the work that extraction is."""

TICK = 30.0  # seconds after which what is too old is removed, if nothing else happens
LAST_LOOK = 5.0
"""Seconds in which a video that was done at the end of the service can still be fetched."""

PATIENCE = 120.0
PATIENCE_A_SECOND = 20.0
"""Seconds that a job may take: so many, and so many for each second that a video may last."""


@dataclass(eq=False)
class Job:
    """A video, and how far it is.

    Attributes:
        name: what its client calls it.
        file: where it lies.
        id: by which it is asked for.
        status: what becomes of it.
        share: how much is done, from 0 to 1.
        stage: what is being done, in words.
        error: why there is no timeline.
        timeline: what was predicted.
    """

    name: str
    file: Path
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    status: Status = "waiting"
    share: float = 0.0
    stage: str = "waiting"
    error: EmotailorError | None = None
    timeline: Timeline | None = None
    ended_at: float = 0.0
    is_cancelled: bool = False
    workers: "Workers[UploadTask, Recording] | None" = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    def cancel(self) -> None:
        """Give it up; its process ends."""
        self.is_cancelled = True
        if self.workers is not None:
            self.workers.cancel()

    def links(self) -> Mapping[str, str]:
        """Return where its parts are."""
        place = f"/v1/videos/{self.id}"
        links = {"self": place, "events": f"{place}/events", "media": f"{place}/media"}
        links["page"] = f"/videos/{self.id}"
        links |= {form: f"{place}/timeline.{form}" for form in FORMS}
        return links


class Videos:
    """The videos of a service.

    Args:
        task_of: a video and a number of threads -> what another process is told of it.
        timeline_of: name of a video and what was extracted -> its timeline.
        model: the thread that computes.
        limits: how many videos may wait and are kept.
        folder: where uploads lie.
        at_once: how many are worked at.
        threads: of the processor for each.
        on_end: takes how a job ended.
    """

    def __init__(
        self,
        task_of: Callable[[Found, int], Task],
        timeline_of: Callable[[str, Recording], Timeline],
        model: ModelThread[Any, Any],
        limits: Limits,
        folder: Path,
        *,
        at_once: int,
        threads: int,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._task_of = task_of
        self._timeline_of = timeline_of
        self._model = model
        self._limits = limits
        self._folder = folder
        self._threads = threads
        self._on_end = on_end
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._uploading = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._at_work = [
            threading.Thread(target=self._run, name=f"video {number}", daemon=True)
            for number in range(at_once)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Work at jobs; at the end, those that are unfinished are given up."""
        for thread in self._at_work:
            thread.start()
        try:
            yield
        finally:
            self._close()
            with self._changed:
                for job in self._jobs.values():
                    job.cancel()
                self._changed.notify_all()
            for thread in self._at_work:
                thread.join(timeout=10)

    # ------------------------------------------------------------------ what clients do

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Keep a place for an upload while it comes.

        Raises:
            RequestError: there is none, or the service ends.
        """
        with self._changed:
            self._check_open()
            if len(self._waiting) + self._uploading >= self._limits.waiting:
                raise busy(
                    f"{self._limits.waiting} videos that wait",
                    fix="try again after the seconds of Retry-After, or start the service with a "
                    "larger --max-waiting",
                )
            self._uploading += 1
        try:
            yield
        finally:
            with self._changed:
                self._uploading -= 1

    def place_for(self, name: str) -> Path:
        """Return where an upload is to be written."""
        return new_place(self._folder, name)

    def add(self, name: str, file: Path) -> Job:
        """Take an upload that is whole.

        Raises:
            RequestError: the service ends.
        """
        job = Job(name, file)
        with self._changed:
            try:
                self._check_open()
            except RequestError:
                discard(file)
                raise
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._changed.notify_all()
        self._expire()
        return job

    def all(self) -> list[Job]:
        """Return all jobs, the first one first."""
        self._expire()
        with self._changed:
            return list(self._jobs.values())

    def find(self, job_id: str) -> Job | None:
        """Return a job; None where there is none, or none any more."""
        self._expire()
        return self._jobs.get(job_id)

    def remove(self, job: Job) -> None:
        """Cancel a job, and remove all that there is of it."""
        with self._changed:
            self._jobs.pop(job.id, None)
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
        job.cancel()
        discard(job.file)

    def to_json(self, job: Job) -> dict[str, Any]:
        """Return what is told of a job."""
        with self._changed:
            place = self._waiting.index(job) + 1 if job in self._waiting else None
        return {
            "id": job.id,
            "name": job.name,
            "status": job.status,
            "share": round(job.share, 4),
            "stage": job.stage,
            "place": place,
            "error": None if job.error is None else parts_of(job.error),
            "links": job.links(),
        }

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in which state."""
        counts: dict[str, int] = dict.fromkeys(("waiting", "working", *ENDED), 0)
        for job in tuple(self._jobs.values()):
            counts[job.status] += 1
        return counts

    async def finish(self) -> None:
        """Take no more videos, and return when those that are worked at have ended.

        What was just done can be fetched for some seconds more.
        """
        self._close()
        worked = False
        while any(job.status == "working" for job in tuple(self._jobs.values())):
            worked = True
            await asyncio.sleep(0.05)
        if worked:
            await asyncio.sleep(LAST_LOOK)

    # ------------------------------------------------------------------ parts

    def _check_open(self) -> None:
        if self._is_closed:
            raise busy("a service that is about to end", fix="try again when it was started anew")

    def _close(self) -> None:
        """Take nothing more; what waits is given up."""
        with self._changed:
            self._is_closed = True
            while self._waiting:
                job = self._waiting.popleft()
                job.error = DataError("the service ended before", fix="upload it again")
                self._end(job, "cancelled")
                discard(job.file)
            self._changed.notify_all()

    def _end(self, job: Job, status: Status) -> None:
        if job.has_ended:
            return
        job.stage = status
        job.ended_at = monotonic()
        job.workers = None
        # who sees this finds everything else
        job.status = status
        self._on_end(status)

    def _expire(self) -> None:
        """Remove jobs that ended long ago, and the oldest where too many are kept."""
        with self._changed:
            ended = [job for job in self._jobs.values() if job.has_ended]
            ended.sort(key=lambda job: job.ended_at)
            oldest = monotonic() - self._limits.kept_seconds
            too_many = max(len(ended) - self._limits.kept, 0)
            gone = [job for k, job in enumerate(ended) if k < too_many or job.ended_at < oldest]
            for job in gone:
                del self._jobs[job.id]
        for job in gone:
            discard(job.file)

    # ------------------------------------------------------------------ working

    def _run(self) -> None:
        """Work at one job after the other; the whole life of a thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed, TICK)
                if self._is_closed and not self._waiting:
                    return
                job = self._waiting.popleft() if self._waiting else None
                if job is not None:
                    job.status = "working"
                    job.stage = "looking and listening"
            if job is not None:
                self._work_at(job)
            self._expire()

    def _work_at(self, job: Job) -> None:
        status: Status = "failed"
        try:
            recording = self._extract(job)
            job.stage = "naming emotions"
            job.share = EXTRACTED
            job.timeline = self._model.call(lambda: self._timeline(job, recording))
            job.share = 1.0
            status = "done"
        except EmotailorError as error:
            job.error = _renamed(error, job)
        except CancelledError:
            job.is_cancelled = True
        except OSError as error:
            traceback.print_exc(file=sys.stderr)
            job.error = DataError(
                f"the machine of the service refused: {error.strerror}",
                fix="upload it again when the service has less to do",
            )
        except Exception:
            traceback.print_exc(file=sys.stderr)
            job.error = DataError("a mistake of the service; its log says which")

        if job.is_cancelled:
            status = "cancelled"
            job.timeline = None
        if status != "done":
            discard(job.file)
        with self._changed:
            self._end(job, status)

    def _extract(self, job: Job) -> Recording:
        """Return what there is in a video.

        Raises:
            EmotailorError: nothing, or its process was ended.
        """
        found = Found(PurePosixPath(job.name).stem, job.file)
        task = UploadTask(self._task_of(found, self._threads), self._limits.duration)

        def reach(share: float) -> None:
            job.share = max(job.share, EXTRACTED * share)

        with Workers(extract_upload, [task], processes=1, on_share=reach) as workers:
            workers.begin()
            job.workers = workers
            # whoever cancelled before this line found nobody to end
            if job.is_cancelled:
                workers.cancel()
            late = threading.Timer(self._most_seconds, workers.cancel)
            late.daemon = True
            late.start()
            try:
                (done,) = list(workers.ended())
            finally:
                late.cancel()
                job.workers = None
        if done.error is not None:
            raise done.error
        assert done.result is not None
        return done.result

    @property
    def _most_seconds(self) -> float:
        return PATIENCE + PATIENCE_A_SECOND * self._limits.duration

    def _timeline(self, job: Job, recording: Recording) -> Timeline:
        """Return the timeline of a recording, which knows the video by the name of its upload."""
        named = replace(recording, medium=replace(recording.medium, path=Path(job.name)))
        return self._timeline_of(PurePosixPath(job.name).stem, named)


def _renamed(error: EmotailorError, job: Job) -> EmotailorError:
    """Return an error that calls the video as its client does."""

    def named(text: str | None) -> str | None:
        if text is None:
            return None
        return text.replace(str(job.file), job.name).replace(job.file.name, job.name)

    return DataError(named(error.found) or "", expected=named(error.expected), fix=named(error.fix))


def attachment(name: str) -> str:
    """Return the header that lets a browser store an answer under a name."""
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in name)
    stem, _, ending = plain.rpartition("_")
    safe = f"{stem}.{ending}" if stem else plain
    return f"attachment; filename=\"{safe}\"; filename*=UTF-8''{quote(name, safe='')}"
