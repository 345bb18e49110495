"""What a training needs by its sizes: hand-computed, and against what it really stores."""

from pathlib import Path

import pytest

from emotailor.data.store import open_dataset
from emotailor.models.factory import build_model
from emotailor.models.table import SYSTEMS
from emotailor.training import sizes
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from emotailor.training.sizes import RunSize, estimate_speed, size_of
from tests.runs.runs import tiny_config


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def test_a_speed_by_hand(data: Path) -> None:
    config = tiny_config(data, epochs=13, batch_size=8, accumulate=2)
    size = RunSize(parameters=1000, frozen=0, samples=32, steps=320.0, valid=11, has_average=False)
    speed = estimate_speed(size, config, rate=2e6)
    assert speed is not None
    # 6 operations x 1000 parameters x 320 steps, at half of 2e6 a second, and 2 updates
    assert speed.epoch == pytest.approx(6 * 1000 * 320 / 1e6 + 2 * 0.01)
    assert speed.sample == pytest.approx(2 * 1000 * 10 / 1e6)
    assert speed.seconds == pytest.approx(13 * (1.94 + 11 * 0.02))


def test_steps_and_parameters(data: Path) -> None:
    config = tiny_config(data)
    dataset = open_dataset(data)
    size = size_of(config, dataset)
    train_split = dataset["train"]
    steps = [train_split.lengths(m).sum() for m in dataset.dims]
    assert size.steps == pytest.approx(sum(steps) / 3)
    assert (size.samples, size.valid) == (23, 11)
    model = build_model("tailor", config.model, dataset.dims, len(dataset.label_names))
    assert size.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_has_a_size(data: Path, system: str) -> None:
    config = RunConfig.build({"data": {"path": str(data)}}, system=system)
    size = size_of(config, open_dataset(data))
    speed = estimate_speed(size, config, rate=1e9)
    if system in ("br", "lp", "cc"):
        assert (size.parameters, speed) == (0, None)
    else:
        assert speed is not None
        assert speed.seconds > 0


def test_what_a_finished_run_keeps(data: Path, tmp_path: Path) -> None:
    """The model once where a later epoch was worse, and twice where the last one was best."""
    config = tiny_config(data, epochs=1)
    size = size_of(config, open_dataset(data))
    train(config, tmp_path / "run")
    stored = bytes_in(tmp_path / "run" / "model") + bytes_in(tmp_path / "run" / "checkpoint")
    assert size.stored <= stored < 1.5 * size.stored

    config = tiny_config(data, epochs=60, patience=2, learning_rate=1e-7)
    train(config, tmp_path / "earlier")
    assert list((tmp_path / "earlier" / "checkpoint").glob("*.safetensors")) == []
    assert bytes_in(tmp_path / "earlier" / "model") < 0.75 * size.stored


def test_a_model_is_built_once_for_all_its_runs(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(data, seed=1)
    dataset = open_dataset(data)
    first = size_of(config, dataset)
    monkeypatch.setattr(sizes, "build_model", None)
    assert size_of(tiny_config(data, seed=2), dataset) == first
    with pytest.raises(TypeError):
        size_of(config.replace(model={**config.model.to_json(), "dropout": 0.4}), dataset)
