"""The fast regressions have the optimum of the slow ones."""

import numpy as np
import pytest

from emotailor.models.classic import path
from emotailor.models.classic.logistic import fit_logistic, predict_logistic
from emotailor.models.classic.path import fit_parts, fit_path, logits_of

STRENGTHS = (1e-3, 3e-2, 1.0)


def drawn(samples: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features in deviations from their mean, and three labels that depend on them."""
    rng = np.random.default_rng(7)
    shared = rng.normal(size=(samples, 3)) @ rng.normal(size=(3, width))
    x = shared + rng.normal(size=(samples, width))
    x = (x - x.mean(0)) / x.std(0)
    logits = x @ rng.normal(size=(width, 3)) - [0, 1, 2]
    return x, (rng.random((samples, 3)) < 1 / (1 + np.exp(-logits))).astype(np.uint8)


@pytest.mark.parametrize(("samples", "width"), [(101, 23), (31, 43)])
@pytest.mark.parametrize("turned", [True, False])
def test_the_optimum_is_that_of_the_slow_fit(
    samples: int, width: int, turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not turned:
        monkeypatch.setattr(path, "MOST_AXES", 5)
    x, labels = drawn(samples, width)
    found = list(fit_path(x, labels, STRENGTHS))
    assert [one.strength for one in found] == list(STRENGTHS)
    for one in found:
        wanted = predict_logistic(x, *fit_logistic(x, labels, one.strength))
        assert abs(predict_logistic(x, one.coef, one.intercept) - wanted).max() < 1e-3


def test_features_in_parts_dense_and_sparse() -> None:
    from scipy.sparse import csr_matrix

    x, labels = drawn(101, 23)
    x[:, 13:] *= x[:, 13:] > 0.7  # most are 0 there
    x[:, 2] = 0
    parts = [x[:, :13], csr_matrix(x[:, 13:])]
    found = list(fit_parts(parts, labels, STRENGTHS))
    for one in found:
        assert one.coef.shape == (3, 23)
        assert not one.coef[:, 2].any()
        wanted = predict_logistic(x, *fit_logistic(x, labels, one.strength))
        assert abs(predict_logistic(x, one.coef, one.intercept) - wanted).max() < 1e-3
        logits = logits_of(parts, one.coef, one.intercept)
        np.testing.assert_allclose(logits, x @ one.coef.T + one.intercept, atol=1e-12)


def test_constant_labels_and_features() -> None:
    x, labels = drawn(53, 5)
    x[:, 2] = 0
    labels[:, 0] = 0
    labels[:, 2] = 1
    *_, last = fit_path(x, labels, STRENGTHS)
    assert last.intercept[[0, 2]].tolist() == [-np.inf, np.inf]
    assert not last.coef[[0, 2]].any()
    assert not last.coef[:, 2].any()
    assert last.coef[1, [0, 1, 3, 4]].all()
    probabilities = predict_logistic(x, last.coef, last.intercept)
    assert (probabilities[:, 0] == 0).all()
    assert (probabilities[:, 2] == 1).all()


def test_nothing_to_learn() -> None:
    x, labels = drawn(53, 5)
    (none,) = fit_path(np.zeros_like(x), labels, (1.0,))
    frequencies = np.broadcast_to(labels.mean(0), labels.shape)
    np.testing.assert_allclose(predict_logistic(x, none.coef, none.intercept), frequencies)
    (constant,) = fit_path(x, np.ones_like(labels), (1.0,))
    assert (constant.intercept == np.inf).all()
