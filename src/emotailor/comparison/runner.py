"""Carry a plan out: train every run in a process of its own, test all of them, store the tables.

A failed run costs nothing but itself, and what is done already is not done again.
"""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from rich.console import Console

from emotailor import __version__
from emotailor.comparison.floor import Floor, floor_of
from emotailor.comparison.plan import (
    ANY_GPU,
    Differences,
    Plan,
    PlannedSystem,
    RunKey,
    wait_for_others,
)
from emotailor.comparison.processes import Ended, Job
from emotailor.comparison.results import (
    StoredBenchmark,
    StoredData,
    StoredRun,
    StoredSystem,
    StoredTest,
    write_benchmark,
)
from emotailor.data.display import listed
from emotailor.errors import EmotailorError, InterruptedRunError
from emotailor.evaluation.comparison import (
    JudgedRun,
    PairedDifference,
    SeedSummary,
    Spread,
    compare_systems,
    spread_of,
    summarise_seeds,
)
from emotailor.evaluation.custom import CustomMetric, MetricLike, resolve_metrics
from emotailor.evaluation.display import title_of
from emotailor.evaluation.health import BELOW, Finding
from emotailor.evaluation.metrics import OVERALL, Metrics
from emotailor.evaluation.notebook import html_table
from emotailor.evaluation.tables import (
    CALIBRATION,
    COLUMNS,
    Results,
    Row,
    duration,
    spread,
    to_csv,
    to_dataframe,
    to_latex,
    to_markdown,
    to_terminal,
)
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import remove_temporaries, write_json
from emotailor.folders import held
from emotailor.models.table import find_system
from emotailor.runs.train import PlannedRun
from emotailor.text import plural
from emotailor.training.tracking import check_tracker

if TYPE_CHECKING:
    from emotailor.runs.evaluate import RunEvaluation


@dataclass
class RunRecord:
    """What became of one run.

    Attributes:
        run: settings and folder.
        failed: why it failed, or the empty string.
        exit_code: exit code of the training; None where there was nothing to do.
        evaluated: how it does on the tested split; None where it failed.
        seconds: time of the training, in seconds.
        epochs: number of epochs done.
        selected_epoch: epoch of the selected model.
    """

    run: PlannedRun
    failed: str = ""
    exit_code: int | None = None
    evaluated: "RunEvaluation | None" = None
    seconds: float | None = None
    epochs: int | None = None
    selected_epoch: int | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of the metrics must know."""
        return [] if self.evaluated is None else self.evaluated.notes


@dataclass(frozen=True, repr=False)
class PlanResult:
    """A finished benchmark.

    Attributes:
        results: the rows of the table.
        failed: (system, seed) -> why.
        stored: the files that were written.
    """

    results: Results
    failed: Mapping[RunKey, str]
    stored: tuple[Path, ...]

    def __repr__(self) -> str:
        titles = [row.title for row in self.results.rows if row.done]
        return f"PlanResult({listed(titles) or 'no system'}; {len(self.failed)} runs failed)"

    def _repr_html_(self) -> str:
        rows = []
        for row in self.results.all_rows:
            found = [row.spreads.get(metric, row.status) for metric in COLUMNS]
            rows.append((row.shown, *found))
        header = ("system", *map(title_of, COLUMNS))
        return html_table(header, rows, caption=self.results.title)

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``: a row per system, with the columns of ``table.csv``.

        Raises:
            ConfigError: pandas is not installed.
        """
        return to_dataframe(self.results)


@dataclass(frozen=True)
class _Judge:
    """How runs are judged.

    Attributes:
        thresholds: kind of thresholds that decides.
        resamples: number of resamples of the paired test; 0 for no test.
        metrics: metrics of others.
    """

    thresholds: ThresholdMode
    resamples: int
    metrics: Sequence[CustomMetric]


