"""A training from Python: what it shows, what a callback sees, and how a callback ends it."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import emotailor
from emotailor.training.checkpoint import read_progress
from emotailor.training.history import EpochRecord, read_history
from tests.evaluation.fake_pandas import with_fake_pandas
from tests.helpers import small_dataset
from tests.runs.runs import one_thread, tiny_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data"
    small_dataset(path, train=17, valid=11, test=5)
    return path


def train(
    data: Path, run: Path, on_epoch: Callable[[EpochRecord], bool | None], epochs: int = 4
) -> emotailor.TrainResult:
    with one_thread():
        return emotailor.train(tiny_config(data, epochs=epochs), run, on_epoch=on_epoch)


def test_every_epoch_is_told_when_its_model_is_stored(data: Path, tmp_path: Path) -> None:
    seen: list[EpochRecord] = []

    def look(record: EpochRecord) -> None:
        assert (tmp_path / "run" / "model" / "model.json").is_file()
        assert read_history(tmp_path / "run") == [*seen, record]
        seen.append(record)

    result = train(data, tmp_path / "run", look)
    assert [record.epoch for record in seen] == [1, 2, 3, 4]
    assert seen == result.history

    # a training that is done has nothing to tell
    again = train(data, tmp_path / "run", look)
    assert again.history == result.history
    assert len(seen) == 4


def test_false_ends_the_training_as_if_it_were_done(data: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def until_two(record: EpochRecord) -> bool:
        seen.append(record.epoch)
        return record.epoch < 2

    result = train(data, tmp_path / "run", until_two)
    assert seen == [1, 2]
    assert len(result.history) == 2
    assert result.best.epoch in (1, 2)
    progress = read_progress(tmp_path / "run" / "checkpoint")
    assert progress is not None
    assert progress.finished
    assert train(data, tmp_path / "run", until_two).history == result.history
    assert seen == [1, 2]


@pytest.mark.parametrize("at", [2, 4])
def test_an_error_of_the_callback_loses_nothing(data: Path, tmp_path: Path, at: int) -> None:
    seen: list[int] = []

    def fail_once(record: EpochRecord) -> None:
        seen.append(record.epoch)
        if seen == list(range(1, at + 1)):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(data, tmp_path / "run", fail_once)
    result = train(data, tmp_path / "run", fail_once)
    assert seen == [1, 2, 3, 4]

    whole = train(data, tmp_path / "whole", lambda record: None)
    assert [record.valid for record in result.history] == [record.valid for record in whole.history]


def test_a_fitted_system_tells_its_one_record(data: Path, tmp_path: Path) -> None:
    seen: list[EpochRecord] = []
    settings = {"system": "br", "data": {"path": str(data)}}
    emotailor.train(settings, tmp_path / "run", on_epoch=seen.append)
    assert [record.epoch for record in seen] == [1]


def test_progress_is_silent_shown_or_up_to_who_looks(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: dict[str, list[str]] = {}
    for name, progress in (("auto", "auto"), ("no", False), ("yes", True)):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stdout", stream)
        with one_thread():
            config = tiny_config(data, epochs=2)
            emotailor.train(config, tmp_path / name, progress=progress)  # type: ignore[arg-type]
        lines[name] = stream.getvalue().splitlines()
    assert lines["auto"] == lines["no"] == []
    recipe, *epochs = lines["yes"]
    assert recipe.startswith("17 training samples: 2 epochs of ")
    assert [line[:10] for line in epochs] == ["epoch  1/2", "epoch  2/2"]


def test_a_result_is_short_and_a_table(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train(data, tmp_path / "run", lambda record: None, epochs=3)
    assert len(repr(result)) < len(str(tmp_path)) + 120
    assert f"best epoch {result.best.epoch} of 3, validation micro-F1" in repr(result)
    assert "EpochRecord(epoch 1, train loss" in repr(result.history)
    assert len(repr(result.history[0])) < 100
    assert result._repr_html_().count("<tr>") == 4
    assert result._repr_html_().count("best") == 1

    with_fake_pandas(monkeypatch)
    frame = result.to_dataframe()
    assert frame.index == "epoch"
    assert [row["epoch"] for row in frame.rows] == [1, 2, 3]
    best = frame.rows[result.best.epoch - 1]
    assert best["valid_micro_f1"] == result.best.valid["micro_f1"]
    assert best["train_total"] == result.best.train["total"]
    run = emotailor.Run.open(tmp_path / "run")
    assert run.history_to_dataframe().rows == frame.rows
