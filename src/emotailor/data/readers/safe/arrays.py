"""Arrays made from checked fields: type, shape, memory order and bytes.

NumPy's own reconstruction is never used: the state of a forged array or dtype could make it take
raw bytes for object pointers, or free what is still in use. Here an array is made once, when all
its fields are known, and is a view of the bytes that were read.
"""

import pickle
import re
from math import prod
from typing import Any, Literal

import numpy as np

from emotailor.data.readers.safe.budget import Budget, NotPlainError
from emotailor.data.readers.safe.machine import (
    Args,
    Function,
    Inert,
    Unfinished,
    arguments,
    is_text,
    latin_bytes,
    type_of,
)

_NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
_SPEC = re.compile(r"[<>=|]?([a-zA-Z])([0-9]{0,8})")
_LONGEST_TEXT = 2**24  # bytes of one item
_MOST_AXES = 32
_LARGEST_UNICODE = 0x10FFFF
_MOST_EMPTY_ROWS = 1_000_000
_LARGEST_EMPTY = 10**9
_BYTE_ORDERS: dict[Any, Literal["<", ">", "="]] = {
    "<": "<",
    ">": ">",
    "|": "=",
    b"<": "<",
    b">": ">",
    b"|": "=",
}
_POINTER = 8  # bytes


class Dtype(Unfinished):
    """The type of an array: plain kinds alone, and its state can only set the byte order."""

    __slots__ = ("real",)

    def __init__(self, real: np.dtype[Any]) -> None:
        super().__init__()
        self.real = real

    def finish(self, state: Any, budget: Budget) -> "Dtype":
        """Return the same type in the byte order that ``state`` says."""
        if type(state) is not tuple or len(state) < 2:
            raise pickle.UnpicklingError("a dtype without a byte order")

        # everything else in the state follows from the kind and the size
        order = state[1]
        if type(order) not in (str, bytes) or order not in _BYTE_ORDERS:
            raise pickle.UnpicklingError("a dtype of unknown byte order")
        real = self.real.newbyteorder(_BYTE_ORDERS[order])
        finished = Dtype(real)
        finished.done = True
        return finished


