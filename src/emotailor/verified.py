"""Nothing that was stored is read in silence after its bytes have changed.

- A JSON file of ours ends with the hash of what it holds: :func:`with_hash` puts it there,
  ``emotailor.files.write_json`` writes it, :func:`read_json` checks it.
- A JSON file names the SHA-256 of any other file: :func:`verify_file` checks it, once per process.

Files of earlier versions have no hash. They say so by their version: a file of today's version
without a hash is damaged. No single byte can change both.
"""

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from emotailor.errors import DataError, EmotailorError

HASH_KEY = "content_sha256"
"""Key under which a JSON file holds the hash of everything else in it."""

VERSION_KEYS = ("schema_version", "version")
"""Keys under which our files say their version; a file with neither is of version 1."""

MAX_BYTES = 64 * 2**20
MAX_DEPTH = 64
"""Bounds of every JSON file of ours, far above what any of them needs."""

TRIES = 5
"""How often something is read that is replaced again and again while it is read."""

FoundT = TypeVar("FoundT")

FileId = tuple[int, int, int, int]


# ---------------------------------------------------------------------- JSON


def with_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` and, under ``content_sha256``, the hash of them.

    Raises:
        ValueError: JSON cannot hold them: NaN, infinity, or text that is not Unicode.
    """
    content = _without_hash(values)
    return {**content, HASH_KEY: content_hash(content)}


def content_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a JSON file holds without the hash of it, which is checked if it is there.

    Raises:
        ValueError: the hash differs, or a number is infinite, or a text is not Unicode.
    """
    content = _without_hash(values)
    digest = content_hash(content)
    if values.get(HASH_KEY, digest) != digest:
        raise ValueError(f"its content is not what was written ({HASH_KEY} differs)")
    return content


def _without_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != HASH_KEY}


def content_hash(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content in its shortest form; the order of keys counts."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(
    file: Path,
    *,
    fix: str,
    hashed_since: int = 2,
    error: type[EmotailorError] = DataError,
    expected: str | None = None,
) -> dict[str, Any]:
    """Read a JSON file that :func:`emotailor.files.write_json` wrote.

    Args:
        file: path of the file.
        fix: what a user can do where it is damaged.
        hashed_since: version from which on such files have a hash.
        error: class of the errors that are raised.
        expected: what the file should hold.

    Returns:
        What the file holds, without the hash.

    Raises:
        EmotailorError: of class ``error``, where the file is missing, is no file, cannot be read,
            is no JSON object in UTF-8, is larger or nested deeper than any of ours, or where its
            hash is missing or differs.
    """

    def damaged(why: str) -> EmotailorError:
        return error(f"{file} is damaged: {why}", expected=expected, fix=fix)

    text = _read_text(file, damaged)
    try:
        values = json.loads(text, parse_constant=_refuse_number)
    except (ValueError, RecursionError) as problem:  # Python's limit of digits is one, too
        raise damaged(_first_line(problem)) from problem

    if not isinstance(values, dict):
        raise damaged(f"it holds a {type(values).__name__}, not a JSON object")
    if is_deeper(values, MAX_DEPTH):
        raise damaged(f"it is nested deeper than {MAX_DEPTH} levels")

    try:
        kept = content_of(values)
    except ValueError as problem:
        raise damaged(_first_line(problem)) from problem

    if HASH_KEY not in values and not _is_older(values, hashed_since):
        raise damaged(f"it has no {HASH_KEY}")
    return kept


def is_there(file: Path) -> bool:
    """Return whether a path leads to something, even if that cannot be looked at."""
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # to read it gives the reason
        return True
    return True


def read_text(
    file: Path,
    *,
    fix: str,
    error: type[EmotailorError] = DataError,
    expected: str | None = None,
) -> str:
    """Read a text file that we wrote; whether it holds what was written is for the caller to check.

    Args:
        file: path of the file.
        fix: what a user can do where it is damaged.
        error: class of the errors that are raised.
        expected: what the file should hold.

    Raises:
        EmotailorError: of class ``error``, where the file is missing, is no file, cannot be read,
            is not in UTF-8, or is larger than any of ours.
    """

    def damaged(why: str) -> EmotailorError:
        return error(f"{file} is damaged: {why}", expected=expected, fix=fix)

    return _read_text(file, damaged)


def _read_text(file: Path, damaged: Callable[[str], EmotailorError]) -> str:
    """Return the content of a regular file that is not too large, line ends as they are."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # to read a pipe would wait for ever
            raise damaged("it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise damaged(f"it has {status.st_size:,} bytes, more than any that we write")
        return file.read_bytes().decode()
    except OSError as problem:
        raise damaged(f"it cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise damaged(str(problem)) from problem


def _refuse_number(text: str) -> NoReturn:
    """Refuse NaN and the infinities, which JSON does not have and Python reads."""
    raise ValueError(f"{text} is no number of JSON")


def _first_line(problem: Exception) -> str:
    lines = str(problem).splitlines()
    return lines[0] if lines else type(problem).__name__


def is_deeper(value: Any, bound: int) -> bool:
    """Return whether tables and lists are nested more than ``bound`` deep."""
    level = [value]
    for _ in range(bound):
        inner: list[Any] = []
        for outer in level:
            parts = outer.values() if isinstance(outer, dict) else outer
            inner.extend(part for part in parts if isinstance(part, dict | list))
        if not inner:
            return False
        level = inner
    return True


def _is_older(values: Mapping[str, Any], hashed_since: int) -> bool:
    """Return whether a file is of a version from before hashes."""
    for key in VERSION_KEYS:
        if key in values:
            version = values[key]
            return isinstance(version, int) and version < hashed_since
    return hashed_since > 1


# ---------------------------------------------------------------------- other files


def read_settled(index: Path, read: Callable[[], FoundT]) -> FoundT:
    """Return what is read of an index and of the files that it names.

    Another process may replace them at any time, and remove the old files: an index that was read
    may name files that are gone. So where reading fails and the index has changed meanwhile, all of
    it is read again.

    Args:
        index: path of the index.
        read: reads the index and what it names; raises where something is missing or damaged.

    Raises:
        EmotailorError: as ``read`` does, where the index is the same as before, or changes each
            time.
        OSError: likewise.
    """
    for _ in range(TRIES - 1):
        before = _identity(index)
        try:
            return read()
        except (EmotailorError, OSError):
            if _identity(index) == before:
                raise
    return read()


def _identity(file: Path) -> FileId | None:
    """Return what tells the content of a file from any other; None where it cannot be looked at."""
    try:
        status = file.stat()
    except OSError:
        return None
    return identity_of(status)


def identity_of(status: os.stat_result) -> FileId:
    """Return device, inode, size and time of change: other content, another identity."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


_hashes: dict[FileId, str] = {}
_locks: dict[FileId, threading.Lock] = {}


def verify_file(
    file: Path, sha256: str, *, fix: str, error: type[EmotailorError] = DataError
) -> None:
    """Check that the bytes of a file hash to ``sha256``; may be called from several threads.

    The file is read once per process, as long as its device, inode, size and time of change stay
    the same.

    Args:
        file: path of the file.
        sha256: the hash in hexadecimal, from the JSON file that names the file.
        fix: what a user can do where the file is damaged.
        error: class of the errors that are raised.

    Raises:
        EmotailorError: of class ``error``, where the file is missing, is no file, cannot be read,
            or holds other bytes.
    """
    found = hash_of(file, fix=fix, error=error)
    if found != sha256:
        raise error(
            f"{file} is damaged: its SHA-256 differs",
            expected=f"{sha256[:12]}…, found {found[:12]}…",
            fix=fix,
        )


def hash_of(file: Path, *, fix: str, error: type[EmotailorError] = DataError) -> str:
    """Return the SHA-256 of a file in hexadecimal, read once per process as by :func:`verify_file`.

    Args:
        file: path of the file.
        fix: what a user can do where it cannot be read.
        error: class of the errors that are raised.

    Raises:
        EmotailorError: of class ``error``, where the file is missing, is no file or cannot be read.
    """
    try:
        found = _cached_hash(file)
    except OSError as problem:
        raise error(f"{file} cannot be read: {problem.strerror}", fix=fix) from problem

    if found is None:
        raise error(f"{file} is not a regular file", fix=fix)
    return found


def _cached_hash(file: Path) -> str | None:
    """Return the SHA-256 of a file; None where it is not a regular file."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        return None

    identity = identity_of(status)

    # threads that ask for the same file wait for the first of them; those of others do not
    with _locks.setdefault(identity, threading.Lock()):
        if identity not in _hashes:
            with file.open("rb") as stream:
                _hashes[identity] = hashlib.file_digest(stream, "sha256").hexdigest()
        return _hashes[identity]
