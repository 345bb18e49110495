"""Table 3's variants: each switches one thing, and nothing is left that it does not need."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.base import ModelOutput
from emotailor.models.system import FULL, PUBLISHED_METRICS
from emotailor.models.tailor.ablations import ABLATIONS
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.nn.encoder import Stream
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import ModelCard, load_model, save_model
from tests.helpers import DIMS, LABELS, SMALL, random_samples

NAMES = [name for name in ABLATIONS if name != FULL]
AUTHORS = TailorConfig.authors().replace(
    **SMALL.model_dump(
        include={
            "hidden_size", "feedforward_size", "heads", "visual_layers", "audio_layers",
            "text_layers", "cross_layers", "max_steps", "dropout",
        }
    )
)  # fmt: skip
REFINEMENT = {"adversarial_common", "adversarial_private", "orthogonality", "common_semantics"}


def build(name: str, base: TailorConfig = SMALL, dims: dict[Modality, int] = DIMS) -> Tailor:
    torch.manual_seed(0)
    config = ABLATIONS[name].apply(base).replace(initial_std=0.2)
    assert isinstance(config, TailorConfig)
    return Tailor(config, dims, len(LABELS)).eval()


def batch_of(samples: list[Sample], dims: dict[Modality, int] = DIMS) -> Batch:
    return collate(samples, dims, aligned=True)


def run(model: Tailor, samples: list[Sample], dims: dict[Modality, int] = DIMS) -> ModelOutput:
    output: ModelOutput = model(batch_of(samples, dims), features=True)
    return output


def removed(name: str) -> set[str]:
    """Parameters that the full model has and a variant has not, by their first two names."""
    theirs, full = dict(build(name).named_parameters()), dict(build(FULL).named_parameters())
    assert set(theirs) <= set(full)
    return {n for n in full if n not in theirs}


def starting(*prefixes: str) -> set[str]:
    return {n for n, _ in build(FULL).named_parameters() if n.startswith(prefixes)}


# ---------------------------------------------------------------------- the table


def test_rows_are_those_of_the_paper() -> None:
    """Titles and numbers, in the paper's order; micro-F1 follows from P and R up to rounding."""
    paper = Path(__file__).resolve().parents[3] / "docs" / "ablations.md"
    text = paper.read_text(encoding="utf-8")
    assert len(ABLATIONS) == 12
    assert list(ABLATIONS)[-1] == FULL
    for k, row in enumerate(ABLATIONS.values(), 1):
        numbers = " | ".join(f"{value:.3f}" for value in row.published.values())
        assert f"| {k} | `{row.name}` | {row.title} | {numbers} |" in text
        _, precision, recall, f1 = row.published.values()
        assert 2 * precision * recall / (precision + recall) == pytest.approx(f1, abs=2e-3)
    full = ABLATIONS[FULL].published
    assert list(full) == list(PUBLISHED_METRICS)
    assert all(ABLATIONS[name].published["micro_f1"] < full["micro_f1"] for name in NAMES)


@pytest.mark.parametrize("base", [SMALL, AUTHORS], ids=["paper", "authors"])
def test_each_row_switches_one_setting(base: TailorConfig) -> None:
    assert ABLATIONS[FULL].apply(base) == base
    for name in NAMES:
        changed = ABLATIONS[name].apply(base)
        fields = {n for n in TailorConfig.model_fields if getattr(changed, n) != getattr(base, n)}
        assert fields == set(ABLATIONS[name].changes)
        assert len(fields) == 1
        (field,) = fields
        with pytest.raises(ConfigError, match=rf"model\.{field} = .* to switch: .*{name}"):
            ABLATIONS["identical"].apply(changed)


@pytest.mark.parametrize("loss", ["adversarial", "orthogonality", "common_semantics"])
def test_a_loss_of_no_weight_is_as_good_as_switched(loss: str) -> None:
    without = SMALL.replace(**{f"{loss}_weight": 0.0})
    with pytest.raises(ConfigError) as caught:
        ABLATIONS[FULL].apply(without)
    assert caught.value.found == (
        f"model.{loss}_weight = 0.0 is for variants to switch: adversarial, "
        "adversarial_orthogonality"
    )
    other = SMALL.replace(**{f"{loss}_weight": 0.25})
    assert ABLATIONS["identical"].apply(other) == other.replace(label_decoder="identical")


def test_variants_that_are_the_full_model_on_some_data() -> None:
    def full_on(*modalities: Modality) -> list[str]:
        return [n for n in NAMES if ABLATIONS[n].why_full(SMALL, modalities)]

    assert full_on("visual", "audio", "text") == []
    assert full_on("visual", "audio") == ["order_vtac"]
    assert full_on("visual", "text") == ["order_vtac"]
    assert full_on("audio", "text") == ["order_atvc"]
    assert full_on("text") == ["order_vtac", "order_atvc"]
    why = ABLATIONS["order_vtac"].why_full(SMALL, ["visual", "audio"])
    assert why == "on these data it is the full model: visual, audio, common"


# ---------------------------------------------------------------------- what each row switches

