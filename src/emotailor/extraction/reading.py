"""Recordings as an opened source: utterances, or the segments of a table of labels.

The table is as for files of features: an id, start and end where a row is a part of a video, and a
column for each label. A row without times is about the whole video.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emotailor.data.extraction import Extraction
from emotailor.data.readers._common import ConvertOptions, Reading
from emotailor.data.readers.account import Account
from emotailor.data.readers.csd import read_folds
from emotailor.data.readers.joining.labels import (
    LabelTable,
    Segment,
    read_label_table,
)
from emotailor.data.sample import UNSPLIT, Modality, Sample
from emotailor.errors import DataError
from emotailor.extraction.base import Recording, Utterance
from emotailor.extraction.find import Found
from emotailor.extraction.samples import Stretch, samples_of, stretches_of, words_between

_SPLIT = "split"


@dataclass(frozen=True)
class Labels:
    """A table of labels, and which of its rows are about which video.

    Attributes:
        table: the table.
        segments: name of a video -> its rows, for the videos that have any.
        splits: id of a segment or a video -> its split; None where the table does not tell.
    """

    table: LabelTable
    segments: Mapping[str, Sequence[Segment]]
    splits: Mapping[str, str | None] | None

    def split_of(self, segment: Segment) -> str | None:
        """Return the split of a segment; None where it is in none."""
        if self.splits is None:
            return UNSPLIT
        # of several rows of a video each has a number that the table does not name
        if segment.key in self.splits:
            return self.splits[segment.key]
        return self.splits.get(segment.video)


def read_labels(
    path: Path, videos: Sequence[Found], options: ConvertOptions, account: Account
) -> Labels:
    """Read a table of labels, and find the videos that its rows are about.

    Args:
        path: the table.
        videos: that there are; a row names one by its path in the folder, with or without the
            ending, or by its name alone.
        options: names and rule of the labels.
        account: takes in what is not used.

    Raises:
        DataError: the table is damaged, or none of its rows is about any of the videos.
    """
    table = read_label_table(path, options, account)
    account.columns = table.columns
    by_name = _names_of(videos)

    segments: defaultdict[str, list[Segment]] = defaultdict(list)
    for segment in table.segments:
        name = by_name.get(segment.video)
        if name is None:
            account.leave(path.name, "rows of no video", segment.key)
        else:
            segments[name].append(segment)
    if not segments:
        raise DataError(
            f"{path} names none of the {len(videos)} videos: its first row is about "
            f"{table.segments[0].video!r}, the first video is {videos[0].name!r}",
            expected="the names of the videos in the column id",
            fix="check that the table belongs to these videos",
        )
    for video in videos:
        if video.name not in segments:
            account.leave(path.name, "videos without a row", video.name)

    splits = None
    if any(column.strip().lower() == _SPLIT for column in table.held):
        splits = read_folds(path, account)
    return Labels(table, segments, splits)


def _names_of(videos: Sequence[Found]) -> dict[str, str]:
    """Return what a row may call each video; names that several have are none."""
    claimed: defaultdict[str, set[str]] = defaultdict(set)
    for video in videos:
        inside = video.name
        for spelling in (video.path.stem, video.path.name, f"{inside}{video.path.suffix}"):
            claimed[spelling].add(inside)

    found = {spelling: names.pop() for spelling, names in claimed.items() if len(names) == 1}
    # the whole path is always one
    found.update({video.name: video.name for video in videos})
    return found


def reading_of(
    videos: Sequence[Found],
    recording_of: Callable[[Found], Recording | None],
    options: ConvertOptions,
    *,
    dims: Mapping[Modality, int],
    extraction: Mapping[Modality, Extraction],
    aligned: bool,
) -> Reading:
    """Return recordings as a source that can be converted.

    Args:
        videos: in their order.
        recording_of: returns what was extracted of a video; None where that failed.
        options: of the labels, where there are any.
        dims: modality -> width of what is extracted, but for text.
        extraction: modality -> how it is extracted.
        aligned: one step a word in every modality, or native rates.

    Raises:
        DataError: as :func:`read_labels`.
    """
    account = Account()
    notes: list[str] = []
    labels: Labels | None = None
    if options.labels is not None:
        labels = read_labels(options.labels, videos, options, account)
        notes += [*labels.table.notes, options.rule]

    def samples() -> Iterator[tuple[str, Sample]]:
        for video in videos:
            rows: Sequence[Segment] = ()
            if labels is not None:
                rows = labels.segments.get(video.name, ())
                if not rows:
                    continue

            recording = recording_of(video)
            if recording is None:
                account.drop("video", "that could not be extracted", video.name)
                continue
            notes.extend(f"{video.name}: {note}" for note in recording.notes)

            stretches = stretches_of(video.name, recording)
            splits = {stretch.id: UNSPLIT for stretch in stretches}
            if labels is not None:
                stretches, splits = _labelled(recording, rows, labels, account)
            for sample in samples_of(recording, stretches, aligned=aligned):
                yield splits[sample.id], sample

    files = [video.path for video in videos]
    names: tuple[str, ...] = ()
    if labels is not None:
        names = labels.table.names
        files.append(labels.table.path)
    return Reading(names, dict(dims), aligned, samples(), files, notes, dict(extraction), account)


def _labelled(
    recording: Recording, rows: Sequence[Segment], labels: Labels, account: Account
) -> tuple[list[Stretch], dict[str, str]]:
    """Return the labelled stretches of a recording that are in a split, and in which."""
    stretches = []
    splits = {}
    for segment in rows:
        split = labels.split_of(segment)
        if split is None:
            account.drop("segment", "in no split", segment.key)
            continue

        if segment.span is None and labels.table.timed:
            account.drop("segment", "that ends before it or its video begins", segment.key)
            continue

        start, end = segment.span or (0.0, recording.duration)
        if start >= recording.duration:
            account.drop("segment", "that begins after the end of its video", segment.key)
            continue
        words = words_between(recording, start, end)
        utterance = Utterance(words, start, min(end, recording.duration))
        stretches.append(Stretch(segment.key, utterance, segment.labels))
        splits[segment.key] = split
    return stretches, splits
