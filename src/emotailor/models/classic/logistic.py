"""Penalised logistic and softmax regression, fitted by scikit-learn.

With coefficients w, intercepts b and the inverse strength C of the penalty the objective is::

    0.5 |w|^2 + C * (sum over samples of the log loss),

b not penalised. With weights, the log loss of a sample where the label holds is multiplied by the
label's weight. Its optimum is unique, so a fit depends on nothing but the data.
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
    positive_weight: Float64[np.ndarray, "labels"] | None = None,
) -> tuple[Float64[np.ndarray, "labels features"], Float64[np.ndarray, "labels"]]:
    """Fit one logistic regression per label.

    Args:
        x: features.
        labels: 0 or 1.
        C: inverse strength of the penalty.
        positive_weight: (L,), weight of the samples where the label holds; None for 1.

    Returns:
        Coefficients (L, F) and intercepts (L,). A constant label has coefficients 0 and an
        infinite intercept.

    Raises:
        ModelError: a fit does not converge.
    """
    width = x.shape[1]
    count = labels.shape[1]
    coef = np.zeros((count, width))
    intercept = np.zeros(count)

    for j, column in enumerate(labels.T):
        if column.min() == column.max():
            # DIVERGENCE (constant_labels): the penalised optimum does not exist
            intercept[j] = np.inf if column[0] else -np.inf
            continue

        weight = 1.0 if positive_weight is None else float(positive_weight[j])
        model = _converged(x, column, C, weight)
        coef[j] = model.coef_[0]
        intercept[j] = model.intercept_[0]

    return coef, intercept


def predict_logistic(
    x: Float64[np.ndarray, "n features"],
    coef: Float64[np.ndarray, "labels features"],
    intercept: Float64[np.ndarray, "labels"],
) -> Float64[np.ndarray, "n labels"]:
    """Return 1 / (1 + exp(-(x w + b))) per label, without overflow."""
    return sigmoid(x @ coef.T + intercept)


def sigmoid(logits: Float64[np.ndarray, "n labels"]) -> Float64[np.ndarray, "n labels"]:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    log_probabilities = -np.logaddexp(0.0, -logits)
    probabilities: Float64[np.ndarray, "n labels"] = np.exp(log_probabilities)
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
    width = x.shape[1]
    count = int(classes.max()) + 1
    coef = np.zeros((count, width))
    intercept = np.zeros(count)
    if count == 1:
        return coef, intercept

    model = _converged(x, classes, C)
    # of two classes scikit-learn fits the second one alone
    rows = slice(1, None) if count == 2 else slice(None)
    coef[rows] = model.coef_
    intercept[rows] = model.intercept_
    return coef, intercept


def _converged(
    x: Float64[np.ndarray, "n features"],
    y: Any,
    C: float,  # noqa: N803
    positive_weight: float = 1.0,
) -> "LogisticRegression":
    """Fit one regression; a weight other than 1 is for the class 1 of two classes."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    class_weight = None
    if positive_weight != 1:
        class_weight = {0: 1.0, 1: positive_weight}

    model = LogisticRegression(
        C=C,
        class_weight=class_weight,
        solver="lbfgs",  # a Hessian for 61 label sets of 818 features would take 20 GB
        tol=TOLERANCE,
        max_iter=MAX_ITERATIONS,
    )
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
