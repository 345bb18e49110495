"""One ``.npz`` with a row per sample: ``id``, ``split``, features and labels.

    id (N,), split (N,)                  strings
    visual, audio, text                  (N, dim), one vector each; or (N, steps, dim)
    labels or emotion_intensity (N, L)   numbers; label_names (L,) strings, optional

Without names, six columns called ``emotion_intensity`` are in the SDK's order.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotailor.data.padding import strip_padding
from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Reading,
    as_text,
    canonical_split,
    check_blocks,
    decide_aligned,
    require_file,
    unreadable,
)
from emotailor.data.readers._labels import SDK_LABELS
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

_EXPECTED = "a complete .npz file of plain arrays, without pickled objects"
_INTENSITY = "emotion_intensity"


def read_npz(path: Path, options: ConvertOptions) -> Reading:
    """Open a ``.npz`` file.

    Raises:
        DataError: the file is missing, damaged, holds pickled objects, or lacks an array.
    """
    require_file(path, _EXPECTED)
    notes: list[str] = []
    with (
        unreadable(path, _EXPECTED),
        path.open("rb") as stream,  # which np.load would leave open on a damaged file
        np.load(stream, allow_pickle=False) as file,
    ):
        key = next((k for k in ("labels", _INTENSITY) if k in file.files), None)
        if key is None or not {"id", "split"} <= set(file.files):
            raise DataError(
                f"{path} holds {', '.join(file.files)[:200]}",
                expected=f"id, split, labels or {_INTENSITY}, and visual, audio or text",
            )
        ids = [as_text(x) for x in _strings(path, "id", file["id"])]
        splits = [canonical_split(as_text(x)) for x in _strings(path, "split", file["split"])]
        raw = file[key]
        stored = file["label_names"] if "label_names" in file.files else None
        blocks: dict[Modality, Block] = {
            m: Block(f"{path}: {m}", file[m], vectors=True) for m in MODALITIES if m in file.files
        }
    if raw.ndim != 2 or len(raw) != len(ids) or len(splits) != len(ids):
        raise DataError(
            f"{path}: {len(ids)} ids, {len(splits)} splits and {key} of shape {raw.shape}",
            expected="one row per sample in each, and labels of shape (N, L)",
        )
    names = options.label_names or _names(path, key, raw.shape[1], stored, notes)
    if len(names) != raw.shape[1]:
        raise DataError(
            f"{path}: {len(names)} label names {', '.join(names)[:200]}",
            expected=f"one for each of the {raw.shape[1]} columns of {key}",
        )
    labels = options.binarise(f"{path}: {key}", raw)
    notes.append(options.rule)
    dims = check_blocks({"all": blocks}, {"all": len(ids)}, path)
    aligned = decide_aligned({"all": blocks}, options.align, path)
    if outside := sum(split is None for split in splits):
        notes.append(f"{outside} samples are in no split and were dropped")

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, split in enumerate(splits):
            if split is not None:
                sequences = strip_padding({m: b[i] for m, b in blocks.items()}, aligned=aligned)
                yield split, Sample(ids[i], sequences, labels[i])

    return Reading(names, dims, aligned, samples(), [path], notes)


def _strings(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(f"{path}: {key} is {array.dtype} {array.shape}", expected="strings (N,)")
    return array


def _names(
    path: Path, key: str, count: int, stored: np.ndarray | None, notes: list[str]
) -> tuple[str, ...]:
    if stored is not None:
        return tuple(as_text(x) for x in _strings(path, "label_names", stored))
    if key == _INTENSITY and count == len(SDK_LABELS) - 1:
        notes.append(f"{key} does not name its columns: assumed {', '.join(SDK_LABELS[1:])}")
        return SDK_LABELS[1:]
    raise DataError(
        f"{path} does not name the {count} columns of {key}",
        expected="an array label_names",
        fix="pass --label-names with one name per column",
    )
