"""Tasks for processes: functions of a module, so that another process finds them."""

import os
import signal
import time
from pathlib import Path

from emotailor.errors import DataError, TooLongError
from emotailor.extraction.workers import Tell


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
    tell(0.25)
    tell(0.75)
    return number * number


def never_end(marker: str, tell: Tell) -> int:
    """Write the process id into a file, and go on for ever."""
    Path(marker).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