def run_plan(
    plan: Plan,
    console: Console,
    *,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    metrics: Sequence[MetricLike] = (),
    track: str | None = None,
) -> PlanResult:
    """Train what is not trained yet, test everything, and store the tables.

    Args:
        plan: plan of :func:`plan_benchmark` or :func:`plan_ablation`.
        console: where to print what happens.
        thresholds: the kind that decides; all are chosen on the validation split.
        resamples: number of resamples of the paired test; 0 for no test.
        metrics: metrics of others, shown behind ours: functions, references such as
            ``my_module:my_metric``, or names of installed ones.
        track: name of a tracker that every training tells.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; every run under way has been stopped.
        ConfigError: another process works in the folder, or a metric cannot be found.
    """
    # a metric that cannot be found must be known before days of training
    judge = _Judge(thresholds, resamples, resolve_metrics(metrics, taken=OVERALL))
    if track is not None:
        check_tracker(track)
    marker = {"format": plan.kind.format, "data": _data(plan)}
    records = {key: RunRecord(run) for key, run in plan.runs.items()}

    with held(plan.out):
        plan.kind.folder.mark(plan.out, marker)
        sweep_plan(plan)
        # before days of training: what all of it must beat
        floor = floor_of(plan, judge.thresholds, judge.metrics)
        _train(plan, records, console, track)
        _evaluate(plan, records, console, judge)
        results, content = _summarise(plan, records, judge, floor)
        stored = _write(plan, results, content)

    console.print(to_terminal(results))
    failed = {key: record.failed for key, record in records.items() if record.failed}
    return PlanResult(results, failed, stored)


def sweep_plan(plan: Plan) -> None:
    """Remove what killed calls have left in the folder of a plan and in those of its runs."""
    from emotailor.training.run_folder import RunFolder

    plan.kind.folder.sweep(plan.out)

    # nothing more is written into a run that is done, nor beside it
    for run in plan.runs.values():
        remove_temporaries(run.folder.parent)
        RunFolder(run.folder).sweep()


def _write(plan: Plan, results: Results, content: StoredBenchmark) -> tuple[Path, ...]:
    """Write everything that was found; return the files."""
    tables = {
        "table.md": to_markdown(results),
        "table.csv": to_csv(results),
        "table.tex": to_latex(results),
    }
    return write_benchmark(plan.out / plan.kind.file, content, tables)


# ---------------------------------------------------------------------- training


def training_command(run: PlannedRun) -> list[str]:
    """Return the command that trains a run; its settings are in the file beside its folder."""
    data = run.config.data.path
    settings = _settings_file(run)
    command = [sys.executable, "-m", "emotailor", "train"]
    command += [f"--data={data}", f"--out={run.folder}", f"--config={settings}"]

    # a new process loads no code from outside unless it is told to
    code = find_system(run.config.system).code
    if code is not None:
        command.append(f"--model={code}")
    return command


def training_job(name: str, run: PlannedRun, gpus: Sequence[str], more: Sequence[str] = ()) -> Job:
    """Return the job that trains a run, on one of several GPUs where its settings leave it open.

    Args:
        name: name of the job.
        run: settings and folder.
        gpus: the GPUs that the runs of the plan share.
        more: further options of the command.
    """
    command = [*training_command(run), *more]
    log = log_of(run)
    wanted = run.config.training.device
    if wanted == "cpu":
        return Job(name, command, log, "cpu")

    if gpus and wanted in ANY_GPU:
        # a GPU that does not start is an error, and no reason to train on the CPU instead
        command.append("--device=cuda")
        return Job(name, command, log, "gpu")
    return Job(name, command, log)


def _settings_file(run: PlannedRun) -> Path:
    return run.folder.with_name(f"{run.folder.name}.json")


def log_of(run: PlannedRun) -> Path:
    """Return the file that keeps what a run prints."""
    return run.folder.with_name(f"{run.folder.name}.log")


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


