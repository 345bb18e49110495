"""What a GPU computes is what the CPU computes; skipped where there is none."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import emotailor
from emotailor.data.batching import Batch
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.table import SYSTEMS
from tests.helpers import random_samples, small_dataset
from tests.parity.systems import double_precision
from tests.systems import TINY, batch_of, tiny_model, usable_dims

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def on(batch: Batch, device: str) -> Batch:
    """The batch on a device, in float64: what then differs is no rounding."""
    values = {m: x.to(device, torch.float64) for m, x in batch.values.items()}
    masks = {m: mask.to(device) for m, mask in batch.masks.items()}
    labels = None if batch.labels is None else batch.labels.to(device, torch.float64)
    return Batch(values, masks, labels, batch.ids)


def step(model: EmotionModel, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return logits and gradients, on the CPU."""
    output = model(batch)
    torch.autograd.backward(model.total_loss(output))
    gradients = {
        name: parameter.grad.cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return output.logits.detach().cpu(), gradients


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_numbers_as_the_cpu(name: str) -> None:
    with double_precision():
        compare(name)


def compare(name: str) -> None:
    samples, dims = random_samples(13, missing=0.2), usable_dims(name)
    batch = batch_of([s for s in samples if any(m in s.sequences for m in dims)], dims)

    model = tiny_model(name)
    if isinstance(model, FittedModel):
        model.fit([batch])
        there = copy.deepcopy(model).double().to("cuda")
        logits = model.double()(on(batch, "cpu")).logits
        torch.testing.assert_close(logits, there(on(batch, "cuda")).logits.cpu())
        return

    # nothing random: no dropout, and no shuffling of samples
    model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0
            module.train()  # cuDNN computes no gradient of recurrent layers in evaluation mode
    there = copy.deepcopy(model).to("cuda")
    logits, gradients = step(model, on(batch, "cpu"))
    logits_there, gradients_there = step(there, on(batch, "cuda"))
    torch.testing.assert_close(logits, logits_there, atol=1e-9, rtol=1e-7)
    assert set(gradients) == set(gradients_there)
    for key, gradient in gradients.items():
        scale = float(gradient.abs().max()) + 1e-9
        assert float((gradient - gradients_there[key]).abs().max()) / scale < 1e-6, key


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_trains_and_predicts(name: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    small_dataset(data)
    settings = {
        "data": {"path": str(data)},
        "model": TINY[name],
        "training": {"epochs": 2, "batch_size": 8, "device": "cuda"},
    }
    emotailor.train(settings, tmp_path / "run", model=name)
    found = {
        device: emotailor.evaluate(tmp_path / "run", device=device, resamples=0, store=False)
        for device in ("cpu", "cuda")
    }
    difference = abs(found["cpu"].probabilities - found["cuda"].probabilities)
    assert difference.max() < 1e-3


def test_a_text_encoder_that_is_trained_along(tmp_path: Path) -> None:
    """It trains there, words and all, and predicts here what it predicts there."""
    from tests.models.adapters import runs

    home = runs.make_home(tmp_path / "home")
    settings = runs.settings(home)
    on_gpu = {**settings, "training": {**runs.TRAINING, "device": "cuda", "precision": "fp32"}}
    emotailor.train(on_gpu, tmp_path / "run")

    here, there = (
        emotailor.predict(tmp_path / "run", home / "data", split="test", device=device)
        for device in ("cpu", "cuda")
    )
    for one, other in zip(here, there, strict=True):
        for name, p in one.probabilities.items():
            assert other.probabilities[name] == pytest.approx(p, abs=1e-4)
