"""Nothing in a source is left out in silence: whatever nobody read is named, in every format."""

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import emotailor
from emotailor.data.dataset import EmotionDataset
from emotailor.data.readers import FORMATS, Account, ConvertOptions, Reading, Sample
from emotailor.data.readers.account import MOST_NAMED, look
from emotailor.data.readers.convert import convert
from tests.data.readers.sources import (
    MAKERS,
    Source,
    csd,
    features,
    mmsa,
    mmsa_content,
    mult,
    npz,
    pom,
    table,
    tailor_content,
)
from tests.data.readers.test_frames import extracted
from tests.runs.runs import run_cli


def notes(data: EmotionDataset) -> list[str]:
    return data.card.repairs


def converted(source: Source, out: Path) -> list[str]:
    return notes(convert(source.path, out, **source.options))


# ---------------------------------------------------------------------- one foreign thing


def foreign_array(folder: Path) -> tuple[Source, str]:
    source = npz(folder)
    with np.load(source.path) as file:
        arrays: dict[str, Any] = dict(file)
    np.savez(source.path, **arrays, eeg=np.zeros((4, 14)))
    return source, "arrays of data.npz not used: eeg (4, 14)"


def foreign_column(folder: Path) -> tuple[Source, str]:
    source = table(folder)
    source.options["label_names"] = ["happy"]
    return source, "columns of samples.csv not used: calm, comment"


def foreign_file_of_a_table(folder: Path) -> tuple[Source, str]:
    source = table(folder)
    np.save(folder / "audio" / "zoe.npy", np.ones((2, 5)))
    return source, "audio: 1 files of no row: zoe.npy"


def foreign_entry(folder: Path) -> tuple[Source, str]:
    content = tailor_content()
    content["eeg"] = np.zeros((5, 14))
    torch.save(content, folder / "a.pt")
    return Source(folder / "a.pt", folder), "entries of a.pt not used: eeg (5, 14)"


def foreign_split(folder: Path) -> tuple[Source, str]:
    content = tailor_content()
    content["pretrain"] = content["test"]
    torch.save(content, folder / "a.pt")
    return Source(folder / "a.pt", folder), "entries of a.pt not used: pretrain 4 items"


def foreign_key(folder: Path) -> tuple[Source, str]:
    source = mmsa(folder)
    content = mmsa_content()
    for count, of_split in zip((2, 1, 2), content.values(), strict=True):
        of_split["annotations"] = np.zeros(count)
    source.path.write_bytes(pickle.dumps(content))
    return source, "entries of the splits of data.pkl not used: annotations (2,) + (1,)"


def foreign_row(folder: Path) -> tuple[Source, str]:
    source = mult(folder)
    with source.options["labels"].open("a") as file:
        file.write("zoe,0,0.0,1.0,1,0,0,0,0,0,zoe[0],train\n")
    return source, "segments.csv: 1 rows of no sample: zoe[0]"


def foreign_label_column(folder: Path) -> tuple[Source, str]:
    source = mult(folder)
    rows = list(csv.reader(source.options["labels"].read_text().splitlines()))
    lines = [[*row, "sentiment" if i == 0 else "0"] for i, row in enumerate(rows)]
    source.options["labels"].write_text("\n".join(",".join(line) for line in lines) + "\n")
    return source, "columns of segments.csv not used: split, sentiment"


