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
from emotailor.comparison.runner import run_plan
from emotailor.errors import DataError, EmotailorError, InterruptedRunError
from emotailor.evaluation.tables import duration
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.figures.store import FigureFolder
from emotailor.folders import check_free, held
from emotailor.paper.page import paper_page
from emotailor.paper.plan import (
    WITHOUT_TERMS,
    Reproduction,
    Stage,
    plan_paper,
)
from emotailor.paper.results import (
    StoredCall,
    StoredReproduction,
    StoredStage,
    read_reproduction,
    write_reproduction,
)
from emotailor.paper.time import Expected, early_stopping, expect, trained_with

THRESHOLDS: ThresholdMode = "tuned"


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
    out = reproduction.out
    check_free(out)
    wait_for_others(reproduction.left, console)
    expected = expected or expect(reproduction, console)
    missing: list[str] = []
    spent: dict[str, float] = {}
    with held(out):
        for number, stage in enumerate(reproduction.stages):
            if _is_stored(stage, resamples):
                continue
            console.print(Text(stage.title, "bold"))
            plan = reproduction.again().stages[number].plan  # what is done by now
            began = time.monotonic()
            try:
                result = run_plan(plan, console, thresholds=THRESHOLDS, resamples=resamples)
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
    before = len(_earlier_calls(out))
    outcome = Outcome(out / "report.html", missing, _how_wrong(expected, spent))
    content = _content(reproduction, outcome, expected, spent)
    paper_page(out, content).write(outcome.report)

    if not ended:  # what is stored of calls is of those that ended
        content = content.model_copy(update={"calls": content.calls[:before]})
    write_reproduction(out, content)
    return outcome


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
    from emotailor.figures.make import make_figures

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
    if _is_newer(FigureFolder(folder), made_of):
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


def _is_newer(figures: FigureFolder, models: Sequence[Path]) -> bool:
    """Whether figures are there, are whole, and were drawn after these models were written."""
    try:
        index = figures.read_index()
    except DataError:
        return False
    has_second_run = index.against is not None
    if has_second_run != (len(models) > 1) or not figures.is_whole(index):
        return False
    return all(model.stat().st_mtime < figures.written_at for model in models)


def _how_wrong(expected: Expected, spent: Mapping[str, float]) -> str:
    """Say how the expected time and the taken one differ."""
    both = _both(expected)
    known = [name for name, seconds in expected.training.items() if name in spent and seconds > 0]
    if not known:
        return ""

    wanted = sum(both[name] for name in known)
    taken = sum(spent[name] for name in known)
    off = abs(taken / wanted - 1)
    side = "more" if taken > wanted else "less"
    return (
        f"Training and testing took {duration(taken)}; expected were {duration(wanted)}"
        f"{early_stopping(expected)}: {off:.0%} {side} than expected."
    )


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
    return list(value) if isinstance(value, tuple) else value


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
