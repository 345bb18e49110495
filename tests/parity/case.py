"""A recorded case: its configuration, weights, inputs and expected numbers."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4


class CaseError(Exception):
    """The case directory cannot be read."""


@dataclass
class Case:
    """One case directory: ``case.json``, ``io.safetensors``, ``weights.safetensors``."""

    path: Path
    info: dict[str, Any]
    io: dict[str, Tensor]
    weights: dict[str, Tensor]

    @classmethod
    def load(cls, path: Path) -> "Case":
        try:
            info = json.loads((path / "case.json").read_text(encoding="utf-8"))
            io = load_file(path / "io.safetensors")
            weights = load_file(path / "weights.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CaseError(f"{path} is not a complete parity case: {error}") from None
        return cls(path, info, io, weights)


@dataclass
class Comparison:
    """Collects differences, each relative to the largest value of the expected tensor."""

    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, name: str, ours: Tensor, expected: Tensor, tolerance: float) -> None:
        """Compare one tensor; a wrong shape or a NaN counts as infinitely different."""
        ours, expected = ours.detach().double(), expected.double()
        if ours.shape != expected.shape:
            self.rows.append((f"{name} shape {tuple(ours.shape)}", float("inf"), tolerance))
            return
        scale = expected.abs().max().item() if expected.numel() else 0.0
        difference = (ours - expected).abs().max().item() if expected.numel() else 0.0
        relative = difference / scale if scale else difference
        self.rows.append((name, float("inf") if math.isnan(relative) else relative, tolerance))

    def missing(self, name: str) -> None:
        """A recorded tensor that we have nothing to compare with is a failure."""
        self.rows.append((f"{name} (nothing to compare with)", float("inf"), 0.0))

    @property
    def failures(self) -> list[tuple[str, float, float]]:
        return [row for row in self.rows if not row[1] <= row[2]]

    def summary(self) -> str:
        """Every row with its relative difference, the largest last."""
        width = max((len(row[0]) for row in self.rows), default=0)
        lines = [
            f"  {name:<{width}}  {relative:9.2e}  {'ok' if relative <= tolerance else 'FAIL'}"
            f" (limit {tolerance:.0e})"
            for name, relative, tolerance in sorted(self.rows, key=lambda row: row[1])
        ]
        return "\n".join(lines)