class _Progress:
    """Tells how far the trainings are, a line for every event, and notes how each has ended.

    Args:
        records: name of a job -> its run.
        console: where to print.
    """

    def __init__(self, records: Mapping[str, RunRecord], console: Console) -> None:
        self.records = records
        self.console = console
        self.began = time.monotonic()
        self.done = 0
        self.failed = 0

    def started(self, job: "Job") -> None:
        self._line(f"started   {job.name}")

    def ended(self, end: "Ended") -> None:
        """Note how a training has ended, and print it."""
        name = end.job.name
        record = self.records[name]
        record.exit_code = end.code

        if end.code == 0:
            self.done += 1
            self._line(f"finished  {name} in {duration(end.seconds)}")
            return

        self.failed += 1
        record.failed = f"exit code {end.code}: {end.message}"
        # the first line says what is wrong, the others what was expected
        why = end.message.splitlines()[0]
        self._line(f"failed    {name}: {why} (exit code {end.code}; {end.job.log})")

    def moved(self, end: "Ended", gpu: str) -> None:
        """Say that a GPU is unusable, and that the run goes on elsewhere."""
        why = end.message.splitlines()[0]
        self._line(f"moved     {end.job.name} from GPU {gpu}, which gets no more runs: {why}")

    def stopping(self, running: int) -> None:
        self._line(f"stopping: {running} runs save their checkpoints (once more to kill them)")

    def _line(self, text: str) -> None:
        passed = duration(time.monotonic() - self.began)
        reached = f"{self.done + self.failed}/{len(self.records)}"
        say(self.console, f"{passed:>8}  {reached:>6}  {text}")


def _train(
    plan: Plan, records: Mapping[RunKey, RunRecord], console: Console, track: str | None
) -> None:
    """Train every run that is not done, each in a process of its own.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived.
    """
    from emotailor.comparison.processes import run_jobs

    jobs = []
    todo: dict[str, RunRecord] = {}
    for key, record in records.items():
        if plan.states[key] == "done":
            continue

        run = record.run
        write_json(_settings_file(run), run.config.to_json())
        system, seed = key
        name = f"{system} seed {seed}"
        job = training_job(name, run, plan.gpus, () if track is None else (f"--track={track}",))
        jobs.append(job)
        todo[name] = record
    if not jobs:
        return

    wait_for_others([record.run for record in todo.values()], console)
    progress = _Progress(todo, console)

    # runs side by side must not fight for the cores
    environment = plain_environment()
    environment["OMP_NUM_THREADS"] = str(plan.threads)
    signal_number = run_jobs(
        jobs,
        at_once=plan.jobs,
        environment=environment,
        on_start=progress.started,
        on_end=progress.ended,
        on_stop=progress.stopping,
        gpus=plan.gpus,
        on_move=progress.moved,
    )
    if signal_number is None:
        return

    # those that were done before this call count, too
    done_before = len(records) - len(jobs)
    finished = done_before + progress.done
    failed = f" ({progress.failed} failed)" if progress.failed else ""
    raise InterruptedRunError(
        f"stopped after {finished} of {len(records)} runs{failed}; all of it is kept in {plan.out}",
        fix="run the same command again, which resumes it",
    )


def plain_environment() -> dict[str, str]:
    """Return the environment without what would colour the logs."""
    coloured = ("FORCE_COLOR", "PY_COLORS")
    return {key: value for key, value in os.environ.items() if key not in coloured}


# ---------------------------------------------------------------------- testing


def _evaluate(
    plan: Plan,
    records: Mapping[RunKey, RunRecord],
    console: Console,
    judge: _Judge,
) -> None:
    """Test every trained run on the split of the plan."""
    for system in plan.systems:
        tested = []
        for key in system.by_key:
            record = records[key]
            if not record.failed:
                _test(plan, record, judge)
            if record.evaluated is not None:
                tested.append(record.evaluated.metrics)

        if tested:
            summary = summarise_seeds(tested)
            found = spread(summary.overall["micro_f1"])
            runs = plural(len(tested), "run")
            say(console, f"tested {system.row.title}: {runs}, micro-F1 {found}")


