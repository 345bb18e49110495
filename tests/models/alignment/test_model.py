"""Systems behind alignment modules: what every one of them must pass, and the settings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.config import Config
from emotailor.data.batching import Batch, collate
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.errors import ConfigError, ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.files import write_json
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import CTCAligned
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.factory import build_model
from emotailor.models.table import SYSTEMS, find_system
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.serving.predictor import Predictor
from emotailor.training.alignment import resolve_alignment, target_lengths
from emotailor.training.model_folder import CARD_FILE, ModelCard, load_model, save_model
from emotailor.training.optimizer import build_optimizer
from emotailor.training.progress import Reporter
from emotailor.training.recipe import recipe
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData
from tests.helpers import DIMS, LABELS
from tests.systems import TINY, label_statistics, usable_dims

RATES: dict[Modality, int] = {"visual": 2, "audio": 3, "text": 1}
LONGEST = 7  # words
ALIGNMENT = AlignmentConfig(
    kind="ctc", target_steps=LONGEST, steps_per_target={"visual": 2.0, "audio": 3.0}
)
WRAPPED = [
    name for name in SYSTEMS if name not in ("br", "lp", "cc", "sgm", "lsan", "dfg", "raven")
]


def samples(count: int, *, seed: int = 0, missing: float = 0.0, prefix: str = "v") -> list[Sample]:
    """Every modality at its own rate; labels can be read off the first features."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        words, labels = int(rng.integers(1, LONGEST + 1)), rng.integers(0, 2, len(LABELS))
        sequences: dict[Modality, np.ndarray] = {}
        for k, m in enumerate(MODALITIES):
            x = rng.normal(size=(RATES[m] * words, DIMS[m])).astype(np.float32)
            x[:, 0] += 2.0 * labels[k]
            if rng.random() >= missing or (m == "text" and not sequences):
                sequences[m] = x
        found.append(Sample(f"{prefix}{i}[0]", sequences, labels.astype(np.uint8)))
    return found


def batch_of(listed: list[Sample], dims: dict[Modality, int]) -> Batch:
    return collate(listed, dims, aligned=False)


def unlabelled(batch: Batch) -> Batch:
    return Batch(batch.values, batch.masks, None, batch.ids)


def wrapped(
    name: str,
    alignment: AlignmentConfig = ALIGNMENT,
    config: Config | None = None,
    dims: dict[Modality, int] | None = None,
) -> CTCAligned:
    torch.manual_seed(0)
    config = config or find_system(name).config.parse(TINY[name])
    model = build_model(name, config, dims or usable_dims(name), len(LABELS), alignment)
    model.prepare(label_statistics(samples(60, seed=9)))
    assert isinstance(model, CTCAligned)
    return model.eval()


class Seen(EmotionModel):
    """Keeps the batch it gets; one logit per label from the mean of everything."""

    batch: Batch

    @property
    def loss_weights(self) -> dict[str, float]:
        return {"classification": 1.0}

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        self.batch = batch
        total = torch.stack([x.sum((1, 2)) for x in batch.values.values()]).sum(0)
        logits = total[:, None].expand(-1, self.num_labels)
        losses = {} if batch.labels is None else {"classification": logits.square().mean()}
        attention = torch.full((len(batch), 2, self.num_labels, 1), 1.0)
        named = {f"attention.{m}": attention * mask[:, None, None] / mask.sum(1).clamp(min=1)[
            :, None, None, None] for m, mask in batch.masks.items()}  # fmt: skip
        return ModelOutput(logits, losses, named if features else {})


def seen_behind(batch: Batch, alignment: AlignmentConfig = ALIGNMENT) -> tuple[CTCAligned, Batch]:
    torch.manual_seed(0)
    inner = Seen(dict.fromkeys(batch.values, 5) | {m: DIMS[m] for m in batch.values}, len(LABELS))
    model = CTCAligned(alignment, inner).eval()
    model(batch)
    return model, inner.batch


# ---------------------------------------------------------------------- what the system sees


def test_the_system_sees_word_aligned_data() -> None:
    batch = batch_of(samples(5), DIMS)
    model, inner = seen_behind(batch)
    text = batch.masks["text"].sum(1)
    assert {x.shape[1] for x in inner.values.values()} == {int(text.max())}
    for m in MODALITIES:
        assert inner.values[m].shape[2] == DIMS[m]
        assert inner.masks[m].sum(1).tolist() == text.tolist()
        assert inner.values[m][~inner.masks[m]].abs().max() == 0
    torch.testing.assert_close(inner.values["text"], batch.values["text"])
    by_hand = model.aligners["audio"](batch.values["audio"], batch.masks["audio"], text).values
    torch.testing.assert_close(inner.values["audio"], by_hand)


