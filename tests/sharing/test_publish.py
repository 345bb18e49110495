"""A published model: what its card says, what it must not say, and that it is a model folder."""

import getpass
import json
import re
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import emotailor
from emotailor.errors import ConfigError, ModelError
from emotailor.files import sha256_of
from emotailor.runs.stored import read_evaluation
from emotailor.sharing.facts import facts_of, without_paths
from emotailor.sharing.publish import publish
from emotailor.sharing.readme import readme
from emotailor.training.model_folder import (
    check_model,
    read_model_card,
    save_card,
)
from tests import kills
from tests.runs.runs import run_cli

yaml = pytest.importorskip("yaml")

FILES = {"README.md", "config.json", "model.json", "model.safetensors"}


@pytest.fixture(name="run")
def fixture_run(shared_run: Path) -> Path:
    return shared_run


@pytest.fixture(name="data")
def fixture_data(shared_set: Path) -> Path:
    return shared_set


@pytest.fixture(scope="module")
def published(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "tiny"
    publish(shared_run, folder, licence="mit", languages=["en"])
    return folder


def head_of(folder: Path) -> dict[str, Any]:
    """Return the front matter of a card, read by a library of YAML."""
    _, head, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


def table_of(text: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first column has a title, by their first cell."""
    _, _, behind = text.partition(f"| {first} |")
    lines = behind.split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_it_is_a_model_folder_with_the_same_weights(run: Path, published: Path, data: Path) -> None:
    assert {file.name for file in published.iterdir()} == FILES
    card, weights = check_model(published)
    assert weights == published / "model.safetensors"
    assert card.weights is not None
    assert card.weights.sha256 == sha256_of(check_model(run)[1])

    test = emotailor.load_dataset(data)["test"]
    before = emotailor.Predictor.load(run, device="cpu").predict_proba(test)
    after = emotailor.Predictor.load(published, device="cpu").predict_proba(test)
    assert (before == after).all()


def test_its_settings_are_not_taken_for_those_of_a_run(published: Path) -> None:
    opened = emotailor.Run.open(published)
    assert opened.config is None
    run_cli("evaluate", published).failed(4, "does not say which data it was trained on")
    config = json.loads((published / "config.json").read_text())
    names = list(opened.label_names)
    assert [config["id2label"][str(place)] for place in range(len(names))] == names
    assert [config["label2id"][name] for name in names] == list(range(len(names)))
    assert config["problem_type"] == "multi_label_classification"


def test_the_head_has_what_the_hub_reads(run: Path, published: Path) -> None:
    head = head_of(published)
    assert head["license"] == "mit"
    assert head["language"] == ["en"]
    assert head["library_name"] == "emotailor"
    assert head["pipeline_tag"] == "video-classification"
    assert {"emotailor", "multimodal", "tailor", "visual", "audio", "text"} <= set(head["tags"])

    stored = read_evaluation(run, "test")
    assert stored is not None
    (index,) = head["model-index"]
    (result,) = index["results"]
    assert index["name"] == "tiny"
    assert result["dataset"]["split"] == "test"
    assert result["dataset"]["revision"] == stored.data["fingerprint"]
    found = {metric["name"]: metric["value"] for metric in result["metrics"]}
    metrics = stored.metrics[stored.thresholds]
    assert found["micro-F1"] == round(metrics.micro_f1, 6)
    assert found["Hamming loss"] == round(metrics.hamming_loss, 6)


def test_the_library_of_the_hub_understands_the_card(published: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(published / "README.md")
    kinds = {result.metric_type for result in card.data.eval_results}
    assert card.data.license == "mit"
    assert {"f1", "precision", "recall"} <= kinds


def test_the_card_says_what_is_stored(run: Path, published: Path) -> None:
    text = (published / "README.md").read_text(encoding="utf-8")
    stored = read_evaluation(run, "test")
    card = read_model_card(published)
    assert stored is not None
    interval = stored.intervals["micro_f1"]
    row = table_of(text, "metric")["micro-F1"]
    assert row == [f"{interval.value:.3f}", f"\\[{interval.low:.3f}, {interval.high:.3f}\\]"]

    labels = table_of(text, "label")
    first = card.label_names[0]
    found = stored.metrics[stored.thresholds].labels[first]
    assert labels[first][0] == f"{found.support / 7:.3f}"
    assert labels[first][2] == f"{found.precision:.3f}"

    thresholds = table_of(text.partition("## Thresholds")[2], "label")
    expected = card.thresholds[card.default_thresholds].values
    assert {name: cells[0] for name, cells in thresholds.items()} == {
        name: f"{value:.3f}" for name, value in expected.items()
    }
    assert str(card.fingerprint) in text
    assert "## What it must not be used for\n\n- decisions about people" in text
    assert "AAAI 2022" in text


@pytest.mark.parametrize("name", ["tiny", "words"])
def test_the_command_lines_of_the_card_work(
    name: str, published: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published
    if name == "words":
        pytest.importorskip("tokenizers")
        folder = tmp_path / "said"
        publish("words", folder, licence="mit")
    block = re.search(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert block is not None
    monkeypatch.chdir(folder.parent)

    worked = 0
    for line in block[1].splitlines():
        program, *arguments = shlex.split(line)
        if program == "pip" or arguments[-1] == "clip.mp4" or (name == "words" and "DATA" in line):
            continue
        done = run_cli(*[str(data) if word == "DATA" else word for word in arguments])
        assert done.code == 0, done.err
        worked += 1
    assert worked == {"tiny": 2, "words": 1}[name]


def test_a_name_on_the_hub_stands_in_the_commands(run: Path, tmp_path: Path) -> None:
    made = publish(run, tmp_path / "x", licence="cc-by-4.0", repository="some-one/tiny")
    text = (tmp_path / "x" / "README.md").read_text()
    assert "emotailor predict hf://some-one/tiny DATA" in text
    assert "Predictor.load('hf://some-one/tiny')" in text
    assert 'pip install "emotailor[hub]"' in text
    assert all("hf://some-one/tiny" in command for command in made.commands)
    assert head_of(tmp_path / "x")["model-index"][0]["name"] == "tiny"


# ---------------------------------------------------------------------- private


def test_nothing_says_where_and_by_whom_it_was_made(run: Path, data: Path, tmp_path: Path) -> None:
    """Also where a user gave paths: the encoder's folder, a data set that is called by its path."""
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    card = read_model_card(model)
    adapters = card.adapters.replace(encoder="/home/alice/my encoders/bert-small")
    named = {"name": "C:\\Users\\alice\\mosei", "fingerprint": card.fingerprint}
    save_card(model, card.model_copy(update={"adapters": adapters, "data": named}))
    for source, folder in ((run, tmp_path / "one"), (model, tmp_path / "two")):
        publish(source, folder, licence="mit")
        texts = [file.read_bytes().decode("utf-8", "replace") for file in folder.iterdir()]
        for private in (str(run), str(data), str(Path.home()) + "/", "alice", "pytest-of-"):
            assert not any(private in text for text in texts), private
        assert not any(f"/{getpass.getuser()}/" in text for text in texts)
    kept = read_model_card(tmp_path / "two")
    assert kept.adapters.encoder == "bert-small"
    assert kept.data["name"] == "mosei"
    assert kept.device is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("learned from /home/alice/data/mosei, badly", "learned from mosei, badly"),
        ("in C:\\Users\\alice\\runs", "in runs"),
        ("in ~/runs/first", "in first"),
        ("and/or 3/4 of https://example.org/a/b, hf://user/name", None),
    ],
)
def test_a_path_becomes_its_last_part(text: str, left: str | None) -> None:
    assert without_paths(text) == (text if left is None else left)


