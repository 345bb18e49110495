"""Disks that are full, read-only or gone, and limits of the system.

A command that meets them ends in one message and not with 0, leaves nothing half-written, and does
all of its work when it is called again on a sound disk.
"""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests.torture.calls import Call, Refuse, Watcher
from tests.torture.children import Ended, command
from tests.torture.kills import lost, undisturbed, unfinished
from tests.torture.trees import clear, read_tree
from tests.torture.world import BY_NAME, World

_WRITING = frozenset({"write", "serialize", "fsync", "ftruncate"})
_NAMING = frozenset({"open", "mkdir", "rename", "replace", "link"})


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong with a disk.

    Attributes:
        task: name of the task that meets it.
        kind: what goes wrong.
        at: at which call, size or number it does.
    """

    task: str
    kind: str
    at: int


KINDS = ("full", "full once", "error", "read-only", "gone", "files", "memory", "size")


class Disks:
    """Trials of bad disks.

    Args:
        world: where they are made.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.undisturbed = cache(partial(undisturbed, world))

    def trials(self, tasks: Sequence[str], count: int, seed: int) -> Iterator[Trouble]:
        """Yield random troubles: all kinds in turn, and each task as often as its weight says."""
        drawn = random.Random(seed)
        weighted = [name for name in tasks for _ in range(BY_NAME[name].weight)]
        for number in range(count):
            task = drawn.choice(weighted)
            kind = KINDS[number % len(KINDS)]
            yield Trouble(task, kind, self._place(task, kind, drawn))

    def _place(self, task: str, kind: str, drawn: random.Random) -> int:
        if kind == "files":
            return drawn.choice((3, 4, 5, 6, 8, 10, 14, 20))
        if kind == "memory":
            return drawn.choice((0, 1, 4, 16, 64)) * 2**20
        if kind == "size":
            # what is printed goes into files, too
            return drawn.choice((3000, 5000, 10_000, 30_000))
        return drawn.randrange(self.undisturbed(task).calls)

    def trial(self, trouble: Trouble) -> list[str]:
        """Run a task on a bad disk, and again on a sound one; return what is wrong."""
        task = BY_NAME[trouble.task]
        expected = self.undisturbed(trouble.task)
        world = self.world
        world.prepare(task.needs)
        away = world.work.with_name("gone")
        clear(away)

        watcher, before = self._make(trouble)
        met = command(task.arguments, world.work, world.log, watcher=watcher, before=before)
        wrong = _told(met, trouble)

        if away.exists():
            # what has been made anew at the old place is no work of this command's
            shutil.rmtree(world.work, ignore_errors=True)
            away.rename(world.work)
        left = read_tree(world.work)
        wrong += [f"on the bad disk: {line}" for line in lost(task, left, expected, {})]
        if met.code > 0:
            hidden = [name for name in left if name.endswith(".tmp")]
            ours = [name for name in hidden if name not in expected.before]
            # where nothing can be changed any more, nothing can be removed
            if ours and trouble.kind not in {"read-only", "gone", "full", "error", "files"}:
                wrong.append(f"on the bad disk: {ours[0]} is left over")

        again = command(task.arguments, world.work, world.log)
        done = read_tree(world.work)
        return wrong + unfinished(task, again, left, done, expected, {})

    def _make(self, trouble: Trouble) -> tuple[Watcher | None, Callable[[], None] | None]:
        """Return who lets calls fail, and what limits the process."""
        at = trouble.at
        watchers: dict[str, Watcher] = {
            "full": Refuse(at, errno.ENOSPC, _WRITING),
            "full once": Refuse(at, errno.ENOSPC, _WRITING, for_good=False),
            "error": Refuse(at, errno.EIO, _WRITING | _NAMING),
            "read-only": Refuse(at, errno.EROFS, _WRITING | _NAMING),
            "gone": Vanish(at, self.world.work),
        }
        limits: dict[str, Callable[[], None]] = {
            "files": lambda: _limit(resource.RLIMIT_NOFILE, _open_files() + at),
            "memory": lambda: _limit(resource.RLIMIT_AS, _memory() + at),
            "size": lambda: _limit(resource.RLIMIT_FSIZE, at),
        }
        return watchers.get(trouble.kind), limits.get(trouble.kind)


class Vanish(Watcher):
    """Moves the folder of the whole work away at one of the calls.

    Args:
        at: number of the call, from 0.
        folder: what vanishes.
    """

    def __init__(self, at: int, folder: Path) -> None:
        self.left = at
        self.folder = folder

    def around(
        self, call: Call, perform: Callable[[], object], half: Callable[[], object] | None
    ) -> object:
        self.left -= 1
        if self.left == -1:
            # by another program: calls of this process are watched
            subprocess.run(["mv", str(self.folder), str(self.folder.with_name("gone"))], check=True)
        return perform()


def _told(met: Ended, trouble: Trouble) -> list[str]:
    """Return what is wrong with how a command has ended."""
    wrong = []
    if met.traced:
        wrong.append(f"a traceback: {met.err.strip()[-1200:]}")
    elif met.late or (met.code < 0 and not _aborted(met, trouble)):
        wrong.append(f"ended with {met.code}, {'too late' if met.late else 'killed'}")
    elif met.code > 0 and len(_errors(met)) != 1 and "failed" not in met.out:
        wrong.append(f"no message, or several: {met.err.strip()[:500]}")
    return wrong


def _aborted(met: Ended, trouble: Trouble) -> bool:
    """Return whether a library ended the process itself, as torch does where memory is short."""
    return trouble.kind == "memory" and met.code == -signal.SIGABRT


def _errors(met: Ended) -> list[str]:
    """Return the errors that a command has printed."""
    return [line for line in met.err.splitlines() if line.startswith("error: ")]


def _limit(what: int, number: int) -> None:
    _, most = resource.getrlimit(what)
    resource.setrlimit(what, (number, most))


def _open_files() -> int:
    return max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
