"""The systems among the examples keep the contract of a model."""

from pathlib import Path

from emotailor.testing import check_system

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_mean_of_words() -> None:
    check_system(f"{EXAMPLES / 'mean_of_words.py'}:MeanOfWords")
