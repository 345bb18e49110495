"""Whose a folder or a file is, and whether we may write there: asked here and nowhere else.

One rule holds for everything that emotailor writes:

- a path that is free may be written to, and so may an empty folder;
- a folder of ours, of the same kind, may be written into, or replaced where that is asked for;
- everything else is refused before any work is done.

A folder is ours where its marker says so, the file that each kind of folder has (``dataset.json``
of a data set). Where the marker is lost or damaged, the names in the folder tell.

Each kind is declared as a :class:`FolderKind` beside the code that writes it.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError, EmotailorError
from emotailor.files import (
    make_folder,
    names_in,
    remove_left,
    remove_temporaries,
    replacing_folder,
    write_json,
)
from emotailor.locks import LOCK_FILE, Lock, is_locked, watched

FIX = "choose another --out"


@dataclass(frozen=True)
class FolderKind:
    """One kind of folder that we write.

    Attributes:
        name: the kind, as messages call it: "data set".
        marker: name of the file that says what the folder is.
        recognises: whether the content of the marker, parsed from JSON, is of this kind.
        writes: glob patterns of everything that we write into such a folder.
        signs: glob patterns of what no other folder has. Where the marker is lost or damaged, one
            of them must be there; with no pattern, the names in ``writes`` are enough.
        below: names of the folders in it into which its own files are written.
        error: class of the errors that are raised.
    """

    name: str
    marker: str
    recognises: Callable[[Any], bool]
    writes: Sequence[str] = ()
    signs: Sequence[str] = ()
    below: Sequence[str] = ()
    error: type[EmotailorError] = ConfigError

    def owns(self, folder: Path) -> bool:
        """Return whether a folder that is not empty is of this kind."""
        try:
            content = json.loads((folder / self.marker).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):  # lost or damaged
            return self._has_the_names(folder)

        return self.recognises(content)

    def check(self, folder: Path) -> None:
        """Refuse a folder that we must not write into.

        Raises:
            EmotailorError: of class ``error``, where ``folder`` holds something else, is a file, or
                cannot be written to.
        """
        check_place(folder, self.error)
        if folder.exists() and not folder.is_dir():
            raise self.error(f"{folder} is a file", expected="a folder", fix=FIX)

        # a call that wrote nothing leaves a lock alone
        there = names_in(folder) - {LOCK_FILE}
        if there and not self.owns(folder):
            found = f"{folder} is no {self.name}, and not empty: it holds {min(there)!r}"
            if self.marker in there:
                found += f", and its {self.marker} is damaged or of another kind"
            raise self.error(
                found,
                expected=f"an earlier {self.name}, or a path that is free",
                fix=FIX,
            )

    def check_new(self, folder: Path, *, overwrite: bool) -> None:
        """Refuse a folder that must not be created, or that must not be replaced as a whole.

        Args:
            folder: path to write to.
            overwrite: replace a folder of this kind that is there.

        Raises:
            EmotailorError: of class ``error``, where ``folder`` exists and ``overwrite`` is false,
                it holds something else or something more, or it cannot be written to.
        """
        if folder.exists() and not overwrite:
            # a call that was killed at its very end cannot be called again to clear up
            remove_left(folder)
            raise self.error(
                f"{folder} already exists",
                expected="a path that is free",
                fix=f"{FIX}, or pass --overwrite to replace it",
            )

        self.check(folder)

        more = self._strange(folder)
        if more:
            raise self.error(
                f"{folder} is a {self.name}, but holds {min(more)!r} too, which would be lost",
                expected=f"a {self.name} and nothing else",
                fix=f"move that away, or {FIX}",
            )

    def mark(self, folder: Path, content: Any) -> None:
        """Write the marker unless it is there: from here on the folder is known as ours.

        What killed processes have left in it is removed.
        """
        file = folder / self.marker
        if not file.exists():
            write_json(file, content)
        self.sweep(folder)

    def sweep(self, folder: Path) -> None:
        """Remove what killed processes have left in a folder of this kind and in those below it.

        Who writes to a place clears it. This clears the places to which nothing is written because
        all is done.
        """
        below = [folder / name for name in self.below]
        remove_temporaries(folder, *below)

    @contextmanager
    def replacing(self, folder: Path, *, overwrite: bool) -> Iterator[Path]:
        """Yield a temporary folder; on success its files are at ``folder``, and no others.

        A kill at any moment leaves the old folder or the new one. All files but the marker must
        have names that their content decides: see :func:`emotailor.files.replacing_folder`.

        Args:
            folder: path to write to.
            overwrite: replace a folder of this kind that is there.

        Raises:
            EmotailorError: as :meth:`check_new`, or another process is writing the folder.
            OSError: something cannot be written.
        """
        self.check_new(folder, overwrite=overwrite)
        with replacing_folder(
            folder, index=self.marker, writes=self.writes, overwrite=overwrite
        ) as temporary:
            yield temporary

    def _has_the_names(self, folder: Path) -> bool:
        """Return whether a folder holds nothing but what we write, and one of the signs."""
        if self._strange(folder):
            return False

        return not self.signs or any(_matches(folder, self.signs))

    def _strange(self, folder: Path) -> set[str]:
        """Return the names in a folder that we do not write."""
        ours = set(_matches(folder, self.writes))
        return names_in(folder) - ours - {LOCK_FILE}


def has_format(name: str) -> Callable[[Any], bool]:
    """Return a test for a marker that says ``"format": name``."""

    def recognises(content: Any) -> bool:
        return isinstance(content, dict) and content.get("format") == name

    return recognises


def check_file(file: Path, name: str, start: bytes) -> None:
    """Refuse a file that we must not write over.

    Args:
        file: path to write to.
        name: the kind of file, as messages call it.
        start: first bytes of every file of this kind, in lower case.

    Raises:
        ConfigError: ``file`` is something else, is a folder, or cannot be written to.
    """
    check_place(file, ConfigError)

    if file.is_dir():
        raise ConfigError(f"{file} is a folder", expected="a file", fix=FIX)
    if not file.exists():
        return

    with file.open("rb") as stream:
        found = stream.read(len(start))
    if found.lower() != start:
        raise ConfigError(
            f"{file} exists and is no {name}",
            expected=f"an earlier {name}, or a path that is free",
            fix=FIX,
        )


def _matches(folder: Path, patterns: Sequence[str]) -> Iterator[str]:
    """Yield the names in a folder that, with what lies inside, match one of the patterns."""
    for pattern in patterns:
        for found in folder.glob(pattern):
            yield found.relative_to(folder).parts[0]


def check_place(path: Path, error: type[EmotailorError]) -> None:
    """Refuse a path that cannot be created, or in which nothing can be written."""
    places = (path, *path.absolute().parents)
    existing = next(place for place in places if place.exists())
    if existing == path and not path.is_dir():
        existing = path.absolute().parent  # a file is replaced, so its folder is written to

    if not existing.is_dir():
        raise error(f"{existing} is a file", expected="a folder", fix=FIX)
    if not os.access(existing, os.W_OK):
        raise error(
            f"{existing} cannot be written to",
            expected="a folder that you may write to",
            fix=FIX,
        )


# ---------------------------------------------------------------------- one process at a time


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, which is created if need be: two processes must not write the same one.

    The system releases the folder when the process ends, however it ends. If the folder is removed
    meanwhile, or made again, the next write into it is refused.

    Raises:
        ConfigError: another process holds it, or it cannot be written to.
    """
    check_place(folder, ConfigError)
    make_folder(folder)

    lock = Lock(folder)
    if not lock.acquire():
        raise _busy(folder)
    try:
        with watched(lock):
            yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Return whether a process holds a folder."""
    return is_locked(folder)


def check_free(folder: Path) -> None:
    """Refuse a folder that another process holds.

    Raises:
        ConfigError: another process holds it.
    """
    if is_held(folder):
        raise _busy(folder)


def _busy(folder: Path) -> ConfigError:
    return ConfigError(
        f"another process works in {folder}",
        expected="one process at a time",
        fix=f"wait for it to end, or {FIX}",
    )
