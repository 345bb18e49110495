"""The planted truth is there: frequencies, carriers, windows, noise, rates, seeds."""

import hashlib
import json
import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from emotailor.data import synthetic
from emotailor.data.sample import EMOTIONS, MODALITIES, Modality, Sample
from emotailor.data.store import DatasetWriter
from emotailor.data.synthetic import (
    CARRIERS,
    PlantedTruth,
    SyntheticConfig,
    SyntheticSplit,
    generate,
    load_truth,
    mosei_statistics,
    planted_evidence,
    synthesize,
)
from emotailor.data.validate import validate_dataset
from emotailor.errors import ConfigError, DataError
from tests.helpers import stored_name

SMALL = {"visual_dim": 19, "audio_dim": 23, "text_dim": 29}  # more than the 11 factors of each

Pooled = dict[str, tuple[dict[Modality, np.ndarray], np.ndarray]]
Drawn = tuple[dict[str, SyntheticSplit], PlantedTruth]


def pool(split: Iterable[Sample]) -> dict[Modality, np.ndarray]:
    """Mean over steps, per modality (n, dim)."""
    samples = list(split)
    return {m: np.stack([s.sequences[m].mean(0) for s in samples]) for m in MODALITIES}


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    splits, _ = generate(SyntheticConfig(train=2000, valid=0, test=4000, noise=0.4, **SMALL))
    return {name: (pool(split), split.plan.labels) for name, split in splits.items()}


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return generate(SyntheticConfig(train=503, valid=0, test=0, **SMALL))


def conditional_auc(score: np.ndarray, label: np.ndarray, others: np.ndarray) -> float:
    """AUC over the pairs of samples whose other labels are the same."""
    right, pairs = 0.0, 0
    for group in np.unique(others, axis=0):
        same = (others == group).all(1)
        positive, negative = score[same & (label == 1)], score[same & (label == 0)]
        right += float((positive[:, None] > negative).sum())
        pairs += len(positive) * len(negative)
    return right / pairs


def test_every_label_has_carriers_and_a_modality_that_does_not_carry_it() -> None:
    assert tuple(CARRIERS) == EMOTIONS
    assert all(0 < len(carriers) < 3 for carriers in CARRIERS.values())
    for m in MODALITIES:
        assert sum(m in carriers for carriers in CARRIERS.values()) == 3


def test_shipped_statistics_are_those_of_the_label_table(shared_data: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "fit_mosei_statistics.py"
    fitted = runpy.run_path(str(script))["fit"](shared_data / "mosei_labels" / "segments.csv")
    shipped = Path(synthetic.__file__).with_name("mosei_statistics.json")
    assert json.loads(shipped.read_text()) == fitted
    assert fitted["segments"] == 22_860 == sum(fitted["word_counts"])


def test_label_frequencies_are_those_of_mosei() -> None:
    statistics = mosei_statistics()
    marginal = dict(zip(EMOTIONS, np.diag(statistics.cooccurrence), strict=True))
    expected = {
        "angry": 0.216, "disgust": 0.177, "fear": 0.083,
        "happy": 0.536, "sad": 0.259, "surprise": 0.100,
    }  # fmt: skip
    assert marginal == pytest.approx(expected, abs=0.001)

    n = 40_000
    labels = generate(SyntheticConfig(train=n))[0]["train"].plan.labels.astype(float)
    together = labels.T @ labels / n
    p = statistics.cooccurrence
    assert (np.abs(together - p) < 4 * np.sqrt(p * (1 - p) / n)).all()
    sets = np.bincount((labels @ (1 << np.arange(6))).astype(int), minlength=64) / n
    q = statistics.label_sets
    assert (np.abs(sets - q) < 5 * np.sqrt(q * (1 - q) / n)).all()


def test_lengths_are_those_of_mosei() -> None:
    n = 40_000
    words = generate(SyntheticConfig(train=n))[0]["train"].plan.words
    p = mosei_statistics().words
    found = np.bincount(words, minlength=61)[1:] / n
    assert (words.min(), words.max()) == (1, 60)
    assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / n)).all()
    assert words.mean() == pytest.approx(19.5, abs=0.3)


