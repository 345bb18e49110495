"""The time that the job of a paper's results is expected to take on this device: measured."""

import hashlib
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.text import Text

from emotailor.comparison.plan import Plan, PlannedSystem, wait_for_others
from emotailor.errors import DataError, EmotailorError, InterruptedRunError
from emotailor.evaluation.tables import duration
from emotailor.files import write_json
from emotailor.fitted import FittedTable
from emotailor.folders import held
from emotailor.paper.plan import FOLDER, Reproduction, Stage
from emotailor.paper.results import FORMAT
from emotailor.runs.train import PlannedRun
from emotailor.training.run_config import RunConfig
from emotailor.verified import read_json

if TYPE_CHECKING:
    from emotailor.training.timing import Speed

COLUMNS = ("stage", "rows", "runs", "done", "go on", "to do", "expected")
"""Columns of the table of stages."""


@dataclass(frozen=True)
class Expected:
    """The time that what is left is expected to take.

    Attributes:
        training: stage -> seconds of its trainings, with as many runs at a time as planned.
        testing: stage -> seconds of its tests.
        rows: stage -> system -> seconds of one training.
        unknown: kinds of runs that could not be timed, and why.
        may_stop: whether early stopping may make it less.
    """

    training: dict[str, float]
    testing: dict[str, float]
    rows: dict[str, dict[str, float]]
    unknown: dict[str, str]
    may_stop: bool

    @property
    def seconds(self) -> float:
        """Seconds of all trainings and tests."""
        return sum(self.training.values()) + sum(self.testing.values())


def trained_with(config: RunConfig) -> str:
    """Return the name of the device that a run is trained on."""
    from emotailor.training.setup import choose_device, device_name

    return device_name(choose_device(config.training.device))


def expect(reproduction: Reproduction, console: Console) -> Expected:
    """Time a few steps of every kind of run that is not done, and add up what is left.

    What was timed is kept in ``OUT/speed.json``, by the names of the devices. Finished runs of the
    same kind count instead of a few steps.

    Args:
        reproduction: the plan.
        console: where to say that it takes a while.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived.
        ConfigError: another process works in the folder.
    """
    open_stages = [stage for stage in reproduction.stages if not stage.complete]
    expected = Expected({}, {}, {}, {}, may_stop=False)
    if not open_stages:
        return expected

    speeds = _Speeds(reproduction.out / "speed.json", console)
    todo = speeds.unknown(_kinds(open_stages))
    if todo:
        wait_for_others(reproduction.left, console)  # what is timed beside them would take longer
        with held(reproduction.out):
            FOLDER.mark(reproduction.out, {"format": FORMAT})
            speeds.measure(todo)

    timed: list[PlannedRun] = []
    for stage in open_stages:
        _expect_stage(stage, speeds, expected)
        # a system that could not be timed has no row
        timed += _left(stage, expected.rows[stage.name])

    may_stop = any(run.config.training.patience is not None for run in timed)
    return replace(expected, may_stop=may_stop)


def _kinds(stages: Sequence[Stage]) -> list[tuple[Plan, RunConfig]]:
    """Return every kind of run of some stages: a plan, and the settings of a system in it."""
    kinds: list[tuple[Plan, RunConfig]] = []
    for stage in stages:
        for system in stage.plan.systems:
            if not system.runs:
                continue

            # the seeds of a system take the same time
            first = system.runs[0]
            kinds.append((stage.plan, first.config))
    return kinds


def _left(stage: Stage, rows: Collection[str]) -> list[PlannedRun]:
    """Return the runs of some rows that are left to this stage."""
    return [run for (name, _), run in stage.left.items() if name in rows]


