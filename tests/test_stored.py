"""Runs that an earlier version stored still load, evaluate, resume and report."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import emotailor
from tests.runs.runs import run_cli

STORED = Path(__file__).parent / "stored" / "before_rooms"
COMMAND = ("benchmark", "--data", "data", "--models", "br,tailor", "--seeds", "2",
           "--out", "table", "--config", "tiny.toml", "--jobs", "2",
           "--preset", "paper")  # fmt: skip


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what was stored, in which commands run as they did then."""
    folder = tmp_path / "old"
    shutil.copytree(STORED, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("system", ["br", "tailor"])
def test_a_run_gives_the_numbers_that_were_stored(old: Path, system: str) -> None:
    folder = old / "table" / system / "seed42"
    run = emotailor.Run.open(folder)
    assert (run.system, run.seed, run.finished) == (system, 42, True)
    assert len(run.history) == (2 if system == "tailor" else 1)

    stored = json.loads((old / "table" / "benchmark.json").read_text(encoding="utf-8"))
    (before,) = [one for one in stored["systems"][system]["runs"] if one["seed"] == 42]
    found = emotailor.evaluate(folder, resamples=0, store=False)
    for name in ("micro_f1", "accuracy", "mean_average_precision"):
        then = before["metrics"]["tuned"][name]
        assert getattr(found.metrics, name) == pytest.approx(then, abs=1e-5), name


def test_thresholds_that_an_earlier_version_did_not_choose_are_refused(old: Path) -> None:
    asked = run_cli("evaluate", "table/br/seed42", "--thresholds", "macro", "--resamples", "0")
    asked.failed(3, "no 'macro' thresholds", "one of fixed, tuned, per_label", "train")


def test_stored_predictions_are_those_of_the_model(old: Path) -> None:
    folder = old / "table" / "tailor" / "seed42"
    stored = emotailor.Run.open(folder).predictions("test")
    assert stored is not None
    found = emotailor.evaluate(folder, resamples=0, store=False)
    assert np.abs(found.probabilities - stored.probabilities).max() < 1e-5


def test_the_same_command_does_nothing_and_gives_the_same_table(old: Path) -> None:
    before = (old / "table" / "table.csv").read_text(encoding="utf-8")
    weights = {p: p.stat().st_mtime_ns for p in (old / "table").rglob("weights-*.safetensors")}
    assert len(weights) == 4

    done = run_cli(*COMMAND)
    assert (done.code, done.err) == (0, "")
    assert "4 runs" in done.out
    assert "4 done" in done.out
    assert {p: p.stat().st_mtime_ns for p in weights} == weights
    # the same numbers; the ends of intervals are found in another way since, and baselines are new
    rows = list(csv.DictReader(before.splitlines()))
    after = (old / "table" / "table.csv").read_text(encoding="utf-8")
    found = {row["system"]: row for row in csv.DictReader(after.splitlines())}
    assert [row["system"] for row in rows] == ["br", "tailor"]
    assert set(found) == {"br", "tailor", "all labels", "label frequencies", "logistic regression"}
    for row in rows:
        same = row.keys() - {"low", "high", "p", "message"}
        assert {key: found[row["system"]][key] for key in same} == {key: row[key] for key in same}


@pytest.mark.parametrize("what", ["table", "table/tailor/seed42"])
def test_a_page_is_written(old: Path, what: str) -> None:
    done = run_cli("report", what)
    assert (done.code, done.err) == (0, "")
    page = (old / what / "report.html").read_text(encoding="utf-8")
    assert "TAILOR" in page
