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
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from emotailor.data.readers._common import require_file, unreadable
from emotailor.data.readers._sniff import LEGACY_TORCH
from emotailor.errors import DataError

_ReadStorage = Callable[[Any, np.dtype[Any], int], np.ndarray]
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
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)  # past the refusal below

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
        text = spec.decode() if isinstance(spec, bytes) else spec
        real = np.dtype(text)

        # a structure of several types could hide pointers to objects
        structured = real.fields or real.subdtype
        if structured or real.kind not in _SAFE_KINDS + "O":
            raise pickle.UnpicklingError(f"dtype {real}")
        self.real = real

    def __setstate__(self, state: Any) -> None:
        byte_order = state[1]
        if byte_order in (">", b">"):
            self.real = self.real.newbyteorder(">")


class _Array(np.ndarray):
    """An array whose pickled state is checked before NumPy sees it."""

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, _Dtype) or not _are_sizes(shape):
            raise pickle.UnpicklingError("an array of unknown type or shape")
        if isinstance(data, str):  # bytes of Python 2, read as latin-1
            data = data.encode("latin-1")

        # a list of objects, or the bytes of all numbers
        real = dtype.real
        count = prod(shape)
        if real.kind == "O":
            right_kind = isinstance(data, list)
        else:
            right_kind = isinstance(data, bytes | bytearray)
            count *= real.itemsize
        if not right_kind or len(data) != count:
            raise pickle.UnpicklingError(f"an array of shape {shape} with {len(data)} data")

        checked: Any = (1, tuple(shape), real, bool(fortran), data)
        super().__setstate__(checked)


def _are_sizes(values: Any) -> bool:
    """Whether all values are whole numbers from 0 on; an object may only claim to be one."""
    return all(type(value) is int and value >= 0 for value in values)


