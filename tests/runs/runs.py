"""A tiny trained run, and the command line called in this process, for many tests."""

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult
from tests.helpers import SMALL

MODEL = {**SMALL.to_json(), "initial_std": 0.2}
TRAINING = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu", "seed": 5}

TOML = "\n".join(
    f"{table}\n"
    + "\n".join(
        f"{k} = {str(v).lower() if isinstance(v, bool) else v!r}" for k, v in values.items()
    )
    for table, values in (("[model]", MODEL), ("[training]", TRAINING))
)
"""The same settings as a file for ``--config``."""


def tiny_config(data: Path, **training: Any) -> RunConfig:
    return RunConfig.build(
        {"data": {"path": str(data)}, "model": MODEL, "training": {**TRAINING, **training}}
    )


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute with some number of threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """Tiny models lose much time where more threads than free cores wait for each other."""
    return threads(1)


def check_two_processes(
    settings: Mapping[str, Any], alone: TrainResult, home: Path
) -> subprocess.CompletedProcess[str]:
    """Train in two processes by the command, and find the validation losses of one process.

    Args:
        settings: of the training.
        alone: what one process made of them.
        home: an empty folder.
    """
    file = home / "settings.json"
    file.write_text(json.dumps({k: v for k, v in settings.items() if k not in ("system", "data")}))
    out = home / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["-m", "emotailor", "train", "--data", settings["data"]["path"]]
    done = subprocess.run(
        [*launch, *command, "--config", str(file), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    lines = (out / "metrics.jsonl").read_text().splitlines()
    for record, line in zip(alone.history, lines, strict=True):
        together = json.loads(line)
        assert together["valid"]["loss"] == pytest.approx(record.valid["loss"], rel=1e-4)
    return done


def train_tiny(data: Path, run: Path, **training: Any) -> Path:
    from emotailor.training.run import train

    with one_thread():
        train(tiny_config(data, **training), run)
    return run


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    def failed(self, code: int, *parts: str) -> None:
        """Check that the command ended in one clear message and printed no result."""
        assert self.code == code, self.out + self.err
        assert "Traceback" not in self.err
        assert self.err.startswith("error: ")
        assert self.err.count("error: ") == 1
        for part in parts:
            assert part in self.err, self.err


def run_cli(*arguments: str | Path, width: int = 80) -> Outcome:
    """Call ``emotailor ARGUMENTS`` in this process, as in a terminal ``width`` columns wide."""
    from emotailor import cli

    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
        one_thread(),
    ):
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["emotailor", *map(str, arguments)])
        patch.setenv("COLUMNS", str(width))
        patch.setattr(cli.out, "_width", width)
        patch.setattr(cli.err, "_width", width)
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())
