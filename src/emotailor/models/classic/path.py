"""Logistic regressions of all labels at several strengths of the penalty, in seconds.

The objective is that of ``logistic.py``, and so is its optimum, to about 1e-4 in a probability.
Three things save time:

- The samples are turned to their principal axes, once for all strengths and labels. That changes
  neither the penalty nor the optimum, but the curvature is nearly diagonal there, and a scale for
  each axis lets L-BFGS end after some ten steps.
- All labels share each product with the matrix of the samples.
- Each strength starts where the one before has ended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

MOST_AXES = 2500
"""With more samples and more features than this the axes would take longer than they save."""

SMALLEST = 1e-10
"""Axes whose share of the largest sum of squares is below this are rounding errors."""

ENDED = {"ftol": 1e-9, "gtol": 1e-4, "maxiter": 1000, "maxfun": 2000}
"""When L-BFGS has arrived."""


@dataclass(frozen=True)
class Regressions:
    """Logistic regressions of L labels.

    Attributes:
        strength: C, inverse strength of the penalty.
        coef: (L, F); 0 for a constant label.
        intercept: (L,); minus or plus infinity for a constant label.
    """

    strength: float
    coef: Float64[np.ndarray, "labels features"]
    intercept: Float64[np.ndarray, "labels"]


def fit_path(
    x: Float64[np.ndarray, "n features"],
    labels: UInt8[np.ndarray, "n labels"],
    strengths: Sequence[float],
) -> Iterator[Regressions]:
    """Fit all labels at each strength, one after the other.

    Args:
        x: standardised features.
        labels: 0 or 1.
        strengths: values of C, ascending, so that each is a good start for the next.
    """
    yield from fit_parts([x], labels, strengths)


def fit_parts(
    parts: Sequence[Any],
    labels: UInt8[np.ndarray, "n labels"],
    strengths: Sequence[float],
) -> Iterator[Regressions]:
    """Fit as :func:`fit_path` does, on features that lie in several matrices.

    Args:
        parts: matrices (n, F_i), dense or sparse (``scipy.sparse.csr_matrix``); their columns side
            by side are the F features. A sparse matrix stays sparse.
        labels: 0 or 1.
        strengths: values of C, ascending.
    """
    frequencies = labels.mean(0, dtype=np.float64)  # (L,)
    varies = (frequencies > 0) & (frequencies < 1)
    constant = np.where(frequencies > 0, np.inf, -np.inf)

    prepared = [_Part(part) for part in parts]
    problem = _Problem([part.turned for part in prepared], labels[:, varies])
    ends = np.cumsum([part.turned.shape[1] for part in prepared])
    width = sum(part.width for part in prepared)

    start = problem.start
    for strength in strengths:
        start = problem.minimum(start, strength)

        # the last column is the intercept
        pieces = np.split(start[:, :-1], ends[:-1], axis=1)
        restored = [part.restored(piece) for part, piece in zip(prepared, pieces, strict=True)]
        coef = np.zeros((labels.shape[1], width))
        coef[varies] = np.hstack(restored)
        intercept = constant.copy()
        intercept[varies] = start[:, -1]
        yield Regressions(strength, coef, intercept)


class _Part:
    """One matrix of features, as it is fitted: along its principal axes, unless it is sparse.

    Args:
        x: (n, F), dense or sparse.

    Attributes:
        width: F.
        turned: (n, axes), what is fitted.
    """

    def __init__(self, x: Any) -> None:
        self.width = x.shape[1]
        self.turned = x
        self.used: Any = slice(None)
        self.axes: Float64[np.ndarray, "features axes"] | None = None
        if not isinstance(x, np.ndarray):
            return

        # features that do not vary in training can tell nothing
        self.used = np.flatnonzero(x.any(0))
        self.turned, self.axes = _turned(x[:, self.used])

    def restored(
        self, coef: Float64[np.ndarray, "labels axes"]
    ) -> Float64[np.ndarray, "labels features"]:
        """Return coefficients of the features as they are given."""
        found = np.zeros((len(coef), self.width))
        found[:, self.used] = _turned_back(coef, self.axes)
        return found


def _turned(
    x: Float64[np.ndarray, "n features"],
) -> tuple[Float64[np.ndarray, "n axes"], Float64[np.ndarray, "features axes"] | None]:
    """Return the samples along their principal axes, and the axes; as they are without axes."""
    from scipy.linalg import eigh

    samples, width = x.shape
    if width == 0 or min(samples, width) > MOST_AXES:
        return x, None

    if width <= samples:
        squares, axes = eigh(x.T @ x)
        kept = squares > SMALLEST * squares[-1]
        axes = axes[:, kept]
        return x @ axes, axes

    # fewer samples than features: the same axes from the smaller matrix
    squares, sides = eigh(x @ x.T)
    kept = squares > SMALLEST * squares[-1]
    lengths = np.sqrt(squares[kept])
    axes = x.T @ sides[:, kept] / lengths
    return sides[:, kept] * lengths, axes


def _turned_back(
    coef: Float64[np.ndarray, "labels axes"], axes: Float64[np.ndarray, "features axes"] | None
) -> Float64[np.ndarray, "labels features"]:
    return coef if axes is None else coef @ axes.T


class _Problem:
    """The objective of all labels together.

    Args:
        parts: matrices of the samples, dense ones along their principal axes.
        labels: 0 or 1; none constant.

    Attributes:
        start: (L, F + 1), coefficients 0 and the intercepts that fit the frequencies.
    """

    def __init__(self, parts: Sequence[Any], labels: UInt8[np.ndarray, "n labels"]) -> None:
        self.parts = parts
        self.labels = labels.astype(np.float64)
        self.squares = np.concatenate([_squares(part) for part in parts])  # (F,)

        frequencies = self.labels.mean(0)
        self.curvature = frequencies * (1 - frequencies)  # (L,)
        self.start = np.zeros((labels.shape[1], len(self.squares) + 1))
        self.start[:, -1] = np.log(frequencies) - np.log1p(-frequencies)

    def minimum(
        self, start: Float64[np.ndarray, "labels features_plus_1"], strength: float
    ) -> Float64[np.ndarray, "labels features_plus_1"]:
        """Return coefficients and intercepts of all labels."""
        from scipy.optimize import minimize

        if not start.size:
            return start

        # about the root of the curvature: with it, every direction is as steep as the others
        samples = len(self.labels)
        every = np.append(self.squares, samples)  # (F + 1,)
        penalty = np.append(np.ones_like(self.squares), 0)
        scale = np.sqrt(strength * np.outer(self.curvature, every) + penalty)

        def objective(flat: Float64[np.ndarray, "values"]) -> tuple[float, np.ndarray]:
            found = flat.reshape(start.shape) / scale
            value, gradient = self._value_and_gradient(found, strength)
            return value, (gradient / scale).ravel()

        first = (start * scale).ravel()
        done = minimize(objective, first, jac=True, method="L-BFGS-B", options=ENDED)
        found: Float64[np.ndarray, "labels features_plus_1"] = done.x.reshape(start.shape)
        return found / scale

    def _value_and_gradient(
        self, found: Float64[np.ndarray, "labels features_plus_1"], strength: float
    ) -> tuple[float, Float64[np.ndarray, "labels features_plus_1"]]:
        from scipy.special import expit

        coef = found[:, :-1]
        logits = logits_of(self.parts, coef, found[:, -1])  # (n, L)
        losses = np.logaddexp(0, logits) - self.labels * logits
        value = 0.5 * np.square(coef).sum() + strength * losses.sum()

        errors = expit(logits) - self.labels
        slopes = [(part.T @ errors).T for part in self.parts]
        gradient = np.empty_like(found)
        gradient[:, :-1] = coef + strength * np.hstack(slopes)
        gradient[:, -1] = strength * errors.sum(0)
        return float(value), gradient


def logits_of(
    parts: Sequence[Any],
    coef: Float64[np.ndarray, "labels features"],
    intercept: Float64[np.ndarray, "labels"],
) -> Float64[np.ndarray, "n labels"]:
    """Return x w + b of features that lie in several matrices, dense or sparse.

    Args:
        parts: matrices (n, F_i), their columns side by side.
        coef: (L, F).
        intercept: (L,).
    """
    ends = np.cumsum([part.shape[1] for part in parts])
    pieces = np.split(coef, ends[:-1], axis=1)
    logits = np.zeros((parts[0].shape[0], len(coef))) + intercept
    for part, piece in zip(parts, pieces, strict=True):
        logits += part @ piece.T
    return logits


def _squares(part: Any) -> Float64[np.ndarray, "features"]:
    """Return the sum of squares of each column of a matrix, dense or sparse."""
    if isinstance(part, np.ndarray):
        return np.square(part).sum(0)
    return np.asarray(part.multiply(part).sum(0)).ravel()
