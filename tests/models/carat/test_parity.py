"""Every recorded case of CARAT must agree, in everything that was recorded."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["ones_shipped_weights", "padded_other_weights"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "carat" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    given = ("input/", "shuffle/")  # what the program was given, and the permutations it drew
    assert {row[0] for row in comparison.rows} == {x for x in case.io if not x.startswith(given)}


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "carat").iterdir() if p.is_dir()} == set(CASES)
