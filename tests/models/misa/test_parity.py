"""Every recorded case of MISA must agree, in everything that was recorded."""

from pathlib import Path

import pytest

from tests.models.misa.parity import INPUTS, compare
from tests.parity.case import Case

CASES = ["cmd_lstm", "adversarial_lstm", "cmd_gru_leakyrelu"]


@pytest.mark.parametrize("name", CASES)
def test_case_agrees(shared_parity: Path, name: str) -> None:
    case = Case.load(shared_parity / "misa" / name)
    comparison = compare(case)
    assert comparison.failures == [], comparison.summary()
    assert {row[0] for row in comparison.rows} == set(case.io) - INPUTS


def test_every_case_is_tested(shared_parity: Path) -> None:
    assert {p.name for p in (shared_parity / "misa").iterdir() if p.is_dir()} == set(CASES)


def test_a_small_difference_is_found(shared_parity: Path) -> None:
    case = Case.load(shared_parity / "misa" / "adversarial_lstm")
    case.weights["discriminator.discriminator_layer_2.weight"][0, 0] += 1e-2
    assert {row[0] for row in compare(case).failures} >= {
        "mid.domain_logits_t",
        "loss.sim_adversarial",
        "grad.sim.shared.shared_1.weight",
    }
