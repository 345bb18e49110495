"""A folder of all that goes wrong with videos, through one command: what is said of each."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emotailor.extraction import dataset
from emotailor.runs import videos
from tests.runs.runs import Outcome, run_cli

pytest.importorskip("av")
pytest.importorskip("faster_whisper")
pytest.importorskip("mediapipe")
pytest.importorskip("tokenizers")

from tests.extraction.tasks import InThisProcess
from tests.extraction.videos import (
    RATE,
    Part,
    Pixels,
    Samples,
    image,
    overwritten,
    silence,
    talking,
    tone,
    truncated,
    variable_rate,
    video,
    write_medium,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no pipes in folders")

CLIP = "mosei_clips/-3nNcZdcdvU.mp4"
SAID = "1\n00:00:00,000 --> 00:00:00,200\nwhat a lovely day\n"
FORMS = ("csv", "html", "json", "srt")


def seen_and_heard(clip: Path, seconds: float) -> tuple[list[tuple[float, Pixels]], Samples]:
    """Pictures of a woman who speaks, ten a second, and what she says."""
    from emotailor.extraction.base import Picture
    from emotailor.extraction.decoding import decode
    from emotailor.extraction.media import open_medium

    pictures: list[tuple[float, Pixels]] = []

    class EnoughError(Exception):
        pass

    def keep(picture: Picture) -> None:
        pictures.append((picture.time, picture.pixels.copy()))
        if picture.time >= seconds:
            raise EnoughError

    medium = open_medium(clip)
    with pytest.raises(EnoughError):
        decode(medium, on_picture=keep, with_sound=False)
    sound = decode(medium).sound
    assert sound is not None
    return pictures, np.array(sound.samples[RATE : round((1 + seconds) * RATE)])


def turned(pixels: Pixels) -> Pixels:
    """A picture on its side."""
    return np.ascontiguousarray(np.rot90(pixels, -1))


def doubled(pixels: Pixels) -> Pixels:
    """Somebody and a second one of equal size beside."""
    return np.concatenate([pixels, pixels[:, ::-1]], axis=1)


def fill(place: Path, clip: Path) -> None:
    """Write a medium of each kind."""
    faces, speech = seen_and_heard(clip, 2.0)
    heard = [Part(0, tone(1.0))]
    whole = talking(place / "nobody.mp4", 1.0)
    stream = video(
        place / "cut_stream.mp4", sound=tone(2.0), options={"movflags": "empty_moov+frag_keyframe"}
    )
    content = stream.read_bytes()
    stream.write_bytes(content[: round(0.6 * len(content))])

    (place / "zero.mp4").touch()
    (place / "text.mp4").write_text("Dear Sir,\n")
    (place / "random.mp4").write_bytes(np.random.default_rng(0).bytes(5_000))
    image(place / "picture.mp4")
    truncated(whole, place / "cut.mp4")
    (place / "folder.mp4").mkdir()
    os.mkfifo(place / "pipe.mp4")

    write_medium(place / "sound.wav", tracks=[heard], sound_codec="pcm_s16le")
    video(place / "mute.mp4", seconds=1.0)
    variable_rate(place / "variable.mp4", [0, 0.1, 0.15, 0.7, 1.2, 1.25])
    upright = [(time, turned(pixels)) for time, pixels in faces[:10]]
    write_medium(place / "turned.mp4", pictures=upright, rotation=90)
    write_medium(
        place / "two_faces.mp4", pictures=[(time, doubled(pixels)) for time, pixels in faces[:10]]
    )
    video(place / "silent.mp4", seconds=1.0, sound=silence(1.0))
    chord = np.stack([tone(1.0, hertz, 0.15) for hertz in (262, 330, 392)])
    video(place / "music.mp4", seconds=1.0, sound=chord.sum(0).astype(np.int16))
    video(place / "backwards.mp4", seconds=2.0, sound=np.ascontiguousarray(speech[::-1]))
    shutil.copy(whole, place / "named.txt")
    video(place / "large.mp4", seconds=0.2, size=(7680, 4320), video_codec="mpeg4")
    video(place / "short.mp4", seconds=0.2, sound=tone(0.2))
    parts = [Part(0, tone(0.5)), Part(1.5, tone(0.5))]
    video(place / "gap.mkv", tracks=[parts], sound_codec="pcm_s16le")
    video(place / "two_sounds.mp4", seconds=1.0, tracks=[heard, heard], languages=["eng", "deu"])
    video(place / "no_times.h264", seconds=1.0)

    for ending in ("mkv", "ts"):
        undamaged = video(place / f"whole.{ending}", sound=tone(2.0))
        overwritten(undamaged, place / f"damaged_{ending}.{ending}", 0.4, 0.6)
        undamaged.unlink()


@dataclass(frozen=True)
class Ended:
    """What a command made of a folder of videos.

    Attributes:
        command: its exit code, and what it printed.
        out: the folder that it wrote.
        left: files in the folder of temporary files.
        timelines: name of a video -> its timeline.
    """

    command: Outcome
    out: Path
    left: list[Path]
    timelines: dict[str, dict[str, Any]] = field(repr=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    place = tmp_path_factory.mktemp("bad") / "videos"
    place.mkdir()
    fill(place, shared_data / CLIP)
    return place


@pytest.fixture(scope="module", autouse=True)
def no_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(videos, "Workers", InThisProcess)
        yield


@pytest.fixture(scope="module")
def ended(folder: Path, shared_data: Path) -> Ended:
    """One command for all of them; of some it is given what is said."""
    home = folder.parent
    transcripts = home / "transcripts"
    transcripts.mkdir()
    for file in folder.iterdir():
        if file.stem not in ("silent", "music", "backwards"):
            (transcripts / f"{file.stem}.srt").write_text(SAID)
    temporary = home / "tmp"
    temporary.mkdir()
    model = shared_data.parent / "models/face_landmarker.task"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setenv("TMPDIR", str(temporary))
        command = run_cli(
            "predict", folder, "--out", home / "out", "--transcripts", transcripts,
            "--face-model", model, "--no-explain",
        )  # fmt: skip
    timelines = {}
    for line in (home / "out" / "timelines.jsonl").read_text().splitlines():
        timeline = json.loads(line)
        timelines[Path(timeline["source"]).name] = timeline
    return Ended(command, home / "out", list(temporary.rglob("*")), timelines)


BROKEN = {
    "zero": "is empty",
    "cut": "moov",
    "random": "no video or sound",
    "picture": "one picture (PNG)",
    "pipe": "a named pipe",
    "text": "is a text",
}
"""Name of a video that cannot be read -> a part of the reason."""

READ = {
    "cut_stream.mp4": (None, "cut off"),
    "sound.wav": (1.0, "no pictures"),
    "mute.mp4": (1.0, "no sound"),
    "variable.mp4": (1.3, "no face"),
    "turned.mp4": (1.0, "one face was seen"),
    "nobody.mp4": (1.0, "no face"),
    "two_faces.mp4": (1.0, "2 faces at a time"),
    "silent.mp4": (1.0, "nobody says anything"),
    "music.mp4": (1.0, "nobody says anything"),
    "backwards.mp4": (2.0, "no face"),
    "named.txt": (1.0, "no face"),
    "large.mp4": (0.2, "no sound"),
    "short.mp4": (0.2, "no face"),
    "gap.mkv": (2.0, "no sound from 0.50 to 1.50 s"),
    "two_sounds.mp4": (1.0, "of 2 tracks of sound, number 1 (eng)"),
    "no_times.h264": (0.4, "no times"),  # ten pictures, 25 a second
    "damaged_mkv.mkv": (None, "damaged"),
    "damaged_ts.ts": (None, "damaged"),
}
"""Name of a file -> its seconds, and a part of a note."""


def test_every_video_is_told_of_once(ended: Ended) -> None:
    assert ended.command.code == 1
    assert "Traceback" not in ended.command.err
    assert set(ended.timelines) == set(READ)

    said = ended.command.err.split("warning: not predicted: ")[1:]
    reasons = dict(one.splitlines()[0].split(": ", 1) for one in said)
    assert len(said) == len(reasons)
    without = {name for name in reasons if "nothing is predicted: no words" in reasons[name]}
    assert without >= {"silent", "music"}
    assert reasons.keys() - without == BROKEN.keys()
    for name, reason in BROKEN.items():
        assert reason in reasons[name]
    for one in said:
        assert "expected: " in one
        assert "to fix it: " in one


@pytest.mark.parametrize("name", READ)
def test_what_is_there_is_shown_and_what_is_not_is_said(ended: Ended, name: str) -> None:
    seconds, note = READ[name]
    timeline = ended.timelines[name]
    if seconds is not None:
        # sound comes in blocks of 64 ms
        assert timeline["duration"] == pytest.approx(seconds, abs=0.07)
    assert any(note in told for told in timeline["notes"]), timeline["notes"]

    outcomes = ["prediction" in moment for moment in timeline["moments"]]
    if name in ("silent.mp4", "music.mp4"):
        assert outcomes == [False]
        assert timeline["evidence"] == []
    else:
        assert outcomes
        assert all(outcomes)


def test_nothing_is_left_and_nothing_half_written(ended: Ended) -> None:
    assert ended.left == []
    made = {path.relative_to(ended.out).as_posix() for path in ended.out.rglob("*")}
    expected = {"index.html", "timelines.csv", "timelines.json", "timelines.jsonl"}
    for name in ended.timelines:
        expected |= {f"{Path(name).stem}.{form}" for form in FORMS}
    assert made == expected


@pytest.mark.parametrize("name", [*BROKEN, "folder"])
def test_alone_it_ends_in_one_message(folder: Path, name: str) -> None:
    ended = run_cli("predict", folder / f"{name}.mp4", "--no-face", "--json")
    ended.failed(4, BROKEN.get(name, "a folder without videos"))
    assert ended.out == ""


@pytest.mark.parametrize("form", FORMS)
def test_alone_without_words_it_has_a_timeline_of_nothing(folder: Path, form: str) -> None:
    ended = run_cli("predict", folder / "silent.mp4", "--no-face", f"--{form}")
    assert ended.code == 1
    assert ended.err.count("nothing is predicted: no words") == 1
    assert (ended.out == "") == (form == "srt")


# ---------------------------------------------------------------------- as data for training


@dataclass(frozen=True)
class Extracted:
    """What a command made of the same folder and a table of labels.

    Attributes:
        command: its exit code, and what it printed.
        out: the data set.
        made: all that lies beside it.
        left: files in the folder of temporary files.
    """

    command: Outcome
    out: Path
    made: list[str]
    left: list[Path]


@pytest.fixture(scope="module")
def extracted(folder: Path, ended: Ended, tmp_path_factory: pytest.TempPathFactory) -> Extracted:
    """Every file has a label; what is said in it is given, so nothing is listened to."""
    home = tmp_path_factory.mktemp("extracted")
    transcripts = ended.out.parent / "transcripts"
    names = sorted({file.stem for file in folder.iterdir() if file.is_file()} - {"pipe"})
    rows = [f"{name},{i % 2},{(i + 1) % 2},train" for i, name in enumerate(names)]
    labels = home / "labels.csv"
    labels.write_text("\n".join(["id,happy,sad,split", *rows, ""]))
    temporary = home / "tmp"
    temporary.mkdir()
    (home / "out").mkdir()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.setattr(dataset, "Workers", InThisProcess)
        command = run_cli(
            "extract", folder, "--out", home / "out" / "data", "--labels", labels, "--no-face",
            "--transcripts", transcripts,
        )  # fmt: skip
    made = sorted(path.name for path in (home / "out").iterdir())
    return Extracted(command, home / "out" / "data", made, list(temporary.rglob("*")))


def test_labelled_videos_that_can_be_read_become_samples(extracted: Extracted) -> None:
    from emotailor import load_dataset

    samples = load_dataset(extracted.out)["train"]
    found = {sample.id.rsplit("[", 1)[0] for sample in samples}
    assert {Path(name).stem for name in READ} >= found
    assert found >= {"mute", "variable", "nobody", "gap", "no_times", "damaged_mkv", "damaged_ts"}


def test_one_message_tells_of_each_video_that_is_no_sample(extracted: Extracted) -> None:
    command = extracted.command
    assert command.code == 1
    assert "Traceback" not in command.err
    labelled = BROKEN.keys() - {"pipe"}
    for name in labelled:
        assert BROKEN[name] in command.err
        assert command.err.count(f"/{name}.mp4 ") == 1


def test_a_data_set_is_whole_and_alone(extracted: Extracted) -> None:
    from emotailor import load_dataset

    # what was extracted is kept for the next call, since some failed
    assert "data" in extracted.made
    assert all(name.startswith((".data", "data")) for name in extracted.made)
    assert extracted.left == []
    assert load_dataset(extracted.out).label_names == ("happy", "sad")


def test_a_language_that_the_model_does_not_know_is_one_message(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "data"
    video = folder / "backwards.mp4"
    ended = run_cli("extract", video, "--out", place, "--no-face", "--language", "de")
    ended.failed(3, "'de'", "one of: en")
    assert not place.exists()
