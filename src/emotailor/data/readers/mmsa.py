"""The pickles of MMSA: ``aligned_50.pkl`` and ``unaligned_50.pkl``.

    {"train" | "valid" | "test":
        {"text": (N, 50, 768), "audio": (N, T, 74), "vision": (N, T, 35), "id": N video$_$clip,
         "audio_lengths", "vision_lengths", "text_lengths": N real lengths, optional,
         "raw_text", "regression_labels", ...: not used}}

Emotions come from a label file, joined by id.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Padded,
    Reading,
    as_array,
    as_text,
    read_blocks,
    splits_of,
)
from emotailor.data.readers._labels import need_label_file
from emotailor.data.readers._pickle import load_pickle
from emotailor.data.readers.mult import KEYS, unmatched
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError


def read_mmsa(path: Path, options: ConvertOptions) -> Reading:
    """Open an MMSA pickle and join emotion labels.

    Raises:
        DataError: the file is missing, damaged or not laid out like this; no label file was given,
            or it fits no sample.
    """
    splits = splits_of(load_pickle(path), path, ("audio", "vision", "id"))
    table = need_label_file(path, options)
    notes = [*table.notes, options.rule]

    keys = dict(KEYS)
    if not all("text" in content for content in splits.values()):
        notes.append("no text modality: the source has token ids (text_bert) at most, no features")
        del keys["text"]

    ids = {}
    found = {}
    for split, content in splits.items():
        ids[split] = _ids(f"{path}: split {split!r}: id", content["id"])
        found[split] = [table.find(name) for name in ids[split]]

    counts = {split: len(names) for split, names in ids.items()}
    blocks = read_blocks(path, splits, keys)
    padded = Padded(path, blocks, counts, options.align)
    lengths = _all_lengths(path, splits, keys, blocks)
    notes += unmatched(path, table, found, ids)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, segments in found.items():
            for i, segment in enumerate(segments):
                if segment is None:
                    continue
                known = {m: int(steps[i]) for m, steps in lengths[split].items()}
                sequences = padded.cut(split, i, known)
                yield split, Sample(ids[split][i], sequences, segment.labels)

    files = [path, table.path]
    return Reading(table.names, padded.dims, padded.aligned, samples(), files, notes)


def _ids(where: str, value: Any) -> list[str]:
    names = as_array(value, where, "N strings video$_$clip")
    return [as_text(name, where) for name in names.ravel()]


def _all_lengths(
    path: Path,
    splits: Mapping[str, Mapping[str, Any]],
    keys: Mapping[Modality, str],
    blocks: Mapping[str, Mapping[Modality, Block]],
) -> dict[str, dict[Modality, Int64[np.ndarray, "n"]]]:
    """Return per split the number of real steps, for the modalities of which the file says it."""
    lengths: dict[str, dict[Modality, Int64[np.ndarray, "n"]]] = {}
    for split, content in splits.items():
        lengths[split] = {}
        for m, key in keys.items():
            name = f"{key}_lengths"
            if name in content:
                where = f"{path}: split {split!r}: {name}"
                lengths[split][m] = _lengths(where, content[name], blocks[split][m])
    return lengths


def _lengths(where: str, value: Any, block: Block) -> Int64[np.ndarray, "n"]:
    expected = f"{len(block)} whole numbers, none beyond the steps there are"
    lengths = as_array(value, where, expected).ravel()
    fits = lengths.dtype.kind in "iu" and len(lengths) == len(block)
    if not fits or not ((lengths >= 0) & (lengths <= block.lengths)).all():
        raise DataError(f"{where}: {len(lengths)} values of {lengths.dtype}", expected=expected)
    return lengths.astype(np.int64)