LOST = {
    "without_amr": REFINEMENT,
    "adversarial": {"orthogonality", "common_semantics"},
    "adversarial_orthogonality": {"common_semantics"},
    "common": {"adversarial_private", "orthogonality"},
    "private": {"adversarial_common", "orthogonality", "common_semantics"},
}
"""The losses that a variant has not."""


@pytest.mark.parametrize("name", ABLATIONS)
def test_losses_that_are_absent(name: str) -> None:
    model, full = build(name), build(FULL)
    output = run(model, random_samples(5))
    assert set(output.losses) == {"classification"} | REFINEMENT - LOST.get(name, set())
    assert model.loss_weights == {n: full.loss_weights[n] for n in output.losses}
    parts = {n.split(".")[1] for n in output.features if n.startswith("loss.")}
    assert parts == set(output.losses) - {"classification"}
    model.total_loss(output)


def test_parameters_that_are_removed() -> None:
    amr = starting("generator.", "extractors.", "discriminator.", "common_classifier.")
    assert removed("without_amr") == amr | starting("fusion.2.")
    assert removed("adversarial") == starting("common_classifier.")
    assert removed("adversarial_orthogonality") == starting("common_classifier.")
    assert removed("common") == starting("extractors.", "fusion.2.")
    assert removed("private") == starting("generator.", "common_classifier.", "fusion.2.")
    assert removed("order_vtac") == removed("order_atvc") == set()
    assert removed("without_tokens") == {f"fusion.{i}.embedding.token.weight" for i in range(3)}
    assert removed("identical") == starting("decoder.")
    seen = starting("decoder.layers.0.memory_attention.attention.")
    assert removed("label_correlation") == seen
    assert removed("label_embedding") == seen | starting(
        "decoder.layers.0.self_attention.attention."
    )


def test_parameters_that_stay_keep_their_shapes() -> None:
    full = {n: p.shape for n, p in build(FULL).named_parameters()}
    for name in NAMES:
        for n, p in build(name).named_parameters():
            if n.endswith("embedding.position.weight") and n.startswith("fusion."):
                blocks = 4 if len(build(name).fusion) == 3 else 3
                assert p.shape == (blocks * SMALL.max_steps, SMALL.hidden_size)
            else:
                assert p.shape == full[n], (name, n)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (FULL, ("visual", "audio", "text", "common")),
        ("order_vtac", ("visual", "text", "audio", "common")),
        ("order_atvc", ("audio", "text", "visual", "common")),
        ("without_amr", ("visual", "audio", "text")),
        ("common", ("visual", "audio", "text")),
        ("private", ("visual", "audio", "text")),
    ],
)
def test_what_is_fused_and_in_which_order(name: str, order: tuple[str, ...]) -> None:
    model = build(name)
    steps: list[tuple[str, ...]] = []
    first: list[torch.Tensor] = []

    def keep(_module: nn.Module, given: tuple[Stream, Stream], out: Stream) -> None:
        steps.append(tuple(block for block, _ in out.blocks))
        first.extend(stream.values for stream in given if len(stream.blocks) == 1)

    for encoder in model.fusion:
        encoder.register_forward_hook(keep)
    features = run(model, random_samples(3)).features
    assert steps == [order[:n] for n in range(2, len(order) + 1)]
    kind = {"without_amr": "encoder", "common": "common"}.get(name, "private")
    for block, values in zip(order, first, strict=True):
        if block == "common":
            total = sum(features[f"common.{m}"] for m in MODALITIES)
            mask = batch_of(random_samples(3)).masks["text"][..., None]
            torch.testing.assert_close(values * mask, total * mask)
        else:
            assert values is features[f"{kind}.{block}"]


def test_features_that_are_left() -> None:
    kinds = {"encoder", "private", "common", "discriminator", "attention", "label_correlation",
             "label_representations", "loss"}  # fmt: skip
    absent = {
        "without_amr": {"private", "common", "discriminator", "loss"},
        "common": {"private"},
        "private": {"common"},
        "identical": {"attention", "label_correlation", "label_representations"},
        "label_embedding": {"attention", "label_correlation"},
        "label_correlation": {"attention"},
    }
    for name in ABLATIONS:
        found = {n.split(".")[0] for n in run(build(name), random_samples(3)).features}
        assert found == kinds - absent.get(name, set()), name


# ---------------------------------------------------------------------- the label decoder by hand


def memory_mean(model: Tailor, samples: list[Sample]) -> torch.Tensor:
    """The mean of M over its real steps, sample by sample."""
    seen: list[Stream] = []

    def keep(_module: nn.Module, _given: tuple[Stream, Stream], out: Stream) -> None:
        seen.append(out)

    model.fusion[-1].register_forward_hook(keep)
    model(batch_of(samples))
    return torch.stack([x[m].mean(0) for x, m in zip(seen[0].values, seen[0].mask, strict=True)])


def test_an_identical_representation_is_a_mean_through_a_dense_layer() -> None:
    model, samples = build("identical"), random_samples(4)
    mean = memory_mean(model, samples)
    expected = mean @ model.classifier.weight.T + model.classifier.bias
    torch.testing.assert_close(model(batch_of(samples)).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["label_embedding", "label_correlation"])
