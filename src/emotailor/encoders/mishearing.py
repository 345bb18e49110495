"""Samples whose words were misheard, and encoded as they were heard.

A wrong word changes more than its own vector: an encoder reads every word beside the others. So the
text is encoded anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, compress

import numpy as np
from jaxtyping import Float, Int64

from emotailor.data.damage import draw_for, packed
from emotailor.data.dataset import Split
from emotailor.data.mishearing import Heard, heard_words, mishear
from emotailor.data.sample import Modality, Sample
from emotailor.encoders.base import Encoded, TextEncoder
from emotailor.encoders.samples import CHUNK_TEXTS, said_in

Line = tuple[Sample, list[Heard]]
"""A sample, and what was heard of it: one entry for each step that it is going to have."""


def misheard(split: Split, encoder: TextEncoder, *, aligned: bool, seed: int = 0) -> Split:
    """Return a split with the same samples, their words misheard.

    Of aligned data, a dropped word is a step that text lacks, and a word that was put in is a step
    that the others lack; where there are no others, the dropped word has no step. Of unaligned data
    the steps of text alone change. No text becomes longer than the longest of the split: what was
    heard behind that is lost.

    Args:
        split: the samples; text of which nobody knows the words stays as it is.
        encoder: made the features of text.
        aligned: whether step i of every modality is the same moment.
        seed: of what is drawn.

    Raises:
        DataError: the encoder yields NaN.
    """
    said = [_said(sample) for sample in split]
    longest = max((len(words) for words in said), default=0)
    others = list(chain.from_iterable(said))

    lines = []
    for sample, words in zip(split, said, strict=True):
        draw = draw_for(sample, "misheard", seed)
        heard = mishear(words, draw, others)
        keeps_dropped = aligned and set(sample.sequences) != {"text"}
        rows = [one for one in heard if keeps_dropped or one.word is not None]
        lines.append((sample, rows[:longest]))

    samples: list[Sample] = []
    for start in range(0, len(lines), CHUNK_TEXTS):
        chunk = lines[start : start + CHUNK_TEXTS]
        samples += _encoded(chunk, encoder, aligned=aligned)
    return packed(split, samples, aligned=aligned)


def _said(sample: Sample) -> list[str]:
    """Return the words of a sample that has text; none of another one."""
    return said_in(sample) if "text" in sample.sequences else []


def _encoded(chunk: Sequence[Line], encoder: TextEncoder, *, aligned: bool) -> Iterator[Sample]:
    texts = [heard_words(rows) for _, rows in chunk]
    found = encoder.encode(texts)
    for (sample, rows), encoded in zip(chunk, found, strict=True):
        # of the precision of stored features
        vectors = encoded.vectors.astype(np.float16).astype(np.float32)
        rounded = replace(encoded, vectors=vectors)
        if not rows:
            yield sample
        elif encoder.pooling == "sentence":
            yield replace(sample, sequences={**sample.sequences, "text": vectors})
        elif aligned:
            yield _aligned(sample, rows, rounded)
        else:
            yield _unaligned(sample, rounded)


def _unaligned(sample: Sample, encoded: Encoded) -> Sample:
    known = encoded.known
    words = list(compress(encoded.words, known.tolist()))
    return replace(
        sample,
        sequences={**sample.sequences, "text": encoded.vectors[known]},
        # nobody knows when a word was heard that nobody said
        times={m: x for m, x in sample.times.items() if m != "text"},
        words=words,
    )


def _aligned(sample: Sample, rows: Sequence[Heard], encoded: Encoded) -> Sample:
    is_heard = np.array([one.word is not None for one in rows])
    text = np.zeros((len(rows), encoded.vectors.shape[1]), np.float32)
    text[is_heard] = encoded.vectors
    lacking = ~is_heard
    lacking[is_heard] = ~encoded.known
    sequences: dict[Modality, np.ndarray] = {"text": text}
    missing: dict[Modality, np.ndarray] = {"text": lacking}

    # the step of each row in the other modalities; -1 where nobody said the word
    step = np.array([-1 if one.step is None else one.step for one in rows])
    for m, x in sample.sequences.items():
        if m == "text":
            continue
        before = sample.missing.get(m, np.zeros(len(x), np.bool_))
        sequences[m] = _at(step, x)
        missing[m] = (step < 0) | before[step]
    words = [one.word or "" for one in rows]
    return replace(sample, sequences=sequences, missing=missing, times={}, words=words)


def _at(
    step: Int64[np.ndarray, "rows"], x: Float[np.ndarray, "steps dim"]
) -> Float[np.ndarray, "rows dim"]:
    """Return the features of some steps; zeros for -1."""
    moved = x[step]
    moved[step < 0] = 0
    return moved
