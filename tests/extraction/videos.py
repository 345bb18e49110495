"""Makers of small videos and sounds for tests: flat shades that tell the picture, and tones.

They need the extra ``video``; a test module begins with ``pytest.importorskip("av")``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, UInt8

RATE = 16_000
"""Samples a second of all sounds here."""

_TICKS = 90_000
"""Units of time a second of pictures: all usual rates come out whole."""

_SAMPLES_PER_PACKET = 1024

Pixels = UInt8[np.ndarray, "height width 3"]
Samples = Int16[np.ndarray, "n"]


# ---------------------------------------------------------------------- pictures and sounds


def shade(number: int, width: int = 64, height: int = 48) -> Pixels:
    """A grey picture whose shade says which it is, modulo 43."""
    level = 20 + 5 * (number % 43)
    return np.full((height, width, 3), level, dtype=np.uint8)


def number_of(pixels: Pixels) -> int:
    """Which picture a shade is, whatever a codec has done to it."""
    return round((float(pixels.mean()) - 20) / 5)


def corner(width: int = 64, height: int = 48) -> Pixels:
    """A black picture whose upper left quarter is white: it shows how it was turned."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = 255
    return pixels


def tone(seconds: float, hertz: float = 440.0, loudness: float = 0.5) -> Samples:
    """A sine."""
    times = np.arange(round(seconds * RATE)) / RATE
    wave = loudness * np.sin(2 * np.pi * hertz * times)
    return (32_767 * wave).astype(np.int16)


def silence(seconds: float) -> Samples:
    """Zeros."""
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def noise(seconds: float, seed: int = 0, loudness: float = 0.1) -> Samples:
    """White noise."""
    rng = np.random.default_rng(seed)
    wave = np.clip(loudness * rng.normal(size=round(seconds * RATE)), -1, 1)
    return (32_767 * wave).astype(np.int16)


# ---------------------------------------------------------------------- files


@dataclass(frozen=True)
class Part:
    """Sound without a break.

    Attributes:
        start: seconds.
        samples: at :data:`RATE`.
    """

    start: float
    samples: Samples


Track = Sequence[Part]
"""One track of sound; a gap is where no part is."""


def write_medium(
    path: Path,
    *,
    pictures: Sequence[tuple[float, Pixels]] = (),
    tracks: Sequence[Track] = (),
    rotation: int = 0,
    video_codec: str = "libx264",
    sound_codec: str = "aac",
    video_options: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    languages: Sequence[str] = (),
) -> Path:
    """Write a file of pictures at given times and tracks of sound.

    Args:
        path: its ending says which container it is: ``.mp4``, ``.mkv``, ``.avi``, ``.ts``, ….
        pictures: time and pixels of each, of one even size, in order of time.
        tracks: each at :data:`RATE`, in one channel.
        rotation: degrees counter-clockwise by which a player turns the pictures.
        video_codec: a name of FFmpeg's.
        sound_codec: a name of FFmpeg's, such as ``aac`` (in blocks of 64 ms) or ``pcm_s16le``.
        video_options: of the codec.
        options: of the container, such as ``{"movflags": "faststart"}``.
        languages: of each track.
    """
    import av

    with av.open(str(path), "w", options=options or {}) as container:
        pieces: list[tuple[float, Any, Any]] = []
        streams = []

        if pictures:
            stream = _video_stream(container, pictures, video_codec, video_options)
            if rotation:
                stream.set_display_rotation(rotation)
            streams.append(stream)
            for time, pixels in pictures:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts = round(time * _TICKS)
                frame.time_base = Fraction(1, _TICKS)
                pieces.append((time, stream, frame))

        for number, track in enumerate(tracks):
            stream = container.add_stream(sound_codec, rate=RATE, layout="mono")
            if number < len(languages):
                stream.metadata["language"] = languages[number]
            streams.append(stream)
            for part in track:
                pieces += _sound_frames(part, stream)

        # whoever reads it wants what is shown and heard together to lie together
        pieces.sort(key=lambda piece: piece[0])
        for _, stream, frame in pieces:
            container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def _video_stream(
    container: Any,
    pictures: Sequence[tuple[float, Pixels]],
    codec: str,
    options: dict[str, str] | None,
) -> Any:
    times = [time for time, _ in pictures]
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.1
    rate = Fraction(1 / step).limit_denominator(1_001)

    quick = {"crf": "10", "preset": "veryfast"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=rate, options={**quick, **(options or {})})
    stream.height, stream.width = pictures[0][1].shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1
    if codec != "mpeg4":  # whose ticks have 16 bits; it keeps those of its rate
        stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream


