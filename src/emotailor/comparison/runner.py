"""Carry a plan out: train every run in a process of its own, test all of them, store the tables.

A failed run costs nothing but itself, and what is done already is not done again.
"""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from emotailor import __version__
from emotailor.comparison.plan import (
    Differences,
    Plan,
    PlannedSystem,
    RunKey,
    wait_for_others,
)
from emotailor.data.sample import video_of
from emotailor.errors import EmotailorError, InterruptedRunError
from emotailor.evaluation.comparison import (
    SeedSummary,
    compare_systems,
    summarise_seeds,
)
from emotailor.evaluation.tables import (
    Results,
    Row,
    duration,
    spread,
    to_csv,
    to_latex,
    to_markdown,
    to_terminal,
)
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.files import write_json, write_text
from emotailor.folders import held
from emotailor.runs.train import PlannedRun


@dataclass
class RunRecord:
    """What became of one run.

    Attributes:
        run: its settings and folder.
        failed: why it failed, or the empty string.
        exit_code: of its training; None where there was nothing to do.
        values: what is stored of it: metrics by kind of threshold, seconds, epochs.
        evaluated: on the test split; None where it failed.
    """

    run: PlannedRun
    failed: str = ""
    exit_code: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    evaluated: Any = None  # a RunEvaluation


@dataclass(frozen=True)
class PlanResult:
    """A finished benchmark.

    Attributes:
        results: the rows of the table.
        failed: (system, seed) -> why.
        stored: the files written.
    """

    results: Results
    failed: Mapping[RunKey, str]
    stored: tuple[Path, ...]


def run_plan(
    plan: Plan,
    console: Console,
    *,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
) -> PlanResult:
    """Train what is not trained yet, test everything, and store the tables.

    Args:
        plan: of :func:`plan_benchmark`.
        console: where to print what happens.
        thresholds: which kind decides; all are chosen on the validation split.
        resamples: of the paired test against TAILOR; 0 for none.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; every run under way has been stopped.
        ConfigError: another process works in the folder.
    """
    with held(plan.out):
        file = plan.out / plan.kind.file
        plan.kind.folder.mark(plan.out, {"format": plan.kind.format, "data": _data(plan)})
        records = {key: RunRecord(run) for key, run in plan.runs.items()}
        _train(plan, records, console)
        _evaluate(plan, records, console, thresholds)
        results, content = _summarise(plan, records, thresholds, resamples)
        write_json(file, content)
        write_text(plan.out / "table.md", to_markdown(results))
        write_text(plan.out / "table.csv", to_csv(results))
        write_text(plan.out / "table.tex", to_latex(results))
    console.print(to_terminal(results))
    failed = {key: record.failed for key, record in records.items() if record.failed}
    names = (plan.kind.file, "table.md", "table.csv", "table.tex")
    return PlanResult(results, failed, tuple(plan.out / name for name in names))


def training_command(run: PlannedRun) -> list[str]:
    """Return the command that trains a run; its settings are in the file beside its folder."""
    return [
        sys.executable, "-m", "emotailor", "train", f"--data={run.config.data.path}",
        f"--out={run.folder}", f"--config={_settings_file(run)}",
    ]  # fmt: skip


def _settings_file(run: PlannedRun) -> Path:
    return run.folder.with_name(f"{run.folder.name}.json")


