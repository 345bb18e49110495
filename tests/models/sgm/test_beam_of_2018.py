"""Beam search of the program of 2018, beside ours where its defect does not act."""

from pathlib import Path

import torch

from tests.models.sgm.parity import build, ids_of, padded_targets, read_batch, sets_of
from tests.parity.case import Case
from tests.parity.systems import double_precision

RECORDED = Path(__file__).parent / "recorded"


def answers_of(case: Case) -> list[list[int]]:
    """The labels that our search writes."""
    with double_precision():
        return build(case).decode(read_batch(case.io))


def test_the_set_is_ours_though_a_label_repeats() -> None:
    case = Case.load(RECORDED / "v2018_noge")
    first = case.io["beam.ids"][0].tolist()
    assert first == [7, 4, 6, 6, 3]  # the defect: 6 is written twice
    answers = answers_of(case)
    assert all(len(set(answer)) == len(answer) for answer in answers)
    with double_precision():
        assert torch.equal(sets_of(answers, ids_of(case).labels), case.io["beam.labels"])


def test_without_a_repeated_label_the_answers_are_the_same(shared_parity: Path) -> None:
    case = Case.load(shared_parity / "sgm" / "v2018_ge")
    answers = answers_of(case)
    targets = padded_targets(answers, case.io["beam.ids"].shape[1])
    ids = ids_of(case)
    written = torch.where(targets < 0, 0, torch.tensor(ids.theirs)[targets.clamp(min=0)])
    assert torch.equal(written, case.io["beam.ids"])
    with double_precision():
        assert torch.equal(sets_of(answers, ids.labels), case.io["beam.labels"])
