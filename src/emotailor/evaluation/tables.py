"""A comparison of systems as tables: for the terminal, Markdown, CSV and LaTeX.

All show the same rows. A metric is given as in papers, ``.569 ± .003``: mean and sample standard
deviation over the runs of a system; CSV has the numbers themselves.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.evaluation.comparison import PairedDifference, Spread
from emotailor.evaluation.display import title_of
from emotailor.evaluation.metrics import OVERALL
from emotailor.evaluation.protocols import RULES
from emotailor.fitted import FittedTable
from emotailor.frames import data_frame
from emotailor.text import to_cell

COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1", "mean_average_precision",
)  # fmt: skip
"""Our metrics that are shown; those of others stand behind them."""

ONE_SIDED = ("micro_precision", "micro_recall")

SIGN = "†"
"""Marks a system that is below a baseline, and p values that compare with such a system."""

TESTED = "micro_f1"
"""The metric whose difference from the reference is shown."""

CALIBRATION = "calibration_error"
"""The expected calibration error among the metrics of a row; less is better."""

BY_RULE = "micro-F1, authors' rule"
"""Title of the column of what the authors of a system would have reported."""

OF_LABELS = {"average_precision": "Average precision", "roc_auc": "AUC"}
"""The metrics of single labels that have a table of their own, with their titles."""


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        name: name of the system.
        title: system as papers write it.
        done: number of runs whose numbers are here.
        planned: number of runs there should be; 0 for a system that was skipped.
        spreads: metric -> mean and deviation over the runs.
        differences: metric -> system minus reference; empty for the reference itself.
        published: metric -> what its paper or another published.
        seconds: time of training, mean over the runs.
        parameters: number of parameters of one model.
        notes: why runs failed, or why it was skipped; what is suspicious about the runs.
        below: the baselines that are better, and in what; empty where none is.
        is_baseline: whether it is a baseline, which is not trained in runs.
        labels: label -> metric -> mean and deviation over the runs.
        rule: letter of the rule of its authors, see ``protocols.py``.
        by_rule: micro-F1 that this rule would have reported; None where it is not known.
    """

    name: str
    title: str
    done: int
    planned: int
    spreads: Mapping[str, Spread] = field(default_factory=dict)
    differences: Mapping[str, PairedDifference] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    parameters: int | None = None
    notes: tuple[str, ...] = ()
    below: str = ""
    is_baseline: bool = False
    labels: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)
    rule: str = ""
    by_rule: Spread | None = None

    @property
    def shown(self) -> str:
        """The title; marked where a baseline is better."""
        return f"{self.title} {SIGN}" if self.below else self.title

    @property
    def status(self) -> str:
        """``done``, ``incomplete``, ``failed`` or ``skipped``; ``baseline`` of a baseline."""
        if self.is_baseline:
            return "baseline"
        if not self.planned:
            return "skipped"
        if not self.done:
            return "failed"
        return "done" if self.done == self.planned else "incomplete"


@dataclass(frozen=True)
class Results:
    """Everything that a table shows.

    Attributes:
        rows: the systems.
        baselines: what every system must beat, shown below them.
        title: what was measured.
        reference: title of the system that the others are compared with; None without a test.
        notes: what a reader of the numbers must know.
        weak_reference: the reference is below a baseline that knows nothing of the input: p values
            are marked, too.
    """

    rows: Sequence[Row]
    title: str
    reference: str | None = None
    notes: Sequence[str] = ()
    baselines: Sequence[Row] = ()
    weak_reference: bool = False

    @property
    def all_rows(self) -> list[Row]:
        """The systems, then the baselines."""
        return [*self.rows, *self.baselines]

    @property
    def published(self) -> bool:
        """Whether any row has published numbers."""
        return any(row.published for row in self.rows)

    @property
    def by_rule(self) -> bool:
        """Whether any row says what the rule of its authors would have reported."""
        return any(row.by_rule is not None for row in self.rows)

    @property
    def label_names(self) -> list[str]:
        """The labels, in the order of the columns; none where nothing was tested."""
        for row in self.all_rows:
            if row.labels:
                return list(row.labels)
        return []

    def all_notes(self) -> list[str]:
        """Why rows are marked, the notes of the rows, then those of the whole."""
        notes = [f"{SIGN} {row.title} is below {row.below}." for row in self.rows if row.below]
        if self.weak_reference:
            notes.append(
                f"p {SIGN}: {self.reference} does not beat a baseline that knows nothing of the "
                "input. A small p says that a system differs from it, not that either has learned "
                "anything."
            )
        notes += _of_rows([row for row in self.rows if row.planned])
        notes += _of_rows([row for row in self.rows if not row.planned])
        if any(CALIBRATION in row.spreads for row in self.rows):
            notes.append(
                "ECE: expected calibration error, how far probabilities are from the share that is "
                "true; less is better."
            )
        if self.by_rule:
            notes.append(
                f"{BY_RULE}: what the same trainings would have been reported with by the rule in "
                "brackets, which may choose epoch or threshold on the tested split. "
                + _rules_in_words(self.rows)
            )
        notes += self.notes
        return [_one_line(note) for note in notes]


