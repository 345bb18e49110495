"""Mean and deviation of features, a part at a time."""

import numpy as np
from jaxtyping import Bool, Float, Float64

ROWS = 2**14
"""Steps that are taken in at once."""


class Moments:
    """Running mean and variance per feature (Chan's pairwise update), in float64.

    Args:
        dim: number of features.

    Attributes:
        count: steps so far.
        mean: (dim,), of each feature.
        m2: (dim,), sum of the squared distances from the mean.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean: Float64[np.ndarray, "dim"] = np.zeros(dim)
        self.m2: Float64[np.ndarray, "dim"] = np.zeros(dim)

    def add(
        self,
        values: Float[np.ndarray, "steps dim"],
        missing: Bool[np.ndarray, "steps"] | None = None,
    ) -> None:
        """Take in steps; those that are missing have no values."""
        for start in range(0, len(values), ROWS):  # a float64 copy of a shard is large
            block = values[start : start + ROWS]
            if missing is not None:
                block = block[~missing[start : start + ROWS]]
            if len(block):
                self._add(block)

    def _add(self, values: Float[np.ndarray, "steps dim"]) -> None:
        wide = values.astype(np.float64)
        mean = wide.mean(0)
        within = np.square(wide - mean).sum(0)

        # what two parts differ by is weighted by the sizes of both
        rows = len(values)
        total = self.count + rows
        share = rows / total
        delta = mean - self.mean
        between = delta**2 * (self.count * rows / total)

        self.mean = self.mean + delta * share
        self.m2 = self.m2 + within + between
        self.count = total

    @property
    def std(self) -> Float64[np.ndarray, "dim"]:
        """(dim,), the standard deviation of each feature (n, not n - 1)."""
        return np.sqrt(self.m2 / max(self.count, 1))
