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
    unreadable,
)
from emotailor.data.readers._labels import SDK_LABELS
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
    arrays, present = _load(path)
    key = "labels" if "labels" in arrays else _INTENSITY
    if not {key, "id", "split"} <= set(arrays):
        raise DataError(
            f"{path} holds {', '.join(present)[:200]}",
            expected=f"id, split, labels or {_INTENSITY}, and visual, audio or text",
        )

    # one row per sample in each
    ids = _strings(path, "id", arrays["id"])
    splits = [canonical_split(name) for name in _strings(path, "split", arrays["split"])]
    raw = arrays[key]
    blocks: dict[Modality, Block] = {
        m: Block(f"{path}: {m}", arrays[m], vectors=True) for m in MODALITIES if m in arrays
    }
    if raw.ndim != 2 or len(raw) != len(ids) or len(splits) != len(ids):
        raise DataError(
            f"{path}: {len(ids)} ids, {len(splits)} splits and {key} of shape {raw.shape}",
            expected="one row per sample in each, and labels of shape (N, L)",
        )

    notes: list[str] = []
    count = raw.shape[1]
    names = options.label_names or _names(path, key, count, arrays.get("label_names"), notes)
    if len(names) != count:
        raise DataError(
            f"{path}: {len(names)} label names {', '.join(names)[:200]}",
            expected=f"one for each of the {count} columns of {key}",
        )
    labels = options.binarise(f"{path}: {key}", raw)
    notes.append(options.rule)

    padded = Padded(path, {"all": blocks}, {"all": len(ids)}, options.align)

    outside = sum(split is None for split in splits)
    if outside:
        notes.append(f"{outside} samples are in no split and were dropped")

    def samples() -> Iterator[tuple[str, Sample]]:
        for i, split in enumerate(splits):
            if split is None:
                continue
            yield split, Sample(ids[i], padded.cut("all", i), labels[i])

    return Reading(names, padded.dims, padded.aligned, samples(), [path], notes)


def _load(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays that have a use here, and the names of all; others may be unreadable."""
    require_file(path, _EXPECTED)
    with (
        unreadable(path, _EXPECTED),
        path.open("rb") as stream,  # which np.load would leave open on a damaged file
        np.load(stream, allow_pickle=False) as file,
    ):
        return {name: file[name] for name in file.files if name in _USED}, list(file.files)


def _strings(path: Path, key: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(f"{path}: {key} is {array.dtype} {array.shape}", expected="strings (N,)")
    return [as_text(value, f"{path}: {key}") for value in array]


def _names(
    path: Path, key: str, count: int, stored: np.ndarray | None, notes: list[str]
) -> tuple[str, ...]:
    if stored is not None:
        return tuple(_strings(path, "label_names", stored))
    if key == _INTENSITY and count == len(SDK_LABELS) - 1:
        notes.append(f"{key} does not name its columns: assumed {', '.join(SDK_LABELS[1:])}")
        return SDK_LABELS[1:]
    raise DataError(
        f"{path} does not name the {count} columns of {key}",
        expected="an array label_names",
        fix="pass --label-names with one name per column",
    )
