"""The face of the speaker over time: 52 blendshapes, the head's pose, and where the face is.

MediaPipe's FaceLandmarker looks at each picture by itself (running mode ``IMAGE``). Its mode
``VIDEO`` gives the same numbers for more than one face, and is slower, since it searches anew
whenever there are fewer faces than it may find. For one face it smooths over time, so that a value
would depend on where the video began. :mod:`emotailor.extraction.face_tracks` says which face is
followed.

A face lower than an eighth of the picture's longer side is too small for it. So where no face is
found, the squares that make up the picture are looked at, too.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from emotailor.data.extraction import Extraction
from emotailor.encoders.packages import need, version_of
from emotailor.errors import ModelError
from emotailor.extraction.base import Picture, Timed
from emotailor.extraction.config import PictureConfig
from emotailor.extraction.containers import INSTALL
from emotailor.extraction.face_model import FaceModel
from emotailor.extraction.face_tracks import FaceTracks, SeenFace
from emotailor.extraction.noise import without_native_logs

BLENDSHAPES = (
    "_neutral",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
)
"""Names of the blendshapes, each from 0 to 1; left and right are the person's own."""

POSE = ("yaw", "pitch", "roll", "x", "y", "size")
"""Turned to the picture's right, up, and tilted against the clock, in degrees; the centre of the
face from the picture's left and upper edge, and its height, as shares of the picture."""

COLUMNS = (*BLENDSHAPES, *POSE)
"""Names of all features of a face, in order."""

_JAW = BLENDSHAPES.index("jawOpen")
_LEAST = 1e-6
"""Share of the picture that a face has at least, so that sizes can be compared."""

_OVERLAP = 0.22
"""Share of a square that the next one has, too: a face too small for 16 to 9 fits into it."""

_OBLONG = 1.2
"""Ratio of the sides of a picture from which on its squares show more than the whole."""

_MOST_SQUARES = 4

_FIX = "use the official model: `emotailor data face-model` says where it is expected"


class FaceFollower:
    """Finds the faces of pictures given one by one, and follows the most prominent one.

    To be used in a ``with`` statement, which frees the native model at the end.

    Args:
        model: the face landmarker.
        config: how many faces there may be, and the rate of the pictures.

    Raises:
        ConfigError: MediaPipe is not installed.
        ModelError: the model is damaged or another one, on entering or with the first face.
    """

    def __init__(self, model: FaceModel, config: PictureConfig) -> None:
        self._model = model
        self._config = config
        self._mediapipe = need("mediapipe", "the face in a video", INSTALL)
        self._landmarker: Any = None
        self._tracks = FaceTracks()
        self._times: list[float] = []
        self._searched: UInt8[np.ndarray, "height width 3"] | None = None
        self._found: list[SeenFace] = []

    def __enter__(self) -> "FaceFollower":
        # two of its logs come when it is made, and one may come with the first picture
        with without_native_logs():
            self._landmarker = self._open()
            try:
                self._detect(np.zeros((64, 64, 3), np.uint8))
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def look(self, picture: Picture) -> None:
        """Find the faces of the next picture.

        Args:
            picture: later than the one before.

        Raises:
            ModelError: the model is another one than a face landmarker with blendshapes.
        """
        # one that stands for several samples is searched once
        if picture.pixels is not self._searched:
            self._found = self._search(picture.pixels)
            self._searched = picture.pixels
        self._times.append(picture.time)
        self._tracks.add(picture.time, self._found)

    def result(self) -> Timed:
        """Return the features of the face that was followed, one row per picture that shows it.

        A row lasts from its picture until the next one is due.
        """
        followed = self._tracks.followed()
        starts = np.array(self._times, np.float64)[list(followed.pictures)]
        intervals = np.stack([starts, starts + 1 / self._config.per_second], axis=1)

        values = np.zeros((len(followed.faces), len(COLUMNS)), np.float32)
        for row, face in enumerate(followed.faces):
            values[row] = face.values
        return Timed(COLUMNS, values, intervals, (*self._model.notes, *followed.notes))

    def extraction(self) -> Extraction:
        """Return what the features depend on."""
        return face_extraction(self._model, self._config)

    def _open(self) -> Any:
        tasks = self._mediapipe.tasks
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=self._model.content),
            running_mode=tasks.vision.RunningMode.IMAGE,
            num_faces=self._config.most_faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            return tasks.vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self._model.path} is no face landmarker: {error}",
                expected="MediaPipe's face_landmarker.task",
                fix=_FIX,
            ) from error

    def _close(self) -> None:
        landmarker = self._landmarker
        self._landmarker = None
        # else it is closed when Python ends, and prints a TypeError
        if landmarker is not None:
            landmarker.close()

    def _search(self, pixels: UInt8[np.ndarray, "height width 3"]) -> list[SeenFace]:
        """Return the faces in a picture, or else those in its squares."""
        whole = _faces(self._detect(pixels), _WHOLE)
        if whole:
            return whole

        height, width, _ = pixels.shape
        found: list[tuple[float, SeenFace]] = []
        for left, top, side in _squares(width, height):
            part = _Part(left / width, top / height, side / width, side / height)
            square = pixels[top : top + side, left : left + side]
            faces = _faces(self._detect(square), part)
            found += [(part.off_centre(face), face) for face in faces]
        return _without_twins(found)

    def _detect(self, pixels: UInt8[np.ndarray, "height width 3"]) -> Any:
        mediapipe = self._mediapipe
        image = mediapipe.Image(
            image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels)
        )
        return self._landmarker.detect(image)


