"""predict on videos: printed, one file, a folder that is gone on with, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
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
from emotailor.runs import videos
from emotailor.runs.videos import VideoJob
from tests import kills
from tests.extraction.tasks import InThisProcess

pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("tokenizers")

from tests.extraction.videos import talking, video


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos are extracted here; that processes do the same, the test of kills shows."""
    monkeypatch.setattr(videos, "Workers", InThisProcess)


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


def job(folder: Path, *, explain: bool = True) -> VideoJob:
    found = videos_at([folder])
    return VideoJob(
        None,
        found,
        config=ExtractionConfig(visual="none"),
        transcripts=transcripts_in(folder, found),
        explain=explain,
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


def test_names_that_no_file_can_have_fail_alone(folder: Path, tmp_path: Path) -> None:
    """Those of the files about all videos, too long ones, and bytes that are no characters."""
    place = tmp_path / "videos"
    shutil.copytree(folder, place)
    strange = os.fsdecode(b"caf\xe9")
    for name in ("index", "timelines", "x" * 240, strange):
        (place / f"{name}.mp4").write_bytes((place / "first.mp4").read_bytes())
        if len(name) < 200:
            (place / f"{name}.srt").write_bytes((place / "first.srt").read_bytes())
    (place / f"{'x' * 240}.txt").write_text("so")
    out = tmp_path / "out"
    for _ in range(2):
        result = predict_to_folder(job(place), out)
        assert sorted(result.failures) == ["index", "timelines", "x" * 240]
        assert sorted([*result.predicted, *result.reused]) == [strange, "day two/second", "first"]
    assert sorted(result.reused) == [strange, "day two/second", "first"]
    assert "emotailor-timelines" in (out / "timelines.json").read_text()


def test_what_an_earlier_content_gave_is_removed_where_the_new_one_fails(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "videos"
    shutil.copytree(folder, place)
    out = tmp_path / "out"
    predict_to_folder(job(place), out)
    assert (out / "first.json").is_file()
    (place / "first.mp4").write_bytes(b"\0" * 64)
    result = predict_to_folder(job(place), out)
    assert (list(result.failures), list(result.reused)) == (["first"], ["day two/second"])
    assert not list(out.glob("first.*"))
    assert (out / "day two/second.json").is_file()


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


# ---------------------------------------------------------------------- killed and gone on with

CLIPS = ("a", "b", "d")
BROKEN = "c"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three mute clips with what is said in them, and a broken one among them."""
    place = tmp_path_factory.mktemp("clips")
    for name in CLIPS:
        video(place / f"{name}.mp4", seconds=0.3)
        (place / f"{name}.srt").write_text(f"1\n00:00:00,000 --> 00:00:00,300\n{name} is lovely\n")
    (place / f"{BROKEN}.mp4").write_bytes((place / "a.mp4").read_bytes()[:300])
    (place / f"{BROKEN}.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nnever said\n")
    return place


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def noted(out: Path) -> list[str]:
    """Which videos a job has noted as done."""
    file = out / "timelines.json"
    return sorted(json.loads(file.read_text())["videos"]) if file.exists() else []


def test_a_job_killed_at_any_moment_ends_as_one_that_was_not(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    calls: list[str] = []
    with kills.counted(lambda _, name: calls.append(name)):
        whole = predict_to_folder(job(clips, explain=False), out)
    assert whole.predicted == list(CLIPS)
    assert list(whole.failures) == [BROKEN]
    expected = content(out)

    found = set()
    for part in (0.3, 0.5, 0.7, 0.95):
        shutil.rmtree(out)
        at = 1 + int(part * len(calls))
        assert (
            kills.run_and_die(lambda: predict_to_folder(job(clips, explain=False), out), at)
            == kills.KILLED
        )
        done = noted(out)
        before = {name: (out / f"{name}.json").stat().st_mtime_ns for name in done}

        again = predict_to_folder(job(clips, explain=False), out)
        assert again.reused == done
        assert sorted([*again.predicted, *done]) == list(CLIPS)
        assert list(again.failures) == [BROKEN]
        assert {name: (out / f"{name}.json").stat().st_mtime_ns for name in done} == before
        assert content(out) == expected
        found.add(len(done))
    assert len(found) > 2  # moments before, between and after videos


ENDS_ITSELF = """
import os, sys

# processes that extract read this file, too
if __name__ == "__main__":
    from emotailor.commands import videos
    from emotailor.cli import main

    sign = int(sys.argv.pop(1))

    def write_and_end(*given, write=videos.write_timeline, **more):
        write(*given, **more)
        os.kill(os.getpid(), sign)

    videos.write_timeline = write_and_end
    main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_command_is_killed_and_interrupted_and_gone_on_with(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_to_folder(job(clips, explain=False), out)
    expected = content(out)
    shutil.rmtree(out)

    script = tmp_path / "command.py"
    script.write_text(ENDS_ITSELF)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    source = str(Path(videos.__file__).parents[2])
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": source}
    options = [
        "--out",
        str(out),
        "--transcripts",
        str(clips),
        "--no-face",
        "--processes",
        "1",
        "--no-explain",
    ]

    def end_by(sign: signal.Signals) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(int(sign)), "predict", str(clips), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    # each ends after the first video that it has written
    assert end_by(signal.SIGKILL).returncode == -signal.SIGKILL
    assert noted(out) == []
    interrupted = end_by(signal.SIGINT)
    assert interrupted.returncode == 130, interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert list(temporary.iterdir()) == []

    done = noted(out)
    again = predict_to_folder(job(clips, explain=False), out)
    assert again.reused == done
    assert list(again.failures) == [BROKEN]
    assert content(out) == expected
