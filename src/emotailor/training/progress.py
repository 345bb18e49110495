"""What a training shows: a live display in a terminal, plain lines elsewhere, or nothing."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from emotailor.training.history import EpochRecord

_SHORT = {
    "total": "loss",
    "classification": "ml",
    "adversarial_common": "adv C",
    "adversarial_private": "adv P",
    "orthogonality": "diff",
    "common_semantics": "cml",
}


def describe_losses(losses: Mapping[str, float]) -> str:
    """Loss parts on one line."""
    return "  ".join(f"{_SHORT.get(name, name)} {value:.4g}" for name, value in losses.items())


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

    def start(self, total_steps: int, done_steps: int) -> None:
        """Training starts, or goes on after ``done_steps`` optimizer steps."""

    def step(self, step: int, samples: int, losses: Mapping[str, float]) -> None:
        """Some optimizer steps are done; ``samples`` and mean ``losses`` of the epoch so far."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """An epoch is done and validated."""

    def message(self, text: str) -> None:
        """Something worth a line."""


class ConsoleReporter(Reporter):
    """A live bar with loss parts, speed and time left in a terminal; plain lines elsewhere.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = console.is_terminal
        self._display: Live | None = None
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
            self._display.stop()

    def start(self, total_steps: int, done_steps: int) -> None:
        """Show the bar."""
        self._since = time.monotonic()
        if not self._live:
            return
        self._bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("steps "),
            TimeElapsedColumn(),
            TextColumn(" left"),
            TimeRemainingColumn(),
            TextColumn(" {task.fields[speed]} samples/s"),
        )
        self._task = self._bar.add_task("train", total=total_steps, completed=done_steps, speed="-")
        self._losses = Text(style="dim", no_wrap=True)  # a line of its own: it fills 80 columns
        self._display = Live(Group(self._bar, self._losses), console=self.console)
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

        self._losses.plain = describe_losses(losses)
        self._bar.update(self._task, completed=step, speed=f"{speed:.0f}")

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        """Print losses and validation scores of the epoch."""
        self._samples = 0
        self._since = time.monotonic()

        valid = record.valid
        line = (
            f"epoch {record.epoch:>3}  valid loss {valid['loss']:.4f}"
            f"  acc {valid['accuracy']:.3f}  micro-F1 {valid['micro_f1']:.3f}"
            f"  ({record.seconds:.1f} s)"
        )
        if best:
            line += "  [green]best[/green]"

        # one line in a log; in a narrow terminal two that are not broken anywhere
        is_narrow = self._live and self.console.width < 140
        if record.train:
            line += "\n  " if is_narrow else "  |  "
            line += describe_losses(record.train)
        self.console.print(line, highlight=False, soft_wrap=True)

    def message(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
