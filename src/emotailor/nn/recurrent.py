"""LSTM and GRU over padded sequences: masked steps never happened.

Notable:

- sequences are not packed: torch's fused CPU kernels for the LSTM take no packed sequences, and
  running over the padding too takes a fraction of the processor time (``_Together``);
- what follows the real steps of a row changes none of them, and the backward direction reads each
  row turned around within its length, so that it too starts with a real step;
- what is lost are the cells after the last real step: where they are asked for, sequences are
  packed;
- the plain way of ``nn.plain`` runs each row alone, over its real steps (``_RowByRow``);
- on a CPU nothing runs in half precision, for which many have no kernels (:func:`run_layer`).
"""

from collections.abc import Iterable
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from emotailor.nn.dropout import Dropout
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import compact, has_gaps, scatter_back

Cell = Literal["lstm", "gru"]
Start = Float[Tensor, "states batch size"]
Final = Float[Tensor, "layers directions batch size"]
Steps = TypeVar("Steps", Tensor, PackedSequence)
State = tuple[Tensor, ...]  # (h, c) of an LSTM, (h,) of a GRU


def run_layer(rnn: nn.Module, x: Steps, start: State) -> tuple[Steps, State]:
    """Run torch's LSTM or GRU in a precision that the device has kernels for.

    Few CPUs have kernels in half precision, and torch raises on the others. So on a CPU autocast
    is off, and parameters in half precision are converted for the call.

    Args:
        rnn: a recurrent module of torch.
        x: its input, padded or packed.
        start: the state before the first step, (h, c) or (h,), each (layers, B, size).

    Returns:
        The states of all steps and the state after the last one, in the type of the parameters
        (on other devices in the type that torch chooses).
    """
    own = next(rnn.parameters())
    half = own.device.type == "cpu" and own.dtype in (torch.float16, torch.bfloat16)
    dtype = torch.float32 if half else own.dtype
    given = tuple(part.to(dtype) for part in start)
    first = given if len(given) > 1 else given[0]

    with torch.autocast("cpu", enabled=False):
        if half:
            parameters = {name: p.to(dtype) for name, p in rnn.named_parameters()}
            out, final = functional_call(rnn, parameters, (x.to(dtype), first))
        else:
            out, final = rnn(x.to(dtype), first)

    state = final if isinstance(final, tuple) else (final,)
    if half:
        return out.to(own.dtype), tuple(part.to(own.dtype) for part in state)
    return out, state


