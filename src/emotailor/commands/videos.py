"""Predictions on videos as files: one file, or a folder for many that can be gone on with."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from emotailor.data.readers.media import media_of
from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.extraction.find import Found, find_videos, is_medium
from emotailor.extraction.stored import recording_key
from emotailor.extraction.workers import none_at_all
from emotailor.files import remove_file, replacing_file, sha256_of, write_json
from emotailor.folders import FolderKind, has_format
from emotailor.inputs import not_a_file
from emotailor.report.timelines import (
    FORMS,
    INDEX,
    LINES,
    TABLE,
    Listed,
    TimelineForm,
    timeline_text,
    write_index,
    write_timeline,
)
from emotailor.runs.outputs import check_out_file
from emotailor.runs.timelines import render_timeline
from emotailor.runs.videos import VideoJob, predict_videos
from emotailor.serving.timeline import Timeline
from emotailor.text import encodable, visible
from emotailor.verified import read_json

JOB = "timelines.json"
FORMAT = "emotailor-timelines"
LONGEST_NAME = 220
"""Bytes of a name to which an ending, and that of a file on its way, can be added everywhere."""

FOLDER = FolderKind(
    name="folder of timelines",
    marker=JOB,
    recognises=has_format(FORMAT),
    writes=(JOB, INDEX, TABLE, LINES),
    signs=(JOB,),
    error=ConfigError,
)
RESERVED = {Path(name).stem for name in FOLDER.writes}
"""What the files about all videos are called, but for their endings."""


ENDINGS: dict[str, TimelineForm] = {
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".srt": "srt",
    ".html": "html",
}
"""What a file with such a name is to hold."""


@dataclass(frozen=True)
class FolderOutcome:
    """What came of a folder of videos.

    Attributes:
        predicted: names of the videos that are predicted now.
        reused: names of those that an earlier call had predicted.
        failures: name of a video -> why it could not be predicted.
        lacks: name of a video with a timeline in which nothing is predicted -> why.
        files: the files about all of them together.
    """

    predicted: Sequence[str]
    reused: Sequence[str]
    failures: Mapping[str, EmotailorError]
    lacks: Mapping[str, EmotailorError] = field(default_factory=dict)
    files: Sequence[Path] = field(default_factory=tuple)


def holds_videos(path: Path) -> bool:
    """Whether a path is a video or a sound, or a folder with some and nothing that is ours."""
    if not path.is_dir():
        return is_medium(path)
    if _is_ours(path):
        return False
    try:
        return bool(find_videos(path))
    except DataError:
        return False


def named_model(
    first: Path | None, rest: Sequence[Path], *, has_text: bool
) -> tuple[Path | None, list[Path]]:
    """Return the model that a command line names, if it names one, and what is to be predicted.

    Args:
        first: what stands first.
        rest: what stands behind it.
        has_text: whether texts are given to predict.

    Raises:
        DataError: there is one path alone, and it is neither.
    """
    if first is None:
        return None, []
    # who begins with a video leaves the model out
    if not has_text and holds_videos(first):
        return None, [first, *rest]
    if not has_text and not rest and first.exists() and not _is_ours(first):
        what = "a folder without videos" if first.is_dir() else media_of(first) or "no video"
        raise DataError(
            f"{first} is {what}",
            expected="a video, a folder of videos, or a model and behind it what to predict",
            fix="`emotailor predict --help` lists what there is",
        )
    return first, list(rest)


def are_videos(paths: Sequence[Path]) -> bool:
    """Whether all of some paths are videos, sounds, or folders of them."""
    return bool(paths) and all(holds_videos(path) for path in paths)


def videos_at(paths: Sequence[Path]) -> list[Found]:
    """Return the videos at several paths; of two with one name, the second gets a number.

    Raises:
        DataError: there is none at one of them.
    """
    found: dict[str, Found] = {}
    for path in paths:
        for video in find_videos(path):
            name = video.name
            number = 1
            while name in found:
                number += 1
                name = f"{video.name} ({number})"
            found[name] = Found(name, video.path)
    return list(found.values())


def _is_ours(path: Path) -> bool:
    """Whether a path is a data set, a run or a model."""
    if path.suffix.lower() == ".onnx":
        return True
    return any((path / name).exists() for name in ("dataset.json", "config.json", "model.json"))


def predict_to_folder(
    job: VideoJob,
    folder: Path,
    forms: Collection[TimelineForm] = FORMS,
    console: Console | None = None,
) -> FolderOutcome:
    """Predict videos, and write the files of each as soon as it is ready.

    A call that was stopped or killed is gone on with by the same call: a video whose content,
    model and settings are those of before is not predicted again.

    Args:
        job: what to do.
        folder: where to put the files.
        forms: what is written for each video, beside its JSON.
        console: where to show how far it is.

    Raises:
        ConfigError: the folder holds something else.
        EmotailorError: no video could be predicted.
    """
    FOLDER.check(folder)
    FOLDER.mark(folder, _Kept.content({}))
    kept = _Kept(folder)
    keys = {}
    waiting = []
    reused = []
    failures: dict[str, EmotailorError] = {}
    for video in job.videos:
        refused = _unwritable(video)
        if refused is not None:
            failures[video.name] = refused
            continue
        keys[video.name] = _key(job, video)
        if kept.has(video.name, keys[video.name], forms):
            reused.append(video.name)
        else:
            waiting.append(video)

    predicted = []
    for video, timeline in _timelines(job.of(waiting), console, failures):
        write_timeline(timeline, folder, video.name, forms)
        kept.add(video.name, keys[video.name], forms)
        predicted.append(video.name)

    for name in failures:
        kept.forget(name)
    if failures and not predicted and not reused:
        raise none_at_all(failures)
    listed = [_listed(video, forms, failures) for video in job.videos]
    index = write_index(folder, listed)
    lacks = {name: _lack(lack) for name, lack in index.lacks.items()}
    return FolderOutcome(predicted, reused, failures, lacks, index.files)


class _Kept:
    """Which videos have their files, and of what these were made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / JOB
        self._videos: dict[str, Any] = {}
        if self._file.exists():
            content = read_json(self._file, fix="remove it: the videos are predicted again")
            self._videos = dict(content.get("videos", {}))

    def has(self, name: str, key: str, forms: Collection[TimelineForm]) -> bool:
        """Whether the files of a video are there, made of the same."""
        told = self._videos.get(encodable(name), {})
        there = set(told.get("forms", ()))
        if not key or told.get("key") != key or not there.issuperset(forms):
            return False
        return all((self._folder / f"{name}.{form}").exists() for form in {*forms, "json"})

    @staticmethod
    def content(videos: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the file of a folder holds."""
        # whichever is ready first, the file is the same in the end
        by_name = dict(sorted(videos.items()))
        return {"format": FORMAT, "schema_version": 1, "videos": by_name}

    def add(self, name: str, key: str, forms: Collection[TimelineForm]) -> None:
        """Note that the files of a video are there."""
        self._videos[encodable(name)] = {"key": key, "forms": sorted(forms)}
        write_json(self._file, self.content(self._videos))

    def forget(self, name: str) -> None:
        """Remove the files of a video that now fails: they are of what it was before."""
        told = self._videos.pop(encodable(name), None)
        if told is None:
            return

        write_json(self._file, self.content(self._videos))
        for form in {*told.get("forms", ()), "json"}:
            remove_file(self._folder / f"{name}.{form}")


def _unwritable(video: Found) -> EmotailorError | None:
    """Return why a video cannot have files in the folder; None where it can."""
    if video.name in RESERVED:
        return DataError(
            f"its files would be called as those about all videos, {video.name}.*",
            expected="another name",
            fix="rename the video",
        )
    size = len(os.fsencode(video.name.rsplit("/", 1)[-1]))
    if size > LONGEST_NAME:
        return DataError(
            f"its name has {size} bytes",
            expected=f"at most {LONGEST_NAME}, which leaves room for the endings of its files",
            fix="rename the video",
        )
    return None


def _key(job: VideoJob, video: Found) -> str:
    """Return 16 digits over a video and all that its prediction depends on; none of no file."""
    # a pipe would never end
    if not_a_file(video.path) is not None:
        return ""
    content = sha256_of(video.path)
    return recording_key(content, job.told(video))


def _lack(why: str) -> EmotailorError:
    """Return the error that nothing is predicted in a video which has a timeline."""
    return DataError(
        f"nothing is predicted: {why}",
        expected="what the model was trained on",
        fix="--transcripts FILE gives the words where they are known; a model that looks and "
        "listens comes of labelled videos: `emotailor extract --help`",
    )


def _listed(
    video: Found, forms: Collection[TimelineForm], failures: Mapping[str, EmotailorError]
) -> Listed:
    error = failures.get(video.name)
    return Listed(video.name, forms, "" if error is None else error.found)


# ---------------------------------------------------------------------- one place for all


def print_videos(
    job: VideoJob, form: TimelineForm | None, console: Console, errors: Console
) -> dict[str, EmotailorError]:
    """Print the timeline of each video as soon as it is ready.

    Returns:
        Name of a video without predictions -> why; it may have a timeline all the same.

    Args:
        job: what to do.
        form: what to print; None for what a reader likes.
        console: to print on.
        errors: where to show how far it is.

    Raises:
        ConfigError: a form for one video is asked for, and there are more.
        EmotailorError: no video could be predicted.
    """
    _check_one(job, form)

    def emit(text: str) -> None:
        print(visible(text), end="", file=console.file)

    printed = 0
    failures: dict[str, EmotailorError] = {}
    lacks: dict[str, EmotailorError] = {}
    for video, timeline in _timelines(job, errors, failures):
        if form is None:
            console.print(render_timeline(timeline))
        else:
            emit(timeline_text(timeline, form, Path(), header=not printed))
        printed += 1
        if timeline.lack:
            lacks[video.name] = _lack(timeline.lack)
    if not printed:
        raise none_at_all(failures)
    return failures | lacks


def write_videos(
    job: VideoJob, file: Path, console: Console, *, overwrite: bool
) -> dict[str, EmotailorError]:
    """Write the timelines of all videos into one file.

    Returns:
        Name of a video without predictions -> why; it may have a timeline all the same.

    Args:
        job: what to do.
        file: where to; its ending says what is written.
        console: where to show how far it is.
        overwrite: replace a file that is there.

    Raises:
        ConfigError: there is a file already, or its form is for one video and there are more.
        EmotailorError: no video could be predicted.
    """
    form = ENDINGS[file.suffix.lower()]
    _check_one(job, form)
    check_out_file(file, [video.path for video in job.videos], overwrite=overwrite)

    failures: dict[str, EmotailorError] = {}
    lacks: dict[str, EmotailorError] = {}
    with (
        replacing_file(file) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as opened,
    ):
        written = 0
        for video, timeline in _timelines(job, console, failures):
            opened.write(timeline_text(timeline, form, file.parent, header=not written))
            written += 1
            if timeline.lack:
                lacks[video.name] = _lack(timeline.lack)
        if not written:
            raise none_at_all(failures)
    return failures | lacks


def _timelines(
    job: VideoJob, console: Console | None, failures: dict[str, EmotailorError]
) -> Iterator[tuple[Found, Timeline]]:
    """Yield timelines as they are ready; why other videos have none goes to ``failures``."""
    for done in predict_videos(job, console):
        if done.error is not None:
            failures[done.task.name] = done.error
        elif done.result is not None:
            yield done.task, done.result


def _check_one(job: VideoJob, form: TimelineForm | None) -> None:
    """Refuse several videos in a form that is about one.

    Raises:
        ConfigError: it is so.
    """
    if form in ("srt", "html") and len(job.videos) > 1:
        raise ConfigError(
            f"{form.upper()} of {len(job.videos)} videos",
            expected="one video",
            fix="write a folder: --out FOLDER makes the files of each",
        )
