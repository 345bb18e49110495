"""Writing that neither a kill nor a power cut can leave half done, and content hashes.

One way holds for everything that emotailor writes:

1. New content goes into a hidden folder beside its place, ``.NAME.UNIQUE.tmp``, which its process
   locks (:mod:`emotailor.locks`). A library that makes temporary files makes them in there.
2. It is flushed to the disk, then takes its place in one step, then its folder is flushed. Several
   files take their places in the order that their reader needs: what an index names comes first.
3. What killed processes have left is removed by whoever writes to the same place next, if nobody
   holds its lock. What a living process writes stays.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from emotailor.errors import ConfigError, DataError
from emotailor.locks import Lock, check_locks, is_locked, try_lock
from emotailor.verified import with_hash

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.tmp")

_OLD_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)-[0-9a-f]{6}\.tmp")
"""Of versions that did not lock what they wrote."""

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Numbers of the errors of a place where nothing may be written."""

TAIL = 1 << 16
"""Bytes at the end of a file that are searched for the end of a line at a time."""

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


# ---------------------------------------------------------------------- the disk


def sync_file(path: Path) -> None:
    """Flush the content of a file to the disk."""
    with _naming(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk."""
    if sys.platform == "win32":  # has no such thing
        return

    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are missing, to stay after a power cut."""
    above = (path, *path.absolute().parents)
    missing = [place for place in above if not place.is_dir()]
    with _naming(path):
        for place in reversed(missing):
            place.mkdir(exist_ok=True)
            sync_folder(place.absolute().parent)


# ---------------------------------------------------------------------- temporary folders


def is_temporary(name: str) -> bool:
    """Whether a name is one that a killed process may have left."""
    return _name_of(name) is not None


def _name_of(temporary: str) -> str | None:
    """Return the name that a temporary was to get; None of what is no temporary."""
    match = _TEMPORARY.fullmatch(temporary) or _OLD_TEMPORARY.fullmatch(temporary)
    return None if match is None else match["name"]


def written_at(path: Path) -> Path:
    """Return the place that something temporary was to take; other paths as they are."""
    for part in (path, *path.parents):
        name = _name_of(part.name)
        if name is not None:
            return part.with_name(name)
    return path


def _is_hidden(path: Path) -> bool:
    return any(is_temporary(part) for part in path.parts)


@contextmanager
def _temporary_folder(place: Path, name: str) -> Iterator[Path]:
    """Yield a locked folder in ``place`` for what is to be called ``name``; remove it at the end.

    What killed processes have left of the same name is removed before.
    """
    for left in _temporaries(place, name):
        _remove_dead(left)

    while True:
        with _new_folder(place, name) as folder:
            if folder is not None:
                yield folder
                return


@contextmanager
def _new_folder(place: Path, name: str) -> Iterator[Path | None]:
    """Yield a new folder that is locked, where the file system has locks; remove it at the end.

    Yields None where a process that removes what is dead came before the lock.
    """
    folder = place / f".{name}.{secrets.token_hex(8)}.tmp"
    lock = Lock(folder)

    # a signal may end the work at any line, also right after the folder is made
    try:
        folder.mkdir()
        is_ours = _hold(lock)
        yield folder if is_ours else None
    finally:
        try:
            _remove_locked(folder, lock)
        except BaseException:  # also in the middle of this
            _remove_locked(folder, lock)
            raise


@contextmanager
def private_folder(place: Path, name: str) -> Iterator[Path]:
    """Yield a folder that only this user can look into; it is removed at the end, with all in it.

    What killed processes have left of the same name is removed before.

    Args:
        place: where it is made.
        name: what it is for.

    Raises:
        OSError: nothing can be written there.
    """
    with _temporary_folder(place, name) as folder:
        folder.chmod(0o700)
        yield folder


def _remove_locked(folder: Path, lock: Lock) -> None:
    """Remove a folder and give its lock back."""
    _remove(folder)
    lock.release()
    if folder.exists():  # the lock was in the way: Windows keeps what is open
        _remove(folder)


def _hold(lock: Lock) -> bool:
    """Lock a new folder; return whether it is still there and ours."""
    try:
        return lock.acquire()
    except FileNotFoundError:
        return False
    except (OSError, NotImplementedError):  # a file system without locks
        return True


def _temporaries(place: Path, name: str | None = None) -> list[Path]:
    """Return the temporary files and folders in a folder, for one name or for all."""
    if not place.is_dir() or not os.access(place, os.R_OK):
        return []

    found = []
    for path in place.iterdir():
        its_name = _name_of(path.name)
        if its_name is not None and name in (None, its_name):
            found.append(path)
    return found


def remove_temporaries(*folders: Path) -> None:
    """Remove what killed processes have left in folders of ours; not in those below."""
    for folder in folders:
        for path in _temporaries(folder):
            _remove_dead(path)


def remove_left(path: Path) -> None:
    """Remove what killed processes that were to make ``path`` have left beside it."""
    target = path.absolute()
    for left in _temporaries(target.parent, target.name):
        _remove_dead(left)


def _remove_dead(path: Path) -> None:
    """Remove something temporary if its process is dead."""
    old = _OLD_TEMPORARY.fullmatch(path.name)
    if old is not None:
        _remove_old(path, int(old["process"]))
        return
    if path.is_symlink() or not path.is_dir():  # not of ours
        return

    lock = try_lock(path)
    if lock is not None:
        # its process may be about to lock it: what it finds must be locked or gone
        _remove(path)
        lock.release()


def _remove_old(path: Path, process: int) -> None:
    """Remove a temporary of an earlier version if its process is dead."""
    # these versions set a folder aside to replace it: it may be all that is left
    is_whole = path.is_dir() and any(path.glob("*.json"))
    is_replaced = written_at(path).exists()
    if is_whole and not is_replaced:
        return

    if _has_ended(process):
        _remove(path)


def _has_ended(process: int) -> bool:
    """Whether there is no process of this number on this machine; false where none can tell."""
    if sys.platform == "win32":  # asking would interrupt it
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # of somebody else
        return False
    return False


def _remove(path: Path) -> None:
    """Remove a file or a whole folder, as far as it is there and may be removed."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return

    # a process may have no file descriptor left, and needs one to list what is in a folder
    inner: list[Path] = []
    with suppress(OSError):
        inner = list(path.iterdir())
    for part in inner:
        _remove(part)
    with suppress(OSError):
        path.rmdir()


# ---------------------------------------------------------------------- files


@contextmanager
def _naming(path: Path, *, also_unnamed: bool = True) -> Iterator[None]:
    """Name ``path`` in errors of the system, which would name something hidden, or nothing.

    Args:
        path: what is written, as its user calls it.
        also_unnamed: name it where an error has no name: nothing else is read or written.

    Raises:
        ConfigError: the folder was taken from this process, which is why it cannot write.
        OSError: as the system says, with the other name.
    """
    try:
        yield
    except OSError as error:
        check_locks(path)
        if error.errno is None:
            raise
        is_unnamed = error.filename is None and also_unnamed
        is_hidden = isinstance(error.filename, str) and _is_hidden(Path(error.filename))
        if not is_unnamed and not is_hidden:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing_files(*paths: Path) -> Iterator[list[Path]]:
    """Yield a temporary path for each file; on success they take their places in this order.

    The file that names the others, or says that they are there, comes last.

    Raises:
        OSError: something cannot be written; then all files are the earlier ones, unless it comes
            to that between two of them.
        ConfigError: the folder was taken from this process.
    """
    temporaries = []
    with _naming(paths[0]), ExitStack() as stack:
        for path in paths:
            check_locks(path)
            make_folder(path.parent)
            folder = stack.enter_context(_temporary_folder(path.parent, path.name))
            temporaries.append(folder / path.name)

        yield temporaries

        for temporary in temporaries:
            sync_file(temporary)
        for temporary, path in zip(temporaries, paths, strict=True):
            _put(temporary, path)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success the file there takes the place of ``path`` at once."""
    with replacing_files(path) as (temporary,):
        yield temporary


def _put(temporary: Path, path: Path) -> None:
    """Let a flushed file take its place, to stay after a power cut."""
    check_locks(path)
    temporary.replace(path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_together(texts: Mapping[Path, str]) -> None:
    """Write text files that belong together: each takes its place when all are on the disk.

    Args:
        texts: file -> its content; the one that says what the others hold comes last.
    """
    with replacing_files(*texts) as temporaries:
        for temporary, text in zip(temporaries, texts.values(), strict=True):
            temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a table as indented JSON to ``path`` atomically, with its own hash at the end.

    ``emotailor.verified.read_json`` reads it.

    Raises:
        ValueError: JSON cannot hold the values: NaN, infinity, or text that is not Unicode.
    """
    write_text(path, json_text(values))


def json_text(values: Mapping[str, Any]) -> str:
    """Return what :func:`write_json` writes.

    Raises:
        ValueError: JSON cannot hold the values: NaN, infinity, or text that is not Unicode.
    """
    text = json.dumps(with_hash(values), indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------------- files named by an index


def write_shared(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write(path)``, then flush the file to disk and give it the mode files usually get.

    The safetensors library creates files that only their owner may read, which would lock
    colleagues out of a shared folder.

    Args:
        path: a temporary path, as the functions here yield it.
        write: writes the content to the path it is given.

    Raises:
        OSError: the file cannot be written; the safetensors library has an error of its own for a
            full disk.
    """
    with _naming(path):
        path.touch()
        usual_mode = path.stat().st_mode
        try:
            write(path)
        except SafetensorError as error:
            raise _as_system_error(error, path) from error

        path.chmod(usual_mode)
        sync_file(path)


def _as_system_error(error: SafetensorError, path: Path) -> OSError:
    """Return the error of the system that the safetensors library tells in words."""
    number = re.search(r"os error (\d+)", str(error))
    if number is None:
        return OSError(f"cannot write {path}: {error}")

    code = int(number[1])
    return OSError(code, os.strerror(code), str(path))


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

    Raises:
        OSError: the file cannot be written.
        ConfigError: the folder was taken from this process.
    """
    check_locks(folder)
    make_folder(folder)
    name = f"{stem}{suffix}"

    with _naming(folder / name), _temporary_folder(folder, name) as place:
        temporary = place / name
        write_shared(temporary, write)
        digest = sha256_of(temporary)  # of what the disk has, not of what was meant
        hashed_name = f"{stem}-{digest[:12]}{suffix}"
        _put(temporary, folder / hashed_name)
    return hashed_name, digest


def remove_others(folder: Path, stem: str, suffix: str, *keep: str) -> None:
    """Remove what earlier :func:`write_hashed` calls left, but ``keep``."""
    check_locks(folder)
    for file in folder.glob(f"{stem}-*{suffix}"):
        if file.name not in keep:
            _remove(file)


def remove_file(path: Path) -> None:
    """Remove a file of ours, if it is there."""
    check_locks(path.parent)
    _remove(path)


def remove_folder(path: Path) -> None:
    """Remove a folder of ours with all that is in it, if it is there."""
    _remove(path)


def cut_torn_line(path: Path) -> None:
    """Cut the last line of a file off, if it does not end: whoever wrote it was killed.

    The caller holds a lock under which alone lines are added.
    """
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        size = end
        while size:
            start = max(0, size - TAIL)
            file.seek(start)
            place = file.read(size - start).rfind(b"\n")
            if place >= 0:
                size = start + place + 1
                break
            size = start
        if size < end:
            file.truncate(size)


def remove_written(folder: Path, writes: Iterable[str]) -> None:
    """Remove what a folder of ours holds, pattern by pattern, and the folder if nothing is left.

    The marker goes last: what a killed process leaves is still a folder of ours.
    """
    check_locks(folder)
    remove_temporaries(folder)
    for pattern in writes:
        for path in folder.glob(pattern):
            _remove(path)
    with suppress(OSError):
        folder.rmdir()


def names_in(folder: Path) -> set[str]:
    """Return what a folder holds, but for what a killed process left; of no folder, nothing."""
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if not is_temporary(path.name)}


# ---------------------------------------------------------------------- folders


@contextmanager
def replacing_folder(
    path: Path,
    *,
    index: str,
    writes: Sequence[str] = ("*",),
    overwrite: bool = False,
    meanwhile: Mapping[str, Any] | None = None,
) -> Iterator[Path]:
    """Yield a temporary folder; on success its files are at ``path``, and those there are gone.

    A folder that is not there appears at once. Into one that is there the new files move beside
    the old ones; then the new index, which names them, takes the place of the old one; then what
    it does not name is removed. At every moment the index at ``path`` names what is there. So all
    files but the index must have names that their content decides (:func:`write_hashed`), or the
    index must say meanwhile that nothing is there.

    Args:
        path: folder to make or replace.
        index: name of the file that names the others.
        writes: glob patterns of what is removed of an earlier folder.
        overwrite: replace a folder that is there.
        meanwhile: what the index holds while files are moved; None where it stays the old one.

    Raises:
        DataError: ``path`` exists and ``overwrite`` is false; checked before any work is done.
        ConfigError: another process is writing the folder.
        OSError: something cannot be written.
    """
    if path.exists() and not overwrite:
        raise _exists(path)

    # what a link points to is replaced, not the link
    target = path.resolve()
    with _naming(path):
        make_folder(target.parent)

    for around in (target.parent, target):
        _check_alone(around, target.name, path)

    # what is there may be where nothing can be written beside it
    is_there = target.is_dir()
    place = target if is_there else target.parent

    with (
        _naming(path, also_unnamed=False),
        _temporary_folder(place, target.name) as folder,
    ):
        new = folder / "new"
        new.mkdir()
        yield new

        with _naming(path):
            _sync_all(new)
            if not is_there:
                _appear(new, target, path)
                return

            if meanwhile is not None:
                write_json(target / index, meanwhile)
            _move_into(new, target, index, writes)


def _exists(path: Path) -> DataError:
    return DataError(
        f"{path} already exists",
        expected="a path that is free",
        fix="choose another output path, or pass --overwrite to replace it",
    )


def _check_alone(place: Path, name: str, path: Path) -> None:
    """Refuse to write a folder that another process is writing; remove what dead ones left."""
    for other in _temporaries(place, name):
        _remove_dead(other)
        if is_locked(other):
            raise ConfigError(
                f"another process is writing {path}",
                expected="one process at a time",
                fix="wait for it to end, or choose another output path",
            )


def _sync_all(folder: Path) -> None:
    """Flush all files of a folder, then their names."""
    for file in folder.iterdir():
        sync_file(file)
    sync_folder(folder)


def _appear(new: Path, target: Path, path: Path) -> None:
    """Give a new folder its name."""
    try:
        new.rename(target)
    except OSError as error:
        if target.exists():  # since the work began
            raise _exists(path) from error
        raise
    sync_folder(target.parent)


def _move_into(new: Path, target: Path, index: str, writes: Sequence[str]) -> None:
    """Move files into the folder that they replace, their index last."""
    before = names_in(target)
    names = names_in(new)
    try:
        for name in sorted(names - {index}):
            (new / name).replace(target / name)
        # what the index names must be there before it says so
        sync_folder(target)
    except BaseException:
        _remove_names(target, names - before)
        raise

    (new / index).replace(target / index)
    sync_folder(target)

    # nobody needs the rest any more
    old = {path.name for pattern in writes for path in target.glob(pattern)}
    _remove_names(target, (old & before) - names)


def _remove_names(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        _remove(folder / name)
