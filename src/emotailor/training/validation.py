"""What every training ends with: validation, thresholds, and the card of the model."""

from typing import Any

import numpy as np

from emotailor.evaluation.metrics import evaluate
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.models.base import EmotionModel
from emotailor.training.history import EpochRecord
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import ModelCard
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData, choose_device, device_name


def validate(
    model: EmotionModel, data: TrainingData, config: RunConfig
) -> tuple[dict[ThresholdMode, Thresholds], dict[str, Any]]:
    """Choose every kind of threshold on the validation split; return them and the scores."""
    settings = config.training
    names = data.label_names
    labels = data.valid_split.labels
    probabilities = predict_probabilities(
        model,
        data.valid_split,
        data.dims,
        aligned=data.dataset.aligned,
        standardizer=data.standardizer,
        batch_size=settings.batch_size,
    )
    thresholds: dict[ThresholdMode, Thresholds] = {
        "fixed": Thresholds.fixed(names, settings.threshold),
        "tuned": Thresholds.choose("tuned", labels, probabilities, names),
        "per_label": Thresholds.choose("per_label", labels, probabilities, names),
        "macro": Thresholds.choose("macro", labels, probabilities, names),
        "share": Thresholds.choose("share", labels, probabilities, names),
    }

    # the scores are those of the thresholds by which epochs are compared
    chosen = thresholds[settings.select_by].array(names)
    metrics = evaluate(labels, probabilities, names, chosen)
    loss = _log_loss(labels, probabilities)
    return thresholds, {"loss": loss, **metrics.overall()}


def describe_model(
    config: RunConfig,
    data: TrainingData,
    thresholds: dict[ThresholdMode, Thresholds],
    record: EpochRecord,
) -> ModelCard:
    """Return the card of a trained model; ``record`` is that of the selected epoch."""
    known = data.dataset.card.extraction
    extraction = {m: known[m] for m in data.dims if m in known}
    return ModelCard(
        system=config.system,
        config=config.model.to_json(),
        alignment=data.alignment,
        adapters=data.adapters,
        label_names=data.label_names,
        dims=data.dims,
        aligned=data.dataset.aligned,
        standardized=data.standardizer is not None,
        thresholds=thresholds,
        extraction=extraction,
        data={"name": data.dataset.card.name, "fingerprint": data.dataset.card.fingerprint},
        selection=record.to_json(),
        device=device_name(choose_device(config.training.device)),
    )


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross-entropy of all labels of all samples."""
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    log_likelihood = np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(-log_likelihood.mean())