def test_a_missing_modality_stays_missing_and_a_missing_text_is_estimated() -> None:
    rng = np.random.default_rng(0)
    steps: list[dict[Modality, int]] = [
        {"visual": 8, "audio": 10, "text": 5},
        {"visual": 9, "text": 3},
        {"visual": 8, "audio": 15},  # 4 words by the one, 5 by the other
        {"audio": 1},  # a third of a word
        {"audio": 80},
        {"text": 2},
    ]
    listed = [
        Sample(str(i), {m: rng.normal(size=(n, DIMS[m])).astype(np.float32) for m, n in x.items()})
        for i, x in enumerate(steps)
    ]
    model, inner = seen_behind(batch_of(listed, DIMS))
    expected = [5, 3, 4, 1, 7, 2]
    assert model.target_lengths(batch_of(listed, DIMS)).tolist() == expected
    for m in MODALITIES:
        there = [n if m in x else 0 for x, n in zip(steps, expected, strict=True)]
        assert inner.masks[m].sum(1).tolist() == there, m
    arrays: dict[Modality, np.ndarray] = {
        m: np.array([x.get(m, 0) for x in steps]) for m in MODALITIES
    }
    assert target_lengths(ALIGNMENT, arrays).tolist() == expected


def test_a_text_step_hidden_in_the_middle_keeps_its_place() -> None:
    batch = batch_of(samples(4, seed=3), DIMS)
    longest = int(batch.masks["text"].sum(1).argmax())
    _, before = seen_behind(batch)
    batch.masks["text"][longest, 1] = False
    _, after = seen_behind(batch)
    torch.testing.assert_close(before.values["visual"], after.values["visual"])
    assert after.masks["visual"][longest, 1]
    assert not after.masks["text"][longest, 1]


def test_a_batch_of_nothing() -> None:
    batch = batch_of([Sample("a", {}), Sample("b", {})], DIMS)
    _, inner = seen_behind(batch)
    assert {x.shape for x in inner.masks.values()} == {(2, 1)}
    assert not any(mask.any() for mask in inner.masks.values())


def test_the_loss_is_the_weighted_mean_over_samples_of_that_per_step() -> None:
    batch = batch_of(samples(4), DIMS)
    model, _ = seen_behind(batch)
    output = model(batch, features=True)
    text = batch.masks["text"].sum(1)
    parts = {m: model.aligners[m](batch.values[m], batch.masks[m], text) for m in model.sources}
    steps = {m: batch.masks[m].sum(1) for m in model.sources}
    by_hand = sum((parts[m].loss / steps[m]).mean() for m in parts)
    torch.testing.assert_close(output.losses["ctc"], by_hand)
    torch.testing.assert_close(
        output.features["loss.ctc.audio"], (parts["audio"].loss / steps["audio"]).mean()
    )
    assert model.loss_weights == {"classification": 1.0, "ctc": ALIGNMENT.weight}
    for reduction, whole in (("sum", "sum"), ("mean", "mean")):
        changed, _ = seen_behind(batch, ALIGNMENT.replace(reduction=reduction))
        total = sum(getattr(parts[m].loss, whole)() for m in parts)
        torch.testing.assert_close(changed(batch).losses["ctc"], total)
    assert not seen_behind(batch, ALIGNMENT.replace(reduction="sum"))[0].sample_means


def test_attention_to_positions_becomes_attention_to_source_steps() -> None:
    batch = batch_of(samples(3), DIMS)
    model, _ = seen_behind(batch)
    features = model(batch, features=True).features
    for m in MODALITIES:
        attention = features[f"attention.{m}"]
        assert attention.shape == (3, 2, len(LABELS), batch.values[m].shape[1])
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 2, len(LABELS)))
        assert attention.masked_select(~batch.masks[m][:, None, None]).abs().sum() == 0
    assert features["alignment.visual"].shape[2] == batch.values["visual"].shape[1]


# ---------------------------------------------------------------------- every system


