"""Every system computes the same the plain way and fast, and the plain way takes no short cut."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import CTCAligned
from emotailor.models.base import EmotionModel
from emotailor.models.table import SYSTEMS
from emotailor.nn import contrastive, dropout_attention, recurrent
from emotailor.nn.attention import MultiHeadAttention
from emotailor.nn.cross_attention import CrossTransformer
from emotailor.nn.dropout import KeepWeights
from emotailor.nn.plain import plain_paths
from emotailor.nn.recurrent import RecurrentEncoder
from tests.helpers import random_samples
from tests.systems import batch_of, tiny_model, usable_dims

NEURAL = [name for name in SYSTEMS if name not in ("br", "lp", "cc")]
ALIGNED = [f"aligned {name}" for name in ("tailor", "simm")]  # behind an alignment module


def build(name: str) -> tuple[EmotionModel, Batch]:
    """A small model in training and a batch with missing modalities."""
    system = name.removeprefix("aligned ")
    model = tiny_model(system)
    batch = batch_of(random_samples(9, seed=3, missing=0.2), usable_dims(system))
    if name != system:
        rates = {m: 1.0 for m in model.dims if m != "text"}
        settings = AlignmentConfig(kind="ctc", target_steps=11, steps_per_target=rates)
        torch.manual_seed(1)
        model = CTCAligned(settings, model)
    return model.train(), batch


def losses_and_gradients(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model, batch = build(name)
    torch.manual_seed(7)  # CARAT's shuffles are the same then
    output = model(batch)
    model.total_loss(output).backward()
    gradients = {
        key: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for key, parameter in model.named_parameters()
    }
    return {"logits": output.logits.detach(), **output.losses}, gradients


@pytest.fixture
def nothing_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is on, and everything is kept: so the paths of training are taken."""

    def ones(self: object, shape: tuple[int, ...], out: Tensor | None = None) -> Tensor:
        return torch.ones(shape) if out is None else out.fill_(1)

    monkeypatch.setattr(KeepWeights, "draw", ones)
    monkeypatch.setattr(F, "dropout", lambda x, rate: x)
    for module in ("dropout", "dropout_attention"):  # draws nothing from torch's random state
        monkeypatch.setattr(f"emotailor.nn.{module}.draw_seed", lambda: 0)


@pytest.mark.usefixtures("nothing_dropped")
@pytest.mark.parametrize("name", NEURAL + ALIGNED)
def test_losses_and_gradients_are_the_same(name: str) -> None:
    losses, gradients = losses_and_gradients(name)
    with plain_paths():
        plain_losses, plain_gradients = losses_and_gradients(name)

    assert losses.keys() == plain_losses.keys()
    for key, loss in losses.items():
        apart = (loss - plain_losses[key]).abs().max()
        assert apart <= 1e-6 * max(1.0, loss.abs().max().item()), key

    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    assert largest > 0
    for key, gradient in gradients.items():
        apart = (gradient - plain_gradients[key]).abs().max()
        assert apart <= 1e-6 * largest, key


class Counter:
    """Counts the calls of fast and plain functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: dict[str, int] = {}
        self._monkeypatch = monkeypatch

    def watch(self, owner: Any, name: str, *, key: str | None = None) -> None:
        original = getattr(owner, name)
        key = key or name
        self.calls[key] = 0

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[key] += 1
            return original(*args, **kwargs)

        self._monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the calls of everything that only saves time."""
    counter = Counter(monkeypatch)
    counter.watch(F, "scaled_dot_product_attention")
    counter.watch(dropout_attention._Attend, "apply", key="written-out attention")
    counter.watch(MultiHeadAttention, "_share_queries")
    counter.watch(KeepWeights, "draw")
    counter.watch(recurrent._Together, "run", key="rows together")
    counter.watch(recurrent, "pack_padded_sequence")
    counter.watch(contrastive, "_contrast_of_new", key="new pairs alone")
    return counter


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the calls of what is computed in their place."""
    counter = Counter(monkeypatch)
    counter.watch(F, "dropout")
    counter.watch(MultiHeadAttention, "_attend_plainly")
    counter.watch(recurrent._RowByRow, "run", key="row by row")
    counter.watch(contrastive, "_plain_contrast")
    return counter


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NEURAL + ALIGNED)
def test_the_plain_way_takes_no_short_cut(
    name: str, training: bool, fast: Counter, plain: Counter
) -> None:
    model, batch = build(name)
    model.train(training)
    parts = [type(module) for module in model.modules()]

    model.total_loss(model(batch)).backward()
    assert not any(plain.calls.values())
    # every system but these has at least one block with a fast way
    assert any(fast.calls.values()) or (name == "simm")
    before = dict(fast.calls)
    with plain_paths():
        model.total_loss(model(batch)).backward()

    assert fast.calls == before
    assert (plain.calls["_attend_plainly"] > 0) == (MultiHeadAttention in parts)
    assert (plain.calls["row by row"] > 0) == (RecurrentEncoder in parts)
    assert (plain.calls["_plain_contrast"] > 0) == (name in ("carat", "lddu"))
    assert (plain.calls["dropout"] > 0) == (training and before["draw"] > 0)


def test_mult_computes_all_steps_of_its_memories() -> None:
    model: Any
    model, batch = build("mult")
    lengths: list[int] = []

    def keep(module: torch.nn.Module, inputs: Any, output: tuple[Tensor, Any]) -> None:
        lengths.append(output[0].shape[1])

    for memory in model.network.memories.values():
        assert isinstance(memory, CrossTransformer)
        memory.register_forward_hook(keep)
    model(batch)
    assert lengths == [1, 1, 1]
    with plain_paths():
        model(batch)
    assert lengths[3:] == [batch.values[m].shape[1] for m in model.modalities]
    assert min(lengths[3:]) > 1