def face_extraction(model: FaceModel, config: PictureConfig) -> Extraction:
    """Return what the features of a face depend on.

    Args:
        model: the face landmarker.
        config: how pictures are looked at.
    """
    settings = {"columns": list(COLUMNS), "search": "picture, then squares", **config.model_dump()}
    return Extraction(
        extractor="MediaPipe FaceLandmarker blendshapes",
        version=version_of("mediapipe"),
        settings=settings,
        sha256=model.sha256,
    )


def head_angles(matrix: Float[np.ndarray, "4 4"]) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a head, in degrees.

    Positive: turned to the right of the picture, up, and tilted against the clock, as who looks at
    the picture sees it. A head that faces the camera has 0, 0, 0. Of a head that looks straight up
    or down, yaw and roll are one movement.

    Args:
        matrix: takes a point of a face that looks at the camera to where it is; its axes point to
            the right of the picture, up, and to the camera.
    """
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    # first tilted, then raised, then turned: R = Ry(yaw) Rx(-pitch) Rz(roll)
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    angles: Float64[np.ndarray, "3"] = np.degrees(np.array([yaw, pitch, roll], np.float64))
    return float(angles[0]), float(angles[1]), float(angles[2])


@dataclass(frozen=True)
class _Part:
    """A part of a picture, as shares of the picture."""

    left: float
    top: float
    width: float
    height: float

    def off_centre(self, face: SeenFace) -> float:
        """How far from the middle of the part a face is, in widths and heights of the part."""
        x, y = face.centre
        across = abs(x - self.left - self.width / 2) / self.width
        down = abs(y - self.top - self.height / 2) / self.height
        return max(across, down)


_WHOLE = _Part(0.0, 0.0, 1.0, 1.0)


def _squares(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Yield left, top and side of the squares of an oblong picture."""
    side, long = sorted((width, height))
    if long < _OBLONG * side:
        return
    count = math.ceil((long / side - _OVERLAP) / (1 - _OVERLAP))
    if count > _MOST_SQUARES:  # a stripe
        return

    for i in range(count):
        offset = round(i * (long - side) / (count - 1))
        left, top = (offset, 0) if width > height else (0, offset)
        yield left, top, side


def _without_twins(found: Sequence[tuple[float, SeenFace]]) -> list[SeenFace]:
    """Return each face once, as the square sees it in whose middle it is.

    Args:
        found: each face with its distance from the middle of its square.
    """
    kept: list[SeenFace] = []
    for _, face in sorted(found, key=lambda pair: pair[0]):
        if not any(_is_twin(face, other) for other in kept):
            kept.append(face)
    return kept


def _is_twin(face: SeenFace, other: SeenFace) -> bool:
    across = abs(face.centre[0] - other.centre[0]) / face.width
    down = abs(face.centre[1] - other.centre[1]) / face.height
    return max(across, down) < 0.5


def _faces(found: Any, part: _Part) -> list[SeenFace]:
    """Return the faces of a part of a picture as the landmarker found them."""
    all_of_them = zip(
        found.face_landmarks,
        found.face_blendshapes,
        found.facial_transformation_matrixes,
        strict=True,
    )
    faces = []
    for landmarks, shapes, matrix in all_of_them:
        faces.append(_face(landmarks, shapes, np.array(matrix), part))
    return faces


def _face(
    landmarks: Sequence[Any],
    shapes: Sequence[Any],
    matrix: Float[np.ndarray, "4 4"],
    part: _Part,
) -> SeenFace:
    _check_names(tuple(shape.category_name for shape in shapes))

    across = [part.left + part.width * point.x for point in landmarks]
    down = [part.top + part.height * point.y for point in landmarks]
    left, top = min(across), min(down)
    right = max(*across, left + _LEAST)
    bottom = max(*down, top + _LEAST)

    scores = [shape.score for shape in shapes]
    centre = ((left + right) / 2, (top + bottom) / 2)
    row = (*scores, *head_angles(matrix), *centre, bottom - top)
    values: Float32[np.ndarray, "58"] = np.array(row, np.float32)
    return SeenFace((left, top, right, bottom), scores[_JAW], values)


@functools.cache
def _check_names(names: tuple[str, ...]) -> None:
    """Refuse a model that names its blendshapes in another way.

    Raises:
        ModelError: it does.
    """
    if names != BLENDSHAPES:
        raise ModelError(
            f"the face model gives {len(names)} blendshapes, {', '.join(names[:3])}, …",
            expected=f"the {len(BLENDSHAPES)} of MediaPipe's face_landmarker.task",
            fix=_FIX,
        )
