"""What a training shows, in a terminal of any width and in a log."""

import io
import itertools
import re
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from emotailor.training import progress
from emotailor.training.history import EpochRecord
from emotailor.training.progress import (
    ConsoleReporter,
    Reporter,
    describe_parts,
    in_lines,
    reporter_for,
)

LOSSES = {
    "total": 1.8213,
    "classification": 0.72744,
    "adversarial_common": 3.50234,
    "orthogonality": 9133.0,
}
WEIGHTS = {"classification": 1.0, "adversarial_common": 0.01, "orthogonality": 5e-6}
RECORD = EpochRecord(
    epoch=12,
    step=70,
    train=LOSSES,
    valid={"loss": 0.70012, "accuracy": 0.5761, "micro_f1": 0.7312},
    seconds=12345.67,
)
EPOCH = "epoch 12/20  train loss 1.821  valid loss 0.7001  micro-F1 0.731  3:25:46  best"
PARTS = "classification 0.727  adversarial common 0.035  orthogonality 0.0457"


@pytest.fixture(autouse=True)
def one_second_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def shown(*, terminal: bool, width: int = 80, parts: bool = False, steps: int = 117) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=terminal, width=width, color_system=None, legacy_windows=False
    )
    with ConsoleReporter(console, parts=parts) as reporter:
        reporter.losses(WEIGHTS)
        reporter.start(steps, 40)
        reporter.step(41, 64, LOSSES)
        reporter.step(51, 704, LOSSES)
        reporter.epoch(RECORD, best=True)
        reporter.message("going on in runs/[bold]x[/bold] [1]")
    return stream.getvalue()


def test_parts_are_shown_as_what_they_add_to_the_loss() -> None:
    parts = describe_parts(LOSSES, WEIGHTS)
    assert "  ".join(parts) == PARTS
    assert describe_parts({"total": 1.0, "ctc": 1e-7}, {}) == ["ctc 1e-07"]


def test_a_log_has_a_line_per_epoch_and_no_control_characters() -> None:
    text = shown(terminal=False)
    assert text.splitlines() == [EPOCH, "going on in runs/[bold]x[/bold] [1]"]  # no markup
    assert "\x1b" not in text


def test_parts_are_shown_on_request() -> None:
    _, line, _ = shown(terminal=False, parts=True).splitlines()
    assert line == f"  parts, times their weights:  {PARTS}"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_in_a_terminal(width: int) -> None:
    text = shown(terminal=True, width=width, parts=True, steps=50_000)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", plain)]
    assert "…" not in plain
    assert max(map(len, lines)) <= width
    assert any(re.search(r"training .* ?51/50000 steps .* left ", line) for line in lines)
    assert any("640 samples/s" in line for line in lines) == (width >= 80)

    # pieces of an epoch stay whole on as many lines as it takes
    for piece in (
        "train loss 1.821",
        "valid loss 0.7001",
        "micro-F1 0.731",
        "orthogonality 0.0457",
    ):
        assert any(piece in line for line in lines)


def test_pieces_stay_whole() -> None:
    pieces = ["epoch 1/2", "train loss 1.5", "best"]
    assert in_lines(pieces, None, "  ") == ["epoch 1/2  train loss 1.5  best"]
    assert in_lines(pieces, 20, "  ") == ["epoch 1/2", "  train loss 1.5", "  best"]
    assert in_lines(pieces, 5, "  ") == ["epoch 1/2", "  train loss 1.5", "  best"]


def test_a_fit_has_no_training_loss_and_no_number_of_epochs() -> None:
    stream = io.StringIO()
    record = RECORD.model_copy(update={"train": {}, "epoch": 1, "step": 1, "seconds": 4.21})
    with ConsoleReporter(Console(file=stream, width=80), parts=True) as reporter:
        reporter.epoch(record, best=False)
    assert stream.getvalue() == "epoch  1  valid loss 0.7001  micro-F1 0.731  4.2 s\n"


def test_the_display_is_taken_down_whatever_happens() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    for _ in range(2):  # a display left up would make the second one fail
        with pytest.raises(ValueError, match="loss"), ConsoleReporter(console) as reporter:
            reporter.start(10, 0)
            raise ValueError("loss")
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_the_loss_of_an_epoch_that_goes_on_does_not_stay() -> None:
    stream = io.StringIO()
    reporter = ConsoleReporter(Console(file=stream, force_terminal=True, width=80))
    with reporter:
        reporter.start(10, 0)
        reporter.step(10, 2, LOSSES)
        reporter.epoch(RECORD, best=True)
        assert reporter._display is not None
        reporter._display.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    before, bar, after = shown.rpartition("10/10 steps")
    assert bar == "10/10 steps"
    assert "in this epoch" in before
    assert "in this epoch" not in after


def test_a_finished_run_may_speak_without_starting() -> None:
    stream = io.StringIO()
    with ConsoleReporter(Console(file=stream, force_terminal=True, width=80)) as reporter:
        reporter.message("nothing to do")
    assert stream.getvalue() == "nothing to do\n"


def test_the_silent_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.losses(WEIGHTS)
        reporter.start(10, 0)
        reporter.step(1, 2, LOSSES)
        reporter.epoch(RECORD, best=False)
        reporter.message("x")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class ZMQInteractiveShell:
    """The shell of a notebook has a class of this name."""


def test_who_looks_sees_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert type(reporter_for("auto")) is Reporter
    assert type(reporter_for(False)) is Reporter
    assert type(reporter_for(True)) is ConsoleReporter

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert type(reporter_for("auto")) is ConsoleReporter
    assert type(reporter_for(False)) is Reporter


def test_a_notebook_shows_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()  # as the kernel of a notebook says
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr("builtins.get_ipython", ZMQInteractiveShell, raising=False)
    reporter = reporter_for("auto")
    assert type(reporter) is ConsoleReporter
    with reporter:
        reporter.start(117, 0)
        reporter.step(1, 2, LOSSES)
        reporter.epoch(RECORD, best=True)
    assert stream.getvalue() == EPOCH + "\n"
