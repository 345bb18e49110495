"""CARAT: attention, prototypes, rebuilding, contrast, queue, shuffle, and its switches."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality, Sample
from emotailor.errors import ConfigError, ModelError
from emotailor.models.carat import model as carat
from emotailor.models.carat.config import CARATConfig
from emotailor.models.carat.model import CARAT
from emotailor.nn.contrastive import supervised_contrast
from emotailor.training.recipe import recipe
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import TINY, batch_of, check_resumed, padded, state_of

L, P = len(LABELS), TINY["carat"]["latent_size"]


def build(
    dims: dict[Modality, int] = DIMS, *, authors: bool = False, seed: int = 0, **changes: Any
) -> CARAT:
    torch.manual_seed(seed)
    config = CARATConfig.authors() if authors else CARATConfig.paper()
    model = CARAT(config.replace(**{**TINY["carat"], **changes}), dims, len(LABELS))
    torch.nn.init.normal_(model.prototypes)  # as after some training
    return model.eval()


def batch(count: int = 5, **changes: Any) -> Batch:
    return batch_of(random_samples(count, **changes), DIMS)


def unlabelled(b: Batch) -> Batch:
    return Batch(b.values, b.masks, None, b.ids)


def test_sizes_of_the_shipped_script() -> None:
    model: Any = CARAT(CARATConfig.paper(), {"visual": 35, "audio": 74, "text": 300}, 6)
    assert {m: len(model.encoders[m].layers) for m in DIMS} == {"visual": 4, "audio": 4, "text": 6}
    assert model.label_queries.shape == model.classifiers.shape == (3, 6, 256)
    assert model.rebuilders["audio"].weight.shape == (256, 768)
    assert model.aggregation[0].weight.shape == (256, 6 * 256)
    assert [tuple(f[0].weight.shape) for f in model.projections.values()] == [(128, 256)] * 3
    assert [tuple(f[2].weight.shape) for f in model.projections.values()] == [(64, 128)] * 3
    assert model.prototypes.shape == (3, 2, 6, 64)
    assert model.queue.rows.shape == (8192, 64)
    assert model.queue.pointer.dtype == torch.int64
    assert model.loss_weights == {
        "classification": 1.0,
        "label_classification": 0.01,
        "first_classification": 0.1,
        "contrastive": 1.0,
        "decoded_mse": 1.0,
        "first_mse": 1.0,
        "second_mse": 0.0,
        "aggregation": 1.0,
        "shuffled_aggregation": 0.1,
    }
    for preset in ("paper", "authors"):
        settings = recipe("carat", preset)
        assert (settings.learning_rate, settings.weight_decay) == (5e-5, 0.01)
        assert (settings.epochs, settings.batch_size, settings.threshold) == (20, 64, 0.25)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="hidden_size 12 must be a multiple of heads 5"):
        CARATConfig.parse({**TINY["carat"], "heads": 5})
    with pytest.raises(ModelError, match="rebuilt from the others"):
        build({"text": 11})
    with pytest.raises(ModelError, match="14 steps"):
        build()(padded(batch(3, longest=1), 13, 0.0))


def test_label_attention_by_hand() -> None:
    """Scores are plain products with the encoder's outputs, values those outputs themselves."""
    model, b = build(), batch()
    found = model(b, features=True).features
    for k, m in enumerate(model.modalities):
        for row, mask in enumerate(b.masks[m]):
            x = found[f"encoder.{m}"][row, mask]
            weights = (model.label_queries[k] @ x.T).softmax(-1)
            torch.testing.assert_close(found[f"attention.{m}"][row, 0][:, mask], weights)
            torch.testing.assert_close(found[f"label.{m}"][row], weights @ x)
        assert found[f"attention.{m}"][:, 0].mT[~b.masks[m]].abs().sum() == 0


@pytest.mark.parametrize("training", [False, True])
def test_prototypes_are_mixed_in_training_and_chosen_in_evaluation(training: bool) -> None:
    model, b = build(dropout=0.0).train(training), unlabelled(batch())
    found = model(b, features=True).features
    for k, m in enumerate(model.modalities):
        unit = F.normalize(found[f"latent.label.{m}"], dim=-1)
        near = [(unit * model.prototypes[k, s]).sum(-1, keepdim=True) for s in (0, 1)]
        if training:
            share = torch.sigmoid(near[0] - near[1])
        else:
            share = (near[0] > near[1]).float()
            assert 0 < share.mean() < 1
        mixed = share * model.prototypes[k, 0] + (1 - share) * model.prototypes[k, 1]
        torch.testing.assert_close(found[f"prototype.{m}"], model.decoders[m](mixed))


