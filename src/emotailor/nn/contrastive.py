"""Supervised contrastive loss over a batch and a queue.

Notable:

- the matrix of all pairs never exists: its rows are computed in parts, in the gradient once more;
- the plain way of ``nn.plain`` forms it, as the equation does.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from emotailor.nn.plain import is_plain

CHUNK = 128
"""Rows of the matrix of similarities that exist at a time."""


def _scores(
    features: Float[Tensor, "rows size"], start: int, end: int, temperature: float
) -> Float[Tensor, "part rows"]:
    """At most CHUNK rows, from ``start`` to ``end``, of F F^T / tau, -inf on its diagonal."""
    end = min(start + CHUNK, end)
    part = features[start:end] / temperature
    scores = part @ features.T  # (part, N)
    scores.diagonal(start).fill_(-torch.inf)
    return scores


class _LogSumExp(torch.autograd.Function):
    """``log sum_{k != i} exp(f_i . f_k / tau)`` of each row i; (N, p) -> (N,).

    Only the first ``learned`` rows get a gradient. The scores are symmetric, so the scores of these
    rows hold all it needs, for their own sums and for the sums of the others that they are part of.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, temperature: float, learned: int) -> Tensor:
        size = len(features)
        parts = [
            _scores(features, start, size, temperature).logsumexp(1)
            for start in range(0, size, CHUNK)
        ]
        sums = torch.cat(parts)

        ctx.save_for_backward(features, sums)
        ctx.temperature = temperature
        ctx.learned = learned
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of row i is sum_k (s_ik g_i + s_ki g_k) f_k / tau.

        Here g is the incoming gradient and s_ik the softmax of row i at k.
        """
        features, sums = ctx.saved_tensors
        found = torch.zeros_like(features)

        for start in range(0, ctx.learned, CHUNK):
            scores = _scores(
                features,
                start,
                ctx.learned,
                ctx.temperature,
            )
            rows = slice(start, start + len(scores))

            # s_ik g_i
            shares = (scores - sums[rows, None]).exp_()
            weights = shares.mul_(gradient[rows, None])
            # s_ki g_k, of the same scores
            shares = scores.sub_(sums).exp_()
            weights += shares.mul_(gradient)

            found[rows] = weights @ features

        return found / ctx.temperature, None, None


def _plain_log_sum_exp(
    features: Float[Tensor, "rows size"], temperature: float
) -> Float[Tensor, "rows"]:
    """The same sums from the matrix of all pairs, for all rows."""
    scores = features @ features.T / temperature  # (N, N)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    return scores.masked_fill(itself, -torch.inf).logsumexp(1)


class ContrastiveQueue(nn.Module):
    """The last rows of earlier batches with their classes, without gradients.

    Everything is in buffers, so that a resumed training has the same rows.

    Args:
        start: (Q, p), the first rows; their class is -1, which means none.
    """

    rows: Float[Tensor, "queued size"]
    classes: Int64[Tensor, "queued"]
    pointer: Int64[Tensor, ""]

    def __init__(self, start: Float[Tensor, "queued size"]) -> None:
        super().__init__()
        self.register_buffer("rows", start)
        self.register_buffer("classes", torch.full((len(start),), -1))
        self.register_buffer("pointer", torch.tensor(0))

    def add(self, rows: Float[Tensor, "rows size"], classes: Int64[Tensor, "rows"]) -> None:
        """Write rows from the pointer on, around the end; of too many the last ones stay."""
        size = len(self.rows)
        added = len(rows)
        offsets = torch.arange(added, device=rows.device)
        places = (self.pointer + offsets) % size

        # of too many the last ones stay
        places = places[-size:]
        rows = rows[-size:]
        self.rows[places] = rows.detach()
        self.classes[places] = classes[-size:]

        self.pointer.add_(added)
        self.pointer.remainder_(size)


def supervised_contrast(
    rows: Float[Tensor, "rows size"],
    classes: Int64[Tensor, "rows"],
    queue: ContrastiveQueue,
    temperature: float,
) -> Float[Tensor, ""]:
    """Supervised contrastive loss (Khosla et al. 2020) in which every row is an anchor.

    The mean over the N anchors i, of batch and queue, of
    ``-1/|P(i)| sum_{j in P(i)} log softmax_{k != i}(f_i . f_k / tau)_j``, where P(i) are the other
    rows of its class; an anchor without any adds 0. Time grows with N^2, memory with N.

    Args:
        rows: (n, p) of unit length.
        classes: (n,), from 0.
        queue: rows of earlier batches.
        temperature: tau.
    """
    features = torch.cat([rows, queue.rows])  # (N, p)
    owners = torch.cat([classes, queue.classes])  # (N,)
    known = owners >= 0
    index = owners.clamp(min=0)
    classes_there = int(index.amax()) + 1
    members = torch.bincount(index[known], minlength=classes_there)  # of each class
    others = members[index] - 1  # |P(i)|

    # the sum of f_i . f_j over a class is f_i . (sum of its rows): no matrix of pairs is needed
    zeros = features.new_zeros(len(members), features.shape[1])
    class_sums = zeros.index_add(0, index[known], features[known])
    rest = class_sums[index] - features  # (N, p)
    products = (rest * features).sum(1)
    positive = products / temperature  # (N,)

    sums: Tensor
    if is_plain():
        sums = _plain_log_sum_exp(features, temperature)
    else:
        sums = _LogSumExp.apply(  # type: ignore[no-untyped-call]
            features, temperature, len(rows)
        )

    loss = sums - positive / others.clamp(min=1)
    counted = known & (others > 0)
    return torch.where(counted, loss, 0.0).mean()
