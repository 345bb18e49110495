"""What native libraries write to standard error by themselves, kept off the terminal."""

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

_LOG_LINE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|INFO: (Created|Initialized) TensorFlow Lite"
    rb"|[IWE]\d{4} \d\d:\d\d:\d\d"
    rb"|[IWE]0000 00:00:\d"
)
"""How a line of the logs of absl, glog or TensorFlow Lite begins."""

_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def without_native_logs() -> Iterator[None]:
    """Keep the logs of native libraries off standard error while the block runs.

    They write to the file descriptor, past ``sys.stderr``. What is written meanwhile and does not
    look like such a log is passed on when the block ends, so the block should be short.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as kept:
        try:
            real = os.dup(2)
        except OSError:  # closed: there is nothing to keep clean
            yield
            return

        _flush()
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(real, 2)
            os.close(real)
            _pass_on(kept)


def _flush() -> None:
    # None where a program has no terminal
    if sys.stderr is not None:
        sys.stderr.flush()


def _pass_on(kept: BinaryIO) -> None:
    """Write the lines of others to standard error."""
    kept.seek(0)
    others = [line for line in kept if not _LOG_LINE.match(line)]
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(2, b"".join(others))
