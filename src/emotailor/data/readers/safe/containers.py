"""The containers and bytes that a pickle makes by calling a name."""

import pickle
from typing import Any

from emotailor.data.readers.safe.budget import Budget
from emotailor.data.readers.safe.machine import (
    Args,
    Function,
    arguments,
    check_keys,
    is_text,
    latin_bytes,
    type_of,
)

_POINTER = 8  # bytes
_LATIN = ("latin1", "latin-1")


def _encode(budget: Budget, args: Args) -> bytes:
    """``_codecs.encode(text, "latin1")``: how protocol 2 writes bytes."""
    text, codec = arguments(args, 2, 2)
    if type(text) is not str or not is_text(codec, *_LATIN):
        raise pickle.UnpicklingError("it asks for another codec than latin1")
    return latin_bytes(text, budget)


def _bytes(budget: Budget, args: Args) -> bytes:
    """``bytes()``, ``bytes(b"...")`` or ``bytearray("...", "latin-1")``."""
    if not arguments(args, 0, 2):
        return b""
    data, *codec = args
    if type(data) is bytes and not codec:
        return data

    # a number would fill the memory
    if type(data) is not str or not codec:
        raise pickle.UnpicklingError(f"bytes made of a {type_of(data)}")
    return _encode(budget, args)


def _items(budget: Budget, args: Args) -> list[Any]:
    """Return a copy of the items of the only argument, if there is one."""
    if not arguments(args, 0, 1):
        return []

    items = args[0]
    if type(items) not in (list, tuple):
        raise pickle.UnpicklingError(f"it copies a {type_of(items)}")
    budget.spend_bytes(len(items) * _POINTER)
    return list(items)


def _list(budget: Budget, args: Args) -> list[Any]:
    budget.spend_objects()
    return _items(budget, args)


def _tuple(budget: Budget, args: Args) -> Args:
    budget.spend_objects()
    items = _items(budget, args)
    return tuple(items)


def _set(budget: Budget, args: Args) -> set[Any]:
    budget.spend_objects(3)
    items = _items(budget, args)
    check_keys(items, budget)
    return set(items)


def _frozenset(budget: Budget, args: Args) -> frozenset[Any]:
    return frozenset(_set(budget, args))


def _dict(budget: Budget, args: Args) -> dict[Any, Any]:
    """Make a dictionary, of pairs if they are given."""
    budget.spend_objects()
    pairs = _items(budget, args)
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise pickle.UnpicklingError("a dictionary of something else than pairs")

    keys = [pair[0] for pair in pairs]
    check_keys(keys, budget)
    return dict(pairs)


def _default_dict(budget: Budget, args: Args) -> dict[Any, Any]:
    """Make a dictionary without a default, which only a program would ask for."""
    arguments(args, 0, 1)
    return _dict(budget, ())


_BY_NAME = {
    "list": _list,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _frozenset,
    "dict": _dict,
    "bytes": _bytes,
    "bytearray": _bytes,
}
NAMES = {
    ("_codecs", "encode"): Function(_encode),
    ("collections", "OrderedDict"): Function(_dict),
    ("collections", "defaultdict"): Function(_default_dict),
    **{("builtins", name): Function(call) for name, call in _BY_NAME.items()},
    **{("__builtin__", name): Function(call) for name, call in _BY_NAME.items()},
}
"""The names of Python that a pickle of plain data uses."""
