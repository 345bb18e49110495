"""From recordings to samples: one for each utterance, with the features of its words or its time.

Word-aligned, each word is a step: picture and sound are averaged over the rows that overlap it,
as for the files of the CMU-MultimodalSDK, and are missing where none does. Otherwise each modality
has its own rows. Vectors of words come later, from an encoder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from emotailor.data.readers.timed.align import mean_per_word, overlapping
from emotailor.data.sample import TRANSCRIPT, Modality, Sample
from emotailor.extraction.base import Recording, Timed, Utterance, Word


@dataclass(frozen=True)
class Stretch:
    """A part of a recording that becomes a sample.

    Attributes:
        id: of the sample.
        utterance: what is said in it, and when.
        labels: 0/1 per label; None where nobody knows.
    """

    id: str
    utterance: Utterance
    labels: UInt8[np.ndarray, "labels"] | None = None


def stretches_of(name: str, recording: Recording) -> list[Stretch]:
    """Return the utterances of a recording, called ``name[0]``, ``name[1]``, ..."""
    found = []
    for number, utterance in enumerate(recording.utterances):
        found.append(Stretch(f"{name}[{number}]", utterance))
    return found


def words_between(recording: Recording, start: float, end: float) -> tuple[Word, ...]:
    """Return the words of a recording whose middle lies between two times."""
    chosen = []
    for utterance in recording.utterances:
        for word in utterance.words:
            middle = (word.start + word.end) / 2
            if start <= middle < end:
                chosen.append(word)
    return tuple(chosen)


def samples_of(
    recording: Recording, stretches: Sequence[Stretch], *, aligned: bool
) -> Iterator[Sample]:
    """Yield a sample for each stretch, in order; its words have no vectors yet.

    Args:
        recording: what was extracted of a video.
        stretches: parts of it.
        aligned: one step a word in every modality; else each modality has its own rows. Aligned, a
            stretch without words yields a sample without any step.

    Yields:
        Samples with the sequences ``visual`` and ``audio`` where there is something to see or
        hear, the words, and the times of all steps.
    """
    tracks: dict[Modality, Timed] = {}
    if recording.face is not None:
        tracks["visual"] = recording.face
    if recording.voice is not None:
        tracks["audio"] = recording.voice

    where = str(recording.medium.path)
    for stretch in stretches:
        words = stretch.utterance.words
        sample = Sample(stretch.id, {}, stretch.labels)
        if words:
            said = [word.text for word in words]
            about = {TRANSCRIPT: stretch.utterance.text}
            sample = replace(sample, words=said, times={"text": _times(words)}, about=about)

        if aligned:
            yield _per_word(where, tracks, sample)
        else:
            yield _own_rows(tracks, sample, stretch.utterance)


def _per_word(where: str, tracks: dict[Modality, Timed], sample: Sample) -> Sample:
    """Return a sample with the mean of each track over each word."""
    if not sample.words:
        return sample
    words = sample.times["text"]

    sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {}
    missing: dict[Modality, Bool[np.ndarray, "_"]] = {}
    times = dict(sample.times)
    for m, track in tracks.items():
        values, lacking = mean_per_word(where, track.values, track.intervals, words)
        if lacking.all():
            continue
        sequences[m] = values
        times[m] = words
        if lacking.any():
            missing[m] = lacking
    return replace(sample, sequences=sequences, missing=missing, times=times)


def _own_rows(tracks: dict[Modality, Timed], sample: Sample, utterance: Utterance) -> Sample:
    """Return a sample with the rows of each track that share time with an utterance."""
    sequences: dict[Modality, Float32[np.ndarray, "_ _"]] = {}
    times = dict(sample.times)
    for m, track in tracks.items():
        rows = overlapping(track.intervals, utterance.start, utterance.end)
        if not rows.any():
            continue
        sequences[m] = track.values[rows]
        times[m] = track.intervals[rows]
    return replace(sample, sequences=sequences, times=times)


def _times(words: Sequence[Word]) -> Float64[np.ndarray, "words 2"]:
    return np.array([[word.start, word.end] for word in words], np.float64).reshape(-1, 2)