@pytest.mark.parametrize("label", EMOTIONS)
def test_a_modality_predicts_a_label_if_and_only_if_it_carries_it(
    label: str, pooled: Pooled
) -> None:
    column = EMOTIONS.index(label)
    for m in MODALITIES:
        (train, labels), (test, test_labels) = pooled["train"], pooled["test"]
        model = LogisticRegression(C=0.1).fit(train[m], labels[:, column])
        auc = conditional_auc(
            model.decision_function(test[m]),
            test_labels[:, column],
            np.delete(test_labels, column, axis=1),
        )
        if m in CARRIERS[label]:
            assert auc > 0.7
        else:  # 4,000 samples with 300 or more positives: a standard error of 0.02 at most
            assert auc == pytest.approx(0.5, abs=0.06)


def test_no_single_feature_is_a_label(pooled: Pooled) -> None:
    table, test = (
        np.concatenate([pooled[name][0][m] for m in MODALITIES], axis=1)
        for name in ("train", "test")
    )
    labels = pooled["test"][1]
    for column in range(len(EMOTIONS)):
        model = LogisticRegression(C=0.1)
        scores = model.fit(table, pooled["train"][1][:, column]).decision_function(test)
        correlation = np.abs(np.corrcoef(labels[:, column], np.c_[test, scores].T)[0, 1:])
        assert correlation[:-1].max() < correlation[-1] - 0.1


def test_evidence_lies_inside_the_window(drawn: Drawn) -> None:
    splits, truth = drawn
    split = splits["train"]
    inside: dict[bool, list[float]] = {True: [], False: []}
    outside = []
    for i, sample in enumerate(split):
        assert sample.labels is not None
        for j, m in enumerate(MODALITIES):
            projected = sample.sequences[m] @ truth.readout[m]
            for label in np.nonzero(truth.carriers[:, j])[0]:
                begin, end = truth.windows["train"][i, label, j]
                inside[bool(sample.labels[label])] += projected[begin:end, label].tolist()
                outside += projected[:begin, label].tolist() + projected[end:, label].tolist()
    # steps have a deviation of about 0.8: three standard errors of each mean
    assert np.mean(inside[True]) == pytest.approx(1, abs=0.04)
    assert np.mean(inside[False]) == pytest.approx(0, abs=0.02)
    assert np.mean(outside) == pytest.approx(0, abs=0.01)


def test_without_noise_the_evidence_is_exact() -> None:
    config = SyntheticConfig(train=101, valid=0, test=0, noise=0, **SMALL)
    _, truth = generate(config)
    split = synthesize(config)["train"]
    np.testing.assert_allclose(planted_evidence(split, truth), split.labels, atol=1e-4)


def test_more_noise_lowers_the_oracle() -> None:
    found = []
    for noise in (0.5, 1.0, 2.0):
        config = SyntheticConfig(train=400, valid=0, test=0, noise=noise, **SMALL)
        split = synthesize(config)["train"]
        found.append(roc_auc_score(split.labels, planted_evidence(split, generate(config)[1])))
    assert found[0] > 0.98
    assert found[0] - found[1] > 0.04
    assert found[1] - found[2] > 0.1


def test_windows_lie_in_their_sequences_and_only_where_a_modality_carries_the_label() -> None:
    config = SyntheticConfig(train=307, valid=0, test=211, aligned=False, missing=0.3)
    splits, truth = generate(config)
    for name, split in splits.items():
        windows, plan = truth.windows[name], split.plan
        has = truth.carriers & ~plan.missing[:, None, :]
        assert (windows[~has] == -1).all()
        begin, end = np.moveaxis(windows, -1, 0)
        steps = np.broadcast_to(plan.steps[:, None, :], begin.shape)
        assert ((begin >= 0) & (begin < end) & (end <= steps))[has].all()


