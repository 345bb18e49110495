"""Thresholds against exhaustive search."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from emotailor.errors import DataError
from emotailor.evaluation.metrics import decide, evaluate
from emotailor.evaluation.thresholds import (
    Thresholds,
    tune_macro,
    tune_per_label,
    tune_share,
    tune_threshold,
)

NAMES = ("angry", "sad", "fear")


def micro_f1(labels: np.ndarray, probabilities: np.ndarray, thresholds: Any) -> float:
    decisions = decide(probabilities, thresholds)
    total = decisions.sum() + labels.sum()
    return 2 * (decisions & (labels == 1)).sum() / total if total else 0.0


@st.composite
def cases(draw: st.DrawFn, largest: int = 8, widest: int = 3) -> tuple[np.ndarray, ...]:
    n, count = draw(st.integers(1, largest)), draw(st.integers(1, widest))
    cells = n * count
    labels = draw(st.lists(st.integers(0, 1), min_size=cells, max_size=cells))
    scores = st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]) | st.floats(0, 1)
    probabilities = draw(st.lists(scores, min_size=cells, max_size=cells))
    return np.array(labels).reshape(n, count), np.array(probabilities).reshape(n, count)


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(cases())
def test_single_threshold_is_the_best_there_is(case: Any) -> None:
    labels, probabilities = case
    threshold = tune_threshold(labels, probabilities)
    # a cut at each score, and below all of them, makes every decision that is possible
    best = max(micro_f1(labels, probabilities, t) for t in [0.0, *probabilities.ravel().tolist()])
    assert micro_f1(labels, probabilities, threshold) == best
    assert 0 <= threshold <= 1


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(cases(largest=5))
def test_per_label_thresholds_are_the_best_there_are(case: Any) -> None:
    labels, probabilities = case
    thresholds = tune_per_label(labels, probabilities, min_positives=0)
    free = labels.any(0)
    candidates = [
        [0.0, 1.0, *column] if is_free else [t]
        for column, is_free, t in zip(probabilities.T.tolist(), free, thresholds, strict=True)
    ]
    best = max(micro_f1(labels, probabilities, np.array(t)) for t in product(*candidates))
    assert micro_f1(labels, probabilities, thresholds) == best
    single = tune_threshold(labels, probabilities)
    assert best >= micro_f1(labels, probabilities, single)
    assert (thresholds[~free] == single).all()


@settings(deadline=None, max_examples=60, derandomize=True, database=None)
@given(cases(largest=5))
def test_macro_thresholds_have_the_highest_macro_f1_there_is(case: Any) -> None:
    labels, probabilities = case
    names = NAMES[: labels.shape[1]]
    thresholds = tune_macro(labels, probabilities)
    candidates = [[0.0, *column] for column in probabilities.T.tolist()]
    best = max(
        evaluate(labels, probabilities, names, np.array(t)).macro_f1 for t in product(*candidates)
    )
    assert evaluate(labels, probabilities, names, thresholds).macro_f1 == best
    single = tune_threshold(labels, probabilities)
    assert (thresholds[~labels.any(0)] == single).all()


def test_macro_by_hand() -> None:
    """Two frequent labels and a rare one, whose probabilities are all low."""
    labels = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    scores = np.array(
        [[0.9, 0.3, 0.2], [0.8, 0.3, 0.1], [0.3, 0.2, 0.3], [0.6, 0.2, 0.1], [0.1, 0.1, 0.1]]
    )
    # one threshold for all: from 0.8 up, 2 of 2 predicted and 4 true, 4/6; from 0.6 up 4/7
    single = tune_threshold(labels, scores)
    assert single == pytest.approx(0.7)

    # the first: 3 of 4 from 0.3 up, 6/7, against 4/5 from 0.8 up; (0.1 + 0.3) / 2
    # the second is never true and keeps the single one
    # the third: 1 of 2 from 0.2 up, 2/3, against 2/6 from 0.1 up; (0.1 + 0.2) / 2
    chosen = tune_macro(labels, scores)
    assert chosen.tolist() == pytest.approx([0.2, 0.7, 0.15])
    found = evaluate(labels, scores, NAMES, chosen)
    assert found.macro_f1 == pytest.approx((6 / 7 + 0 + 2 / 3) / 3)

    # the joint micro-F1 keeps labels so rare at the single threshold
    assert tune_per_label(labels, scores).tolist() == pytest.approx([0.7, 0.7, 0.7])


def test_macro_keeps_the_single_threshold_among_equals() -> None:
    # all are told apart by 0.65, and each label by the midpoint between its own two scores
    labels = np.array([[1, 1], [0, 0]])
    scores = np.array([[0.8, 0.9], [0.1, 0.5]])
    assert tune_threshold(labels, scores) == pytest.approx(0.65)
    assert tune_macro(labels, scores).tolist() == pytest.approx([0.45, 0.7])
    # the first label: 1 of 1 above 0.85 and 2 of 4 above 0.3 are both 2/3
    labels = np.array([[1, 1], [0, 0], [0, 0], [1, 0]])
    scores = np.array([[0.9, 0.95], [0.8, 0.1], [0.7, 0.1], [0.6, 0.1]])
    assert tune_macro(labels[:, :1], scores[:, :1]).tolist() == pytest.approx([0.3])
    # the second moves the single threshold to 0.85, and the first with it
    assert tune_threshold(labels, scores) == pytest.approx(0.85)
    assert tune_macro(labels, scores).tolist() == pytest.approx([0.85, 0.525])


def test_by_hand() -> None:
    labels = np.array([[0], [0], [1], [1], [0], [1]])
    probabilities = np.array([[0.1], [0.2], [0.3], [0.5], [0.6], [0.9]])
    # all from 0.3 up: 3 hits of 4 predicted, 3 true
    assert tune_threshold(labels, probabilities) == pytest.approx(0.25)
    assert evaluate(labels, probabilities, ["sad"], 0.25).micro_f1 == pytest.approx(6 / 7)


def test_ties_go_to_the_threshold_nearest_to_one_half() -> None:
    # nothing is true: every cut is equally bad, and 0.6 is the midpoint nearest to 0.5
    labels = np.zeros((3, 1), int)
    assert tune_threshold(labels, np.array([[0.2], [0.5], [0.7]])) == pytest.approx(0.6)
    assert tune_threshold(labels, np.array([[0.0], [1.0], [1.0]])) == 0.5
    # {0.4}: (0 + 0.4)/2 and (0.4 + 1)/2 lie at 0.2 and 0.7
    assert tune_threshold(np.zeros((1, 1), int), np.array([[0.4]])) == pytest.approx(0.7)


def test_order_of_samples_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    labels, probabilities = rng.integers(0, 2, (101, 3)), rng.random((101, 3)).round(2)
    order = rng.permutation(101)
    assert tune_threshold(labels, probabilities) == tune_threshold(
        labels[order], probabilities[order]
    )
    np.testing.assert_array_equal(
        tune_per_label(labels, probabilities), tune_per_label(labels[order], probabilities[order])
    )


def test_neighbouring_floats_are_cut_apart() -> None:
    low = 0.7
    high = np.nextafter(low, 1)
    labels = np.array([[0], [1]])
    for pair in ([low, high], [0.0, 5e-324], [np.nextafter(1.0, 0), 1.0]):
        probabilities = np.array(pair)[:, None]
        threshold = tune_threshold(labels, probabilities)
        assert decide(probabilities, threshold).tolist() == [[False], [True]]


def test_a_label_with_few_positives_keeps_the_single_threshold() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random((307, 3))
    labels = (scores + rng.normal(0, 0.2, (307, 3)) > 0.6).astype(int)
    labels[49:, 2] = 0
    assert labels[:, 2].sum() < 50 <= labels[:, :2].sum(0).min()
    scores[:, 1] *= 0.5  # needs a lower threshold than the rest
    single = tune_threshold(labels, scores)
    tuned = tune_per_label(labels, scores)
    assert tuned[2] == single
    assert tuned[1] < tuned[0]
    gain = micro_f1(labels, scores, tuned) - micro_f1(labels, scores, single)
    assert gain > 0.03
    all_kept = tune_per_label(labels, scores, min_positives=10**9)
    np.testing.assert_array_equal(all_kept, np.full(3, single))


def test_thresholds_type() -> None:
    rng = np.random.default_rng(7)
    labels, scores = rng.integers(0, 2, (211, 3)), rng.random((211, 3))
    fixed = Thresholds.choose("fixed", labels, scores, NAMES)
    assert fixed == Thresholds.fixed(NAMES)
    assert fixed.values == {"angry": 0.35, "sad": 0.35, "fear": 0.35}
    tuned = Thresholds.choose("tuned", labels, scores, NAMES)
    assert set(tuned.values.values()) == {tune_threshold(labels, scores)}
    own = Thresholds.choose("per_label", labels, scores, NAMES)
    np.testing.assert_array_equal(own.array(NAMES), tune_per_label(labels, scores))
    share = Thresholds.choose("share", labels, scores, NAMES)
    np.testing.assert_array_equal(share.array(NAMES), tune_share(labels, scores))
    macro = Thresholds.choose("macro", labels, scores, NAMES)
    assert macro.mode == "macro"
    np.testing.assert_array_equal(macro.array(NAMES), tune_macro(labels, scores))
    # by name, whatever the order of the columns
    np.testing.assert_array_equal(own.array(("fear", "angry")), own.array(NAMES)[[2, 0]])
    assert Thresholds.model_validate_json(own.model_dump_json()) == own


def test_share_names_a_label_as_often_as_it_holds() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((211, 3)) < [0.5, 0.2, 0.0]).astype(int)
    scores = rng.random((211, 3)) * 0.5 + 0.4 * labels
    decided = scores > tune_share(labels, scores)
    assert decided.sum(0).tolist() == labels.sum(0).tolist()
    # so that precision and recall are one number
    found = evaluate(labels, scores, NAMES, tune_share(labels, scores))
    assert found.labels["angry"].precision == found.labels["angry"].recall

    # of 5 equal scores and 2 higher ones, 3 positives: 2 are nearer than 7
    tied = np.array([[0.9], [0.8], [0.3], [0.3], [0.3], [0.3], [0.3]])
    held = np.array([[1], [0], [1], [1], [0], [0], [0]])
    assert int((tied > tune_share(held, tied)).sum()) == 2


def test_wrong_input_is_one_clear_error() -> None:
    labels, scores = np.zeros((2, 3), int), np.full((2, 3), 0.5)
    with pytest.raises(DataError, match="no threshold for happy"):
        Thresholds.fixed(NAMES).array(["sad", "happy"])
    with pytest.raises(DataError, match=r"threshold 1\.2"):
        Thresholds.fixed(NAMES, 1.2)
    with pytest.raises(DataError, match="threshold nan"):
        Thresholds.fixed(NAMES, float("nan"))
    with pytest.raises(DataError, match="3 distinct names"):
        Thresholds.choose("fixed", labels, scores, ["sad"])
    with pytest.raises(DataError, match="probabilities of shape"):
        tune_threshold(labels, scores[:1])
    with pytest.raises(DataError, match="labels of shape"):
        tune_per_label(labels[:0], scores[:0])
    with pytest.raises(DataError, match="labels of shape"):
        tune_macro(labels[:0], scores[:0])
    with pytest.raises(ValidationError):
        Thresholds.model_validate({"mode": "fixed", "values": {"sad": 2}})
