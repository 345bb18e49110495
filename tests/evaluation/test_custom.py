"""Metrics of others: found, named, judged beside ours, and refused with their name."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from emotailor.errors import ConfigError, DataError
from emotailor.evaluation import custom
from emotailor.evaluation.comparison import (
    bootstrap,
    compare_systems,
    paired_bootstrap,
    summarise_seeds,
)
from emotailor.evaluation.custom import CustomMetric, resolve_metrics
from emotailor.evaluation.display import comparison_table, metrics_table, seeds_table
from emotailor.evaluation.metrics import OVERALL, Metrics, evaluate
from tests.own.my_metric import mean_probability, wrong_share

FILE = Path(__file__).parents[1] / "own" / "my_metric.py"
NAMES = ("happy", "sad", "angry")
RNG = np.random.default_rng(5)
PROBABILITIES = RNG.random((31, 3))
LABELS = (RNG.random((31, 3)) < PROBABILITIES).astype(int)
OTHER = RNG.random((31, 3))


def failing(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
    raise ZeroDivisionError("no samples of class 4")


def returns(value: Any) -> CustomMetric:
    return CustomMetric("mine", lambda *_: value, "somewhere")


def judged(*metrics: Any) -> Metrics:
    return evaluate(LABELS, PROBABILITIES, NAMES, 0.4, metrics=metrics)


def test_a_function_stands_beside_our_metrics() -> None:
    m = judged(wrong_share, mean_probability)
    assert m.extra == {
        "wrong_share": pytest.approx(m.hamming_loss),
        "mean_probability": pytest.approx(PROBABILITIES.mean()),
    }
    assert list(m.overall()) == [*OVERALL, "wrong_share", "mean_probability"]
    assert m.overall()["wrong_share"] == m.extra["wrong_share"]
    plain = judged()
    assert plain.extra == {}
    assert m.model_copy(update={"extra": {}}) == plain


def test_stored_metrics_without_others_are_as_they_were() -> None:
    plain, m = judged(), judged(wrong_share)
    assert "extra" not in plain.model_dump(mode="json")
    assert "extra" not in plain.model_dump_json()
    assert m.model_dump(mode="json")["extra"] == m.extra
    for metrics in (plain, m):
        assert Metrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_a_metric_sees_copies_of_three_arrays() -> None:
    seen: list[np.ndarray] = []

    def spy(labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray) -> float:
        seen.extend([labels.copy(), probabilities.copy(), decisions.copy()])
        for array in (labels, probabilities, decisions):
            array[:] = 0  # it may do with them what it likes
        return 1.0

    m = judged(spy, wrong_share)
    np.testing.assert_array_equal(seen[0], LABELS)
    np.testing.assert_array_equal(seen[1], PROBABILITIES)
    np.testing.assert_array_equal(seen[2], (PROBABILITIES > 0.4).astype(int))
    assert [array.shape for array in seen] == [(31, 3)] * 3
    assert m.extra["wrong_share"] == pytest.approx(m.hamming_loss)


def test_references_and_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = "tests.own.my_metric", "wrong_share"
    monkeypatch.setattr(
        custom, "installed", lambda group: {"wrong": f"{module}:{name}"} if group else {}
    )
    metrics = resolve_metrics([f"{module}:{name}", f"{FILE}:Scores.surprise", "wrong"])
    assert [metric.name for metric in metrics] == ["wrong_share", "surprise", "wrong"]
    values = [metric(LABELS, PROBABILITIES, PROBABILITIES > 0.4) for metric in metrics]
    assert values == [values[0], 7.0, values[0]]
    assert resolve_metrics(metrics) == metrics
    with pytest.raises(ConfigError, match=r"no metric 'wrung'[\s\S]*did you mean 'wrong'"):
        resolve_metrics(["wrung"])


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (["tests.own.my_metric:absent"], "absent"),
        (["no_such_module:x"], "no_such_module"),
        ([f"{FILE}:NOT_A_FUNCTION"], "NOT_A_FUNCTION"),
        (["kappa"], "kappa"),
        ([lambda *_: 1.0], "lambda"),
        ([wrong_share, "tests.own.my_metric:wrong_share"], "wrong_share"),
        ([CustomMetric("micro_f1", wrong_share)], "micro_f1"),
    ],
)
def test_what_is_no_metric_is_named(wanted: list[Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        judged(*wanted)
    assert named in caught.value.found


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "0.5", None, True, np.array([0.5]), [0.5], {}, 1j]
)
def test_a_metric_that_returns_no_number_is_named(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        judged(returns(value))
    assert "'mine' (somewhere)" in caught.value.found
    assert repr(value)[:20] in caught.value.found


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.int64(1), np.array(0.5)])
def test_numbers_of_any_kind_are_numbers(value: Any) -> None:
    assert judged(returns(value)).extra == {"mine": float(value)}


def test_a_metric_that_fails_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        judged(failing)
    assert "'failing'" in caught.value.found
    assert "no samples of class 4" in caught.value.found
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("groups", [None, np.arange(31) // 4])
def test_the_bootstrap_resamples_like_ours(groups: Any) -> None:
    """The Hamming loss under another name has the interval of the Hamming loss."""
    options: dict[str, Any] = {"groups": groups, "resamples": 40, "metrics": [wrong_share]}
    found = bootstrap(LABELS, PROBABILITIES, 0.4, **options)
    for end in ("value", "low", "high"):
        assert getattr(found["wrong_share"], end) == pytest.approx(
            getattr(found["hamming_loss"], end)
        )
    plain = bootstrap(LABELS, PROBABILITIES, 0.4, groups=groups, resamples=40)
    assert {name: x for name, x in found.items() if name != "wrong_share"} == plain

    paired = paired_bootstrap(
        LABELS, PROBABILITIES, OTHER, thresholds_a=0.4, thresholds_b=0.5, **options
    )
    assert paired["wrong_share"].value == pytest.approx(paired["hamming_loss"].value)
    assert paired["wrong_share"].p_value == paired["hamming_loss"].p_value

    systems = {"a": [(PROBABILITIES, 0.4), (OTHER, 0.5)], "b": [(OTHER, 0.4)]}
    compared = compare_systems(LABELS, systems, "b", **options)["a"]
    assert compared["wrong_share"].low == pytest.approx(compared["hamming_loss"].low)


def test_a_metric_undefined_in_a_resample_has_no_interval() -> None:
    first = PROBABILITIES[0, 0]

    def needs_the_first(
        labels: np.ndarray, probabilities: np.ndarray, decisions: np.ndarray
    ) -> float:
        return 1.0 if first in probabilities[:, 0] else math.nan

    assert judged(needs_the_first).extra == {"needs_the_first": 1.0}
    found = bootstrap(
        LABELS, PROBABILITIES, 0.4, resamples=20, metrics=[needs_the_first, wrong_share]
    )
    assert "needs_the_first" not in found
    assert "wrong_share" in found


def test_spread_over_seeds() -> None:
    runs = [judged(wrong_share), evaluate(LABELS, OTHER, NAMES, 0.4, metrics=[wrong_share])]
    overall = summarise_seeds(runs).overall
    assert overall["wrong_share"].mean == pytest.approx(overall["hamming_loss"].mean)
    assert overall["wrong_share"].std == pytest.approx(overall["hamming_loss"].std)
    with pytest.raises(DataError, match="wrong_share"):
        summarise_seeds([runs[0], judged()])


def test_tables_show_them_under_their_names() -> None:
    m = judged(wrong_share, CustomMetric("[b]mean", mean_probability))
    intervals = bootstrap(LABELS, PROBABILITIES, 0.4, resamples=20, metrics=[wrong_share])
    systems = {"a": m, "b": judged()}
    show: dict[str, Callable[[], Any]] = {
        f"[{intervals['wrong_share'].low:.3f}, ": lambda: metrics_table(m, intervals),
        "n/a": lambda: comparison_table(systems),  # b has none
        f"{m.extra['wrong_share']:.3f}": lambda: seeds_table({"a": summarise_seeds([m])}),
    }
    for expected, render in show.items():
        console = Console(width=120, record=True, quiet=True)
        with console.capture() as capture:
            console.quiet = False
            console.print(render())
        text = capture.get()
        assert "wrong_share" in text
        assert "[b]mean" in text
        assert expected in text
