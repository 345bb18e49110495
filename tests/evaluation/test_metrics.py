"""Metrics against hand-computed values, scikit-learn, and the authors' recorded evaluation."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sklearn import metrics as sk

from emotailor.errors import DataError
from emotailor.evaluation.metrics import OVERALL, Metrics, decide, evaluate

LEVELS = [0.0, 0.1, 0.35, 0.5, 0.75, 1.0]  # few values: many ties, and scores at a threshold


def names_of(count: int) -> list[str]:
    return [f"label{j}" for j in range(count)]


def test_by_hand() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    probabilities = np.array(
        [[0.9, 0.8, 0.6], [0.1, 0.2, 0.3], [0.7, 0.4, 0.2], [0.6, 0.1, 0.1], [0.5, 0.9, 0.4]]
    )
    m = evaluate(labels, probabilities, ["happy", "sad", "angry"], 0.5)
    # predicted: {h s a} {} {h} {h} {s}; 0.5 itself is not above 0.5
    assert m.samples == 5
    assert m.accuracy == pytest.approx((2 / 3 + 0 + 1 / 2 + 0 + 1) / 5)
    assert (m.micro_precision, m.micro_recall) == pytest.approx((4 / 6, 4 / 5))
    assert m.micro_f1 == pytest.approx(8 / 11)
    assert m.macro_f1 == pytest.approx((4 / 5 + 1 / 2 + 1) / 3)
    assert m.hamming_loss == pytest.approx(3 / 15)
    assert m.subset_accuracy == pytest.approx(2 / 5)
    assert list(m.labels) == ["happy", "sad", "angry"]
    sad = m.labels["sad"]
    assert (sad.support, sad.predicted, sad.threshold) == (2, 2, 0.5)
    assert (sad.precision, sad.recall, sad.f1) == (0.5, 0.5, 0.5)
    # ranking of sad: + (.9) - (.8) + (.4) - - : precisions 1 and 2/3; 5 of 6 pairs in order
    assert sad.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert sad.roc_auc == pytest.approx(5 / 6)
    assert m.labels["angry"].roc_auc == 1.0


def test_authors_recorded_evaluation(shared_parity: Path) -> None:
    io = load_file(shared_parity / "tailor" / "metrics" / "io.safetensors")
    m = evaluate(io["labels"], io["probabilities"], names_of(6), 0.35)
    f1, printed_precision, printed_recall, accuracy = io["reported"].tolist()
    assert m.micro_f1 == pytest.approx(f1, abs=1e-6)
    assert m.accuracy == pytest.approx(accuracy, abs=5.1e-5)  # they round to 4 places
    # their program exchanges the two
    assert m.micro_precision == pytest.approx(printed_recall, abs=1e-6)
    assert m.micro_recall == pytest.approx(printed_precision, abs=1e-6)
    assert printed_precision != printed_recall
    true = io["true_precision_recall"].tolist()
    assert [m.micro_precision, m.micro_recall] == pytest.approx(true, abs=1e-6)
    np.testing.assert_array_equal(decide(io["probabilities"], 0.35), io["predictions"] == 1)


def sklearn_metrics(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: Any
) -> tuple[dict[str, Any], list[Any], list[Any], list[Any]]:
    """The same numbers by scikit-learn, whose samples-averaged Jaccard has the paper's 0."""
    predicted = (probabilities > thresholds).astype(int)
    count = labels.shape[1]
    p, r, f, _ = sk.precision_recall_fscore_support(
        labels.ravel(), predicted.ravel(), average="binary", zero_division=0
    )
    aps, aucs = [], []
    for j in range(count):
        column = labels[:, j]
        aps.append(
            sk.average_precision_score(column, probabilities[:, j]) if column.any() else None
        )
        both = 0 < column.sum() < len(column)
        aucs.append(sk.roc_auc_score(column, probabilities[:, j]) if both else None)
    per_label = [
        sk.precision_recall_fscore_support(
            labels[:, j], predicted[:, j], average="binary", zero_division=0
        )[:3]
        for j in range(count)
    ]

    def mean(values: list[Any]) -> float | None:
        defined = [v for v in values if v is not None]
        return float(np.mean(defined)) if defined else None

    union = np.maximum((labels | predicted).sum(1), 1)
    if count > 1:
        jaccard = sk.jaccard_score(labels, predicted, average="samples", zero_division=0)
        exact = sk.accuracy_score(labels, predicted)
        lrap = sk.label_ranking_average_precision_score(labels, probabilities)
    else:  # scikit-learn takes one column for a binary task
        jaccard = ((labels & predicted).sum(1) / union).mean()
        exact, lrap = (labels == predicted).mean(), 1.0
    overall = {
        "accuracy": jaccard,
        "micro_precision": p,
        "micro_recall": r,
        "micro_f1": f,
        "macro_f1": np.mean([x[2] for x in per_label]),
        "mean_average_precision": mean(aps),
        "mean_roc_auc": mean(aucs),
        "hamming_loss": (labels != predicted).mean(),
        "subset_accuracy": exact,
        "label_ranking_average_precision": lrap,
    }
    return overall, per_label, aps, aucs


