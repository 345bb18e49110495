"""Lines and tables in terminals of any width: no word is cut."""

import io
import re

import pytest
from rich.box import SIMPLE_HEAD
from rich.text import Text

from emotailor.cli.console import SafeConsole, broken
from emotailor.fitted import FittedTable

LINE = "70 runs on pom: 0 done, 2 at a time -> /a/path/that/is/longer/than/the/terminal/itself"


def printed(width: int, *, terminal: bool, line: str | Text = LINE) -> str:
    stream = io.StringIO()
    console = SafeConsole(
        file=stream, force_terminal=terminal, width=width, color_system=None, legacy_windows=False
    )
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    return stream.getvalue()


def test_a_line_ends_between_words_in_a_terminal_alone() -> None:
    assert printed(40, terminal=False) == LINE + "\n"
    assert printed(40, terminal=True).splitlines() == [
        "70 runs on pom: 0 done, 2 at a time ->",
        "  /a/path/that/is/longer/than/the/terminal/itself",
    ]
    assert printed(400, terminal=True) == LINE + "\n"


def test_lines_of_a_message_keep_their_places() -> None:
    message = Text("error: one two three\n  to fix it: four five six")
    message.stylize("red", 0, 6)
    found = broken(message, 16)
    assert found.plain.splitlines() == [
        "error: one two", "  three", "  to fix it:", "    four five", "    six"
    ]  # fmt: skip
    assert [(span.start, span.end) for span in found.spans] == [(0, 6)]
    assert broken(Text(""), 10).plain == ""


def test_a_command_that_is_broken_can_be_copied() -> None:
    command = Text("next: emotailor evaluate runs/first --split valid --model gate.py:Gate")
    lines = broken(command, 40).plain.splitlines()
    assert lines == [
        "next: emotailor evaluate runs/first \\",
        "  --split valid --model gate.py:Gate",
    ]
    assert broken(command, 80).plain == command.plain


def table() -> FittedTable:
    made = FittedTable(title="results", title_justify="left", box=SIMPLE_HEAD)
    made.add_column("system")
    for name in ("micro-F1", "macro-F1", "parameters"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("meaning of the row")
    for number in range(3):
        made.add_row(
            f"system{number}", "0.123±0.004", "0.567±0.008", "10,371,343", "some words here"
        )
    return made


@pytest.mark.parametrize("width", [28, 40, 60, 80, 120])
def test_a_table_has_all_its_words_at_any_width(width: int) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, width=width, color_system=None, legacy_windows=False)
    console.print(table())
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = re.findall(r"[^\s─]+", text)
    for word, times in {"0.123±0.004": 3, "0.567±0.008": 3, "10,371,343": 3, "macro-F1": 1}.items():
        assert words.count(word) == times
    assert words.count("results") == 1
    parts = words.count("system")  # each part begins with the names
    assert words.count("system2") == parts
    assert (parts == 1) == (width >= 80)


def test_one_word_that_is_wider_than_the_terminal_is_folded() -> None:
    made = FittedTable("name", box=None)
    made.add_row("x" * 50)
    stream = io.StringIO()
    SafeConsole(file=stream, width=20).print(made)
    assert stream.getvalue().count("x") == 50
