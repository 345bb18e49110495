"""Modalities that are hidden in training: how often, never all, and the same when resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch

import emotailor
from emotailor.data.batching import collate
from emotailor.errors import ConfigError
from emotailor.training.feeding import Feeder
from emotailor.training.history import EpochRecord
from emotailor.training.modality_dropout import hide, shown_modalities
from emotailor.training.model_folder import load_model
from emotailor.training.progress import Reporter
from emotailor.training.setup import TrainingData
from tests.helpers import DIMS, random_samples
from tests.runs.runs import MODEL, TRAINING, one_thread, tiny_config


def test_how_often_and_never_all() -> None:
    n = 30_000
    present = {m: np.ones(n, np.bool_) for m in DIMS}
    present["audio"][: n // 2] = False
    present["visual"][:10] = False
    present["text"][:5] = False
    shown = shown_modalities(present, 0.3, seed=1, epoch=0)
    table = np.stack(list(shown.values()))
    assert not (table & ~np.stack(list(present.values()))).any()
    assert table[:, 5:].any(0).all()
    assert not table[:, :5].any()  # those have nothing

    # of three, all are lost with .027, and then one stays: each of them as often
    all_three = table[:, n // 2 :]
    assert all_three.mean(1) == pytest.approx([0.7 + 0.027 / 3] * 3, abs=0.012)
    pairs = table[:, 10 : n // 2]
    assert pairs[[0, 2]].mean(1) == pytest.approx([0.7 + 0.09 / 2] * 2, abs=0.012)
    assert (shown_modalities(present, 0.0, seed=1, epoch=0)["audio"] == present["audio"]).all()


def test_another_draw_every_epoch_and_the_same_again() -> None:
    present = {m: np.ones(1000, np.bool_) for m in DIMS}
    first, again, other, seeded = (
        np.stack(list(shown_modalities(present, 0.5, seed=seed, epoch=epoch).values()))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (first != seeded).any()


def test_hidden_is_missing() -> None:
    batch = collate(random_samples(7), DIMS, aligned=True)
    seen = np.arange(7) % 2 == 0
    found = hide(batch, {"visual": seen, "text": np.ones(7, np.bool_)})
    assert torch.equal(found.masks["text"], batch.masks["text"])
    assert torch.equal(found.masks["visual"][::2], batch.masks["visual"][::2])
    assert not found.masks["visual"][1::2].any()
    assert not found.values["visual"][1::2].any()
    assert torch.equal(found.values["visual"][::2], batch.values["visual"][::2])


def test_the_feeder_hides_and_evaluation_does_not(data: Path) -> None:
    config = tiny_config(data, modality_dropout=0.5)
    prepared = TrainingData(config, Reporter())
    feeder = Feeder(prepared, torch.device("cpu"))
    numbers = np.arange(len(prepared.positions))
    whole = feeder.batch(numbers)
    feeder.begin_epoch(0)
    part = feeder.batch(numbers)
    there = {m: mask.any(1) for m, mask in whole.masks.items()}
    seen = {m: mask.any(1) for m, mask in part.masks.items()}
    hidden = sum(int((there[m] & ~seen[m]).sum()) for m in DIMS)
    assert hidden > 10
    assert torch.stack(list(seen.values())).any(0).all()

    # the same samples, in another order
    turned = feeder.batch(numbers[::-1].copy())
    assert torch.equal(turned.masks["audio"].any(1).flip(0), seen["audio"])


def test_resumed_in_the_second_epoch_it_hides_the_same(data: Path, tmp_path: Path) -> None:
    settings = {
        "data": {"path": str(data)},
        "model": MODEL,
        "training": {**TRAINING, "modality_dropout": 0.4},
    }

    def stop(record: EpochRecord) -> None:
        raise RuntimeError(record.epoch)

    with one_thread():
        whole = emotailor.train(settings, tmp_path / "whole")
        with pytest.raises(RuntimeError):
            emotailor.train(settings, tmp_path / "run", on_epoch=stop)
        resumed = emotailor.train(settings, tmp_path / "run")
    expected = load_model(whole.run).model.state_dict()
    found = load_model(resumed.run).model.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_where_nothing_would_come_of_it(data: Path, tmp_path: Path) -> None:
    one = {"data": {"path": str(data), "modalities": ("text",)}}
    training = {"training": {**TRAINING, "modality_dropout": 0.4}}
    with pytest.raises(ConfigError, match="takes text alone"):
        emotailor.train({**one, **training}, tmp_path / "run")
    with pytest.raises(ConfigError, match="fitted at once"):
        emotailor.train({"data": {"path": str(data)}, **training}, tmp_path / "run", model="br")
