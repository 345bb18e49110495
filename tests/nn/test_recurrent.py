"""The recurrent block, against torch's own layers on the real steps of each row."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotailor.nn.recurrent import Cell, RecurrentEncoder, run_layer
from emotailor.nn.sequence import carried
from tests.parity.recurrent import block_name

DIM, SIZE, STEPS = 5, 3, 7
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 1, 0, 0, 1, 1, 0],  # holes
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]
).bool()
KINDS = [(layers, both, cell) for layers in (1, 2) for both in (False, True)
         for cell in ("lstm", "gru")]  # fmt: skip


def build(
    layers: int, bidirectional: bool, cell: Cell, **settings: Any
) -> tuple[RecurrentEncoder, nn.Module]:
    """The block and torch's own layers with the same weights."""
    torch.manual_seed(0)
    kind = nn.LSTM if cell == "lstm" else nn.GRU
    theirs = kind(DIM, SIZE, layers, batch_first=True, bidirectional=bidirectional)
    ours = RecurrentEncoder(
        DIM, SIZE, layers=layers, bidirectional=bidirectional, cell=cell, **settings
    )
    ours.load_state_dict({block_name(name): x for name, x in theirs.state_dict().items()})
    return ours, theirs


def row_by_row(rnn: nn.Module, x: Tensor, mask: Tensor, start: tuple[Tensor, ...]) -> list[Tensor]:
    """States, h and c by ``rnn`` on the real steps of each row alone; states 0 at masked steps."""
    rows = []
    for i, real in enumerate(mask):
        final: Any = tuple(part[:, i : i + 1] for part in start)
        states = torch.zeros(1, len(real), SIZE * (2 if rnn.bidirectional else 1))
        if real.any():
            out, final = rnn(x[i : i + 1, real], final if len(final) > 1 else final[0])
            states = states.index_copy(1, real.nonzero()[:, 0], out)
        rows.append((states, *(final if isinstance(final, tuple) else (final,))))
    outputs, *finals = zip(*rows, strict=True)
    return [torch.cat(outputs), *(torch.cat(part, 1) for part in finals)]


@pytest.mark.parametrize("mask", [MASK, MASK[:2]], ids=["holes", "prefixes"])
@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize(("layers", "both", "cell"), KINDS)
def test_masked_steps_never_happened(
    layers: int, both: bool, cell: Cell, cells: bool, mask: Tensor
) -> None:
    ours, theirs = build(layers, both, cell)
    x = torch.randn(len(mask), STEPS, DIM).masked_fill(~mask[..., None], torch.nan)
    mine, yours = x.clone().requires_grad_(), x.clone().requires_grad_()
    count = layers * (1 + both)
    start = tuple(torch.randn(count, len(mask), SIZE) for _ in range(2 if cell == "lstm" else 1))
    states, h, c = ours(mine, mask, start, cells=cells)
    assert states.isfinite().all()
    assert h.shape == (layers, 1 + both, len(mask), SIZE)
    assert (c is not None) == (cells and cell == "lstm")
    finals = [part.flatten(0, 1) for part in (h, c) if part is not None]
    found = [states * mask[..., None], *finals]
    expected = row_by_row(theirs, yours, mask, start)[: len(found)]
    weights = [torch.randn_like(part) for part in found]
    for some in (found, expected):
        torch.stack([(w * y).sum() for w, y in zip(weights, some, strict=True)]).sum().backward()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(mine.grad, yours.grad)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(block_name(name)).grad, parameter.grad)


@pytest.mark.parametrize("cells", [False, True])
def test_nothing_but_empty_rows(cells: bool) -> None:
    ours, _ = build(2, True, "lstm")
    x = torch.full((2, 1, DIM), torch.nan, requires_grad=True)
    states, h, c = ours(x, torch.zeros(2, 1, dtype=torch.bool), cells=cells)
    assert h.abs().max() == 0
    assert c is None or c.abs().max() == 0
    (states.sum() + h.sum()).backward()
    assert x.grad is not None
    assert x.grad.abs().max() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())


