"""What a training is expected to cost: what is timed, what is added up, what is left behind."""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.data.batching import epoch_batches
from emotailor.errors import ConfigError
from emotailor.training import timing
from emotailor.training.run_config import RunConfig
from emotailor.training.timing import Speed, time_training
from tests.runs.runs import tiny_config


@pytest.fixture(autouse=True)
def temporary_files_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def clocked(monkeypatch: pytest.MonkeyPatch, seconds_per_step: float) -> list[np.ndarray]:
    """Let every batch take a time that grows with its steps; return the batches computed."""
    computed: list[np.ndarray] = []
    now = [0.0]

    def make_update(stopwatch: Any, batches: list[np.ndarray], _: int) -> None:
        computed.extend(batches)
        now[0] += seconds_per_step * sum(stopwatch.work(batch) for batch in batches)

    monkeypatch.setattr(timing._Stopwatch, "make_update", make_update)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return computed


def test_the_whole_is_added_up() -> None:
    assert Speed(2.0, 3.0, 0.5, 7, 11).seconds == 2 + 11 * (3 + 7 * 0.5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_time_grows_with_the_steps(
    data: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    from emotailor.data.store import open_dataset

    computed = clocked(monkeypatch, 0.01)
    config = tiny_config(data, epochs=13, batch_size=5, accumulate=accumulate)
    found = time_training(config, 1, budget=0.0)
    split = open_dataset(data)["train"]
    lengths = split.lengths("text")
    warm, *timed = computed[accumulate - 1 :]
    assert len(timed) == accumulate
    assert len(warm) == 2  # two samples make ready what the others find
    # every batch has 5 of the 23 samples, the last 3; three modalities of the same length
    order = epoch_batches(lengths, 5, seed=5, epoch=0)
    whole = sum(len(b) * 3 * lengths[b].max() for b in order)
    assert found.epoch == pytest.approx(0.01 * whole)
    work = np.array([len(b) * lengths[b].max() for b in order])
    nearest = min(abs(work - work.mean()))
    assert abs(len(timed[0]) * lengths[timed[0]].max() - work.mean()) == nearest
    assert (found.valid, found.epochs) == (11, 13)


def test_budget(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = clocked(monkeypatch, 1e-9)
    time_training(tiny_config(data), 1, budget=1.0)
    assert len(computed) == 1 + timing.MOST_STEPS


def test_nothing_is_left_behind(data: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    found = time_training(tiny_config(data), 1, budget=0.0)
    assert torch.get_num_threads() == before
    assert list(tmp_path.iterdir()) == []
    assert min(found.setup, found.epoch, found.sample) > 0
    with pytest.raises(ConfigError, match="cuda:99"):
        time_training(tiny_config(data, device="cuda:99"), 1)
    assert list(tmp_path.iterdir()) == []


def test_fitted_systems(data: Path) -> None:
    config = RunConfig.build({"data": {"path": str(data)}}, system="br")
    found = time_training(config, 1)
    assert (found.epochs, found.valid) == (1, 11)
    assert min(found.setup, found.epoch, found.sample) > 0


def test_a_signal_ends_the_timing_at_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    made: list[int] = []

    def update(*_: Any) -> None:
        made.append(1)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(timing._Stopwatch, "make_update", update)
    with pytest.raises(KeyboardInterrupt):
        time_training(tiny_config(data), 1, budget=60.0)
    assert len(made) == 1


def test_the_start_of_a_process_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: ran.append(command))
    assert timing.time_start() >= 0
    code = ran[0][-1]
    exec(compile(code, "start", "exec"), {})  # what the process would do works
