"""What the id of a sample says: which segment of which video it is.

Three ways to write a segment are in use. ``video[3]`` is row 3 of the SDK's label file,
``video$_$3`` is clip 3 of the raw transcript as MMSA counts, and ``video_3`` is the name of a raw
clip. The last is not safe to tell from a plain name, so it is read only where all ids of a data
set have this shape.

A sample that was too long may be stored in parts: ``video[3]~1``, ``video[3]~2`` and so on.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Spelling = Literal["[]", "$_$", "_"]

# a longer number is no count of anything
_NUMBER = "[0-9]{1,9}"
_SEGMENT = re.compile(
    rf"(?P<video>.+?)(?:\[(?P<row>{_NUMBER})\]|\$_\$(?P<clip>{_NUMBER}))", re.DOTALL
)
_PART_OF_SAMPLE = re.compile(rf"(?P<whole>.+)~{_NUMBER}", re.DOTALL)
_PART = re.compile(r"[\W_]+[A-Za-z]*[\W_]?\d+\W?(\.[A-Za-z]\w{1,3})?$")
_LONGEST = 256
_OF_READERS = {"train", "valid", "test"}
"""Readers call samples of a source without ids ``train-00000`` and so on."""

_RAW_CLIP = re.compile(rf"(?P<video>.+)_(?P<clip>{_NUMBER})", re.DOTALL)


@dataclass(frozen=True)
class SegmentId:
    """An id taken apart.

    Attributes:
        video: the video.
        number: the number in it, as it is written: ``03`` stays ``03``.
        spelling: how the two are joined.
    """

    video: str
    number: str
    spelling: Spelling


def part_id(sample_id: str, number: int) -> str:
    """Return the id of a part of a sample, counted from 1: ``video[3]`` -> ``video[3]~1``."""
    return f"{sample_id}~{number}"


def whole_id(sample_id: str) -> str:
    """Return the id of the sample that a part is of; any other id as it is."""
    match = _PART_OF_SAMPLE.fullmatch(sample_id)
    return sample_id if match is None else match["whole"]


def parse_segment(sample_id: str) -> SegmentId | None:
    """Take ``video[3]`` or ``video$_$3`` apart; None for any other id."""
    match = _SEGMENT.fullmatch(sample_id)
    if match is None:
        return None
    if match["row"] is not None:
        return SegmentId(match["video"], match["row"], "[]")
    return SegmentId(match["video"], match["clip"], "$_$")


def parse_raw_clip(sample_id: str) -> SegmentId | None:
    """Take ``video_3`` apart; None for any other id. Whole videos may have such names, too."""
    match = _RAW_CLIP.fullmatch(sample_id)
    if match is None:
        return None
    return SegmentId(match["video"], match["clip"], "_")


def segment_key(sample_id: str) -> str:
    """Return ``video[3]`` for both ``video[3]`` and ``video$_$3``, and any other id as it is."""
    whole = whole_id(sample_id)
    segment = parse_segment(whole)
    if segment is None:
        return sample_id
    part = sample_id.removeprefix(whole)
    return f"{segment.video}[{int(segment.number)}]{part}"


def video_of(sample_id: str) -> str:
    """Return the video a segment id belongs to: ``abc[3]`` and ``abc$_$3`` -> ``abc``.

    A single id cannot tell whether ``abc_3`` is a segment: :class:`Videos` looks at all of them.
    """
    whole = whole_id(sample_id)
    segment = parse_segment(whole)
    return whole if segment is None else segment.video


class Videos:
    """The video of each sample of a data set, as far as the ids tell.

    Args:
        ids: the ids of all samples, whatever their splits.

    Attributes:
        note: what was assumed about ids of the shape ``video_3``, or None.
        doubt: why ids that look like segments are not taken as such, or None.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        # the parts of a sample are no segments of their own
        whole = [whole_id(sample_id) for sample_id in ids]
        all_ids = list(dict.fromkeys(whole))
        self.note: str | None = None
        self.doubt: str | None = None
        self._raw_clips = False

        told = any(parse_segment(sample_id) is not None for sample_id in all_ids)
        if not told:
            self._look_for_raw_clips(all_ids)
        if not told and self.note is None and self.doubt is None:
            self._look_for_other_parts(all_ids)

    def of(self, sample_id: str) -> str:
        """Return the video of one sample; a sample that is no segment is a video of its own."""
        if not self._raw_clips:
            return video_of(sample_id)
        whole = whole_id(sample_id)
        clip = parse_raw_clip(whole)
        return whole if clip is None else clip.video

    def _look_for_raw_clips(self, ids: Sequence[str]) -> None:
        """Decide whether ids such as ``video_3`` are segments."""
        clips = [clip for clip in map(parse_raw_clip, ids) if clip is not None]
        videos = Counter(clip.video for clip in clips)
        repeated = len(videos) < len(clips)
        if not repeated or 2 * len(clips) < len(ids):
            return

        # with a plain name among them, a number at the end of a name means nothing
        all_alike = len(clips) == len(ids)

        # "sample_0", "sample_1", ... would be one huge video
        (name, largest), *_ = videos.most_common(1)
        if all_alike and 2 * largest <= len(ids):
            self._raw_clips = True
            self.note = f"ids are taken as video_number: segments of {len(videos)} videos"
            return

        why = f"{largest} of {len(ids)} would be of one video, {name!r}"
        if not all_alike:
            why = f"{len(ids) - len(clips)} of {len(ids)} do not end in a number"
        self.doubt = (
            "whether videos have segments in more than one split is not known: ids that end in "
            f"_number are not taken as segments, because {why}"
        )

    def _look_for_other_parts(self, ids: Sequence[str]) -> None:
        """Doubt ids that look like parts of videos in another spelling, such as ``dia3_utt0``."""
        whole = {sample_id: _without_parts(sample_id) for sample_id in ids}
        parts = [name for name, of in whole.items() if of != name and of not in _OF_READERS]
        videos = {whole[name] for name in parts}
        if not parts or 2 * len(parts) < len(ids) or 2 * len(videos) > len(parts):
            return

        self.doubt = (
            "whether videos have segments in more than one split is not known: ids such as "
            f"{parts[0]!r} do not say which video they are of"
        )


def _without_parts(name: str) -> str:
    """Return an id without the numbers behind it: ``dia3_utt0`` -> ``dia3``."""
    # the search takes the square of the length
    if len(name) > _LONGEST:
        return name
    while True:
        shorter = _PART.sub("", name)
        if not shorter or shorter == name:
            return name
        name = shorter