def _test(plan: Plan, record: RunRecord, judge: _Judge) -> None:
    """Test one run; where that cannot be done, the record says why."""
    from emotailor.runs.evaluate import evaluate_run
    from emotailor.training.checkpoint import read_progress

    folder = record.run.folder
    try:
        result = evaluate_run(
            folder,
            data=plan.data,
            split=plan.split,
            thresholds=judge.thresholds,
            resamples=0,
            metrics=judge.metrics,
            device=record.run.config.training.device,
            protocols=record.run.config.training.protocols is not None,
        )
        progress = read_progress(folder / "checkpoint")
    except EmotailorError as error:
        record.failed = f"it cannot be tested: {error}"
        return

    assert progress is not None
    record.evaluated = result
    # the seconds of an epoch count all epochs before, too
    record.seconds = progress.history[-1].seconds
    record.epochs = len(progress.history)
    if progress.best:
        record.selected_epoch = progress.best.epoch


def _size(folder: Path) -> int:
    """Return how many numbers a model has learned: parameters, or what a fit has left."""
    import torch

    from emotailor.training.model_folder import find_model_folder, load_model

    model = load_model(find_model_folder(folder), torch.device("cpu")).model
    parameters = sum(tensor.numel() for tensor in model.parameters())
    if parameters:
        return parameters

    # a fitted model keeps what it learned in buffers; masks and counts are no numbers of a fit
    fitted = [tensor for tensor in model.buffers() if tensor.is_floating_point()]
    return sum(tensor.numel() for tensor in fitted)


def _compare(
    plan: Plan,
    evaluations: Mapping[str, Sequence["RunEvaluation"]],
    judge: _Judge,
    floor: Floor,
) -> tuple[Differences, Differences]:
    """Return the paired test of every system against the reference, and that of the baselines."""
    reference = plan.kind.reference
    if not judge.resamples or reference not in evaluations:
        return {}, {}

    runs: dict[str, list[JudgedRun]] = {}
    for name, found in evaluations.items():
        runs[name] = [(one.probabilities, _cuts(one.metrics)) for one in found]

    # names of systems have no blanks
    for name, baseline in floor.found.items():
        runs[name] = [(baseline.probabilities, baseline.thresholds)]
    if len(runs) < 2:
        return {}, {}

    # segments of one video are alike: the test draws whole videos
    videos = plan.dataset.videos(plan.split)
    tested = compare_systems(
        evaluations[reference][0].labels,
        runs,
        reference,
        groups=np.array(videos),
        resamples=judge.resamples,
        metrics=judge.metrics,
    )
    of_systems = {name: one for name, one in tested.items() if name in evaluations}
    of_baselines = {name: one for name, one in tested.items() if name in floor.found}
    return of_systems, of_baselines


def _cuts(metrics: Metrics) -> Float64[np.ndarray, "labels"]:
    """Return the thresholds that metrics were computed with."""
    return np.array([label.threshold for label in metrics.labels.values()])


# ---------------------------------------------------------------------- summary


