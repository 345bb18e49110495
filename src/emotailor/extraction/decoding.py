"""One pass over a video or a sound: pictures at a steady rate, and all sound by its times.

Memory does not grow with the length: pictures are handed out one by one, and sound goes into a
temporary file without a name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotailor.cores import usable_cores
from emotailor.errors import DataError
from emotailor.extraction.base import Medium, Picture, Sound
from emotailor.extraction.clock import Clock
from emotailor.extraction.containers import Packets, opened, skip_others, tracks_of
from emotailor.extraction.lanes import Lane, PictureLane, SoundLane
from emotailor.extraction.needed import Needed
from emotailor.extraction.pictures import Sampler
from emotailor.extraction.seams import Seams
from emotailor.extraction.spool import SoundTrack, Spool

_MOST_THREADS = 4

_LARGE = 4096 * 2304
"""Pixels of a picture so large that each thread having its own would take much memory."""

_SPANS_NAMED = 5

_CUT_OFF = 1.0
"""Seconds that a file may end before it says: containers round, and tracks differ."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What one pass gave, beside the pictures.

    Attributes:
        duration: seconds from the first picture or sound to the end of the last.
        sound: None where there is none, or none was wanted.
        notes: what could not be decoded, and what was assumed, one sentence each.
        counts: ``pictures`` that were decoded (fewer than the file has: some are not needed),
            ``samples`` that were handed out, ``damaged`` packets and frames of both tracks.
    """

    duration: float
    sound: Sound | None
    notes: tuple[str, ...]
    counts: Mapping[str, int]


def decode(
    medium: Medium,
    *,
    pictures_per_second: float = 10.0,
    most_pixels: int = 640,
    on_picture: Callable[[Picture], None] | None = None,
    with_sound: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Decoded:
    """Decode a medium once, from its beginning to its end.

    Args:
        medium: as :func:`~emotailor.extraction.media.open_medium` gives it.
        pictures_per_second: samples; each is the picture that stands at its time. Before the first
            picture, after the last one, and where none can be decoded, there are no samples.
        most_pixels: longer side that larger pictures are reduced to.
        on_picture: takes each sample, in order of time; None: no picture is decoded.
        with_sound: whether sound is decoded.
        progress: takes the seconds done so far, about once a second of the medium.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: the file cannot be opened any more, or nothing in it can be decoded.
        OSError: the disk of temporary files is full.
    """
    clock = Clock(medium.start)
    with Spool() as spool, opened(medium.path) as container, medium.path.open("rb") as content:
        tracks = tracks_of(container)

        # where a file does not say how long it is, what is decoded tells
        has_sound = tracks.sound is not None and with_sound
        tells_length = not medium.duration and not has_sound
        pictures = None
        if tracks.video is not None and (on_picture is not None or tells_length):
            ratio = tracks.video.sample_aspect_ratio
            take = on_picture or _leave
            sampler = Sampler(pictures_per_second, most_pixels, ratio, take)
            needed = Needed(tracks.video, clock, pictures_per_second)
            seams = Seams(content, tracks.video)
            pictures = PictureLane(seams, clock, sampler, needed, medium.duration)
            _use_threads(tracks.video.codec_context)

        sounds = None
        if has_sound:
            sounds = SoundLane(Seams(content, tracks.sound), clock, SoundTrack(spool))

        lanes = [lane for lane in (pictures, sounds) if lane is not None]
        is_whole = _run(container, lanes, clock, progress)
        _refuse_nothing(medium, lanes)

        notes = _notes(medium, lanes, clock, is_whole)
        return Decoded(
            duration=_duration(medium, lanes),
            sound=spool.sound(),
            notes=tuple(notes),
            counts=_counts(pictures, lanes),
        )


def _leave(_: Picture) -> None:
    """Take a picture that nobody looks at."""


def _use_threads(context: Any) -> None:
    """Let a decoder use several threads, but not so that their pictures take much memory."""
    context.thread_count = min(usable_cores(), _MOST_THREADS)

    # threads that share a picture are slower than those that have one each
    is_large = context.width * context.height > _LARGE
    context.thread_type = "SLICE" if is_large else "AUTO"


def _run(
    container: Any,
    lanes: Sequence[Lane],
    clock: Clock,
    progress: Callable[[float], None] | None,
) -> bool:
    """Give each packet to the lane of its track, and say whether the file was read to its end."""
    by_stream = {lane.stream: lane for lane in lanes}
    skip_others(container, by_stream)

    packets = Packets(container, list(by_stream))
    told = 0.0
    for packet in packets:
        by_stream[packet.stream].take(packet)
        if progress is not None and clock.latest >= told + 1:
            told = clock.latest
            progress(told)

    for lane in lanes:
        lane.finish()
    return not packets.broken


# ---------------------------------------------------------------------- what came out


def _refuse_nothing(medium: Medium, lanes: Sequence[Lane]) -> None:
    if not lanes or any(lane.frames for lane in lanes):
        return
    raise DataError(
        f"nothing in {medium.path} can be decoded: all of it is damaged",
        expected="a video or a sound that a media player plays",
        fix="copy or download it again",
    )


def _duration(medium: Medium, lanes: Sequence[Lane]) -> float:
    """Return the seconds until the end of what was decoded; what the file says if nothing was."""
    if not lanes:
        return medium.duration or 0.0
    return max(lane.end for lane in lanes)


def _counts(pictures: PictureLane | None, lanes: Sequence[Lane]) -> dict[str, int]:
    counts = {"pictures": 0, "samples": 0}
    if pictures is not None:
        counts = {"pictures": pictures.frames, "samples": pictures.sampler.handed}
    return {**counts, "damaged": sum(lane.damaged for lane in lanes)}


def _notes(medium: Medium, lanes: Sequence[Lane], clock: Clock, is_whole: bool) -> list[str]:
    """Return what somebody must know to judge the result, one sentence each."""
    notes: list[str] = []
    for lane in lanes:
        notes += _notes_on(lane, clock)
    if clock.restarts:
        times = _listed([f"{time:.2f} s" for time in clock.restarts])
        notes.append(f"the time stamps jump at {times}: what follows is counted on from there")

    end = _duration(medium, lanes)
    stated = medium.duration
    tracks_of_file = [medium.picture is not None, medium.sound]
    is_all = len(lanes) == sum(tracks_of_file)  # else what is left out may last longer
    if not is_whole:
        notes.append(f"the file cannot be read further than {end:.2f} s: it is damaged there")
    elif is_all and stated is not None and end < stated - _CUT_OFF:
        says = f"the file says that it lasts {stated:.2f} s"
        notes.append(f"{says}, and ends after {end:.2f} s: it is cut off or damaged")
    return notes


def _notes_on(lane: Lane, clock: Clock) -> list[str]:
    if not lane.frames:
        return [f"no {lane.name} could be decoded: all of it is damaged"]

    notes = []
    if lane.name in clock.without_stamps:
        notes.append(f"the file has no times for each {lane.name}: they are counted by its rate")
    if lane.losses.spans:
        spans = [_span(*span) for span in lane.losses.spans]
        notes.append(f"no {lane.name} could be decoded {_listed(spans)}: it is damaged there")
    if isinstance(lane, PictureLane) and lane.doubts:
        spans = [_span(*span) for span in lane.doubts]
        notes.append(f"pictures {_listed(spans)} are built upon damaged ones, and may be wrong")
    if isinstance(lane, SoundLane):
        notes += _note_on_gaps(lane)
    return notes


def _note_on_gaps(lane: SoundLane) -> list[str]:
    """Return a note on the gaps that are no damage, which was noted already."""
    gaps = [gap for gap in lane.track.gaps if not _overlaps(gap, lane.losses.spans)]
    if not gaps:
        return []
    spans = [_span(*gap) for gap in gaps]
    return [f"the file has no sound {_listed(spans)}: that is taken for silence"]


def _overlaps(span: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    start, end = span
    return any(first <= end and start <= last for first, last in others)


def _span(start: float, end: float) -> str:
    first, last = f"{start:.2f}", f"{end:.2f}"
    return f"at {first} s" if first == last else f"from {first} to {last} s"


def _listed(items: list[str]) -> str:
    shown = ", ".join(items[:_SPANS_NAMED])
    more = len(items) - _SPANS_NAMED
    return f"{shown} and {more} more times" if more > 0 else shown
