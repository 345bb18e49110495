"""What is lost where readers step over damage, and that nothing is said of whole files."""

import re
from pathlib import Path

import pytest

pytest.importorskip("av")

from emotailor.extraction.base import Picture
from emotailor.extraction.decoding import Decoded, decode
from emotailor.extraction.media import open_medium
from tests.extraction.videos import (
    Part,
    beginning_of,
    overwritten,
    shade,
    tone,
    video,
    write_medium,
)

TS = 188
"""Bytes of a packet."""


def looked_at(path: Path) -> tuple[list[float], Decoded]:
    """The times of the samples of a video, and what else came out."""
    times: list[float] = []

    def keep(picture: Picture) -> None:
        times.append(round(picture.time, 6))

    return times, decode(open_medium(path), on_picture=keep)


def spans_of(decoded: Decoded, what: str) -> list[tuple[float, float]]:
    """From when to when something could not be decoded, by the notes."""
    said = [note for note in decoded.notes if note.startswith(f"no {what} could")]
    found = re.findall(r"from ([\d.]+) to ([\d.]+) s", " ".join(said))
    return [(float(first), float(last)) for first, last in found]


# ---------------------------------------------------------------------- whole files


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_nothing_is_said_of_variable_rates_and_tracks_of_other_lengths(
    tmp_path: Path, ending: str
) -> None:
    times = [0, 0.04, 0.08, 0.5, 0.54, 1.9, 1.94, 3.0]
    pictures = [(time, shade(i)) for i, time in enumerate(times)]
    tracks = [[Part(0, tone(1.024))]]
    path = write_medium(tmp_path / f"a.{ending}", pictures=pictures, tracks=tracks)
    _, decoded = looked_at(path)

    assert decoded.notes == ()
    assert decoded.counts["damaged"] == 0


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_a_rest_of_all_tracks_that_are_used_is_no_damage(tmp_path: Path, ending: str) -> None:
    # a third one goes on meanwhile: there are bytes, but not of those
    times = [i / 10 for i in range(30) if not 10 <= i < 20]
    pictures = [(time, shade(i)) for i, time in enumerate(times)]
    tracks = [[Part(0, tone(1.024)), Part(2.048, tone(1.024))], [Part(0, tone(3.0))]]
    path = write_medium(tmp_path / f"a.{ending}", pictures=pictures, tracks=tracks)
    seen, decoded = looked_at(path)

    assert [note for note in decoded.notes if "damage" in note] == []
    assert any("taken for silence" in note for note in decoded.notes)
    assert len(seen) >= 29  # the last picture before the rest stands


@pytest.mark.parametrize("ending", ["mkv", "ts"])
def test_nothing_is_said_of_real_clips(tmp_path: Path, shared_data: Path, ending: str) -> None:
    for clip in sorted((shared_data / "mosei_clips").glob("*.mp4")):
        _, decoded = looked_at(beginning_of(clip, tmp_path / f"a.{ending}", 5.0))
        assert decoded.notes == ()
        assert decoded.counts["damaged"] == 0


# ---------------------------------------------------------------------- damaged ones


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of eight seconds, with a key picture every two."""
    place = tmp_path_factory.mktemp("whole")
    for ending in ("mkv", "ts"):
        options = {"g": "20", "bf": "2"}
        video(place / f"a.{ending}", seconds=8, sound=tone(8), video_options=options)
    return place


@pytest.mark.parametrize("ending", ["mkv", "ts"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_lost_is_missing_and_said(
    folder: Path, tmp_path: Path, ending: str, seed: int
) -> None:
    path = overwritten(folder / f"a.{ending}", tmp_path / f"b.{ending}", 0.4, 0.55, seed)
    seen, decoded = looked_at(path)

    lost = spans_of(decoded, "picture")
    assert lost
    missing = {i / 10 for i in range(1, 79)} - set(seen)
    assert len(missing) >= 8
    # to the hundredth that a note is rounded to
    for time in missing:
        assert any(first - 0.02 <= time <= last + 0.02 for first, last in lost)
    for first, last in lost:
        assert not [time for time in seen if first + 0.02 < time < last - 0.02]

    unheard = spans_of(decoded, "sound")
    assert sum(last - first for first, last in unheard) > 0.8
    assert not any("taken for silence" in note for note in decoded.notes)


def test_packets_that_were_never_received_are_told(folder: Path, tmp_path: Path) -> None:
    # all that is left is undamaged, as after a bad reception
    content = (folder / "a.ts").read_bytes()
    first = round(0.4 * len(content) / TS) * TS
    last = round(0.6 * len(content) / TS) * TS
    path = tmp_path / "b.ts"
    path.write_bytes(content[:first] + content[last:])
    seen, decoded = looked_at(path)

    ((begin, end),) = spans_of(decoded, "sound")
    assert end - begin == pytest.approx(0.2 * 8, abs=0.5)
    assert spans_of(decoded, "picture")
    assert len(seen) < 72


def test_pictures_that_are_built_upon_lost_ones_are_told(folder: Path, tmp_path: Path) -> None:
    path = overwritten(folder / "a.ts", tmp_path / "b.ts", 0.3, 0.33, 0)
    _, decoded = looked_at(path)

    (said,) = [note for note in decoded.notes if "built upon" in note]
    first, last = map(float, re.findall(r"[\d.]+(?= to| s)", said))
    assert 2 < first < last
    # the next key picture; sound begins a block earlier than pictures
    assert last == pytest.approx(4.064, abs=0.01)
