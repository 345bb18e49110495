"""How the command line ends: one message for what a user can mend, and an exit code.

Exit codes: 0 success, 1 a problem was found or an unforeseen failure, 2 wrong usage, 3 wrong
configuration, 4 unusable data, 5 unusable model, 130 interrupted (a training saves a checkpoint).
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.text import Text

from emotailor.cli.console import err
from emotailor.errors import EmotailorError
from emotailor.text import indented

TRACEBACK = "EMOTAILOR_TRACEBACK"
"""The environment variable that shows where an error comes from, as ``--traceback`` does."""


class StopRequested(BaseException):
    """SIGINT or SIGTERM arrived where nothing can be saved."""


def _stop(number: int, _: FrameType | None) -> None:
    raise StopRequested(signal.Signals(number).name)


@contextmanager
def clean_stops() -> Iterator[None]:
    """Let SIGINT and SIGTERM unwind the stack, so that nothing temporary stays behind."""
    old = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            old[number] = signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as one line."""
    line = indented(str(message))
    err.print(Text.assemble(("warning: ", "yellow"), line), soft_wrap=True)


def describe(error: OSError) -> str:
    """Say what the operating system refused, and what may help."""
    from emotailor.files import written_at

    where = f": {written_at(Path(error.filename))}" if isinstance(error.filename, str) else ""
    remedies = {
        errno.EACCES: "name a place that you may write to, with --out",
        errno.EEXIST: "there is a file where a folder is needed: name another place with --out",
        errno.ENOTDIR: "there is a file where a folder is needed: name another place with --out",
        errno.EROFS: "name a place that can be written to, with --out",
        errno.ENOSPC: "make room there, then run the same command again",
    }
    return str(
        EmotailorError(f"{error.strerror or error}{where}", fix=remedies.get(error.errno or 0))
    )


def fail(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    """Print one message, behind the traceback of its error where that is wanted, and exit."""
    if error is not None and os.environ.get(TRACEBACK, "0") not in ("", "0"):
        traceback.print_exception(error)
    err.print(Text.assemble(("error: ", "red"), message), soft_wrap=True)
    sys.exit(code)


@contextmanager
def reported() -> Iterator[None]:
    """Turn what a user can mend into one message and an exit code; let bugs of ours through."""
    try:
        with clean_stops():
            yield
    except EmotailorError as error:
        fail(str(error), error.exit_code, error)
    except StopRequested as stop:
        fail(f"stopped by {stop}", 130, stop)
    except BrokenPipeError:
        # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        fail(describe(error), 1, error)
    except (MemoryError, RuntimeError) as error:
        # torch reports a lack of memory as a RuntimeError
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        first = str(error).partition("\n")[0]
        what = f"not enough memory: {first}" if first else "no memory"
        fix = "a smaller training.batch_size with a larger training.accumulate needs less"
        fail(str(EmotailorError(what, fix=fix)), 1, error)
