"""What a GPU computes is what the CPU computes; skipped where there is none."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import emotailor
from emotailor.data.batching import Batch
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.factory import model_class
from emotailor.models.table import SYSTEMS
from emotailor.training.replay import Objective, Replay
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


def without_chance(model: EmotionModel) -> EmotionModel:
    """The model without dropout, in place."""
    for module in model.modules():
        for rate in ("rate", "dropout", "p"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    return model


def with_steps(batch: Batch, steps: int) -> Batch:
    """The batch, padded to a number of steps."""
    more = {m: steps - x.shape[1] for m, x in batch.values.items()}
    values = {m: F.pad(x, (0, 0, 0, more[m])) for m, x in batch.values.items()}
    masks = {m: F.pad(x, (0, more[m])) for m, x in batch.masks.items()}
    return replace(batch, values=values, masks=masks)


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


def alone(
    objective: Objective, batch: Batch, parameters: list[nn.Parameter]
) -> tuple[float, tuple[torch.Tensor | None, ...]]:
    """Return loss and gradients, computed as ever; nothing of the graph outlives the call."""
    loss, _ = objective(batch)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return float(loss.detach()), gradients


REPLAYED = [name for name in SYSTEMS if model_class(name).replayable]


@pytest.mark.parametrize("name", REPLAYED)
def test_replayed_gradients_are_those_of_their_own_batch(name: str) -> None:
    """Of two shapes in turns; the model's buffers and the random numbers are left alone."""
    batches = []
    for number in range(8):
        samples = random_samples(13, seed=number, longest=5 + 4 * (number % 2))
        batch = batch_of(samples, usable_dims(name)).to("cuda")
        steps = 5 + 4 * (number % 2)
        batches.append(with_steps(batch, steps))

    model = without_chance(tiny_model(name)).to("cuda").train()

    def objective(batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        output = model(batch)
        total = model.total_loss(output)
        return total, {"total": total.detach()}

    replay = Replay(model, objective)
    for number, batch in enumerate(batches):
        buffers = [buffer.clone() for buffer in model.buffers()]
        random_state = torch.cuda.get_rng_state()
        losses = replay.set_gradients(batch)
        found = [p.grad for p in replay.parameters]
        lost = float(losses["total"])
        found = [None if g is None else g.clone() for g in found]
        after = [buffer.clone() for buffer in model.buffers()]
        model.zero_grad()
        assert len(replay.recordings) == max(0, min(number - 1, 2)), number

        # the same by itself, from the same state
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.cuda.set_rng_state(random_state)
        expected_loss, expected = alone(objective, batch, replay.parameters)
        assert lost == pytest.approx(expected_loss, rel=1e-5)
        for mine, other in zip(found, expected, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None and other is not None:
                torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-3)
        for mine, other in zip(after, model.buffers(), strict=True):
            torch.testing.assert_close(mine, other)


def test_a_training_that_replays_is_the_one_that_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dropout, twelve epochs: replays, a smaller last batch, clipping and all."""
    data = tmp_path / "data"
    small_dataset(data)
    still = {**TINY["tailor"], "dropout": 0.0, "input_dropout": 0.0, "refinement_dropout": 0.0}
    settings = {
        "data": {"path": str(data)},
        "model": still,
        "training": {"epochs": 12, "batch_size": 5, "device": "cuda", "precision": "fp32"},
    }
    replayed = emotailor.train(settings, tmp_path / "replayed", model="tailor")
    monkeypatch.setattr(model_class("tailor"), "replayable", False)
    other = emotailor.train(settings, tmp_path / "other", model="tailor")
    for mine, its in zip(replayed.history, other.history, strict=True):
        assert mine.train == pytest.approx(dict(its.train), rel=1e-3)
        assert mine.valid["loss"] == pytest.approx(its.valid["loss"], rel=1e-3)


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
