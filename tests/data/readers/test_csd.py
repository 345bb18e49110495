import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from emotailor.data.readers._common import ConvertOptions
from emotailor.data.readers.convert import convert
from emotailor.data.readers.csd import Folds, read_folds
from emotailor.data.readers.joining.labels import read_label_table
from emotailor.data.readers.timed.align import mean_per_word, overlapping
from emotailor.data.readers.timed.track import with_length
from emotailor.errors import ConfigError, DataError
from tests.data.readers.sources import SDK, csd, features, label_csv, write_csd


def test_overlap_is_more_than_rounding_error() -> None:
    intervals = np.array([[0, 1], [1, 2], [2, 3], [1, 1], [0, 9], [0.5, 1.000009], [0, 1.000011]])
    shared = overlapping(intervals, 1.0, 2.0).tolist()
    assert shared == [False, True, False, False, True, False, True]


def test_mean_per_word_by_hand() -> None:
    values = np.array([[1.0], [3], [5], [11]])
    intervals = np.array([[0, 1], [1, 2], [2, 3], [5, 6]], float)
    words = np.array([[0, 2], [1.5, 2.5], [3, 5], [5.5, 5.7]], float)
    means, lacking = mean_per_word("x", values, intervals, words)
    assert means[:, 0].tolist() == [2, 4, 0, 11]
    assert lacking.tolist() == [False, False, True, False]


def test_a_long_row_among_short_ones_is_found_by_every_word() -> None:
    values = np.array([[10.0], [1], [2], [3]])
    intervals = np.array([[0, 9], [1, 2], [2, 3], [8, 9]], float)
    words = np.array([[0, 1], [1, 2], [2, 3], [4, 5], [8, 9]], float)
    means, lacking = mean_per_word("x", values, intervals, words)
    assert means[:, 0].tolist() == [10, 5.5, 6, 10, 6.5]
    assert not lacking.any()


def test_words_that_nobody_can_have_spoken() -> None:
    everywhere = np.tile([0.0, 9.0], (5000, 1))
    with pytest.raises(DataError, match="5000 intervals overlap 5000 rows 25000000 times"):
        mean_per_word("x", np.ones((5000, 1)), everywhere, everywhere)
    with pytest.raises(DataError, match="100000 words with 1000 features each"):
        mean_per_word("x", np.ones((1, 1000)), everywhere[:1], np.zeros((100_000, 2)))


def test_rows_with_a_stamp_alone_last_until_the_next() -> None:
    stamps = np.array([[0, 0], [0.5, 0.5], [0.5, 0.5], [2, 2]])
    assert with_length(stamps).tolist() == [[0, 0.5], [0.5, 2], [0.5, 2], [2, 3.5]]
    mixed = np.array([[0, 0], [0.5, 1.0]])
    assert with_length(mixed).tolist() == mixed.tolist()
    assert with_length(np.array([[3.0, 3.0]])).tolist() == [[3, 4]]


