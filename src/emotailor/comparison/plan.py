"""What a comparison of several runs is to do: the plan of a benchmark or of an ablation.

Nothing is written here. ``runner`` carries a plan out.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from emotailor.comparison.results import read_ended
from emotailor.data.dataset import EmotionDataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.comparison import PairedDifference
from emotailor.fitted import FittedTable
from emotailor.folders import FolderKind, has_format, is_held
from emotailor.models.system import System
from emotailor.models.table import SYSTEMS, find_system, installed_systems, use_system
from emotailor.runs.train import PlannedRun
from emotailor.training.run_config import RunConfig

REFERENCE = "tailor"
FIRST_SEED = 42
POLL_SECONDS = 0.5
ANY_GPU = ("auto", "cuda")  # names of devices that leave open which GPU it is

TABLES = ("table.md", "table.csv", "table.tex")
RUNS = ("*/seed*/config.json", "*/seed*.json", "*/seed*.log")
"""What a folder of a comparison holds of a run: its folder, its settings, and what it printed."""

COLUMNS = ("system", "modalities", "seeds", "done", "go on", "to do")
"""Columns of the table of a plan."""

State = Literal["done", "started", "new"]
RunKey = tuple[str, int]  # system and seed
Differences = Mapping[str, Mapping[str, PairedDifference]]  # row -> metric -> row minus reference


@dataclass(frozen=True)
class Kind:
    """What sets one comparison of several runs apart from another.

    Attributes:
        name: name in messages, and of the file with everything.
        reference: name of the row that the others are compared with.
        paper: which published numbers there are, or None.
        published: name of a row -> metric -> what was published.
        notes: what a reader of the published numbers must know.
        read: differences from the reference -> what else is to be said of them.
    """

    name: str = "benchmark"
    reference: str = REFERENCE
    paper: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read: Callable[[Differences], Sequence[str]] = lambda _: ()

    @property
    def format(self) -> str:
        """What the file with everything says it is."""
        return f"emotailor-{self.name}"

    @property
    def file(self) -> str:
        """Name of the file with everything."""
        return f"{self.name}.json"

    @property
    def folder(self) -> FolderKind:
        """How a folder of such a comparison is known."""
        return FolderKind(
            name=self.name,
            marker=self.file,
            recognises=has_format(self.format),
            writes=(self.file, *TABLES, "report.html", "baselines-*.json", *RUNS),
            signs=(self.file, RUNS[0]),
        )


@dataclass(frozen=True)
class PlannedSystem:
    """What is to be done for one system, or for one variant of a system.

    Attributes:
        row: row of the table of systems.
        runs: runs, one per seed; empty where the system is skipped.
        skipped: why it is skipped, or the empty string.
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
        split: split on which the systems are tested.
        systems: systems in the order of the table of systems.
        states: how far each run is.
        jobs: number of runs at a time.
        threads: number of threads of each run, on a CPU.
        kind: kind of comparison.
        gpus: the GPUs that the runs share, as ``CUDA_VISIBLE_DEVICES`` names them.
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
    gpus: tuple[str, ...] = ()

    @property
    def at_once_in_words(self) -> str:
        """How many runs go on side by side: ``2 at a time``, ``4 at a time on 2 GPUs``."""
        return side_by_side(self.jobs, len(self.gpus))

    @property
    def threads_in_words(self) -> str:
        """Threads of each run, as a sentence has them: ``1 thread``, ``4 threads``."""
        return "1 thread" if self.threads == 1 else f"{self.threads} threads"

    @property
    def runs(self) -> dict[RunKey, PlannedRun]:
        """All runs, the first seed of every system first."""
        found: dict[RunKey, PlannedRun] = {}
        for system in self.systems:
            found |= system.by_key

        # so every system has a result early
        def seed(item: tuple[RunKey, PlannedRun]) -> int:
            return item[0][1]

        return dict(sorted(found.items(), key=seed))

    @property
    def left(self) -> dict[RunKey, PlannedRun]:
        """The runs that are not done."""
        return {key: run for key, run in self.runs.items() if self.states[key] != "done"}


