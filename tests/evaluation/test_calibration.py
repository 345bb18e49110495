"""Calibration errors by hand, against scikit-learn, and at the edges."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from emotailor.errors import DataError
from emotailor.evaluation.calibration import Calibration, calibration, pooled_bins

NAMES = ("happy", "sad")


def judged(labels: list[list[int]], probabilities: list[list[float]]) -> Calibration:
    return calibration(np.array(labels), np.array(probabilities), NAMES)


def random_decisions(n: int = 331, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overconfident probabilities: the chance that a label holds lies halfway to one half."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, 2))
    holds = rng.random((n, 2)) < (p + 0.5) / 2
    return holds.astype(np.uint8), p


def test_the_curve_of_several_runs_by_hand() -> None:
    first = judged([[1, 0], [1, 1]], [[0.95, 0.15], [0.91, 0.35]])
    second = judged([[1, 0], [0, 1]], [[0.93, 0.75], [0.97, 0.13]])
    low, middle, high, top = pooled_bins([first, second])
    assert (low.low, low.count, low.share_true) == (0.1, 2, 0.5)
    assert low.mean_probability == pytest.approx(0.14)
    assert (middle.low, middle.high, middle.count, middle.share_true) == (0.3, 0.4, 1, 1.0)
    assert (high.low, high.count, high.share_true) == (0.7, 1, 0.0)
    assert (top.low, top.high, top.count, top.share_true) == (0.9, 1.0, 4, 0.75)
    assert top.mean_probability == pytest.approx((0.95 + 0.91 + 0.93 + 0.97) / 4)
    assert pooled_bins([first]) == first.bins
    assert pooled_bins([]) == ()


def test_errors_by_hand() -> None:
    found = judged([[1, 0], [1, 1], [0, 0]], [[0.95, 0.15], [0.91, 0.35], [0.93, 0.05]])

    # three decisions at p >= .9, of which two hold; then one each
    top = found.bins[-1]
    assert (top.low, top.high, top.count) == (0.9, 1.0, 3)
    assert top.mean_probability == pytest.approx(0.93)
    assert top.share_true == pytest.approx(2 / 3)
    assert [b.low for b in found.bins] == [0.0, 0.1, 0.3, 0.9]

    error = (abs(2.79 - 2) + 0.05 + 0.15 + 0.65) / 6
    assert found.expected_calibration_error == pytest.approx(error)
    assert found.labels["happy"].expected_calibration_error == pytest.approx(0.79 / 3)
    assert found.labels["sad"].expected_calibration_error == pytest.approx(0.85 / 3)

    squares = [0.05**2, 0.15**2, 0.09**2, 0.65**2, 0.93**2, 0.05**2]
    assert found.brier_score == pytest.approx(sum(squares) / 6)
    assert found.labels["happy"].brier_score == pytest.approx(sum(squares[::2]) / 3)


def test_a_probability_at_an_edge_belongs_to_the_upper_bin() -> None:
    found = judged([[1, 1], [1, 1], [0, 1]], [[0.9, 0.3], [0.7, 0.6], [0.0, 1.0]])
    lows = {b.low: b.count for b in found.bins}
    assert lows == {0.0: 1, 0.3: 1, 0.6: 1, 0.7: 1, 0.9: 2}


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_agrees_with_scikit_learn(strategy: str) -> None:
    labels, p = random_decisions()
    found = calibration(labels, p, NAMES)
    share, mean = calibration_curve(labels.ravel(), p.ravel(), n_bins=10, strategy=strategy)

    edges = np.linspace(0, 1, 11)
    if strategy == "quantile":
        edges = np.quantile(p.ravel(), edges)
    count, _ = np.histogram(p.ravel(), edges)
    error = (count * np.abs(share - mean)).sum() / p.size

    if strategy == "uniform":
        assert [b.count for b in found.bins] == count.tolist()
        assert [b.share_true for b in found.bins] == pytest.approx(share)
        assert [b.mean_probability for b in found.bins] == pytest.approx(mean)
        assert found.expected_calibration_error == pytest.approx(error)
    else:
        assert found.equal_mass_error == pytest.approx(error)
    assert found.brier_score == pytest.approx(brier_score_loss(labels.ravel(), p.ravel()))


def test_rare_labels_are_told_by_bins_of_equal_mass() -> None:
    """All below .1: the error of one half is made good by that of the other in a single bin."""
    p = np.repeat([[0.02], [0.08]], 100, axis=0)
    y = np.zeros((200, 1), int)
    y[:8] = 1  # .08 of those given .02
    y[100:102] = 1  # .02 of those given .08
    found = calibration(y, p, ["fear"])
    assert found.expected_calibration_error == pytest.approx(0, abs=1e-12)
    assert found.equal_mass_error == pytest.approx(0.06)


def test_error_by_chance_is_that_of_right_probabilities() -> None:
    rng = np.random.default_rng(3)
    p = rng.beta(1, 3, (97, 2))
    errors = []
    for _ in range(150):
        holds = rng.random(p.shape) < p
        errors.append(calibration(holds, p, NAMES))

    by_chance = errors[0].error_by_chance
    mean = np.mean([e.expected_calibration_error for e in errors])
    assert by_chance == pytest.approx(mean, rel=0.08)
    assert by_chance > 0.02  # and not 0, though every probability is right


def test_the_sentence_names_the_highest_bin_with_enough_decisions() -> None:
    labels, p = random_decisions(400)
    found = calibration(labels, p, NAMES)
    assert found.highest == found.bins[-1]
    assert "p >= 0.9" in str(found)
    assert f"{found.highest.share_true:.3f} hold" in str(found)

    few = calibration(labels, np.where(p < 0.9, p / 2, p), NAMES)
    assert few.highest.low == 0.9
    fewer = calibration(labels[:23], np.where(p < 0.9, p / 2, p)[:23], NAMES)
    assert fewer.highest.count < 20
    assert fewer.highest.count == max(b.count for b in fewer.bins)


def test_constant_probabilities() -> None:
    labels, _ = random_decisions(50)
    found = calibration(labels, np.full((50, 2), 0.4), NAMES)
    (only,) = found.bins
    assert only.count == 100
    error = abs(0.4 - labels.mean())
    assert found.expected_calibration_error == pytest.approx(error)
    assert found.equal_mass_error == pytest.approx(error)
    certain = calibration(labels, labels.astype(float), NAMES)
    assert certain.expected_calibration_error == certain.brier_score == 0


def test_what_is_no_probability_is_refused() -> None:
    labels, p = random_decisions(5)
    with pytest.raises(DataError, match="not in"):
        calibration(labels, p + 1, NAMES)
    with pytest.raises(DataError, match="shape"):
        calibration(labels, p[:3], NAMES)