def test_names_of_others_do_not_break_the_card(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    card = read_model_card(model)
    name = '<script>|a|\n---\n"b": [x](y) \u202e\x1b'
    save_card(model, card.model_copy(update={"data": {"name": name, "fingerprint": "0"}}))
    publish(model, tmp_path / "out", licence="mit")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert head_of(tmp_path / "out")["license"] == "mit"
    assert "datasets" not in head_of(tmp_path / "out")
    body = text.split("---\n", 2)[2]
    assert "\u202e" not in text
    assert "<script>" not in body.replace("\\<script\\>", "")


# ---------------------------------------------------------------------- refused


def test_only_what_is_ours_is_replaced(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="is no published model"):
        publish(run, folder, licence="mit", overwrite=True)
    assert (folder / "README.md").read_text() == "mine"

    (folder / "README.md").unlink()
    publish(run, folder, licence="mit", overwrite=True)
    with pytest.raises(ConfigError, match="already exists"):
        publish(run, folder, licence="mit")
    publish(run, folder, licence="apache-2.0", overwrite=True)
    assert head_of(folder)["license"] == "apache-2.0"
    # a published model can be published again, also over itself, and what was made of it goes
    (folder / "model.onnx").write_bytes(b"")
    (folder / "report.html").write_text("")
    (folder / "figures").mkdir()
    publish(folder, folder, licence="mit", overwrite=True)
    check_model(folder)
    assert {file.name for file in folder.iterdir()} == FILES

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        publish(run, folder, licence="mit", overwrite=True)
    with pytest.raises(ConfigError):
        publish(run, run / "model", licence="mit", overwrite=True)
    check_model(run)


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
def test_a_kill_leaves_no_mixture(run: Path, tmp_path: Path) -> None:
    """What a kill leaves is a whole model or none, and the same command ends what it began."""
    first = tmp_path / "first"
    publish(run, first, licence="mit")
    calls: list[str] = []
    shutil.copytree(first, tmp_path / "counted")
    with kills.counted(lambda number, name: calls.append(name)):
        publish(run, tmp_path / "counted", licence="other", overwrite=True)

    found = set()
    for share in (0.3, 0.6, 0.75, 0.85, 0.95):
        folder = tmp_path / f"killed{share}"
        shutil.copytree(first, folder)
        again = partial(publish, run, folder, licence="other", overwrite=True)
        assert kills.run_and_die(again, 1 + int(share * len(calls))) == kills.KILLED
        try:
            card, weights = check_model(folder)
            found.add("whole")
            assert card.weights is not None
            assert sha256_of(weights) == card.weights.sha256
        except ModelError:
            found.add("none")
        again()
        assert head_of(folder)["license"] == "other"
        check_model(folder)
        assert {file.name for file in folder.iterdir()} == FILES
    assert "whole" in found


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"licence": "MIT License"}, "did you mean mit-license?"),
        ({"licence": "mit", "languages": ["English"]}, "a code, such as en"),
        ({"licence": "mit", "repository": "name"}, "user/name"),
        ({"licence": "mit", "repository": "a/b--c"}, "user/name"),
        ({"licence": "mit", "repository": "a/" + "b" * 95}, "user/name"),
    ],
)
def test_what_the_hub_does_not_take(
    run: Path, tmp_path: Path, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        publish(run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_damaged_model_is_not_published(run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    (weights,) = model.glob("weights-*")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="SHA-256 differs"):
        publish(model, tmp_path / "out", licence="mit")
    assert not (tmp_path / "out").exists()


def test_a_model_without_an_evaluation_says_so(run: Path) -> None:
    text = readme(facts_of(run / "model"), "x", "x", "mit")
    assert "nothing is known of how good it is" in text
    assert "model-index" not in text
    assert "It was not evaluated." in text


def test_the_command(run: Path, tmp_path: Path) -> None:
    done = run_cli("publish", run, tmp_path / "out", "--license", "mit", "--name", "a/b", width=200)
    assert done.code == 0
    assert "next: hf upload a/b " in done.out
    run_cli("publish", run, tmp_path / "new").failed(2, "needs --license")
