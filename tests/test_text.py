"""Text from files: shown, never run."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.table import Table
from rich.text import Text

import emotailor
from emotailor.cli.console import SafeConsole
from emotailor.data.sample import Sample
from emotailor.data.store import write_dataset
from emotailor.errors import DataError
from emotailor.runs.stored import StoredPredictions, read_predictions, write_predictions
from emotailor.text import from_cell, indented, is_name, to_cell, visible

HOSTILE = ["\x1b[2Jgone", "a\nerror: disk is full", "a\rb", "\x9b31m", "\u202etxt.exe", "a\x00b"]


@pytest.mark.parametrize("text", ["happy", "-3g5yACwYnA[0]", "vid$_$3", "glücklich", "高兴", "a b"])
def test_a_usual_name_stays_as_it_is(text: str) -> None:
    assert is_name(text)
    assert visible(text) == text
    assert to_cell(text) == text


@pytest.mark.parametrize("text", ["", "a\n", "\x1b[0m", "a\tb", "\x85", "a\u2028b", "\ud800"])
def test_what_breaks_a_line_is_no_name(text: str) -> None:
    assert not is_name(text)


def test_what_does_not_show_is_written_as_in_json() -> None:
    assert visible("\x1b[2J") == r"\u001b[2J"
    assert visible("a\u202eb\x9b\r") == r"a\u202eb\u009b\r"
    assert visible("a\nb\u00a0c\u3000d") == "a\nb\u00a0c\u3000d"

    text = "\U000e0041\u202e\x1b"
    line = json.dumps({"id": text}, ensure_ascii=False)
    assert json.loads(visible(line))["id"] == text
    assert visible(line).isprintable()


def test_no_line_of_a_message_begins_like_one_of_ours() -> None:
    assert indented("x\nerror: y") == "x\n  error: y"
    lines = str(DataError("x\nerror: y", expected="a\nnote: b", fix="c\nd")).split("\n")
    assert lines[0] == "x"
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_console_prints_no_code_of_a_terminal(hostile: str) -> None:
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=False, width=200)
    table = Table()
    table.add_column(Text(hostile))
    table.add_row(Text(hostile))
    console.print(hostile, table, Text(hostile), markup=False)

    printed = stream.getvalue()
    assert printed.replace("\n", "").isprintable()


def test_a_console_keeps_the_colours_of_our_own() -> None:
    stream = io.StringIO()
    SafeConsole(file=stream, force_terminal=True, color_system="standard").print(
        Text("x\x1b]0;t", "red")
    )
    assert stream.getvalue() == "\x1b[31mx\\u001b]0;t\x1b[0m\n"


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "-1,2", "\t=1", "'=1", "''=1"]


@pytest.mark.parametrize("text", [*FORMULAS, "-3g5yACwYnA[0]", "-5", "'tis", "a=b"])
def test_a_cell_comes_back_as_it_was(text: str) -> None:
    assert from_cell(to_cell(text)) == text
    assert to_cell(text).startswith("'") == (text in FORMULAS or text == "'tis")


def test_predictions_hold_no_formula(tmp_path: Path) -> None:
    one = np.array([[1], [0]], np.uint8)
    written = StoredPredictions(
        ids=("=HYPERLINK(1)", "-3g5yACwYnA[0]"),
        label_names=("@label",),
        labels=one,
        probabilities=np.array([[0.25], [0.75]]),
        decisions=one == 1,
    )
    file = write_predictions(tmp_path, "test", written)
    rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert rows[0] == ["id", "true:@label", "p:@label", "'@label"]
    assert [row[0] for row in rows[1:]] == ["'=HYPERLINK(1)", "-3g5yACwYnA[0]"]

    read = read_predictions(tmp_path, "test")
    assert read is not None
    assert read.ids == written.ids
    assert read.label_names == written.label_names


def write_one(path: Path, sample_id: str, label: str) -> None:
    sample = Sample(sample_id, {"text": np.ones((1, 1), np.float32)}, np.array([1], np.uint8))
    write_dataset(
        path,
        {"train": [sample]},
        name="\x1b[31mred",
        label_names=[label],
        dims={"text": 1},
        aligned=True,
    )


@pytest.mark.parametrize("hostile", [*HOSTILE[:4], "a\ud800"])
def test_a_hostile_id_or_label_is_refused_where_data_come_in(tmp_path: Path, hostile: str) -> None:
    for sample_id, label in ((hostile, "happy"), ("vid[0]", hostile)):
        with pytest.raises(DataError) as caught:
            write_one(tmp_path / "d", sample_id, label)
        assert hostile not in str(caught.value)
        assert not (tmp_path / "d").exists()


def test_a_direction_mark_in_an_id_is_kept_and_shown(tmp_path: Path) -> None:
    name = "\u202evid[0]"
    write_one(tmp_path / "d", name, "\u202ehappy")
    assert emotailor.load_dataset(tmp_path / "d")["train"].ids == [name]

    command = [sys.executable, "-m", "emotailor", "data", "inspect", str(tmp_path / "d")]
    for extra in ([], ["--json"]):
        done = subprocess.run([*command, *extra], capture_output=True, text=True, check=True)
        assert "\\u202" in done.stdout
        assert "\u202e" not in done.stdout
        assert "\x1b" not in done.stdout
