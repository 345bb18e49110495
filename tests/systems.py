"""Tiny settings of every neural system, for the tests that all of them must pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.models.base import EmotionModel, LabelStatistics
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


def state_of(model: EmotionModel) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: x.clone() for name, x in model.state_dict().items()}


def check_resumed(build: Callable[[int], EmotionModel], batches: Sequence[Batch]) -> None:
    """Two steps, then two more: the same again, and the same from the state in between.

    Args:
        build: seed -> a model.
        batches: four.
    """

    def train(model: EmotionModel, start: int) -> list[float]:
        torch.manual_seed(5 + start)
        losses = []
        for b in batches[start : start + 2]:
            loss = model.train().total_loss(model(b))
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p.sub_(p.grad, alpha=0.01)
            losses.append(loss.item())
        return losses

    whole = build(0)
    first = train(whole, 0)
    kept = state_of(whole)
    second = train(whole, 2)
    assert train(build(0), 0) == first
    resumed = build(3)
    resumed.load_state_dict(kept)
    assert train(resumed, 2) == second
