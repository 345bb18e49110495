"""Commands in processes of their own, some at a time; one that fails does not stop the others.

Where there are several GPUs, each command sees one of them: the one with the fewest commands.
"""

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
from typing import Literal

from emotailor.training.run_folder import stop_requests

POLL_SECONDS = 0.05

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
"""The environment variable that tells CUDA which GPUs there are: numbers, or names of theirs."""

_GPU_LOST = re.compile(
    "no CUDA device that torch can use|No CUDA GPUs are available"
    "|no CUDA-capable device|busy or unavailable|CUDA driver initialization failed"
    "|uncorrectable ECC|fallen off the bus"
)
"""What a command says where not it but its GPU is at fault."""

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
        device: ``gpu`` takes a GPU where there are any to share, ``cpu`` sees none, and
            ``given`` sees all of them.
    """

    name: str
    command: Sequence[str]
    log: Path
    device: Literal["gpu", "cpu", "given"] = "given"


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


def usable_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, each as ``CUDA_VISIBLE_DEVICES`` names it."""
    import torch

    if not torch.cuda.is_available():
        return ()

    count = torch.cuda.device_count()
    chosen = os.environ.get(VISIBLE_GPUS)
    if chosen is None:
        return tuple(map(str, range(count)))

    # a process sees one part of a divided GPU only, whatever their number
    names = [name.strip() for name in chosen.split(",")]
    parts = tuple(name for name in names if name.startswith("MIG-"))
    return parts or tuple(names[:count])


class Gpus:
    """The GPUs that commands share: the next command gets the one with the fewest.

    Args:
        names: as ``CUDA_VISIBLE_DEVICES`` has them.
        at_once: how many commands run at the same time, on all of them together.
    """

    def __init__(self, names: Sequence[str], at_once: int) -> None:
        self._running = dict.fromkeys(names, 0)
        self._most = -(-at_once // max(1, len(names)))  # rounded up

    def __bool__(self) -> bool:
        return bool(self._running)

    @property
    def full(self) -> bool:
        """Whether every GPU has as many commands as it takes."""
        return all(count >= self._most for count in self._running.values())

    def take(self) -> str:
        """Return the GPU with the fewest commands, of equals the first."""
        name = min(self._running, key=lambda one: self._running[one])
        self._running[name] += 1
        return name

    def give_back(self, name: str) -> None:
        """One of the commands on a GPU has ended."""
        if name in self._running:
            self._running[name] -= 1

    def set_aside(self, name: str) -> bool:
        """Give no more commands to a GPU; return whether others take over. The last one stays."""
        if name in self._running and len(self._running) > 1:
            del self._running[name]
        return name not in self._running


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

    def __init__(self, job: Job, environment: Mapping[str, str], gpu: str | None) -> None:
        self.job = job
        self.gpu = gpu
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
    gpus: Sequence[str] = (),
    on_move: Callable[[Ended, str], None] = lambda _, __: None,
) -> int | None:
    """Run all commands, ``at_once`` at a time.

    Where a GPU turns out to be unusable, it gets no more commands, and what failed there is started
    again on another one.

    SIGINT or SIGTERM ends it: no further command is started, and the running ones are asked to
    stop (SIGTERM) and waited for. A second signal kills them.

    Args:
        jobs: the commands, in the order in which they are started.
        at_once: how many run at the same time.
        environment: environment of all commands.
        on_start: called when one is started.
        on_end: called when one has ended, unless it was asked to stop.
        on_stop: called with the number of running commands when they are asked to stop.
        gpus: GPUs to share, as ``CUDA_VISIBLE_DEVICES`` names them.
        on_move: called with how a command ended on a GPU that is unusable, and that GPU.

    Returns:
        The signal that stopped it, or None where all commands have ended.
    """
    waiting = deque(jobs)
    running: list[_Child] = []
    shared = Gpus(gpus, at_once)
    asked = 0  # signals that have been passed on
    try:
        with stop_requests() as stop:
            while running or (waiting and not stop):
                while waiting and len(running) < at_once and not stop:
                    if waiting[0].device == "gpu" and shared and shared.full:
                        break

                    job = waiting.popleft()
                    running.append(_start(job, environment, shared))
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
                    if asked == 0 and _moves(child, ended, shared):
                        waiting.appendleft(child.job)
                        on_move(ended, str(child.gpu))
                        continue

                    # one that was asked to stop has not failed
                    if asked == 0 or ended.code == 0:
                        on_end(ended)
            return stop[0] if stop else None
    finally:  # whatever went wrong here, nothing goes on behind the user's back
        _end(running)
        for child in running:
            child.process.wait()


def _start(job: Job, environment: Mapping[str, str], gpus: Gpus) -> _Child:
    """Start a command, which sees the GPU that it gets, or all, or none."""
    own = dict(environment)
    gpu = None
    if job.device == "cpu":
        own[VISIBLE_GPUS] = ""
    elif job.device == "gpu" and gpus:
        gpu = gpus.take()
        own[VISIBLE_GPUS] = gpu
    return _Child(job, own, gpu)


def _moves(child: _Child, ended: Ended, gpus: Gpus) -> bool:
    """Take the GPU of a command back; return whether the command has to go on on another one."""
    if child.gpu is None:
        return False

    gpus.give_back(child.gpu)
    if ended.code == 0 or not _GPU_LOST.search(ended.message):
        return False
    return gpus.set_aside(child.gpu)


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
