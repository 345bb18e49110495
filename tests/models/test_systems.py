"""What every system must pass: masks, gradients, learning, saving, missing modalities."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import Sample
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.base import FittedModel
from emotailor.models.factory import model_class
from emotailor.models.table import SYSTEMS, find_system
from emotailor.nn.dropout import own_randomness
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import ModelCard, load_model, save_model
from emotailor.training.threads import Workers, backward_in_threads
from tests.helpers import LABELS, random_samples
from tests.systems import TINY, batch_of, padded, subsets, tiny_model, usable_dims

NEURAL = [name for name in SYSTEMS if name not in ("br", "lp", "cc")]
FITTED = [name for name in SYSTEMS if name in ("br", "lp", "cc")]


def trained(name: str) -> tuple[torch.nn.Module, list[Sample]]:
    """A model that has seen some samples."""
    model, samples = tiny_model(name), random_samples(40, seed=2, missing=0.2)
    if isinstance(model, FittedModel):
        dims = usable_dims(name)
        model.fit([batch_of(samples[:23], dims), batch_of(samples[23:], dims)])
    return model.eval(), samples


def test_every_system_is_tested_here() -> None:
    assert set(TINY) == set(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_is_what_the_table_says(name: str) -> None:
    assert issubclass(model_class(name), FittedModel) == (name in FITTED)
    model = tiny_model(name)
    assert model.num_labels == len(LABELS)
    assert tuple(model.dims) == tuple(usable_dims(name))


@pytest.mark.parametrize("name", SYSTEMS)
def test_padding_changes_nothing(name: str) -> None:
    model, samples = trained(name)
    batch = batch_of(samples[:5], usable_dims(name))
    plain = model(batch)
    for fill in (0.0, 3.0):
        more = model(padded(batch, 4, fill))
        torch.testing.assert_close(plain.logits, more.logits, atol=1e-5, rtol=1e-5)
        for key, loss in plain.losses.items():
            torch.testing.assert_close(loss, more.losses[key], atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_sample_does_not_depend_on_its_batch_mates(name: str) -> None:
    model, samples = trained(name)
    dims = usable_dims(name)
    together = model(unlabelled(batch_of(samples[:5], dims))).logits
    alone = [model(unlabelled(batch_of([sample], dims))).logits for sample in samples[:5]]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


def unlabelled(batch: Batch) -> Batch:
    return Batch(batch.values, batch.masks, None, batch.ids)


@pytest.mark.parametrize("name", NEURAL)
def test_losses_and_their_weights_have_the_same_names(name: str) -> None:
    model = tiny_model(name)
    output = model(batch_of(random_samples(6), usable_dims(name)))
    assert set(output.losses) == set(model.loss_weights)
    assert model(unlabelled(batch_of(random_samples(2), usable_dims(name)))).losses == {}


@pytest.mark.parametrize("name", NEURAL)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = tiny_model(name).train()
    model.total_loss(model(batch_of(random_samples(9), usable_dims(name)))).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NEURAL)
def test_losses_that_are_means_over_samples_may_be_computed_in_parts(name: str) -> None:
    model, dims = tiny_model(name), usable_dims(name)
    if not model.sample_means:
        return
    samples = random_samples(7)
    whole = model.total_loss(model(batch_of(samples, dims)))
    parts = [model.total_loss(model(batch_of(x, dims))) for x in (samples[:3], samples[3:])]
    torch.testing.assert_close(whole, parts[0] * 3 / 7 + parts[1] * 4 / 7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NEURAL)
def test_threads_may_compute_parts_where_the_model_says_so(name: str) -> None:
    model, dims = tiny_model(name), usable_dims(name)
    if not model.parts_in_threads:
        return
    assert model.sample_means
    model.train()
    next(model.parameters()).requires_grad_(False)
    samples = random_samples(7)
    batches, seen = [batch_of(x, dims) for x in (samples[:3], samples[3:])], torch.get_rng_state()

    def loss_of(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        output = model(batch)
        return model.total_loss(output), dict(output.losses)

    with own_randomness(5):
        loss_of(batches[0])
    assert torch.equal(torch.get_rng_state(), seen)  # nothing but the dropout of nn.dropout
    found = []
    with ThreadPoolExecutor(2) as pool:
        for workers in (Workers(1, None), Workers(2, pool)):
            torch.manual_seed(4)
            model.zero_grad()
            backward_in_threads(model, loss_of, batches, [3 / 7, 4 / 7], workers)
            found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(found[0]) > 1
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("name", NEURAL)
def test_overfits_eight_samples(name: str) -> None:
    model, dims = tiny_model(name), usable_dims(name)
    model.train()
    for module in model.modules():  # what is dropped out cannot be learned by heart
        for rate in ("p", "rate", "dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    rng = np.random.default_rng(3)
    samples = [
        Sample(s.id, s.sequences, rng.integers(0, 2, len(LABELS)).astype(np.uint8))
        for s in random_samples(8)
    ]
    batch = batch_of(samples, dims)
    assert batch.labels is not None
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)

    def knows_all() -> bool:
        logits = model.eval()(unlabelled(batch)).logits
        model.train()
        return bool(((logits > 0).float() == batch.labels).all())

    # 300 updates are enough for all, and most need fewer
    for _ in range(12):
        for _ in range(25):
            optimizer.zero_grad()
            model.total_loss(model(batch)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        if knows_all():
            break
    assert knows_all()


@pytest.mark.parametrize("name", SYSTEMS)
def test_missing_modalities_give_finite_results(name: str) -> None:
    model, dims = tiny_model(name), usable_dims(name)
    samples = random_samples(11, missing=0.6)
    samples = [s for s in samples if any(m in s.sequences for m in dims)]
    assert any(len(s.sequences) < 3 for s in samples)
    if isinstance(model, FittedModel):
        model.fit([batch_of(samples, dims)])
        assert torch.isfinite(model(batch_of(samples, dims)).logits).all()
        return
    output = model.train()(batch_of(samples, dims))
    assert torch.isfinite(output.logits).all()
    model.total_loss(output).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_subset_of_modalities(name: str) -> None:
    for dims in subsets(name):
        model = tiny_model(name, dims)
        batch = batch_of(random_samples(6), dims)
        if isinstance(model, FittedModel):
            model.fit([batch])
        assert model(batch).logits.shape == (6, len(LABELS))


@pytest.mark.parametrize("name", SYSTEMS)
def test_saved_loaded_and_explained(name: str, tmp_path: Path) -> None:
    model, samples = trained(name)
    dims = usable_dims(name)
    card = ModelCard(
        system=name,
        config=find_system(name).config.parse(TINY[name]).to_json(),
        label_names=LABELS,
        dims=dims,
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(LABELS)},
    )
    save_model(tmp_path / "model", card, model, None)  # type: ignore[arg-type]
    torch.manual_seed(77)
    loaded = load_model(tmp_path / "model")
    batch = unlabelled(batch_of(samples[:5], dims))
    assert torch.equal(loaded.model(batch).logits, model(batch).logits)
    whole = [s for s in random_samples(9, seed=5) if len(next(iter(s.sequences.values()))) > 2]
    why = Predictor(loaded).explain(whole[0])
    for label in LABELS:
        assert set(why.modalities[label]) == set(dims)
        assert np.isfinite(list(why.modalities[label].values())).all()
        assert all(np.isfinite(x).all() for x in why.steps[label].values())