def test_equally_close_prototypes_count_as_negative() -> None:
    model = build()
    model.prototypes.zero_()
    latent = torch.ones(2, 3, L, P)
    model.prototypes[:, :, :, 0] = 1.0  # the same product for both
    model.prototypes[:, 1, :, 1:] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    chosen = model._nearest_prototypes(latent, torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(chosen, model.prototypes[:, 1].expand(2, -1, -1, -1))


def test_rebuilding_and_logits_by_hand() -> None:
    model, b = build(), unlabelled(batch())
    output = model(b, features=True)
    found = output.features
    v, a, t = (found[f"decoded.{m}"] for m in model.modalities)
    first = {
        "visual": torch.cat([found["prototype.visual"], a, t], -1),
        "audio": torch.cat([v, found["prototype.audio"], t], -1),
        "text": torch.cat([v, a, found["prototype.text"]], -1),
    }
    for m, pieces in first.items():
        torch.testing.assert_close(found[f"first.{m}"], model.rebuilders[m](pieces))
    together = torch.cat([found[f"first.{m}"] for m in model.modalities], -1)
    logits, votes = [], []
    for k, m in enumerate(model.modalities):
        second = model.rebuilders[m](together)
        torch.testing.assert_close(found[f"second.{m}"], second)
        logits.append((second * model.classifiers[k]).sum(-1))
        votes.append(model.aggregation(second.flatten(1)).sigmoid())
    best = torch.stack(logits).amax(0)
    torch.testing.assert_close(found["logits.second"], best)
    expected = (best.sigmoid() + torch.stack(votes).mean(0)) / 2
    torch.testing.assert_close(output.logits.sigmoid(), expected)


def test_losses_by_hand() -> None:
    model, b = build(), batch(7)
    assert b.labels is not None
    output = model(b, features=True)
    found, losses = output.features, output.losses
    names = {"classification": "second", "label_classification": "label"}
    names |= {"first_classification": "first"}
    for loss, name in names.items():
        p = found[f"logits.{name}"].sigmoid()
        expected = -torch.where(b.labels > 0, p.log(), (1 - p).log()).mean()
        torch.testing.assert_close(losses[loss], expected)
    p = found["logits.aggregation"].sigmoid()
    expected = -torch.where(b.labels[:, None] > 0, p.log(), (1 - p).log()).mean()
    torch.testing.assert_close(losses["aggregation"], expected)
    for name in ("decoded", "first", "second"):
        parts = [(found[f"{name}.{m}"] - found[f"label.{m}"]).square().mean() for m in DIMS]
        torch.testing.assert_close(losses[f"{name}_mse"], sum(parts))


def test_classes_and_rows_of_the_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Tensor] = []

    def keep(*arguments: Any, enter: bool) -> Tensor:
        given.extend(arguments[:2])
        return supervised_contrast(*arguments, enter=enter)

    monkeypatch.setattr(carat, "supervised_contrast", keep)
    model, b = build(), batch(2)
    assert b.labels is not None
    found = model(b, features=True).features
    rows, classes = given[0].view(2, 3, 3, L, P), given[1].view(2, 3, 3, L)
    for k, m in enumerate(model.modalities):
        for j, kind in enumerate(("label", "first", "second")):
            unit = F.normalize(found[f"latent.{kind}.{m}"], dim=-1)
            torch.testing.assert_close(rows[:, j, k], unit)
            expected = (2 * k + 1 - b.labels) * L + torch.arange(L)
            torch.testing.assert_close(classes[:, j, k].float(), expected)


