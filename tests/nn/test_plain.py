"""The plain way of the blocks: it is taken, it is torch's own, and it gives the same numbers."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn import attention as attention_module
from emotailor.nn import dropout as dropout_module
from emotailor.nn import dropout_attention, recurrent
from emotailor.nn.adversarial import squared_overlap
from emotailor.nn.attention import MultiHeadAttention
from emotailor.nn.dropout import Dropout, dropout
from emotailor.nn.plain import is_plain, plain_paths
from emotailor.nn.recurrent import Cell, RecurrentEncoder


def test_the_switch_is_off_and_holds_inside_its_context_alone() -> None:
    assert not is_plain()
    with plain_paths():
        assert is_plain()
        with plain_paths():
            assert is_plain()
        assert is_plain()
    assert not is_plain()


def test_the_switch_goes_back_after_an_exception() -> None:
    with pytest.raises(KeyError), plain_paths():
        raise KeyError
    assert not is_plain()


def test_other_threads_compute_the_plain_way_too() -> None:
    seen: list[bool] = []
    with plain_paths():
        thread = threading.Thread(target=lambda: seen.append(is_plain()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_dropout_is_torchs_own() -> None:
    x = torch.randn(7, 11)
    torch.manual_seed(3)
    expected = F.dropout(x, 0.4)
    for drop in (lambda: dropout(x, 0.4), lambda: Dropout(0.4)(x)):
        torch.manual_seed(3)
        with plain_paths():
            assert torch.equal(drop(), expected)
        torch.manual_seed(3)
        assert not torch.equal(drop(), expected)


def gradients_of(out: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    torch.manual_seed(11)
    return list(torch.autograd.grad((out * torch.randn_like(out)).sum(), inputs))


BIAS = torch.arange(7.0).expand(3, 1, 1, 7)
SITUATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], dict[str, Any]]] = {
    "itself": lambda x, memory, mask: {"queries": x},
    "itself masked": lambda x, memory, mask: {"queries": x, "mask": mask[:, :5]},
    "memory": lambda x, memory, mask: {"queries": x, "memory": memory, "mask": mask},
    "shared queries": lambda x, memory, mask: {"queries": x[:1], "memory": memory, "mask": mask},
    "bias": lambda x, memory, mask: {"queries": x, "memory": memory, "bias": BIAS},
}


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("situation", SITUATIONS)
def test_attention_is_the_same(
    situation: str, need_weights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, 0.0).double()
    nn.init.normal_(attention.in_proj.bias)
    x = torch.randn(3, 5, 12, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(3, 7, 12, dtype=torch.float64)
    mask = torch.arange(7) < torch.tensor([[7], [4], [0]])
    given = SITUATIONS[situation](x, memory, mask)

    fast, fast_weights = attention(**given, need_weights=need_weights)
    expected = gradients_of(fast, [x, *attention.parameters()])

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a fast path was taken")

    monkeypatch.setattr(F, "scaled_dot_product_attention", refuse)
    monkeypatch.setattr(MultiHeadAttention, "_share_queries", refuse)
    for name in ("_attend", "attend_itself"):
        monkeypatch.setattr(attention_module, name, refuse)
    with plain_paths():
        plain, plain_weights = attention(**given, need_weights=need_weights)
    found = gradients_of(plain, [x, *attention.parameters()])

    torch.testing.assert_close(plain, fast)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert (plain_weights is None) == (not need_weights)
    if need_weights:
        torch.testing.assert_close(plain_weights, fast_weights)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_dropout_is_the_same_where_nothing_is_dropped(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The written-out gradient against autograd's, with the same weights kept."""
    kept = (torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(5)) > 0.4) / 0.6

    def draw(self: object, shape: tuple[int, ...], out: Tensor) -> Tensor:
        return out.copy_(kept.view(shape))

    monkeypatch.setattr(dropout_module.KeepWeights, "draw", draw)
    monkeypatch.setattr(F, "dropout", lambda x, rate: x * kept)
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, 0.4)
    x = torch.randn(2, 5, 12, requires_grad=True)
    mask = torch.arange(5) < torch.tensor([[5], [3]]) if masked else None

    fast, _ = attention(x, None, mask)
    expected = gradients_of(fast, [x, *attention.parameters()])
    monkeypatch.delattr(dropout_attention, "_Attend")  # the plain way does not need it
    with plain_paths():
        plain, _ = attention(x, None, mask)
    found = gradients_of(plain, [x, *attention.parameters()])

    torch.testing.assert_close(plain, fast)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


MASK = torch.tensor(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]
).bool()


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_are_the_same_row_by_row(
    cells: bool, started: bool, cell: Cell, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    block = RecurrentEncoder(4, 3, layers=2, bidirectional=both, cell=cell).double()
    x = torch.randn(5, 5, 4, dtype=torch.float64)
    x = x.masked_fill(~MASK[..., None], torch.nan).requires_grad_()
    start = None
    if started:
        parts = torch.randn(2, 2 * (1 + both), 5, 3, dtype=torch.float64)
        start = tuple(parts) if cell == "lstm" else (parts[0],)

    def together(found: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        states, h, c = found
        parts = [states * MASK[..., None], h]
        if c is not None:
            parts.append(c)
        return torch.cat([part.flatten() for part in parts])

    fast = together(block(x, MASK, start, cells=cells))
    expected = gradients_of(fast, [x, *block.parameters()])

    seen: list[int] = []
    run_layer = recurrent.run_layer

    def watched(rnn: nn.LSTM, part: Tensor, state: tuple[Tensor, ...]) -> Any:
        seen.append(part.shape[1])
        return run_layer(rnn, part, state)

    monkeypatch.setattr(recurrent, "run_layer", watched)
    monkeypatch.delattr(recurrent, "compact")
    with plain_paths():
        plain = together(block(x, MASK, start, cells=cells))
    found = gradients_of(plain, [x, *block.parameters()])

    assert seen == [1] * 4 * 2 * (1 + both)  # four rows have real steps
    torch.testing.assert_close(plain, fast)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_overlap_of_two_subspaces_is_the_product_of_its_equation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = torch.randn(2, 7, 3).double(), torch.randn(2, 8, 3).double()
    fast = squared_overlap(x, y)
    shapes: list[tuple[int, ...]] = []
    square = Tensor.square

    def watched(matrix: Tensor) -> Tensor:
        shapes.append(tuple(matrix.shape))
        return square(matrix)

    monkeypatch.setattr(Tensor, "square", watched)
    with plain_paths():
        plain = squared_overlap(x, y)
    assert shapes == [(2, 7, 8)]
    torch.testing.assert_close(plain, fast)