@pytest.mark.parametrize(("layers", "both", "cell"), KINDS)
def test_it_starts_from_zeros(layers: int, both: bool, cell: Cell) -> None:
    ours, _ = build(layers, both, cell)
    x = torch.randn(len(MASK), STEPS, DIM)
    zeros = torch.zeros(layers * (1 + both), len(MASK), SIZE)
    plain = ours(x, MASK)
    given = ours(x, MASK, (zeros, zeros) if cell == "lstm" else (zeros,))
    assert torch.equal(plain[0], given[0])
    assert torch.equal(plain[1], given[1])
    assert plain[1][:, :, 3].abs().max() == 0


@pytest.mark.parametrize("both", [False, True])
def test_gradients_come_from_real_steps_alone(both: bool) -> None:
    ours, _ = build(2, both, "lstm")
    x = torch.full((len(MASK), STEPS, DIM), torch.nan)
    x = torch.where(MASK[..., None], torch.randn_like(x), x).requires_grad_()
    ours(x, MASK)[1].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(-1) > 0).equal(MASK)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())


def test_dropout_is_between_layers_alone() -> None:
    x, mask = torch.randn(2, STEPS, DIM), MASK[:2]
    one, _ = build(1, True, "lstm", dropout=0.5)
    two, _ = build(2, True, "lstm", dropout=0.5)
    assert torch.equal(one.train()(x, mask)[0], one.eval()(x, mask)[0])
    kept = two.eval()(x, mask)
    torch.manual_seed(3)
    dropped = two.train()(x, mask)
    assert torch.equal(dropped[1][0], kept[1][0])
    assert not torch.allclose(dropped[1][1], kept[1][1])
    torch.manual_seed(3)
    assert torch.equal(two(x, mask)[0], dropped[0])


@pytest.mark.parametrize("cells", [False, True])
def test_half_precision(cells: bool) -> None:
    ours, _ = build(2, True, "lstm")
    x = torch.randn(len(MASK), STEPS, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        states, h, _ = ours(x.bfloat16(), MASK, cells=cells)
    assert states.dtype == h.dtype == torch.float32
    exact = ours(x.bfloat16().float(), MASK)
    torch.testing.assert_close(h, exact[1])


@pytest.mark.parametrize("cells", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_parameters_in_half_precision(cell: Cell, cells: bool) -> None:
    """On CPUs without kernels for it too: the steps are computed in single precision."""
    ours, _ = build(2, True, cell)
    ours.bfloat16()
    x = torch.randn(len(MASK), STEPS, DIM).bfloat16().requires_grad_()
    states, h, c = ours(x, MASK, cells=cells)
    (states * MASK[..., None]).sum().backward()
    assert states.dtype == h.dtype == x.grad.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.dtype == torch.bfloat16 for p in ours.parameters())

    exact = ours.float()(x.float(), MASK, cells=cells)
    torch.testing.assert_close(h.float(), exact[1], atol=0.01, rtol=0.02)
    assert (c is None) == (exact[2] is None)
    if c is not None:
        torch.testing.assert_close(c.float(), exact[2], atol=0.01, rtol=0.02)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layers", [1, 2])
def test_one_layer_of_torch_runs_under_autocast(kind: type[nn.Module], layers: int) -> None:
    torch.manual_seed(0)
    rnn = kind(DIM, SIZE, layers)
    x = torch.randn(STEPS, 2, DIM)
    zeros = torch.zeros(layers, 2, SIZE)
    start = (zeros, zeros) if kind is nn.LSTM else (zeros,)
    expected, last = rnn(x)
    with torch.autocast("cpu", torch.bfloat16):
        out, state = run_layer(rnn, x, tuple(part.bfloat16() for part in start))
    assert torch.equal(out, expected)
    assert torch.equal(state[0], last[0] if kind is nn.LSTM else last)
    assert len(state) == len(start)


def test_carried_values_by_hand() -> None:
    x = torch.arange(1.0, 8.0)[None, :, None].expand(len(MASK), -1, 1)
    found = carried(x, MASK)[..., 0].tolist()
    assert found[1:4] == [[1, 2, 3, 4, 4, 4, 4], [0, 2, 2, 2, 5, 6, 6], [0] * 7]
