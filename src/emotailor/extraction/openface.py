"""Action units that OpenFace 2 has found already, in place of a face landmarker's blendshapes."""

from pathlib import Path

import numpy as np

from emotailor.data.readers.timed.frame_files import read_frames
from emotailor.errors import DataError
from emotailor.extraction.base import Timed


def read_openface(path: Path) -> Timed:
    """Read the table that OpenFace's FeatureExtraction writes for a video.

    A row lasts until the next frame. Frames without a face (success 0, or confidence below .5) have
    no row. Of several faces the one counts that is found in most frames.

    Args:
        path: the table; a header names its columns, in any order.

    Returns:
        One column for each that is a feature, such as ``AU12_r`` (intensity from 0 to 5) and
        ``AU12_c`` (0 or 1).

    Raises:
        DataError: it is missing, damaged, or not from OpenFace.
    """
    frames = read_frames(path)
    if frames.extractor != "OpenFace":
        raise DataError(
            f"{path} is not from OpenFace: no column says in which frames there is a face",
            expected="a table with the columns timestamp, success, AU01_r, …",
            fix="let OpenFace's FeatureExtraction write it (-aus)",
        )

    track = frames.track
    seen = len(track.features)
    total = seen + frames.failed + frames.timeless
    notes = [f"OpenFace found the face in {seen} of {total} frames"]
    if frames.beside:
        notes.append(f"{frames.beside} rows are of other faces, and left out")
    values = track.features.astype(np.float32)
    return Timed(frames.columns, values, track.intervals, tuple(notes))