def _of_rows(rows: Sequence[Row]) -> list[str]:
    """Return the notes of rows; rows of which the same is to be said share one."""
    titles: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            titles.setdefault(note, []).append(row.title)
    return [f"{', '.join(alike)}: {note}" for note, alike in titles.items()]


def _rules_in_words(rows: Sequence[Row]) -> str:
    """Say what the rules of some rows are."""
    used = {row.rule for row in rows if row.by_rule is not None}
    parts = [f"{letter}: {rule.title}" for letter, rule in RULES.items() if letter in used]
    return "; ".join(parts) + "."


def short(value: float) -> str:
    """Return a metric as papers print it: ``.569``."""
    text = f"{value:.3f}"
    if text.startswith("0."):
        return text.removeprefix("0")
    return text.replace("-0.", "-.")


def signed(value: float) -> str:
    """Return a difference with its sign: ``+.012`` or ``-.012``."""
    sign = "-" if value < 0 else "+"
    size = short(abs(value))
    return sign + size


def with_ends(found: PairedDifference) -> str:
    """Return a difference with its interval: ``+.012 [-.003, +.027]``."""
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def spread(found: Spread | None, between: str = " ± ") -> str:
    """Return mean and deviation: ``.569 ± .003``."""
    if found is None:
        return "n/a"

    mean = short(found.mean)
    if found.std is None:
        return mean
    return mean + between + short(found.std)


