"""Predicting samples, few or a hundred thousand: one start, one pass, and nothing lost.

What cannot be predicted does not stop the rest: it becomes a failure in its place. Where nothing at
all can be predicted, the reason of the first is the error.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from emotailor.data.cutting import parse_max_steps
from emotailor.errors import ConfigError, DataError, EmotailorError, first_of_several
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.runs.outputs import (
    Emit,
    FormName,
    Outcome,
    OutFile,
    csv_header,
    csv_line,
    evidence_note,
    line_writer,
    render_prediction,
    text_line,
)
from emotailor.runs.sources import Source, open_sources
from emotailor.runs.texts import text_source
from emotailor.serving.prediction import Failure
from emotailor.serving.predictor import Predictor
from emotailor.text import indented, visible
from emotailor.watch import Watch

ItemT = TypeVar("ItemT")

FEW = 20
"""As many samples get a table each, and their evidence."""


@dataclass(frozen=True)
class Job:
    """What is to be predicted, and where to.

    Attributes:
        model: run folder or model folder; None for the model that ships.
        sources: data sets, files and folders; none where there are texts.
        texts: what is said, to predict instead of sources.
        encoder: makes features of texts; None for that of the model's training data.
        split: split of data sets, as in :func:`open_sources`.
        ids: ids of the samples; empty for all.
        limit: largest number of samples.
        explain: whether to measure evidence; None for few samples alone.
        thresholds: which decide; None for those tuned on validation data.
        max_steps: as ``--max-steps`` is written; None to cut nothing.
        form: ``json`` or ``csv``; None for what a reader likes.
        out: file to write to instead of printing; its ending says the form.
        overwrite: replace a file that is there.
        strict: stop at the first sample that cannot be predicted.
        device: device to compute on.
    """

    model: Path | None
    sources: Sequence[Path]
    split: str | None = None
    ids: Sequence[str] = ()
    limit: int | None = None
    explain: bool | None = None
    thresholds: ThresholdMode | None = None
    max_steps: str | None = None
    form: FormName | None = None
    out: Path | None = None
    overwrite: bool = False
    strict: bool = False
    device: str = "auto"
    texts: Sequence[str] = ()
    encoder: str | None = None


def run_job(job: Job, console: Console, errors: Console) -> "Tally":
    """Predict, print or write every outcome in order, and say what failed.

    Args:
        job: what to do.
        console: for predictions, and what there is to say about them.
        errors: for progress and failures.

    Raises:
        ConfigError: the options do not fit each other, or the file cannot be written.
        ModelError: there is no model, or the samples do not fit it.
        DataError: there is no such source, split or sample, or no sample can be predicted.
    """
    # what can be refused is refused before the model is loaded
    _check_given(job)
    max_steps = None if job.max_steps is None else parse_max_steps(job.max_steps)
    file = None
    if job.out is not None:
        file = OutFile.at(job.out, job.sources, overwrite=job.overwrite)
    form = _form(job, file)

    predictor = Predictor.load(job.model, device=job.device, thresholds=job.thresholds)
    if job.texts:
        source = text_source(job.texts, predictor, job.encoder)
    else:
        source = open_sources(
            job.sources, split=job.split, ids=job.ids, limit=job.limit, predictor=predictor
        )
    is_few, items = peek(source.items, FEW)
    explain = bool(job.explain)
    if job.explain is None and form != "csv" and file is None:
        explain = is_few

    # lines that run by are a sign of life themselves
    runs_by = file is None and console.is_terminal
    quiet = Console(quiet=True)
    outcomes = predictor.stream(items, explain=explain, max_steps=max_steps)
    with (
        Watch(quiet if runs_by else errors, source.count) as watch,
        _printing(form, file, predictor, console, as_tables=is_few or explain) as emit,
    ):
        tally = carry_out(outcomes, emit, strict=job.strict, advance=watch.advance)

    if form is None and explain:
        console.print(evidence_note(predictor.modalities))
    if form is None or file is not None:
        _tell(console, _closing_lines(tally, source, predictor, file, as_lines=not is_few))
    _warn(errors, _cut_lines(tally) + failure_lines(tally))
    return tally


def _check_given(job: Job) -> None:
    """Refuse a job that has nothing to predict, or texts and sources at once.

    Raises:
        ConfigError: it is one.
    """
    if bool(job.texts) == bool(job.sources):
        found = "both sources and --text are given" if job.texts else "nothing to predict is given"
        raise ConfigError(found, expected="sources such as a data set, or --text 'what is said'")
    if job.encoder is not None and not job.texts:
        raise ConfigError(
            "--encoder without --text",
            expected="texts to encode",
            fix="`emotailor data convert TABLE --encoder …` encodes the texts of a table",
        )


def _form(job: Job, file: OutFile | None) -> FormName | None:
    """Return what is printed or written; None for tables and lines.

    Raises:
        ConfigError: the options ask for two forms, or for evidence in a CSV.
    """
    form = job.form if file is None else file.form
    if file is not None and job.form not in (None, file.form):
        raise ConfigError(
            f"--{job.form} and --out {file.path}",
            expected="one form",
            fix=f"leave --{job.form} out: the ending of the file says what is written",
        )
    if form == "csv" and job.explain:
        raise ConfigError(
            "--explain with a CSV, which has no place for evidence",
            expected="--json, or --out with a name that ends in .jsonl",
        )
    return form


@contextmanager
def _printing(
    form: FormName | None,
    file: OutFile | None,
    predictor: Predictor,
    console: Console,
    *,
    as_tables: bool,
) -> Iterator[Emit]:
    """Yield what prints or writes an outcome."""
    names = predictor.label_names
    if file is not None:
        with file.opened(names) as emit:
            yield emit
        return
    if form is None:
        yield _for_readers(predictor, console, as_tables=as_tables)
        return

    def print_line(line: str) -> None:
        if not console.quiet:
            print(visible(line), file=console.file)

    # the columns are named once it is known that there will be rows
    waiting = [csv_line(csv_header(names))] if form == "csv" else []
    line_of = line_writer(form, names)

    def emit_line(outcome: Outcome) -> None:
        while waiting:
            print_line(waiting.pop())
        print_line(line_of(outcome))

    yield emit_line


def _for_readers(predictor: Predictor, console: Console, *, as_tables: bool) -> Emit:
    """Return what prints a prediction as a table or as a line; failures are told at the end."""
    waiting = [] if as_tables else [thresholds_line(predictor)]

    def emit(outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            return
        if as_tables:
            console.print(render_prediction(outcome))
            return
        _tell(console, waiting)
        waiting.clear()
        _tell(console, [text_line(outcome)])

    return emit


def _tell(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are: they may hold ids and paths."""
    for line in lines:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _warn(errors: Console, lines: Iterable[str]) -> None:
    for line in lines:
        text = Text.assemble(("warning: ", "yellow"), indented(line))
        errors.print(text, soft_wrap=True)


