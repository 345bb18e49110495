"""The checks for systems of others find what they are there for."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from emotailor.config import Config
from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.nn.sequence import masked_mean
from emotailor.testing import check_system


class Pooled(EmotionModel):
    """The mean over the real steps, classified."""

    def __init__(self, config: Config, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.classifier = nn.Linear(sum(dims.values()), num_labels)

    def pool(self, values: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(values, mask)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        pooled = [self.pool(batch.values[m], batch.masks[m]) for m in self.modalities]
        logits = self.classifier(torch.cat(pooled, 1))
        return ModelOutput(logits, classification_loss(logits, batch))


class FirstSteps(Pooled):
    """Takes as many steps as are real, and the first ones, as if none could be missing."""

    def pool(self, values: Tensor, mask: Tensor) -> Tensor:
        steps = mask.sum(1)
        first = torch.arange(mask.shape[1]) < steps[:, None]
        return masked_mean(values, first)


class Bounded(Pooled):
    """Reads missing steps too, as far as no logit shows it."""

    def pool(self, values: Tensor, mask: Tensor) -> Tensor:
        unread = 1e-12 * (values * ~mask[..., None]).sum(1)
        return masked_mean(values, mask) + unread


class AllSteps(Pooled):
    """Reads padding."""

    def pool(self, values: Tensor, mask: Tensor) -> Tensor:
        return values.mean(1)


def test_a_system_that_honours_masks_passes() -> None:
    check_system(Pooled, learns=False)


@pytest.mark.parametrize(
    ("system", "found"),
    [
        (AllSteps, "padding change a logit"),
        (FirstSteps, "a missing step holds changes a logit"),
        (Bounded, "reaches a missing step of visual"),
    ],
)
def test_a_system_that_reads_masked_steps_fails(system: type[EmotionModel], found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        check_system(system, learns=False)
