"""Gradient reversal, masked modality classification and the orthogonality of two subspaces."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from emotailor.nn.plain import is_plain


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def reverse_gradient(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ``x``; its gradient is multiplied by -1 (Ganin and Lempitsky 2015)."""
    return _ReverseGradient.apply(x)  # type: ignore[no-untyped-call]


def step_cross_entropy(
    logits: Float[Tensor, "batch steps classes"],
    target: int,
    mask: Bool[Tensor, "batch steps"] | None,
) -> Float[Tensor, ""]:
    """Cross-entropy of one class for every real step (TAILOR, Eq. 4 and 5).

    Averaged over the steps of each sample, then over the samples (the 1/n of the equations); a
    sample without any real step adds nothing.
    """
    log_probabilities = F.log_softmax(logits, -1)  # (B, T, classes)
    of_steps = -log_probabilities[..., target]  # (B, T)
    if mask is None:
        return of_steps.mean()

    # a long sample counts as much as a short one
    steps = mask.sum(1).clamp(min=1)
    totals = (of_steps * mask).sum(1)  # (B,)
    of_samples = totals / steps
    return of_samples.mean()


def squared_overlap(
    x: Float[Tensor, "batch xsteps size"], y: Float[Tensor, "batch ysteps size"]
) -> Float[Tensor, ""]:
    """Mean over the batch of the squared Frobenius norm of X Y^T (Eq. 6).

    ||X Y^T||_F^2 = <X^T X, Y^T Y>: whichever product is smaller is formed.
    """
    shorter = min(x.shape[1], y.shape[1])
    narrow = x.shape[2] < shorter
    if narrow and not is_plain():
        # two products of d x d numbers, none over pairs of steps
        within_x = x.mT @ x  # (B, d, d)
        within_y = y.mT @ y
        products = within_x * within_y
        of_samples = products.sum((1, 2))  # (B,)
        return of_samples.mean()

    # as the equation says
    overlap = x @ y.mT  # (B, Tx, Ty)
    squares = overlap.square()
    of_samples = squares.sum((1, 2))  # (B,)
    return of_samples.mean()
