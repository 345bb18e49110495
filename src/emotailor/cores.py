"""How many processors there are for this process."""

import os


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shared_cores(tasks: int, processes: int | None = None) -> tuple[int, int]:
    """Return how many tasks to carry out at a time, and how many threads each may have.

    Args:
        tasks: how many there are.
        processes: how many at most at a time; None: one for each core.
    """
    cores = usable_cores()
    at_once = max(1, min(processes or cores, tasks))
    return at_once, max(1, cores // at_once)
