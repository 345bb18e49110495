"""Arrays in ``.npz`` files: every size is checked before memory is taken for it."""

import shutil
import tempfile
import zipfile
from collections.abc import Collection
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np

from emotailor.data.readers._common import unreadable
from emotailor.data.readers.safe.archive import (
    check_sum,
    data_offset,
    open_archive,
    refuse_bomb,
)
from emotailor.data.readers.safe.arrays import (
    checked_bytes,
    checked_dtype,
    checked_shape,
    checked_values,
)
from emotailor.data.readers.safe.budget import NotPlainError
from emotailor.errors import DataError

_CHUNK = 2**20
_SUFFIX = ".npy"
_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]


def load_npz(
    path: Path, expected: str, wanted: Collection[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...] | None]]:
    """Return arrays of a ``.npz`` file, and the shapes of all.

    Of what is not wanted, the shape alone is read; it is None of what is no array.

    Args:
        path: the file.
        expected: what would be right, for messages.
        wanted: names of arrays; None for all.

    Raises:
        DataError: the file is damaged, an array holds anything but plain numbers or text, or they
            would unpack to far more than the file.
    """
    with open_archive(path, expected) as archive:
        members = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(_SUFFIX)
            if name in members:
                raise DataError(f"{path} holds {name[:80]!r} twice", expected=expected)
            members[name] = member

        chosen = {name: m for name, m in members.items() if wanted is None or name in wanted}
        refuse_bomb(path, chosen.values())
        arrays = {}
        shapes: dict[str, tuple[int, ...] | None] = {}
        for name, member in members.items():
            if name in chosen:
                arrays[name] = _read(path, expected, archive, name, member)
                shapes[name] = arrays[name].shape
            else:
                shapes[name] = _shape_of(archive, member)
    return arrays, shapes


def map_array(path: Path, expected: str, name: str) -> np.ndarray:
    """Return one array of a ``.npz`` file in a memory map; its checksum is verified.

    An array that is packed is unpacked into a temporary file, so that it may be larger than the
    memory.

    Args:
        path: the file.
        expected: what would be right, for messages.
        name: of the array, which is there.

    Raises:
        DataError: the file is damaged, the array holds anything but plain numbers or text, or
            would unpack to far more than the file.
    """
    with open_archive(path, expected) as archive:
        named = [m for m in archive.infolist() if m.filename.removesuffix(_SUFFIX) == name]
        refuse_bomb(path, named)
        member = named[0]
        with unreadable(path, expected), archive.open(member) as stream:
            header = _header(stream)
            begin = stream.tell()
            _refuse_objects(path, expected, name, header[2])
            sizes = _checked(name, member, header, begin)
        _, fortran, dtype = header
        if not prod(sizes):
            return np.zeros(sizes, dtype)

        order: Literal["C", "F"] = "F" if fortran else "C"
        if member.compress_type == zipfile.ZIP_STORED:
            check_sum(path, expected, archive, member)
            with path.open("rb") as file:
                place = data_offset(file, member) + begin
                return np.memmap(file, dtype, "r", place, sizes, order)

        # the temporary file has no name, and ends with the map
        with tempfile.TemporaryFile() as unpacked:
            with unreadable(path, expected), archive.open(member) as stream:
                shutil.copyfileobj(stream, unpacked, _CHUNK)
            unpacked.flush()
            return np.memmap(unpacked, dtype, "r", begin, sizes, order)


def _checked(name: str, member: zipfile.ZipInfo, header: _Header, begin: int) -> tuple[int, ...]:
    """Return the shape that stands before an array, if its bytes are there.

    Raises:
        UnpicklingError: they are not.
    """
    shape, _, dtype = header
    sizes = checked_shape(shape)
    size = checked_bytes(sizes, dtype)
    if size != member.file_size - begin:
        raise UnpicklingError(
            f"{name} has {member.file_size - begin} bytes, and its shape asks for {size}"
        )
    return sizes


def _shape_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...] | None:
    """Return the shape of an array that nobody needs, and that may be anything."""
    try:
        with archive.open(member) as stream:
            shape, _, _ = _header(stream)
    except Exception:  # a forged header can raise anything
        return None
    return shape


def _read(
    path: Path, expected: str, archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo
) -> np.ndarray:
    """Read one array."""
    with unreadable(path, expected), archive.open(member) as stream:
        header = _header(stream)
        begin = stream.tell()
        _, fortran, dtype = header
        _refuse_objects(path, expected, name, dtype)
        sizes = _checked(name, member, header, begin)
        flat = np.empty(prod(sizes), dtype)
        _fill(flat, stream)

    if fortran:
        return flat.reshape(sizes, order="F")
    return flat.reshape(sizes)


def _refuse_objects(path: Path, expected: str, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse types other than plain numbers and text."""
    if dtype.hasobject:
        raise DataError(
            f"{path}: {name} holds Python objects, which only a pickle could make",
            expected=expected,
            fix="save it as an array of numbers or of text (dtype str); allow_pickle is unsafe",
        )

    try:
        checked_dtype(dtype)
    except NotPlainError as error:
        raise DataError(
            f"{path}: {name} is {error}",
            expected="arrays of whole numbers, of floating-point numbers up to 64 bits, or of text",
        ) from error


def _header(stream: Any) -> _Header:
    """Read what stands before the numbers."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise UnpicklingError(f"an array of format {version}, which only structures have")


def _fill(flat: np.ndarray, stream: Any) -> None:
    """Read the numbers in place, a piece at a time, to the end, where the checksum is verified."""
    room = flat.view(np.uint8).data if flat.size and flat.itemsize else memoryview(b"")
    filled = 0
    while filled < len(room):
        piece = stream.read(_CHUNK)
        if not piece:
            raise UnpicklingError("it ends too early")
        room[filled : filled + len(piece)] = piece
        filled += len(piece)

    stream.read(1)
    checked_values(flat)
