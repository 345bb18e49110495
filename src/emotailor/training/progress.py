"""What a training shows: a live display in a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from emotailor.training.history import EpochRecord

OnEpoch = Callable[[EpochRecord], bool | None]
"""Is called with the record of every epoch; where it returns False, the training ends."""

ShowProgress = bool | Literal["auto"]
"""Whether a training shows itself; ``auto``: in a terminal and in a notebook."""

WIDE = 80
"""Columns of a terminal in which the whole bar has room."""


class Reporter:
    """Receives what happens during a training; this one says nothing."""

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def losses(self, weights: Mapping[str, float]) -> None:
        """The loss has these parts; the total is their sum, each times its weight."""

    def start(self, total_steps: int, done_steps: int) -> None:
        """Training starts, or goes on after ``done_steps`` optimizer steps."""

    def rate(self, rate: float) -> None:
        """The learning rate of the step that is told of next."""

    def step(self, step: int, samples: int, losses: Mapping[str, float]) -> None:
        """Some optimizer steps are done; ``samples`` and mean ``losses`` of the epoch so far."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """An epoch is done and validated."""

    def message(self, text: str) -> None:
        """Something worth a line."""


def reporter_for(progress: ShowProgress) -> Reporter:
    """Return what shows a training started from Python.

    Args:
        progress: ``auto`` shows it where somebody looks: in a terminal and in a notebook.
    """
    look = Console(file=sys.stdout)
    somebody_looks = look.is_terminal or look.is_jupyter
    if progress is False or (progress == "auto" and not somebody_looks):
        return Reporter()

    # a notebook calls itself a terminal, but would show every state of a bar below the last one
    live = False if look.is_jupyter else None
    return ConsoleReporter(Console(file=sys.stdout, force_terminal=live, force_jupyter=False))


def describe_parts(losses: Mapping[str, float], weights: Mapping[str, float]) -> list[str]:
    """Return each part of the loss times its weight: what it adds to the total.

    Args:
        losses: part -> mean; ``total`` is left out.
        weights: part -> its weight; 1 where there is none.
    """
    parts = []
    for name, value in losses.items():
        if name != "total":
            added = weights.get(name, 1.0) * value
            parts.append(f"{name.replace('_', ' ')} {added:.3g}")
    return parts


class ConsoleReporter(Reporter):
    """A live bar with loss, speed and time left in a terminal; plain lines elsewhere.

    Args:
        console: where to print.
        parts: show what each part of the loss adds to it.
    """

    def __init__(self, console: Console, *, parts: bool = False) -> None:
        self.console = console
        self.parts = parts
        self._live = console.is_terminal
        self._weights: Mapping[str, float] = {}
        self._display: Live | None = None
        self._total_steps = 0
        self._samples = 0
        self._since = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the live display down, whatever happened."""
        if self._display is not None:
            # the loss of an epoch that goes on says nothing once none does
            self._display.update(self._bar)
            self._display.stop()

    def losses(self, weights: Mapping[str, float]) -> None:
        """Keep the weights for the lines that show parts."""
        self._weights = dict(weights)

    def start(self, total_steps: int, done_steps: int) -> None:
        """Show the bar."""
        self._since = time.monotonic()
        self._total_steps = total_steps
        if not self._live:
            return

        self._bar = Progress(*_columns(self.console.width), console=self.console)
        self._task = self._bar.add_task("train", total=total_steps, completed=done_steps, speed="-")
        self._loss = Text(style="dim", no_wrap=True)  # a line of its own: it fills 80 columns
        self._display = Live(Group(self._bar, self._loss), console=self.console)
        self._display.start()

    def step(self, step: int, samples: int, losses: Mapping[str, float]) -> None:
        """Move the bar."""
        if self._display is None:
            return

        # since the last call
        now = time.monotonic()
        done = max(samples - self._samples, 0)
        seconds = max(now - self._since, 1e-9)
        speed = done / seconds
        self._samples = samples
        self._since = now

        self._loss.plain = f"train loss {losses['total']:.4g} in this epoch"
        self._bar.update(self._task, completed=step, speed=f"{speed:.0f}")

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Print loss and validation scores of the epoch."""
        self._samples = 0
        self._since = time.monotonic()

        self._line(self._of_epoch(record, best=best), indent="  ")
        if self.parts and record.train:
            parts = describe_parts(record.train, self._weights)
            self._line(["  parts, times their weights:", *parts], indent="    ")

    def message(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _of_epoch(self, record: EpochRecord, *, best: bool) -> list[str]:
        """Return what is said of an epoch, in pieces that stay whole."""
        valid = record.valid
        pieces = [f"epoch {record.epoch:>2}{self._out_of(record)}"]
        if record.train:
            pieces.append(f"train loss {record.train['total']:.4g}")
        pieces.append(f"valid loss {valid['loss']:.4g}")
        pieces.append(f"micro-F1 {valid['micro_f1']:.3f}")
        pieces.append(_clock(record.seconds))
        if best:
            pieces.append("best")
        return pieces

    def _out_of(self, record: EpochRecord) -> str:
        """Return the number of all epochs, where it can be told."""
        if not record.step or not self._total_steps:
            return ""
        per_epoch = record.step / record.epoch
        return f"/{round(self._total_steps / per_epoch)}"

    def _line(self, pieces: Sequence[str], *, indent: str) -> None:
        """Print pieces on one line; in a terminal on as many as it takes, none of them broken."""
        width = self.console.width if self._live else None
        text = Text("\n".join(in_lines(pieces, width, indent)))
        text.highlight_words(["best"], "green")
        self.console.print(text, highlight=False, soft_wrap=True)


def in_lines(pieces: Sequence[str], width: int | None, indent: str) -> list[str]:
    """Put pieces into lines of at most ``width`` columns, two spaces apart.

    Args:
        pieces: texts that stay whole.
        width: columns of a line; None for one line.
        indent: what the lines behind the first begin with.
    """
    lines: list[str] = []
    line = ""
    for piece in pieces:
        longer = f"{line}  {piece}" if line else piece
        if line and width is not None and cell_len(longer) > width:
            lines.append(line)
            longer = indent + piece
        line = longer
    return [*lines, line]


def _columns(width: int) -> list[ProgressColumn]:
    """Return the columns of the bar for a terminal; a narrow one has no room for all."""
    times: list[ProgressColumn] = [
        TextColumn("steps "),
        TimeElapsedColumn(),
        TextColumn(" left"),
        TimeRemainingColumn(),
    ]
    if width < WIDE:
        return [TextColumn("[bold]training"), MofNCompleteColumn(), *times]
    speed = TextColumn(" {task.fields[speed]} samples/s")
    bar = BarColumn(bar_width=12)
    return [TextColumn("[bold]training"), bar, MofNCompleteColumn(), *times, speed]


def _clock(seconds: float) -> str:
    """Return ``4.2 s``, ``3:04`` or ``1:02:03``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