def test_prototypes_follow_one_sample_after_the_other() -> None:
    model, b = build(dropout=0.0, prototype_momentum=0.7).train(), batch(7, missing=0.5)
    assert b.labels is not None
    expected = model.prototypes.clone()
    found = model(b, features=True).features
    for k, m in enumerate(model.modalities):
        unit = F.normalize(found[f"latent.label.{m}"], dim=-1)
        for row in range(len(b)):
            for label in range(L):
                sign = int(b.labels[row, label] == 0)
                if b.masks[m][row].any():
                    old = expected[k, sign, label]
                    expected[k, sign, label] = 0.7 * old + 0.3 * unit[row, label]
    assert not all(b.masks[m].any(1).all() for m in DIMS)
    torch.testing.assert_close(model.prototypes, expected)


def test_training_moves_the_state_and_evaluation_does_not() -> None:
    model, b = build(queue_size=200), batch()
    first = model(b)
    before = state_of(model)
    again = model(b)
    assert all(torch.equal(x, before[name]) for name, x in state_of(model).items())
    assert all(torch.equal(first.losses[name], again.losses[name]) for name in first.losses)
    model.train()(unlabelled(b))
    assert all(torch.equal(x, before[name]) for name, x in state_of(model).items())
    loss = model.total_loss(model(b))
    after = state_of(model)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    moved = {"queue.rows", "queue.classes", "queue.pointer", "queue.pair_sums"}
    assert changed == {"prototypes", *moved}
    assert model.queue.pointer.item() == 9 * 5 * L
    assert not any(x.requires_grad for x in model.buffers())
    loss.backward()  # although the buffers have moved


def test_a_seeded_training_is_repeated_and_resumed_exactly() -> None:
    batches = [batch(4, seed=k) for k in range(4)]
    check_resumed(lambda seed: build(seed=seed), batches)


def test_the_shuffle_of_evaluation_is_fixed_and_that_of_training_drawn() -> None:
    model = build()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    fixed = [model.draw_shuffle(7) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(*fixed, strict=True))
    model.train()
    drawn = [model.draw_shuffle(7) for _ in range(2)]
    assert not torch.equal(drawn[0][0], drawn[1][0])
    samples, modalities = drawn[0]
    assert samples.shape == modalities.shape == (7, 3, L)
    assert (samples.sort(0).values == torch.arange(7)[:, None, None]).all()
    assert (modalities.sort(1).values == torch.arange(3)[None, :, None]).all()


@pytest.mark.parametrize("authors", [False, True])
def test_shuffled_features_take_their_targets_along(authors: bool) -> None:
    model = build(authors=authors)
    labels = (torch.arange(5 * L).view(5, L) % 2).float()
    own = torch.arange(L).expand(5, 3, L)
    modality = torch.arange(3)[:, None].expand(5, 3, L)
    sample = torch.arange(5)[:, None, None].expand(5, 3, L)
    x = torch.stack([sample, modality, own, labels[:, None].expand(5, 3, L)], -1).float()
    mixed, targets = model._shuffle(x, labels)
    torch.testing.assert_close(mixed[..., 2], own.float())  # labels keep their places
    torch.testing.assert_close(mixed[..., 3], targets)
    pairs = (mixed[..., 0] * 3 + mixed[..., 1]).flatten(0, 1)
    times = torch.stack([torch.bincount(column.long(), minlength=15) for column in pairs.T])
    # DIVERGENCE (shuffle): in turn, every feature is used once
    assert ((times == 1).all().item()) == (not authors)
    samples, modalities = model.draw_shuffle(5)
    place = (2, 1, 0)
    source = samples[2, 1 if authors else modalities[place], 0]
    assert mixed[place][:2].tolist() == [source, modalities[place]]


def test_the_queue_starts_with_unit_rows_or_unit_columns() -> None:
    ours, program = build(), build(authors=True)
    torch.testing.assert_close(ours.queue.rows.norm(dim=1), torch.ones(53))
    torch.testing.assert_close(program.queue.rows.norm(dim=0), torch.ones(P))
    assert program.queue.rows.norm(dim=1).std() > 0.01
    for model in (ours, program):
        assert (model.queue.classes == -1).all()


def test_the_program_attends_to_padding() -> None:
    model, b = build(authors=True), unlabelled(batch())
    shown = model(b, features=True).features["attention.text"]
    assert shown.shape == (5, 1, L, 13)
    assert shown.min() > 0
    torch.testing.assert_close(model(padded(b, 3, 7.0)).logits, model(b).logits)


