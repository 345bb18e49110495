"""Reading a file of splits whose emotions are in it, or in a label file beside it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import ConvertOptions, Padded, Reading
from emotailor.data.readers.joining.emotions import emotions_in, no_emotions, sentiments_in
from emotailor.data.readers.joining.join import Joined, Wanted, join
from emotailor.data.readers.joining.labels import TOLERANCE, LabelTable, Segment, read_label_table
from emotailor.data.readers.joining.splits import (
    RealSteps,
    SplitFile,
    blocks_of,
    ids_of,
    open_splits,
    texts_of,
)
from emotailor.data.sample import Sample
from emotailor.errors import DataError

_Ids = dict[str, list[tuple[str, ...]]]


@dataclass
class Labelled:
    """Labels and names of all samples.

    Attributes:
        names: label names.
        ids: split -> id per sample.
        rows: split -> 0/1 per label, or None where the sample has no labels.
        files: the label file, where there is one.
        columns: what the labels are called in the source.
    """

    names: tuple[str, ...]
    ids: dict[str, list[str]]
    rows: dict[str, list[UInt8[np.ndarray, "labels"] | None]]
    files: list[Path]
    columns: Sequence[str] | None = None


def read_joined(path: Path, options: ConvertOptions) -> Reading:
    """Open a pickle of splits, with the emotions in it or in a label file.

    Raises:
        DataError: the file is missing, damaged or not laid out like this; there are no emotions; or
            the label file does not fit.
        ConfigError: an option is of no use for its labels.
    """
    file = open_splits(path)
    if options.labels is None:
        labelled = _own_labels(file, options)
    else:
        table = read_label_table(options.labels, options, file.account)
        labelled = _labels_of_table(file, table, options)
    return reading_of(file, labelled, options)


def reading_of(file: SplitFile, labelled: Labelled, options: ConvertOptions) -> Reading:
    """Return the samples that have labels."""
    blocks = blocks_of(file)
    counts = {split: len(names) for split, names in labelled.ids.items()}
    padded = Padded(file.path, blocks, counts, options.align)
    real = RealSteps(file, padded)
    notes = file.notes
    file.account.columns = labelled.columns
    lacking = "without labels"
    if labelled.files:
        lacking = f"without labels in {labelled.files[0].name}"

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, rows in labelled.rows.items():
            texts = texts_of(file, split, len(rows))
            for i, labels in enumerate(rows):
                name = labelled.ids[split][i]
                if labels is None and not options.unlabelled:
                    file.account.drop("sample", lacking, name)
                    continue

                about = {}
                text = texts[i]
                if text is not None:
                    about["transcript"] = text
                sequences = real.cut(split, i)
                yield split, Sample(name, sequences, labels, about=about)

        # known only now that all were seen
        notes.extend(real.notes())

    files = [file.path, *labelled.files]
    return Reading(
        labelled.names,
        padded.dims,
        padded.aligned,
        samples(),
        files,
        notes,
        account=file.account,
    )


def _own_labels(file: SplitFile, options: ConvertOptions) -> Labelled:
    """Return the labels that the file holds itself."""
    emotions = emotions_in(file.path, file.content, file.splits, options)
    if emotions is None and options.unlabelled:
        return without_labels(file)
    if emotions is None:
        raise no_emotions(file.path, file.splits)

    file.notes += emotions.notes
    rows = {split: list(labels) for split, labels in emotions.rows.items()}
    counts = {split: len(labels) for split, labels in rows.items()}
    return Labelled(emotions.names, names_of(file, counts), rows, [])


def without_labels(file: SplitFile) -> Labelled:
    """Return the samples of a file whose labels nobody knows."""
    file.notes.append("the source has no emotion labels: the samples are for prediction alone")
    counts = {}
    rows: dict[str, list[UInt8[np.ndarray, "labels"] | None]] = {}
    for split in file.splits:
        counts[split] = file.rows_of(split)
        rows[split] = [None] * counts[split]

    ids = names_of(file, counts)
    return Labelled((), ids, rows, [])


def names_of(file: SplitFile, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Return a name for each sample: its id, or else its place.

    Raises:
        DataError: the ids are no text, or not one per sample.
    """
    ids = ids_of(file)
    if ids is None:
        file.notes.append(
            "the source has no sample ids: samples are numbered per split, train-00000 onwards"
        )
        return {s: [f"{s}-{i:05d}" for i in range(count)] for s, count in counts.items()}

    for split, of_split in ids.items():
        if len(of_split) != counts[split]:
            raise DataError(
                f"{file.path}: split {split!r} has {len(of_split)} ids and {counts[split]} samples",
                expected="one id per sample",
            )
    return _names_by_time(file, ids)


