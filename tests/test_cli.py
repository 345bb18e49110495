"""The command line, as its users meet it: results, messages, exit codes, interruptions."""

import errno
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.commands import doctor
from emotailor.data.store import open_dataset
from emotailor.files import write_json
from tests.helpers import DIMS, small_dataset, stored_name
from tests.runs.runs import TOML, Outcome, run_cli

COMMANDS = [
    [],
    ["data"],
    ["data", "convert"],
    ["data", "inspect"],
    ["data", "validate"],
    ["data", "synthesize"],
    ["models"],
    ["models", "list"],
    ["models", "show"],
    ["train"],
    ["evaluate"],
    ["benchmark"],
    ["ablate"],
    ["figures"],
    ["predict"],
    ["import-checkpoint"],
    ["calibrate"],
    ["demo"],
    ["doctor"],
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose name nobody would choose, with data, settings and a trained run."""
    home = tmp_path_factory.mktemp("müller's home [1]")
    small_dataset(home / "my data")
    (home / "tiny.toml").write_text(TOML)
    done = train(home)
    assert (done.code, done.err) == (0, "")
    return home


def train(home: Path, *more: str | Path, out: str = "run") -> Outcome:
    given: list[str | Path] = ["--data", home / "my data", "--out", home / out]
    given += ["--config", home / "tiny.toml"]
    return run_cli("train", *given, *more)


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


class Bomb:
    """Touches a file when a careless reader unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.marker,))


def test_what_the_system_refuses() -> None:
    """Root may write anywhere, so the errors are made here."""
    from emotailor.refused import refusal

    temporary = PermissionError(errno.EACCES, "Permission denied", "/x/.report.html.12-abcdef.tmp")
    assert str(refusal(temporary)) == (
        "Permission denied: /x/report.html\n"
        "  to fix it: name a place that you may write to, with --out"
    )
    full = OSError(errno.ENOSPC, "No space left on device")
    assert str(refusal(full)).startswith("No space left on device\n  to fix it: make room")
    disk = OSError(errno.EIO, "Input/output error", "f")
    assert str(refusal(disk)).startswith("Input/output error: f\n  to fix it: check the disk")
    assert str(refusal(OSError(errno.ENOTTY, "Not a typewriter", "f"))) == "Not a typewriter: f"


