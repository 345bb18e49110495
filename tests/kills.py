"""Processes that end in the middle of their work, as killed ones do."""

import builtins
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KILLED = 77

CALLS = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "link", "chmod", "utime")
"""Functions of ``os`` that change the disk, or open what is to be changed."""


@contextmanager
def counted(at_call: Callable[[int, str], None]) -> Iterator[None]:
    """Tell ``at_call`` the number and the name of each call before it is made."""
    count = 0

    def telling(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            at_call(count, name)
            return function(*args, **kwargs)

        return told

    originals = {name: getattr(os, name) for name in CALLS}
    opened = builtins.open
    # a process that is killed loses nothing that it has written: there is no need to wait for it
    changed = {**originals, "fsync": lambda descriptor: None}
    for name, function in changed.items():
        setattr(os, name, telling(name, function))
    builtins.open = telling("open", opened)
    try:
        yield
    finally:
        builtins.open = opened
        for name, function in originals.items():
            setattr(os, name, function)


def run_and_die(work: Callable[[], object], call: int) -> int:
    """Do some work in a child that ends before its n-th call; return its exit code.

    Returns:
        0 where the work needs fewer calls, KILLED where it was ended, 1 where it failed.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def end(number: int, _: str) -> None:
        if number == call:
            os._exit(KILLED)

    code = 1
    try:
        with counted(end):
            work()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def killed_while_writing(target: Path) -> Path:
    """Kill a process that writes a file; return what it leaves."""
    code = (
        "import os, sys; from pathlib import Path; from emotailor import files\n"
        "with files.replacing_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, target], check=False).returncode == 9
    (left,) = target.parent.glob(f".{target.name}.*.tmp")
    return left


def plant_dead(*places: Path) -> list[Path]:
    """Put into each folder what a killed process leaves there; return all of it."""
    left = []
    for number, place in enumerate(places):
        folder = place / f".x.json.{number:016x}.tmp"
        folder.mkdir(parents=True)
        (folder / "x.json").write_text("half")
        left.append(folder)
    return left