def _expect_stage(stage: Stage, speeds: "_Speeds", expected: Expected) -> None:
    """Add what one stage is expected to take."""
    plan = stage.plan
    samples = len(plan.dataset[plan.split])
    left = stage.left
    trainings: list[float] = []  # seconds of each run that is left
    testing = 0.0
    rows = expected.rows.setdefault(stage.name, {})

    for system in plan.systems:
        if not system.runs:
            continue

        speed = speeds.of(plan, system.runs[0].config)
        if isinstance(speed, str):
            row_title = f"{stage.title}, {system.row.title}"
            expected.unknown[row_title] = speed
            continue

        seconds = _seconds_of_one(plan, system, speed)
        rows[system.row.name] = seconds
        testing += len(system.runs) * samples * speed.sample

        for key, run in system.by_key.items():
            if key in left:
                epochs_done, _ = _history(run)
                rest = 1 - epochs_done / speed.epochs
                trainings.append(speeds.start + max(rest, 0) * seconds)

    training = 0.0
    if trainings:
        # runs side by side take no less than the longest of them
        training = max(sum(trainings) / plan.jobs, *trainings)
    expected.training[stage.name] = training
    expected.testing[stage.name] = testing


def _seconds_of_one(plan: Plan, system: PlannedSystem, speed: "Speed") -> float:
    """Return how long one training takes: as the finished ones took, or else as it was timed."""
    taken = []
    for key, run in system.by_key.items():
        if plan.states[key] == "done":
            _, seconds = _history(run)
            taken.append(seconds)

    if not taken:
        return speed.seconds
    return float(np.mean(taken))


def _history(run: PlannedRun) -> tuple[int, float]:
    """Return how many epochs a run has done, and the seconds that it took for them."""
    from emotailor.training.checkpoint import read_progress

    try:
        progress = read_progress(run.folder / "checkpoint")
    except EmotailorError:  # damaged: the training itself says so
        return 0, 0.0

    if progress is None or not progress.history:
        return 0, 0.0

    last = progress.history[-1]
    return len(progress.history), float(last.seconds)


class _Speeds:
    """What has been timed on this machine, kept in a file.

    Args:
        file: the file that keeps it.
        console: where to say what happens.
    """

    def __init__(self, file: Path, console: Console) -> None:
        self.file = file
        self.console = console

        known: dict[str, Any] = {}
        with suppress(DataError):  # no file, or a damaged one: all is timed anew
            known = read_json(file, hashed_since=1, fix="remove it")
        self.known = {"start": {}, "runs": {}, **known}
        if not _are_speeds(self.known):
            self.known = {"start": {}, "runs": {}}

    @property
    def start(self) -> float:
        """Seconds until a process can begin to train."""
        return float(self.known["start"].get(platform.node(), 0.0))

    def of(self, plan: Plan, config: RunConfig) -> "Speed | str":
        """Return the speed of a run, or why it has none."""
        from emotailor.training.timing import Speed

        entry = self.known["runs"].get(_identity(plan, config))
        if entry is None:
            return "it was not timed"
        if "failed" in entry:
            return str(entry["failed"])
        return Speed(**entry["speed"])

    def unknown(self, kinds: Sequence[tuple[Plan, RunConfig]]) -> dict[str, tuple[Plan, RunConfig]]:
        """Return the kinds of runs that have not been timed, by identity."""
        found = {}
        for plan, config in kinds:
            key = _identity(plan, config)
            if key not in self.known["runs"]:
                found[key] = (plan, config)
        return found

    def measure(self, todo: Mapping[str, tuple[Plan, RunConfig]]) -> None:
        """Time some kinds of runs, and keep each at once."""
        from emotailor.training.timing import load_everything, time_start

        message = f"timing a few steps of {len(todo)} kinds of runs, some seconds each"
        self.console.print(message, highlight=False)
        if not self.start:
            self.known["start"][platform.node()] = time_start()

        # the first kind must not pay for the imports of all
        load_everything()
        for key, (plan, config) in todo.items():
            self.known["runs"][key] = _timed(plan, config)
            write_json(self.file, self.known)


def _are_speeds(known: Mapping[str, Any]) -> bool:
    """Return whether a file holds what was timed, as we write it."""
    start = known["start"]
    runs = known["runs"]
    if not isinstance(start, dict) or not isinstance(runs, dict):
        return False
    if not all(isinstance(seconds, int | float) for seconds in start.values()):
        return False
    return all(isinstance(entry, dict) and _is_speed(entry) for entry in runs.values())


