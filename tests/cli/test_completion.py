"""What Tab offers, as a shell asks for it, and how light that is."""

import subprocess
import sys
from pathlib import Path

import pytest

from emotailor.data.readers import FORMATS
from emotailor.models.table import SYSTEMS
from tests.helpers import small_dataset
from tests.runs.runs import run_cli


def offered(monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    """Return what bash is offered behind a line; the last word may be incomplete."""
    words = line.split(" ")
    monkeypatch.setenv("_EMOTAILOR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    return run_cli().out.split()


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "emotailor train --model ") == list(SYSTEMS)
    assert offered(monkeypatch, "emotailor train --model mu") == ["mult"]
    assert offered(monkeypatch, "emotailor models show ta") == ["tailor"]
    assert offered(monkeypatch, "emotailor benchmark --models mu") == ["mult"]
    assert offered(monkeypatch, "emotailor benchmark --models br,mu") == ["br,mult"]
    assert "all" in offered(monkeypatch, "emotailor benchmark --models ")
    assert "identical" in offered(monkeypatch, "emotailor ablate --variants ")
    assert {"paper", "authors"} <= set(offered(monkeypatch, "emotailor train --preset "))
    assert offered(monkeypatch, "emotailor evaluate --thresholds per") == ["per_label"]
    assert offered(monkeypatch, "emotailor evaluate --thresholds m") == ["macro"]
    assert offered(monkeypatch, "emotailor train --modalities v") == ["visual"]
    assert offered(monkeypatch, "emotailor train --modalities v,t") == ["v,text"]
    assert offered(monkeypatch, "emotailor train --device cu") == ["cuda"]
    assert offered(monkeypatch, "emotailor evaluate --split ") == ["train", "valid", "test"]
    assert offered(monkeypatch, "emotailor data convert --format ") == list(FORMATS)
    assert "--epochs" in offered(monkeypatch, "emotailor train --ep")


def test_folders_that_fit_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small_dataset(tmp_path / "data" / "mine", train=5, valid=3, test=2)
    for folder in ("runs/first/model", "runs/bench/tailor/seed42/model", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    for run in ("first", "bench/tailor/seed42"):
        (tmp_path / "runs" / run / "model" / "model.json").touch()
    (tmp_path / "runs" / "bench" / "benchmark.json").touch()
    monkeypatch.chdir(tmp_path)

    runs = ["runs/bench/tailor/seed42", "runs/first"]
    found = offered(monkeypatch, "emotailor evaluate ")
    assert [name for name in found if not name.endswith("/model")] == runs
    assert offered(monkeypatch, "emotailor predict runs/f")[0] == "runs/first"
    assert "runs/bench" in offered(monkeypatch, "emotailor report ")
    assert "runs/bench" not in offered(monkeypatch, "emotailor evaluate ")
    assert offered(monkeypatch, "emotailor train --data ") == ["data/mine"]
    assert offered(monkeypatch, "emotailor train --data data/x") == []
    line = "emotailor evaluate --data data/mine --split "
    assert offered(monkeypatch, line) == ["train", "valid", "test"]


def test_nothing_heavy_is_loaded_for_it() -> None:
    program = (
        "import sys\n"
        "from emotailor.cli import completion\n"
        "names = [name for name, _ in completion.systems('')]\n"
        "assert 'tailor' in names\n"
        "completion.splits\n"
        "assert not {'torch', 'sklearn', 'matplotlib', 'accelerate'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