def _closing_lines(
    tally: "Tally",
    source: Source,
    predictor: Predictor,
    file: OutFile | None,
    *,
    as_lines: bool,
) -> list[str]:
    """Return what there is to say behind the predictions."""
    lines = []
    if file is not None:
        lines.append(thresholds_line(predictor))
    if file is not None or as_lines:
        lines.append(summary_line(tally, predictor.label_names))
    lines += [f"note: {note}" for note in source.notes]
    if file is not None:
        lines.append(f"stored: {file.path}")
    return lines


def _cut_lines(tally: "Tally") -> list[str]:
    if not tally.cut:
        return []
    return [f"{tally.cut:,} of {tally.predicted:,} samples were cut: their later steps are unseen"]


# ---------------------------------------------------------------------- carrying it out


@dataclass
class Tally:
    """What came of a job.

    Attributes:
        predicted: number of samples with a prediction.
        failed: number of samples without one.
        failures: the first of these.
        held: label -> number of samples for which it is predicted.
        unlabelled: number of samples for which no label is.
        cut: number of samples of which only the first steps were seen.
    """

    predicted: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    cut: int = 0

    MOST_NAMED = 10

    def count(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if isinstance(outcome, Failure):
            self.failed += 1
            if self.failed <= self.MOST_NAMED:
                self.failures.append(outcome)
            return

        self.predicted += 1
        labels = outcome.labels
        self.held.update(labels)
        self.unlabelled += not labels
        self.cut += bool(outcome.unseen)

    def error(self) -> EmotailorError:
        """Return the error of a job in which nothing could be predicted."""
        if not self.failures:
            return DataError("no samples", expected="at least one", fix="check the source")

        first = self.failures[0].error
        others = self.failed - 1
        if not others:
            return first

        found = f"{first.found} (and {others:,} more samples cannot be predicted)"
        return first_of_several(first, found)


def carry_out(
    outcomes: Iterable[Outcome],
    emit: Emit,
    *,
    strict: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> Tally:
    """Hand every outcome on, in order, and count.

    Failures before the first prediction wait for it: where there is none, nothing is handed on.

    Args:
        outcomes: from :meth:`Predictor.stream`.
        emit: prints or writes one.
        strict: raise the error of the first failure.
        advance: is called after each.

    Raises:
        EmotailorError: the first failure, where ``strict``, or nothing could be predicted.
    """
    tally = Tally()
    waiting: list[Outcome] = []
    for outcome in outcomes:
        tally.count(outcome)
        advance()
        if strict and isinstance(outcome, Failure):
            raise outcome.error

        waiting.append(outcome)
        if tally.predicted:
            for ready in waiting:
                emit(ready)
            waiting.clear()

    if not tally.predicted:
        raise tally.error()
    return tally


def peek(items: Iterator[ItemT], most: int) -> tuple[bool, Iterator[ItemT]]:
    """Return whether there are no more than ``most`` items, and all of them again."""
    first = list(islice(items, most + 1))
    return len(first) <= most, chain(first, items)


# ---------------------------------------------------------------------- words about a job


def thresholds_line(predictor: Predictor) -> str:
    """Say which thresholds decide."""
    values = dict(zip(predictor.label_names, predictor.thresholds.tolist(), strict=True))
    if len(set(values.values())) == 1:
        threshold = next(iter(values.values()))
        return f"a label holds above {threshold:.3f} ({predictor.mode} threshold of all labels)"
    listed = ", ".join(f"{name} {threshold:.3f}" for name, threshold in values.items())
    return f"a label holds above its threshold ({predictor.mode}): {listed}"


def summary_line(tally: Tally, label_names: Sequence[str]) -> str:
    """Say how many samples got which label."""
    counts = [f"{name} {tally.held[name]:,}" for name in label_names]
    listed = ", ".join(counts)
    samples = "sample" if tally.predicted == 1 else "samples"
    return f"{tally.predicted:,} {samples}: {listed}, no label {tally.unlabelled:,}"


def failure_lines(tally: Tally) -> list[str]:
    """Say which samples could not be predicted, and why."""
    if not tally.failed:
        return []

    lines = []
    for failure in tally.failures:
        where = f" ({failure.source})" if failure.source else ""
        lines.append(f"not predicted: {failure.id}{where}: {failure.reason}")
    rest = tally.failed - len(lines)
    if rest:
        lines.append(f"... and {rest:,} more: --json, --csv and --out say why for each")
    total = tally.predicted + tally.failed
    lines.append(f"{tally.failed:,} of {total:,} samples could not be predicted; the others are")
    return lines