def test_aligned_windows_are_the_same_words_in_all_modalities_and_anywhere(drawn: Drawn) -> None:
    splits, truth = drawn
    words, windows = splits["train"].plan.words, truth.windows["train"]
    assert (windows[:, 3, 0] == windows[:, 3, 2]).all()  # happy: visual and text
    width = np.diff(windows[:, 3, 0])[:, 0]
    assert (width == np.maximum(1, np.rint(0.2 * words))).all()
    long = words >= 10
    place = windows[long, 3, 0, 0] / (words - width)[long]
    assert place.min() == 0
    assert place.max() == 1
    assert place.mean() == pytest.approx(0.5, abs=0.06)


def test_unaligned_modalities_have_their_own_rates_and_delays() -> None:
    splits, truth = generate(SyntheticConfig(train=2003, valid=0, test=0, aligned=False))
    plan = splits["train"].plan
    visual, audio, text = plan.steps.T
    assert (visual.max(), audio.max(), text.max()) == (500, 500, 50)
    short = plan.words <= 40  # longer ones are cut to 500 and 50 steps
    assert (text[short] == plan.words[short]).all()
    assert (visual / plan.words)[short].mean() == pytest.approx(8, abs=0.1)
    assert (audio / plan.words)[short].mean() == pytest.approx(9, abs=0.1)
    assert (plan.delays.max(0) < (0.5, 1.0, 2.0)).all()
    assert (plan.delays.max(0) > (0.49, 0.99, 1.99)).all()
    # in words, the happy window starts later in text than in the picture, by 0.75 on average
    start = truth.windows["train"][:, 3, :, 0] / plan.steps * plan.words[:, None]
    assert (start[:, 2] - start[:, 0])[short].mean() == pytest.approx(0.75, abs=0.15)


def test_unaligned_is_about_as_hard_as_aligned() -> None:
    found = []
    for aligned in (True, False):
        config = SyntheticConfig(train=500, valid=0, test=0, aligned=aligned, **SMALL)
        split = synthesize(config)["train"]
        found.append(roc_auc_score(split.labels, planted_evidence(split, generate(config)[1])))
    assert found[0] == pytest.approx(found[1], abs=0.02)


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    assert one is not None and other is not None
    return np.array_equal(one, other)


def equal(one: SyntheticSplit, other: SyntheticSplit, count: int) -> bool:
    pairs = [(one[i], other[i]) for i in range(count)]
    return all(
        a.id == b.id
        and same(a.labels, b.labels)
        and all(np.array_equal(a.sequences[m], b.sequences[m]) for m in MODALITIES)
        for a, b in pairs
    )


@pytest.mark.parametrize("aligned", [True, False])
def test_the_seed_decides_and_the_size_does_not(aligned: bool) -> None:
    config = SyntheticConfig(train=13, valid=5, test=7, aligned=aligned, **SMALL)
    first, truth = generate(config)
    again, same_truth = generate(config)
    longer, _ = generate(config.replace(train=29, valid=0))
    other, _ = generate(config.replace(seed=1))
    assert equal(first["train"], again["train"], 13)
    assert equal(first["train"], longer["train"], 13)
    assert equal(first["test"], longer["test"], 7)
    assert not equal(first["train"], other["train"], 1)
    labels = first["train"][0].labels
    assert labels is not None and len(labels)
    assert list(longer) == ["train", "test"]
    for name, array in truth.arrays().items():
        np.testing.assert_array_equal(array, same_truth.arrays()[name])
    # splits are different draws
    assert not np.array_equal(first["train"].plan.labels[:5], first["valid"].plan.labels) or (
        first["train"].plan.words[:5].tolist() != first["valid"].plan.words.tolist()
    )


