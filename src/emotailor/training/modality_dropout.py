"""Training with modalities taken away at random, so that a model can do without them.

In every epoch each modality of a sample is hidden with the same probability, by itself, but never
all that the sample has. What is hidden depends on the seed, the epoch and the sample alone, so that
a resumed training hides the same.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality

_STREAM = 0x6D64
"""Tells these random numbers from those of the order of an epoch."""

Shown = Mapping[Modality, Bool[np.ndarray, "n"]]


def shown_modalities(present: Shown, rate: float, *, seed: int, epoch: int) -> Shown:
    """Draw which modalities of each sample are seen in an epoch.

    Args:
        present: modality -> (n,), whether a sample has it.
        rate: probability with which one is hidden.
        seed: of the run.
        epoch: number of the epoch, from 0.

    Returns:
        Modality -> (n,), whether it is there and seen; of a sample that has any, at least one is.
    """
    there = np.stack(list(present.values()))  # (M, n)
    draws = np.random.default_rng([seed, epoch, _STREAM]).random(there.shape)
    seen = there & (draws >= rate)

    # of those that would lose all, the one with the highest draw stays
    highest = np.where(there, draws, -1.0).argmax(0)  # (n,)
    loses_all = there.any(0) & ~seen.any(0)
    seen[highest[loses_all], np.flatnonzero(loses_all)] = True
    return dict(zip(present, seen, strict=True))


def hide(batch: Batch, shown: Shown) -> Batch:
    """Return a batch without the modalities that are not seen.

    Args:
        batch: B samples.
        shown: modality -> (B,), whether it is seen.
    """
    values = dict(batch.values)
    masks = dict(batch.masks)
    for m, seen in shown.items():
        if seen.all():
            continue
        rows = torch.from_numpy(seen).to(masks[m].device)
        masks[m] = masks[m] & rows[:, None]
        values[m] = values[m] * rows[:, None, None]
    return replace(batch, values=values, masks=masks)
