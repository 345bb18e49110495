"""What a training shows, in a terminal of 80 columns and in a log."""

import io
import itertools
import re
from types import SimpleNamespace

import pytest
from rich.console import Console

from emotailor.training import progress
from emotailor.training.history import EpochRecord
from emotailor.training.progress import ConsoleReporter, Reporter, describe_losses

LOSSES = {
    "total": 1.8213,
    "classification": 0.72744,
    "adversarial_common": 3.50234,
    "adversarial_private": 3.5112,
    "orthogonality": 79.083,
    "common_semantics": 2.0471,
}
RECORD = EpochRecord(
    epoch=12,
    step=70,
    train=LOSSES,
    valid={"loss": 0.70012, "accuracy": 0.5761, "micro_f1": 0.7312},
    seconds=12345.67,
)


@pytest.fixture(autouse=True)
def one_second_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))


def shown(*, terminal: bool, width: int = 80) -> tuple[str, Console]:
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=terminal, width=width, color_system=None, legacy_windows=False
    )
    with ConsoleReporter(console) as reporter:
        reporter.start(50_000, 40)
        reporter.step(41, 64, LOSSES)
        reporter.step(51, 704, LOSSES)
        reporter.epoch(RECORD, best=True)
        reporter.message("going on in runs/[bold]x[/bold] [1]")
    return stream.getvalue(), console


def test_losses_on_one_line_under_short_names() -> None:
    assert describe_losses(LOSSES) == (
        "loss 1.821  ml 0.7274  adv C 3.502  adv P 3.511  diff 79.08  cml 2.047"
    )
    assert describe_losses({"ctc": 1e-7, "total": 123456.0}) == "ctc 1e-07  loss 1.235e+05"


def test_a_log_has_a_line_per_epoch_and_no_control_characters() -> None:
    text, _ = shown(terminal=False)
    first, second = text.splitlines()
    assert first == (
        "epoch  12  valid loss 0.7001  acc 0.576  micro-F1 0.731  (12345.7 s)  best  |  "
        + describe_losses(LOSSES)
    )
    assert second == "going on in runs/[bold]x[/bold] [1]"  # a path is no markup
    assert "\x1b" not in text


def test_a_narrow_terminal_shows_every_loss_in_full() -> None:
    text, _ = shown(terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", plain)]
    assert "…" not in plain
    assert max(map(len, lines)) <= 80
    assert describe_losses(LOSSES) in lines
    assert any(
        re.search(r"training .* 51/50000 steps .* left .*  640 samples/s$", x) for x in lines
    )
    assert "epoch  12  valid loss 0.7001  acc 0.576  micro-F1 0.731  (12345.7 s)  best" in lines
    assert f"  {describe_losses(LOSSES)}" in lines


def test_the_display_is_taken_down_whatever_happens() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    for _ in range(2):  # a display left up would make the second one fail
        with pytest.raises(ValueError, match="loss"), ConsoleReporter(console) as reporter:
            reporter.start(10, 0)
            raise ValueError("loss")
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_a_finished_run_may_speak_without_starting() -> None:
    stream = io.StringIO()
    with ConsoleReporter(Console(file=stream, force_terminal=True, width=80)) as reporter:
        reporter.message("nothing to do")
    assert stream.getvalue() == "nothing to do\n"


def test_the_silent_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as reporter:
        reporter.start(10, 0)
        reporter.step(1, 2, LOSSES)
        reporter.epoch(RECORD, best=False)
        reporter.message("x")
    assert capsys.readouterr() == ("", "")
