"""What a file holds, and what is refused with one message."""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

from emotailor.errors import ConfigError, DataError
from emotailor.extraction.media import open_medium
from tests.extraction.videos import (
    Part,
    image,
    overwritten,
    shade,
    silence,
    talking,
    tone,
    truncated,
    video,
    write_medium,
)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking(tmp_path_factory.mktemp("media") / "talk.mp4")


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as raised:
        open_medium(path)
    error = raised.value
    assert str(path) in error.found
    assert error.expected
    assert error.fix
    return error


# ---------------------------------------------------------------------- what is in it


def test_a_video_with_sound(talk: Path) -> None:
    medium = open_medium(talk)

    assert medium.path == talk
    assert medium.duration == pytest.approx(2.0)
    assert medium.picture == (64, 48)
    assert medium.sound
    assert medium.notes == ()
    assert medium.start == 0.0


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame"), ("a.aac", "aac")]
)
def test_sound_alone(tmp_path: Path, name: str, codec: str) -> None:
    path = write_medium(tmp_path / name, tracks=[[Part(0, tone(0.5))]], sound_codec=codec)
    medium = open_medium(path)

    assert medium.picture is None
    assert medium.sound
    if name == "a.wav":
        assert medium.duration == 0.5


def test_pictures_alone(tmp_path: Path) -> None:
    medium = open_medium(video(tmp_path / "mute.mkv", seconds=0.2))

    assert medium.picture == (64, 48)
    assert not medium.sound
    assert medium.duration == pytest.approx(0.2)


@pytest.mark.parametrize(("rotation", "size"), [(90, (48, 64)), (180, (64, 48)), (270, (48, 64))])
def test_the_size_is_the_one_that_is_shown(
    tmp_path: Path, rotation: int, size: tuple[int, int]
) -> None:
    path = video(tmp_path / "turned.mp4", seconds=0.2, rotation=rotation)
    assert open_medium(path).picture == size


def test_the_start_is_the_earlier_of_picture_and_sound(tmp_path: Path) -> None:
    pictures = [(2 + i / 10, shade(i)) for i in range(5)]
    path = write_medium(
        tmp_path / "late.mkv",
        pictures=pictures,
        tracks=[[Part(1.5, tone(1))]],
        sound_codec="pcm_s16le",
    )
    assert open_medium(path).start == pytest.approx(1.5, abs=0.002)


def test_of_several_tracks_it_says_which_is_used(tmp_path: Path) -> None:
    path = write_medium(
        tmp_path / "two.mkv",
        pictures=[(0, shade(0)), (0.1, shade(1))],
        tracks=[[Part(0, tone(0.2))], [Part(0, silence(0.2))]],
        languages=["deu", "eng"],
    )
    (note,) = open_medium(path).notes
    assert "2 tracks of sound" in note
    assert "number 1 (deu)" in note


def test_the_default_track_goes_first(tmp_path: Path) -> None:
    import av

    plain = write_medium(
        tmp_path / "two.mp4", tracks=[[Part(0, tone(0.2))], [Part(0, tone(0.2, 880))]]
    )
    marked = tmp_path / "marked.mp4"
    with av.open(str(plain)) as source, av.open(str(marked), "w") as target:
        copies = {s.index: target.add_stream_from_template(s) for s in source.streams}
        copies[0].disposition = 0
        copies[1].disposition = av.stream.Disposition.default
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)

    (note,) = open_medium(marked).notes
    assert "number 2" in note


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    import av

    sound = write_medium(tmp_path / "plain.mp3", tracks=[[Part(0, tone(0.3))]], sound_codec="mp3")
    cover = image(tmp_path / "cover.png")
    path = tmp_path / "song.mp3"
    with (
        av.open(str(sound)) as heard,
        av.open(str(cover)) as seen,
        av.open(str(path), "w") as target,
    ):
        copies = [
            (source, target.add_stream_from_template(source.streams[0])) for source in (heard, seen)
        ]
        copies[1][1].disposition = av.stream.Disposition.attached_pic
        for source, copy in copies:
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = copy
                    target.mux(packet)

    medium = open_medium(path)
    assert medium.picture is None
    assert medium.sound
    assert any("cover" in note for note in medium.notes)


