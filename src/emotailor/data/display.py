"""How a data set and its parts show themselves: a line in a terminal, a table in a notebook."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

MOST = 8
"""How many names are shown before the rest is only counted."""

LONGEST = 40
"""How many characters of one name are shown."""


class SplitCounts(NamedTuple):
    """Number of samples of a split, and in how many of them each label holds."""

    samples: int
    labels: Sequence[int]


class Outline(NamedTuple):
    """What is shown of a data set."""

    name: str
    label_names: Sequence[str]
    dims: Mapping[str, int]
    aligned: bool

    @property
    def widths(self) -> str:
        """Modalities with their widths."""
        return ", ".join(f"{m} {dim}" for m, dim in self.dims.items())

    @property
    def kind(self) -> str:
        """Whether step i is the same moment in all modalities, in a word."""
        return "aligned" if self.aligned else "unaligned"


def short(name: str) -> str:
    """Return a name that is not too long for a line."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def listed(parts: Sequence[str]) -> str:
    """Join the first parts with commas, and count the others."""
    shown = ", ".join(short(part) for part in parts[:MOST])
    rest = len(parts) - MOST
    return f"{shown} and {rest} more" if rest > 0 else shown


def dataset_line(outline: Outline, sizes: Mapping[str, int]) -> str:
    """Describe a data set: name, samples per split, widths, alignment and labels."""
    splits = [f"{short(name)} {size:,}" for name, size in sizes.items()]
    return (
        f"EmotionDataset {short(outline.name)!r}: samples {listed(splits) or 'none'}; "
        f"{outline.widths}; {outline.kind}; labels {listed(outline.label_names)}"
    )


def split_line(name: str, samples: int, labels: int, modalities: Sequence[str]) -> str:
    """Describe a split: name, numbers of samples and labels, modalities."""
    return (
        f"Split {short(name)!r}: {samples:,} samples, {labels} labels, "
        f"{', '.join(modalities) or 'no modality'}"
    )


def sample_line(
    name: str, shapes: Mapping[str, tuple[int, ...] | None], labels: Sequence[int] | None
) -> str:
    """Describe a sample: id, the shape of each sequence, the labels that hold.

    Args:
        name: id of the sample.
        shapes: per modality the shape of the sequence; None where it is missing.
        labels: 0 or 1 for each label; None where they are unknown.
    """
    shown = []
    for m, shape in shapes.items():
        if shape is None:
            shown.append(f"{m} missing")
        else:
            shown.append(f"{m} {shape}")
    sequences = ", ".join(shown)

    # beside hundreds of zeros the ones would not be seen
    if labels is None:
        known = "labels unknown"
    elif len(labels) <= MOST:
        known = f"labels {list(labels)}"
    else:
        known = f"{sum(labels)} of {len(labels)} labels hold"

    return f"Sample {short(name)!r}: {sequences}; {known}"


def dataset_table(outline: Outline, splits: Mapping[str, SplitCounts]) -> str:
    """Return an HTML table: a row per split, with its samples and how often each label holds."""
    names = [short(name) for name in outline.label_names]
    rest = len(names) - MOST

    # one column for all labels beyond the first
    heads = ["split", "samples", *names[:MOST]]
    if rest > 0:
        heads.append(f"{rest} more")

    rows = []
    for name, counts in splits.items():
        shown = [counts.samples, *counts.labels[:MOST]]
        if rest > 0:
            others = counts.labels[MOST:]
            shown.append(sum(others))

        numbers = [f"{count:,}" for count in shown]
        cells = [short(name), *numbers]
        rows.append(_row("td", cells))

    caption = (
        f"{short(outline.name)}: {outline.widths}; {outline.kind}; "
        "samples in which each label holds"
    )
    caption = escape(caption)
    head = _row("th", heads)
    body = "".join(rows)
    return f"<table><caption>{caption}</caption><thead>{head}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    # names come from files of anybody, and are text, never markup
    marked = [f"<{tag}>{escape(cell)}</{tag}>" for cell in cells]
    return f"<tr>{''.join(marked)}</tr>"
