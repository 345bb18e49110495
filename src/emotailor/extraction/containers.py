"""Files of pictures and sound, opened so that nothing but the file itself is read."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotailor.encoders.packages import need
from emotailor.errors import DataError

INSTALL = 'pip install "emotailor[video]"'

_CONTAINERS = (
    "mov matroska webm avi mpegts mpeg mpegvideo flv asf ogg mxf nut rm dv ivf obu h263 h264 hevc "
    "vvc m4v wav w64 mp3 aac loas flac aiff amr amrnb amrwb caf au ac3 eac3 dts wv ape tta"
)
"""What FFmpeg may take a file for: no playlists, which name other files, and no single pictures."""

_OPTIONS = {
    "format_whitelist": ",".join(_CONTAINERS.split()),
    "protocol_whitelist": "file",
}

_NOT_A_VIDEO = ("attached_pic", "timed_thumbnails", "still_image")
_SPECIAL_SOUND = ("hearing_impaired", "visual_impaired", "comment", "karaoke", "descriptions")


def load_av() -> Any:
    """Import PyAV.

    Raises:
        ConfigError: it is not installed.
    """
    return need("av", "reading videos and sounds", INSTALL)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file with PyAV; it is closed at the end.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: it is none of the containers that are read, or its beginning is damaged.
    """
    av = load_av()

    # with the name of the protocol, no other can be meant by a colon in the path
    address = f"file:{path.absolute()}"
    try:
        container = av.open(address, options=_OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path} is no video or sound that can be read ({error.strerror})",
            expected="a video or a sound, such as an MP4, Matroska, AVI, WAV or MP3 file",
            fix="play it with a media player; what plays can be saved as MP4",
        ) from error

    with container:
        yield container


# ---------------------------------------------------------------------- tracks


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a file that are used.

    Attributes:
        video: PyAV's stream; None without pictures.
        sound: likewise.
        notes: what was chosen or left out.
    """

    video: Any
    sound: Any
    notes: tuple[str, ...]


def tracks_of(container: Any) -> Tracks:
    """Choose one track of pictures and one of sound; the others are skipped when it is read.

    The default track comes first, then the largest picture, then the order in the file.
    """
    notes: list[str] = []
    videos = _decodable(container.streams.video, "pictures", notes)
    sounds = _decodable(container.streams.audio, "sound", notes)

    covers = [stream for stream in videos if _is(stream, _NOT_A_VIDEO)]
    moving = [stream for stream in videos if stream not in covers]
    if covers:
        notes.append("a cover picture in the file is not taken for a video")

    video = _best_of(moving, _worth_of_video)
    sound = _best_of(sounds, _worth_of_sound)
    _note_choice(moving, video, "pictures", notes)
    _note_choice(sounds, sound, "sound", notes)

    skip_others(container, {video, sound})
    return Tracks(video, sound, tuple(notes))


def skip_others(container: Any, used: Collection[Any]) -> None:
    """Let a file be read without the tracks that are not used."""
    everything = load_av().stream.Discard.all
    for stream in container.streams:
        if stream not in used:
            stream.discard = everything


def _decodable(streams: Any, what: str, notes: list[str]) -> list[Any]:
    # PyAV gives no context to a track whose codec FFmpeg was built without, or does not know
    known = [stream for stream in streams if stream.codec_context is not None]
    if len(known) < len(streams):
        notes.append(f"a track of {what} is written in a way that no decoder here can read")
    return known


def _is(stream: Any, dispositions: tuple[str, ...]) -> bool:
    # asked for by its name, an attribute of a flag is there whether it is set or not
    is_set = {flag.name for flag in stream.disposition}
    return not is_set.isdisjoint(dispositions)


def _worth_of_video(stream: Any) -> tuple[int, int]:
    context = stream.codec_context
    area = (context.width or 0) * (context.height or 0)
    return int(_is(stream, ("default",))), area


def _worth_of_sound(stream: Any) -> tuple[int, int]:
    # a description of the pictures may be marked as the default
    for_everybody = not _is(stream, _SPECIAL_SOUND)
    return int(for_everybody), int(_is(stream, ("default",)))


def _best_of(streams: list[Any], worth: Any) -> Any:
    """Return the first of the best; None where there is none."""
    return max(streams, key=worth, default=None)


def _note_choice(streams: list[Any], chosen: Any, what: str, notes: list[str]) -> None:
    if len(streams) < 2:
        return
    number = streams.index(chosen) + 1
    named = _name_of(chosen)
    notes.append(f"of {len(streams)} tracks of {what}, number {number}{named} is used")


def _name_of(stream: Any) -> str:
    """Return what a file says about a track, in brackets after a space; empty where nothing."""
    metadata = stream.metadata
    language = metadata.get("language", "und")
    said = [] if language == "und" else [language]
    if metadata.get("title"):
        said.append(metadata["title"])
    return f" ({', '.join(said)})" if said else ""


# ---------------------------------------------------------------------- packets


class Packets:
    """The packets of some tracks, as far as the file can be read; the last ones empty the decoders.

    Args:
        container: PyAV's.
        streams: of the tracks.

    Attributes:
        broken: whether reading ended before the file did.
    """

    def __init__(self, container: Any, streams: list[Any]) -> None:
        self._streams = streams
        self._has_order_only = has_order_only(container)
        self._packets = iter(())
        if streams:  # without any, PyAV reads all
            self._packets = container.demux(streams)
        self.broken = False

    def __iter__(self) -> Iterator[Any]:
        av = load_av()
        while True:
            try:
                packet = next(self._packets, None)
            except av.error.FFmpegError:
                self.broken = True
                break

            if packet is None:
                return
            if self._has_order_only:
                packet.pts = packet.dts
            yield packet

        # what a file that ends well would have sent
        for stream in self._streams:
            packet = av.Packet()
            packet.stream = stream
            packet.time_base = stream.time_base  # frames take theirs from it
            yield packet


def has_order_only(container: Any) -> bool:
    """Say whether a file tells only in which order its pictures are decoded, not when each is due.

    What FFmpeg makes of that is wrong where pictures change places.
    """
    return container.format.name == "avi"


def decoded(packet: Any) -> list[Any] | None:
    """Return the frames that come out with a packet; None where it cannot be decoded."""
    av = load_av()
    try:
        return packet.decode()
    except av.error.FFmpegError:  # of memory, too: a damaged header may ask for any amount
        return None
