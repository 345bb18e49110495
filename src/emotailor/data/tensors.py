"""Safetensors files as memory maps, and hashes that are checked before a tensor is used.

Nothing is believed about a file: it must be a file, its header is bounded, the library checks the
places that the header names, and the bytes of a tensor are compared with their SHA-256 once per
process, when they are first used.
"""

import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from emotailor.errors import DataError
from emotailor.verified import identity_of

MAX_HEADER = 2**20
"""Bytes that a header may have: ours have a few hundred."""

AGAIN = "copy the file again from where it was made, or convert the data again"

_NUMPY_TYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I64": np.int64,
    "U8": np.uint8,
}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class MappedFile:
    """A safetensors file in memory maps.

    Attributes:
        path: of the file.
        identity: device, inode, size and time of change when it was mapped.
        header: length and text of the header, all bytes before the first tensor.
        raw: name -> bytes of each tensor.
        tensors: name -> the same bytes as an array of its type and shape.
    """

    path: Path
    identity: tuple[int, ...]
    header: bytes
    raw: Mapping[str, UInt8[np.ndarray, "_"]]
    tensors: Mapping[str, np.ndarray]

    def hash_of(self, name: str) -> str:
        """Return the SHA-256 of the bytes of a tensor."""
        return _hash_of(self.raw[name])

    @property
    def header_hash(self) -> str:
        """The SHA-256 of the header."""
        return hashlib.sha256(self.header).hexdigest()

    def check(self, name: str, sha256: str) -> "FirstUse":
        """Return what compares a tensor with its hash before its first use."""
        return FirstUse(self.path, name, self.raw[name], sha256, self.identity)

    def check_header(self, sha256: str) -> None:
        """Compare the header with its hash.

        Raises:
            DataError: it has another.
        """
        if self.header_hash != sha256:
            raise damaged(self.path, "its header does not have")


def _hash_of(raw: UInt8[np.ndarray, "_"]) -> str:
    # of the mapped bytes themselves, without a copy
    return hashlib.sha256(raw.data).hexdigest()


@dataclass
class _State:
    """Whether some bytes were compared with their hash in this process."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False


_STATES: dict[tuple[object, ...], _State] = {}
_STATES_LOCK = threading.Lock()


class FirstUse:
    """Compares the bytes of a tensor with their hash once per process, whoever opens the file.

    Args:
        path: of the file, for messages.
        name: of the tensor.
        raw: its bytes.
        sha256: what they must hash to.
        identity: of the file; a changed file is compared again.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        raw: UInt8[np.ndarray, "_"],
        sha256: str,
        identity: tuple[int, ...],
    ) -> None:
        self._path = path
        self._name = name
        self._raw = raw
        self._sha256 = sha256

        key = (identity, name, sha256)
        with _STATES_LOCK:
            self._state = _STATES.setdefault(key, _State())

    def __call__(self) -> None:
        """Compare, unless that was done.

        Raises:
            DataError: the bytes have another hash.
        """
        # without the lock: it is asked for at every sequence that is read
        if self._state.done:
            return

        with self._state.lock:
            if self._state.done:
                return
            found = _hash_of(self._raw)
            if found != self._sha256:
                raise damaged(self._path, f"{self._name} does not have")
            self._state.done = True


def damaged(path: Path, what: str) -> DataError:
    """Return the error of bytes that are not those that were written."""
    return DataError(
        f"{path} is damaged: {what} the SHA-256 in its dataset.json",
        expected="the bytes that were written",
        fix=f"{AGAIN}; `emotailor data validate` lists all damage",
    )


def check_file(path: Path) -> None:
    """Refuse what is no file, which opening would wait for.

    Raises:
        DataError: there is nothing, something else, or it cannot be looked at.
    """
    expected = "a file of the data set"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", expected=expected, fix=AGAIN) from error
    except OSError as error:
        raise unreadable(path, error) from error

    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise DataError(f"{path} is {kind}", expected=expected, fix=AGAIN)


def unreadable(path: Path, error: Exception) -> DataError:
    """Return the error of a file that the system or a library cannot read."""
    if isinstance(error, PermissionError):
        return DataError(
            f"{path} cannot be read: permission denied",
            expected="a file that you may read",
            fix="ask its owner for the right to read it",
        )

    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    return DataError(
        f"{path} cannot be read: {reason}", expected="a complete safetensors file", fix=AGAIN
    )


@contextmanager
def true_errors(path: Path) -> Iterator[None]:
    """Let the system say why a file cannot be opened.

    The safetensors library says of any reason, as of too many open files, that there is no file.

    Args:
        path: of a file that the library opens.

    Raises:
        OSError: the reason of the system.
    """
    try:
        yield
    except FileNotFoundError:
        with path.open("rb"):
            raise


def map_file(path: Path) -> MappedFile:
    """Map the tensors of a safetensors file into memory, read-only; the header alone is read.

    The library's own NumPy loader copies every tensor.

    Raises:
        DataError: the file is missing, no file, truncated, not safetensors, or has a header or
            types that none of ours have.
    """
    check_file(path)
    try:
        with path.open("rb") as stream:
            first = stream.read(8)
            size = int.from_bytes(first, "little")
            if size > MAX_HEADER:
                raise _large_header(path, size)

            # the library checks the header, and that the tensors fill the file without holes
            with true_errors(path), safe_open(path, framework="numpy"):
                pass
            text = stream.read(size)
            header = json.loads(text)
            status = os.fstat(stream.fileno())
            data = np.memmap(stream, np.uint8, "r")
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(path, error) from error

    # the arrays lie behind the header, at the places that it names
    body = data[8 + size :]
    raw = {}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            raw[name] = _bytes_of(body, entry)
            tensors[name] = _array_of(path, name, raw[name], entry)

    return MappedFile(path, identity_of(status), first + text, raw, tensors)


def _large_header(path: Path, size: int) -> DataError:
    return DataError(
        f"{path} cannot be read: its header has {size} bytes",
        expected=f"a safetensors file with a header of at most {MAX_HEADER} bytes",
        fix=AGAIN,
    )


def _bytes_of(body: np.ndarray, entry: Mapping[str, Any]) -> UInt8[np.ndarray, "_"]:
    begin, end = entry["data_offsets"]
    return np.asarray(body[begin:end])


def _array_of(path: Path, name: str, raw: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    """Return the bytes of a tensor as an array.

    Raises:
        DataError: it is of a type that none of ours have.
    """
    kind = entry["dtype"]
    if kind not in _NUMPY_TYPES:
        known = ", ".join(_NUMPY_TYPES)
        raise DataError(f"{path}: tensor {name!r} has type {kind}", expected=f"one of {known}")

    return raw.view(_NUMPY_TYPES[kind]).reshape(entry["shape"])
