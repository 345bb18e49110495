"""Means over the modalities that are there."""

from jaxtyping import Bool, Float
from torch import Tensor


def mean_present(
    x: Float[Tensor, "batch modalities"], present: Bool[Tensor, "batch modalities"]
) -> Float[Tensor, ""]:
    """Return the mean over the samples and modalities that are there; 0 where none is."""
    return (x * present).sum() / present.sum().clamp(min=1)
