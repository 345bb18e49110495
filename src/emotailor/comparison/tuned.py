"""What a search has found, and how it is told: a table, a CSV of all trials."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType

from emotailor.comparison.search_space import settings_of
from emotailor.comparison.trial import SCORES
from emotailor.comparison.trials import WHY
from emotailor.fitted import FittedTable
from emotailor.models.system import System
from emotailor.runs.outputs import csv_line

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TITLES = ("system", "trials", "ended early", "failed", "micro-F1", "mAP", "best settings")


@dataclass(frozen=True)
class Found:
    """What a search found of one system.

    Attributes:
        row: the system.
        trials: those that have ended, in the order of their numbers.
        best: the best of them; None where none was trained to its end.
        settings: its settings, as a benchmark takes them.
        skipped: why the system was left out; empty where it was not.
    """

    row: System
    trials: "Sequence[FrozenTrial]" = ()
    best: "FrozenTrial | None" = None
    settings: Mapping[str, Any] | None = None
    skipped: str = ""

    def count(self, state: str) -> int:
        """Return how many trials ended in a state, such as ``PRUNED``."""
        return sum(trial.state.name == state for trial in self.trials)


def how_ended(trial: "FrozenTrial") -> str:
    """Return in a word how a trial ended: done, ended early, or failed."""
    words = {"COMPLETE": "done", "PRUNED": "ended", "FAIL": "failed"}
    return words[trial.state.name]


def to_csv(found: Sequence[Found]) -> str:
    """Return a row for each trial."""
    header = ("system", "trial", "state", "value", *SCORES, "epochs", "seconds", "settings", "why")
    lines = [csv_line(header)]
    for one in found:
        for trial in one.trials:
            about = trial.user_attrs
            cells = (
                one.row.name,
                trial.number,
                how_ended(trial),
                "" if trial.value is None or trial.state.name != "COMPLETE" else trial.value,
                *(about.get(score, "") for score in SCORES),
                len(trial.intermediate_values),
                about.get("seconds", ""),
                json.dumps(settings_of(trial.params), sort_keys=True),
                about.get(WHY, "") if trial.state.name == "FAIL" else "",
            )
            lines.append(csv_line([str(cell) for cell in cells]))
    return "".join(f"{line}\n" for line in lines)


def _rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    """Return the rows of the table: a system each."""
    rows: list[tuple[str, ...]] = []
    for one in found:
        if one.skipped:
            rows.append((one.row.title, "-", "-", "-", "-", "-", f"left out: {one.skipped}"))
            continue
        scores = ["-", "-"]
        told = "-"
        if one.best is not None:
            scores = [f"{one.best.user_attrs[name]:.3f}" for name in SCORES]
            told = _in_words(settings_of(one.best.params))
        counts = (len(one.trials), one.count("PRUNED"), one.count("FAIL"))
        rows.append((one.row.title, *map(str, counts), *scores, told))
    return rows


def _in_words(settings: Mapping[str, Any]) -> str:
    """Return settings in one line: ``hidden_size 64, learning_rate 0.001``."""
    parts = []
    for values in settings.values():
        parts += [f"{key} {value}" for key, value in values.items()]
    return ", ".join(parts)


def to_markdown(found: Sequence[Found]) -> str:
    """Return a row for each system."""
    lines = [" | ".join(TITLES), " | ".join("---" for _ in TITLES)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in _rows(found)]
    return "".join(f"| {line} |\n" for line in lines)


def render_result(found: Sequence[Found]) -> RenderableType:
    """Return the table of what was found."""
    table = FittedTable(box=SIMPLE_HEAD, show_edge=False)
    for title in TITLES:
        is_text = title in ("system", "best settings")
        table.add_column(title, justify="left" if is_text else "right", overflow="fold")
    for row in _rows(found):
        table.add_row(*row)
    return table
