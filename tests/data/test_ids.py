"""Which segment of which video an id names."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.dataset import EmotionDataset
from emotailor.data.ids import Videos, parse_raw_clip, parse_segment, segment_key, video_of
from emotailor.data.readers.convert import convert
from emotailor.data.sample import Sample
from emotailor.data.validate import validate_dataset
from emotailor.errors import DataError


@pytest.mark.parametrize(
    ("sample_id", "video"),
    [
        ("abc[3]", "abc"), ("abc$_$13", "abc"), ("abc", "abc"), ("a[1]b", "a[1]b"),
        ("--q[x]", "--q[x]"), ("a[1][2]", "a[1]"), ("abc_3", "abc_3"), ("[3]", "[3]"),
    ],
)  # fmt: skip
def test_the_video_of_a_segment(sample_id: str, video: str) -> None:
    assert video_of(sample_id) == video


def test_ids_taken_apart() -> None:
    rows = parse_segment("a_b[07]")
    clips = parse_segment("a_b$_$13")
    raw = parse_raw_clip("-Uacr_miTn4_0")
    assert rows is not None and (rows.video, rows.number, rows.spelling) == ("a_b", "07", "[]")
    assert clips is not None and (clips.video, clips.number, clips.spelling) == ("a_b", "13", "$_$")
    assert raw is not None and (raw.video, raw.number) == ("-Uacr_miTn4", "0")
    assert parse_segment("a_b_3") is None and parse_raw_clip("a[3]") is None
    assert segment_key("a$_$03") == segment_key("a[3]") == "a[3]" and segment_key("a_3") == "a_3"


def test_raw_clips_are_segments_only_where_that_is_safe() -> None:
    # names of real raw clips
    clips = Videos(["2HP4KedfmSc_5", "2HP4KedfmSc_6", "XDVkhOziCkg_0", "sC1NvtirijU_21"])
    assert (
        clips.of("2HP4KedfmSc_5") == "2HP4KedfmSc" and clips.of("sC1NvtirijU_21") == "sC1NvtirijU"
    )
    assert clips.note == "ids are taken as video_number: segments of 3 videos"
    assert clips.doubt is None

    # whole videos, one of which ends like a segment
    whole = Videos(["2HP4Ked_mS_5", "XDVkhOziCkg", "sC1NvtirijU"])
    assert whole.of("2HP4Ked_mS_5") == "2HP4Ked_mS_5"
    assert (whole.note, whole.doubt) == (None, None)

    # different videos that all end in a number
    distinct = Videos(["a_1", "b_1", "c_2"])
    assert distinct.of("a_1") == "a_1" and (distinct.note, distinct.doubt) == (None, None)


@pytest.mark.parametrize(
    ("ids", "number"),
    [(["sample_0", "sample_1", "sample_2"], "3 of 3"), (["a_0", "a_1", "b_0", "b"], "1 of 4")],
    ids=["one", "mixed"],
)
def test_ids_that_may_be_segments_leave_a_doubt(ids: list[str], number: str) -> None:
    videos = Videos(ids)
    assert [videos.of(sample_id) for sample_id in ids] == ids
    assert videos.doubt is not None and number in videos.doubt


@pytest.mark.parametrize(
    "style",
    ["dia{}_utt{}", "Ses0{}F_impro01_F00{}", "v{}-{}", "v{}.{}", "v{}/{}", "v{}({})", "v{}_c{}",
     "v{}_0{}.mp4", "v{}_1.0_{}.5"],
)  # fmt: skip
def test_other_spellings_of_segments_leave_a_doubt(style: str) -> None:
    ids = [style.format(video, k) for video in range(3) for k in range(3)]
    videos = Videos(ids)
    assert [videos.of(sample_id) for sample_id in ids] == ids
    assert videos.doubt is not None and repr(ids[0]) in videos.doubt


@pytest.mark.parametrize(
    "ids",
    [
        ["--qXJuDtHPw", "-3g5yACwYnA", "-571d8cVauQ", "zwTrXwi54us", "_26JmJnPKfM"],
        [f"{split}-{i:05d}" for split in ("train", "test") for i in range(9)],
        ["ann-1[0]", "ann-1[1]", "ann-2[0]"],
        ["ann", "bob"],
    ],
    ids=["videos", "numbered", "segments", "names"],
)
def test_ids_without_parts_leave_none(ids: list[str]) -> None:
    assert Videos(ids).doubt is None


def samples(ids: list[str]) -> list[Sample]:
    one = np.ones((2, 3), np.float32)
    return [Sample(sample_id, {"text": one}, np.array([1], np.uint8)) for sample_id in ids]


def test_videos_are_told_by_all_splits_together() -> None:
    data = EmotionDataset.from_samples(
        {"train": samples(["a_0", "a_1", "b_0"]), "test": samples(["c_4", "a_7"])},
        name="x", label_names=("happy",), dims={"text": 3}, aligned=True,
    )  # fmt: skip
    # 3 of 5 are of one video: too many to be sure
    assert data.videos("test") == ["c_4", "a_7"]
    data = EmotionDataset.from_samples(
        {"train": samples(["a_0", "a_1", "b_0", "b_1"]), "test": samples(["c_4", "a_7"])},
        name="x", label_names=("happy",), dims={"text": 3}, aligned=True,
    )  # fmt: skip
    assert data.videos("test") == ["c", "a"]


def table(folder: Path, ids: dict[str, str]) -> Path:
    folder.mkdir()
    rows = [f"{sample_id},{split},{i % 2}" for i, (sample_id, split) in enumerate(ids.items())]
    (folder / "samples.csv").write_text("\n".join(["id,split,happy", *rows]) + "\n")
    np.save(folder / "text.npy", np.random.default_rng(0).normal(size=(len(ids), 4)))
    return folder


@pytest.mark.parametrize("style", ["{}[{}]", "{}$_${}", "{}_{}"])
def test_leaks_are_found_in_every_spelling(tmp_path: Path, style: str) -> None:
    where = [
        ("a", 0, "train"),
        ("a", 1, "valid"),
        ("b", 0, "train"),
        ("b", 1, "test"),
        ("c", 0, "test"),
    ]
    ids = {style.format(video, number): split for video, number, split in where}
    data = convert(table(tmp_path / "in", ids), tmp_path / "out")
    assert "2 videos have segments in more than one split" in data.card.repairs
    found = [p.what for p in validate_dataset(tmp_path / "out") if "segments of" in p.what]
    assert len(found) == 2  # train and valid, train and test


def test_ids_of_one_stem_are_a_doubt_that_validate_tells_too(tmp_path: Path) -> None:
    ids = {f"vid_{i}": split for i, split in enumerate(["train", "train", "valid", "test"])}
    data = convert(table(tmp_path / "in", ids), tmp_path / "out")
    doubt = Videos(ids).doubt
    assert doubt is not None and doubt in data.card.repairs
    assert doubt in [problem.what for problem in validate_dataset(tmp_path / "out")]


def test_one_segment_in_two_spellings_is_there_twice(tmp_path: Path) -> None:
    source = table(tmp_path / "in", {"a[1]": "train", "b": "test", "a$_$01": "test"})
    with pytest.raises(DataError, match="one segment"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
