"""The demo: from nothing to explained predictions and a page, and on from where it stopped."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from emotailor.commands import demo
from emotailor.commands.demo import choose_examples, demo_data
from emotailor.config import read_toml
from emotailor.data.store import read_card, write_dataset
from emotailor.data.synthetic import SyntheticConfig
from emotailor.errors import DataError
from emotailor.evaluation.metrics import Metrics, evaluate
from emotailor.serving.prediction import Explanation
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import run_cli
from tests.test_docs import check_command


def modified(folder: Path) -> dict[str, int]:
    """When each file of the data and the training was written last."""
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {
        str(p): p.stat().st_mtime_ns
        for p in kept
        if p.parent.name in ("quick-data", "model", "checkpoint")
    }


ALONE = """
from emotailor.cli import main
from emotailor.figures import make

# the figures have tests of their own, and take long
make.FIGURES = {"figure4-losses": make.FIGURES["figure4-losses"]}
main()
"""
"""The command line in a process of its own, with one figure on its pages."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a quick demo, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "é d"
    command = [sys.executable, "-c", ALONE, "demo", "--quick", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_the_quick_demo_runs_through_and_is_not_trained_twice(quick: tuple[Path, str]) -> None:
    folder, printed = quick
    for part in ("1 of 4", "2 of 4", "3 of 4", "logistic regression", "4 of 4"):
        assert part in printed
    assert re.search(r"^epoch +2/2 ", printed, re.MULTILINE)

    before = modified(folder)
    assert len(before) > 6
    again = run_cli("demo", "--quick", "--out", folder)
    assert (again.code, again.err) == (0, "")
    assert "is already trained; nothing to do" in again.out
    assert modified(folder) == before
    # the same numbers, whether just trained or found; the two were called in different ways
    first = printed.replace(f"{sys.executable} -m emotailor", "emotailor")
    assert again.out[again.out.index("3 of 4") :] == first[first.index("3 of 4") :]


def test_every_line_that_is_read_fits_in_80_columns(quick: tuple[Path, str]) -> None:
    _, printed = quick
    # what is to be copied, and where files are, is not broken within a name
    folder = str(quick[0].parent)
    read = [line for line in printed.splitlines() if folder not in line and " -m " not in line]
    assert max(map(len, read)) <= 80
    assert "…" not in printed


def test_the_page_is_there_and_is_named(quick: tuple[Path, str]) -> None:
    folder, printed = quick
    (address,) = re.findall(r"^  (file://\S+)$", printed, re.MULTILINE)
    page = Path(unquote(urlsplit(address).path))
    assert page == folder / "quick-run" / "report.html"
    text = page.read_text(encoding="utf-8").lower()
    assert text.startswith("<!doctype html>")
    assert text.count("<img ") == 1


def test_the_next_commands_work_as_they_stand(quick: tuple[Path, str]) -> None:
    folder, printed = quick
    ending = printed[printed.index("Go on with this model") :]
    commands = [shlex.split(line) for line in ending.splitlines() if line.startswith("  ")]
    after = [words[words.index("emotailor") + 1 :] for words in commands]
    assert len(after) == 6
    for arguments in after:
        check_command(arguments)

    predict = after[0]
    assert predict[:2] == ["predict", str(folder / "quick-run")]
    done = run_cli(*predict)
    assert (done.code, done.err) == (0, "")
    assert "test-000004" in done.out


@pytest.mark.parametrize(
    ("found", "called", "expected"),
    [
        ("/usr/bin/emotailor", "/usr/bin/emotailor", "emotailor"),
        (None, ".venv/bin/emotailor", ".venv/bin/emotailor"),
        (None, "my env/bin/emotailor", "'my env/bin/emotailor'"),
        (None, "/x/emotailor/__main__.py", f"{shlex.quote(sys.executable)} -m emotailor"),
    ],
)
def test_how_the_program_is_called_again(
    found: str | None, called: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: found)
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    assert demo.program() == expected


# ---------------------------------------------------------------------- what is said


def test_examples_are_drawn_by_their_rule() -> None:
    right = np.array([True, False, True, True, False, True, False])
    some = np.array([True, True, False, True, True, True, False])
    chosen = choose_examples(right, some)
    assert right[chosen].tolist() == [True, True, False]
    assert some[chosen].all()
    assert choose_examples(right, some) == chosen
    # where all are right or wrong, there are fewer
    assert len(choose_examples(np.ones(5, bool), np.ones(5, bool))) == 2
    assert len(choose_examples(np.zeros(5, bool), np.ones(5, bool))) == 1


def scores(probability: float) -> Metrics:
    """Metrics of two labels on four samples; the higher the probability, the better."""
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.uint8)
    found = np.where(labels, probability, 0.5)
    return evaluate(labels, found, ("a", "b"), 0.55)


def test_the_verdict_says_who_is_ahead() -> None:
    good, bad = scores(0.6), scores(0.4)
    ahead = demo._verdict("X", good, {"b": bad})
    assert f"{1 - 0:.3f} micro-F1" in ahead
    assert ahead.startswith("X is ahead")
    behind = demo._verdict("X", bad, {"a": bad, "b": good})
    assert behind.startswith("X is not ahead")
    assert "micro-F1 -1.000" in behind
    # no better is not ahead
    assert demo._verdict("X", good, {"b": good}).startswith("X is not ahead")


def test_where_evidence_was_found() -> None:
    steps = np.array([0.1, 0.9, 0.8, 0.0])
    explanation = Explanation(
        modalities={"sad": {"audio": 2.0, "text": 0.5}, "happy": {"audio": -1.0, "text": 0.001}},
        steps={name: {"audio": steps, "text": steps[:1]} for name in ("sad", "happy")},
        attention={},
        window={"audio": 1, "text": 1},
    )
    assert demo._found(explanation, "sad") == "voice, words 2-3"
    assert demo._found(explanation, "happy") == "nowhere"


def test_the_example_file_is_what_the_demo_trains() -> None:
    example = read_toml(Path(__file__).resolve().parents[2] / "examples" / "demo.toml")
    assert example == {"model": demo.MODEL, "training": demo.TRAINING}


# ---------------------------------------------------------------------- data


def test_the_data_are_made_once_and_again_when_they_should_differ(tmp_path: Path) -> None:
    small = {"train": 5, "valid": 2, "test": 2, "visual_dim": 3, "audio_dim": 3, "text_dim": 3}
    config = SyntheticConfig(**small)
    demo_data(tmp_path / "data", config)
    first = read_card(tmp_path / "data")
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()}
    demo_data(tmp_path / "data", config)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()} == written
    demo_data(tmp_path / "data", config.replace(seed=1))
    assert read_card(tmp_path / "data").fingerprint != first.fingerprint


def test_what_is_no_data_set_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match=r"no synthetic data set.*thesis.txt"):
        demo_data(tmp_path / "data", SyntheticConfig(train=2, valid=0, test=0))
    assert (tmp_path / "data" / "thesis.txt").read_text() == "dear"


def test_data_that_were_not_drawn_are_not_replaced(tmp_path: Path) -> None:
    """A folder ``data`` may be somebody's own."""
    write_dataset(
        tmp_path / "data",
        {"train": random_samples(3)},
        name="mine",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")}
    with pytest.raises(DataError, match=r"data is no synthetic data set.*dataset.json"):
        demo_data(tmp_path / "data", SyntheticConfig(train=2, valid=0, test=0))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "data").rglob("*")} == before
