"""What a worker builds and what it is fed, in plain values that travel between processes."""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field

from emotailor.config import Config
from emotailor.configs.tailor import TailorConfig
from emotailor.data.dataset import Modality
from emotailor.data.synthetic import mosei_statistics

DIMS: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
Lengths = Literal["full", "mosei"]
Precision = Literal["fp32", "bf16"]
LENGTHS: tuple[Lengths, ...] = ("full", "mosei")


class Specification(Config):
    """A program, as a worker process builds it."""

    model: TailorConfig = TailorConfig.authors()
    reference: Path | None = None  # a checkout: the authors' program, and not ours
    precision: Precision = "fp32"
    device: str = "cpu"
    threads: int | None = Field(None, ge=1)
    num_labels: int = 6

    @property
    def dims(self) -> dict[Modality, int]:
        """Feature width per modality, CMU-MOSEI's."""
        return dict(DIMS)


def draw_lengths(kind: Lengths, count: int, steps: int, seed: int) -> Int64[np.ndarray, "count"]:
    """Draw sequence lengths: all of ``steps``, or those of CMU-MOSEI's utterances up to it."""
    if kind == "full":
        return np.full(count, steps, np.int64)
    words = mosei_statistics().words
    drawn = 1 + np.random.default_rng(seed).choice(len(words), count, p=words)
    return np.minimum(drawn, steps).astype(np.int64)
