"""Files of a run: each has one owner, which reads them whole or refuses them."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emotailor.errors import ConfigError, ModelError
from emotailor.files import write_json
from emotailor.training.checkpoint import Progress, read_progress, save_progress
from emotailor.training.history import EpochRecord, read_history, write_history
from emotailor.training.run_config import RunConfig
from emotailor.training.stored_config import (
    is_run_config,
    read_run_config,
    settings_in,
    write_run_config,
)

CONFIG = RunConfig.build({"data": {"path": "data/mosei"}, "training": {"epochs": 7}})


def record(epoch: int, **changes: Any) -> EpochRecord:
    values: dict[str, Any] = {
        "epoch": epoch,
        "step": 11 * epoch,
        "train": {"total": 0.5 / epoch, "classification": 0.25 / epoch},
        "valid": {"loss": 0.625, "accuracy": 0.5, "micro_f1": 0.75, "mean_roc_auc": None},
        "seconds": 1.125 * epoch,
    }
    return EpochRecord(**{**values, **changes})


def edited(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a JSON file."""
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    write_json(file, values)


# ---------------------------------------------------------------------- metrics.jsonl


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = [record(1), record(2)]
    write_history(tmp_path, history)
    assert read_history(tmp_path) == history
    first = (tmp_path / "metrics.jsonl").read_text().splitlines()[0]
    assert first == (
        '{"epoch": 1, "step": 11, "train": {"total": 0.5, "classification": 0.25}, "valid": '
        '{"loss": 0.625, "accuracy": 0.5, "micro_f1": 0.75, "mean_roc_auc": null}, '
        '"seconds": 1.125, "check": "1e644caf"}'
    )
    assert history[0].score("micro_f1") == 0.75
    assert math.isnan(history[0].score("mean_roc_auc"))


def test_a_folder_without_a_history_has_none(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 2"),
        ('{"epoch": 2}', "line 2"),
        ('{"epoch":2,"step":1,"train":{},"valid":{"loss":1},"seconds":1}', "accuracy, micro_f1"),
        (
            '{"epoch":2,"step":1,"train":{},"valid":{"loss":1,"accuracy":1,"micro_f1":1},'
            '"seconds":1}',
            "other losses",
        ),
        (
            '{"epoch":3,"step":1,"train":{},"valid":{"loss":1,"accuracy":1,"micro_f1":1},'
            '"seconds":1}',
            "line 2: epoch 3 instead of 2",
        ),
        (
            '{"epoch":2,"step":1,"train":{"\\ud800":1},"valid":{"loss":1,"accuracy":1,"micro_f1":1},'
            '"seconds":1}',
            "surrogates",
        ),
        (
            '{"epoch":2,"step":1,"train":{},"valid":{"loss":1,"accuracy":1,"micro_f1":1},'
            '"seconds":1,"check":null}',
            "check differs",
        ),
        ("[" * 100_000, "recursion"),
        ("[1]", "line 2: it holds a list"),
        ('{"epoch":1' + "1" * 5000 + "}", "digits"),
        ('{"epoch":0,"step":1,"train":{},"valid":{},"seconds":1}', "line 2"),
    ],
)
def test_a_damaged_history_is_refused(tmp_path: Path, line: str, what: str) -> None:
    write_history(tmp_path, [record(1)])
    file = tmp_path / "metrics.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ModelError, match=what) as caught:
        read_history(tmp_path)
    assert str(file) in caught.value.found
    assert caught.value.fix


# ---------------------------------------------------------------------- config.json


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_run_config(tmp_path, CONFIG, "0123abcd")
    stored = read_run_config(tmp_path)
    assert (stored.config, stored.fingerprint, stored.schema_version) == (CONFIG, "0123abcd", 2)
    values = json.loads((tmp_path / "config.json").read_text())
    assert is_run_config(values)
    assert settings_in(values) == values["config"]
    assert settings_in(values["config"]) == values["config"]


def test_settings_of_an_earlier_version_have_the_defaults_of_later_ones(tmp_path: Path) -> None:
    write_run_config(tmp_path, CONFIG, "0123abcd")

    def as_earlier(values: dict[str, Any]) -> None:
        del values["schema_version"]
        del values["config"]["training"]["average"]

    edited(tmp_path / "config.json", as_earlier)
    assert read_run_config(tmp_path).config == CONFIG
    assert is_run_config(json.loads((tmp_path / "config.json").read_text()))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda values: values.pop("fingerprint"), "fingerprint"),
        (lambda values: values.pop("config"), "damaged"),
        (lambda values: values.update(schema_version=3), "schema_version"),
        (lambda values: values["config"].update(system="nothing"), "unknown model 'nothing'"),
        (lambda values: values["config"]["training"].update(epoch=3), "training.epoch = 3"),
    ],
)
def test_damaged_settings_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], what: str
) -> None:
    write_run_config(tmp_path, CONFIG, "0123abcd")
    edited(tmp_path / "config.json", change)
    with pytest.raises(ConfigError, match=what) as caught:
        read_run_config(tmp_path)
    assert str(tmp_path / "config.json") in caught.value.found


def test_files_that_are_no_settings_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        read_run_config(tmp_path)
    for content in ("[1]", "{", '{"name": "something"}'):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ConfigError, match="damaged"):
            read_run_config(tmp_path)
    assert not is_run_config(None)
    assert not is_run_config({"name": "something"})


# ---------------------------------------------------------------------- state.json


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = [record(1), record(2)]
    progress = Progress(
        epoch=2,
        batch=3,
        step=25,
        sums={"total": 1.5},
        samples=12,
        history=history,
        best=history[0],
        seconds=2.25,
    )
    assert read_progress(tmp_path) is None
    save_progress(tmp_path, progress, file="state-0.safetensors", digest="0" * 64)
    assert read_progress(tmp_path) == progress

    edited(tmp_path / "state.json", lambda values: values.pop("schema_version"))
    assert read_progress(tmp_path) == progress  # as earlier versions wrote it


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda values: values.update(file="../other"), "file: "),
        (lambda values: values.update(file=".."), "file: "),
        (lambda values: values.update(schema_version=4), "schema_version"),
        (lambda values: values["progress"].update(step="x"), "progress.step"),
        (lambda values: values["progress"]["history"][0].pop("valid"), "history.0.valid"),
        (lambda values: values.pop("sha256"), "sha256"),
        (lambda values: values.update(sha256="00"), "sha256"),
        (lambda values: values.update(more=1), "more"),
        (lambda values: values.pop("progress"), "progress"),
        (lambda values: values["progress"].update(more=1), "progress.more"),
        (lambda values: values["progress"].update(history={}), "progress.history"),
        (lambda values: values["progress"].update(epoch=-1), "progress.epoch"),
        (lambda values: values["progress"].update(epoch=2), "one record for each epoch"),
        (lambda values: values["progress"].update(best=None), "best is not given"),
        (lambda values: values["progress"]["best"].update(step=12), "best is no record"),
        (lambda values: values["progress"].update(batch=1), "samples do not go"),
        (lambda values: values["progress"].update(history=[], epoch=0), "best is no record"),
        (
            lambda values: values["progress"].update(history=[], epoch=0, best=None, finished=True),
            "no epoch is done",
        ),
    ],
)
def test_a_damaged_state_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], what: str
) -> None:
    save_progress(tmp_path, Progress(epoch=1, history=[record(1)], best=record(1)))
    edited(tmp_path / "state.json", change)
    with pytest.raises(ModelError, match=what) as caught:
        read_progress(tmp_path)
    assert str(tmp_path / "state.json") in caught.value.found
