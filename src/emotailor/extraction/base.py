"""What the parts of extraction hand to each other: pictures, sound, timed features and words.

All times are seconds of the medium's own clock, counted from its first picture or sound, whichever
is first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8

RATE = 16_000
"""Samples a second of all sound that is looked at, in one channel."""


@dataclass(frozen=True)
class Medium:
    """What a file holds, told before it is decoded as a whole.

    Attributes:
        path: the file.
        duration: seconds, as far as the file says; None where it does not.
        picture: width and height as shown, after rotation; None without pictures.
        sound: whether there is sound.
        notes: what was chosen or left out, such as a second track of sound.
        start: what the file's own clock shows at its first picture or sound, whichever is first.
    """

    path: Path
    duration: float | None
    picture: tuple[int, int] | None
    sound: bool
    notes: tuple[str, ...] = ()
    start: float = 0.0


@dataclass(frozen=True, eq=False)
class Picture:
    """One sampled picture of a video.

    Attributes:
        time: of the sample; the picture is shown then, and may have been before.
        pixels: red, green and blue, upright; the same object as before while a picture stands.
    """

    time: float
    pixels: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Sound:
    """All sound of a medium, in one channel.

    A gap in the stream is silence here, so sample ``i`` is heard at ``i / RATE`` seconds.

    Attributes:
        samples: from -32,768 to 32,767; may be mapped from a file, so read it in blocks.
    """

    samples: Int16[np.ndarray, "n"]

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / RATE

    def between(self, start: float, end: float) -> Float32[np.ndarray, "part"]:
        """Return a stretch of the sound, from -1 to 1.

        Args:
            start: seconds.
            end: seconds.
        """
        first = max(round(start * RATE), 0)
        last = max(round(end * RATE), first)
        return self.samples[first:last].astype(np.float32) / 32_768


@dataclass(frozen=True, eq=False)
class Timed:
    """Features over time: one row for each moment at which there is something to see or hear.

    A moment without it (no face) has no row, so that nobody can take zeros for something seen.

    Attributes:
        names: what each column is.
        values: one row per moment.
        intervals: start and end of each row, in order of their start.
        notes: what there is to know, such as in how much of the video a face was seen.
    """

    names: tuple[str, ...]
    values: Float32[np.ndarray, "n dim"]
    intervals: Float64[np.ndarray, "n 2"]
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> Float32[np.ndarray, "n"]:
        """Return one column by its name."""
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True)
class Word:
    """A word that is said.

    Attributes:
        text: without white space, with its punctuation.
        start: seconds.
        end: seconds, at least ``start``.
        probability: how sure the recogniser is; None where somebody else wrote the word.
    """

    text: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True)
class Transcript:
    """All that is said, whoever wrote it down.

    Attributes:
        words: in order of time; each begins where the one before ends, or later.
        language: such as ``en``; None where nobody knows.
        notes: what was repaired, left out or estimated, one sentence each.
    """

    words: tuple[Word, ...]
    language: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Utterance:
    """Words that belong together: what is predicted at once.

    Attributes:
        words: at least one, or none where nothing is said and the medium is cut by time.
        start: seconds.
        end: seconds.
    """

    words: tuple[Word, ...]
    start: float
    end: float

    @property
    def text(self) -> str:
        """What is said."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, eq=False)
class Recording:
    """All that was extracted of one video.

    Attributes:
        medium: the file.
        duration: seconds that were decoded.
        utterances: in order of time.
        face: rows of the face of the most prominent speaker; None where pictures were not looked
            at, or there are none.
        voice: rows of the sound; None where there is none.
        notes: what was done without, and why, one sentence each.
        seconds: stage -> processor seconds.
    """

    medium: Medium
    duration: float
    utterances: tuple[Utterance, ...]
    face: Timed | None
    voice: Timed | None
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def noting(self, notes: Sequence[str]) -> "Recording":
        """Return the same recording with more notes."""
        return replace(self, notes=(*self.notes, *notes))
