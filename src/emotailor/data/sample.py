"""A sample, its modalities and the names of its labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from emotailor.data.display import sample_line

Modality = Literal["visual", "audio", "text"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
"""The three modalities, in the paper's order v, a, t."""

TRANSCRIPT = "transcript"
"""Under which name a sample tells what is said in it, in ``about``."""

UNSPLIT = "all"
"""The split of the samples of a source that does not say which are for training."""

HOW_TO_DIVIDE = "`emotailor data convert` with --split 70/10/20 makes train, valid and test"

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


def canonical_label(name: str) -> str:
    """Return the paper's name of an emotion (``anger`` -> ``angry``); other names stay as given."""
    key = name.strip()
    lower = key.lower()
    if lower in EMOTIONS:
        return lower
    return _ALIASES.get(lower, key)


@dataclass(frozen=True, eq=False)
class Sample:
    """One utterance; equal are two with the same id and the same content.

    Attributes:
        id: unique in its data set.
        sequences: modality -> array (steps, dim) of float32 or float16; a modality that is absent,
            or has zero steps, is missing.
        labels: 0/1 per label of the data set, or None where they are unknown.
        missing: modality -> True at each step that an aligned sample has and the modality lacks,
            such as a word without a visible face. A modality that lacks no step is absent here.
        words: one text per step of the text modality, or of every modality where they are aligned.
        times: modality -> start and end of each step in seconds.
        about: what else there is to tell, by name: ``source`` is the file that the sample is from,
            ``transcript`` what is said in it.
    """

    id: str
    sequences: Mapping[Modality, Float[np.ndarray, "_ _"]]
    labels: UInt8[np.ndarray, "labels"] | None = None
    missing: Mapping[Modality, Bool[np.ndarray, "_"]] = field(default_factory=dict)
    words: Sequence[str] | None = None
    times: Mapping[Modality, Float64[np.ndarray, "_ 2"]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)

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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sample):
            return NotImplemented
        if (self.id, self.about) != (other.id, other.about):
            return False
        if _texts(self.words) != _texts(other.words):
            return False

        # a modality without steps is a missing one
        ours = {m: sequence for m, sequence in self.sequences.items() if len(sequence)}
        theirs = {m: sequence for m, sequence in other.sequences.items() if len(sequence)}
        return (
            _same_array(self.labels, other.labels)
            and _same_arrays(ours, theirs)
            and _same_arrays(self.missing, other.missing)
            and _same_arrays(self.times, other.times)
        )

    def __hash__(self) -> int:
        return hash(self.id)


def _texts(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(words)


def _same_array(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two arrays hold the same, or both are None."""
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


def _same_arrays(
    ours: Mapping[Modality, np.ndarray], theirs: Mapping[Modality, np.ndarray]
) -> bool:
    """Whether two tables of arrays have the same keys, and the same array under each."""
    if set(ours) != set(theirs):
        return False
    return all(_same_array(ours[m], theirs[m]) for m in ours)
