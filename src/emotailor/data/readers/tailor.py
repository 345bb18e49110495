"""The file of TAILOR, HHMPN and CARAT: ``train_valid_test.pt``.

    {"train" | "valid" | "test":
        {"src-text": (N, 60, 300), "src-visual": (N, 60, 35), "src-audio": (N, 60, 74),
         "tgt": N lists [2, class ids..., 3]}}

A class id is 4 + its position in ``CLASSES``. The unaligned file has other numbers of steps
(50, 500 and 500). Other top-level entries are ignored.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from emotailor.data.readers._common import (
    ConvertOptions,
    Padded,
    Reading,
    as_array,
    read_blocks,
    splits_of,
)
from emotailor.data.readers._pickle import load_torch
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError

CLASSES = ("happy", "sad", "anger", "surprise", "disgust", "fear")
_BEGIN, _END, _FIRST = 2, 3, 4
_KEYS: dict[Modality, str] = {"visual": "src-visual", "audio": "src-audio", "text": "src-text"}


def read_tailor(path: Path, options: ConvertOptions) -> Reading:
    """Open a ``train_valid_test.pt``.

    Raises:
        DataError: the file is missing, damaged or not laid out like this.
    """
    content, unknown = load_torch(path)
    names = options.label_names or CLASSES
    splits = splits_of(content, path, (*_KEYS.values(), "tgt"))
    labels = {}
    for split, content_of_split in splits.items():
        where = f"{path}: split {split!r}"
        labels[split] = _labels(where, content_of_split["tgt"], len(names))
    counts = {split: len(rows) for split, rows in labels.items()}
    padded = Padded(path, read_blocks(path, splits, _KEYS), counts, options.align)

    notes = ["the source has no sample ids: samples are numbered per split, train-00000 onwards"]
    if unknown:
        notes.append(f"ignored objects of types that are not plain data: {', '.join(unknown)}")

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, rows in labels.items():
            for i, row in enumerate(rows):
                yield split, Sample(f"{split}-{i:05d}", padded.cut(split, i), row)

    return Reading(tuple(names), padded.dims, padded.aligned, samples(), [path], notes)


def _labels(where: str, targets: Any, count: int) -> UInt8[np.ndarray, "n labels"]:
    """Turn ``[2, ids..., 3]`` per sample into 0/1 columns."""
    listed = isinstance(targets, list | tuple) or (isinstance(targets, np.ndarray) and targets.ndim)
    if not listed:
        raise DataError(
            f"{where}: 'tgt' is a {type(targets).__name__}",
            expected="a list of [2, class ids..., 3], one per sample",
        )

    expected = f"[2, class ids from {_FIRST} to {_FIRST + count - 1}, 3]"
    labels = np.zeros((len(targets), count), np.uint8)
    for i, target in enumerate(targets):
        sample = f"{where}: 'tgt' of sample {i}"
        ids = as_array(target, sample, expected).ravel().tolist()

        columns = _columns(ids, count)
        if columns is None:
            raise DataError(
                f"{sample} is {str(ids)[:80]}",
                expected=expected,
                fix="name the labels with --label-names if there are other than six",
            )
        labels[i, columns] = 1
    return labels


def _columns(ids: list[Any], count: int) -> list[int] | None:
    """Return the label columns of one target, or None where it is not one."""
    if not all(isinstance(i, int | float) for i in ids):
        return None
    if _END in ids:  # zeros behind it fill a rectangular array
        end = ids.index(_END)
        if any(i != 0 for i in ids[end + 1 :]):
            return None
        ids = ids[: end + 1]
    if len(ids) < 2 or ids[0] != _BEGIN or ids[-1] != _END:
        return None

    # between the marks stand the classes
    columns = []
    for i in ids[1:-1]:
        if not isinstance(i, int) or not 0 <= i - _FIRST < count:
            return None
        columns.append(i - _FIRST)
    return columns
