"""predict on videos: printed, one file, a folder that is gone on with, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from emotailor.commands.videos import (
    are_videos,
    named_model,
    predict_to_folder,
    print_videos,
    videos_at,
    write_videos,
)
from emotailor.errors import ConfigError, DataError
from emotailor.extraction.config import ExtractionConfig
from emotailor.extraction.find import transcripts_in
from emotailor.report.timelines import read_timeline
from emotailor.runs.videos import VideoJob

pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("tokenizers")

from tests.extraction.videos import talking


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with what is said in them; one lies in a folder of its own."""
    place = tmp_path_factory.mktemp("videos")
    for name in ("first", "day two/second"):
        video = place / f"{name}.mp4"
        video.parent.mkdir(exist_ok=True)
        talking(video, 3.0)
        cues = "1\n00:00:00,000 --> 00:00:01,000\nI am so happy for you\n\n"
        cues += "2\n00:00:02,000 --> 00:00:02,900\nthat is disgusting\n"
        video.with_suffix(".srt").write_text(cues)
    return place


def job(folder: Path, *, transcripts: bool = True) -> VideoJob:
    videos = videos_at([folder])
    return VideoJob(
        None,
        videos,
        config=ExtractionConfig(visual="none"),
        transcripts=transcripts_in(folder, videos) if transcripts else {},
        processes=1,
    )


def test_a_folder_has_files_of_each_video_and_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = predict_to_folder(job(folder), out)
    assert first.predicted == ["day two/second", "first"]
    assert not first.reused
    assert not first.failures

    made = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    expected = {"index.html", "timelines.csv", "timelines.json", "timelines.jsonl"}
    for name in first.predicted:
        expected |= {f"{name}.{form}" for form in ("json", "csv", "srt", "html")}
    assert made == expected

    timeline = read_timeline(out, "first")
    assert [moment.text for moment in timeline.moments] == [
        "I am so happy for you",
        "that is disgusting",
    ]
    assert timeline.moments[0].labels == ["happy"]
    assert "disgust" in timeline.moments[1].labels
    assert timeline.evidence == ("text",)

    # nothing is done twice, and what is lost is made again
    before = {path: path.stat().st_mtime_ns for path in out.rglob("first.*")}
    (out / "day two" / "second.srt").unlink()
    again = predict_to_folder(job(folder), out)
    assert again.predicted == ["day two/second"]
    assert again.reused == ["first"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_transcript_is_another_prediction(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "videos"
    shutil.copytree(folder, place)
    out = tmp_path / "out"
    predict_to_folder(job(place), out)
    (place / "first.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhow very sad\n")
    again = predict_to_folder(job(place), out)
    assert again.predicted == ["first"]
    assert read_timeline(out, "first").moments[0].text == "how very sad"


def test_a_broken_video_is_named_in_the_index_and_the_others_are_done(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "videos"
    shutil.copytree(folder, place)
    (place / "a<b>.mp4").write_bytes(b"\0" * 64)
    (place / "a<b>.txt").write_text("so")
    out = tmp_path / "out"
    result = predict_to_folder(job(place), out)
    assert list(result.failures) == ["a<b>"]
    assert result.predicted == ["day two/second", "first"]

    page = (out / "index.html").read_text()
    assert "a&lt;b&gt;" in page
    assert "<b>" not in page


def test_a_folder_of_somebody_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError):
        predict_to_folder(job(folder), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_file_for_all(folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "all.jsonl"
    assert not write_videos(job(folder), lines, Console(quiet=True), overwrite=False)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [Path(one["source"]).stem for one in found] == ["second", "first"]

    with pytest.raises(ConfigError):
        write_videos(job(folder), lines, Console(quiet=True), overwrite=False)
    with pytest.raises(ConfigError, match="2 videos"):
        write_videos(job(folder), tmp_path / "all.srt", Console(quiet=True), overwrite=False)

    rows = tmp_path / "all.csv"
    write_videos(job(folder), rows, Console(quiet=True), overwrite=False)
    cells = rows.read_text().splitlines()
    # one header, two utterances of each of two videos
    assert len(cells) == 5
    assert sum(line.startswith("id,") for line in cells) == 1


def test_nothing_is_written_where_nothing_can_be_predicted(tmp_path: Path) -> None:
    place = tmp_path / "videos"
    place.mkdir()
    (place / "broken.mp4").write_bytes(b"")
    (place / "broken.txt").write_text("so")
    file = tmp_path / "out.json"
    with pytest.raises(DataError):
        write_videos(job(place), file, Console(quiet=True), overwrite=False)
    with pytest.raises(DataError):
        print_videos(job(place), None, Console(quiet=True), Console(quiet=True))
    assert not file.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_what_stands_first_is_a_model_or_a_video(folder: Path, tmp_path: Path) -> None:
    clip = folder / "first.mp4"
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    assert named_model(clip, [], has_text=False) == (None, [clip])
    assert named_model(folder, [clip], has_text=False) == (None, [folder, clip])
    assert named_model(run, [clip], has_text=False) == (run, [clip])
    assert named_model(run, [], has_text=True) == (run, [])
    assert named_model(None, [], has_text=True) == (None, [])
    assert are_videos([clip, folder])
    assert not are_videos([clip, run])
    assert not are_videos([])


def test_what_is_neither_a_model_nor_a_video_is_named(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="is a picture"):
        named_model(picture, [], has_text=False)
    with pytest.raises(DataError, match="a folder without videos"):
        named_model(tmp_path, [], has_text=False)


def test_two_videos_of_one_name_are_told_apart(folder: Path) -> None:
    clip = folder / "first.mp4"
    names = [video.name for video in videos_at([clip, folder])]
    assert names == ["first", "day two/second", "first (2)"]
