"""Reading through masks: means, maxima, first and last steps, softmax, carrying, compaction.

A mask is True at real steps. It is False behind the last step of a sample (padding), where a sample
lacks a step, such as a word without a visible face, and where an explanation hides one. What holds
for padding holds for all of them, wherever they are:

- what a masked step holds is never read: it is not attended to, pooled or counted;
- a recurrent layer carries its state over it, as if the real steps were the whole sequence;
- real steps keep their places: a position is the place in the sample, and a convolution sees zeros
  where a step is masked;
- a row is as long as its last real step is far (:func:`span`); one without any real step is a
  missing modality.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from emotailor.nn.exporting import is_exporting


def cleared(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps size"]:
    """Return 0 at masked steps, whatever they hold, even NaN."""
    masked = ~mask[..., None]  # (B, T, 1)
    return x.masked_fill(masked, 0.0)


def masked_mean(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return the mean over the real steps; 0 where there are none."""
    total = cleared(x, mask).sum(1)  # (B, size)
    count = mask.sum(1, keepdim=True)  # (B, 1)
    return total / count.clamp(min=1)


def mean_present(x: Float[Tensor, "*shape"], present: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean over all that is there, such as modalities of samples; 0 where none is."""
    kept = x * present
    total = kept.sum()
    count = present.sum()
    return total / count.clamp(min=1)


def masked_max(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return the maximum over the real steps; 0 where there are none."""
    some = mask.any(1, keepdim=True)  # (B, 1)
    masked = ~mask[..., None]
    real = x.masked_fill(masked, -torch.inf)
    highest = real.amax(1)  # (B, size)
    return torch.where(some, highest, 0.0)


def masked_softmax(
    scores: Float[Tensor, "batch *_ steps"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch *_ steps"]:
    """Return the softmax over the real steps (last axis); zeros where there are none."""
    between = [1] * (scores.ndim - 2)  # axes between the batch and the steps
    shown = mask.reshape(mask.shape[0], *between, mask.shape[1])

    # not minus infinity: a row of nothing else would become NaN, and so would its gradient
    lowest = torch.finfo(scores.dtype).min
    hidden = scores.masked_fill(~shown, lowest)
    weights = hidden.softmax(-1)
    return weights * shown


def span(mask: Bool[Tensor, "batch steps"]) -> Int64[Tensor, "batch"]:
    """Return how many steps each row has up to its last real one; 0 where there is none."""
    steps = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    places = mask * steps  # 0 at masked steps
    return places.amax(1)


def first_real(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return each row's values at its first real step; 0 where there is none."""
    first = mask.long().argmax(1)  # the first of equal ones
    return _at(x, mask, first)


def last_real(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch size"]:
    """Return each row's values at its last real step; 0 where there is none."""
    last = (span(mask) - 1).clamp(min=0)
    return _at(x, mask, last)


def _at(
    x: Float[Tensor, "batch steps size"],
    mask: Bool[Tensor, "batch steps"],
    places: Int64[Tensor, "batch"],
) -> Float[Tensor, "batch size"]:
    """Return each row's values at one place; 0 for a row without real steps."""
    rows = torch.arange(x.shape[0], device=x.device)
    found = x[rows, places]  # (B, size)
    some = mask.any(1, keepdim=True)  # (B, 1)
    return torch.where(some, found, 0.0)


def carried(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps size"]:
    """Return at each step the values at the last real step so far; 0 before the first."""
    steps, size = x.shape[1:]
    numbers = torch.arange(1, steps + 1, device=mask.device)
    places = mask * numbers  # from 1 on; 0 at masked steps
    if is_exporting():
        # ONNX has no running maximum
        so_far = numbers <= numbers[:, None]  # (T, T)
        last = (places[:, None] * so_far).amax(2)
    else:
        last = places.cummax(1).values  # 0 before the first real step

    # place 0 holds zeros
    with_zeros = F.pad(x, (0, 0, 1, 0))  # (B, 1 + T, size)
    index = last[..., None]
    index = index.expand(-1, -1, size)  # (B, T, size)
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
    # False sorts before True, and a stable sort keeps the order of the real steps
    padding = ~mask
    order = torch.sort(padding, dim=1, stable=True).indices

    # one index for each number of a step
    index = order[..., None]
    index = index.expand(-1, -1, x.shape[2])  # (B, T, size)
    moved = x.gather(1, index)
    moved_mask = mask.gather(1, order)
    return moved, moved_mask, order


def scatter_back(
    x: Float[Tensor, "batch steps size"], order: Int64[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps size"]:
    """Undo :func:`compact`: put each step back where it was."""
    index = order[..., None]
    index = index.expand(-1, -1, x.shape[2])  # (B, T, size)
    empty = torch.zeros_like(x)
    return empty.scatter(1, index, x)