def _names_by_time(file: SplitFile, ids: _Ids) -> dict[str, list[str]]:
    """Return ids as they are; where they are video, start and end, a number for each segment."""
    starts: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for of_split in ids.values():
        for cells in of_split:
            if len(cells) == 3:
                video, start, end = _times(cells)
                starts[video].append((start, end))
    if starts:
        file.notes.append(
            "ids are video, start and end: samples are called video[k], counted in order of time "
            "over this file, which need not be the rows of the SDK's label file"
        )

    names = {}
    ordered = {video: sorted(spans) for video, spans in starts.items()}
    for split, of_split in ids.items():
        names[split] = [_name(cells, ordered) for cells in of_split]
    return names


def _name(cells: tuple[str, ...], ordered: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    if len(cells) == 1:
        return cells[0]
    video, start, end = _times(cells)
    number = ordered[video].index((start, end))
    return f"{video}[{number}]"


def _times(cells: tuple[str, ...]) -> tuple[str, float, float]:
    video, *times = cells
    try:
        start, end = (float(time) for time in times)
    except ValueError as error:
        raise _no_times(cells) from error
    if not np.isfinite((start, end)).all():
        raise _no_times(cells)
    return video, start, end


def _no_times(cells: tuple[str, ...]) -> DataError:
    return DataError(
        f"the id {cells} is not video, start and end",
        expected=f"seconds, which match the label file within {TOLERANCE}",
    )


def _labels_of_table(file: SplitFile, table: LabelTable, options: ConvertOptions) -> Labelled:
    """Return the labels of a table of their own, for the samples that are in it."""
    ids = ids_of(file)
    if ids is None:
        raise DataError(
            f"{file.path} has no ids",
            expected="an id per sample, by which labels are joined",
            fix="leave out --labels if the emotions are in the file itself",
        )

    # a video with start and end needs no number, and nothing to check it by
    by_time = all(len(cells) == 3 for of_split in ids.values() for cells in of_split)

    # all splits together, because clips are counted over the whole video
    wanted = []
    places = []
    for split, of_split in ids.items():
        count = len(of_split)
        sentiments: list[float | None] = [None] * count
        if not by_time:
            sentiments = sentiments_in(file.splits[split], count)
        texts = texts_of(file, split, count)
        for i, cells in enumerate(of_split):
            wanted.append(Wanted(cells[0], sentiments[i], texts[i]))
            places.append((split, cells))

    # one value for all of them is filling, and no sentiment
    if len(wanted) > 1 and len({sample.sentiment for sample in wanted}) == 1:
        wanted = [replace(sample, sentiment=None) for sample in wanted]

    if by_time:
        note = f"labels are joined by video, start and end, within {TOLERANCE:g} s"
        joined = Joined([None] * len(wanted), [note])
    else:
        joined = join(file.path, table, wanted)
        table.compare()
    names: dict[str, list[str]] = {split: [] for split in ids}
    rows: dict[str, list[UInt8[np.ndarray, "labels"] | None]] = {split: [] for split in ids}
    lost = []
    found = set()
    for (split, cells), by_id in zip(places, joined.segments, strict=True):
        segment: Segment | None = by_id
        name = cells[0]
        if len(cells) == 3:
            segment = table.find_time(*_times(cells))
            name = segment.key if segment is not None else f"{cells[0]} {cells[1]}-{cells[2]}"

        names[split].append(name)
        rows[split].append(None if segment is None else segment.labels)
        if segment is None:
            lost.append(name)
        else:
            found.add(segment.key)

    if by_time and all(segment.span is None for segment in table.segments):
        raise DataError(
            f"{table.path} has no times",
            expected=f"columns start and end, by which the samples of {file.path} are found",
        )
    file.notes += [*table.notes, *joined.notes, options.rule]
    refuse_unmatched(file.path, table, lost, len(wanted))
    table.leave_others(found)
    return Labelled(table.names, names, rows, [table.path], table.columns)


def refuse_unmatched(path: Path, table: LabelTable, lost: Sequence[str], total: int) -> None:
    """Refuse a label file that has the labels of no sample.

    Raises:
        DataError: it is one.
    """
    # none at all: the two files are of different data
    if len(lost) == total:
        example = f", such as {lost[0]!r}" if lost else ""
        raise DataError(
            f"none of the {total} samples of {path} is in {table.path}{example}",
            expected="labels of the same segments",
            fix="check that the label file belongs to this data set",
        )
