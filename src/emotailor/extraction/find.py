"""Which videos are meant by a path, and what each is called."""

from dataclasses import dataclass
from pathlib import Path

from emotailor.data.readers.media import media_of
from emotailor.errors import DataError
from emotailor.inputs import not_a_file

KINDS = ("a video", "a sound", "a video or a sound")
"""What of :func:`emotailor.data.readers.media.media_of` can be extracted."""


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


def find_videos(source: Path) -> list[Found]:
    """Return the video at a path, or those in a folder and the folders below, by name.

    Hidden files and folders are left out. Whether a file is intact shows when it is opened.

    Raises:
        DataError: there is nothing there, or no video in the folder.
    """
    if not source.is_dir():
        found = not_a_file(source)
        if found is not None:
            raise DataError(found, expected="a video, or a folder of videos", fix="check the path")
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
