"""Data without labels or without splits: for prediction, or to be divided."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from emotailor.data.dataset import EmotionDataset
from emotailor.data.readers import UNSPLIT, detect, read_samples
from emotailor.data.readers.convert import convert
from emotailor.data.readers.splitting import divide, parse_shares
from emotailor.data.sample import Sample
from emotailor.data.validate import validate_dataset
from emotailor.errors import ConfigError, DataError
from tests.data.readers.sources import DIMS, features
from tests.helpers import small_dataset
from tests.runs.runs import run_cli

NAMES = ["a[0]", "a[1]", "b[0]", "c[0]"]


def rows(**more: Any) -> dict[str, Any]:
    """Arrays of features alone, a row per sample."""
    return {**{m: features(m, 4, 2) for m in DIMS}, **more}


def ragged() -> dict[str, Any]:
    """Four samples, their steps end to end: the third has no audio."""
    lengths = {"text": [2, 1, 3, 2], "audio": [4, 1, 0, 2]}
    arrays: dict[str, Any] = {}
    for m, steps in lengths.items():
        total = sum(steps)
        arrays[f"{m}.values"] = np.arange(total * 3, dtype=np.float32).reshape(total, 3)
        arrays[f"{m}.offsets"] = np.cumsum([0, *steps])
    return arrays


def everything(source: Path) -> list[tuple[str, Sample]]:
    return list(read_samples(source).samples)


def check_unlabelled(data: EmotionDataset, folder: Path) -> None:
    """Nobody knows a label, all is in one split, and the stored set is sound."""
    assert data.label_names == () and list(data.splits) == [UNSPLIT]
    assert data[UNSPLIT].sample(0).labels is None
    problems = [p for p in validate_dataset(folder) if p.severity == "error"]
    assert problems == []


def test_npz_of_features_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "clips.npz", **rows())
    data = convert(tmp_path / "clips.npz", tmp_path / "out")
    check_unlabelled(data, tmp_path / "out")
    assert data[UNSPLIT].ids == [f"clips-{i:05d}" for i in range(4)]
    np.testing.assert_array_equal(data[UNSPLIT].sequence("audio", 3), features("audio", 4, 2)[3])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_steps_of_all_samples_end_to_end(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"ragged{suffix}"
    arrays = ragged()
    if suffix == ".npz":
        np.savez(source, **arrays, id=np.array(NAMES))
    else:
        save_file(arrays, source)
    assert detect(source) == "npz"
    data = convert(source, tmp_path / "out")
    check_unlabelled(data, tmp_path / "out")
    split = data[UNSPLIT]
    assert split.lengths("text").tolist() == [2, 1, 3, 2]
    assert split.lengths("audio").tolist() == [4, 1, 0, 2] and not data.aligned
    np.testing.assert_array_equal(split.sequence("text", 2), arrays["text.values"][3:6])
    assert (split.ids == NAMES) == (suffix == ".npz")


def test_a_shard_of_a_stored_data_set(tmp_path: Path) -> None:
    stored = small_dataset(tmp_path / "stored", train=5, valid=2, test=2)
    shard = next((tmp_path / "stored").glob("train-*.safetensors"))
    reading = read_samples(shard)
    samples = [sample for _, sample in reading.samples]
    assert [sample.id for sample in samples] == stored["train"].ids
    assert reading.label_names == () and samples[0].labels is None
    for i, sample in enumerate(samples):
        for m, sequence in stored["train"].sample(i).sequences.items():
            np.testing.assert_array_equal(sample.sequences[m], sequence)

    named = convert(shard, tmp_path / "named", label_names=stored.label_names)
    assert sorted(named.label_names) == sorted(stored.label_names)
    assert named[UNSPLIT].labels.sum() == stored["train"].labels.sum()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text.offsets": np.array([0, 2, 3, 6])}, "text.offsets is int64"),
        ({"text.offsets": np.array([0, 3, 2, 6, 8])}, "text.offsets is int64"),
        ({"text.offsets": np.array([1, 2, 3, 6, 8])}, "text.offsets is int64"),
        ({"text.offsets": np.array([0.0, 2, 3, 6, 8])}, "text.offsets is float64"),
        ({"text.values": np.zeros(8)}, r"text.values is float64 of shape \(8,\)"),
        ({"audio.offsets": np.array([0, 4, 7])}, r"\{'audio': 2, 'text': 4\} sequences"),
        ({"text.missing": np.zeros(3, np.uint8)}, r"text.missing \(3,\)"),
        ({"id": np.array(["a", "b"])}, "2 ids and 4 sequences"),
    ],
)
def test_ragged_arrays_that_do_not_fit(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **{**ragged(), **change})
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "a.npz", tmp_path / "out")


def test_offsets_that_are_not_there(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"text.values": np.zeros((3, 2))}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"no text\.offsets beside text\.values"):
        convert(tmp_path / "a.npz", tmp_path / "out")


def test_csv_of_paths_alone(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for i, name in enumerate(("ann", "bob")):
        np.savez(tmp_path / "clips" / f"{name}.npz", text=features("text", 2, 3)[i], eeg=np.ones(2))
    table = tmp_path / "list.csv"
    table.write_text(f"path\nclips/ann.npz\n{tmp_path}/clips/bob.npz\n")
    data = convert(table, tmp_path / "out")
    check_unlabelled(data, tmp_path / "out")
    assert data[UNSPLIT].ids == ["ann", "bob"] and data.dims == {"text": 7}
    np.testing.assert_array_equal(data[UNSPLIT].sequence("text", 1), features("text", 2, 3)[1])
    assert "arrays of the .npz files not used: eeg (2,)" in data.card.repairs


def test_csv_with_a_path_per_modality(tmp_path: Path) -> None:
    for m in ("text", "audio"):
        np.save(tmp_path / f"ann-{m}.npy", features(m, 1, 3)[0])
    table = tmp_path / "list.csv"
    table.write_text("id,split,text,audio,happy\nann,dev,ann-text.npy,ann-audio.npy,1\n")
    data = convert(table, tmp_path / "out", align=True)
    assert data.label_names == ("happy",) and data["valid"].ids == ["ann"]
    assert data.dims == {"audio": 5, "text": 7} and data.aligned
    table.write_text("id,text,audio\nann,ann-text.npy,gone.npy\n")
    with pytest.raises(DataError, match=r"gone\.npy does not exist"):
        convert(table, tmp_path / "out2")


def folder_of_npz(folder: Path) -> Path:
    folder.mkdir()
    for i, name in enumerate(NAMES):
        arrays = {m: features(m, 4, 2)[i] for m in DIMS}
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


def folder_of_folders(folder: Path) -> Path:
    for m in DIMS:
        (folder / m).mkdir(parents=True)
        for i, name in enumerate(NAMES):
            np.save(folder / m / f"{name}.npy", features(m, 4, 2)[i])
    return folder


def folder_of_npy(folder: Path) -> Path:
    folder.mkdir()
    for m in DIMS:
        for i, name in enumerate(NAMES):
            np.save(folder / f"{name}.{m}.npy", features(m, 4, 2)[i])
    return folder


@pytest.mark.parametrize("make", [folder_of_npz, folder_of_folders, folder_of_npy])
def test_a_folder_of_one_file_per_sample(tmp_path: Path, make: Any) -> None:
    source = make(tmp_path / "clips")
    assert detect(source) == "samples"
    data = convert(source, tmp_path / "out", align=True)
    check_unlabelled(data, tmp_path / "out")
    assert data[UNSPLIT].ids == NAMES and data.dims == DIMS and data.aligned
    for m in DIMS:
        np.testing.assert_array_equal(data[UNSPLIT].sequence(m, 2), features(m, 4, 2)[2])

    # a file that is not there is a missing modality
    if make is folder_of_folders:
        (source / "audio" / "b[0].npy").unlink()
        (_, sample) = everything(source)[2]
        assert sample.id == "b[0]" and set(sample.sequences) == {"visual", "text"}


def test_one_file_is_one_sample_or_many_and_never_a_guess(tmp_path: Path) -> None:
    source = tmp_path / "clip.npz"
    np.savez(source, text=features("text", 1, 3)[0], audio=features("audio", 1, 2)[0])
    ((split, sample),) = everything(source)
    assert (split, sample.id, sample.labels) == (UNSPLIT, "clip", None)
    assert {m: len(x) for m, x in sample.sequences.items()} == {"text": 3, "audio": 2}
    with pytest.raises(DataError, match=r"may be .* samples of one vector or one sample of"):
        convert(source, tmp_path / "out")


def test_samples_of_a_stored_data_set(tmp_path: Path) -> None:
    stored = small_dataset(tmp_path / "stored", train=5, valid=2, test=3)
    found = everything(tmp_path / "stored")
    assert [sample.id for _, sample in found] == [
        sample_id for split in stored.splits.values() for sample_id in split.ids
    ]
    first = list(read_samples(tmp_path / "stored", limit=1).samples)
    assert [split for split, _ in first] == list(stored.splits)


def test_division_by_video(tmp_path: Path) -> None:
    names = [f"v{video}[{k}]" for video in range(40) for k in range(1 + video % 4)]
    values = np.arange(len(names) * 2, dtype=np.float32).reshape(-1, 1, 2) + 1
    source = tmp_path / "a.npz"
    labels: dict[str, Any] = {
        "labels": np.ones((len(names), 1)),
        "label_names": np.array(["happy"]),
    }
    np.savez(source, id=np.array(names), text=values, **labels)
    data = convert(source, tmp_path / "out", split="60/20/20")
    sizes = {split: len(part) for split, part in data.splits.items()}
    assert set(sizes) == {"train", "valid", "test"} and sum(sizes.values()) == 100
    assert abs(sizes["train"] - 60) <= 4 and abs(sizes["valid"] - 20) <= 4

    videos = {
        split: {name.split("[")[0] for name in part.ids} for split, part in data.splits.items()
    }
    assert not videos["train"] & videos["test"] and not videos["train"] & videos["valid"]
    again = convert(source, tmp_path / "again", split=(0.6, 0.2, 0.2))
    other = convert(source, tmp_path / "other", split="60/20/20", split_seed=1)
    assert again.card.fingerprint == data.card.fingerprint != other.card.fingerprint


def test_a_stored_data_set_can_be_divided(tmp_path: Path) -> None:
    names = np.array([f"v{i}" for i in range(10)])
    np.savez(tmp_path / "a.npz", id=names, text=np.ones((10, 3, 2)))
    convert(tmp_path / "a.npz", tmp_path / "whole")
    data = convert(tmp_path / "whole", tmp_path / "parts", split="50/20/30")
    assert {s: len(part) for s, part in data.splits.items()} == {"train": 5, "valid": 2, "test": 3}
    with pytest.raises(ConfigError, match="the source has one: 'v"):
        convert(tmp_path / "parts", tmp_path / "again", split="50/20/30")


def test_a_division_does_not_depend_on_the_order_of_the_samples() -> None:
    names = [f"v{i}[0]" for i in range(30)]
    shares = (0.7, 0.1, 0.2)
    assert divide(names, shares, 0) == divide(names[::-1], shares, 0)
    with pytest.raises(DataError, match="leave the split"):
        divide(["a[0]", "a[1]", "a[2]"], shares, 0)
    without_valid = set(divide(names, (0.5, 0.0, 0.5), 3).values())
    assert without_valid == {"train", "test"}


@pytest.mark.parametrize("text", ["70/10", "a/b/c", "70/10/30", "0/50/50", "-1/1/1", "nan/0/0", ""])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="shares of train, valid and test"):
        parse_shares(text)


def test_training_and_evaluating_say_what_is_missing(tmp_path: Path) -> None:
    np.savez(tmp_path / "clips.npz", **rows())
    done = run_cli("data", "convert", str(tmp_path / "clips.npz"), "--out", str(tmp_path / "d"))
    assert done.code == 0 and "--split 70/10/20" in done.out.replace("\n", " ")
    trained = run_cli("train", "--data", str(tmp_path / "d"), "--out", str(tmp_path / "run"))
    assert trained.code == 4
    assert "'train'" in trained.err and "--split 70/10/20" in trained.err

    # divided, it still has no labels
    convert(tmp_path / "d", tmp_path / "parts", split="50/25/25")
    trained = run_cli("train", "--data", str(tmp_path / "parts"), "--out", str(tmp_path / "run"))
    assert trained.code == 4 and "labels" in trained.err and "predict" in trained.err
    report = run_cli("data", "inspect", str(tmp_path / "parts"), "--json")
    assert json.loads(report.out)["splits"]["train"]["unknown"] == 2
