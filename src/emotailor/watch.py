"""How far a long job is, shown once it takes longer than a few seconds."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PATIENCE = 3.0  # seconds without a sign of life
BETWEEN_LINES = 30.0  # seconds, where nothing can be drawn over
LINES_AFTER = 32  # samples, or a multiple: they come in batches


class Watch:
    """Shows how far a job is, once it takes longer than a few seconds.

    In a terminal that is a bar with the time left, elsewhere a line now and then.

    Args:
        console: where to show it.
        total: how many there are; None where nobody knows.
        doing: what is done with them, such as ``predicting``.
        done: what was done with those that are counted, such as ``predicted``.
        what: what is counted, such as ``video``.
        clock: seconds that pass.
    """

    def __init__(
        self,
        console: Console,
        total: int | None,
        *,
        doing: str = "predicting",
        done: str = "predicted",
        what: str = "sample",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._total = total
        self._doing = doing
        self._did = done
        self._what = what
        self._lines_after = LINES_AFTER if what == "sample" else 1
        self._clock = clock
        self._done = 0.0
        self._next = clock() + PATIENCE
        self._bar: Progress | None = None

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar down, whatever happened."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """Count one more."""
        self.reach(self._done + 1)

    def reach(self, done: float) -> None:
        """Show how many are done; one that is under way may count in part."""
        self._done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return

        # samples come in batches: in a log the first of a batch would say too little
        now = self._clock()
        is_line = not self._console.is_terminal
        if now < self._next or (is_line and done % self._lines_after):
            return
        # what follows the last one says it
        if done == self._total:
            return
        self._next = now + BETWEEN_LINES
        if not is_line:
            self._start_bar()
            return

        of_total = "" if self._total is None else f" of {self._total:,}"
        line = f"{self._did} {done:,.0f}{of_total} {self._what}s"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _start_bar(self) -> None:
        self._bar = Progress(
            TextColumn(self._doing),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn(f"{self._what}s, left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._bar.add_task(self._doing, total=self._total)
        self._bar.update(self._task, completed=self._done)
        self._bar.start()
