"""What every system must pass where samples lack steps of a modality, anywhere in the sequence."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.table import SYSTEMS, find_system
from tests.helpers import holed_samples
from tests.systems import TINY, batch_of, padded, tiny_model, usable_dims

READS_PADDING = ("sgm", "carat", "lddu", "mult", "hhmpn")
"""The programs of these take padding for steps of zeros, and so do their presets ``authors``."""

PLACED = ("raven", "dfg", "mult", "hhmpn", "tailor", "carat", "lddu")
"""These know positions, or join modalities step by step; to the others only the order matters."""


@dataclass(frozen=True)
class Seen:
    """What a model makes of a batch.

    Attributes:
        logits: (B, L).
        losses: by name.
        parameters: gradient of each parameter; of a fitted model the parameter itself.
        inputs: modality -> gradient of the values, (B, T, dim).
    """

    logits: Tensor
    losses: dict[str, Tensor]
    parameters: dict[str, Tensor]
    inputs: dict[Modality, Tensor]


def holed_batch(name: str) -> Batch:
    return batch_of(holed_samples(7, seed=4), usable_dims(name))


def filled(batch: Batch) -> Batch:
    """The same batch with huge numbers at masked steps, and NaN at every other feature."""
    generator = torch.Generator().manual_seed(5)
    values = {}
    for m, x in batch.values.items():
        noise = 1e6 * torch.randn(x.shape, generator=generator)
        noise[..., 1::2] = torch.nan
        values[m] = torch.where(batch.masks[m][..., None], x, noise)
    return replace(batch, values=values)


def see(model: EmotionModel, batch: Batch, *, train: bool = False) -> Seen:
    """Run a copy of a model without dropout, and compute the gradients of its total loss."""
    torch.manual_seed(6)
    model = copy.deepcopy(model).train(train)
    for module in model.modules():
        for rate in ("p", "rate", "dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)

    if isinstance(model, FittedModel):
        model.fit([batch])
        output = model(batch)
        return Seen(output.logits, dict(output.losses), dict(model.named_parameters()), {})

    values = {m: x.clone().requires_grad_() for m, x in batch.values.items()}
    output = model(replace(batch, values=values))
    torch.autograd.backward(model.total_loss(output))
    parameters = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    inputs = {m: x.grad for m, x in values.items() if x.grad is not None}
    return Seen(output.logits.detach(), dict(output.losses), parameters, inputs)


def compare(found: Seen, expected: Seen, tolerance: float) -> None:
    kinds = {
        "logits": ({"": found.logits}, {"": expected.logits}),
        "loss": (found.losses, expected.losses),
        "gradient": (found.parameters, expected.parameters),
    }
    for one, other in kinds.values():
        assert one.keys() == other.keys()
        for key, x in one.items():
            torch.testing.assert_close(x, other[key], atol=tolerance, rtol=tolerance, msg=key)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", SYSTEMS)
def test_what_a_missing_step_holds_is_never_read(name: str, train: bool) -> None:
    model, batch = tiny_model(name), holed_batch(name)
    plain = see(model, batch, train=train)
    assert all(x.isfinite().all() for x in plain.parameters.values())
    other = see(model, filled(batch), train=train)
    compare(other, plain, 0.0)
    assert set(other.inputs) == (set() if name in ("br", "lp", "cc") else set(batch.values))
    for m, gradient in other.inputs.items():
        assert (gradient[~batch.masks[m]] == 0).all(), m
        assert (gradient[batch.masks[m]] != 0).any(), m


@pytest.mark.parametrize("name", READS_PADDING)
def test_nor_is_it_where_the_program_takes_missing_steps_for_zeros(name: str) -> None:
    program = find_system(name).preset("authors").to_json()
    model = tiny_model(name, **{**program, **TINY[name]})
    assert model.config.attend_to_padding
    batch = holed_batch(name)
    compare(see(model, filled(batch)), see(model, batch), 0.0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_behind_missing_steps_changes_nothing(name: str) -> None:
    model, batch = tiny_model(name), holed_batch(name)
    plain = see(model, batch, train=True)
    more = see(model, padded(batch, 4, 3.0), train=True)
    compare(more, plain, 1e-5)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_missing_step_is_no_step_of_zeros(name: str) -> None:
    model, batch = tiny_model(name), holed_batch(name)
    lacking = see(model, batch).logits
    for m, mask in batch.masks.items():
        masks = {**batch.masks, m: torch.ones_like(mask)}
        whole = see(model, replace(batch, masks=masks)).logits
        differ = (lacking - whole).abs().amax(1) > 1e-6
        # to RAVEN a face without a word is nothing
        words = batch.masks["text"] if name == "raven" and m != "text" else torch.ones_like(mask)
        assert differ[(~mask & words).any(1)].all(), m


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_modality_that_lacks_all_its_steps_is_missing(name: str) -> None:
    model, samples = tiny_model(name), holed_samples(7, seed=4)
    assert samples[3].missing["visual"].all()
    without = list(samples)
    sequences = dict(samples[3].sequences)
    del sequences["visual"]
    without[3] = replace(samples[3], sequences=sequences)
    dims = usable_dims(name)
    compare(see(model, batch_of(samples, dims)), see(model, batch_of(without, dims)), 0.0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_real_steps_keep_their_order_or_their_places(name: str) -> None:
    """Missing steps cut out: the same to a system without positions, not to the others."""
    model, dims = tiny_model(name), usable_dims(name)
    samples = holed_samples(7, seed=4)
    cut = [
        replace(s, sequences={m: x[~s.missing[m]] for m, x in s.sequences.items()}, missing={})
        for s in samples
    ]
    found, expected = see(model, batch_of(samples, dims)), see(model, batch_of(cut, dims))
    if name not in PLACED:
        compare(found, expected, 1e-5)
        return
    assert ((found.logits - expected.logits).abs().amax(1) > 1e-6).all()