def _is_speed(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry has a speed, or why there is none."""
    from emotailor.training.timing import Speed

    if "failed" in entry:
        return True
    speed = entry.get("speed")
    if not isinstance(speed, dict) or set(speed) != {field.name for field in fields(Speed)}:
        return False
    return all(isinstance(value, int | float) for value in speed.values())


def _timed(plan: Plan, config: RunConfig) -> dict[str, Any]:
    """Time a kind of run; return what the file keeps of it: its speed, or why it has none.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived.
    """
    from emotailor.training.timing import time_training

    entry: dict[str, Any] = {"device": trained_with(config), "system": config.system}
    try:
        speed = time_training(config, plan.threads)
    except InterruptedRunError:
        raise
    except (EmotailorError, RuntimeError, MemoryError) as error:
        # one kind that cannot be timed must not stop the job: its training will say more
        lines = str(error).splitlines()
        entry["failed"] = lines[0] if lines else type(error).__name__
        return entry

    entry["speed"] = asdict(speed)
    return entry


def _identity(plan: Plan, config: RunConfig) -> str:
    """Everything that decides how long a run takes, in a few letters."""
    values = config.to_json()
    values["data"]["path"] = plan.dataset.card.fingerprint

    # all seeds take the same time; another machine does not
    training = values["training"]
    training["seed"] = None
    training["device"] = trained_with(config)

    text = json.dumps([values, plan.threads], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return digest[:16]


def render_plan(reproduction: Reproduction, expected: Expected) -> RenderableType:
    """Return the stages, their runs, and the time they are expected to take."""
    table = FittedTable(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(COLUMNS[0], overflow="fold")
    for column in COLUMNS[1:]:  # numbers
        table.add_column(column, justify="right", overflow="fold")

    lines: list[RenderableType] = []
    for stage in reproduction.stages:
        table.add_row(*_stage_cells(stage, expected))
        lines += _stage_lines(stage)

    for line in reproduction.left_out:
        lines.append(Text(f"left out: {line}", "yellow"))
    for kind, why in expected.unknown.items():
        lines.append(Text(f"not timed: {kind}: {why}", "yellow"))
    return Group(table, *lines)


def _stage_cells(stage: Stage, expected: Expected) -> list[str]:
    """Return the row of one stage, a cell for every column."""
    rows = sum(bool(system.runs) for system in stage.plan.systems)
    training = expected.training.get(stage.name, 0.0)
    testing = expected.testing.get(stage.name, 0.0)

    # nothing is expected of a stage that is done, or that could not be timed
    seconds = training + testing
    time = duration(seconds) if seconds else ""
    return [
        stage.title,
        str(rows),
        str(len(stage.own)),
        str(stage.count("done")),
        str(stage.count("started")),
        str(stage.count("new")),
        time,
    ]


def _stage_lines(stage: Stage) -> list[RenderableType]:
    """Return what is to be said below the table of one stage."""
    lines: list[RenderableType] = []
    title = stage.title

    shared = len(stage.plan.runs) - len(stage.own)
    if shared:
        lines.append(Text(f"{title}: {shared} more of an earlier stage, trained once"))

    for system in stage.plan.systems:
        if system.skipped:
            row = f"{title}, {system.row.title}"
            lines.append(Text(f"{row} skipped: {system.skipped}", "yellow"))
    return lines


def early_stopping(expected: Expected) -> str:
    """Say that the time is that of all epochs, where a run may end sooner."""
    return " (less where early stopping ends a run)" if expected.may_stop else ""


def describe_plan(reproduction: Reproduction, expected: Expected) -> str:
    """Return the plan in a line."""
    done = reproduction.count("done")
    started = reproduction.count("started")
    new = reproduction.count("new")
    runs = done + started + new

    line = f"{runs} runs: {done} done, {started} go on, {new} to do"
    if done < runs:
        line += _describe_time(reproduction, expected)
    return f"{line} -> {reproduction.out}"


def _describe_time(reproduction: Reproduction, expected: Expected) -> str:
    """Return the end of that line: the time that is expected, and on what."""
    plan = next(stage.plan for stage in reproduction.stages if not stage.complete)

    # all runs of a reproduction are trained on one device
    first_run = next(iter(plan.runs.values()))
    device = trained_with(first_run.config)

    time = duration(expected.seconds)
    unless_stopped = early_stopping(expected)
    threads = plan.threads_in_words
    return (
        f"; expected {time}{unless_stopped} on {device}, {plan.at_once_in_words}, "
        f"{threads} each, and some minutes for figures and report"
    )
