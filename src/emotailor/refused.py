"""What the operating system refuses: a full disk, a place that nobody may write to."""

import errno
import shutil
from collections.abc import Mapping
from pathlib import Path

from emotailor.errors import EmotailorError
from emotailor.files import written_at

AGAIN = "then run the same command again"
FIXES: Mapping[int, str] = {
    errno.EACCES: "name a place that you may write to, with --out",
    errno.EPERM: "name a place that you may write to, with --out",
    errno.EROFS: "name a place that can be written to, with --out",
    errno.EEXIST: "there is a file where a folder is needed: name another place with --out",
    errno.ENOTDIR: "there is a file where a folder is needed: name another place with --out",
    errno.ENOENT: f"it was removed, or never there: make sure that it stays, {AGAIN}",
    errno.ENOSPC: f"make room there, {AGAIN}",
    errno.EDQUOT: f"make room there or ask for a larger quota, {AGAIN}",
    errno.EFBIG: f"allow larger files with `ulimit -f unlimited`, {AGAIN}",
    errno.EMFILE: f"allow more open files with `ulimit -n 4096`, {AGAIN}",
    errno.ENFILE: f"close other programs, {AGAIN}",
    errno.ENOMEM: f"close other programs, or allow more memory with `ulimit -v unlimited`, {AGAIN}",
    errno.EIO: f"check the disk, {AGAIN}",
    errno.ENAMETOOLONG: "name a place with a shorter name, with --out",
}
"""Number of an error of the system -> what helps."""

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT}
OF_THE_MACHINE = OF_THE_DISK | {errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What a command lacks. No file is to blame, whatever was done when it showed."""


def refusal(error: OSError) -> EmotailorError:
    """Say what the operating system refused and where, what there is, and what may help."""
    number = error.errno or 0
    found = error.strerror or str(error)
    if isinstance(error.filename, str):
        place = written_at(Path(error.filename))
        found = f"{found}: {place}{_what_there_is(number, place)}"
    return EmotailorError(found, fix=FIXES.get(number))


def _what_there_is(number: int, place: Path) -> str:
    """Say how much is left where a disk is full; nothing of other errors."""
    if number not in OF_THE_DISK:
        return ""

    # what could not be written is not there to be asked
    above = (place, *place.absolute().parents)
    existing = next(folder for folder in above if folder.exists())
    free = shutil.disk_usage(existing).free
    return f" ({free / 1e6:,.1f} MB are free)"
