"""Faces of real pictures, and what the native library must not do."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8

from emotailor.errors import ConfigError, ModelError
from emotailor.extraction.base import Picture, Timed
from emotailor.extraction.config import PictureConfig
from emotailor.extraction.face import (
    BLENDSHAPES,
    COLUMNS,
    POSE,
    FaceFollower,
    face_extraction,
    head_angles,
)
from emotailor.extraction.face_model import SHA256, FaceModel, find_face_model
from emotailor.extraction.face_tracks import SeenFace

pytest.importorskip("mediapipe")
av = pytest.importorskip("av")

Pixels = UInt8[np.ndarray, "height width 3"]


@pytest.fixture(scope="module")
def clips(shared_data: Path) -> Path:
    return shared_data / "mosei_clips"


@pytest.fixture(scope="module")
def model(shared_data: Path) -> FaceModel:
    return find_face_model(shared_data.parent / "models" / "face_landmarker.task")


def pictures(clip: Path, start: float, count: int, rate: float = 10.0) -> Iterator[Picture]:
    """Pictures of a clip, by the first frame at or after each time."""
    due = start
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            if frame.time < due - 1e-6:
                continue
            yield Picture(frame.time, frame.to_ndarray(format="rgb24"))
            due += 1 / rate
            if due > start + (count - 0.5) / rate:
                return


def watch(model: FaceModel, shown: Iterator[Picture] | list[Picture]) -> Timed:
    with FaceFollower(model, PictureConfig()) as follower:
        for picture in shown:
            follower.look(picture)
        return follower.result()


@pytest.fixture(scope="module")
def portrait(clips: Path) -> Pixels:
    """A speaker at the right of the picture, two seconds into a clip."""
    (picture,) = pictures(clips / "-3nNcZdcdvU.mp4", 2.0, 1)
    return picture.pixels


def test_a_real_clip(model: FaceModel, clips: Path) -> None:
    # it begins with .8 seconds of a title, and OpenFace sees the face from .87 on
    shown = list(pictures(clips / "-Eqdz5y4pEY.mp4", 0.0, 25))
    face = watch(model, shown)
    assert face.names == COLUMNS and face.values.shape == (len(face.intervals), 58)
    assert face.values.dtype == np.float32
    assert 16 <= len(face.values) <= 18
    assert face.intervals[0, 0] == pytest.approx(0.8, abs=0.1)
    np.testing.assert_allclose(np.diff(face.intervals, axis=1), 0.1)
    # whole pictures, so at the times of the video: 29.97 a second
    times = face.intervals[:, 0] * 30_000 / 1_001
    np.testing.assert_allclose(times, times.round(), atol=0.1)

    shapes = face.values[:, : len(BLENDSHAPES)]
    assert shapes.min() >= 0 and shapes.max() <= 1
    assert 0.6 < face.column("x").mean() < 0.72 and 0.4 < face.column("y").mean() < 0.55
    assert 0.25 < face.column("size").mean() < 0.4
    seen = len(face.values)
    assert face.notes == (
        f"one face was seen in {100 * seen // 25} % of the pictures ({seen} of 25)",
    )


def test_a_picture_that_stands_is_searched_once(
    model: FaceModel, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0.0, 0.1, 0.2, 0.3]
    standing = [portrait, portrait, np.zeros_like(portrait), portrait]
    searched: list[int] = []
    with FaceFollower(model, PictureConfig()) as follower:
        search = follower._search

        def counted(pixels: Pixels) -> list[SeenFace]:
            searched.append(id(pixels))
            return search(pixels)

        monkeypatch.setattr(follower, "_search", counted)
        for time, pixels in zip(times, standing, strict=True):
            follower.look(Picture(time, pixels))
        found = follower.result()
    assert searched == [id(standing[i]) for i in (0, 2, 3)]

    each = [Picture(time, pixels.copy()) for time, pixels in zip(times, standing, strict=True)]
    expected = watch(model, each)
    assert len(expected.values) == 3
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.intervals, expected.intervals)


def test_turned_and_mirrored(model: FaceModel, portrait: Pixels) -> None:
    from scipy.ndimage import rotate

    tilted = rotate(portrait, 20, reshape=False, order=1, mode="nearest")
    # two seconds apart: three shots
    shown = [portrait, np.ascontiguousarray(portrait[:, ::-1]), tilted]
    face = watch(model, [Picture(3.0 * i, pixels) for i, pixels in enumerate(shown)])
    plain, mirrored, turned = face.values
    assert len(BLENDSHAPES) == 52 and POSE == ("yaw", "pitch", "roll", "x", "y", "size")

    # yaw, pitch and roll of both sides differ by at most 3 degrees
    np.testing.assert_allclose(mirrored[52:55], plain[52:55] * (-1, 1, -1), atol=3)
    np.testing.assert_allclose(mirrored[55:], (1 - plain[55], *plain[56:]), atol=0.02)
    assert turned[54] - plain[54] == pytest.approx(20, abs=4)


def test_angles_by_hand() -> None:
    def matrix(axis: int, degrees: float) -> np.ndarray:
        """A rotation by the right-hand rule, of something three times as large."""
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(4)
        turn[[a, a, b, b], [a, b, a, b]] = (cos, -sin, sin, cos)
        turn[:3, :3] *= 3
        return turn

    assert head_angles(np.eye(4)) == (0, 0, 0)
    # about the axis that points up, the right, and to the camera
    np.testing.assert_allclose(head_angles(matrix(1, 31)), (31, 0, 0), atol=1e-9)
    np.testing.assert_allclose(head_angles(matrix(0, -17)), (0, 17, 0), atol=1e-9)
    np.testing.assert_allclose(head_angles(matrix(2, 11)), (0, 0, 11), atol=1e-9)
    together = matrix(1, 31) @ matrix(0, -17) @ matrix(2, 11)
    np.testing.assert_allclose(head_angles(together), (31, 17, 11), atol=1e-9)


def test_two_faces_change_places_in_the_list(model: FaceModel, portrait: Pixels) -> None:
    # one above the other, the lower one smaller
    face = portrait[:150, 120:290]
    small = np.full_like(face, 128)
    small[:120, :136] = face[(np.arange(120) * 1.25).astype(int)][
        :, (np.arange(136) * 1.25).astype(int)
    ]
    both = np.concatenate([face, small])
    seen = watch(model, [Picture(i / 10, both) for i in range(5)])
    assert len(seen.values) == 5 and seen.column("y").max() < 0.5
    assert seen.notes[0].startswith("2 faces at a time; the larger one was followed")


def test_small_faces_of_a_wide_picture(model: FaceModel, portrait: Pixels) -> None:
    # a face of a tenth of the width, which is too small for the picture as a whole
    from PIL import Image

    (large,) = watch(model, [Picture(0.0, portrait)]).values
    half = np.asarray(Image.fromarray(portrait[:160, 110:290]).resize((90, 80)))
    places = {"left": [20], "middle": [95], "right": [220], "both": [20, 220]}
    for name, lefts in places.items():
        wide = np.full((180, 320, 3), 90, np.uint8)
        for left in lefts:
            wide[60:140, left : left + 90] = half
        face = watch(model, [Picture(0.0, wide)])
        assert len(face.values) == 1, name
        assert face.notes[0].startswith("2 faces" if name == "both" else "one face"), name

        # in pixels: where it was in the portrait, half as large
        small = face.values[0]
        x = (large[55] * 320 - 110) / 2 + lefts[0]
        y = large[56] * 240 / 2 + 60
        assert name == "both" or small[55] * 320 == pytest.approx(x, abs=3)
        assert small[56] * 180 == pytest.approx(y, abs=3)
        assert small[57] * 180 == pytest.approx(large[57] * 240 / 2, abs=4)
        np.testing.assert_allclose(small[52:55], large[52:55], atol=9)

    # higher than wide
    high = np.full((320, 180, 3), 90, np.uint8)
    high[220:300, 40:130] = half
    assert watch(model, [Picture(0.0, high)]).column("y")[0] > 0.7


def test_no_face_is_no_row(model: FaceModel) -> None:
    grey = np.full((48, 64, 3), 120, np.uint8)
    for count in (0, 3):
        face = watch(model, [Picture(i / 10, grey) for i in range(count)])
        assert face.values.shape == (0, 58) and face.intervals.shape == (0, 2)
        assert face.notes == (f"no face was seen in {count} pictures",)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (1, 4000), (2000, 5)])
def test_pictures_of_odd_sizes(model: FaceModel, shape: tuple[int, int]) -> None:
    picture = Picture(0.0, np.zeros((*shape, 3), np.uint8))
    assert len(watch(model, [picture]).values) == 0


def test_every_picture_by_itself(model: FaceModel, portrait: Pixels) -> None:
    # what was seen before, and another run, change nothing
    bright = np.clip(portrait.astype(int) + 40, 0, 255).astype(np.uint8)
    alone = watch(model, [Picture(0.0, portrait)])
    after = watch(model, [Picture(0.0, bright), Picture(0.1, portrait)])
    np.testing.assert_array_equal(alone.values[0], after.values[1])


def test_what_the_features_depend_on(model: FaceModel) -> None:
    told = face_extraction(model, PictureConfig())
    assert told.extractor == "MediaPipe FaceLandmarker blendshapes"
    assert told.version.startswith("0.10.") and told.sha256 == SHA256
    assert told.settings["columns"] == list(COLUMNS)
    assert told.settings["per_second"] == 10.0 and told.settings["most_faces"] == 4
    slower = face_extraction(model, PictureConfig(per_second=5.0))
    assert not told.makes_the_same_as(slower)
    other = FaceModel(model.path, b"", "0" * 64)
    assert not told.makes_the_same_as(face_extraction(other, PictureConfig()))


@pytest.mark.parametrize("content", [b"", b"no model" * 100, None])
def test_a_file_that_is_no_model(model: FaceModel, content: bytes | None) -> None:
    if content is None:
        content = model.content[:3_000_000]
    wrong = FaceModel(Path("wrong.task"), content, "0" * 64)
    with pytest.raises(ModelError, match=r"wrong\.task is no face landmarker"):
        watch(wrong, [])


def test_without_the_package(model: FaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ConfigError, match=r"pip install .emotailor\[video\]."):
        FaceFollower(model, PictureConfig())


PROGRAM = """
import os, sys
from pathlib import Path
import numpy as np
from emotailor.extraction.base import Picture
from emotailor.extraction.config import PictureConfig
from emotailor.extraction.face import FaceFollower
from emotailor.extraction.face_model import find_face_model
from emotailor.extraction.noise import without_native_logs

