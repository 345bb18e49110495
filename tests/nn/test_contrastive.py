"""The contrastive loss by its definition, and its queue."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.nn import contrastive
from emotailor.nn.contrastive import ContrastiveQueue, supervised_contrast


def queue_of(rows: Tensor, classes: list[int]) -> ContrastiveQueue:
    queue = ContrastiveQueue(rows)
    queue.classes.copy_(torch.tensor(classes))
    return queue


def dense_contrast(rows: Tensor, classes: list[int], queue: Tensor, old: list[int]) -> Tensor:
    """The definition, pair by pair, at temperature 0.5."""
    features, owners = torch.cat([rows, queue]), [*classes, *old]
    total = torch.zeros(())
    for i, x in enumerate(features):
        others = [k for k in range(len(features)) if k != i]
        bottom = torch.stack([(x @ features[k] / 0.5).exp() for k in others]).sum().log()
        same = [k for k in others if owners[k] == owners[i] != -1]
        if same:
            total = total - sum(x @ features[k] / 0.5 - bottom for k in same) / len(same)
    return total / len(features)


@pytest.mark.parametrize("chunk", [1, 2, 3, 128])
def test_contrast_and_its_gradient_by_definition(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "CHUNK", chunk)
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(5, 3), dim=1).requires_grad_()
    queue = F.normalize(torch.randn(4, 3), dim=1)
    classes, old = [0, 2, 0, 1, 4], [2, -1, 0, -1]  # 1 and 4 are alone, -1 is no class
    loss = supervised_contrast(rows, torch.tensor(classes), queue_of(queue, old), 0.5)
    expected = dense_contrast(rows, classes, queue, old)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(x, rows)[0] for x in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_contrast_of_two_rows_that_agree() -> None:
    """Each has one positive, which with one other row of the queue is e^2 of e^2 + 1."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    queue = queue_of(torch.tensor([[0.0, 1.0]]), [1])
    loss = supervised_contrast(rows, torch.tensor([3, 3]), queue, 0.5)
    alone = torch.log(1 + torch.tensor(2.0).exp()) - 2
    torch.testing.assert_close(loss, 2 / 3 * alone)


def test_gradient_of_the_sums_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "CHUNK", 2)
    torch.manual_seed(0)
    features = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    apply: Any = contrastive._LogSumExp.apply
    assert torch.autograd.gradcheck(lambda x: apply(x, 0.7, 5), features)


def test_no_more_than_a_part_of_the_pairs_exists_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[Tensor]] = []
    whole = contrastive._scores

    def watched(features: Tensor, start: int, end: int, temperature: float) -> Tensor:
        assert sum(ref() is not None for ref in made) <= 1
        scores = whole(features, start, end, temperature)
        assert scores.numel() <= 2 * 11
        made.append(weakref.ref(scores))
        return scores

    monkeypatch.setattr(contrastive, "CHUNK", 2)
    monkeypatch.setattr(contrastive, "_scores", watched)
    rows = torch.randn(7, 3, requires_grad=True)
    supervised_contrast(
        rows, torch.arange(7) % 2, ContrastiveQueue(torch.randn(4, 3)), 0.5
    ).backward()
    assert len(made) == 6 + 4  # 11 rows forward, the 7 that learn backward


def test_cold_and_equal_rows_stay_finite() -> None:
    rows = torch.ones(3, 4, requires_grad=True)
    queue = ContrastiveQueue(-torch.ones(2, 4))
    loss = supervised_contrast(rows, torch.tensor([0, 0, 1]), queue, 0.001)
    loss.backward()
    torch.testing.assert_close(loss, 2 / 5 * torch.tensor(2.0).log(), atol=1e-3, rtol=0)
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


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
