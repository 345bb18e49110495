"""A comparison of systems as tables: for the terminal, Markdown, CSV and LaTeX.

All show the same rows. A metric is given as in papers, ``.569 ± .003``: mean and sample standard
deviation over the runs of a system; CSV has the numbers themselves.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.evaluation.comparison import PairedDifference, Spread
from emotailor.evaluation.display import TITLES

COLUMNS = (
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_f1", "mean_average_precision",
)  # fmt: skip
"""The metrics shown."""

TESTED = "micro_f1"
"""The metric whose difference from the reference is shown."""


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        name: of the system.
        title: as papers write it.
        done: runs whose numbers are here.
        planned: runs there should be; 0 for a system that was skipped.
        spreads: metric -> mean and deviation over the runs.
        differences: metric -> system minus reference; empty for the reference itself.
        published: metric -> what its paper or another published.
        seconds: of training, mean over the runs.
        parameters: of one model.
        notes: why runs failed, or why it was skipped.
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

    @property
    def status(self) -> str:
        """``done``, ``incomplete``, ``failed`` or ``skipped``."""
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
        title: what was measured.
        reference: title of the system that the others are compared with; None without a test.
        notes: what a reader of the numbers must know.
        extra: names of the metrics of others, shown behind ours.
    """

    rows: Sequence[Row]
    title: str
    reference: str | None = None
    notes: Sequence[str] = ()
    extra: Sequence[str] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics shown."""
        return (*COLUMNS, *self.extra)

    @property
    def published(self) -> bool:
        """Whether any row has published numbers."""
        return any(row.published for row in self.rows)

    def all_notes(self) -> list[str]:
        """The notes of the rows, then those of the whole."""
        own = [f"{row.title}: {note}" for row in self.rows for note in row.notes]
        return [" ".join(note.split()) for note in [*own, *self.notes]]


def short(value: float) -> str:
    """Return a metric as papers print it: ``.569``."""
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text.replace("-0.", "-.")


def signed(value: float) -> str:
    """Return a difference with its sign: ``+.012`` or ``-.012``."""
    return ("-" if value < 0 else "+") + short(abs(value))


def spread(found: Spread | None, between: str = " ± ") -> str:
    """Return mean and deviation: ``.569 ± .003``."""
    if found is None:
        return "n/a"
    return short(found.mean) + ("" if found.std is None else between + short(found.std))


def duration(seconds: float) -> str:
    """Return ``1:02:03``, or with less than a minute ``4.2 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def title_of(metric: str) -> str:
    """Return a metric as tables call it; those of others have their names as titles."""
    return TITLES.get(metric, metric)


def _best(results: Results) -> dict[str, str]:
    """The highest mean of each metric as it is printed: what prints alike is equally good."""
    best = {}
    for metric in results.columns:
        means = [row.spreads[metric].mean for row in results.rows if metric in row.spreads]
        best[metric] = short(max(means)) if means else ""
    return best


def _tested(row: Row) -> tuple[str, str]:
    found = row.differences.get(TESTED)
    if found is None:
        return "", ""
    interval = f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"
    return interval, f"{found.p_value:.4f}"


def _grid(
    results: Results, bold: Callable[[str], str], *, costs: bool
) -> tuple[list[str], list[list[str]]]:
    """Header and cells as text; ``bold`` marks the best of each column."""
    header = ["system", "runs", *(title_of(metric) for metric in results.columns)]
    if results.reference:
        header += [f"{TITLES[TESTED]} - {results.reference}'s [95 %]", "p"]
    if costs:
        header += ["training", "parameters"]
    published = [
        metric for metric in results.columns if any(metric in r.published for r in results.rows)
    ]
    header += [f"{title_of(metric)}, paper" for metric in published]
    best, body = _best(results), []
    for row in results.rows:
        cells = [row.title, f"{row.done}/{row.planned}" if row.planned else ""]
        if row.done:
            for metric in results.columns:
                found = row.spreads.get(metric)
                text = spread(found)
                cells.append(bold(text) if found and short(found.mean) == best[metric] else text)
        else:
            cells += [row.status, *[""] * (len(results.columns) - 1)]
        if results.reference:
            cells += _tested(row)
        if costs:
            cells.append("" if row.seconds is None else duration(row.seconds))
            cells.append("" if row.parameters is None else f"{row.parameters:,}")
        cells += [short(row.published[m]) if m in row.published else "" for m in published]
        body.append(cells)
    return header, body