def duration(seconds: float) -> str:
    """Return ``1:02:03``, or with less than a minute ``4.2 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def rough_duration(seconds: float) -> str:
    """Return a time in its largest unit, with two digits at most: ``40 s``, ``2.5 h``, ``11 d``."""
    size = seconds
    unit = "s"
    for following, factor in (("min", 60), ("h", 60), ("d", 24)):
        if size < factor:
            break
        size /= factor
        unit = following

    digits = 0 if size >= 10 or unit == "s" else 1
    return f"{size:.{digits}f} {unit}"


def _columns(results: Results) -> list[str]:
    """The metrics shown: ours, and those of others that any row has."""
    names: dict[str, None] = {}  # a set that keeps the order
    for row in results.all_rows:
        names |= dict.fromkeys(row.spreads)

    others = [name for name in names if name not in OVERALL]
    return [*COLUMNS, *others]


def _published_columns(results: Results) -> list[str]:
    """The metrics for which any row has published numbers."""
    found: set[str] = set()
    for row in results.rows:
        found.update(row.published)
    return [metric for metric in COLUMNS if metric in found]


def _best(results: Results) -> dict[str, str]:
    """The highest mean of each metric as it is printed: what prints alike is equally good.

    Precision or recall alone is high in whoever predicts little or much: there only systems count.
    """
    best = {}
    for metric in COLUMNS:
        rows = results.rows if metric in ONE_SIDED else results.all_rows
        found = [row.spreads.get(metric) for row in rows]
        means = [one.mean for one in found if one is not None]
        if means:
            best[metric] = short(max(means))
    return best


def _is_best(found: Spread | None, best: str | None) -> bool:
    return found is not None and short(found.mean) == best


def _tested(row: Row, results: Results) -> tuple[str, str]:
    """The cells of the test: difference with its interval, and p."""
    found = row.differences.get(TESTED)
    if found is None:
        return "", ""
    mark = f" {SIGN}" if results.weak_reference else ""
    return with_ends(found), f"{found.p_value:.4f}{mark}"


def _tested_title(results: Results) -> str:
    return f"{title_of(TESTED)} - {results.reference}'s [95 %]"


def _costs(row: Row) -> tuple[str, str]:
    """The cells of the costs: time of training, and parameters."""
    seconds = "" if row.seconds is None else duration(row.seconds)
    parameters = "" if row.parameters is None else f"{row.parameters:,}"
    return seconds, parameters


def _runs(row: Row) -> str:
    if row.is_baseline:
        return ""
    return f"{row.done}/{row.planned}" if row.planned else ""


def rule_cell(rule: str, found: Spread | None, between: str = " ± ") -> str:
    """Return what a rule would have reported, with its letter: ``.587 ± .004 (d)``."""
    if found is None:
        return ""
    return f"{spread(found, between)} ({rule})"


def _published(row: Row, metric: str) -> str:
    return short(row.published[metric]) if metric in row.published else ""


@dataclass(frozen=True)
class _Grid:
    """Header and cells of a table as text; the first ``systems`` rows are no baselines."""

    header: list[str]
    body: list[list[str]]
    systems: int


def _grid(results: Results, bold: Callable[[str], str], *, costs: bool) -> _Grid:
    """Return the table as text.

    Args:
        results: what to show.
        bold: marks the best of each column.
        costs: show time and parameters too.
    """
    columns = _columns(results)
    published = _published_columns(results)
    header = ["system", "runs", *map(title_of, columns)]
    if results.reference:
        header += [_tested_title(results), "p"]
    if costs:
        header += ["training", "parameters"]
    if results.by_rule:
        header.append(BY_RULE)
    header += [f"{title_of(metric)}, paper" for metric in published]

    # the cells of a row, in the order of the header
    best = _best(results)
    body = []
    for row in results.all_rows:
        cells = [row.shown, _runs(row)]
        cells += _quality(row, columns, best, bold)
        if results.reference:
            cells += _tested(row, results)
        if costs:
            cells += _costs(row)
        if results.by_rule:
            cells.append(rule_cell(row.rule, row.by_rule))
        cells += [_published(row, metric) for metric in published]
        body.append(cells)

    return _Grid(header, body, len(results.rows))


def _quality(
    row: Row, columns: Sequence[str], best: Mapping[str, str], bold: Callable[[str], str]
) -> list[str]:
    """The cells of the metrics; without a run, what became of the system."""
    if not row.done:
        blank = [""] * (len(columns) - 1)
        return [row.status, *blank]

    cells = []
    for metric in columns:
        found = row.spreads.get(metric)
        text = spread(found)
        if _is_best(found, best.get(metric)):
            text = bold(text)
        cells.append(text)
    return cells


# ---------------------------------------------------------------------- Markdown


def to_markdown(results: Results) -> str:
    """Return a Markdown table with its notes below."""
    grid = _grid(results, lambda text: f"**{text}**", costs=True)
    title = _one_line(results.title)

    # the first column to the left, the numbers to the right
    numbers = len(grid.header) - 1
    rule = "|---|" + "---:|" * numbers
    lines = [f"# {title}", "", _markdown_row(grid.header), rule]
    lines += [_markdown_row(cells) for cells in grid.body]
    for metric, title in OF_LABELS.items():
        lines += _markdown_of_labels(results, metric, title)

    notes = results.all_notes()
    if notes:
        lines.append("")
        lines += [f"- {_markdown(note)}" for note in notes]
    return "\n".join(lines) + "\n"


def _markdown_of_labels(results: Results, metric: str, title: str) -> list[str]:
    """Return a table of one metric of every label; nothing where nothing was tested."""
    names = results.label_names
    if not names:
        return []

    lines = ["", f"## {title} of each label", "", _markdown_row(["system", *names])]
    lines.append("|---|" + "---:|" * len(names))
    lines += [_markdown_row(cells) for cells in label_cells(results, metric)]
    return lines


def label_cells(results: Results, metric: str, between: str = " ± ") -> list[list[str]]:
    """Return a row of cells for every tested system and baseline: its title, then each label.

    Args:
        results: what to show.
        metric: one of :data:`OF_LABELS`.
        between: stands between mean and deviation.
    """
    rows = []
    for row in results.all_rows:
        if not row.labels:
            continue
        found = [row.labels[name].get(metric) for name in results.label_names]
        cells = [spread(one, between) for one in found]
        rows.append([row.shown, *cells])
    return rows


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = [_markdown(cell) for cell in cells]
    return "| " + " | ".join(escaped) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """Keep what is a table's or HTML's own from being taken for it."""
    escaped = _one_line(text).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("<", "&lt;").replace("`", "\\`")


# ---------------------------------------------------------------------- CSV


def to_csv(results: Results) -> str:
    """Return CSV with a row per system and unrounded numbers."""
    columns = _columns(results)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = results.label_names
    writer.writerow(_csv_header(columns, names))
    for row in results.all_rows:
        cells = _csv_cells(row, columns, names)
        writer.writerow(cells)
    return text.getvalue()


def to_dataframe(results: Results) -> Any:
    """Return a ``pandas.DataFrame``: a row per system, with the columns of the CSV.

    Raises:
        ConfigError: pandas is not installed.
    """
    columns = _columns(results)
    names = results.label_names
    header = _csv_header(columns, names)
    rows = []
    for row in results.all_rows:
        cells = _csv_cells(row, columns, names)
        rows.append(dict(zip(header, cells, strict=True)))
    return data_frame(rows, index="system")


def _csv_header(columns: Sequence[str], labels: Sequence[str]) -> list[str]:
    header = ["system", "status", "runs", "planned"]
    for metric in columns:
        header += [f"{metric}_mean", f"{metric}_std"]
    header += [f"{TESTED}_difference", "low", "high", "p"]
    header += ["training_seconds", "parameters"]
    header += [f"{metric}_published" for metric in COLUMNS]
    header += ["rule", f"{TESTED}_by_rule_mean", f"{TESTED}_by_rule_std"]
    for metric in OF_LABELS:
        header += [f"{metric}: {to_cell(name)}" for name in labels]
    header += ["below", "message"]
    return header


def _csv_cells(row: Row, columns: Sequence[str], labels: Sequence[str]) -> list[object]:
    """The cells of a row, in the order of the header; None makes an empty cell."""
    cells: list[object] = [to_cell(row.name), row.status, row.done, row.planned]
    for metric in columns:
        found = row.spreads.get(metric)
        if found is None:
            cells += [None, None]
        else:
            cells += [found.mean, found.std]

    tested = row.differences.get(TESTED)
    if tested is None:
        cells += [None, None, None, None]
    else:
        cells += [tested.value, tested.low, tested.high, tested.p_value]

    cells += [row.seconds, row.parameters]
    cells += [row.published.get(metric) for metric in COLUMNS]

    if row.by_rule is None:
        cells += [None, None, None]
    else:
        cells += [row.rule, row.by_rule.mean, row.by_rule.std]
    for metric in OF_LABELS:
        found_of = [row.labels.get(name, {}).get(metric) for name in labels]
        cells += [None if one is None else one.mean for one in found_of]

    notes = [_one_line(note) for note in row.notes]
    cells.append(to_cell(row.below))
    cells.append(to_cell("; ".join(notes)))
    return cells


# ---------------------------------------------------------------------- LaTeX

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "†": r"$^{\dagger}$", "≥": r"$\geq$", "…": r"\dots{}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it stands, on one line."""
    line = _one_line(text)
    escaped = [_LATEX.get(character, character) for character in line]
    return "".join(escaped)


