"""Recordings with labels: rows find their videos, splits, and what is left over is named."""

from pathlib import Path

import numpy as np
import pytest

from emotailor.data.readers import ConvertOptions
from emotailor.data.sample import UNSPLIT, Sample
from emotailor.errors import DataError
from emotailor.extraction.find import Found
from emotailor.extraction.reading import reading_of
from tests.extraction.recordings import recording

VIDEOS = [Found("a/clip", Path("all/a/clip.mp4")), Found("other", Path("all/other.mkv"))]


def read(labels: Path | None, videos: list[Found] = VIDEOS) -> tuple[dict[str, list[Sample]], str]:
    options = ConvertOptions(labels=labels)
    reading = reading_of(
        videos,
        lambda video: None if video.name == "broken" else recording(video.path),
        options,
        dims={"visual": 2, "audio": 3},
        extraction={},
        aligned=True,
    )
    found: dict[str, list[Sample]] = {}
    for split, sample in reading.samples:
        found.setdefault(split, []).append(sample)
    return found, "\n".join(reading.told())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_without_labels_every_utterance_is_a_sample(tmp_path: Path) -> None:
    found, told = read(None)
    assert list(found) == [UNSPLIT]
    assert [sample.id for sample in found[UNSPLIT]] == [
        "a/clip[0]",
        "a/clip[1]",
        "other[0]",
        "other[1]",
    ]
    assert all(sample.labels is None for sample in found[UNSPLIT])
    assert "a/clip: a second note" in told


def test_rows_with_times_are_stretches_of_their_video(tmp_path: Path) -> None:
    table = write(
        tmp_path / "labels.csv",
        "id,segment_id,start,end,happy,sad,split\n"
        "clip,0,1.2,4.9,1,0,train\n"
        "clip,4,4.0,99,0,2,test\n"
        "clip,5,5.5,6,0,2,test\n"
        "nobody,0,0,1,0,0,train\n",
    )
    found, told = read(table)
    (first,) = found["train"]
    assert first.id == "clip[0]"
    assert first.words == ["great!", "bye"]
    np.testing.assert_array_equal(first.labels, [1, 0])
    (second,) = found["test"]
    assert second.words == ["bye"]
    np.testing.assert_array_equal(second.labels, [0, 1])
    for part in ("nobody[0]", "other", "after the end of its video"):
        assert part in told


def test_several_rows_of_a_video_without_numbers_are_in_the_split_that_they_name(
    tmp_path: Path,
) -> None:
    """The form that the manual shows."""
    table = write(
        tmp_path / "labels.csv",
        "id,start,end,happy,split\nclip,0.0,2.0,1,train\nclip,2.5,4.9,0,train\nother,0,6,0,test\n",
    )
    found, _ = read(table)
    held = {}
    for sample in found["train"]:
        assert sample.labels is not None
        held[sample.id] = sample.labels.tolist()
    assert held == {"clip[0]": [1], "clip[1]": [0]}
    assert [sample.id for sample in found["test"]] == ["other[0]"]


def test_a_row_that_ends_before_it_starts_is_no_sample(tmp_path: Path) -> None:
    table = write(
        tmp_path / "labels.csv", "id,start,end,happy,split\nclip,3,1,1,train\nother,0,6,0,train\n"
    )
    found, told = read(table)
    assert [sample.id for sample in found["train"]] == ["other"]
    assert "that ends before it or its video begins" in told


def test_rows_without_times_are_about_the_whole_video(tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "id,happy\nclip.mp4,1\nother,0\n")
    found, _ = read(table)
    assert [sample.id for sample in found[UNSPLIT]] == ["clip.mp4", "other"]
    assert [sample.words for sample in found[UNSPLIT]] == [["so", "great!", "bye"]] * 2


def test_a_video_that_failed_is_named(tmp_path: Path) -> None:
    found, told = read(None, [*VIDEOS, Found("broken", Path("broken.mp4"))])
    assert len(found[UNSPLIT]) == 4
    assert "broken" in told


def test_labels_of_other_videos_are_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "id,happy\nfilm,1\n")
    with pytest.raises(DataError) as caught:
        read(table)
    assert "film" in str(caught.value)
    assert "a/clip" in str(caught.value)