def assert_as_sklearn(labels: np.ndarray, probabilities: np.ndarray, thresholds: Any) -> Metrics:
    m = evaluate(labels, probabilities, names_of(labels.shape[1]), thresholds)
    overall, per_label, aps, aucs = sklearn_metrics(labels, probabilities, thresholds)
    assert tuple(overall) == OVERALL
    for name, expected in overall.items():
        found = getattr(m, name)
        assert found == (expected if expected is None else pytest.approx(expected, abs=1e-12)), name
    predicted = probabilities > thresholds
    for j, label in enumerate(m.labels.values()):
        found = (label.precision, label.recall, label.f1)
        assert found == pytest.approx(per_label[j], abs=1e-12)
        assert (label.support, label.predicted) == (labels[:, j].sum(), predicted[:, j].sum())
        for value, expected in ((label.average_precision, aps[j]), (label.roc_auc, aucs[j])):
            assert value == (expected if expected is None else pytest.approx(expected, abs=1e-12))
    assert m.without_average_precision == tuple(f"label{j}" for j, x in enumerate(aps) if x is None)
    assert m.without_roc_auc == tuple(f"label{j}" for j, x in enumerate(aucs) if x is None)
    return m


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    n, count = draw(st.integers(1, 13)), draw(st.integers(1, 5))
    cells = n * count
    labels = draw(st.lists(st.integers(0, 1), min_size=cells, max_size=cells))
    scores = st.sampled_from(LEVELS) | st.floats(0, 1, allow_subnormal=False)
    probabilities = draw(st.lists(scores, min_size=cells, max_size=cells))
    thresholds = draw(st.lists(st.sampled_from(LEVELS), min_size=count, max_size=count))
    return (
        np.array(labels).reshape(n, count),
        np.array(probabilities).reshape(n, count),
        np.array(thresholds),
    )


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(cases())
def test_agrees_with_scikit_learn(case: Any) -> None:
    assert_as_sklearn(*case)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("decimals", [1, 12])
