"""LDDU: attention, distributions, fusion, contrast, calibration, queue, history, its switches."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality, Sample
from emotailor.errors import ConfigError, ModelError
from emotailor.models.base import LabelStatistics
from emotailor.models.lddu import model as lddu
from emotailor.models.lddu.config import LDDUConfig
from emotailor.models.lddu.model import LDDU
from emotailor.nn.contrastive import class_numbers, supervised_contrast
from emotailor.training.config import TrainingConfig
from emotailor.training.optimizer import learning_rate, undecayed_names
from emotailor.training.recipe import recipe
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import TINY, batch_of, check_resumed, padded, state_of

L, P = len(LABELS), TINY["lddu"]["latent_size"]


def build(
    dims: dict[Modality, int] = DIMS,
    *,
    authors: bool = False,
    seed: int = 0,
    labels: int = L,
    **changes: Any,
) -> LDDU:
    torch.manual_seed(seed)
    config = LDDUConfig.authors() if authors else LDDUConfig.paper()
    model = LDDU(config.replace(**{**TINY["lddu"], **changes}), dims, labels)
    names = [f"label {k}" for k in range(labels)]
    model.prepare(LabelStatistics.of(names, torch.ones(20, labels)))
    return model.eval()


def still(**changes: Any) -> LDDU:
    """A model in training without dropout."""
    return build(dropout=0.0, context_dropout=0.0, head_dropout=0.0, **changes).train()


def batch(count: int = 5, **changes: Any) -> Batch:
    return batch_of(random_samples(count, **changes), DIMS)


def unlabelled(b: Batch) -> Batch:
    return replace(b, labels=None)


# ---------------------------------------------------------------------- sizes and recipe


def test_sizes_of_the_shipped_script() -> None:
    model: Any = LDDU(LDDUConfig.authors(), {"visual": 35, "audio": 74, "text": 768}, 6)
    # 6,086,707 of the program, but for its three poolers and two heads that nothing uses
    assert sum(p.numel() for p in model.parameters()) == 6_086_707 - 594_188
    assert {m: len(model.encoders[m].layers) for m in DIMS} == dict.fromkeys(DIMS, 3)
    assert [f.weight.shape[0] for f in model.latent_encoders["text"].hidden[::2]] == [192, 128, 128]
    assert model.queue.rows.shape == (8192, 256)
    assert model.history is None
    assert model.loss_weights == {
        "classification": 1.0,
        "common_classification": 0.3,
        "contrastive": 1.0,
        "calibration": 0.3,
    }


def test_recipe_of_the_shipped_script() -> None:
    for preset, optimizer in (("paper", "adam"), ("authors", "bert_adam")):
        found: TrainingConfig = recipe("lddu", preset)  # type: ignore[arg-type]
        assert (found.learning_rate, found.weight_decay, found.clip_norm) == (2e-4, 0.01, 1.0)
        assert (found.epochs, found.batch_size, found.seed) == (30, 64, 42)
        assert (found.threshold, found.schedule, found.optimizer) == (0.21, "cosine", optimizer)


def test_the_rate_falls_along_a_cosine_that_starts_with_the_first_step() -> None:
    """Factors of 7,680 steps: 0.5 at step 384, 0.9045 at 1536, 0.5 at 3840; from 0 at step 0."""
    settings = recipe("lddu", "authors")
    steps = (0, 384, 767, 768, 1536, 3840)
    factors = [learning_rate(settings, step, 7680) / 2e-4 for step in steps]
    assert factors == pytest.approx([0, 0.5, 0.9987, 0.9755, 0.9045, 0.5], abs=1e-4)
    # Adam's first update has a rate, its last none
    ours = recipe("lddu", "paper")
    assert learning_rate(ours, 0, 7680) == pytest.approx(2e-4 / 768)
    assert learning_rate(ours, 7679, 7680) == pytest.approx(0, abs=1e-12)


def test_input_norms_positions_and_label_embeddings_are_decayed() -> None:
    model = build()
    exempt = undecayed_names(model) - model.always_decayed
    decayed = {name for name, _ in model.named_parameters()} - exempt
    wanted = {"labels.weight", "input_norms.text.weight", "mean_heads.outer_weight"}
    assert decayed >= wanted | {"encoders.audio.embedding.position.weight"}
    assert exempt >= {"mean_heads.inner_bias", "deviation_heads.outer_bias", "common_head.3.bias"}
    assert "encoders.text.layers.0.attention.norm.weight" in exempt


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="hidden_size 12 must be a multiple of heads 5"):
        LDDUConfig.parse({**TINY["lddu"], "heads": 5})
    with pytest.raises(ModelError, match="14 steps"):
        build()(padded(batch(3, longest=1), 13, 0.0))


@pytest.mark.parametrize("labels", [1, 5, 7])
def test_any_number_of_labels(labels: int) -> None:
    model = still(labels=labels)
    b = batch(6, labels=labels)
    model.total_loss(model(b)).backward()
    assert model(b).logits.shape == (6, labels)
    assert model.queue.classes.max() < 2 * 3 * labels


# ---------------------------------------------------------------------- forward


def test_label_attention_by_hand() -> None:
    """One head; the step map is key and value; the scale is the root of r, not of d."""
    model, b = build(), batch()
    found = model(b, features=True).features
    for m in model.modalities:
        part: Any = model.attention[m]
        queries = part.query_map(model.labels.weight)
        for row, mask in enumerate(b.masks[m]):
            keys = part.step_map(found[f"encoder.{m}"][row, mask])
            weights = (queries @ keys.T / 7**0.5).softmax(-1)
            torch.testing.assert_close(found[f"attention.{m}"][row, 0][:, mask], weights)
            torch.testing.assert_close(found[f"label.{m}"][row], part.output_map(weights @ keys))
        assert found[f"attention.{m}"][:, 0].mT[~b.masks[m]].abs().sum() == 0


def test_distributions_and_fusion_by_hand() -> None:
    model, b = build(), unlabelled(batch())
    output = model(b, features=True)
    found = output.features
    joined: dict[str, Tensor] = {}
    for name in ("label", "mean", "deviation"):
        joined[name] = torch.cat([found[f"{name}.{m}"] for m in ("visual", "audio", "text")], -1)
    for m in model.modalities:
        part: Any = model.latent_encoders[m]
        x = found[f"label.{m}"]
        for layer in part.hidden[::2]:
            x = layer(x).relu()
        torch.testing.assert_close(found[f"mean.{m}"], part.mean(x))
        torch.testing.assert_close(found[f"deviation.{m}"], part.log_variance(x).exp().sqrt())

    common = model.common_head(joined["label"]).sigmoid()[..., 0]
    opinions = []
    for name, heads in (("mean", model.mean_heads), ("deviation", model.deviation_heads)):
        each = []
        for k in range(L):
            hidden = F.linear(joined[name][:, k], heads.inner_weight[k], heads.inner_bias[k])
            each.append(hidden.relu() @ heads.outer_weight[k] + heads.outer_bias[k])
        opinions.append(torch.stack(each, 1).sigmoid())
    expected = common * opinions[0] + (1 - common) * opinions[1]
    torch.testing.assert_close(output.logits.sigmoid(), expected)
    lengths = joined["deviation"].square().sum(-1).sqrt()
    torch.testing.assert_close(found["uncertainty"], lengths)


def test_the_logit_of_a_mixture_keeps_its_gradient_where_sigmoids_are_full() -> None:
    extreme = torch.tensor([[-60.0, -60.0, 60.0, 0.0]], requires_grad=True)
    logits = lddu._mixed(extreme, extreme.flip(1), extreme - 1)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()
    assert (extreme.grad != 0).any()

    c, m, s = torch.tensor([[0.3], [0.9], [0.2]]).logit().unbind()
    torch.testing.assert_close(
        lddu._mixed(c[None], m[None], s[None]).sigmoid(), torch.tensor([[0.3 * 0.9 + 0.7 * 0.2]])
    )


def test_no_forward_pass_draws_random_numbers_that_it_does_not_use() -> None:
    b = batch()
    before = torch.get_rng_state()
    model = build()
    torch.set_rng_state(before)
    model(b)
    assert torch.equal(torch.get_rng_state(), before)
    model = still()
    torch.set_rng_state(before)
    model(b)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------- losses


def test_cross_entropies_by_hand() -> None:
    model, b = build(), batch(7)
    assert b.labels is not None
    b.labels[2] = 0  # a sample without labels
    output = model(b, features=True)
    pairs = {
        "classification": output.logits,
        "common_classification": output.features["logits.common"],
    }
    for name, logits in pairs.items():
        p = logits.sigmoid()
        expected = -torch.where(b.labels > 0, p.log(), (1 - p).log()).mean()
        torch.testing.assert_close(output.losses[name], expected)


def test_rows_and_classes_of_the_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def keep(*arguments: Any, enter: bool) -> Tensor:
        given.extend(arguments)
        return supervised_contrast(*arguments, enter=enter)

    monkeypatch.setattr(lddu, "supervised_contrast", keep)
    model, b = build(temperature=0.2), batch(2)
    assert b.labels is not None
    found = model(b, features=True).features
    rows, classes, _, temperature = given
    assert temperature == 0.4
    rows, classes = rows.view(2, 3, L, 2 * P), classes.view(2, 3, L)
    for slot, m in enumerate(("visual", "audio", "text")):
        mean = F.normalize(found[f"mean.{m}"], dim=-1)
        deviation = F.normalize(found[f"deviation.{m}"], dim=-1)
        torch.testing.assert_close(rows[:, slot], torch.cat([mean, deviation], -1))
        expected = torch.arange(L) + L * (2 * slot + 1 - b.labels)
        torch.testing.assert_close(classes[:, slot].float(), expected)


def test_the_contrastive_loss_pair_by_pair() -> None:
    model, b = still(authors=True, attend_to_padding=False, temperature=0.3), batch(2)
    with torch.no_grad():
        features = model.eval()(b, features=True).features
    model.train()
    queue, pairs = model.queue.rows.clone(), []
    model.queue.classes[:5] = torch.tensor([0, 3, 6, 7, 17])
    queue_classes = model.queue.classes.clone()
    for m in model.modalities:
        parts = [F.normalize(features[f"{name}.{m}"], dim=-1) for name in ("mean", "deviation")]
        pairs.append(torch.cat(parts, -1))
    rows = torch.cat([torch.stack(pairs, 1).flatten(0, 2), queue])
    assert b.labels is not None
    owners = torch.cat([class_numbers(b.labels >= 0.5, 3).flatten(), queue_classes]).tolist()

    scores = rows @ rows.T / 2 / 0.3
    total = 0.0
    for i, own in enumerate(owners):
        others = [k for k in range(len(rows)) if k != i]
        same = [k for k in others if owners[k] == own != -1]
        highest = scores[i].max()
        bottom = ((scores[i, others] - highest).exp().sum() + 1e-12).log() + highest
        if same:  # rows without positives give 0 but count in the mean
            total -= float((scores[i, same] - bottom).mean())
    assert model(b).losses["contrastive"].item() == pytest.approx(total / len(rows), rel=1e-5)


def test_calibration_by_hand() -> None:
    for authors in (False, True):
        model, b = build(authors=authors), batch(5)
        output = model(b, features=True)
        lengths = output.features["uncertainty"]
        scores = output.features["logits.common"].sigmoid()
        wanted = scores.softmax(-1)
        if authors:
            shares = (lengths.exp() / lengths.exp().sum()).detach()
            assert shares.sum().item() == pytest.approx(1)
        else:
            shares = lengths.softmax(-1)
            assert shares.sum().item() == pytest.approx(5)
        expected = ((wanted - shares) * (wanted.log() - shares.log())).sum() / (2 * 5 * L)
        torch.testing.assert_close(output.losses["calibration"], expected)


def test_the_repaired_calibration_does_not_depend_on_batch_mates_and_can_reach_zero() -> None:
    ids, lengths = ["a", "b", "c"], torch.randn(3, L)
    scores = torch.rand(3, L)
    found = {}
    for authors in (False, True):
        model = build(authors=authors)
        parts = [model._calibrate(ids[i : i + 1], lengths[[i]], scores[[i]]) for i in range(3)]
        whole = model._calibrate(ids, lengths, scores)
        found[authors] = (whole - torch.stack(parts).mean()).abs().item()
        # the same shares on both sides
        zero = model._calibrate(ids, scores + 2, scores).item()
        assert (zero < 1e-6) == (not authors)
    assert found[False] < 1e-7
    assert found[True] > 1e-2


def test_the_calibration_is_finite_where_a_share_is_nothing() -> None:
    for authors in (False, True):
        model = build(authors=authors)
        lengths = torch.tensor([[0.0, 119.0, 1.0]], requires_grad=True)
        loss = model._calibrate(["a"], lengths, torch.tensor([[0.2, 0.3, 0.9]]))
        loss.backward()
        # shares 0, 1 and 0 beside .2428, .2683 and .4889
        logs = (0.2428 * (119 - 1.4155), 0.7317 * 1.3157, 0.4889 * (118 - 0.7156))
        assert loss.item() == pytest.approx(sum(logs) / 6, rel=1e-3)
        assert lengths.grad is not None
        assert lengths.grad.isfinite().all()


# ---------------------------------------------------------------------- queue and history


def test_training_moves_queue_and_history_and_evaluation_does_not() -> None:
    model, b = build(), batch()
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
    assert changed == {*moved, "history.keys", "history.counts", "history.sums"}
    assert not any(x.requires_grad for x in model.buffers())
    loss.backward()  # although the buffers have moved


def test_the_calibration_is_held_against_the_mean_over_the_training() -> None:
    model, b = still(), batch(4)
    seen: list[Tensor] = []
    for step in range(3):
        output = model(b, features=True)
        seen.append(output.features["logits.common"].sigmoid().detach())
        mean = torch.stack(seen).mean(0)
        shares = output.features["uncertainty"].softmax(-1)
        wanted = mean.softmax(-1)
        expected = ((wanted - shares) * (wanted.log() - shares.log())).mean() / 2
        torch.testing.assert_close(output.losses["calibration"], expected)
        with torch.no_grad():
            model.labels.weight.add_(torch.randn_like(model.labels.weight))
        assert model.history is not None
        assert sorted(model.history.counts.tolist())[-4:] == [step + 1] * 4


def test_the_programs_history_accumulates_nothing() -> None:
    model, b = still(authors=True), batch(4)
    losses = [model(b).losses["calibration"] for _ in range(2)]
    assert torch.equal(*losses)
    assert model.history is None
    assert not any(name.startswith("history") for name in model.state_dict())


def test_the_queue_starts_with_unit_rows_or_unit_columns() -> None:
    ours, program = build(), build(authors=True)
    torch.testing.assert_close(ours.queue.rows.norm(dim=1), torch.ones(53))
    torch.testing.assert_close(program.queue.rows.norm(dim=0), torch.ones(2 * P))
    shipped = LDDU(LDDUConfig.authors(), DIMS, 6)
    assert shipped.queue.rows.norm(dim=1).mean().item() == pytest.approx(0.177, abs=1e-3)
    for model in (ours, program):
        assert (model.queue.classes == -1).all()


@pytest.mark.parametrize(
    ("count", "size", "pointer"),
    [(2, 18, 0), (2, 36, 18), (4, 41, 36), (5, 30, 15), (7, 18, 9)],
)
def test_the_pointer_wraps_and_of_too_many_rows_the_last_stay(
    count: int, size: int, pointer: int
) -> None:
    """As if rows were written one after the other; 3 modalities and 3 labels: 9 a sample."""
    model, b = still(queue_size=size), batch(count)
    assert b.labels is not None
    expected = torch.full((size,), -1)
    classes = class_numbers(b.labels >= 0.5, 3).flatten()
    for place, one in enumerate(classes):
        expected[place % size] = one
    loss = model.total_loss(model(b))
    assert loss.isfinite()
    assert model.queue.pointer.item() == pointer == 9 * count % size
    assert torch.equal(model.queue.classes, expected)
    for x in model.queue.rows[expected >= 0].split(P, 1):
        torch.testing.assert_close(x.norm(dim=1), torch.ones(len(x)))
    model.total_loss(model(b)).backward()
    assert model.queue.pointer.item() == 18 * count % size


def test_a_seeded_training_is_repeated_and_resumed_exactly() -> None:
    batches = [batch(4, seed=k) for k in (0, 1, 0, 1)]
    check_resumed(lambda seed: build(seed=seed), batches)


# ---------------------------------------------------------------------- masks, missing, precision


def test_the_program_attends_to_padding() -> None:
    model, b = build(authors=True), unlabelled(batch())
    shown = model(b, features=True).features["attention.text"]
    assert shown.shape == (5, 1, L, 13)
    assert shown.min() > 0
    torch.testing.assert_close(model(padded(b, 3, 7.0)).logits, model(b).logits)


def test_the_label_attention_alone_may_read_masked_steps() -> None:
    model, b = build(mask_label_attention=False), unlabelled(batch())
    mask = b.masks["text"]
    assert not mask.all()
    found = model(b, features=True).features["attention.text"][:, 0].mT
    assert (found[~mask] > 0).all()


def test_a_missing_modality_is_a_standard_distribution_and_no_row() -> None:
    model, samples = build(), random_samples(3)
    heard = samples[1].sequences
    silent: dict[Modality, Any] = {m: x for m, x in heard.items() if m != "audio"}
    samples[1] = Sample(samples[1].id, silent, samples[1].labels)
    b = batch_of(samples, DIMS)
    found = model(b, features=True).features
    assert found["label.audio"][1].abs().max() == 0
    assert found["mean.audio"][1].abs().max() == 0
    assert (found["deviation.audio"][1] == 1).all()
    assert found["deviation.audio"][0].std() > 0
    model.train()(b)
    assert model.queue.pointer.item() == (3 * 3 - 1) * L % 53


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


def test_modalities_may_differ_in_length() -> None:
    model, b = build(), unlabelled(batch(2))
    more = padded(b, 2, 0.0)
    values = {**b.values, "text": more.values["text"]}
    mixed = Batch(values, {**b.masks, "text": more.masks["text"]}, None, b.ids)
    torch.testing.assert_close(model(mixed).logits, model(b).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    b = batch()
    full = still()(b).losses
    model = still()
    with torch.autocast("cpu", dtype):
        output = model(b)
    assert output.logits.dtype == torch.float32
    for name, loss in output.losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full[name], atol=0.05, rtol=0.05)
    model.total_loss(output).backward()
    assert model.queue.rows.dtype == torch.float32
