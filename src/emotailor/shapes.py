"""Modules as shapes alone: no memory, and nothing drawn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_DRAWS = frozenset({"normal_", "uniform_", "trunc_normal_", "orthogonal_", "bernoulli_"})
"""Functions and methods that fill a tensor with random numbers."""

_KEEPS_SHAPE = _DRAWS | {"normalize"}
"""Those that need not be called, since their result has the shape of their tensor."""


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Build what is built inside on PyTorch's device of shapes, without drawing parameters.

    The device alone would do, but for time: for some functions without values PyTorch loads its
    compiler, which takes 2 seconds and more in each process that loads a model.
    """
    with torch.device("meta"), _NothingComputed():
        yield


class _NothingComputed(TorchFunctionMode):
    """Leaves a tensor as it is where it would be filled or scaled."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _KEEPS_SHAPE:
            # PyTorch's initialisers hand their tensor over by name
            return given["tensor"] if "tensor" in given else args[0]

        if func is torch.eye:
            return torch.zeros(args[0], args[-1], **given)
        return func(*args, **given)
