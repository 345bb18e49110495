"""The pickle of MulT: ``mosei_senti_data.pkl`` and ``mosei_senti_data_noalign.pkl``.

    {"train" | "valid" | "test":
        {"vision": (N, T, 35), "audio": (N, T, 74), "text": (N, T, 300),
         "labels": (N, 1, 1), sentiment alone,
         "id": (N, 3), video, start and end seconds; or (N, 1), video[k]}}

Emotions come from a label file, joined by id.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emotailor.data.readers._common import (
    ConvertOptions,
    Padded,
    Reading,
    as_array,
    as_text,
    read_blocks,
    splits_of,
)
from emotailor.data.readers._labels import TOLERANCE, LabelTable, Segment, need_label_file
from emotailor.data.readers._pickle import load_pickle
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError

KEYS: dict[Modality, str] = {"visual": "vision", "audio": "audio", "text": "text"}
"""Where each modality lies, in MulT's pickles and in MMSA's."""


def read_mult(path: Path, options: ConvertOptions) -> Reading:
    """Open a MulT pickle and join emotion labels.

    Raises:
        DataError: the file is missing, damaged or not laid out like this; no label file was given,
            or it fits no sample.
    """
    splits = splits_of(load_pickle(path), path, (*KEYS.values(), "id"))
    table = need_label_file(path, options)

    # per split, one entry per sample
    ids = {}
    found = {}
    counts = {}
    for split, content in splits.items():
        where = f"{path}: split {split!r}: 'id'"
        names = _ids(where, content["id"])
        ids[split] = names
        found[split] = [_find(table, name) for name in names]
        counts[split] = len(names)

    blocks = read_blocks(path, splits, KEYS)
    padded = Padded(path, blocks, counts, options.align)
    notes = [*table.notes, options.rule]
    notes += unmatched(path, table, found, ids)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, segments in found.items():
            for i, segment in enumerate(segments):
                if segment is None:
                    continue

                # the file of the labels names the segment
                sequences = padded.cut(split, i)
                yield split, Sample(segment.key, sequences, segment.labels)

    files = [path, table.path]
    return Reading(table.names, padded.dims, padded.aligned, samples(), files, notes)


def unmatched(
    path: Path,
    table: LabelTable,
    found: dict[str, list[Segment | None]],
    ids: dict[str, list[Any]],
) -> list[str]:
    """Say how many samples have no labels.

    Raises:
        DataError: none has.
    """
    lost = []
    total = 0
    for split, segments in found.items():
        total += len(segments)
        for name, segment in zip(ids[split], segments, strict=True):
            if segment is None:
                lost.append(name)

    # none at all: the two files are of different data
    if len(lost) == total:
        example = f", such as {lost[0]!r}" if lost else ""
        raise DataError(
            f"none of the {total} samples of {path} is in {table.path}{example}",
            expected="labels of the same segments",
            fix="check that the label file belongs to this data set",
        )

    if not lost:
        return []
    labels = table.path.name
    return [f"{len(lost)} of {total} samples have no labels in {labels} and were dropped"]


def _ids(where: str, value: Any) -> list[tuple[str, ...]]:
    expected = "(N, 3): video, start, end; or (N, 1): video[k]"
    array = as_array(value, where, expected)
    if array.ndim == 1:
        array = array[:, None]  # (N, 1)
    if array.ndim != 2 or array.shape[1] not in (1, 3):
        raise DataError(f"{where} has shape {array.shape}", expected=expected)

    ids = []
    for row in array.tolist():
        cells = [as_text(cell, where) for cell in row]
        ids.append(tuple(cells))
    return ids


def _find(table: LabelTable, sample_id: tuple[str, ...]) -> Segment | None:
    if len(sample_id) == 1:
        return table.find(sample_id[0])

    video, start, end = sample_id
    try:
        return table.find_time(video, float(start), float(end))
    except ValueError as error:
        raise DataError(
            f"the id {sample_id} is not video, start and end",
            expected=f"seconds, which match the label file within {TOLERANCE}",
        ) from error
