"""A table with a column of text becomes a data set with a vector for each word."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import emotailor
from emotailor.data.readers import encoding
from emotailor.encoders import ENCODERS
from emotailor.encoders import samples as module
from emotailor.encoders.table import Known
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.serving.predictor import Predictor
from tests.encoders.tiny import Lengths
from tests.runs.runs import run_cli

TEXTS = ["so great", "a bad day", "", "R&amp;D ???", "what"]


def table(folder: Path, texts: Sequence[str] = TEXTS, column: str = "text") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "table.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "split", "happy", "sad", column])
        for i, text in enumerate(texts):
            split = "train" if i % 4 else "test"
            rows.writerow([f"v{i}[0]", split, i % 2, i % 3 % 2, text])
    return file


def test_words_and_vectors_are_stored_together(tmp_path: Path) -> None:
    encoder = Lengths()
    dataset = emotailor.convert(table(tmp_path), tmp_path / "data", encoder=encoder)
    assert dataset.dims == {"text": 2}
    assert dataset.aligned
    assert dataset.card.dtype_of("text") == "float16"
    assert dataset.card.extraction == {"text": encoder.extraction}
    assert not (tmp_path / "data.encoding").exists()

    train = dataset["train"]
    assert list(train.ids) == ["v1[0]", "v3[0]"]  # nothing is said in v2
    first, second = train
    assert first.words == ["a", "bad", "day"]
    assert first.sequences["text"].tolist() == [[1, 1], [3, 1], [3, 1]]
    assert first.about == {"transcript": "a bad day"}
    assert second.words == ["R&D", "???"]
    assert second.missing["text"].tolist() == [False, True]
    assert second.about["transcript"] == "R&amp;D ???"
    notes = dataset.card.repairs
    assert "1 word without a vector: missing steps" in notes
    assert "dropped 1 sample without a modality: v2[0]" in notes


def test_one_vector_for_each_sample(tmp_path: Path) -> None:
    dataset = emotailor.convert(
        table(tmp_path), tmp_path / "data", encoder=Lengths("sentence"), pooling="sentence"
    )
    (first, _) = dataset["train"]
    assert first.words is None
    assert np.allclose(first.sequences["text"], [[7 / 3, 1]], atol=1e-3)


def test_names_beside_a_vector_for_each_sample(tmp_path: Path) -> None:
    """They have one step too: the data are aligned."""
    file = tmp_path / "table.csv"
    file.write_text("id,split,happy,units,text\na[0],train,1,AU1 AU2,so great\n")
    dataset = emotailor.convert(
        file,
        tmp_path / "data",
        encoder=Lengths("sentence"),
        flags={"visual": "units"},
    )
    assert dataset.aligned
    sample = dataset["train"].sample(0)
    assert {m: len(x) for m, x in sample.sequences.items()} == {"visual": 1, "text": 1}


def test_with_other_features_beside(tmp_path: Path) -> None:
    """Aligned, a word without a vector keeps its step; unaligned it has none."""
    file = table(tmp_path, ["so great", "a ??? day"])
    (tmp_path / "visual").mkdir()
    for i, steps in enumerate((2, 3)):
        np.save(tmp_path / "visual" / f"v{i}[0].npy", np.full((steps, 5), i + 1, np.float32))
    aligned = emotailor.convert(file, tmp_path / "aligned", encoder=Lengths(), align=True)
    sample = aligned["train"].sample(0)
    assert sample.words == ["a", "???", "day"]
    assert sample.missing["text"].tolist() == [False, True, False]

    loose = emotailor.convert(file, tmp_path / "loose", encoder=Lengths())
    assert not loose.aligned
    sample = loose["train"].sample(0)
    assert sample.words == ["a", "day"]
    assert sample.sequences["text"].tolist() == [[1, 1], [3, 1]]
    assert len(sample.sequences["visual"]) == 3


# ---------------------------------------------------------------------- stops and limits


def test_what_was_encoded_before_a_stop_is_not_encoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_TEXTS", 3)
    texts = [f"word{i} of it" for i in range(11)]
    file = table(tmp_path, texts)
    whole = emotailor.convert(file, tmp_path / "whole", encoder=Lengths())

    out = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        emotailor.convert(file, out, encoder=Lengths(stop_after=6))
    assert not out.exists()
    parts = sorted(path.name for path in (tmp_path / "data.encoding").iterdir())
    assert len([name for name in parts if name.startswith("part-")]) == 2

    again = Lengths()
    dataset = emotailor.convert(file, out, encoder=again)
    assert again.encoded == 5
    assert dataset == whole
    assert not (tmp_path / "data.encoding").exists()
    assert "6 samples encoded by an earlier run" in dataset.card.repairs


def test_only_parts_are_removed_when_the_data_set_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_TEXTS", 3)
    file = table(tmp_path, [f"word{i} of it" for i in range(11)])
    out = tmp_path / "data"
    parts = tmp_path / "data.encoding"
    with pytest.raises(KeyboardInterrupt):
        emotailor.convert(file, out, encoder=Lengths(stop_after=6))

    mine = parts / "notes.txt"
    mine.write_text("not of emotailor")
    emotailor.convert(file, out, encoder=Lengths())
    assert [path.name for path in parts.iterdir()] == ["notes.txt"]


def test_parts_of_another_encoder_or_with_other_bytes_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_TEXTS", 3)
    file = table(tmp_path, [f"word{i}" for i in range(7)])
    out = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        emotailor.convert(file, out, encoder=Lengths(stop_after=6))
    (first, second) = sorted((tmp_path / "data.encoding").glob("part-*"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-3])

    again = Lengths()
    emotailor.convert(file, out, encoder=again)
    assert again.encoded == 7

    with pytest.raises(KeyboardInterrupt):
        emotailor.convert(file, out, encoder=Lengths(stop_after=6), overwrite=True)
    other = Lengths("sentence")
    emotailor.convert(file, out, encoder=other, overwrite=True)
    assert other.encoded == 7


def test_a_limit_encodes_no_more_than_it_stores(tmp_path: Path) -> None:
    encoder = Lengths()
    file = table(tmp_path, ["yes no"] * 40)
    dataset = emotailor.convert(file, tmp_path / "data", encoder=encoder, limit=3)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 3, "test": 3}
    assert encoder.encoded == 6
    assert "read 40 samples: 6 stored, 34 beyond the limit" in dataset.card.repairs


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "data.encoding"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="no folder of encoded parts"):
        emotailor.convert(table(tmp_path), tmp_path / "data", encoder=Lengths())
    assert (foreign / "thesis.txt").read_text() == "mine"


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("column", "fix"), [("txet", "did you mean 'text'?"), ("qqqq", "name the column")]
)
def test_a_column_that_is_not_there(column: str, fix: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no column '{column}'") as caught:
        emotailor.convert(table(tmp_path), tmp_path / "data", encoder=Lengths(), text_column=column)
    assert fix in str(caught.value.fix)


def test_text_and_no_encoder_or_features_already(tmp_path: Path) -> None:
    file = table(tmp_path)
    with pytest.raises(ConfigError, match="nothing makes features of it") as caught:
        emotailor.convert(file, tmp_path / "data", text_column="text")
    assert caught.value.fix == "add --encoder minilm"

    stored = tmp_path / "stored"
    emotailor.convert(file, stored, encoder=Lengths())
    with pytest.raises(ConfigError, match="the source is of the format stored"):
        emotailor.convert(stored, tmp_path / "data", encoder=Lengths())

    np.save(tmp_path / "text.npy", np.ones((5, 3), np.float32))
    with pytest.raises(ConfigError, match="has features of text"):
        emotailor.convert(file, tmp_path / "data", encoder=Lengths())


def test_a_text_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 4)
    file = table(tmp_path, ["one two three four", "one two three four five"])
    with pytest.raises(DataError, match=r"'v1\[0\]' has 5 words"):
        emotailor.convert(file, tmp_path / "data", encoder=Lengths())


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "parts_beside", lambda output: tmp_path / "kept")
    file = table(tmp_path, column="Said")
    done = run_cli("data", "convert", file, "-o", tmp_path / "data", "--encoder", "nothing/here")
    assert done.code == 4  # the column is looked for first
    monkeypatch.chdir(tmp_path)
    options = ("--text-column", "said", "--encoder")
    done = run_cli("data", "convert", file, "-o", tmp_path / "data", *options, "nothing/here")
    assert done.code == 3
    assert "nothing/here does not exist" in done.err


class Renamed(Lengths):
    """The same vectors under another name, as from another package."""

    def __init__(self) -> None:
        super().__init__()
        told = {"extractor": "longitudes", "version": "2"}
        self.extraction = self.extraction.model_copy(update=told)


class Other(Lengths):
    """Other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.extraction = self.extraction.model_copy(update={"sha256": "0" * 64})