def log_of(run: PlannedRun) -> Path:
    """Return the file that keeps what a run prints."""
    return run.folder.with_name(f"{run.folder.name}.log")


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _train(plan: Plan, records: Mapping[RunKey, RunRecord], console: Console) -> None:
    from emotailor.comparison.processes import Ended, Job, run_jobs

    jobs = {}
    for key, record in records.items():
        if plan.states[key] != "done":
            write_json(_settings_file(record.run), record.run.config.to_json())
            name = f"{key[0]} seed {key[1]}"
            jobs[key] = Job(name, training_command(record.run), log_of(record.run))
    if not jobs:
        return
    wait_for_others([record.run for key, record in records.items() if key in jobs], console)
    by_name = {job.name: records[key] for key, job in jobs.items()}
    began, done, failed = time.monotonic(), 0, 0

    def line(text: str) -> None:
        left = f"{done + failed}/{len(jobs)}"
        _say(console, f"{duration(time.monotonic() - began):>8}  {left:>6}  {text}")

    def started(job: Job) -> None:
        line(f"started   {job.name}")

    def ended(end: Ended) -> None:
        nonlocal done, failed
        record = by_name[end.job.name]
        record.exit_code = end.code
        if end.code:
            failed += 1
            record.failed = f"exit code {end.code}: {end.message}"
            why = end.message.splitlines()[0]
            line(f"failed    {end.job.name}: {why} (exit code {end.code}; {end.job.log})")
        else:
            done += 1
            line(f"finished  {end.job.name} in {duration(end.seconds)}")

    def stopping(running: int) -> None:
        line(f"stopping: {running} runs save their checkpoints (once more to kill them)")

    signal_number = run_jobs(
        list(jobs.values()),
        at_once=plan.jobs,
        environment={**_plain_environment(), "OMP_NUM_THREADS": str(plan.threads)},
        on_start=started,
        on_end=ended,
        on_stop=stopping,
    )
    if signal_number is not None:
        finished = len(records) - len(jobs) + done
        without = f" ({failed} failed)" if failed else ""
        raise InterruptedRunError(
            f"stopped after {finished} of {len(records)} runs{without}; all of it is kept in "
            f"{plan.out}",
            fix="run the same command again to go on from here",
        )


