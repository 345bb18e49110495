"""Dropout whose random numbers cost little on a CPU.

torch draws dropout masks on the CPU with one thread and a slow generator: 35 to 45 % of a training
step of TAILOR. Here NumPy's SFC64 yields 16 random bits per element, some twenty times faster. Its
seed comes from torch's own random state, so seeding and checkpoints work as ever. The rate is exact
to 1/65536. On other devices, and where ``nn.plain`` asks for it, torch's dropout is used.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn.plain import is_plain

LEVELS = 2**16  # numbers that 16 random bits can be

_local = threading.local()


def draw_seed() -> int:
    """Draw a seed for one mask from torch's random state, or the thread's own."""
    generator: torch.Generator | None = getattr(_local, "generator", None)
    return int(torch.randint(2**62, (), generator=generator).item())


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Let the masks of this thread depend on ``seed`` alone, whatever other threads draw."""
    _local.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _local.generator = None


def kept_scale(rate: float) -> float:
    """What kept values are multiplied with, so that the mean stays."""
    dropped = round(rate * LEVELS) / LEVELS  # the rate that 16 bits can express
    return 1 / (1 - dropped)


class KeepWeights:
    """CPU weights that are 0 with probability ``rate``, else what keeps the mean.

    They are floats, since multiplying by booleans makes torch convert them at every use. With
    attention masks that are added instead of filled, that took a training step of TAILOR from 4.37
    to 3.64 s (docs/performance.md).

    Args:
        rate: probability of 0.
        seed: the same seed gives the same weights, drawn one after the other.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self.generator = np.random.SFC64(seed)
        self.threshold = round(rate * LEVELS) - LEVELS // 2
        self.scale = kept_scale(rate)

    def draw(
        self, shape: tuple[int, ...], out: Float[Tensor, "*shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """Return the next weights, in ``out`` where given."""
        # words of 64 bits, four draws each, rounded up
        count = math.prod(shape)
        words = -(-count // 4)
        raw = self.generator.random_raw(words)

        halves = np.asarray(raw).view(np.int16)  # from -LEVELS / 2 on
        draws = torch.from_numpy(halves)
        draws = draws[:count].view(shape)

        # a draw below the threshold becomes 0, every other one the scale
        weights = out
        if weights is None:
            weights = torch.empty(shape, dtype=torch.float32)
        weights.copy_(draws)
        weights.ge_(self.threshold)
        weights.mul_(self.scale)
        return weights


def dropout(x: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """Set elements to zero with probability ``rate`` and scale the others up, as in training."""
    if not rate:
        return x
    if is_plain() or x.device.type != "cpu":
        return F.dropout(x, rate)

    seed = draw_seed()
    kept = KeepWeights(rate, seed)
    shape = tuple(x.shape)
    weights = kept.draw(shape)  # in single precision
    return x * weights.to(x.dtype)


class Dropout(nn.Module):
    """``nn.Dropout`` with cheap random numbers on the CPU.

    Args:
        rate: probability of dropping an element, in training alone.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Drop out, or pass through in evaluation."""
        if not self.training:
            return x
        return dropout(x, self.rate)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"{self.rate}"
