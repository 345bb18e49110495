"""The sound of a medium, put at its times into a file that nobody else sees."""

import tempfile
from contextlib import suppress
from typing import Any

import numpy as np
from jaxtyping import Int16

from emotailor.extraction.base import RATE, Sound
from emotailor.extraction.containers import load_av

_TOLERANCE = 0.02
"""Seconds by which a time stamp may be off before it is believed: containers round them. It is less
than a lost block of AAC or MP3 lasts, so that such a loss is silence.
"""

_AUDIBLE = 0.1
"""Seconds of a gap that is worth a word."""


class Spool:
    """Samples in a temporary file without a name, so that a killed process leaves nothing.

    Attributes:
        end: samples so far; what was never written is silence.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the with block
        self.end = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        # closing writes what is left, and a full disk has been told of
        with suppress(OSError):
            self._file.close()

    def write(self, at: int, samples: Int16[np.ndarray, "n"]) -> None:
        """Put samples at a place; what would lie before the end was heard already, and is cut.

        Raises:
            OSError: the disk of temporary files is full.
        """
        heard = max(self.end - at, 0)
        fresh = samples[heard:]
        if not len(fresh):
            return

        start = at + heard
        try:
            self._file.seek(2 * start)
            self._file.write(fresh.tobytes())
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error
        self.end = start + len(fresh)

    def sound(self) -> Sound | None:
        """Return all that was written, mapped into memory; None where nothing was."""
        if not self.end:
            return None
        self._file.flush()
        return Sound(np.memmap(self._file, dtype=np.int16, mode="r", shape=(self.end,)))


class SoundTrack:
    """Takes frames of sound with their times, and writes them at the rate that is needed.

    Frames that follow each other are resampled as one stretch. Where a time stamp says that there
    is a gap or an overlap, a new stretch begins at that time.

    Args:
        spool: where the samples go.

    Attributes:
        end: seconds, of the frames so far.
        gaps: from when to when there were none, where that can be heard.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._resampler: Any = None
        self._kind: tuple[str, str, int] | None = None
        self._at = 0  # sample at which the next one of the stretch is heard
        self.end = 0.0
        self.gaps: list[tuple[float, float]] = []

    def take(self, frame: Any, time: float) -> bool:
        """Add a frame, and say whether that was possible.

        Args:
            frame: PyAV's; channels that have no known places, such as nine, cannot be mixed.
            time: seconds at which its first sample is heard.
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        follows = abs(time - self.end) <= _TOLERANCE
        if self._resampler is None or kind != self._kind or not follows:
            self._begin(kind, time)

        # what goes by the stamps is done here; the resampler would do it in its own way
        frame.pts = None
        try:
            resampled = self._resampler.resample(frame)
        except load_av().error.FFmpegError:
            self._resampler = None
            return False

        self._write(resampled)
        self.end += frame.samples / frame.sample_rate
        return True

    def rest(self) -> None:
        """End a stretch: what the resampler still holds is written."""
        if self._resampler is None:
            return
        self._write(self._resampler.resample(None))
        self._resampler = None

    def _begin(self, kind: tuple[str, str, int], time: float) -> None:
        self.rest()
        resampler = load_av().AudioResampler
        self._resampler = resampler(format="s16", layout="mono", rate=RATE)
        self._kind = kind
        self._at = round(time * RATE)
        if time - self.end > _AUDIBLE:
            self.gaps.append((self.end, time))
        self.end = time

    def _write(self, frames: list[Any]) -> None:
        for frame in frames:
            if frame is None:  # at the end of a stretch that needed no resampling
                continue
            samples = frame.to_ndarray().reshape(-1)
            self._put(samples)

    def _put(self, samples: Int16[np.ndarray, "n"]) -> None:
        # a codec may have to begin before the first sound that is meant to be heard
        before_start = max(-self._at, 0)
        kept = samples[before_start:]
        self._spool.write(max(self._at, 0), kept)
        self._at += len(samples)
