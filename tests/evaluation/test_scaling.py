"""Scaling: the numbers that made the probabilities wrong are found, and no decision changes."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from emotailor.errors import DataError
from emotailor.evaluation.calibration import calibration
from emotailor.evaluation.metrics import decide, evaluate
from emotailor.evaluation.scaling import MIN_EACH, Scaling, cross_scaled
from emotailor.evaluation.thresholds import Thresholds

NAMES = ("happy", "sad", "fear")


def wrong(
    slope: float | list[float], intercept: float | list[float] = 0.0, n: int = 4001, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are right after scaling with these numbers."""
    rng = np.random.default_rng(seed)
    right = rng.beta(1, 2, (n, 3))
    labels = (rng.random((n, 3)) < right).astype(np.uint8)
    given = expit((logit(right) - np.array(intercept)) / np.array(slope))
    return labels, given.astype(np.float32)


def test_temperature_is_found() -> None:
    labels, p = wrong(0.5)
    found = Scaling.fit("temperature", labels, p, NAMES)
    assert found.slopes == dict.fromkeys(NAMES, found.slopes["sad"])
    assert found.slopes["sad"] == pytest.approx(0.5, rel=0.05)
    assert set(found.intercepts.values()) == {0.0}

    before = calibration(labels, p, NAMES)
    after = calibration(labels, found.apply(p, NAMES), NAMES)
    assert before.expected_calibration_error > 0.08
    assert after.expected_calibration_error < 0.02
    assert after.brier_score < before.brier_score


def test_platt_is_found_for_each_label() -> None:
    slopes, intercepts = [0.5, 1.0, 2.0], [0.7, -1.0, 0.0]
    labels, p = wrong(slopes, intercepts)
    found = Scaling.fit("platt", labels, p, NAMES)
    assert list(found.slopes.values()) == pytest.approx(slopes, rel=0.1)
    assert list(found.intercepts.values()) == pytest.approx(intercepts, abs=0.12)
    after = calibration(labels, found.apply(p, NAMES), NAMES)
    assert all(errors.expected_calibration_error < 0.03 for errors in after.labels.values())


def test_platt_agrees_with_scikit_learn() -> None:
    """With thousands of samples, its targets inside 0 and 1 do not matter."""
    labels, p = wrong([0.5, 1.0, 2.0], [0.7, -1.0, 0.0])
    found = Scaling.fit("platt", labels, p, NAMES)
    odds = logit(p.astype(np.float64).clip(1e-7, 1 - 1e-7))
    for j, name in enumerate(NAMES):
        reference = LogisticRegression(C=1e9).fit(odds[:, [j]], labels[:, j])
        assert found.slopes[name] == pytest.approx(reference.coef_[0, 0], abs=0.01)
        assert found.intercepts[name] == pytest.approx(reference.intercept_[0], abs=0.01)


def test_a_rare_label_takes_the_numbers_of_all() -> None:
    labels, p = wrong([0.5, 1.0, 2.0], [0.7, -1.0, 0.0])
    labels[:, 2] = 0
    labels[: MIN_EACH - 1, 2] = 1
    found = Scaling.fit("platt", labels, p, NAMES)
    shared = Scaling.fit("platt", labels[:15], p[:15], NAMES)  # too few of every label
    assert len(set(shared.slopes.values())) == len(set(shared.intercepts.values())) == 1
    assert found.slopes["fear"] not in (found.slopes["happy"], found.slopes["sad"])

    labels[MIN_EACH - 1, 2] = 1  # one more is enough
    own = Scaling.fit("platt", labels, p, NAMES)
    assert own.slopes["fear"] != found.slopes["fear"]
    assert own.slopes["happy"] == found.slopes["happy"]


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_no_decision_changes(method: str) -> None:
    labels, p = wrong([0.4, 1.7, 2.5], [0.7, -1.0, 2.0], n=503)
    p[0] = [0.0, 1.0, 1.0]
    scaling = Scaling.fit(method, labels, p, NAMES)  # type: ignore[arg-type]
    scaled = scaling.apply(p, NAMES)
    assert scaled[0].tolist() == [0.0, 1.0, 1.0]

    for mode in ("fixed", "tuned", "per_label", "macro", "share"):
        chosen = Thresholds.choose(mode, labels, p, NAMES)
        moved = scaling.of_thresholds(chosen)
        assert moved.mode == mode
        assert moved.values != chosen.values
        before = decide(p, chosen.array(NAMES))
        np.testing.assert_array_equal(decide(scaled, moved.array(NAMES)), before)

        # and no metric does
        metrics = evaluate(labels, p, NAMES, chosen.array(NAMES))
        again = evaluate(labels, scaled, NAMES, moved.array(NAMES))
        for name, label in metrics.labels.items():
            assert again.labels[name].f1 == label.f1
            assert again.labels[name].average_precision == label.average_precision


def test_a_label_without_errors_has_finite_numbers() -> None:
    labels = np.tile([[0, 1, 0], [1, 0, 1]], (40, 1)).astype(np.uint8)
    p = labels * 0.5 + 0.2
    found = Scaling.fit("platt", labels, p, NAMES)
    assert np.isfinite(list(found.slopes.values())).all()
    assert found.apply(p, NAMES).max() < 1

    # a label that is given in reverse is not turned round: the ranking would change
    turned = Scaling.fit("platt", 1 - labels, p, NAMES)
    assert all(slope > 0 for slope in turned.slopes.values())


def test_cross_scaled_samples_were_not_fitted_on() -> None:
    labels, p = wrong(0.5, n=211)
    groups = np.repeat(np.arange(31), 7)[:211]
    scaled = cross_scaled("temperature", labels, p, NAMES, groups=groups)

    # a group with other labels is scaled alike
    changed = labels.copy()
    changed[groups == 3] = 1 - changed[groups == 3]
    again = cross_scaled("temperature", changed, p, NAMES, groups=groups)
    np.testing.assert_array_equal(again[groups == 3], scaled[groups == 3])
    assert (again != scaled).mean() > 0.5
    alone = cross_scaled("temperature", labels, p, NAMES, groups=np.zeros(211))
    np.testing.assert_array_equal(alone, p)


def test_scaling_is_stored_and_read() -> None:
    labels, p = wrong([0.5, 1.0, 2.0])
    found = Scaling.fit("platt", labels, p, NAMES)
    assert Scaling.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(DataError, match="shape"):
        Scaling.fit("platt", labels, p[:5], NAMES)
