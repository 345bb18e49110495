"""What tests of options share: a recorded case to change, and the difference of one entry."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.case import Case, Comparison
from tests.parity.systems import double_precision

MODELS = Path(__file__).parents[1] / "models"


def recorded(system: str, name: str) -> Case:
    """A committed case."""
    return Case.load(MODELS / system / "recorded" / name)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    """What a test computes by itself is float64, too."""
    with double_precision():
        yield


def difference(comparison: Comparison, name: str) -> float:
    """The relative difference of one entry."""
    return {row[0]: row[1] for row in comparison.rows}[name]
