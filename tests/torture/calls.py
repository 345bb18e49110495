"""Every call that changes the file system, seen and disturbed in a process that will die.

:func:`watch` replaces the functions of Python that change files and folders by ones that tell a
:class:`Watcher` first. It is never undone: a trial is a process of its own.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_ON_PATHS = ("mkdir", "rmdir", "unlink", "remove", "truncate", "utime", "chmod")
_ON_TWO_PATHS = ("rename", "replace", "link", "symlink")
_ON_FILES = ("fsync", "fdatasync", "ftruncate")
_SERIALIZERS = ("safetensors.numpy", "safetensors.torch")


@dataclass(frozen=True)
class Call:
    """A call that changes the file system.

    Attributes:
        name: name of the function.
        path: file or folder that it works on.
        number: descriptor that it works on, for those that take one; else -1.
    """

    name: str
    path: str
    number: int = -1


class Watcher:
    """Lets every call through; what derives from it does something before or after."""

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        """Perform a call.

        Args:
            call: what is about to happen.
            perform: does it, and returns what the call returns.
            half: does the first half, for a call that writes bytes.
        """
        return perform()


class Count(Watcher):
    """Counts the calls."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        self.calls.append(call)
        return perform()


class Kill(Watcher):
    """Kills this process at one of the calls.

    Args:
        at: number of the call, from 0.
        when: ``before`` it, ``after`` it, or in its ``middle``, with half of the bytes written.
    """

    def __init__(self, at: int, when: str) -> None:
        self.left = at
        self.when = when

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        self.left -= 1
        if self.left != -1:
            return perform()

        try:
            if self.when == "middle" and half is not None:
                half()
            if self.when == "after":
                perform()
        finally:  # also where the call fails, such as one that asks whether a file is there
            os.kill(os.getpid(), signal.SIGKILL)


class Refuse(Watcher):
    """Lets one call fail, or all from there on, as a full or vanished disk does.

    Args:
        at: number of the call, from 0.
        number: error number, such as ``errno.ENOSPC``.
        names: names of the calls that count and fail.
        for_good: whether all later calls fail too.
    """

    def __init__(
        self, at: int, number: int, names: frozenset[str], *, for_good: bool = True
    ) -> None:
        self.left = at
        self.number = number
        self.names = names
        self.for_good = for_good

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        if call.name not in self.names:
            return perform()

        self.left -= 1
        due = self.left < 0 if self.for_good else self.left == -1
        if not due:
            return perform()

        # a full disk takes what fits
        if self.number == errno.ENOSPC and half is not None and self.left == -1:
            half()
        raise OSError(self.number, os.strerror(self.number), call.path)


def watch(root: Path, watcher: Watcher) -> None:
    """Tell a watcher of every later call of this process that changes something below a folder."""
    watching = _Watching(str(root), watcher)
    for name in _ON_PATHS:
        watching.replace(name, watching.on_path)
    for name in _ON_TWO_PATHS:
        watching.replace(name, watching.on_two_paths)
    for name in _ON_FILES:
        watching.replace(name, watching.on_file)
    watching.replace("open", watching.on_open)
    watching.replace("write", watching.on_write)
    watching.replace_open()
    for module in _SERIALIZERS:
        watching.replace_serializer(module)


