"""Planning of runs: which setting wins, which folder, one run per seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from emotailor.data.modality_names import parse_modalities
from emotailor.errors import ConfigError
from emotailor.models.tailor.config import TailorConfig
from emotailor.runs.train import plan_runs


def model_of(**options: Any) -> TailorConfig:
    (run,) = plan_runs(data=Path("d"), **options)
    assert isinstance(run.config.model, TailorConfig)
    return run.config.model


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "ö my settings.toml"
    file.write_text(
        "[model]\nhidden_size = 16\nheads = 2\ndropout = 0.25\n"
        "[training]\nepochs = 7\nseed = 3\ndevice = 'cpu'\n"
        "[data]\npath = 'elsewhere'\nmodalities = ['audio']\n"
    )
    return file


def test_options_win_over_set_over_file_over_preset(toml: Path) -> None:
    settings = ["model.heads=4", "training.epochs=8", "training.device=cuda:1"]
    (run,) = plan_runs(
        data=Path("d"),
        config_file=toml,
        settings=settings,
        preset="authors",
        modalities=["v", " Text"],
        seed=9,
        device="mps",
    )
    model, training = run.config.model, run.config.training
    assert isinstance(model, TailorConfig)
    assert (model.hidden_size, model.heads, model.dropout) == (16, 4, 0.25)
    assert (training.epochs, training.seed, training.device) == (8, 9, "mps")
    assert (run.config.data.path, run.config.data.modalities) == ("d", ("visual", "text"))
    assert training.optimizer == "bert_adam"  # of the preset, which nobody overrode
    (run,) = plan_runs(data=Path("d"), config_file=toml, settings=["data.modalities=['text']"])
    assert run.config.training.seed == 3
    assert run.config.training.device == "cpu"
    assert run.config.data.modalities == ("text",)


def test_the_config_of_a_run_can_be_used_again(tmp_path: Path) -> None:
    (first,) = plan_runs(data=Path("d"), settings=["model.hidden_size=24", "training.epochs=3"])
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": first.config.to_json(), "fingerprint": "abc"}))
    (again,) = plan_runs(data=Path("d"), config_file=file)
    assert again == first


def test_the_system_can_come_from_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("system = 'of the file'")
    for options, name in (
        ({}, "of the file"),
        ({"settings": ["system=of the settings"]}, "of the settings"),
        ({"settings": ["system=of the settings"], "system": "of the option"}, "of the option"),
    ):
        with pytest.raises(ConfigError, match=f"unknown model '{name}'"):
            plan_runs(data=Path("d"), config_file=file, **options)
    (run,) = plan_runs(data=Path("d"), config_file=file, system="tailor")
    assert run.config.system == "tailor"


def test_folders_and_seeds() -> None:
    def folders(**options: Any) -> list[str]:
        return [str(run.folder) for run in plan_runs(data=Path("x/my data"), **options)]

    assert folders() == ["runs/my data-tailor-seed42"]
    assert folders(seed=7) == ["runs/my data-tailor-seed7"]
    assert folders(seeds=2) == ["runs/my data-tailor/seed42", "runs/my data-tailor/seed43"]
    assert folders(out=Path("o")) == ["o"]
    assert folders(out=Path("o"), seed=1, seeds=3) == ["o/seed1", "o/seed2", "o/seed3"]
    runs = plan_runs(data=Path("d"), seeds=3, settings=["training.seed=5"])
    assert [run.config.training.seed for run in runs] == [5, 6, 7]
    assert (
        len(
            {run.config.replace(training=runs[0].config.training).model_dump_json() for run in runs}
        )
        == 1
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": ["model.hiden_size=3"]}, "did you mean model.hidden_size"),
        ({"settings": ["hidden_size=3"]}, "hidden_size = 3 is not a setting"),
        ({"settings": ["model=3"]}, "model = 3"),
        ({"settings": ["training.epochs=many"]}, "training.epochs = 'many'"),
        ({"modalities": ["visual", "smell"]}, "unknown modality 'smell'"),
        ({"modalities": [""]}, "unknown modality ''"),
        ({"modalities": ["v", "visual"]}, "each once"),
        ({"seed": -3}, "training.seed = -3"),
        ({"system": "Tailer"}, r"unknown model 'Tailer'[\s\S]*tailor"),
    ],
)
def test_mistakes_are_found_before_anything_starts(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        plan_runs(data=Path("d"), **options)
    assert caught.value.exit_code == 3


def test_initials_of_modalities() -> None:
    assert parse_modalities(["v", "A", " t "]) == ["visual", "audio", "text"]


def test_the_defaults_are_tuned_and_the_paper_is_asked_for() -> None:
    assert model_of() == TailorConfig.tuned()
    assert model_of(preset="paper") == TailorConfig.paper()
    assert model_of(preset="authors") == TailorConfig.authors()
