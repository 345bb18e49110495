"""Commands in processes of their own, some at a time; one that fails does not stop the others."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotailor.training.run_folder import stop_requests

POLL_SECONDS = 0.05

# Windows can ask a process to stop only where it began a group of its own
_CREATION_FLAGS = 0
if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes:
        name: for messages.
        command: program and arguments.
        log: file that its output is appended to.
    """

    name: str
    command: Sequence[str]
    log: Path


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        job: the command.
        code: exit code; -n where signal n killed it.
        seconds: how long it ran.
        message: why it failed, or the empty string.
    """

    job: Job
    code: int
    seconds: float
    message: str = ""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def failure_message(output: str, code: int) -> str:
    """Return why a command failed: its own error message, or its last line."""
    if code < 0:
        return _killed_by(-code)

    # an error is one line, and indented ones that say what was expected and how to fix it
    messages = re.findall(r"^error: (.*(?:\n +.*)*)", output, re.MULTILINE)
    if messages:
        return str(messages[-1])

    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _killed_by(number: int) -> str:
    """Return which signal ended a command, and what SIGKILL often means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"

    if name == "SIGKILL":
        return f"killed by {name} (out of memory?)"
    return f"killed by {name}"


class _Child:
    """A running command."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job = job
        self.started = time.monotonic()

        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            self._offset = log.tell()  # before it is what earlier calls printed
            self.process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                creationflags=_CREATION_FLAGS,
            )

    def result(self) -> Ended:
        """Wait for the end of the command; return how it ended."""
        code = self.process.wait()
        seconds = time.monotonic() - self.started
        if code == 0:
            return Ended(self.job, code, seconds)

        why = failure_message(self._output(), code)
        return Ended(self.job, code, seconds, why)

    def _output(self) -> str:
        """Return what this command printed."""
        with self.job.log.open("rb") as log:
            log.seek(self._offset)
            return log.read().decode("utf-8", "replace")


def run_jobs(
    jobs: Sequence[Job],
    *,
    at_once: int,
    environment: Mapping[str, str],
    on_start: Callable[[Job], None],
    on_end: Callable[[Ended], None],
    on_stop: Callable[[int], None],
) -> int | None:
    """Run all commands, ``at_once`` at a time.

    SIGINT or SIGTERM ends it: no further command is started, and the running ones are asked to
    stop (SIGTERM) and waited for. A second signal kills them.

    Args:
        jobs: the commands, in the order in which they are started.
        at_once: how many run at the same time.
        environment: environment of all commands.
        on_start: called when one is started.
        on_end: called when one has ended, unless it was asked to stop.
        on_stop: called with the number of running commands when they are asked to stop.

    Returns:
        The signal that stopped it, or None where all commands have ended.
    """
    waiting = deque(jobs)
    running: list[_Child] = []
    asked = 0  # signals that have been passed on
    try:
        with stop_requests() as stop:
            while running or (waiting and not stop):
                while waiting and len(running) < at_once and not stop:
                    job = waiting.popleft()
                    running.append(_Child(job, environment))
                    on_start(job)
                time.sleep(POLL_SECONDS)

                # the first signal asks them to stop, the next ones kill them
                signals = len(stop)
                if signals > asked:
                    _end(running, kill=asked > 0)
                    if asked == 0:
                        on_stop(len(running))
                    asked = signals

                for child in _ended(running):
                    running.remove(child)
                    ended = child.result()
                    # one that was asked to stop has not failed
                    if asked == 0 or ended.code == 0:
                        on_end(ended)
            return stop[0] if stop else None
    finally:  # whatever went wrong here, nothing goes on behind the user's back
        _end(running)
        for child in running:
            child.process.wait()


def _ended(children: Sequence[_Child]) -> list[_Child]:
    """Return the commands that have ended."""
    return [child for child in children if child.process.poll() is not None]


def _end(children: Sequence[_Child], *, kill: bool = False) -> None:
    """Ask the running commands to stop, or kill them."""
    for child in children:
        if child.process.poll() is not None:
            continue

        if kill:
            child.process.kill()
        elif sys.platform == "win32":
            child.process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            child.process.terminate()