def test_aligned_to_words(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    data = convert(source.path, tmp_path / "out", **source.options)
    assert data.aligned and data.card.provenance["format"] == "csd"
    assert {s: v.ids for s, v in data.splits.items()} == {
        "train": ["ann[0]"],
        "valid": ["bob[0]"],
        "test": ["cy[0]"],
    }
    # happy 0, sad 1, fear 2/3
    assert data["train"].labels.tolist() == [[0, 0, 1, 0, 1, 0]]
    frames = features("audio", 1, 3)[0].astype(np.float64)
    expected = np.stack([frames[:2].mean(0), frames[2]]).astype(np.float32)
    np.testing.assert_array_equal(data["test"].sequence("audio", 0), expected)
    np.testing.assert_array_equal(data["test"].sequence("text", 0), features("text", 1, 2)[0])


def test_segments_are_cut_and_words_without_features_are_missing(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    rows = np.zeros((3, 7))
    rows[1, 1] = 1
    # the second word alone; all; nothing was said
    spans = [(1.0, 1.2), (0.0, 3.0), (7.0, 8.0)]
    write_csd(source.path / "CMU_MOSEI_Labels.csd", "All Labels", {"ann": (rows, spans)})
    late = {"ann": (features("audio", 1, 1)[0], [(1.5, 1.6)])}
    write_csd(source.path / "CMU_MOSEI_COVAREP.csd", "COVAREP", late)
    data = convert(source.path, tmp_path / "out", **source.options)
    assert data["train"].ids == ["ann[0]", "ann[1]"]
    assert data["train"].labels[:, 3].tolist() == [0, 1]
    np.testing.assert_array_equal(data["train"].sequence("text", 0), features("text", 1, 2)[0, 1:])
    # a word has its rows wherever its segment ends; in the second segment, word 0 has none
    assert data["train"].lengths("audio").tolist() == [1, 2]
    np.testing.assert_array_equal(data["train"].sequence("audio", 0), late["ann"][0])
    assert data["train"].sequence("audio", 1)[0].tolist() == [0] * 5
    stored = data["train"].sample(1)
    assert stored.missing["audio"].tolist() == [True, False]
    assert stored.times["audio"].tolist() == [[0, 1], [1, 2]]
    extraction = data.card.extraction["audio"]
    assert extraction.extractor == "COVAREP" and extraction.settings["steps"] == "words"
    np.testing.assert_array_equal(
        data["train"].sequence("audio", 1)[1], features("audio", 1, 1)[0, 0]
    )
    assert any(
        line.startswith("dropped 1 segment without a word in the text file: ann[")
        for line in data.card.repairs
    )
    assert any("does not name its columns" in line for line in data.card.repairs)


def test_unaligned_keeps_each_modalitys_own_steps(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    (source.path / "CMU_MOSEI_TimestampedWordVectors.csd").unlink()
    with pytest.raises(DataError, match="no text to align to"):
        convert(source.path, tmp_path / "out", **source.options)
    data = convert(source.path, tmp_path / "out", align=False, **source.options)
    assert not data.aligned and data.dims == {"visual": 3, "audio": 5}
    np.testing.assert_array_equal(data["test"].sequence("audio", 0), features("audio", 1, 3)[0])


def test_segments_before_0_are_cut_and_bad_intervals_counted(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    rows = np.zeros((5, 7))
    rows[[1, 2], [2, 1]] = 1
    spans = [(2.0, 1.0), (-0.4775, 2.0), (0.0, 2.0), (-3.0, -1.0), (np.nan, 1.0)]
    write_csd(source.path / "CMU_MOSEI_Labels.csd", "All Labels", {"ann": (rows, spans)})
    audio = {"ann": (features("audio", 1, 3)[0], [(0, np.nan), (1, 2), (3, 2)])}
    write_csd(source.path / "CMU_MOSEI_COVAREP.csd", "COVAREP", audio)
    data = convert(source.path, tmp_path / "out", **source.options)
    # they keep their numbers
    assert data["train"].ids == ["ann[1]", "ann[2]"]
    assert data["train"].labels.tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    for i in range(2):
        np.testing.assert_array_equal(data["train"].sequence("text", i), features("text", 1, 2)[0])
        np.testing.assert_array_equal(
            data["train"].sequence("audio", i)[1], features("audio", 1, 3)[0, 1]
        )
    notes = data.card.repairs
    assert any(line.startswith("CMU_MOSEI_Labels.csd: 3 segments that end") for line in notes)
    assert any(line.startswith("CMU_MOSEI_COVAREP.csd: 2 rows with a rev") for line in notes)


def test_segments_of_a_csv_before_0(tmp_path: Path) -> None:
    labels = tmp_path / "segments.csv"
    labels.write_text(
        "id,segment_id,start,end,happy,split\n"
        "ann,0,-0.5,1.0,1,train\nann,1,-2,-1,1,train\nann,2,2,1,1,train\nann,3,nan,9,1,train\n"
    )
    table = read_label_table(labels, ConvertOptions())
    assert [segment.span for segment in table.segments] == [(0.0, 1.0), None, None, None]
    assert table.notes == [
        "segments.csv: 3 segments that end before they or the video begin ignored"
    ]
    source = csd(tmp_path / "csd")
    data = convert(source.path, tmp_path / "out", labels=labels, folds=labels)
    assert data["train"].ids == ["ann[0]"]


def test_mult_ids_that_begin_before_0(tmp_path: Path) -> None:
    path = write_csd(
        tmp_path / "labels.csd",
        "All Labels",
        {"vid": (np.eye(7)[1:2], [(-0.47755102, 4.10430839)])},
    )
    table = read_label_table(path, ConvertOptions())
    found = table.find_time("vid", -0.477, 4.1)
    assert found is not None and found.key == "vid[0]" and found.span == (0.0, 4.10430839)


def test_segments_after_the_last_interval_are_reported(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    spans = [(0.0, 2.0), (50.0, 52.0)]
    write_csd(
        source.path / "CMU_MOSEI_Labels.csd", "All Labels", {"ann": (np.zeros((2, 7)), spans)}
    )
    audio = {"ann": (features("audio", 1, 3)[0], [(0, 1), (1, 2), (2, 3)])}
    write_csd(source.path / "CMU_MOSEI_COVAREP.csd", "COVAREP", audio)
    data = convert(source.path, tmp_path / "out", align=False, **source.options)
    notes = data.card.repairs
    assert "CMU_MOSEI_COVAREP.csd: 1 segments start after its last interval" in notes


def test_features_stored_per_segment(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    names = {"CMU_MOSEI_Labels": ("All Labels", 7), "CMU_MOSEI_COVAREP": ("COVAREP", 5)}
    for file, (root, dim) in names.items():
        entries = {"bob[4]": (np.ones((1, dim)), [(0.0, 2.0)])}
        write_csd(source.path / f"{file}.csd", root, entries)
    data = convert(source.path, tmp_path / "out", **source.options)
    assert data["valid"].ids == ["bob[4]"] and data["valid"].labels.tolist() == [[1] * 6]
    assert data["valid"].sequence("audio", 0).tolist() == [[1] * 5, [1] * 5]


def test_paths_by_role_and_labels_from_a_csv(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    files = {
        "text": source.path / "CMU_MOSEI_TimestampedWordVectors.csd",
        "audio": source.path / "CMU_MOSEI_COVAREP.csd",
    }
    labels = label_csv(tmp_path / "segments.csv")
    data = convert(files, tmp_path / "out", labels=labels, folds=labels)
    assert data.modalities == ("audio", "text")
    # bob[3] begins after his words end
    assert {s: v.ids for s, v in data.splits.items()} == {
        "train": ["ann[0]"],
        "test": ["cy[0]", "cy[1]"],
    }
    assert "dropped 2 segments without a word in the text file: ann[1], bob[3]" in data.card.repairs
    assert "read 5 samples: 3 stored, 2 dropped" in data.card.repairs
    with pytest.raises(DataError, match=r"unknown roles \['face'\]"):
        convert({"face": files["text"]}, tmp_path / "x", labels=labels, folds=labels)
    with pytest.raises(ConfigError, match="one path per role"):
        convert(files, tmp_path / "x", format="npz")


def test_folds_are_needed(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    with pytest.raises(
        DataError, match=r"standard_folds lists\n.*--folds.*--split 70/10/20.*--split-by-hash"
    ):
        convert(source.path, tmp_path / "out")
    data = convert(source.path, tmp_path / "out", split_by_hash=True)
    for split, part in data.splits.items():
        for name in part.ids:
            tenth = int(hashlib.sha256(name[:-3].encode()).hexdigest(), 16) % 10
            assert split == (["train"] * 7 + ["valid"] + ["test"] * 2)[tenth]
    assert any("not the official folds" in line for line in data.card.repairs)


def test_videos_in_no_fold_are_dropped_and_counted(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"standard_train_fold": ["ann"]}))
    data = convert(source.path, tmp_path / "out", folds=folds)
    assert {s: len(v) for s, v in data.splits.items()} == {"train": 1}
    assert "dropped 2 segments in no split: bob[0], cy[0]" in data.card.repairs


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("f.json", '{"train": ["a"], "test": ["a"]}', "'a' is in the splits 'train' and 'test'"),
        ("f.json", "[1", "cannot be read"),
        ("f.json", "{}", "lists nothing"),
        ("f.csv", "name,split\na,train\n", "has the columns name, split"),
        ("f.csv", "id,part\na,train\n", "has the columns id, part"),
    ],
)
def test_fold_files_that_are_wrong(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_folds(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        ",ID,Split\n0,ann,train\n1,bob,test\n2,cy[0],valid\n3,cy[1],train\n",
        "video_id , fold\n ann , train \n bob , test \n cy , valid \n cy[1] , train \n",
        "id,segment,split\nann,0,train\nbob,0,test\ncy,0,valid\ncy,1,train\n",
        # clips 10 and 2 of cy are its rows 0 and 1
        "id,split\nann$_$7,train\nbob,test\ncy$_$2,train\ncy$_$10,valid\n",
        "video_id,clip_id,mode\nann,7,train\nbob,3,test\ncy,2,train\ncy,10,valid\n",
        "id,split\nann_7,train\nbob,test\ncy_2,train\ncy_10,valid\n",
    ],
    ids=["index", "spaces", "numbers", "clips", "mmsa", "raw"],
)
def test_the_ids_of_a_fold_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,segment,happy\nann,0,1\nbob,0,0\ncy,0,1\ncy,1,0\n")
    folds = tmp_path / "folds.csv"
    folds.write_text(text)
    options = ConvertOptions(folds=folds)
    table = read_label_table(path, options)
    known = Folds(options, table, [], path)
    splits = {segment.key: known.split_of(segment) for segment in table.segments}
    assert splits == {"ann[0]": "train", "bob[0]": "test", "cy[0]": "valid", "cy[1]": "train"}


def test_folds_of_other_videos_are_refused_with_an_example(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"train": ["somebody"]}))
    with pytest.raises(
        DataError, match=r"none of the segments of .*, such as 'ann\[0\]', but 'som"
    ):
        convert(source.path, tmp_path / "out", folds=folds)


def test_real_folds(shared_data: Path) -> None:
    folds = read_folds(shared_data / "mosei_labels" / "segments.csv")
    counts = {s: sum(v == s for v in folds.values()) for s in ("train", "valid", "test", None)}
    assert counts == {"train": 16_327, "valid": 1_871, "test": 4_662, None: 399}


def test_two_files_of_a_role_and_files_that_are_not_features(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    faces = {"ann": (np.array([[b"hello"]]), [(0, 1)])}
    write_csd(source.path / "faces.csd", "OpenFace_names", faces)
    write_csd(source.path / "zzz.csd", "phones", {"ann": (np.ones((1, 1)), [(0, 1)])})
    data = convert(source.path, tmp_path / "out", **source.options)
    notes = "\n".join(data.card.repairs)
    assert "faces.csd was not used: its features are not numbers" in notes
    assert "zzz.csd was not used: unknown root 'phones'" in notes
    facet = {"ann": (np.ones((1, 2)), [(0, 1)])}
    write_csd(source.path / "CMU_MOSEI_VisualFacet42.csd", "FACET 4.2", facet)
    with pytest.raises(DataError, match=r"two files for visual: .*Facet42\.csd and .*OpenFace2"):
        convert(source.path, tmp_path / "other", **source.options)


def test_label_columns_come_from_the_metadata(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    names = [*SDK[::-1], "sentiment"]
    labels = {"ann": (np.array([[1, 0, 0, 0, 0, 0, 3.0]]), [(0, 2)])}
    path = source.path / "CMU_MOSEI_Labels.csd"
    write_csd(path, "All Labels", labels, {"dimension names": names})
    data = convert(source.path, tmp_path / "out", **source.options)
    assert data["train"].labels.tolist() == [[0, 0, 1, 0, 0, 0]]  # fear comes first in this file
    unnamed = {"ann": (np.zeros((1, 4)), [(0, 2)])}
    write_csd(path, "All Labels", unnamed)
    with pytest.raises(DataError, match="4 label columns without names"):
        convert(source.path, tmp_path / "other", **source.options)


def test_entries_that_do_not_fit(tmp_path: Path) -> None:
    source = csd(tmp_path / "csd")
    with h5py.File(source.damage, "r+") as file:
        del file["COVAREP/data/bob/intervals"]
        file["COVAREP/data/bob/intervals"] = np.zeros((2, 2))
    with pytest.raises(DataError, match=r"entry 'bob' has features float32 \(3, 5\) and intervals"):
        convert(source.path, tmp_path / "out", **source.options)
    with h5py.File(source.damage, "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="no /<root>/data with entries"):
        convert(source.path, tmp_path / "out", **source.options)
    assert not (tmp_path / "out").exists()