_MARK = "\x00"  # set in front of what becomes bold, after escaping


def to_latex(results: Results) -> str:
    """Return a booktabs table, without the costs, and its notes in small print below."""
    grid = _grid(results, lambda text: _MARK + text, costs=False)
    numbers = "r" * (len(grid.header) - 1)
    header = [escape_latex(title) for title in grid.header]
    body = []
    for row in grid.body:
        cells = [_latex_cell(cell) for cell in row]
        body.append(_latex_row(cells))
    if len(body) > grid.systems:
        body.insert(grid.systems, r"\midrule")

    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(results.title)}}}",
        rf"\begin{{tabular}}{{l{numbers}}}",
        r"\toprule",
        _latex_row(header),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]

    notes = results.all_notes()
    if notes:
        lines.append(r"\par\smallskip\footnotesize\raggedright")
        lines += [escape_latex(note) + r"\par" for note in notes]

    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(text: str) -> str:
    escaped = escape_latex(text.removeprefix(_MARK))
    if text.startswith(_MARK):
        return rf"\textbf{{{escaped}}}"

    # a difference begins with a sign, which is no hyphen
    if text.startswith(("+", "-")):
        return re.sub(r"[+-]", r"$\g<0>$", escaped)
    return escaped


# ---------------------------------------------------------------------- terminal


