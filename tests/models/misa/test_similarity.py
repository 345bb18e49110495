"""Moments computed by hand, rows that do not count, and the gradient where moments agree."""

import torch

from emotailor.models.misa.similarity import central_moments, moment_distance


def test_moments_by_hand() -> None:
    x = torch.tensor([[0.0, 3.0], [1.0, 3.0]])
    found = central_moments(x, torch.tensor([True, True]), 5)
    expected = [[0.5, 3.0], [0.25, 0.0], [0.0, 0.0], [0.0625, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_rows_that_do_not_count() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 7, 3)
    mask = torch.tensor([[True, False, True, True, False, True, True], [False] * 7])
    found = central_moments(x, mask, 4)
    torch.testing.assert_close(found[0], central_moments(x[0][mask[0]], mask[0][mask[0]], 4))
    assert torch.equal(found[1], torch.zeros(4, 3))


def test_distance_by_hand() -> None:
    """||(3, 4)|| for the means, ||(0, 2)|| for the second moments."""
    x = torch.tensor([[3.0, 0.0], [1.0, 5.0]])
    y = torch.tensor([[0.0, 4.0], [1.0, 3.0]])
    assert moment_distance(x, y).item() == 7.0


def test_equal_moments_have_gradient_zero() -> None:
    x = torch.rand(1, 3, requires_grad=True)
    row = torch.tensor([True])
    moment_distance(central_moments(x, row, 5), central_moments(x.detach(), row, 5)).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(1, 3))


def test_half_precision_keeps_the_fifth_moment() -> None:
    x = torch.tensor([[0.5], [0.51], [0.5]], dtype=torch.float16)
    fifth = central_moments(x, torch.ones(3, dtype=torch.bool), 5)[4]
    assert fifth.dtype == torch.float32
    assert 0 < fifth.item() < 1e-9
