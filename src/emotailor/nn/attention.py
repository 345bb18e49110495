"""Multi-head attention (Vaswani et al. 2017) with one fused projection and key masks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn.dropout import dropout


def attendable(mask: Bool[Tensor, "batch keys"]) -> Bool[Tensor, "batch keys"]:
    """Let rows without any real key attend everywhere, since a softmax over nothing is NaN.

    Such a row is a missing modality; whatever it yields is masked out later.
    """
    return mask | ~mask.any(-1, keepdim=True)


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

    def _split(self, x: Float[Tensor, "batch steps _"]) -> Float[Tensor, "batch heads steps _"]:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(
        self,
        queries: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"] | None = None,
        mask: Bool[Tensor, "batch keys"] | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None
    ]:
        """Attend from ``queries`` to ``memory`` (to themselves without it).

        Args:
            queries: (B, Q, d); a batch of one serves every row of ``memory``.
            memory: (B, S, d).
            mask: (B, S), True at keys that may be attended.
            need_weights: also return the weights (B, heads, Q, S), without dropout.
        """
        if memory is None:
            q, k, v = (self._split(x) for x in self.in_proj(queries).chunk(3, -1))
        else:
            weight, bias = self.in_proj.weight, self.in_proj.bias
            q = self._split(F.linear(queries, weight[: self.size], bias[: self.size]))
            projected = F.linear(memory, weight[self.size :], bias[self.size :])
            k, v = (self._split(x) for x in projected.chunk(2, -1))
            q = q.expand(len(k), -1, -1, -1)
        bias_mask = None if mask is None else attendable(mask)[:, None, None, :]
        weights = None
        rate = self.dropout if self.training else 0.0
        explicit = rate > 0 and q.device.type == "cpu"  # torch's own dropout is slow there
        if need_weights or explicit:
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if bias_mask is not None:
                scores += torch.zeros_like(bias_mask, dtype=q.dtype).masked_fill(
                    ~bias_mask, -torch.inf
                )
            weights = scores.softmax(-1)
        if explicit and weights is not None:
            out = dropout(weights, rate) @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_mask, dropout_p=rate)
        return self.out_proj(out.transpose(1, 2).flatten(2)), weights if need_weights else None
