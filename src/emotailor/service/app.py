"""The service: a model behind HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Path as InPath
from fastapi import Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from emotailor import __version__
from emotailor.cores import shared_cores
from emotailor.errors import EmotailorError
from emotailor.report.timeline import Served, timeline_page
from emotailor.report.timelines import TimelineForm, timeline_text
from emotailor.runs.videos import VideoJob
from emotailor.service import schema
from emotailor.service.access import Access
from emotailor.service.assets import FRONT, STATIC
from emotailor.service.bodies import body_parts, read_body
from emotailor.service.config import Limits
from emotailor.service.errors import RequestError, parts_of
from emotailor.service.features import (
    JSON,
    SAFETENSORS,
    Question,
    answer_each,
    answer_jointly,
    read_json_question,
    read_tensor_question,
)
from emotailor.service.folder import upload_folder
from emotailor.service.metrics import CONTENT_TYPE, Counted, Metrics
from emotailor.service.model import ModelThread
from emotailor.service.policy import page_policy
from emotailor.service.site import Site, answer, new_site, not_there
from emotailor.service.uploads import KINDS, UNKNOWN, ending_of, shown_name, store
from emotailor.service.videos import FORMS, Job, Videos, attachment
from emotailor.serving.predictor import Predictor
from emotailor.serving.timeline import Timeline
from emotailor.serving.video import VideoPredictor

Answers = list[dict[str, Any]]
BETWEEN_LOOKS = 0.1
"""Seconds between two looks at a video whose progress is watched."""
READ_AT_A_TIME = 2  # bodies with features that are taken apart at a time
SIGN_OF_LIFE = 15.0  # seconds after which a stream without news says so

FORM_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


@dataclass(frozen=True)
class ServiceJob:
    """What is served.

    Attributes:
        videos: the model, and what is extracted and predicted of a video.
        limits: how much is taken.
        jointly: whether samples of several requests go through the model in one pass.
    """

    videos: VideoJob
    limits: Limits = field(default_factory=Limits)
    jointly: bool = False


class Service:
    """A model with what it needs to answer; :meth:`running` gives it threads and a folder.

    Args:
        job: what is served.
        access: who may ask.

    Raises:
        ModelError: there is no model.
        ConfigError: an option is out of range.
    """

    def __init__(self, job: ServiceJob, access: Access) -> None:
        self._job = job
        self.limits = job.limits
        self.predictor = Predictor.load(
            job.videos.model, device=job.videos.device, thresholds=job.videos.thresholds
        )
        self.metrics = Metrics()
        answers = answer_jointly if job.jointly else answer_each
        self.model: ModelThread[Question, Answers] = ModelThread(
            partial(answers, self.predictor),
            most_waiting=self.limits.questions,
            on_together=self.metrics.together.observe,
        )
        self.reading = asyncio.Semaphore(READ_AT_A_TIME)
        self.metrics.watch(
            "emotailor_requests_waiting",
            "Requests with features that wait for the model.",
            lambda: self.model.waiting,
        )
        self._predicting: VideoPredictor | None = None
        self.no_videos: EmotailorError | None = None
        try:
            self._predicting = job.videos.predicting(self.predictor)
            job.videos.extractor[0].check_recogniser()
        except EmotailorError as error:
            self.no_videos = error
        self._videos: Videos | None = None
        self.site = _site_of(self, access)

    @property
    def videos(self) -> Videos:
        """The videos.

        Raises:
            RequestError: the model takes none, or a package is missing.
        """
        if self._videos is None:
            reason = self.no_videos
            found = "the service does not run" if reason is None else reason.found
            raise RequestError(
                HTTPStatus.CONFLICT,
                f"videos are not predicted here: {found}",
                expected=None if reason is None else reason.expected,
                fix=None if reason is None else reason.fix,
            )
        return self._videos

    @contextmanager
    def running(self) -> Iterator[None]:
        """Give the service its threads and its folder; at the end all of it is gone."""
        with ExitStack() as stack:
            folder = stack.enter_context(upload_folder())
            stack.enter_context(self.model.running())
            if self._predicting is not None and self.no_videos is None:
                # as many at a time as there are cores, however many will come
                at_once, threads = shared_cores(self.limits.waiting, self._job.videos.processes)
                self._videos = Videos(
                    self._job.videos.task,
                    partial(self._job.videos.timeline, self._predicting),
                    self.model,
                    self.limits,
                    folder,
                    at_once=at_once,
                    threads=threads,
                    on_end=lambda status: self.metrics.videos.labels(status).inc(),
                )
                self.metrics.watch(
                    "emotailor_videos_waiting",
                    "Videos that wait.",
                    lambda: self.videos.counts()["waiting"],
                )
                self.metrics.watch(
                    "emotailor_videos_working",
                    "Videos that are worked at.",
                    lambda: self.videos.counts()["working"],
                )
                stack.enter_context(self._videos.running())
            yield

    async def finish(self) -> None:
        """Finish what runs."""
        if self._videos is not None:
            await self._videos.finish()

    def about(self) -> dict[str, Any]:
        """Return what there is to know of the model and of the service."""
        predictor = self.predictor
        card = predictor.card
        limits = self.limits
        thresholds = dict(zip(predictor.label_names, predictor.thresholds.tolist(), strict=True))
        videos = self._job.videos
        reason = self.no_videos
        return {
            "system": card.system,
            "name": card.data.get("name", ""),
            "labels": list(predictor.label_names),
            "thresholds": thresholds,
            "takes": dict(predictor.dims),
            "aligned": card.aligned,
            "extraction": {m: x.fingerprint for m, x in card.extraction.items()},
            "card": json.loads(card.model_dump_json(exclude={"weights"})),
            "versions": {"emotailor": __version__, **_versions()},
            "limits": {
                "most_bytes": limits.upload,
                "most_seconds": limits.duration,
                "most_body_bytes": limits.body,
                "most_samples": limits.samples,
                "most_steps": limits.steps,
                "most_waiting": limits.waiting,
                "most_kept": limits.kept,
                "kept_seconds": limits.kept_seconds,
            },
            "videos": {
                "possible": reason is None,
                "why_not": None if reason is None else parts_of(reason),
                "reads": list(predictor.modalities),
                "shows": [] if reason is not None else list(videos.extractor[0].extractions),
            },
        }


def _versions() -> dict[str, str]:
    from emotailor.encoders.packages import version_of

    packages = ("torch", "av", "mediapipe", "faster-whisper", "fastapi", "uvicorn")
    return {package: version for package in packages if (version := version_of(package))}


# ---------------------------------------------------------------------- routes


def _site_of(service: Service, access: Access) -> Site:
    """Return the site with the routes of a service."""
    site = new_site(
        "emotailor",
        access,
        STATIC,
        description="Names the emotions of samples and of videos, with the evidence for each.",
        around=lambda app: Counted(app, service.metrics),
    )
    _add_pages(site, service)
    _add_features(site, service)
    _add_videos(site, service)
    return site


def _add_pages(site: Site, service: Service) -> None:
    @site.api.get("/", include_in_schema=False)
    async def front() -> Response:
        return answer(FRONT)

    @site.api.get(
        "/v1/model",
        tags=["model"],
        response_model=schema.ModelAnswer,
        responses=schema.refusals(),
    )
    async def model() -> Response:
        """What there is to know of the model, and the limits of the service."""
        return as_json(service.about())

    @site.api.get("/metrics", tags=["service"], response_class=Response)
    async def metrics() -> Response:
        """What the service counts, in the form of Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @site.api.get("/videos/{job_id}", include_in_schema=False)
    async def page(job_id: str) -> Response:
        job, timeline = _done(service, job_id)
        links = job.links()
        downloads = {form.upper(): links[form] for form in FORMS}
        made = timeline_page(timeline, served=Served(links["media"], downloads))
        policy = page_policy(scripts=[made.script], styles=[made.stylesheet])
        text = await asyncio.to_thread(made.to_html)
        return Response(
            text, media_type=FORM_TYPES["html"], headers={"Content-Security-Policy": policy}
        )


