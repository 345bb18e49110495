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
    splits = splits_of(content, path, (*_KEYS.values(), "tgt"))
    names = options.label_names or CLASSES
    labels = {}
    counts = {}
    for split, of_split in splits.items():
        where = f"{path}: split {split!r}"
        rows = _labels(where, of_split["tgt"], len(names))  # (n, labels)
        labels[split] = rows
        counts[split] = len(rows)

    blocks = read_blocks(path, splits, _KEYS)
    padded = Padded(path, blocks, counts, options.align)

    notes = ["the source has no sample ids: samples are numbered per split, train-00000 onwards"]
    if unknown:
        types = ", ".join(unknown)
        notes.append(f"ignored objects of types that are not plain data: {types}")

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, rows in labels.items():
            for i, row in enumerate(rows):
                sequences = padded.cut(split, i)
                yield split, Sample(f"{split}-{i:05d}", sequences, row)

    return Reading(tuple(names), padded.dims, padded.aligned, samples(), [path], notes)


def _labels(where: str, targets: Any, count: int) -> UInt8[np.ndarray, "n labels"]:
    """Turn ``[2, ids..., 3]`` per sample into 0/1 columns."""
    # an array without dimensions has no length
    listed = isinstance(targets, list | tuple)
    if isinstance(targets, np.ndarray):
        listed = targets.ndim > 0
    if not listed:
        kind = type(targets).__name__
        raise DataError(
            f"{where}: 'tgt' is a {kind}",
            expected="a list of [2, class ids..., 3], one per sample",
        )

    last = _FIRST + count - 1
    expected = f"[2, class ids from {_FIRST} to {last}, 3]"
    labels = np.zeros((len(targets), count), np.uint8)
    for i, target in enumerate(targets):
        sample = f"{where}: 'tgt' of sample {i}"
        array = as_array(target, sample, expected)
        ids = array.ravel().tolist()

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
    numbers = all(isinstance(i, int | float) for i in ids)
    if not numbers:
        return None

    if _END in ids:
        end = ids.index(_END)
        # zeros behind it fill a rectangular array
        if any(ids[end + 1 :]):
            return None
        ids = ids[: end + 1]
    if len(ids) < 2 or ids[0] != _BEGIN or ids[-1] != _END:
        return None

    # between the marks stand the classes
    columns = []
    for i in ids[1:-1]:
        if not isinstance(i, int):
            return None

        column = i - _FIRST
        if not 0 <= column < count:
            return None
        columns.append(column)
    return columns
