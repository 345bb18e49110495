"""Reading pickles without running anything they ask for.

A pickle is a program: it names functions, and loading calls them. Here a name is never imported.
The few that plain data need (NumPy arrays, containers, torch tensors) map to small functions of
this file that check their arguments; every other name is refused, or, in torch files, becomes an
inert placeholder that swallows whatever is done to it, so that unneeded settings do not matter.

NumPy's own reconstruction is not used either: the state of a forged ``dtype`` could make NumPy
take raw bytes for object pointers. Tensors come out as NumPy arrays, so torch is not needed.
"""

import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from emotailor.data.readers._common import require_file, unreadable
from emotailor.errors import DataError

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What a torch file before the zip format begins with: its magic number, pickled."""

_SAFE_KINDS = "biufSU"  # and O, for arrays of lists or strings
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Allowed:
    """A callable that a pickle may call but not change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("it tries to change a function")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to change a function")


class _Dtype:
    """A dtype in the making: plain kinds alone, and only its byte order can be set."""

    def __init__(self, spec: Any, *_: Any) -> None:
        if not isinstance(spec, str | bytes):
            raise pickle.UnpicklingError("a dtype that is not plain")
        self.real = np.dtype(spec.decode() if isinstance(spec, bytes) else spec)
        if self.real.kind not in _SAFE_KINDS + "O" or self.real.fields or self.real.subdtype:
            raise pickle.UnpicklingError(f"dtype {self.real}")

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order in ("<", ">"):
            self.real = self.real.newbyteorder(order)


class _Array(np.ndarray):
    """An array whose pickled state is checked before NumPy sees it."""

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _Dtype) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array of unknown type or shape")
        if isinstance(data, str):  # bytes of Python 2, read as latin-1
            data = data.encode("latin-1")
        kind = dtype.real.kind
        count = prod(shape) * (1 if kind == "O" else dtype.real.itemsize)
        if not isinstance(data, list if kind == "O" else bytes | bytearray) or len(data) != count:
            raise pickle.UnpicklingError(f"an array of shape {shape} with {len(data)} data")
        super().__setstate__((1, tuple(shape), dtype.real, bool(fortran), data))


def _reconstruct(*_: Any) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _flat(data: Any, dtype: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or dtype.real.kind not in _SAFE_KINDS:
        raise pickle.UnpicklingError("data of unknown type")
    raw = data.encode("latin-1") if isinstance(data, str) else bytes(memoryview(data))
    return np.frombuffer(raw, dtype.real)


def _scalar(dtype: Any, data: Any) -> Any:
    return _flat(data, dtype)[0]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    return _flat(data, dtype).reshape(shape, order=order)


def _encode(text: Any, codec: Any = "latin1") -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"codec {codec!r}")
    return text.encode("latin-1")


def _bytes(data: Any = b"") -> bytes:
    if not isinstance(data, bytes | bytearray):  # bytes(10**12) would fill the memory
        raise pickle.UnpicklingError("bytes made of something else")
    return bytes(data)


class _Storage:
    """The numbers behind tensors."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    __setstate__ = _Allowed.__setstate__


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """Rebuild a tensor as a view of its storage, within its bounds."""
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor without its storage")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise pickle.UnpicklingError("a tensor of impossible shape")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if prod(size) and last >= len(storage.values):
        raise pickle.UnpicklingError(f"a tensor {tuple(size)} beyond its storage")
    values = storage.values[offset:] if prod(size) else storage.values[:0]
    step = storage.values.itemsize
    return np.lib.stride_tricks.as_strided(
        values, tuple(size), [s * step for s in stride], writeable=False
    )


def _numpy(new: str) -> tuple[str, str]:
    return f"numpy.core.{new}", f"numpy._core.{new}"  # before and since NumPy 2


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _reconstruct,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Dtype,
    **{(m, "_reconstruct"): _reconstruct for m in _numpy("multiarray")},
    **{(m, "scalar"): _scalar for m in _numpy("multiarray")},
    **{(m, "_frombuffer"): _frombuffer for m in _numpy("numeric")},
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    **{
        (module, kind.__name__): kind
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, list, tuple, dict)
    },
    **{(module, "bytes"): _bytes for module in ("builtins", "__builtin__")},
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
}


class Inert:
    """What stands for an object of unknown type: it keeps and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Inert":
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    __setstate__ = __setitem__ = append = extend = add = update = _nothing

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        return self


# The Python implementation of the unpickler, because the C one trusts sizes that a damaged file
# gives: five forged bytes can make it ask for 64 GiB. Large arrays are single reads in either.
class _Unpickler(pickle._Unpickler):
    def __init__(self, file: IO[bytes], path: Path, unknown: set[str] | None) -> None:
        super().__init__(file, encoding="latin1")
        self._path, self._unknown = path, unknown
        self._size = path.stat().st_size
        self._storages: dict[str, _Storage] = {}
        self._read_storage: Callable[[str, np.dtype[Any], int], np.ndarray] | None = None

    def find_class(self, module: str, name: str) -> Any:
        if call := _ALLOWED.get((module, name)):
            return _Allowed(call)
        if module == "torch" and name in _STORAGES:
            return _Allowed(_StorageType(name).refuse)
        if self._unknown is None:
            raise DataError(
                f"{self._path} asks for {module}.{name}; it was refused and nothing was run",
                expected="a pickle of NumPy arrays, lists, dictionaries and strings alone",
                fix="export the arrays again without other objects, if you trust where it is from",
            )
        self._unknown.add(f"{module}.{name}")
        return type("Inert", (Inert,), {})  # fresh, because a pickle can set attributes on it

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("it uses the extension registry")

    def persistent_load(self, pid: Any) -> Any:
        if self._read_storage is None:
            raise pickle.UnpicklingError("it refers to data outside")
        kind, storage_type, key, _, count = pid[:5]
        call = getattr(storage_type, "_call", None)
        owner = getattr(call, "__self__", None)
        if kind != "storage" or not isinstance(owner, _StorageType):
            raise pickle.UnpicklingError(f"a tensor of unknown type {key!r}")
        if type(count) is not int or not 0 <= count * owner.dtype.itemsize <= self._size:
            raise pickle.UnpicklingError(f"a storage of {count} numbers")
        if key not in self._storages:
            self._storages[key] = _Storage(self._read_storage(key, owner.dtype, count))
        return self._storages[key]

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        if size > self._size:
            raise pickle.UnpicklingError(f"{size} bytes announced in a file of {self._size}")
        self.append(bytearray(self.read(size)))  # type: ignore[attr-defined]

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: load_bytearray8}