def _summarise(
    plan: Plan,
    records: Mapping[RunKey, RunRecord],
    judge: _Judge,
    floor: Floor,
) -> tuple[Results, StoredBenchmark]:
    """Return the rows of the table, and everything for the file."""
    evaluations: dict[str, list[RunEvaluation]] = {}
    for (name, _), record in records.items():
        if record.evaluated is not None:
            evaluations.setdefault(name, []).append(record.evaluated)
    differences, of_baselines = _compare(plan, evaluations, judge, floor)

    rows = []
    stored = {}
    weak = False
    for system in plan.systems:
        name = system.row.name
        own = [records[key] for key in system.by_key]
        found = [one.metrics for one in evaluations.get(name, [])]
        summary = summarise_seeds(found) if found else None

        row = _row(plan, system, own, summary, differences.get(name, {}))
        if summary is not None:
            row = replace(row, below=floor.below(summary.overall))
            weak |= name == plan.kind.reference and floor.is_weak(summary.overall)
        rows.append(row)
        stored[name] = _entry(row, summary, system, own)

    # without a difference no test was made, and no row is the reference
    reference = None
    test = None
    if differences or of_baselines:
        reference = _reference_title(plan)
        test = StoredTest(
            reference=plan.kind.reference,
            resamples=judge.resamples,
            weak=weak,
        )

    findings = list(plan.kind.read(differences))
    reading = _reading(plan, bool(evaluations), {**differences, **of_baselines}, judge.resamples)
    if floor.missing:
        reading.append(floor.missing)
    results = Results(
        rows=rows,
        title=_title(plan, judge),
        reference=reference,
        notes=[*reading, *findings],
        baselines=floor.rows(of_baselines),
        weak_reference=weak,
    )
    content = StoredBenchmark(
        format=plan.kind.format,
        emotailor=__version__,
        data=StoredData(**_data(plan)),
        split=plan.split,
        thresholds=judge.thresholds,
        paper=plan.kind.paper,
        jobs={"at_once": plan.jobs, "threads": plan.threads, "gpus": len(plan.gpus)},
        test=test,
        notes=results.all_notes(),
        findings=findings,
        metrics=[metric.name for metric in judge.metrics],
        systems=stored,
        baselines=floor.stored(of_baselines),
    )
    return results, content


def _row(
    plan: Plan,
    system: PlannedSystem,
    records: Sequence[RunRecord],
    summary: SeedSummary | None,
    differences: Mapping[str, PairedDifference],
) -> Row:
    """Return the row of one system in the table."""
    tested = [record for record in records if record.evaluated is not None]
    times = [record.seconds for record in tested if record.seconds is not None]
    seconds = float(np.mean(times)) if times else None

    # the seeds of a system have one size
    parameters = _size(tested[0].run.folder) if tested else None

    spreads = dict(summary.overall) if summary else {}
    errors = [record.evaluated.calibration for record in tested if record.evaluated is not None]
    if errors:
        spreads[CALIBRATION] = spread_of([one.expected_calibration_error for one in errors])

    name = system.row.name
    return Row(
        name=name,
        title=system.row.title,
        done=len(tested),
        planned=len(records),
        spreads=spreads,
        differences=differences,
        published=plan.kind.published.get(name, {}),
        seconds=seconds,
        parameters=parameters,
        notes=tuple(_notes(system, records)),
        labels=summary.labels if summary else {},
        rule=system.row.rule,
        by_rule=_by_rule(system.row.rule, tested),
    )


def _by_rule(rule: str, tested: Sequence[RunRecord]) -> Spread | None:
    """Return the micro-F1 that a rule would have reported; None where not every run kept it."""
    scores = []
    for record in tested:
        found = None if record.evaluated is None else record.evaluated.protocols
        by_letter = {} if found is None else {str(k): v for k, v in found.rules.items()}
        if rule not in by_letter:
            return None
        scores.append(by_letter[rule].micro_f1)
    return spread_of(scores) if scores else None


def _title(plan: Plan, judge: _Judge) -> str:
    """Return the title of the table: data set, tested split, and how it was decided."""
    # runs may tune their thresholds on splits of different names
    used = set()
    for run in plan.runs.values():
        used.add(run.config.data.valid_split)
    validation = "/".join(sorted(used))

    name = plan.dataset.card.name
    decided = judge.thresholds.replace("_", " ")
    return f"{name}, split {plan.split}, thresholds {decided} on {validation}"


def _data(plan: Plan) -> dict[str, Any]:
    card = plan.dataset.card
    return {
        "name": card.name,
        "path": str(plan.data),
        "fingerprint": card.fingerprint,
        "aligned": card.aligned,
        "samples": {name: split.samples for name, split in card.splits.items()},
    }


def _validation(plan: Plan) -> str:
    used = {run.config.data.valid_split for system in plan.systems for run in system.runs}
    return "/".join(sorted(used))


