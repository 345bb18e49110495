"""The thread that computes: requests that arrive within some milliseconds go to it together.

One thread computes at a time. Torch spreads each operation over the cores by itself, and what is
computed does not depend on what runs beside it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Generic, TypeVar

from emotailor.service.errors import busy

AskedT = TypeVar("AskedT")
AnswerT = TypeVar("AnswerT")
ResultT = TypeVar("ResultT")

TOGETHER_WITHIN = 0.003
"""Seconds that the first of some requests waits for others that are on their way."""

MOST_TOGETHER = 64
"""Requests that are computed together."""


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[AskedT, AnswerT]):
    """A request, and where its answer is awaited."""

    asked: AskedT
    answer: "Future[AnswerT]" = field(default_factory=Future)


class ModelThread(Generic[AskedT, AnswerT]):
    """A thread that answers requests together, and carries out other work between them.

    Args:
        answer_all: requests -> the answer to each, or its exception.
        most_waiting: requests that may wait.
        on_together: takes how many are answered together.
    """

    def __init__(
        self,
        answer_all: Callable[[Sequence[AskedT]], Sequence[AnswerT | Exception]],
        *,
        most_waiting: int,
        on_together: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._answer_all = answer_all
        self._most_waiting = most_waiting
        self._on_together = on_together
        self._waiting: deque[_Waiting[AskedT, AnswerT]] = deque()
        self._work: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._on_their_way = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the thread run; at the end, what waits is given up."""
        self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
            self._thread.join(timeout=5)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        """Say that a request is being read: others may wait for it a little.

        Raises:
            RequestError: too many are read and wait: their bodies are in memory.
        """
        with self._changed:
            self._check_room(self._on_their_way + len(self._waiting))
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._on_their_way -= 1
                self._changed.notify_all()

    async def ask(self, asked: AskedT) -> AnswerT:
        """Return the answer to a request; one whose task is cancelled meanwhile is not computed.

        Raises:
            RequestError: too many wait.
        """
        waiting: _Waiting[AskedT, AnswerT] = _Waiting(asked)
        with self._changed:
            self._check_room(len(self._waiting))
            self._waiting.append(waiting)
            self._changed.notify_all()
        return await asyncio.wrap_future(waiting.answer)

    def _check_room(self, taken: int) -> None:
        if taken >= self._most_waiting:
            raise busy(
                f"{taken} requests that wait for the model",
                fix="try again after the seconds of Retry-After",
                seconds=1,
            )

    def call(self, work: Callable[[], ResultT]) -> ResultT:
        """Carry something else out in the thread of the model, and return its result.

        Raises:
            Exception: as the work does.
        """
        future: Future[ResultT] = Future()
        with self._changed:
            self._work.append((work, future))
            self._changed.notify_all()
        return future.result()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._work or self._is_closed)
                if self._is_closed:
                    self._give_up()
                    return
                together = self._gathered()
                work = self._work.popleft() if self._work else None
            if together:
                self._answer(together)
            if work is not None:
                _carry_out(*work)

    def _gathered(self) -> list[_Waiting[AskedT, AnswerT]]:
        """Return the requests that wait, and those that come within a moment."""
        until = monotonic() + TOGETHER_WITHIN
        while self._waiting and self._on_their_way and len(self._waiting) < MOST_TOGETHER:
            left = until - monotonic()
            if left <= 0:
                break
            self._changed.wait(left)

        together: list[_Waiting[AskedT, AnswerT]] = []
        while self._waiting and len(together) < MOST_TOGETHER:
            waiting = self._waiting.popleft()
            # its client may have gone
            if waiting.answer.set_running_or_notify_cancel():
                together.append(waiting)
        return together

    def _answer(self, together: Sequence[_Waiting[AskedT, AnswerT]]) -> None:
        self._on_together(len(together))
        answers: Sequence[AnswerT | Exception]
        try:
            answers = self._answer_all([waiting.asked for waiting in together])
        except Exception as error:
            answers = [error] * len(together)
        for waiting, answer in zip(together, answers, strict=True):
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)

    def _give_up(self) -> None:
        """Cancel all that waits."""
        for waiting in self._waiting:
            waiting.answer.cancel()
        for _, future in self._work:
            future.cancel()


def _carry_out(work: Callable[[], Any], future: "Future[Any]") -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
