"""Every recorded case of RAVEN must agree."""

from pathlib import Path

import pytest

from tests.parity.__main__ import compare
from tests.parity.case import Case

CASES = ["one_layer", "two_layers", "one_frame_per_word"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees_and_everything_recorded_is_compared(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "raven" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    recorded = {entry for entry in case.io if not entry.startswith(("in.", "aux."))}
    untrained = {"grad.as_released.none", "grad.end_to_end.none"}
    assert {row[0] for row in comparison.rows} == recorded | untrained


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "raven").iterdir() if p.is_dir()} == set(CASES)
