"""A recording that nobody recorded: three words, a face in two stretches, a voice throughout."""

from pathlib import Path

import numpy as np

from emotailor.extraction.base import Medium, Recording, Timed, Utterance, Word


def rows(names: tuple[str, ...], first: float, count: int, step: float, start: float) -> Timed:
    """Rows that count up from ``first``, in every column one more."""
    values = first + np.arange(count)[:, None] + np.arange(len(names))[None, :]
    begin = start + step * np.arange(count)
    intervals = np.stack([begin, begin + step], axis=1)
    return Timed(names, values.astype(np.float32), intervals, ("a note",))


def recording(path: Path = Path("clip.mp4")) -> Recording:
    """Five seconds: "so" at 1.0, "great" at 1.5, "bye" at 4.0; a face from 1.4 to 2 seconds."""
    so = Word("so", 1.0, 1.3, 0.9)
    great = Word("great!", 1.5, 2.0, None)
    bye = Word("bye", 4.0, 4.5, 0.25)
    return Recording(
        Medium(path, 5.0, (320, 240), True, ("two tracks of sound: the first is heard",)),
        5.0,
        (Utterance((so, great), 0.9, 2.1), Utterance((bye,), 4.0, 4.5)),
        rows(("smile", "jawOpen"), 0.0, 6, 0.1, 1.4),
        rows(("energy", "pitch", "voicing"), 100.0, 50, 0.1, 0.0),
        ("a second note",),
        {"decoding": 0.25},
    )
