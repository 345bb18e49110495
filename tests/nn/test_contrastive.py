"""The contrastive loss by its definition, its queue, and what is kept of the queue's pairs."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.nn import contrastive
from emotailor.nn.contrastive import ContrastiveQueue, supervised_contrast
from emotailor.nn.plain import plain_paths


def unit_rows(count: int, size: int, *, squared: float = 1.0, seed: int = 0) -> Tensor:
    drawn = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn, dim=1) * squared**0.5


def queue_of(rows: Tensor, classes: list[int], *, squared: float = 1.0) -> ContrastiveQueue:
    queue = ContrastiveQueue(rows, squared_length=squared)
    queue.classes.copy_(torch.tensor(classes))
    return queue


def dense_contrast(
    rows: Tensor, classes: list[int], queue: Tensor, old: list[int], temperature: float = 0.5
) -> Tensor:
    """The definition, pair by pair."""
    features, owners = torch.cat([rows, queue]), [*classes, *old]
    total = torch.zeros((), dtype=rows.dtype)
    for i, x in enumerate(features):
        others = [k for k in range(len(features)) if k != i]
        scores = {k: x @ features[k] / temperature for k in others}
        guard = (x @ x / temperature).detach().exp() * 1e-12
        bottom = (torch.stack([score.exp() for score in scores.values()]).sum() + guard).log()
        same = [k for k in others if owners[k] == owners[i] != -1]
        if same:
            total = total - sum(scores[k] - bottom for k in same) / len(same)
    return total / len(features)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("block", [1, 2, 3, 64])
def test_contrast_and_its_gradient_by_definition(
    block: int, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "BLOCK", block)
    rows = unit_rows(5, 3).requires_grad_()
    queue = unit_rows(4, 3, seed=1)
    classes, old = [0, 2, 0, 1, 4], [2, -1, 0, -1]  # 1 and 4 are alone, -1 is no class
    given = (rows, torch.tensor(classes), queue_of(queue, old), 0.5)
    if plain:
        with plain_paths():
            loss = supervised_contrast(*given)
    else:
        loss = supervised_contrast(*given)
    expected = dense_contrast(rows, classes, queue, old)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(3 * x, rows)[0] for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_contrast_of_two_rows_that_agree() -> None:
    """Each has one positive, which with one other row of the queue is e^2 of e^2 + 1."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    queue = queue_of(torch.tensor([[0.0, 1.0]]), [1])
    loss = supervised_contrast(rows, torch.tensor([3, 3]), queue, 0.5)
    alone = torch.log(1 + torch.tensor(2.0).exp()) - 2
    torch.testing.assert_close(loss, 2 / 3 * alone)


def test_gradient_in_double_precision() -> None:
    queue = queue_of(unit_rows(4, 3, seed=1).double(), [0, 1, -1, 1])
    classes = torch.tensor([0, 1, 0, 2, 1])
    rows = unit_rows(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: supervised_contrast(x, classes, queue, 0.7), rows)


