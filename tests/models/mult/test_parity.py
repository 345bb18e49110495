"""Every recorded case of MulT, and of its alignment module, must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = [
    "unaligned_full",
    "unaligned_masked",
    "aligned_nomask_frontpad",
    "variable_lengths_masked",
    "variable_lengths_nomask",
    "ctc_align",
]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees_in_everything_recorded(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "mult" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    expected = {name for name in case.io if not name.startswith(("in.", "aux."))}
    assert {row[0] for row in comparison.rows} == expected


def test_every_case_is_tested(shared_parity: Path) -> None:
    there = {p.name for p in (shared_parity / "mult").iterdir() if p.is_dir()}
    assert there == set(CASES)
