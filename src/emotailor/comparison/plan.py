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
from rich.text import Text

from emotailor.comparison.results import read_ended
from emotailor.data.dataset import EmotionDataset
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.comparison import PairedDifference
from emotailor.folders import FolderKind, has_format, is_held
from emotailor.models.system import System
from emotailor.models.table import SYSTEMS, find_system, installed_systems, use_system
from emotailor.runs.train import PlannedRun
from emotailor.training.run_config import RunConfig

REFERENCE = "tailor"
FIRST_SEED = 42
POLL_SECONDS = 0.5

TABLES = ("table.md", "table.csv", "table.tex")
RUNS = ("*/seed*/config.json", "*/seed*.json", "*/seed*.log")
"""What a folder of a comparison holds of a run: its folder, its settings, and what it printed."""

State = Literal["done", "started", "new"]
RunKey = tuple[str, int]  # system and seed
Differences = Mapping[str, Mapping[str, PairedDifference]]  # row -> metric -> row minus reference


@dataclass(frozen=True)
class Kind:
    """What sets one comparison of several runs apart from another.

    Attributes:
        name: of its folders and of the file with everything.
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
            writes=(self.file, *TABLES, "report.html", *RUNS),
            signs=(self.file, RUNS[0]),
        )


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
        found: dict[RunKey, PlannedRun] = {}
        for system in self.systems:
            found |= system.by_key

        def seed(item: tuple[RunKey, PlannedRun]) -> int:
            return item[0][1]

        return dict(sorted(found.items(), key=seed))


def numbers(seed: int, seeds: int, jobs: int | None) -> range:
    """Return the seeds.

    Raises:
        ConfigError: there are none, or nothing would run.
    """
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise ConfigError(f"{seeds} seeds, {jobs} jobs", expected="at least 1 of each")
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
        kind: of comparison.
        split: to test on.
        jobs: runs at a time; None for as many as the machine has cores.
        skip: name of a row that is not to be run -> why.

    Raises:
        ConfigError: no row can be trained, or the folder holds something else or more.
        DataError: a split is missing or empty.
    """
    splits = {split} | _splits(runs[0].config for _, runs in built)
    for name in sorted(splits):
        if not len(dataset[name]):
            raise DataError(f"split {name!r} of {data} is empty", expected="at least one sample")

    systems = [_planned(row, runs, dataset, skip.get(row.name)) for row, runs in built]
    if all(system.skipped for system in systems):
        reasons = "; ".join(system.skipped for system in systems)
        raise ConfigError(f"none of the systems can work with {data}: {reasons}")

    _check_folders(systems)
    kind.folder.check(out)
    at_once, threads = _share(systems, jobs)

    states = {}
    for system in systems:
        for key, run in system.by_key.items():
            states[key] = _state(run, dataset.card.fingerprint)

    _check_rows(out, kind, systems)
    return Plan(data, dataset, out, split, tuple(systems), states, at_once, threads, kind)


def _planned(
    row: System, runs: Sequence[PlannedRun], dataset: EmotionDataset, skipped: str | None
) -> PlannedSystem:
    """Return what is to be done for one row."""
    why_not = skipped or _why_not(dataset, runs[0].config)
    if why_not:
        return PlannedSystem(row, (), why_not)
    return PlannedSystem(row, tuple(runs))


def _check_folders(systems: Sequence[PlannedSystem]) -> None:
    """Refuse two rows whose runs would lie in one folder."""
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
        folder = run.parent.name
        seed = run.name.removeprefix("seed")
        if seed.isdecimal():
            found.add((names.get(folder, folder), int(seed)))
    return found


def _share(systems: Sequence[PlannedSystem], jobs: int | None) -> tuple[int, int]:
    """Return how many runs go on at once, and the threads of each.

    It depends on the plan alone, not on what is done already: on a CPU the number of threads may
    change the last bits of a result.
    """
    from emotailor.comparison.processes import usable_cores
    from emotailor.training.setup import choose_device

    runs = [run for system in systems for run in system.runs]
    devices = {run.config.training.device for run in runs}
    on_gpu = any(choose_device(device).type != "cpu" for device in sorted(devices))
    cores = usable_cores()

    if jobs is not None:
        at_once = jobs
    elif on_gpu:
        at_once = 1
    else:
        at_once = max(1, min(cores, len(runs)))

    chosen = os.environ.get("OMP_NUM_THREADS", "")  # by the user
    if chosen.isdigit() and int(chosen) > 0:
        return at_once, int(chosen)
    return at_once, max(1, cores // at_once)


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

    folder.claim(run.config, fingerprint)  # of a folder with a run in it, this only reads
    if progress is None or not progress.finished:
        return "started"

    try:
        check_model(folder.model)
    except ModelError:
        return "started"  # its training makes it whole again, or says that it cannot
    return "done"


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


# ---------------------------------------------------------------------- trainings that go on alone


def wait_for_others(runs: Iterable[PlannedRun], console: Console) -> None:
    """Wait for trainings that go on alone since an earlier call was killed.

    Args:
        runs: that are not done.
        console: where to say that it waits.
    """
    folders = {run.folder for run in runs}
    told = False
    while busy := [folder for folder in sorted(folders) if is_held(folder)]:
        if not told:
            names = ", ".join(map(str, busy))
            console.print(
                f"waiting for trainings of an earlier call: {names}",
                soft_wrap=True, highlight=False, markup=False,
            )  # fmt: skip
            told = True
        time.sleep(POLL_SECONDS)