def test_a_colon_or_a_strange_letter_in_the_name_is_no_address(talk: Path, tmp_path: Path) -> None:
    for name in ("http:x.mp4", "concat:a|b.mp4", "100%d.mp4", os.fsdecode(b"caf\xe9.mp4")):
        path = tmp_path / name
        path.write_bytes(talk.read_bytes())
        assert open_medium(path).picture == (64, 48)


@pytest.mark.parametrize("name", ["talk.wav", "talk.txt", "talk.png", "talk"])
def test_the_ending_of_a_name_makes_no_difference(talk: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(talk.read_bytes())
    medium = open_medium(path)
    assert medium.picture == (64, 48)
    assert medium.sound


# ---------------------------------------------------------------------- what is refused


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.mp4").found
    assert "folder" in refusal(tmp_path).found
    assert "device" in refusal(Path("/dev/zero")).found
    assert "address" in refusal(Path("https://example.org/a.mp4")).found

    link = tmp_path / "link.mp4"
    link.symlink_to(link)
    refusal(link)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert "pipe" in refusal(pipe).found


def test_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "empty" in refusal(path).found


@pytest.mark.parametrize(
    ("kind", "said"),
    [("png", "one picture (PNG)"), ("mjpeg", "one picture (JPEG)"), ("gif", "GIF image")],
)
def test_a_picture_with_the_name_of_a_video(tmp_path: Path, kind: str, said: str) -> None:
    assert said in refusal(image(tmp_path / "a.mp4", kind)).found


@pytest.mark.parametrize(
    "head", [b"BM\x9a\0\0\0", b"RIFF\x10\0\0\0WEBPVP8 ", b"\0\0\0\x20ftypheic", b"II*\0\x08\0"]
)
def test_pictures_of_other_kinds(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(head + bytes(200))
    assert "one picture" in refusal(path).found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Dear Sir,\n" * 50, "is a text"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ntalk.mp4\n", "playlist"),
        ("ffconcat version 1.0\nfile talk.mp4\n", "playlist"),
        ("<!DOCTYPE html><html></html>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ],
)
def test_texts(tmp_path: Path, talk: Path, content: str, said: str) -> None:
    (tmp_path / "talk.mp4").write_bytes(talk.read_bytes())
    path = tmp_path / "a.mp4"
    path.write_text(content)
    assert said in refusal(path).found


def test_an_mp4_without_its_index(talk: Path, tmp_path: Path) -> None:
    assert "moov" in refusal(truncated(talk, tmp_path / "cut.mp4")).found


def test_bytes_that_mean_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5_000))
    refusal(path)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_any_damage_ends_in_a_message_or_a_medium(tmp_path: Path, ending: str) -> None:
    codec = "mpeg4" if ending == "avi" else "libx264"
    whole = video(tmp_path / f"a.{ending}", seconds=0.5, sound=tone(0.5), video_codec=codec)
    for seed, first in enumerate(np.linspace(0, 0.9, 10)):
        path = overwritten(whole, tmp_path / f"b{seed}.{ending}", first, first + 0.1, seed)
        try:
            open_medium(path)
        except DataError as error:
            assert error.expected


def test_nothing_to_see_or_hear(tmp_path: Path, talk: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.write_bytes(talk.read_bytes().replace(b"trak", b"free"))
    assert "neither pictures nor sound" in refusal(path).found


def test_a_file_that_is_shorter_than_it_says(tmp_path: Path) -> None:
    whole = write_medium(tmp_path / "a.wav", tracks=[[Part(0, tone(1))]], sound_codec="pcm_s16le")
    (note,) = open_medium(truncated(whole, tmp_path / "b.wav")).notes
    assert "cut off" in note


def test_no_connection_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        for text in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n",
            f"ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.ts\n",
            f"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>",
        ):
            path = tmp_path / "list.m3u8"
            path.write_text(text)
            refusal(path)

        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_package_is_named_where_it_is_missing(
    talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError) as raised:
        open_medium(talk)
    assert raised.value.fix == 'pip install "emotailor[video]"'