# ---------------------------------------------------------------------- help and usage


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command: list[str]) -> None:
    done = run_cli(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "Usage:" in done.out
    lines = done.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.out
    for expected in {(): ["train", "evaluate", "predict", "doctor"], ("train",): ["--set"]}.get(
        tuple(command), []
    ):
        assert expected in done.out


def test_the_formats_are_listed_where_they_are_needed() -> None:
    from emotailor.data.readers import FORMATS

    text = run_cli("data", "convert", "--help").out
    for name in FORMATS:
        assert f" {name}: " in text


def test_version() -> None:
    from emotailor import __version__

    assert run_cli("--version") == Outcome(0, f"emotailor {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["tarin"],
        ["train"],
        ["train", "--data"],
        ["train", "--data", "x", "--seeds", "0"],
        ["train", "--data", "x", "--preset", "best"],
        ["models", "show"],
        ["models", "show", "tailor", "mult"],
        ["benchmark", "--data", "x"],
        ["benchmark", "--data", "x", "--out", "y", "--seeds", "0"],
        ["benchmark", "--data", "x", "--out", "y", "--jobs", "0"],
        ["benchmark", "--data", "x", "--out", "y", "--thresholds", "best"],
        ["ablate", "--data", "x"],
        ["ablate", "--data", "x", "--out", "y", "--seeds", "0"],
        ["ablate", "--data", "x", "--out", "y", "--preset", "mine"],
        ["evaluate"],
        ["evaluate", "x", "--resamples", "-1"],
        ["predict", "x"],
        ["predict", "x", "y", "--limit", "0"],
        ["predict", "x", "y", "--thresholds", "low"],
        ["data", "convert", "x"],
        ["data", "convert", "x", "-o", "y", "--label-rule", "<"],
        ["data", "synthesize"],
        ["import-checkpoint", "x", "-o", "y", "--heads", "0"],
        ["doctor", "--now"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run_cli(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "--help`" in done.err or "did you mean" in done.err
    assert "Traceback" not in done.err


def test_completion_of_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EMOTAILOR_COMPLETE", "complete_bash")
    for line, expected in (("emotailor tr", "train"), ("emotailor train --mod", "--modalities")):
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        assert expected in run_cli().out.split()


# ---------------------------------------------------------------------- data


def save_arrays(path: Path, **arrays: np.ndarray) -> Path:
    with path.open("wb") as file:  # numpy would change the name
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path


def vectors(path: Path, rows: int = 6) -> Path:
    """An ``.npz`` with one vector per row."""
    rng = np.random.default_rng(0)
    return save_arrays(
        path,
        visual=rng.normal(size=(rows, 5)),
        id=np.array([f"clip{i}[0]" for i in range(rows)]),
        split=np.array(["train", "valid", "test"] * (rows // 3)),
        labels=rng.integers(0, 2, (rows, 2)),
        label_names=np.array(["happy", "sad"]),
    )


def test_inspect(home: Path) -> None:
    done = run_cli("data", "inspect", home / "my data")
    assert (done.code, done.err) == (0, "")
    assert "small: 41 samples, aligned" in done.out
    assert "…" not in done.out
    done = run_cli("data", "inspect", home / "my data", "--json")
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert report["splits"]["train"]["samples"] == 23


def test_validate(home: Path, tmp_path: Path) -> None:
    done = run_cli("data", "validate", home / "my data", "--quick")
    assert done.code == 0
    assert "0 errors" in done.out
    copy = Path(shutil.copytree(home / "my data", tmp_path / "copy"))
    shard = copy / stored_name(copy, "train-00000")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    done = run_cli("data", "validate", copy)
    assert done.code == 1
    assert "error: " in done.out
    assert shard.name in done.out
    assert "Traceback" not in done.out + done.err


def test_synthesize(tmp_path: Path) -> None:
    small = [f"--set={key}" for key in ("train=6", "valid=0", "test=3", "text_dim=4")]
    done = run_cli(
        "data", "synthesize", "--out", tmp_path / "ö", *small, "--no-aligned", "--seed=3"
    )
    assert (done.code, done.err) == (0, "")
    *_, stored, following = done.out.splitlines()
    assert stored == f"stored in {tmp_path / 'ö'}"
    proposed = ["next:", "emotailor", "train", "--data", str(tmp_path / "ö")]
    assert shlex.split(following) == proposed
    dataset = open_dataset(tmp_path / "ö")
    assert ({k: len(v) for k, v in dataset.splits.items()}) == {"train": 6, "test": 3}
    assert (dataset.dims["text"], dataset.aligned) == (4, False)
    again = run_cli("data", "synthesize", "--out", tmp_path / "ö", *small)
    again.failed(4, "already exists", "--overwrite")
    assert run_cli("data", "synthesize", "-o", tmp_path / "ö", *small, "--overwrite").code == 0
    assert open_dataset(tmp_path / "ö").aligned
    assert names(tmp_path) == {"ö"}


def test_synthesize_replaces_nothing_but_data_sets(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").touch()
    done = run_cli("data", "synthesize", "-o", tmp_path / "photos", "--overwrite")
    done.failed(4, "photos is no data set", "1.jpg")
    assert names(tmp_path / "photos") == {"1.jpg"}


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("trian=5", ["trian = 5 is not a setting", "did you mean train?"]),
        ("train=0", ["train = 0", "a whole number, at least 1"]),
        ("noise=nan", ["noise = nan"]),
        ("train", ["KEY=VALUE"]),
    ],
)
def test_synthesize_with_wrong_settings(tmp_path: Path, setting: str, parts: list[str]) -> None:
    done = run_cli("data", "synthesize", "-o", tmp_path / "x", "--set", setting)
    done.failed(3, *parts)
    assert done.out == ""
    assert names(tmp_path) == set()


def test_convert(tmp_path: Path) -> None:
    source = vectors(tmp_path / "my source.npz")
    done = run_cli("data", "convert", source, "-o", tmp_path / "é")
    assert (done.code, done.err) == (0, "")
    *_, stored, following = done.out.splitlines()
    assert stored == f"stored in {tmp_path / 'é'}"
    proposed = ["next:", "emotailor", "train", "--data", str(tmp_path / "é")]
    assert shlex.split(following) == proposed
    run_cli("data", "convert", source, "-o", tmp_path / "é").failed(4, "already exists")
    limited = run_cli("data", "convert", source, "-o", tmp_path / "é", "--overwrite", "--limit=1")
    assert limited.code == 0
    assert len(open_dataset(tmp_path / "é")["train"]) == 1
    assert names(tmp_path) == {"my source.npz", "é"}


def _truncated(path: Path) -> None:
    vectors(path)
    path.write_bytes(path.read_bytes()[:-300])


def _damaged(path: Path) -> None:
    vectors(path)
    content = bytearray(path.read_bytes())
    content[150:180] = bytes(30)
    path.write_bytes(content)


def _nan(path: Path) -> None:
    vectors(path)
    with np.load(path) as file:
        old = dict(file)
    save_arrays(path, **{**old, "visual": np.full((6, 5), np.nan)})


SOURCES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "empty folder": lambda path: path.mkdir(),
    "truncated": _truncated,
    "damaged": _damaged,
    "NaN": _nan,
    "hostile pickle": lambda path: path.write_bytes(
        pickle.dumps({"train": {"labels": Bomb(path.with_name("executed"))}})
    ),
    "other arrays": lambda path: save_arrays(path, x=np.ones(3)),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_convert_what_cannot_be_converted(tmp_path: Path, kind: str, suffix: str) -> None:
    source = tmp_path / f"source{suffix}"
    SOURCES[kind](source)
    before = names(tmp_path)
    run_cli("data", "convert", source, "-o", tmp_path / "out").failed(4, source.name)
    assert names(tmp_path) == before
    for name in ("mult", "mmsa", "tailor"):
        done = run_cli("data", "convert", source, "-o", tmp_path / "out", "--format", name)
        done.failed(4)
        assert names(tmp_path) == before


def test_convert_with_wrong_options(tmp_path: Path) -> None:
    source, out = vectors(tmp_path / "a.npz"), tmp_path / "out"
    convert: list[str | Path] = ["data", "convert", source, "-o", out]
    run_cli(*convert, "--format", "excel").failed(3, "format 'excel'", "mult")
    run_cli(*convert, "--folds", "x").failed(3, "no use for folds")
    assert run_cli(*convert, "--limit", "0").code == 2
    assert names(tmp_path) == {"a.npz"}


def test_data_sets_that_are_none(tmp_path: Path, home: Path) -> None:
    truncated = Path(shutil.copytree(home / "my data", tmp_path / "truncated"))
    shard = truncated / stored_name(truncated, "test-00000")
    shard.write_bytes(shard.read_bytes()[:-9])
    future = Path(shutil.copytree(home / "my data", tmp_path / "future"))
    card = json.loads((future / "dataset.json").read_text())
    write_json(future / "dataset.json", {**card, "schema_version": 99})
    (tmp_path / "empty").mkdir()
    for path, part in (
        (tmp_path / "absent", "no data set at"),
        (tmp_path / "empty", "no data set at"),
        (home / "tiny.toml", "no data set at"),
        (truncated, shard.name),
        (future, "schema_version"),
    ):
        run_cli("data", "inspect", path).failed(4, part)
        run_cli("data", "inspect", path, "--json").failed(4, part)
        of_predict = "of no known format" if path.suffix == ".toml" else part
        run_cli("predict", home / "run", path).failed(4, of_predict)
        run_cli("evaluate", home / "run", "--data", path).failed(4, part)
        run_cli("train", "--data", path, "--out", tmp_path / "run").failed(4, part)
        assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- train


def test_training_again_says_that_it_is_done(home: Path) -> None:
    before = (home / "run" / "checkpoint" / "state.json").read_bytes()
    done = train(home)
    assert (done.code, done.err) == (0, "")
    assert f"{home / 'run'} is already trained; nothing to do\n" in done.out
    assert (home / "run" / "checkpoint" / "state.json").read_bytes() == before


def test_other_settings_do_not_touch_a_run(home: Path) -> None:
    before = {p: p.read_bytes() for p in (home / "run").rglob("*") if p.is_file()}
    train(home, "--set", "training.epochs=3").failed(3, "config.training.epochs: 2 there, 3 now")
    train(home, "--modalities", "v,t").failed(3, "config.data.modalities")
    assert {p: p.read_bytes() for p in (home / "run").rglob("*") if p.is_file()} == before


def test_settings_from_everywhere(home: Path) -> None:
    done = train(
        home, "--set", "training.epochs=1", "--modalities", "v,t", "--seed", "8", out="v t"
    )
    assert (done.code, done.err) == (0, "")
    assert "(23 samples; visual, text), seed 8" in done.out
    config = json.loads((home / "v t" / "config.json").read_text())["config"]
    assert config["training"]["epochs"] == 1  # --set over the file
    assert config["training"]["learning_rate"] == 3e-3  # the file over the preset
    assert config["training"]["clip_norm"] == 1.0  # the preset
    again = run_cli(
        "train", "-d", home / "my data", "-o", home / "v t 2", "-c", home / "v t" / "config.json"
    )
    assert again.code == 0
    assert json.loads((home / "v t 2" / "config.json").read_text())["config"] == config


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["--set", "model.hiden_size=9"], 3, ["did you mean model.hidden_size?"]),
        (["--set", "model.hidden_size=13"], 3, ["hidden_size 13 must be a multiple of heads 3"]),
        (["--set", "model=5"], 3, ["model = 5"]),
        (["--set", "training.epochs=0"], 3, ["training.epochs = 0"]),
        (["--set", "epochs"], 3, ["KEY=VALUE"]),
        (["--config", "absent.toml"], 3, ["absent.toml", "--config"]),
        (["--config", "BROKEN"], 3, ["broken.toml is not valid", "line 1"]),
        (["--model", "oracle"], 3, ["unknown model 'oracle'"]),
        (["--modalities", "v,smell"], 3, ["unknown modality 'smell'"]),
        (["--modalities", ""], 3, ["unknown modality ''"]),
        (["--device", "cuda:9"], 3, ["cuda:9"]),
        (["--device", "toaster"], 3, ["toaster"]),
        (["--seed", "-1"], 3, ["training.seed = -1"]),
        (["--set", "data.train_split=tarin"], 4, ["no split 'tarin'"]),
        (["--set", "model.max_steps=3"], 5, ["--set model.max_steps=8"]),
    ],
)
def test_trainings_that_cannot_start(
    home: Path, tmp_path: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\n")
    arguments = [str(broken) if a == "BROKEN" else a for a in arguments]
    base: list[str | Path] = ["train", "-d", home / "my data", "-o", tmp_path / "run"]
    config: list[str | Path] = [] if "--config" in arguments else ["-c", home / "tiny.toml"]
    run_cli(*base, *config, *arguments).failed(code, *parts)
    assert not (tmp_path / "run" / "model").exists()


def test_seeds_and_their_mean(home: Path) -> None:
    done = train(home, "--seeds", "2", out="seeds")
    assert (done.code, done.err) == (0, "")
    assert "run 2 of 2: tailor on small" in done.out
    assert names(home / "seeds") == {"seed5", "seed6"}
    proposed = ["next:", "emotailor", "evaluate", str(home / "seeds")]
    assert shlex.split(done.out.splitlines()[-1]) == proposed
    done = run_cli("evaluate", home / "seeds", "--paper", "--resamples", "0")
    assert (done.code, done.err) == (0, "")
    assert "Mean and standard deviation" in done.out
    assert "±" in done.out
    metrics = [
        json.loads((home / "seeds" / s / "evaluation-test.json").read_text())["metrics"]["tuned"]
        for s in ("seed5", "seed6")
    ]
    values = [m["mean_average_precision"] for m in metrics]
    assert f"{np.mean(values):.3f}±{np.std(values, ddof=1):.3f}" in done.out


def test_an_output_in_the_way_or_on_a_full_disk_is_one_message(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    refused = [train(home, out=str(tmp_path / out)) for out in ("file", "file/run")]
    refused.append(run_cli("data", "synthesize", "-o", tmp_path / "file" / "x"))
    assert [done.code for done in refused] == [3, 3, 4]
    for done in refused:
        assert str(tmp_path / "file") in done.err
        assert "folder" in done.err
    assert (tmp_path / "file").read_text() == "mine"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x.safetensors")

    monkeypatch.setattr("emotailor.training.model_folder.save_file", full)
    done = train(home, out=str(tmp_path / "run"))
    done.failed(1, "No space left on device: x.safetensors")
    assert done.err.splitlines()[1:] == [
        "  to fix it: make room there, then run the same command again"
    ]
    assert not [p for p in (tmp_path / "run").rglob("*") if ".tmp" in p.name]


# ---------------------------------------------------------------------- evaluate and predict


def test_evaluate(home: Path) -> None:
    done = run_cli("evaluate", home / "run", "--split", "valid", "--resamples", "20")
    assert (done.code, done.err) == (0, "")
    assert "note: epoch and thresholds were chosen on these samples" in done.out
    assert f"stored: {home / 'run' / 'evaluation-valid.json'}\n" in done.out
    run_cli("evaluate", home / "run", "--split", "vaild").failed(4, "no split 'vaild'")
    run_cli("evaluate", home / "absent").failed(5, "does not exist", "train a model first")
    run_cli("evaluate", home / "run", home / "absent").failed(5, "does not exist")
    run_cli("evaluate", home / "run", "--device", "cuda:9").failed(3, "cuda:9")


def test_predict_as_a_table(home: Path) -> None:
    done = run_cli("predict", home / "run", home / "my data", "--id", "test3[0]")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("test3[0]: ")
    assert "evidence" in done.out
    assert "…" not in done.out
    many = run_cli("predict", home / "run", home / "my data", "--split", "train")
    assert many.out.count("train") == 23
    assert "evidence" not in many.out  # for more than 20 only when asked for
    assert many.out.splitlines()[0].startswith("a label holds above ")
    assert many.out.splitlines()[-1].startswith("23 samples: happy ")


def test_predict_as_json_lines(home: Path) -> None:
    predict: list[str | Path] = ["predict", home / "run", home / "my data", "--json"]
    done = run_cli(*predict, "--limit", "3")
    assert (done.code, done.err) == (0, "")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [p["id"] for p in found] == ["test0[0]", "test1[0]", "test2[0]"]
    assert all("explanation" in p for p in found)
    short = run_cli(*predict, "--no-explain", "--thresholds", "fixed")
    assert [json.loads(line)["id"] for line in short.out.splitlines()][:3] == [
        p["id"] for p in found
    ]
    assert "explanation" not in short.out


def test_predict_one_sample_of_arrays(home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "ein clip é.npz"
    arrays: dict[str, Any] = {m: rng.normal(size=(4, d)) for m, d in DIMS.items()}
    np.savez(file, **arrays)
    done = run_cli("predict", home / "run", file, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["id"] == "ein clip é"
    text_alone = tmp_path / "words.npz"
    np.savez(text_alone, text=rng.normal(size=(4, 11)))
    found = json.loads(run_cli("predict", home / "run", text_alone, "--json").out)
    assert set(found["explanation"]["modalities"]["sad"]) == {"text"}


def test_failures_do_not_spoil_json_and_end_with_1(home: Path, tmp_path: Path) -> None:
    from emotailor.data.sample import Sample
    from emotailor.data.store import write_dataset
    from tests.helpers import LABELS, random_samples

    samples = random_samples(4)
    samples[2] = Sample("deaf", {"audio": samples[2].sequences["audio"]}, samples[2].labels)
    write_dataset(
        tmp_path / "d", {"test": samples}, name="d", label_names=LABELS, dims=DIMS, aligned=True
    )
    train(home, "--modalities", "v,t", "--set", "training.epochs=1", out="vt")
    done = run_cli("predict", home / "vt", tmp_path / "d", "--json")
    assert done.code == 1
    assert all(line.startswith("warning: ") for line in done.err.splitlines())
    assert "not predicted: deaf" in done.err
    assert "1 of 4 samples" in done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["id"] for line in lines] == [sample.id for sample in samples]
    assert ["error" in line for line in lines] == [False, False, True, False]
    run_cli("predict", home / "vt", tmp_path / "d", "--json", "--strict").failed(4, "'deaf'")


def test_predict_into_files(home: Path, tmp_path: Path) -> None:
    import csv

    rng = np.random.default_rng(0)
    for name in ("b", "a"):
        arrays: dict[str, Any] = {m: rng.normal(size=(4, d)) for m, d in DIMS.items()}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    sources: list[str | Path] = [tmp_path / "b.npz", home / "my data", tmp_path / "a.npz"]
    out = tmp_path / "found.csv"
    done = run_cli("predict", home / "run", *sources, "--split", "all", "--out", out)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == f"stored: {out}"
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 43
    assert (rows[0]["id"], rows[-1]["id"], rows[1]["id"]) == ("b", "a", "train0[0]")
    assert {float(row["threshold:sad"]) for row in rows} == {float(rows[0]["threshold:happy"])}

    # the same numbers in every form
    printed = run_cli("predict", home / "run", *sources, "--split", "all", "--csv")
    assert printed.out == out.read_text(encoding="utf-8")
    lines = run_cli("predict", home / "run", *sources, "--split", "all", "--json", "--no-explain")
    for row, line in zip(rows, map(json.loads, lines.out.splitlines()), strict=True):
        assert (row["id"], row["source"]) == (line["id"], line["source"])
        assert float(row["p:sad"]) == pytest.approx(line["probabilities"]["sad"], abs=1e-6)
        assert row["sad"] == str(int(line["decisions"]["sad"]))

    again = ["predict", home / "run", *sources, "--out", out]
    run_cli(*again).failed(3, "already exists", "--overwrite")
    assert run_cli(*again, "--overwrite", "--limit", "2").code == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 3
    run_cli("predict", home / "run", *sources, "--out", tmp_path / "x.txt").failed(3, ".jsonl")
    run_cli(*again, "--overwrite", "--json").failed(3, "one form")
    run_cli("predict", home / "run", *sources, "--csv", "--explain").failed(3, "--json")
    assert run_cli("predict", home / "run", *sources, "--csv", "--json").code == 2


def test_a_sequence_too_long_is_cut_as_the_message_says(home: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "long.npz", text=np.ones((14, 11)), visual=np.ones((14, 5)))
    command: list[str | Path] = ["predict", home / "run", tmp_path / "long.npz", "--json"]
    refused = run_cli(*command)
    refused.failed(5, "'long' has a sequence of 14 steps", "--max-steps 13")
    done = run_cli(*command, "--max-steps", "13")
    assert done.code == 0
    assert "1 of 1 samples were cut" in done.err
    assert json.loads(done.out)["unseen_steps"] == {"text": 1, "visual": 1}
    for wrong in ("0", "text=5", "x", "text", "smell=3"):
        run_cli(*command, "--max-steps", wrong).failed(3, "max_steps")


def test_a_video_is_no_damaged_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(99))
    done = run_cli("predict", home / "run", tmp_path / "clip.mp4")
    done.failed(5, "visual of width 5", "emotailor extract", "emotailor data convert")


def _sample(**arrays: np.ndarray) -> Callable[[Path], Any]:
    return lambda path: save_arrays(path, **arrays)


def _hostile_sample(path: Path) -> None:
    array = np.empty(1, object)
    array[0] = Bomb(path.with_name("executed"))
    np.savez(path, text=array)


SAMPLES: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "missing": (lambda path: None, 4, "does not exist"),
    "empty": (lambda path: path.write_bytes(b""), 4, "is empty"),
    "text": (lambda path: path.write_text("x"), 4, "cannot be read"),
    "hostile": (_hostile_sample, 4, "Python objects"),
    "wrong width": (_sample(text=np.ones((3, 12))), 4, "(3, 12)"),
    "NaN": (_sample(text=np.full((3, 11), np.nan)), 4, "33 non-finite values"),
    "too long": (_sample(text=np.ones((14, 11))), 5, "max_steps = 13"),
    "no modality": (_sample(words=np.ones((3, 11))), 4, "holds words"),
    "no steps": (_sample(text=np.ones((0, 11))), 4, "at least one step"),
    "uneven": (_sample(text=np.ones((3, 11)), audio=np.ones((4, 7))), 4, "unaligned: each"),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples_that_cannot_be_predicted(home: Path, tmp_path: Path, kind: str) -> None:
    spoil, code, part = SAMPLES[kind]
    spoil(tmp_path / "clip.npz")
    before = names(tmp_path)
    for form in ([], ["--json"]):
        done = run_cli("predict", home / "run", tmp_path / "clip.npz", *form)
        done.failed(code, part)
        assert done.out == ""
    assert names(tmp_path) == before


def test_predictions_that_cannot_be_made(home: Path, tmp_path: Path) -> None:
    data = home / "my data"
    run_cli("predict", home / "absent", data).failed(5, "no trained model")
    run_cli("predict", data, data).failed(5, "no trained model")
    run_cli("predict", home / "run", data, "--split", "tset").failed(4, "no split 'tset'")
    run_cli("predict", home / "run", data, "--id", "nobody").failed(4, "no sample 'nobody'")
    run_cli("predict", home / "run", data, "--device", "toaster").failed(3, "toaster")
    copy = Path(shutil.copytree(home / "run" / "model", tmp_path / "model"))
    (weights,) = copy.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    run_cli("predict", copy, data).failed(5, weights.name, "SHA-256 differs")
    run_cli("evaluate", copy, "--data", data).failed(5, "SHA-256 differs")
    (copy / "model.json").write_text("{}")
    run_cli("predict", copy, data).failed(5, "model.json is damaged or of another version")


# ---------------------------------------------------------------------- benchmark


def benchmark(home: Path, *more: str | Path, out: str = "bench") -> list[str | Path]:
    file = home / "benchmark.toml"
    settings = TOML.replace("[model]", "[tailor.model]").replace("[training]", "[all.training]")
    file.write_text(re.sub(r"^seed = .*$", "", settings, flags=re.MULTILINE))
    return ["benchmark", "-d", home / "my data", "-o", home / out, "-c", file,
            "--models", "tailor", "--seeds", "1", *more]  # fmt: skip


def test_a_benchmark_is_planned_first(home: Path) -> None:
    done = run_cli(*benchmark(home, "--dry-run", "--seed", "7", "--seeds", "3", out="dry"))
    assert (done.code, done.err) == (0, "")
    assert "tailor  visual, audio, text  7 to 9  0     0      3" in done.out
    assert "3 runs on small: 0 done, 0 go on, 3 to do; " in done.out
    assert not (home / "dry").exists()
    run_cli(*benchmark(home, "--set", "model.heads=2", out="dry")).failed(3, "for all systems")
    run_cli(*benchmark(home, "--models", "a,b", out="dry")).failed(3, "unknown model 'a'")
    run_cli(*benchmark(home, out="my data")).failed(3, "is no benchmark, and not empty")


def test_a_benchmark_in_which_a_run_fails(home: Path) -> None:
    given = benchmark(home, "--set", "tailor:model.max_steps=3", out="failing")
    done = run_cli(*given)
    assert (done.code, done.err) == (1, "")
    log = home / "failing" / "tailor" / "seed42.log"
    (line,) = [line for line in done.out.splitlines() if "failed    tailor seed 42: " in line]
    assert line.endswith(f"(exit code 5; {log})")
    assert "error: " in log.read_text()
    assert "note: TAILOR: seed 42 failed, exit code 5: " in done.out
    stored = json.loads((home / "failing" / "benchmark.json").read_text())
    assert stored["systems"]["tailor"]["status"] == "failed"


def test_an_interrupted_benchmark_says_how_to_go_on_and_goes_on(home: Path) -> None:
    given = benchmark(home, "--set", "training.epochs=15")
    child = start(*given)
    wait_until(child, (home / "bench" / "tailor" / "seed42" / "metrics.jsonl").exists)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "started   tailor seed 42" in out
    assert err.startswith("error: stopped after 0 of 1 runs; all of it is kept in ")
    assert "run the same command again" in err
    assert not (home / "bench" / "table.md").exists()
    assert "0 done, 1 go on, 0 to do" in run_cli(*given, "--dry-run").out
    done = run_cli(*given)
    assert (done.code, done.err) == (0, "")
    log = (home / "bench" / "tailor" / "seed42.log").read_text()
    assert "all of it is saved in" in log  # the first attempt
    assert "going on in" in log  # the second
    for name in ("benchmark.json", "table.md", "table.csv", "table.tex"):
        assert f"stored: {home / 'bench' / name}\n" in done.out
    again = run_cli(*given)
    assert (again.code, again.err) == (0, "")
    assert "1 done, 0 go on, 0 to do" in again.out
    assert "started" not in again.out


# ---------------------------------------------------------------------- ablations


def ablate(home: Path, *more: str | Path, out: str) -> list[str | Path]:
    return ["ablate", "-d", home / "my data", "-o", home / out, "--seeds", "1", *more]


def test_an_ablation_is_planned_first(home: Path) -> None:
    done = run_cli(*ablate(home, "--dry-run", out="dry"))
    assert (done.code, done.err) == (0, "")
    assert done.out.count("visual, audio, text  42     0     0      1") == 12
    assert "12 runs on small: 0 done, 0 go on, 12 to do; " in done.out
    done = run_cli(*ablate(home, "--dry-run", "--variants", "identical,common", out="dry"))
    assert [x.split()[0] for x in done.out.splitlines() if " audio, " in x] == [
        "common", "identical", "full"
    ]  # fmt: skip
    assert not (home / "dry").exists()
    run_cli(*ablate(home, "--variants", "half", out="dry")).failed(3, "unknown variant 'half'")
    taken = ["--set", "model.modality_tokens=false", "--dry-run"]
    run_cli(*ablate(home, *taken, out="dry")).failed(3, "modality_tokens = False", "without_tokens")
    run_cli(*ablate(home, "--set", "data.path=/etc", out="dry")).failed(3, "give it with --data")
    run_cli(*ablate(home, out="my data")).failed(3, "is no ablation, and not empty")


# ---------------------------------------------------------------------- failures of all kinds


def test_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "matmul_rate", lambda dtype, device: 1.0)
    done = run_cli("doctor")
    assert (done.code, done.err) == (0, "")
    assert "torch" in done.out
    monkeypatch.setattr(doctor, "examine", lambda: (False, "unwell"))
    assert run_cli("doctor") == Outcome(1, "unwell\n", "")


def failing(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> Outcome:
    monkeypatch.setattr(doctor, "examine", what)
    return run_cli("doctor")


def _raise(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device", "/a/ü"), "No space left on device: /a/ü"),
        (OSError("cannot write x: full"), "cannot write x: full"),
        (MemoryError(), "no memory"),
        (MemoryError("Unable to allocate 9 PiB"), "not enough memory: Unable to allocate 9 PiB"),
        (RuntimeError("could not create a primitive"), "not enough memory: could not create"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"), "CUDA out of memory"),
    ],
)
def test_failures_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    done = failing(monkeypatch, _raise(error))
    done.failed(1, message)
    assert len(done.err.splitlines()) == 1 + ("memory" in message or "No space" in message)


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        failing(monkeypatch, _raise(RuntimeError("a bug")))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_command_cleanly(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cleaned = []

    def interrupted() -> object:
        try:
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(5)
        finally:
            cleaned.append(True)
        return True, ""

    before = signal.getsignal(signal.Signals[name])
    done = failing(monkeypatch, interrupted)
    assert done == Outcome(130, "", f"error: stopped by {name}\n")
    assert cleaned == [True]
    assert signal.getsignal(signal.Signals[name]) is before


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup, or for a command in the background of a script."""

    def unimpressed() -> object:
        os.kill(os.getpid(), signal.SIGINT)
        return True, "well"

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert failing(monkeypatch, unimpressed) == Outcome(0, "well\n", "")
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------------- real processes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "emotailor", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **{"env": ENVIRONMENT, **options},
    )


def wait_until(child: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not ready() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert child.poll() is None, child.communicate()


def test_an_interrupted_training_says_how_to_go_on_and_goes_on(home: Path) -> None:
    arguments: list[str | Path] = ["train", "-d", home / "my data", "-o", home / "long"]
    arguments += ["-c", home / "tiny.toml", "--set", "training.epochs=25"]
    child = start(*arguments)
    wait_until(child, (home / "long" / "metrics.jsonl").exists)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "stopped by SIGINT" in err
    assert "run the same command again" in err
    assert not [p for p in (home / "long").rglob("*") if ".tmp" in p.name]
    # what there is so far can be evaluated, and says that it is not the end
    evaluation = run_cli("evaluate", home / "long", "--resamples", "0")
    assert "is not finished" in " ".join(evaluation.out.split())
    done = run_cli(*arguments)
    assert (done.code, done.err) == (0, "")
    assert f"going on in {home / 'long'} at epoch" in done.out
    assert len((home / "long" / "metrics.jsonl").read_text().splitlines()) == 25


def test_a_terminated_command_leaves_nothing_behind(tmp_path: Path) -> None:
    child = start("data", "synthesize", "-o", tmp_path / "d", "--set", "train=500000")
    wait_until(child, lambda: bool(names(tmp_path)))
    child.terminate()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, "", "error: stopped by SIGTERM\n")
    assert names(tmp_path) == set()


def test_a_reader_that_leaves_early_is_no_failure(home: Path) -> None:
    child = start("data", "inspect", home / "my data")
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    with child.stderr as err:
        assert err.read() == ""
    assert child.wait(timeout=60) in (0, 1, 141)


def test_names_that_the_terminal_cannot_show(home: Path) -> None:
    """Neither an ASCII terminal nor a file name that is no Unicode is a reason to fail."""
    environment = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    child = start("data", "inspect", os.fsdecode(bytes(home) + b"/\xff"), env=environment)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 4
    assert err.startswith("error: no data set at ")
    assert "Traceback" not in err
