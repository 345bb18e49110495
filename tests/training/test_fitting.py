"""Systems that are fitted at once: the same commands and the same run folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emotailor.data.store import open_dataset, write_dataset
from emotailor.data.synthetic import SyntheticConfig, synthesize
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.models.classic.model import ClassifierChain, LabelPowerset
from emotailor.serving.predictor import Predictor
from emotailor.training.fitting import Fitter
from emotailor.training.history import read_history
from emotailor.training.loop import Trainer
from emotailor.training.model_folder import load_model
from emotailor.training.progress import Reporter
from emotailor.training.run import start, train
from emotailor.training.run_config import RunConfig
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import run_cli

NAMES = ("br", "lp", "cc")


def config(data: Path, name: str = "br", **layers: Any) -> RunConfig:
    return RunConfig.build({"data": {"path": str(data)}}, layers, system=name)


def written(run: Path) -> dict[str, int]:
    """When each file was written last."""
    files = [p for p in run.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p): p.stat().st_mtime_ns for p in files}


class Told(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learnable data, a fifth of its modalities missing."""
    path = tmp_path_factory.mktemp("synthetic") / "data"
    sizes = {"train": 90, "valid": 31, "test": 23, "visual_dim": 5, "audio_dim": 7, "text_dim": 11}
    synthesize(SyntheticConfig(**sizes, missing=0.2, noise=0.1), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_trained_evaluated_and_asked_on_the_command_line(
    name: str, synthetic: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("train", "--model", name, "--data", synthetic, "--out", run, "--set", "model.C=0.1")
    first = run_cli(*command)
    assert (first.code, first.err) == (0, "")
    assert f"{name} on synthetic-aligned (90 samples; visual, audio, text), seed 42" in first.out
    assert "best epoch 1: validation micro-F1 0." in first.out
    assert {p.name for p in run.iterdir()} == {
        ".lock", "checkpoint", "config.json", "metrics.jsonl", "model",
    }  # fmt: skip
    (record,) = read_history(run)
    assert (record.epoch, record.step) == (1, 1)
    mean_roc_auc = record.valid["mean_roc_auc"]
    assert mean_roc_auc is not None and mean_roc_auc > 0.6
    card = load_model(run).card
    assert set(card.thresholds) == {"fixed", "tuned", "per_label", "macro", "share"}
    assert set(card.thresholds["fixed"].values.values()) == {0.5}
    # again: nothing to do; other settings: another run
    before = written(run)
    again = run_cli(*command)
    assert again.code == 0
    assert "is already trained; nothing to do" in again.out
    assert written(run) == before
    run_cli(*command[:-1], "model.C=0.2").failed(
        3, "config.model.C: 0.1 there, 0.2 now", "--config"
    )
    assert written(run) == before

    # its own settings, as the refusal advises, resume it whatever the defaults are now
    advised = run_cli(*command[:-2], "--preset", "paper", "--config", run / "config.json")
    assert (advised.code, advised.err) == (0, "")
    assert "is already trained; nothing to do" in advised.out
    evaluated = run_cli("evaluate", run)
    assert (evaluated.code, evaluated.err) == (0, "")
    stored = json.loads((run / "evaluation-test.json").read_text())
    assert stored["metrics"]["tuned"]["mean_roc_auc"] > 0.6
    asked = run_cli("predict", run, synthetic, "--limit", "2", "--explain")
    assert (asked.code, asked.err) == (0, "")
    assert "evidence" in asked.out


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_model_is_the_fitted_one(name: str, data: Path, tmp_path: Path) -> None:
    """As if it had been fitted by hand on the standardised training split."""
    fitter = start(config(data, name), tmp_path / "run")
    assert isinstance(fitter, Fitter)
    fitter.train()
    by_hand: Any = fitter.data.build()
    by_hand.fit([fitter.data.batch(np.arange(23))])
    loaded: Any = load_model(tmp_path / "run")
    for key, tensor in by_hand.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[key], tensor, atol=1e-5, rtol=1e-4)
    if isinstance(by_hand, LabelPowerset):
        held = np.unique(open_dataset(data)["train"].labels, axis=0)
        assert loaded.model.sets.tolist() == held.tolist()
    assert loaded.standardizer is not None
    # nothing of a fit is chance, the seed included
    train(config(data, name, training={"seed": 6, "batch_size": 5}), tmp_path / "other")
    test = open_dataset(data)["test"]
    one, two = (Predictor.load(tmp_path / run).predict_proba(test) for run in ("run", "other"))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_seed_draws_the_orders_of_several_chains(data: Path, tmp_path: Path) -> None:
    orders = []
    for run, seed in (("a", 5), ("b", 5), ("c", 7)):
        settings = config(data, "cc", model={"chains": 4}, training={"seed": seed})
        train(settings, tmp_path / run)
        model = load_model(tmp_path / run).model
        assert isinstance(model, ClassifierChain)
        orders.append(model.orders.tolist())
    assert orders[0] == orders[1] != orders[2]


def test_a_given_order_is_one_of_labels_by_name(data: Path, tmp_path: Path) -> None:
    order = [LABELS[k] for k in (2, 0, 1)]
    train(config(data, "cc", model={"order": order}), tmp_path / "run")
    model: Any = load_model(tmp_path / "run").model
    assert model.orders.tolist() == [[2, 0, 1]]
    with pytest.raises(ModelError, match=r"model\.order = happy, sad"):
        train(config(data, "cc", model={"order": ["happy", "sad"]}), tmp_path / "wrong")


def test_a_fit_that_was_stopped_is_done_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emotailor.training import fitting

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    run = tmp_path / "run"
    for step in ("validate", "save_model", "save_progress"):
        with monkeypatch.context() as patch:
            patch.setattr(fitting, step, stopped)
            with pytest.raises(KeyboardInterrupt):
                train(config(data), run)
    assert train(config(data), run).best.epoch == 1
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_fitted_model_that_was_damaged_is_fitted_again(data: Path, tmp_path: Path) -> None:
    run, told = tmp_path / "run", Told()
    first = train(config(data), run)
    (file,) = (run / "model").glob("weights-*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    again = train(config(data), run, told)
    assert again.best.model_copy(update={"seconds": first.best.seconds}) == first.best
    assert file.read_bytes() == whole
    wrong = f"{file} is damaged: its SHA-256 differs"
    assert told.lines == [f"{wrong}; it is fitted again"]
    train(config(data), run, told)
    assert told.lines[1:] == [f"{run} is already trained; nothing to do"]


def test_labels_that_never_or_always_hold(tmp_path: Path) -> None:
    """In a whole run: a constant label has finite scores everywhere."""
    samples = random_samples(30, seed=3)
    for sample in samples:
        assert sample.labels is not None
        sample.labels[0], sample.labels[2] = 0, 1
    write_dataset(
        tmp_path / "data",
        {"train": samples[:20], "valid": samples[20:25], "test": samples[25:]},
        name="constant",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )
    for name in NAMES:
        train(config(tmp_path / "data", name), tmp_path / name)
        predictions = Predictor.load(tmp_path / name).predict(samples[25:], explain=True)
        for prediction in predictions:
            assert prediction.probabilities["happy"] < 1e-10
            assert prediction.probabilities["angry"] > 1 - 1e-6
            assert prediction.explanation is not None
            assert set(prediction.explanation.modalities["happy"].values()) == {0.0}


def test_unaligned_data_need_no_aligning(tmp_path: Path) -> None:
    sizes = {"train": 20, "valid": 9, "test": 5, "visual_dim": 3, "audio_dim": 2, "text_dim": 5}
    synthesize(SyntheticConfig(**sizes, aligned=False), tmp_path / "data")
    for name in NAMES:
        result = train(config(tmp_path / "data", name), tmp_path / name)
        assert load_model(result.run).card.alignment.kind == "none"


def test_what_cannot_be_fitted_says_so(data: Path, tmp_path: Path) -> None:
    assert isinstance(start(config(data, "tailor"), tmp_path / "neural"), Trainer)
    with pytest.raises(ModelError, match="tailor is trained by gradients"):
        Fitter(config(data, "tailor"), tmp_path / "neural").train()
    with pytest.raises(DataError, match="no data set"):
        Fitter(config(tmp_path / "absent"), tmp_path / "run")
    with pytest.raises(ConfigError, match="threshold = 2"):
        config(data, training={"threshold": 2})
