"""The most confident errors of a run, with what spoke for and against them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from emotailor.data.dataset import Split
from emotailor.data.sample import Modality, Sample
from emotailor.report.page import (
    Block,
    Card,
    Cards,
    Cell,
    Facts,
    Section,
    Spoken,
    Strip,
    Table,
    Text,
)
from emotailor.report.source import PageSource
from emotailor.runs.stored import StoredEvaluation, StoredPredictions
from emotailor.serving.prediction import MIN_EVIDENCE, Explanation

MISTAKES = 6  # cards of each kind
MOST_TOLD = 300  # characters of what is said
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

        # the most confident label first, in case the list is full before the turn ends
        turn.sort(key=lambda one: (-one.distance, one.label))
        for mistake in turn:
            by_label[mistake.label].pop(0)
            is_new = mistake.sample not in shown
            if is_new and len(chosen) < count:
                shown.add(mistake.sample)
                chosen.append(mistake)

    chosen.sort(key=_most_confident)
    return chosen


def _most_confident(mistake: Mistake) -> tuple[float, int]:
    """Order mistakes: the most confident first, equal ones by sample."""
    return -mistake.distance, mistake.sample


def _by_label(
    found: StoredPredictions, thresholds: Float64[np.ndarray, "labels"], kind: Kind
) -> list[list[Mistake]]:
    """Return the mistakes of each label, the most confident first."""
    true = found.labels.astype(bool)  # (n, L)
    wrong = ~found.decisions & true
    if kind == "false positive":
        wrong = found.decisions & ~true

    # in log-odds: from 0.98 to 0.99 is as far as from 0.5 to 0.67
    probabilities = log_odds(found.probabilities)
    distances = np.abs(probabilities - log_odds(thresholds))  # (n, L)

    by_label = []
    labels = true.shape[1]
    for label in range(labels):
        mistakes = []
        for sample in np.flatnonzero(wrong[:, label]).tolist():
            distance = float(distances[sample, label])
            mistakes.append(Mistake(sample, label, distance))

        mistakes.sort(key=_most_confident)
        by_label.append(mistakes)
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


def log_odds(p: np.ndarray) -> Float64[np.ndarray, "..."]:
    """Return the log-odds of probabilities, which stay finite."""
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
        "measured: the change of the label's log-odds when the model cannot see a modality"
    )
    if _has_steps(source):
        note += (
            ", and in the strips when it cannot see a few steps around each. Orange steps speak "
            "for the label, blue ones against it"
        )
    note += "."
    blocks: list[Block] = [Text(note, "note")]
    cards = _Cards(source, evaluation, found)
    for kind, look in _LOOKS.items():
        mistakes = confident_mistakes(found, cards.thresholds, kind=kind)
        shown: Block = Text("None.")
        if mistakes:
            shown = Cards([cards.card(mistake, look) for mistake in mistakes])
        blocks.append(Section(look.title, [shown]))
    return Section("Most confident mistakes", blocks)


def _has_steps(source: PageSource) -> bool:
    """Whether any sequence of the model's modalities has more than one step."""
    if source.part is None:
        return False
    modalities = source.predictor.modalities
    return any(source.part.lengths(m).max(initial=0) > 1 for m in modalities)


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
        found = self.found
        sample = mistake.sample
        label = mistake.label
        probability = found.probabilities[sample, label]
        threshold = self.thresholds[label]
        true = found.labels[sample].astype(bool)  # (L,)
        predicted = found.decisions[sample]  # (L,)

        facts = [
            ("sample", found.ids[sample]),
            ("probability", f"{probability:.3f}, threshold {threshold:.3f}"),
            ("true", self._held(true)),
            ("predicted", self._held(predicted)),
        ]
        name = self.names[label]

        # without the sample itself nothing can be told, nor hidden from the model
        part = self.source.part
        evidence: list[Block] = []
        if part is not None:
            facts += _told(part.sample(sample))
            why = self._explain(sample, part)
            evidence = _explained(why, name, look)

        blocks: list[Block] = [Facts(facts), *evidence]
        return Card(f"{name}: {look.verb}", blocks)

    def _held(self, held: Bool[np.ndarray, "labels"]) -> str:
        names = [name for name, yes in zip(self.names, held, strict=True) if yes]
        return ", ".join(names) or "none"

    def _explain(self, position: int, part: Split) -> Explanation | None:
        """Return why a sample was judged so; None where the model can see nothing of it."""
        # two kinds of mistakes may show one sample
        if position in self._explanations:
            return self._explanations[position]

        sample = part.sample(position)
        predictor = self.source.predictor
        explanation = None
        if predictor.can_see(sample):
            explanation = predictor.explain(sample)

        self._explanations[position] = explanation
        return explanation


