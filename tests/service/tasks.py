"""A task for the process of a video: a light module, since that process imports it."""

import time

from emotailor.extraction.base import Recording
from emotailor.extraction.workers import Tell
from emotailor.service.extracting import UploadTask
from tests.extraction.recordings import recording


def extract(given: UploadTask, tell: Tell) -> Recording:
    """Take the seconds that the bytes of the upload say."""
    path = given.task.video.path
    tell(0.5)
    time.sleep(float(path.read_bytes()))
    return recording(path)
