"""Predicting videos: features are extracted in other processes while the model is loaded here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from emotailor.cores import shared_cores
from emotailor.data.cutting import MaxSteps
from emotailor.encoders.base import TextEncoder
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.extraction.base import Recording
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.find import Found
from emotailor.extraction.recording import Extractor, Task, extract_task
from emotailor.extraction.workers import Done, Workers
from emotailor.files import sha256_of
from emotailor.serving.timeline import Timeline
from emotailor.shipped.find import meant_by
from emotailor.watch import Watch

if TYPE_CHECKING:
    from emotailor.serving.samples import SamplePredictor
    from emotailor.serving.video import VideoPredictor


@dataclass(frozen=True)
class VideoJob:
    """Videos to predict.

    Attributes:
        model: run folder or model folder; None for the model that ships.
        videos: the videos.
        config: what is extracted of them, and how; whether word by word is what the model needs.
        transcripts: name of a video -> file with what is said in it; others are recognised.
        face_model: file of the face landmarker; None for the usual place.
        encoder: makes features of words; None for that of the model's training data.
        thresholds: which decide; None for those tuned on validation data.
        explain: whether to measure evidence.
        max_steps: what to cut long utterances to.
        processes: how many videos at a time; None for one each core.
        device: device to compute on.
    """

    model: Path | None
    videos: Sequence[Found]
    config: ExtractionConfig = field(default_factory=ExtractionConfig)
    transcripts: Mapping[str, Path] = field(default_factory=dict)
    face_model: Path | None = None
    encoder: str | Path | TextEncoder | None = None
    thresholds: ThresholdMode | None = None
    explain: bool = True
    max_steps: MaxSteps | None = None
    processes: int | None = None
    device: str = "auto"

    def of(self, videos: Sequence[Found]) -> "VideoJob":
        """Return the same job for other videos."""
        return replace(self, videos=videos)

    @cached_property
    def extractor(self) -> tuple[Extractor, list[str]]:
        """What extracts, and what to note of its recordings."""
        return Extractor.with_what_is_there(self.config, self.face_model)

    def task(self, video: Found, threads: int | None = None) -> Task:
        """Return what another process is told of a video.

        Args:
            video: to extract.
            threads: of the processor for it; None for as many as there are.

        Raises:
            ConfigError: its words have to be recognised, and nothing here can.
        """
        extractor = self.extractor[0]
        transcript = self.transcripts.get(video.name)
        if transcript is None:
            extractor.check_recogniser()
        return Task(video, extractor.config, transcript, self.face_model, threads)

    def predicting(self, predictor: "SamplePredictor") -> "VideoPredictor":
        """Return what makes timelines of recordings.

        Raises:
            ModelError: the model takes other features than those of videos.
            ConfigError: a library or a model is not there.
        """
        from emotailor.serving.video import VideoPredictor

        return VideoPredictor(predictor, self.extractor[0].extractions, self.encoder)

    def timeline(self, predicting: "VideoPredictor", name: str, recording: Recording) -> Timeline:
        """Return the timeline of a recording.

        Args:
            predicting: what :meth:`predicting` returned.
            name: of the video.
            recording: what was extracted of it.
        """
        return predicting.timeline(
            name,
            recording.noting(self.extractor[1]),
            explain=self.explain,
            max_steps=self.max_steps,
        )

    def told(self, video: Found) -> dict[str, Any]:
        """Return everything that the prediction of a video depends on, beside the video.

        Raises:
            ModelError: there is no model.
            ConfigError: a library or a model is not there.
        """
        from emotailor.export.onnx_file import is_onnx
        from emotailor.training.model_folder import CARD_FILE, find_model_folder

        transcript = self.transcripts.get(video.name)
        extractor = self.extractor[0]
        if self.model is not None and is_onnx(self.model):
            card = Path(self.model)
        else:
            card = find_model_folder(meant_by(self.model)) / CARD_FILE
        return {
            "extraction": extractor.settings(transcript),
            "model": sha256_of(card),
            "encoder": None if self.encoder is None else str(self.encoder),
            "thresholds": self.thresholds,
            "explain": self.explain,
            "max_steps": str(self.max_steps),
        }


def predict_videos(
    job: VideoJob, console: Console | None = None
) -> Iterator[Done[Found, Timeline]]:
    """Yield the timeline of each video or why there is none, in the order in which they are ready.

    Args:
        job: what to do.
        console: where to show how far it is; None for nowhere.

    Raises:
        ModelError: there is no model, or it takes other features than those of videos.
        ConfigError: a library or a model is not there.
    """
    if not job.videos:
        return
    at_once, threads = shared_cores(len(job.videos), job.processes)
    tasks = [job.task(video, threads) for video in job.videos]

    place = console or Console(quiet=True)
    with (
        Watch(
            place, len(tasks), doing="looking and listening", done="predicted", what="video"
        ) as watch,
        Workers(extract_task, tasks, processes=at_once, on_share=watch.reach) as workers,
    ):
        # torch and the model, which take seconds, are loaded while the first videos are decoded
        workers.begin()
        from emotailor.serving.predictor import Predictor

        predictor = Predictor.load(job.model, device=job.device, thresholds=job.thresholds)
        predicting = job.predicting(predictor)

        for done in workers.ended():
            video = done.task.video
            timeline = None
            if done.result is not None:
                timeline = job.timeline(predicting, video.name, done.result)
            yield Done(video, timeline, done.error)
