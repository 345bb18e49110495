"""The baselines: what they predict, by hand, and which samples and labels they are judged on."""

from dataclasses import replace

import numpy as np
import pytest

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import Sample
from emotailor.errors import DataError
from emotailor.evaluation.baselines import NAMES, baselines
from emotailor.evaluation.linear import STRENGTHS, log_loss
from emotailor.models.classic.logistic import fit_logistic, predict_logistic
from tests.helpers import DIMS, LABELS, random_samples


def held(splits: dict[str, list[Sample]], labels: tuple[str, ...] = LABELS) -> EmotionDataset:
    return EmotionDataset.from_samples(
        splits, name="small", label_names=labels, dims=DIMS, aligned=True
    )


@pytest.fixture(scope="module")
def dataset() -> EmotionDataset:
    return held(
        {
            "train": random_samples(53, seed=1, prefix="a"),
            "valid": random_samples(19, seed=2, prefix="b"),
            "test": random_samples(23, seed=3, prefix="c"),
        }
    )


def test_what_all_labels_and_frequencies_predict(dataset: EmotionDataset) -> None:
    found = baselines(dataset, "test", "tuned")
    assert tuple(found) == NAMES
    every = found["all labels"]
    labels = dataset["test"].labels
    assert every.decisions.all()
    assert every.metrics.micro_recall == 1
    assert every.metrics.micro_precision == pytest.approx(labels.mean())

    frequencies = found["label frequencies"]
    wanted = np.broadcast_to(dataset["train"].labels.mean(0), labels.shape)
    np.testing.assert_allclose(frequencies.probabilities, wanted)
    assert frequencies.metrics.mean_roc_auc == 0.5
    assert len(set(frequencies.thresholds)) == 1


def test_the_regression_is_binary_relevance_at_the_best_strength(dataset: EmotionDataset) -> None:
    found = baselines(dataset, "test", "tuned")["logistic regression"]

    def pooled(split: str) -> np.ndarray:
        rows = []
        for sample in dataset[split]:
            parts = []
            for m in DIMS:
                x = sample.sequences[m].astype(np.float64)
                parts += [x.mean(0), x.std(0)]
            rows.append(np.concatenate(parts))
        return np.array(rows)

    train, valid, test = (pooled(name) for name in ("train", "valid", "test"))
    mean, std = train.mean(0), train.std(0)
    losses = {}
    for strength in STRENGTHS:
        fit = fit_logistic((train - mean) / std, dataset["train"].labels, strength)
        on_valid = predict_logistic((valid - mean) / std, *fit)
        losses[strength] = log_loss(dataset["valid"].labels, on_valid)
        if strength == found.strength:
            wanted = predict_logistic((test - mean) / std, *fit)
    assert found.strength == min(losses, key=losses.__getitem__)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-3)
    assert found.metrics.micro_f1 > 0.8  # the labels can be read off the features


def test_thresholds_follow_the_rule_that_is_asked_for(dataset: EmotionDataset) -> None:
    fixed = baselines(dataset, "test", "fixed", fixed=0.71)
    assert fixed["label frequencies"].thresholds.tolist() == [0.71] * 3
    assert fixed["logistic regression"].thresholds.tolist() == [0.71] * 3
    assert not fixed["label frequencies"].decisions.any()
    assert fixed["all labels"].decisions.all()
    # too few positives for thresholds of their own
    per_label = baselines(dataset, "test", "per_label")["logistic regression"]
    tuned = baselines(dataset, "test", "tuned")["logistic regression"]
    assert per_label.thresholds.tolist() == tuned.thresholds.tolist()
    np.testing.assert_array_equal(per_label.probabilities, tuned.probabilities)


def test_labels_in_another_order(dataset: EmotionDataset) -> None:
    turned = ("angry", "happy", "sad")
    as_stored = baselines(dataset, "test", "tuned")
    other = baselines(dataset, "test", "tuned", label_names=turned)
    for name in NAMES:
        assert tuple(other[name].metrics.labels) == turned
        np.testing.assert_array_equal(
            other[name].probabilities, as_stored[name].probabilities[:, [2, 0, 1]]
        )
        assert other[name].metrics.micro_f1 == as_stored[name].metrics.micro_f1


def test_one_modality_alone(dataset: EmotionDataset) -> None:
    every = baselines(dataset, "test", "tuned")
    one = baselines(dataset, "test", "tuned", modalities=["text"])
    # text tells the third label; the others it does not
    labels = one["logistic regression"].metrics.labels
    auc = {name: label.roc_auc or 0.0 for name, label in labels.items()}
    assert auc["angry"] == max(auc.values())
    assert (
        one["logistic regression"].metrics.micro_f1 < every["logistic regression"].metrics.micro_f1
    )
    assert one["label frequencies"].metrics == every["label frequencies"].metrics


def test_unlabelled_samples_and_missing_modalities() -> None:
    def some(count: int, seed: int) -> list[Sample]:
        samples = random_samples(count, seed=seed, prefix=f"{seed}-", missing=0.4)
        return [replace(s, labels=None) if i % 5 == 2 else s for i, s in enumerate(samples)]

    dataset = held({"train": some(61, 1), "valid": some(23, 2), "test": some(29, 3)})
    found = baselines(dataset, "test", "tuned")
    known = dataset["test"].with_labels()
    assert 0 < len(known) < 29
    for result in found.values():
        assert result.probabilities.shape == (len(known), 3)
        assert result.metrics.samples == len(known)
    train = dataset["train"].with_labels()
    np.testing.assert_allclose(found["label frequencies"].probabilities[0], train.labels.mean(0))
    auc = found["logistic regression"].metrics.mean_roc_auc
    assert auc is not None and auc > 0.65


def test_a_label_that_never_holds_is_never_predicted() -> None:
    def without(samples: list[Sample]) -> list[Sample]:
        kept = []
        for sample in samples:
            assert sample.labels is not None
            labels = sample.labels.copy()
            labels[1] = 0
            kept.append(replace(sample, labels=labels))
        return kept

    dataset = held(
        {
            "train": without(random_samples(41, seed=1, prefix="a")),
            "valid": without(random_samples(19, seed=2, prefix="b")),
            "test": without(random_samples(17, seed=3, prefix="c")),
        }
    )
    found = baselines(dataset, "test", "tuned")
    assert not found["label frequencies"].decisions[:, 1].any()
    assert not found["logistic regression"].decisions[:, 1].any()
    assert found["logistic regression"].metrics.labels["sad"].roc_auc is None


def test_what_there_must_be(dataset: EmotionDataset) -> None:
    some = {"train": random_samples(5, prefix="a"), "test": random_samples(5, prefix="b")}
    without_valid = held(some)
    with pytest.raises(DataError, match="no split 'valid'"):
        baselines(without_valid, "test", "tuned")
    empty = held({"train": [], "valid": some["train"], "test": some["test"]})
    with pytest.raises(DataError, match="empty"):
        baselines(empty, "test", "tuned")
