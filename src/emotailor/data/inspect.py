"""What is in a data set, in numbers: the paper's Table 1, labels, co-occurrence, what is missing.

Reads offsets and labels alone, so it takes no time whatever the size of the features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64
from pydantic import BaseModel, ConfigDict

from emotailor.data.card import DatasetCard, FloatType
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import HOW_TO_DIVIDE, UNSPLIT, Modality, Sample
from emotailor.errors import DataError
from emotailor.text import indented

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

MATRIX_LABELS = 8  # a wider co-occurrence matrix does not fit the page; its top pairs are shown
TOP_PAIRS = 12


class ModalityReport(BaseModel):
    """Width and lengths of one modality over the whole data set (the paper's Table 1).

    Lengths are in steps, over the samples that have the modality; all 0 where none has.
    ``missing_steps`` is the share of these steps that the modality lacks, ``extraction`` how its
    features were extracted, None where nobody said so.
    """

    model_config = ConfigDict(frozen=True)

    dim: int
    dtype: FloatType = "float32"
    present: int
    missing: float
    missing_steps: float = 0.0
    max_length: int
    mean_length: float
    median_length: float
    extraction: str | None = None


class SplitReport(BaseModel):
    """Counts of one split; shares are of its samples (0 in an empty split).

    What is said of labels is of the samples whose labels are known; those of ``unknown`` are not.
    """

    model_config = ConfigDict(frozen=True)

    samples: int
    unknown: int
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
    labels; ``unlabelled`` counts the samples with none, ``unknown`` those whose labels nobody
    knows; ``missing`` is the share of samples without the modality.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    schema_version: int
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
    labels = {}
    lengths = {}
    for name, split in dataset.splits.items():
        # as int64, so that counts do not overflow
        known = split.labels[split.labelled]
        labels[name] = known.astype(np.int64)
        lengths[name] = {m: split.lengths(m) for m in dataset.modalities}

    modalities = {}
    for m in dataset.modalities:
        per_split = [lengths[name][m] for name in dataset.splits]
        missing = [split.missing_steps(m).sum() for split in dataset.splits.values()]
        modalities[m] = _modality(dataset.card, m, per_split, int(sum(missing)))

    splits = {}
    for name in dataset.splits:
        splits[name] = _split(names, labels[name], lengths[name])

    # all splits together, also where there is none
    empty = np.zeros((0, len(names)), np.int64)
    every = np.concatenate([empty, *labels.values()])  # (samples, labels)
    together = every.T @ every  # (labels, labels)

    return DatasetReport(
        name=dataset.card.name,
        schema_version=dataset.card.schema_version,
        aligned=dataset.aligned,
        label_names=names,
        modalities=modalities,
        splits=splits,
        samples=sum(len(split) for split in dataset.splits.values()),
        cooccurrence=together.tolist(),
        labels_per_sample=_labels_per_sample(every),
        notes=list(dataset.card.repairs),
    )


def render_sample(dataset: EmotionDataset, sample_id: str) -> str:
    """Return everything that is known of a sample, a line each, and a line for each step.

    Raises:
        DataError: no sample has this id.
    """
    holding = [split for split in dataset.splits.values() if sample_id in split.ids]
    if not holding:
        raise DataError(
            f"no sample {sample_id!r} in the data set {dataset.card.name!r}",
            expected="one of its ids, as `emotailor predict` lists them",
        )

    split = holding[0]
    sample = split.sample(split.index_of(sample_id))
    lines = [f"sample: {sample.id}", f"split: {split.name}"]
    lines.append(f"labels: {_held(sample, dataset.label_names)}")
    for name, text in sample.about.items():
        lines.append(f"{name}: {indented(text)}")

    for m in dataset.modalities:
        sequence = sample.sequences.get(m)
        if sequence is None:
            lines.append(f"{m}: missing")
            continue
        steps, dim = sequence.shape
        lines.append(f"{m}: {steps} steps of {dim} features, {sequence.dtype}")
        lines += _steps(sample, m, worded=dataset.aligned or m == "text")
    return "\n".join(lines)


def _held(sample: Sample, names: Sequence[str]) -> str:
    """Return the labels that hold."""
    if sample.labels is None:
        return "unknown"
    held = [name for name, yes in zip(names, sample.labels.tolist(), strict=True) if yes]
    return ", ".join(held) or "none"


def _steps(sample: Sample, modality: Modality, *, worded: bool) -> list[str]:
    """Return a line for each step of which more is known than its features."""
    missing = sample.missing.get(modality)
    times = sample.times.get(modality)
    words = sample.words if worded else None
    if missing is None and times is None and words is None:
        return []

    lines = []
    for step in range(len(sample.sequences[modality])):
        parts = [f"  {step + 1}"]
        if times is not None:
            start, end = times[step].tolist()
            parts.append(f"{start:.2f}-{end:.2f} s")
        if words is not None:
            parts.append(indented(words[step]))
        if missing is not None and missing[step]:
            parts.append("(missing)")
        lines.append("  ".join(parts))
    return lines


def _modality(
    card: DatasetCard,
    modality: Modality,
    per_split: Sequence[Int64[np.ndarray, "_"]],
    missing_steps: int,
) -> ModalityReport:
    empty = np.zeros(0, np.int64)
    lengths = np.concatenate([empty, *per_split])
    # the paper's lengths are of those that have the modality
    present = lengths[lengths > 0]
    absent = len(lengths) - len(present)

    longest = 0
    mean = 0.0
    median = 0.0
    if len(present):
        longest = int(present.max())
        mean = float(present.mean())
        median = float(np.median(present))

    extraction = card.extraction.get(modality)
    return ModalityReport(
        dim=card.dims[modality],
        dtype=card.dtype_of(modality),
        present=len(present),
        missing=_share(absent, len(lengths)),
        missing_steps=_share(missing_steps, int(lengths.sum())),
        max_length=longest,
        mean_length=mean,
        median_length=median,
        extraction=None if extraction is None else extraction.describe(),
    )


def _split(
    names: Sequence[str],
    labels: Int64[np.ndarray, "labelled labels"],
    lengths: dict[Modality, Int64[np.ndarray, "n"]],
) -> SplitReport:
    # labels (labelled, labels), lengths (n,) per modality
    labelled = len(labels)
    samples = max((len(steps) for steps in lengths.values()), default=labelled)
    held = labels.sum(0).tolist()
    counts = dict(zip(names, held, strict=True))
    nothing = labels.sum(1) == 0  # (n,)

    frequencies = {}
    for name, count in counts.items():
        frequencies[name] = _share(count, labelled)

    missing = {}
    for m, steps in lengths.items():
        absent = steps == 0  # (n,)
        missing[m] = _share(int(absent.sum()), samples)

    return SplitReport(
        samples=samples,
        unknown=samples - labelled,
        label_counts=counts,
        label_frequencies=frequencies,
        labels_per_sample=_labels_per_sample(labels),
        unlabelled=int(nothing.sum()),
        cardinality=_share(sum(held), labelled),
        missing=missing,
    )


def _labels_per_sample(labels: Int64[np.ndarray, "n labels"]) -> list[int]:
    """Return how many samples have exactly 0, 1, ... labels."""
    per_sample = labels.sum(1)  # (n,)
    counts = np.bincount(per_sample, minlength=labels.shape[1] + 1)
    return counts.tolist()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def render(report: DatasetReport) -> "Group":
    """Return the report as tables for a terminal of 100 columns."""
    from rich.console import Group
    from rich.markup import escape

    parts = [
        _lengths_table(report),
        _splits_table(report),
        _labels_table(report),
        _per_sample_table(report),
        _cooccurrence(report),
    ]
    notes = [escape(f"note: {indented(line)}") for line in notes_of(report)]
    return Group(*parts, *notes)


def notes_of(report: DatasetReport) -> list[str]:
    """Return what the tables do not say, a line each."""
    lines = []
    for m, found in report.modalities.items():
        if found.dtype != "float32":
            lines.append(f"{m} is stored as {found.dtype}")
        if found.missing_steps:
            lines.append(f"{m} lacks {found.missing_steps:.1%} of the steps of its samples")
        if found.extraction is not None:
            lines.append(f"{m} was extracted with {found.extraction}")

    unsaid = [m for m, found in report.modalities.items() if found.extraction is None]
    if len(unsaid) < len(report.modalities):
        lines += [f"how {m} was extracted is not known" for m in unsaid]
    for name, split in report.splits.items():
        if split.unknown:
            count = f"{split.unknown} of {split.samples} samples"
            lines.append(f"the labels of {count} of split {name} are unknown")
    if list(report.splits) == [UNSPLIT]:
        lines.append(f"without splits: all samples are in {UNSPLIT!r}; {HOW_TO_DIVIDE}")
    if report.schema_version == 1:
        lines.append("stored in version 1 of the format; converted again it opens faster")
    return [*lines, *report.notes]


def _table(title: str, first: str, *columns: str) -> "Table":
    """Return an empty table; the first column has names in it, the others numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape

    from emotailor.fitted import FittedTable

    made = FittedTable(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    made.add_column(first, overflow="ellipsis", no_wrap=True, max_width=24)
    for column in columns:
        made.add_column(escape(column), justify="right", overflow="fold")
    return made


def _lengths_table(report: DatasetReport) -> "Table":
    from rich.markup import escape

    name = escape(report.name)
    kind = "aligned" if report.aligned else "unaligned"
    title = f"{name}: {report.samples:,} samples, {kind}"
    columns = ("modality", "dim", "max length", "mean", "median", "missing")

    made = _table(title, *columns)
    for m, found in report.modalities.items():
        cells = [
            m,
            str(found.dim),
            str(found.max_length),
            f"{found.mean_length:.1f}",
            f"{found.median_length:g}",
            f"{found.missing:.1%}",
        ]
        made.add_row(*cells)
    return made


def _splits_table(report: DatasetReport) -> "Table":
    from rich.markup import escape

    columns = ["split", "samples", "labels a sample", "without label"]
    columns += [f"no {m}" for m in report.modalities]

    made = _table("splits", *columns)
    for name, split in report.splits.items():
        cells = [
            escape(name),
            f"{split.samples:,}",
            f"{split.cardinality:.3f}",
            f"{split.unlabelled:,}",
        ]
        missing = [f"{split.missing[m]:.1%}" for m in report.modalities]
        made.add_row(*cells, *missing)
    return made


def _labels_table(report: DatasetReport) -> "Table":
    from rich.markup import escape

    splits = report.splits.values()
    made = _table("labels: samples where it holds", "label", *report.splits)
    for label in report.label_names:
        cells = [escape(label)]
        for split in splits:
            count = split.label_counts[label]
            share = split.label_frequencies[label]
            cells.append(f"{count:,} ({share:.1%})")
        made.add_row(*cells)
    return made


def _per_sample_table(report: DatasetReport) -> "Table":
    # no row for numbers of labels that no sample reaches
    most = 0
    for number, samples in enumerate(report.labels_per_sample):
        if samples:
            most = number

    made = _table("number of labels of a sample", "labels", *report.splits)
    for number in range(most + 1):
        cells = [str(number)]
        for split in report.splits.values():
            count = split.labels_per_sample[number]
            cells.append(f"{count:,}")
        made.add_row(*cells)
    return made


def _cooccurrence(report: DatasetReport) -> "Table":
    from rich.markup import escape

    names = [escape(name) for name in report.label_names]
    counts = report.cooccurrence
    if len(names) <= MATRIX_LABELS:
        made = _table("samples where both labels hold", "label", *report.label_names)
        for name, row in zip(names, counts, strict=True):
            cells = [f"{count:,}" for count in row]
            made.add_row(name, *cells)
        return made

    # each pair once, without the diagonal
    pairs = []
    for i, row in enumerate(counts):
        pairs += [(count, i, j) for j, count in enumerate(row[:i])]

    # the most frequent first
    pairs.sort(reverse=True)
    title = f"the {TOP_PAIRS} pairs of labels seen most"
    made = _table(title, "label", "with", "samples")
    for count, i, j in pairs[:TOP_PAIRS]:
        made.add_row(names[j], names[i], f"{count:,}")
    return made
