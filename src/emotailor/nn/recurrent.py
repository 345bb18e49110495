"""LSTM and GRU over padded sequences: masked steps never happened.

The layers are torch's own. Sequences are packed, so that the backward direction starts at the last
real step of each, and nothing is computed on padding.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emotailor.nn.sequence import compact, scatter_back

Cell = Literal["lstm", "gru"]


class RecurrentEncoder(nn.Module):
    """A stack of LSTM or GRU layers.

    Args:
        dim: width of the input.
        size: width of the state, per direction.
        layers: number of layers.
        bidirectional: run a second stack from the last step to the first.
        cell: ``lstm`` or ``gru``.
        dropout: between layers.

    The parameters are those of ``self.rnn``, named and ordered as in ``torch.nn.LSTM`` / ``GRU``.
    """

    def __init__(
        self,
        dim: int,
        size: int,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        cell: Cell = "lstm",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = kind(
            dim,
            size,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
        )

    @property
    def directions(self) -> int:
        """1, or 2 where it is bidirectional."""
        return 2 if self.rnn.bidirectional else 1

    def forward(
        self,
        x: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        start: tuple[Float[Tensor, "states batch size"], Float[Tensor, "states batch size"]]
        | None = None,
    ) -> tuple[
        Float[Tensor, "batch steps width"],
        Float[Tensor, "layers directions batch size"],
        Float[Tensor, "layers directions batch size"] | None,
    ]:
        """Run over the real steps of each row.

        Args:
            x: (B, T, dim).
            mask: (B, T), True at real steps, which need not come first.
            start: h and c before the first step, each (layers * directions, B, size), of an LSTM;
                zeros by default.

        Returns:
            The states of the last layer (B, T, directions * size), 0 at masked steps; the state of
            every layer and direction after its last step (layers, directions, B, size), 0 for rows
            without real steps; and for an LSTM the same of its cells, for a GRU None.
        """
        steps = x.shape[1]
        moved, shown, order = compact(x, mask)
        moved = moved.masked_fill(~shown[..., None], 0)  # of a row without steps one is computed
        lengths = mask.sum(1)
        packed = pack_padded_sequence(
            moved, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        packed_out, final = self.rnn(packed, start)
        out, _ = pad_packed_sequence(packed_out, batch_first=True, total_length=steps)
        out = scatter_back(out * shown[..., None], order)
        real = (lengths > 0)[:, None]
        h, c = final if isinstance(final, tuple) else (final, None)
        shape = (self.rnn.num_layers, self.directions, len(x), self.rnn.hidden_size)
        hidden = torch.where(real, h, 0.0).view(shape)
        return out, hidden, None if c is None else torch.where(real, c, 0.0).view(shape)
