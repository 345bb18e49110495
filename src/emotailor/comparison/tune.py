"""The search: the best settings of every system on the validation split, with equal effort.

Each trial runs in a process of its own, as the runs of a benchmark do, and a stopped search is gone
on with by the same command::

    OUT/tune.json             what is searched
    OUT/journal.log           the trials, as Optuna stores them, unless --storage says where
    OUT/best.toml             the best settings, for `emotailor benchmark --config`
    OUT/trials.csv            a row for each trial
    OUT/table.md              a row for each system
    OUT/<system>/search.json  what the processes are told
    OUT/<system>/trial.log    what the trials printed
    OUT/<system>/trial<N>/    the runs of a trial that is under way
"""

import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType

from emotailor.comparison.given import (
    build_config,
    chosen_systems,
    for_system,
    settings_layers,
)
from emotailor.comparison.plan import ANY_GPU, FIRST_SEED, Shared, numbers, share, why_not
from emotailor.comparison.processes import Ended, Job, run_jobs
from emotailor.comparison.runner import plain_environment, say
from emotailor.comparison.search_space import search_space, settings_of, size_of, to_toml
from emotailor.comparison.trial import SystemSearch, best_settings
from emotailor.comparison.trials import WHY, ended_trials, note_deaths, optuna
from emotailor.comparison.tuned import Found, how_ended, render_result, to_csv, to_markdown
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, InterruptedRunError
from emotailor.evaluation.tables import duration
from emotailor.files import write_json, write_together
from emotailor.fitted import FittedTable
from emotailor.folders import FolderKind, has_format, held
from emotailor.models.base import FittedModel
from emotailor.models.factory import model_class
from emotailor.models.system import Preset, System
from emotailor.runs.train import PlannedRun, fixed_settings
from emotailor.text import plural
from emotailor.verified import content_hash, read_json

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MARKER = "tune.json"
FORMAT = "emotailor-tune"
BEST = "best.toml"
TRIALS = "trials.csv"
TABLE = "table.md"

FOLDER = FolderKind(
    name="search",
    marker=MARKER,
    recognises=has_format(FORMAT),
    writes=(MARKER, BEST, TRIALS, TABLE, "journal.log", "journal.log.lock", "*/search.json"),
    signs=(MARKER, "*/search.json"),
)


@dataclass(frozen=True)
class PlannedSearch:
    """What is to be searched of one system.

    Attributes:
        row: the system.
        search: what its processes are told; None where it is left out.
        skipped: why it is left out; empty where it is not.
    """

    row: System
    search: SystemSearch | None
    skipped: str = ""


@dataclass(frozen=True)
class TunePlan:
    """What a search is to do; nothing has been written yet.

    Attributes:
        data: path of the data set.
        out: folder of everything that is written.
        systems: in the order of the table of systems.
        about: what is searched, as the marker of the folder has it.
        shared: how the machine is shared.
        devices: name of a system -> device of its trainings.
    """

    data: Path
    out: Path
    systems: tuple[PlannedSearch, ...]
    about: Mapping[str, Any]
    shared: Shared
    devices: Mapping[str, str]

    @property
    def searches(self) -> dict[str, tuple[System, SystemSearch]]:
        """Name of a system that is searched -> its row and its search."""
        return {
            one.row.name: (one.row, one.search) for one in self.systems if one.search is not None
        }


@dataclass(frozen=True)
class TuneResult:
    """A finished search.

    Attributes:
        found: what was found, in the order of the table of systems.
        stored: the files that were written.
    """

    found: tuple[Found, ...]
    stored: tuple[Path, ...]

    @property
    def best(self) -> dict[str, Mapping[str, Any]]:
        """Name of a system -> its best settings."""
        return {one.row.name: one.settings for one in self.found if one.settings is not None}

    @property
    def failed(self) -> int:
        """The number of trials that failed."""
        return sum(one.count("FAIL") for one in self.found)

    def __repr__(self) -> str:
        count = sum(len(one.trials) for one in self.found)
        return f"TuneResult({plural(len(self.best), 'system')}, {plural(count, 'trial')})"


# ---------------------------------------------------------------------- plan


def tune(
    data: str | Path, out: str | Path, *, console: Console | None = None, **options: Any
) -> TuneResult:
    """Search the settings of systems on one data set, or go on where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of trials and tables.
        console: where to print what happens; by default nowhere.
        options: options of :func:`plan_tune`.

    Raises:
        EmotailorError: as :func:`plan_tune` and :func:`run_tune`.
    """
    plan = plan_tune(Path(data), Path(out), **options)
    return run_tune(plan, console or Console(quiet=True))