def test_missing_modalities() -> None:
    n = 3001
    config = SyntheticConfig(train=n, valid=0, test=0, missing=0.2, **SMALL)
    splits, _ = generate(config)
    missing = splits["train"].plan.missing
    assert not missing.all(1).any()
    # each is missing with 0.2, less a third of the 0.2**3 cases where all three would be
    assert missing.mean(0) == pytest.approx(np.full(3, 0.2 - 0.008 / 3), abs=0.03)
    whole, _ = generate(config.replace(missing=0.0))
    index = int(np.nonzero(missing.any(1))[0][0])
    few, all_three = splits["train"][index], whole["train"][index]
    assert set(few.sequences) == {
        m for m, x in zip(MODALITIES, missing[index], strict=True) if not x
    }
    for m, sequence in few.sequences.items():
        np.testing.assert_array_equal(sequence, all_three.sequences[m])
    most, _ = generate(config.replace(missing=1.0))
    assert (most["train"].plan.missing.sum(1) == 2).all()
    assert len(most["train"][0].sequences) == 1


def test_samples_are_addressed_by_position(drawn: Drawn) -> None:
    split = drawn[0]["train"]
    assert len(split) == 503
    assert split[502].id == "train-000502"
    for index in (-1, 503):
        with pytest.raises(IndexError, match="of a split of 503"):
            split[index]


@pytest.mark.parametrize("aligned", [True, False])
def test_a_stored_set_is_the_one_in_memory_with_its_truth_beside(
    aligned: bool, tmp_path: Path
) -> None:
    config = SyntheticConfig(
        train=31, valid=11, test=17, aligned=aligned, missing=0.2, visual_dim=5, audio_dim=7,
        text_dim=13,
    )  # fmt: skip
    stored, memory = synthesize(config, tmp_path / "set"), synthesize(config)
    assert stored.label_names == EMOTIONS
    assert stored.dims == {"visual": 5, "audio": 7, "text": 13}
    assert stored.aligned is aligned
    assert list(stored.splits) == ["train", "valid", "test"]
    assert stored.card.provenance["config"] == config.to_json()
    for name, split in memory.splits.items():
        for a, b in zip(split, stored[name], strict=True):
            assert a.id == b.id
            assert a.sequences.keys() == b.sequences.keys()
            for m, sequence in a.sequences.items():
                np.testing.assert_array_equal(sequence, b.sequences[m])
    truth, loaded = generate(config)[1], load_truth(tmp_path / "set")
    np.testing.assert_array_equal(loaded.carriers, truth.carriers)
    for name, array in truth.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    assert [p for p in validate_dataset(tmp_path / "set") if p.severity == "error"] == []


def test_an_existing_folder_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    config = SyntheticConfig(train=3, valid=0, test=0, **SMALL)
    synthesize(config, tmp_path / "set")
    with pytest.raises(DataError, match="already exists"):
        synthesize(config, tmp_path / "set")
    again = synthesize(config.replace(train=5), tmp_path / "set", overwrite=True)
    assert len(again["train"]) == 5


def test_truth_of_other_data_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set at"):
        load_truth(tmp_path)
    config = SyntheticConfig(train=3, valid=0, test=0, **SMALL)
    sample = generate(config)[0]["train"][0]
    for name, arrays in (("plain", None), ("other", {"carriers": np.zeros((6, 3), np.uint8)})):
        with DatasetWriter(
            tmp_path / name, name=name, label_names=EMOTIONS, dims=config.dims, aligned=True
        ) as writer:
            writer.add("train", sample)
            if arrays is not None:
                writer.attach("truth", arrays)
    with pytest.raises(DataError, match="has no 'truth' beside it"):
        load_truth(tmp_path / "plain")
    with pytest.raises(DataError, match="not complete"):
        load_truth(tmp_path / "other")
    synthesize(config, tmp_path / "set")
    file = tmp_path / "set" / stored_name(tmp_path / "set", "truth")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"truth-[0-9a-f]+.safetensors is damaged"):
        load_truth(tmp_path / "set")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise": -0.1}, "noise"),
        ({"train": 0}, "train"),
        ({"missing": 1.5}, "missing"),
        ({"window": 0}, "window"),
        ({"noise": float("nan")}, "noise"),
        ({"seed": 2**32}, "seed"),
        ({"text_dim": 0}, "text_dim"),
        ({"nose": 0.1}, "nose"),
    ],
)
def test_wrong_configurations_name_the_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SyntheticConfig.parse(values)


