"""Multi-head attention (Vaswani et al. 2017) with one fused projection, key masks or biases.

Three ways to compute the same thing, chosen by what is fastest: torch's fused kernel; on the CPU in
training, where that kernel has no dropout and torch's own dropout is slow, a function with its
gradient written out; and, where all rows of the batch share few queries (labels), one that never
projects the memory.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from emotailor.nn.dropout import KeepWeights, draw_seed, dropout

CHUNK = 2**18  # attention weights computed at once on a CPU: what its second-level cache holds


def attendable(mask: Bool[Tensor, "batch keys"]) -> Bool[Tensor, "batch keys"]:
    """Let rows without any real key attend everywhere, since a softmax over nothing is NaN.

    Such a row is a missing modality; whatever it yields is masked out later.
    """
    return mask | ~mask.any(-1, keepdim=True)


def additive(mask: Bool[Tensor, "*shape"], dtype: torch.dtype) -> Float[Tensor, "*shape"]:
    """Return 0 where the mask is True and minus infinity elsewhere."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)


def split_heads(
    x: Float[Tensor, "batch steps _"], heads: int
) -> Float[Tensor, "batch {heads} steps _"]:
    """Cut the width of each step into ``heads`` parts; (B, T, d) -> (B, heads, T, d / heads)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)


class _DropoutAttention(torch.autograd.Function):
    """Self-attention with dropout on its weights, on the CPU.

    Written out for speed: heads are taken apart and put together by one copy each way, everything
    between happens in chunks that fit the cache, and the gradient needs no dropout mask: with
    weights P, dropped-out weights D and the gradient G of D, the gradient of the scores is
    D G - P sum(D G).
    """

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, qkv: Tensor, bias: Tensor | None, heads: int, rate: float, seed: int
    ) -> Tensor:
        batch, steps, width = qkv.shape
        size = width // 3 // heads
        # a copy always: with one sample of one step, contiguous() would be the input itself
        parts = qkv.view(batch, steps, 3, heads, size).permute(2, 0, 3, 1, 4)
        parts = parts.clone(memory_format=torch.contiguous_format)
        parts = parts.view(3, batch * heads, steps, size)
        q, k, v = parts.unbind(0)
        q.mul_(size**-0.5)
        weights = qkv.new_empty(batch * heads, steps, steps)
        kept, out = torch.empty_like(weights), torch.empty_like(q)
        source = KeepWeights(rate, seed)
        rows = None if bias is None else bias.repeat_interleave(heads, 0)[:, None, :]
        for part in _chunks(weights):
            p, d = weights[part], kept[part]
            torch.bmm(q[part], k[part].mT, out=p)
            if rows is not None:
                p += rows[part]
            torch.softmax(p, -1, out=p)
            source.draw(tuple(p.shape), out=d).mul_(p)
            torch.bmm(d, v[part], out=out[part])
        ctx.save_for_backward(parts, weights, kept)
        return out.view(batch, heads, steps, size).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        parts, weights, kept = ctx.saved_tensors
        _, rows, steps, size = parts.shape
        batch, heads = len(gradient), rows // len(gradient)
        q, k, v = parts.unbind(0)
        grads = torch.empty_like(parts)
        gq, gk, gv = grads.unbind(0)
        g = gradient.reshape(batch, steps, heads, size).transpose(1, 2).reshape(rows, steps, size)
        for part in _chunks(weights):
            d = kept[part]
            torch.bmm(d.mT, g[part], out=gv[part])
            scores = torch.bmm(g[part], v[part].mT).mul_(d)
            scores.addcmul_(weights[part], scores.sum(-1, keepdim=True), value=-1)
            torch.bmm(scores, k[part], out=gq[part])
            torch.bmm(scores.mT, q[part], out=gk[part])
        gq.mul_(size**-0.5)
        whole = grads.view(3, batch, heads, steps, size).permute(1, 3, 0, 2, 4)
        return whole.reshape(batch, steps, 3 * heads * size), None, None, None, None


def _dropout_attention(
    qkv: Float[Tensor, "batch steps _"],
    bias: Float[Tensor, "batch steps"] | None,
    heads: int,
    rate: float,
) -> Float[Tensor, "batch steps size"]:
    out: Tensor = _DropoutAttention.apply(  # type: ignore[no-untyped-call]
        qkv, bias, heads, rate, draw_seed()
    )
    return out


def _chunks(weights: Tensor) -> list[slice]:
    size = max(1, CHUNK // weights[0].numel())
    return [slice(i, i + size) for i in range(0, len(weights), size)]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention over ``heads`` heads.

    Args:
        size: width d of queries, memory and output.
        heads: number of heads; divides ``size``.
        dropout: on the attention weights.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.size, self.heads, self.dropout = size, heads, dropout
        self.in_proj = nn.Linear(size, 3 * size)  # query, key, value stacked in this order
        self.out_proj = nn.Linear(size, size)

    def forward(
        self,
        queries: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"] | None = None,
        mask: Bool[Tensor, "batch keys"] | None = None,
        *,
        bias: Float[Tensor, "batch 1 _ keys"] | None = None,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None
    ]:
        """Attend from ``queries`` to ``memory`` (to themselves without it).

        Args:
            queries: (B, Q, d); a batch of one serves every row of ``memory``.
            memory: (B, S, d).
            mask: (B, S), True at keys that may be attended; a row without any attends everywhere.
            bias: (B, 1, Q or 1, S), added to the scores in place of a mask.
            need_weights: also return the weights (B, heads, Q, S), without dropout.
        """
        shown = None if mask is None else attendable(mask)
        weights: Tensor | None
        if memory is not None and len(queries) == 1 and bias is None:
            out, weights = self._shared_queries(queries[0], memory, shown)
        elif memory is not None:
            weight, offset = self.in_proj.weight, self.in_proj.bias
            q = F.linear(queries, weight[: self.size], offset[: self.size])
            k, v = F.linear(memory, weight[self.size :], offset[self.size :]).chunk(2, -1)
            out, weights = self._attend(q, k, v, shown, bias, need_weights=need_weights)
        else:
            qkv = self.in_proj(queries)
            cpu = qkv.device.type == "cpu" and qkv.dtype == torch.float32
            if self.training and self.dropout and cpu and bias is None and not need_weights:
                hidden = shown is not None and not bool(shown.all())
                barred = additive(shown, qkv.dtype) if shown is not None and hidden else None
                out = _dropout_attention(qkv, barred, self.heads, self.dropout)
                weights = None
            else:
                q, k, v = qkv.chunk(3, -1)
                out, weights = self._attend(q, k, v, shown, bias, need_weights=need_weights)
        return self.out_proj(out), weights if need_weights else None

    def _attend(
        self,
        q: Float[Tensor, "batch queries size"],
        k: Float[Tensor, "batch keys size"],
        v: Float[Tensor, "batch keys size"],
        shown: Bool[Tensor, "batch keys"] | None,
        bias: Float[Tensor, "batch 1 _ keys"] | None,
        *,
        need_weights: bool,
    ) -> tuple[
        Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None
    ]:
        """Attend with the projected queries, keys and values."""
        q, k, v = (split_heads(x, self.heads) for x in (q, k, v))
        if shown is not None:
            bias = additive(shown, q.dtype)[:, None, None, :]
        elif bias is not None:
            bias = bias.to(q.dtype)
        rate = self.dropout if self.training else 0.0
        explicit = rate > 0 and q.device.type == "cpu"  # torch's own dropout is slow there
        weights = None
        if need_weights or explicit:
            scores = (q * q.shape[-1] ** -0.5) @ k.mT
            if bias is not None:
                scores += bias
            weights = scores.softmax(-1)
        if explicit and weights is not None:
            out = dropout(weights, rate) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=rate)
        return out.transpose(1, 2).flatten(2), weights

    def _shared_queries(
        self,
        queries: Float[Tensor, "queries size"],
        memory: Float[Tensor, "batch keys size"],
        shown: Bool[Tensor, "batch keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"]]:
        """Attend from the same few queries to every memory.

        q (W_k m + b_k) = (W_k^T q) m + const, and the constant does not change a softmax; likewise
        W_v is applied to the weighted mean of the memory. So heads * Q vectors meet the memory
        instead of 2 d.
        """
        h, size = self.heads, self.size // self.heads
        wq, wk, wv = self.in_proj.weight.chunk(3)
        bq, _, bv = self.in_proj.bias.chunk(3)
        q = F.linear(queries, wq, bq).view(-1, h, size).transpose(0, 1) * size**-0.5
        folded = (q @ wk.view(h, size, -1)).flatten(0, 1)  # (heads * Q, d)
        scores = (folded @ memory.mT).view(len(memory), h, len(queries), -1)
        if shown is not None:
            scores = scores + additive(shown, scores.dtype)[:, None, None, :]
        weights = scores.softmax(-1)
        kept = dropout(weights, self.dropout if self.training else 0.0)
        mixed = (kept.flatten(1, 2) @ memory).view(len(memory), h, len(queries), -1)
        out = mixed @ wv.view(h, size, -1).mT + kept.sum(-1, keepdim=True) * bv.view(h, 1, size)
        return out.transpose(1, 2).flatten(2), weights
