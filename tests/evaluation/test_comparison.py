"""Bootstrap intervals and paired tests against resampling by hand, and the spread over seeds."""

import time
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score, roc_auc_score

from emotailor.errors import DataError
from emotailor.evaluation.comparison import (
    _resamples,
    bootstrap,
    compare_systems,
    paired_bootstrap,
    summarise_seeds,
)
from emotailor.evaluation.intervals import (
    Resampling,
    difference_ends,
    difference_p_value,
    metric_ends,
)
from emotailor.evaluation.metrics import OVERALL, Ranking, evaluate

NAMES = ("angry", "sad", "fear")
RESAMPLED = set(OVERALL) - {"label_ranking_average_precision"}


def system(seed: int, n: int = 211, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that depend on ``n`` alone, and probabilities of one system."""
    truth = np.random.default_rng(n).random((n, 3))
    scores = truth + np.random.default_rng(seed).normal(0, noise, (n, 3))
    return (truth > 0.6).astype(int), scores.clip(0, 1).round(2)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(31), 7)[:211]])
def test_every_resample_is_judged_like_a_data_set_of_its_own(groups: Any) -> None:
    labels, scores = system(1)
    seen: dict[str, list[Any]] = {name: [] for name in RESAMPLED}
    for weights in _resamples(211, groups, 23, seed=5):
        for counts in weights.T.astype(int):
            rows = np.repeat(np.arange(211), counts)
            m = evaluate(labels[rows], scores[rows], NAMES, 0.5)
            for name, values in seen.items():
                values.append(getattr(m, name))
    found = bootstrap(labels, scores, 0.5, groups=groups, resamples=23, seed=5, level=0.9)
    assert set(found) == RESAMPLED
    whole = evaluate(labels, scores, NAMES, 0.5)
    units = 211 if groups is None else 31
    for name, interval in found.items():
        assert len(seen[name]) == 23
        value = getattr(whole, name)
        low, high = metric_ends(value, np.array(seen[name]), Resampling(211, units, 0.9))
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)
        assert interval.value == pytest.approx(value, abs=1e-12)
        assert low < interval.value < high


def test_counts_of_resamples() -> None:
    chunks = list(_resamples(2**17 + 1, None, 3, seed=0))  # chunks of one resample each
    assert [c.shape for c in chunks] == [(2**17 + 1, 1)] * 3
    assert all(c.sum() == 2**17 + 1 for c in chunks)
    weights = np.hstack(list(_resamples(5, np.array(list("aabbb")), 11, seed=0)))
    assert weights.shape == (5, 11)
    np.testing.assert_array_equal(weights[0], weights[1])  # one group is drawn as a whole
    np.testing.assert_array_equal(weights[2], weights[4])
    assert set(weights[0] + weights[2]) == {2.0}  # two groups are drawn each time


def test_weighted_ranking_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.random(97) < 0.3, rng.random(97).round(1)
    weights = rng.random((97, 5)) * (rng.random((97, 5)) < 0.7)
    weights[np.argmax(scores)] = 0  # no weight at the very top
    ap, auc = Ranking(labels, scores).metrics(weights)
    for k, w in enumerate(weights.T):
        assert ap[k] == pytest.approx(average_precision_score(labels, scores, sample_weight=w))
        assert auc[k] == pytest.approx(roc_auc_score(labels, scores, sample_weight=w))


def test_interval_has_the_width_that_theory_gives() -> None:
    # one label, always predicted: precision is the mean of n coin tosses
    labels = np.array([[1]] * 300 + [[0]] * 200)
    found = bootstrap(labels, np.ones((500, 1)), 0.5, seed=3, ranking=False)
    half = 1.96 * np.sqrt(0.6 * 0.4 / 500)
    interval = found["micro_precision"]
    assert (interval.low, interval.value, interval.high) == pytest.approx(
        (0.6 - half, 0.6, 0.6 + half), abs=0.005
    )
    # 100 groups of 5 equal samples hold as much as 100 samples: sqrt(5) times as wide
    grouped = bootstrap(
        labels, np.ones((500, 1)), 0.5, groups=np.arange(500) // 5, seed=3, ranking=False
    )["micro_precision"]
    assert grouped.high - grouped.low == pytest.approx(2 * half * np.sqrt(5), rel=0.08)


def test_seed_decides_and_ranking_may_be_left_out() -> None:
    labels, scores = system(1)
    first = bootstrap(labels, scores, 0.5, resamples=50, seed=1)
    assert bootstrap(labels, scores, 0.5, resamples=50, seed=1) == first
    assert bootstrap(labels, scores, 0.5, resamples=50, seed=2) != first
    quick = bootstrap(labels, scores, 0.5, resamples=50, seed=1, ranking=False)
    assert quick == {k: first[k] for k in RESAMPLED - {"mean_average_precision", "mean_roc_auc"}}


def test_undefined_metrics() -> None:
    labels, scores = np.zeros((7, 2), int), np.full((7, 2), 0.4)
    nothing = bootstrap(labels, scores, 0.5, resamples=20)
    assert not {"mean_average_precision", "mean_roc_auc"} & set(nothing)
    labels[0, 0] = 1  # a single positive is absent from some resamples
    assert "mean_roc_auc" not in bootstrap(labels, scores, 0.5, resamples=20)


@pytest.mark.parametrize(("n", "groups"), [(1, None), (1, [7]), (5, ["a"] * 5)])
def test_one_sample_or_one_group_says_nothing(n: int, groups: Any) -> None:
    """All resamples would be alike: an interval of no width, and p = 1 or 2 / (resamples + 1)."""
    labels, scores = system(1)
    labels, scores = labels[:n], scores[:n]
    groups = None if groups is None else np.array(groups)
    options = {"groups": groups, "resamples": 3}
    assert bootstrap(labels, scores, 0.5, **options) == {}
    assert (
        paired_bootstrap(labels, scores, 1 - scores, thresholds_a=0.5, thresholds_b=0.5, **options)
        == {}
    )
    runs = {"a": [(scores, 0.5)], "b": [(1 - scores, 0.5)]}
    assert compare_systems(labels, runs, "a", **options) == {}
    # two are enough, and wrong arguments are still told
    labels, scores = system(1, n=4)
    two = np.array(["a", "a", "a", "b"])
    assert bootstrap(labels, scores, 0.5, groups=two, resamples=3)
    with pytest.raises(DataError, match="0 resamples"):
        bootstrap(labels[:1], scores[:1], 0.5, resamples=0)


def test_paired_difference() -> None:
    labels, good = system(1, noise=0.1)
    _, bad = system(2, noise=0.5)
    options: dict[str, Any] = {"thresholds_a": 0.6, "thresholds_b": 0.5, "resamples": 400}
    found = paired_bootstrap(labels, good, bad, **options)
    assert set(found) == RESAMPLED
    a, b = evaluate(labels, good, NAMES, 0.6), evaluate(labels, bad, NAMES, 0.5)
    for name, difference in found.items():
        assert difference.value == pytest.approx(getattr(a, name) - getattr(b, name))
        assert difference.low < difference.value < difference.high
    assert found["micro_f1"].low > 0.1
    # no resample below 0: that is 1 of 401, of a t distribution with 210 degrees of freedom
    least = 2 * t.cdf(norm.ppf(1 / 401) * np.sqrt(210 / 211), 210)
    assert found["micro_f1"].p_value == pytest.approx(least)
    assert least == pytest.approx(2 / 401, rel=0.12)
    assert found["hamming_loss"].high < 0
    assert found["hamming_loss"].p_value == pytest.approx(least)
    back = paired_bootstrap(labels, bad, good, thresholds_a=0.5, thresholds_b=0.6, resamples=400)
    assert back["accuracy"].value == -found["accuracy"].value
    assert back["accuracy"].p_value == pytest.approx(found["accuracy"].p_value)
    assert back["accuracy"].low == pytest.approx(-found["accuracy"].high)


def test_a_system_does_not_differ_from_itself() -> None:
    labels, scores = system(1)
    for difference in paired_bootstrap(
        labels, scores, scores, thresholds_a=0.5, thresholds_b=0.5, resamples=50
    ).values():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert difference.p_value == 1


def test_pairing_is_sharper_than_two_intervals() -> None:
    labels, a = system(1)
    b = a.copy()
    b[:20] = 0.5  # the same system but for 20 samples
    options: dict[str, Any] = {"resamples": 400, "ranking": False}
    paired = paired_bootstrap(labels, a, b, thresholds_a=0.5, thresholds_b=0.5, **options)
    alone = bootstrap(labels, a, 0.5, **options)
    width = paired["micro_f1"].high - paired["micro_f1"].low
    assert width < 0.7 * (alone["micro_f1"].high - alone["micro_f1"].low)


def test_fast_enough_for_the_test_split_of_mosei() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((4659, 6))
    labels = rng.random((4659, 6)) < scores**2
    start = time.process_time()
    bootstrap(labels, scores, 0.5, ranking=False)
    # 0.1 s by itself; the bound leaves room for a slow or busy machine
    assert time.process_time() - start < 2


def test_spread_over_seeds() -> None:
    runs = []
    for seed in (1, 2, 3):
        labels, scores = system(seed)
        labels[:, 2] = 0  # no positives: no AP
        runs.append(evaluate(labels, scores, NAMES, 0.5))
    summary = summarise_seeds(runs)
    assert summary.runs == 3
    values = [m.micro_f1 for m in runs]
    f1 = summary.overall["micro_f1"]
    mean = sum(values) / 3
    assert f1.mean == pytest.approx(mean)
    assert f1.std == pytest.approx((sum((v - mean) ** 2 for v in values) / 2) ** 0.5)
    assert f1.runs == 3
    assert summary.labels["sad"]["roc_auc"].mean == pytest.approx(
        np.mean([m.labels["sad"].roc_auc for m in runs])
    )
    assert "roc_auc" not in summary.labels["fear"]
    assert set(summary.overall) == set(OVERALL)
    one = summarise_seeds(runs[:1])
    assert one.overall["micro_f1"].mean == values[0]
    assert one.overall["micro_f1"].std is None
    assert '"std":null' in one.model_dump_json()
    assert type(summary).model_validate_json(summary.model_dump_json()) == summary


def test_wrong_input_is_one_clear_error() -> None:
    labels, scores = system(1)
    run = evaluate(labels, scores, NAMES, 0.5)
    with pytest.raises(DataError, match="no runs"):
        summarise_seeds([])
    with pytest.raises(DataError, match="run 1 judges 210 samples"):
        summarise_seeds([run, evaluate(labels[1:], scores[1:], NAMES, 0.5)])
    with pytest.raises(DataError, match=r"run 1 judges 211 samples, labels .'a'"):
        summarise_seeds([run, evaluate(labels, scores, ["a", "b", "c"], 0.5)])
    with pytest.raises(DataError, match="0 resamples"):
        bootstrap(labels, scores, 0.5, resamples=0)
    with pytest.raises(DataError, match=r"confidence level 95\.0"):
        bootstrap(labels, scores, 0.5, level=95.0)
    with pytest.raises(DataError, match=r"groups of shape \(5,\)"):
        bootstrap(labels, scores, 0.5, groups=np.arange(5))
    with pytest.raises(DataError, match="probabilities of shape"):
        paired_bootstrap(labels, scores, scores[1:], thresholds_a=0.5, thresholds_b=0.5)
    with pytest.raises(DataError, match="labels of shape"):
        bootstrap(labels[:0], scores[:0], 0.5)


def test_systems_of_one_run_are_compared_like_two_systems() -> None:
    labels, a = system(1)
    _, b = system(2, noise=0.6)
    groups = np.repeat(np.arange(31), 7)[:211]
    found = compare_systems(
        labels, {"a": [(a, 0.5)], "b": [(b, 0.4)]}, "a", groups=groups, resamples=40, ranking=True
    )
    assert set(found) == {"b"}
    pair = paired_bootstrap(
        labels, b, a, thresholds_a=0.4, thresholds_b=0.5, groups=groups, resamples=40
    )
    assert set(found["b"]) == set(pair) == RESAMPLED
    for name, difference in pair.items():
        assert found["b"][name].model_dump() == pytest.approx(difference.model_dump())
    assert found["b"]["micro_f1"].value < 0  # the noisier system, minus the reference
    assert found["b"]["micro_f1"].p_value < 0.1


def test_means_over_runs_are_compared() -> None:
    labels, _ = system(0)
    runs = {
        name: [(system(seed, noise=noise)[1], 0.5) for seed in seeds]
        for name, seeds, noise in (("good", (1, 2, 3), 0.2), ("poor", (4, 5), 0.6))
    }
    found = compare_systems(labels, runs, "good", resamples=23, seed=3)
    f1 = {
        name: [evaluate(labels, p, NAMES, t).micro_f1 for p, t in given]
        for name, given in runs.items()
    }
    difference = found["poor"]["micro_f1"]
    assert difference.value == pytest.approx(np.mean(f1["poor"]) - np.mean(f1["good"]))
    drawn = []
    for weights in _resamples(211, None, 23, seed=3):
        for counts in weights.T.astype(int):
            rows = np.repeat(np.arange(211), counts)
            each = {
                name: [evaluate(labels[rows], p[rows], NAMES, t).micro_f1 for p, t in given]
                for name, given in runs.items()
            }
            drawn.append(np.mean(each["poor"]) - np.mean(each["good"]))
    resampling = Resampling(samples=211, units=211, level=0.95)
    ends = difference_ends(difference.value, np.array(drawn), resampling)
    assert (difference.low, difference.high) == pytest.approx(ends, abs=1e-12)
    p = difference_p_value(difference.value, np.array(drawn), resampling)
    assert difference.p_value == pytest.approx(p)
    same = compare_systems(labels, {"x": runs["good"], "y": runs["good"]}, "x", resamples=9)
    assert (same["y"]["accuracy"].value, same["y"]["accuracy"].p_value) == (0, 1)


def test_comparisons_that_cannot_be_made() -> None:
    labels, a = system(1)
    with pytest.raises(DataError, match="no runs of tailor"):
        compare_systems(labels, {"a": [(a, 0.5)]}, "tailor")
    with pytest.raises(DataError, match="no runs of b"):
        compare_systems(labels, {"a": [(a, 0.5)], "b": []}, "a")
