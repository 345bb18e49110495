"""``python -m tests.torture NAME --count N --seed S``: see ``docs/reliability.md``."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.torture.children import load_everything
from tests.torture.world import TASKS, World


def main() -> int:
    """Run one kind of torture; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    kinds: dict[str, Callable[[argparse.Namespace, World], int]] = {"kills": kills, "flips": flips, "fuzz": fuzz, "power": power, "disks": disks}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--count", type=int, default=100, help="number of trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one case, as a failure names it")
    options = parser.parse_args()

    load_everything()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        world = World(Path(folder) / "world")
        return kinds[options.kind](options, world)


def kills(options: argparse.Namespace, world: World) -> int:
    """Kill commands at random calls."""
    from tests.torture.kills import Kills

    torture = Kills(world)
    names = [task.name for task in TASKS]
    if options.only:
        name, at, when = options.only.rsplit(",", 2)
        trials = iter([(name, int(at), when)])
    else:
        trials = torture.trials(names, options.count, options.seed)

    began = time.monotonic()
    tried = 0
    bad = 0
    for name, at, when in trials:
        tried += 1
        wrong = torture.trial(name, at, when)
        bad += bool(wrong)
        _print(wrong, f"kills --only '{name},{at},{when}'")

    seconds = time.monotonic() - began
    print(f"kills: {tried} tried, {tried - bad} survived, {bad} failed, in {seconds:.0f} s")
    return 1 if bad else 0


def flips(options: argparse.Namespace, world: World) -> int:
    """Change bytes of stored files."""
    from tests.torture.flips import Flip, Flips

    torture = Flips(world)
    if options.only:
        use, file, at, mask = options.only.rsplit(",", 3)
        trials = iter([("?", Flip(use, file, int(at), int(mask)))])
    else:
        trials = torture.trials(options.count, options.seed)

    began = time.monotonic()
    counts: dict[str, Counter[str]] = {}
    for kind, flip in trials:
        result, why = torture.trial(flip)
        counts.setdefault(kind, Counter())[result] += 1
        if why:
            case = f"{flip.use},{flip.file},{flip.at},{flip.mask}"
            print(f"FAILED  python -m tests.torture flips --only '{case}'")
            print(f"        {why}")
            sys.stdout.flush()

    for kind, found in counts.items():
        print(f"  {kind:20} {dict(found)}")
    total = sum(counts.values(), Counter())
    seconds = time.monotonic() - began
    print(f"flips: {total.total()} tried, {dict(total)}, in {seconds:.0f} s")
    return 1 if total["WRONG"] else 0


def fuzz(options: argparse.Namespace, world: World) -> int:
    """Give every reader odd input."""
    from tests.torture.fuzz import Fuzz
    from tests.torture.targets import TARGETS

    torture = Fuzz(world)
    began = time.monotonic()
    names = [target.name for target in TARGETS]
    if options.only and options.only not in names:
        name, number = options.only.rsplit(",", 1)
        found = torture.one(name, options.seed, int(number))
    else:
        chosen = [options.only] if options.only else None
        found = torture.run(options.count, options.seed, chosen)

    for kind, count in found.bad.most_common():
        print(f"  {count:6} {kind}")
    seconds = time.monotonic() - began
    print(
        f"fuzz: {found.tried:,} inputs, {found.read:,} read, {found.refused:,} refused, "
        f"{found.bad.total():,} failed in {len(found.bad)} ways, in {seconds:.0f} s"
    )
    return 1 if found.bad else 0


def power(options: argparse.Namespace, world: World) -> int:
    """Cut the power at calls of commands."""
    from tests.torture.power import Power

    torture = Power(world, options.seed)
    names = [task.name for task in TASKS]
    number = None
    if options.only and options.only not in names:
        only, _, number = options.only.rpartition(",")
        names = [only]
    elif options.only:
        names = [options.only]

    began = time.monotonic()
    tried = 0
    bad = 0
    for name in names:
        cuts = torture.cuts(name, max(1, options.count // len(names)))
        if number is not None:
            cuts = [cut for cut in torture.cuts(name, sys.maxsize) if cut.number == int(number)]
        for cut in cuts:
            tried += 1
            wrong = torture.trial(cut)
            bad += bool(wrong)
            case = f"--seed {options.seed} --only '{cut.task},{cut.number}'"
            _print(wrong, f"power {case}  ({cut.variant} after {cut.where})")

    seconds = time.monotonic() - began
    print(f"power: {tried} disks tried, {tried - bad} fine, {bad} failed, in {seconds:.0f} s")
    return 1 if bad else 0


def disks(options: argparse.Namespace, world: World) -> int:
    """Run commands on full, read-only and vanishing disks, and under limits."""
    from tests.torture.disks import Disks, Trouble

    torture = Disks(world)
    trials = torture.trials(options.count, options.seed)
    if options.only:
        task, kind, at = options.only.rsplit(",", 2)
        trials = iter([Trouble(task, kind, int(at))])

    began = time.monotonic()
    tried = 0
    bad = 0
    for trouble in trials:
        tried += 1
        wrong = torture.trial(trouble)
        bad += bool(wrong)
        _print(wrong, f"disks --only '{trouble.task},{trouble.kind},{trouble.at}'")

    seconds = time.monotonic() - began
    print(f"disks: {tried} tried, {tried - bad} fine, {bad} failed, in {seconds:.0f} s")
    return 1 if bad else 0


def _print(wrong: list[str], case: str) -> None:
    """Print a failure with the command that repeats it."""
    if not wrong:
        return
    print(f"FAILED  python -m tests.torture {case}")
    for line in wrong:
        print(f"        {line}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
