"""What torch's exporter to ONNX does not know: stable sorting."""

from collections.abc import Callable
from typing import Any

import torch

_INT64 = 7  # of ONNX's types


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return operation of torch -> function that puts it into a graph."""
    return {torch.ops.aten.sort.stable: _sort}


def _sort(x: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
    """Sort integers and truth values; of equal ones TopK takes the first."""
    from onnxscript import opset20 as op

    axis = dim % len(x.shape)
    keys = op.Cast(x, to=_INT64)
    count = op.Shape(x, start=axis, end=axis + 1)
    return op.TopK(keys, count, axis=axis, largest=int(descending), sorted=1)
