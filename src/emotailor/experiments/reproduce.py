"""The paper's results as one job: Table 2 in both settings, Table 3, the figures, and a report.

Every stage is a comparison of runs as ``emotailor benchmark`` makes it, so a failed run costs
nothing but itself and a stopped job goes on where it was. Runs that two stages need lie in the
folder of the first of them and are trained once::

    OUT/report.html           our numbers beside the published ones
    OUT/reproduction.json     stages, expected and taken time, what is missing
    OUT/speed.json            seconds of each kind of run on this device
    OUT/table2-aligned/       a benchmark; likewise table2-unaligned
    OUT/table3/               an ablation; its full models are the TAILOR of table2-aligned
    OUT/figure6/              TAILOR with and without adversarial and orthogonality terms
    OUT/figures/              of the first full TAILOR
"""

import fcntl
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor import __version__
from emotailor.configs.ablations import ABLATIONS, FULL
from emotailor.configs.run import RunConfig
from emotailor.configs.systems import Preset, find_system
from emotailor.configs.tailor import TailorConfig
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError, EmotailorError, InterruptedRunError
from emotailor.evaluation.tables import duration
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.experiments.ablate import plan_variants
from emotailor.experiments.benchmark import (
    FIRST_SEED,
    REFERENCE,
    Kind,
    Plan,
    RunKey,
    check_folder,
    complete_plan,
    plan_benchmark,
    run_benchmark,
)
from emotailor.experiments.published import TABLE_2, published_setting
from emotailor.experiments.report_benchmark import read_benchmark
from emotailor.experiments.report_paper import paper_page
from emotailor.experiments.training import PlannedRun
from emotailor.files import write_json

KIND = Kind(name="reproduction", reference=FULL)
SYSTEMS = (*TABLE_2["aligned"], "carat")
"""The systems of Table 2, and one that is newer than it."""

THRESHOLDS: ThresholdMode = "tuned"
WITHOUT_TERMS = "without_terms"
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Stage:
    """One comparison of runs.

    Attributes:
        name: of its folder.
        title: what it is of the paper.
        plan: of its runs.
        own: runs that no earlier stage has.
    """

    name: str
    title: str
    plan: Plan
    own: frozenset[RunKey]

    @property
    def complete(self) -> bool:
        """Whether all runs are done."""
        return all(state == "done" for state in self.plan.states.values())

    def count(self, state: str) -> int:
        """How many of its own runs are in a state."""
        return sum(self.plan.states[key] == state for key in self.own)


@dataclass(frozen=True)
class Reproduction:
    """What is to be done.

    Attributes:
        out: folder of everything.
        stages: in order.
        left_out: what of the paper cannot be done, and why.
        options: of :func:`plan_paper`, to plan again.
    """

    out: Path
    stages: tuple[Stage, ...]
    left_out: tuple[str, ...]
    options: Mapping[str, Any]

    def again(self) -> "Reproduction":
        """Plan anew, with what has been done by now."""
        return plan_paper(**self.options)


@dataclass
class Outcome:
    """How a reproduction ended.

    Attributes:
        report: the page.
        missing: what failed, and why.
        time: sentence on the expected and the taken time, if anything was trained.
    """

    report: Path
    missing: list[str] = field(default_factory=list)
    time: str = ""


def reproduce_paper(
    data: str | Path,
    out: str | Path,
    *,
    console: Console | None = None,
    resamples: int = 2000,
    **options: Any,
) -> Outcome:
    """Train, test and report everything, or go on where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of everything.
        console: where to print what happens; by default nowhere.
        resamples: of the paired tests; 0 for none.
        options: of :func:`plan_paper`.

    Raises:
        EmotailorError: as :func:`plan_paper` and :func:`run_paper`.
    """
    return run_paper(
        plan_paper(Path(data), Path(out), **options),
        console or Console(quiet=True),
        resamples=resamples,
    )


# ---------------------------------------------------------------------- planning


