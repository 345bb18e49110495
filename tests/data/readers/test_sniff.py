"""Files that are something else than their names say."""

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from emotailor.data.readers._common import ConvertOptions, read_csv
from emotailor.data.readers._sniff import kind_of
from emotailor.data.readers.convert import convert
from emotailor.data.readers.csd import read_folds
from emotailor.data.readers.joining.labels import read_label_table
from emotailor.errors import DataError
from tests.data.readers.sources import MAKERS, mmsa

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456789\n"
ANNEX = b"/annex/objects/MD5E-s123--0a1b.pkl\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
DRIVE = b"<html><head><title>Google Drive - Virus scan warning</title></head></html>"
DENIED = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>'
STAND_INS = {"Git LFS": POINTER, "git-annex": ANNEX, "a web page": PAGE, "Google Drive": DRIVE,
             "a web server": DENIED, "gzip": b"\x1f\x8b\x08\x00rest"}  # fmt: skip


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("what", list(STAND_INS))
def test_what_stands_in_place_of_a_data_file_is_named(tmp_path: Path, name: str, what: str) -> None:
    source = MAKERS[name](tmp_path)
    source.damage.write_bytes(STAND_INS[what])
    with pytest.raises(DataError) as caught:
        convert(source.path, tmp_path / "out", format=name, **source.options)
    assert what in caught.value.found and source.damage.name in caught.value.found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", list(STAND_INS))
def test_detection_names_it_too(tmp_path: Path, what: str) -> None:
    path = tmp_path / "data.pkl"
    path.write_bytes(STAND_INS[what])
    with pytest.raises(DataError) as caught:
        convert(path, tmp_path / "out")
    assert what in caught.value.found


def image() -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(30)


def saved(save: Any, content: Any) -> bytes:
    file = io.BytesIO()
    save(content, file) if save is torch.save else save(file, content)
    return file.getvalue()


NO_LABELS = {
    "torch": saved(torch.save, {"train": {"tgt": [[2, 4, 3], [2, 5, 3]]}}),
    "pickle": pickle.dumps({"train": 1}, protocol=4),
    "zip": saved(np.savez, np.zeros(3)),
    "npy": saved(np.save, np.zeros(3)),
    "a PNG image": image(),
    "binary": bytes(range(200)),
}


@pytest.mark.parametrize("kind", list(NO_LABELS))
@pytest.mark.parametrize("name", ["labels.pt", "labels.csv"])
def test_a_label_file_of_the_wrong_kind_is_intact_and_called_so(
    tmp_path: Path, kind: str, name: str
) -> None:
    source = mmsa(tmp_path)
    labels = tmp_path / name
    labels.write_bytes(NO_LABELS[kind])
    with pytest.raises(DataError) as caught:
        convert(source.path, tmp_path / "out", labels=labels)
    told = str(caught.value)
    assert "Decode" not in told and "download" not in told and name in told
    assert "CMU_MOSEI_Labels.csd" in told  # what would do


@pytest.mark.parametrize("what", list(STAND_INS))
def test_stand_ins_of_a_label_file(tmp_path: Path, what: str) -> None:
    source = mmsa(tmp_path)
    source.options["labels"].write_bytes(STAND_INS[what])
    with pytest.raises(DataError) as caught:
        convert(source.path, tmp_path / "out", **source.options)
    assert what in caught.value.found


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_of_other_programs_are_read(tmp_path: Path, encoding: str, mark: str) -> None:
    text = "id,happy,sad\nann[0],1,0\nbób[3],0.5,2\n".replace(",", mark)
    data = text.encode(encoding.removesuffix("-mark"))
    if encoding.endswith("-mark"):
        data = b"\xff\xfe" + data
    path = tmp_path / "labels.csv"
    path.write_bytes(data)
    table = read_label_table(path, ConvertOptions())
    assert table.names == ("happy", "sad")
    assert {s.key: s.labels.tolist() for s in table.segments} == {
        "ann[0]": [1, 0],
        "bób[3]": [1, 1],
    }


FOLDS = {"train": ["ann"], "valid": ["bob"], "test": ["cy"]}


@pytest.mark.parametrize("name", ["folds.json", "folds.csv", "folds"])
@pytest.mark.parametrize(
    "data",
    [
        json.dumps(FOLDS).encode("utf-8-sig"),
        json.dumps(FOLDS).encode("utf-16"),
        b"id;split\nann;Train\nbob;val\ncy;test\n",
        b"id\tsplit\nann\ttrain\nbob\tdev\ncy\ttest\n",
    ],
    ids=["mark", "utf-16", "semicolon", "tab"],
)
def test_folds_are_read_by_content(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert read_folds(path) == {"ann": "train", "bob": "valid", "cy": "test"}


@pytest.mark.parametrize("kind", [*NO_LABELS, *STAND_INS])
@pytest.mark.parametrize("name", ["folds.json", "folds.csv"])
def test_folds_of_the_wrong_kind_are_called_so(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((NO_LABELS | STAND_INS)[kind])
    with pytest.raises(DataError) as caught:
        read_folds(path)
    assert "Decode" not in str(caught.value) and name in caught.value.found
    if kind in STAND_INS:
        assert kind in caught.value.found


def test_a_decimal_comma_in_a_table_of_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id;happy;sad\nann[0];0,6;0,0\n")
    table = read_label_table(path, ConvertOptions(label_threshold=0.5))
    assert table.segments[0].labels.tolist() == [1, 0]


def test_text_that_is_not_utf_8_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes("id,happy\ncafé[0],1\n".encode("latin-1"))
    with pytest.raises(DataError, match="byte 0xe9 at position 12") as caught:
        read_csv(path, "a CSV")
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


def test_an_sdk_label_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    with h5py.File(path, "w") as file:
        group = file.create_group("All Labels/data/ann")
        group["features"] = np.array([[0, 1.0, 0, 0, 0, 0, 0]])
        group["intervals"] = np.array([[0.0, 1.0]])
    assert kind_of(path) == "HDF5"
    assert read_label_table(path, ConvertOptions()).segments[0].labels.tolist() == [
        1,
        0,
        0,
        0,
        0,
        0,
    ]


def test_archives_are_named_with_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"train": {}}))
    packed = tmp_path / "data.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, "MOSEI/aligned_50.pkl")
    for wanted in (None, "mult"):
        with pytest.raises(DataError, match=r"data\.zip is a zip archive of MOSEI/aligned_50\.pkl"):
            convert(packed, tmp_path / "out", format=wanted)

    packed = tmp_path / "data.pkl"
    with tarfile.open(packed, "w") as tar:
        tar.add(path, "m.pkl")
    with pytest.raises(DataError, match=r"data\.pkl is compressed \(tar\)"):
        convert(packed, tmp_path / "out")


def test_a_folder_of_sources_lists_them(tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    (folder / "csd").mkdir(parents=True)
    (folder / "csd" / "a.csd").write_bytes(b"x")
    (folder / "aligned_50.pkl").write_bytes(pickle.dumps({}))
    (folder / "segments.csv").write_text("id,segment,happy\nann,0,1\n")
    with pytest.raises(DataError, match=r"is a folder with aligned_50\.pkl, csd\n.*one source"):
        convert(folder, tmp_path / "out")

    # arrays beside a table are its own, whatever else lies there
    np.save(folder / "text.npy", np.ones((1, 3)))
    (folder / "segments.csv").write_text("id,split,happy\nann,train,1\n")
    assert convert(folder, tmp_path / "out").card.provenance["format"] == "table"
