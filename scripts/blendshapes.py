"""What the blendshapes of a face are worth, measured against OpenFace's action units of a video.

Each row of the face is compared with the frame of OpenFace that is nearest in time, where both see
a face. Printed: the correlation of blendshapes (mean of left and right) with the action units that
mean the same, its 95 % interval (pieces of five seconds are drawn anew), and the blendshapes whose
largest value is below .01.

    python scripts/blendshapes.py clip.mp4 clip.openface.csv --face-model face_landmarker.task

It needs ``pip install "emotailor[video]"``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotailor.extraction.base import Picture, Timed
from emotailor.extraction.config import PictureConfig
from emotailor.extraction.face import BLENDSHAPES, FaceFollower
from emotailor.extraction.face_model import find_face_model
from emotailor.extraction.openface import read_openface

PAIRS = (
    ("eyeBlink", "AU45_r", "blink"),
    ("mouthSmile", "AU12_r", "lip corner puller"),
    ("jawOpen", "AU26_r", "jaw drop"),
    ("jawOpen", "AU25_r", "lips part"),
    ("cheekSquint", "AU06_r", "cheek raiser"),
    ("mouthStretch", "AU20_r", "lip stretcher"),
    ("noseSneer", "AU09_r", "nose wrinkler"),
    ("eyeSquint", "AU07_r", "lid tightener"),
    ("mouthUpperUp", "AU10_r", "upper lip raiser"),
    ("mouthPress", "AU23_r", "lip tightener"),
    ("browInnerUp", "AU01_r", "inner brow raiser"),
    ("mouthShrugLower", "AU17_r", "chin raiser"),
    ("eyeWide", "AU05_r", "upper lid raiser"),
    ("browDown", "AU04_r", "brow lowerer"),
    ("browOuterUp", "AU02_r", "outer brow raiser"),
    ("mouthDimple", "AU14_r", "dimpler"),
    ("mouthFrown", "AU15_r", "lip corner depressor"),
)
"""Blendshape without its side, action unit, and the latter's name."""

NEAR = 0.02
"""Seconds by which two moments may differ."""

PIECE = 5.0
"""Seconds that are drawn together: neighbouring frames tell the same."""

DRAWS = 2000
STILL = 0.01


def pictures(clip: Path, per_second: float) -> Iterator[Picture]:
    """Yield the first picture at or after each time."""
    import av

    due = 0.0
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if frame.time < due - 1e-6:
                continue
            yield Picture(frame.time, frame.to_ndarray(format="rgb24"))
            due += 1 / per_second


def both_sides(face: Timed, name: str) -> np.ndarray:
    """Return a blendshape, or the mean of its left and right."""
    sides = [known for known in BLENDSHAPES if known in (name, f"{name}Left", f"{name}Right")]
    return np.mean([face.column(side) for side in sides], axis=0)


def interval(x: np.ndarray, y: np.ndarray, pieces: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a correlation when pieces of the video are drawn anew."""
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(pieces == piece) for piece in np.unique(pieces)]
    drawn = []
    for _ in range(DRAWS):
        chosen = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        drawn.append(np.corrcoef(x[chosen], y[chosen])[0, 1])
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("openface", type=Path)
    parser.add_argument("--face-model", type=Path)
    parser.add_argument("--per-second", type=float, default=10.0)
    given = parser.parse_args()

    config = PictureConfig(per_second=given.per_second)
    with FaceFollower(find_face_model(given.face_model), config) as follower:
        for picture in pictures(given.clip, given.per_second):
            follower.look(picture)
    face = follower.result()
    units = read_openface(given.openface)

    # the frame of OpenFace beside each row
    starts = face.intervals[:, 0]
    apart = np.abs(starts[:, None] - units.intervals[None, :, 0])
    nearest = apart.argmin(axis=1)
    both = apart.min(axis=1) < NEAR
    pieces = (starts[both] // PIECE).astype(int)
    print(*face.notes, *units.notes, f"compared: {both.sum()} moments\n", sep="\n")

    print("| blendshape | action unit | correlation | 95 % |\n|---|---|---|---|")
    for shape, unit, meaning in PAIRS:
        x = both_sides(face, shape)[both]
        y = units.column(unit)[nearest[both]]
        low, high = interval(x, y, pieces)
        told = f"{np.corrcoef(x, y)[0, 1]:.2f} | {low:.2f} to {high:.2f}"
        print(f"| `{shape}` | {unit.removesuffix('_r')} ({meaning}) | {told} |")

    still = [name for name in BLENDSHAPES if face.column(name).max() < STILL]
    print(f"\nnever above {STILL}: {len(still)}: {', '.join(still)}")


if __name__ == "__main__":
    main()