def to_terminal(results: Results) -> RenderableType:
    """Return tables that fit 80 columns."""
    parts: list[RenderableType] = [_quality_table(results)]
    any_done = any(row.done for row in results.rows)
    if any_done:
        parts.append(_cost_table(results))
    if results.label_names:
        parts += [_labels_table(results, metric, title) for metric, title in OF_LABELS.items()]
    if results.published or results.by_rule:
        parts.append(_published_table(results))

    for note in results.all_notes():
        line = Text(f"note: {note}", style="dim")
        parts.append(line)
    return Group(*parts)


def _quality_table(results: Results) -> Table:
    columns = _columns(results)
    titles = [title_of(metric) for metric in columns]
    table = terminal_table("system", "runs", *titles)
    table.title = Text(_one_line(results.title))

    best = _best(results)
    for number, row in enumerate(results.all_rows):
        if number == len(results.rows):
            table.add_section()
        cells = _quality_cells(row, columns, best)
        table.add_row(Text(row.shown), _runs(row), *cells)
    return table


def _quality_cells(row: Row, columns: Sequence[str], best: Mapping[str, str]) -> list[Text]:
    if not row.done:
        return [Text(row.status)]

    cells = []
    for metric in columns:
        found = row.spreads.get(metric)
        text = spread(found, "±")
        style = "bold" if _is_best(found, best.get(metric)) else ""
        cells.append(Text(text, style))
    return cells


def _cost_table(results: Results) -> Table:
    titles = ["training", "parameters"]
    if results.reference:
        titles = [_tested_title(results), "p", *titles]
    table = terminal_table("system", *titles)

    shown = results.all_rows if results.reference else results.rows
    for number, row in enumerate(shown):
        if number == len(results.rows):
            table.add_section()
        if not row.done:
            continue
        cells = [row.shown]
        if results.reference:
            cells += _tested(row, results)
        cells += _costs(row)
        table.add_row(*map(Text, cells))
    return table


def _labels_table(results: Results, metric: str, title: str) -> Table:
    table = terminal_table(title, *results.label_names)
    for cells in label_cells(results, metric, "±"):
        table.add_row(*map(Text, cells))
    return table


def _published_table(results: Results) -> Table:
    columns = _published_columns(results)
    titles = [title_of(metric) for metric in columns]
    if results.by_rule:
        titles.append("here " + BY_RULE)
    table = terminal_table("as published", *titles)

    for row in results.rows:
        if not row.published and row.by_rule is None:
            continue
        cells = [_published(row, metric) for metric in columns]
        if results.by_rule:
            cells.append(rule_cell(row.rule, row.by_rule, "±"))
        table.add_row(Text(row.title), *cells)
    return table


def terminal_table(first: str, *columns: str) -> Table:
    """Return an empty table that takes little room: names to the left, numbers to the right."""
    table = FittedTable(title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", overflow="fold")
    return table
