"""How a model does on samples that something has happened to, and how that is shown."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict
from rich.console import RenderableType
from rich.text import Text

from emotailor.data.damage import Kind
from emotailor.data.sample import Modality
from emotailor.evaluation.comparison import PairedDifference, spread_of
from emotailor.evaluation.display import number
from emotailor.evaluation.tables import signed, spread, terminal_table, with_ends

HEADER = ("samples", "micro-F1", "mAP", "mean AUC", "micro-F1: minus as they are")
WHOLE = "as they are"


class Robust(BaseModel):
    """How a model does on samples that something has happened to.

    Attributes:
        name: what has happened, in some words.
        kind: kind of damage; None for the samples as they are.
        modalities: whose.
        micro_f1: with the thresholds of the model.
        mean_average_precision: mean over the labels.
        mean_roc_auc: mean over the labels.
        difference: micro-F1 minus that on the samples as they are; None without resamples.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind | None
    modalities: tuple[Modality, ...]
    micro_f1: float | None
    mean_average_precision: float | None
    mean_roc_auc: float | None
    difference: PairedDifference | None = None


def robustness_cells(found: Sequence[Robust]) -> list[list[str]]:
    """Return a row of cells for each damage, in the order of ``HEADER``."""
    rows = []
    for row in found:
        gain = "" if row.difference is None else with_ends(row.difference)
        scores = (row.micro_f1, row.mean_average_precision, row.mean_roc_auc)
        rows.append([row.name, *map(number, scores), gain])
    return rows


def robustness_table(found: Sequence[Robust]) -> RenderableType:
    """Return a table of a model on samples as they are, and after each damage."""
    table = terminal_table(*HEADER)
    table.title = Text("With modalities missing or damaged")
    for cells in robustness_cells(found):
        table.add_row(*map(Text, cells))
    return table


def robustness_of_several(found: Mapping[str, Sequence[Robust]]) -> RenderableType:
    """Return a table of the micro-F1 of several runs on damaged samples.

    Args:
        found: name of a run -> how it does. What is not said of every run is left out, as damage of
            a modality that one of them does not take.
    """
    table = terminal_table("micro-F1 on samples", "mean", "minus as they are", *found)
    by_run = [{row.name: row.micro_f1 for row in rows} for rows in found.values()]
    whole = None
    for name in by_run[0]:
        scores = [of_run.get(name) for of_run in by_run]
        known = [score for score in scores if score is not None]
        if len(known) < len(by_run):
            continue

        mean = spread_of(known)
        if whole is None:
            whole = mean.mean
        gain = "" if name == WHOLE else signed(mean.mean - whole)
        cells = [name, spread(mean, "±"), gain, *map(number, known)]
        table.add_row(*map(Text, cells))
    return table