def _told(sample: Sample) -> list[tuple[str, str]]:
    """Return what is said in a sample, and what else its data set tells."""
    told = []
    if sample.words is not None:
        told.append(("words", shortened(" ".join(sample.words))))
    for name, text in sample.about.items():
        told.append((name, shortened(text)))
    return told


def shortened(text: str) -> str:
    """Return a text that does not fill a card."""
    return text if len(text) <= MOST_TOLD else f"{text[: MOST_TOLD - 1]}…"


def _explained(why: Explanation | None, label: str, look: _Look) -> list[Block]:
    """Return which modality decided, and the evidence of every modality and step."""
    if why is None:
        return [Text("The sample has none of the modalities that the model takes.", "note")]

    text = _sentence(why, label, look)
    drops = why.modalities[label]
    steps = why.steps[label]
    scale = _scale(steps.values())

    # of one step there is no more to say than of its modality
    has_steps = any(len(values) > 1 for values in steps.values())
    rows = []
    for m, drop in drops.items():
        # hiding a modality takes its evidence away: hence the minus
        change = "0.00"
        if abs(drop) >= MIN_EVIDENCE:
            change = f"{-drop:+.2f}"

        row: list[str | Cell] = [f"no {m}", change]
        if has_steps:
            values = steps[m].tolist()
            strip = Strip(values, scale, f"evidence of each step of {m} for {label}")
            row += [Cell("", chart=strip), str(len(values))]
        rows.append(row)

    header = ["hidden", "log-odds"]
    if has_steps:
        header += ["its steps", "steps"]
    return [Text(text), *_spoken(why, label, look, scale), Table(header, rows)]


def _sentence(why: Explanation, label: str, look: _Look) -> str:
    """Return which modality has the most evidence, and at which steps."""
    modality, first, last, evidence = _strongest(why, label, sign=look.sign)
    if evidence < MIN_EVIDENCE:
        return look.none

    # of one step the modality says it all
    if len(why.steps[label][modality]) == 1:
        return f"{look.evidence}: {modality}."

    where = why.where(modality, first, last)
    return f"{look.evidence}: {modality}, there most of all {where}."


def _spoken(why: Explanation, label: str, look: _Look, scale: float) -> list[Block]:
    """Return the words of a sample with the evidence at each, of the modality that has the most."""
    modality, _, _, _ = _strongest(why, label, sign=look.sign)
    words = why.words.get(modality)
    if words is None or len(words) == 1:
        return []

    values = why.steps[label][modality].tolist()
    told = f"evidence of {modality} for {label} at each word"
    return [Spoken(words, values, scale, told)]


def _scale(steps: Iterable[np.ndarray]) -> float:
    """Return the evidence that has the full colour, the same for all modalities of a sample."""
    scale = FAINT
    for values in steps:
        largest = np.abs(values).max(initial=0)
        scale = max(scale, float(largest))
    return scale


def _strongest(why: Explanation, label: str, *, sign: int) -> tuple[Modality, int, int, float]:
    """Return the modality with the most evidence for (or against) a label, its steps, the evidence.

    Args:
        why: explanation of a sample.
        label: name of the label.
        sign: 1 for evidence for the label, -1 for evidence against it.
    """
    # evidence against the label is evidence for it with the other sign
    modalities = {m: sign * x for m, x in why.modalities[label].items()}
    steps = {m: sign * x for m, x in why.steps[label].items()}
    turned = replace(
        why,
        modalities={label: modalities},
        steps={label: steps},
    )

    modality, first, last = turned.strongest(label)
    evidence = modalities[modality]
    return modality, first, last, evidence
