"""Predictions by name, and explanations whose numbers can be computed by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emotailor.data.batching import Batch, Standardizer
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.runs.evaluate import evaluate_run
from emotailor.serving import samples as module
from emotailor.serving.prediction import Explanation, Prediction, Predictions
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import LoadedModel, ModelCard
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from tests.evaluation.fake_pandas import with_fake_pandas, without_pandas
from tests.helpers import DIMS, LABELS, SMALL, random_samples
from tests.runs.runs import one_thread, train_tiny

BIAS = (-1.0, 0.0, 0.5)


class Sum(EmotionModel):
    """Logits are a bias plus a linear function of every real step: every drop is a sum."""

    takes_unaligned = True

    def __init__(self, dims: Mapping[Modality, int]) -> None:
        super().__init__(dims, 3)
        rng = np.random.default_rng(0)
        self.weights = nn.ParameterDict(
            {
                m: torch.from_numpy(rng.normal(size=(d, 3)).astype(np.float32))
                for m, d in dims.items()
            }
        )

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return {}

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        logits = torch.tensor(BIAS).expand(len(batch), 3)
        for m in self.dims:
            real = batch.values[m] * batch.masks[m][..., None]
            logits = logits + (real @ self.weights[m]).sum(1)
        return ModelOutput(logits, {})

    def evidence(self, sample: Sample) -> dict[Modality, np.ndarray]:
        """What each step adds to each logit, modality -> (steps, 3)."""
        return {
            m: x.astype(np.float64) @ self.weights[m].detach().double().numpy()
            for m, x in sample.sequences.items()
        }


def card(dims: Mapping[Modality, int], **changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "system": "tailor",
        "config": {},
        "label_names": LABELS,
        "dims": dict(dims),
        "aligned": True,
        "standardized": False,
        "thresholds": {
            "fixed": Thresholds.fixed(LABELS, 0.35),
            "per_label": Thresholds(
                mode="per_label", values={"angry": 0.9, "happy": 0.1, "sad": 0.5}
            ),
        },
    }
    return ModelCard(**{**fields, **changes})


def summing(
    dims: Mapping[Modality, int] = DIMS, standardizer: Standardizer | None = None, **changes: Any
) -> Predictor:
    return Predictor(LoadedModel(card(dims, **changes), Sum(dims).eval(), standardizer))


def sample(steps: int = 9, seed: int = 1, **lengths: int) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(
        "a[0]",
        {
            m: rng.normal(size=(lengths.get(m, steps), d)).astype(np.float32)
            for m, d in DIMS.items()
            if lengths.get(m, steps)
        },
    )


def model_of(predictor: Predictor) -> Sum:
    assert isinstance(predictor.model, Sum)
    return predictor.model


# ---------------------------------------------------------------------- predictions


def test_probabilities_and_decisions_by_name() -> None:
    predictor, one = summing(), sample()
    logits = np.array(BIAS) + sum(x.sum(0) for x in model_of(predictor).evidence(one).values())
    (found,) = predictor.predict([one])
    expected = 1 / (1 + np.exp(-logits))
    assert list(found.probabilities) == list(found.decisions) == list(LABELS)
    np.testing.assert_allclose(list(found.probabilities.values()), expected, rtol=1e-5)
    assert list(found.decisions.values()) == (expected > 0.35).tolist()
    assert found.explanation is None


def test_the_labels_that_hold_come_the_most_probable_first() -> None:
    found = Prediction(
        "x", {"a": 0.4, "b": 0.9, "c": 0.3, "d": 0.5}, {"a": True, "b": True, "c": False, "d": True}
    )
    assert found.labels == ["b", "d", "a"]


def test_thresholds_are_chosen_by_name_and_matched_by_label() -> None:
    loaded = LoadedModel(card(DIMS), Sum(DIMS).eval(), None)
    assert Predictor(loaded).mode == "fixed"
    assert Predictor(loaded, "per_label").thresholds.tolist() == [0.1, 0.5, 0.9]
    with pytest.raises(ConfigError, match=r"no 'tuned' thresholds[\s\S]*one of fixed, per_label"):
        Predictor(loaded, "tuned")
    # a model of a version before macro
    with pytest.raises(ConfigError, match=r"no 'macro' thresholds[\s\S]*train the model again"):
        Predictor(loaded, "macro")
    tuned = card(DIMS, thresholds={"tuned": Thresholds.fixed(LABELS, 0.2)})
    assert Predictor(LoadedModel(tuned, Sum(DIMS), None)).mode == "tuned"


def test_a_probability_at_the_threshold_is_not_above_it() -> None:
    at_half = card(DIMS, thresholds={"fixed": Thresholds.fixed(LABELS, 0.5)})
    predictor = Predictor(LoadedModel(at_half, Sum(DIMS).eval(), None))
    silent = Sample("a", {"text": np.zeros((2, 11), np.float32)})  # logits are the biases
    (found,) = predictor.predict([silent])
    assert found.probabilities["sad"] == 0.5
    assert found.decisions == {"happy": False, "sad": False, "angry": True}


def test_many_samples_are_the_same_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    predictor, samples = summing(), random_samples(11, missing=0.4)
    together = predictor.predict(iter(samples))
    assert [p.id for p in together] == [s.id for s in samples]
    for one, found in zip(samples, together, strict=True):
        (alone,) = predictor.predict([one])
        np.testing.assert_allclose(
            list(alone.probabilities.values()), list(found.probabilities.values()), rtol=1e-5
        )
    assert predictor.predict([]) == []


def test_samples_of_the_same_id_are_each_predicted() -> None:
    a, b = sample(seed=1), sample(seed=2)
    found = summing().predict([a, b, a])
    assert [p.id for p in found] == ["a[0]"] * 3
    assert found[0].probabilities == found[2].probabilities != found[1].probabilities


def test_labels_of_samples_are_not_read() -> None:
    with_labels = Sample("a", sample().sequences, np.ones(17, np.uint8))
    assert summing().predict([with_labels])[0].probabilities == pytest.approx(
        summing().predict([sample()])[0].probabilities
    )


def test_modalities_the_model_does_not_take_are_left_out() -> None:
    predictor = summing({"text": 11})
    assert predictor.modalities == ("text",)
    text = Sample("a[0]", {"text": sample().sequences["text"]})
    assert predictor.predict([sample()]) == predictor.predict([text])


def test_a_missing_modality_adds_nothing() -> None:
    predictor, one = summing(), sample(audio=0)
    (found,) = predictor.predict([one], explain=True)
    logits = np.array(BIAS) + sum(x.sum(0) for x in model_of(predictor).evidence(one).values())
    np.testing.assert_allclose(
        list(found.probabilities.values()), 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    assert found.explanation is not None
    assert set(found.explanation.modalities["sad"]) == {"visual", "text"}
    assert set(found.explanation.steps["sad"]) == {"visual", "text"}


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (
            {"visual": np.ones((4, 6))},
            r"'x': visual is float32 of shape \(4, 6\)[\s\S]*\(steps, 5\)",
        ),
        (
            {"visual": np.full((4, 5), np.nan)},
            r"^sample 'x': visual: 20 non-finite values in feature 0 \(4\)",
        ),
        ({"text": np.full((1, 11), np.inf)}, "non-finite"),
        ({}, "'x' has no modality"),
        ({"visual": np.ones((0, 5))}, "at least one step"),
        (
            {"visual": np.ones((4, 5)), "text": np.ones((3, 11))},
            r"^sample 'x' is unaligned: each modality has its own number of steps "
            r"\(visual 4, text 3\)\n"
            r"  expected: one step per word in every modality: the model was trained on "
            r"word-aligned data\n"
            r"  to fix it: align it to words "
            r"\(`emotailor data convert SOURCE --out DATA --align`\), "
            r"or use a model trained on unaligned data$",
        ),
    ],
)
def test_samples_that_cannot_be_used(sequences: dict[Any, np.ndarray], message: str) -> None:
    good = sample()
    bad = Sample("x", {m: x.astype(np.float32) for m, x in sequences.items()})
    for explain in (False, True):
        with pytest.raises(DataError, match=message) as caught:
            summing().predict([good, bad], explain=explain)
        assert caught.value.exit_code == 4


def test_a_sample_with_none_of_the_modalities_of_the_model() -> None:
    predictor = summing({"text": 11})
    deaf = Sample("x", {"visual": np.ones((4, 5), np.float32)})
    with pytest.raises(DataError, match=r"'x' has visual\n.*at least one step of text"):
        predictor.predict([sample(), deaf])
    assert not predictor.can_see(deaf)
    assert not predictor.can_see(Sample("y", {"text": np.ones((0, 11), np.float32)}))
    assert predictor.can_see(sample())


def test_the_input_is_not_changed() -> None:
    one = sample()
    before = {m: x.copy() for m, x in one.sequences.items()}
    summing().predict([one], explain=True)
    assert all((before[m] == x).all() for m, x in one.sequences.items())


def test_a_model_that_yields_nan_says_so() -> None:
    predictor = summing()
    with torch.no_grad():
        model_of(predictor).weights["text"][0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"NaN for sample 'a\[0\]'"):
        predictor.predict([sample()])


def test_a_split_of_other_features_is_refused() -> None:
    def split_of(dims: dict[Modality, int], *, aligned: bool = True, **lengths: int) -> Any:
        sequences = {m: np.ones((lengths.get(m, 3), d), np.float32) for m, d in dims.items()}
        one = Sample("a", sequences, np.zeros(1, np.uint8))
        return EmotionDataset.from_samples(
            {"test": [one]}, name="x", label_names=["l"], dims=dims, aligned=aligned
        )["test"]

    for dims, message in (
        ({"visual": 5, "audio": 7}, "split 'test' has no text"),
        ({"visual": 5, "audio": 7, "text": 12}, "has text of width 12"),
        ({"visual": 9}, "has no audio, no text, visual of width 9"),
    ):
        with pytest.raises(ModelError, match=message):
            summing().predict_proba(split_of(dims))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"not aligned[\s\S]*align it to words"):
        summing().predict_proba(split_of(DIMS, aligned=False, text=2))
    assert summing().predict_proba(split_of(DIMS)).shape == (1, 3)
    assert summing(aligned=False).predict_proba(split_of(DIMS, aligned=False, text=2)).shape


# ---------------------------------------------------------------------- explanations


def test_the_drop_of_a_modality_is_what_it_added() -> None:
    predictor, one = summing(), sample()
    why = predictor.explain(one)
    evidence = model_of(predictor).evidence(one)
    for k, label in enumerate(LABELS):
        for m in MODALITIES:
            assert why.modalities[label][m] == pytest.approx(evidence[m][:, k].sum(), abs=1e-4)


@pytest.mark.parametrize(("steps", "window"), [(1, 1), (9, 1), (20, 2), (31, 3), (83, 8)])
def test_the_drop_of_a_window_is_what_its_steps_added(steps: int, window: int) -> None:
    """The window is cut at both ends; 3 x 83 + 3 variants take more than one pass."""
    predictor, one = summing(), sample(steps)
    why = predictor.explain(one)
    assert why.window == dict.fromkeys(MODALITIES, window)
    evidence = model_of(predictor).evidence(one)
    for k, label in enumerate(LABELS):
        for m in MODALITIES:
            drops = why.steps[label][m]
            assert drops.shape == (steps,)
            for center in range(steps):
                first = max(center - window // 2, 0)
                end = min(center - window // 2 + window, steps)
                assert first <= center < end
                expected = evidence[m][first:end, k].sum()
                assert drops[center] == pytest.approx(expected, abs=2e-4)


def test_each_modality_has_a_window_of_its_own_length() -> None:
    """Ten words beside 83 frames are not hidden all at once."""
    predictor, one = summing(aligned=False), sample(visual=83, audio=40, text=10)
    why = predictor.explain(one)
    assert why.window == {"visual": 8, "audio": 4, "text": 1}
    evidence = model_of(predictor).evidence(one)
    np.testing.assert_allclose(why.steps["sad"]["text"], evidence["text"][:, 1], atol=1e-4)
    assert why.steps["sad"]["audio"].shape == (40,)


def test_hidden_steps_are_hidden_after_standardisation() -> None:
    """Hiding sets to the mean, which standardisation maps to 0, not to the raw value 0."""
    standardizer = Standardizer(
        {m: np.full(d, 5, np.float32) for m, d in DIMS.items()},
        {m: np.full(d, 2, np.float32) for m, d in DIMS.items()},
    )
    one = sample()
    scaled = Sample(one.id, {m: (x - 5) / 2 for m, x in one.sequences.items()})
    why = summing(standardizer=standardizer, standardized=True).explain(one)
    expected = summing().explain(scaled)
    for m in MODALITIES:
        assert why.modalities["sad"][m] == pytest.approx(expected.modalities["sad"][m], abs=1e-3)


def explanation(
    modalities: dict[Modality, float], steps: dict[Modality, list[float]]
) -> Explanation:
    return Explanation(
        {"x": modalities},
        {"x": {m: np.array(values, np.float64) for m, values in steps.items()}},
        {},
        dict.fromkeys(steps, 1),
    )


@pytest.mark.parametrize(
    ("drops", "expected"),
    [
        ([0, 1, 4, 2, 1], (2, 3)),  # half of the strongest still counts
        ([5, 0, 0, 0, 5], (0, 0)),  # the first of equals
        ([3, 3, 3, 3, 3], (0, 4)),
        ([0, 0, 0, 0, 9], (4, 4)),
        ([-3, -1, -2, -1.5, -4], (1, 1)),  # nothing speaks for it: the least bad step
        ([0, 0, 0, 0, 0], (0, 4)),
        ([1, 0.6, 0.2, 0.9, 1], (0, 1)),  # the others are not next to it
    ],
)
def test_the_strongest_evidence_is_a_modality_and_the_steps_around_its_peak(
    drops: list[float], expected: tuple[int, int]
) -> None:
    why = explanation({"visual": 1.0, "text": 2.0}, {"visual": [9.0], "text": drops})
    assert why.strongest("x") == ("text", *expected)


def test_evidence_names_the_words_and_their_times() -> None:
    nine = ["so", "what", "a", "really", "great", "day", "it", "was", "\u001b[2J"]
    starts = np.arange(9) / 2
    told = replace(
        sample(),
        words=nine,
        times={"text": np.stack([starts, starts + 0.5], axis=1)},
        missing={"visual": np.arange(9) == 3},
    )
    why = summing().explain(told)
    assert why.words == dict.fromkeys(DIMS, nine)
    assert why.said("visual", 3, 5) == '"really great day"'
    assert why.said("text", 3, 5) == '"really great day" (1.5-3.0 s)'
    assert why.to_json()["times"]["text"][8] == [4.0, 4.5]

    assert why.describe("angry") == 'visual, "great"'
    assert [len(steps) for steps in why.steps["happy"].values()] == [9, 9, 9]

    # what the model does not see adds nothing
    alone = summing().explain(replace(told, words=None))
    assert why.steps["happy"]["visual"][3] == 0
    assert alone.words == {}


def test_words_that_are_said_again_have_their_numbers() -> None:
    why = explanation({"text": 2.0, "audio": 1.0}, {"text": [0, 0, 3, 3, 0], "audio": [1.0]})
    assert why.describe("x") == "text, steps 3-4"

    said = replace(why, words={"text": ["so", "so", "very", "very", "good"]})
    assert said.describe("x") == 'text, "very very"'
    assert said.where("text", 1, 1) == '"so" (word 2)'
    assert said.where("text", 1, 2) == '"so very"'
    assert said.where("text", 4, 4) == '"good"'
    assert said.where("audio", 0, 0) == "step 1"
    again = replace(why, words={"text": ["a", "b", "a", "b", ""]})
    assert again.where("text", 2, 3) == '"a b" (words 3-4)'

    # nothing is said there
    assert again.where("text", 4, 4) == "step 5"

    # times tell them apart
    spans = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], np.float64)
    timed = replace(again, times={"text": spans})
    assert timed.where("text", 2, 3) == '"a b" (2.0-4.0 s)'
    assert timed.where("text", 4, 4) == "step 5 (4.0-5.0 s)"

    long = replace(why, words={"text": ["x" * 30] * 5})
    assert long.where("text", 2, 3) == f'"{"x" * 30} {"x" * 8}…" (words 3-4)'


def test_words_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="1 words for 9 steps"):
        summing().predict([replace(sample(), words=["so"])])
    unseen: dict[Modality, np.ndarray] = {m: np.ones(9, np.bool_) for m in DIMS}
    blind = replace(sample(), missing=unseen)
    assert not summing().can_see(blind)


def test_predictions_and_evidence_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    why = explanation({"visual": 1.0, "text": 2.0}, {"visual": [9.0], "text": [0.0, 3.0, 4.0]})
    assert repr(why) == "Explanation(x: text, steps 2-3)"
    found = Prediction("<id>", {"y": 0.25, "x": 0.7512}, {"y": False, "x": True}, why)
    assert repr(found) == "Prediction('<id>': x 0.751)"
    assert repr(Prediction("a", {"x": 0.1}, {"x": False})) == "Prediction('a': none of the labels)"
    html = found._repr_html_()
    assert "<caption>&lt;id&gt;</caption>" in html
    assert "<th>x</th><td>0.751 yes</td><td>-1.00</td><td>-2.00</td>" in html
    assert "<td>text, steps 2-3</td>" in html
    assert "<th>evidence</th>" in why._repr_html_()

    with_fake_pandas(monkeypatch)
    frame = Predictions([found]).to_dataframe()
    assert frame.index == "id"
    assert frame.rows == [{"id": "<id>", "p:y": 0.25, "p:x": 0.7512, "y": False, "x": True}]
    without_pandas(monkeypatch)
    with pytest.raises(ConfigError, match="pandas"):
        Predictions([found]).to_dataframe()


def test_planted_evidence_is_found_where_it_is() -> None:
    predictor = summing()
    weight = model_of(predictor).weights["audio"].detach().numpy()
    x = {m: np.zeros((14, d), np.float32) for m, d in DIMS.items()}
    x["audio"][6:9] = weight[:, 2]  # along the direction of "angry"
    (found,) = predictor.predict([Sample("a", x)], explain=True)
    assert found.explanation is not None
    assert found.explanation.strongest("angry") == ("audio", 6, 8)
    assert found.explanation.modalities["angry"]["audio"] == pytest.approx(
        3 * float((weight[:, 2] ** 2).sum()), rel=1e-4
    )
    assert found.explanation.modalities["angry"]["text"] == 0


# ---------------------------------------------------------------------- trained models


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("run") / "run")


def test_every_way_to_a_probability_is_the_same(data: Path, run: Path) -> None:
    predictor, split = Predictor.load(run, device="cpu"), open_dataset(data)["test"]
    table = predictor.predict_proba(split)
    assert table.dtype == np.float32
    assert table.shape == (7, 3)
    of_split, of_samples = predictor.predict(split), predictor.predict(list(split))
    evaluated = evaluate_run(run, device="cpu", store=False, resamples=0)
    np.testing.assert_array_equal(evaluated.probabilities, table)
    for i in range(7):
        assert of_split[i] == of_samples[i]
        assert list(of_split[i].probabilities.values()) == table[i].astype(float).tolist()
        decided = list(of_split[i].decisions.values())
        assert decided == (table[i].astype(np.float64) > predictor.thresholds).tolist()
    for size in (1, 2, 100):
        np.testing.assert_allclose(
            predictor.predict_proba(split, batch_size=size), table, atol=1e-6
        )


def test_attention_over_all_blocks_sums_to_one(data: Path, run: Path) -> None:
    predictor, split = Predictor.load(run, device="cpu"), open_dataset(data)["test"]
    for i in range(len(split)):
        why = predictor.explain(split.sample(i))
        for label in LABELS:
            parts = why.attention[label]
            assert set(parts) == {*MODALITIES, "common"}
            assert sum(x.sum() for x in parts.values()) == pytest.approx(1, abs=1e-5)
            assert all((x >= 0).all() for x in parts.values())


def test_a_prediction_is_plain_json(data: Path, run: Path) -> None:
    predictor, split = Predictor.load(run, device="cpu"), open_dataset(data)["test"]
    (found,) = predictor.predict([split.sample(2)], explain=True)
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    known = {"id", "labels", "probabilities", "decisions", "thresholds", "explanation"}
    assert set(value) == known
    assert value["thresholds"] == predictor.card.thresholds["tuned"].values
    why = value["explanation"]
    steps = len(split.sequence("text", 2))
    assert set(why["modalities"]) == set(why["steps"]) == set(why["attention"]) == set(LABELS)
    assert set(why["window"]) == set(why["steps"]["sad"]) == set(MODALITIES)
    assert {len(x) for x in why["steps"]["sad"].values()} == {steps}
    assert "explanation" not in predictor.predict([split.sample(2)])[0].to_json()


def test_a_sequence_too_long_for_the_model(run: Path) -> None:
    predictor = Predictor.load(run, device="cpu")
    long = {m: np.zeros((14, d), np.float32) for m, d in DIMS.items()}
    with pytest.raises(ModelError, match=r"14 steps[\s\S]*at most max_steps = 13"):
        predictor.predict([Sample("a", long)])


def test_unknown_devices(run: Path) -> None:
    for device in ("cuda:99", "toaster"):
        with pytest.raises(ConfigError, match=device):
            Predictor.load(run, device=device)


def test_what_a_trained_model_learnt_is_found_where_it_was_planted(tmp_path: Path) -> None:
    """Label k shows itself in modality k alone, in 3 of 10 steps; chance is a third."""
    rng = np.random.default_rng(0)
    windows: dict[tuple[str, int], int] = {}

    def planted(count: int, prefix: str) -> list[Sample]:
        samples = []
        for i in range(count):
            y = rng.integers(0, 2, 3).astype(np.uint8)
            sequences = {}
            for k, m in enumerate(MODALITIES):
                x = 0.5 * rng.normal(size=(10, DIMS[m]))
                first = windows[f"{prefix}{i}", k] = int(rng.integers(0, 8))
                x[first : first + 3, 0] += 3.0 * y[k]
                sequences[m] = x.astype(np.float32)
            samples.append(Sample(f"{prefix}{i}", sequences, y))
        return samples

    sizes = {"train": 240, "valid": 40, "test": 20}
    dataset = write_dataset(
        tmp_path / "data",
        {split: planted(count, split) for split, count in sizes.items()},
        name="planted",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )
    quiet = {"dropout": 0.0, "initial_std": 0.2, "adversarial_weight": 0.0, "audio_layers": 1}
    settings = {"epochs": 6, "batch_size": 16, "learning_rate": 1e-2, "device": "cpu", "seed": 1}
    config = RunConfig.build(
        {
            "data": {"path": str(tmp_path / "data")},
            "model": {**SMALL.to_json(), **quiet},
            "training": {**settings, "select_by": "tuned"},
        }
    )
    with one_thread():
        micro_f1 = train(config, tmp_path / "run").best.valid["micro_f1"]
        assert micro_f1 is not None and micro_f1 > 0.85
        predictor = Predictor.load(tmp_path / "run", device="cpu")
        questions = modality_right = steps_right = 0
        for one in dataset["test"]:
            assert one.labels is not None
            why = predictor.explain(one)
            for k in np.nonzero(one.labels)[0].tolist():
                modality, first, last = why.strongest(LABELS[k])
                questions += 1
                if modality == MODALITIES[k]:
                    modality_right += 1
                    start = windows[one.id, k]
                    steps_right += first < start + 3 and last >= start
    assert questions > 20
    assert modality_right / questions > 0.65
    assert steps_right / modality_right > 0.65
