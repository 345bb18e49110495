"""Pictures at their times, sound at its samples, and what becomes of damaged files."""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import wave
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from emotailor.errors import DataError
from emotailor.extraction import containers, decoding, needed
from emotailor.extraction.base import RATE, Picture, Sound
from emotailor.extraction.decoding import Decoded, decode
from emotailor.extraction.media import open_medium
from tests.extraction.videos import (
    Part,
    Samples,
    corner,
    noise,
    number_of,
    overwritten,
    shade,
    silence,
    talking,
    tone,
    truncated,
    variable_rate,
    video,
    write_medium,
)


def pictures_of(path: Path, per_second: float = 10.0) -> tuple[list[tuple[float, int]], Decoded]:
    """Time and number of each picture, and what else came out."""
    seen: list[tuple[float, int]] = []

    def note(picture: Picture) -> None:
        seen.append((round(picture.time, 6), number_of(picture.pixels)))

    decoded = decode(open_medium(path), pictures_per_second=per_second, on_picture=note)
    return seen, decoded


def sound_of(path: Path) -> Samples:
    decoded = decode(open_medium(path))
    assert decoded.sound is not None
    return np.asarray(decoded.sound.samples)


def loud_parts(samples: Samples, level: int = 300) -> list[tuple[int, int]]:
    """First and last sample of each part that is loud, with at most 5 ms of rest in it."""
    loud = np.flatnonzero(np.abs(samples.astype(int)) > level)
    breaks = np.flatnonzero(np.diff(loud) > 80)
    firsts = loud[np.r_[0, breaks + 1]]
    lasts = loud[np.r_[breaks, len(loud) - 1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


# ---------------------------------------------------------------------- pictures


def test_all_pictures_at_their_own_rate(tmp_path: Path) -> None:
    seen, decoded = pictures_of(video(tmp_path / "a.mp4", seconds=3))

    assert seen == [(i / 10, i) for i in range(30)]
    assert decoded.duration == pytest.approx(3.0)
    assert decoded.counts == {"pictures": 30, "samples": 30, "damaged": 0}
    assert decoded.notes == ()
    assert decoded.sound is None


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_avi_which_tells_only_an_order(tmp_path: Path, codec: str) -> None:
    path = video(tmp_path / "a.avi", seconds=3, video_codec=codec)
    seen, decoded = pictures_of(path)

    assert [time for time, _ in seen] == [i / 10 for i in range(30)]
    assert [number for _, number in seen] == pytest.approx(list(range(30)), abs=1)
    assert decoded.duration == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_the_picture_that_stands_at_each_time(tmp_path: Path, ending: str) -> None:
    path = video(tmp_path / f"a.{ending}", seconds=1.6, fps=25)
    seen, _ = pictures_of(path, per_second=10.0)

    # one is shown for 40 ms: at .1 s the third one stands, since .08 s
    assert seen == [(i / 10, i * 25 // 10) for i in range(16)]


def test_more_samples_than_pictures(tmp_path: Path) -> None:
    seen, decoded = pictures_of(video(tmp_path / "a.mp4", seconds=1, fps=5), per_second=20.0)

    assert seen == [(i / 20, i // 4) for i in range(20)]
    assert decoded.counts["pictures"] == 5


def test_a_variable_rate_goes_by_the_times(tmp_path: Path) -> None:
    times = [0, 0.1, 0.15, 0.7, 1.2, 1.25]
    seen, _ = pictures_of(variable_rate(tmp_path / "a.mp4", times))

    assert [number for _, number in seen] == [0, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 5]
    assert [time for time, _ in seen] == [i / 10 for i in range(14)]


def test_a_picture_that_stands_is_converted_once(tmp_path: Path) -> None:
    kept: list[Picture] = []
    decode(open_medium(variable_rate(tmp_path / "a.mp4", [0, 0.5, 0.6])), on_picture=kept.append)

    assert len({id(picture.pixels) for picture in kept}) == 3
    assert kept[0].pixels is kept[4].pixels


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_pictures_that_are_not_decoded_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.uniform(0.02, 0.06, 120))
    pictures = [(float(time), shade(i)) for i, time in enumerate(times)]
    path = write_medium(tmp_path / f"a.{ending}", pictures=pictures)

    some, with_less = pictures_of(path, per_second=7.0)
    monkeypatch.setattr(needed, "_SKIP", set())
    every, with_all = pictures_of(path, per_second=7.0)

    assert some == every
    assert with_less.duration == with_all.duration
    assert with_all.counts["pictures"] == 120
    assert with_less.counts["pictures"] < 100


def test_a_fifth_of_a_second(tmp_path: Path) -> None:
    seen, decoded = pictures_of(video(tmp_path / "a.mkv", seconds=0.2, sound=tone(0.2)))

    assert seen == [(0.0, 0), (0.1, 1)]
    assert decoded.duration == pytest.approx(0.2, abs=0.06)  # AAC comes in blocks of 64 ms


def test_pictures_of_another_rate_than_whole_numbers(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", seconds=2, fps=30_000 / 1_001)
    seen, decoded = pictures_of(path, per_second=7.0)

    expected = [(round(i / 7, 6), int(i / 7 * 30_000 / 1_001 + 1e-6) % 43) for i in range(15)]
    assert seen == expected[: len(seen)]
    assert len(seen) == 15
    assert decoded.duration == pytest.approx(60 * 1.001 / 30, abs=1e-4)


@pytest.mark.parametrize(
    ("rotation", "white"),
    [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (270, (0, 1))],  # counter-clockwise
)
def test_pictures_are_upright(tmp_path: Path, rotation: int, white: tuple[int, int]) -> None:
    path = video(
        tmp_path / "a.mp4", seconds=0.2, rotation=rotation, draw=lambda _, w, h: corner(w, h)
    )
    kept: list[Picture] = []
    decode(open_medium(path), on_picture=kept.append)

    pixels = kept[0].pixels
    height, width, _ = pixels.shape
    assert (width, height) == ((48, 64) if rotation % 180 else (64, 48))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous

    quarters = pixels.reshape(2, height // 2, 2, width // 2, 3).mean(axis=(1, 3, 4))
    assert np.unravel_index(quarters.argmax(), (2, 2)) == white
    assert quarters.max() > 230
    assert np.sort(quarters.ravel())[-2] < 30


def test_colours_keep_their_places(tmp_path: Path) -> None:
    def draw(_: int, width: int, height: int) -> np.ndarray:
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[..., 0] = 200
        pixels[..., 1] = 30
        return pixels

    kept: list[Picture] = []
    path = video(tmp_path / "a.mp4", seconds=0.1, draw=draw)
    decode(open_medium(path), on_picture=kept.append)
    np.testing.assert_allclose(kept[0].pixels.mean(axis=(0, 1)), [200, 30, 0], atol=4)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", seconds=0.2, size=(64, 64), video_options={"aspect": "2"})
    kept: list[Picture] = []
    medium = open_medium(path)
    decode(medium, on_picture=kept.append)

    assert medium.picture == (128, 64)
    assert kept[0].pixels.shape == (64, 128, 3)


def test_eight_thousand_pixels_are_reduced(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", seconds=0.1, size=(7_680, 4_320), video_codec="mpeg4")
    kept: list[Picture] = []
    medium = open_medium(path)
    decode(medium, most_pixels=640, on_picture=kept.append)

    assert medium.picture == (7_680, 4_320)
    assert [picture.pixels.shape for picture in kept] == [(360, 640, 3)]
    assert number_of(kept[0].pixels) == 0


def test_only_one_picture_is_held(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = 0

    def count(picture: Picture) -> None:
        nonlocal most
        alive.add(picture)
        most = max(most, len(alive))

    decode(open_medium(video(tmp_path / "a.mp4", seconds=3)), on_picture=count)
    assert most <= 2


# ---------------------------------------------------------------------- sound


def test_sound_is_kept_sample_by_sample(tmp_path: Path) -> None:
    said = noise(1.3, seed=3)
    path = write_medium(tmp_path / "a.wav", tracks=[[Part(0, said)]], sound_codec="pcm_s16le")
    decoded = decode(open_medium(path))

    assert isinstance(decoded.sound, Sound)
    assert isinstance(decoded.sound.samples, np.memmap)
    np.testing.assert_array_equal(decoded.sound.samples, said)
    assert decoded.duration == pytest.approx(1.3)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_and_channels(tmp_path: Path, rate: int) -> None:
    clicks = np.zeros((3 * rate, 2), dtype=np.int16)
    clicks[[rate, 2 * rate]] = 30_000
    samples = sound_of(_wave(tmp_path / "a.wav", clicks, rate))

    assert len(samples) == 3 * RATE
    loudest = np.argsort(-np.abs(samples.astype(int)))[:2]
    assert sorted(loudest.tolist()) == [RATE, 2 * RATE]


def test_channels_are_mixed(tmp_path: Path) -> None:
    both = np.stack([tone(0.5, 500), silence(0.5)], axis=1)
    left_only = sound_of(_wave(tmp_path / "a.wav", both, RATE)).astype(float)
    assert np.abs(left_only).max() == pytest.approx(0.5 * 32_767 / 2, rel=0.05)


def test_channels_that_cannot_be_mixed_are_said(tmp_path: Path) -> None:
    nine = np.full((RATE // 2, 9), 1_000, dtype=np.int16)
    with pytest.raises(DataError):
        decode(open_medium(_wave(tmp_path / "a.wav", nine, RATE)))


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("a.mp4", "aac")])
def test_a_gap_is_silence(tmp_path: Path, name: str, codec: str) -> None:
    parts = [Part(0, tone(1.024)), Part(2, tone(1.024))]
    path = write_medium(tmp_path / name, tracks=[parts], sound_codec=codec)
    decoded = decode(open_medium(path))

    assert decoded.sound is not None
    first, second = loud_parts(np.asarray(decoded.sound.samples), level=1_000)
    assert second[0] == pytest.approx(2 * RATE, abs=16)  # a millisecond, by which mkv rounds
    assert first[1] == pytest.approx(1.024 * RATE, abs=32)
    assert any("1.02 to 2.00 s" in note for note in decoded.notes)


def test_an_overlap_is_not_doubled(tmp_path: Path) -> None:
    parts = [Part(0, tone(1.024)), Part(0.96, noise(1.024))]
    path = write_medium(tmp_path / "a.mkv", tracks=[parts], sound_codec="pcm_s16le")
    samples = sound_of(path)

    assert len(samples) == pytest.approx(1.984 * RATE, abs=16)
    np.testing.assert_array_equal(samples[:16_384], tone(1.024))
    # what was heard already is left out of the second part
    np.testing.assert_allclose(
        samples[16_384:], noise(1.024)[1_024 : 1_024 + len(samples) - 16_384]
    )


def test_small_errors_of_stamps_leave_no_trace(tmp_path: Path) -> None:
    whole = tone(2)
    parts = [
        Part(at / RATE + 0.004 * (-1) ** number, whole[at : at + 1_024])
        for number, at in enumerate(range(0, len(whole), 1_024))
    ]
    path = write_medium(tmp_path / "a.mkv", tracks=[parts], sound_codec="pcm_s16le")
    samples = sound_of(path)
    np.testing.assert_array_equal(samples[: len(whole)], whole)


def test_sound_that_begins_late(tmp_path: Path) -> None:
    path = write_medium(
        tmp_path / "a.mkv",
        pictures=[(i / 10, shade(i)) for i in range(20)],
        tracks=[[Part(0.5, tone(1.5))]],
        sound_codec="pcm_s16le",
    )
    seen, decoded = pictures_of(path)

    assert seen[0] == (0.0, 0)
    assert decoded.sound is not None
    assert loud_parts(np.asarray(decoded.sound.samples))[0][0] == pytest.approx(8_000, abs=17)


def test_pictures_that_begin_late(tmp_path: Path) -> None:
    path = write_medium(
        tmp_path / "a.mkv",
        pictures=[(1.5 + i / 10, shade(i)) for i in range(10)],
        tracks=[[Part(1, tone(1.5))]],
        sound_codec="pcm_s16le",
    )
    seen, decoded = pictures_of(path)

    # the clock begins with the sound
    assert seen == [(round(0.5 + i / 10, 6), i) for i in range(10)]
    assert decoded.sound is not None
    assert loud_parts(np.asarray(decoded.sound.samples))[0][0] < 20


def test_the_track_that_was_chosen_is_heard(tmp_path: Path) -> None:
    tracks = [[Part(0, tone(1))], [Part(0, silence(1))]]
    path = write_medium(tmp_path / "a.mkv", tracks=tracks, sound_codec="pcm_s16le")
    np.testing.assert_array_equal(sound_of(path), tone(1))


def test_sound_that_is_shorter_than_the_pictures_is_not_cut_off(tmp_path: Path) -> None:
    medium = open_medium(video(tmp_path / "a.mp4", seconds=4, sound=tone(1)))

    decoded = decode(medium)
    assert decoded.duration == pytest.approx(1, abs=0.1)
    assert decoded.notes == ()
    assert decode(medium, on_picture=lambda _: None).duration == pytest.approx(4)


def test_what_is_not_wanted_is_not_decoded(tmp_path: Path) -> None:
    medium = open_medium(talking(tmp_path / "a.mp4"))

    assert decode(medium, with_sound=False, on_picture=lambda _: None).sound is None
    assert decode(medium).counts["pictures"] == 0
    nothing = decode(medium, with_sound=False)
    assert nothing.duration == pytest.approx(2.0)


def test_progress_goes_up_to_the_end(tmp_path: Path) -> None:
    told: list[float] = []
    path = video(tmp_path / "a.mp4", seconds=4, sound=tone(4))
    decode(open_medium(path), on_picture=lambda _: None, progress=told.append)

    assert told == sorted(told)
    assert len(told) == 3
    assert 3 <= told[-1] < 4


# ---------------------------------------------------------------------- files without times


def test_raw_pictures_go_by_their_rate(tmp_path: Path) -> None:
    path = video(tmp_path / "a.h264", seconds=1, fps=25)
    seen, decoded = pictures_of(path, per_second=25.0)

    assert seen == [(i / 25, i) for i in range(25)]
    assert any("no times" in note for note in decoded.notes)


def test_raw_pictures_have_a_length_if_nobody_looks_at_them(tmp_path: Path) -> None:
    medium = open_medium(video(tmp_path / "a.h264", seconds=1, fps=25))
    assert medium.duration is None
    assert decode(medium).duration == pytest.approx(1.0)


def test_raw_sound(tmp_path: Path) -> None:
    path = write_medium(tmp_path / "a.aac", tracks=[[Part(0, tone(1.024))]])
    samples = sound_of(path)
    ((first, last),) = loud_parts(samples, level=2_000)
    assert last - first == pytest.approx(1.024 * RATE, abs=1_100)


def test_a_recording_that_begins_between_key_pictures(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.ts", seconds=10, video_options={"g": "50", "bf": "0"})
    content = whole.read_bytes()
    cut = round(0.2 * len(content) / 188) * 188
    path = tmp_path / "b.ts"
    path.write_bytes(content[:564] + content[cut:])  # with the tables at its beginning
    seen, decoded = pictures_of(path)

    # the clock begins with the first picture that can be shown
    assert seen[0] == (0.0, 50 % 43)
    assert seen[-1] == (4.9, 99 % 43)
    assert decoded.duration == pytest.approx(5.0, abs=0.05)


def test_recordings_that_were_put_together(tmp_path: Path) -> None:
    one = video(tmp_path / "a.ts", seconds=4, sound=tone(4))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() * 2)
    seen, decoded = pictures_of(both)

    assert decoded.duration == pytest.approx(8.0, abs=0.3)
    assert max(time for time, _ in seen) > 7.5
    assert any("jump" in note for note in decoded.notes)


# ---------------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a video of ten seconds, with sound, whose key pictures are a second apart."""
    folder = tmp_path_factory.mktemp("long")

    def make(ending: str) -> Path:
        path = folder / f"a.{ending}"
        if not path.exists():
            options = {"movflags": "faststart"} if ending == "mp4" else {}
            video(path, seconds=10, sound=tone(10), video_options={"g": "10"}, options=options)
        return path

    return make


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_a_file_that_was_cut_off_gives_what_is_there(
    tmp_path: Path, long: Callable[[str], Path], ending: str
) -> None:
    path = truncated(long(ending), tmp_path / f"b.{ending}")
    medium = open_medium(path)
    seen, decoded = pictures_of(path)

    assert 3 < decoded.duration < 7
    assert [number for _, number in seen[:30]] == pytest.approx(list(range(30)), abs=1)
    assert decoded.sound is not None
    assert 3 < decoded.sound.duration < 7
    if ending != "ts":  # which says nothing of its length
        assert any("cut off" in note for note in (*medium.notes, *decoded.notes))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_damage_in_the_middle_is_left_out(
    tmp_path: Path, long: Callable[[str], Path], ending: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = overwritten(long(ending), tmp_path / f"b.{ending}", 0.4, 0.5)
    seen, decoded = pictures_of(path)

    assert decoded.duration == pytest.approx(10, abs=0.3)
    said = "no sound" if ending == "ts" else "could be decoded"  # its reader skips what is damaged
    assert any(said in note for note in decoded.notes)

    # before and after it, all is where it belongs
    numbers = {round(time, 1): number for time, number in seen}
    early, late = range(30), range(75, 95)
    shift = 1 if ending == "ts" else 0  # whose sound begins earlier than its pictures
    assert all(numbers[i / 10] == i - shift for i in early if i > 0)
    assert all(numbers[i / 10] == (i - shift) % 43 for i in late)

    written = capfd.readouterr()
    assert written.out == written.err == ""


def test_where_pictures_are_damaged_there_are_none(
    tmp_path: Path, long: Callable[[str], Path]
) -> None:
    path = overwritten(long("mp4"), tmp_path / "b.mp4", 0.4, 0.5)
    seen, decoded = pictures_of(path)

    note = next(note for note in decoded.notes if "picture" in note)
    lost = {f"{i / 10:.1f}" for i in range(100)} - {f"{time:.1f}" for time, _ in seen}
    assert 5 <= len(lost) <= 30
    first = float(note.split("from ")[1].split()[0])
    assert first == pytest.approx(min(map(float, lost)), abs=0.1)


@pytest.mark.parametrize("ending", ["mp4", "avi"])
def test_a_file_that_cannot_be_read_further(
    tmp_path: Path, long: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    import av

    class Torn:
        """A container that can be read up to a packet, as a scratched disc."""

        def __init__(self, container: Any) -> None:
            self._container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self._container, name)

        def demux(self, streams: list[Any]) -> Iterator[Any]:
            yield from itertools.islice(self._container.demux(streams), 120)
            raise av.error.OSError(5, "Input/output error")

    @contextmanager
    def torn(path: Path) -> Iterator[Torn]:
        with containers.opened(path) as container:
            yield Torn(container)

    medium = open_medium(long(ending))
    monkeypatch.setattr(decoding, "opened", torn)
    times: list[float] = []
    decoded = decode(medium, on_picture=lambda picture: times.append(picture.time))

    # 120 packets of both tracks; what the decoder held comes out, too
    assert decoded.counts["pictures"] == len(times)
    assert 4 < decoded.duration < 6
    assert times[-1] == pytest.approx(decoded.duration, abs=0.2)
    assert any("cannot be read further" in note for note in decoded.notes)


def test_all_is_damaged(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mp4", seconds=1, options={"movflags": "faststart"})
    content = whole.read_bytes()
    start = content.index(b"mdat") + 4
    path = tmp_path / "b.mp4"
    path.write_bytes(content[:start] + b"\xff" * (len(content) - start))

    with pytest.raises(DataError) as raised:
        decode(open_medium(path), on_picture=lambda _: None)
    assert "nothing" in raised.value.found


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "mp3", "wav", "h264"])
def test_any_damage_ends_in_a_message_or_a_result(tmp_path: Path, ending: str) -> None:
    codec = "mpeg4" if ending == "avi" else "libx264"
    if ending in ("mp3", "wav"):
        codec = "mp3" if ending == "mp3" else "pcm_s16le"
        tracks = [[Part(0, noise(1))]]
        whole = write_medium(tmp_path / f"a.{ending}", tracks=tracks, sound_codec=codec)
    else:
        sound = None if ending == "h264" else noise(1)
        whole = video(tmp_path / f"a.{ending}", seconds=1, sound=sound, video_codec=codec)

    for seed, first in enumerate(np.linspace(0, 0.95, 20)):
        path = overwritten(whole, tmp_path / f"b.{ending}", first, first + 0.05, seed)
        try:
            _, decoded = pictures_of(path)
        except DataError as error:
            assert error.fix
            continue
        assert 0 < decoded.duration < 700


# ---------------------------------------------------------------------- leaving nothing behind


def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = talking(tmp_path / "a.mp4")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    before = _open_files()

    def stop(picture: Picture) -> None:
        if picture.time > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(open_medium(path), on_picture=stop)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert _open_files() == before


def test_a_mistake_of_who_takes_the_pictures_is_no_damage(tmp_path: Path) -> None:
    import av

    def fail(_: Picture) -> None:
        raise av.error.InvalidDataError(1, "not of the file")

    with pytest.raises(av.error.InvalidDataError):
        decode(open_medium(talking(tmp_path / "a.mp4")), on_picture=fail)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_a_kill_leaves_nothing_behind(tmp_path: Path) -> None:
    path = talking(tmp_path / "a.mp4")
    (tmp_path / "tmp").mkdir()
    script = (
        "import sys, time; from pathlib import Path;"
        "from emotailor.extraction.media import open_medium;"
        "from emotailor.extraction.decoding import decode;"
        "m = open_medium(Path(sys.argv[1]));"
        "decode(m, on_picture=lambda p: p.time > 1 and (print('half', flush=True), time.sleep(60)))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medium = open_medium(talking(tmp_path / "a.mp4"))
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: full.open("r+b", buffering=0))
    with pytest.raises(OSError) as raised:
        decode(medium)
    assert raised.value.filename == tempfile.gettempdir()


# ---------------------------------------------------------------------- real clips


def test_real_clips(shared_data: Path) -> None:
    clips = sorted((shared_data / "mosei_clips").glob("*.mp4"))
    assert len(clips) == 2
    medium = open_medium(clips[0])
    decoded = decode(medium, on_picture=lambda _: None)

    assert medium.picture == (320, 240)
    assert decoded.counts == {"pictures": 575, "samples": 444, "damaged": 0}  # of 664
    assert decoded.duration == pytest.approx(44.327, abs=0.01)
    assert decoded.notes == ()
    assert decoded.sound is not None
    assert decoded.sound.duration == pytest.approx(44.327, abs=0.01)


def _wave(path: Path, samples: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
