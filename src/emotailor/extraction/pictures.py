"""Pictures of a video at a steady rate: which one stands at a time, upright and reduced."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import UInt8

from emotailor.extraction.base import Picture
from emotailor.extraction.containers import load_av

_CLOSE = 1e-6
"""Seconds within which two times are the same."""

_MOST_STRETCHED = 8
"""A pixel that is said to be wider or narrower than this is a mistake in the file."""

Pixels = UInt8[np.ndarray, "height width 3"]


class Sampler:
    """Takes frames in order of time, and hands out the one that stands at each sample.

    A frame stands until the next one. Only frames that are handed out are converted.

    Args:
        per_second: samples a second; they are at 0, 1 / per_second, and so on.
        most_pixels: longer side that larger pictures are reduced to.
        pixel_ratio: width of a pixel by its height.
        on_picture: takes each sample.
    """

    def __init__(
        self,
        per_second: float,
        most_pixels: int,
        pixel_ratio: Fraction | None,
        on_picture: Callable[[Picture], None],
    ) -> None:
        self._per_second = per_second
        self._on_picture = on_picture
        self._converter = Converter(most_pixels, pixel_ratio)
        self._next = 0  # number of the next sample
        self._held: Any = None
        self.time = -math.inf  # of the frame that is held
        self.handed = 0

    def take(self, frame: Any, time: float) -> None:
        """Add the next frame, which is shown from a time on."""
        self.show_until(time)
        self._held = frame
        self.time = time

    def show_until(self, end: float) -> None:
        """Hand out the frame that is held for all samples before a time, and let go of it."""
        if self._held is None:
            return
        first = max(first_sample(self.time, self._per_second), self._next)
        last = first_sample(end, self._per_second)

        if first < last:
            pixels = self._converter.upright(self._held)
            for sample in range(first, last):
                self._on_picture(Picture(sample / self._per_second, pixels))
            self.handed += last - first
            self._next = last
        self._held = None


def first_sample(time: float, per_second: float) -> int:
    """Return the number of the first sample that is not before a time."""
    return math.ceil((time - _CLOSE) * per_second)


class Converter:
    """Turns frames of PyAV into upright pixels.

    Args:
        most_pixels: longer side that larger pictures are reduced to.
        pixel_ratio: width of a pixel by its height.
    """

    def __init__(self, most_pixels: int, pixel_ratio: Fraction | None) -> None:
        self._most = most_pixels
        self._ratio = sensible(pixel_ratio)
        self._reformatter = load_av().video.reformatter.VideoReformatter()

    def upright(self, frame: Any) -> Pixels:
        """Return the pixels of a frame as it is shown."""
        shown = shown_size(frame, self._ratio)
        scale = min(1.0, self._most / max(shown))
        width, height = (max(round(scale * side), 1) for side in shown)

        # averages of areas lose nothing of a large picture, where it is reduced
        way = "AREA" if scale < 1 else "BILINEAR"
        small = self._reformatter.reformat(
            frame, width, height, format="rgb24", interpolation=way, threads=1
        )
        return turned(small.to_ndarray(), matrix_of(frame))


def sensible(pixel_ratio: Fraction | None) -> float:
    """Return the ratio of a pixel as a number; 1 where a file does not say, or says nonsense."""
    if pixel_ratio is None or not pixel_ratio:
        return 1.0
    stretched = max(pixel_ratio, 1 / pixel_ratio)
    return float(pixel_ratio) if stretched <= _MOST_STRETCHED else 1.0


def shown_size(frame: Any, ratio: float) -> tuple[int, int]:
    """Return width and height with square pixels, before the picture is turned."""
    return max(round(frame.width * ratio), 1), frame.height


def matrix_of(frame: Any) -> tuple[int, int, int, int]:
    """Return where the display matrix takes a step to the right (x, y), and one down (x, y)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    # three rows of three numbers of 16.16 bits; the last of each row and the last row do not turn
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), dtype=np.int32).tolist()
    return a, b, c, d


def is_turned(matrix: tuple[int, int, int, int]) -> bool:
    """Say whether width and height change places."""
    a, b, _, _ = matrix
    return abs(b) > abs(a)


def turned(
    pixels: Pixels, matrix: tuple[int, int, int, int]
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Turn and mirror a picture as its display matrix says, by whole quarters."""
    # signs of the two steps that are left once the axes are in their places
    a, b, c, d = matrix
    to_right, down = a, d
    if is_turned(matrix):
        pixels = pixels.transpose(1, 0, 2)
        to_right, down = c, b

    if to_right < 0:
        pixels = pixels[:, ::-1]
    if down < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
