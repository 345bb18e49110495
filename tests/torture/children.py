"""The command line in a process that may die, forked from one that has everything loaded."""

import gc
import hashlib
import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.calls import Watcher, watch

SECONDS = 120
"""How long a command may take before it counts as one that hangs."""

UNFORESEEN = 70
"""Exit code of a process in which something else than the command line's own ending came out."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; -n where signal n killed it.
        out: what it printed.
        err: what it printed as errors and warnings.
        late: whether it was killed because it took too long.
    """

    code: int
    out: str
    err: str
    late: bool = False

    @property
    def killed(self) -> bool:
        """Whether it was killed on purpose."""
        return self.code == -signal.SIGKILL and not self.late

    @property
    def traced(self) -> bool:
        """Whether a traceback came out."""
        return "Traceback (most recent call last)" in self.err

    def last(self) -> str:
        """Return the last line of what it printed."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else "nothing printed"


def load_everything() -> None:
    """Import all of emotailor and what it imports late, so that a fork has it at once."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import emotailor

    for module in pkgutil.walk_packages(emotailor.__path__, "emotailor."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    import h5py  # noqa: F401
    import sklearn.manifold
    import sklearn.metrics  # noqa: F401
    from torch import _dynamo  # noqa: F401

    from emotailor.training import timing

    timing.load_everything()
    with torch.device("meta"):
        torch.nn.init.normal_(torch.empty(1))

    # nothing of all this is ever garbage: a collection in a fork would copy all of its pages
    gc.collect()
    gc.freeze()


def fork(work: Callable[[], Any], folder: Path, log: Path, *, seconds: float = SECONDS) -> Ended:
    """Do some work in a process of its own, in a folder, and return how it ended.

    Args:
        work: what to do; what it raises is printed as a traceback.
        folder: working folder of the process.
        log: start of the names of two files for what it prints.
        seconds: time after which it is killed.
    """
    process = start(work, folder, log)
    return wait(process, log, seconds=seconds)


def start(work: Callable[[], Any], folder: Path, log: Path) -> int:
    """Start some work in a process of its own; return its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process

    code = UNFORESEEN
    try:
        code = _in_child(work, folder, log)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _in_child(work: Callable[[], Any], folder: Path, log: Path) -> int:
    """Do the work of a child; return its exit code."""
    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(f"{log}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)

    # nothing that was buffered or captured before
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        work()
    except SystemExit as stop:
        if stop.code is None:
            return 0
        return stop.code if isinstance(stop.code, int) else 1
    return 0


def wait(process: int, log: Path, *, seconds: float = SECONDS) -> Ended:
    """Wait for a process, and kill it where it takes too long."""
    late = False
    until = time.monotonic() + seconds
    pause = 0.0005
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            break
        if time.monotonic() > until and not late:
            os.kill(process, signal.SIGKILL)
            late = True
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)

    out = _read(Path(f"{log}.out"))
    err = _read(Path(f"{log}.err"))
    return Ended(os.waitstatus_to_exitcode(status), out, err, late)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def command(
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    *,
    watcher: Watcher | None = None,
    before: Callable[[], None] | None = None,
    seconds: float = SECONDS,
) -> Ended:
    """Run ``emotailor ARGUMENTS`` in a process of its own.

    Args:
        arguments: of the command line.
        folder: working folder; calls that change something below it are watched.
        log: start of the names of two files for what it prints.
        watcher: who is told of those calls.
        before: what the process does first.
        seconds: time after which it is killed.
    """

    def work() -> None:
        if before is not None:
            before()
        if watcher is not None:
            watch(folder, watcher)
        emotailor(arguments)

    return fork(work, folder, log, seconds=seconds)


def emotailor(arguments: Sequence[str]) -> None:
    """Run ``emotailor ARGUMENTS`` in this process, its trainings too, without clock and drawing."""
    from emotailor import cli

    sys.argv = ["emotailor", *arguments]
    os.environ["COLUMNS"] = "100"
    for console in (cli.out, cli.err):
        console._width = 100
        console.file = None  # type: ignore[assignment] # the streams of this process
    stop_the_clock()
    train_here()
    draw_nothing()
    cli.main()


def stop_the_clock() -> None:
    """Make every duration 0, so that what is written depends on nothing but the input."""
    from functools import partial

    from emotailor.training import timing

    now = time.monotonic()
    time.monotonic = lambda: now
    # a loop that measures until a budget is spent would never end
    measure: Any = partial(timing.time_training, budget=0.0)
    timing.time_training = measure
    timing.time_start = lambda: 0.25


def train_here() -> None:
    """Let a benchmark train in this process, so that all its calls are counted here."""
    from emotailor.comparison import processes

    setattr(processes, "_Child", _Here)  # noqa: B010 - a class may not be assigned
    processes.POLL_SECONDS = 0.0


def draw_nothing() -> None:
    """Put a hash of its numbers in the place of every picture: drawing takes most of the time."""
    from emotailor.figures import drawing, make, numbers

    def drawn(found: Any) -> str:
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def render(figure: str, file_format: str) -> bytes:
        return f"<{file_format}>{figure}</{file_format}>".encode()

    figures: Any = {name: (compute, drawn) for name, (compute, _) in make.FIGURES.items()}
    make.FIGURES = figures
    replaced: Any = render
    drawing.render = replaced

    places: Any = lambda points, *_: points[:, :2]  # noqa: E731
    numbers._tsne = places


class _Here:
    """A training of a benchmark, in this process instead of one of its own."""

    def __init__(self, job: Any, environment: object, gpu: str | None) -> None:
        from emotailor import cli
        from emotailor.comparison.processes import Ended as Result
        from emotailor.comparison.processes import failure_message

        self.job = job
        self.gpu = gpu
        self.process = self
        streams = (sys.stdout, sys.stderr)
        arguments = sys.argv
        job.log.parent.mkdir(parents=True, exist_ok=True)
        code = 0
        with job.log.open("a", encoding="utf-8") as log:
            sys.stdout = sys.stderr = log
            sys.argv = ["emotailor", *job.command[3:]]
            try:
                cli.main()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else 1
            finally:
                sys.stdout, sys.stderr = streams
                sys.argv = arguments

        message = failure_message(job.log.read_text(encoding="utf-8"), code) if code else ""
        self._result = Result(job, code, 0.0, message)

    def poll(self) -> int:
        return int(self._result.code)

    def wait(self) -> int:
        return int(self._result.code)

    def result(self) -> Any:
        return self._result
