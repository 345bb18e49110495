"""Finding the real steps of padded sequences.

Published feature files pad every sequence with zeros to one length, some in front and some behind.
Here a step is padding only where it is exactly zero in every feature *and* lies before the first
or after the last real step. NaN and infinities are not zero: they are damaged real steps.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from emotailor.data.sample import Modality


def real_span(real: Bool[np.ndarray, "steps"]) -> slice:
    """Return the slice from the first to the last True; empty where there is none."""
    steps = np.flatnonzero(real)
    if not len(steps):
        return slice(0, 0)

    first = int(steps[0])
    last = int(steps[-1])
    return slice(first, last + 1)


def nonzero_steps(values: Float[np.ndarray, "steps dim"]) -> Bool[np.ndarray, "steps"]:
    """Say of each step whether any feature differs from zero (NaN does)."""
    return (values != 0).any(axis=1)


def _span_of_length(values: Float[np.ndarray, "steps dim"], length: int) -> slice:
    """Return where ``length`` real steps lie: in front, unless the padding is evidently there."""
    # a real step may be all zero, so the padding shows only by what lies beside it
    real = nonzero_steps(values)
    total = len(values)
    first = total - length
    behind = real[length:]
    in_front = real[:first]

    padded_in_front = behind.any() and not in_front.any()
    if padded_in_front:
        return slice(first, total)
    return slice(0, length)


def strip_padding(
    sequences: Mapping[Modality, Float[np.ndarray, "_ _"]],
    *,
    aligned: bool,
    lengths: Mapping[Modality, int] | None = None,
) -> dict[Modality, Float[np.ndarray, "_ _"]]:
    """Cut the padding off the sequences of one sample.

    Unaligned, each modality is cut by itself. Aligned, only steps that are zero in all modalities
    at once are cut, from all of them, so that step i stays the same moment everywhere.

    Args:
        sequences: modality -> (steps, dim); the same number of steps everywhere when aligned.
        aligned: whether step i of every modality is the same moment.
        lengths: number of real steps where the file says it; it wins over detection. Each is
            between 0 and the steps there are. Aligned, the longest one holds for all modalities.

    Returns:
        The modalities that have a step which is not all zero (or a given length above 0), as
        views. One whose steps are all zero is missing, and absent here.
    """
    lengths = lengths or {}
    spans = {}
    if aligned and sequences:
        span = _common_span(sequences, lengths)
        spans = dict.fromkeys(sequences, span)
    else:
        for m, values in sequences.items():
            spans[m] = _own_span(values, lengths.get(m))

    cut = {}
    for m, values in sequences.items():
        real = values[spans[m]]
        if not len(real):
            continue

        # a length that the file gives says that the modality is there, even if it is all zero
        given = m in lengths and not aligned
        if given or nonzero_steps(real).any():
            cut[m] = real
    return cut


def _common_span(
    sequences: Mapping[Modality, Float[np.ndarray, "_ _"]], lengths: Mapping[Modality, int]
) -> slice:
    """Return the steps that are real in any modality."""
    if lengths:
        # (steps, all features)
        joined = np.concatenate(list(sequences.values()), axis=1)
        longest = max(lengths.values())
        return _span_of_length(joined, longest)

    # (modalities, steps)
    real = [nonzero_steps(values) for values in sequences.values()]
    in_any = np.any(real, axis=0)
    return real_span(in_any)


def _own_span(values: Float[np.ndarray, "steps dim"], length: int | None) -> slice:
    if length is None:
        return real_span(nonzero_steps(values))
    return _span_of_length(values, length)
