"""Finding the real steps of padded sequences.

Published feature files pad every sequence with zeros to one length, some in front and some behind.
Here a step is padding only where it is exactly zero in every feature *and* lies before the first
or after the last real step. NaN and infinities are not zero: they are damaged real steps.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float32

from emotailor.data.sample import Modality


def real_span(real: Bool[np.ndarray, "steps"]) -> slice:
    """Return the slice from the first to the last True; empty where there is none."""
    steps = np.flatnonzero(real)
    return slice(int(steps[0]), int(steps[-1]) + 1) if len(steps) else slice(0, 0)


def nonzero_steps(values: Float32[np.ndarray, "steps dim"]) -> Bool[np.ndarray, "steps"]:
    """Say of each step whether any feature differs from zero (NaN does)."""
    return (values != 0).any(axis=1)


def _span_of_length(values: Float32[np.ndarray, "steps dim"], length: int) -> slice:
    """Return where ``length`` real steps lie: in front, unless the padding is evidently there."""
    first = len(values) - length
    in_front = nonzero_steps(values)[length:].any() and not nonzero_steps(values)[:first].any()
    return slice(first, len(values)) if in_front else slice(0, length)


def strip_padding(
    sequences: Mapping[Modality, Float32[np.ndarray, "_ _"]],
    *,
    aligned: bool,
    lengths: Mapping[Modality, int] | None = None,
) -> dict[Modality, Float32[np.ndarray, "_ _"]]:
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
    if aligned and sequences:
        if lengths:
            longest = max(lengths.values())
            joined = np.concatenate(list(sequences.values()), axis=1)
            span = _span_of_length(joined, longest)
        else:
            span = real_span(np.any([nonzero_steps(s) for s in sequences.values()], axis=0))
        spans = dict.fromkeys(sequences, span)
    else:
        spans = {
            m: _span_of_length(s, lengths[m]) if m in lengths else real_span(nonzero_steps(s))
            for m, s in sequences.items()
        }
    cut = {m: s[spans[m]] for m, s in sequences.items()}
    known = set() if aligned else set(lengths)
    return {m: s for m, s in cut.items() if len(s) and (m in known or nonzero_steps(s).any())}
