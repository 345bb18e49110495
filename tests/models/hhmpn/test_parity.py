"""Every recorded case of HHMPN must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["full_ones", "full_padded"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees_in_everything_recorded(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "hhmpn" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    expected = {name for name in case.io if not name.startswith("input/")}
    assert {row[0] for row in comparison.rows} == expected


def test_every_case_is_tested(shared_parity: Path) -> None:
    there = {p.name for p in (shared_parity / "hhmpn").iterdir() if p.is_dir()}
    assert there == set(CASES)
