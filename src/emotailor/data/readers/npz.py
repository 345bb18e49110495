"""One ``.npz`` with a row per sample: ``id``, ``split``, features and labels.

    id (N,), split (N,)                  strings
    visual, audio, text                  (N, dim), one vector each; or (N, steps, dim)
    labels or emotion_intensity (N, L)   numbers; label_names (L,) strings, optional

Without names, six columns called ``emotion_intensity`` are in the SDK's order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Padded,
    Reading,
    as_text,
    canonical_split,
    require_file,
)
from emotailor.data.readers.joining.labels import SDK_LABELS
from emotailor.data.readers.safe.npy import load_npz
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

_EXPECTED = "a complete .npz file of plain arrays, without pickled objects"
_INTENSITY = "emotion_intensity"
_USED = {"id", "split", "labels", "label_names", _INTENSITY, *MODALITIES}


def read_npz(path: Path, options: ConvertOptions) -> Reading:
    """Open a ``.npz`` file.

    Raises:
        DataError: the file is missing, damaged, holds pickled objects, or lacks an array.
    """
    require_file(path, _EXPECTED)
    arrays, present = load_npz(path, _EXPECTED, _USED)
    key = "labels" if "labels" in arrays else _INTENSITY
    if not {key, "id", "split"} <= set(arrays):
        found = ", ".join(present)[:200]
        raise DataError(
            f"{path} holds {found}",
            expected=f"id, split, labels or {_INTENSITY}, and visual, audio or text",
        )

    ids = _strings(path, "id", arrays["id"])
    named = _strings(path, "split", arrays["split"])
    splits = [canonical_split(name) for name in named]
    blocks: dict[Modality, Block] = {}
    for m in MODALITIES:
        if m in arrays:
            blocks[m] = Block(f"{path}: {m}", arrays[m], vectors=True)

    # one row per sample in each
    raw = arrays[key]
    rows = len(ids)
    if raw.ndim != 2 or len(raw) != rows or len(splits) != rows:
        raise DataError(
            f"{path}: {rows} ids, {len(splits)} splits and {key} of shape {raw.shape}",
            expected="one row per sample in each, and labels of shape (N, L)",
        )

    notes: list[str] = []
    count = raw.shape[1]
    names = options.label_names
    if not names:
        names = _names(path, key, count, arrays.get("label_names"), notes)
    if len(names) != count:
        found = ", ".join(names)[:200]
        raise DataError(
            f"{path}: {len(names)} label names {found}",
            expected=f"one for each of the {count} columns of {key}",
        )
    labels = options.binarise(f"{path}: {key}", raw)  # (N, L)
    notes.append(options.rule)

    # padded together, whatever the split
    padded = Padded(path, {"all": blocks}, {"all": rows}, options.align)
    outside = splits.count(None)
    if outside:
        notes.append(f"{outside} samples are in no split and were dropped")

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, split in enumerate(splits):
            if split is None:
                continue

            sequences = padded.cut("all", i)
            yield split, Sample(ids[i], sequences, labels[i])

    return Reading(names, padded.dims, padded.aligned, samples(), [path], notes)


def _strings(path: Path, key: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(f"{path}: {key} is {array.dtype} {array.shape}", expected="strings (N,)")
    return [as_text(value, f"{path}: {key}") for value in array]


def _names(
    path: Path, key: str, count: int, stored: np.ndarray | None, notes: list[str]
) -> tuple[str, ...]:
    if stored is not None:
        names = _strings(path, "label_names", stored)
        return tuple(names)

    # the six emotions of the SDK's label file, without the sentiment before them
    emotions = SDK_LABELS[1:]
    if key == _INTENSITY and count == len(emotions):
        assumed = ", ".join(emotions)
        notes.append(f"{key} does not name its columns: assumed {assumed}")
        return emotions

    raise DataError(
        f"{path} does not name the {count} columns of {key}",
        expected="an array label_names",
        fix="pass --label-names with one name per column",
    )
