"""What every model has from the contract: its device, its modalities, one cross-entropy."""

import math

import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.errors import ModelError
from emotailor.models.base import EmotionModel, FittedModel, ModelOutput, classification_loss
from tests.helpers import DIMS, random_samples
from tests.systems import batch_of, tiny_model


class Constant(EmotionModel):
    """Says the same of everything, and has neither parameters nor buffers."""

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        logits = torch.zeros(len(batch), self.num_labels)
        return ModelOutput(logits, classification_loss(logits, batch))


class Counted(FittedModel):
    """Has a buffer alone."""

    counts: Tensor

    def __init__(self) -> None:
        super().__init__({"text": 2}, 3)
        self.register_buffer("counts", torch.zeros(3))

    def fit(self, batches: object) -> None: ...

    def predict_logits(self, batch: Batch) -> Tensor:
        return self.counts.expand(len(batch), -1)


def test_the_device_is_that_of_parameters_or_else_of_buffers() -> None:
    cpu, meta = torch.device("cpu"), torch.device("meta")
    neural = tiny_model("simm")
    assert (neural.device, neural.to(meta).device) == (cpu, meta)
    assert (Counted().device, Counted().to(meta).device) == (cpu, meta)
    assert Constant({"text": 2}, 3).to(meta).device == cpu
    assert tiny_model("br").to(meta).device == cpu  # stays where its precision is


def test_one_cross_entropy_is_the_whole_objective_by_default() -> None:
    model, batch = Constant(DIMS, 3), batch_of(random_samples(5), DIMS)
    output = model(batch)
    assert model.total_loss(output).item() == pytest.approx(math.log(2))
    assert output.losses.keys() == model.loss_weights.keys()
    assert model(Batch(batch.values, batch.masks, None, batch.ids)).losses == {}


def test_modalities_are_in_their_usual_order() -> None:
    assert Constant({"text": 2, "visual": 3}, 3).modalities == ("visual", "text")


def test_a_batch_is_checked_by_the_lengths_of_its_sequences() -> None:
    model, batch = Constant(DIMS, 3), batch_of(random_samples(5), DIMS)
    model.check_batch(batch)
    values = {**batch.values, "audio": torch.zeros(5, 40, 7)}
    masks = {**batch.masks, "audio": torch.ones(5, 40, dtype=torch.bool)}
    uneven = Batch(values, masks, None, batch.ids)
    with pytest.raises(ModelError, match=r"unaligned sequences .*'audio': 40"):
        model.check_batch(uneven)
    model.takes_unaligned = True
    model.check_batch(uneven)
