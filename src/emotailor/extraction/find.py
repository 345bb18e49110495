"""Which videos are meant by a path, and what each is called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emotailor.data.readers.media import media_of
from emotailor.errors import DataError
from emotailor.inputs import not_a_file
from emotailor.text import plural

KINDS = ("a video", "a sound", "a video or a sound")
"""What of :func:`emotailor.data.readers.media.media_of` can be extracted."""

TRANSCRIPTS = (".srt", ".vtt", ".json", ".txt")
"""Endings of files with what is said in a video."""


@dataclass(frozen=True)
class Found:
    """A video to extract.

    Attributes:
        name: the path in its folder without the ending, with ``/``; the id of its samples begins
            with it.
        path: the file.
    """

    name: str
    path: Path


def is_medium(path: Path) -> bool:
    """Whether a path is that of a video or a sound, by its name, or by its first bytes."""
    return media_of(path) in KINDS


def find_videos(source: Path, *, folders: bool = True) -> list[Found]:
    """Return the video at a path, or those in a folder and the folders below, by name.

    Hidden files and folders are left out. Whether a file is intact shows when it is opened.

    Args:
        source: a file or a folder.
        folders: whether it may be a folder.

    Raises:
        DataError: there is nothing there, or no video in the folder.
    """
    if not source.is_dir() or not folders:
        found = not_a_file(source)
        if found is not None:
            raise DataError(
                found,
                expected="a video" + (", or a folder of videos" if folders else ""),
                fix="check the path",
            )
        return [Found(source.stem, source)]

    videos: dict[str, Path] = {}
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.is_dir() or not is_medium(path):
            continue
        name = inside.with_suffix("").as_posix()
        # clip.mp4 and clip.wav are two recordings
        if name in videos:
            name = inside.as_posix()
        videos[name] = path

    if not videos:
        raise DataError(
            f"{source} holds no video or sound",
            expected="files such as clip.mp4, also in folders below",
            fix="check the path",
        )
    return [Found(name, path) for name, path in videos.items()]


def transcripts_in(place: Path, videos: Sequence[Found]) -> dict[str, Path]:
    """Return the transcript of each video that has one.

    Raises:
        DataError: there is no such file or folder, or it has none of any video.
    """
    if place.is_file() and len(videos) == 1:
        return {videos[0].name: place}
    if not place.is_dir():
        raise DataError(
            f"{place} is no folder",
            expected="a folder with a transcript for each video, such as clip.srt for clip.mp4",
            fix="check the path",
        )

    found = {}
    for video in videos:
        beside = [place / f"{video.name}{ending}" for ending in TRANSCRIPTS]
        there = [file for file in beside if file.is_file()]
        if len(there) > 1:
            raise DataError(
                f"{place} has {' and '.join(file.name for file in there)}",
                expected="one transcript for a video",
                fix="move the others away",
            )
        if there:
            found[video.name] = there[0]
    if not found:
        raise DataError(
            f"{place} has a transcript of none of the {plural(len(videos), 'video')}",
            expected=f"a file such as {videos[0].name}.srt, .vtt, .json or .txt",
            fix="check the path",
        )
    return found
