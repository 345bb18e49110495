"""What people type first, and what they are told: options, names, spellings."""

import json
import re
from pathlib import Path

import pytest

from emotailor.config import parse_overrides
from emotailor.errors import ConfigError
from emotailor.meant import settings_meant
from emotailor.models.table import find_system
from emotailor.training.run_config import RunConfig, settings_of
from tests.helpers import small_dataset
from tests.runs.runs import TOML, run_cli

DATA = {"data": {"path": "somewhere"}}


def refusal(setting: str, system: str = "tailor") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        RunConfig.build(DATA, parse_overrides([setting]), system=system)
    return caught.value


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("epochs=2", "training.epochs"),
        ("epoch=2", "training.epochs"),
        ("training.epoch=2", "training.epochs"),
        ("Training.epochs=2", "training.epochs"),
        ("Training.Epochs=2", "training.epochs"),
        ("EPOCHS=2", "training.epochs"),
        ("model.epochs=2", "training.epochs"),
        ("lr=1e-3", "training.learning_rate"),
        ("learning-rate=1e-3", "training.learning_rate"),
        ("training.lr=1e-3", "training.learning_rate"),
        ("bs=8", "training.batch_size"),
        ("pos_weight=balanced", "training.positive_weight"),
        ("wd=0.1", "training.weight_decay"),
        ("dropout=0.1", "model.dropout"),
        ("training.dropout=0.1", "model.dropout"),
        ("hidden=32", "model.hidden_size"),
        ("model.hidden=32", "model.hidden_size"),
        ("model.n_heads=2", "model.heads"),
        ("path=x", "data.path"),
        ("train.epochs=2", "training.epochs"),
        ("tailor.hidden_size=8", "model.hidden_size"),
        ("trainng={}", "training"),
    ],
)
def test_a_setting_that_is_none_is_asked_about(given: str, meant: str) -> None:
    error = refusal(given)
    key, _, _ = given.partition("=")
    assert error.found.startswith(f"the configuration: {key} = ")
    assert error.found.endswith(" is not a setting")
    assert error.expected == f"did you mean {meant}?"


def test_a_setting_of_several_models_and_tables() -> None:
    keys = settings_of(find_system("tailor"))
    assert settings_meant("layers", None, keys)[0] == "alignment.layers"
    assert settings_meant("zzz", None, keys) == []
    both = refusal("training.warm=1")
    assert both.expected == "did you mean training.warmup?"


def test_a_setting_of_another_system_names_the_system() -> None:
    own = set(find_system("raven").config.model_fields)
    foreign = sorted(own - set(find_system("tailor").config.model_fields))
    error = refusal(f"model.{foreign[0]}=1")
    assert error.expected is not None
    assert "RAVEN" in error.expected
    assert "hidden_size" in error.expected
    assert "RAVEN" not in str(refusal("model.zzz=1"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("training=2", "a table of settings, such as training.epochs=VALUE"),
        ("training.epochs=abc", "training.epochs: a whole number, at least 1"),
        ("training.epochs=1.5", "training.epochs: a whole number, at least 1"),
        ("training.epochs.x=1", "training.epochs: a whole number, at least 1"),
        ("training.learning_rate=fast", "training.learning_rate: a number, above 0"),
        ("training.warmup=1", "training.warmup: a number, at least 0, below 1"),
        ("training.optimizer=sgd", "training.optimizer: one of adam, bert_adam"),
        ("training.plain=perhaps", "training.plain: true or false"),
        ("training.patience=0", "training.patience: a whole number, at least 1, or none"),
        (
            "training.positive_weight=much",
            "training.positive_weight: one of none, balanced, or a table of names, "
            "each with a number, above 0 (SETTING.NAME=VALUE)",
        ),
        ("data.modalities=5", "data.modalities: a list, each one of visual, audio, text, or none"),
    ],
)
def test_a_wrong_value_is_told_what_the_setting_takes(given: str, expected: str) -> None:
    error = refusal(given)
    assert error.expected == expected
    assert given.partition("=")[0].removesuffix(".x") in error.found


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("GPU", "gpu"),
        ("gpu0", "cuda:0"),
        ("gpu:1", "cuda:1"),
        ("CUDA", "cuda"),
        ("cuda1", "cuda:1"),
    ],
)
def test_devices_as_people_write_them(given: str, stored: str) -> None:
    assert RunConfig.build(DATA, {"training": {"device": given}}).training.device == stored


