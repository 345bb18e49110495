"""Writing that a kill cannot leave half done, and content hashes."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from emotailor.errors import DataError
from emotailor.verified import with_hash

_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{6}\.tmp")


def _temporary_name(path: Path) -> Path:
    path = path.absolute()  # "." has no name of its own
    unique = f"{os.getpid()}-{secrets.token_hex(3)}"
    return path.with_name(f".{path.name}.{unique}.tmp")


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path`` at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)

    try:
        yield temporary
        # the content must be on the disk before the name is
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it takes the place of ``path``.

    Raises:
        DataError: ``path`` exists and ``overwrite`` is false (checked before any work is done).
    """
    if path.exists() and not overwrite:
        raise DataError(
            f"{path} already exists",
            expected="a path that is free",
            fix="choose another output path, or pass --overwrite to replace it",
        )

    # what a link points to is replaced, not the link
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    temporary.mkdir()

    try:
        yield temporary
        if overwrite and path.exists():
            _exchange(temporary, path)
        else:
            temporary.rename(path)
    finally:
        _remove(temporary)


def _exchange(new: Path, path: Path) -> None:
    """Put a new folder in the place of an old one; where that fails, the old one is back."""
    # rename cannot replace a folder that holds files: set the old one aside first
    old = _temporary_name(path)
    path.rename(old)
    try:
        new.rename(path)
    except BaseException:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a table as indented JSON to ``path`` atomically, with its own hash at the end.

    ``emotailor.verified.read_json`` reads it.

    Raises:
        ValueError: JSON cannot hold the values: NaN, infinity, or text that is not Unicode.
    """
    text = json.dumps(with_hash(values), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shared(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write(path)``, then flush the file to disk and give it the mode files usually get.

    The safetensors library creates files that only their owner may read, which would lock
    colleagues out of a shared folder.

    Raises:
        OSError: the file cannot be written; the safetensors library has an error of its own for a
            full disk.
    """
    path.touch()
    usual_mode = path.stat().st_mode
    try:
        write(path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error

    path.chmod(usual_mode)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_hashed(
    folder: Path, stem: str, suffix: str, write: Callable[[Path], None]
) -> tuple[str, str]:
    """Write a file whose name ends in its hash, for an index file to name afterwards.

    What the index names stays in place until the index is replaced, so a kill at any moment leaves
    the old pair or the new one.

    Args:
        folder: folder of the file; created if need be.
        stem: start of the file's name.
        suffix: end of the file's name, with the dot.
        write: writes the content to the path it is given.

    Returns:
        The file's name and its SHA-256.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(folder / f"{stem}{suffix}")

    try:
        write_shared(temporary, write)
        digest = sha256_of(temporary)  # of what the disk has, not of what was meant
        name = f"{stem}-{digest[:12]}{suffix}"
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return name, digest


def remove_others(folder: Path, stem: str, suffix: str, keep: str) -> None:
    """Remove what earlier :func:`write_hashed` calls left, but ``keep``."""
    for file in folder.glob(f"{stem}-*{suffix}"):
        if file.name != keep:
            file.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that a killed process may have left."""
    return bool(_TEMPORARY.fullmatch(name))


def names_in(folder: Path) -> set[str]:
    """Return what a folder holds, but for what a killed process left; of no folder, nothing."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not is_temporary(path.name)}


def written_at(path: Path) -> Path:
    """Return the place that a temporary name was to take; other paths as they are."""
    if not is_temporary(path.name):
        return path

    # .NAME.UNIQUE.tmp
    name, _, _ = path.name[1:].rsplit(".", 2)
    return path.with_name(name)


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files that a killed process left in ``folder`` (not while one writes)."""
    for path in folder.rglob(".*.tmp"):
        if is_temporary(path.name):  # the files of others have other names
            _remove(path)