class _Watching:
    """The replacements.

    Args:
        root: folder below which calls are watched.
        watcher: who is told.
    """

    def __init__(self, root: str, watcher: Watcher) -> None:
        self.root = root
        self.watcher = watcher
        self.below = root + os.sep

    def replace(self, name: str, make: Callable[[str, Callable[..., Any]], Any]) -> None:
        """Put a watched function in the place of one of ``os``."""
        original = getattr(os, name)
        setattr(os, name, make(name, original))

    def watches(self, place: str) -> bool:
        """Return whether a path lies below the watched folder."""
        return place == self.root or place.startswith(self.below)

    def on_path(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Watch a function whose first argument is a path."""

        def called(path: Any, *args: Any, **options: Any) -> Any:
            place = _place(path, options.get("dir_fd"))
            if not self.watches(place):
                return original(path, *args, **options)
            return self.watcher.around(
                Call(name, place), lambda: original(path, *args, **options), None
            )

        return called

    def on_two_paths(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Watch a function that takes two paths; the second one is where something appears."""

        def called(old: Any, new: Any, *args: Any, **options: Any) -> Any:
            place = _place(new, options.get("dst_dir_fd"))
            if not self.watches(place):
                return original(old, new, *args, **options)
            return self.watcher.around(
                Call(name, place), lambda: original(old, new, *args, **options), None
            )

        return called

    def on_file(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Watch a function whose first argument is an open file."""

        def called(file: Any, *args: Any) -> Any:
            number = file if isinstance(file, int) else file.fileno()
            place = _place_of(number)
            if not self.watches(place):
                return original(file, *args)
            return self.watcher.around(
                Call(name, place, number), lambda: original(file, *args), None
            )

        return called

    def on_write(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Watch ``os.write``."""

        def called(number: int, data: Any) -> Any:
            place = _place_of(number)
            if not self.watches(place):
                return original(number, data)

            part = bytes(data)[: len(data) // 2]
            return self.watcher.around(
                Call(name, place, number),
                lambda: original(number, data),
                lambda: original(number, part),
            )

        return called

    def on_open(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Watch ``os.open`` where it may write."""

        def called(path: Any, flags: int, *args: Any, **options: Any) -> Any:
            place = _place(path, options.get("dir_fd"))
            if not flags & _WRITES or not self.watches(place):
                return original(path, flags, *args, **options)
            return self.watcher.around(
                Call(name, place), lambda: original(path, flags, *args, **options), None
            )

        return called

    def replace_open(self) -> None:
        """Watch ``open`` where it may write, and what is written to such a file."""
        original = io.open

        def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            for_writing = any(letter in mode for letter in "wax+")
            if not for_writing or isinstance(file, int) or options.get("opener"):
                return original(file, mode, *args, **options)

            place = _place(file, None)
            if not self.watches(place):
                return original(file, mode, *args, **options)
            return self.watcher.around(
                Call("open", place),
                lambda: _open(self.watcher, file, mode, *args, **options),
                None,
            )

        replaced: Any = opened
        io.open = replaced
        builtins.open = replaced

    def replace_serializer(self, module: str) -> None:
        """Watch the writer of safetensors, which is no Python: one call, with a middle."""
        loaded: Any = _module(module)
        original = loaded.serialize_file
        serialize = loaded.serialize

        def called(tensors: Mapping[str, Any], filename: Any, metadata: Any = None) -> Any:
            place = _place(filename, None)
            if not self.watches(place):
                return original(tensors, filename, metadata=metadata)

            def half() -> None:
                # the library writes beside the file, under a name of its own
                data = serialize(tensors, metadata=metadata)
                beside = Path(place).with_name(".tmpAbCdEf")
                with io.FileIO(beside, "w") as file:
                    file.write(data[: len(data) // 2])

            return self.watcher.around(
                Call("serialize", place),
                lambda: original(tensors, filename, metadata=metadata),
                half,
            )

        loaded.serialize_file = called


class _File(io.FileIO):
    """An unbuffered file that tells of every write."""

    watcher: Watcher

    def write(self, data: Any) -> int:
        content = bytes(data)
        write = super().write
        part = content[: len(content) // 2]
        call = Call("write", _place_of(self.fileno()), self.fileno())
        written: int = self.watcher.around(call, lambda: write(content), lambda: write(part))
        return written


def _open(  # noqa: PLR0917 - the order of open
    watcher: Watcher,
    file: Any,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: None = None,
) -> Any:
    """Open a file as ``open`` does, with a raw file that is watched."""
    raw_mode = mode.replace("b", "").replace("t", "")
    raw = _File(file, raw_mode, closefd)
    raw.watcher = watcher
    if buffering == 0:
        return raw

    buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
    if "b" in mode:
        return buffered

    text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)
    text.mode = mode  # type: ignore[misc]
    return text


def _module(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(name)


def _place(path: Any, folder: int | None) -> str:
    """Return the absolute path of what a call is about."""
    if isinstance(path, int):
        return _place_of(path)

    text = os.fsdecode(path)
    if folder is not None:
        text = os.path.join(_place_of(folder), text)  # noqa: PTH118 - no pathlib below pathlib
    return os.path.abspath(text)  # noqa: PTH100


def _place_of(number: int) -> str:
    """Return the path of an open file."""
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
    except OSError:
        return ""
