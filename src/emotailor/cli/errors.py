"""How the command line ends: one message for what a user can mend, and an exit code.

Exit codes: 0 success, 1 a problem was found or an unforeseen failure, 2 wrong usage, 3 wrong
configuration, 4 unusable data, 5 unusable model, 130 interrupted (a training saves a checkpoint).
"""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from rich.text import Text

from emotailor.cli.console import err
from emotailor.errors import EmotailorError
from emotailor.refused import OF_THE_MACHINE, refusal
from emotailor.text import indented

TRACEBACK = "EMOTAILOR_TRACEBACK"
"""The environment variable that shows where an error comes from, as ``--traceback`` does."""


NO_MEMORY = ("memory", "could not create a primitive")
"""How torch, and oneDNN in it, report a lack of memory: as a RuntimeError."""


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


def _lack_behind(error: BaseException) -> OSError | MemoryError | None:
    """Return what the machine lacked, where that is the reason of an error; else None."""
    # a full disk shows as the file that could not be written: the lack lies behind it
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, MemoryError):
            return reason
        if isinstance(reason, OSError) and reason.errno in OF_THE_MACHINE:
            return reason
        reason = reason.__cause__
    return None


def _fail_for_memory(error: Exception) -> NoReturn:
    first = str(error).partition("\n")[0]
    what = f"not enough memory: {first}" if first else "no memory"
    fix = (
        "close other programs; a training needs less with --set training.batch_size=16 --set "
        "training.accumulate=2"
    )
    fail(str(EmotailorError(what, fix=fix)), 1, error)


def fail(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    """Print one message, behind the traceback of its error where that is wanted, and exit."""
    # whoever did not ask for it would look for the message in it
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
        lack = _lack_behind(error)
        if isinstance(lack, MemoryError):
            _fail_for_memory(lack)
        if lack is not None:
            fail(str(refusal(lack)), 1, error)
        fail(str(error), error.exit_code, error)
    except StopRequested as stop:
        fail(f"stopped by {stop}", 130, stop)
    except BrokenPipeError:
        # whoever read our output has seen enough; Python would flush into the pipe at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        fail(str(refusal(error)), 1, error)
    except (MemoryError, RuntimeError) as error:
        # any other RuntimeError is a bug of ours, whose traceback is wanted
        told = any(sign in str(error) for sign in NO_MEMORY)
        if not isinstance(error, MemoryError) and not told:
            raise
        _fail_for_memory(error)