def foreign_dataset(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    with h5py.File(source.damage, "a") as file:
        file["COVAREP/data/ann/confidence"] = np.ones(3)
    return source, "arrays of CMU_MOSEI_COVAREP.csd not used: confidence in 1 video"


def foreign_group(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    with h5py.File(source.damage, "a") as file:
        file["COVAREP/history/first"] = np.ones(3)
    return source, "arrays of CMU_MOSEI_COVAREP.csd not used: history"


def foreign_video(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    with h5py.File(source.damage, "a") as file:
        file["COVAREP/data/zoe/features"] = np.ones((1, 5))
        file["COVAREP/data/zoe/intervals"] = np.array([[0.0, 1.0]])
    return source, "CMU_MOSEI_COVAREP.csd: 1 videos without a segment: zoe"


def foreign_fold(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    folds = {"train": ["ann", "zoe"], "valid": ["bob"], "test": ["cy"]}
    source.options["folds"].write_text(json.dumps(folds))
    return source, "folds.json: 1 entries of no segment: zoe"


def foreign_column_of_folds(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    folds = folder / "folds.csv"
    folds.write_text("id,split,rater\nann,train,x\nbob,valid,x\ncy,test,x\n")
    source.options["folds"] = folds
    return source, "columns of folds.csv not used: rater"


def foreign_file(folder: Path) -> tuple[Source, str]:
    source = csd(folder)
    (folder / "readme.txt").write_text("hello")
    (folder / "raw").mkdir()
    (folder / "raw" / "a.mp4").write_text("")
    return source, f"files in {folder.name} not used: raw (1 file), readme.txt"


def foreign_h5(folder: Path) -> tuple[Source, str]:
    source = pom(folder)
    with h5py.File(folder / "audio_valid.h5", "a") as file:
        file["d2"] = np.ones(3)
    return source, "datasets of the .h5 files not used: d2"


def foreign_pom_file(folder: Path) -> tuple[Source, str]:
    source = pom(folder)
    with h5py.File(folder / "words_train.h5", "w") as file:
        file["d1"] = np.ones(3)
    return source, f"files in {folder.name} not used: words_train.h5"


def foreign_extractor_column(folder: Path) -> tuple[Source, str]:
    clips = extracted(folder / "clips")
    return Source(clips, clips), "columns of the files in visual not used: frame, face_id"


def foreign_extractor_file(folder: Path) -> tuple[Source, str]:
    clips = extracted(folder / "clips")
    (clips / "visual" / "ann.hog").write_text("x")
    return Source(clips, clips), "visual: 1 files of another kind: ann.hog"


def foreign_clip_key(folder: Path) -> tuple[Source, str]:
    clips = folder / "clips"
    clips.mkdir()
    for name in ("ann$_$0", "bob$_$0"):
        content = {"audio": np.ones((2, 3)), "eeg": np.ones((2, 14))}
        (clips / f"{name}.pkl").write_bytes(pickle.dumps(content))
    labels = folder / "labels.csv"
    labels.write_text("id,clip,happy,split\nann,0,1,train\nbob,0,0,test\nzoe,0,0,test\n")
    return Source(clips, clips, {"labels": labels}), "entries of the pickles not used: eeg (2, 14)"


def foreign_array_of_one_sample(folder: Path) -> tuple[Source, str]:
    clips = folder / "clips"
    clips.mkdir()
    np.savez(clips / "ann.npz", text=np.ones((3, 2)), eeg=np.ones(14))
    return Source(clips, clips), "arrays of the .npz files not used: eeg (14,)"


FOREIGN: list[Callable[[Path], tuple[Source, str]]] = [
    foreign_array,
    foreign_column,
    foreign_file_of_a_table,
    foreign_entry,
    foreign_split,
    foreign_key,
    foreign_row,
    foreign_label_column,
    foreign_dataset,
    foreign_group,
    foreign_video,
    foreign_fold,
    foreign_column_of_folds,
    foreign_file,
    foreign_h5,
    foreign_pom_file,
    foreign_extractor_column,
    foreign_extractor_file,
    foreign_clip_key,
    foreign_array_of_one_sample,
]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: make.__name__)
def test_what_nobody_read_is_named(
    tmp_path: Path, make: Callable[[Path], tuple[Source, str]]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source, expected = make(folder)
    assert expected in converted(source, tmp_path / "out")


# ---------------------------------------------------------------------- nothing about nothing


@pytest.mark.parametrize("name", list(MAKERS))
def test_what_is_used_is_not_named(tmp_path: Path, name: str) -> None:
    """The usual files hold nothing that is not read, but for these."""
    usual = {
        "table": ["columns of samples.csv not used: comment"],
        "mult": [
            "columns of segments.csv not used: split",
            "entries of the splits of data.pkl not used: labels (2, 1, 1) + (1, 1, 1)",
        ],
        "mmsa": ["columns of segments.csv not used: split"],
        "csd": ["columns of CMU_MOSEI_Labels.csd not used: sentiment"],
    }
    (tmp_path / "in").mkdir()
    source = MAKERS[name](tmp_path / "in")
    found = [line for line in converted(source, tmp_path / "out") if "not used" in line]
    assert sorted(found) == usual.get(name, [])


def test_every_format_has_a_trial() -> None:
    # one folder of the formats that have no maker, by their first foreign thing
    others = {"frames", "fet", "samples"}
    # what is stored has passed every check already
    assert {*MAKERS, *others, "stored"} == set(FORMATS)


# ---------------------------------------------------------------------- rows and names


def test_rows_that_are_dropped_are_counted_by_reason_with_examples(tmp_path: Path) -> None:
    names = [f"clip{i}" for i in range(9)]
    splits = ["train", "none", "", "none", "none", "train", "test", "test", "nan"]
    values = np.ones((9, 2, 3))
    values[6] = 0  # padding alone
    np.savez(tmp_path / "a.npz", id=np.array(names), split=np.array(splits), text=values)
    data = convert(tmp_path / "a.npz", tmp_path / "out")
    assert "read 9 samples: 3 stored, 6 dropped" in notes(data)
    assert "dropped 5 samples in no split: clip1, clip2, clip3, …" in notes(data)
    assert "dropped 1 sample without a modality: clip6" in notes(data)

    kept = data.card.provenance["account"]["dropped"]
    assert [(entry["what"], entry["count"]) for entry in kept] == [
        ("samples in no split", 5),
        ("samples without a modality", 1),
    ]
    shown = run_cli("data", "inspect", str(tmp_path / "out"))
    assert "dropped 5 samples in no split" in shown.out.replace("\n", " ")


def test_labels_that_are_renamed_are_named_once(tmp_path: Path) -> None:
    names = np.array(["sadness", "calm", "Anger"])
    np.savez(
        tmp_path / "a.npz",
        id=np.array(["a", "b"]),
        split=np.array(["train", "test"]),
        text=np.ones((2, 1, 3)),
        labels=np.eye(2, 3),
        label_names=names,
    )
    data = convert(tmp_path / "a.npz", tmp_path / "out")
    assert data.label_names == ("sad", "calm", "angry")
    told = [line for line in notes(data) if "renamed" in line]
    assert told == ["labels renamed: sadness -> sad, Anger -> angry"]
    assert data.card.provenance["account"]["labels_renamed"] == {
        "sadness": "sad",
        "Anger": "angry",
    }

    # a name that the user gives is one, too
    given = convert(tmp_path / "a.npz", tmp_path / "given", label_names=["x", "calm", "angry"])
    assert "labels renamed: sadness -> x, Anger -> angry" in notes(given)
    same = convert(tmp_path / "a.npz", tmp_path / "same", label_names=["x", "y", "z"])
    assert same.label_names == ("x", "y", "z")


def test_columns_of_a_label_table_are_called_as_in_the_file(tmp_path: Path) -> None:
    source = mult(tmp_path)
    text = source.options["labels"].read_text()
    source.options["labels"].write_text(text.replace("happy", "Answer.happiness"))
    found = converted(source, tmp_path / "out")
    assert "labels renamed: anger -> angry, Answer.happiness -> happy" in found


def test_samples_without_labels_are_named(tmp_path: Path) -> None:
    source = mult(tmp_path)
    lines = source.options["labels"].read_text().splitlines()
    source.options["labels"].write_text("\n".join(lines[:-1]) + "\n")
    found = converted(source, tmp_path / "out")
    assert "dropped 1 sample without labels in segments.csv: cy 1-2" in found
    kept = convert(source.path, tmp_path / "kept", **source.options, unlabelled=True)
    assert kept["test"].sample(1).labels is None and len(kept["test"]) == 2


def test_what_a_limit_leaves_out_is_counted(tmp_path: Path) -> None:
    source = npz(tmp_path)
    data = convert(source.path, tmp_path / "out", limit=1)
    assert "read 4 samples: 3 stored, 1 dropped" in notes(data)
    np.savez(tmp_path / "a.npz", text=np.ones((5, 1, 2)))
    data = convert(tmp_path / "a.npz", tmp_path / "few", limit=2)
    assert "read 5 samples: 2 stored, 3 beyond the limit" in notes(data)


def test_words_under_the_name_of_a_modality_are_no_features(tmp_path: Path) -> None:
    words = np.array(["hello", "you"])
    np.savez(tmp_path / "a.npz", audio=np.ones((2, 1, 3)), text=words)
    data = convert(tmp_path / "a.npz", tmp_path / "out")
    assert data.modalities == ("audio",)
    assert "arrays of a.npz not used: text (2,)" in notes(data)


@pytest.mark.parametrize("name", ["mult", "mmsa"])
def test_pickles_without_emotions_can_be_predicted(tmp_path: Path, name: str) -> None:
    source = MAKERS[name](tmp_path)
    data = convert(source.path, tmp_path / "out", unlabelled=True)
    assert data.label_names == () and list(data.splits) == ["train", "valid", "test"]
    assert data["test"].sample(0).labels is None
    np.testing.assert_array_equal(data["train"].sequence("audio", 1), features("audio", 2)[1])


def test_raw_files_without_splits_are_divided_or_left_in_one(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    source.options["folds"].unlink()
    data = convert(source.path, tmp_path / "out", unlabelled=True)
    assert {split: part.ids for split, part in data.splits.items()} == {
        "all": ["ann[0]", "bob[0]", "cy[0]"]
    }
    divided = convert(source.path, tmp_path / "divided", split="34/33/33")
    assert [len(part) for part in divided.splits.values()] == [1, 1, 1]


# ---------------------------------------------------------------------- own readers, long lists


def test_a_reader_of_ones_own_has_an_account(tmp_path: Path) -> None:
    def read(path: Path, options: ConvertOptions) -> Reading:
        account = Account()
        parts = account.hold("fields of clips.json", json.loads(path.read_text()))
        account.columns = ["Joy"]
        account.drop("sample", "of silence", "b")
        values = np.array(parts["text"], np.float32)
        sample = Sample("a", {"text": values}, np.array([1], np.uint8))
        return Reading(("happy",), {"text": 2}, True, [("train", sample)], account=account)

    source = tmp_path / "clips.json"
    source.write_text(json.dumps({"text": [[1, 2]], "eeg": [1, 2, 3], "rater": "anna"}))
    found = notes(convert(source, tmp_path / "out", format=read))
    assert "fields of clips.json not used: eeg 3 items, rater anna" in found
    assert "dropped 1 sample of silence: b" in found
    assert "labels renamed: Joy -> happy" in found


def test_files_that_a_reader_of_ones_own_does_not_name(tmp_path: Path) -> None:
    def read(path: Path, options: ConvertOptions) -> Reading:
        samples = [("train", Sample("a", {"text": np.ones((1, 2), np.float32)}))]
        return Reading((), {"text": 2}, True, samples, files=[path / "one.txt"])

    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("one.txt", "two.txt", ".hidden"):
        (folder / name).write_text("x")
    found = notes(convert(folder, tmp_path / "out", format=read))
    assert "files in mine not used: two.txt" in found


def test_a_long_list_is_cut_in_the_notes_and_whole_in_the_provenance(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"extra{i:02d}": np.zeros(3) for i in range(20)}
    np.savez(tmp_path / "a.npz", text=np.ones((2, 1, 3)), **arrays)
    data = convert(tmp_path / "a.npz", tmp_path / "out")
    (line,) = [line for line in notes(data) if "not used" in line]
    assert line.count("extra") == MOST_NAMED and line.endswith(f"and {20 - MOST_NAMED} more")
    account = data.card.provenance["account"]
    assert account["not_used"]["arrays of a.npz"] == dict.fromkeys(arrays, "(3,)")


def test_how_parts_look() -> None:
    assert look(np.zeros((2, 3))) == "(2, 3)" and look(np.float64(2)) == "one value"
    assert look([1]) == "1 item" and look({"a": 1, "b": 2}) == "2 items"
    assert look("x" * 99) == "x" * 60 and look(7) == "7" and look(None) == ""
    assert look(object()) == "object"


def test_the_public_names() -> None:
    assert emotailor.Reading is Reading
