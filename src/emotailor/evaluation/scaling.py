"""Scaling of probabilities that are too high or too low, fitted on validation data.

::

    p' = sigmoid(slope * log-odds(p) + intercept),    slope > 0

- ``temperature``: one slope for all labels, no intercept (Guo et al., ICML 2017). It mends
  probabilities that are too decided, or too little.
- ``platt``: a slope and an intercept for each label (Platt 1999). It also mends labels that are
  given too often, as after ``training.positive_weight``. A label with few positives or negatives
  takes the two numbers that fit all labels together.

Both rise with p. So a threshold can be scaled as the probabilities are, and no decision, no
ranking, and no metric but those of calibration changes.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from pydantic import BaseModel, ConfigDict, Field

from emotailor.evaluation.metrics import check_label_names, check_labels, check_probabilities
from emotailor.evaluation.thresholds import Thresholds

ScalingMethod = Literal["temperature", "platt"]

MIN_EACH = 20
"""A label with fewer positives or fewer negatives than this has no numbers of its own."""

MIN_SLOPE = 0.01
FOLDS = 5
_CERTAIN = 1e-7  # probabilities nearer to 0 or 1 than this have no exact log-odds in float32


class Scaling(BaseModel):
    """How the probabilities of a model are scaled.

    Attributes:
        method: how the numbers were chosen.
        slopes: label name -> slope.
        intercepts: label name -> intercept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: ScalingMethod
    slopes: dict[str, Annotated[float, Field(gt=0)]]
    intercepts: dict[str, float]

    @classmethod
    def fit(
        cls,
        method: ScalingMethod,
        labels: Shaped[np.ndarray, "..."],
        probabilities: Shaped[np.ndarray, "..."],
        label_names: Sequence[str],
    ) -> "Scaling":
        """Choose the numbers with the lowest log loss on validation data.

        Args:
            method: ``temperature`` or ``platt``.
            labels: labels of the validation split, (n, L), 0 or 1.
            probabilities: probabilities of the same samples, (n, L), from 0 to 1.
            label_names: one name per column.

        Raises:
            DataError: there are no samples, or the arrays do not fit.
        """
        truth = check_labels(labels)
        scores = check_probabilities(probabilities, truth.shape)
        names = check_label_names(label_names, truth.shape[1])
        odds = _log_odds(scores.clip(_CERTAIN, 1 - _CERTAIN))

        shared = _fit_one(truth.ravel(), odds.ravel(), intercept=method == "platt")
        slopes = dict.fromkeys(names, shared[0])
        intercepts = dict.fromkeys(names, shared[1])
        if method == "temperature":
            return cls(method=method, slopes=slopes, intercepts=intercepts)

        for j, name in enumerate(names):
            positives = int(truth[:, j].sum())
            negatives = len(truth) - positives
            if min(positives, negatives) >= MIN_EACH:
                own = _fit_one(truth[:, j], odds[:, j], intercept=True)
                slopes[name], intercepts[name] = own
        return cls(method=method, slopes=slopes, intercepts=intercepts)

    def slope_array(self, label_names: Sequence[str]) -> Float64[np.ndarray, "labels"]:
        """Return the slopes in the order of ``label_names``, (L,)."""
        return np.array([self.slopes[name] for name in label_names])

    def apply(
        self, probabilities: Shaped[np.ndarray, "n labels"], label_names: Sequence[str]
    ) -> Float64[np.ndarray, "n labels"]:
        """Return scaled probabilities, (n, L); NaN stays NaN.

        In float64, so that two probabilities that differ do so afterwards, too.
        """
        slopes = self.slope_array(label_names)
        intercepts = np.array([self.intercepts[name] for name in label_names])
        odds = _log_odds(probabilities.astype(np.float64))
        return _from_log_odds(slopes * odds + intercepts)

    def of_thresholds(self, thresholds: Thresholds) -> Thresholds:
        """Return the thresholds that decide on scaled probabilities as these do without."""
        names = list(thresholds.values)
        cuts = thresholds.array(names)[None]  # (1, L)
        scaled = self.apply(cuts, names)[0].tolist()
        values = dict(zip(names, scaled, strict=True))
        return Thresholds(mode=thresholds.mode, values=values)

    def __str__(self) -> str:
        if self.method == "temperature":
            slope = next(iter(self.slopes.values()))
            return f"temperature {1 / slope:.3f}"
        parts = []
        for name, slope in self.slopes.items():
            parts.append(f"{name} {slope:.2f} {self.intercepts[name]:+.2f}")
        return f"Platt scaling (slope, intercept): {', '.join(parts)}"


def cross_scaled(
    method: ScalingMethod,
    labels: Shaped[np.ndarray, "..."],
    probabilities: Shaped[np.ndarray, "..."],
    label_names: Sequence[str],
    *,
    groups: Shaped[np.ndarray, "n"],
) -> Float64[np.ndarray, "n labels"]:
    """Return probabilities, each scaled by what was fitted without its own group, (n, L).

    Five parts of the samples take turns. With a single group there is nothing to fit on without it:
    the probabilities are returned as they are.

    Args:
        method: ``temperature`` or ``platt``.
        labels: (n, L), 0 or 1.
        probabilities: (n, L), from 0 to 1.
        label_names: one name per column.
        groups: (n,); samples with equal values (of one video) are in one part.
    """
    from sklearn.model_selection import GroupKFold

    scaled = probabilities.astype(np.float64)
    parts = min(FOLDS, len(np.unique(groups)))
    if parts < 2:
        return scaled

    for rest, part in GroupKFold(parts).split(labels, groups=groups):
        scaling = Scaling.fit(method, labels[rest], probabilities[rest], label_names)
        scaled[part] = scaling.apply(probabilities[part], label_names)
    return scaled


def _fit_one(
    truth: Bool[np.ndarray, "n"], odds: Float64[np.ndarray, "n"], *, intercept: bool
) -> tuple[float, float]:
    """Return slope and intercept with the lowest log loss.

    The targets are Platt's, a little inside 0 and 1: without errors, the slope would be infinite.
    """
    from scipy.optimize import minimize

    positives = truth.sum()
    negatives = len(truth) - positives
    high = (positives + 1) / (positives + 2)
    low = 1 / (negatives + 2)
    target = np.where(truth, high, low)

    def loss(numbers: Float64[np.ndarray, "2"]) -> tuple[float, Float64[np.ndarray, "2"]]:
        logits = numbers[0] * odds + numbers[1]
        value = np.logaddexp(0, logits) - target * logits
        error = _from_log_odds(logits) - target
        gradient = np.array([(error * odds).mean(), error.mean()])
        return float(value.mean()), gradient

    free = (None, None) if intercept else (0.0, 0.0)
    bounds = [(MIN_SLOPE, None), free]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    slope, shift = found.x.tolist()
    return slope, shift


def _log_odds(p: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    # 0 and 1 have infinite log-odds, and come back from them
    with np.errstate(divide="ignore"):
        odds: Float64[np.ndarray, "..."] = np.log(p) - np.log1p(-p)
    return odds


def _from_log_odds(odds: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    from scipy.special import expit

    p: Float64[np.ndarray, "..."] = expit(odds)
    return p
