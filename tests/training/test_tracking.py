"""Trackers are told what the files of a training say, and nothing where nobody asks."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.errors import ConfigError, InterruptedRunError
from emotailor.training.history import read_history
from emotailor.training.run import train
from emotailor.training.tracking import FOLDER, check_tracker, flat_settings, track_images
from tests.training.test_loop import StopAt, config


def scalars(run: Path) -> dict[str, dict[int, float]]:
    """Title -> step -> value, read from the event files of TensorBoard."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / FOLDER), size_guidance={"scalars": 0})
    events.Reload()
    return {
        title: {event.step: event.value for event in events.Scalars(title)}
        for title in events.Tags()["scalars"]
    }


def test_tensorboard_has_the_numbers_of_the_history(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = config(data, batch_size=2)
    train(settings, run, track="tensorboard")

    found = scalars(run)
    history = read_history(run)
    assert len(history) == settings.training.epochs
    for record in history:
        for name, value in record.train.items():
            assert found[f"epoch_train/{name}"][record.step] == np.float32(value)
        for name, score in record.valid.items():
            if score is not None:
                assert found[f"valid/{name}"][record.step] == np.float32(score)
        # the last of an epoch is the mean of the epoch
        assert found["train/total"][record.step] == np.float32(record.train["total"])
    assert {*found} >= {"samples_per_second", "learning_rate", "seconds", "epoch"}
    assert all(speed > 0 for speed in found["samples_per_second"].values())
    rates = found["learning_rate"]
    assert max(rates.values()) <= np.float32(settings.training.learning_rate)
    assert list(rates) == list(found["train/total"])


def test_a_training_that_goes_on_goes_on_in_its_tracker(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = config(data, batch_size=2)
    with pytest.raises(InterruptedRunError):
        train(settings, run, StopAt(20), track="tensorboard")
    before = scalars(run)["train/total"]
    assert before
    train(settings, run, track="tensorboard")
    after = scalars(run)["train/total"]
    assert {step: after[step] for step in before} == before
    assert max(after) == read_history(run)[-1].step


def test_nothing_is_tracked_by_default(data: Path, tmp_path: Path) -> None:
    train(config(data, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run" / FOLDER).exists()


class Kept:
    """A tracker that keeps what it is told."""

    name = "kept"
    requires_logging_directory = False
    made: "list[Kept]" = []  # noqa: RUF012

    def __init__(self, run_name: str) -> None:
        self.run_name = run_name
        self.settings: dict[str, Any] = {}
        self.steps: list[int] = []
        self.images: dict[str, tuple[int, ...]] = {}
        self.is_open = False
        Kept.made.append(self)

    def start(self) -> None:
        self.is_open = True

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int) -> None:
        assert self.is_open and values
        self.steps.append(step)

    def log_images(self, values: dict[str, Any], step: int) -> None:
        self.images |= {title: image.shape for title, image in values.items()}

    def finish(self) -> None:
        self.is_open = False


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Kept]]:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "kept", Kept)
    Kept.made.clear()
    yield Kept.made
    Kept.made.clear()


def test_a_tracker_of_others(data: Path, tmp_path: Path, kept: list[Kept]) -> None:
    settings = config(data, epochs=2)
    train(settings, tmp_path / "mine", track="kept")
    (tracker,) = kept
    assert tracker.run_name == "mine"
    assert tracker.settings == flat_settings(settings)
    assert tracker.settings["training.epochs"] == 2
    assert tracker.settings["data.path"] == str(data)
    assert not tracker.is_open
    assert tracker.steps == sorted(tracker.steps)

    # what is trained already is told nobody
    train(settings, tmp_path / "mine", track="kept")
    assert len(kept) == 1


def test_a_tracker_is_closed_where_a_training_stops(
    data: Path, tmp_path: Path, kept: list[Kept]
) -> None:
    with pytest.raises(InterruptedRunError):
        train(config(data, batch_size=2), tmp_path / "run", StopAt(20), track="kept")
    assert [one.is_open for one in kept] == [False]


def test_pictures(tmp_path: Path, kept: list[Kept]) -> None:
    from matplotlib.image import imsave

    imsave(tmp_path / "a.png", np.zeros((5, 7, 4)))
    assert track_images("kept", tmp_path, {"a": tmp_path / "a.png"}, 3)
    assert kept[0].images == {"a": (1, 5, 7, 3)}
    assert not kept[0].is_open


def test_a_fitted_system_is_tracked(data: Path, tmp_path: Path, kept: list[Kept]) -> None:
    train({"data": {"path": str(data)}}, tmp_path / "br", model="br", track="kept")
    assert kept[0].steps == [1]


def test_trackers_that_are_not_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: list[Kept]
) -> None:
    with pytest.raises(ConfigError, match="no tracker is called 'tensorbord'") as caught:
        check_tracker("tensorbord")
    assert "tensorboard" in str(caught.value)

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(ConfigError, match="needs the package wandb"):
        train(config(data), tmp_path / "run", track="wandb")
    assert not (tmp_path / "run").exists()

    def refuse(_: Kept) -> None:
        raise RuntimeError("you are not logged in")

    monkeypatch.setattr(Kept, "start", refuse)
    with pytest.raises(ConfigError, match="kept does not start: you are not logged in"):
        train(config(data, epochs=1), tmp_path / "other", track="kept")
