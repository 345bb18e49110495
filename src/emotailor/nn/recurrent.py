"""LSTM and GRU over padded sequences: masked steps never happened.

Sequences are not packed: torch's fused CPU kernels for the LSTM take no packed sequences, and
running over the padding too takes a fraction of the processor time. What follows the real steps of
a row changes none of them, and the backward direction reads each row turned around within its
length, so that it too starts with a real step. What is lost are the cells after the last real step:
where they are asked for, sequences are packed.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emotailor.nn.dropout import Dropout
from emotailor.nn.sequence import compact, scatter_back

Cell = Literal["lstm", "gru"]
Start = Float[Tensor, "states batch size"]
Final = Float[Tensor, "layers directions batch size"]


class RecurrentEncoder(nn.Module):
    """A stack of LSTM or GRU layers.

    Args:
        dim: width of the input.
        size: width of the state, per direction.
        layers: number of layers.
        bidirectional: each layer also runs from the last step to the first.
        cell: ``lstm`` or ``gru``.
        dropout: between layers.

    Attributes:
        ahead: a one-layer ``torch.nn.LSTM`` or ``GRU`` per layer.
        back: the same from the last step to the first; empty where there is one direction.
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
        self.size, self.cell = size, cell
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        widths = [dim] + [(2 if bidirectional else 1) * size] * (layers - 1)
        self.ahead = nn.ModuleList(kind(width, size) for width in widths)
        self.back = nn.ModuleList(kind(width, size) for width in widths if bidirectional)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        start: tuple[Start, ...] | None = None,
        *,
        cells: bool = False,
    ) -> tuple[Float[Tensor, "batch steps width"], Final, Final | None]:
        """Run over the real steps of each row.

        Args:
            x: (B, T, dim), anything at masked steps.
            mask: (B, T), True at real steps, which need not come first.
            start: before the first step (h, c) of an LSTM, (h,) of a GRU, each (layers *
                directions, B, size), in the order of ``torch.nn.LSTM``; zeros by default.
            cells: also return the cells of an LSTM, which is slower on a CPU.

        Returns:
            The states of the last layer (B, T, directions * size), finite but arbitrary at masked
            steps; the state of every layer and direction after its last step (layers, directions,
            B, size), that of the start for rows without real steps; the same of the cells, or None.
        """
        x, shown, order = x.masked_fill(~mask[..., None], 0), mask, None
        if (mask[:, 1:] & ~mask[:, :-1]).any():  # steps are hidden, or come late
            x, shown, order = compact(x, mask)
        rows, finals = _Rows(shown, packed=cells and self.cell == "lstm"), []
        # not every CPU has the fused kernels in half precision; other devices are not concerned
        with torch.autocast("cpu", enabled=False):
            x = x.transpose(0, 1).to(next(self.parameters()).dtype).contiguous()
            if start is None:
                count = len(self.ahead) + len(self.back)
                zeros = x.new_zeros(count, len(mask), self.size)
                start = (zeros, zeros) if self.cell == "lstm" else (zeros,)
            begins = zip(*(torch.split(part, 1) for part in start), strict=True)
            for i, ahead in enumerate(self.ahead):
                given = x if i == 0 else self.dropout(x)
                x, final = rows.run(ahead, given, next(begins))
                finals.append(final)
                if self.back:
                    turned, final = rows.run(self.back[i], rows.turn(given), next(begins))
                    finals.append(final)
                    x = torch.cat([x, rows.turn(turned)], -1)
        x = x.transpose(0, 1)
        h, *c = (
            torch.cat(found).view(len(self.ahead), -1, len(mask), self.size)
            for found in zip(*finals, strict=True)
        )
        return x if order is None else scatter_back(x, order), h, c[0] if c else None


class _Rows:
    """B sequences whose real steps come first; time is the first axis here, as in the kernels."""

    def __init__(self, shown: Bool[Tensor, "batch steps"], *, packed: bool) -> None:
        self.real = shown.T
        steps, batch = self.real.shape
        lengths = self.real.sum(0)
        # of a row without real steps one is computed
        self.packed = lengths.clamp(min=1).cpu() if packed else None
        self.last, self.some = (lengths - 1).clamp(min=0), (lengths > 0)[:, None]
        self.row = torch.arange(batch, device=shown.device)
        step = torch.arange(steps, device=shown.device)[:, None]
        # turned around, step t is step length - 1 - t; padding stays where it is
        turned = torch.where(self.real, lengths - 1 - step, step)
        self.turned = (batch * turned + self.row).flatten()

    def turn(self, x: Float[Tensor, "steps batch size"]) -> Float[Tensor, "steps batch size"]:
        """Turn each row around within its length."""
        return x.flatten(0, 1).index_select(0, self.turned).view_as(x)  # faster than gather

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: tuple[Tensor, ...]
    ) -> tuple[Float[Tensor, "steps batch size"], tuple[Tensor, ...]]:
        """Return the states and, of the last real step, h and if packed c, each (1, B, size)."""
        first = start if len(start) > 1 else start[0]
        if self.packed is None:
            states, _ = rnn(x, first)
            return states, (torch.where(self.some, states[self.last, self.row], start[0]),)
        out, final = rnn(pack_padded_sequence(x, self.packed, enforce_sorted=False), first)
        states, _ = pad_packed_sequence(out, total_length=len(x))
        ends = zip(final, start, strict=True)
        return states, tuple(torch.where(self.some, end, before) for end, before in ends)
