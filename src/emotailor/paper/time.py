"""The time that the job of a paper's results is expected to take: from sizes, or measured."""

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
from emotailor.errors import DataError, EmotailorError
from emotailor.evaluation.tables import duration, rough_duration
from emotailor.files import write_json
from emotailor.fitted import FittedTable
from emotailor.folders import held
from emotailor.models.table import find_system
from emotailor.paper.plan import FOLDER, Reproduction, Stage
from emotailor.paper.results import FORMAT
from emotailor.runs.train import PlannedRun
from emotailor.training.run_config import RunConfig
from emotailor.verified import read_json

if TYPE_CHECKING:
    from emotailor.training.timing import Speed

START_SECONDS = 4.0
"""Until a process can begin to train, where that was not timed."""

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
        is_rough: whether some of it follows from sizes alone.
    """

    training: dict[str, float]
    testing: dict[str, float]
    rows: dict[str, dict[str, float]]
    unknown: dict[str, str]
    may_stop: bool
    is_rough: bool = False

    @property
    def seconds(self) -> float:
        """Seconds of all trainings and tests."""
        return sum(self.training.values()) + sum(self.testing.values())


def trained_with(config: RunConfig) -> str:
    """Return the name of the device that a run is trained on."""
    from emotailor.training.setup import choose_device, device_name

    return device_name(choose_device(config.training.device))


def expect(reproduction: Reproduction, console: Console, *, measure: bool = False) -> Expected:
    """Add up what is left: as finished runs took, as it was timed, or else by sizes alone.

    Args:
        reproduction: the plan.
        console: where to say what happens.
        measure: time a few steps of every kind of run that is not done and was not timed before.
            What was timed is kept in ``OUT/speed.json``, by the names of the devices. Without
            this, nothing is written.

    Raises:
        ConfigError: another process works in the folder, and something is to be timed.
    """
    open_stages = [stage for stage in reproduction.stages if not stage.complete]
    expected = Expected({}, {}, {}, {}, may_stop=False)
    if not open_stages:
        return expected

    speeds = _Speeds(reproduction.out / "speed.json", console)
    if measure:
        _measure(reproduction, open_stages, speeds, console)

    timed: list[PlannedRun] = []
    for stage in open_stages:
        _expect_stage(stage, speeds, expected)
        # a system of an unknown speed has no row
        timed += _left(stage, expected.rows[stage.name])

    may_stop = any(run.config.training.patience is not None for run in timed)
    return replace(expected, may_stop=may_stop, is_rough=speeds.has_estimated)


def _measure(
    reproduction: Reproduction, stages: Sequence[Stage], speeds: "_Speeds", console: Console
) -> None:
    """Time the kinds of runs that nobody has timed yet."""
    todo = speeds.unknown(_kinds(stages))
    if not todo:
        return

    wait_for_others(reproduction.left, console)  # what is timed beside them would take longer
    with held(reproduction.out):
        FOLDER.mark(reproduction.out, {"format": FORMAT})
        speeds.measure(todo)


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
    """What has been timed on this machine, kept in a file, and estimates of the rest.

    Args:
        file: the file that keeps it.
        console: where to say what happens.

    Attributes:
        has_estimated: whether a speed that was asked for had not been timed.
    """

    def __init__(self, file: Path, console: Console) -> None:
        self.file = file
        self.console = console
        self.has_estimated = False
        self._rates: dict[str, float] = {}  # device -> operations a second

        known: dict[str, Any] = {}
        with suppress(DataError):  # no file, or a damaged one: all is timed anew
            known = read_json(file, hashed_since=1, fix="remove it")
        self.known = {"start": {}, "runs": {}, **known}
        if not _are_speeds(self.known):
            self.known = {"start": {}, "runs": {}}

    @property
    def start(self) -> float:
        """Seconds until a process can begin to train."""
        timed = self.known["start"].get(platform.node(), START_SECONDS)
        return float(timed)

    def of(self, plan: Plan, config: RunConfig) -> "Speed | str":
        """Return the speed of a run, or why it has none."""
        from emotailor.training.timing import Speed

        entry = self.known["runs"].get(_identity(plan, config))
        if entry is None:
            return self._estimate(plan, config)
        if "failed" in entry:
            return str(entry["failed"])
        return Speed(**entry["speed"])

    def _estimate(self, plan: Plan, config: RunConfig) -> "Speed | str":
        """Return the speed that follows from the size of a run, or why none does."""
        from emotailor.training.sizes import estimate_speed, size_of

        self.has_estimated = True
        try:
            size = size_of(config, plan.dataset)
            rate = self._rate(plan, config)
        except (EmotailorError, RuntimeError) as error:
            return _first_line(error)

        speed = estimate_speed(size, config, rate)
        if speed is None:
            return "it is fitted at once, in seconds or minutes"
        return speed

    def _rate(self, plan: Plan, config: RunConfig) -> float:
        """Return the operations a second of the device of a run."""
        import torch

        from emotailor.training.precision import matmul_rate
        from emotailor.training.setup import choose_device

        device = str(choose_device(config.training.device))
        if device not in self._rates:
            self._rates[device] = matmul_rate(torch.float32, device)

        # a run on a CPU has its share of the threads
        share = plan.threads / torch.get_num_threads() if device == "cpu" else 1.0
        return self._rates[device] * min(share, 1.0)

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

        if platform.node() not in self.known["start"]:
            self.known["start"][platform.node()] = time_start()

        # the first kind must not pay for the imports of all
        load_everything()
        for number, (key, (plan, config)) in enumerate(todo.items(), 1):
            title = find_system(config.system).title
            line = f"timing a few steps, {number} of {len(todo)}: {title}"
            self.console.print(line, highlight=False, markup=False)
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
    """Time a kind of run; return what the file keeps of it: its speed, or why it has none."""
    from emotailor.training.timing import time_training

    entry: dict[str, Any] = {"device": trained_with(config), "system": config.system}
    try:
        speed = time_training(config, plan.threads)
    except (EmotailorError, RuntimeError, MemoryError) as error:
        # one kind that cannot be timed must not stop the job: its training will say more
        entry["failed"] = _first_line(error)
        return entry

    entry["speed"] = asdict(speed)
    return entry


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


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
    for line in _not_in_it(expected):
        lines.append(Text(line, "yellow"))
    return Group(table, *lines)


def _not_in_it(expected: Expected) -> list[str]:
    """Say which kinds of runs the time leaves out: a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for kind, why in expected.unknown.items():
        by_reason.setdefault(why, []).append(kind)
    return [f"not in the time: {'; '.join(kinds)}: {why}" for why, kinds in by_reason.items()]


