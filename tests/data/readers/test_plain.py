"""Tables, single npz files and POM."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from emotailor.data.checker import DataWarning
from emotailor.data.readers.convert import convert
from emotailor.errors import DataError
from tests.data.readers.sources import DIMS, STEPS, features, npz, pom, table


def test_table_values_labels_and_missing_modalities(tmp_path: Path) -> None:
    source = table(tmp_path)
    data = convert(source.path, tmp_path / "out")
    assert data.label_names == ("happy", "calm") and not data.aligned
    assert {s: v.ids for s, v in data.splits.items()} == {
        "train": ["a1"],
        "valid": ["b2"],
        "test": ["c3"],
    }
    assert [v.labels.tolist() for v in data.splits.values()] == [[[1, 0]], [[0, 1]], [[1, 0]]]
    assert [int(v.lengths("audio")[0]) for v in data.splits.values()] == [2, 3, 0]
    np.testing.assert_array_equal(data["valid"].sequence("audio", 0), features("audio", 3, 3)[1])
    np.testing.assert_array_equal(data["test"].sequence("visual", 0), features("visual", 3, 1)[2])
    notes = "\n".join(data.card.repairs)
    assert "columns of samples.csv not used: comment" in notes
    assert "audio is missing in 1 of 3 samples" in notes


def test_table_of_vectors_is_aligned_and_labels_can_be_chosen(tmp_path: Path) -> None:
    source = table(tmp_path)
    for file in (tmp_path / "audio").iterdir():
        file.unlink()
    np.savez(tmp_path / "audio" / "c3.npz", anything=np.arange(5.0))
    data = convert(tmp_path, tmp_path / "out", label_names=["calm"], label_threshold=0.5)
    assert data.label_names == ("calm",) and data["valid"].labels.tolist() == [[0]]
    assert data["test"].sequence("audio", 0).tolist() == [[0, 1, 2, 3, 4]]
    (tmp_path / "audio" / "c3.npz").unlink()
    data = convert(source.path, tmp_path / "out2", label_names=["calm"], label_rule=">=")
    assert data.aligned and data.modalities == ("visual",)
    assert data["train"].labels.tolist() == [[1]]


def test_table_keeps_zero_steps_and_drops_samples_in_no_split(tmp_path: Path) -> None:
    source = table(tmp_path)
    np.save(tmp_path / "audio" / "a1.npy", np.zeros((4, 5), np.int64))
    source.path.write_text("id,split,happy\na1,train,1\nb2,none,0\nc3,,0\n")
    data = convert(source.path, tmp_path / "out")
    assert data["train"].lengths("audio").tolist() == [4] and list(data.splits) == ["train"]
    assert "dropped 2 samples in no split: b2, c3" in data.card.repairs
    assert "read 3 samples: 1 stored, 2 dropped" in data.card.repairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split,happy\ntrain,1\n", "has the columns split, happy"),
        ("id,split,happy\n", "has no rows"),
        ("id,split,a,b\na1,train,1,\nb2,test,,\nc3,test,0,1\n", "'a1' has no value for 'b'"),
        ("id,split,happy\na1,train\n", "line 2: not as many cells"),
        ("id,split,happy\na1,train,1,1\n", "line 2: not as many cells"),
        ("id,split,happy\n../a1,train,1\n", "line 2: id '../a1'"),
        (f"id,split,happy\n{'x' * 300},train,1\n", "line 2: id 'xxx"),
        (f"id,split,happy\na1,{'x' * 300},1\nb2,test,1\nc3,test,1\n", "split name 'xxx"),
        ("id,split,happy\n..,train,1\n", r"no features|no modality|line 2: id|rows"),
        ("id,split,happy\na1,train,nan\nb2,test,1\nc3,test,1\n", "not finite numbers"),
        ("id,split,happy\na1,train,1\na1,test,1\nc3,test,1\n", "already occurs in split 'train'"),
        ("id,split,happy\na1,tr ain,1\nb2,test,1\nc3,test,1\n", "split name 'tr ain'"),
        ("id,split,happy,happy\na1,train,1,1\n", "has the columns id, split, happy, happy"),
        ("id,split,anger,angry\na1,train,1,1\nb2,test,1,1\nc3,test,1,1\n", "distinct ones"),
        ("id,split,happy\na1,train,1\n", "visual.npy has 3 rows"),
        ('id,split,happy\n"a1,train,1\n', "cannot be read"),
        ("id,split,happy\n\xff,train,1\n", "cannot be read"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    source = table(tmp_path)
    source.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        convert(source.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_that_is_missing_alone_is_told_the_ways_out(tmp_path: Path) -> None:
    source = table(tmp_path)
    source.path.write_text("id,split,a,age\na1,train,,33\nb2,test,,\nc3,test,0,1\n")
    with pytest.raises(DataError) as caught:
        convert(source.path, tmp_path / "out")
    fix = str(caught.value.fix)
    assert "the labels are a, age" in fix
    assert "--label-names" in fix


def test_table_labels_by_name_that_are_not_there_or_not_numbers(tmp_path: Path) -> None:
    source = table(tmp_path)
    with pytest.raises(DataError, match=r"has no label 'bored'.*\n.*happy, calm, comment"):
        convert(source.path, tmp_path / "out", label_names=["bored"])
    with pytest.raises(DataError, match="label 'comment' has the value 'x'"):
        convert(source.path, tmp_path / "out", label_names=["comment"])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 5)), r"float64 of shape \(2, 3, 5\)"),
        (np.zeros((2, 6)), r"shape \(2, 6\)"),
        (np.array([["a"] * 5]), r"<U1 of shape \(1, 5\)"),
        (np.array([[{}] * 5]), "cannot be read"),
    ],
)
def test_table_arrays_that_do_not_fit(tmp_path: Path, array: np.ndarray, message: str) -> None:
    source = table(tmp_path)
    np.save(tmp_path / "audio" / "b2.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        convert(source.path, tmp_path / "out")


@pytest.mark.parametrize("more", ["", ",speaker"], ids=["alone", "with a name"])
def test_table_without_labels_is_for_prediction(tmp_path: Path, more: str) -> None:
    source = table(tmp_path)
    cell = ",anna" if more else ""
    source.path.write_text(
        f"id,split{more}\na1,train{cell}\nb2,dev{cell}\nc3,test{cell}\n", encoding="utf-8"
    )
    data = convert(source.path, tmp_path / "out")
    assert data.label_names == ()
    assert [data[split].sample(0).labels for split in data.splits] == [None] * 3
    note = "no column of labels: the samples are for prediction alone"
    assert note in data.card.repairs
    np.testing.assert_array_equal(data["valid"].sequence("audio", 0), features("audio", 3, 3)[1])


def test_table_with_rows_whose_labels_are_unknown(tmp_path: Path) -> None:
    source = table(tmp_path)
    source.path.write_text("id,split,happy,calm\na1,train,1,0\nb2,dev,0,1\nc3,test, ,\n")
    data = convert(source.path, tmp_path / "out")
    assert data.label_names == ("happy", "calm")
    assert data["train"].labels.tolist() == [[1, 0]]
    assert data["test"].sample(0).labels is None


def test_table_as_pandas_writes_it(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(",id,split,happy\n0,a,train,True\n1,b,test,False\n")
    np.save(tmp_path / "text.npy", np.ones((2, 3)))
    data = convert(tmp_path, tmp_path / "out")
    assert data.label_names == ("happy",)
    assert data["train"].labels.tolist() == [[1]] and data["test"].labels.tolist() == [[0]]


def test_table_keeps_half_precision(tmp_path: Path) -> None:
    source = table(tmp_path)
    values = np.array([[0.1, -2.5, 3.0]] * 3, np.float16)
    np.save(tmp_path / "visual.npy", np.asfortranarray(values))
    data = convert(source.path, tmp_path / "out")
    stored = data["train"].sequence("visual", 0)
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, values[:1])


def test_table_of_files_that_lie_as_dim_by_steps(tmp_path: Path) -> None:
    source = table(tmp_path)
    np.save(tmp_path / "audio" / "a1.npy", features("audio", 1, 2)[0].T)
    np.save(tmp_path / "audio" / "b2.npy", features("audio", 1, 3)[0].T)
    with pytest.raises(DataError, match=r"audio of 'b2' has the shape \(5, 3\).*\(5, 2\)"):
        convert(source.path, tmp_path / "out")


def test_npz_values_labels_and_what_was_assumed(tmp_path: Path) -> None:
    source = npz(tmp_path)
    data = convert(source.path, tmp_path / "out", label_threshold=0.1, label_rule=">=")
    assert data.aligned and data.dims == DIMS
    assert [v.labels.tolist()[0] for v in data.splits.values()] == [
        [0, 0, 0, 1, 0, 0],  # happy at exactly 0.1
        [1, 0, 0, 0, 0, 0],  # anger 3
        [0, 0, 0, 0, 0, 0],  # fear below the threshold
    ]
    np.testing.assert_array_equal(data["test"].sequence("text", 0), features("text", 4, 1)[2])
    assert "dropped 1 sample in no split: d" in data.card.repairs
    assert any("assumed happy, sad, anger" in line for line in data.card.repairs)


def _arrays(**changes: Any) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "id": np.array(["a", "b"]),
        "split": np.array([b"train", b"dev"]),
        "audio": features("audio", 2),
        "text": features("text", 2, 13),
        "labels": np.array([[1, 0], [0, 1]]),
        "label_names": np.array(["Sadness", "calm"]),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


def test_npz_sequences_with_names(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = _arrays()
    arrays["audio"][1, 4:] = 0
    np.savez(path, **arrays)
    data = convert(path, tmp_path / "out")
    assert data.label_names == ("sad", "calm") and not data.aligned
    assert list(data.splits) == ["train", "valid"]
    assert data["valid"].lengths("audio").tolist() == [4]
    assert data["valid"].lengths("text").tolist() == [13]
    renamed = convert(path, tmp_path / "out2", label_names=["x", "y"])
    assert renamed.label_names == ("x", "y")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_names": None}, "does not name the 2 columns of labels"),
        ({"label_names": np.array(["a"])}, "1 label names a"),
        ({"label_names": np.array([["a", "b"]])}, "label_names is <U1"),
        ({"id": np.array([1, 2])}, "id is int64"),
        ({"id": np.array(["a", "a"])}, "already occurs"),
        ({"split": np.array(["train"])}, "1 splits and 2 sequences"),
        ({"labels": np.zeros(2)}, r"labels of shape \(2,\)"),
        ({"labels": np.array([[np.nan, 0], [0, 0]])}, "not finite numbers"),
        ({"labels": np.array([["a", "b"]] * 2)}, "not finite numbers"),
        ({"audio": features("audio", 3)}, "3 audio sequences but 2 samples"),
        ({"audio": np.zeros((2, 3), complex)}, r"audio is an array of complex128"),
        ({"audio": np.array([{}, {}])}, "audio holds Python objects"),
        ({"audio": None, "text": None}, "has no modality"),
    ],
)
def test_npz_files_that_are_wrong(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **_arrays(**changes))
    with pytest.raises(DataError, match=message):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_real_video_file(tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "mosei_video" / "mosei_video.npz"
    # 653 of all 922 rows; 647 of the 901 that are in a split
    message = "audio: 647 non-finite values in 647 samples replaced by 0: feature 7"
    with pytest.warns(DataWarning, match=message):
        data = convert(path, tmp_path / "out", label_threshold=0.1, label_rule=">=")
    sizes = {s: len(v) for s, v in data.splits.items()}
    assert sizes == {"train": 635, "valid": 86, "test": 180}
    assert data.dims == {"visual": 35, "audio": 40, "text": 768} and data.aligned
    dropped = [line for line in data.card.repairs if line.startswith("dropped 21 samples in no")]
    assert len(dropped) == 1 and data.card.provenance["account"]["dropped"][0]["count"] == 21
    assert "read 922 samples: 901 stored, 21 dropped" in data.card.repairs
    assert "labels renamed: anger -> angry" in data.card.repairs
    with np.load(path) as raw:
        assert (~np.isfinite(raw["audio"])).any(1).sum() == 653
        train = raw["split"] == "train"
        # the SDK's happy, sad, anger, surprise, disgust, fear in the paper's order
        expected = raw["emotion_intensity"][train][:, [2, 4, 5, 0, 1, 3]] >= np.float32(0.1)
        np.testing.assert_array_equal(data["train"].labels, expected)
        assert data["train"].ids == raw["id"][train].tolist()
        first = raw["text"][train][0]
    np.testing.assert_array_equal(data["train"].sequence("text", 0)[0], first)
    assert sum(int((v.labels.sum(1) >= 2).sum()) for v in data.splits.values()) <= 598


def test_pom_labels_are_above_the_training_median(tmp_path: Path) -> None:
    source = pom(tmp_path / "pom")
    data = convert(source.path, tmp_path / "out")
    assert data.label_names == ("trait_0", "trait_1") and data.aligned
    # medians 2 and 5
    assert data["train"].labels.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert data["valid"].labels.tolist() == [[0, 1]] and data["test"].labels.tolist() == [[1, 0]]
    assert data["train"].lengths("audio").tolist() == [STEPS, STEPS - 4, STEPS]
    assert data["train"].lengths("visual").tolist() == [STEPS, STEPS - 4, 0]
    named = convert(source.path, tmp_path / "out2", label_names=["warm", "calm"])
    assert named.label_names == ("warm", "calm")
    with pytest.raises(DataError, match=r"1 label names.*\n.*2 traits"):
        convert(source.path, tmp_path / "out3", label_names=["warm"])


def test_pom_files_that_are_wrong(tmp_path: Path) -> None:
    source = pom(tmp_path / "pom")
    with h5py.File(source.path / "y_valid.h5", "w") as file:
        file["d1"] = np.array([[1.0, np.nan]])
    with pytest.raises(DataError, match=r"y_valid\.h5: ratings that are not finite"):
        convert(source.path, tmp_path / "out")
    with h5py.File(source.path / "y_valid.h5", "w") as file:
        file["d1"] = np.array([[1.0]])
    with pytest.raises(DataError, match="the same traits in every split"):
        convert(source.path, tmp_path / "out")
    (source.path / "y_valid.h5").unlink()
    with pytest.raises(DataError, match=r"y_valid\.h5 does not exist"):
        convert(source.path, tmp_path / "out")


def test_mosei_in_20_steps(tmp_path: Path) -> None:
    # seq_length_20 of CMU: its readme gives the emotions in the order of the alphabet
    rng = np.random.default_rng(0)
    for split, n in {"train": 3, "valid": 2, "test": 2}.items():
        arrays = {
            f"audio_{split}": rng.normal(size=(n, 20, 74)),
            f"video_{split}": rng.normal(size=(n, 20, 35)),
            f"text_{split}": rng.integers(0, 9, (n, 20)),
            f"text_{split}_emb": rng.normal(size=(n, 20, 300)),
            f"y_{split}": rng.normal(size=(n, 1)),
            f"ey_{split}": np.array([[0, 0, 0, 3.33, 0, 0], [1 / 3, 0, 0, 0, 2, 0], [0] * 6])[:n],
        }
        for name, array in arrays.items():
            with h5py.File(tmp_path / f"{name}.h5", "w") as file:
                file["d1"] = array
    data = convert(tmp_path, tmp_path / "out")
    assert data.aligned and data.dims == {"visual": 35, "audio": 74, "text": 300}
    assert data.label_names == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert data["train"].labels.tolist() == [[0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0], [0] * 6]
    assert "a label holds where its intensity is above 0" in data.card.repairs


def test_the_real_pom(tmp_path: Path, shared_data: Path) -> None:
    data = convert(shared_data / "pom", tmp_path / "out")
    assert {s: len(v) for s, v in data.splits.items()} == {"train": 600, "valid": 100, "test": 203}
    assert data.dims == {"visual": 41, "audio": 43} and len(data.label_names) == 17
    # of 12,000 training steps 3,799 are zero in both modalities, all before or after the speech
    assert int(data["train"].lengths("audio").sum()) == 12_000 - 3_799
    assert int(data["train"].present("visual").sum()) == 600 - 322
    with h5py.File(shared_data / "pom" / "y_train.h5") as file:
        ratings = file["d1"][:]
    above = (ratings > np.median(ratings, axis=0)).sum(0).tolist()
    assert list(data.card.splits["train"].label_counts.values()) == above
