"""Every system is trained, stopped, continued, evaluated and used by the same calls."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emotailor.data.store import open_dataset
from emotailor.errors import InterruptedRunError
from emotailor.models.table import SYSTEMS
from emotailor.runs.evaluate import evaluate_run
from emotailor.serving.predictor import Predictor
from emotailor.training.history import EpochRecord
from emotailor.training.progress import Reporter
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from tests.systems import TINY

FITTED = ("br", "lp", "cc")


class StopAfter(Reporter):
    """Asks this process to stop once an epoch is done."""

    def epoch(self, record: EpochRecord, *, best: bool) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def config(name: str, data: Path) -> RunConfig:
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, "device": "cpu", "seed": 5}
    layers = {"data": {"path": str(data)}, "model": TINY[name], "training": training}
    return RunConfig.build(layers, system=name)


def tensors(run: Path) -> dict[str, torch.Tensor]:
    (file,) = (run / "model").glob("weights-*.safetensors")
    found = load_file(file)

    # the newest checkpoint; the one before it stays beside it, and a fitted system has no tensors
    newest = json.loads((run / "checkpoint" / "state.json").read_text())["file"]
    if newest:
        state = load_file(run / "checkpoint" / newest)
        found |= {f"state.{name}": tensor for name, tensor in state.items()}
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_stopped_and_continued_it_ends_with_the_same_bits(
    name: str, data: Path, tmp_path: Path
) -> None:
    whole = train(config(name, data), tmp_path / "whole")
    if name in FITTED:
        assert len(whole.history) == 1
    else:
        with pytest.raises(InterruptedRunError):
            train(config(name, data), tmp_path / "parts", StopAfter())
        assert not (tmp_path / "parts" / "model" / "weights.safetensors").exists()
    train(config(name, data), tmp_path / "parts")
    expected, found = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key

    result = evaluate_run(tmp_path / "whole", resamples=0)
    assert 0 <= result.metrics.micro_f1 <= 1
    split = open_dataset(data)["test"]
    predictions = Predictor.load(tmp_path / "whole").predict(split)
    given = [[p.probabilities[label] for label in result.metrics.labels] for p in predictions]
    np.testing.assert_allclose(given, result.probabilities, atol=1e-6)
