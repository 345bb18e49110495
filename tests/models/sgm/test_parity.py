"""Every recorded case of SGM must agree, but for what documents a defect of the program."""

from pathlib import Path

import pytest

from tests.models.sgm.parity import DEFECTS, INPUTS, compare
from tests.parity.case import Case

CASES = [
    "beam_noge",
    "ge_equal_len",
    "ge_greedy",
    "ge_tau1_gru",
    "v2018_ge",
    "v2018_noge",
]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "sgm" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    aside = {entry for where, entry in DEFECTS if where == name}
    assert {row[0] for row in comparison.rows} == set(case.io) - set(INPUTS) - aside


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "sgm").iterdir() if p.is_dir()} == set(CASES)
