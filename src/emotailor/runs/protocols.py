"""What the rule of each author would have reported of a run, from the predictions of its epochs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.errors import EmotailorError
from emotailor.evaluation.comparison import spread_of
from emotailor.evaluation.display import number
from emotailor.evaluation.protocols import RULES, Protocols, Reported, protocols
from emotailor.evaluation.tables import signed, spread, terminal_table
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.training.every_epoch import Index, read_epochs
from emotailor.training.history import read_history
from emotailor.training.model_folder import ModelCard
from emotailor.training.recipe import recipe

HOW = "train into another folder with `emotailor train --protocols`"
HEADER = ("rule", "epoch", "threshold", "samples", "Acc", "P", "R", "micro-F1", "minus a")


def protocols_of(
    run: Path,
    card: ModelCard,
    fingerprint: str,
    split: str,
    labels: np.ndarray,
    *,
    mode: ThresholdMode,
) -> tuple[Protocols | None, str]:
    """Return what every rule would report of a run, or why that cannot be said.

    Args:
        run: run folder, or model folder.
        card: of its model.
        fingerprint: of the data that it is tested on.
        split: the split that it is tested on.
        labels: (n, L), of the samples with labels, as the model orders them.
        mode: how our thresholds were chosen.
    """
    try:
        kept = read_epochs(run)
        history = read_history(run)
    except EmotailorError as error:  # the model and its numbers are whole without them
        return None, error.found
    if kept is None:
        return None, f"the predictions of every epoch were not kept; {HOW}"

    why = _unfit(kept.index, card, fingerprint, split, len(labels))
    if why:
        return None, why

    steps = [(record.epoch, record.step) for record in history]
    found = [(one.epoch, one.step) for one in kept.index.epochs]
    selected = card.selected_epoch
    if found != steps or selected is None:
        epochs = ", ".join(str(epoch) for epoch, _ in found) or "none"
        why = f"of {len(steps)} epochs in {run} the predictions of {epochs} were kept; {HOW}"
        return None, why

    fixed, batch = program_of(card.system)
    ours = card.unscaled_thresholds[mode].array(card.label_names)
    result = protocols(
        labels,
        kept.probabilities,
        card.label_names,
        selected=selected,
        thresholds=ours,
        fixed=fixed,
        batch=batch,
    )
    return result, ""


def _unfit(index: Index, card: ModelCard, fingerprint: str, split: str, samples: int) -> str:
    """Say why kept predictions are not those of these samples; empty where they are."""
    if index.split != split:
        return f"the predictions of every epoch were kept for the split {index.split!r}; {HOW}"

    same_data = index.fingerprint == fingerprint and index.samples == samples
    if not same_data or index.label_names != card.label_names:
        return "the predictions of every epoch were kept for the data of the training, not these"
    return ""


def program_of(system: str) -> tuple[float, int]:
    """Return the threshold and the batch size of the program of a system's authors.

    A program that has no threshold for these labels gets that of TAILOR's, in whose paper its
    system is compared.
    """
    of_authors = recipe(system, "authors")
    return of_authors.threshold, of_authors.batch_size


# ---------------------------------------------------------------------- how they are shown


def threshold_cell(reported: Reported) -> str:
    """Return the threshold of a rule; the least and the highest where labels differ."""
    values = list(reported.thresholds.values())
    low = number(min(values))
    high = number(max(values))
    return low if low == high else f"{low} to {high}"


def protocol_cells(found: Protocols) -> list[list[str]]:
    """Return a row of cells for each rule, in the order of ``HEADER``."""
    ours = found.rules["a"].micro_f1
    rows = []
    for letter, reported in found.rules.items():
        gain = "" if letter == "a" else signed(reported.micro_f1 - ours)
        cells = [
            f"{letter}: {RULES[letter].title}",
            str(reported.epoch),
            threshold_cell(reported),
            f"{reported.samples:,}",
            number(reported.accuracy),
            number(reported.micro_precision),
            number(reported.micro_recall),
            number(reported.micro_f1),
            gain,
        ]
        rows.append(cells)
    return rows


def epochs_sentence(found: Protocols) -> str:
    """Say how the epochs differ on the tested split, which the best of them hides."""
    count = found.fixed_epochs.runs
    return (
        f"Over all {count} epochs: micro-F1 {found.fixed_epochs} under the fixed threshold "
        f"{found.fixed:g}, {found.searched_epochs} with the threshold searched for each. Rules c "
        "and d choose on the samples that they report: no estimate of anything."
    )


def seeds_of_rules(found: Mapping[str, Protocols]) -> RenderableType:
    """Return a table of the micro-F1 that every rule would have reported of several runs.

    Args:
        found: name of a run -> what every rule would have reported of it.
    """
    table = terminal_table("micro-F1 by rule", "mean", "minus a", *found)
    ours = spread_of([one.rules["a"].micro_f1 for one in found.values()])
    for letter, rule in RULES.items():
        scores = [one.rules[letter].micro_f1 for one in found.values()]
        mean = spread_of(scores)
        gain = "" if letter == "a" else signed(mean.mean - ours.mean)
        cells = [f"{letter}: {rule.title}", spread(mean, "±"), gain, *map(number, scores)]
        table.add_row(*map(Text, cells))
    return table


def protocols_table(found: Protocols, title: str) -> RenderableType:
    """Return a table of what every rule would have reported."""
    table = terminal_table(*HEADER)
    table.title = Text(title)
    for cells in protocol_cells(found):
        table.add_row(*map(Text, cells))
    return Group(table, Text(epochs_sentence(found), style="dim"))