# ---------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    small_dataset(home / "data", train=9, valid=7, test=5)
    (home / "tiny.toml").write_text(TOML)
    return home


def test_options_win_over_settings_and_settings_over_the_file(home: Path) -> None:
    given = ["--epochs", "1", "--lr", "0.002", "--batch-size", "3", "--patience", "2"]
    settings = ["--set", "training.epochs=7", "--set", "training.clip_norm=2"]
    base: list[str | Path] = ["train", "-d", home / "data", "-c", home / "tiny.toml"]
    done = run_cli(*base, "-o", home / "run", *settings, *given, "--modalities", "vision+t")
    assert (done.code, done.err) == (0, "")

    config = json.loads((home / "run" / "config.json").read_text())["config"]
    found = {name: config["training"][name] for name in ("epochs", "clip_norm", "batch_size")}
    assert found == {"epochs": 1, "clip_norm": 2.0, "batch_size": 3}
    assert config["training"]["learning_rate"] == 0.002
    assert config["training"]["patience"] == 2
    assert config["training"]["seed"] == 5  # of the file
    assert config["data"]["modalities"] == ["visual", "text"]

    # other names of the split of validation
    for name in ("val", "dev", "Validation"):
        done = run_cli("evaluate", home / "run", "--split", name, "--resamples", "0")
        assert (done.code, done.err) == (0, "")
    assert sorted(p.name for p in home.glob("run/evaluation-*")) == ["evaluation-valid.json"]
    done = run_cli("evaluate", home / "run", "--split", "vaild")
    done.failed(4, "no split 'vaild'", "train, valid, test")


def test_a_file_and_set_are_named_where_a_setting_is_none(home: Path) -> None:
    file = home / "wrong.toml"
    file.write_text("[training]\nepoch = 3\n")
    base: list[str | Path] = ["train", "-d", home / "data", "-o", home / "none"]
    done = run_cli(*base, "-c", file)
    done.failed(3, f"{file}: training.epoch = 3", "did you mean training.epochs?")
    done = run_cli(*base, "--set", "epochs=3")
    done.failed(3, "--set: epochs = 3", "did you mean training.epochs?")
    for command in ("benchmark", "ablate"):
        given: list[str | Path] = [command, "-d", home / "data", "-o", home / "none", "--dry-run"]
        run_cli(*given, "--set", "epochs=3").failed(3, "did you mean training.epochs?")
        run_cli(*given, "--set", "training.epoch=3").failed(3, "did you mean training.epochs?")
    assert not (home / "none").exists()


@pytest.mark.parametrize("command", ["benchmark", "ablate"])
def test_the_common_settings_are_options_of_comparisons(home: Path, command: str) -> None:
    given: list[str | Path] = [command, "-d", home / "data", "-o", home / "none", "--dry-run"]
    system = ["--models", "TAILOR,br"] if command == "benchmark" else ["--model", "Tailor"]
    done = run_cli(*given, *system, "--epochs", "3", "--lr", "0.1", "--batch-size", "2")
    assert (done.code, done.err) == (0, "")
    refused = run_cli(*given, *system, "--epochs", "0")
    refused.failed(3, "training.epochs = 0", "a whole number, at least 1")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian"], ["no command 'trian'", "did you mean `emotailor train`?"]),
        (["eval"], ["did you mean `emotailor evaluate`?"]),
        (["convert"], ["did you mean `emotailor data convert`?"]),
        (["data", "convrt"], ["did you mean `emotailor data convert`?"]),
        (["xyz"], ["no command 'xyz'", "train"]),
        (["help", "trian"], ["did you mean `emotailor train`?"]),
        (["train", "--data", "x", "--lerning-rate", "1"], ["did you mean --learning-rate?"]),
        (["train", "--data", "x", "--output", "1"], ["did you mean --out?"]),
        (["train", "--data", "x", "--models", "1"], ["did you mean --model?"]),
        (["benchmark", "--data", "x", "--model", "1"], ["did you mean --models?"]),
        (["train", "--data", "x", "--gpu"], ["did you mean --device gpu?"]),
        (["train", "--data", "x", "--dropout", "1"], ["--set model.dropout=VALUE"]),
        (["train", "--data", "x", "--weight-decay", "1"], ["--set training.weight_decay=VALUE"]),
        (["train", "--data", "x", "--xyz", "1"], ["emotailor train has no option --xyz"]),
        (["train"], ["emotailor train needs --data"]),
        (["predict", "x"], ["emotailor predict needs a video, SOURCE"]),
        (["train", "--data", "x", "--seed=1,2,3"], ["--seed 1,2,3", "--seeds 3 makes 3 runs"]),
        (["train", "--data", "x", "--epochs", "two"], ["--epochs two", "a whole number"]),
        (["train", "--data", "x", "--lr", "fast"], ["--learning-rate fast", "a number"]),
        (["train", "--data", "x", "--seeds", "0"], ["--seeds 0", "at least 1"]),
        (["evaluate", "x", "--thresholds", "tunde"], ["tunde", "did you mean tuned?"]),
    ],
)
def test_wrong_usage_says_what_is_meant(arguments: list[str], parts: list[str]) -> None:
    done = run_cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    for part in parts:
        assert part in done.err