def plan_paper(
    data: Path,
    out: Path,
    *,
    unaligned: Path | None = None,
    seeds: int = 5,
    seed: int = FIRST_SEED,
    preset: Preset = "paper",
    config_file: Path | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    jobs: int | None = None,
) -> Reproduction:
    """Put all runs together, checked, before anything heavy starts.

    Args:
        data: stored data set; unaligned, it is all there is.
        out: folder of everything.
        unaligned: the same samples unaligned, for the second half of Table 2.
        seeds: runs of each system and variant.
        seed: of the first; the others count up.
        preset: where settings that nobody gives come from.
        config_file: TOML as for ``emotailor benchmark``; TAILOR's are those of its variants, too.
        settings: ``KEY=VALUE`` for all systems, ``SYSTEM:KEY=VALUE`` for one.
        device: to train and test on.
        jobs: runs at a time; by default one per core, and one on a GPU.

    Raises:
        ConfigError: a wrong setting or data set, or ``out`` holds something else.
        DataError: no such data set, or a split is missing.
    """
    options = dict(locals())
    sets = _data_sets(data, unaligned)
    check_folder(out, KIND)
    stages: list[Stage] = []
    full: dict[str, tuple[PlannedRun, ...]] = {}
    for setting, (path, _) in sets.items():
        plan = plan_benchmark(
            path,
            out / f"table2-{setting}",
            models=SYSTEMS,
            seeds=seeds,
            seed=seed,
            preset=preset,
            config_file=config_file,
            settings=settings,
            device=device,
            jobs=jobs,
        )
        stages.append(_stage(f"table2-{setting}", f"Table 2, {setting}", plan, stages))
        full[setting] = next(s.runs for s in plan.systems if s.row.name == REFERENCE)
    if full.get("aligned"):
        path, dataset = sets["aligned"]
        plan = plan_variants(
            path, dataset, out / "table3", full["aligned"], list(ABLATIONS.values()), jobs=jobs
        )
        if published_setting(dataset.card) != "aligned":
            kind = replace(plan.kind, paper=None, published={}, notes=())
            plan = replace(plan, kind=kind)
        stages.append(_stage("table3", "Table 3", plan, stages))
    for setting in [name for name, runs in full.items() if runs][:1]:
        path, dataset = sets[setting]
        plan = _plan_figure6(path, dataset, out / "figure6", full[setting][0], jobs)
        stages.append(_stage("figure6", "Figure 6", plan, stages))
    return Reproduction(out, tuple(stages), tuple(_left_out(sets, full)), options)


def _data_sets(data: Path, unaligned: Path | None) -> dict[str, tuple[Path, EmotionDataset]]:
    """Setting -> data set, as the paper has them."""
    first = open_dataset(data)
    found = {"aligned" if first.aligned else "unaligned": (data, first)}
    if unaligned is None:
        return found
    second = open_dataset(unaligned)
    if not first.aligned or second.aligned:
        wrong, kind = (unaligned, "aligned") if first.aligned else (data, "unaligned")
        raise ConfigError(
            f"{wrong} is {kind}",
            expected="word-aligned data as --data, the same unaligned as --unaligned",
        )
    if set(first.label_names) != set(second.label_names):
        raise DataError(
            f"{unaligned} has the labels {', '.join(second.label_names)}",
            expected=f"those of {data}: {', '.join(first.label_names)}",
        )
    return {**found, "unaligned": (unaligned, second)}


def _stage(name: str, title: str, plan: Plan, before: Sequence[Stage]) -> Stage:
    known = {run.folder for stage in before for run in stage.plan.runs.values()}
    own = frozenset(key for key, run in plan.runs.items() if run.folder not in known)
    return Stage(name, title, plan, own)


def _plan_figure6(
    data: Path, dataset: EmotionDataset, out: Path, full: PlannedRun, jobs: int | None
) -> Plan:
    """Plan the two runs that Figure 6 lays side by side; the full one is there already."""
    row, model = find_system(REFERENCE), full.config.model
    assert isinstance(model, TailorConfig)
    kept = tuple(x for x in model.refinement_losses if x == "common_semantics")
    config = full.config.replace(model=model.replace(refinement_losses=kept).to_json())
    run = PlannedRun(config, out / WITHOUT_TERMS / full.folder.name)
    built = [
        (replace(row, name=WITHOUT_TERMS, title="w/o L_adv, L_diff"), [run]),
        (replace(row, name=FULL), [full]),
    ]
    kind = Kind(name="ablation", reference=FULL)
    return complete_plan(data, dataset, out, built, kind, split="test", jobs=jobs)


