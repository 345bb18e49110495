"""In which order the training samples come.

The order of an epoch depends on the seed and its number alone, so that a resumed training goes
through the same batches.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from emotailor.data.batching import epoch_batches
from emotailor.errors import ModelError
from emotailor.training.config import TrainingConfig

DRAWING = 1
"""Told to the random generator beside seed and epoch, or it would draw what shuffles later."""


def epoch_order(
    lengths: Int64[np.ndarray, "n"],
    config: TrainingConfig,
    epoch: int,
    weights: Float64[np.ndarray, "n"] | None = None,
) -> list[Int64[np.ndarray, "_"]]:
    """Return the batches of one epoch, as numbers of used samples.

    Args:
        lengths: (n,), steps of each used sample.
        config: gives the seed and the batch size.
        epoch: from 0.
        weights: (n,), by which n samples are drawn with replacement; None for every sample once.
    """
    size = config.batch_size
    seed = config.seed
    if weights is None:
        return epoch_batches(lengths, size, seed=seed, epoch=epoch)

    rng = np.random.default_rng([seed, epoch, DRAWING])
    count = len(lengths)
    shares = weights / weights.sum()
    drawn = rng.choice(count, size=count, p=shares)

    # places among the drawn samples, which are turned into numbers
    batches = epoch_batches(lengths[drawn], size, seed=seed, epoch=epoch)
    return [drawn[places] for places in batches]


def check_weights(
    weights: Float[Tensor, "_"] | Shaped[np.ndarray, "_"] | None, count: int
) -> Float64[np.ndarray, "n"] | None:
    """Return sampling weights as numbers to draw by.

    Args:
        weights: of a model's ``sampling_weights``.
        count: n, number of used training samples.

    Raises:
        ModelError: one for each sample is needed, finite, not negative, and some of them positive.
    """
    if weights is None:
        return None

    values = np.asarray(weights, np.float64)
    found = None
    if values.shape != (count,):
        found = f"the shape {values.shape}"
    elif not np.isfinite(values).all() or (values < 0).any():
        found = "negative or infinite values"
    elif not values.any():
        found = "zeros alone"
    if found is not None:
        raise ModelError(
            f"the model's sampling_weights have {found}",
            expected=f"({count},): a weight from 0 on for each training sample, not all 0",
            fix="correct the method sampling_weights of the model",
        )
    return values
