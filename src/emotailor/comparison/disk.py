"""The disk that the runs of a comparison will take, by the sizes of their models."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from emotailor.comparison.plan import Plan
from emotailor.errors import EmotailorError
from emotailor.runs.train import PlannedRun

if TYPE_CHECKING:
    from emotailor.training.sizes import RunSize


def describe_disk(plans: Iterable[Plan]) -> str:
    """Say how much disk the runs that are left will take; the empty string where that is nothing.

    Args:
        plans: plans whose runs are below one folder. A run that two of them have counts once.
    """
    sizes: dict[Path, RunSize] = {}
    at_once = 1
    place = Path()
    for plan in plans:
        at_once = max(at_once, plan.jobs)
        place = plan.out
        for system in plan.systems:
            left = [run for key, run in system.by_key.items() if plan.states[key] != "done"]
            size = _size(plan, left)
            if size is not None:
                sizes.update(dict.fromkeys((run.folder for run in left), size))

    in_the_end = sum(size.stored for size in sizes.values())
    if not in_the_end:
        return ""

    # while it is trained, a run takes more
    further = sorted(size.while_training - size.stored for size in sizes.values())
    at_most = in_the_end + sum(further[-at_once:])
    line = f"disk: up to {decimal(in_the_end)} in the end, {decimal(at_most)} meanwhile"

    free = _free_bytes(place)
    if free < at_most:
        line += f"; only {decimal(free)} are free at {place}"
    return line


def _size(plan: Plan, runs: Sequence[PlannedRun]) -> "RunSize | None":
    """Return how large each run of a row is; None where that is not known before."""
    from emotailor.training.sizes import size_of

    if not runs:
        return None
    try:
        return size_of(runs[0].config, plan.dataset)
    except (EmotailorError, RuntimeError):  # its training will say more
        return None


def _free_bytes(place: Path) -> int:
    """Return the free space where a folder is, or will be."""
    above = (place.absolute(), *place.absolute().parents)
    there = next(folder for folder in above if folder.exists())
    return shutil.disk_usage(there).free
