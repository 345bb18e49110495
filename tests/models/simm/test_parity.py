"""Every recorded case of SIMM must agree, in everything that was recorded."""

from pathlib import Path

import pytest

from tests.models.simm.parity import compare
from tests.parity.case import Case

CASES = ["three_views", "small_L2"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "simm" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    inputs = {"y", "view_0", "view_1", "view_2"}
    assert {row[0] for row in comparison.rows} == set(case.io) - inputs


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "simm").iterdir() if p.is_dir()} == set(CASES)


def test_a_small_difference_is_found(shared_parity: Path) -> None:
    case = Case.load(shared_parity / "simm" / "three_views")
    case.weights["discriminator.weight"][0, 0] += 1e-2
    assert {row[0] for row in compare(case).failures} >= {"view_logits_0", "loss.adversarial"}
