"""Logistic regressions as baselines: what they see, how they are fitted, what they predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from pydantic import BaseModel, ConfigDict

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Inverse strengths of the regression's penalty that are tried, the strongest penalty first."""

DIGITS = 7  # after the point, of a probability


class Scores(BaseModel):
    """What one regression predicts.

    Attributes:
        strength: C, chosen on the validation split.
        valid: (n_valid, L), probabilities on the validation split.
        judged: (n_judged, L), on the split that is judged.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    strength: float
    valid: list[list[float]]
    judged: list[list[float]]


@dataclass(frozen=True)
class Features:
    """What regressions see of three splits: to fit on, to choose on, and to judge on.

    Attributes:
        parts: for each split its matrices, dense or sparse, (n, F_i).
        labels: (n_train, L).
        valid_labels: (n_valid, L).
    """

    parts: tuple[Sequence[Any], Sequence[Any], Sequence[Any]]
    labels: UInt8[np.ndarray, "n labels"]
    valid_labels: UInt8[np.ndarray, "valid labels"]

    def with_parts(self, *parts: Sequence[Any]) -> "Features":
        """Return other features of the same samples."""
        train, valid, judged = parts
        return Features((train, valid, judged), self.labels, self.valid_labels)


def log_loss(
    labels: UInt8[np.ndarray, "n labels"], probabilities: Float64[np.ndarray, "n labels"]
) -> float:
    """Return the mean cross-entropy of all labels of all samples, of bounded probabilities."""
    p = np.clip(probabilities, 1e-7, 1 - 1e-7)
    log_likelihood = np.where(labels == 1, np.log(p), np.log1p(-p))
    return float(-log_likelihood.mean())


def best_fit(features: Features, strengths: Sequence[float]) -> Scores:
    """Fit one regression per label at each strength, and keep the one best on validation.

    Args:
        features: of the three splits.
        strengths: values of C, ascending.
    """
    from emotailor.models.classic.logistic import sigmoid
    from emotailor.models.classic.path import fit_parts, logits_of

    train, valid, judged = features.parts
    best: tuple[float, Scores] | None = None
    for fit in fit_parts(train, features.labels, strengths):
        on_valid = sigmoid(logits_of(valid, fit.coef, fit.intercept))
        loss = log_loss(features.valid_labels, on_valid)

        # of equals the first, the strongest penalty
        if best is not None and loss >= best[0]:
            continue
        on_judged = sigmoid(logits_of(judged, fit.coef, fit.intercept))
        scores = Scores(
            strength=fit.strength,
            valid=np.round(on_valid, DIGITS).tolist(),
            judged=np.round(on_judged, DIGITS).tolist(),
        )
        best = loss, scores

    assert best is not None
    return best[1]
