"""Multi-head attention (Vaswani et al. 2017) with one fused projection, key masks or biases.

Notable:

- :meth:`MultiHeadAttention._attend_plainly` is the definition; the other ways give the same numbers
  and are chosen where they are fastest, unless ``nn.plain`` asks for the definition;
- torch's fused kernel, wherever there is no dropout or no CPU;
- on a CPU in training, self-attention whose gradient is written out (``dropout_attention.py``);
- where all samples share few queries, such as labels, attention that never projects the memory.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn.dropout import dropout
from emotailor.nn.dropout_attention import dropout_attention
from emotailor.nn.exporting import attention_layer, is_exporting
from emotailor.nn.plain import is_plain


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


def join_heads(x: Float[Tensor, "batch heads steps _"]) -> Float[Tensor, "batch steps _"]:
    """Undo :func:`split_heads`."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention over ``heads`` heads.

    Args:
        size: width d of queries, memory and output.
        heads: number of heads; divides ``size``.
        dropout: dropout rate of the attention weights.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.size = size
        self.heads = heads
        self.dropout = dropout
        self.in_proj = nn.Linear(size, 3 * size)  # query, key, value stacked in this order
        self.out_proj = nn.Linear(size, size)

    @property
    def _rate(self) -> float:
        """The dropout rate at this moment: 0 in evaluation."""
        return self.dropout if self.training else 0.0

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
        shown = None
        if mask is not None:
            shown = attendable(mask)

        # four ways to the same numbers
        mixed: Tensor
        weights: Tensor | None
        if is_plain():
            mixed, weights = self._attend_plainly(
                queries,
                memory,
                shown,
                bias,
            )
        elif memory is None:
            qkv = self.in_proj(queries)  # (B, T, 3 d)
            mixed, weights = attend_itself(
                qkv,
                shown,
                bias,
                heads=self.heads,
                rate=self._rate,
                need_weights=need_weights,
            )
        elif queries.shape[0] == 1 and bias is None:
            mixed, weights = self._share_queries(queries[0], memory, shown)
        else:
            q, k, v = self._project(queries, memory)
            added = _score_bias(shown, bias, q.dtype)
            mixed, weights = _attend(
                q,
                k,
                v,
                added,
                heads=self.heads,
                rate=self._rate,
                need_weights=need_weights,
            )

        out = self.out_proj(mixed)  # (B, Q, d)
        if not need_weights:
            return out, None
        return out, weights

    def _project(
        self,
        queries: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"],
    ) -> tuple[
        Float[Tensor, "qbatch queries size"],
        Float[Tensor, "batch keys size"],
        Float[Tensor, "batch keys size"],
    ]:
        """Return projected queries, keys and values."""
        # of the three maps stacked in ``in_proj``, the first is that of the queries
        size = self.size
        weight = self.in_proj.weight  # (3 d, d)
        offset = self.in_proj.bias
        q = F.linear(queries, weight[:size], offset[:size])

        # keys and values by one product
        kv = F.linear(memory, weight[size:], offset[size:])  # (B, S, 2 d)
        k, v = kv.chunk(2, -1)
        return q, k, v

    def _attend_plainly(
        self,
        queries: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"] | None,
        shown: Bool[Tensor, "batch keys"] | None,
        bias: Float[Tensor, "batch 1 _ keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"]]:
        """Attend as the definition says: softmax(Q K^T / sqrt(d / heads) + bias) V."""
        if memory is None:
            memory = queries
        q, k, v = self._project(queries, memory)
        q = split_heads(q, self.heads)  # (B or 1, heads, Q, d / heads)
        k = split_heads(k, self.heads)  # (B, heads, S, d / heads)
        v = split_heads(v, self.heads)

        width = q.shape[-1]  # d / heads
        products = q @ k.mT  # (B, heads, Q, S)
        scores = products / width**0.5
        added = _score_bias(shown, bias, scores.dtype)
        if added is not None:
            scores = scores + added

        # the weights returned are those before dropout
        weights = scores.softmax(-1)
        dropped = dropout(weights, self._rate)
        mixed = dropped @ v  # (B, heads, Q, d / heads)
        return join_heads(mixed), weights

    def _share_queries(
        self,
        queries: Float[Tensor, "queries size"],
        memory: Float[Tensor, "batch keys size"],
        shown: Bool[Tensor, "batch keys"] | None,
    ) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"]]:
        """Attend from the same few queries to every memory, without projecting the memory.

        Keys: q (W_k m + b_k) = (W_k^T q) m + q b_k, and the last term, the same for all keys, does
        not change a softmax. So W_k is applied to the queries. Values: the weighted mean of
        W_v m + b_v is W_v applied to the weighted mean of m, plus b_v times the sum of the weights
        (1 without dropout). So heads * Q vectors meet the memory instead of 2 d; by an estimate
        that saves 3 % of all products of TAILOR (docs/performance.md).
        """
        batch = memory.shape[0]
        count = queries.shape[0]
        heads = self.heads
        size = self.size // heads  # width of a head
        query_weight, key_weight, value_weight = self.in_proj.weight.chunk(3)
        query_bias, _, value_bias = self.in_proj.bias.chunk(3)

        q = F.linear(queries, query_weight, query_bias)  # (Q, d)
        q = q.view(count, heads, size)
        q = q.transpose(0, 1)  # (heads, Q, size)
        q = q * size**-0.5

        # with W_k applied, the queries meet the memory itself
        key_maps = key_weight.view(heads, size, -1)  # (heads, size, d)
        folded = q @ key_maps  # (heads, Q, d)
        folded = folded.flatten(0, 1)  # (heads * Q, d)

        scores = folded @ memory.mT  # (B, heads * Q, S)
        scores = scores.view(batch, heads, count, -1)
        if shown is not None:
            hidden = additive(shown, scores.dtype)  # (B, S)
            scores = scores + hidden[:, None, None, :]
        weights = scores.softmax(-1)
        dropped = dropout(weights, self._rate)

        # the memory is averaged first, and only the means go through W_v
        together = dropped.flatten(1, 2)  # (B, heads * Q, S)
        means = together @ memory  # (B, heads * Q, d)
        means = means.view(batch, heads, count, -1)
        value_maps = value_weight.view(heads, size, -1)  # (heads, size, d)
        mixed = means @ value_maps.mT  # (B, heads, Q, size)

        # with dropout the weights of a query need not sum to 1
        total = dropped.sum(-1, keepdim=True)  # (B, heads, Q, 1)
        offset = total * value_bias.view(heads, 1, size)
        return join_heads(mixed + offset), weights


