"""The pickles of MMSA: ``aligned_50.pkl`` and ``unaligned_50.pkl``.

    {"train" | "valid" | "test":
        {"text": (N, 50, 768), "audio": (N, T, 74), "vision": (N, T, 35), "id": N video$_$clip,
         "audio_lengths", "vision_lengths", "text_lengths": N real lengths, optional,
         "raw_text", "regression_labels", ...: not used}}

Emotions come from a label file, joined by id.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from emotailor.data.padding import strip_padding
from emotailor.data.readers._common import (
    Block,
    ConvertOptions,
    Reading,
    as_text,
    check_blocks,
    decide_aligned,
    splits_of,
)
from emotailor.data.readers._labels import need_label_file
from emotailor.data.readers._pickle import load_pickle
from emotailor.data.readers.mult import KEYS, unmatched
from emotailor.data.sample import Sample
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
    if not all("text" in d for d in splits.values()):
        notes.append("no text modality: the source has token ids (text_bert) at most, no features")
    keys = {m: k for m, k in KEYS.items() if all(k in d for d in splits.values())}
    ids = {s: [as_text(i) for i in np.asarray(d["id"]).ravel()] for s, d in splits.items()}
    blocks = {
        s: {m: Block(f"{path}: split {s!r}: {key}", d[key]) for m, key in keys.items()}
        for s, d in splits.items()
    }
    dims = check_blocks(blocks, {s: len(v) for s, v in ids.items()}, path)
    aligned = decide_aligned(blocks, options.align, path)
    lengths = {
        s: {
            m: _lengths(f"{path}: split {s!r}: {key}_lengths", d[f"{key}_lengths"], blocks[s][m])
            for m, key in keys.items()
            if f"{key}_lengths" in d
        }
        for s, d in splits.items()
    }
    found = {s: [table.find(id_) for id_ in v] for s, v in ids.items()}
    notes += unmatched(path, table, found, ids)

    def samples() -> Iterator[tuple[str, Sample]]:
        for split, segments in found.items():
            for i, segment in enumerate(segments):
                if segment is None:
                    continue
                known = {m: int(values[i]) for m, values in lengths[split].items()}
                raw = {m: b[i] for m, b in blocks[split].items()}
                sequences = strip_padding(raw, aligned=aligned, lengths=known)
                yield split, Sample(ids[split][i], sequences, segment.labels)

    return Reading(table.names, dims, aligned, samples(), [path, table.path], notes)


def _lengths(where: str, value: Any, block: Block) -> Int64[np.ndarray, "n"]:
    lengths = np.asarray(value).ravel()
    if (
        lengths.dtype.kind not in "iu"
        or len(lengths) != len(block)
        or not ((lengths >= 0) & (lengths <= block.lengths)).all()
    ):
        raise DataError(
            f"{where}: {len(lengths)} values of {lengths.dtype}",
            expected=f"{len(block)} whole numbers, none beyond the steps there are",
        )
    return lengths.astype(np.int64)
