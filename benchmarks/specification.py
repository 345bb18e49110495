"""What a worker builds and what it is fed, in plain values that travel between processes."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Int64
from pydantic import Field, SerializeAsAny, model_validator

from emotailor.config import Config
from emotailor.data.sample import Modality
from emotailor.data.synthetic import mosei_statistics
from emotailor.models.table import find_system
from emotailor.models.tailor.config import TailorConfig

DIMS: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
Lengths = Literal["full", "mosei"]
Precision = Literal["fp32", "bf16"]
LENGTHS: tuple[Lengths, ...] = ("full", "mosei")


class Specification(Config):
    """A program, as a worker process builds it."""

    system: str = "tailor"
    model: Annotated[Config, SerializeAsAny()] = TailorConfig.authors()
    reference: Path | None = None  # a checkout: the authors' program, and not ours
    precision: Precision = "fp32"
    device: str = "cpu"
    threads: int | None = Field(None, ge=1)
    num_labels: int = 6

    @model_validator(mode="before")
    @classmethod
    def _parse_model(cls, values: Any) -> Any:
        if isinstance(model := values.get("model"), dict):
            wanted = find_system(values["system"]).config
            return {**values, "model": wanted.parse(model, prefix="model.")}
        return values

    @property
    def tailor(self) -> TailorConfig:
        """The settings, where the system is TAILOR."""
        assert isinstance(self.model, TailorConfig)
        return self.model

    @property
    def dims(self) -> dict[Modality, int]:
        """Feature width, CMU-MOSEI's, of each modality that the system takes."""
        return find_system(self.system).choose(DIMS, None)


def draw_lengths(kind: Lengths, count: int, steps: int, seed: int) -> Int64[np.ndarray, "count"]:
    """Draw sequence lengths: all of ``steps``, or those of CMU-MOSEI's utterances up to it."""
    if kind == "full":
        return np.full(count, steps, np.int64)
    words = mosei_statistics().words
    drawn = 1 + np.random.default_rng(seed).choice(len(words), count, p=words)
    return np.minimum(drawn, steps).astype(np.int64)
