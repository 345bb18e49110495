"""Which precision training steps run in, and how fast this machine is in each."""

import time
from functools import lru_cache
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
BF16_PAYS = 1.5
"""How many times as fast as in fp32 a matrix product must be for bf16 to be taken on a CPU."""
SIZE = 512  # rows and columns of the matrix that decides: 3 ms on two cores


def matmul_rate(dtype: torch.dtype, device: str, *, size: int = 1024, repeats: int = 5) -> float:
    """Return the operations a second of a square matrix product, the median of some.

    Args:
        dtype: number format.
        device: the device.
        size: rows and columns of the matrix.
        repeats: products that are timed.
    """
    matrix = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for _ in range(repeats + 1):
        began = time.monotonic()
        product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        seconds.append(time.monotonic() - began)

    # the first one includes the start of the library
    measured = sorted(seconds[1:])
    median = measured[repeats // 2]

    # each of size**2 numbers takes size products and sums
    operations = 2 * size**3
    return operations / max(median, 1e-9)


@lru_cache
def bf16_gain(device: str) -> float:
    """Return how many times as fast as in fp32 a matrix product in bf16 is; measured once.

    CPUs with units for it (AMX, AVX512-BF16 of some makers) reach 2 to 8, others less than 1.
    """
    return matmul_rate(torch.bfloat16, device, size=SIZE) / matmul_rate(
        torch.float32, device, size=SIZE
    )


def chosen_precision(wanted: str, device: torch.device) -> Precision:
    """Return what training steps run in; validation always runs in fp32.

    Args:
        wanted: ``training.precision``; ``auto`` is bf16 on a GPU that has it, and on a CPU on which
            it is at least :data:`BF16_PAYS` times as fast.
        device: trained on.
    """
    if wanted != "auto":
        return "bf16" if wanted == "bf16" else "fp32"

    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu":
        return "bf16" if bf16_gain("cpu") >= BF16_PAYS else "fp32"
    return "fp32"


def earlier_precision(wanted: str, device: torch.device) -> Precision:
    """Return what the steps of a training ran in whose checkpoint does not say it.

    Before it was written down, ``auto`` meant fp32 on every CPU.
    """
    if wanted == "auto" and device.type == "cpu":
        return "fp32"
    return chosen_precision(wanted, device)
