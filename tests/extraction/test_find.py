"""Which videos are meant by a path, and what they are called."""

from pathlib import Path

import pytest

from emotailor.errors import DataError
from emotailor.extraction.find import find_videos


def test_videos_below_a_folder_by_name(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/b.MKV", "a/b.wav", ".hidden/c.mp4", "a/.d.mp4", "notes.txt", "x.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"text")
    found = find_videos(tmp_path)
    assert [video.name for video in found] == ["a/b", "a/b.wav", "b"]
    assert found[0].path == tmp_path / "a/b.MKV"


def test_one_video_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.v2.mp4"
    path.write_bytes(b"")
    (video,) = find_videos(path)
    assert video.name == "clip.v2"


def test_nothing_to_find_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no video"):
        find_videos(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        find_videos(tmp_path / "none.mp4")
