"""Central moment discrepancy: the distance of two distributions by their moments.

Zellinger et al.: Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning.
ICLR 2017. For variables on an interval of length 1, such as the outputs of a sigmoid:

    CMD_K(X, Y) = ||E(X) - E(Y)|| + sum over k = 2..K of ||C_k(X) - C_k(Y)||,

where C_k is the k-th central moment of each component.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def central_moments(
    x: Float[Tensor, "*groups rows size"], mask: Bool[Tensor, "*groups rows"], count: int
) -> Float[Tensor, "*groups count size"]:
    """Return the mean and the central moments 2 to ``count`` of every component over the rows.

    Args:
        x: (..., N, d).
        mask: (..., N), True at rows that count; what others hold must be finite.
        count: K, at least 1.

    Returns:
        (..., K, d), in single precision at least; 0 where no row counts.
    """
    # fifth powers vanish in half precision
    precise = torch.promote_types(x.dtype, torch.float32)
    x = x.to(precise)

    real = mask[..., None]  # (..., N, 1)
    rows = real.sum(-2, keepdim=True)
    rows = rows.clamp(min=1)

    total = (x * real).sum(-2, keepdim=True)
    mean = total / rows  # (..., 1, d)
    centred = (x - mean) * real

    moments = [mean]
    power = centred
    for _ in range(count - 1):
        power = power * centred
        total = power.sum(-2, keepdim=True)
        moments.append(total / rows)

    return torch.cat(moments, -2)


def moment_distance(
    x: Float[Tensor, "*groups count size"], y: Float[Tensor, "*groups count size"]
) -> Float[Tensor, "*groups"]:
    """Return the sum over the moments of the distance of ``x`` and ``y`` (..., K, d).

    Where two moments are equal, as in a batch of one, the gradient of their distance is 0.
    """
    return torch.linalg.vector_norm(x - y, dim=-1).sum(-1)