def _left_out(
    sets: Mapping[str, tuple[Path, EmotionDataset]], full: Mapping[str, Sequence[PlannedRun]]
) -> list[str]:
    lines = []
    if "unaligned" not in sets:
        lines.append("Table 2, unaligned: no unaligned data set was given (--unaligned).")
    if "aligned" not in sets:
        lines.append("Table 2, aligned: the data are unaligned.")
    if not full.get("aligned"):
        why = "TAILOR is skipped" if "aligned" in sets else "it is of aligned data"
        lines.append(f"Table 3: {why}.")
    if not any(full.values()):
        lines.append("Figures: TAILOR is skipped.")
    for setting, (path, dataset) in sets.items():
        if published_setting(dataset.card) is None:
            lines.append(
                f"The published numbers beside ours ({setting}): {path} is not CMU-MOSEI in the "
                "paper's split (its six labels; 16,326, 1,871 and 4,659 segments)."
            )
    return lines


# ---------------------------------------------------------------------- expected time


@dataclass(frozen=True)
class Expected:
    """The time that what is left is expected to take.

    Attributes:
        training: stage -> seconds, with so many runs at a time as planned.
        testing: stage -> seconds.
        rows: stage -> system -> seconds of one run.
        unknown: kinds of runs that could not be timed, and why.
        at_most: whether early stopping may make it less.
    """

    training: dict[str, float]
    testing: dict[str, float]
    rows: dict[str, dict[str, float]]
    unknown: dict[str, str]
    at_most: bool

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self.training.values()) + sum(self.testing.values())


def device_name(config: RunConfig) -> str:
    """Say what a run is trained on."""
    import torch

    from emotailor.training.setup import choose_device

    device = choose_device(config.training.device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name} ({device.type})"


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
    from emotailor.training.run_folder import RunFolder

    open_stages = [stage for stage in reproduction.stages if not stage.complete]
    expected = Expected({}, {}, {}, {}, at_most=False)
    if not open_stages:
        return expected
    speeds = _Speeds(reproduction.out / "speed.json", console)
    kinds = [
        (stage.plan, s.runs[0].config)
        for stage in open_stages
        for s in stage.plan.systems
        if s.runs
    ]
    if todo := speeds.unknown(kinds):
        _wait_for_others(reproduction, console)  # what is timed beside them would take longer
        with RunFolder(reproduction.out).held():
            file = reproduction.out / KIND.file
            if not file.exists():  # from here on the folder is known as ours
                write_json(file, {"format": KIND.format})
            speeds.measure(todo)
    at_most = False
    for stage in open_stages:
        plan, left, testing = stage.plan, list[float](), 0.0
        rows = expected.rows.setdefault(stage.name, {})
        for system in plan.systems:
            if not system.runs:
                continue
            found = speeds.of(plan, system.runs[0].config)
            if isinstance(found, str):
                expected.unknown[f"{stage.title}, {system.row.title}"] = found
                continue
            done = [
                _history(run)[1] for k, run in system.by_key.items() if plan.states[k] == "done"
            ]
            rows[system.row.name] = float(np.mean(done)) if done else found.seconds
            testing += len(system.runs) * len(plan.dataset[plan.split]) * found.sample
            for key, run in system.by_key.items():
                if key in stage.own and plan.states[key] != "done":
                    rest = 1 - _history(run)[0] / found.epochs
                    left.append(speeds.start + max(rest, 0) * rows[system.row.name])
                    at_most |= run.config.training.patience is not None
        expected.training[stage.name] = max([sum(left) / plan.jobs, *left]) if left else 0.0
        expected.testing[stage.name] = testing
    return replace(expected, at_most=at_most)


def _history(run: PlannedRun) -> tuple[int, float]:
    """Epochs a run has done, and seconds it took for them."""
    from emotailor.training.checkpoint import read_progress

    try:
        progress = read_progress(run.folder / "checkpoint")
    except EmotailorError:
        return 0, 0.0
    if progress is None or not progress.history:
        return 0, 0.0
    return len(progress.history), float(progress.history[-1]["seconds"])


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
            entry: dict[str, Any] = {"device": device_name(config), "system": config.system}
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
    values["training"] |= {"seed": None, "device": device_name(config)}
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


