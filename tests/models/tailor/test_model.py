"""TAILOR: the paper's equations, masks, gradients, and its switches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError, ModelError
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from tests.helpers import DIMS, LABELS, SMALL, random_samples


def build(config: TailorConfig = SMALL, dims: dict[Modality, int] = DIMS, seed: int = 0) -> Tailor:
    torch.manual_seed(seed)
    model = Tailor(config.replace(initial_std=0.2), dims, len(LABELS))
    return model.eval()


def batch_of(samples: list[Sample], dims: dict[Modality, int] = DIMS) -> Batch:
    return collate(samples, dims, aligned=True)


def padded(batch: Batch, steps: int, fill: float) -> Batch:
    """The same batch with ``steps`` more steps of padding, filled with garbage."""
    values = {m: F.pad(x, (0, 0, 0, steps), value=fill) for m, x in batch.values.items()}
    masks = {m: F.pad(x, (0, steps)) for m, x in batch.masks.items()}
    return Batch(values, masks, batch.labels, batch.ids)


def test_paper_sizes() -> None:
    config = TailorConfig.paper()
    layers = (config.visual_layers, config.audio_layers, config.text_layers, config.cross_layers)
    assert (config.hidden_size, config.heads, layers) == (256, 8, (4, 4, 6, 3))
    weights = Tailor(config, {"visual": 35, "audio": 74, "text": 300}, 6).loss_weights
    assert weights == {
        "classification": 1.0,
        "adversarial_common": 0.01,
        "adversarial_private": 0.01,
        "orthogonality": 5e-6,
        "common_semantics": 0.5,
    }


def test_padding_changes_nothing() -> None:
    model = build()
    batch = batch_of(random_samples(5, missing=0.3))
    plain = model(batch, features=True)
    for fill in (0.0, 3.0):
        more = model(padded(batch, 4, fill), features=True)
        torch.testing.assert_close(plain.logits, more.logits, atol=1e-5, rtol=0)
        for name, loss in plain.losses.items():
            torch.testing.assert_close(loss, more.losses[name], atol=1e-5, rtol=1e-5)
        for name in ("attention.text", "attention.common"):
            steps = plain.features[name].shape[-1]
            torch.testing.assert_close(
                plain.features[name], more.features[name][..., :steps], atol=1e-5, rtol=0
            )
            assert more.features[name][..., steps:].abs().max() == 0


def test_padding_gives_the_same_gradients() -> None:
    batch = batch_of(random_samples(5))
    gradients = []
    for given in (batch, padded(batch, 4, 3.0)):
        model = build()
        model.total_loss(model(given)).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [SMALL, TailorConfig.authors()], ids=["paper", "authors"])
def test_a_sample_does_not_depend_on_its_batch_mates(config: TailorConfig) -> None:
    sizes = SMALL.model_dump(include={"hidden_size", "heads", "cross_layers", "max_steps"})
    model = build(config.replace(**sizes))
    samples = random_samples(5)
    together = model(batch_of(samples)).logits
    alone = torch.cat([model(batch_of([sample])).logits for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_gradients_reach_every_parameter() -> None:
    for config in (SMALL, SMALL.replace(discriminator="mlp", input_norm=True, label_norm=True)):
        model = build(config).train()
        model.total_loss(model(batch_of(random_samples(9)))).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def test_overfits_eight_samples() -> None:
    model = build(SMALL.replace(dropout=0.0, refinement_dropout=0.0)).train()
    rng = np.random.default_rng(3)
    samples = [
        Sample(s.id, s.sequences, rng.integers(0, 2, len(LABELS)).astype(np.uint8))
        for s in random_samples(8)
    ]
    batch = batch_of(samples)
    assert batch.labels is not None
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model.total_loss(model(batch)).backward()
        optimizer.step()
    assert ((model.eval()(batch).logits > 0).float() == batch.labels).all()


def test_a_missing_modality_is_not_zeros() -> None:
    model = build()
    sample = random_samples(1)[0]
    without: dict[Modality, np.ndarray] = {
        m: x for m, x in sample.sequences.items() if m != "audio"
    }
    zeros = {**sample.sequences, "audio": np.zeros_like(sample.sequences["audio"])}
    missing = model(batch_of([Sample("a", without)])).logits
    zeroed = model(batch_of([Sample("a", zeros)])).logits
    assert torch.isfinite(missing).all()
    assert (missing - zeroed).abs().max() > 1e-3


def test_training_with_missing_modalities_gives_finite_gradients() -> None:
    model = build().train()
    samples = random_samples(7, missing=0.6)
    assert any(len(s.sequences) < 3 for s in samples)
    model.total_loss(model(batch_of(samples))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("chosen", [("text",), ("visual", "text"), ("visual", "audio"), MODALITIES])
def test_any_subset_of_modalities(chosen: tuple[Modality, ...]) -> None:
    dims = {m: DIMS[m] for m in MODALITIES if m in chosen}
    model = build(dims=dims).train()
    output = model(batch_of(random_samples(4), dims), features=True)
    assert output.logits.shape == (4, len(LABELS))
    assert len(model.fusion) == len(chosen)
    model.total_loss(output).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_losses_by_their_equations() -> None:
    model = build()
    samples = random_samples(2, longest=3)
    batch = batch_of(samples)
    assert batch.labels is not None
    output = model(batch, features=True)
    f, y = output.features, batch.labels
    p = output.logits.sigmoid()
    ml = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(output.losses["classification"], ml)
    adversarial, overlap, semantics = 0.0, 0.0, 0.0
    for k, m in enumerate(MODALITIES):
        steps = [len(s.sequences[m]) for s in samples]
        for i in range(2):
            row = f[f"discriminator.private.{m}"][i, : steps[i], k]
            adversarial += -row.log().mean().item() / 2
            c, private = f[f"common.{m}"][i, : steps[i]], f[f"private.{m}"][i, : steps[i]]
            overlap += torch.linalg.matrix_norm(c @ private.T).item() ** 2 / 2
            guess = model.common_classifier(c.mean(0)).sigmoid()
            semantics += -(y[i] * guess.log() + (1 - y[i]) * (1 - guess).log()).mean().item() / 2
    assert output.losses["adversarial_private"].item() == pytest.approx(adversarial, rel=1e-5)
    assert output.losses["orthogonality"].item() == pytest.approx(overlap, rel=1e-5)
    assert output.losses["common_semantics"].item() == pytest.approx(semantics, rel=1e-5)
    weighted = sum(model.loss_weights[n] * x.item() for n, x in output.losses.items())
    assert model.total_loss(output).item() == pytest.approx(weighted, rel=1e-6)


def test_the_common_loss_trains_the_discriminator_and_confuses_the_generator() -> None:
    model = build()
    batch = batch_of(random_samples(6))
    loss = model(batch).losses["adversarial_common"]
    loss.backward()
    with torch.no_grad():
        for parameter in (*model.generator.parameters(), *model.discriminator.parameters()):
            assert parameter.grad is not None
    moved: dict[str, float] = {}
    for name in ("generator", "discriminator"):
        changed = build()
        with torch.no_grad():
            for p, q in zip(
                changed.get_submodule(name).parameters(),
                model.get_submodule(name).parameters(),
                strict=True,
            ):
                assert q.grad is not None
                p.sub_(1e-2 * q.grad)
        moved[name] = changed(batch).losses["adversarial_common"].item() - loss.item()
    assert moved["discriminator"] < 0 < moved["generator"]


def test_features_have_the_shapes_documented() -> None:
    model = build()
    batch = batch_of(random_samples(2))
    output = model(batch, features=True)
    steps, heads, labels = batch.values["text"].shape[1], SMALL.heads, len(LABELS)
    for m in MODALITIES:
        for kind in ("encoder", "private", "common"):
            assert output.features[f"{kind}.{m}"].shape == (2, steps, SMALL.hidden_size)
        for kind in ("private", "common"):
            probabilities = output.features[f"discriminator.{kind}.{m}"]
            torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, steps))
    correlation = output.features["label_correlation"]
    assert correlation.shape == (heads, labels, labels)
    torch.testing.assert_close(correlation.sum(-1), torch.ones(heads, labels))
    blocks = [output.features[f"attention.{b}"] for b in (*MODALITIES, "common")]
    assert blocks[0].shape == (2, heads, labels, steps)
    torch.testing.assert_close(torch.cat(blocks, -1).sum(-1), torch.ones(2, heads, labels))


def test_without_labels_there_are_no_losses() -> None:
    batch = collate([Sample("a", random_samples(1)[0].sequences)], DIMS, aligned=True)
    assert build()(batch).losses == {}


def test_fusion_order_is_followed() -> None:
    order = ("audio", "text", "visual", "common")
    model = build(SMALL.replace(fusion_order=order))
    seen: list[tuple[str, ...]] = []
    for encoder in model.fusion:
        encoder.register_forward_hook(
            lambda _module, _inputs, out: seen.append(tuple(name for name, _ in out.blocks))
        )
    model(batch_of(random_samples(2)))
    assert seen == [order[:2], order[:3], order]


def test_each_switch_changes_what_it_names() -> None:
    samples = random_samples(4)
    base = build(SMALL)
    names = set(base.state_dict())
    assert set(build(SMALL.replace(modality_tokens=False)).state_dict()) == {
        n for n in names if ".token." not in n
    }
    assert build(SMALL.replace(classifier="shared")).classifier.weight.shape == (1, 12)
    assert set(build(SMALL.replace(discriminator="mlp")).state_dict()) - names == {
        f"discriminator.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")
    }
    pairs = build(SMALL.replace(orthogonality="all_pairs"))(batch_of(samples), features=True)
    terms = [n for n in pairs.features if n.startswith("loss.orthogonality.private_")]
    assert len(terms) == 3


def test_too_long_a_sequence_names_the_setting() -> None:
    sample = random_samples(1, longest=1)[0]
    long = {m: np.repeat(x, 14, axis=0) for m, x in sample.sequences.items()}
    with pytest.raises(ModelError, match=r"14 steps[\s\S]*model.max_steps=14"):
        build()(batch_of([Sample("a", long)]))


def test_unaligned_sequences_are_refused() -> None:
    assert not build().takes_unaligned
    with pytest.raises(ModelError, match="word-aligned"):
        build().check_lengths({"visual": 3, "audio": 4}, aligned=False)


# ---------------------------------------------------------------------- unaligned sequences

STEPS: dict[Modality, int] = {"visual": 13, "audio": 17, "text": 5}
UNALIGNED = SMALL.replace(common="concatenate", modality_max_steps={"audio": 17, "text": 5})


def uneven_samples(count: int, *, missing: float = 0.0) -> list[Sample]:
    """Samples whose modalities have lengths of their own; the first has the longest of each."""
    rng = np.random.default_rng(7)
    samples = []
    for i, sample in enumerate(random_samples(count, seed=4, missing=missing)):
        sequences: dict[Modality, np.ndarray] = {}
        for m in sample.sequences:
            steps = STEPS[m] if not i else int(rng.integers(1, STEPS[m] + 1))
            sequences[m] = rng.normal(size=(steps, DIMS[m])).astype(np.float32)
        samples.append(Sample(sample.id, sequences, sample.labels))
    return samples


def uneven(count: int, dims: dict[Modality, int] = DIMS, *, missing: float = 0.0) -> Batch:
    return collate(uneven_samples(count, missing=missing), dims, aligned=False)


def stretched(batch: Batch, fill: float) -> Batch:
    """Another amount of padding for each modality, as far as its steps go."""
    values, masks = {}, {}
    for more, (m, x) in zip((3, 5, 1), batch.values.items(), strict=True):
        values[m] = F.pad(x, (0, 0, 0, more), value=fill)
        masks[m] = F.pad(batch.masks[m], (0, more))
    return Batch(values, masks, batch.labels, batch.ids)


def test_unaligned_sequences_are_taken_where_nothing_sums_them() -> None:
    for changes in ({"common": "concatenate"}, {"refinement": "private"}, {"refinement": "none"}):
        model = build(SMALL.replace(**changes))
        assert model.takes_unaligned
        model.check_lengths({"visual": 13, "audio": 4}, aligned=False)
    model = build(UNALIGNED)
    model.check_lengths(STEPS, aligned=False)
    with pytest.raises(ModelError, match=r"14 steps[\s\S]*max_steps = 13[\s\S]*max_steps=14"):
        model.check_lengths({**STEPS, "visual": 14}, aligned=False)
    with pytest.raises(ModelError, match=r"model\.modality_max_steps\.text=6"):
        model.check_lengths({**STEPS, "text": 6}, aligned=False)


def test_unaligned_position_tables_have_a_row_per_step() -> None:
    state = build(UNALIGNED).state_dict()
    for m, steps in STEPS.items():
        assert state[f"encoders.{m}.embedding.position.weight"].shape[0] == steps
    # private and common parts, 13 + 17 + 5 places each
    assert state["fusion.0.embedding.position.weight"].shape[0] == 70


def test_unaligned_padding_changes_nothing() -> None:
    room = UNALIGNED.replace(max_steps=16, modality_max_steps={"audio": 22, "text": 6})
    batch = uneven(5, missing=0.3)
    plain = build(room)(batch, features=True)
    for fill in (0.0, 3.0):
        more = build(room)(stretched(batch, fill), features=True)
        torch.testing.assert_close(plain.logits, more.logits, atol=1e-5, rtol=0)
        for name, loss in plain.losses.items():
            torch.testing.assert_close(loss, more.losses[name], atol=1e-5, rtol=1e-5)
        for name in ("attention.text", "attention.common.audio"):
            steps = plain.features[name].shape[-1]
            torch.testing.assert_close(
                plain.features[name], more.features[name][..., :steps], atol=1e-5, rtol=0
            )
            assert more.features[name][..., steps:].abs().max() == 0


def test_unaligned_samples_do_not_depend_on_their_batch_mates() -> None:
    model, samples = build(UNALIGNED), uneven_samples(5, missing=0.3)
    together = model(collate(samples, DIMS, aligned=False)).logits
    alone = [model(collate([s], DIMS, aligned=False)).logits for s in samples]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_unaligned_parts_of_c_have_places_of_their_own() -> None:
    """Whatever is padded, a part starts where the longest of those before it would end."""
    seen: list[list[int]] = []
    model: Any = build(UNALIGNED)
    model.fusion[-1].embedding.register_forward_hook(
        lambda _module, given, _out: seen.append(given[1].tolist())
    )
    samples = uneven_samples(3)[1:]
    lengths = [max(len(s.sequences[m]) for s in samples) for m in MODALITIES]
    output = model(collate(samples, DIMS, aligned=False), features=True)
    starts = (0, 13, 30, 35, 48, 65)
    expected = [range(s, s + n) for s, n in zip(starts, lengths * 2, strict=True)]
    assert seen == [[place for part in expected for place in part]]
    blocks = [*MODALITIES, *(f"common.{m}" for m in MODALITIES)]
    shares = [output.features[f"attention.{block}"] for block in blocks]
    assert [x.shape[-1] for x in shares] == lengths * 2
    total = torch.cat(shares, -1).sum(-1)
    torch.testing.assert_close(total, torch.ones(2, SMALL.heads, len(LABELS)))


def test_of_one_modality_sum_and_concatenation_are_the_same() -> None:
    dims: dict[Modality, int] = {"text": DIMS["text"]}
    batch = batch_of(random_samples(4), dims)
    summed = build(SMALL, dims)(batch)
    joined = build(SMALL.replace(common="concatenate"), dims)(batch)
    assert torch.equal(summed.logits, joined.logits)
    for name, loss in summed.losses.items():
        assert torch.equal(loss, joined.losses[name])


@pytest.mark.parametrize(
    "config",
    [
        UNALIGNED,
        UNALIGNED.replace(refinement="common"),
        UNALIGNED.replace(refinement="none"),
        UNALIGNED.replace(
            orthogonality="all_pairs", common_semantics="sum_first_step", pad_to_max_steps=True,
            attend_to_padding=True, mask_common=False, mask_losses=False, concatenation="program",
        ),
    ],
    ids=["paper", "common", "none", "program"],
)  # fmt: skip
def test_unaligned_gradients_reach_every_parameter(config: TailorConfig) -> None:
    model = build(config).train()
    model.total_loss(model(uneven(9))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("chosen", [("audio",), ("visual", "text"), ("audio", "text"), MODALITIES])
def test_unaligned_subsets_and_missing_modalities(chosen: tuple[Modality, ...]) -> None:
    dims = {m: DIMS[m] for m in chosen}
    model = build(UNALIGNED, dims).train()
    batch = uneven(6, dims, missing=0.6)
    empty = {m: mask & (torch.arange(6) > 0)[:, None] for m, mask in batch.masks.items()}
    for masks in (batch.masks, empty):
        output = model(Batch(batch.values, masks, batch.labels, batch.ids), features=True)
        model.total_loss(output).backward()
        assert torch.isfinite(output.logits).all()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden_size": 10}, "multiple of heads"),
        ({"dropout": 1.0}, "at least 0, below 1"),
        ({"hiden_size": 10}, "did you mean hidden_size"),
        ({"fusion_order": ["visual", "audio", "text", "text"]}, "each once"),
        ({"classifier": "both"}, "one of per_label, shared"),
        ({"refinement_losses": ["adversarial", "adversarial"]}, "each loss once"),
        ({"refinement_losses": ["ctc"]}, "'adversarial', 'orthogonality' or"),
        ({"modality_max_steps": {"text": 50}}, "needs common = concatenate"),
        ({"common": "concatenate", "modality_max_steps": {"text": 0}}, "max_steps.text = 0"),
        ({"common": "concatenate", "modality_max_steps": {"smell": 9}}, "'visual', 'audio' or"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TailorConfig.parse(values)