def to_markdown(results: Results) -> str:
    """Return a Markdown table with its notes below."""
    header, body = _grid(results, lambda text: f"**{text}**", costs=True)
    lines = [f"# {_one_line(results.title)}", ""]
    lines.append("| " + " | ".join(map(_markdown, header)) + " |")
    lines.append("|---|" + "---:|" * (len(header) - 1))
    lines += ["| " + " | ".join(map(_markdown, cells)) + " |" for cells in body]
    notes = results.all_notes()
    lines += ["", *(f"- {_markdown(note)}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    """Keep what is a table's or HTML's own from being taken for it."""
    escaped = _one_line(text).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("<", "&lt;").replace("`", "\\`")


def to_csv(results: Results) -> str:
    """Return CSV with a row per system and unrounded numbers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = ["system", "status", "runs", "planned"]
    for metric in results.columns:
        header += [f"{metric}_mean", f"{metric}_std"]
    header += [f"{TESTED}_difference", "low", "high", "p", "training_seconds", "parameters"]
    header += [f"{metric}_published" for metric in results.columns]
    writer.writerow([*header, "message"])
    for row in results.rows:
        cells: list[object] = [row.name, row.status, row.done, row.planned]
        for metric in results.columns:
            found = row.spreads.get(metric)
            cells += [found.mean, found.std] if found else [None, None]
        tested = row.differences.get(TESTED)
        cells += [tested.value, tested.low, tested.high, tested.p_value] if tested else [None] * 4
        cells += [row.seconds, row.parameters]
        cells += [row.published.get(metric) for metric in results.columns]
        writer.writerow([*cells, "; ".join(map(_one_line, row.notes))])
    return text.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "≥": r"$\geq$", "…": r"\dots{}",
}  # fmt: skip


def escape_latex(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it stands, on one line."""
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def to_latex(results: Results) -> str:
    """Return a booktabs table, without the costs, and its notes in small print below."""
    mark = "\x00"  # set in front of what becomes bold, after escaping
    header, body = _grid(results, lambda text: mark + text, costs=False)

    def cell(text: str) -> str:
        escaped = escape_latex(text.removeprefix(mark))
        if text[:1] in ("+", "-"):  # a difference: a sign, not a hyphen
            escaped = re.sub(r"[+-]", r"$\g<0>$", escaped)
        return rf"\textbf{{{escaped}}}" if text.startswith(mark) else escaped

    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(results.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        " & ".join(map(escape_latex, header)) + r" \\",
        r"\midrule",
        *(" & ".join(map(cell, cells)) + r" \\" for cells in body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if notes := results.all_notes():
        lines.append(r"\par\smallskip\footnotesize\raggedright")
        lines += [escape_latex(note) + r"\par" for note in notes]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def to_terminal(results: Results) -> RenderableType:
    """Return tables that fit 80 columns."""
    quality = _terminal_table("system", "runs", *(title_of(metric) for metric in results.columns))
    quality.title = Text(_one_line(results.title))
    best = _best(results)
    for row in results.rows:
        cells = [Text(row.status)] if not row.done else []
        for metric in results.columns if row.done else ():
            found = row.spreads.get(metric)
            bold = found is not None and short(found.mean) == best[metric]
            cells.append(Text(spread(found, "±"), "bold" if bold else ""))
        quality.add_row(Text(row.title), f"{row.done}/{row.planned}" if row.planned else "", *cells)
    parts: list[RenderableType] = [quality]
    if any(row.done for row in results.rows):
        columns = ["training", "parameters"]
        if results.reference:
            columns = [f"{TITLES[TESTED]} - {results.reference}'s [95 %]", "p", *columns]
        costs = _terminal_table("system", *columns)
        for row in results.rows:
            if row.done:
                cells = [Text(text) for text in _tested(row)] if results.reference else []
                cells.append(Text("" if row.seconds is None else duration(row.seconds)))
                cells.append(Text("" if row.parameters is None else f"{row.parameters:,}"))
                costs.add_row(Text(row.title), *cells)
        parts.append(costs)
    if results.published:
        metrics = [m for m in results.columns if any(m in row.published for row in results.rows)]
        paper = _terminal_table("as published", *(title_of(m) for m in metrics))
        for row in results.rows:
            if row.published:
                paper.add_row(Text(row.title), *(short(row.published[m]) for m in metrics))
        parts.append(paper)
    parts += [Text(f"note: {note}", style="dim") for note in results.all_notes()]
    return Group(*parts)


def _terminal_table(first: str, *columns: str) -> Table:
    table = Table(title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table