def describe_plan(reproduction: Reproduction, expected: Expected) -> str:
    """Return the plan in a line."""
    stages = reproduction.stages
    done, started, new = (
        sum(stage.count(state) for stage in stages) for state in ("done", "started", "new")
    )
    line = f"{done + started + new} runs: {done} done, {started} go on, {new} to do"
    if started + new:
        plan = next(stage.plan for stage in stages if not stage.complete)
        device = device_name(next(iter(plan.runs.values())).config)
        most = "at most " if expected.at_most else ""
        threads = f"{plan.threads} thread{'s' * (plan.threads > 1)}"
        line += (
            f"; expected {most}{duration(expected.seconds)} on {device}, {plan.jobs} at a time, "
            f"{threads} each, and some minutes for figures and report"
        )
    return f"{line} -> {reproduction.out}"


# ---------------------------------------------------------------------- running


def run_paper(
    reproduction: Reproduction,
    console: Console,
    *,
    resamples: int = 2000,
    expected: Expected | None = None,
) -> Outcome:
    """Train what is not trained yet, test it, draw the figures and write the report.

    Args:
        reproduction: of :func:`plan_paper`.
        console: where to print what happens.
        resamples: of the paired tests; 0 for none.
        expected: of :func:`expect`; by default it is asked.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; every run under way has been stopped.
        ConfigError: another process works in the folder.
    """
    from emotailor.training.run_folder import RunFolder

    out = reproduction.out
    if _is_held(out):
        raise ConfigError(f"another process works in {out}", fix="wait for it to end")
    _wait_for_others(reproduction, console)
    expected = expected or expect(reproduction, console)
    missing: list[str] = []
    spent: dict[str, float] = {}
    with RunFolder(out).held():
        for number, stage in enumerate(reproduction.stages):
            if _is_stored(stage, resamples):
                continue
            console.print(Text(stage.title, "bold"))
            plan = reproduction.again().stages[number].plan  # what is done by now
            began = time.monotonic()
            try:
                result = run_benchmark(plan, console, thresholds=THRESHOLDS, resamples=resamples)
                missing += [
                    f"{stage.title}: {name} seed {seed} failed, {why.splitlines()[0]}"
                    for (name, seed), why in result.failed.items()
                ]
            except InterruptedRunError:
                raise
            except EmotailorError as error:
                missing.append(f"{stage.title}: {error.found}")
            spent[stage.name] = time.monotonic() - began
            _report(reproduction.again(), missing, expected, spent)  # a job of days has one soon
        reproduction = reproduction.again()
        missing += _figures(reproduction, console)
        return _report(reproduction, missing, expected, spent, ended=True)


def _report(
    reproduction: Reproduction,
    missing: list[str],
    expected: Expected,
    spent: Mapping[str, float],
    *,
    ended: bool = False,
) -> Outcome:
    """Store everything, and write the page."""
    out = reproduction.out
    outcome = Outcome(out / "report.html", missing, _how_wrong(expected, spent))
    content = _content(reproduction, outcome, expected, spent)
    paper_page(out, content).write(outcome.report)
    if not ended:  # what is stored of calls is of those that ended
        content["calls"] = content["calls"][: len(read_paper(out).get("calls", []))]
    write_json(out / KIND.file, content)
    return outcome


def _is_held(folder: Path) -> bool:
    """Whether a process works in a folder."""
    try:
        with (folder / ".lock").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no such folder yet
        return False
    return False


def _wait_for_others(reproduction: Reproduction, console: Console) -> None:
    """Wait for trainings that go on alone since an earlier call was killed."""
    told = False
    while busy := {
        run.folder: None
        for stage in reproduction.stages
        for key, run in stage.plan.runs.items()
        if stage.plan.states[key] != "done" and _is_held(run.folder)
    }:
        if not told:
            names = ", ".join(str(folder) for folder in busy)
            console.print(
                f"waiting for trainings of an earlier call: {names}",
                soft_wrap=True, highlight=False, markup=False,
            )  # fmt: skip
            told = True
        time.sleep(POLL_SECONDS)


