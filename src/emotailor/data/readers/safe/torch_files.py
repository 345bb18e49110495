"""Files written by ``torch.save``: a pickle and, beside it, the numbers of its tensors.

Tensors come out as NumPy arrays, so torch is not needed. A tensor is a view of its storage; several
may share one.
"""

import pickle
import zipfile
from collections.abc import Callable
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emotailor.data.readers._common import unreadable
from emotailor.data.readers._sniff import LEGACY_TORCH
from emotailor.data.readers.safe import arrays, containers
from emotailor.data.readers.safe.archive import check_sum, data_offset, open_archive
from emotailor.data.readers.safe.arrays import checked_shape, checked_values
from emotailor.data.readers.safe.budget import Budget, NotPlainError
from emotailor.data.readers.safe.machine import (
    Args,
    Function,
    Inert,
    Machine,
    arguments,
    is_text,
    printable,
    refused,
    type_of,
)
from emotailor.errors import DataError

TORCH_FILE = "a complete file written by torch.save"

_MOST_UNKNOWN = 20
_ReadStorage = Callable[[str, np.dtype[Any], int], np.ndarray]
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


class _StorageType:
    """The type of a storage, which a torch file names."""

    __slots__ = ("dtype",)

    def __init__(self, spec: str) -> None:
        self.dtype = np.dtype(spec)


class _Storage:
    """The numbers behind tensors."""

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


def _tensor(budget: Budget, args: Args) -> np.ndarray:
    """``_rebuild_tensor_v2(storage, offset, size, stride, ...)``: a view within the storage."""
    storage, offset, size, stride = arguments(args, 4, 7)[:4]
    if type(storage) is not _Storage:
        raise pickle.UnpicklingError("a tensor without its storage")

    shape = checked_shape(size)
    steps = _checked_strides(stride, len(shape))
    if type(offset) is not int or offset < 0:
        raise pickle.UnpicklingError("a tensor of impossible shape")

    budget.spend_objects()
    values = storage.values
    count = prod(shape)
    if not count:
        return np.zeros(shape, values.dtype)

    # the last number that the view would touch
    last = offset
    for n, step in zip(shape, steps, strict=True):
        last += (n - 1) * step

    # one that repeats its numbers could be of any size
    total = len(values)
    if count > total or last >= total:
        text = "x".join(map(str, shape))
        raise pickle.UnpicklingError(f"a tensor {text[:80]} beyond its storage of {total}")
    budget.spend_bytes(count * values.itemsize)

    # torch counts a stride in numbers, NumPy in bytes
    in_bytes = [step * values.itemsize for step in steps]
    behind = values[offset:]
    return np.lib.stride_tricks.as_strided(behind, shape, in_bytes, writeable=False)


def _checked_strides(stride: Any, axes: int) -> tuple[int, ...]:
    if type(stride) not in (tuple, list) or len(stride) != axes:
        raise pickle.UnpicklingError("a tensor with strides for other axes")
    for step in stride:
        if type(step) is not int or step < 0:
            raise pickle.UnpicklingError("a tensor of impossible strides")
    return tuple(stride)


def _parameter(_: Budget, args: Args) -> Any:
    """``_rebuild_parameter(tensor, requires_grad, hooks)``: the tensor."""
    tensor = arguments(args, 2, 3)[0]
    if not isinstance(tensor, np.ndarray | Inert):
        raise pickle.UnpicklingError(f"a parameter made of a {type_of(tensor)}")
    return tensor


_NAMES: dict[tuple[str, str], Any] = {
    **arrays.NAMES,
    **containers.NAMES,
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    **{("torch", name): _StorageType(spec) for name, spec in _STORAGES.items()},
}


class _Content:
    """What one torch file names: functions, storages, and types that are unknown here.

    Attributes:
        unknown: names of the unknown types.
        storages: key -> storage, of those that tensors use.
    """

    def __init__(self, budget: Budget, read_storage: _ReadStorage) -> None:
        self._budget = budget
        self._read_storage = read_storage
        self._left = budget.size
        self.unknown: set[str] = set()
        self.storages: dict[str, _Storage] = {}

    def run(self, file: BinaryIO) -> Any:
        """Return what the pickle at the position of ``file`` makes."""
        return Machine(file, self._budget, self._find, self._storage).run()

    def _find(self, module: str, name: str) -> Any:
        known = _NAMES.get((module, name))
        if known is not None:
            return known
        if len(self.unknown) < _MOST_UNKNOWN:
            self.unknown.add(printable(f"{module}.{name}"))
        return Inert()

    def _storage(self, reference: Any) -> _Storage:
        """Return the storage that ``("storage", type, key, device, count)`` refers to."""
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise pickle.UnpicklingError("a tensor with a storage of unknown layout")

        kind, storage_type, key, _, count = reference[:5]
        if type(storage_type) is not _StorageType or not is_text(kind, "storage"):
            raise NotPlainError("a tensor of a type that is not plain numbers")
        if type(key) not in (str, bytes, int):
            raise pickle.UnpicklingError("a storage without a name")

        # several tensors may share one
        name = key.decode("latin-1") if type(key) is bytes else str(key)
        known = self.storages.get(name)
        if known is not None:
            return known

        dtype = storage_type.dtype
        self._spend(count, dtype)
        values = self._read_storage(name, dtype, count)
        self.storages[name] = _Storage(values)
        return self.storages[name]

    def _spend(self, count: Any, dtype: np.dtype[Any]) -> None:
        """Refuse storages that are together larger than the file."""
        if type(count) is not int or count < 0:
            raise pickle.UnpicklingError("a storage of impossible size")
        self._budget.spend_objects()
        self._left -= count * dtype.itemsize
        if self._left < 0:
            raise pickle.UnpicklingError(f"a storage of {count} numbers, more than the file has")


