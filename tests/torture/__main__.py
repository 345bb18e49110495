"""``python -m tests.torture NAME --count N --seed S``: see ``docs/reliability.md``."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.torture.children import load_everything
from tests.torture.world import TASKS, World

FULL = {
    "kills": 1000,
    "power": 1000,
    "flips": 2000,
    "disks": 500,
    "pairs": 140,
    "fuzz": 1_000_000,
}
"""Number of trials of each kind."""

QUICK = {"kills": 10, "power": 8, "flips": 12, "disks": 8, "pairs": 2, "fuzz": 800}
"""Number of trials of each kind, in the test suite."""


@dataclass(frozen=True)
class Trial:
    """Something to try.

    Attributes:
        case: what ``--only`` has to say to try it again.
        about: a remark for the reader.
        run: tries it, and returns what is wrong.
    """

    case: str
    about: str
    run: Callable[[], list[str]]


@dataclass(frozen=True)
class Options:
    """What to try.

    Attributes:
        count: number of trials.
        seed: of everything that is drawn.
        only: one case, as a failure names it; empty for all.
        quick: only what takes little time.
    """

    count: int
    seed: int
    only: str
    quick: bool

    def tasks(self) -> list[str]:
        """Return the names of the tasks to try."""
        return [task.name for task in TASKS if task.weight > 1 or not self.quick]


def main() -> int:
    """Run one kind of torture, or all; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("kind", choices=[*FULL, "all", "quick"])
    parser.add_argument("--count", type=int, help="number of trials; by default the full number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="one case, as a failure names it")
    given = parser.parse_args()

    kinds = [given.kind]
    if given.kind in {"all", "quick"}:
        kinds = list(FULL)
    counts = QUICK if given.kind == "quick" else FULL

    load_everything()
    memory = Path("/dev/shm")
    bad = 0
    for kind in kinds:
        count = given.count or counts[kind]
        options = Options(count, given.seed, given.only, given.kind == "quick")
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            world = World(Path(folder) / "world")
            bad += _fuzz(options, world) if kind == "fuzz" else _try_all(kind, options, world)
    return 1 if bad else 0


def _try_all(kind: str, options: Options, world: World) -> int:
    """Make the trials of one kind; return how many went wrong."""
    began = time.monotonic()
    tried: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for trial in _TRIALS[kind](options, world):
        wrong = trial.run()
        _say_how_far(kind, tried.total(), began)
        about = trial.about.partition(":")[0]
        tried[about] += 1
        if not wrong:
            continue

        bad[about] += 1
        print(f"FAILED  python -m tests.torture {kind} --seed {options.seed} --only '{trial.case}'")
        print(f"        ({trial.about})")
        for line in wrong:
            print(f"        {line}")
        sys.stdout.flush()

    for about, count in tried.items():
        print(f"  {about:32} {count:6} tried, {bad[about]} failed")
    seconds = time.monotonic() - began
    total = tried.total()
    print(f"{kind}: {total} tried, {bad.total()} failed, in {seconds:.0f} s", flush=True)
    return bad.total()


_said = 0.0


def _say_how_far(kind: str, tried: int, began: float) -> None:
    """Say every minute how far it is."""
    global _said  # noqa: PLW0603 - of this process
    now = time.monotonic()
    if now - _said > 60:
        _said = now
        print(f"{kind}: {tried} after {now - began:.0f} s", file=sys.stderr, flush=True)


def _kills(options: Options, world: World) -> Iterator[Trial]:
    from tests.torture.kills import Kills

    torture = Kills(world)
    drawn = torture.trials(options.tasks(), options.count, options.seed)
    if options.only:
        task, call, moment = options.only.rsplit(",", 2)
        drawn = iter([(task, int(call), moment)])

    for name, at, when in drawn:
        yield Trial(
            f"{name},{at},{when}",
            name,
            partial(torture.trial, name, at, when),
        )


def _power(options: Options, world: World) -> Iterator[Trial]:
    from tests.torture.power import Power

    torture = Power(world, options.seed)
    names = options.tasks()
    number = ""
    if options.only:
        only, _, number = options.only.rpartition(",")
        names = [only]

    for name in names:
        most = max(1, options.count // len(names))
        for cut in torture.cuts(name, sys.maxsize if number else most):
            if number in {"", str(cut.number)}:
                about = f"{name}: {cut.variant} after {cut.where}"
                yield Trial(f"{name},{cut.number}", about, partial(torture.trial, cut))


def _flips(options: Options, world: World) -> Iterator[Trial]:
    from tests.torture.flips import QUICK_USES, USES, Flip, Flips

    uses = QUICK_USES if options.quick else tuple(use.name for use in USES)
    torture = Flips(world, uses)
    if options.only:
        use, file, at, mask = options.only.rsplit(",", 3)
        drawn = iter([("?", Flip(use, file, int(at), int(mask)))])
    else:
        drawn = torture.trials(options.count, options.seed)

    for kind, flip in drawn:
        case = f"{flip.use},{flip.file},{flip.at},{flip.mask}"
        yield Trial(case, kind, partial(torture.trial, flip))


def _disks(options: Options, world: World) -> Iterator[Trial]:
    from tests.torture.disks import Disks, Trouble

    torture = Disks(world)
    drawn = torture.trials(options.tasks(), options.count, options.seed)
    if options.only:
        task, kind, at = options.only.rsplit(",", 2)
        drawn = iter([Trouble(task, kind, int(at))])

    for trouble in drawn:
        case = f"{trouble.task},{trouble.kind},{trouble.at}"
        about = f"{trouble.kind}: {trouble.task}"
        yield Trial(case, about, partial(torture.trial, trouble))


def _pairs(options: Options, world: World) -> Iterator[Trial]:
    from tests.torture.pairs import PAIRS, QUICK_PAIRS, Pairs

    torture = Pairs(world)
    drawn = torture.trials(
        QUICK_PAIRS if options.quick else list(PAIRS), options.count, options.seed
    )
    if options.only:
        pair, call = options.only.rsplit(",", 1)
        drawn = iter([(pair, int(call))])

    for name, at in drawn:
        yield Trial(f"{name},{at}", name, partial(torture.trial, name, at))


_TRIALS: dict[str, Callable[[Options, World], Iterator[Trial]]] = {
    "kills": _kills,
    "power": _power,
    "flips": _flips,
    "disks": _disks,
    "pairs": _pairs,
}


def _fuzz(options: Options, world: World) -> int:
    """Give every reader odd input; return how many went wrong."""
    from tests.torture.fuzz import Fuzz
    from tests.torture.targets import BY_NAME, TARGETS

    names = [target.name for target in TARGETS if target.quick or not options.quick]
    torture = Fuzz(world)
    began = time.monotonic()
    if options.only and options.only not in BY_NAME:
        name, number = options.only.rsplit(",", 1)
        found = torture.one(name, options.seed, int(number))
    else:
        chosen = [options.only] if options.only else names
        found = torture.run(options.count, options.seed, chosen)

    for kind, count in found.bad.most_common():
        print(f"  {count:6} {kind}")
    seconds = time.monotonic() - began
    print(
        f"fuzz: {found.tried} tried, {found.bad.total()} failed in {len(found.bad)} ways "
        f"({found.read} were read, {found.refused} refused), in {seconds:.0f} s",
        flush=True,
    )
    return found.bad.total()


if __name__ == "__main__":
    sys.exit(main())
