"""The time that the job of a paper's results is expected to take on this device: measured."""

import hashlib
import json
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.comparison.plan import Plan, wait_for_others
from emotailor.errors import EmotailorError, InterruptedRunError
from emotailor.evaluation.tables import duration
from emotailor.files import write_json
from emotailor.folders import held
from emotailor.paper.plan import FOLDER, Reproduction, Stage
from emotailor.paper.results import FORMAT
from emotailor.runs.train import PlannedRun
from emotailor.training.run_config import RunConfig


@dataclass(frozen=True)
class Expected:
    """The time that what is left is expected to take.

    Attributes:
        training: stage -> seconds, with so many runs at a time as planned.
        testing: stage -> seconds.
        rows: stage -> system -> seconds of one run.
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
        """All of it."""
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

    for stage in open_stages:
        _expect_stage(stage, speeds, expected)
    timed = [run for stage in open_stages for run in _left(stage, expected.rows[stage.name])]
    may_stop = any(run.config.training.patience is not None for run in timed)
    return replace(expected, may_stop=may_stop)


def _kinds(stages: Sequence[Stage]) -> list[tuple[Plan, RunConfig]]:
    """Return every kind of run of some stages: a plan, and the settings of a system in it."""
    kinds: list[tuple[Plan, RunConfig]] = []
    for stage in stages:
        systems = [system for system in stage.plan.systems if system.runs]
        kinds += [(stage.plan, system.runs[0].config) for system in systems]
    return kinds


def _left(stage: Stage, rows: Collection[str]) -> list[PlannedRun]:
    """Return the runs of some rows that are not done, but for those of an earlier stage."""
    left = []
    for key, run in stage.plan.runs.items():
        name, _ = key
        if name in rows and key in stage.own and stage.plan.states[key] != "done":
            left.append(run)
    return left


def _expect_stage(stage: Stage, speeds: "_Speeds", expected: Expected) -> None:
    """Add what one stage is expected to take."""
    plan = stage.plan
    left: list[float] = []  # seconds of each run that is not done
    testing = 0.0
    rows = expected.rows.setdefault(stage.name, {})

    for system in plan.systems:
        if not system.runs:
            continue
        found = speeds.of(plan, system.runs[0].config)
        if isinstance(found, str):
            expected.unknown[f"{stage.title}, {system.row.title}"] = found
            continue

        by_key = system.by_key
        done = [_history(run)[1] for key, run in by_key.items() if plan.states[key] == "done"]
        seconds = float(np.mean(done)) if done else found.seconds
        rows[system.row.name] = seconds
        testing += len(system.runs) * len(plan.dataset[plan.split]) * found.sample

        for key, run in by_key.items():
            if key in stage.own and plan.states[key] != "done":
                rest = 1 - _history(run)[0] / found.epochs
                left.append(speeds.start + max(rest, 0) * seconds)

    # runs side by side take no less than the longest of them
    expected.training[stage.name] = max([sum(left) / plan.jobs, *left]) if left else 0.0
    expected.testing[stage.name] = testing


def _history(run: PlannedRun) -> tuple[int, float]:
    """Epochs a run has done, and seconds it took for them."""
    from emotailor.training.checkpoint import read_progress

    try:
        progress = read_progress(run.folder / "checkpoint")
    except EmotailorError:
        return 0, 0.0
    if progress is None or not progress.history:
        return 0, 0.0
    return len(progress.history), float(progress.history[-1].seconds)


class _Speeds:
    """What has been timed on this machine, kept in a file.

    Args:
        file: of them.
        console: where to say what happens.
    """

    def __init__(self, file: Path, console: Console) -> None:
        self.file, self.console = file, console
        try:
            self.known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self.known = {"start": {}, "runs": {}, **self.known}

    @property
    def start(self) -> float:
        """Seconds until a process can begin to train."""
        return float(self.known["start"].get(platform.node(), 0.0))

    def of(self, plan: Plan, config: RunConfig) -> Any:
        """Return the speed of a run, or why it has none."""
        from emotailor.training.timing import Speed

        found = self.known["runs"].get(_identity(plan, config), {"failed": "it was not timed"})
        return found["failed"] if "failed" in found else Speed(**found["speed"])

    def unknown(self, kinds: Sequence[tuple[Plan, RunConfig]]) -> dict[str, tuple[Plan, RunConfig]]:
        """Return those of some kinds of runs that have not been timed, by identity."""
        found = {_identity(plan, config): (plan, config) for plan, config in kinds}
        return {key: kind for key, kind in found.items() if key not in self.known["runs"]}

    def measure(self, todo: Mapping[str, tuple[Plan, RunConfig]]) -> None:
        """Time some kinds of runs, and keep each at once."""
        from emotailor.training.timing import load_everything, time_start, time_training

        self.console.print(
            f"timing a few steps of {len(todo)} kinds of runs, some seconds each", highlight=False
        )
        if not self.start:
            self.known["start"][platform.node()] = time_start()
        load_everything()
        for key, (plan, config) in todo.items():
            entry: dict[str, Any] = {"device": trained_with(config), "system": config.system}
            try:
                entry["speed"] = asdict(time_training(config, plan.threads))
            except InterruptedRunError:
                raise
            except (EmotailorError, RuntimeError, MemoryError) as error:
                entry["failed"] = (str(error).splitlines() or [type(error).__name__])[0]
            self.known["runs"][key] = entry
            write_json(self.file, self.known)


def _identity(plan: Plan, config: RunConfig) -> str:
    """Everything that decides how long a run takes, in a few letters."""
    values = config.to_json()
    values["data"]["path"] = plan.dataset.card.fingerprint
    values["training"] |= {"seed": None, "device": trained_with(config)}
    text = json.dumps([values, plan.threads], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def render_plan(reproduction: Reproduction, expected: Expected) -> RenderableType:
    """Return the stages, their runs, and the time they are expected to take."""
    table = Table(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("stage", "rows", "runs", "done", "go on", "to do", "expected"):
        table.add_column(column, justify="left" if column == "stage" else "right", overflow="fold")
    lines: list[RenderableType] = []
    for stage in reproduction.stages:
        seconds = expected.training.get(stage.name, 0.0) + expected.testing.get(stage.name, 0.0)
        rows = [system for system in stage.plan.systems if system.runs]
        table.add_row(
            stage.title,
            str(len(rows)),
            str(len(stage.own)),
            *(str(stage.count(state)) for state in ("done", "started", "new")),
            duration(seconds) if seconds else "",
        )
        if shared := len(stage.plan.runs) - len(stage.own):
            lines.append(Text(f"{stage.title}: {shared} more of an earlier stage, trained once"))
        lines += [
            Text(f"{stage.title}, {system.row.title} skipped: {system.skipped}", "yellow")
            for system in stage.plan.systems
            if system.skipped
        ]
    lines += [Text(f"left out: {line}", "yellow") for line in reproduction.left_out]
    lines += [Text(f"not timed: {k}: {why}", "yellow") for k, why in expected.unknown.items()]
    return Group(table, *lines)


def early_stopping(expected: Expected) -> str:
    """Say that the time is that of all epochs, where a run may end sooner."""
    return " (less where early stopping ends a run)" if expected.may_stop else ""


def describe_plan(reproduction: Reproduction, expected: Expected) -> str:
    """Return the plan in a line."""
    stages = reproduction.stages
    done, started, new = (
        sum(stage.count(state) for stage in stages) for state in ("done", "started", "new")
    )
    line = f"{done + started + new} runs: {done} done, {started} go on, {new} to do"
    if started + new:
        plan = next(stage.plan for stage in stages if not stage.complete)
        device = trained_with(next(iter(plan.runs.values())).config)
        threads = f"{plan.threads} thread{'s' * (plan.threads > 1)}"
        line += (
            f"; expected {duration(expected.seconds)}{early_stopping(expected)} on {device}, "
            f"{plan.jobs} at a time, {threads} each, and some minutes for figures and report"
        )
    return f"{line} -> {reproduction.out}"
