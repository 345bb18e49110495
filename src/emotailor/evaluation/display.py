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
from emotailor.fitted import FittedTable

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
    "calibration_error": "ECE",
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
        if metric not in self.values:
            return ""
        return number(self.values[metric])


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
        published: published numbers, shown in a column of their own.
    """
    heading = f"{title} ({metrics.samples:,} samples)"
    table = FittedTable(title=Text(heading), title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if intervals:
        first = next(iter(intervals.values()))  # all have the same level
        percent = 100 * first.level
        table.add_column(f"{percent:g} % interval", justify="right")
    if published:
        table.add_column(Text(published.title), justify="right")

    # the cells of a row, in the order of the columns
    for name, value in metrics.overall().items():
        row = [title_of(name), number(value)]
        if intervals:
            interval = intervals.get(name)
            row.append(_ends(interval))
        if published:
            row.append(published.cell(name))
        table.add_row(*map(Text, row))

    notes = _left_out(metrics)
    return _with_notes(table, notes, published)


def label_table(metrics: Metrics, *, title: str = "Per label") -> Table:
    """Return one row per label: threshold, support, predicted, P, R, F1, AP and AUC."""
    counts = ("threshold", "support", "predicted")
    quality = ("P", "R", "F1", "AP", "AUC")
    table = _table(title, "label", *counts, *quality)

    for name, label in metrics.labels.items():
        cells = _label_cells(label)
        table.add_row(Text(name), *cells)
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
    summaries = systems.values()
    extra = _extra_names(summary.overall for summary in summaries)
    columns = [*_SEED_COLUMNS, *extra]
    titles = [title_of(name) for name in columns]
    table = _table(title, "system", "runs", *titles)

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

    notes = ["± is the standard deviation over runs (n - 1)."]
    return _with_notes(table, notes, published)


def comparison_table(
    systems: Mapping[str, Metrics],
    differences: Mapping[str, Mapping[str, PairedDifference]] | None = None,
    *,
    title: str = "Comparison",
    metric: str = "micro_f1",
    published: Published | None = None,
    first: str = "system",
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
        first: what the rows are.
    """
    values = {system: metrics.overall() for system, metrics in systems.items()}
    extra = _extra_names(values.values())
    columns = [*_OVERALL_COLUMNS, *extra]
    titles = [title_of(name) for name in columns]

    # a single video leaves all differences empty
    tested = differences or {}
    has_test = any(tested.values())
    if has_test:
        titles += [f"difference in {title_of(metric)}", "p"]

    table = _table(title, first, *titles)
    best = _best(list(values.values()))
    for system, own in values.items():
        cells = [_marked(own.get(name), best.get(name)) for name in columns]
        if has_test:
            of_system = tested.get(system, {})
            cells += _difference(of_system.get(metric))
        table.add_row(Text(system), *cells)

    if published:
        numbers = [published.cell(name) for name in columns]
        table.add_section()
        table.add_row(Text(published.title), *numbers)

    notes = []
    if has_test:
        notes.append("difference: the reference system minus this one, with its interval.")
    return _with_notes(table, notes, published)


# ---------------------------------------------------------------------- parts


def _table(title: str, first: str, *columns: str) -> Table:
    table = FittedTable(title=Text(title), title_justify="left", padding=(0, 1, 0, 0))
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

    below = [Text(line, style="dim") for line in lines]
    return Group(table, *below)


def _left_out(metrics: Metrics) -> list[str]:
    """Say which labels are left out of the means."""
    reasons = (
        ("mAP", metrics.without_average_precision, "no positives"),
        ("mean AUC", metrics.without_roc_auc, "no positives or no negatives"),
    )
    notes = []
    for title, labels, reason in reasons:
        if labels:
            names = ", ".join(labels)
            notes.append(f"{title} leaves out {names}: {reason} among these samples.")
    return notes


def _extra_names(tables: Iterable[Mapping[str, object]]) -> list[str]:
    """The metrics of others in any of the tables, each once, in the order in which they come."""
    names: dict[str, None] = {}  # a set that keeps the order
    for table in tables:
        names |= dict.fromkeys(table)
    return [name for name in names if name not in OVERALL]


def _ends(found: Interval | None) -> str:
    if found is None:
        return ""
    low = number(found.low)
    high = number(found.high)
    return f"[{low}, {high}]"


def _label_cells(label: LabelMetrics) -> list[str]:
    return [
        number(label.threshold),
        f"{label.support:,}",
        f"{label.predicted:,}",
        number(label.precision),
        number(label.recall),
        number(label.f1),
        number(label.average_precision),
        number(label.roc_auc),
    ]


def _spread(found: Spread | None) -> str:
    if found is None:
        return number(None)

    mean = number(found.mean)
    if found.std is None:
        return mean
    return f"{mean}±{number(found.std)}"


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
    style = "bold" if is_best else ""
    return Text(number(value), style)


def _difference(found: PairedDifference | None) -> tuple[Text, Text]:
    """The cells of the test: difference with its interval, and p."""
    if found is None:
        return Text(), Text()
    interval = f"[{found.low:+.3f}, {found.high:+.3f}]"
    difference = f"{found.value:+.3f} {interval}"
    return Text(difference), Text(f"{found.p_value:.4f}")
