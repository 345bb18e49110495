"""LSTM and GRU over padded sequences: masked steps never happened.

Notable:

- sequences are not packed: torch's fused CPU kernels for the LSTM take no packed sequences, and
  running over the padding too takes a fraction of the processor time (``_Together``);
- what follows the real steps of a row changes none of them, and the backward direction reads each
  row turned around within its length, so that it too starts with a real step;
- what is lost are the cells after the last real step: where they are asked for, sequences are
  packed;
- in a graph that is exported a layer is one operation that takes the lengths (``_Exported``);
- the plain way of ``nn.plain`` runs each row alone, over its real steps (``_RowByRow``);
- on a CPU nothing runs in half precision, for which many have no kernels (:func:`run_layer`).
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from emotailor.nn.dropout import Dropout
from emotailor.nn.exporting import gru_layer, is_exporting, lstm_layer
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import cleared, compact, has_gaps, scatter_back

Cell = Literal["lstm", "gru"]
Start = Float[Tensor, "states batch size"]
Final = Float[Tensor, "layers directions batch size"]
Steps = TypeVar("Steps", Tensor, PackedSequence)
State = tuple[Tensor, ...]  # (h, c) of an LSTM, (h,) of a GRU


def compact_weights(model: nn.Module) -> None:
    """Lay the weights of each recurrent layer side by side, as cuDNN wants them: a copy has not."""
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()


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
    half = own.dtype in (torch.float16, torch.bfloat16)
    if half and own.device.type == "cpu":
        return _run_in_single_precision(rnn, x, start)

    x = x.to(own.dtype)
    first = _first_state(start, own.dtype)
    with _no_autocast():
        out, final = rnn(x, first)
    return out, _as_tuple(final)


def _run_in_single_precision(rnn: nn.Module, x: Steps, start: State) -> tuple[Steps, State]:
    """Run in single precision, and return states in the type of the parameters."""
    own = next(rnn.parameters())
    first = _first_state(start, torch.float32)
    parameters: dict[str, Tensor] = {}
    for name, parameter in rnn.named_parameters():
        parameters[name] = parameter.to(torch.float32)

    with _no_autocast():
        out, final = functional_call(rnn, parameters, (x.to(torch.float32), first))

    out = out.to(own.dtype)
    state = [part.to(own.dtype) for part in _as_tuple(final)]
    return out, tuple(state)


def _no_autocast() -> AbstractContextManager[object]:
    """Switch autocast off on CPUs.

    Where it is off already, nothing is entered. Entering takes some 5 microseconds, and a decoder
    would enter once for each token.
    """
    if torch.is_autocast_enabled("cpu"):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def _first_state(start: State, dtype: torch.dtype) -> State | Tensor:
    """Return the state before the first step as torch takes it: (h, c), or h alone."""
    given = [part.to(dtype) for part in start]
    if len(given) == 1:
        return given[0]
    return tuple(given)


def _as_tuple(final: State | Tensor) -> State:
    """Return the state after the last step as (h, c) or (h,)."""
    if isinstance(final, tuple):
        return final
    return (final,)


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

        # widths of each layer's input: a layer reads both directions of the one before
        directions = 2 if bidirectional else 1
        joint = directions * size
        widths = [dim] + [joint] * (layers - 1)

        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.ahead = nn.ModuleList()
        for width in widths:
            self.ahead.append(kind(width, size))

        self.back = nn.ModuleList()
        if bidirectional:
            for width in widths:
                self.back.append(kind(width, size))
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
        own = next(self.parameters())
        x = cleared(x, mask).to(own.dtype)
        if start is None:
            start = self._zeros(x)

        # a GRU has no cells
        with_cells = cells and self.cell == "lstm"
        order = None
        rows: _Together | _RowByRow
        if is_plain():
            rows = _RowByRow(mask)
        elif is_exporting():
            x, shown, order = compact(x, mask)
            rows = _Exported(shown)
        else:
            # real steps must come first
            shown = mask
            if has_gaps(mask):
                x, shown, order = compact(x, mask)
            rows = _Together(shown, packed=with_cells)

        # time first, as in torch's kernels
        steps_first = x.transpose(0, 1).contiguous()  # (T, B, dim)
        states, finals = self._run(rows, steps_first, start)
        states = states.transpose(0, 1)  # (B, T, directions * size)
        if order is not None:
            states = scatter_back(states, order)

        h = self._by_layer(final[0] for final in finals)
        c = None
        if with_cells:
            c = self._by_layer(final[1] for final in finals)
        return states, h, c

    def _zeros(self, x: Float[Tensor, "batch steps dim"]) -> State:
        """Return the state that rows start from by default."""
        count = len(self.ahead) + len(self.back)
        zeros = x.new_zeros(count, x.shape[0], self.size)
        if self.cell == "lstm":
            return zeros, zeros
        return (zeros,)

    def _run(
        self, rows: "_Together | _RowByRow", x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch width"], list[State]]:
        """Run layer after layer; return the states of the last one and the last state of each."""
        # (h, c) or (h,) of each layer and direction, in the order of torch
        parts = [torch.split(part, 1) for part in start]
        starts = list(zip(*parts, strict=True))
        finals: list[State] = []

        for i, ahead in enumerate(self.ahead):
            given = x
            if i > 0:
                given = self.dropout(x)
            x, final = rows.run(ahead, given, starts[len(finals)])
            finals.append(final)

            if self.back:
                turned = rows.turn(given)
                turned, final = rows.run(
                    self.back[i],
                    turned,
                    starts[len(finals)],
                )
                finals.append(final)
                # turned again, the states stand at the steps that they belong to
                back = rows.turn(turned)
                x = torch.cat([x, back], -1)  # (T, B, 2 size)

        return x, finals

    def _by_layer(self, states: Iterable[Float[Tensor, "1 batch size"]]) -> Final:
        """Put the states of all layers and directions into one tensor."""
        stacked = torch.cat(list(states))  # (layers * directions, B, size)
        layers = len(self.ahead)
        return stacked.view(layers, -1, *stacked.shape[1:])


class _Together:
    """B sequences run together; time is the first axis, as in torch's kernels.

    Args:
        shown: (B, T), True at real steps, which come first.
        packed: leave out the padding, so that the cells after the last real step are known.
    """

    def __init__(self, shown: Bool[Tensor, "batch steps"], *, packed: bool) -> None:
        device = shown.device
        batch, steps = shown.shape
        lengths = shown.sum(1)  # (B,)
        last = lengths - 1
        some = lengths > 0

        self.row = torch.arange(batch, device=device)
        self.last = last.clamp(min=0)
        self.some = some[:, None]

        # of a row without real steps one is computed, and its state is left out in ``run``
        self.lengths: Tensor | None = None
        if packed:
            self.lengths = lengths.clamp(min=1).cpu()

        # turned around, step t is step length - 1 - t; padding stays where it is
        step = torch.arange(steps, device=device)
        step = step[:, None]  # (T, 1)
        source = torch.where(shown.T, last - step, step)  # (T, B)

        # where a step lies in (T * B, size)
        place = batch * source + self.row
        self.turned = place.flatten()

    def turn(self, x: Float[Tensor, "steps batch size"]) -> Float[Tensor, "steps batch size"]:
        """Turn each row around within its length."""
        flat = x.flatten(0, 1)  # (T * B, size)
        turned = flat.index_select(0, self.turned)  # faster than gather
        return turned.view_as(x)

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch size"], State]:
        """Return the states and, of the last real step, h and if packed c, each (1, B, size)."""
        ends: State
        if self.lengths is None:
            states, _ = run_layer(rnn, x, start)
            # the state that torch returns has run over the padding too
            end = states[self.last, self.row]  # (B, size)
            ends = (end,)
        else:
            sequences = pack_padded_sequence(
                x,
                self.lengths,
                enforce_sorted=False,
            )
            out, ends = run_layer(rnn, sequences, start)
            states, _ = pad_packed_sequence(out, total_length=len(x))

        # a row without real steps ends where it started
        final = []
        for end, before in zip(ends, start, strict=False):  # without packing there are no cells
            state = torch.where(self.some, end, before)  # (1, B, size)
            final.append(state)
        return states, tuple(final)


class _Exported(_Together):
    """The same in a graph that is exported: steps are not unrolled, and nothing is packed.

    Args:
        shown: (B, T), True at real steps, which come first.
    """

    def __init__(self, shown: Bool[Tensor, "batch steps"]) -> None:
        super().__init__(shown, packed=False)
        self.real = shown.sum(1).clamp(min=1)  # (B,)

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch size"], State]:
        """Return the states, 0 at padding, and h and c after the last real step."""
        ends: State
        if isinstance(rnn, nn.LSTM):
            h, c = start
            states, end, cells = lstm_layer(x, self.real, (h, c), rnn)
            ends = (end, cells)
        else:
            assert isinstance(rnn, nn.GRU)
            (h,) = start
            states, end = gru_layer(x, self.real, (h,), rnn)
            ends = (end,)

        final = []
        for end, before in zip(ends, start, strict=True):
            state = torch.where(self.some, end, before)  # (1, B, size)
            final.append(state)
        return states, tuple(final)


class _RowByRow:
    """The plain way: each row alone, its real steps and nothing else.

    Args:
        mask: (B, T), True at real steps, wherever they are.
    """

    def __init__(self, mask: Bool[Tensor, "batch steps"]) -> None:
        self.places: list[Tensor] = []  # of the real steps of each row
        for real in mask:
            places = real.nonzero()  # (real steps, 1)
            self.places.append(places[:, 0])

    def turn(self, x: Float[Tensor, "steps batch size"]) -> Float[Tensor, "steps batch size"]:
        """Turn the real steps of each row around."""
        turned = x.clone()
        for row, places in enumerate(self.places):
            backwards = places.flip(0)
            turned[places, row] = x[backwards, row]
        return turned

    def run(
        self, rnn: nn.Module, x: Float[Tensor, "steps batch dim"], start: State
    ) -> tuple[Float[Tensor, "steps batch size"], State]:
        """Return the states, 0 at masked steps, and h and c after the last step of each row."""
        steps = len(x)
        size = start[0].shape[-1]
        columns: list[Tensor] = []
        finals: list[State] = []

        for row, places in enumerate(self.places):
            one = slice(row, row + 1)  # keeps the axis of the batch
            state = tuple(part[:, one] for part in start)  # each (1, 1, size)
            states = x.new_zeros(steps, 1, size)

            # torch raises on an empty sequence
            if len(places):
                real = x[places, one]  # (real steps, 1, dim)
                out, state = run_layer(rnn, real, state)
                states = states.index_copy(0, places, out)

            columns.append(states)
            finals.append(state)

        joined = torch.cat(columns, 1)  # (T, B, size)
        final = [torch.cat(parts, 1) for parts in zip(*finals, strict=True)]
        return joined, tuple(final)
