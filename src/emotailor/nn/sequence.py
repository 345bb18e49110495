"""Reading through masks: means, maxima, last steps, softmax, carrying, compaction.

A mask is True at real steps. Real steps usually come first, but need not: an explanation hides
steps in the middle. A row without any real step is a missing modality.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def masked_mean(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return the mean over the real steps; 0 where there are none."""
    real = mask[..., None].to(x.dtype)
    return (x * real).sum(1) / real.sum(1).clamp(min=1)


def mean_present(x: Float[Tensor, "*shape"], present: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean over all that is there, such as modalities of samples; 0 where none is."""
    return (x * present).sum() / present.sum().clamp(min=1)


def masked_max(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return the maximum over the real steps; 0 where there are none."""
    real = x.masked_fill(~mask[..., None], -torch.inf)
    return torch.where(mask.any(1, keepdim=True), real.amax(1), 0.0)


def masked_softmax(
    scores: Float[Tensor, "batch *_ steps"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch *_ steps"]:
    """Return the softmax over the real steps (last axis); zeros where there are none."""
    between = [1] * (scores.ndim - 2)  # axes between the batch and the steps
    shown = mask.reshape(len(mask), *between, mask.shape[1])

    lowest = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~shown, lowest).softmax(-1)
    return weights * shown


def span(mask: Bool[Tensor, "batch steps"]) -> Int64[Tensor, "batch"]:
    """Return how many steps each row has up to its last real one; 0 where there is none."""
    steps = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (mask * steps).amax(1)


def last_real(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return each row's values at its last real step; 0 where there is none."""
    count = span(mask)
    rows = torch.arange(len(x), device=x.device)
    found = x[rows, (count - 1).clamp(min=0)]
    return found * (count > 0)[:, None]


def carried(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps size"]:
    """Return at each step the values at the last real step so far; 0 before the first."""
    steps = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    last = (mask * steps).cummax(1).values  # from 1 on; 0 before the first real step
    with_zeros = F.pad(x, (0, 0, 1, 0))
    index = last[..., None].expand(-1, -1, x.shape[2])
    return with_zeros.gather(1, index)


def has_gaps(mask: Bool[Tensor, "batch steps"]) -> bool:
    """Return whether a real step of some row comes after a masked one."""
    late = mask[:, 1:] & ~mask[:, :-1]
    return bool(late.any())


def compact(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> tuple[
    Float[Tensor, "batch steps size"], Bool[Tensor, "batch steps"], Int64[Tensor, "batch steps"]
]:
    """Move the real steps of each row to its front, in their order.

    Returns:
        The moved values (what follows the real steps is arbitrary), their mask, and ``order``: row
        i, step t of the result is step ``order[i, t]`` of ``x``.
    """
    order = torch.sort(~mask, dim=1, stable=True).indices
    index = order[..., None].expand(-1, -1, x.shape[2])
    return x.gather(1, index), mask.gather(1, order), order


def scatter_back(
    x: Float[Tensor, "batch steps size"], order: Int64[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps size"]:
    """Undo :func:`compact`: put each step back where it was."""
    index = order[..., None].expand(-1, -1, x.shape[2])
    return torch.zeros_like(x).scatter(1, index, x)
