"""Dropout: its rate, its mean, its gradient, and that seeds rule it."""

import pytest
import torch

from emotailor.nn.attention import MultiHeadAttention
from emotailor.nn.dropout import Dropout, KeepWeights, dropout, kept_scale


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_the_rate_is_kept(rate: float) -> None:
    weights = KeepWeights(rate, seed=3).draw((1009, 997))
    assert set(weights.unique().tolist()) == {0.0, torch.tensor(kept_scale(rate)).item()}
    mask = weights != 0
    # the standard deviation of the mean of a million draws is at most 0.0005
    assert mask.float().mean().item() == pytest.approx(1 - rate, abs=0.002)
    assert kept_scale(rate) == pytest.approx(1 / (1 - rate), rel=1e-4)


def test_neighbours_are_independent() -> None:
    mask = (KeepWeights(0.5, seed=1).draw((2, 500_003)) != 0).float() - 0.5
    for shift in (1, 2, 3, 4, 8):
        together = (mask[:, shift:] * mask[:, :-shift]).mean().item() * 4
        assert abs(together) < 0.005


def test_what_is_kept_is_scaled_and_gradients_follow_the_mask() -> None:
    x = torch.full((7, 11), 3.0, requires_grad=True)
    torch.manual_seed(0)
    y = dropout(x, 0.25)
    y.sum().backward()
    assert x.grad is not None
    scale = kept_scale(0.25)
    kept = y.detach() != 0
    assert 30 < int(kept.sum()) < 77
    assert torch.equal(y.detach(), torch.where(kept, 3.0 * scale, 0.0))
    assert torch.equal(x.grad, torch.where(kept, scale, 0.0))


def test_the_same_torch_seed_gives_the_same_mask() -> None:
    x = torch.randn(13, 17)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append((dropout(x, 0.4), dropout(x, 0.4)))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_evaluation_and_a_rate_of_zero_pass_through() -> None:
    x = torch.randn(3, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_attention_with_dropout_has_the_mean_of_attention_without() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2, 0.3)
    x = torch.randn(1, 5, 8)
    mask = torch.tensor([[True, True, True, True, False]])
    expected = attention.eval()(x, None, mask)[0]
    attention.train()
    draws = torch.cat([attention(x, None, mask)[0] for _ in range(3000)])
    error = draws.std(0) / 3000**0.5
    assert ((draws.mean(0) - expected[0]).abs() < 5 * error).all()
