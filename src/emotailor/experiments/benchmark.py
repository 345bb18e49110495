"""The benchmark: every system on one data set with several seeds, in one table.

Each run is an ``emotailor train`` in a process of its own, so a failure concerns that run alone,
and a stopped benchmark goes on where it was::

    OUT/benchmark.json          everything: settings, runs, metrics, tests, failures
    OUT/table.md, .csv, .tex    the table
    OUT/<system>/seed<N>/       run folder
    OUT/<system>/seed<N>.json   its settings, as given to ``emotailor train --config``
    OUT/<system>/seed<N>.log    what it printed
"""

import difflib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotailor import __version__
from emotailor.config import parse_overrides, read_toml
from emotailor.configs.run import RunConfig
from emotailor.configs.systems import SYSTEMS, Preset, System, find_system
from emotailor.data.dataset import EmotionDataset, video_of
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError, InterruptedRunError, ModelError
from emotailor.evaluation.comparison import (
    PairedDifference,
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
from emotailor.experiments import published
from emotailor.experiments.training import PlannedRun, parse_modalities
from emotailor.files import write_json, write_text

REFERENCE = "tailor"
FIRST_SEED = 42

State = Literal["done", "started", "new"]
RunKey = tuple[str, int]  # system and seed


@dataclass(frozen=True)
class Kind:
    """What sets one comparison of several runs apart from another.

    Attributes:
        name: of its folders and of the file with everything.
        reference: name of the row that the others are compared with.
        paper: which published numbers there are, or None.
        published: name of a row -> metric -> what was published.
        notes: what a reader of the published numbers must know.
    """

    name: str = "benchmark"
    reference: str = REFERENCE
    paper: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """What the file with everything says it is."""
        return f"emotailor-{self.name}"

    @property
    def file(self) -> str:
        """Name of the file with everything."""
        return f"{self.name}.json"


@dataclass(frozen=True)
class PlannedSystem:
    """What is to be done for one system, or for one variant of a system.

    Attributes:
        row: of the table of systems.
        runs: one per seed; empty where it is skipped.
        skipped: why it is, or the empty string.
    """

    row: System
    runs: tuple[PlannedRun, ...]
    skipped: str = ""

    @property
    def by_key(self) -> dict[RunKey, PlannedRun]:
        """The runs by system and seed."""
        return {(self.row.name, run.config.training.seed): run for run in self.runs}


@dataclass(frozen=True)
class Plan:
    """What a benchmark is to do; nothing has been written yet.

    Attributes:
        data: path of the data set.
        dataset: that data set.
        out: folder of everything the benchmark writes.
        split: on which the systems are tested.
        systems: in the order of the table of systems.
        states: how far each run is.
        jobs: how many runs at a time.
        threads: of each run, on a CPU.
        kind: of comparison.
    """

    data: Path
    dataset: EmotionDataset
    out: Path
    split: str
    systems: tuple[PlannedSystem, ...]
    states: Mapping[RunKey, State]
    jobs: int
    threads: int
    kind: Kind = Kind()

    @property
    def runs(self) -> dict[RunKey, PlannedRun]:
        """All runs, the first seed of every system first."""
        found = {key: run for system in self.systems for key, run in system.by_key.items()}
        return dict(sorted(found.items(), key=lambda item: item[0][1]))


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
class BenchmarkResult:
    """A finished benchmark.

    Attributes:
        results: the rows of the table.
        failed: (system, seed) -> why.
        stored: the files written.
    """

    results: Results
    failed: Mapping[RunKey, str]
    stored: tuple[Path, ...]


def benchmark(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
    **options: Any,
) -> BenchmarkResult:
    """Train and test systems on one data set, or go on where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        console: where to print what happens; by default nowhere.
        thresholds: ``fixed``, ``tuned`` or ``per_label``, all chosen on the validation split.
        resamples: of the paired test against TAILOR; 0 for none.
        options: of :func:`plan_benchmark`.

    Raises:
        EmotailorError: as :func:`plan_benchmark` and :func:`run_benchmark`.
    """
    plan = plan_benchmark(Path(data), Path(out), **options)
    return run_benchmark(
        plan, console or Console(quiet=True), thresholds=thresholds, resamples=resamples
    )


# ---------------------------------------------------------------------- planning


def plan_benchmark(
    data: Path,
    out: Path,
    *,
    models: Sequence[str] = ("all",),
    seeds: int = 5,
    seed: int = FIRST_SEED,
    preset: Preset = "paper",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    device: str | None = None,
    jobs: int | None = None,
    split: str = "test",
) -> Plan:
    """Put the settings of all runs together, checked, before anything heavy starts.

    Later sources win: the system's recipe, ``[all]`` and ``[SYSTEM]`` of the file, ``settings`` of
    all systems, ``settings`` of one, the other options.

    Args:
        data: stored data set.
        out: folder of runs and tables.
        models: names of systems, or ``all``.
        seeds: runs of each system.
        seed: of the first; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML with a table ``all`` (``training``, ``data``, ``alignment``) and one per
            system.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        modalities: names or initials; systems that cannot work with them are skipped.
        device: to train and test on.
        jobs: runs at a time; by default one per core, and one on a GPU.
        split: on which the systems are tested.

    Raises:
        ConfigError: a wrong setting, no system left, or runs with other settings in ``out``.
        DataError: no such data set, or a split is missing.
    """
    names = _chosen(models)
    layers = _layers(config_file, settings)
    fixed = fixed_settings(data, modalities, device)
    dataset = open_dataset(data)  # some recipes differ for unaligned data
    built = [
        (
            find_system(name),
            [
                PlannedRun(
                    _build(name, preset, [*layers(name), fixed], number, aligned=dataset.aligned),
                    out / name / f"seed{number}",
                )
                for number in numbers(seed, seeds, jobs)
            ],
        )
        for name in names
    ]
    setting = published.published_setting(dataset.card) if split == "test" else None
    kind = Kind()
    if setting:
        kind = Kind(paper=setting, published=published.TABLE_2[setting], notes=(published.NOTE,))
    return complete_plan(data, dataset, out, built, kind, split=split, jobs=jobs)


def fixed_settings(
    data: Path, modalities: Sequence[str] | None, device: str | None
) -> dict[str, Any]:
    """Return the settings that options give to all runs, and that win over all others."""
    fixed: dict[str, Any] = {"data": {"path": str(data)}}
    if modalities is not None:
        fixed["data"]["modalities"] = parse_modalities(modalities)
    if device is not None:
        fixed["training"] = {"device": device}
    return fixed


def numbers(seed: int, seeds: int, jobs: int | None) -> range:
    """Return the seeds.

    Raises:
        ConfigError: there are none, or nothing would run.
    """
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise ConfigError(f"{seeds} seeds, {jobs} jobs", expected="at least 1 of each")
    return range(seed, seed + seeds)


def complete_plan(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    built: Sequence[tuple[System, Sequence[PlannedRun]]],
    kind: Kind,
    *,
    split: str,
    jobs: int | None,
) -> Plan:
    """Check runs against data and folder, find what is done already, and share the cores.

    Args:
        data: path of the data set.
        dataset: that data set.
        out: folder of everything that is written.
        built: row of the table -> its runs, one per seed.
        kind: of comparison.
        split: to test on.
        jobs: runs at a time; None for as many as the machine has cores.

    Raises:
        ConfigError: no row can be trained, or the folder holds something else.
        DataError: a split is missing or empty.
    """
    for name in sorted({split} | _splits(runs[0].config for _, runs in built)):
        if not len(dataset[name]):
            raise DataError(f"split {name!r} of {data} is empty", expected="at least one sample")
    systems = []
    for row, runs in built:
        skipped = _why_not(dataset, runs[0].config)
        systems.append(PlannedSystem(row, () if skipped else tuple(runs), skipped))
    if all(system.skipped for system in systems):
        reasons = "; ".join(system.skipped for system in systems)
        raise ConfigError(f"none of the systems can work with {data}: {reasons}")
    check_folder(out, kind)
    at_once, threads = _share(systems, jobs)
    states = {
        key: _state(run, dataset.card.fingerprint)
        for system in systems
        for key, run in system.by_key.items()
    }
    return Plan(data, dataset, out, split, tuple(systems), states, at_once, threads, kind)


def _chosen(models: Sequence[str]) -> list[str]:
    """Names of the chosen systems in the order of the table."""
    wanted = {name.strip() for name in models}
    if "all" in wanted:
        wanted = wanted - {"all"} | set(SYSTEMS)
    for name in sorted(wanted):
        find_system(name)
    if not wanted:
        raise ConfigError("no systems to compare", expected=f"some of {', '.join(SYSTEMS)}, or all")
    return [name for name in SYSTEMS if name in wanted]


def _layers(config_file: Path | None, settings: Sequence[str]) -> Any:
    """Return what gives the layers of settings of a system."""
    given: dict[str, list[str]] = {}
    for item in settings:
        key, equals, value = item.partition("=")
        system, colon, inner = key.partition(":")
        owner = system.strip() if colon else "all"
        given.setdefault(owner, []).append((inner if colon else key) + equals + value)
    from_settings = {owner: parse_overrides(items) for owner, items in given.items()}
    from_file = read_toml(config_file) if config_file else {}
    for tables, where in ((from_file, str(config_file)), (from_settings, "--set")):
        for owner, values in tables.items():
            _check_layer(owner, values, where)

    def layers(name: str) -> list[Mapping[str, Any]]:
        sources = (from_file, from_settings)
        return [source.get(owner, {}) for source in sources for owner in ("all", name)]

    return layers


def _check_layer(owner: str, values: Any, where: str) -> None:
    """Refuse settings of nobody, and those that would make the runs no comparison."""
    if owner not in {"all", *SYSTEMS}:
        close = difflib.get_close_matches(owner, ["all", *SYSTEMS], n=1)
        raise ConfigError(
            f"{where}: settings for {owner!r}, which is no system",
            expected=f"did you mean {close[0]}?" if close else f"all, {', '.join(SYSTEMS)}",
            fix="in a file one table per system, with --set SYSTEM:model.KEY=VALUE",
        )
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {owner} = {values!r}", expected="a table of settings")
    if owner == "all" and (strange := sorted(set(values) - {"training", "data", "alignment"})):
        raise ConfigError(
            f"{where}: {', '.join(strange)} for all systems",
            expected="training.*, data.* or alignment.*: models have settings of their own",
            fix="name the system: --set tailor:model.hidden_size=128",
        )
    for table in ("model", "training", "data", "alignment"):
        if not isinstance(values.get(table, {}), Mapping):
            raise ConfigError(
                f"{where}: {table} = {values[table]!r} of {owner}", expected="a table of settings"
            )
    reserved = {("system",): "--models", ("data", "path"): "--data", ("training", "seed"): "--seed"}
    for path, option in reserved.items():
        if path[-1] in (values if len(path) == 1 else values.get(path[0], {})):
            raise ConfigError(
                f"{where}: {'.'.join(path)} of {owner}",
                expected="the same for all systems",
                fix=f"give it with {option}",
            )


def _build(
    name: str,
    preset: Preset,
    layers: list[Mapping[str, Any]],
    seed: int,
    *,
    aligned: bool = True,
) -> RunConfig:
    own = {"system": name, "training": {"seed": seed}}
    try:
        return RunConfig.build(*layers, own, system=name, preset=preset, aligned=aligned)
    except ConfigError as error:
        raise ConfigError(
            f"{name}: {error.found}", expected=error.expected, fix=error.fix
        ) from None


def _splits(configs: Iterable[RunConfig]) -> set[str]:
    return {name for c in configs for name in (c.data.train_split, c.data.valid_split)}


def _why_not(dataset: EmotionDataset, config: RunConfig) -> str:
    """Say why a system cannot be trained on these data, or nothing."""
    from emotailor.models.factory import model_class
    from emotailor.training.alignment import resolve_alignment

    row = find_system(config.system)
    try:
        dims = row.choose(dataset.dims, config.data.modalities)
        part = dataset[config.data.train_split]
        alignment = resolve_alignment(config.alignment, row, dims, dataset, part)
    except ConfigError as error:
        return f"{error.found}; expected {error.expected}"
    several = len(dims) > 1 and not dataset.aligned and alignment.kind == "none"
    takes = model_class(row.name).takes_unaligned or getattr(config.model, "takes_unaligned", False)
    if several and not takes:
        return "the data are unaligned, and it takes word-aligned data only"
    return ""


def check_folder(out: Path, kind: Kind) -> None:
    """Refuse a folder of something else: its files could bear the names of ours."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file", expected="a folder", fix="choose another --out")
    there = {path.name for path in out.iterdir()} - {".lock"} if out.exists() else set()
    if not there:
        return
    try:
        found = json.loads((out / kind.file).read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != kind.format:
        raise ConfigError(
            f"{out} is no {kind.name}, and not empty: it holds {min(there)!r}",
            expected=f"the folder of an earlier {kind.name}, or a path that is free",
            fix="choose another --out",
        )


def _share(systems: Sequence[PlannedSystem], jobs: int | None) -> tuple[int, int]:
    """Return how many runs go on at once, and the threads of each.

    It depends on the plan alone, not on what is done already: on a CPU the number of threads may
    change the last bits of a result.
    """
    from emotailor.experiments.processes import usable_cores
    from emotailor.training.setup import choose_device

    runs = [run.config.training.device for system in systems for run in system.runs]
    on_gpu = any(choose_device(device).type != "cpu" for device in sorted(set(runs)))
    cores = usable_cores()
    at_once = jobs or (1 if on_gpu else max(1, min(cores, len(runs))))
    chosen = os.environ.get("OMP_NUM_THREADS", "")  # by the user
    return at_once, int(chosen) if chosen.isdigit() and int(chosen) else max(1, cores // at_once)


def _state(run: PlannedRun, fingerprint: str) -> State:
    """Say how far a run is.

    Raises:
        ConfigError: its folder holds a run with other settings.
    """
    from emotailor.training.checkpoint import read_progress
    from emotailor.training.run_folder import RunFolder

    folder = RunFolder(run.folder)
    try:
        progress = read_progress(folder.checkpoint)
    except ModelError:  # damaged; the training itself says so
        return "started"
    if progress is None and not folder.model.exists():
        return "new"
    folder.claim(run.config, fingerprint)  # of a folder with a run in it, this only reads
    return "done" if progress is not None and progress.finished else "started"


def render_plan(plan: Plan) -> Table:
    """Return the table of what is to be done."""
    table = Table(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("system", "modalities", "seeds", "done", "go on", "to do"):
        table.add_column(column, overflow="fold")
    for system in plan.systems:
        if system.skipped:
            table.add_row(system.row.name, Text(f"skipped: {system.skipped}"))
            continue
        chosen = system.row.choose(plan.dataset.dims, system.runs[0].config.data.modalities)
        numbers = [run.config.training.seed for run in system.runs]
        states = [plan.states[key] for key in system.by_key]
        table.add_row(
            system.row.name,
            ", ".join(chosen),
            str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}",
            *(str(states.count(state)) for state in ("done", "started", "new")),
        )
    return table


def describe_plan(plan: Plan) -> str:
    """Return the plan in a line."""
    states = list(plan.states.values())
    threads = f"{plan.threads} thread{'s' * (plan.threads > 1)}"
    return (
        f"{len(states)} runs on {plan.dataset.card.name}: {states.count('done')} done, "
        f"{states.count('started')} go on, {states.count('new')} to do; {plan.jobs} at a time, "
        f"{threads} each -> {plan.out}"
    )


# ---------------------------------------------------------------------- running


def run_benchmark(
    plan: Plan,
    console: Console,
    *,
    thresholds: ThresholdMode = "tuned",
    resamples: int = 2000,
) -> BenchmarkResult:
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
    from emotailor.training.run_folder import RunFolder

    with RunFolder(plan.out).held():
        file = plan.out / plan.kind.file
        if not file.exists():  # from here on the folder is known as ours
            write_json(file, {"format": plan.kind.format, "data": _data(plan)})
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
    return BenchmarkResult(results, failed, tuple(plan.out / name for name in names))


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
    from emotailor.experiments.processes import Ended, Job, run_jobs

    jobs = {}
    for key, record in records.items():
        if plan.states[key] != "done":
            write_json(_settings_file(record.run), record.run.config.to_json())
            name = f"{key[0]} seed {key[1]}"
            jobs[key] = Job(name, training_command(record.run), log_of(record.run))
    if not jobs:
        return
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
        raise InterruptedRunError(
            f"stopped after {finished} of {len(records)} runs; all of it is kept in {plan.out}",
            fix="run the same command again to go on from here",
        )


def _plain_environment() -> dict[str, str]:
    """The environment without what would colour the logs."""
    return {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PY_COLORS")}


# ---------------------------------------------------------------------- testing


def _evaluate(
    plan: Plan,
    records: Mapping[RunKey, RunRecord],
    console: Console,
    thresholds: ThresholdMode,
) -> None:
    """Test every trained run on the split of the plan."""
    from emotailor.experiments.evaluate import evaluate_run
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


def _compare(
    plan: Plan, evaluations: Mapping[str, list[Any]], resamples: int
) -> dict[str, dict[str, PairedDifference]]:
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
    results = Results(
        rows=rows,
        title=f"{plan.dataset.card.name}, split {plan.split}, thresholds "
        f"{thresholds.replace('_', ' ')} on {_validation(plan)}",
        reference=_reference_title(plan) if differences else None,
        notes=_reading(plan, bool(evaluations), len(differences), resamples),
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


def _reading(plan: Plan, tested: bool, tests: int, resamples: int) -> list[str]:
    """What a reader of the table must know."""
    if not tested:
        return []
    lines = [
        "± is the standard deviation over runs that differ in their seed (n - 1).",
        f"Training time is the mean of a run, {plan.jobs} at a time with {plan.threads} thread"
        f"{'s' * (plan.threads > 1)} each.",
    ]
    if tests:
        lines.insert(
            1,
            "Difference: mean micro-F1 of the system minus that of "
            f"{_reference_title(plan)} on the same samples; interval and p by {resamples:,} paired "
            "resamples of whole videos. p is not corrected "
            f"for {tests} comparisons, and says nothing of other seeds.",
        )
    return [*lines, *plan.kind.notes]


def next_command(plan: Plan, result: BenchmarkResult) -> str | None:
    """Return a command that shows more of the results; None where there are none."""
    for row in result.results.rows:
        if row.done:
            return f"emotailor evaluate {shlex.quote(str(plan.out / row.name))}"
    return None
