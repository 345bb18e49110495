"""Extraction of an upload, in a process of its own: nothing else opens it."""

from dataclasses import dataclass

from emotailor.errors import DataError
from emotailor.extraction.base import Recording
from emotailor.extraction.media import open_medium
from emotailor.extraction.recording import Task, extract_task
from emotailor.extraction.workers import Tell


@dataclass(frozen=True)
class UploadTask:
    """An upload to extract.

    Attributes:
        task: what is extracted.
        longest: seconds that it may last.
    """

    task: Task
    longest: float


def extract_upload(given: UploadTask, tell: Tell) -> Recording:
    """Extract an upload that is not too long.

    Raises:
        EmotailorError: it is too long, or cannot be extracted.
    """
    _check(open_medium(given.task.video.path).duration, given.longest)
    recording = extract_task(given.task, tell)
    # not every file says how long it is, and not every one that does is right
    _check(recording.duration, given.longest)
    return recording


def _check(duration: float | None, longest: float) -> None:
    if duration is not None and duration > longest:
        raise DataError(
            f"a video of {duration:,.0f} s",
            expected=f"at most {longest:,.0f} s",
            fix="cut it, or start the service with a larger --max-duration",
        )
