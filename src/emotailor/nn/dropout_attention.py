"""Self-attention with dropout on its weights, fast on a CPU: its gradient is written out.

Notable:

- torch's fused kernel has no dropout on a CPU, and torch's own dropout is slow there;
- heads are taken apart and put together by one copy each way;
- everything between happens in chunks that fit the cache, in place where possible;
- the gradient needs no dropout mask beside the dropped-out weights (see ``_Attend.backward``).

Together they save 18 % of attention at 240 steps, 10 % at 60 and nothing at 20
(docs/performance.md).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from emotailor.nn.dropout import KeepWeights, draw_seed

CHUNK = 2**18  # attention weights computed at once: what the second-level cache holds


def dropout_attention(
    qkv: Float[Tensor, "batch steps _"],
    bias: Float[Tensor, "batch steps"] | None,
    heads: int,
    rate: float,
) -> Float[Tensor, "batch steps size"]:
    """Attend from every step to every step.

    Args:
        qkv: (B, T, 3 d), queries, keys and values side by side; single precision, on a CPU.
        bias: (B, T), added to the scores of each key; 0, or minus infinity to hide it.
        heads: number of heads; divides d.
        rate: probability with which a weight is dropped.
    """
    out: Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
        qkv, bias, heads, rate, draw_seed()
    )
    return out


class _Attend(torch.autograd.Function):
    """softmax(Q K^T / sqrt(size) + bias), dropped out, times V, for each head by itself.

    Names: Q, K, V (rows, T, size), where a row is one head of one sample; P the weights, D the
    dropped-out weights, both (rows, T, T); O = D V.
    """

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, qkv: Tensor, bias: Tensor | None, heads: int, rate: float, seed: int
    ) -> Tensor:
        batch, steps, width = qkv.shape
        size = width // 3 // heads  # width of a head
        count = batch * heads  # rows

        # one copy takes the heads apart; a clone, since with one sample of one step contiguous()
        # would be the input itself, which must not be scaled
        parts = qkv.view(batch, steps, 3, heads, size)
        parts = parts.permute(2, 0, 3, 1, 4)  # (3, B, heads, T, size)
        parts = parts.clone(memory_format=torch.contiguous_format)
        parts = parts.view(3, count, steps, size)
        q, k, v = parts.unbind(0)
        q.mul_(size**-0.5)

        # the gradient needs all of them; the chunks below are views
        weights = qkv.new_empty(count, steps, steps)
        dropped = torch.empty_like(weights)
        mixed = torch.empty_like(q)
        kept = KeepWeights(rate, seed)

        # every head of a sample has the same bias
        row_bias = None
        if bias is not None:
            repeated = bias.repeat_interleave(heads, 0)
            row_bias = repeated[:, None, :]  # (rows, 1, T)

        for rows in _chunks(weights):
            p = weights[rows]
            torch.bmm(q[rows], k[rows].mT, out=p)
            if row_bias is not None:
                p += row_bias[rows]
            torch.softmax(p, -1, out=p)

            # the dropout mask is drawn where D will lie
            d = dropped[rows]
            kept.draw(tuple(p.shape), out=d)
            d.mul_(p)
            torch.bmm(d, v[rows], out=mixed[rows])

        ctx.save_for_backward(parts, weights, dropped)

        # one copy puts the heads together
        out = mixed.view(batch, heads, steps, size)
        out = out.transpose(1, 2)  # (B, T, heads, size)
        return out.flatten(2)  # (B, T, d)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """With the gradient G of D, the gradient of the scores is D G - P sum(D G).

        The derivative of the softmax would have P times the dropout mask in place of D. The two are
        the same, since D = P times mask.
        """
        parts, weights, dropped = ctx.saved_tensors
        _, count, steps, size = parts.shape
        batch = len(gradient)
        heads = count // batch
        q, k, v = parts.unbind(0)

        # views of one tensor, so that one copy brings the three gradients to their places in qkv
        grads = torch.empty_like(parts)
        grad_q, grad_k, grad_v = grads.unbind(0)

        grad_out = gradient.reshape(batch, steps, heads, size)
        grad_out = grad_out.transpose(1, 2)  # (B, heads, T, size)
        grad_out = grad_out.reshape(count, steps, size)

        for rows in _chunks(weights):
            d = dropped[rows]
            g = grad_out[rows]
            torch.bmm(d.mT, g, out=grad_v[rows])

            # the gradient of the scores, in place in G
            grad_scores = torch.bmm(g, v[rows].mT)  # G
            grad_scores.mul_(d)  # D G
            total = grad_scores.sum(-1, keepdim=True)
            grad_scores.addcmul_(weights[rows], total, value=-1)  # D G - P sum(D G)

            torch.bmm(grad_scores, k[rows], out=grad_q[rows])
            torch.bmm(grad_scores.mT, q[rows], out=grad_k[rows])

        # the forward pass scaled the queries; the saved ones above carry the scale already
        grad_q.mul_(size**-0.5)

        grads = grads.view(3, batch, heads, steps, size)
        grads = grads.permute(1, 3, 0, 2, 4)  # (B, T, 3, heads, size)
        grad_qkv = grads.reshape(batch, steps, 3 * heads * size)
        return grad_qkv, None, None, None, None


def _chunks(weights: Float[Tensor, "rows steps steps"]) -> list[slice]:
    """Cut the rows into parts of at most CHUNK weights, or of one row."""
    per_row = weights[0].numel()
    size = max(1, CHUNK // per_row)
    starts = range(0, len(weights), size)
    return [slice(start, start + size) for start in starts]