def _notes(system: PlannedSystem, records: Sequence[RunRecord]) -> list[str]:
    """Return what is to be said of one system."""
    if system.skipped:
        return [f"skipped: {system.skipped}"]

    failures = []
    notes: set[str] = set()  # most runs of a system say the same
    for record in records:
        notes.update(record.notes)
        if record.failed:
            why = record.failed.splitlines()[0]
            seed = record.run.config.training.seed
            failures.append(f"seed {seed} failed, {why} (log: {log_of(record.run)})")
    return failures + sorted(notes) + _suspicious(records)


def _suspicious(records: Sequence[RunRecord]) -> list[str]:
    """Return what is suspicious about the runs of a system, each kind once.

    Which baselines are better is said of their mean instead.
    """
    tested = [record.evaluated for record in records if record.evaluated is not None]
    by_kind: dict[str, list[Finding]] = {}
    for result in tested:
        for finding in result.findings:
            if finding.kind != BELOW:
                by_kind.setdefault(finding.kind, []).append(finding)

    lines = []
    for found in by_kind.values():
        first = str(found[0])
        # findings of one kind differ in their numbers alone
        many = f" (so or alike in {len(found)} of {len(tested)} runs)" if len(tested) > 1 else ""
        lines.append(f"check: {first}{many}")
    return lines


def _entry(
    row: Row, summary: SeedSummary | None, system: PlannedSystem, records: Sequence[RunRecord]
) -> StoredSystem:
    """Return what the file with everything says of one system."""
    return StoredSystem(
        title=row.title,
        paper=system.row.paper,
        status=row.status,
        skipped=system.skipped or None,
        summary=summary,
        minus_reference=dict(row.differences),
        published=dict(row.published),
        below=row.below,
        parameters=row.parameters,
        seconds=row.seconds,
        config=records[0].run.config.to_json() if records else None,
        code=system.row.code,
        rule=system.row.rule,
        runs=[_stored_run(record) for record in records],
    )


def _stored_run(record: RunRecord) -> StoredRun:
    evaluated = record.evaluated
    return StoredRun(
        seed=record.run.config.training.seed,
        folder=str(record.run.folder),
        log=str(log_of(record.run)),
        failed=record.failed or None,
        exit_code=record.exit_code,
        seconds=record.seconds,
        epochs=record.epochs,
        selected_epoch=record.selected_epoch,
        metrics=dict(evaluated.by_mode) if evaluated is not None else {},
        notes=record.notes,
        findings=[str(finding) for finding in evaluated.findings] if evaluated is not None else [],
        calibration=evaluated.calibration if evaluated is not None else None,
        protocols=evaluated.protocols if evaluated is not None else None,
    )


def _reference_title(plan: Plan) -> str:
    return next(s.row.title for s in plan.systems if s.row.name == plan.kind.reference)


def _reading(plan: Plan, tested: bool, differences: Differences, resamples: int) -> list[str]:
    """Return what a reader of the table must know."""
    from emotailor.runs.evaluate import why_not_resampled

    if not tested:
        return []

    lines = ["± is the standard deviation over runs that differ in their seed (n - 1)."]
    if differences:
        lines.append(
            "Difference: mean micro-F1 of the system minus that of "
            f"{_reference_title(plan)} on the same samples; interval and p by {resamples:,} paired "
            "resamples of whole videos. p is not corrected "
            f"for {len(differences)} comparisons, and says nothing of other seeds."
        )

    lines.append(
        f"Training time is the mean of a run, {plan.at_once_in_words} "
        f"with {plan.threads_in_words} each."
    )

    # where a test was asked for and the data allow none, the table says so
    if resamples:
        why = why_not_resampled(plan.dataset.videos(plan.split))
        if why:
            lines.append(f"No test: {why}.")
    return [*lines, *plan.kind.notes]


def next_command(plan: Plan, result: PlanResult) -> str | None:
    """Return the command that makes a page of the results; None where there are none."""
    if not any(row.done for row in result.results.rows):
        return None
    return shlex.join(["emotailor", "report", str(plan.out)])