def _add_features(site: Site, service: Service) -> None:
    kinds = dict.fromkeys(SAFETENSORS, schema.BYTES)

    @site.api.post(
        "/v1/predict",
        tags=["model"],
        response_model=schema.PredictionsAnswer,
        responses=schema.refusals(400, 408, 413, 415, 422, 503),
        openapi_extra=schema.body(**{JSON: schema.QUESTION}, **kinds),
    )
    async def predict(
        request: Request,
        explain: Annotated[bool, Query(description="Of safetensors: measure evidence.")] = False,
    ) -> Response:
        """Name the emotions of samples of features: JSON, or safetensors."""
        limits = service.limits
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, *SAFETENSORS):
            raise RequestError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"a body of type {kind[:100]!r}",
                expected=f"Content-Type: {JSON}, or {SAFETENSORS[0]}",
            )
        with service.model.on_its_way():
            body = await read_body(
                request, most=limits.body, fix="send fewer samples, in several requests"
            )
            # what JSON becomes is many times as large, until it is an array
            async with service.reading:
                if kind == JSON:
                    question = await asyncio.to_thread(read_json_question, body, limits)
                else:
                    question = await asyncio.to_thread(read_tensor_question, body, explain, limits)
            del body
            asking = asyncio.ensure_future(service.model.ask(question))
        predictions = await _unless_gone(request, asking)
        for prediction in predictions:
            outcome = "failed" if "error" in prediction else "predicted"
            service.metrics.samples.labels(outcome).inc()
        return as_json({"predictions": predictions})