def _reconstruct(*_: Any) -> np.ndarray:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _flat(data: Any, dtype: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or dtype.real.kind not in _SAFE_KINDS:
        raise pickle.UnpicklingError("data of unknown type")

    # a str is bytes of Python 2, read as latin-1
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


class _StorageType:
    """The type of a storage, which a torch file names; it cannot be called."""

    def __init__(self, name: str) -> None:
        self.dtype = np.dtype(_STORAGES[name])

    __setstate__ = _Allowed.__setstate__


class _Storage:
    """The numbers behind tensors."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    __setstate__ = _Allowed.__setstate__


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """Rebuild a tensor as a view of its storage, within its bounds."""
    if not isinstance(storage, _Storage) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor without its storage")
    if not _are_sizes((offset, *size, *stride)):
        raise pickle.UnpicklingError("a tensor of impossible shape")

    shape = tuple(size)
    values = storage.values
    count = prod(shape)
    if not count:
        return np.zeros(shape, values.dtype)

    # the last number that the view would touch
    last = offset
    for n, step in zip(size, stride, strict=True):
        last += (n - 1) * step
    total = len(values)
    if count > total or last >= total:
        raise pickle.UnpicklingError(f"a tensor {shape} beyond its storage")

    # torch counts a stride in numbers, NumPy in bytes
    in_bytes = [step * values.itemsize for step in stride]
    behind = values[offset:]
    return np.lib.stride_tricks.as_strided(behind, shape, in_bytes, writeable=False)


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
    """Unpickles without importing anything.

    Args:
        file: positioned at a pickle.
        path: path of the file, for messages; nothing in it can be larger than it.
        unknown: collects the names of unknown globals; None to refuse them.
        read_storage: (key, dtype, count) -> the numbers of a torch storage.
    """

    def __init__(
        self,
        file: BufferedIOBase | IO[bytes],
        path: Path,
        unknown: set[str] | None = None,
        read_storage: _ReadStorage | None = None,
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path
        self._unknown = unknown
        self._read_storage = read_storage
        self._size = path.stat().st_size
        self.storages: dict[Any, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        call = _ALLOWED.get((module, name))
        if call is not None:
            return _Allowed(call)
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
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
        if kind != "storage" or not isinstance(storage_type, _StorageType):
            raise pickle.UnpicklingError("a tensor of a type that is not plain numbers")

        # a forged count could fill the memory
        dtype = storage_type.dtype
        whole = type(count) is int
        if not whole or not 0 <= count * dtype.itemsize <= self._size:
            raise pickle.UnpicklingError(f"a storage of {count} numbers")

        # several tensors may share one
        if key not in self.storages:
            values = self._read_storage(key, dtype, count)
            self.storages[key] = _Storage(values)
        return self.storages[key]

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        if size > self._size:
            raise pickle.UnpicklingError(f"{size} bytes announced in a file of {self._size}")
        self.append(bytearray(self.read(size)))  # type: ignore[attr-defined]

    dispatch: ClassVar[Any] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}


_PICKLE = "a complete pickle of NumPy arrays"
_TORCH = "a complete file written by torch.save"


def load_pickle(path: Path) -> Any:
    """Return what a pickle of NumPy arrays and plain containers holds, running nothing.

    Raises:
        DataError: the file is missing, damaged, or names anything else.
    """
    require_file(path, "a pickle")
    with unreadable(path, _PICKLE), path.open("rb") as file:
        unpickler = _Unpickler(file, path)
        content = unpickler.load()
    refuse_deep_nesting(content, path)
    return content


MAX_DEPTH = 8


def refuse_deep_nesting(content: Any, path: Path) -> None:
    """Refuse containers nested deeper than data ever are.

    A list that holds a list twice, that holds a list twice, and so on, takes a few bytes in a file
    and doubles with every level when it is turned into an array.

    Raises:
        DataError: deeper than ``MAX_DEPTH`` levels, or a container that holds itself.
    """
    heights: dict[int, int] = {}  # by identity, so that what is shared is measured once

    def height(value: Any, level: int) -> int:
        """Return how many levels of containers there are from ``value`` on."""
        if not isinstance(value, list | tuple | dict):
            return 0

        key = id(value)
        if key not in heights:
            # one that holds itself ends here too
            if level >= MAX_DEPTH:
                raise _too_deep(path)
            children = value.values() if isinstance(value, dict) else value
            inner = [height(child, level + 1) for child in children]
            heights[key] = 1 + max(inner, default=0)

        # what is shared may be deeper at its second place
        if level + heights[key] > MAX_DEPTH:
            raise _too_deep(path)
        return heights[key]

    height(content, 0)


def _too_deep(path: Path) -> DataError:
    return DataError(
        f"{path}: lists nested more than {MAX_DEPTH} deep",
        expected="arrays, or lists of numbers",
    )


def load_torch(path: Path) -> tuple[Any, list[str]]:
    """Return what a ``torch.save`` file holds, tensors as arrays, and the unknown types in it.

    Objects of unknown type are replaced by ``Inert``; nothing is run.

    Raises:
        DataError: the file is missing or damaged.
    """
    require_file(path, "a file written by torch.save")
    with unreadable(path, _TORCH), path.open("rb") as file:
        head = file.read(len(LEGACY_TORCH))
    load = _load_legacy if head == LEGACY_TORCH else _load_zip

    # the name of each unknown type is collected on the way
    unknown: set[str] = set()
    content = load(path, unknown)
    refuse_deep_nesting(content, path)
    return content, sorted(unknown)


def _load_zip(path: Path, unknown: set[str]) -> Any:
    with unreadable(path, _TORCH):
        archive = zipfile.ZipFile(path)
    with archive:
        infos = archive.infolist()
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
        pickles = []
        for info in infos:
            inside = info.filename.split("/", 1)[-1]
            if inside == "data.pkl":
                pickles.append(info.filename)
        if not pickles or packed:
            raise DataError(
                f"{path} is a zip file, but not one that torch.save writes",
                expected="an uncompressed archive with a data.pkl",
            )

        # each storage is one file beside the pickle
        name = pickles[0]
        folder = name.removesuffix("data.pkl")

        def read_storage(key: Any, dtype: np.dtype[Any], count: int) -> np.ndarray:
            data = archive.read(f"{folder}data/{key}")
            return np.frombuffer(data, dtype, count)

        with unreadable(path, _TORCH), archive.open(name) as file:
            unpickler = _Unpickler(file, path, unknown, read_storage)
            content = unpickler.load()
            file.read()  # to the end, so that the checksum is verified
    return content


def _load_legacy(path: Path, unknown: set[str]) -> Any:
    """Read the older format: after its magic number four pickles, then the numbers of storages."""
    with path.open("rb") as file:
        with unreadable(path, _TORCH):
            file.seek(len(LEGACY_TORCH))
            _Unpickler(file, path).load()  # protocol version
            _Unpickler(file, path).load()  # system information

            # tensors are views of storages that are filled afterwards
            unpickler = _Unpickler(file, path, unknown, _zeros)
            content = unpickler.load()
            keys = _Unpickler(file, path).load()

        # keys may have come out as other objects than those that tensors named
        known = {str(key): storage for key, storage in unpickler.storages.items()}
        listed = isinstance(keys, list | tuple)
        if not listed or not {str(key) for key in keys} <= set(known):
            raise DataError(
                f"{path} does not say where the numbers of its tensors are", expected=_TORCH
            )

        # one storage after the other, in the order of the keys
        for key in keys:
            storage = known[str(key)]
            _fill(storage.values, file, path)
    return content


def _zeros(_: Any, dtype: np.dtype[Any], count: int) -> np.ndarray:
    return np.zeros(count, dtype)


def _fill(values: np.ndarray, file: BufferedIOBase, path: Path) -> None:
    """Read the numbers of one storage: their count, then they themselves."""
    with unreadable(path, _TORCH):
        head = file.read(8)
        data = file.read(values.nbytes)
    count = int.from_bytes(head, "little")
    wanted = len(values)
    if count != wanted or len(data) != values.nbytes:
        raise DataError(f"{path} is truncated", expected=f"{wanted} numbers in a tensor")

    # in place, because tensors are views of it
    values[:] = np.frombuffer(data, values.dtype)
