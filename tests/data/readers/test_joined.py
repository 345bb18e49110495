"""MulT's and MMSA's pickles, whose emotions come from another file."""

import csv
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.convert import convert
from emotailor.data.readers._common import ConvertOptions
from emotailor.data.readers._labels import read_label_table
from emotailor.errors import DataError
from tests.data.readers.sources import (
    DIMS,
    SDK,
    STEPS,
    features,
    label_csv,
    mmsa_content,
    mult_content,
    write_csd,
)

# angry, disgust, fear, happy, sad, surprise
TRAIN = [[0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0]]
VALID = [[0, 0, 1, 0, 0, 1]]
TEST = [[0] * 6, [0, 1, 0, 1, 0, 0]]


def save(content: Any, path: Path) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return label_csv(tmp_path / "segments.csv")


def test_mult_joins_by_video_and_time(tmp_path: Path, labels: Path) -> None:
    content = mult_content()
    # another order than the label file's, and seconds rounded elsewhere
    content["test"]["id"] = np.array([["cy", "1.02", "1.98"], ["cy", "0.0", "1.0"]])
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    assert data.card.provenance["format"] == "mult" and data.aligned and data.dims == DIMS
    assert data["train"].ids == ["ann[0]", "ann[1]"] and data["test"].ids == ["cy[1]", "cy[0]"]
    assert data["train"].labels.tolist() == TRAIN
    assert data["valid"].labels.tolist() == VALID
    assert data["test"].labels.tolist() == TEST[::-1]
    np.testing.assert_array_equal(data["test"].sequence("text", 1), features("text", 2)[1])
    np.testing.assert_array_equal(data["valid"].sequence("visual", 0), features("visual", 1)[0])


def test_mult_joins_by_segment_id_in_bytes(tmp_path: Path, labels: Path) -> None:
    content = mult_content()
    names = {"train": [b"ann[0]", b"ann[1]"], "valid": [b"bob[3]"], "test": [b"cy[1]", b"cy[0]"]}
    for split, ids in names.items():
        content[split]["id"] = np.array(ids)[:, None]
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    assert data["test"].labels.tolist() == TEST[::-1]
    assert data["test"].ids == ["cy[1]", "cy[0]"]


def test_mult_drops_and_counts_what_has_no_labels(tmp_path: Path, labels: Path) -> None:
    content = mult_content()
    content["train"]["id"] = np.array([["ann", "0.5", "2.4"], ["ann", "2.25", "4.0"]])
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    assert data["train"].ids == ["ann[1]"] and data["train"].labels.tolist() == TRAIN[1:]
    note = "1 of 5 samples have no labels in segments.csv and were dropped"
    assert note in data.card.repairs
    for split in content.values():
        split["id"] = np.array([["zoe", "0", "1"]] * len(split["id"]))
    with pytest.raises(DataError, match="none of the 5 samples"):
        convert(save(content, tmp_path / "a.pkl"), tmp_path / "other", labels=labels)


@pytest.mark.parametrize("format_name", ["mult", "mmsa"])
def test_no_label_file_is_an_error_that_says_how(tmp_path: Path, format_name: str) -> None:
    content = mult_content() if format_name == "mult" else mmsa_content()
    path = save(content, tmp_path / "a.pkl")
    with pytest.raises(DataError, match=r"no emotion labels.*\n.*\n.*pass --labels with a CSV"):
        convert(path, tmp_path / "out")


def test_mult_ids_of_another_shape(tmp_path: Path, labels: Path) -> None:
    content = mult_content()
    content["train"]["id"] = np.array([["ann", "0.5"], ["ann", "1"]])
    with pytest.raises(DataError, match=r"'id' has shape \(2, 2\)"):
        convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    content["train"]["id"] = np.array([["ann", "0.5", "x"], ["ann", "1", "2"]])
    with pytest.raises(DataError, match="is not video, start and end"):
        convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)


def test_mmsa_joins_by_clip_and_uses_its_lengths(tmp_path: Path, labels: Path) -> None:
    content = mmsa_content()
    for split, part in content.items():
        n = len(part["id"])
        part["audio"] = np.pad(features("audio", n), ((0, 0), (0, 2), (0, 0)))
        part["audio_lengths"] = [STEPS - 1] * n  # shorter than what is not zero
        part["vision_lengths"] = np.array([STEPS] * n)
        content[split] = part
    content["train"]["text"][0, 6:] = 0
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    assert data.card.provenance["format"] == "mmsa" and not data.aligned
    assert data["train"].ids == ["ann$_$0", "ann$_$1"]
    assert data["train"].labels.tolist() == TRAIN and data["test"].labels.tolist() == TEST
    assert data["train"].lengths("audio").tolist() == [STEPS - 1] * 2
    assert data["train"].lengths("text").tolist() == [6, STEPS]
    expected = features("audio", 2)[1, : STEPS - 1]
    np.testing.assert_array_equal(data["test"].sequence("audio", 1), expected)


def test_mmsa_without_text_features_says_so(tmp_path: Path, labels: Path) -> None:
    content = mmsa_content()
    for part in content.values():
        del part["text"]
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)
    assert data.modalities == ("visual", "audio")
    assert any(line.startswith("no text modality") for line in data.card.repairs)