def test_the_defaults_are_learnable_but_leave_room() -> None:
    config = SyntheticConfig()
    splits, truth = synthesize(config).splits, generate(config)[1]
    x, oracle = {}, {}
    for name, split in splits.items():
        x[name] = np.concatenate(list(pool(split).values()), axis=1)
        oracle[name] = planted_evidence(split, truth)

    def micro_f1(features: dict[str, np.ndarray], c: float) -> float:
        """One-vs-rest logistic regression, one threshold chosen on the validation split."""
        scale = StandardScaler().fit(features["train"])
        probability: dict[str, list[np.ndarray]] = {"valid": [], "test": []}
        for column in range(len(EMOTIONS)):
            model = LogisticRegression(C=c, tol=1e-2).fit(
                scale.transform(features["train"]), splits["train"].labels[:, column]
            )
            for name, found in probability.items():
                found.append(model.predict_proba(scale.transform(features[name]))[:, 1])

        def f1(name: str, threshold: float) -> float:
            predicted = np.stack(probability[name], axis=1) > threshold
            return f1_score(splits[name].labels, predicted, average="micro")

        return f1("test", max(np.linspace(0.1, 0.6, 26), key=lambda t: f1("valid", t)))

    test = splits["test"].labels
    frequent = np.tile(splits["train"].labels.mean(0) > 0.5, (len(test), 1))
    assert f1_score(test, frequent, average="micro") == pytest.approx(0.44, abs=0.01)
    assert micro_f1(x, 0.01) == pytest.approx(0.63, abs=0.03)
    assert micro_f1(oracle, 1.0) == pytest.approx(0.885, abs=0.02)


DRAWN = {
    True: "8ce771045844b5b013f356477ce0c2318586f53d4fa99f5d14c06808780dc1cf",
    False: "6ca9da570420f01d00459857d0e10902542ceb5267a817b389b565e18ab9babb",
}
"""SHA-256 of a small set by ``aligned``, as the first version of this package drew it."""


def _selecting(mixing: dict[Modality, np.ndarray]) -> dict[Modality, np.ndarray]:
    """Let every feature be one factor, so that all processors compute the same bits."""
    chosen = {}
    for m, matrix in mixing.items():
        factors, dim = matrix.shape
        chosen[m] = np.zeros_like(matrix)
        chosen[m][np.arange(dim) % factors, np.arange(dim)] = 1
    return chosen


@pytest.mark.parametrize("aligned", [True, False])
def test_the_same_seed_draws_the_same_bits_in_every_version(
    aligned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SyntheticConfig(
        train=7, valid=2, test=3, aligned=aligned, missing=0.3, noise=0.5, window=0.3,
        visual_dim=5, audio_dim=7, text_dim=11, seed=4,
    )  # fmt: skip
    total = hashlib.sha256()
    mixing = synthetic._mixing(config)
    for matrix in mixing.values():
        total.update(matrix.tobytes())

    monkeypatch.setattr(synthetic, "_mixing", lambda _: _selecting(mixing))
    splits, truth = generate(config)
    for name, split in splits.items():
        total.update(truth.windows[name].tobytes())
        for sample in split:
            assert sample.labels is not None
            total.update(f"{name} {sample.id} {sample.labels.tolist()}".encode())
            for m, sequence in sample.sequences.items():
                total.update(f"{m} {sequence.shape} {sequence.dtype}".encode())
                total.update(sequence.tobytes())
    assert total.hexdigest() == DRAWN[aligned]
