"""The most confident errors of a run, with what spoke for and against them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from emotailor.data.dataset import Split
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
from emotailor.report.source import PageSource
from emotailor.runs.stored import StoredEvaluation, StoredPredictions
from emotailor.serving.predictor import MIN_EVIDENCE, Explanation

MISTAKES = 6  # cards of each kind
FAINT = 0.05  # change of log-odds that has the full colour where none is larger

Kind = Literal["false positive", "false negative"]


@dataclass(frozen=True)
class Mistake:
    """A wrong decision.

    Attributes:
        sample: position of the sample.
        label: position of the label.
        distance: distance of the probability from the threshold, in log-odds.
    """

    sample: int
    label: int
    distance: float


def confident_mistakes(
    found: StoredPredictions,
    thresholds: Float64[np.ndarray, "labels"],
    *,
    kind: Kind,
    count: int = MISTAKES,
) -> list[Mistake]:
    """Return the wrong decisions of one kind that are farthest beyond their thresholds.

    Labels take turns, so that no label fills the list; every sample is shown once.

    Args:
        found: predictions.
        thresholds: threshold of each label, (L,).
        kind: kind of mistake.
        count: most to return.
    """
    by_label = _by_label(found, thresholds, kind)
    chosen: list[Mistake] = []
    shown: set[int] = set()
    while len(chosen) < count:
        turn = _one_of_each(by_label, shown)
        if not turn:
            break
        for mistake in sorted(turn, key=lambda one: (-one.distance, one.label)):
            by_label[mistake.label].pop(0)
            if mistake.sample not in shown and len(chosen) < count:
                shown.add(mistake.sample)
                chosen.append(mistake)
    return sorted(chosen, key=lambda one: (-one.distance, one.sample))


def _by_label(
    found: StoredPredictions, thresholds: Float64[np.ndarray, "labels"], kind: Kind
) -> list[list[Mistake]]:
    """Return the mistakes of each label, the most confident first."""
    true = found.labels.astype(bool)  # (n, L)
    wrong = ~found.decisions & true
    if kind == "false positive":
        wrong = found.decisions & ~true
    distance = np.abs(_log_odds(found.probabilities) - _log_odds(thresholds))

    by_label = []
    for label in range(true.shape[1]):
        samples = np.nonzero(wrong[:, label])[0].tolist()
        mistakes = [Mistake(i, label, float(distance[i, label])) for i in samples]
        by_label.append(sorted(mistakes, key=lambda one: (-one.distance, one.sample)))
    return by_label


def _one_of_each(by_label: Sequence[list[Mistake]], shown: set[int]) -> list[Mistake]:
    """Return the first mistake of each label whose sample is not shown; drop those before."""
    turn = []
    for mistakes in by_label:
        while mistakes and mistakes[0].sample in shown:
            mistakes.pop(0)
        if mistakes:
            turn.append(mistakes[0])
    return turn


def _log_odds(p: np.ndarray) -> Float64[np.ndarray, "..."]:
    p = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


# ---------------------------------------------------------------------- on the page


@dataclass(frozen=True)
class _Look:
    """How one kind of mistake is shown.

    Attributes:
        title: heading of the section.
        verb: what was done with the label, in the title of a card.
        evidence: start of the sentence that names the modality with the most evidence.
        none: the sentence where no modality has any.
        sign: 1 where evidence for the label is looked for, -1 where against it.
    """

    title: str
    verb: str
    evidence: str
    none: str
    sign: int


_LOOKS: Mapping[Kind, _Look] = {
    "false positive": _Look(
        title="Predicted, but not true",
        verb="predicted, not true",
        evidence="Most evidence for the label",
        none="No modality speaks for the label.",
        sign=1,
    ),
    "false negative": _Look(
        title="True, but not predicted",
        verb="missed",
        evidence="Most evidence against the label",
        none="No modality speaks against the label.",
        sign=-1,
    ),
}


def mistakes_section(
    source: PageSource, evaluation: StoredEvaluation, found: StoredPredictions
) -> Section:
    """Return the most confident errors, with explanations where the data are there."""
    note = (
        "The wrong decisions farthest beyond their thresholds, the labels in turn. Evidence is "
        "measured: the change of the label's log-odds when the model cannot see a modality, and "
        "in the strips when it cannot see a few steps around each. Orange steps speak for the "
        "label, blue ones against it."
    )
    blocks: list[Block] = [Text(note, "note")]
    cards = _Cards(source, evaluation, found)
    for kind, look in _LOOKS.items():
        mistakes = confident_mistakes(found, cards.thresholds, kind=kind)
        shown: Block = Text("None.")
        if mistakes:
            shown = Cards([cards.card(mistake, look) for mistake in mistakes])
        blocks.append(Section(look.title, [shown]))
    return Section("Most confident mistakes", blocks)


class _Cards:
    """Makes the cards of mistakes; a sample is explained once.

    Attributes:
        names: the labels, in the model's order.
        thresholds: threshold of each label, (L,).
    """

    def __init__(
        self, source: PageSource, evaluation: StoredEvaluation, found: StoredPredictions
    ) -> None:
        self.source = source
        self.found = found
        self.names = source.run.label_names
        chosen = source.run.model.thresholds[evaluation.thresholds]
        self.thresholds = chosen.array(self.names)
        self._explanations: dict[int, Explanation | None] = {}

    def card(self, mistake: Mistake, look: _Look) -> Card:
        """Return the card of one mistake."""
        i = mistake.sample
        name = self.names[mistake.label]
        probability = self.found.probabilities[i, mistake.label]
        threshold = self.thresholds[mistake.label]
        facts = [
            ("sample", self.found.ids[i]),
            ("probability", f"{probability:.3f}, threshold {threshold:.3f}"),
            ("true", self._held(self.found.labels[i].astype(bool))),
            ("predicted", self._held(self.found.decisions[i])),
        ]
        blocks: list[Block] = [Facts(facts)]
        if self.source.part is not None:
            blocks += _explained(self._explain(i, self.source.part), name, look)
        return Card(f"{name}: {look.verb}", blocks)

    def _held(self, held: Bool[np.ndarray, "labels"]) -> str:
        names = [name for name, yes in zip(self.names, held, strict=True) if yes]
        return ", ".join(names) or "none"

    def _explain(self, position: int, part: Split) -> Explanation | None:
        """Return why a sample was judged so; None where the model can see nothing of it."""
        if position not in self._explanations:
            sample = part.sample(position)
            predictor = self.source.predictor
            explanation = predictor.explain(sample) if predictor.can_see(sample) else None
            self._explanations[position] = explanation
        return self._explanations[position]


def _explained(why: Explanation | None, label: str, look: _Look) -> list[Block]:
    """Return which modality decided, and the evidence of every modality and step."""
    if why is None:
        return [Text("The sample has none of the modalities that the model takes.", "note")]

    modality, first, last, evidence = _strongest(why, label, sign=look.sign)
    text = look.none
    if evidence >= MIN_EVIDENCE:
        which = f"step {first + 1}" if first == last else f"steps {first + 1} to {last + 1}"
        text = f"{look.evidence}: {modality}, there most of all {which}."

    of_steps = why.steps[label]
    largest = [float(np.abs(steps).max(initial=0)) for steps in of_steps.values()]
    scale = max([FAINT, *largest])
    rows = []
    for m, drop in why.modalities[label].items():
        change = f"{-drop:+.2f}" if abs(drop) >= MIN_EVIDENCE else "0.00"
        steps = of_steps[m]
        strip = Strip(steps.tolist(), scale, f"evidence of each step of {m} for {label}")
        rows.append((f"no {m}", change, Cell("", chart=strip), f"{len(steps)}"))
    return [Text(text), Table(("hidden", "log-odds", "its steps", "steps"), rows)]


def _strongest(why: Explanation, label: str, *, sign: int) -> tuple[Modality, int, int, float]:
    """Return the modality with the most evidence for (or against) a label, its steps, the evidence.

    Args:
        why: explanation of a sample.
        label: name of the label.
        sign: 1 for evidence for the label, -1 for evidence against it.
    """
    modalities = {m: sign * x for m, x in why.modalities[label].items()}
    steps = {m: sign * x for m, x in why.steps[label].items()}
    turned = replace(why, modalities={label: modalities}, steps={label: steps})
    modality, first, last = turned.strongest(label)
    return modality, first, last, modalities[modality]
