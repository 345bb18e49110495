"""Two processes on one folder: one of them is refused, or both are right.

The second one begins at some call of the first one, which waits until the second has ended or holds
the place itself. What is there afterwards must be what one of the two makes alone, and whole.
"""

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.torture.calls import Call, Watcher, watch
from tests.torture.children import Ended, command, emotailor, start, wait
from tests.torture.kills import results_in
from tests.torture.trees import Tree, differences, read_tree
from tests.torture.world import World

_BENCHMARK = "--models br,tailor --seeds 1 --config systems.toml --resamples 20 --jobs 1"


@dataclass(frozen=True)
class Pair:
    """Two commands that meet.

    Attributes:
        first: command that begins.
        second: command that comes in between.
        needs: parts of the world.
        place: folder that both want.
        passing: ends of the names of files that say how far the other command was.
    """

    first: str
    second: str
    needs: tuple[str, ...]
    place: str
    passing: tuple[str, ...] = ()


_TRAIN = "train -d data -o new -c tiny.toml"

_OF_A_TRAINING = (".html", ".csv", "evaluation-test.json", ".svg", ".png", "figures", "index.json")
"""What is made of a model that is still being trained says so."""

PAIRS: dict[str, Pair] = {
    "train+train": Pair(_TRAIN, _TRAIN, ("data", "tiny.toml"), "new"),
    "train+other train": Pair(
        _TRAIN, f"{_TRAIN} --set training.epochs=1", ("data", "tiny.toml"), "new"
    ),
    "convert+convert": Pair(
        "data convert source/samples.csv -o new",
        "data convert source/samples.csv -o new",
        ("source",),
        "new",
    ),
    "convert+synthesize (overwrite)": Pair(
        "data convert source/samples.csv -o old --overwrite",
        "data synthesize -o old --set train=5 --set valid=3 --set test=2 --overwrite",
        ("source", "old"),
        "old",
    ),
    "benchmark+train": Pair(
        f"benchmark -d data -o new {_BENCHMARK}",
        "train -d data -o new/tailor/seed42 -c new/tailor/seed42.json",
        ("data", "systems.toml"),
        "new",
    ),
    "benchmark+benchmark": Pair(
        f"benchmark -d data -o new {_BENCHMARK}",
        f"benchmark -d data -o new {_BENCHMARK}",
        ("data", "systems.toml"),
        "new",
    ),
    "report+train": Pair(
        "report shown",
        "train -d data -o shown -c tiny.toml",
        ("data", "shown", "tiny.toml"),
        "shown",
    ),
    "train+report": Pair(
        "train -d data -o half -c tiny.toml",
        "report half",
        ("data", "half", "tiny.toml"),
        "half",
        passing=_OF_A_TRAINING,
    ),
    "train+evaluate": Pair(
        "train -d data -o half -c tiny.toml",
        "evaluate half",
        ("data", "half", "tiny.toml"),
        "half",
        passing=_OF_A_TRAINING,
    ),
    "evaluate+evaluate": Pair("evaluate run", "evaluate run", ("data", "run"), "run"),
    "figures+figures": Pair(
        "figures shown", "figures shown --split valid", ("data", "shown"), "shown"
    ),
    "report+report": Pair("report run", "report run", ("data", "run"), "run"),
    "import+import": Pair(
        "import-checkpoint authors.bin -o new --heads 2",
        "import-checkpoint authors.bin -o new --heads 2",
        ("authors.bin",),
        "new",
    ),
    "train, folder removed and remade": Pair(
        _TRAIN, f"{_TRAIN} --set training.epochs=1", ("data", "tiny.toml"), "new"
    ),
}

QUICK_PAIRS = ("convert+convert", "import+import")
"""Those that take little time."""

REMOVED = {"train, folder removed and remade"}
"""Pairs in which somebody removes the folder before the second command begins."""


class Pause(Watcher):
    """Stops at one of the calls until it may go on.

    Args:
        at: number of the call, from 0.
        reached: file that is made there.
        go_on: file that is waited for.
    """

    def __init__(self, at: int, reached: Path, go_on: Path) -> None:
        self.left = at
        self.reached = reached
        self.go_on = go_on

    def around(self, call: Call, perform: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        self.left -= 1
        if self.left == -1:
            self.reached.touch()
            while not self.go_on.exists():
                time.sleep(0.002)
        return perform()


class Pairs:
    """Trials of two processes.

    Args:
        world: where they are made.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.alone = cache(self._alone)
        self.calls = cache(self._calls)

    def trials(self, names: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, int]]:
        """Yield random (pair, call of the first command), as many of each pair."""
        drawn = random.Random(seed)
        for number in range(count):
            name = names[number % len(names)]
            yield name, drawn.randrange(self.calls(name))

    def _calls(self, name: str) -> int:
        pair = PAIRS[name]
        return self.world.count(tuple(pair.first.split()), pair.needs)

    def _alone(self, name: str) -> list[Tree]:
        """Return what may be there afterwards: what each command makes, and both in turn."""
        pair = PAIRS[name]
        trees: list[Tree] = []
        orders: list[Sequence[str]] = [
            (pair.first,),
            (pair.second,),
            (pair.first, pair.second),
            (pair.second, pair.first),
        ]
        for lines in orders:
            self.world.prepare(pair.needs)
            for line in lines:
                self.world.run(line)
            trees.append(read_tree(self.world.work))
        return trees

    def trial(self, name: str, at: int) -> list[str]:
        """Let two commands meet; return what is wrong."""
        pair = PAIRS[name]
        world = self.world
        expected = self.alone(name)
        world.prepare(pair.needs)

        reached = world.log.with_name("reached")
        go_on = world.log.with_name("go-on")
        for mark in (reached, go_on):
            mark.unlink(missing_ok=True)

        def work() -> None:
            watch(world.work, Pause(at, reached, go_on))
            emotailor(pair.first.split())

        log = world.log.with_name("first")
        first = start(work, world.work, log)
        _until(reached, first)
        if name in REMOVED:
            shutil.rmtree(world.work / pair.place, ignore_errors=True)

        # the second one may wait for the first one, which then has to go on
        second = command(pair.second.split(), world.work, world.log, seconds=60)
        go_on.touch()
        met = wait(first, log)
        return _judge(pair, met, second, read_tree(world.work), expected)


def _until(mark: Path, process: int) -> None:
    """Wait for a file that a process makes, or for its end."""
    while not mark.exists():
        found = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return
        time.sleep(0.001)


def _judge(
    pair: Pair, first: Ended, second: Ended, found: Tree, expected: Sequence[Tree]
) -> list[str]:
    """Return what is wrong with how two commands have ended."""
    wrong = []
    for which, ended in (("first", first), ("second", second)):
        if ended.traced or ended.late or ended.code < 0:
            how = "took too long" if ended.late else ended.err.strip()[-800:]
            wrong.append(f"the {which} one ends with {ended.code}: {how}")
        elif ended.code and "error: " not in ended.err + ended.out:
            wrong.append(f"the {which} one ends with {ended.code} and no message")
    if first.code and second.code:
        wrong.append(f"both are refused: {first.last()[:200]} / {second.last()[:200]}")

    def passing(name: str) -> bool:
        return bool(pair.passing) and (name.endswith(pair.passing) or "figures/" in name)

    ours = results_in(found)
    closest = min((differences(ours, results_in(tree), passing) for tree in expected), key=len)
    wrong += [f"afterwards, {line[:300]}" for line in closest[:4]]
    return wrong
