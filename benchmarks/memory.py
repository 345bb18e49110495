"""How much memory this process holds, in bytes.

Linux and macOS need the standard library alone; Windows needs psutil, which accelerate brings.
"""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def _status(field: str) -> int | None:
    """Read a ``kB`` field of Linux's process status; None elsewhere."""
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def resident() -> int | None:
    """Resident memory now, mapped file pages that were read among it."""
    return _status("VmRSS")


def private() -> int | None:
    """Resident memory that belongs to no file: what the process cannot give back."""
    return _status("RssAnon")


def peak() -> int:
    """Highest resident memory of this process so far."""
    # ru_maxrss of a started process begins with the memory of the one that started it
    high_water = _status("VmHWM")
    if high_water is not None:
        return high_water

    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)

    import resource

    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return maximum if sys.platform == "darwin" else maximum * 1024