pixels = np.load(sys.argv[2])
with FaceFollower(find_face_model(Path(sys.argv[1])), PictureConfig()) as follower:
    follower.look(Picture(0.0, pixels))
print(len(follower.result().values))

heavy = {"matplotlib", "sounddevice", "cv2", "torch", "tensorflow", "jax"}
print(sorted(heavy & set(sys.modules)))

with without_native_logs():
    os.write(2, b"W0000 00:00:1795829212.016993   26031 x.cc:1] a log\\nmine\\n")
"""


def run(model: FaceModel, portrait: Pixels, folder: Path, *before: str) -> Any:
    """Run the program in a process of its own, after a command such as strace."""
    np.save(folder / "portrait.npy", portrait)
    command = [*before, sys.executable, "-W", "error", "-c", PROGRAM]
    command += [str(model.path), str(folder / "portrait.npy")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_nothing_is_printed_and_no_connection_opened(
    model: FaceModel, portrait: Pixels, tmp_path: Path
) -> None:
    # native code is seen, too; a block in Python would miss it
    calls = tmp_path / "calls"
    traced = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(calls)]
    works = (
        shutil.which("strace") and subprocess.run([*traced, "true"], check=False).returncode == 0
    )
    done = run(model, portrait, tmp_path, *traced) if works else run(model, portrait, tmp_path)

    # lines that are not of native logs are passed on
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n[]\n", "mine\n")
    if not works:
        pytest.skip("strace is not there, or may not trace: connections were not looked for")
    lines = calls.read_text().splitlines()
    assert [line for line in lines if "AF_INET" in line or "AF_NETLINK" in line] == []
