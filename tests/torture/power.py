"""A power cut at any call: what was not synced may be lost, and the next call must cope.

A recorder notes after every call which bytes and which names are certain to be on the disk. From
that it makes the disks that a power cut may leave, worst ones first:

- ``synced``: of files and of folders, only what was synced;
- ``names``: all names, but only the bytes that were synced (files of no bytes);
- ``mixed``: each file and each folder as it was synced or as it was meant, at random.
"""

import os
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.torture.calls import Call, Watcher, watch
from tests.torture.children import command, emotailor, fork
from tests.torture.kills import Undisturbed, lost, unfinished
from tests.torture.trees import Tree, clear, read_tree, write_tree
from tests.torture.world import BY_NAME, World

VARIANTS = ("synced", "names", "mixed")

_SYNCS = {"fsync", "fdatasync"}

Entries = dict[str, int]
"""Name in a folder -> number of the file or folder."""


@dataclass
class Disk:
    """What a folder holds, by number.

    Attributes:
        root: number of the folder itself.
        folders: number of a folder -> what is in it.
        files: number of a file -> its bytes.
    """

    root: int
    folders: dict[int, Entries] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)


class Recorder(Watcher):
    """Notes what a power cut after each call may leave.

    Args:
        root: folder of which everything is noted.
        seed: of the mixed disks.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.drawn = random.Random(seed)
        self._seen: dict[int, tuple[tuple[int, int], bytes]] = {}
        self._folders: set[int] = set()  # also those that were removed and never synced
        self.now = self._scan()
        self.synced = Disk(self.now.root, dict(self.now.folders), dict(self.now.files))
        self.left: list[tuple[str, str, Tree]] = []
        self._known: set[int] = set()

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        try:
            return perform()
        finally:
            self._note(call)

    def _note(self, call: Call) -> None:
        """Note what is on the disk after a call."""
        self.now = self._scan()
        if call.name in _SYNCS:
            number = os.fstat(call.number).st_ino
            if number in self.now.folders:
                self.synced.folders[number] = dict(self.now.folders[number])
            elif number in self.now.files:
                self.synced.files[number] = self.now.files[number]

        where = f"{call.name} {Path(call.path).name}"
        for variant in VARIANTS:
            tree = dict(self._walk(self.now.root, "", variant))
            key = hash(frozenset(tree.items()))
            if key not in self._known:
                self._known.add(key)
                self.left.append((where, variant, tree))

    def _scan(self) -> Disk:
        """Return what is there, reading again only what has changed."""
        disk = Disk(self.root.stat().st_ino)
        waiting = [(self.root, disk.root)]
        while waiting:
            folder, number = waiting.pop()
            entries: Entries = {}
            for entry in os.scandir(folder):
                inner = entry.inode()
                entries[entry.name] = inner
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), inner))
                else:
                    disk.files[inner] = self._content(entry)
            disk.folders[number] = entries
        self._folders.update(disk.folders)
        return disk

    def _content(self, entry: os.DirEntry[str]) -> bytes:
        state = entry.stat()
        key = (state.st_mtime_ns, state.st_size)
        known = self._seen.get(entry.inode())
        if known is not None and known[0] == key:
            return known[1]

        content = Path(entry.path).read_bytes()
        self._seen[entry.inode()] = (key, content)
        return content

    def _walk(self, number: int, path: str, variant: str) -> Iterator[tuple[str, bytes | None]]:
        """Yield what a power cut leaves of a folder."""
        entries = self._entries(number, variant)
        for name, inner in entries.items():
            place = f"{path}/{name}".removeprefix("/")
            if inner in self._folders:
                yield place, None
                yield from self._walk(inner, place, variant)
            else:
                yield place, self._bytes(inner, variant)

    def _entries(self, number: int, variant: str) -> Entries:
        synced = self.synced.folders.get(number, {})
        now = self.now.folders.get(number, synced)
        if variant == "mixed":
            return self.drawn.choice((synced, now))
        return synced if variant == "synced" else now

    def _bytes(self, number: int, variant: str) -> bytes:
        synced = self.synced.files.get(number, b"")
        now = self.now.files.get(number, synced)
        if variant == "mixed" and now != synced:
            return self.drawn.choice((synced, now, now[: len(now) // 2]))
        return synced


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut.

    Attributes:
        task: name of the task that was going on.
        number: which of the disks of this task.
        where: the call after which the power went.
        variant: how bad it is.
    """

    task: str
    number: int
    where: str
    variant: str


class Power:
    """Trials of power cuts.

    Args:
        world: where they are made.
        seed: of the mixed disks.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed
        self.recorded = cache(self._recorded)

    def cuts(self, name: str, most: int) -> list[Cut]:
        """Return the disks to try of a task: all, or as many as wanted, spread evenly."""
        _, left = self.recorded(name)
        cuts = [Cut(name, k, where, variant) for k, (where, variant, _) in enumerate(left)]
        if len(cuts) <= most:
            return cuts
        return [cuts[k * len(cuts) // most] for k in range(most)]

    def trial(self, cut: Cut) -> list[str]:
        """Run a task again on a disk that a power cut has left; return what is wrong."""
        task = BY_NAME[cut.task]
        expected, left = self.recorded(cut.task)
        tree = left[cut.number][2]
        clear(self.world.work)
        write_tree(tree, self.world.work)

        wrong = lost(task, tree, expected, {})
        again = command(task.arguments, self.world.work, self.world.log)
        done = read_tree(self.world.work)
        return wrong + unfinished(task, again, tree, done, expected, {})

    def _recorded(self, name: str) -> tuple[Undisturbed, list[tuple[str, str, Tree]]]:
        """Run a task and return what it does, and what power cuts may leave on its way."""
        task = BY_NAME[name]
        world = self.world
        world.prepare(task.needs)
        before = read_tree(world.work)
        notes = world.log.with_name("notes")

        def work() -> None:
            recorder = Recorder(world.work, self.seed)
            watch(world.work, recorder)
            try:
                emotailor(task.arguments)
            finally:
                notes.write_bytes(pickle.dumps(recorder.left))

        ended = fork(work, world.work, world.log)
        assert ended.code == 0, ended
        left = pickle.loads(notes.read_bytes())  # noqa: S301 - written a line above
        after = read_tree(world.work)
        return Undisturbed(0, before, after), left
