"""A kill at any call that changes the file system: nothing is lost, and the command can go on.

After a kill, what was there is there; the same command then gives what it would have given, byte
for byte; nothing temporary stays, and what belongs to others is as it was.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from tests.torture.calls import Kill
from tests.torture.children import Ended, command
from tests.torture.trees import Tree, below, differences, read_tree
from tests.torture.world import BY_NAME, Task, World, strangers

WHEN = ("before", "middle", "after")


@dataclass(frozen=True)
class Undisturbed:
    """What a task does when nobody disturbs it.

    Attributes:
        calls: number of calls that change something.
        before: what lay there.
        after: what lies there afterwards.
    """

    calls: int
    before: Tree
    after: Tree


def undisturbed(world: World, name: str) -> Undisturbed:
    """Run a task to its end, and make the world again as it was before."""
    task = BY_NAME[name]
    calls = world.count(task.arguments, task.needs)
    after = read_tree(world.work)
    world.prepare(task.needs)
    return Undisturbed(calls, read_tree(world.work), after)


class Kills:
    """Trials of kills.

    Args:
        world: where they are made.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.undisturbed = cache(partial(undisturbed, world))

    def trials(self, tasks: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, int, str]]:
        """Yield random (task, call, when), each task as often as its weight says."""
        drawn = random.Random(seed)
        turns = [name for name in tasks for _ in range(BY_NAME[name].weight)]
        for number in range(count):
            name = turns[number % len(turns)]
            calls = self.undisturbed(name).calls
            yield name, drawn.randrange(calls), drawn.choice(WHEN)

    def trial(self, name: str, at: int, when: str) -> list[str]:
        """Kill a task at a call; return what is wrong afterwards."""
        task = BY_NAME[name]
        world = self.world
        expected = self.undisturbed(name)

        world.prepare(task.needs)
        with strangers(world.work, task.inside, world.log) as others:
            killed = command(task.arguments, world.work, world.log, watcher=Kill(at, when))
            if not killed.killed:
                return [f"was not killed: exit code {killed.code}, {killed.last()}"]

            left = read_tree(world.work)
            wrong = lost(task, left, expected, others)

            again = command(task.arguments, world.work, world.log)
            done = read_tree(world.work)
        wrong += unfinished(task, again, left, done, expected, others)
        return wrong


def lost(task: Task, left: Tree, expected: Undisturbed, others: Tree) -> list[str]:
    """Return what a kill has taken away."""
    wrong = [f"after the kill: {line}" for line in _touched(left, others)]

    for name, content in expected.before.items():
        if task.may_change(name):
            continue
        if left.get(name, b"") != content:
            wrong.append(f"after the kill: {name} was changed")

    if task.replaces:
        for top in task.writes:
            is_old = _holds(left, below(expected.before, top))
            is_new = _holds(left, below(expected.after, top))
            if not is_old and not is_new:
                wrong.append(f"after the kill: {top} is neither the old one nor the new one")
    return wrong


def _holds(found: Tree, wanted: Tree) -> bool:
    """Return whether everything wanted is there; more may be."""
    names = [name for name in wanted if not _is_lock(name)]
    return all(name in found and found[name] == wanted[name] for name in names)


def _touched(found: Tree, others: Tree) -> list[str]:
    """Return what of others is gone or changed."""
    theirs = {name: found[name] for name in others if name in found}
    return [f"of others, {line}" for line in differences(theirs, others)]


def unfinished(  # noqa: PLR0917 - what was there before, in between, and after
    task: Task, again: Ended, left: Tree, done: Tree, expected: Undisturbed, others: Tree
) -> list[str]:
    """Return what is wrong after the same command has been called again."""
    wrong = [f"after the next call: {line}" for line in _touched(done, others)]

    ours = _without(done, others)
    # what was complete already is refused, and rightly
    wanted = results_in(expected.after)
    was_complete = _holds(left, wanted)
    if again.code != 0 and not was_complete:
        wrong.append(f"the next call ends with {again.code}: {again.err.strip()[:400]}")
    if again.traced:
        wrong.append(f"the next call gives a traceback: {again.last()}")

    lines = differences(results_in(ours), wanted)
    wrong += [f"after the next call: {line}" for line in lines[:5]]
    return wrong


def _without(tree: Tree, others: Tree) -> Tree:
    """Return what is not of others."""
    return {
        name: content
        for name, content in tree.items()
        if name not in others and "other-run" not in name.split("/")
    }


def _is_lock(name: str) -> bool:
    return name.rpartition("/")[2] == ".lock"


def results_in(tree: Tree) -> Tree:
    """Return what a tree holds but for what may differ from call to call.

    That are locks, logs, which every call adds to, and the checkpoint before the last one: a
    training that goes on behind its last checkpoint has none before it.
    """
    spare: set[str] = set()
    for name, content in tree.items():
        folder, _, last = name.rpartition("/")
        if last == "before.json" and content is not None:
            spare.add(name)
            now = tree.get(f"{folder}/state.json") or b""
            spare |= {f"{folder}/{file}" for file in _tensors(content) - _tensors(now)}

    return {
        name: content
        for name, content in tree.items()
        if name not in spare and not _is_lock(name) and not name.endswith(".log")
    }


def _tensors(state: bytes) -> set[str]:
    """Return the tensor files that the state of a checkpoint names."""
    return set(re.findall(r"state-[0-9a-f]+\.safetensors", state.decode("utf-8", "replace")))