def plan_tune(
    data: Path,
    out: Path,
    *,
    models: Sequence[str | type[Any] | System] = ("all",),
    trials: int = 10,
    seeds: int = 1,
    seed: int = FIRST_SEED,
    tried: Sequence[str] = (),
    prune: bool = True,
    storage: str | None = None,
    preset: Preset = "tuned",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    modalities: Sequence[str] | None = None,
    device: str | None = None,
    jobs: int | None = None,
    training: Mapping[str, Any] | None = None,
) -> TunePlan:
    """Put the searches of all systems together, checked, before anything heavy starts.

    Settings that are given win over those that are tried.

    Args:
        data: stored data set.
        out: folder of trials and tables.
        models: as for ``plan_benchmark``.
        trials: of each system; fewer where it has fewer settings to try.
        seeds: number of runs of each trial.
        seed: of the search, and of the first run.
        tried: ``KEY=VALUE,VALUE``, tried in place of what the system tries of that setting.
        prune: end trials early that are worse than the median of the others.
        storage: address of the trials; None for a file in ``out``.
        preset: where settings come from that are neither given nor tried.
        config_file: as for ``plan_benchmark``.
        settings: as for ``plan_benchmark``.
        modalities: as for ``plan_benchmark``.
        device: to train on.
        jobs: trials at a time; by default one per GPU, or else one per core.
        training: settings of all trainings that options give, such as ``{"epochs": 5}``.

    Raises:
        ConfigError: a wrong setting, no system left, Optuna is not installed, or ``out`` holds
            another search.
        DataError: no such data set, or a split is empty.
    """
    if trials < 1:
        raise ConfigError(f"{trials} trials", expected="at least 1")
    optuna()
    rows = chosen_systems(models)
    layers = settings_layers(config_file, settings, rows)
    fixed = fixed_settings(data, modalities, device, training)
    dataset = open_dataset(data)
    run_seeds = tuple(numbers(seed, seeds, jobs))

    planned = []
    examples = []
    for row in rows:
        given = [*layers(row), for_system(fixed, row)]
        config = build_config(row.name, preset, given, seed, card=dataset.card)
        _check_valid(dataset, config.data.valid_split)
        reason = why_not(dataset, config)
        if reason:
            planned.append(PlannedSearch(row, None, reason))
            continue

        examples.append(PlannedRun(config, out / row.folder))
        by_gradients = not issubclass(model_class(row.name), FittedModel)
        space = search_space(row, tried, by_gradients=by_gradients)
        told = SystemSearch(
            system=row.name,
            name="",
            storage=storage,
            place=f"{socket.gethostname()}:{out.absolute()}",
            data=str(data),
            preset=preset,
            given=tuple(json.loads(json.dumps(given, default=list))),
            space=tuple({"name": one.name, "options": one.options} for one in space),
            seed=seed,
            seeds=run_seeds,
            trials=min(trials, size_of(space)),
            prune=prune,
        )
        _check_all(told, dataset)
        planned.append(PlannedSearch(row, told))

    if not examples:
        reasons = "; ".join(one.skipped for one in planned)
        raise ConfigError(f"none of the systems can work with {data}: {reasons}")

    FOLDER.check(out)
    about = _about(planned, dataset)
    earlier = _earlier(out, about)
    named = [_named(one, about) for one in planned]
    devices = {run.config.system: run.config.training.device for run in examples}
    count = sum(one.search.trials for one in named if one.search is not None)
    most = [run for run in examples for _ in range(trials)][:count]
    whole = {**about, "searches": {**earlier, **about["searches"]}}
    return TunePlan(data, out, tuple(named), whole, share(most, jobs), devices)


def _check_valid(dataset: EmotionDataset, name: str) -> None:
    if len(dataset[name]) == 0:
        raise DataError(f"split {name!r} is empty", expected="samples to judge the trials by")


def _check_all(search: SystemSearch, dataset: EmotionDataset) -> None:
    """Refuse an option that is no setting of the system, before hours of others.

    Raises:
        ConfigError: there is one.
    """
    for choice in search.choices:
        for option in choice.options:
            layers = [settings_of({choice.name: option}), *search.given]
            build_config(search.system, search.preset, layers, search.seed, card=dataset.card)


def _about(planned: Sequence[PlannedSearch], dataset: EmotionDataset) -> dict[str, Any]:
    """Return what is searched: everything that the results depend on."""
    searches = {}
    for one in planned:
        if one.search is not None:
            told = one.search.model_dump(
                mode="json", exclude={"name", "storage", "place", "trials"}
            )
            # a data set that moves is still the same
            told.pop("data")
            for table in told["given"]:
                table.get("data", {}).pop("path", None)
            searches[one.row.name] = told
    return {
        "format": FORMAT,
        "data": {"name": dataset.card.name, "fingerprint": dataset.card.fingerprint},
        "searches": searches,
    }


