"""Tiny settings of every neural system, for the tests that all of them must pass."""

from typing import Any

import torch
from torch.nn import functional as F

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.models.base import LabelStatistics
from emotailor.models.factory import build_model
from emotailor.models.table import SYSTEMS, find_system
from tests.helpers import DIMS, LABELS, random_samples

TINY: dict[str, dict[str, Any]] = {name: dict(row.tiny) for name, row in SYSTEMS.items()}
"""Settings of the model: sizes all different, and small."""


def usable_dims(name: str) -> dict[Modality, int]:
    """The widths of the modalities that a system takes."""
    return find_system(name).choose(DIMS, None)


def label_statistics(samples: list[Sample]) -> LabelStatistics:
    held = torch.tensor([sample.labels.tolist() for sample in samples if sample.labels is not None])
    return LabelStatistics.of(LABELS, held)


def tiny_model(
    name: str, dims: dict[Modality, int] | None = None, *, seed: int = 0, **changes: Any
) -> Any:
    """A small model of a system, prepared with the labels of random samples, in evaluation mode."""
    torch.manual_seed(seed)
    config = find_system(name).config.parse({**TINY[name], **changes})
    model = build_model(name, config, dims or usable_dims(name), len(LABELS))
    model.prepare(label_statistics(random_samples(60, seed=9)))
    return model.eval()


def batch_of(samples: list[Sample], dims: dict[Modality, int]) -> Batch:
    return collate(samples, dims, aligned=True)


def padded(batch: Batch, steps: int, fill: float) -> Batch:
    """The same batch with ``steps`` more steps of padding, filled with garbage."""
    values = {m: F.pad(x, (0, 0, 0, steps), value=fill) for m, x in batch.values.items()}
    masks = {m: F.pad(x, (0, steps)) for m, x in batch.masks.items()}
    return Batch(values, masks, batch.labels, batch.ids)


def subsets(name: str) -> list[dict[Modality, int]]:
    """Every set of modalities that a system can work with, smallest first."""
    row, found = find_system(name), []
    for bits in range(1, 2 ** len(MODALITIES)):
        chosen = tuple(m for k, m in enumerate(MODALITIES) if bits >> k & 1)
        if set(row.required) <= set(chosen) <= set(row.modalities) and len(chosen) >= row.at_least:
            found.append({m: DIMS[m] for m in chosen})
    return sorted(found, key=len)