class EmptyArray(Unfinished):
    """An array that has no type and no numbers yet."""

    __slots__ = ()

    def finish(self, state: Any, budget: Budget) -> np.ndarray:
        """Make the array from ``(version, shape, dtype, Fortran order, data)``."""
        # the oldest files have no version
        if type(state) is not tuple or len(state) not in (4, 5):
            raise pickle.UnpicklingError("an array of unknown layout")

        shape, dtype, fortran, data = state[-4:]
        if type(fortran) not in (bool, int):
            raise pickle.UnpicklingError("an array of unknown memory order")
        order = "F" if fortran else "C"
        budget.spend_objects()
        if type(dtype) is Dtype and dtype.real.kind == "O":
            return _objects(data, shape, budget)
        return _plain(data, dtype, shape, order, budget)


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return ``shape`` if it is one that data have.

    Raises:
        UnpicklingError: it is not.
    """
    if type(shape) not in (tuple, list) or len(shape) > _MOST_AXES:
        raise pickle.UnpicklingError("an array of unknown shape")

    # an object may only claim to be a number
    for size in shape:
        if type(size) is not int or size < 0:
            raise pickle.UnpicklingError("an array of impossible shape")

    # no bytes stand behind the other axes of an empty array, but readers count their rows
    sizes = tuple(shape)
    if 0 in sizes:
        places = prod(size for size in sizes if size)
        if max(sizes) > _MOST_EMPTY_ROWS or places > _LARGEST_EMPTY:
            raise pickle.UnpicklingError("an empty array of impossible shape")
    return sizes


def checked_bytes(sizes: tuple[int, ...], real: np.dtype[Any]) -> int:
    """Return how many bytes an array takes.

    Raises:
        UnpicklingError: it has many items and they take none.
    """
    count = prod(sizes)
    if count > 1 and not real.itemsize:
        raise pickle.UnpicklingError("an array of texts without room for a character")
    return count * real.itemsize


def checked_dtype(real: np.dtype[Any]) -> np.dtype[Any]:
    """Return ``real`` if it is one of plain numbers or text.

    Raises:
        NotPlainError: it is not.
    """
    text = real.kind in "SU" and real.itemsize <= _LONGEST_TEXT
    if text or f"{real.kind}{real.itemsize}" in _NUMBERS:
        return real
    raise NotPlainError(f"an array of {str(real)[:80]}")


def checked_values(flat: np.ndarray) -> np.ndarray:
    """Return an array if its bytes mean something.

    Args:
        flat: contiguous, of one axis.

    Raises:
        UnpicklingError: text beyond Unicode, or truth values that are neither.
    """
    kind = flat.dtype.kind
    if kind == "U" and flat.size:
        order = flat.dtype.byteorder
        codes = flat.view(np.dtype(np.uint32).newbyteorder(order))
        if codes.max() > _LARGEST_UNICODE:
            raise pickle.UnpicklingError("an array of text that is no Unicode")
    if kind == "b" and flat.size:
        codes = flat.view(np.uint8)
        if codes.max() > 1:
            raise pickle.UnpicklingError("an array of truth values that are neither")
    return flat


def _plain(data: Any, dtype: Any, shape: Any, order: Any, budget: Budget) -> np.ndarray:
    """Make an array of numbers or text from its bytes, which it shares."""
    if type(dtype) is not Dtype or dtype.real.kind == "O":
        raise pickle.UnpicklingError("an array of unknown type")
    if not is_text(order, "C", "F"):
        raise pickle.UnpicklingError("an array of unknown memory order")

    sizes = checked_shape(shape)
    raw = _raw(data, budget)
    real = dtype.real
    budget.spend_bytes(len(raw))
    if len(raw) != checked_bytes(sizes, real):
        text = "x".join(map(str, sizes))
        raise pickle.UnpicklingError(f"an array of shape {text[:80]} with {len(raw)} bytes")

    # NumPy makes no view of nothing
    if not raw:
        return np.zeros(sizes, real)
    flat = checked_values(np.frombuffer(raw, real))
    return flat.reshape(sizes, order=order)


def _objects(data: Any, shape: Any, budget: Budget) -> np.ndarray:
    """Make an array of lists, strings or arrays from a list of them."""
    sizes = checked_shape(shape)
    if type(data) is not list or len(data) != prod(sizes):
        raise pickle.UnpicklingError("an array of objects without a list of them")

    # the list is in C order, whatever the order in memory
    budget.spend_bytes(len(data) * _POINTER)
    array = np.empty(len(data), object)
    for i, value in enumerate(data):
        array[i] = value
    return array.reshape(sizes)


def _raw(data: Any, budget: Budget) -> bytes:
    """Return bytes, or the bytes that a str of Python 2 stands for."""
    if type(data) is bytes:
        return data
    if type(data) is str:
        return latin_bytes(data, budget)
    raise pickle.UnpicklingError(f"an array of which the data are a {type_of(data)}")


def _dtype(budget: Budget, args: Args) -> Dtype:
    """``numpy.dtype("f4", False, True)``."""
    spec = arguments(args, 1, 3)[0]
    if type(spec) is bytes:
        spec = spec.decode("latin-1")

    match = _SPEC.fullmatch(spec) if type(spec) is str else None
    if match is None:
        raise NotPlainError("an array of a type of several fields")
    kind, size = match.groups()
    if kind == "O":
        return Dtype(np.dtype(object))

    # a size too much is too much for NumPy as well
    text = kind in "SU" and int(size or 0) <= _LONGEST_TEXT
    if not text and f"{kind}{size}" not in _NUMBERS:
        raise NotPlainError(f"an array of the type {spec}")
    return Dtype(checked_dtype(np.dtype(spec)))


def _reconstruct(budget: Budget, args: Args) -> Any:
    """``_reconstruct(numpy.ndarray, (0,), b"b")``: an array that waits for its state."""
    kind = arguments(args, 3, 3)[0]
    if isinstance(kind, Inert):
        return Inert()
    if kind is not _NDARRAY:
        raise NotPlainError("an array of a class of its own")
    budget.spend_objects()
    return EmptyArray()


def _not_called(budget: Budget, args: Args) -> Any:
    raise pickle.UnpicklingError("it makes an array without its bytes")


def _scalar(budget: Budget, args: Args) -> Any:
    """``scalar(dtype, bytes)``: one number or text."""
    dtype, data = arguments(args, 2, 2)
    array = _plain(data, dtype, (), "C", budget)
    return array[()]


def _frombuffer(budget: Budget, args: Args) -> np.ndarray:
    """``_frombuffer(bytes, dtype, shape, order)``; for other orders of axes, ``"K"`` and they."""
    data, dtype, shape, order, *axes = arguments(args, 4, 5)
    budget.spend_objects()
    if axes and is_text(order, "K"):
        array = _plain(data, dtype, shape, "C", budget)
        return array.transpose(_checked_axes(axes[0], array.ndim))
    return _plain(data, dtype, shape, order, budget)


def _checked_axes(axes: Any, count: int) -> tuple[int, ...]:
    whole = type(axes) in (tuple, list) and all(type(axis) is int for axis in axes)
    if not whole or sorted(axes) != list(range(count)):
        raise pickle.UnpicklingError("an array of unknown order of axes")
    return tuple(axes)


def _both(module: str) -> tuple[str, str]:
    """Return the names of a module before and since NumPy 2."""
    return f"numpy.core.{module}", f"numpy._core.{module}"


_NDARRAY = Function(_not_called)
NAMES = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Function(_dtype),
    **{(module, "_reconstruct"): Function(_reconstruct) for module in _both("multiarray")},
    **{(module, "scalar"): Function(_scalar) for module in _both("multiarray")},
    **{(module, "_frombuffer"): Function(_frombuffer) for module in _both("numeric")},
}
"""The names of NumPy that a pickle of arrays uses."""