@pytest.mark.parametrize("lengths", [[1], [STEPS + 1, 1], [-1, 1], [1.5, 1]])
def test_mmsa_impossible_lengths(tmp_path: Path, labels: Path, lengths: list[float]) -> None:
    content = mmsa_content()
    content["train"]["audio_lengths"] = lengths
    with pytest.raises(DataError, match="audio_lengths"):
        convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=labels)


def test_threshold_and_rule(tmp_path: Path, labels: Path) -> None:
    path = save(mmsa_content(), tmp_path / "a.pkl")
    above = convert(path, tmp_path / "a", labels=labels, label_threshold=1.0)
    assert above["train"].labels.tolist() == [[0, 0, 0, 0, 0, 1], [0] * 6]
    at = convert(path, tmp_path / "b", labels=labels, label_threshold=1.0, label_rule=">=")
    assert at["train"].labels.tolist() == TRAIN
    assert "a label holds where its value is >= 1" in at.card.repairs


def test_labels_from_a_csd_file(tmp_path: Path) -> None:
    rows = np.zeros((2, 7))
    rows[0, 2], rows[1, 6] = 1, 2  # sad; fear
    entries = {"ann": (rows, [(0, 1), (1, 2)]), "bob[3]": (rows[1:], [(10, 12.5)])}
    path = write_csd(tmp_path / "Labels.csd", "All Labels", entries)
    table = read_label_table(path, ConvertOptions())
    assert table.names == SDK
    found = {s.key: s.labels.tolist() for s in table.segments}
    assert found == {
        "ann[0]": [0, 1, 0, 0, 0, 0],
        "ann[1]": [0, 0, 0, 0, 0, 1],
        "bob[3]": [0, 0, 0, 0, 0, 1],
    }
    assert any("does not name its columns" in note for note in table.notes)
    near = table.find_time("bob", 10.04, 12.46)
    assert near is not None and near.key == "bob[3]"
    assert table.find_time("bob", 10.06, 12.5) is None
    assert table.find("ann$_$1") is table.find("ann[1]") is not None
    assert table.find("ann[2]") is None and table.find("eve") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "has the columns a, b"),
        ("id,mood\nx,1\n", "no emotion among them"),
        ("id,happy\nx,\n", "line 2: {'happy': ''}"),
        ("id,happy\nx,much\n", "line 2: {'happy': 'much'}"),
        ("id,happy\nx,nan\n", "not finite numbers"),
        ("id,happy\nx,1\nx,0\n", "'x' occurs twice"),
        ("id,happy\n,1\n", "line 2: no id"),
        ("id,happy,start,end\nx,1,soon,2\n", "'start': 'soon'"),
        ("id,happy\n\xff\0,1\n", "cannot be read|no samples|none of"),
    ],
)
def test_label_files_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes(text.encode("latin-1"))
    path = save(mmsa_content(), tmp_path / "a.pkl")
    with pytest.raises(DataError, match=message):
        convert(path, tmp_path / "out", labels=labels)


def test_an_unknown_label_lists_the_columns(tmp_path: Path, labels: Path) -> None:
    path = save(mmsa_content(), tmp_path / "a.pkl")
    with pytest.raises(DataError, match=r"has no label 'bored'.*\n.*surprise"):
        convert(path, tmp_path / "out", labels=labels, label_names=["happy", "bored"])
    data = convert(path, tmp_path / "out", labels=labels, label_names=["Fear", "anger"])
    assert data.label_names == ("fear", "angry") and data["valid"].labels.tolist() == [[1, 0]]


def test_real_label_table_joins_by_clip_and_by_time(tmp_path: Path, shared_data: Path) -> None:
    table = shared_data / "mosei_labels" / "segments.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = read_label_table(table, ConvertOptions())
    assert len(found.segments) == 23_259 and found.names == SDK
    held = np.sum([s.labels for s in found.segments], axis=0, dtype=int).tolist()
    assert held == [sum(float(r[name]) > 0 for r in rows) for name in SDK]
    # 21 real segments through both formats, with a label file of these alone
    chosen = {s: [r for r in rows if r["split"] == s][:7] for s in ("train", "valid", "test")}
    labels = tmp_path / "some.csv"
    with labels.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(r for part in chosen.values() for r in part)
    mmsa, mult = {}, {}
    for split, part in chosen.items():
        shared = {"audio": features("audio", 7), "vision": features("visual", 7)}
        shared["text"] = features("text", 7)
        clips = [f"{r['id']}$_${r['segment_id']}" for r in part]
        times = [[r["id"], r["start"], r["end"]] for r in part]
        mmsa[split] = shared | {"id": clips, "raw_text": []}
        mult[split] = shared | {"id": np.array(times), "labels": 0}
    a = convert(save(mmsa, tmp_path / "a.pkl"), tmp_path / "a", labels=labels)
    b = convert(save(mult, tmp_path / "b.pkl"), tmp_path / "b", labels=labels)
    columns = ("anger", "disgust", "fear", "happy", "sad", "surprise")
    for split, part in chosen.items():
        assert b[split].ids == [r["key"] for r in part]
        expected = [[int(float(r[c]) > 0) for c in columns] for r in part]
        assert a[split].labels.tolist() == b[split].labels.tolist() == expected
