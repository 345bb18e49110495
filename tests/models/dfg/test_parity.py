"""Every recorded case of DFG must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["graph_only_3mod", "graph_mfn_t1", "graph_mfn", "variable_lengths"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees_and_everything_recorded_is_compared(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "dfg" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    recorded = {entry for entry in case.io if not entry.startswith(("in.", "aux."))}
    assert {row[0] for row in comparison.rows} == recorded


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "dfg").iterdir() if p.is_dir()} == set(CASES)
