"""The paper's results as one job: Table 2 in both settings, Table 3, the figures, and a report.

Every stage is a comparison of runs as ``emotailor benchmark`` makes it, so a failed run costs
nothing but itself and a stopped job is resumed where it was. Runs that two stages need lie in the
folder of the first of them and are trained once::

    OUT/report.html           our numbers beside the published ones
    OUT/reproduction.json     stages, expected and taken time, what is missing
    OUT/speed.json            seconds of each kind of run on this device, where they were timed
    OUT/table2-aligned/       a benchmark; likewise table2-unaligned
    OUT/table3/               an ablation; its full models are the TAILOR of table2-aligned
    OUT/figure6/              TAILOR with and without adversarial and orthogonality terms
    OUT/figures/              of the first full TAILOR
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from emotailor import __version__
from emotailor.comparison.plan import REFERENCE, wait_for_others
from emotailor.comparison.results import read_benchmark
from emotailor.comparison.runner import run_plan, sweep_plan
from emotailor.errors import DataError, EmotailorError, InterruptedRunError
from emotailor.evaluation.tables import duration, rough_duration
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.figures.store import FigureFolder
from emotailor.folders import check_free, held
from emotailor.paper.page import paper_page
from emotailor.paper.plan import (
    FOLDER,
    WITHOUT_TERMS,
    Reproduction,
    Stage,
    plan_paper,
)
from emotailor.paper.results import (
    FORMAT,
    REPORT_FILE,
    StoredCall,
    StoredReproduction,
    StoredStage,
    read_reproduction,
    write_reproduction,
)
from emotailor.paper.time import Expected, early_stopping, expect, trained_with
from emotailor.runs.train import PlannedRun

THRESHOLDS: ThresholdMode = "tuned"
"""Kind of thresholds that all tables are made with."""


@dataclass
class Outcome:
    """How a reproduction ended.

    Attributes:
        report: file of the page.
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
    """Train, test and report everything, or resume where an earlier call was stopped.

    Args:
        data: stored data set.
        out: folder of everything.
        console: where to print what happens; by default nowhere.
        resamples: number of resamples of the paired tests; 0 for no tests.
        options: options of :func:`plan_paper`.

    Raises:
        EmotailorError: as :func:`plan_paper` and :func:`run_paper`.
    """
    reproduction = plan_paper(Path(data), Path(out), **options)
    if console is None:
        console = Console(quiet=True)
    return run_paper(reproduction, console, resamples=resamples)


def run_paper(
    reproduction: Reproduction,
    console: Console,
    *,
    resamples: int = 2000,
    expected: Expected | None = None,
) -> Outcome:
    """Train what is not trained yet, test it, draw the figures and write the report.

    Args:
        reproduction: plan of :func:`plan_paper`.
        console: where to print what happens.
        resamples: number of resamples of the paired tests; 0 for no tests.
        expected: result of :func:`expect`; where it is not given, that is called here, and times
            nothing.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived; every run under way has been stopped.
        ConfigError: another process works in the folder.
    """
    out = reproduction.out
    check_free(out)
    wait_for_others(reproduction.left, console)
    expected = expected or expect(reproduction, console)

    missing: list[str] = []
    spent: dict[str, float] = {}
    with held(out):
        FOLDER.mark(out, {"format": FORMAT})
        FOLDER.sweep(out)
        for number, stage in enumerate(reproduction.stages):
            if _is_stored(stage, resamples):
                sweep_plan(stage.plan)
                continue

            # runs that an earlier stage has trained meanwhile are done
            current = reproduction.again().stages[number]
            began = time.monotonic()
            missing += _run_stage(current, console, resamples)
            spent[stage.name] = time.monotonic() - began

            # a job of days has a report after its first stage
            _report(reproduction.again(), missing, expected, spent)

        reproduction = reproduction.again()
        missing += _figures(reproduction, console)
        return _report(reproduction, missing, expected, spent, ended=True)


def _run_stage(stage: Stage, console: Console, resamples: int) -> list[str]:
    """Train and test the runs of one stage; return what failed, and why.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM arrived.
    """
    console.print(Text(stage.title, "bold"))
    try:
        result = run_plan(stage.plan, console, thresholds=THRESHOLDS, resamples=resamples)
    except InterruptedRunError:
        raise
    except EmotailorError as error:
        # the other stages do not need this one
        return [f"{stage.title}: {error.found}"]

    lines = []
    for (name, seed), why in result.failed.items():
        reason = why.splitlines()[0]
        lines.append(f"{stage.title}: {name} seed {seed} failed, {reason}")
    return lines


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
    before = len(_earlier_calls(out))

    outcome = Outcome(
        report=out / REPORT_FILE,
        missing=missing,
        time=_how_wrong(expected, spent),
    )
    content = _content(reproduction, outcome, expected, spent)
    page = paper_page(out, content).to_html()

    if not ended:
        # the page shows the call under way, but only calls that ended are stored
        content = content.model_copy(update={"calls": content.calls[:before]})
    write_reproduction(out, content, page)
    return outcome


def _is_stored(stage: Stage, resamples: int) -> bool:
    """Whether all runs of a stage are trained, and tested as it is asked now."""
    if not stage.complete:
        return False
    try:
        found = read_benchmark(stage.plan.out / stage.plan.kind.file)
    except DataError:
        return False

    # another version may test otherwise
    if found.emotailor != __version__ or found.thresholds != THRESHOLDS:
        return False

    resampled = found.test.resamples if found.test is not None else 0
    if resampled != resamples:
        return False

    tested = set()
    for system in found.systems.values():
        for run in system.runs:
            tested.add((run.folder, run.failed))
    wanted = {(str(run.folder), None) for run in stage.plan.runs.values()}
    return tested == wanted


