"""MulT's and MMSA's pickles, whose emotions come from another file."""

import csv
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.data.readers._common import ConvertOptions
from emotailor.data.readers.convert import convert
from emotailor.data.readers.joining.join import Wanted, join
from emotailor.data.readers.joining.labels import LabelTable, Segment, read_label_table
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
    note = "dropped 1 sample without labels in segments.csv: ann 0.5-2.4"
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
        ("id,happy\nx,\n", "line 2: happy is ''"),
        ("id,happy\nx,much\n", "line 2: happy is 'much'"),
        ("id,happy\nx,nan\n", "not finite numbers"),
        ("id,happy\nx,1\nx,0\n", "'x' occurs twice"),
        ("id,happy\n,1\n", "line 2: no id"),
        ("id,happy,start,end\nx,1,soon,2\n", "start is 'soon'"),
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


def test_real_label_table_joins_by_clip_and_by_time(
    tmp_path: Path, shared_data: Path, segments: LabelTable
) -> None:
    table = shared_data / "mosei_labels" / "segments.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(segments.segments) == 23_259 and segments.names == SDK
    held = np.sum([s.labels for s in segments.segments], axis=0, dtype=int).tolist()
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


@pytest.fixture(scope="module")
def clips(shared_data: Path) -> list[dict[str, str]]:
    """The 22,856 samples of MMSA's file, with their clip numbers and the rows they belong to."""
    with (shared_data / "mosei_text" / "mosei_text.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["mmsa_split"] in ("train", "valid", "test")]


@pytest.fixture(scope="module")
def segments(shared_data: Path) -> LabelTable:
    """The label table of all 23,259 segments, which has no clip numbers."""
    return read_label_table(shared_data / "mosei_labels" / "segments.csv", ConvertOptions())


def as_in_mmsa(clips: list[dict[str, str]]) -> list[Wanted]:
    return [
        Wanted(f"{row['id']}$_${row['clip']}", float(row["sentiment"]), row["text"])
        for row in clips
    ]


def right(clips: list[dict[str, str]]) -> list[list[int]]:
    return [[int(float(row[name]) > 0) for name in SDK] for row in clips]


def test_all_of_mmsa_gets_the_right_labels(
    segments: LabelTable, clips: list[dict[str, str]]
) -> None:
    wanted = as_in_mmsa(clips)
    joined = join(Path("a.pkl"), segments, wanted)
    assert len(clips) == 22_856
    assert [s and s.number for s in joined.segments] == [int(row["segment"]) for row in clips]
    assert [s and s.labels.tolist() for s in joined.segments] == right(clips)
    assert "22856 of 22856 pairs" in joined.notes[0]

    # by equal numbers, most would have no labels or those of another segment
    equal = [segments.find(sample.name) for sample in wanted]
    labels = [s and s.labels.tolist() for s in equal]
    wrong = [a for a, b in zip(labels, right(clips), strict=True) if a is not None and a != b]
    assert (labels.count(None), len(wrong)) == (5393, 8811)


def test_all_of_mmsa_by_clip_number(segments: LabelTable, clips: list[dict[str, str]]) -> None:
    number = {(row["id"], int(row["segment"])): row["clip"] for row in clips}
    with_clips = [replace(s, clip=number.get((s.video, s.number or 0))) for s in segments.segments]
    table = LabelTable(segments.path, segments.names, with_clips)
    joined = join(Path("a.pkl"), table, as_in_mmsa(clips))
    assert [s and s.number for s in joined.segments] == [int(row["segment"]) for row in clips]
    assert joined.notes == [
        "labels are joined by clip number; 22856 of 22856 pairs are checked by their sentiment"
    ]


def test_part_of_mmsa_is_right_or_dropped(
    segments: LabelTable, clips: list[dict[str, str]]
) -> None:
    """Where clips are missing, sentiment and text tell which; else the clip is left out."""
    part = clips[:6000:3]
    joined = join(Path("a.pkl"), segments, as_in_mmsa(part))
    pairs = list(zip(joined.segments, right(part), strict=True))
    assert [s for s, labels in pairs if s is not None and s.labels.tolist() != labels] == []
    dropped = sum(s is None for s, _ in pairs)
    assert dropped == 703
    assert any(note.startswith(f"{dropped} samples could be") for note in joined.notes)

    # the text tells more of them
    text = {(row["id"], int(row["segment"])): row["text"] for row in clips}
    told = [replace(s, text=text.get((s.video, s.number or 0))) for s in segments.segments]
    table = LabelTable(segments.path, segments.names, told)
    joined = join(Path("a.pkl"), table, as_in_mmsa(part))
    pairs = list(zip(joined.segments, right(part), strict=True))
    assert [s for s, labels in pairs if s is not None and s.labels.tolist() != labels] == []
    assert sum(s is None for s, _ in pairs) == 1


def table_of(*segments: Segment) -> LabelTable:
    return LabelTable(Path("labels.csv"), ("a", "b", "c"), list(segments))


def row(number: int, sentiment: float | None = None, **more: Any) -> Segment:
    """Row ``number`` of the video v, with the bits of number + 1 as labels."""
    bits = np.array([(number + 1) >> bit & 1 for bit in range(3)], np.uint8)
    return Segment(f"v[{number}]", "v", None, bits, number, sentiment=sentiment, **more)


def rows_found(table: LabelTable, *wanted: Wanted) -> list[int | None]:
    joined = join(Path("a.pkl"), table, wanted)
    return [None if segment is None else segment.number for segment in joined.segments]


def test_clips_are_the_rows_in_the_order_of_their_numbers_as_text() -> None:
    # as -3g5yACwYnA in MMSA, in another order
    numbers = ["2", "10", "3", "13", "9", "4"]
    wanted = [Wanted(f"v$_${number}") for number in numbers]
    table = table_of(*(row(k) for k in range(6)))
    assert rows_found(table, *wanted) == [2, 0, 3, 1, 5, 4]
    assert rows_found(table, Wanted("v$_$2"), Wanted("w$_$0"), *wanted[1:]) == [
        2,
        None,
        0,
        3,
        1,
        5,
        4,
    ]


def test_a_contradiction_in_sentiment_is_an_error_with_an_example() -> None:
    table = table_of(row(0, 1.0), row(1, -2 / 3), row(2, 0.0))
    wanted = [Wanted("v$_$1", 1.0), Wanted("v$_$5", -0.667), Wanted("v$_$7", 1 / 3)]
    with pytest.raises(DataError) as caught:
        rows_found(table, *wanted)
    assert "1 of 3 samples" in caught.value.found
    assert "'v$_$7' has the sentiment 0.3333, and 'v[2]' 0" in caught.value.found
    with pytest.raises(DataError, match="'v\\$_\\$1' has the sentiment 2"):
        rows_found(table, Wanted("v$_$1", 2.0), Wanted("v$_$5", 0.0))  # no row of the video fits


def test_clips_that_are_missing_are_found_by_sentiment_and_text_or_dropped() -> None:
    table = table_of(row(0, 1.0), row(1, 0.0), row(2, 1.0), row(3, -1.0))
    assert rows_found(table, Wanted("v$_$3", 0.0), Wanted("v$_$4", 1.0)) == [1, 2]
    # either of two rows, whose labels differ
    assert rows_found(table, Wanted("v$_$3", 1.0)) == [None]
    said = table_of(row(0, 1.0, text="One, two."), row(1, 0.0), row(2, 1.0, text="Three"))
    assert rows_found(
        said,
        Wanted("v$_$3", 1.0, "three!"),
    ) == [2]
    # nothing told by either file
    silent = table_of(row(0), row(1), row(2))
    assert rows_found(silent, Wanted("v$_$3"), Wanted("v$_$4")) == [None, None]


def clip(number: str, labels: list[int], sentiment: float | None = None) -> Segment:
    held = np.array(labels, np.uint8)
    return Segment(f"v$_${number}", "v", None, held, clip=number, sentiment=sentiment)


def test_a_table_of_clips_is_joined_by_their_numbers() -> None:
    table = table_of(clip("3", [1, 0, 0]), clip("10", [0, 1, 0]), clip("0004", [0, 0, 1]))
    joined = join(Path("a"), table, [Wanted("v$_$10"), Wanted("v_4"), Wanted("v$_$03")])
    assert [s and s.clip for s in joined.segments] == ["10", "0004", "3"]
    # rows of the SDK are its clips in the order of their numbers as text
    joined = join(Path("a"), table, [Wanted("v[0]"), Wanted("v[1]"), Wanted("v[3]")])
    assert [s and s.clip for s in joined.segments] == ["0004", "10", None]
    wrong = table_of(clip("3", [1, 0, 0], sentiment=1.0))
    with pytest.raises(DataError, match="contradict"):
        join(Path("a"), wrong, [Wanted("v$_$3", 0.0)])


def test_numbers_that_are_clips_under_another_name_are_told_by_the_sentiment() -> None:
    feelings = [round(k / 3 - 2, 3) for k in range(12)]
    as_clips = table_of(*(row(k, feelings[k]) for k in range(12)))
    wanted = [Wanted(f"v$_${k}", feelings[k]) for k in range(12)]
    assert rows_found(as_clips, *wanted) == list(range(12))

    # the same numbers as rows: clip 10 is row 2
    in_order = sorted(range(12), key=str)
    as_rows = table_of(*(row(k, feelings[clip]) for k, clip in enumerate(in_order)))
    assert rows_found(as_rows, *wanted) == [in_order.index(k) for k in range(12)]

    # without it, nothing tells
    with pytest.raises(DataError, match="nothing tells which"):
        rows_found(table_of(*(row(k) for k in range(12))), *wanted)


def test_numbers_with_gaps_are_clips() -> None:
    table = table_of(row(3), row(7))
    assert rows_found(table, Wanted("v$_$3"), Wanted("v$_$7"), Wanted("v$_$9")) == [3, 7, None]


def test_columns_of_other_label_files(tmp_path: Path) -> None:
    path = tmp_path / "amt.csv"
    path.write_text(
        "Input.VIDEO_ID,Input.CLIP,Answer.sentiment,Answer.Happiness,Answer.anger,Worker\n"
        "ann,10,-1.0,0,2,x\nann,3,2.0,1,0,y\n"
    )
    table = read_label_table(path, ConvertOptions())
    assert table.names == ("happiness", "anger")
    told = [
        (s.key, s.video, s.clip, s.number, s.sentiment, s.labels.tolist()) for s in table.segments
    ]
    assert told == [
        ("ann$_$10", "ann", "10", None, -1.0, [0, 1]), ("ann$_$3", "ann", "3", None, 2.0, [1, 0])
    ]  # fmt: skip

    path.write_text(
        "video_id\tsegment\tInterval_Start\tinterval_end\tHAPPY\tsad\tsentiment\ttext\n"
        "ann\t2.0\t1.5\t3\t1\t0\t\thi\n"
    )
    (segment,) = read_label_table(path, ConvertOptions()).segments
    assert (segment.key, segment.number, segment.span) == ("ann[2]", 2, (1.5, 3.0))
    assert (segment.sentiment, segment.text) == (None, "hi")

    path.write_text("id,segment_id,clip,happy\nann,1,10,1\nann,2,,0\n")
    first, second = read_label_table(path, ConvertOptions()).segments
    assert (first.number, first.clip, second.number, second.clip) == (1, "10", 2, None)
    path.write_text("id,segment_id,happy\nann,last,1\n")
    with pytest.raises(DataError, match="line 2: the number of the segment is 'last'"):
        read_label_table(path, ConvertOptions())


def test_both_spellings_of_a_segment_are_that_segment_twice(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,happy\nann[0],1\nann$_$0,0\n")
    with pytest.raises(DataError, match=r"'ann\$_\$0' occurs twice, once as 'ann\[0\]'"):
        read_label_table(path, ConvertOptions())


def test_numbers_without_bound_are_no_rows(tmp_path: Path) -> None:
    table = table_of(row(0), row(999_999_999))
    assert rows_found(table, Wanted("v$_$1"), Wanted("v$_$0")) == [None, 0]
    path = tmp_path / "labels.csv"
    path.write_text(f"id,segment_id,happy\nann,{'9' * 5000},1\n")
    with pytest.raises(DataError, match="the number of the segment is '999"):
        read_label_table(path, ConvertOptions())
    path.write_text(f"id,happy\nann[{'9' * 5000}],1\n")
    (segment,) = read_label_table(path, ConvertOptions()).segments
    assert segment.number is None


def table_in(path: Path, text: str) -> LabelTable:
    path.write_text(text)
    return read_label_table(path, ConvertOptions())


def test_a_column_without_a_name_is_nothing(tmp_path: Path) -> None:
    # pandas writes its index so
    table = table_in(tmp_path / "labels.csv", ",id,segment,happy\n1,ann,0,1\n2,ann,1,0\n")
    assert [s.key for s in table.segments] == ["ann[0]", "ann[1]"]
    assert [s.sentiment for s in table.segments] == [None, None]
    assert [s.text for s in table.segments] == [None, None]


def test_segments_that_have_times_alone_are_numbered_in_order(tmp_path: Path) -> None:
    # as people write the SDK's label file out
    path = tmp_path / "labels.csv"
    table = table_in(path, "file,start,end,happy\nann,2,4,1\nbob,0,1,0\nann,-0.5,2,0\n")
    assert [s.key for s in table.segments] == ["ann[0]", "bob[0]", "ann[1]"]
    assert [s.span for s in table.segments] == [(2.0, 4.0), (0.0, 1.0), (0.0, 2.0)]
    assert any("does not number its segments" in note for note in table.notes)

    content = {"train": {"id": np.array([["ann", "-0.5", "2"], ["ann", "2", "4"]])}}
    content["train"] |= {"text": features("text", 2), "labels": np.zeros((2, 1, 1))}
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=path)
    assert data["train"].ids == ["ann[1]", "ann[0]"]
    assert data["train"].labels.tolist() == [[0], [1]]
    notes = data.card.repairs
    assert "labels are joined by video, start and end, within 0.05 s" in notes
    assert not any("clip" in note or "rank" in note for note in notes)

    path.write_text("id,segment,happy\nann,0,1\n")
    with pytest.raises(DataError, match=r"labels\.csv has no times"):
        convert(tmp_path / "a.pkl", tmp_path / "b", labels=path)


def test_columns_that_are_not_used_are_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    table = table_in(path, "id,segment,happy,neutral,worker\nann,0,1,1,x\n")
    assert table.names == ("happy",)
    assert table.account.notes() == ["columns of labels.csv not used: neutral, worker"]
    assert table.notes == []
    path.write_text("id,segment,happy,happiness\nann,0,1,1\n")
    with pytest.raises(DataError, match="two columns for one emotion: happy and happiness"):
        read_label_table(path, ConvertOptions())


def test_raw_clips_in_a_label_file(tmp_path: Path) -> None:
    table = table_in(tmp_path / "labels.csv", "id,happy\nv_10,1\nv_2,0\n")
    joined = join(Path("a.pkl"), table, [Wanted("v$_$2"), Wanted("v$_$10")])
    assert [s.key for s in joined.segments if s is not None] == ["v_2", "v_10"]
    joined = join(Path("a.pkl"), table, [Wanted("v[0]"), Wanted("v[1]")])
    assert [s.key for s in joined.segments if s is not None] == ["v_10", "v_2"]


def test_sentiment_that_is_rounded_is_the_same() -> None:
    told = [1 / 3, 2 / 3, -1 / 6, 5 / 6]
    table = table_of(*(row(k, told[k]) for k in range(4)))
    for digits in (1, 2, 4):
        wanted = [Wanted(f"v$_${k + 3}", round(told[k], digits)) for k in range(4)]
        assert rows_found(table, *wanted) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="3 of 4 samples"):
        rows_found(table, *(Wanted(f"v$_${k + 3}", told[0]) for k in range(4)))