@pytest.mark.parametrize("name", WRAPPED)
def test_padding_and_batch_mates_change_nothing(name: str) -> None:
    model, dims = wrapped(name), usable_dims(name)
    listed = samples(5, seed=1, missing=0.2)
    batch = batch_of(listed, dims)
    plain = model(batch)
    for fill in (0.0, 3.0):
        values = {
            m: torch.nn.functional.pad(x, (0, 0, 0, k + 2), value=fill)
            for k, (m, x) in enumerate(batch.values.items())
        }
        masks = {
            m: torch.nn.functional.pad(x, (0, k + 2))
            for k, (m, x) in enumerate(batch.masks.items())
        }
        more = model(Batch(values, masks, batch.labels, batch.ids))
        torch.testing.assert_close(plain.logits, more.logits, atol=1e-5, rtol=1e-5)
        for key, loss in plain.losses.items():
            torch.testing.assert_close(loss, more.losses[key], atol=1e-5, rtol=1e-4, msg=key)
    alone = [model(unlabelled(batch_of([sample], dims))).logits for sample in listed]
    together = model(unlabelled(batch)).logits
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", WRAPPED)
def test_gradients_are_finite_and_reach_the_modules(name: str) -> None:
    model = wrapped(name).train()
    batch = batch_of(samples(11, seed=4, missing=0.5), usable_dims(name))
    batch.masks["visual"][:, 1] = False  # holes
    output = model(batch)
    assert set(output.losses) == set(model.loss_weights)
    model.total_loss(output).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), key
        if key.startswith("aligners."):
            assert parameter.grad is not None, key
            assert parameter.grad.abs().max() > 0, key
    # the module also learns from what it is for
    model.zero_grad()
    model(batch).losses["classification"].backward()
    grad = model.get_parameter("aligners.visual.lstm.ahead.0.weight_ih_l0").grad
    assert grad is not None
    assert grad.abs().max() > 0
    assert model(unlabelled(batch)).losses == {}


@pytest.mark.parametrize("name", ["ml_gcn", "tailor"])
def test_a_batch_may_be_computed_in_parts(name: str) -> None:
    model, dims = wrapped(name), usable_dims(name)
    assert model.sample_means
    listed = samples(7, seed=5, missing=0.2)
    whole = model.total_loss(model(batch_of(listed, dims)))
    parts = [model.total_loss(model(batch_of(x, dims))) for x in (listed[:3], listed[3:])]
    torch.testing.assert_close(whole, parts[0] * 3 / 7 + parts[1] * 4 / 7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["simm", "tailor"])
