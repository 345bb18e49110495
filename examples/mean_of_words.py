"""A linear layer on the mean of the words: the least that can stand behind a text encoder.

emotailor train --data data/mosei-text --model examples/mean_of_words.py:MeanOfWords \
        --set adapters.rank=8 --set adapters.start=0
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import nn

from emotailor.config import Config
from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.nn.dropout import Dropout
from emotailor.nn.sequence import masked_mean


class MeanOfWordsConfig(Config):
    """Settings of the layer."""

    dropout: float = Field(0.2, ge=0, lt=1)  # of the mean
    factor: float = Field(3.0, gt=0)  # of the logits; with Adam it acts on the learning rate


class MeanOfWords(EmotionModel):
    """Logits as a linear function of the mean word vector.

    Args:
        config: settings.
        dims: width of the text.
        num_labels: L.
    """

    config_class = MeanOfWordsConfig
    recipe: ClassVar[Mapping[str, float]] = {"learning_rate": 1e-3}
    can_take = ("text",)
    takes_label_loss = True
    parts_in_threads = True

    def __init__(
        self, config: MeanOfWordsConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(dims, num_labels)
        self.factor = config.factor
        self.dropout = Dropout(config.dropout)
        self.layer = nn.Linear(dims["text"], num_labels)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits and, with labels, their cross-entropy."""
        mean = masked_mean(batch.values["text"], batch.masks["text"])  # (B, d)
        logits = self.factor * self.layer(self.dropout(mean))
        return ModelOutput(logits, classification_loss(logits, batch, self.label_loss))
