"""Tiny models as they are loaded from a folder, with a standardisation and scaled probabilities."""

from typing import Any

import numpy as np

from emotailor.data.batching import Standardizer
from emotailor.data.sample import Modality
from emotailor.evaluation.scaling import Scaling
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import align_before
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.table import find_system
from emotailor.training.model_folder import LoadedModel, ModelCard, Scaled
from tests.helpers import LABELS, random_samples
from tests.systems import TINY, batch_of, tiny_model

SCALING = Scaling(
    method="platt",
    slopes={"happy": 1.3, "sad": 0.6, "angry": 1.0},
    intercepts={"happy": 0.2, "sad": -0.7, "angry": 0.0},
)


def tiny_loaded(name: str, *, aligned: bool = True, **changes: Any) -> LoadedModel:
    """A small model of a system, as from a folder."""
    alignment = changes.pop("alignment", None)
    model: EmotionModel = tiny_model(name, **changes)
    if isinstance(model, FittedModel):
        model.fit([batch_of(random_samples(60, seed=9), model.dims)])
    if alignment is not None:
        model = align_before(alignment, model).eval()

    thresholds: dict[ThresholdMode, Thresholds] = {
        "fixed": Thresholds(mode="fixed", values=dict.fromkeys(LABELS, 0.5))
    }
    card = ModelCard(
        system=name,
        config=find_system(name).config.parse({**TINY[name], **changes}).to_json(),
        alignment=alignment or AlignmentConfig(kind="none"),
        label_names=LABELS,
        dims=model.dims,
        aligned=aligned,
        standardized=True,
        thresholds=thresholds,
        scaled=Scaled(scaling=SCALING, thresholds=thresholds, data={}),
    )
    return LoadedModel(card, model, _standardizer(model.dims))


def _standardizer(dims: dict[Modality, int]) -> Standardizer:
    """Means and deviations, one of which is 0."""
    rng = np.random.default_rng(4)
    means = {m: rng.normal(size=d).astype(np.float32) for m, d in dims.items()}
    stds = {m: rng.uniform(0.2, 2, d).astype(np.float32) for m, d in dims.items()}
    for std in stds.values():
        std[1] = 0
    return Standardizer(means, stds)
