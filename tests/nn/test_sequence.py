"""Reading through masks, by hand."""

import pytest
import torch

from emotailor.nn.sequence import (
    carried,
    cleared,
    compact,
    first_real,
    last_real,
    masked_max,
    masked_mean,
    masked_softmax,
    mean_present,
    scatter_back,
    span,
)

X = torch.tensor([[[1.0], [2.0], [9.0]], [[5.0], [9.0], [-3.0]], [[9.0], [9.0], [9.0]]])
MASK = torch.tensor([[True, True, False], [True, False, True], [False, False, False]])


def test_means_and_maxima_are_of_the_real_steps() -> None:
    assert masked_mean(X, MASK).tolist() == [[1.5], [1.0], [0.0]]
    assert masked_max(X, MASK).tolist() == [[2.0], [5.0], [0.0]]
    assert masked_max(-X, MASK).tolist() == [[-1.0], [3.0], [0.0]]


def test_nothing_is_read_at_masked_steps() -> None:
    nan = X.masked_fill(~MASK[..., None], torch.nan)
    assert cleared(nan, MASK).flatten(1).tolist() == [[1, 2, 0], [5, 0, -3], [0, 0, 0]]
    for read in (masked_mean, masked_max, first_real, last_real, carried):
        assert torch.equal(read(nan, MASK), read(X, MASK))
        given = nan.clone().requires_grad_()
        read(given, MASK).sum().backward()
        assert given.grad is not None
        assert (given.grad[~MASK] == 0).all()
        assert given.grad[MASK].isfinite().all()


def test_a_mean_over_what_is_there_weighs_all_of_it_alike() -> None:
    assert mean_present(X[..., 0], MASK).item() == (1 + 2 + 5 - 3) / 4
    assert mean_present(X[0, :, 0], MASK[0]).item() == 1.5
    assert mean_present(X[..., 0], torch.zeros_like(MASK)).item() == 0.0


def test_first_and_last_steps() -> None:
    assert first_real(X, MASK).tolist() == [[1.0], [5.0], [0.0]]
    assert first_real(X, ~MASK).tolist() == [[9.0], [9.0], [9.0]]
    assert span(MASK).tolist() == [2, 3, 0]
    assert last_real(X, MASK).tolist() == [[2.0], [-3.0], [0.0]]
    late = torch.tensor([[False, True, False]] * 3)
    assert carried(X, late).flatten(1).tolist() == [[0, 2, 2], [0, 9, 9], [0, 9, 9]]


def test_softmax_over_the_real_steps() -> None:
    scores = torch.tensor([0.0, 3.0, 7.0]).log().nan_to_num(neginf=-5.0).expand(3, 2, 3)
    found = masked_softmax(
        scores, torch.tensor([[False, True, True], [True, False, False], [False] * 3])
    )
    expected = torch.tensor([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected[:, None].expand(3, 2, 3))


def test_compaction_and_its_undoing() -> None:
    moved, mask, order = compact(X, MASK)
    assert moved[1, :2].flatten().tolist() == [5.0, -3.0]
    assert mask.tolist() == [[True, True, False], [True, True, False], [False] * 3]
    assert order[1].tolist() == [0, 2, 1]
    torch.testing.assert_close(scatter_back(moved, order), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_means_keep_the_precision(dtype: torch.dtype) -> None:
    assert masked_mean(X.to(dtype), MASK).dtype == dtype