def test_a_path_without_its_option_is_told_which(home: Path) -> None:
    found = home / "data"
    done = run_cli("train", found, "--epochs", "1")
    done.failed(2, f"did you mean --data {found}?")
    done = run_cli("data", "synthesize", found)
    done.failed(2, f"did you mean --out {found}?")
    assert "did you mean" not in run_cli("train", home / "none").err


def test_kinds_of_values_have_no_names_of_python(home: Path) -> None:
    page = run_cli("predict", "--help").out
    assert "Usage: emotailor predict [OPTIONS] [RUN] [SOURCE]...\n" in page
    assert "SOURCE path" in page
    assert "--id text" in page
    for command in (["train"], ["predict"], ["benchmark"], ["data", "convert"]):
        page = run_cli(*command, "--help").out
        names = [line for line in page.splitlines() if re.match(r"  (-|[A-Za-z])", line)]
        assert not [line for line in names if re.search(r"\b(str|int|float|list)\b", line)]


def test_names_in_capital_letters_are_the_names(home: Path) -> None:
    plan: list[str | Path] = [
        "train",
        "-d",
        home / "none",
        "--model",
        "TAILOR",
        "--preset",
        "AUTHORS",
    ]
    run_cli(*plan).failed(4, "no data set at")
    shown = run_cli("models", "show", "ML-GCN")
    assert (shown.code, shown.err) == (0, "")
    assert "ml_gcn" in shown.out


def test_a_device_that_is_not_there_says_what_is(home: Path) -> None:
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    base: list[str | Path] = ["train", "-d", home / "data", "-o", home / "none"]
    for name in ("gpu", "GPU", "cuda0", "gpu:1", "mps"):
        done = run_cli(*base, "--device", name)
        done.failed(3, "expected: auto, or one that is here: cpu")


def test_help_everywhere() -> None:
    alone = run_cli()
    assert "Commands:" in alone.out + alone.err
    for arguments in (["train", "-h"], ["help", "train"], ["train", "--help"]):
        done = run_cli(*arguments)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("Usage: emotailor train [OPTIONS]\n")
        assert "--epochs N" in done.out
    assert run_cli("help").out == run_cli("--help").out
    assert "emotailor data convert" in run_cli("help", "data", "convert").out
    assert run_cli("-V").out == run_cli("--version").out


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", ["", "train", "benchmark", "data convert", "predict"])
def test_no_word_of_a_page_of_help_is_cut(command: str, width: int) -> None:
    pages = {}
    for columns in (width, 400):
        done = run_cli(*command.split(), "--help", width=columns)
        assert (done.code, done.err) == (0, "")
        pages[columns] = done.out
    assert max(map(len, pages[width].splitlines())) <= width
    assert "…" not in pages[width]
    assert re.sub(r"\s+", " ", pages[width]) == re.sub(r"\s+", " ", pages[400])
