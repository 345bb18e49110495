"""What a video or a sound holds, told without decoding it whole; what is none is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from emotailor.data.readers._sniff import first_bytes, kind_of, refuse_stand_in
from emotailor.data.readers.media import media_of
from emotailor.errors import DataError
from emotailor.extraction.base import Medium
from emotailor.extraction.containers import Packets, Tracks, decoded, load_av, opened, tracks_of
from emotailor.extraction.pictures import is_turned, matrix_of, sensible, shown_size
from emotailor.inputs import not_a_file

_WANTED = "a video or a sound, such as an MP4, Matroska, AVI, WAV or MP3 file"

_PACKETS_AT_THE_BEGINNING = 500
"""As many are read to find the first picture and the first sound."""

_NO_CLOCK = ("aac", "h264", "hevc", "m4v", "mp3", "h263", "vvc", "obu", "loas", "ac3", "eac3")
"""Formats without an index, whose length FFmpeg guesses from their size."""

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MOST_BOXES = 100_000
"""Of an MP4: a recording of a day has fewer, and a damaged file might have one every 8 bytes."""

_IMAGES = ((b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"))
_STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")
_PLAYLISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"<?xml", b"<mpd", b"<smil", b"v=0")


def open_medium(path: Path) -> Medium:
    """Look at a file: what it holds, how long it is, when it begins.

    Only the first picture and the first sound are decoded. Nothing but the file is opened: a
    playlist is refused.

    Args:
        path: a video or a sound.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: there is no such file, it is not a file, or it is none of these.
    """
    load_av()  # a missing package is said before anything else
    _refuse_what_is_no_file(path)
    refuse_stand_in(path)
    _refuse_image(path)

    try:
        return _look_at(path)
    except DataError as error:
        _explain(path, error)
        raise


def _look_at(path: Path) -> Medium:
    with opened(path) as container:
        tracks = tracks_of(container)
        if tracks.video is None and tracks.sound is None:
            raise _nothing_in(path, tracks)

        beginning = _beginning_of(container, tracks)
        size = _size_of(tracks.video, beginning.picture)
        notes = tracks.notes
        if _is_cut_off(path):
            notes += ("the file is shorter than it says: it was cut off",)

        return Medium(
            path=path,
            duration=stated_duration(container, tracks),
            picture=size,
            sound=tracks.sound is not None,
            notes=notes,
            start=beginning.start,
        )


def stated_duration(container: Any, tracks: Tracks) -> float | None:
    """Return how many seconds the tracks that are used last by what the file says, if it does."""
    if container.format.name in _NO_CLOCK:
        return None

    # that of the whole file would count a track of subtitles, too
    streams = [stream for stream in (tracks.video, tracks.sound) if stream is not None]
    if all(stream.duration for stream in streams):
        return max(float(stream.duration * stream.time_base) for stream in streams)
    if not container.duration or container.duration < 0:  # as of a live recording
        return None
    return container.duration / 1_000_000


# ---------------------------------------------------------------------- the beginning


@dataclass(frozen=True, eq=False)
class _Beginning:
    """The first picture that can be decoded, and the time of what comes first."""

    start: float
    picture: Any


def _beginning_of(container: Any, tracks: Tracks) -> _Beginning:
    waited_for = {tracks.video: "video", tracks.sound: "sound"}
    waited_for.pop(None, None)
    first: dict[str, Any] = {}

    packets = Packets(container, list(waited_for))
    for packet in islice(packets, _PACKETS_AT_THE_BEGINNING):
        what = waited_for.get(packet.stream)
        if what is None:
            continue
        # pictures before the first key picture cannot be decoded
        frames = decoded(packet) or []
        if frames:
            first[what] = frames[0]
            del waited_for[packet.stream]
        if not waited_for:
            break

    times = [frame.time for frame in first.values() if frame.time is not None]
    return _Beginning(min(times, default=0.0), first.get("video"))


def _size_of(video: Any, frame: Any) -> tuple[int, int] | None:
    """Return width and height as shown; as the file says where no picture can be decoded."""
    if video is None:
        return None
    if frame is None:
        context = video.codec_context
        return context.width, context.height

    width, height = shown_size(frame, sensible(video.sample_aspect_ratio))
    if is_turned(matrix_of(frame)):
        return height, width
    return width, height


# ---------------------------------------------------------------------- what is refused


def _refuse_what_is_no_file(path: Path) -> None:
    why = not_a_file(path)
    if why is None:
        if path.stat().st_size == 0:
            raise DataError(
                f"{path} is empty: it has no bytes", expected=_WANTED, fix="copy it again"
            )
        return

    fix = "check the path"
    if media_of(path) == "an address in the web":
        why = f"{path} is an address in the web"
        fix = "download it first: no connection is opened here"
    elif path.is_dir():
        fix = "name a file in it"
    elif path.exists():
        fix = "save it as a file first"
    raise DataError(why, expected=_WANTED, fix=fix)


def _refuse_image(path: Path) -> None:
    kind = _image_in(path)
    if kind == "GIF":
        raise DataError(
            f"{path} is a GIF image, whatever its name says",
            expected="a video or a sound",
            fix="save it as MP4, if it moves",
        )
    if kind is not None:
        raise DataError(
            f"{path} is one picture ({kind}), whatever its name says",
            expected="a video or a sound",
            fix="take the video that the picture is from",
        )


def _image_in(path: Path) -> str | None:
    """Return the kind of picture that a file is; None where it is none."""
    head = first_bytes(path)
    kind = kind_of(path)
    if kind.endswith(" image"):
        return kind.split()[1]

    for magic, name in _IMAGES:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        return "HEIF"
    return None


def _nothing_in(path: Path, tracks: Tracks) -> DataError:
    return DataError(
        f"{path} has neither pictures nor sound that can be decoded",
        expected=_WANTED,
        fix="; ".join(tracks.notes) or "take the file that the pictures or the sound are in",
    )


def _explain(path: Path, error: DataError) -> None:
    """Say more about a file that FFmpeg does not read, where its bytes tell why.

    Raises:
        DataError: the better message.
    """
    if kind_of(path) == "text":
        head = first_bytes(path).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        what = "a playlist, which names other files" if head.startswith(_PLAYLISTS) else "a text"
        raise DataError(
            f"{path} is {what}, not a video",
            expected=_WANTED,
            fix="name the video itself",
        ) from error

    if _lacks_index(path):
        raise DataError(
            f"{path} is an MP4 file that was cut off: its index (moov), written last, is missing",
            expected="the whole file",
            fix="copy or download it again; a recording that broke off may be repaired with a tool "
            "such as untrunc",
        ) from error


# ---------------------------------------------------------------------- the frame of a file


@dataclass(frozen=True)
class _Box:
    """One of the outermost parts of a file.

    Attributes:
        kind: four letters.
        end: where the file says that it ends, in bytes.
    """

    kind: bytes
    end: int


def _is_cut_off(path: Path) -> bool:
    """Say whether a file of RIFF (WAV, AVI) or MP4 is shorter than it says."""
    length = path.stat().st_size
    head = first_bytes(path)
    if head.startswith(b"RIFF"):
        stated = int.from_bytes(head[4:8], "little")
        is_known = 0 < stated < 0xFFFF_FFFF  # unknown while it was written to a pipe
        return is_known and stated + 8 > length

    boxes = _boxes(path)
    return bool(boxes) and boxes[-1].end > length


def _lacks_index(path: Path) -> bool:
    """Say whether a file is an MP4 without the part that says where its frames are."""
    boxes = _boxes(path)
    return bool(boxes) and all(box.kind != b"moov" for box in boxes)


def _boxes(path: Path) -> list[_Box]:
    """Return the outermost boxes of an MP4, as far as they begin in the file; of others, none."""
    boxes = islice(_walk(path), _MOST_BOXES)
    first = next(boxes, None)
    if first is None or first.kind not in _FIRST_BOXES:
        return []
    return [first, *boxes]


def _walk(path: Path) -> Iterator[_Box]:
    at = 0
    length = path.stat().st_size
    with path.open("rb") as file:
        while at + 8 <= length:
            file.seek(at)
            head = file.read(16)

            size = int.from_bytes(head[:4], "big")
            if size == 1:  # it does not fit there
                size = int.from_bytes(head[8:16], "big")
            if size == 0:  # up to the end of the file
                size = length - at
            if size < 8:
                return
            yield _Box(head[4:8], at + size)
            at += size
