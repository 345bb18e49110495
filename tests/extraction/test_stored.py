"""Recordings on disk: the same back, and anything damaged is as if it were not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emotailor.errors import ConfigError
from emotailor.extraction.base import Recording, Timed
from emotailor.extraction.stored import RecordingStore, recording_key, store_beside
from tests.extraction.recordings import recording


def same_track(one: Timed | None, other: Timed | None) -> bool:
    if one is None or other is None:
        return one is other
    assert (one.names, one.notes) == (other.names, other.notes)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.intervals, other.intervals)
    assert (one.values.dtype, one.intervals.dtype) == (other.values.dtype, other.intervals.dtype)
    return True


def check_same(one: Recording, other: Recording) -> None:
    for name in ("medium", "duration", "utterances", "notes", "seconds"):
        assert getattr(one, name) == getattr(other, name)
    assert same_track(one.face, other.face)
    assert same_track(one.voice, other.voice)


def test_a_recording_comes_back_the_same(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path / "kept")
    given = recording()
    assert store.get("a" * 16) is None
    store.put("a" * 16, given)
    assert store.has("a" * 16)
    found = store.get("a" * 16)
    assert found is not None
    check_same(found, given)

    # without pictures, without sound, without words
    bare = replace(given, face=None, voice=None, utterances=())
    store.put("b" * 16, bare)
    found = store.get("b" * 16)
    assert found is not None
    check_same(found, bare)

    store.discard()
    assert not store.folder.exists()


def test_a_flipped_bit_makes_a_recording_absent(tmp_path: Path) -> None:
    store = RecordingStore(tmp_path / "kept")
    store.put("a" * 16, recording())
    (file,) = store.folder.glob("recording-*")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    assert not store.has("a" * 16)
    assert store.get("a" * 16) is None


def test_the_key_depends_on_the_content_and_on_every_setting() -> None:
    settings = {"config": {"rate": 10.0}, "words": "x"}
    keys = {
        recording_key("0" * 64, settings),
        recording_key("1" * 64, settings),
        recording_key("0" * 64, {**settings, "words": "y"}),
        recording_key("0" * 64, {**settings, "config": {"rate": 11.0}}),
    }
    assert len(keys) == 4
    assert recording_key("0" * 64, dict(reversed(settings.items()))) in keys


def test_a_folder_of_somebody_else_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError):
        RecordingStore(tmp_path)
    assert store_beside(tmp_path / "mine") == tmp_path / "mine.extraction"