async def _unless_gone(request: Request, asking: "asyncio.Future[Answers]") -> Answers:
    """Return what is awaited; where the client goes away before, it is cancelled.

    Raises:
        ClientDisconnect: it went away.
    """
    gone = asyncio.ensure_future(_gone(request))
    awaited: set[asyncio.Future[Any]] = {asking, gone}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            raise ClientDisconnect
        return await asking
    finally:
        gone.cancel()
        asking.cancel()


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_videos(site: Site, service: Service) -> None:
    @site.api.post(
        "/v1/videos",
        tags=["videos"],
        status_code=202,
        response_model=schema.VideoAnswer,
        responses=schema.refusals(408, 409, 413, 422, 503, 507),
        openapi_extra=schema.body(**{UNKNOWN: schema.BYTES, "video/*": schema.BYTES}),
    )
    async def upload(
        request: Request,
        name: Annotated[
            str | None, Query(description="What the video is called, such as clip.mp4.")
        ] = None,
    ) -> Response:
        """Take a video: its bytes are the body. What becomes of it is told at its address."""
        videos = service.videos
        called = shown_name(name)
        with videos.admitted():
            file = videos.place_for(called)
            parts = body_parts(
                request,
                most=service.limits.upload,
                fix="cut it, or start the service with a larger --max-upload",
            )
            size = await store(parts, file)
            service.metrics.upload_bytes.inc(size)
            job = videos.add(called, file)
        told = videos.to_json(job)
        return as_json(told, HTTPStatus.ACCEPTED, headers={"Location": job.links()["self"]})

    @site.api.get(
        "/v1/videos",
        tags=["videos"],
        response_model=schema.VideosAnswer,
        responses=schema.refusals(409),
    )
    async def all_videos() -> Response:
        """All videos that wait, are worked at, or are kept."""
        if service.no_videos is not None:
            return as_json({"videos": []})
        videos = service.videos
        return as_json({"videos": [videos.to_json(job) for job in videos.all()]})

    @site.api.get(
        "/v1/videos/{job_id}",
        tags=["videos"],
        response_model=schema.VideoAnswer,
        responses=schema.refusals(404, 409),
    )
    async def one(job_id: JobId) -> Response:
        """How far a video is."""
        return as_json(service.videos.to_json(_job(service, job_id)))

    @site.api.delete(
        "/v1/videos/{job_id}",
        tags=["videos"],
        status_code=204,
        response_class=Response,
        responses=schema.refusals(404, 409),
    )
    async def remove(job_id: JobId) -> Response:
        """Cancel a video, and remove all that there is of it."""
        service.videos.remove(_job(service, job_id))
        return Response(status_code=204)

    @site.api.get(
        "/v1/videos/{job_id}/events",
        tags=["videos"],
        response_class=Response,
        responses=schema.refusals(404, 409),
    )
    async def events(job_id: JobId) -> Response:
        """How far a video is, as events named progress, until it has ended."""
        told = _events(service.videos, _job(service, job_id))
        return StreamingResponse(told, media_type="text/event-stream")

    @site.api.get(
        "/v1/videos/{job_id}/media",
        tags=["videos"],
        response_class=Response,
        responses=schema.refusals(404, 409),
    )
    async def media(job_id: JobId) -> Response:
        """The video itself, also in parts."""
        job = _job(service, job_id)
        if not job.file.is_file():
            raise not_there(f"{job.name!r} is not kept")
        return FileResponse(job.file, media_type=KINDS.get(ending_of(job.name), UNKNOWN))

    @site.api.get(
        "/v1/videos/{job_id}/timeline.{form}",
        tags=["videos"],
        response_class=Response,
        responses=schema.refusals(404, 409, 422),
    )
    async def timeline(
        job_id: JobId,
        form: Annotated[str, InPath(description="json, csv, srt or html")],
        threshold: Annotated[
            list[str] | None,
            Query(description="LABEL:NUMBER decides anew, such as happy:0.3. May be repeated."),
        ] = None,
    ) -> Response:
        """What was found in a video, as a file."""
        job, found = _done(service, job_id)
        chosen = [known for known in FORMS if known == form]
        if not chosen:
            raise not_there(f"a timeline as {form[:50]!r}", f"one of {', '.join(FORMS)}")
        if threshold:
            found = found.decided_by(_thresholds(threshold))
        text = await asyncio.to_thread(_file, found, chosen[0], job.name)
        name = f"{PurePosixPath(job.name).stem}.{form}"
        headers = {"Content-Disposition": attachment(name)}
        return Response(text, media_type=FORM_TYPES[form], headers=headers)


