"""Rounding the weights of a graph to 8 bits; activations are rounded as they come."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from emotailor.encoders.packages import need
from emotailor.export.record import FOR_WHAT, INSTALL


@dataclass(frozen=True)
class Changed:
    """What rounding does to decisions on one split.

    Attributes:
        split: name of the split.
        samples: number of its samples.
        changed: label -> how many decisions differ from those of the model.
        given: label -> in how many of these the label holds only after rounding.
        difference: the largest difference of a probability.
    """

    split: str
    samples: int
    changed: dict[str, int]
    given: dict[str, int]
    difference: float

    def __str__(self) -> str:
        total = sum(self.changed.values())
        decisions = self.samples * len(self.changed)
        share = 100 * total / max(1, decisions)
        parts = []
        for label, count in self.changed.items():
            more = self.given[label]
            parts.append(f"{label} {count}" + (f" (+{more} -{count - more})" if count else ""))
        return (
            f"{self.split}: {total} of {decisions} decisions change ({share:.1f} %): "
            f"{', '.join(parts)}; probabilities by {self.difference:.3f} at most"
        )


def rounded(graph: bytes) -> bytes:
    """Return a graph whose weights have 8 bits.

    Raises:
        ConfigError: a package is not installed.
    """
    need("onnxruntime", FOR_WHAT, INSTALL)
    onnx = need("onnx", FOR_WHAT, INSTALL)
    quantization = need("onnxruntime.quantization", FOR_WHAT, INSTALL)
    # the library tells of a step that changes nothing here
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "rounded.onnx"
            quantization.quantize_dynamic(
                onnx.load_from_string(graph),
                str(place),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
            return place.read_bytes()
    finally:
        logger.setLevel(before)


def changed_decisions(
    split: str,
    labels: Sequence[str],
    before: Bool[np.ndarray, "n labels"],
    after: Bool[np.ndarray, "n labels"],
    difference: float,
) -> Changed:
    """Count the decisions that rounding changes, label by label."""
    differ = before != after
    given = differ & after
    return Changed(
        split=split,
        samples=before.shape[0],
        changed=dict(zip(labels, differ.sum(0).tolist(), strict=True)),
        given=dict(zip(labels, given.sum(0).tolist(), strict=True)),
        difference=difference,
    )
