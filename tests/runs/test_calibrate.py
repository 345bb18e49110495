"""Scaling stored with a model: probabilities change, decisions do not, and it can be undone."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotailor.data.store import open_dataset, write_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.evaluation.calibration import calibration
from emotailor.folders import held
from emotailor.runs.calibrate import calibrate_run
from emotailor.runs.evaluate import evaluate_run
from emotailor.runs.run import Run
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import read_model_card
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import run_cli, train_tiny


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(data, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_every_reader_sees_scaled_probabilities_and_the_same_decisions(
    data: Path, run: Path, method: str
) -> None:
    before = evaluate_run(run, resamples=0)
    card = run / "model" / "model.json"
    text = card.read_bytes()
    split = open_dataset(data)["test"]
    plain = Predictor.load(run, device="cpu").predict([split.sample(2)], explain=True)[0]

    result = calibrate_run(run, method=method, device="cpu")  # type: ignore[arg-type]
    assert result.scaling is not None
    assert [effect.changed for effect in result.effects.values()] == [0, 0]
    stored = Run.open(run)
    assert stored.model.scaled is not None
    assert stored.model.scaled.scaling == result.scaling
    assert stored.model.scaled.data["samples"] == 11
    assert stored.evaluation() is None  # what is stored is of other probabilities

    after = evaluate_run(run, resamples=0)
    scaled = result.scaling.apply(before.probabilities, LABELS)
    np.testing.assert_allclose(after.probabilities, scaled, atol=1e-12)
    assert np.abs(after.probabilities - before.probabilities).max() > 0.001
    for mode, metrics in before.by_mode.items():
        for name, value in metrics.overall().items():
            assert after.by_mode[mode].overall()[name] == value, (mode, name)
    assert result.effects["test"].before == calibration(before.labels, before.probabilities, LABELS)
    assert result.effects["test"].after == calibration(after.labels, after.probabilities, LABELS)
    assert stored.stored_results(dataset=open_dataset(data), device="cpu") is not None

    # one sample alone, and its evidence in the same log-odds
    found = Predictor.load(run, device="cpu").predict([split.sample(2)], explain=True)[0]
    assert found.decisions == plain.decisions
    assert found.thresholds == stored.model.thresholds["tuned"].values
    assert found.explanation is not None
    assert plain.explanation is not None
    for name in LABELS:
        assert found.probabilities[name] == pytest.approx(
            after.probabilities[2][LABELS.index(name)]
        )
        slope = result.scaling.slopes[name]
        for m, drop in plain.explanation.modalities[name].items():
            assert found.explanation.modalities[name][m] == pytest.approx(slope * drop, abs=1e-6)

    # scaled again it is not scaled twice, and what was before comes back to the byte
    again = calibrate_run(run, method=method, device="cpu")  # type: ignore[arg-type]
    assert again.scaling == result.scaling
    undone = calibrate_run(run, method="none")
    assert undone.scaling is None
    assert card.read_bytes() == text
    np.testing.assert_array_equal(
        evaluate_run(run, resamples=0).probabilities, before.probabilities
    )


def test_the_command(run: Path, data: Path) -> None:
    done = run_cli("calibrate", run, "--method", "platt", "--device", "cpu")
    assert done.code == 0, done.err
    assert "fitted on 11 samples of valid" in " ".join(done.out.split())
    assert read_model_card(run / "model").scaled is not None

    # the weights are untouched, and a training finds nothing to do
    values = json.loads((run / "model" / "model.json").read_text())
    assert (run / "model" / values["weights"]["file"]).is_file()
    assert run_cli("calibrate", run, "--method", "none").code == 0
    assert read_model_card(run / "model").scaled is None


def test_what_cannot_be_scaled(run: Path, tmp_path: Path) -> None:
    with held(run), pytest.raises(ConfigError, match="another process"):
        calibrate_run(run)
    unlabelled = [replace(sample, labels=None) for sample in random_samples(5)]
    write_dataset(
        tmp_path / "none",
        {"train": random_samples(7, prefix="other"), "valid": unlabelled},
        name="none",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )
    text = (run / "model" / "model.json").read_bytes()
    with pytest.raises(DataError, match="no sample of split 'valid' has labels"):
        calibrate_run(run, data=tmp_path / "none", device="cpu")
    assert (run / "model" / "model.json").read_bytes() == text
