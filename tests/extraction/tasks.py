"""Tasks for processes: functions of a module, so that another process finds them."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from emotailor.errors import DataError, EmotailorError, TooLongError
from emotailor.extraction.workers import Done, Tell


def square_or_fail(number: int, tell: Tell) -> int:
    """Square a number; fail in another way for each negative one."""
    if number == -1:
        raise DataError("minus one", expected="a number from 0 on", fix="add two")
    if number == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == -3:
        raise TooLongError("three", most=2, expected="two", fix="cut it")
    if number == -4:
        raise KeyError("a mistake of ours")
    if number == -5:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/tmp")
    if number == -6:
        raise OSError(errno.EBADF, "a mistake of ours")
    tell(0.25)
    tell(0.75)
    return number * number


def own_process(number: int, tell: Tell) -> int:
    """Return the process that carries this out."""
    return os.getpid()


def never_end(marker: str, tell: Tell) -> int:
    """Write the process id into a file, and go on for ever."""
    Path(marker).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


class InThisProcess:
    """Stands in for ``Workers`` where a test is not about processes: to start one takes seconds."""

    def __init__(
        self,
        carry_out: Callable[[Any, Tell], Any],
        tasks: Iterable[Any],
        *,
        processes: int,
        on_share: Callable[[float], None],
    ) -> None:
        assert processes >= 1
        self._carry_out = carry_out
        self._tasks = tasks
        self._on_share = on_share

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was begun."""

    def begin(self) -> None:
        """Wait until somebody asks."""

    def ended(self) -> Iterator[Done[Any, Any]]:
        """Yield how each task ended."""
        for number, task in enumerate(self._tasks, 1):
            result, error = None, None
            try:
                result = self._carry_out(task, lambda _: None)
            except EmotailorError as caught:
                error = caught
            self._on_share(float(number))
            yield Done(task, result, error)
