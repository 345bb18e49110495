"""Are explanations true? On synthetic data the modalities that carry a label are known.

An explanation names the modality without which the label loses most. It is right where that
modality carries the label. Only labels are asked about that are true and predicted: of what the
model has not found, or not rightly, it cannot say where it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emotailor.data.sample import EMOTIONS, MODALITIES, Modality
from emotailor.data.synthetic import is_planted, load_truth
from emotailor.errors import DataError
from emotailor.evaluation.metrics import decide
from emotailor.figures.numbers import Numbers, RunView, SkipFigure
from emotailor.serving.prediction import MIN_EVIDENCE

MOST_EXPLAINED = 60
"""Samples that are explained: each takes a prediction for every step."""


@dataclass(frozen=True)
class _Named:
    """What one explanation names.

    Attributes:
        label: the label.
        modality: the modality with the most evidence; None where none speaks for the label.
        guess: how probable a modality drawn at random carries the label.
    """

    label: str
    modality: Modality | None
    guess: float


def explanation_numbers(view: RunView) -> Numbers:
    """Which modality the explanations name, and which modalities carry the label."""
    carriers = _carriers(view)
    named = list(_explained(view, carriers))
    if not named:
        raise SkipFigure(f"no label of the {view.part.name} split is true and predicted")

    labels: Numbers = {}
    for name in view.names:
        of_label = [one for one in named if one.label == name]
        if of_label:
            labels[name] = _of_label(of_label, carriers[name])

    spoken = [one for one in named if one.modality is not None]
    silent = len(named) - len(spoken)
    right = sum(label["right"] for label in labels.values())
    guess = float(np.mean([one.guess for one in named]))
    missing = [name for name in view.names if name not in labels]

    left_out = []
    if missing:
        left_out.append(f"{', '.join(missing)}: never true and predicted in these samples")
    if silent:
        left_out.append(f"{silent} without evidence in any modality, which count as wrong")
    return {
        "modalities": list(view.predictor.modalities),
        "labels": labels,
        "right": right,
        "explained": len(named),
        "guess": guess,
        "summary": f"{right} of {len(named)} explanations name a modality that carries the label; "
        f"a modality drawn at random would be right in {guess * len(named):.0f}.",
        "left_out": left_out,
        "caption": f"{view.title}, {view.part.name} split; first {MOST_EXPLAINED} samples with a "
        "label that is true and predicted; in brackets: what carries the label",
    }


def _carriers(view: RunView) -> dict[str, tuple[Modality, ...]]:
    """Return label -> modalities that carry it.

    Raises:
        SkipFigure: nothing was planted, the truth cannot be read, or there is nothing to choose.
    """
    if not is_planted(view.dataset) or set(view.names) - set(EMOTIONS):
        raise SkipFigure("only synthetic data say which modality carries a label")
    if len(view.predictor.modalities) < 2:
        raise SkipFigure("the model takes one modality: there is no other to name")
    try:
        truth = load_truth(view.path)
    except DataError as error:
        raise SkipFigure(error.found) from error

    found = {}
    for name in view.names:
        row = truth.carriers[EMOTIONS.index(name)]  # (modalities,)
        found[name] = tuple(m for m, carries in zip(MODALITIES, row, strict=True) if carries)
    return found


def _explained(view: RunView, carriers: dict[str, tuple[Modality, ...]]) -> Iterator[_Named]:
    """Explain the first samples with a label that is true and predicted."""
    decisions = decide(view.probabilities, view.predictor.thresholds)
    found = decisions & (view.labels == 1)  # (n, L)
    positions = np.flatnonzero(found.any(1))[:MOST_EXPLAINED].tolist()

    for position in positions:
        sample = view.part.sample(position)
        there = [m for m in view.predictor.modalities if len(sample.sequences.get(m, ()))]
        if len(there) < 2:  # nothing to choose from
            continue

        why = view.predictor.explain(sample)
        for column in np.flatnonzero(found[position]).tolist():
            label = view.names[column]
            modality, _, _ = why.strongest(label)
            speaks = why.modalities[label][modality] >= MIN_EVIDENCE
            carrying = sum(m in carriers[label] for m in there)
            yield _Named(label, modality if speaks else None, carrying / len(there))


def _of_label(named: Sequence[_Named], carriers: tuple[Modality, ...]) -> Numbers:
    counts: dict[str, int] = {}
    for one in named:
        if one.modality is not None:
            counts[one.modality] = counts.get(one.modality, 0) + 1

    right = sum(counts.get(m, 0) for m in carriers)
    return {
        "carriers": list(carriers),
        "named": counts,
        "right": right,
        "explained": len(named),
    }
