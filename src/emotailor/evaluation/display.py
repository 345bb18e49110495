"""Metrics as tables for the terminal, at most 100 columns wide.

Each function returns a rich renderable; the caller prints it. Metrics of others (``Metrics.extra``)
stand behind ours, under their own names.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.evaluation.comparison import Interval, PairedDifference, SeedSummary, Spread
from emotailor.evaluation.metrics import OVERALL, LabelMetrics, Metrics
from emotailor.evaluation.notebook import format_number

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

number = format_number
"""Metrics are printed as everywhere: three decimals, or "n/a"."""

_OVERALL_COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "mean_average_precision",
    "mean_roc_auc",
)  # fmt: skip
_SEED_COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "mean_average_precision",
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """Numbers from elsewhere that are shown beside ours.

    Attributes:
        title: title of their column or row, such as ``paper, aligned``.
        values: metric -> value; metrics that were not published are absent.
        note: what a reader of the numbers should know.
    """

    title: str
    values: Mapping[str, float]
    note: str = ""

    def cell(self, metric: str) -> str:
        """Return the text for a metric, empty where it was not published."""
        return number(self.values[metric]) if metric in self.values else ""


def title_of(metric: str) -> str:
    """Return the short title of a metric; a metric of others is called by its own name."""
    return TITLES.get(metric, metric)


def metrics_table(
    metrics: Metrics,
    intervals: Mapping[str, Interval] | None = None,
    *,
    title: str = "Metrics",
    published: Published | None = None,
) -> RenderableType:
    """Return the overall metrics of one system, one per row.

    Args:
        metrics: metrics of the system.
        intervals: results of ``bootstrap``, shown beside the metrics they are given for.
        title: title of the table.
        published: numbers to show beside.
    """
    table = Table(title=Text(f"{title} ({metrics.samples:,} samples)"), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if intervals:
        level = next(iter(intervals.values())).level
        table.add_column(f"{100 * level:g} % interval", justify="right")
    if published:
        table.add_column(Text(published.title), justify="right")

    for name, value in metrics.overall().items():
        row = [title_of(name), number(value)]
        if intervals:
            row.append(_ends(intervals.get(name)))
        if published:
            row.append(published.cell(name))
        table.add_row(*map(Text, row))
    return _with_notes(table, _left_out(metrics), published)


def label_table(metrics: Metrics, *, title: str = "Per label") -> Table:
    """Return one row per label: threshold, support, predicted, P, R, F1, AP and AUC."""
    table = _table(title, "label", "threshold", "support", "predicted", "P", "R", "F1", "AP", "AUC")
    for name, label in metrics.labels.items():
        table.add_row(Text(name), *_label_cells(label))
    return table


def seeds_table(
    systems: Mapping[str, SeedSummary],
    *,
    title: str = "Over seeds",
    published: Published | None = None,
) -> RenderableType:
    """Return one row per system: mean and standard deviation over its runs.

    Args:
        systems: name -> summary of the runs of the system.
        title: title of the table.
        published: numbers to add as a row.
    """
    extra = _extra_names(summary.overall for summary in systems.values())
    columns = [*_SEED_COLUMNS, *extra]
    table = _table(title, "system", "runs", *map(title_of, columns))
    for system, summary in systems.items():
        cells = []
        for name in columns:
            found = summary.overall.get(name)
            cells.append(_spread(found))
        table.add_row(Text(system), str(summary.runs), *cells)

    if published:
        cells = [published.cell(name) for name in columns]
        table.add_section()
        table.add_row(Text(published.title), "", *cells)
    return _with_notes(table, ["± is the standard deviation over runs (n - 1)."], published)


def comparison_table(
    systems: Mapping[str, Metrics],
    differences: Mapping[str, Mapping[str, PairedDifference]] | None = None,
    *,
    title: str = "Comparison",
    metric: str = "micro_f1",
    published: Published | None = None,
) -> RenderableType:
    """Return one row per system; the best value of each column is bold.

    Of metrics of others nobody knows whether more is better: none of their values is bold.

    Args:
        systems: name -> metrics, all on the same samples.
        differences: name -> ``paired_bootstrap`` of a reference system against this one; systems
            without one (the reference itself) have blank cells. Where all are empty, as with a
            single video, the columns are left out.
        title: title of the table.
        metric: the metric whose difference is shown.
        published: numbers to add as a row.
    """
    differences = {name: found for name, found in (differences or {}).items() if found}
    values = {system: metrics.overall() for system, metrics in systems.items()}
    columns = [*_OVERALL_COLUMNS, *_extra_names(values.values())]
    titles = [title_of(name) for name in columns]
    if differences:
        titles += [f"difference in {title_of(metric)}", "p"]

    table = _table(title, "system", *titles)
    best = _best(list(values.values()))
    for system, own in values.items():
        cells = [_marked(own.get(name), best.get(name)) for name in columns]
        if differences:
            found = differences.get(system, {}).get(metric)
            cells += map(Text, _difference(found))
        table.add_row(Text(system), *cells)

    if published:
        table.add_section()
        table.add_row(Text(published.title), *map(published.cell, columns))
    notes = []
    if differences:
        notes.append("difference: the reference system minus this one, with its interval.")
    return _with_notes(table, notes, published)


# ---------------------------------------------------------------------- parts


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", no_wrap=True)
    return table


def _with_notes(table: Table, notes: Sequence[str], published: Published | None) -> RenderableType:
    lines = list(notes)
    if published and published.note:
        lines.append(published.note)
    if not lines:
        return table
    return Group(table, *(Text(line, style="dim") for line in lines))


def _left_out(metrics: Metrics) -> list[str]:
    """Say which labels are left out of the means."""
    reasons = (
        ("mean_average_precision", metrics.without_average_precision, "positives"),
        ("mean_roc_auc", metrics.without_roc_auc, "positives or no negatives"),
    )
    return [
        f"{TITLES[name]} leaves out {', '.join(labels)}: no {needed} among these samples."
        for name, labels, needed in reasons
        if labels
    ]


def _extra_names(tables: Iterable[Mapping[str, object]]) -> list[str]:
    """The metrics of others in any of the tables, each once, in the order in which they come."""
    names = {name: None for table in tables for name in table}
    return [name for name in names if name not in OVERALL]


def _ends(found: Interval | None) -> str:
    return "" if found is None else f"{number(found.low)} to {number(found.high)}"


def _label_cells(label: LabelMetrics) -> list[str]:
    counts = [f"{label.support:,}", f"{label.predicted:,}"]
    quality = (label.precision, label.recall, label.f1, label.average_precision, label.roc_auc)
    return [number(label.threshold), *counts, *map(number, quality)]


def _spread(found: Spread | None) -> str:
    if found is None:
        return number(None)
    deviation = "" if found.std is None else f"±{number(found.std)}"
    return number(found.mean) + deviation


def _best(tables: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """The highest value of each of our metrics."""
    best = {}
    for name in _OVERALL_COLUMNS:
        defined = [table[name] for table in tables]
        known = [value for value in defined if value is not None]
        if known:
            best[name] = max(known)
    return best


def _marked(value: float | None, best: float | None) -> Text:
    is_best = value is not None and value == best
    return Text(number(value), style="bold" if is_best else "")


def _difference(found: PairedDifference | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    shown = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return shown, f"{found.p_value:.4f}"
