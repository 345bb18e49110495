"""What is in a data set, in numbers: the paper's Table 1, labels, co-occurrence, what is missing.

Reads offsets and labels alone, so it takes no time whatever the size of the features.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import Modality

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MATRIX_LABELS = 8  # a wider co-occurrence matrix does not fit the page; its top pairs are shown
TOP_PAIRS = 12


class ModalityReport(BaseModel):
    """Width and lengths of one modality over the whole data set (the paper's Table 1).

    Lengths are in steps, over the samples that have the modality; all 0 where none has.
    """

    model_config = ConfigDict(frozen=True)

    dim: int
    present: int
    missing: float
    max_length: int
    mean_length: float
    median_length: float


class SplitReport(BaseModel):
    """Counts of one split; shares are of its samples (0 in an empty split)."""

    model_config = ConfigDict(frozen=True)

    samples: int
    label_counts: dict[str, int]
    label_frequencies: dict[str, float]
    labels_per_sample: list[int]
    unlabelled: int
    cardinality: float
    missing: dict[Modality, float]


class DatasetReport(BaseModel):
    """Everything :func:`inspect_dataset` finds.

    ``cooccurrence[i][j]`` counts the samples, over all splits, where labels i and j both hold;
    ``labels_per_sample[k]`` those with exactly k labels; ``cardinality`` is the mean number of
    labels; ``unlabelled`` counts the samples with none; ``missing`` is the share of samples
    without the modality.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    aligned: bool
    label_names: list[str]
    modalities: dict[Modality, ModalityReport]
    splits: dict[str, SplitReport]
    samples: int
    cooccurrence: list[list[int]]
    labels_per_sample: list[int]
    notes: list[str]


def inspect_dataset(dataset: EmotionDataset) -> DatasetReport:
    """Count what a data set holds, stored or in memory."""
    names = list(dataset.label_names)
    labels: dict[str, Int64[np.ndarray, "n labels"]] = {}
    lengths: dict[str, dict[Modality, Int64[np.ndarray, "n"]]] = {}
    for name, split in dataset.splits.items():
        labels[name] = split.labels.astype(np.int64)
        lengths[name] = {m: split.lengths(m) for m in dataset.modalities}

    modalities = {}
    for m in dataset.modalities:
        per_split = [lengths[name][m] for name in dataset.splits]
        modalities[m] = _modality(dataset.dims[m], per_split)

    empty = np.zeros((0, len(names)), np.int64)
    every = np.concatenate([empty, *labels.values()])  # (samples, labels)
    return DatasetReport(
        name=dataset.card.name,
        aligned=dataset.aligned,
        label_names=names,
        modalities=modalities,
        splits={name: _split(names, labels[name], lengths[name]) for name in dataset.splits},
        samples=len(every),
        cooccurrence=(every.T @ every).tolist(),
        labels_per_sample=_labels_per_sample(every),
        notes=list(dataset.card.repairs),
    )


def _modality(dim: int, per_split: Sequence[Int64[np.ndarray, "_"]]) -> ModalityReport:
    empty = np.zeros(0, np.int64)
    lengths = np.concatenate([empty, *per_split])

    # the paper's lengths are of those that have the modality
    present = lengths[lengths > 0]
    absent = len(lengths) - len(present)
    return ModalityReport(
        dim=dim,
        present=len(present),
        missing=_share(absent, len(lengths)),
        max_length=int(present.max(initial=0)),
        mean_length=float(present.mean()) if len(present) else 0.0,
        median_length=float(np.median(present)) if len(present) else 0.0,
    )


def _split(
    names: Sequence[str],
    labels: Int64[np.ndarray, "n labels"],
    lengths: dict[Modality, Int64[np.ndarray, "n"]],
) -> SplitReport:
    # labels (n, labels), lengths (n,) per modality
    counts = dict(zip(names, labels.sum(0).tolist(), strict=True))
    nothing = labels.sum(1) == 0

    missing = {}
    for m, steps in lengths.items():
        absent = int((steps == 0).sum())
        missing[m] = _share(absent, len(steps))
    return SplitReport(
        samples=len(labels),
        label_counts=counts,
        label_frequencies={name: _share(n, len(labels)) for name, n in counts.items()},
        labels_per_sample=_labels_per_sample(labels),
        unlabelled=int(nothing.sum()),
        cardinality=_share(sum(counts.values()), len(labels)),
        missing=missing,
    )


def _labels_per_sample(labels: Int64[np.ndarray, "n labels"]) -> list[int]:
    return np.bincount(labels.sum(1), minlength=labels.shape[1] + 1).tolist()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def render(report: DatasetReport) -> "Group":
    """Return the report as tables for a terminal of 100 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    def table(title: str, first: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
        made.add_column(first, overflow="ellipsis", no_wrap=True, max_width=24)
        for column in columns:
            made.add_column(escape(column), justify="right", overflow="fold")
        return made

    kind = "aligned" if report.aligned else "unaligned"
    lengths = table(
        f"{escape(report.name)}: {report.samples:,} samples, {kind}",
        *("modality", "dim", "max length", "mean", "median", "missing"),
    )
    for m, r in report.modalities.items():
        lengths.add_row(
            m, str(r.dim), str(r.max_length), f"{r.mean_length:.1f}", f"{r.median_length:g}",
            f"{r.missing:.1%}",
        )  # fmt: skip

    splits = table(
        "splits", "split", "samples", "labels a sample", "without label",
        *(f"no {m}" for m in report.modalities),
    )  # fmt: skip
    for name, s in report.splits.items():
        splits.add_row(
            escape(name), f"{s.samples:,}", f"{s.cardinality:.3f}", f"{s.unlabelled:,}",
            *(f"{s.missing[m]:.1%}" for m in report.modalities),
        )  # fmt: skip

    labels = table("labels: samples where it holds", "label", *report.splits)
    for label in report.label_names:
        labels.add_row(
            escape(label),
            *(
                f"{s.label_counts[label]:,} ({s.label_frequencies[label]:.1%})"
                for s in report.splits.values()
            ),
        )

    largest = max([k for k, n in enumerate(report.labels_per_sample) if n], default=0)
    per_sample = table("number of labels of a sample", "labels", *report.splits)
    for k in range(largest + 1):
        per_sample.add_row(str(k), *(f"{s.labels_per_sample[k]:,}" for s in report.splits.values()))

    parts = [lengths, splits, labels, per_sample, _cooccurrence(report, table)]
    return Group(*parts, *(escape(f"note: {line}") for line in report.notes))


def _cooccurrence(report: DatasetReport, table: Callable[..., "Table"]) -> "Table":
    from rich.markup import escape

    names = report.label_names
    counts = report.cooccurrence
    if len(names) <= MATRIX_LABELS:
        made = table("samples where both labels hold", "label", *names)
        for name, row in zip(names, counts, strict=True):
            made.add_row(escape(name), *(f"{n:,}" for n in row))
        return made

    pairs = [(counts[i][j], i, j) for i in range(len(names)) for j in range(i)]
    pairs.sort(reverse=True)
    made = table(f"the {TOP_PAIRS} pairs of labels seen most", "label", "with", "samples")
    for count, i, j in pairs[:TOP_PAIRS]:
        made.add_row(escape(names[j]), escape(names[i]), f"{count:,}")
    return made
