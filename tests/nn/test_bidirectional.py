"""Both directions without packing agree with the packed layer."""

import pytest
import torch

from emotailor.nn.bidirectional import BidirectionalEncoder, Rows
from emotailor.nn.recurrent import Cell, RecurrentEncoder


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_agrees_with_the_packed_layer(cell: Cell) -> None:
    torch.manual_seed(0)
    ours, packed = (
        BidirectionalEncoder(5, 7, cell),
        RecurrentEncoder(5, 7, bidirectional=True, cell=cell),
    )
    state = {f"{k}_reverse": v for k, v in ours.back.state_dict().items()}
    packed.rnn.load_state_dict({**ours.ahead.state_dict(), **state})
    x = torch.randn(3, 11, 5)
    mask = torch.rand(3, 11) > 0.4
    mask[2] = torch.arange(11) == 6
    moved, rows = Rows.of(x, mask)
    states, ahead, back = ours(moved, rows)
    expected, final, _ = packed(x, mask)
    for i, shown in enumerate(mask):
        torch.testing.assert_close(states[i, : shown.sum()], expected[i][shown])
    torch.testing.assert_close(torch.stack([ahead, back]), final[0])


def test_rows_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])[..., None]
    moved, rows = Rows.of(x, torch.tensor([[False, True, False, True], [False] * 4]))
    assert moved[0, :2, 0].tolist() == [2.0, 4.0]
    assert rows.turned.tolist() == [[1, 0, 2, 3], [0, 1, 2, 3]]
    assert rows.last.tolist() == [1, 0]
