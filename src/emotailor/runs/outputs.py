"""How predictions are shown and written: tables, lines, JSON lines and CSV.

Each form takes one outcome after the other, so that nothing is kept of a hundred thousand. Whatever
cannot be predicted keeps its place: JSON and CSV have its reason there.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.sample import Modality
from emotailor.errors import ConfigError
from emotailor.files import replacing_file
from emotailor.fitted import FittedTable
from emotailor.folders import check_place
from emotailor.serving.prediction import Failure, Prediction, compare
from emotailor.text import indented, to_cell

Outcome = Prediction | Failure
Emit = Callable[[Outcome], None]
FormName = Literal["json", "csv"]

SUFFIXES: Mapping[str, FormName] = {".csv": "csv", ".jsonl": "json"}
"""The endings of files that predictions can be written to."""
LONG_LABEL = 16
"""Characters of a label above which it may be folded."""


# ---------------------------------------------------------------------- texts


def json_line(outcome: Outcome) -> str:
    """Return an outcome as one line of JSON."""
    return json.dumps(outcome.to_json(), ensure_ascii=False)


def csv_header(label_names: Sequence[str]) -> list[str]:
    """Return the columns of a table of predictions, as in the table of an evaluation."""
    probable = [f"p:{name}" for name in label_names]
    decided = [to_cell(name) for name in label_names]
    thresholds = [f"threshold:{name}" for name in label_names]
    return ["id", "source", *probable, *decided, *thresholds, "unseen_steps", "error"]


def csv_cells(outcome: Outcome, label_names: Sequence[str]) -> list[str]:
    """Return the row of an outcome: of a failure its reason alone."""
    name = to_cell(outcome.id)
    source = to_cell(outcome.source)
    if isinstance(outcome, Failure):
        empty = [""] * (3 * len(label_names) + 1)
        return [name, source, *empty, to_cell(outcome.reason)]

    probable = [f"{outcome.probabilities[label]:.6f}" for label in label_names]
    decided = [str(int(outcome.decisions[label])) for label in label_names]
    thresholds = [f"{outcome.thresholds[label]:.6f}" for label in label_names]
    cut = [f"{m} {steps}" for m, steps in outcome.unseen.items()]
    return [name, source, *probable, *decided, *thresholds, ", ".join(cut), ""]


def csv_line(cells: Sequence[str]) -> str:
    """Return cells as a line of a CSV, without its end."""
    # what ends a line is what makes it quote line breaks in cells
    end = "\r\n"
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerow(cells)
    return text.getvalue().removesuffix(end)


def text_line(prediction: Prediction) -> str:
    """Return a prediction as one line: its id, and the labels that hold with their thresholds."""
    held = []
    for name in prediction.labels:
        compared = compare(prediction.probabilities[name], prediction.thresholds.get(name))
        held.append(f"{name} {compared}")
    shown = ", ".join(held) or "none of the labels"
    return f"{indented(shown_name(prediction))}: {shown}"


def shown_name(outcome: Outcome) -> str:
    """Return the id of a sample, with a number where others of its source have it too."""
    again = outcome.source.rpartition(" ")[2]
    is_number = again.startswith("(") and again.endswith(")")
    return f"{outcome.id} {again}" if is_number else outcome.id


# ---------------------------------------------------------------------- tables


def render_predictions(predictions: Sequence[Prediction]) -> RenderableType:
    """Return one table per sample: label, probability, decision, and the evidence for it."""
    tables = [render_prediction(prediction) for prediction in predictions]
    reasons = [prediction.explanation for prediction in predictions if prediction.explanation]
    if not reasons:
        return Group(*tables)

    of_labels = reasons[0].modalities.values()
    of_first = next(iter(of_labels))  # the same for all labels
    return Group(*tables, evidence_note(tuple(of_first)))


def evidence_note(modalities: Sequence[Modality]) -> Text:
    """Return what the columns of the evidence mean.

    Args:
        modalities: that the model takes.
    """
    titles = ", ".join(f"no {m}" for m in modalities)
    without = "that modality" if len(modalities) > 1 else "it"
    missed = "the modality it misses most, and there the steps it misses most"
    nothing = "no modality speaks for the label"
    if len(modalities) == 1:
        missed = "the steps it misses most"
        nothing = "nothing speaks for the label"
    return Text(
        f"{titles}: change of the label's log-odds without {without}.\n"
        f"evidence: {missed}.\n"
        f"-: {nothing}.",
        style="dim",
    )


def render_prediction(prediction: Prediction) -> RenderableType:
    """Return the table of one sample, below its id and the labels that hold."""
    header, rows = prediction.table()
    # without edges, probability, threshold and evidence fit into 80 columns
    table = FittedTable(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    longest = max(len(row[0]) for row in rows)
    for title in header:
        # changes without a modality are numbers
        is_number = title.startswith("no ")
        side: Literal["left", "right"] = "right" if is_number else "left"
        # where it gets narrow, what is long is folded
        is_long = title == "evidence" or (title == "label" and longest > LONG_LABEL)
        table.add_column(title, justify=side, no_wrap=not is_long, overflow="fold")

    for row in rows:
        cells = [Text(cell) for cell in row]
        table.add_row(*cells)

    held = ", ".join(prediction.labels) or "none of the labels"
    # the id may be the name of a file, which can hold a line break
    heading = Text.assemble((indented(shown_name(prediction)), "bold"), f": {held}")
    return Group(heading, "", table, "")


# ---------------------------------------------------------------------- files


@dataclass(frozen=True)
class OutFile:
    """A file that predictions go to.

    Attributes:
        path: where it is to be.
        form: what is written into it.
    """

    path: Path
    form: FormName

    @classmethod
    def at(cls, path: Path, sources: Sequence[Path], *, overwrite: bool) -> "OutFile":
        """Return a file to write to, checked before any work.

        Args:
            path: where it is to be.
            sources: what is read; none of it may be written over.
            overwrite: replace a file that is there.

        Raises:
            ConfigError: its name has another ending, something is in its place, or the place cannot
                be written to.
        """
        form = SUFFIXES.get(path.suffix.lower())
        if form is None:
            raise ConfigError(
                f"--out {path}",
                expected=f"a name that ends in {' or '.join(SUFFIXES)}",
                fix="name the file so; the ending says what is written",
            )
        check_out_file(path, sources, overwrite=overwrite)
        return cls(path, form)

    @contextmanager
    def opened(self, label_names: Sequence[str]) -> Iterator[Emit]:
        """Yield what writes an outcome; the file takes its place at the end, and all of it."""
        with (
            replacing_file(self.path) as temporary,
            # names of files may hold bytes that are no characters
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            line_of = line_writer(self.form, label_names)
            if self.form == "csv":
                file.write(f"{csv_line(csv_header(label_names))}\n")

            def emit(outcome: Outcome) -> None:
                file.write(f"{line_of(outcome)}\n")

            yield emit


def check_out_file(path: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse a path that no file must be written to.

    Args:
        path: where the file is to be.
        sources: what is read; none of it may be written over.
        overwrite: replace a file that is there.

    Raises:
        ConfigError: something is in its place, or the place cannot be written to.
    """
    check_place(path, ConfigError)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder", expected="a file", fix="choose another --out")

    if path.exists():
        read_too = any(source.exists() and source.samefile(path) for source in sources)
        fix = "choose another --out, or pass --overwrite to replace it"
        if read_too:
            fix = "choose another --out: this one is read"
        if read_too or not overwrite:
            raise ConfigError(f"{path} already exists", expected="a path that is free", fix=fix)


def line_writer(form: FormName, label_names: Sequence[str]) -> Callable[[Outcome], str]:
    """Return what makes one line of an outcome."""
    if form == "json":
        return json_line
    return lambda outcome: csv_line(csv_cells(outcome, label_names))