def attend_itself(
    qkv: Float[Tensor, "batch steps _"],
    shown: Bool[Tensor, "batch steps"] | None,
    bias: Float[Tensor, "batch 1 _ steps"] | None = None,
    *,
    heads: int,
    rate: float,
    need_weights: bool = False,
) -> tuple[Float[Tensor, "batch steps size"], Float[Tensor, "batch heads steps steps"] | None]:
    """Let every step attend to every step, given its projections.

    Args:
        qkv: (B, T, 3 d), queries, keys and values side by side.
        shown: (B, T), True at steps that may be attended; at least one in each row.
        bias: (B, 1, T or 1, T), added to the scores in place of ``shown``.
        heads: number of heads; divides d.
        rate: probability with which a weight is dropped; 0 in evaluation.
        need_weights: also return the weights (B, heads, T, T), without dropout.
    """
    # the written-out gradient knows neither biases per query nor other precisions
    on_cpu = qkv.device.type == "cpu"
    single = qkv.dtype == torch.float32
    simple = bias is None and not need_weights
    written_out = rate > 0 and on_cpu and single and simple and not is_plain()
    if not written_out:
        q, k, v = qkv.chunk(3, -1)
        added = _score_bias(shown, bias, qkv.dtype)
        return _attend(q, k, v, added, heads=heads, rate=rate, need_weights=need_weights)

    # adding zeros everywhere would cost time
    hidden = None
    if shown is not None and not bool(shown.all()):
        hidden = additive(shown, qkv.dtype)

    mixed = dropout_attention(qkv, hidden, heads, rate)
    return mixed, None


def _attend(
    q: Float[Tensor, "batch queries size"],
    k: Float[Tensor, "batch keys size"],
    v: Float[Tensor, "batch keys size"],
    added: Float[Tensor, "batch 1 _ keys"] | None,
    *,
    heads: int,
    rate: float,
    need_weights: bool,
) -> tuple[Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None]:
    """Attend with projected queries, keys and values, by torch's fused kernel if possible."""
    if is_exporting() and not need_weights:
        return attention_layer(*_of_one_batch(q, k, v, added), heads), None

    q = split_heads(q, heads)  # (B, heads, Q, d / heads)
    k = split_heads(k, heads)  # (B, heads, S, d / heads)
    v = split_heads(v, heads)

    # torch's dropout is slow on a CPU, so there the weights are computed and dropped out here
    own_dropout = rate > 0 and q.device.type == "cpu"
    weights = None
    if need_weights or own_dropout:
        # the scale goes to the queries, d / heads numbers each, instead of S scores each
        width = q.shape[-1]
        scaled = q * width**-0.5
        scores = scaled @ k.mT  # (B, heads, Q, S)
        if added is not None:
            scores += added
        weights = scores.softmax(-1)

    if weights is not None and own_dropout:
        dropped = dropout(weights, rate)
        mixed = dropped @ v  # (B, heads, Q, d / heads)
    else:
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=added,
            dropout_p=rate,
        )
    return join_heads(mixed), weights


def _of_one_batch(
    q: Float[Tensor, "qbatch queries size"],
    k: Float[Tensor, "batch keys size"],
    v: Float[Tensor, "batch keys size"],
    added: Float[Tensor, "batch 1 _ keys"] | None,
) -> tuple[
    Float[Tensor, "batch queries size"],
    Float[Tensor, "batch keys size"],
    Float[Tensor, "batch keys size"],
    Float[Tensor, "batch 1 queries keys"] | None,
]:
    """Return the same with as many rows in all: what runs a graph repeats none by itself."""
    batch, keys, _ = k.shape
    if added is not None:
        added = added.expand(batch, 1, q.shape[1], keys)
    return q.expand(batch, -1, -1), k, v, added


def _score_bias(
    shown: Bool[Tensor, "batch keys"] | None,
    bias: Float[Tensor, "batch 1 _ keys"] | None,
    dtype: torch.dtype,
) -> Float[Tensor, "batch 1 _ keys"] | None:
    """Return what is added to the scores (B, heads, Q, S): a mask's bias, or the given one."""
    if shown is not None:
        hidden = additive(shown, dtype)  # (B, S)
        return hidden[:, None, None, :]  # the same for all heads and queries
    if bias is not None:
        return bias.to(dtype)
    return None
