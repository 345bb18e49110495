"""What blocks need to be recorded as a graph that another program will run.

While a graph is recorded, the sizes of batches and sequences are symbols, and what tensors hold is
not known: nothing may ask for either. A block that asks the host on the ordinary path, to leave out
what a batch does not need, records the way that is right for every batch.

torch takes a recurrent layer apart into one step after the other, as many as the recorded batch
has. So such a layer is recorded as the operator that ONNX has for it: :func:`lstm_layer`,
:func:`gru_layer`. Other loops over steps stay loops by :func:`over_steps`. Attention is one
operator, too (:func:`attention_layer`): ONNX Runtime computes it faster than its parts.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

OPSET = 20
"""The version of ONNX's operators."""

_LSTM_GATES = (0, 3, 1, 2)
"""The gates of torch (input, forget, proposed, output) in the order of ONNX."""

_GRU_GATES = (1, 0, 2)
"""The gates of torch (reset, update, new) in the order of ONNX."""


def is_exporting() -> bool:
    """Return whether a graph is being recorded by ``torch.export``."""
    return torch.compiler.is_exporting()


def over_steps(
    step: Callable[[Tensor, tuple[Tensor, ...]], Tensor], start: Tensor, given: tuple[Tensor, ...]
) -> Tensor:
    """Return the state after every step of a loop that a graph keeps as a loop.

    Args:
        step: (state, what is given of a step) -> the next state, of the same shape.
        start: the state before the first step.
        given: what the steps read, each (T, ...).

    Returns:
        (T, ...), the states.
    """
    from torch._higher_order_ops.scan import scan

    def keeping(state: Tensor, one: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        new = step(state, one)
        return new, new.clone()  # two outputs may not be one tensor

    found: Tensor
    _, found = scan(keeping, start, given, dim=0)
    return found


def lstm_layer(
    x: Float[Tensor, "steps batch dim"],
    lengths: Int64[Tensor, "batch"],
    start: tuple[Float[Tensor, "1 batch size"], Float[Tensor, "1 batch size"]],
    rnn: nn.LSTM,
) -> tuple[
    Float[Tensor, "steps batch size"], Float[Tensor, "1 batch size"], Float[Tensor, "1 batch size"]
]:
    """Return states, 0 behind the real steps, and state and cells after the last real step.

    Args:
        x: (T, B, dim).
        lengths: (B,), at least 1: how many steps of each row are real; they come first.
        start: state and cells before the first step.
        rnn: one direction of one layer.
    """
    steps, batch, _ = x.shape
    size = rnn.hidden_size
    shapes = ((steps, 1, batch, size), (1, batch, size), (1, batch, size))
    states, h, c = torch.onnx.ops.symbolic_multi_out(
        "LSTM",
        (x, *_in_order(rnn, _LSTM_GATES), lengths.int(), *start),
        {"hidden_size": size},
        dtypes=[x.dtype] * 3,
        shapes=shapes,
        version=OPSET,
    )
    return states.squeeze(1), h, c  # ONNX has an axis of directions


def gru_layer(
    x: Float[Tensor, "steps batch dim"],
    lengths: Int64[Tensor, "batch"],
    start: tuple[Float[Tensor, "1 batch size"]],
    rnn: nn.GRU,
) -> tuple[Float[Tensor, "steps batch size"], Float[Tensor, "1 batch size"]]:
    """Return what :func:`lstm_layer` returns, without cells."""
    steps, batch, _ = x.shape
    size = rnn.hidden_size
    states, h = torch.onnx.ops.symbolic_multi_out(
        "GRU",
        (x, *_in_order(rnn, _GRU_GATES), lengths.int(), *start),
        # torch multiplies with the reset gate behind the linear map
        {"hidden_size": size, "linear_before_reset": 1},
        dtypes=[x.dtype] * 2,
        shapes=((steps, 1, batch, size), (1, batch, size)),
        version=OPSET,
    )
    return states.squeeze(1), h


def _in_order(rnn: nn.RNNBase, order: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights W (1, gates H, dim), R (1, gates H, H) and B (1, 2 gates H) of ONNX."""
    ordered = []
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        gates = getattr(rnn, name).chunk(len(order))
        ordered.append(torch.cat([gates[k] for k in order]))

    w_ih, w_hh, b_ih, b_hh = ordered
    return w_ih[None], w_hh[None], torch.cat([b_ih, b_hh])[None]


def attention_layer(
    q: Float[Tensor, "batch queries size"],
    k: Float[Tensor, "batch keys size"],
    v: Float[Tensor, "batch keys size"],
    added: Float[Tensor, "batch 1 queries keys"] | None,
    heads: int,
) -> Float[Tensor, "batch queries size"]:
    """Attend with projected queries, keys and values; ``added`` goes to the scores of all heads."""
    found: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (q, k, v, None, None, added),
        {"num_heads": heads},
        dtype=q.dtype,
        shape=q.shape,
        version=1,
    )
    return found