def test_without_dependence_every_label_is_given_the_mean(name: str) -> None:
    model: Any = build(name)
    samples = random_samples(4)
    mean = memory_mean(model, samples)
    (layer,) = model.decoder.layers
    labels = model.decoder.embedding.weight
    if name == "label_correlation":  # Eq. 9-12
        labels = layer.self_attention(labels[None])[0][0]
    else:  # Eq. 12 with S = 0
        labels = layer.self_attention.norm(labels)
    merged = layer.memory_attention.norm(labels[None] + mean[:, None])  # Eq. 14
    tailored = layer.feedforward(merged)
    output = run(model, samples)
    torch.testing.assert_close(output.features["label_representations"], tailored)
    logits = (tailored * model.classifier.weight).sum(-1) + model.classifier.bias
    torch.testing.assert_close(output.logits, logits)


def test_only_correlations_let_one_label_see_another() -> None:
    """A change of one label's embedding reaches the others through their self-attention alone."""
    for name, reaches in (("label_embedding", False), ("label_correlation", True), (FULL, True)):
        model, samples = build(name), random_samples(3)
        before = model(batch_of(samples)).logits
        with torch.no_grad():
            model.decoder.embedding.weight[0] += torch.linspace(-1, 1, SMALL.hidden_size)
        moved = (model(batch_of(samples)).logits - before).abs().amax(0)
        assert moved[0] > 1e-4
        assert (moved[1:].max() > 1e-5) == reaches


def test_the_classifier_of_identical_representations_is_never_shared() -> None:
    model = build("identical", AUTHORS)
    assert model.classifier.weight.shape == (len(LABELS), SMALL.hidden_size)
    logits = model(batch_of(random_samples(3))).logits
    assert (logits[:, 0] - logits[:, 1]).abs().min() > 1e-5


# ---------------------------------------------------------------------- what every row must pass


@pytest.mark.parametrize("base", [SMALL, AUTHORS], ids=["paper", "authors"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_gradients_reach_every_parameter(name: str, base: TailorConfig) -> None:
    model = build(name, base).train()
    model.total_loss(model(batch_of(random_samples(9)))).backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().max() > 0, parameter


@pytest.mark.parametrize("name", ABLATIONS)
def test_padding_and_missing_modalities(name: str) -> None:
    model, samples = build(name), random_samples(5, missing=0.4)
    batch = batch_of(samples)
    values = {
        m: torch.nn.functional.pad(x, (0, 0, 0, 3), value=7.0) for m, x in batch.values.items()
    }
    masks = {m: torch.nn.functional.pad(x, (0, 3)) for m, x in batch.masks.items()}
    plain, padded = model(batch), model(Batch(values, masks, batch.labels, batch.ids))
    torch.testing.assert_close(plain.logits, padded.logits, atol=1e-5, rtol=0)
    for loss, value in plain.losses.items():
        torch.testing.assert_close(value, padded.losses[loss], atol=1e-5, rtol=1e-5)
    nothing = {m: torch.zeros_like(mask) for m, mask in batch.masks.items()}
    model.train()
    output = model(Batch(batch.values, nothing, batch.labels, batch.ids))
    model.total_loss(output).backward()
    assert torch.isfinite(output.logits).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("chosen", [("text",), ("visual", "text")])
@pytest.mark.parametrize("name", ABLATIONS)
def test_fewer_modalities(name: str, chosen: tuple[Modality, ...]) -> None:
    dims = {m: DIMS[m] for m in chosen}
    model = build(name, dims=dims).train()
    output = run(model, random_samples(3), dims)
    model.total_loss(output).backward()
    assert output.logits.shape == (3, len(LABELS))
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "name",
    ["without_amr", "common", "private", "identical", "label_embedding", "label_correlation"],
)
def test_overfits_six_samples(name: str) -> None:
    small = SMALL.replace(dropout=0.0, refinement_dropout=0.0)
    rng = np.random.default_rng(3)
    samples = [
        Sample(s.id, s.sequences, rng.integers(0, 2, len(LABELS)).astype(np.uint8))
        for s in random_samples(6, longest=4)
    ]
    batch, model = batch_of(samples), build(name, small).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model.total_loss(model(batch)).backward()
        optimizer.step()
    assert batch.labels is not None
    assert ((model.eval()(batch).logits > 0).float() == batch.labels).all()


@pytest.mark.parametrize("name", ["without_amr", "identical", "label_embedding"])
def test_a_stored_variant_explains_itself(name: str, tmp_path: Path) -> None:
    """The window scores of an explanation need no attention."""
    model = build(name)
    card = ModelCard(
        system="tailor",
        config=model.config.to_json(),
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(LABELS)},
    )
    save_model(tmp_path / "model", card, model, None)
    loaded = load_model(tmp_path / "model")
    sample = random_samples(1)[0]
    assert torch.equal(loaded.model(batch_of([sample])).logits, model(batch_of([sample])).logits)
    why = Predictor(loaded).explain(sample)
    assert set(why.modalities) == set(LABELS)
    assert all(np.isfinite(x).all() for parts in why.steps.values() for x in parts.values())
