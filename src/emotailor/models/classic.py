"""Systems without a neural network: label frequencies, and binary relevance (BR).

- ``LabelFrequency`` knows nothing of the input. It is the floor that every other system must pass.
- ``BinaryRelevance`` is one independent logistic regression per label. The paper gives neither the
  features nor the base learner of its BR row; here a sample is described by the mean and the
  standard deviation over the steps of each modality, standardised and concatenated.
- Both share ``fit(split, label_names)`` and ``predict_proba(split)``, and keep what they learn in
  plain NumPy arrays. scikit-learn is needed to fit, not to predict.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8

from emotailor.data.dataset import Modality, Split
from emotailor.errors import ConfigError, DataError, ModelError

TOLERANCE = 1e-7
"""Largest gradient component, of the objective per sample, at which a fit has converged."""

MAX_ITERATIONS = 5000


def _check_training_split(split: Split, label_names: Sequence[str]) -> None:
    if not len(split):
        raise DataError(f"split {split.name!r} has no samples", expected="samples to train on")
    if split.labels.shape[1] != len(label_names):
        raise DataError(
            f"{len(label_names)} label names for {split.labels.shape[1]} label columns",
            expected="one name per column",
        )


def _not_fitted(name: str) -> ModelError:
    return ModelError(f"{name} has not been trained", fix="call fit before predict_proba")


class LabelFrequency:
    """Predicts for every sample how frequent each label is in training.

    Attributes:
        label_names: of the label columns; empty before ``fit``.
        frequencies: (L,), share of the training samples that have the label.
    """

    def __init__(self) -> None:
        self.label_names: tuple[str, ...] = ()
        self.frequencies: Float64[np.ndarray, "labels"] | None = None

    def fit(self, split: Split, label_names: Sequence[str]) -> "LabelFrequency":
        """Count the labels of ``split``.

        Raises:
            DataError: the split is empty, or the names do not fit its labels.
        """
        _check_training_split(split, label_names)
        self.label_names = tuple(label_names)
        self.frequencies = split.labels.mean(0, dtype=np.float64)
        return self

    def predict_proba(self, split: Split) -> Float64[np.ndarray, "n labels"]:
        """Return the training frequencies, once per sample.

        Raises:
            ModelError: not fitted.
        """
        if self.frequencies is None:
            raise _not_fitted("LabelFrequency")
        return np.tile(self.frequencies, (len(split), 1))


class BinaryRelevance:
    """One logistic regression per label on pooled features of all modalities.

    The objective per label is 0.5 |w|^2 + C * (sum over samples of the log loss); the intercept is
    not penalised. A modality that a sample lacks enters as zeros after standardisation, which is
    the training mean. A label that is constant in training is predicted as this constant.

    Args:
        C: inverse strength of the penalty, above 0.
        standardise: scale features to mean 0 and standard deviation 1 over the training samples
            that have the modality. Without it, a missing modality enters as plain zeros.

    Attributes:
        label_names: of the label columns; empty before ``fit``.
        coef: (L, features).
        intercept: (L,); minus or plus infinity for a constant label.

    Raises:
        ConfigError: ``C`` is not a number above 0.
    """

    def __init__(self, C: float = 1.0, *, standardise: bool = True) -> None:  # noqa: N803
        if not 0 < C < np.inf:
            raise ConfigError(f"C = {C}", expected="a number above 0, such as 1e-3")
        self.C, self.standardise = float(C), standardise
        self.label_names: tuple[str, ...] = ()
        self.pooling: dict[Modality, tuple[int, bool]] = {}  # dim, and whether std is used
        self.mean: Float64[np.ndarray, "features"] = np.zeros(0)
        self.scale: Float64[np.ndarray, "features"] = np.ones(0)
        self.coef: Float64[np.ndarray, "labels features"] | None = None
        self.intercept: Float64[np.ndarray, "labels"] = np.zeros(0)

    def fit(self, split: Split, label_names: Sequence[str]) -> "BinaryRelevance":
        """Fit all labels on ``split``.

        Raises:
            DataError: the split is empty, the names do not fit its labels, or a value is not
                finite.
        """
        _check_training_split(split, label_names)
        self.label_names = tuple(label_names)
        # the standard deviation over a single step is always 0: no feature
        self.pooling = {
            m: (split.shards[0].sequences[m].values.shape[1], bool((split.lengths(m) > 1).any()))
            for m in split.modalities
        }
        pooled = self._pool(split)
        if self.standardise:
            self.mean, self.scale = _standardisation(pooled)
        else:
            self.mean, self.scale = np.zeros(pooled.shape[1]), np.ones(pooled.shape[1])
        self.coef, self.intercept = fit_logistic(self._scaled(pooled), split.labels, self.C)
        return self

    def predict_proba(self, split: Split) -> Float64[np.ndarray, "n labels"]:
        """Return the probability of each label.

        Raises:
            ModelError: not fitted, or fitted on other modalities or feature widths.
            DataError: a value is not finite.
        """
        if self.coef is None:
            raise _not_fitted("BinaryRelevance")
        return predict_logistic(self._scaled(self._pool(split)), self.coef, self.intercept)

    def _scaled(
        self, pooled: Float64[np.ndarray, "n features"]
    ) -> Float64[np.ndarray, "n features"]:
        return np.nan_to_num((pooled - self.mean) / self.scale, nan=0.0)

    def _pool(self, split: Split) -> Float64[np.ndarray, "n features"]:
        """Return the pooled features; NaN where a sample lacks the modality."""
        if len(split) and set(split.modalities) != set(self.pooling):
            raise ModelError(
                f"split {split.name!r} has the modalities {', '.join(split.modalities)}",
                expected=f"{', '.join(self.pooling)}, as in training",
            )
        columns = [np.zeros((len(split), 0))]
        for modality, (dim, with_std) in self.pooling.items():
            columns.append(_pool_modality(split, modality, dim, with_std=with_std))
        return np.concatenate(columns, 1)


def _pool_modality(
    split: Split, modality: Modality, dim: int, *, with_std: bool
) -> Float64[np.ndarray, "n features"]:
    """Return mean, and with ``with_std`` standard deviation, over the steps of each sequence."""
    pooled = np.full((len(split), 2 * dim if with_std else dim), np.nan)
    for i in range(len(split)):
        sequence = split.sequence(modality, i)
        if sequence.shape[1] != dim:
            raise ModelError(
                f"split {split.name!r}: {modality} has width {sequence.shape[1]}",
                expected=f"{dim}, as in training",
            )
        if len(sequence):
            if not np.isfinite(sequence).all():
                raise DataError(
                    f"sample {split.ids[i]!r} of split {split.name!r}: {modality} has values that "
                    "are not finite",
                    expected="finite values; importing replaces others by 0 and says so",
                )
            pooled[i, :dim] = sequence.mean(0, dtype=np.float64)
            if with_std:
                pooled[i, dim:] = sequence.std(0, dtype=np.float64)
    return pooled


def _standardisation(
    pooled: Float64[np.ndarray, "n features"],
) -> tuple[Float64[np.ndarray, "features"], Float64[np.ndarray, "features"]]:
    """Return mean and scale per feature over the rows where it is not NaN."""
    present = ~np.isnan(pooled)
    count = np.maximum(present.sum(0), 1)  # a modality that nobody has: mean 0, scale 1
    mean = np.where(present, pooled, 0).sum(0) / count
    std = np.sqrt(np.where(present, np.square(pooled - mean), 0).sum(0) / count)
    # a feature that differs by rounding alone is constant, and must not be blown up
    return mean, np.where(std > 1e-6 * np.abs(mean), std, 1.0)


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
        Coefficients (L, features) and intercepts (L,). A constant label has coefficients 0 and
        an infinite intercept.
    """
    from sklearn.linear_model import LogisticRegression

    coef = np.zeros((labels.shape[1], x.shape[1]))
    intercept = np.zeros(labels.shape[1])
    for j in range(labels.shape[1]):
        column = labels[:, j]
        if column.min() == column.max():
            intercept[j] = np.inf if column[0] else -np.inf
            continue
        model = LogisticRegression(C=C, solver="lbfgs", tol=TOLERANCE, max_iter=MAX_ITERATIONS)
        model.fit(x, column)
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
