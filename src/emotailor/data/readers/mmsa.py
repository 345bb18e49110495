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
    has_text = all("text" in content for content in splits.values())
    if not has_text:
        notes.append("no text modality: the source has token ids (text_bert) at most, no features")
        del keys["text"]

    # per split, one entry per sample
    ids = {}
    found = {}
    counts = {}
    for split, content in splits.items():
        where = f"{path}: split {split!r}: id"
        names = _ids(where, content["id"])
        ids[split] = names
        found[split] = [table.find(name) for name in names]
        counts[split] = len(names)

    blocks = read_blocks(path, splits, keys)
    padded = Padded(path, blocks, counts, options.align)
    lengths = _all_lengths(path, splits, keys, blocks)
    notes += unmatched(path, table, found, ids)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, segments in found.items():
            for i, segment in enumerate(segments):
                if segment is None:
                    continue

                # as the file says them, where it does
                known = {}
                for m, steps in lengths[split].items():
                    known[m] = int(steps[i])

                name = ids[split][i]
                sequences = padded.cut(split, i, known)
                yield split, Sample(name, sequences, segment.labels)

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
    lengths = {}
    for split, content in splits.items():
        of_split = {}
        for m, key in keys.items():
            name = f"{key}_lengths"
            if name not in content:
                continue

            # they cannot be more than there are
            where = f"{path}: split {split!r}: {name}"
            block = blocks[split][m]
            of_split[m] = _lengths(where, content[name], block)
        lengths[split] = of_split
    return lengths


def _lengths(where: str, value: Any, block: Block) -> Int64[np.ndarray, "n"]:
    count = len(block)
    expected = f"{count} whole numbers, none beyond the steps there are"
    array = as_array(value, where, expected)
    lengths = array.ravel()

    found = f"{len(lengths)} values of {lengths.dtype}"
    wrong = DataError(f"{where}: {found}", expected=expected)
    if lengths.dtype.kind not in "iu" or len(lengths) != count:
        raise wrong

    # none beyond the padded sequence
    possible = (lengths >= 0) & (lengths <= block.lengths)
    if not possible.all():
        raise wrong
    return lengths.astype(np.int64)
