"""Words on their way: from a table through cutting, training and new files into explanations."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import emotailor
from emotailor.data.readers import read_samples
from emotailor.data.readers.convert import convert
from emotailor.errors import DataError
from emotailor.figures import make as figures
from tests.encoders.tiny import Lengths
from tests.runs.runs import run_cli

VOCABULARY = ("I", "am", "here", "glad", "now", "then")
COUNTS = {"train": 40, "valid": 12, "test": 12}


def vectors(words: list[str]) -> np.ndarray:
    """A word is a row of zeros with a one."""
    return np.eye(len(VOCABULARY), dtype=np.float16)[[VOCABULARY.index(word) for word in words]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of sentences, of which those with "glad" are happy, and a model of them."""
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(3)
    rows = ["id,split,happy,words"]
    said: list[str] = []
    offsets = [0]
    for split, count in COUNTS.items():
        for i in range(count):
            words = rng.choice([word for word in VOCABULARY if word != "glad"], 7).tolist()
            happy = i % 2
            if happy:
                words[int(rng.integers(7))] = "glad"
            rows.append(f"{split}{i}[0],{split},{happy},{' '.join(words)}")
            said += words
            offsets.append(len(said))
    (folder / "samples.csv").write_text("\n".join(rows) + "\n")
    np.savez(folder / "text.npz", values=vectors(said), offsets=np.array(offsets))

    convert(folder, folder / "data", max_steps=60)
    result = run_cli(
        "train", "--model", "br", "--data", folder / "data", "--out", folder / "run",
        "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    return folder


def test_an_explanation_names_the_words(run: Path) -> None:
    result = run_cli("predict", run / "run", run / "data", "--split", "test", "--explain")
    assert result.code == 0, result.err
    assert result.out.count('text, "glad"') >= 5  # six are happy
    assert "step" not in result.out.replace("the steps it misses most", "")

    as_json = run_cli(
        "predict", run / "run", run / "data", "--split", "test", "--explain", "--json"
    )
    first = json.loads(as_json.out.splitlines()[1])
    assert len(first["explanation"]["words"]["text"]) == 7


def test_words_in_new_files_are_named(run: Path, tmp_path: Path) -> None:
    words = ["now", "I", "am", "glad"]
    np.savez(tmp_path / "new.npz", text=vectors(words), words=np.array(words))
    lengths = [len(word) for word in words]
    arrays = {
        "text": vectors(words),
        "words.bytes": np.frombuffer("".join(words).encode(), np.uint8),
        "words.offsets": np.cumsum([0, *lengths]),
    }
    save_file(arrays, tmp_path / "other.safetensors")
    for file in ("new.npz", "other.safetensors"):
        result = run_cli("predict", run / "run", tmp_path / file, "--explain")
        assert result.code == 0 and 'text, "glad"' in result.out, result.err
        assert "not used" not in result.err

    model = emotailor.Predictor.load(run / "run")
    (found,) = model.predict([{"id": "a", "text": vectors(words), "words": words}], explain=True)
    assert found.explanation is not None and found.explanation.describe("happy") == 'text, "glad"'


def test_words_that_are_not_as_many_as_steps(run: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", text=vectors(["now", "glad"]), words=np.array(["now"]))
    with pytest.raises(DataError, match=r"words is <U3 of shape \(1,\)"):
        list(read_samples(tmp_path / "a.npz").samples)
    result = run_cli("predict", run / "run", tmp_path / "a.npz")
    assert result.code != 0 and "Traceback" not in result.err


def test_cut_samples_keep_the_words_that_are_seen(run: Path) -> None:
    result = run_cli(
        "predict", run / "run", run / "data", "--max-steps", "1", "--explain", "--json"
    )
    for line in result.out.splitlines():
        assert len(json.loads(line)["explanation"]["words"]["text"]) == 1


def test_mistakes_of_a_report_show_words(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {})  # they have tests of their own
    result = run_cli("report", run / "run")
    assert result.code == 0, result.err
    page = (run / "run" / "report.html").read_text(encoding="utf-8")
    mistakes = page.count("<article")
    assert page.count('class="spoken"') <= mistakes
    if mistakes:
        assert any(f">{word}</span>" in page for word in VOCABULARY)


def test_words_end_to_end_in_one_file_of_all_samples(tmp_path: Path) -> None:
    said = ["I", "am", "here", "now", "glad"]
    arrays: dict[str, Any] = {
        "id": np.array(["a", "b", "c"]),
        "text.values": vectors(said),
        "text.offsets": np.array([0, 2, 2, 5]),
        "audio.values": np.ones((5, 1)),
        "audio.offsets": np.array([0, 2, 2, 5]),
    }
    np.savez(tmp_path / "all.npz", words=np.array(said), **arrays)
    samples = [sample for _, sample in read_samples(tmp_path / "all.npz").samples]
    assert [sample.words for sample in samples] == [["I", "am"], None, ["here", "now", "glad"]]

    # as in a shard: the first sample has no words
    lengths = [len(word) for word in said[2:]]
    packed: dict[str, Any] = {
        "words.bytes": np.frombuffer(b"herenowglad", np.uint8),
        "words.offsets": np.cumsum([0, *lengths]),
        "words.samples": np.array([0, 0, 0, 3]),
    }
    np.savez(tmp_path / "all.npz", **arrays, **packed)
    samples = [sample for _, sample in read_samples(tmp_path / "all.npz").samples]
    assert [sample.words for sample in samples] == [None, None, ["here", "now", "glad"]]

    packed["words.samples"] = np.array([0, 2, 1, 3])
    np.savez(tmp_path / "all.npz", **arrays, **packed)
    with pytest.raises(DataError, match=r"words.samples falls"):
        read_samples(tmp_path / "all.npz")


def test_an_explanation_of_a_real_segment_names_the_words(
    tmp_path: Path, shared_data: Path
) -> None:
    folder = shared_data / "mosei_text"
    if not folder.is_dir():
        pytest.skip("no transcripts of CMU-MOSEI")

    with (folder / "mosei_text.csv").open(encoding="utf-8") as whole:
        (tmp_path / "some.csv").write_text("".join(islice(whole, 1 + 200)), encoding="utf-8")
    convert(
        tmp_path / "some.csv", tmp_path / "data", encoder=Lengths(), max_steps=60,
        label_names=["happy", "sad"],
    )  # fmt: skip
    result = run_cli(
        "train", "--model", "br", "--data", tmp_path / "data", "--out", tmp_path / "run",
        "--device", "cpu",
    )  # fmt: skip
    assert result.code == 0, result.err
    (found,) = emotailor.predict(
        tmp_path / "run", tmp_path / "data", split="valid", limit=1, explain=True
    )
    assert found.id == "--qXJuDtHPw[0]" and found.explanation is not None
    words = found.explanation.words["text"]
    assert " ".join(words).startswith("I see that a writer is somebody who has an incredible")
    for label in ("happy", "sad"):
        _, first, last = found.explanation.strongest(label)
        assert f'"{words[first]}' in found.explanation.where("text", first, last)
