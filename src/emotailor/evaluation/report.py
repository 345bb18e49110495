"""Metrics as tables for the terminal, at most 100 columns wide.

Each function returns a rich renderable; printing it is the caller's part.
"""

from collections.abc import Mapping
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.evaluation.comparison import Interval, PairedDifference, SeedSummary
from emotailor.evaluation.metrics import Metrics

TITLES = {
    "accuracy": "Acc",
    "micro_precision": "P",
    "micro_recall": "R",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "mean_average_precision": "mAP",
    "mean_roc_auc": "mean AUC",
    "hamming_loss": "Hamming loss",
    "subset_accuracy": "subset Acc",
    "label_ranking_average_precision": "LRAP",
}
"""Short titles of the overall metrics."""

Setting = Literal["aligned", "unaligned"]

PAPER_TAILOR: dict[Setting, dict[str, float]] = {
    "aligned": {
        "accuracy": 0.488,
        "micro_precision": 0.641,
        "micro_recall": 0.512,
        "micro_f1": 0.569,
    },
    "unaligned": {
        "accuracy": 0.460,
        "micro_precision": 0.639,
        "micro_recall": 0.452,
        "micro_f1": 0.529,
    },
}
"""Table 2 of the paper, row TAILOR, as published (CMU-MOSEI, 4,659 test segments)."""

PAPER_NOTE = (
    "Paper: Table 2 of TAILOR (AAAI 2022) on CMU-MOSEI, as published. Its P and R may be "
    "exchanged: the authors' program swaps the two. Acc and F1 are not affected."
)
_OVERALL_COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "mean_average_precision",
    "mean_roc_auc",
)  # fmt: skip
_SEED_COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "mean_average_precision",
)  # fmt: skip


def number(value: float | None) -> str:
    """Return a metric with three decimals, as the paper prints them; "n/a" where undefined."""
    return "n/a" if value is None else f"{value:.3f}"


def _with_notes(table: Table, notes: list[str]) -> RenderableType:
    return Group(table, *(Text(note, style="dim") for note in notes)) if notes else table


def metrics_table(
    metrics: Metrics,
    intervals: Mapping[str, Interval] | None = None,
    *,
    title: str = "Metrics",
    paper: Setting | None = None,
) -> RenderableType:
    """Return the overall metrics of one system, one per row.

    Args:
        metrics: of the system.
        intervals: of ``bootstrap``, shown beside the metrics they are given for.
        title: of the table.
        paper: the setting whose published numbers to show; None for none.
    """
    table = Table(title=Text(f"{title} ({metrics.samples:,} samples)"), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if intervals:
        level = next(iter(intervals.values())).level
        table.add_column(f"{100 * level:g} % interval", justify="right")
    if paper:
        table.add_column(f"paper, {paper}", justify="right")
    for name, value in metrics.overall().items():
        row = [TITLES[name], number(value)]
        if intervals:
            found = intervals.get(name)
            row.append(f"{number(found.low)} to {number(found.high)}" if found else "")
        if paper:
            published = PAPER_TAILOR[paper].get(name)
            row.append("" if published is None else number(published))
        table.add_row(*row)
    notes = [
        f"{TITLES[name]} leaves out {', '.join(labels)}: no {needed} among these samples."
        for name, labels, needed in (
            ("mean_average_precision", metrics.without_average_precision, "positives"),
            ("mean_roc_auc", metrics.without_roc_auc, "positives or no negatives"),
        )
        if labels
    ]
    return _with_notes(table, notes + ([PAPER_NOTE] if paper else []))


def label_table(metrics: Metrics, *, title: str = "Per label") -> Table:
    """Return one row per label: threshold, support, predicted, P, R, F1, AP and AUC."""
    table = Table(title=Text(title), title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("label", overflow="fold")
    for column in ("threshold", "support", "predicted", "P", "R", "F1", "AP", "AUC"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, label in metrics.labels.items():
        values = (
            label.precision, label.recall, label.f1, label.average_precision, label.roc_auc,
        )  # fmt: skip
        table.add_row(
            Text(name),
            number(label.threshold),
            f"{label.support:,}",
            f"{label.predicted:,}",
            *map(number, values),
        )
    return table


def seeds_table(
    systems: Mapping[str, SeedSummary],
    *,
    title: str = "Over seeds",
    paper: Setting | None = None,
) -> RenderableType:
    """Return one row per system: mean and standard deviation over its runs.

    Args:
        systems: name -> summary of its runs.
        title: of the table.
        paper: the setting whose published numbers to add as a row; None for none.
    """
    table = Table(title=Text(title), title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("system", overflow="fold")
    table.add_column("runs", justify="right")
    for name in _SEED_COLUMNS:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    for system, summary in systems.items():
        cells = []
        for name in _SEED_COLUMNS:
            spread = summary.overall.get(name)
            std = f"±{number(spread.std)}" if spread and spread.std is not None else ""
            cells.append(number(spread.mean if spread else None) + std)
        table.add_row(Text(system), str(summary.runs), *cells)
    if paper:
        published = [PAPER_TAILOR[paper].get(name) for name in _SEED_COLUMNS]
        table.add_section()
        table.add_row("paper", "", *("" if v is None else number(v) for v in published))
    notes = ["± is the standard deviation over runs (n - 1)."]
    return _with_notes(table, notes + ([PAPER_NOTE] if paper else []))


def comparison_table(
    systems: Mapping[str, Metrics],
    differences: Mapping[str, Mapping[str, PairedDifference]] | None = None,
    *,
    title: str = "Comparison",
    metric: str = "micro_f1",
    paper: Setting | None = None,
) -> RenderableType:
    """Return one row per system; the best value of each column is bold.

    Args:
        systems: name -> metrics, all on the same samples.
        differences: name -> ``paired_bootstrap`` of a reference system against this one; systems
            without one (the reference itself) have blank cells. Where all are empty, as with a
            single video, the columns are left out.
        title: of the table.
        metric: which difference to show.
        paper: the setting whose published numbers to add as a row; None for none.
    """
    differences = {name: found for name, found in (differences or {}).items() if found}
    table = Table(title=Text(title), title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("system", overflow="fold")
    for name in _OVERALL_COLUMNS:
        table.add_column(TITLES[name], justify="right", no_wrap=True)
    if differences:
        table.add_column(f"difference in {TITLES[metric]}", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
    best = {}
    for name in _OVERALL_COLUMNS:
        defined = [v for m in systems.values() if (v := m.overall()[name]) is not None]
        best[name] = max(defined, default=None)
    for system, metrics in systems.items():
        values = metrics.overall()
        cells = [
            Text(
                number(values[n]), "bold" if values[n] is not None and values[n] == best[n] else ""
            )
            for n in _OVERALL_COLUMNS
        ]
        if differences:
            found = differences.get(system, {}).get(metric)
            shown = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" if found else ""
            cells += [Text(shown), Text(f"{found.p_value:.4f}" if found else "")]
        table.add_row(Text(system), *cells)
    if paper:
        published = [PAPER_TAILOR[paper].get(name) for name in _OVERALL_COLUMNS]
        table.add_section()
        table.add_row("TAILOR, paper", *("" if v is None else number(v) for v in published))
    notes = []
    if differences:
        notes.append("difference: the reference system minus this one, with its interval.")
    return _with_notes(table, notes + ([PAPER_NOTE] if paper else []))