def _sound_frames(part: Part, stream: Any) -> list[tuple[float, Any, Any]]:
    import av

    frames = []
    sample_format = stream.codec_context.format.name
    for at in range(0, len(part.samples), _SAMPLES_PER_PACKET):
        samples = part.samples[at : at + _SAMPLES_PER_PACKET].reshape(1, -1)
        converted = _as(samples, sample_format)
        frame = av.AudioFrame.from_ndarray(converted, format=sample_format, layout="mono")
        start = part.start + at / RATE

        frame.sample_rate = RATE
        frame.time_base = Fraction(1, RATE)
        frame.pts = round(part.start * RATE) + at
        frames.append((start, stream, frame))
    return frames


def _as(samples: Int16[np.ndarray, "1 n"], sample_format: str) -> np.ndarray:
    """The samples as a codec takes them."""
    if sample_format.startswith("flt"):
        return samples.astype(np.float32) / 32_768
    if sample_format.startswith("s32"):
        return samples.astype(np.int32) << 16
    return samples


def video(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: float = 10.0,
    size: tuple[int, int] = (64, 48),
    draw: Callable[[int, int, int], Pixels] = shade,
    sound: Samples | None = None,
    **more: Any,
) -> Path:
    """Write a video of constant rate.

    Args:
        path: as in :func:`write_medium`.
        seconds: how long.
        fps: pictures a second.
        size: width and height, even.
        draw: makes a picture of its number, width and height.
        sound: from the beginning on; None: no sound.
        **more: as in :func:`write_medium`.
    """
    width, height = size
    count = round(seconds * fps)
    pictures = [(i / fps, draw(i, width, height)) for i in range(count)]
    if sound is not None:
        more["tracks"] = [[Part(0.0, sound)]]
    return write_medium(path, pictures=pictures, **more)


def talking(path: Path, seconds: float = 2.0) -> Path:
    """A video of shades with a tone in its second half: nobody is seen, nobody speaks."""
    half = seconds / 2
    sound = np.concatenate([silence(half), tone(half)])
    return video(path, seconds=seconds, sound=sound)


def variable_rate(path: Path, times: Sequence[float]) -> Path:
    """A video whose shades are shown at these times."""
    pictures = [(time, shade(i)) for i, time in enumerate(times)]
    return write_medium(path, pictures=pictures)


def image(path: Path, kind: str = "png") -> Path:
    """One picture, as a PNG, a JPEG (``mjpeg``) or a GIF, whatever its name says."""
    import av

    context: Any = av.CodecContext.create(kind, "w")
    pixel_format = {"png": "rgb24", "mjpeg": "yuvj420p", "gif": "rgb8"}[kind]
    context.width, context.height = 64, 48
    context.pix_fmt = pixel_format
    context.time_base = Fraction(1, 25)

    frame = av.VideoFrame.from_ndarray(corner(), format="rgb24")
    packets = [*context.encode(frame.reformat(format=pixel_format)), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def beginning_of(source: Path, target: Path, seconds: float) -> Path:
    """The first seconds of a video or a sound, copied without being encoded again."""
    import av

    with av.open(str(source)) as given, av.open(str(target), "w") as written:
        copies = {}
        for stream in given.streams:
            copies[stream.index] = written.add_stream_from_template(stream)
        for packet in given.demux():
            if packet.dts is None or float(packet.dts * packet.time_base) >= seconds:
                continue
            packet.stream = copies[packet.stream.index]
            written.mux(packet)
    return target


# ---------------------------------------------------------------------- damage


def truncated(source: Path, target: Path, share: float = 0.5) -> Path:
    """The first part of a file."""
    content = source.read_bytes()
    target.write_bytes(content[: round(share * len(content))])
    return target


def overwritten(source: Path, target: Path, first: float, last: float, seed: int = 0) -> Path:
    """A file with random bytes from one share of its length to another."""
    content = bytearray(source.read_bytes())
    start, end = round(first * len(content)), round(last * len(content))
    content[start:end] = np.random.default_rng(seed).bytes(end - start)
    target.write_bytes(content)
    return target