def _stage_cells(stage: Stage, expected: Expected) -> list[str]:
    """Return the row of one stage, a cell for every column."""
    rows = sum(bool(system.runs) for system in stage.plan.systems)
    training = expected.training.get(stage.name, 0.0)
    testing = expected.testing.get(stage.name, 0.0)

    # nothing is expected of a stage that is done, or whose speed is unknown
    seconds = training + testing
    time = ""
    if seconds:
        time = f"~ {rough_duration(seconds)}" if expected.is_rough else duration(seconds)
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


SOONER = "less where early stopping ends a run"


def early_stopping(expected: Expected) -> str:
    """Say that the time is that of all epochs, where a run may end sooner."""
    return f" ({SOONER})" if expected.may_stop else ""


def remarks(expected: Expected) -> str:
    """Return in one bracket what the expected time leaves out; nothing where it leaves out none."""
    found = []
    if expected.is_rough:
        found.append("from sizes alone: --measure times it")
    if expected.may_stop:
        found.append(SOONER)
    return f" ({'; '.join(found)})" if found else ""


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

    time = f"expected {duration(expected.seconds)}"
    if expected.is_rough:
        time = f"very roughly {rough_duration(expected.seconds)}"
    threads = plan.threads_in_words
    return (
        f"; {time}{remarks(expected)} on {device}, {plan.at_once_in_words}, "
        f"{threads} each, and some minutes for figures and report"
    )
