"""What other rules would report, by hand."""

import numpy as np
import pytest

from emotailor.errors import DataError
from emotailor.evaluation.protocols import LETTERS, RULES, Protocols, protocols

LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
FIRST = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6], [0.1, 0.2], [0.3, 0.4]])
SECOND = np.array([[0.9, 0.6], [0.2, 0.4], [0.45, 0.6], [0.1, 0.2], [0.8, 0.3]])


def judge(batch: int = 2, selected: int = 1) -> Protocols:
    ours = np.array([0.25, 0.25])
    return protocols(
        LABELS,
        [FIRST, SECOND],
        ("happy", "sad"),
        selected=selected,
        thresholds=ours,
        fixed=0.5,
        batch=batch,
    )


def test_each_rule_by_hand() -> None:
    found = judge()
    assert tuple(found.rules) == LETTERS == tuple(RULES)
    f1 = {letter: one.micro_f1 for letter, one in found.rules.items()}
    epochs = {letter: one.epoch for letter, one in found.rules.items()}

    # 5 pairs are true; above .5 the first epoch predicts 4, all right, the second 4, 3 right
    assert epochs == {"a": 1, "b": 2, "c": 1, "d": 2, "e": 2, "f": 1}
    assert f1["a"] == pytest.approx(2 * 5 / (6 + 5))
    assert f1["b"] == pytest.approx(2 * 3 / (4 + 5))
    assert f1["c"] == f1["f"] == pytest.approx(2 * 4 / (4 + 5))

    # both epochs reach 10/11, the second one by a threshold from .3 to .4; the last is taken
    assert f1["d"] == pytest.approx(10 / 11)
    assert 0.3 <= found.rules["d"].thresholds["sad"] < 0.4
    assert found.rules["b"].thresholds == {"happy": 0.5, "sad": 0.5}
    assert found.rules["a"].thresholds == {"happy": 0.25, "sad": 0.25}


def test_the_exchange_and_the_batch_that_is_dropped() -> None:
    found = judge(batch=2).rules
    plain = found["b"]
    assert (plain.samples, plain.micro_precision, plain.micro_recall) == (5, 3 / 4, 3 / 5)

    # without the fifth sample: 2 of 3 predicted pairs are right, 4 are true
    exchanged = found["e"]
    assert exchanged.samples == 4
    assert (exchanged.micro_precision, exchanged.micro_recall) == (2 / 4, 2 / 3)
    assert exchanged.micro_f1 == pytest.approx(2 * 2 / (3 + 4))

    # a split smaller than a batch is kept whole
    whole = judge(batch=7).rules["e"]
    assert (whole.samples, whole.micro_precision, whole.micro_recall) == (5, 3 / 5, 3 / 4)


def test_the_epochs_behind_the_best_one() -> None:
    found = judge()
    assert found.fixed_epochs.runs == 2
    assert found.fixed_epochs.mean == pytest.approx(7 / 9)
    assert found.fixed_epochs.std == pytest.approx(np.std([8 / 9, 6 / 9], ddof=1))
    assert found.searched_epochs.mean == pytest.approx(10 / 11)
    assert found.searched_epochs.std == pytest.approx(0)


@pytest.mark.parametrize("selected", [0, 3])
def test_an_epoch_that_is_not_there(selected: int) -> None:
    with pytest.raises(DataError, match=f"epoch {selected} "):
        judge(selected=selected)
