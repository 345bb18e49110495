"""The baselines of a comparison: which systems are below them, and how they stand in tables."""

from emotailor.comparison.floor import Floor
from emotailor.evaluation.baselines import NAMES, baselines
from emotailor.evaluation.comparison import Spread
from tests.evaluation.test_baselines import held
from tests.helpers import random_samples


def small_floor() -> Floor:
    dataset = held(
        {
            "train": random_samples(31, seed=1, prefix="a"),
            "valid": random_samples(13, seed=2, prefix="b"),
            "test": random_samples(17, seed=3, prefix="c"),
        }
    )
    return Floor(baselines(dataset, "test", "tuned"))


def means(value: float) -> dict[str, Spread]:
    names = ("micro_f1", "mean_average_precision", "mean_roc_auc")
    return {name: Spread(mean=value, std=None, runs=2) for name in names}


def test_who_is_below() -> None:
    floor = small_floor()
    assert floor.below(means(1.0)) == ""
    for name in NAMES:
        assert name in floor.below(means(0.01))

    # between the trivial ones and the regression
    frequencies = floor.found["label frequencies"].metrics.micro_f1
    every = floor.found["all labels"].metrics.micro_f1
    regression = floor.found["logistic regression"].metrics.micro_f1
    between = (max(frequencies, every) + regression) / 2
    own = {**means(1.0), "micro_f1": Spread(mean=between, std=None, runs=2)}
    assert floor.below(own).startswith("logistic regression (micro-F1 ")
    assert (floor.is_weak(own), floor.is_weak(means(0.01))) == (False, True)


def test_rows_of_baselines() -> None:
    floor = small_floor()
    rows = floor.rows({})
    assert [row.name for row in rows] == list(NAMES)
    assert all(row.is_baseline and not row.below for row in rows)
    stored = floor.stored({})
    for row in rows:
        assert row.spreads["micro_f1"].mean == stored[row.name].metrics.micro_f1
    assert stored["logistic regression"].strength == floor.found["logistic regression"].strength
    assert Floor().below(means(0.0)) == ""
