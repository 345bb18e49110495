"""Every recorded case of LSAN must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["zero_state_equal_len", "zero_state", "random_state"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "lsan" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    inputs = {entry["name"] for entry in case.info["io"] if entry["role"] == "input"}
    assert {row[0] for row in comparison.rows} == set(case.io) - inputs


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "lsan").iterdir() if p.is_dir()} == set(CASES)