def _figures(reproduction: Reproduction, console: Console) -> list[str]:
    """Draw the figures, unless they are there; return what is missing."""
    from emotailor.figures.make import make_figures

    stage = _stage_of_figure6(reproduction)
    if stage is None:
        return []

    full = _first_trained(reproduction)
    if full is None:
        return ["Figures: no TAILOR could be trained"]

    missing = []
    models = [_model_card(full)]
    against = _without_terms(stage)
    if against is None:
        missing.append("Figure 6: TAILOR without the two terms could not be trained")
    else:
        models.append(_model_card(against))

    folder = reproduction.out / "figures"
    if _is_newer(FigureFolder(folder), models):
        return missing

    console.print(Text("Figures", "bold"))
    try:
        make_figures(
            full.folder,
            out=folder,
            against=None if against is None else against.folder,
            data=stage.plan.data,
            split=stage.plan.split,
            device=full.config.training.device,
        )
    except Exception as error:  # the tables are not lost for a figure
        missing.append(f"Figures: {type(error).__name__}: {error}")
    return missing


def _stage_of_figure6(reproduction: Reproduction) -> Stage | None:
    """Return the stage of Figure 6; None where no full TAILOR could be planned."""
    for stage in reproduction.stages:
        if stage.name == "figure6":
            return stage
    return None


def _first_trained(reproduction: Reproduction) -> PlannedRun | None:
    """Return the first full TAILOR of Table 2 that has a model."""
    table2 = reproduction.stages[0]
    for system in table2.plan.systems:
        if system.row.name != REFERENCE:
            continue
        for run in system.runs:
            if _model_card(run).exists():
                return run
    return None


def _without_terms(stage: Stage) -> PlannedRun | None:
    """Return the run of Figure 6 without the two terms; None where it has no model."""
    for (name, _), run in stage.plan.runs.items():
        if name == WITHOUT_TERMS and _model_card(run).exists():
            return run
    return None


def _model_card(run: PlannedRun) -> Path:
    return run.folder / "model" / "model.json"


def _is_newer(figures: FigureFolder, models: Sequence[Path]) -> bool:
    """Whether figures are there, are whole, and were drawn after these models were written."""
    try:
        index = figures.read_index()
    except DataError:
        return False

    has_second_run = index.against is not None
    wants_second_run = len(models) > 1
    if has_second_run != wants_second_run:
        return False
    if not figures.is_whole(index):
        return False

    newest = max(model.stat().st_mtime for model in models)
    return newest < figures.written_at


def _how_wrong(expected: Expected, spent: Mapping[str, float]) -> str:
    """Say how the expected time and the taken one differ; nothing where nothing was trained."""
    both = _both(expected)
    wanted = 0.0
    taken = 0.0
    for name, seconds in expected.training.items():
        # a stage that needed tests alone was not expected to take time
        if name in spent and seconds > 0:
            wanted += both[name]
            taken += spent[name]
    if not wanted:
        return ""

    begin = f"Training and testing took {duration(taken)}; expected were"
    stopped = early_stopping(expected)
    if expected.is_rough:
        return f"{begin}, very roughly and from sizes alone, {rough_duration(wanted)}{stopped}."

    off = abs(taken / wanted - 1)
    side = "more" if taken > wanted else "less"
    return f"{begin} {duration(wanted)}{stopped}: {off:.0%} {side} than expected."


def _content(
    reproduction: Reproduction, outcome: Outcome, expected: Expected, spent: Mapping[str, float]
) -> StoredReproduction:
    """Return everything for the file, this call among the calls."""
    first = next(iter(reproduction.stages[0].plan.runs.values()))
    calls = _earlier_calls(reproduction.out)
    if outcome.time:
        call = StoredCall(
            expected=_both(expected),
            taken=dict(spent),
            runs=expected.rows,
            summary=outcome.time,
        )
        calls.append(call)

    return StoredReproduction(
        emotailor=__version__,
        stages={stage.name: _stored_stage(stage) for stage in reproduction.stages},
        options={key: _plain(value) for key, value in reproduction.options.items()},
        device=trained_with(first.config),
        left_out=list(reproduction.left_out),
        missing=outcome.missing,
        calls=calls,
    )


def _stored_stage(stage: Stage) -> StoredStage:
    return StoredStage(
        title=stage.title,
        kind=stage.plan.kind.name,
        data=str(stage.plan.data),
        paper=bool(stage.plan.kind.published),
        runs=len(stage.own),
        done=stage.count("done"),
    )


def _plain(value: Any) -> Any:
    """Return an option as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return value


def _earlier_calls(out: Path) -> list[StoredCall]:
    """Return the calls that have ended; none where the file is lost or damaged."""
    try:
        old = read_reproduction(out)
    except DataError:  # it is written anew
        return []
    return [] if old is None else list(old.calls)


def _both(expected: Expected) -> dict[str, float]:
    """Return the expected seconds of each stage, to train and to test."""
    found = {}
    for name, seconds in expected.training.items():
        found[name] = seconds + expected.testing.get(name, 0.0)
    return found