JobId = Annotated[str, InPath(description="The id that the answer to the upload told.")]


def _job(service: Service, job_id: str) -> Job:
    """Return a job.

    Raises:
        RequestError: there is none, or none any more.
    """
    job = service.videos.find(job_id)
    if job is None:
        raise not_there(
            f"no video {job_id[:100]!r}", "upload it again; videos are kept for a while"
        )
    return job


def _done(service: Service, job_id: str) -> tuple[Job, Timeline]:
    """Return a job and its timeline.

    Raises:
        RequestError: there is none, or not yet.
    """
    job = _job(service, job_id)
    if job.timeline is None or job.status != "done":
        raise RequestError(
            HTTPStatus.CONFLICT,
            f"{job.name!r} is {job.status}",
            expected="one that is done",
            fix=f"ask {job.links()['self']} how far it is",
        )
    return job, job.timeline


async def _events(videos: Videos, job: Job) -> AsyncIterator[str]:
    """Yield how far a video is whenever that changes, and at last how it ended."""
    loop = asyncio.get_running_loop()
    last = ""
    said_at = loop.time()
    while True:
        # what is told must not be older than what ends the loop
        has_ended = job.has_ended
        told = json.dumps(videos.to_json(job))
        if told != last:
            yield f"event: progress\ndata: {told}\n\n"
            last = told
            said_at = loop.time()
        elif loop.time() - said_at > SIGN_OF_LIFE:
            yield ": still there\n\n"
            said_at = loop.time()
        if has_ended:
            return
        await asyncio.sleep(BETWEEN_LOOKS)


def _thresholds(given: list[str]) -> dict[str, float]:
    """Return label -> threshold.

    Raises:
        RequestError: it is of another form.
    """
    found = {}
    for pair in given:
        label, _, number = pair.rpartition(":")
        try:
            found[label] = float(number)
        except ValueError as error:
            raise RequestError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"threshold={pair[:100]}",
                expected="LABEL:NUMBER, such as happy:0.31",
            ) from error
    return found


def _file(timeline: Timeline, form: TimelineForm, name: str) -> bytes:
    """Return what a file of a timeline holds, as the command line writes it.

    Its page shows the video by its name, where that lies beside the file.
    """
    if form == "html":
        text = timeline_page(timeline, quote(name, safe="")).to_html()
    else:
        text = timeline_text(timeline, form, Path())
    return text.encode("utf-8")


def as_json(
    value: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return an answer of JSON; what is no Unicode is escaped."""
    text = json.dumps(value, allow_nan=False)
    return Response(text, status, headers, media_type=JSON)
