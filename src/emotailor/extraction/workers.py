"""Processes that extract one video after the other; one that dies loses its video alone.

Libraries that decode media are written in C: a hostile file may end the process that opens it. So
videos are opened in processes of their own, and a death is a failure like any other.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

from emotailor.errors import DataError, EmotailorError, first_of_several
from emotailor.refused import FIXES, OF_THE_DISK, refusal
from emotailor.text import plural

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")

Tell = Callable[[float], None]
"""Takes how much of a task is done, from 0 to 1."""

CarryOut = Callable[[TaskT, Tell], ResultT]
"""Carries out a task: a function of a module, which raises an ``EmotailorError`` if it fails."""

_PATIENCE = 5.0  # seconds that a process has to end by itself
_SHARE = "share"
_FAILED = "failed"
_ENDED = "ended"
_BROKEN = "broken"
"""What a process tells."""


@dataclass(frozen=True)
class Done(Generic[TaskT, ResultT]):
    """How a task ended: with a result, or with the reason why there is none.

    Attributes:
        task: the task.
        result: what came of it; None where it failed.
        error: why it failed; None where it did not.
    """

    task: TaskT
    result: ResultT | None
    error: EmotailorError | None = None


class _Worker(Generic[TaskT, ResultT]):
    """A process, and the task that it is at."""

    def __init__(self, carry_out: CarryOut[TaskT, ResultT]) -> None:
        # a copy of this process would have half of its threads
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, carry_out), daemon=True)
        self._process.start()
        theirs.close()
        self.task: TaskT | None = None
        self.share = 0.0
        self.lives = True

    def begin(self, task: TaskT) -> None:
        self.task = task
        self.share = 0.0
        self.pipe.send(task)

    def hear(self) -> Done[TaskT, ResultT] | None:
        """Take in what the process tells; return how its task ended, if it has."""
        task = self.task
        assert task is not None
        try:
            what, told = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.task = None
            self.lives = False
            self._process.join(_PATIENCE)
            return Done(task, None, self._death())

        if what == _SHARE:
            self.share = told
            return None
        self.task = None
        if what == _BROKEN:
            # a mistake of ours is none of the video
            raise RuntimeError(f"a process that extracts failed:\n{told}")
        if what == _FAILED:
            return Done(task, None, told)
        return Done(task, told)

    def release(self) -> None:
        """Let the process end by itself: there is nothing left for it to do."""
        self.pipe.close()

    def terminate(self) -> None:
        """End the process; what hears it finds that it is dead."""
        self._process.terminate()

    def stop(self) -> None:
        """End the process, whatever it is at."""
        self.pipe.close()
        if self.task is not None:
            self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> DataError:
        code = self._process.exitcode
        how = f"with exit code {code}"
        if code is not None and code < 0:
            how = f"by {signal.Signals(-code).name}"
        return DataError(
            f"the process that read it ended {how}",
            expected="a video that can be decoded in the memory there is",
            fix="check that it plays; if it does, encode it again, or use fewer --processes",
        )


class Workers(Generic[TaskT, ResultT]):
    """Some processes that carry out tasks; as a context manager, it ends them.

    Args:
        carry_out: a function of a module; it raises an ``EmotailorError`` where a task fails.
        tasks: in the order in which they are begun; each can be pickled.
        processes: how many at a time.
        on_share: takes how many tasks are done, and those under way in parts: 2.25.
    """

    def __init__(
        self,
        carry_out: CarryOut[TaskT, ResultT],
        tasks: Iterable[TaskT],
        *,
        processes: int,
        on_share: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._carry_out = carry_out
        self._waiting = deque(tasks)
        self._processes = processes
        self._on_share = on_share
        self._done = 0.0
        self._workers: list[_Worker[TaskT, ResultT]] = []

    def __enter__(self) -> "Workers[TaskT, ResultT]":
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes, whatever they are at."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def cancel(self) -> None:
        """End all processes, from another thread: tasks under way end with an error."""
        self._waiting.clear()
        for worker in tuple(self._workers):
            worker.terminate()

    def begin(self) -> None:
        """Give a task to every process that has none, as far as there are any."""
        for worker in self._workers:
            if self._waiting and worker.task is None:
                worker.begin(self._waiting.popleft())

        while self._waiting and len(self._workers) < self._processes:
            worker = _Worker(self._carry_out)
            self._workers.append(worker)
            worker.begin(self._waiting.popleft())

    def ended(self) -> Iterator[Done[TaskT, ResultT]]:
        """Yield how each task ended, in the order in which they end."""
        while True:
            self.begin()
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return

            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker = busy[pipe]
                done = worker.hear()
                if not worker.lives:
                    self._workers.remove(worker)
                    worker.stop()
                self._done += 0.0 if done is None else 1.0
                under_way = [one.share for one in self._workers if one.task is not None]
                self._on_share(self._done + sum(under_way))
                if done is None:
                    continue
                if worker.lives and not self._waiting:
                    # its libraries and models hold memory that the rest of the work may need
                    worker.release()
                yield done


def none_at_all(failures: Mapping[str, EmotailorError]) -> EmotailorError:
    """Return the error where no video could be predicted or extracted."""
    name, first = next(iter(failures.items()))
    if len(failures) == 1:
        return first
    others = plural(len(failures) - 1, "more video")
    return first_of_several(first, f"{name}: {first.found} (and {others} that cannot be read)")


def _serve(pipe: Connection, carry_out: CarryOut[TaskT, ResultT]) -> None:
    """Carry out tasks until there are no more; the whole life of a process."""
    # the parent is asked to stop, and then stops this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(share: float) -> None:
        pipe.send((_SHARE, share))

    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            result = carry_out(task, tell)
        except EmotailorError as error:
            pipe.send((_FAILED, error))
        except OSError as error:
            pipe.send(_refused(error))
        except MemoryError:
            lack = DataError("it needs more memory than there is", fix="use fewer --processes")
            pipe.send((_FAILED, lack))
        except Exception:
            pipe.send((_BROKEN, traceback.format_exc()))
        else:
            pipe.send((_ENDED, result))


def _refused(error: OSError) -> tuple[str, EmotailorError | str]:
    """Return what to tell of an error of the system: what it lacks, or a mistake of ours."""
    if error.errno not in FIXES:
        return _BROKEN, traceback.format_exc()
    told = refusal(error)
    if error.errno in OF_THE_DISK:
        # the sound of a video lies among the temporary files
        told = DataError(
            told.found,
            expected="room for the sound of the video among the temporary files",
            fix="make room there, or name another folder for temporary files: TMPDIR=DIR",
        )
    return _FAILED, told


def _end_with_parent() -> None:
    """End this process as soon as its parent has: nobody would take its result."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
