"""The most confident errors of a run, with what spoke for and against them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from emotailor.data.sample import Modality
from emotailor.report.page import (
    Block,
    Card,
    Cards,
    Cell,
    Facts,
    Section,
    Strip,
    Table,
    Text,
)
from emotailor.report.subject import Predictions, StoredEvaluation, Subject
from emotailor.runs.predict import MIN_EVIDENCE
from emotailor.serving.predictor import Explanation

MISTAKES = 6  # of each kind
FAINT = 0.05  # change of log-odds that has the full colour where none is larger


@dataclass(frozen=True)
class Mistake:
    """A wrong decision.

    Attributes:
        sample: its position.
        label: position of the label.
        distance: of the probability from the threshold, in log-odds.
    """

    sample: int
    label: int
    distance: float


def confident_mistakes(
    found: Predictions,
    thresholds: Float64[np.ndarray, "labels"],
    *,
    kind: Literal["false positive", "false negative"],
    count: int = MISTAKES,
) -> list[Mistake]:
    """Return the wrong decisions of one kind that are farthest beyond their thresholds.

    Labels take turns, so that no label fills the list; every sample is shown once.

    Args:
        found: predictions.
        thresholds: (L,).
        kind: of mistake.
        count: most to return.
    """
    decided, true = found.decided, found.labels.astype(bool)
    wrong = decided & ~true if kind == "false positive" else ~decided & true
    distance = np.abs(_log_odds(found.probabilities) - _log_odds(thresholds))
    turns = [
        sorted(np.nonzero(wrong[:, j])[0].tolist(), key=lambda i, j=j: (-distance[i, j], i))  # type: ignore[misc]
        for j in range(true.shape[1])
    ]
    chosen: list[Mistake] = []
    used: set[int] = set()
    while any(turns) and len(chosen) < count:
        heads = []
        for j, places in enumerate(turns):
            while places and places[0] in used:
                places.pop(0)
            if places:
                heads.append(Mistake(places[0], j, float(distance[places[0], j])))
        for head in sorted(heads, key=lambda one: (-one.distance, one.label)):
            turns[head.label].pop(0)
            if head.sample not in used and len(chosen) < count:
                used.add(head.sample)
                chosen.append(head)
    return sorted(chosen, key=lambda one: (-one.distance, one.sample))


def _log_odds(p: np.ndarray) -> Float64[np.ndarray, "..."]:
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def mistakes_section(subject: Subject, evaluation: StoredEvaluation, found: Predictions) -> Section:
    """Return the most confident errors, with explanations where the data are there."""
    cuts = subject.predictor.card.thresholds[evaluation.thresholds].array(subject.names)
    why: dict[int, Explanation] = {}
    blocks: list[Block] = [
        Text(
            "The wrong decisions farthest beyond their thresholds, the labels in turn. What "
            "carried each is measured: the change of the label's log-odds when the model cannot "
            "see a modality, and in the strips when it cannot see a few steps around each. Orange "
            "steps speak for the label, blue ones against it.",
            "note",
        )
    ]
    for kind, title, verb in (
        ("false positive", "Predicted, but not true", "predicted, not true"),
        ("false negative", "True, but not predicted", "missed"),
    ):
        chosen = confident_mistakes(found, cuts, kind=kind)  # type: ignore[arg-type]
        cards = []
        for mistake in chosen:
            i, name = mistake.sample, subject.names[mistake.label]
            facts = [
                ("sample", found.ids[i]),
                ("probability", f"{found.probabilities[i, mistake.label]:.3f}, "
                 f"threshold {cuts[mistake.label]:.3f}"),
                ("true", _held(subject.names, found.labels[i].astype(bool))),
                ("predicted", _held(subject.names, found.decided[i])),
            ]  # fmt: skip
            parts: list[Block] = [Facts(facts)]
            if subject.part is not None:
                sample = subject.part.sample(i)
                if i not in why and subject.predictor.can_see(sample):
                    why[i] = subject.predictor.explain(sample)
                parts += _explained(why.get(i), name, spoke_for=kind == "false positive")
            cards.append(Card(f"{name}: {verb}", parts))
        inside: list[Block] = [Cards(cards)] if cards else [Text("None.")]
        blocks.append(Section(title, inside))
    return Section("Most confident mistakes", blocks)


def _held(names: Sequence[str], held: Bool[np.ndarray, "labels"]) -> str:
    return ", ".join(name for name, yes in zip(names, held, strict=True) if yes) or "none"


def _explained(why: Explanation | None, label: str, *, spoke_for: bool) -> list[Block]:
    if why is None:
        return [Text("The sample has none of the modalities that the model takes.", "note")]
    modality, first, last, evidence = _strongest(why, label, sign=1 if spoke_for else -1)
    if evidence < MIN_EVIDENCE:
        text = f"No modality speaks {'for' if spoke_for else 'against'} the label."
    else:
        verb = "Carried by" if spoke_for else "Held back by"
        steps = f"step {first + 1}" if first == last else f"steps {first + 1} to {last + 1}"
        text = f"{verb} {modality}, there most of all by {steps}."
    scale = max([FAINT, *(float(np.abs(x).max(initial=0)) for x in why.steps[label].values())])
    rows = [
        (
            f"no {m}",
            f"{-drop:+.2f}" if abs(drop) >= MIN_EVIDENCE else "0.00",
            Cell("", chart=Strip(
                why.steps[label][m].tolist(), scale, f"evidence of each step of {m} for {label}"
            )),
            f"{len(why.steps[label][m])}",
        )
        for m, drop in why.modalities[label].items()
    ]  # fmt: skip
    return [Text(text), Table(("hidden", "log-odds", "its steps", "steps"), rows)]


def _strongest(why: Explanation, label: str, *, sign: int) -> tuple[Modality, int, int, float]:
    """The modality with the most evidence for (or against) a label, its steps, the evidence."""
    turned = replace(
        why,
        modalities={label: {m: sign * x for m, x in why.modalities[label].items()}},
        steps={label: {m: sign * x for m, x in why.steps[label].items()}},
    )
    modality, first, last = turned.carrier(label)
    return modality, first, last, turned.modalities[label][modality]