def test_overfits_eight_samples(name: str) -> None:
    model, dims = wrapped(name).train(), usable_dims(name)
    for module in model.modules():
        for rate in ("p", "rate", "dropout"):
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
    batch = batch_of(samples(8, seed=6), dims)
    assert batch.labels is not None
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.total_loss(model(batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert ((model.eval()(unlabelled(batch)).logits > 0).float() == batch.labels).all()


@pytest.mark.parametrize("name", ["sgm", *WRAPPED])
def test_saved_loaded_and_explained(name: str, tmp_path: Path) -> None:
    dims = usable_dims(name)
    config = find_system(name).config.parse(TINY[name])
    alignment = ALIGNMENT if name != "sgm" else ALIGNMENT.replace(kind="none")
    torch.manual_seed(0)
    model = build_model(name, config, dims, len(LABELS), alignment)
    model.prepare(label_statistics(samples(60, seed=9)))
    card = ModelCard(
        system=name,
        config=config.to_json(),
        alignment=alignment,
        label_names=LABELS,
        dims=dims,
        aligned=False,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(LABELS)},
    )
    save_model(tmp_path / "model", card, model, None)
    loaded = load_model(tmp_path / "model")
    assert loaded.card.alignment == alignment
    listed = samples(5, seed=7)
    batch = unlabelled(batch_of(listed, dims))
    assert torch.equal(loaded.model(batch).logits, model.eval()(batch).logits)
    predictor = Predictor(loaded)
    why = predictor.explain(listed[0])
    for label in LABELS:
        assert set(why.modalities[label]) == set(dims)
        for m in dims:
            assert len(why.steps[label][m]) == len(listed[0].sequences[m])
            assert np.isfinite(why.steps[label][m]).all()
            if m in why.attention[label]:
                assert len(why.attention[label][m]) == len(listed[0].sequences[m])
    if name != "sgm":
        long = {m: np.zeros((20, DIMS[m]), np.float32) for m in MODALITIES}
        if "text" in dims:
            with pytest.raises(ModelError, match="text sequence of 20 steps"):
                predictor.predict([Sample("x", long)])


def test_old_model_folders_have_no_alignment(tmp_path: Path) -> None:
    config = find_system("simm").config.parse(TINY["simm"])
    model = build_model("simm", config, DIMS, len(LABELS))
    card = ModelCard(
        system="simm", config=config.to_json(), label_names=LABELS, dims=DIMS, aligned=True,
        standardized=False, thresholds={"fixed": Thresholds.fixed(LABELS)},
    )  # fmt: skip
    save_model(tmp_path, card, model, None)
    values = json.loads((tmp_path / CARD_FILE).read_text())
    del values["alignment"]
    write_json(tmp_path / CARD_FILE, values)
    assert load_model(tmp_path).card.alignment.kind == "none"


# ---------------------------------------------------------------------- TAILOR's program


def test_the_program_aligns_what_is_normalised() -> None:
    config = TailorConfig.parse({**TINY["tailor"], "input_norm": True})
    model = wrapped("tailor", ALIGNMENT.replace(norm_first=True), config)
    assert isinstance(model.model, Tailor)
    assert set(model.norms) == {"visual", "audio"}
    norm: Any = model.norms["visual"]
    assert list(norm.normalized_shape) == [DIMS["visual"]]
    # decayed as ever, under their names here
    expected = {"norms.visual.weight", "norms.audio.weight", "model.input_norms.text.weight"}
    assert model.always_decayed == expected
    assert expected <= {name for name, _ in model.named_parameters()}
    settings = recipe("tailor", "authors")
    decayed = build_optimizer(model, settings).param_groups[0]["params"]
    for name, parameter in model.named_parameters():
        if name in expected:
            assert any(parameter is p for p in decayed)
    plain = wrapped("tailor", ALIGNMENT, config)
    assert len(plain.norms) == 0
    assert plain.always_decayed == {f"model.input_norms.{m}.weight" for m in MODALITIES}


def test_the_constructor_leaves_the_system_as_it_is() -> None:
    config = TailorConfig.parse({**TINY["tailor"], "input_norm": True})
    system = Tailor(config, DIMS, len(LABELS))
    names = list(system.state_dict())
    model = CTCAligned(ALIGNMENT.replace(norm_first=True), system)
    assert list(system.state_dict()) == names
    assert len(model.norms) == 0


def test_a_normalisation_is_handed_over_once() -> None:
    config = TailorConfig.parse({**TINY["tailor"], "input_norm": True})
    system = Tailor(config, DIMS, len(LABELS))
    norms = dict(system.input_norms)
    given = system.hand_over_input_norms(("visual", "audio"))
    assert dict(given) == {"visual": norms["visual"], "audio": norms["audio"]}
    assert set(system.input_norms) == {"text"}
    assert system.always_decayed == {"input_norms.text.weight"}
    x = torch.randn(2, 3, DIMS["visual"])
    assert torch.equal(system.eval().enter("visual", x), x)
    assert len(system.hand_over_input_norms(("visual", "audio"))) == 0
    assert len(Seen(DIMS, 3).hand_over_input_norms(MODALITIES)) == 0  # by default there are none


def test_stored_names_are_what_they_were() -> None:
    """Runs stored by earlier versions have these names, in this order."""
    config = TailorConfig.parse({**TINY["tailor"], "input_norm": True})
    model = wrapped("tailor", ALIGNMENT.replace(norm_first=True), config)
    names = list(model.state_dict())
    outside = [name for name in names if not name.startswith("model.")]
    parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    aligners = [
        f"aligners.{m}.lstm.ahead.{layer}.{part}"
        for m in ("visual", "audio")
        for layer in range(2)
        for part in parts
    ]
    norms = [f"norms.{m}.{kind}" for m in ("visual", "audio") for kind in ("weight", "bias")]
    assert outside == [*aligners, *norms]
    inner = Tailor(config, DIMS, len(LABELS)).state_dict()
    kept = [
        f"model.{name}" for name in inner if not name.startswith(("input_norms.v", "input_norms.a"))
    ]
    assert names == [*kept, *outside]
    assert [name for name, _ in model.named_parameters()] == names


def test_presets() -> None:
    paper, authors = AlignmentConfig.paper(), AlignmentConfig.authors()
    assert paper == AlignmentConfig()
    assert (paper.kind, paper.weight, paper.frames, paper.positions) == ("auto", 0.5, "all", "own")
    assert (authors.frames, authors.positions, authors.reduction) == ("first", "all", "sum")
    assert (authors.target_steps, authors.norm_first, authors.weight) == (50, True, 0.5)


# ---------------------------------------------------------------------- which systems get it


def stored(
    path: Path, *, aligned: bool = False, without: tuple[Modality, ...] = ()
) -> EmotionDataset:
    splits = {
        name: [
            Sample(s.id, {m: x for m, x in s.sequences.items() if m not in without}, s.labels)
            for s in samples(size, seed=k, prefix=name)
        ]
        for k, (name, size) in enumerate({"train": 23, "valid": 11, "test": 5}.items())
    }
    if aligned:
        splits = {
            n: [Sample(s.id, {"text": s.sequences["text"]}, s.labels) for s in x]
            for n, x in splits.items()
        }
    dims = {m: d for m, d in DIMS.items() if m not in without}
    return write_dataset(path, splits, name="u", label_names=LABELS, dims=dims, aligned=aligned)


def kind_for(name: str, dataset: EmotionDataset, **wanted: str) -> AlignmentConfig:
    row = find_system(name)
    dims = row.choose(dataset.dims, None)
    alignment = AlignmentConfig(**wanted)
    return resolve_alignment(alignment, row, dims, dataset, dataset["train"])


def test_every_system_but_mult_is_aligned(tmp_path: Path) -> None:
    dataset = stored(tmp_path / "u")
    found = {name: kind_for(name, dataset).kind for name in SYSTEMS}
    ctc = {name for name, kind in found.items() if kind == "ctc"}
    assert ctc == set(SYSTEMS) - {"mult", "br", "lp", "cc", "sgm", "lsan"}
    assert [name for name, row in SYSTEMS.items() if row.reads_unaligned] == ["mult"]
    settled = kind_for("tailor", dataset)
    assert settled.target_steps == LONGEST
    assert settled.steps_per_target == {"visual": 2.0, "audio": 3.0}
    assert kind_for("tailor", dataset, kind="none").kind == "none"
    assert kind_for("mult", dataset, kind="ctc").kind == "ctc"
    aligned = stored(tmp_path / "a", aligned=True)
    assert kind_for("tailor", aligned).kind == "none"
    for name, data, reason in (
        ("tailor", aligned, "word-aligned"),
        ("br", dataset, "fitted at once"),
        ("sgm", dataset, "nothing to align"),
    ):
        with pytest.raises(ConfigError, match=reason):
            kind_for(name, data, kind="ctc")


def test_without_text_the_longest_sequences_get_fifty_positions(tmp_path: Path) -> None:
    dataset = stored(tmp_path / "u", without=("text",))
    settled = kind_for("tailor", dataset)
    assert (settled.kind, settled.target_steps) == ("ctc", 50)
    longest = {
        m: max(int(s.lengths(m).max()) for s in dataset.splits.values()) for m in dataset.dims
    }
    assert settled.steps_per_target == {m: n / 50 for m, n in longest.items()}
    assert kind_for("ml_gcn", dataset).kind == "none"


@pytest.mark.parametrize("name", ["tailor", "mult", "br", "sgm"])
def test_trained_on_unaligned_data(name: str, tmp_path: Path) -> None:
    dataset = stored(tmp_path / "u")
    changes = {
        "data": {"path": str(tmp_path / "u")},
        "model": TINY[name],
        "training": {"epochs": 1, "batch_size": 8, "device": "cpu"},
    }
    config = RunConfig.build(changes, system=name, aligned=False)
    data = TrainingData(config, Reporter())
    if name == "tailor":
        assert config.training.learning_rate == 1e-4
        assert data.lengths.tolist() == dataset["train"].lengths("text").tolist()
    run = train(config, tmp_path / "run").run
    predictor = Predictor.load(run, device="cpu")
    assert isinstance(predictor.model, CTCAligned) == (name == "tailor")
    assert predictor.card.alignment == data.alignment
    assert np.isfinite(predictor.predict_proba(dataset["test"])).all()


def test_text_alone_needs_no_alignment(tmp_path: Path) -> None:
    stored(tmp_path / "u")
    changes = {
        "data": {"path": str(tmp_path / "u"), "modalities": ["text"]}, "model": TINY["tailor"],
    }  # fmt: skip
    data = TrainingData(RunConfig.build(changes), Reporter())
    assert data.alignment.kind == "none"
    assert isinstance(data.build(), Tailor)


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="alignment of text"):
        wrapped("tailor", dims={"text": 11})
    with pytest.raises(ModelError, match="alignment of visual, audio, text to None steps"):
        wrapped("tailor", AlignmentConfig(kind="ctc"))
    model = wrapped("tailor")
    with pytest.raises(ModelError, match="text sequence of 8 steps"):
        model.check_lengths({"visual": 99, "audio": 1, "text": 8}, aligned=False)
    model.check_lengths({"visual": 99, "audio": 1, "text": 7}, aligned=False)
    too_long = wrapped("tailor", ALIGNMENT.replace(target_steps=14))
    with pytest.raises(ModelError, match="at most max_steps = 13"):
        too_long.check_lengths({"visual": 99, "audio": 1, "text": 7}, aligned=False)
    with pytest.raises(ConfigError, match=r"steps_per_target\.visual"):
        AlignmentConfig.parse({"steps_per_target": {"visual": 0}})