def _is_stored(stage: Stage, resamples: int) -> bool:
    """Whether all runs of a stage are trained, and tested as it is asked now."""
    try:
        found = read_benchmark(stage.plan.out / stage.plan.kind.file)
    except DataError:
        return False
    tested = {(run.folder, run.failed) for system in found.systems.values() for run in system.runs}
    return (
        stage.complete
        and found.emotailor == __version__
        and found.thresholds == THRESHOLDS
        and (found.test.resamples if found.test else 0) == resamples
        and tested == {(str(run.folder), None) for run in stage.plan.runs.values()}
    )


def _figures(reproduction: Reproduction, console: Console) -> list[str]:
    """Draw the figures, unless they are there; return what is missing."""
    from emotailor.experiments.figures import make_figures

    stage = next((s for s in reproduction.stages if s.name == "figure6"), None)
    if stage is None:
        return []
    runs = {key[0]: run for key, run in stage.plan.runs.items()}
    full = [run for s in reproduction.stages[0].plan.systems if s.row.name == REFERENCE
            for run in s.runs]  # fmt: skip
    trained = [run for run in full if (run.folder / "model" / "model.json").exists()]
    if not trained:
        return ["Figures: no TAILOR could be trained"]
    other = runs[WITHOUT_TERMS].folder
    against = other if (other / "model" / "model.json").exists() else None
    missing = [] if against else ["Figure 6: TAILOR without the two terms could not be trained"]
    folder, run = reproduction.out / "figures", trained[0].folder
    made_of = [x / "model" / "model.json" for x in (run, against) if x is not None]
    if _is_newer(folder / "index.json", made_of):
        return missing
    console.print(Text("Figures", "bold"))
    try:
        make_figures(
            run,
            out=folder,
            against=against,
            data=stage.plan.data,
            split=stage.plan.split,
            device=trained[0].config.training.device,
        )
    except Exception as error:  # the tables are not lost for a figure
        missing.append(f"Figures: {type(error).__name__}: {error}")
    return missing


def _is_newer(file: Path, others: Sequence[Path]) -> bool:
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        whole = all((file.parent / name).is_file() for name in index["written"])
        against = index["against"] is not None
    except (OSError, ValueError, KeyError, TypeError):
        return False
    then = file.stat().st_mtime
    return whole and against == (len(others) > 1) and all(x.stat().st_mtime < then for x in others)


def _how_wrong(expected: Expected, spent: Mapping[str, float]) -> str:
    """Say how the expected time and the taken one differ."""
    known = {k: v for k, v in expected.training.items() if k in spent and v > 0}
    if not known:
        return ""
    wanted = sum(v + expected.testing.get(k, 0.0) for k, v in known.items())
    taken = sum(spent[k] for k in known)
    off = abs(taken / wanted - 1)
    side = "more" if taken > wanted else "less"
    most = "at most " if expected.at_most else ""
    return (
        f"Training and testing took {duration(taken)}; expected were {most}{duration(wanted)}: "
        f"{off:.0%} {side} than expected."
    )


def _content(
    reproduction: Reproduction, outcome: Outcome, expected: Expected, spent: Mapping[str, float]
) -> dict[str, Any]:
    """Everything for the file."""
    old = read_paper(reproduction.out)
    call = {
        "expected": {k: v + expected.testing.get(k, 0.0) for k, v in expected.training.items()},
        "taken": dict(spent),
        "runs": expected.rows,
        "summary": outcome.time,
    }
    return {
        "format": KIND.format,
        "emotailor": __version__,
        "stages": {
            stage.name: {
                "title": stage.title,
                "kind": stage.plan.kind.name,
                "data": str(stage.plan.data),
                "paper": bool(stage.plan.kind.published),
                "runs": len(stage.own),
                "done": stage.count("done"),
            }
            for stage in reproduction.stages
        },
        "options": {
            k: str(v) if isinstance(v, Path) else v for k, v in reproduction.options.items()
        },
        "device": device_name(next(iter(reproduction.stages[0].plan.runs.values())).config),
        "left_out": list(reproduction.left_out),
        "missing": outcome.missing,
        "calls": [*old.get("calls", []), *([call] if outcome.time else [])],
    }


def read_paper(out: Path) -> dict[str, Any]:
    """Return what is stored of a reproduction; empty where there is nothing yet."""
    try:
        content = json.loads((out / KIND.file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