def test_rows_found_by_their_own_id_are_checked_too() -> None:
    table = table_of(row(0, 1.0), row(1, -1.0))
    assert rows_found(table, Wanted("v[1]", -1.0), Wanted("v[0]", 1.0)) == [1, 0]
    with pytest.raises(DataError, match=r"2 of 2 samples of a.pkl contradict labels.csv"):
        rows_found(table, Wanted("v[1]", 1.0), Wanted("v[0]", -1.0))


def test_rows_counted_from_1_are_not_taken_for_clips() -> None:
    table = table_of(row(1), row(2), row(3))
    with pytest.raises(DataError, match="nothing tells which"):
        rows_found(table, Wanted("v$_$0"), Wanted("v$_$2"), Wanted("v$_$3"))
    assert rows_found(table, Wanted("v$_$1"), Wanted("v$_$2"), Wanted("v$_$3")) == [1, 2, 3]


def test_one_sentiment_for_all_samples_is_none(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,segment,sentiment,happy\nann,0,1,True\nann,1,-1,False\n")
    content = {"train": {"id": ["ann[0]", "ann[1]"], "text": features("text", 2)}}
    content["train"]["labels"] = np.zeros((2, 1, 1))
    data = convert(save(content, tmp_path / "a.pkl"), tmp_path / "out", labels=path)
    assert data["train"].labels.tolist() == [[1], [0]]
    content["train"]["labels"] = np.array([-1.0, 1.0])
    with pytest.raises(DataError, match=r"2 of 2 samples .* contradict"):
        convert(save(content, tmp_path / "b.pkl"), tmp_path / "b", labels=path)


def test_a_row_that_is_too_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,happy,sad\nann[0],1,0\nann[1],1\n")
    with pytest.raises(DataError, match="line 3"):
        read_label_table(path, ConvertOptions())