def test_agrees_with_scikit_learn_on_more_samples(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.random((509, 7)).round(decimals)
    labels = (rng.random((509, 7)) < probabilities * rng.random(7)).astype(int)
    m = assert_as_sklearn(labels, probabilities, rng.random(7))
    assert m.mean_roc_auc is not None
    assert 0.5 < m.mean_roc_auc < 1


def test_edges() -> None:
    zeros, ones = np.zeros((5, 3), int), np.ones((5, 3), int)
    flat = np.full((5, 3), 0.5)
    nothing = assert_as_sklearn(zeros, flat, 0.5)  # all rows empty on both sides
    assert nothing.accuracy == nothing.micro_f1 == nothing.macro_f1 == 0
    assert nothing.subset_accuracy == 1
    assert nothing.mean_average_precision is None
    assert nothing.mean_roc_auc is None
    everything = assert_as_sklearn(ones, flat, 0.1)
    assert everything.accuracy == everything.micro_f1 == everything.mean_average_precision == 1
    assert everything.mean_roc_auc is None
    mixed = np.array([[1, 0, 1]])  # one sample
    single = assert_as_sklearn(mixed, np.array([[0.2, 0.2, 0.9]]), 0.35)
    assert single.without_average_precision == ("label1",)
    assert single.without_roc_auc == ("label0", "label1", "label2")


def test_all_tied_scores_rank_nothing() -> None:
    labels = np.array([[1], [0], [0], [1], [0]])
    m = evaluate(labels, np.full((5, 1), 0.3), ["happy"], 0.35)
    assert m.mean_average_precision == pytest.approx(2 / 5)  # the prevalence
    assert m.mean_roc_auc == 0.5


def test_json_round_trip_keeps_undefined_as_null() -> None:
    labels = np.array([[1, 0], [0, 0]])
    m = evaluate(labels, np.array([[0.9, 0.1], [0.2, 0.3]]), ["happy", "sad"], 0.35)
    text = m.model_dump_json()
    assert '"average_precision":null' in text
    assert Metrics.model_validate_json(text) == m
    assert m.overall()["mean_roc_auc"] == 1.0
    assert all(v is not None and math.isfinite(v) for v in m.overall().values())


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_label_types(kind: Any) -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1]]).astype(kind)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.3], [0.4, 0.5]], np.float32)
    m = evaluate(labels, probabilities, ["happy", "sad"], np.array([0.5, 0.2], np.float32))
    assert (m.micro_precision, m.micro_recall) == (1.0, 0.75)


def test_threshold_is_strict_and_compared_in_double_precision() -> None:
    below, above = np.float32(0.35), np.float32(0.7)  # 0.34999999..., 0.69999999...
    assert not decide(np.array([[below]]), 0.35)[0, 0]
    assert not decide(np.array([[above]]), float(above))[0, 0]
    assert decide(np.array([[np.nextafter(0.35, 1)]]), 0.35)[0, 0]
    both = decide(np.array([[0.4, 0.4], [0.6, 0.2]]), np.array([0.5, 0.3]))
    assert both.tolist() == [[False, True], [True, False]]


GOOD = (np.array([[1, 0], [0, 1]]), np.full((2, 2), 0.5), ["happy", "sad"], 0.35)


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (0, np.zeros((0, 2)), r"labels of shape \(0, 2\)"),
        (0, np.zeros((2, 0)), r"labels of shape \(2, 0\)"),
        (0, np.zeros(2), r"labels of shape \(2,\)"),
        (0, np.array([[0, 2], [1, 0]]), "not 0/1: 0, 1, 2"),
        (0, np.array([[0, np.nan], [1, 0]]), "not 0/1"),
        (0, np.array([["a", "b"], ["c", "d"]]), "not 0/1: a, b"),
        (1, np.full((3, 2), 0.5), r"probabilities of shape \(3, 2\)"),
        (1, np.full((2, 3), 0.5), r"shape \(2, 2\), as the labels"),
        (1, np.array([[0.1, np.nan], [0, 1]]), "1 of 4 .* nan of sample 0, label 1"),
        (1, np.array([[0.1, 0.2], [-0.1, 3]]), "2 of 4 .* -0.1 of sample 1, label 0"),
        (1, np.array([["a", "b"], ["c", "d"]]), "type <U1"),
        (2, ["happy"], "2 distinct names"),
        (2, ["happy", "happy"], "2 distinct names"),
        (3, np.array([0.1, 0.2, 0.3]), "one number, or 2"),
        (3, 1.5, "from 0 to 1"),
        (3, float("nan"), "from 0 to 1"),
    ],
)
def test_wrong_input_is_one_clear_error(position: int, value: Any, said: str) -> None:
    arguments: list[Any] = list(GOOD)
    arguments[position] = value
    with pytest.raises(DataError, match="(?s)" + said):
        evaluate(*arguments)
