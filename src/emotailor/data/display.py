"""How a data set and its parts show themselves: a line in a terminal, a table in a notebook."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from emotailor.data.sample import MODALITIES, Sample

if TYPE_CHECKING:
    from emotailor.data.dataset import EmotionDataset, Split

MOST = 8
"""How many names are shown before the rest is only counted."""

LONGEST = 40
"""How many characters of one name are shown."""


def short(name: str) -> str:
    """Return a name that is not too long for a line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def listed(parts: Sequence[str]) -> str:
    """Join the first parts with commas, and count the others."""
    shown = ", ".join(short(part) for part in parts[:MOST])
    rest = len(parts) - MOST
    return f"{shown} and {rest} more" if rest > 0 else shown


def dataset_line(dataset: "EmotionDataset") -> str:
    """Describe a data set: name, splits, widths, alignment and labels."""
    splits = [f"{short(name)} {len(split):,}" for name, split in dataset.splits.items()]
    return (
        f"EmotionDataset {short(dataset.card.name)!r}: samples {listed(splits) or 'none'}; "
        f"{_widths(dataset)}; {_kind(dataset)}; labels {listed(dataset.label_names)}"
    )


def split_line(split: "Split") -> str:
    """Describe a split: name, numbers of samples and labels, modalities."""
    labels = split.labels.shape[1]
    return (
        f"Split {short(split.name)!r}: {len(split):,} samples, {labels} labels, "
        f"{', '.join(split.modalities) or 'no modality'}"
    )


def sample_line(sample: Sample) -> str:
    """Describe a sample: id, the shape of each sequence, the labels that hold."""
    shapes = []
    for m in MODALITIES:
        sequence = sample.sequences.get(m)
        if sequence is not None and len(sequence):
            shapes.append(f"{m} {sequence.shape}")
        else:
            shapes.append(f"{m} missing")

    if sample.labels is None:
        labels = "labels unknown"
    elif len(sample.labels) <= MOST:
        labels = f"labels {np.asarray(sample.labels).tolist()}"
    else:
        labels = f"{int(np.sum(sample.labels))} of {len(sample.labels)} labels hold"
    return f"Sample {short(sample.id)!r}: {', '.join(shapes)}; {labels}"


def dataset_table(dataset: "EmotionDataset") -> str:
    """Return an HTML table: a row per split, with its samples and how often each label holds."""
    names = [short(name) for name in dataset.label_names]
    rest = len(names) - MOST
    heads = ["split", "samples", *names[:MOST]]
    if rest > 0:
        heads.append(f"{rest} more")

    rows = []
    for name, split in dataset.splits.items():
        counts = split.labels.sum(axis=0, dtype=np.int64).tolist()  # (labels,)
        shown = [len(split), *counts[:MOST]]
        if rest > 0:
            shown.append(sum(counts[MOST:]))
        numbers = [f"{count:,}" for count in shown]
        rows.append(_row("td", [short(name), *numbers]))

    caption = (
        f"{short(dataset.card.name)}: {_widths(dataset)}; {_kind(dataset)}; "
        "samples in which each label holds"
    )
    head = _row("th", heads)
    body = "".join(rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead>{head}</thead><tbody>{body}</tbody></table>"
    )


def _widths(dataset: "EmotionDataset") -> str:
    return ", ".join(f"{m} {dim}" for m, dim in dataset.dims.items())


def _kind(dataset: "EmotionDataset") -> str:
    return "aligned" if dataset.aligned else "unaligned"


def _row(tag: str, cells: Sequence[str]) -> str:
    marked = [f"<{tag}>{escape(cell)}</{tag}>" for cell in cells]
    return f"<tr>{''.join(marked)}</tr>"
