"""The linear baselines that read words: what they see, by hand, and where there are none."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import Modality, Sample
from emotailor.evaluation.baselines import NAMES, WORD_NAMES, baselines
from emotailor.evaluation.health import below
from emotailor.evaluation.linear import STRENGTHS, log_loss
from emotailor.evaluation.words import TFIDF_STRENGTHS
from emotailor.models.classic.logistic import fit_logistic, predict_logistic
from tests.evaluation.test_baselines import held
from tests.helpers import random_samples

SIGNS = ("glad", "tears", "shout")
"""A word for each of the three labels."""

OF_WORDS = ("mean word vector", "TF-IDF", "linear union")


def spoken(count: int, *, seed: int, prefix: str, worded: bool = True) -> list[Sample]:
    """Samples in which a word stands for each label, in four of five cases."""
    rng = np.random.default_rng(seed)
    samples = []
    for sample in random_samples(count, seed=seed, prefix=prefix):
        steps = len(sample.sequences["text"])
        words = [f"w{n}" for n in rng.integers(0, 5, steps)]
        assert sample.labels is not None
        for label, sign in zip(sample.labels, SIGNS, strict=True):
            place = int(rng.integers(0, steps))
            if label and rng.random() < 0.8:
                words[place] = sign
        samples.append(replace(sample, words=words if worded else None))
    return samples


def spoken_data(**options: bool) -> EmotionDataset:
    sizes = {"train": (97, 1, "a"), "valid": (31, 2, "b"), "test": (29, 3, "c")}
    splits = {}
    for split, (count, seed, prefix) in sizes.items():
        worded = options.get(split, True)
        splits[split] = spoken(count, seed=seed, prefix=prefix, worded=worded)
    return held(splits)


@pytest.fixture(scope="module")
def dataset() -> EmotionDataset:
    return spoken_data()


def labels_of(dataset: EmotionDataset, split: str) -> np.ndarray:
    return dataset[split].labels


def test_words_alone_tell_the_labels(dataset: EmotionDataset) -> None:
    found = baselines(dataset, "test", "tuned")
    assert tuple(found) == (*NAMES, *OF_WORDS)
    terms = found["TF-IDF"].metrics
    frequencies = found["label frequencies"].metrics
    assert terms.mean_roc_auc is not None and terms.mean_roc_auc > 0.8
    assert terms.micro_f1 > frequencies.micro_f1 + 0.05

    # visual and audio features carry two labels, the words one more
    union = found["linear union"].metrics
    assert union.micro_f1 > max(terms.micro_f1, found["mean word vector"].metrics.micro_f1)


def test_tf_idf_is_scikit_learns_at_the_best_strength(dataset: EmotionDataset) -> None:
    texts = {s: [" ".join(one.words or ()) for one in dataset[s]] for s in dataset}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    train = vectorizer.fit_transform(texts["train"]).toarray()
    valid, test = (vectorizer.transform(texts[s]).toarray() for s in ("valid", "test"))
    losses = {}
    predicted = {}
    for strength in TFIDF_STRENGTHS:
        fit = fit_logistic(train, labels_of(dataset, "train"), strength)
        losses[strength] = log_loss(labels_of(dataset, "valid"), predict_logistic(valid, *fit))
        predicted[strength] = predict_logistic(test, *fit)

    found = baselines(dataset, "test", "tuned")["TF-IDF"]
    assert found.strength == min(losses, key=losses.__getitem__)
    np.testing.assert_allclose(found.probabilities, predicted[found.strength], atol=2e-3)


def test_the_mean_word_vector_is_the_mean_over_the_steps(dataset: EmotionDataset) -> None:
    pooled = {}
    for split in dataset:
        rows = [one.sequences["text"].astype(np.float64).mean(0) for one in dataset[split]]
        pooled[split] = np.array(rows)
    mean, std = pooled["train"].mean(0), pooled["train"].std(0)
    scaled = {split: (rows - mean) / std for split, rows in pooled.items()}

    found = baselines(dataset, "test", "tuned")["mean word vector"]
    assert found.strength in STRENGTHS
    fit = fit_logistic(scaled["train"], labels_of(dataset, "train"), found.strength)
    wanted = predict_logistic(scaled["test"], *fit)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-3)


def test_sentence_vectors_have_their_own_name_and_read_transcripts(dataset: EmotionDataset) -> None:
    splits = {}
    for split in dataset:
        samples = []
        for one in dataset[split]:
            mean = one.sequences["text"].mean(0, keepdims=True)
            about = {"transcript": " ".join(one.words or ())}
            sequences: dict[Modality, np.ndarray] = {"text": mean}
            samples.append(replace(one, sequences=sequences, words=None, about=about))
        splits[split] = samples
    whole = EmotionDataset.from_samples(
        splits, name="s", label_names=dataset.label_names, dims={"text": 11}, aligned=True
    )
    assert whole["test"].text(3) == dataset["test"].text(3) != ""

    found = baselines(whole, "test", "tuned")
    of_words = baselines(dataset, "test", "tuned")
    assert tuple(found) == (*NAMES, "sentence vector", "TF-IDF", "linear union")
    for name, other in (("sentence vector", "mean word vector"), ("TF-IDF", "TF-IDF")):
        ours, theirs = found[name].probabilities, of_words[other].probabilities
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert set(found) - set(NAMES) <= set(WORD_NAMES)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_split_without_words_has_none(split: str) -> None:
    found = baselines(spoken_data(**{split: False}), "test", "tuned")
    assert tuple(found) == NAMES


def test_where_the_text_is_not_seen_or_the_split_has_chosen(dataset: EmotionDataset) -> None:
    assert tuple(baselines(dataset, "test", "tuned", modalities=["visual"])) == NAMES
    assert tuple(baselines(dataset, "valid", "tuned")) == NAMES
    text = baselines(dataset, "test", "tuned", modalities=["text"])
    assert tuple(text) == (*NAMES, *OF_WORDS)


def test_texts_that_share_no_word_have_none() -> None:
    def unlike(count: int, seed: int, prefix: str) -> list[Sample]:
        samples = random_samples(count, seed=seed, prefix=prefix)
        return [
            replace(one, words=[f"{one.id} {k}x{seed}" for k in range(len(one.sequences["text"]))])
            for one in samples
        ]

    splits = {"train": unlike(3, 1, "a"), "valid": unlike(3, 2, "b"), "test": unlike(3, 3, "c")}
    for number, one in enumerate(splits["train"]):
        words = [f"q{number}z{k}" for k in range(len(one.sequences["text"]))]
        splits["train"][number] = replace(one, words=words)
    assert tuple(baselines(held(splits), "test", "fixed")) == NAMES


def test_advice_of_who_is_behind_words_alone(dataset: EmotionDataset) -> None:
    found = baselines(dataset, "test", "tuned")
    own, better = found["TF-IDF"].metrics, found["linear union"].metrics
    finding = below(own, {"linear union": better})
    assert finding is not None
    assert finding.what.startswith("below linear union (micro-F1 ")
    assert "--model br" not in finding.advice

    # of several linear ones the strongest is named
    every = {name: one.metrics for name, one in found.items()}
    poor = own.model_copy(update={"micro_f1": 0.01, "mean_average_precision": 0.01})
    worst = below(poor, every)
    assert worst is not None
    assert "linear union" in worst.what
    assert "label frequencies" in worst.what
    assert "TF-IDF" not in worst.what


def test_they_are_kept_with_the_others(dataset: EmotionDataset, tmp_path: object) -> None:
    from pathlib import Path

    from emotailor.data.store import open_dataset, write_dataset
    from emotailor.evaluation import regression

    assert isinstance(tmp_path, Path)
    splits = {split: list(dataset[split]) for split in dataset}
    write_dataset(
        tmp_path / "data", splits, name="d", label_names=dataset.label_names,
        dims=dataset.dims, aligned=True,
    )  # fmt: skip
    stored = open_dataset(tmp_path / "data")
    first = baselines(stored, "test", "tuned", folder=tmp_path)
    kept = regression.file_of(tmp_path, "test")
    before = kept.stat().st_mtime_ns

    regression._remembered.clear()
    again = baselines(stored, "test", "tuned", folder=tmp_path)
    assert kept.stat().st_mtime_ns == before
    for name, one in first.items():
        np.testing.assert_array_equal(one.probabilities, again[name].probabilities)
    assert again["TF-IDF"].strength == first["TF-IDF"].strength