def load_zip(path: Path) -> tuple[Any, set[str]]:
    """Read the zip format: ``data.pkl``, and a file for each storage.

    Returns:
        the content, and the names of the unknown types in it.

    Raises:
        DataError: the file is damaged or forged.
    """
    with open_archive(path, TORCH_FILE) as archive, path.open("rb") as file:
        main = _main_member(path, archive)
        folder = main.filename.removesuffix("data.pkl")

        def read_storage(name: str, dtype: np.dtype[Any], count: int) -> np.ndarray:
            member = f"{folder}data/{name}"
            if member not in archive.NameToInfo:
                raise pickle.UnpicklingError("a storage that is not in the file")
            with unreadable(path, TORCH_FILE):
                data = archive.read(member)
            return _numbers(data, dtype, count)

        content = _Content(Budget(path.stat().st_size), read_storage)
        with refused(path, TORCH_FILE):
            # the checksum first, then the pickle from its place, which is faster
            check_sum(path, TORCH_FILE, archive, main)
            file.seek(data_offset(file, main))
            value = content.run(file)
    return value, content.unknown


def _main_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    for member in members:
        inside = member.filename.split("/", 1)[-1]
        if inside == "data.pkl" and not packed:
            return member

    raise DataError(
        f"{path} is a zip file, but not one that torch.save writes",
        expected="an uncompressed archive with a data.pkl",
    )


def _numbers(data: bytes, dtype: np.dtype[Any], count: int) -> np.ndarray:
    if len(data) < count * dtype.itemsize:
        raise pickle.UnpicklingError(f"a storage of {count} numbers with {len(data)} bytes")
    if not count:
        return np.zeros(0, dtype)
    values = np.frombuffer(data, dtype, count)
    return checked_values(values)


def load_legacy(path: Path) -> tuple[Any, set[str]]:
    """Read the older format: after its magic number four pickles, then the numbers of storages.

    Returns:
        the content, and the names of the unknown types in it.

    Raises:
        DataError: the file is damaged or forged.
    """
    budget = Budget(path.stat().st_size)
    content = _Content(budget, _zeros)
    with refused(path, TORCH_FILE), path.open("rb") as file:
        file.seek(len(LEGACY_TORCH))
        settings = _Content(budget, _zeros)
        settings.run(file)  # protocol version
        settings.run(file)  # system information

        # tensors are views of storages that are filled afterwards
        value = content.run(file)
        keys = settings.run(file)
        for key in _storage_names(keys):
            storage = content.storages.get(key)
            if storage is None:
                raise pickle.UnpicklingError("the numbers of a storage that no tensor has")
            _fill(storage.values, file)
    return value, content.unknown


def _storage_names(keys: Any) -> list[str]:
    """Return the names of the storages in the order in which their numbers follow."""
    if type(keys) not in (list, tuple):
        raise pickle.UnpicklingError("it does not say where the numbers of its tensors are")

    names = []
    for key in keys:
        if type(key) not in (str, int):
            raise pickle.UnpicklingError("a storage without a name")
        names.append(str(key))
    return names


def _zeros(_: str, dtype: np.dtype[Any], count: int) -> np.ndarray:
    return np.zeros(count, dtype)


def _fill(values: np.ndarray, file: BufferedReader) -> None:
    """Read the numbers of one storage: their count, then they themselves."""
    count = int.from_bytes(file.read(8), "little")
    wanted = len(values)
    if count != wanted:
        raise pickle.UnpicklingError(f"{count} numbers in a storage of {wanted}")

    # in place, because tensors are views of it
    raw = values.view(np.uint8)
    if file.readinto(raw.data) != values.nbytes:
        raise pickle.UnpicklingError("it ends too early")
    checked_values(values)
