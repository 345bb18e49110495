"""Every recorded case of BR, LP and CC must agree, in everything that was recorded."""

from pathlib import Path

import pytest

from tests.models.classic.parity import compare
from tests.parity.case import Case

CASES = ["logreg", "logreg_strong_reg"]
INPUTS = {"x_train", "y_train", "x_test", "y_test"}


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "classic" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    rows = {row[0] for row in comparison.rows}
    assert rows >= set(case.io) - INPUTS
    assert rows >= {f"weights/{weight}" for weight in case.weights}


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "classic").iterdir() if p.is_dir()} == set(CASES)


def test_a_small_difference_is_found(shared_parity: Path) -> None:
    case = Case.load(shared_parity / "classic" / "logreg")
    case.weights["cc.link1.coef"][-1] += 1e-3
    case.io["lp.label_marginals"][0, 0] += 1e-4
    found = {row[0] for row in compare(case).failures}
    assert found >= {"weights/cc.link1.coef", "stored/cc.probabilities", "lp.label_marginals"}
    assert "br.probabilities" not in found