def test_padding_of_any_kind_changes_nothing() -> None:
    model, b = build(), batch(5, missing=0.4)
    plain = model(b)
    for fill in (3.0, float("inf"), float("nan")):
        more = model(padded(b, 3, fill))
        torch.testing.assert_close(plain.logits, more.logits, atol=1e-5, rtol=1e-5)
        for name, loss in plain.losses.items():
            torch.testing.assert_close(loss, more.losses[name], atol=1e-5, rtol=1e-5)


def test_a_missing_modality_is_stood_for_by_its_prototypes() -> None:
    model = build()
    samples = random_samples(3)
    whole = batch_of(samples, DIMS)
    heard = samples[1].sequences
    silent: dict[Modality, Any] = {m: x for m, x in heard.items() if m != "audio"}
    samples[1] = Sample(samples[1].id, silent, samples[1].labels)
    b = batch_of(samples, DIMS)
    output = model(b, features=True)
    found = output.features
    even = model.decoders["audio"](model.prototypes[1].mean(0))
    torch.testing.assert_close(found["prototype.audio"][1], even)
    torch.testing.assert_close(found["decoded.audio"][1], even)
    assert found["label.audio"][1].abs().max() == 0
    gone = (found["decoded.audio"] - found["label.audio"])[[0, 2]].square().mean()
    rest = sum(
        (found[f"decoded.{m}"] - found[f"label.{m}"]).square().mean() for m in ("visual", "text")
    )
    torch.testing.assert_close(output.losses["decoded_mse"], gone + rest)
    others = [
        (found[f"label.{m}"][1] * model.classifiers[k]).sum(-1)
        for k, m in ((0, "visual"), (2, "text"))
    ]
    torch.testing.assert_close(found["logits.label"][1], torch.stack(others).amax(0))
    model.train()(b)
    assert model.queue.pointer.item() == (9 * 3 - 1) * L % 53
    assert not torch.allclose(output.logits[1], model.eval()(whole).logits[1])


@pytest.mark.parametrize("authors", [False, True])
def test_extreme_batches_stay_finite(authors: bool) -> None:
    empty = [Sample("e[0]", {}, s.labels) for s in random_samples(1)]
    one_step = random_samples(1, longest=1)
    for samples in (empty, one_step, empty + one_step):
        model = build(authors=authors).train()
        output = model(batch_of(samples, DIMS))
        loss = model.total_loss(output)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(output.logits).all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert all(torch.isfinite(x).all() for x in model.buffers())


def test_hidden_steps_in_the_middle_never_happened_to_the_attention() -> None:
    model, b = build(), unlabelled(batch(2, longest=9))
    masks = {m: x.clone() for m, x in b.masks.items()}
    for mask in masks.values():
        mask[:, 1:3] = False
    values = {m: x.clone() for m, x in b.values.items()}
    held = Batch(values, masks, None, b.ids)
    before = model(held).logits
    for x in values.values():
        x[:, 1:3] = 9.0
    torch.testing.assert_close(model(held).logits, before)


def test_modalities_may_differ_in_length() -> None:
    model, b = build(), unlabelled(batch(2))
    more = padded(b, 2, 0.0)
    values = {**b.values, "text": more.values["text"]}
    mixed = Batch(values, {**b.masks, "text": more.masks["text"]}, None, b.ids)
    torch.testing.assert_close(model(mixed).logits, model(b).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, b = build(dropout=0.0).train(), batch()
    full = model(b).losses
    model = build(dropout=0.0).train()
    with torch.autocast("cpu", dtype):
        output = model(b)
    assert output.logits.dtype == torch.float32
    for name, loss in output.losses.items():
        assert loss.dtype == torch.float32
        if "shuffled" not in name:
            torch.testing.assert_close(loss, full[name], atol=0.05, rtol=0.05)
    model.total_loss(output).backward()
    assert model.queue.rows.dtype == model.prototypes.dtype == torch.float32


def test_a_label_that_never_occurs() -> None:
    model = build().train()
    model.prototypes.zero_()
    b = batch(6)
    assert b.labels is not None
    b.labels[:, 1] = 0
    for _ in range(2):
        model.total_loss(model(b)).backward()
    assert model.prototypes[:, 0, 1].abs().max() == 0
    assert model.prototypes[:, 1, 1].abs().max() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