def side_by_side(jobs: int, gpus: int) -> str:
    """Say how many runs go on at a time, and on how many GPUs where they share several."""
    if gpus > 1:
        return f"{jobs} at a time on {gpus} GPUs"
    return f"{jobs} at a time"


def numbers(seed: int, seeds: int, jobs: int | None) -> range:
    """Return the seeds.

    Raises:
        ConfigError: there are none, or nothing would run.
    """
    too_few_jobs = jobs is not None and jobs < 1
    if seeds < 1 or too_few_jobs:
        found = f"{seeds} seeds, {jobs} jobs"
        raise ConfigError(found, expected="at least 1 of each")
    return range(seed, seed + seeds)


def use_systems(given: Sequence[str | type[Any] | System]) -> list[System]:
    """Return the rows of systems, loading those of others, each of which a new process can load.

    Raises:
        ConfigError: there is no such system, or no other process can find it.
    """
    rows = [use_system(one) for one in given]
    known = {*SYSTEMS, *installed_systems()}
    for row in rows:
        if row.name not in known and row.code is None:
            raise ConfigError(
                f"no other process can find {row.name}, and every run is trained in its own",
                expected="a class of a module or of a file",
                fix="write the class to a file and name it: path/to/file.py:Class",
            )
    return rows


def complete_plan(
    data: Path,
    dataset: EmotionDataset,
    out: Path,
    built: Sequence[tuple[System, Sequence[PlannedRun]]],
    kind: Kind,
    *,
    split: str,
    jobs: int | None,
    skip: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Check runs against data and folder, find what is done already, and share the cores.

    Args:
        data: path of the data set.
        dataset: that data set.
        out: folder of everything that is written.
        built: row of the table -> its runs, one per seed.
        kind: kind of comparison.
        split: split to test on.
        jobs: runs at a time; None for as many as the machine has GPUs, or else cores.
        skip: name of a row that is not to be run -> why.

    Raises:
        ConfigError: no row can be trained, or the folder holds something else or more.
        DataError: a split is missing or empty.
    """
    for name in sorted(_splits(built, split)):
        if len(dataset[name]) == 0:
            raise DataError(f"split {name!r} of {data} is empty", expected="at least one sample")

    systems = []
    for row, runs in built:
        system = _planned(row, runs, dataset, skip.get(row.name))
        systems.append(system)

    # one system that cannot be trained is no reason to stop
    reasons = [system.skipped for system in systems]
    if all(reasons):
        raise ConfigError(f"none of the systems can work with {data}: {'; '.join(reasons)}")

    _check_folders(systems)
    kind.folder.check(out)
    shared = share([run for system in systems for run in system.runs], jobs)

    states = {}
    for system in systems:
        for key, run in system.by_key.items():
            states[key] = _state(run, dataset.card.fingerprint)

    _check_rows(out, kind, systems)
    return Plan(
        data=data,
        dataset=dataset,
        out=out,
        split=split,
        systems=tuple(systems),
        states=states,
        jobs=shared.jobs,
        threads=shared.threads,
        kind=kind,
        gpus=shared.gpus,
    )


def _planned(
    row: System,
    runs: Sequence[PlannedRun],
    dataset: EmotionDataset,
    skipped: str | None,
) -> PlannedSystem:
    """Return what is to be done for one row."""
    reason = skipped or why_not(dataset, runs[0].config)
    if reason:
        return PlannedSystem(row, (), reason)
    return PlannedSystem(row, tuple(runs))


def _check_folders(systems: Sequence[PlannedSystem]) -> None:
    """Refuse two rows whose runs would lie in one folder."""
    # systems of others may have classes of the same name
    owners: dict[str, str] = {}
    for system in systems:
        name = system.row.name
        other = owners.setdefault(system.row.folder, name)
        if other != name:
            raise ConfigError(
                f"{other} and {name} would share the folder {system.row.folder}",
                expected="a name of its own for every system",
                fix="rename one of the two classes",
            )


def _splits(built: Sequence[tuple[System, Sequence[PlannedRun]]], tested: str) -> set[str]:
    """Return the splits that the runs need; all seeds of a row need the same ones."""
    found = {tested}
    for _, runs in built:
        data = runs[0].config.data
        found |= {data.train_split, data.valid_split}
    return found


def why_not(dataset: EmotionDataset, config: RunConfig) -> str:
    """Say why a system cannot be trained on these data, or nothing."""
    from emotailor.models.factory import model_class
    from emotailor.training.adapters import resolve_adapters
    from emotailor.training.alignment import resolve_alignment

    row = find_system(config.system)
    wanted = config.data.modalities
    given = [m for m in dataset.dims if wanted is None or m in wanted]
    if not row.usable(given):
        return f"it needs {row.needs}; given is {', '.join(given) or 'nothing that the data have'}"

    try:
        dims = row.choose(dataset.dims, config.data.modalities)
        part = dataset[config.data.train_split]
        alignment = resolve_alignment(config.alignment, row, dims, dataset, part)
        resolve_adapters(config.adapters, row, dims, dataset, part)
    except ConfigError as error:
        return f"{error.found}; expected {error.expected}"

    # one modality alone has nothing to be aligned with
    several = len(dims) > 1
    unaligned = not dataset.aligned and alignment.kind == "none"
    by_class = model_class(row.name).takes_unaligned
    by_settings = getattr(config.model, "takes_unaligned", False)
    if several and unaligned and not (by_class or by_settings):
        return "the data are unaligned, and it takes word-aligned data only"
    return ""


def _check_rows(out: Path, kind: Kind, systems: Sequence[PlannedSystem]) -> None:
    """Refuse to replace a table by a part of it."""
    planned = {key for system in systems for key in system.by_key}
    names = {name for name, _ in planned}
    lost = _tested_before(out, kind, systems) - planned
    if not lost:
        return

    # whole rows are missing, or some seeds of rows that are planned
    lost_names = sorted({name for name, _ in lost} - names)
    if lost_names:
        what = ", ".join(lost_names)
        fix = "name these as well"
    else:
        seeds = sorted({seed for _, seed in lost})
        what = f"seeds {', '.join(map(str, seeds))}"
        fix = "choose --seed and --seeds so that they have these"

    raise ConfigError(
        f"the table in {out} has {what} too, and would lose what is not asked for now",
        expected="all that the table has, or more; what is trained is not trained again",
        fix=f"{fix}, or choose another --out",
    )


def _tested_before(out: Path, kind: Kind, systems: Sequence[PlannedSystem]) -> set[RunKey]:
    """Return the runs that an earlier table has."""
    try:
        found = read_ended(out / kind.file)
    except DataError:  # lost or damaged: the runs themselves tell
        return _trained_before(out, systems)

    return set() if found is None else found.tested()


def _trained_before(out: Path, systems: Sequence[PlannedSystem]) -> set[RunKey]:
    """Return the runs in a folder that have a model."""
    names = {system.row.folder: system.row.name for system in systems}
    found = set()
    for card in out.glob("*/seed*/model/model.json"):
        run = card.parents[1]
        seed = run.name.removeprefix("seed")
        if not seed.isdecimal():
            continue

        # the folder of a system that is not planned now has no other name
        folder = run.parent.name
        name = names.get(folder, folder)
        found.add((name, int(seed)))
    return found


@dataclass(frozen=True)
class Shared:
    """How runs share the machine: how many at a time, the threads of each, and on which GPUs."""

    jobs: int
    threads: int
    gpus: tuple[str, ...]


def share(runs: Sequence[PlannedRun], jobs: int | None) -> Shared:
    """Share cores and GPUs among the runs.

    It depends on the plan alone, not on what is done already: on a CPU the number of threads may
    change the last bits of a result.
    """
    from emotailor.comparison.processes import usable_gpus
    from emotailor.cores import usable_cores
    from emotailor.training.setup import choose_device

    devices = sorted({run.config.training.device for run in runs})
    on_gpu = any(choose_device(device).type != "cpu" for device in devices)
    cores = usable_cores()

    # a device with a number is that one for all runs
    gpus: tuple[str, ...] = ()
    if any(device in ANY_GPU for device in devices):
        gpus = usable_gpus()

    if jobs is not None:
        at_once = jobs
    elif on_gpu:
        at_once = max(1, min(len(gpus), len(runs)))
    else:
        at_once = max(1, min(cores, len(runs)))

    # the user's choice wins
    threads = max(1, cores // at_once)
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen) > 0:
        threads = int(chosen)
    return Shared(at_once, threads, gpus)


def _state(run: PlannedRun, fingerprint: str) -> State:
    """Say how far a run is.

    Raises:
        ConfigError: its folder holds a run with other settings.
    """
    from emotailor.training.checkpoint import read_progress
    from emotailor.training.model_folder import check_model
    from emotailor.training.run_folder import RunFolder

    folder = RunFolder(run.folder)
    try:
        progress = read_progress(folder.checkpoint)
    except ModelError:  # damaged; the training itself says so
        return "started"

    if progress is None and not folder.model.exists():
        return "new"

    folder.check_settings(run.config, fingerprint)
    if progress is None or not progress.finished:
        return "started"

    try:
        check_model(folder.model)
    except ModelError:
        return "started"  # its training makes it whole again, or says that it cannot
    return "done"


def render_plan(plan: Plan) -> Table:
    """Return the table of what is to be done."""
    table = FittedTable(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        table.add_column(column, overflow="fold")

    for system in plan.systems:
        if not system.skipped:
            table.add_row(*_cells(plan, system))
    return table


def describe_skipped(plan: Plan) -> str:
    """Say in a line which systems are left out, and why; empty where none is."""
    by_reason: dict[str, list[str]] = {}
    for system in plan.systems:
        if system.skipped:
            by_reason.setdefault(system.skipped, []).append(system.row.name)
    if not by_reason:
        return ""

    parts = [f"{', '.join(names)} ({why})" for why, names in by_reason.items()]
    return f"left out: {'; '.join(parts)}"


def _cells(plan: Plan, system: PlannedSystem) -> list[str]:
    """Return the row of a system that is to be run, a cell for every column."""
    chosen = system.runs[0].config.data.modalities
    modalities = system.row.choose(plan.dataset.dims, chosen)

    # seeds count up from the first
    first = system.runs[0].config.training.seed
    last = system.runs[-1].config.training.seed
    seeds = str(first) if first == last else f"{first} to {last}"

    states = [plan.states[key] for key in system.by_key]
    return [
        system.row.name,
        ", ".join(modalities),
        seeds,
        str(states.count("done")),
        str(states.count("started")),
        str(states.count("new")),
    ]


def describe_plan(plan: Plan) -> str:
    """Return the plan in a line."""
    states = list(plan.states.values())
    done = states.count("done")
    started = states.count("started")
    new = states.count("new")

    name = plan.dataset.card.name
    total = len(states)
    return (
        f"{total} runs on {name}: {done} done, {started} go on, {new} to do; "
        f"{plan.at_once_in_words}, {plan.threads_in_words} each -> {plan.out}"
    )


# ---------------------------------------------------------------------- earlier trainings


def wait_for_others(runs: Iterable[PlannedRun], console: Console) -> None:
    """Wait for trainings that are still running since an earlier call was killed.

    Args:
        runs: the runs that are not done.
        console: where to say that it waits.
    """
    folders = sorted({run.folder for run in runs})
    told = False
    while True:
        busy = [folder for folder in folders if is_held(folder)]
        if not busy:
            return

        if not told:
            names = ", ".join(str(folder) for folder in busy)
            console.print(
                f"waiting for trainings of an earlier call: {names}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )
            told = True
        time.sleep(POLL_SECONDS)