class RecurrentEncoder(nn.Module):
    """A stack of LSTM or GRU layers.

    Args:
        dim: width of the input.
        size: width of the state, per direction.
        layers: number of layers.
        bidirectional: each layer also runs from the last step to the first.
        cell: ``lstm`` or ``gru``.
        dropout: dropout rate between layers.

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
        self.size = size
        self.cell = cell

        kind = nn.LSTM if cell == "lstm" else nn.GRU
        directions = 2 if bidirectional else 1
        widths = [dim] + [directions * size] * (layers - 1)  # of each layer's input
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
            start: state before the first step, (h, c) of an LSTM, (h,) of a GRU, each (layers *
                directions, B, size), in the order of ``torch.nn.LSTM``; zeros by default.
            cells: also return the cells of an LSTM, which is slower on a CPU.

        Returns:
            The states of the last layer (B, T, directions * size), finite but arbitrary at masked
            steps; the state of every layer and direction after its last step (layers, directions,
            B, size), that of the start for rows without real steps; the same of the cells, or None.
        """
        x = x.masked_fill(~mask[..., None], 0)
        x = x.to(next(self.parameters()).dtype)
        if start is None:
            start = self._zeros(x)
        with_cells = cells and self.cell == "lstm"

        order = None
        rows: _Together | _RowByRow
        if is_plain():
            rows = _RowByRow(mask)
        else:
            shown = mask
            if has_gaps(mask):
                x, shown, order = compact(x, mask)
            rows = _Together(shown, packed=with_cells)

        states, finals = self._run(rows, x.transpose(0, 1).contiguous(), start)
        states = states.transpose(0, 1)  # (B, T, directions * size)
        if order is not None:
            states = scatter_back(states, order)

        h = self._by_layer(final[0] for final in finals)
        c = self._by_layer(final[1] for final in finals) if with_cells else None
        return states, h, c

    def _zeros(self, x: Float[Tensor, "batch steps dim"]) -> State:
        """Return the state that rows start from by default."""
        zeros = x.new_zeros(len(self.ahead) + len(self.back), len(x), self.size)
        return (zeros, zeros) if self.cell == "lstm" else (zeros,)

    def _run(
        self, rows: "_Together | _RowByRow", x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch width"], list[State]]:
        """Run layer after layer; return the states of the last one and the last state of each."""
        starts = list(zip(*(torch.split(part, 1) for part in start), strict=True))
        finals: list[State] = []

        for i, ahead in enumerate(self.ahead):
            given = x if i == 0 else self.dropout(x)
            x, final = rows.run(ahead, given, starts[len(finals)])
            finals.append(final)

            if self.back:
                turned = rows.turn(given)
                turned, final = rows.run(self.back[i], turned, starts[len(finals)])
                finals.append(final)
                x = torch.cat([x, rows.turn(turned)], -1)  # (T, B, 2 size)

        return x, finals

    def _by_layer(self, states: Iterable[Float[Tensor, "1 batch size"]]) -> Final:
        """Put the states of all layers and directions into one tensor."""
        stacked = torch.cat(list(states))
        return stacked.view(len(self.ahead), -1, *stacked.shape[1:])


class _Together:
    """B sequences run together; time is the first axis, as in torch's kernels.

    Args:
        shown: (B, T), True at real steps, which come first.
        packed: leave out the padding, so that the cells after the last real step are known.
    """

    def __init__(self, shown: Bool[Tensor, "batch steps"], *, packed: bool) -> None:
        batch, steps = shown.shape
        lengths = shown.sum(1)
        self.row = torch.arange(batch, device=shown.device)
        self.last = (lengths - 1).clamp(min=0)
        self.some = (lengths > 0)[:, None]

        # of a row without real steps one is computed, and its state is left out in ``run``
        self.lengths: Tensor | None = None
        if packed:
            self.lengths = lengths.clamp(min=1).cpu()

        # turned around, step t is step length - 1 - t; padding stays where it is
        step = torch.arange(steps, device=shown.device)[:, None]
        turned = torch.where(shown.T, lengths - 1 - step, step)  # (T, B)
        self.turned = (batch * turned + self.row).flatten()

    def turn(self, x: Float[Tensor, "steps batch size"]) -> Float[Tensor, "steps batch size"]:
        """Turn each row around within its length."""
        return x.flatten(0, 1).index_select(0, self.turned).view_as(x)  # faster than gather

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch size"], State]:
        """Return the states and, of the last real step, h and if packed c, each (1, B, size)."""
        if self.lengths is None:
            states, _ = run_layer(rnn, x, start)
            ends: State = (states[self.last, self.row],)
        else:
            sequences = pack_padded_sequence(x, self.lengths, enforce_sorted=False)
            out, ends = run_layer(rnn, sequences, start)
            states, _ = pad_packed_sequence(out, total_length=len(x))

        # a row without real steps ends where it started
        final = []
        for end, before in zip(ends, start, strict=False):  # without packing there are no cells
            final.append(torch.where(self.some, end, before))
        return states, tuple(final)


class _RowByRow:
    """The plain way: each row alone, its real steps and nothing else.

    Args:
        mask: (B, T), True at real steps, wherever they are.
    """

    def __init__(self, mask: Bool[Tensor, "batch steps"]) -> None:
        self.places = [real.nonzero()[:, 0] for real in mask]  # of the real steps of each row

    def turn(self, x: Float[Tensor, "steps batch size"]) -> Float[Tensor, "steps batch size"]:
        """Turn the real steps of each row around."""
        turned = x.clone()
        for row, places in enumerate(self.places):
            turned[places, row] = x[places.flip(0), row]
        return turned

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch size"], State]:
        """Return the states, 0 at masked steps, and h and c after the last step of each row."""
        steps, size = len(x), start[0].shape[-1]
        columns, finals = [], []

        for row, places in enumerate(self.places):
            state = tuple(part[:, row : row + 1] for part in start)  # (1, 1, size)
            states = x.new_zeros(steps, 1, size)
            if len(places):
                out, state = run_layer(rnn, x[places, row : row + 1], state)
                states = states.index_copy(0, places, out)
            columns.append(states)
            finals.append(state)

        final = [torch.cat(parts, 1) for parts in zip(*finals, strict=True)]
        return torch.cat(columns, 1), tuple(final)