def test_opposite_rows_at_a_low_temperature_keep_to_the_guard() -> None:
    """At 0.02 the exponentials of opposite rows are e^-100 of a row's own: the guard is all."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    queue = queue_of(torch.tensor([[0.0, 1.0], [0.0, -1.0]]), [-1, -1])
    loss = supervised_contrast(rows, torch.tensor([0, 0]), queue, 0.02)
    # 50 of itself, -50 of the other, ln 1e-12 = -27.63
    torch.testing.assert_close(loss, torch.tensor(0.5 * (50 - 27.631 + 50)), atol=1e-3, rtol=0)
    with plain_paths():
        plain = supervised_contrast(rows, torch.tensor([0, 0]), queue, 0.02)
    torch.testing.assert_close(loss, plain)


def test_long_rows_are_computed_by_the_definition() -> None:
    rows = torch.ones(3, 4, requires_grad=True)
    queue = ContrastiveQueue(-torch.ones(2, 4))
    assert not queue.takes(rows, 0.001)
    assert queue.takes(rows * torch.nan, 0.001)
    loss = supervised_contrast(rows, torch.tensor([0, 0, 1]), queue, 0.001, enter=True)
    loss.backward()
    torch.testing.assert_close(loss, 2 / 5 * torch.tensor(2.0).log(), atol=1e-3, rtol=0)
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert queue.classes.tolist() == [1, 0]


def test_classes_of_two_modalities_and_three_labels() -> None:
    held = torch.tensor([[True, False, True], [False, False, False]])
    expected = [[[0, 4, 2], [6, 10, 8]], [[3, 4, 5], [9, 10, 11]]]
    assert contrastive.class_numbers(held, 2).tolist() == expected


# ---------------------------------------------------------------------- queue


def test_a_queue_goes_around_and_keeps_the_last_rows() -> None:
    queue = ContrastiveQueue(torch.zeros(5, 2))
    assert queue.classes.tolist() == [-1] * 5
    rows = torch.arange(7.0)[:, None].expand(-1, 2)
    queue.add(rows[:3], torch.arange(3))
    assert queue.classes.tolist() == [0, 1, 2, -1, -1]
    queue.add(rows[3:6], torch.arange(3, 6))
    assert queue.classes.tolist() == [5, 1, 2, 3, 4]
    assert queue.rows[:, 0].tolist() == [5, 1, 2, 3, 4]
    assert queue.pointer.item() == 1
    queue.add(rows, torch.arange(7))  # more than it holds: the last five
    assert queue.classes.tolist() == [4, 5, 6, 2, 3]
    assert queue.rows[:, 0].tolist() == [4, 5, 6, 2, 3]
    assert queue.pointer.item() == 3
    queue.add(rows[:0], torch.arange(0))
    assert queue.pointer.item() == 3


COUNTS = (3, 13, 0, 5, 8, 1, 4, 4, 13, 2, 20, 6, 7)
"""New rows of each step: parts of a block, a full queue, more than it holds."""


@pytest.mark.parametrize("block", [1, 4, 5, 64])
@pytest.mark.parametrize("squared", [1.0, 2.0])
def test_kept_sums_stay_those_of_the_queue(
    block: int, squared: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step after step, around the end: loss, gradient and sums as if nothing had been kept."""
    monkeypatch.setattr(contrastive, "BLOCK", block)
    start = unit_rows(13, 6, squared=squared).double()
    queue = queue_of(start, [-1] * 13, squared=squared)
    temperature = 0.2 * squared
    for step, count in enumerate(COUNTS):
        rows = unit_rows(count, 6, squared=squared, seed=10 + step).double().requires_grad_()
        classes = torch.arange(count) % 4
        fresh = queue_of(queue.rows.clone(), queue.classes.tolist(), squared=squared)
        fresh.pointer.copy_(queue.pointer)
        with plain_paths():
            expected = supervised_contrast(rows, classes, fresh, temperature, enter=True)
        loss = supervised_contrast(rows, classes, queue, temperature, enter=True)

        torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-12)
        ours, theirs = (torch.autograd.grad(x, rows)[0] for x in (loss, expected))
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
        for name in ("rows", "classes", "pointer"):
            assert torch.equal(getattr(queue, name), getattr(fresh, name))

        assert (queue.pair_temperature == 0) == (count > 13)
        kept = queue.pair_sums.clone()
        queue.pair_temperature.zero_()
        queue.hold_sums(temperature)
        if count <= 13:
            torch.testing.assert_close(kept, queue.pair_sums, atol=1e-12, rtol=1e-12)


def test_pairs_of_two_old_rows_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    whole = ContrastiveQueue.exponentials

    def counted(self: ContrastiveQueue, *given: Any) -> Tensor:
        shares = whole(self, *given)
        computed.append(shares.numel())
        return shares

    monkeypatch.setattr(contrastive, "BLOCK", 4)
    monkeypatch.setattr(ContrastiveQueue, "exponentials", counted)
    queue = ContrastiveQueue(unit_rows(20, 6))
    pairs = []
    for count in (8, 8, 6, 8):
        rows = unit_rows(count, 6, seed=count).requires_grad_()
        supervised_contrast(rows, torch.arange(count) % 3, queue, 0.1, enter=True)
        pairs.append(sum(computed))
        computed.clear()
    # all pairs of the queue once; then new rows with all; then a block that is half new
    assert pairs == [20 * 20 + 8 * 28, 8 * 28, 6 * 26 + 4 * 20, 8 * 28 + 2 * 4 * 20]


def trained(queue: ContrastiveQueue, steps: range) -> list[Tensor]:
    found = []
    for step in steps:
        rows = unit_rows(7, 6, seed=step).requires_grad_()
        loss = supervised_contrast(rows, torch.arange(7) % 3, queue, 0.1, enter=True)
        loss.backward()
        assert rows.grad is not None
        found += [loss.detach(), rows.grad]
    return found


def test_a_stored_queue_goes_on_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "BLOCK", 4)
    queue = ContrastiveQueue(unit_rows(18, 6))
    trained(queue, range(5))
    stored = copy.deepcopy(queue.state_dict())
    expected = trained(queue, range(5, 9))

    resumed = ContrastiveQueue(unit_rows(18, 6, seed=1))
    resumed.load_state_dict(stored)
    found = trained(resumed, range(5, 9))
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))

    # what earlier versions stored has no sums: the same numbers, up to rounding
    older = {name: x for name, x in stored.items() if not name.startswith("pair_")}
    assert len(older) == 3
    trained(resumed, range(3))
    resumed.load_state_dict(older)
    assert resumed.pair_temperature == 0
    for x, y in zip(trained(resumed, range(5, 9)), expected, strict=True):
        torch.testing.assert_close(x, y)


def test_sums_of_another_temperature_do_not_hold() -> None:
    queue = ContrastiveQueue(unit_rows(9, 4))
    rows, classes = unit_rows(5, 4, seed=1), torch.arange(5) % 2
    queue.classes[:4] = 1
    found = [supervised_contrast(rows, classes, queue, t) for t in (0.1, 0.3, 0.1)]
    old = queue.classes.tolist()
    for loss, t in zip(found, (0.1, 0.3, 0.1), strict=True):
        expected = dense_contrast(rows, classes.tolist(), queue.rows, old, t)
        torch.testing.assert_close(loss, expected)
    assert torch.equal(found[0], found[2])
