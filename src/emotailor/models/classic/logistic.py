"""Penalised logistic and softmax regression, fitted by scikit-learn.

With coefficients w, intercepts b and the inverse strength C of the penalty the objective is

    0.5 |w|^2 + C * (sum over samples of the log loss),

b not penalised. Its optimum is unique, so a fit depends on nothing but the data.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from emotailor.errors import ModelError

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

TOLERANCE = 1e-7
"""Largest gradient component, of the objective per sample, at which a fit has converged."""

MAX_ITERATIONS = 5000


def fit_logistic(
    x: Float64[np.ndarray, "n features"],
    labels: UInt8[np.ndarray, "n labels"],
    C: float,  # noqa: N803
) -> tuple[Float64[np.ndarray, "labels features"], Float64[np.ndarray, "labels"]]:
    """Fit one logistic regression per label.

    Args:
        x: features.
        labels: 0 or 1.
        C: inverse strength of the penalty.

    Returns:
        Coefficients (L, F) and intercepts (L,). A constant label has coefficients 0 and an
        infinite intercept.

    Raises:
        ModelError: a fit does not converge.
    """
    coef = np.zeros((labels.shape[1], x.shape[1]))
    intercept = np.zeros(labels.shape[1])
    for j, column in enumerate(labels.T):
        if column.min() == column.max():
            # DIVERGENCE (constant_labels): the penalised optimum does not exist
            intercept[j] = np.inf if column[0] else -np.inf
            continue
        model = _converged(x, column, C)
        coef[j], intercept[j] = model.coef_[0], model.intercept_[0]
    return coef, intercept


def predict_logistic(
    x: Float64[np.ndarray, "n features"],
    coef: Float64[np.ndarray, "labels features"],
    intercept: Float64[np.ndarray, "labels"],
) -> Float64[np.ndarray, "n labels"]:
    """Return 1 / (1 + exp(-(x w + b))) per label, without overflow."""
    probabilities: Float64[np.ndarray, "n labels"] = np.exp(
        -np.logaddexp(0.0, -(x @ coef.T + intercept))
    )
    return probabilities


def fit_softmax(
    x: Float64[np.ndarray, "n features"],
    classes: Int64[np.ndarray, "n"],
    C: float,  # noqa: N803
) -> tuple[Float64[np.ndarray, "classes features"], Float64[np.ndarray, "classes"]]:
    """Fit one softmax regression.

    Args:
        x: features.
        classes: from 0, each at least once.
        C: inverse strength of the penalty.

    Returns:
        Coefficients (S, F) and intercepts (S,). Two classes are one logistic regression, with
        coefficients 0 for the first; one class has nothing to tell apart, and zeros.

    Raises:
        ModelError: the fit does not converge.
    """
    count = int(classes.max()) + 1
    coef, intercept = np.zeros((count, x.shape[1])), np.zeros(count)
    if count > 1:
        model = _converged(x, classes, C)
        rows = slice(None) if count > 2 else slice(1, None)
        coef[rows], intercept[rows] = model.coef_, model.intercept_
    return coef, intercept


def _converged(
    x: Float64[np.ndarray, "n features"],
    y: Any,
    C: float,  # noqa: N803
) -> "LogisticRegression":
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # L-BFGS: a Hessian for 61 label sets of 818 features would be of 20 GB
    model = LogisticRegression(C=C, solver="lbfgs", tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # it also warns where rounding ends the search at the optimum
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)
    if model.n_iter_.max() >= MAX_ITERATIONS:
        raise ModelError(
            f"logistic regression with C = {C} has not converged in {MAX_ITERATIONS} iterations",
            fix="choose a smaller model.C",
        )
    return model