# ---------------------------------------------------------------------- predicting from text


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on a number for each word: of text alone."""
    home = tmp_path_factory.mktemp("home")
    texts = ["so great", "a bad day", "yes", "no", "well then"] * 8
    rows = table(home, texts).read_text().replace("test,", "valid,", 4)
    (home / "table.csv").write_text(rows)
    emotailor.convert(home / "table.csv", home / "data", encoder=Lengths())
    emotailor.train({"data": {"path": str(home / "data")}}, home / "run", model="br")
    return home / "run"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """``lengths`` has a name, as ``minilm`` has."""
    row = Known("lengths", "lengths", "tests", "two numbers", Lengths)
    monkeypatch.setitem(ENCODERS, "lengths", row)


def test_a_text_is_predicted_as_from_a_stored_set(run: Path, known: None) -> None:
    (first, second) = emotailor.predict_texts(run, ["a bad day", "well &amp; then"])
    assert (first.id, second.id) == ("text1", "text2")
    stored = emotailor.predict(run, run.parent / "data", split="train", ids=["v1[0]"])
    assert first.probabilities == stored[0].probabilities

    explained = emotailor.predict_texts(run, ["a bad day"], explain=True)[0]
    assert explained.explanation is not None
    assert explained.explanation.words == {"text": ["a", "bad", "day"]}


def test_the_command_takes_texts(run: Path, known: None) -> None:
    done = run_cli("predict", run, "--text", "a bad day", "--text", "", "--csv")
    assert done.code == 1  # nothing is said in the second
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["id"] for row in rows] == ["text1", "text2"]
    assert 0 < float(rows[0]["p:happy"]) < 1
    assert "has no word with a vector" in rows[1]["error"]

    assert run_cli("predict", run).code == 2
    assert run_cli("predict", run, run.parent / "data", "--text", "x").code == 3
    assert run_cli("predict", run, run.parent / "data", "--encoder", "minilm").code == 3


def test_features_of_another_encoder_are_refused(run: Path, tmp_path: Path) -> None:
    """A model remembers what made its features of text, and says which is which."""
    file = run.parent / "table.csv"
    for name, encoder in (("same", Renamed()), ("other", Other())):
        emotailor.convert(file, tmp_path / name, encoder=encoder)
    ours = emotailor.Run.open(run).predictor().card.extraction["text"]
    assert ours == Lengths().extraction

    emotailor.evaluate(run, data=tmp_path / "same", split="train", resamples=0, store=False)
    for call in (emotailor.predict, lambda run, data: emotailor.evaluate(run, data=data)):
        with pytest.raises(ModelError, match="text of table was extracted with lengths") as caught:
            call(run, tmp_path / "other")
        assert "weights 000000000000" in caught.value.found
        assert ours.describe() in str(caught.value.expected)


def test_text_for_a_model_of_another_encoder_or_none(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "hand.txt"
    file.write_text("a 1 2\nbad 3 4\n")
    with pytest.raises(ModelError, match="text of these texts was extracted with hand") as caught:
        emotailor.predict_texts(run, ["a bad day"], encoder=file)
    assert "lengths 1" in str(caught.value.expected)

    silent = Predictor.load(run, device="cpu")
    silent.card = silent.card.model_copy(update={"extraction": {}})
    with pytest.raises(ConfigError, match="does not say what made its features"):
        emotailor.predict_texts(silent, ["a bad day"])
    assert len(emotailor.predict_texts(silent, ["a bad day"], encoder=Lengths())) == 1
    wide = tmp_path / "wide.txt"
    wide.write_text("a 1 2 3\n")
    with pytest.raises(ModelError, match="wide makes 3 features") as caught:
        emotailor.predict_texts(silent, ["a bad day"], encoder=wide)
    assert "the 2 that" in str(caught.value.expected)
    with pytest.raises(DataError, match="a str in the place of texts"):
        emotailor.predict_texts(run, "a bad day")


def test_an_encoder_without_a_name_has_to_be_told(run: Path) -> None:
    with pytest.raises(ConfigError, match="trained on features of lengths 1") as caught:
        emotailor.predict_texts(run, ["a bad day"])
    assert "--encoder" in str(caught.value.fix)
    assert len(emotailor.predict_texts(run, ["a bad day"], encoder=Lengths())) == 1
