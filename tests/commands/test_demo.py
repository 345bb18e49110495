"""The demo: from nothing to explained predictions, and on from where it stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from emotailor.commands.demo import demo_data
from emotailor.data.store import read_card, write_dataset
from emotailor.data.synthetic import SyntheticConfig
from emotailor.errors import DataError
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import run_cli


def modified(folder: Path) -> dict[str, int]:
    """When each file of the data and the training was written last."""
    kept = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return {
        str(p): p.stat().st_mtime_ns
        for p in kept
        if not p.name.startswith(("evaluation-", "predictions-"))
    }


def test_the_quick_demo_runs_through_and_is_not_trained_twice(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emotailor", "demo", "--quick", "--out", str(tmp_path / "é d")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for part in (
        "1. Data", "2. Training", "epoch   2", "3. Test", "logistic regression",
        "4. Three predictions", "truth of test-000002", "Done",
    ):  # fmt: skip
        assert part in done.stdout
    assert f"emotailor evaluate '{tmp_path / 'é d' / 'quick-run'}'" in done.stdout
    before = modified(tmp_path)
    assert len(before) > 6
    again = run_cli("demo", "--quick", "--out", tmp_path / "é d")
    assert (again.code, again.err) == (0, "")
    assert "is already trained; nothing to do" in again.out
    assert modified(tmp_path) == before
    # the same numbers, whether just trained or found
    assert again.out[again.out.index("3. Test") :] == done.stdout[done.stdout.index("3. Test") :]


def test_the_data_are_made_once_and_again_when_they_should_differ(tmp_path: Path) -> None:
    small = {"train": 5, "valid": 2, "test": 2, "visual_dim": 3, "audio_dim": 3, "text_dim": 3}
    config = SyntheticConfig(**small)
    demo_data(tmp_path / "data", config)
    first = read_card(tmp_path / "data")
    written = modified(tmp_path)
    demo_data(tmp_path / "data", config)
    assert modified(tmp_path) == written
    demo_data(tmp_path / "data", config.replace(seed=1))
    assert read_card(tmp_path / "data").fingerprint != first.fingerprint


def test_what_is_no_data_set_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match=r"no synthetic data set.*thesis.txt"):
        demo_data(tmp_path / "data", SyntheticConfig(train=2, valid=0, test=0))
    assert (tmp_path / "data" / "thesis.txt").read_text() == "dear"


def test_the_example_file_is_what_the_demo_trains() -> None:
    from pathlib import Path

    from emotailor.commands.demo import MODEL, TRAINING
    from emotailor.config import read_toml

    example = read_toml(Path(__file__).resolve().parents[2] / "examples" / "small.toml")
    assert example == {"model": MODEL, "training": TRAINING}


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
    before = modified(tmp_path)
    with pytest.raises(DataError, match=r"data is no synthetic data set.*dataset.json"):
        demo_data(tmp_path / "data", SyntheticConfig(train=2, valid=0, test=0))
    assert modified(tmp_path) == before
