"""Uploads on the disk: under names of ours, in a folder that is removed in every case."""

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from emotailor.files import remove_file
from emotailor.service.errors import RequestError
from emotailor.text import NAME, is_name

LONGEST_NAME = 200
"""Characters of the name of an upload."""

UNKNOWN = "application/octet-stream"
KINDS: Mapping[str, str] = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".ogv": "video/ogg",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
}
"""Ending of a name -> what a browser is told that it is. Another ending is not kept."""


def shown_name(given: str | None) -> str:
    """Return what an upload is called: the last part of what the client calls it.

    It is shown, and written into files. No path is made of it.

    Raises:
        RequestError: it is no name.
    """
    name = (given or "upload").replace("\\", "/").rstrip("/").rpartition("/")[2]
    if not is_name(name) or len(name) > LONGEST_NAME or name in (".", ".."):
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"the name {name[:LONGEST_NAME]!r}",
            expected=f"{NAME}, {LONGEST_NAME} characters at most",
            fix="?name=clip.mp4",
        )
    return name


def ending_of(name: str) -> str:
    """Return the ending of a name, if it is one of those that are known; else nothing."""
    ending = PurePosixPath(name).suffix.lower()
    return ending if ending in KINDS else ""


def new_place(folder: Path, name: str) -> Path:
    """Return where an upload is to lie; of its name nothing but a known ending is in it."""
    return folder / f"{secrets.token_hex(8)}{ending_of(name)}"


async def store(parts: AsyncIterator[bytes], file: Path) -> int:
    """Write an upload as it comes, and return its size; what is not whole is removed.

    Raises:
        RequestError: as the parts do, or it cannot be written, as where the disk is full.
        ClientDisconnect: the client has gone.
    """
    size = 0
    try:
        with file.open("xb") as opened:
            async for part in parts:
                opened.write(part)
                size += len(part)
    except BaseException as error:
        discard(file)
        if isinstance(error, OSError):
            raise RequestError(
                HTTPStatus.INSUFFICIENT_STORAGE,
                f"the service cannot write it: {error.strerror}",
                expected="room among its temporary files, and files that it may open",
                fix="try again later; if that does not help, look at its disk, and start it anew",
            ) from error
        raise
    return size


def discard(file: Path) -> None:
    """Remove an upload, as far as it is there."""
    with suppress(OSError):
        remove_file(file)
