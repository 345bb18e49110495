"""What a path of an input is, found out without opening it: a pipe would never end."""

import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def not_a_file(path: Path) -> str | None:
    """Say why a path is no file that can be read; None where it is one.

    Links are followed. Nothing is opened, because that waits for ever at a pipe, and a device may
    have no end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"{path} does not exist"
    except (OSError, ValueError) as error:  # a link to itself, a name with a zero character
        reason = getattr(error, "strerror", None) or error
        return f"{path} cannot be read: {reason}"

    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFREG:
        return None
    what = _KINDS.get(kind, "something else")
    return f"{path} is {what}, not a file"
