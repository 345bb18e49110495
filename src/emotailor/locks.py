"""Locks of folders: the system releases them when their process ends, however it ends.

A lock is a file in the folder. Who removes the folder and makes it again has another lock in it, so
the first process no longer holds the folder: it must find that before it writes there.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from emotailor.errors import ConfigError

LOCK_FILE = ".lock"

_watched: list["Lock"] = []


class Lock:
    """The lock of a folder.

    Args:
        folder: the folder, which must be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._file = self.folder / LOCK_FILE
        self._lock = FileLock(self._file)
        self._held: tuple[int, int] | None = None

    def acquire(self) -> bool:
        """Take the lock; return whether it is ours now.

        Raises:
            OSError: the folder is gone or cannot be written to, or has a file system without locks.
        """
        # what is locked may be removed at this moment, and another made: a file that was there
        # before and is there afterwards is the one that was locked
        for is_last in (False, True):
            before = self._found()
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                return False

            self._held = self._found()
            is_sure = self._held == before
            # Windows removes the file with each release, but nobody else can while it is locked
            is_new = before is None and is_last
            if self._held is not None and (is_sure or is_new):
                return True
            self.release()
        return False

    def release(self) -> None:
        """Give the lock back."""
        self._held = None
        self._lock.release()

    @property
    def is_lost(self) -> bool:
        """Whether the folder was removed or made again since the lock was taken."""
        return self._held is None or self._found() != self._held

    def _found(self) -> tuple[int, int] | None:
        """Return what tells the file in the folder from all others; None where there is none."""
        try:
            status = self._file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_dev, status.st_ino


@contextmanager
def watched(lock: Lock) -> Iterator[None]:
    """Let :func:`check_locks` look at a lock that this process holds."""
    _watched.append(lock)
    try:
        yield
    finally:
        _watched.remove(lock)


def check_locks(path: Path) -> None:
    """Refuse to write below a folder that this process held and that was taken from it.

    Args:
        path: what is to be written.

    Raises:
        ConfigError: a folder above ``path`` was removed, or made again, since it was locked.
    """
    place = path.absolute()
    for lock in _watched:
        if place.is_relative_to(lock.folder) and lock.is_lost:
            raise ConfigError(
                f"{lock.folder} was removed or replaced while this process worked in it",
                expected="a folder that stays until its process ends; nothing more is written",
                fix="run the same command again, with another --out if another process works there",
            )


def is_locked(folder: Path) -> bool:
    """Return whether a process holds a folder."""
    if not (folder / LOCK_FILE).is_file():
        return False

    lock = Lock(folder)
    try:
        is_free = lock.acquire()
    except OSError:  # a folder that may only be read: no process of ours can be in it
        return False

    if is_free:
        lock.release()
    return not is_free


def try_lock(folder: Path) -> Lock | None:
    """Lock a folder; return None where that cannot be done.

    Args:
        folder: the folder; where it is gone, it cannot be locked.
    """
    lock = Lock(folder)
    # older versions of the library have an error of their own for a file system without locks
    with suppress(OSError, NotImplementedError):
        if lock.acquire():
            return lock
    return None
