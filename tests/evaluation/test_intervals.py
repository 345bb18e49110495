"""Ends of intervals and p-values by hand, and how often they are right on simulated problems."""

import numpy as np
import pytest
from scipy.stats import norm, t

from benchmarks.intervals import METRICS, Problem, measure
from emotailor.evaluation.intervals import (
    Resampling,
    difference_ends,
    difference_p_value,
    metric_ends,
)

MANY = Resampling(samples=10**7, units=10**7, level=0.9)
"""So many that t is normal, and log-odds are plain."""


def normal_draws(mean: float, std: float, count: int = 1999) -> np.ndarray:
    """Draws with exactly the percentiles of a normal distribution."""
    shares = (np.arange(count) + 0.5) / count
    return mean + std * norm.ppf(shares)


def test_many_units_give_plain_percentiles() -> None:
    assert MANY.tail == pytest.approx(0.05)
    draws = normal_draws(0.0, 1.0)
    assert difference_ends(0.0, draws, MANY) == pytest.approx((-1.645, 1.645), abs=0.003)
    assert MANY.two_sided(0.03) == pytest.approx(0.06)


@pytest.mark.parametrize("units", [3, 5, 11, 180])
def test_few_units_give_the_interval_of_a_t_test(units: int) -> None:
    """The variance of a resampled mean is (n - 1) / n of what the numbers' own variance gives."""
    few = Resampling(samples=units, units=units, level=0.8)
    std = np.sqrt((units - 1) / units)
    draws = normal_draws(0.0, std, 200_001)
    low, high = difference_ends(0.0, draws, few)
    assert high == pytest.approx(t.ppf(0.9, units - 1), rel=1e-3)
    assert low == pytest.approx(-high)


def test_a_difference_is_moved_by_the_bias_once() -> None:
    draws = normal_draws(0.1 + 0.03, 0.02)
    low, high = difference_ends(0.1, draws, MANY)
    assert (low + high) / 2 == pytest.approx(0.1)
    assert (high - low) / 2 == pytest.approx(1.645 * 0.02, rel=0.003)


def test_a_metric_is_moved_by_the_bias_twice_in_log_odds() -> None:
    def odds(p: float) -> float:
        return float(np.log(p / (1 - p)))

    # the resamples are higher than the value by .2, as the value is than the truth
    draws = 1 / (1 + np.exp(-normal_draws(odds(0.7) + 0.2, 0.3)))
    low, high = metric_ends(0.7, draws, MANY)
    assert (odds(low) + odds(high)) / 2 == pytest.approx(odds(0.7) - 0.2, abs=1e-4)
    assert (odds(high) - odds(low)) / 2 == pytest.approx(1.645 * 0.3, rel=0.003)

    # what is no share is moved as it is
    low, high = metric_ends(7.0, normal_draws(7.2, 0.5), MANY)
    assert (low + high) / 2 == pytest.approx(6.8)


def test_intervals_stay_within_their_scale_and_hold_the_value() -> None:
    few = Resampling(samples=60, units=9, level=0.95)
    rng = np.random.default_rng(0)
    for value, draws in (
        (1.0, np.ones(50)),
        (0.0, np.zeros(50)),
        (1.0, rng.binomial(60, 0.99, 400) / 60),
        (0.02, rng.binomial(60, 0.02, 400) / 60),
        (0.3, rng.normal(0.6, 0.01, 400)),  # a bias far larger than the interval
    ):
        low, high = metric_ends(value, draws, few)
        assert 0 <= low <= value <= high <= 1
    assert metric_ends(1.0, np.ones(50), few) == pytest.approx((1, 1))
    assert metric_ends(0.0, np.zeros(50), few) == pytest.approx((0, 0))


@pytest.mark.parametrize("units", [7, 60, 10**6])
def test_p_is_below_one_minus_the_level_where_0_lies_outside(units: int) -> None:
    draws = normal_draws(0.5, 0.3)
    seen = set()
    for level in np.linspace(0.5, 0.99, 50):
        resampling = Resampling(units, units, float(level))
        low, high = difference_ends(0.45, draws, resampling)
        p = difference_p_value(0.45, draws, resampling)

        # the added one moves p by a thousandth
        outside = low > 0 or high < 0
        if abs(p - (1 - level)) > 0.002:
            assert outside == (p < 1 - level)
            seen.add(outside)
    assert seen == {True, False}


def test_p_value_by_hand() -> None:
    def p(*draws: float) -> float:
        values = np.array(draws)
        return difference_p_value(float(values.mean()), values, MANY)

    assert p(1.0, 2, 3, -1) == pytest.approx(2 * (1 + 1) / 5)
    assert p(1.0, 2, 3, 4) == pytest.approx(2 * 1 / 5)
    assert p(1.0, -1, 0, 1e-17) == 1
    assert p(*[0.0] * 9) == 1

    # moved: the mean of the resamples lies at the difference, which is -1
    assert difference_p_value(-1.0, np.array([1.0, 2, 3]), MANY) == pytest.approx(2 * 2 / 4)


SETS = 100


def test_coverage() -> None:
    """A quick form of ``python -m benchmarks.intervals``, with noise of binomial counts.

    The bounds lie three standard deviations below what the long form measures. The plain
    percentiles of mean average precision fail them by far.
    """
    problem = Problem((0.26, 0.17, 0.1, 0.08), per_video=3)
    shares = measure(problem, samples=120, sets=SETS, resamples=200, seed=1, large=100_000)

    def least(coverage: float) -> float:
        noise = np.sqrt(coverage * (1 - coverage) / SETS)
        return coverage - 3 * float(noise)

    for metric in METRICS:
        hard = metric in ("macro_f1", "mean_average_precision")
        expected = 0.9 if hard else 0.94
        for kind in ("strong", "weak", "difference", "null"):
            assert shares[f"{metric}/{kind}"] >= least(expected), (metric, kind)
        assert shares[f"size/{metric}"] <= 1 - least(0.94), metric

    plain = shares["plain/mean_average_precision/weak"]
    assert plain < least(0.9)
    assert shares["mean_average_precision/weak"] > plain + 0.1
