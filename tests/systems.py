"""Tiny settings of every neural system, for the tests that all of them must pass."""

from typing import Any

import torch
from torch.nn import functional as F

from emotailor.configs.systems import find_system
from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.models.base import EmotionModel, LabelStatistics
from emotailor.models.factory import build_model
from tests.helpers import DIMS, LABELS, SMALL, random_samples

TINY: dict[str, dict[str, Any]] = {
    "br": {},
    "lp": {},
    "cc": {},
    "lsan": {"state_size": 7, "attention_size": 5, "classifier_size": 13, "dropout": 0.1},
    "ml_gcn": {"feature_size": 14, "graph_size": 13, "label_size": 17},
    "simm": {"hidden_size": 13},
    "misa": {"hidden_size": 14, "heads": 2, "feedforward_size": 17},
    "sgm": {"label_size": 5, "encoder_size": 7, "dropout": 0.1, "attention_dropout": 0.1},
    "carat": {
        "hidden_size": 12,
        "feedforward_size": 17,
        "heads": 3,
        "visual_layers": 1,
        "audio_layers": 2,
        "text_layers": 1,
        "max_steps": 13,
        "latent_size": 5,
        "queue_size": 53,
        "dropout": 0.1,
        "initial_std": 0.2,
    },
    "mult": {"hidden_size": 12, "heads": 3, "layers": 1, "memory_layers": 2, "text_kernel": 5},
    "hhmpn": {
        "hidden_size": 14,
        "encoder_heads": 2,
        "encoder_layers": 1,
        "memory_layers": 1,
        "decoder_layers": 2,
        "decoder_heads": 7,
        "feedforward_size": 17,
        "score_size": 5,
    },
    "dfg": {
        "text_size": 7,
        "audio_size": 5,
        "visual_size": 3,
        "vertex_size": 13,
        "vertex_hidden": 11,
        "memory_size": 17,
        "candidate_hidden": 19,
        "retain_hidden": 14,
        "update_hidden": 15,
        "classifier_hidden": 23,
    },
    "raven": {"cell_size": 7, "hidden_size": 13},
    "tailor": {**SMALL.model_dump(), "initial_std": 0.2},
}
"""Settings of the model: sizes all different, and small."""


def usable_dims(name: str) -> dict[Modality, int]:
    """The widths of the modalities that a system takes."""
    return find_system(name).choose(DIMS, None)


def label_statistics(samples: list[Sample]) -> LabelStatistics:
    held = torch.tensor([sample.labels.tolist() for sample in samples if sample.labels is not None])
    return LabelStatistics.of(LABELS, held)


def tiny_model(
    name: str, dims: dict[Modality, int] | None = None, *, seed: int = 0, **changes: Any
) -> EmotionModel:
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
