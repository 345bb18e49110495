"""Penalised regressions: their optima, two classes, what does not converge."""

import numpy as np
import pytest

from emotailor.errors import ModelError
from emotailor.models.classic import logistic
from emotailor.models.classic.logistic import fit_logistic, fit_softmax, predict_logistic

RNG = np.random.default_rng(3)
X = RNG.normal(size=(83, 5))
LABELS = (X[:, :3] + RNG.normal(0, 0.7, (83, 3)) > [0.0, 0.3, 0.6]).astype(np.uint8)


def test_the_gradient_vanishes_at_the_optimum() -> None:
    coef, intercept = fit_logistic(X, LABELS, 0.5)
    assert coef.shape == (3, 5)
    errors = predict_logistic(X, coef, intercept) - LABELS
    np.testing.assert_allclose(coef + 0.5 * errors.T @ X, 0, atol=1e-4)
    np.testing.assert_allclose(errors.sum(0), 0, atol=1e-4)  # the intercept is not penalised


def test_a_weight_is_as_if_samples_came_more_often() -> None:
    coef, intercept = fit_logistic(X, LABELS, 0.5, np.array([3.0, 1.0, 2.0]))
    for j, times in enumerate((3, 1, 2)):
        repeats = np.where(LABELS[:, j] == 1, times, 1)
        again = np.repeat(X, repeats, axis=0), np.repeat(LABELS[:, [j]], repeats, axis=0)
        often, bias = fit_logistic(*again, 0.5)
        np.testing.assert_allclose(coef[j], often[0], atol=1e-4)
        np.testing.assert_allclose(intercept[j], bias[0], atol=1e-4)

    plain, bias = fit_logistic(X, LABELS, 0.5)
    np.testing.assert_array_equal(coef[1], plain[1])  # the weight 1 changes nothing, to the bit
    assert intercept[0] > bias[0] + 0.5


def test_a_constant_label_has_an_infinite_intercept() -> None:
    labels = np.stack([np.ones(83), np.zeros(83)], 1).astype(np.uint8)
    coef, intercept = fit_logistic(X, labels, 0.5)
    assert not coef.any()
    assert intercept.tolist() == [np.inf, -np.inf]


def test_two_classes_are_one_logistic_regression() -> None:
    coef, intercept = fit_softmax(X, LABELS[:, 0].astype(np.int64), 0.5)
    single, bias = fit_logistic(X, LABELS[:, :1], 0.5)
    np.testing.assert_allclose(coef, [np.zeros(5), single[0]])
    np.testing.assert_allclose(intercept, [0, bias[0]])


def test_one_class_has_nothing_to_tell_apart() -> None:
    coef, intercept = fit_softmax(X, np.zeros(83, np.int64), 0.5)
    assert coef.tolist() == [[0.0] * 5]
    assert intercept.tolist() == [0.0]


def test_probabilities_by_hand() -> None:
    coef, intercept = np.array([[1.0], [0.0]]), np.array([-2.0, -np.inf])
    found = predict_logistic(np.array([[2.0], [1e5], [-1e5]]), coef, intercept)
    assert found.tolist() == [[0.5, 0.0], [1.0, 0.0], [0.0, 0.0]]


def test_what_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 2)
    with pytest.raises(ModelError, match=r"C = 5.0 has not converged in 2 iterations"):
        fit_logistic(X, LABELS, 5.0)
