"""A sample, its modalities and the names of its labels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, UInt8

from emotailor.data.display import sample_line

Modality = Literal["visual", "audio", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
"""The three modalities, in the paper's order v, a, t."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
"""CMU-MOSEI's six labels under the paper's names and in its order."""

_ALIASES = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
}
_SEGMENT_SUFFIX = re.compile(r"(\[\d+\]|\$_\$\d+)$")


def canonical_label(name: str) -> str:
    """Return the paper's name of an emotion (``anger`` -> ``angry``); other names stay as given."""
    key = name.strip()
    lower = key.lower()
    if lower in EMOTIONS:
        return lower
    return _ALIASES.get(lower, key)


def video_of(sample_id: str) -> str:
    """Return the video a segment id belongs to: ``abc[3]`` and ``abc$_$3`` -> ``abc``."""
    return _SEGMENT_SUFFIX.sub("", sample_id)


@dataclass(frozen=True)
class Sample:
    """One utterance.

    Attributes:
        id: unique in its data set.
        sequences: modality -> array (steps, dim); a modality that is absent, or has zero steps,
            is missing.
        labels: 0/1 per label of the data set, or None where they are unknown.
    """

    id: str
    sequences: Mapping[Modality, Float32[np.ndarray, "_ _"]]
    labels: UInt8[np.ndarray, "labels"] | None = None

    def __repr__(self) -> str:
        shapes: dict[str, tuple[int, ...] | None] = {}
        for m in MODALITIES:
            # absent and without steps are the same
            sequence = self.sequences.get(m, ())
            shapes[m] = np.shape(sequence) if len(sequence) else None

        # readers may give labels of any kind, and a broken one must show itself too
        labels = self.labels
        known = None
        if labels is not None:
            known = np.asarray(labels).tolist()

        return sample_line(self.id, shapes, known)