def _plain_environment() -> dict[str, str]:
    """The environment without what would colour the logs."""
    return {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PY_COLORS")}


def _evaluate(
    plan: Plan,
    records: Mapping[RunKey, RunRecord],
    console: Console,
    thresholds: ThresholdMode,
) -> None:
    """Test every trained run on the split of the plan."""
    from emotailor.runs.evaluate import evaluate_run
    from emotailor.training.checkpoint import read_progress

    for system in plan.systems:
        tested = []
        for record in (records[key] for key in system.by_key):
            if record.failed:
                continue
            config, folder = record.run.config, record.run.folder
            try:
                result = evaluate_run(
                    folder,
                    data=plan.data,
                    split=plan.split,
                    thresholds=thresholds,
                    resamples=0,
                    device=config.training.device,
                )
                progress = read_progress(folder / "checkpoint")
            except EmotailorError as error:
                record.failed = f"it cannot be tested: {error}"
                continue
            assert progress is not None
            record.evaluated = result
            record.values = {
                "seconds": progress.history[-1]["seconds"],  # counts all epochs before, too
                "epochs": len(progress.history),
                "selected_epoch": (progress.best or {}).get("epoch"),
                "metrics": {
                    mode: found.model_dump(mode="json") for mode, found in result.by_mode.items()
                },
                "notes": result.notes,
            }
            tested.append(result.metrics)
        if tested:
            found = spread(summarise_seeds(tested).overall["micro_f1"])
            _say(console, f"tested {system.row.title}: {len(tested)} runs, micro-F1 {found}")


def _size(folder: Path) -> int:
    """Return how many numbers a model has learned: parameters, or what a fit has left."""
    import torch

    from emotailor.training.model_folder import find_model_folder, load_model

    model = load_model(find_model_folder(folder), torch.device("cpu")).model
    parameters = sum(p.numel() for p in model.parameters())
    return parameters or sum(b.numel() for b in model.buffers() if b.is_floating_point())


def _compare(plan: Plan, evaluations: Mapping[str, list[Any]], resamples: int) -> Differences:
    """The paired test of every system against the reference, where both are there."""
    reference = plan.kind.reference
    if not resamples or reference not in evaluations or len(evaluations) < 2:
        return {}
    runs = {
        name: [
            (e.probabilities, np.array([label.threshold for label in e.metrics.labels.values()]))
            for e in found
        ]
        for name, found in evaluations.items()
    }
    return compare_systems(
        evaluations[reference][0].labels,
        runs,
        reference,
        groups=np.array([video_of(sample_id) for sample_id in plan.dataset[plan.split].ids]),
        resamples=resamples,
    )


def _summarise(
    plan: Plan,
    records: Mapping[RunKey, RunRecord],
    thresholds: ThresholdMode,
    resamples: int,
) -> tuple[Results, dict[str, Any]]:
    """Return the rows of the table, and everything for the file."""
    evaluations: dict[str, list[Any]] = {}
    for (name, _), record in records.items():
        if record.evaluated is not None:
            evaluations.setdefault(name, []).append(record.evaluated)
    differences = _compare(plan, evaluations, resamples)
    rows, entries = [], {}
    for system in plan.systems:
        name, found = system.row.name, evaluations.get(system.row.name, [])
        own = [records[key] for key in system.by_key]
        tested = [record for record in own if record.evaluated is not None]
        summary = summarise_seeds([e.metrics for e in found]) if found else None
        rows.append(
            Row(
                name=name,
                title=system.row.title,
                done=len(found),
                planned=len(own),
                spreads=summary.overall if summary else {},
                differences=differences.get(name, {}),
                published=plan.kind.published.get(name, {}),
                seconds=float(np.mean([r.values["seconds"] for r in tested])) if tested else None,
                parameters=_size(tested[0].run.folder) if tested else None,
                notes=tuple(_notes(system, own)),
            )
        )
        entries[name] = _entry(rows[-1], summary, system, own)
    findings = plan.kind.read(differences)
    results = Results(
        rows=rows,
        title=f"{plan.dataset.card.name}, split {plan.split}, thresholds "
        f"{thresholds.replace('_', ' ')} on {_validation(plan)}",
        reference=_reference_title(plan) if differences else None,
        notes=[*_reading(plan, bool(evaluations), differences, resamples), *findings],
    )
    content = {
        "format": plan.kind.format,
        "emotailor": __version__,
        "data": _data(plan),
        "split": plan.split,
        "thresholds": thresholds,
        "paper": plan.kind.paper,
        "jobs": {"at_once": plan.jobs, "threads": plan.threads},
        "test": {"reference": plan.kind.reference, "resamples": resamples} if differences else None,
        "notes": results.all_notes(),
        "findings": list(findings),
        "systems": entries,
    }
    return results, content


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
    if system.skipped:
        return [f"skipped: {system.skipped}"]
    lines = [
        f"seed {r.run.config.training.seed} failed, {r.failed.splitlines()[0]} "
        f"(log: {log_of(r.run)})"
        for r in records
        if r.failed
    ]
    return lines + sorted({note for r in records for note in r.values.get("notes", ())})


def _entry(
    row: Row, summary: SeedSummary | None, system: PlannedSystem, records: Sequence[RunRecord]
) -> dict[str, Any]:
    """What ``benchmark.json`` says of one system."""
    return {
        "title": row.title,
        "paper": system.row.paper,
        "status": row.status,
        "skipped": system.skipped or None,
        "summary": summary.model_dump(mode="json") if summary else None,
        "minus_reference": {m: d.model_dump(mode="json") for m, d in row.differences.items()},
        "published": dict(row.published),
        "parameters": row.parameters,
        "seconds": row.seconds,
        "config": records[0].run.config.to_json() if records else None,
        "runs": [
            {
                "seed": record.run.config.training.seed,
                "folder": str(record.run.folder),
                "log": str(log_of(record.run)),
                "failed": record.failed or None,
                "exit_code": record.exit_code,
                **record.values,
            }
            for record in records
        ],
    }


def _reference_title(plan: Plan) -> str:
    return next(s.row.title for s in plan.systems if s.row.name == plan.kind.reference)


def _reading(plan: Plan, tested: bool, differences: Differences, resamples: int) -> list[str]:
    """What a reader of the table must know."""
    from emotailor.runs.evaluate import why_not_resampled

    if not tested:
        return []
    lines = [
        "± is the standard deviation over runs that differ in their seed (n - 1).",
        f"Training time is the mean of a run, {plan.jobs} at a time with {plan.threads} thread"
        f"{'s' * (plan.threads > 1)} each.",
    ]
    if resamples and (why := why_not_resampled(plan.dataset[plan.split].ids)):
        lines.append(f"No test: {why}.")
    if differences:
        lines.insert(
            1,
            "Difference: mean micro-F1 of the system minus that of "
            f"{_reference_title(plan)} on the same samples; interval and p by {resamples:,} paired "
            "resamples of whole videos. p is not corrected "
            f"for {len(differences)} comparisons, and says nothing of other seeds.",
        )
    return [*lines, *plan.kind.notes]


def next_command(plan: Plan, result: PlanResult) -> str | None:
    """Return a command that shows more of the results; None where there are none."""
    for row in result.results.rows:
        if row.done:
            return f"emotailor evaluate {shlex.quote(str(plan.out / row.name))}"
    return None
