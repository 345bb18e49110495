"""A system from outside the package, as a user writes one."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from emotailor.config import Config
from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.models.system import Variant
from emotailor.nn.sequence import masked_mean


class MeanPoolConfig(Config):
    """The settings."""

    hidden_size: int = Field(13, ge=1)
    small_weight: float = Field(0.01, ge=0)
    nonlinear: bool = True


class MeanPool(EmotionModel):
    """The mean of each modality over its real steps, then two linear maps."""

    config_class = MeanPoolConfig
    title = "Mean pooling"
    paper = "Nobody. Nowhere 2026."
    recipe: ClassVar[Mapping[str, Any]] = {"learning_rate": 1e-2, "epochs": 3}
    variants: ClassVar[Mapping[str, Variant]] = {
        "linear": Variant("linear", "w/o ReLU", {"nonlinear": False}, "one linear map is left"),
    }

    def __init__(
        self, config: MeanPoolConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.hidden = nn.Linear(sum(dims.values()), config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, num_labels)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return {"classification": 1.0, "small": self.config.small_weight}

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        pooled = [masked_mean(batch.values[m], batch.masks[m]) for m in self.modalities]
        hidden = self.hidden(torch.cat(pooled, -1))
        if self.config.nonlinear:
            hidden = hidden.relu()
        logits = self.classifier(hidden)

        losses = classification_loss(logits, batch)
        if losses:
            losses["small"] = logits.square().mean()
        return ModelOutput(logits, losses, {"hidden": hidden} if features else {})