def _earlier(out: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the folder says of earlier systems of the same search.

    Raises:
        ConfigError: it has another search.
    """
    file = out / MARKER
    if not file.exists():
        return {}
    before = read_json(file, fix="choose another --out", error=ConfigError)
    if before.get("data") != about["data"]:
        raise ConfigError(
            f"{out} holds a search on {before.get('data', {}).get('name')!r}",
            expected=f"one on {about['data']['name']!r}, with the same content",
            fix="choose another --out",
        )
    # further systems may be added, and further trials
    earlier: dict[str, Any] = before.get("searches", {})
    for name, told in about["searches"].items():
        other = earlier.get(name, told)
        differing = [key for key in told if told[key] != other.get(key)]
        if differing:
            key = differing[0]
            raise ConfigError(
                f"{out} holds a search of {name} with other settings: {key} was {other.get(key)}",
                expected="the settings that it was begun with, to go on",
                fix=f"give these, or choose another --out; now {key} is {told[key]}",
            )
    return earlier


def _named(one: PlannedSearch, about: Mapping[str, Any]) -> PlannedSearch:
    """Return a search with its name in the storage, where others may be, too."""
    if one.search is None:
        return one
    told = about["searches"][one.row.name]
    digest = content_hash({"data": about["data"], "search": told})[:16]
    search = one.search.model_copy(update={"name": f"emotailor {one.row.name} {digest}"})
    return PlannedSearch(one.row, search)


def render_plan(plan: TunePlan) -> RenderableType:
    """Return a table of what will be tried."""
    table = FittedTable(box=SIMPLE_HEAD, show_edge=False)
    for title in ("system", "trials", "of", "what is tried"):
        table.add_column(title, justify="left" if title in ("system", "what is tried") else "right")
    for one in plan.systems:
        if one.search is None:
            table.add_row(one.row.title, "-", "-", f"left out: {one.skipped}")
            continue
        space = one.search.choices
        keys = "; ".join(choice.keys for choice in space)
        table.add_row(one.row.title, str(one.search.trials), str(size_of(space)), keys)
    return table


def describe_plan(plan: TunePlan) -> str:
    """Say how many trainings there are, how many at a time, and by what they are judged."""
    searches = [search for _, search in plan.searches.values()]
    runs = sum(search.trials * len(search.seeds) for search in searches)
    at_once = f"{plan.shared.jobs} at a time"
    return (
        f"{plural(runs, 'training')}, {at_once}; judged on the validation split by the mean of "
        "micro-F1 (its threshold tuned there) and mAP"
    )


# ---------------------------------------------------------------------- carry out


def run_tune(plan: TunePlan, console: Console) -> TuneResult:
    """Carry out the trials that are left, and store what was found.

    Args:
        plan: of :func:`plan_tune`.
        console: where to print what happens.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; every trial under way has been stopped.
        ConfigError: another process works in the folder.
    """
    with held(plan.out):
        write_json(plan.out / MARKER, dict(plan.about))
        FOLDER.sweep(plan.out)
        for row, search in plan.searches.values():
            search.write(plan.out / row.folder)

        studies = {}
        for name, (row, search) in plan.searches.items():
            studies[name] = search.open(plan.out / row.folder)
        _carry_out(plan, studies, console)
        found = tuple(_found(plan, one, studies) for one in plan.systems)
        stored = _write(plan, found)
    console.print(render_result(found))
    return TuneResult(found, stored)


def _carry_out(plan: TunePlan, studies: "Mapping[str, Study]", console: Console) -> None:
    """Let processes carry out trials until all have ended."""
    left = _left(plan, studies)
    while left:
        progress = _Progress(plan, studies, console, len(left))
        environment = plain_environment()
        environment["OMP_NUM_THREADS"] = str(plan.shared.threads)
        signal_number = run_jobs(
            [_job(plan, name) for name in left],
            at_once=plan.shared.jobs,
            environment=environment,
            on_start=lambda _: None,
            on_end=progress.ended,
            on_stop=progress.stopping,
            gpus=plan.shared.gpus,
        )
        if signal_number is not None:
            ended = _count(plan, studies)
            raise InterruptedRunError(
                f"stopped after {plural(ended, 'trial')}; all of it is kept in {plan.out}",
                fix="run the same command again, which goes on",
            )

        before = len(left)
        left = _left(plan, studies)
        if len(left) >= before and not progress.deaths:
            raise ConfigError(
                f"{plural(len(left), 'trial')} of {', '.join(dict.fromkeys(left))} are under way "
                "elsewhere",
                expected="to carry them out here",
                fix="wait for the other hosts, then run the same command again",
            )


def _left(plan: TunePlan, studies: "Mapping[str, Study]") -> list[str]:
    """Return the system of each trial that has not ended, one of each system in turn."""
    missing = {}
    for name, (_, search) in plan.searches.items():
        missing[name] = search.trials - len(ended_trials(studies[name], search.trials))
    rounds = max(missing.values(), default=0)
    return [name for number in range(rounds) for name, count in missing.items() if number < count]


def _count(plan: TunePlan, studies: "Mapping[str, Study]") -> int:
    searches = plan.searches.items()
    return sum(len(ended_trials(studies[name], search.trials)) for name, (_, search) in searches)


def _job(plan: TunePlan, name: str) -> Job:
    """Return the job that carries out one trial of a system."""
    row, _ = plan.searches[name]
    folder = plan.out / row.folder
    command = [sys.executable, "-m", "emotailor", "trial", str(folder)]
    # a new process loads no code from outside unless it is told to
    if row.code is not None:
        command.append(f"--model={row.code}")

    device = plan.devices[name]
    log = folder / "trial.log"
    if device == "cpu":
        return Job(name, command, log, "cpu")
    if plan.shared.gpus and device in ANY_GPU:
        return Job(name, command, log, "gpu")
    return Job(name, command, log)


class _Progress:
    """Tells how far the search is, a line for every trial that has ended.

    Args:
        plan: of the search.
        studies: name of a system -> its trials.
        console: where to print.
        count: of trials that are left.

    Attributes:
        deaths: how many processes have died.
    """

    def __init__(
        self, plan: TunePlan, studies: "Mapping[str, Study]", console: Console, count: int
    ) -> None:
        self.plan = plan
        self.studies = studies
        self.console = console
        self.count = count
        self.began = time.monotonic()
        self.done = 0
        self.deaths = 0
        self._told = {name: self._ended(name) for name in plan.searches}

    def _ended(self, name: str) -> "dict[int, FrozenTrial]":
        _, search = self.plan.searches[name]
        return {one.number: one for one in ended_trials(self.studies[name], search.trials)}

    def ended(self, end: Ended) -> None:
        """Print how the trials have ended that nobody was told of."""
        name = end.job.name
        row, search = self.plan.searches[name]
        if end.code < 0:
            self.deaths += 1
            note_deaths(
                self.studies[name],
                self.plan.out / row.folder,
                trials=search.trials,
                place=search.place,
                why=end.message,
            )
            self._line(f"died      {row.title}: {end.message}")

        now = self._ended(name)
        for number, trial in now.items():
            if number not in self._told[name]:
                self.done += 1
                self._line(f"{how_ended(trial):9} {row.title} trial {number}{_reached(trial, now)}")
        self._told[name] = now

    def stopping(self, running: int) -> None:
        self._line(
            f"stopping: {plural(running, 'trial')} under way save their checkpoints (once more to "
            "kill them)"
        )

    def _line(self, text: str) -> None:
        passed = duration(time.monotonic() - self.began)
        say(self.console, f"{passed:>8}  {self.done:>3}/{self.count}  {text}")


def _reached(trial: "FrozenTrial", all_ended: "Mapping[int, FrozenTrial]") -> str:
    """Say what a trial has reached, or why it has not."""
    if trial.state.name == "FAIL":
        why = trial.user_attrs.get(WHY, "its process ended")
        return f": {why.splitlines()[0]}"
    if trial.state.name == "PRUNED":
        return f" after epoch {len(trial.intermediate_values)}: worse than the median"
    values = [one.value for one in all_ended.values() if one.state.name == "COMPLETE"]
    best = max(value for value in values if value is not None)
    return f": {trial.value:.4f} (best {best:.4f})"


def _found(plan: TunePlan, one: PlannedSearch, studies: "Mapping[str, Study]") -> Found:
    """Return what was found of one system."""
    if one.search is None:
        return Found(one.row, skipped=one.skipped)
    trials = ended_trials(studies[one.row.name], one.search.trials)
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if not complete:
        return Found(one.row, trials)
    # of equal ones the first
    best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))
    return Found(one.row, trials, best, best_settings(one.search, best.params))


def _write(plan: TunePlan, found: Sequence[Found]) -> tuple[Path, ...]:
    settings = {one.row.name: dict(one.settings) for one in found if one.settings is not None}
    name = plan.about["data"]["name"]
    head = f"Found by `emotailor tune` on the validation split of {name}."
    texts = {
        plan.out / BEST: to_toml(settings, head),
        plan.out / TRIALS: to_csv(found),
        plan.out / TABLE: to_markdown(found),
    }
    write_together(texts)
    return tuple(texts)
