"""Every recorded case of ML-GCN must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["t04", "t03_isolated"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "ml_gcn" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    inputs = {entry["name"] for entry in case.info["io"] if entry["role"] == "input"}
    rows = {row[0] for row in comparison.rows}
    assert rows == set(case.io) - inputs | {"A (weights)"}


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "ml_gcn").iterdir() if p.is_dir()} == set(CASES)
