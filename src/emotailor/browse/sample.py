"""The page of one sample: truth, decisions, and the evidence at every word and step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emotailor.browse.choice import Choice, chosen
from emotailor.browse.evidence import Evidence
from emotailor.browse.judged import Judged
from emotailor.browse.layout import (
    LinkCell,
    Raw,
    ServedPage,
    isolated,
    link,
    sample_address,
    short_id,
)
from emotailor.browse.lists import outcome
from emotailor.data.sample import Modality, Sample
from emotailor.errors import EmotailorError
from emotailor.report.mistakes import FAINT
from emotailor.report.page import (
    Block,
    Card,
    Cards,
    Cell,
    Content,
    Facts,
    Markup,
    Section,
    Spoken,
    Strip,
    Table,
    Text,
    element,
)
from emotailor.serving.prediction import MIN_EVIDENCE, Explanation, signed_change
from emotailor.text import sentence

MOST_TOLD = 2000
"""Characters of a text about a sample, on its page."""

LONGEST_WORD = 60
"""Characters of a word among others."""


@dataclass(frozen=True, eq=False)
class Looked:
    """A run that is looked at, with its evidence.

    Attributes:
        judged: its answers.
        evidence: of its samples.
    """

    judged: Judged
    evidence: Evidence


def sample_page(
    one: Looked, other: Looked | None, position: int, choice: Choice, label: str
) -> ServedPage:
    """Return the page of a sample.

    Args:
        one: a run.
        other: a second one; None for none.
        position: of the sample in its split.
        choice: the list from which it was opened.
        label: for which evidence is shown; empty for the one that is most worth looking at.
    """
    judged = one.judged
    sample = judged.part.sample(position)
    label = label if label in judged.label_names else _most_worth(one, other, position, choice)
    runs = [one] if other is None else [one, other]
    evidence: Sequence[Block]
    if other is None:
        evidence = _evidence(one, position, label, "")
    else:
        cards = []
        for letter, looked in zip("AB", runs, strict=True):
            blocks = _evidence(looked, position, label, letter)
            cards.append(Card(f"{letter}: {looked.judged.name}", blocks))
        evidence = [Cards(cards)]
    chooser = _chooser(judged, position, choice, label)
    note = Text(
        "Evidence is measured: how much the log-odds of the label fall when the model cannot see "
        "a modality, or a few steps around each. Orange speaks for the label, blue against it.",
        "note",
    )
    return ServedPage(
        f"Sample {short_id(sample.id)}",
        f"of split {judged.part.name} of {judged.dataset.card.name}",
        sections=[
            Section("Truth and predictions", [_decisions(runs, position, choice, label)]),
            Section(f"Evidence for {label}", [chooser, *evidence, note]),
            Section("The sample", [_facts(sample, judged.dataset.modalities)]),
        ],
        way=_way(one, other, position, choice),
    )


def _most_worth(one: Looked, other: Looked | None, position: int, choice: Choice) -> str:
    """Return the label of the list, else that of the surest mistake, else the most probable one."""
    if choice.label:
        return choice.label
    judged = one.judged
    if other is not None:
        differ = judged.named[position] != other.judged.named[position]
        if differ.any():
            apart = np.abs(judged.log_odds[position] - other.judged.log_odds[position])
            return judged.label_names[int(np.where(differ, apart, -1).argmax())]
    wrong = judged.named[position] != judged.true[position]
    if wrong.any():
        return judged.label_names[int(np.where(wrong, judged.distances[position], -1).argmax())]
    return judged.label_names[int(judged.probabilities[position].argmax())]


# ---------------------------------------------------------------------- the way to others


def _way(one: Looked, other: Looked | None, position: int, choice: Choice) -> list[Markup]:
    """Return links to the list, and to the samples before and behind this one in it."""
    positions = chosen(one.judged, None if other is None else other.judged, choice)
    places = np.flatnonzero(positions == position)
    links = [link("all samples", choice.address("/#samples"), rel="up")]
    if not len(places):
        return [*links, element("span", "this sample is not in the list")]

    place = int(places[0])
    if place > 0:
        before = int(positions[place - 1])
        links.append(link("← previous", sample_address(before, choice), rel="prev"))
    links.append(element("span", f"{place + 1:,} of {len(positions):,}"))
    if place + 1 < len(positions):
        after = int(positions[place + 1])
        links.append(link("next →", sample_address(after, choice), rel="next"))
    return links


def _chooser(judged: Judged, position: int, choice: Choice, label: str) -> Raw:
    links: list[Content] = [element("span", "Evidence for:")]
    for name in judged.label_names:
        current = {"aria_current": "true"} if name == label else {}
        address = sample_address(position, choice, evidence=name)
        links.append(link(isolated(name), f"{address}#s2", **current))
    return Raw([element("p", *links, class_="chooser")])


# ---------------------------------------------------------------------- decisions


def _decisions(runs: Sequence[Looked], position: int, choice: Choice, label: str) -> Table:
    """Return truth beside prediction, a row a label, the most probable first."""
    first = runs[0].judged
    order = np.argsort(-first.probabilities[position], kind="stable").tolist()
    header = ["label", "true"]
    for letter in _letters(runs):
        header += [f"decision{letter}", f"probability{letter}", f"threshold{letter}"]

    rows = []
    marked = []
    for place, column in enumerate(order):
        name = first.label_names[column]
        is_true = bool(first.true[position, column])
        address = f"{sample_address(position, choice, evidence=name)}#s2"
        row: list[str | Cell] = [
            LinkCell(name, address=address, name=f"evidence for {name}"),
            "yes" if is_true else "no",
        ]
        for looked in runs:
            judged = looked.judged
            is_named = bool(judged.named[position, column])
            kind, _, told = outcome(is_true=is_true, is_named=is_named)
            decided = "named" if is_named else "not named"
            how = f"{decided}: {told}" if kind == "wrong" else f"{decided}: right"
            row.append(Cell(how, strong=kind == "wrong"))
            row.append(f"{judged.probabilities[position, column]:.3f}")
            row.append(f"{judged.thresholds[column]:.3f}")
        rows.append(row)
        if name == label:
            marked.append(place)
    return Table(header, rows, "Labels, the most probable first", marked)


def _letters(runs: Sequence[Looked]) -> list[str]:
    return [""] if len(runs) == 1 else [" of A", " of B"]


# ---------------------------------------------------------------------- evidence


def _evidence(looked: Looked, position: int, label: str, letter: str) -> list[Block]:
    """Return the words in the colour of their evidence, and the modalities with their steps.

    Args:
        looked: a run.
        position: of the sample.
        label: for which evidence is shown.
        letter: of the run; empty where there is one.
    """
    try:
        why = looked.evidence.of(position)
    except EmotailorError as error:
        return [Text(sentence(error.found), "warning")]
    if why is None:
        return [Text("The sample has none of the modalities that the model takes.", "note")]

    steps = {m: np.asarray(values) for m, values in why.steps[label].items()}
    scale = max([FAINT, *(float(np.abs(values).max(initial=0)) for values in steps.values())])
    where = why.describe(label)
    text = "No modality speaks for it." if where == "-" else f"Most evidence for it: {where}."
    return [Text(text), *_spoken(why, label, scale), _modalities(why, label, scale, letter)]


def _spoken(why: Explanation, label: str, scale: float) -> list[Block]:
    """Return the words with the evidence at each: of the text, or of what else is aligned."""
    with_words = [m for m in ("text", "audio", "visual") if m in why.words]
    if not with_words:
        return []
    modality = with_words[0]
    words = [_cut(word, LONGEST_WORD) for word in why.words[modality]]
    values = why.steps[label][modality].tolist()
    told = f"words of the sample, each with the evidence of {modality} for {label}"
    return [Spoken(words, values, scale, told)]


def _modalities(why: Explanation, label: str, scale: float, letter: str) -> Table:
    """Return the evidence of each modality, its share of all, and that of each of its steps."""
    drops = why.modalities[label]
    sizes = [abs(drop) for drop in drops.values()]
    is_nothing = max(sizes) < MIN_EVIDENCE
    rows: list[list[str | Cell]] = []
    for modality, drop in drops.items():
        share = "-" if is_nothing else f"{abs(drop) / sum(sizes):.0%}"
        values = why.steps[label][modality].tolist()
        told = f"evidence of each step of {modality} for {label}"
        row: list[str | Cell] = [
            modality,
            signed_change(drop),
            share,
            Cell("", chart=Strip(values, scale, told)),
            str(len(values)),
        ]
        rows.append(row)
    header = ("modality", "evidence", "share", "its steps", "steps")
    whose = f"Modalities of {letter}" if letter else "Modalities"
    return Table(header, rows, f"{whose}, evidence for {label}")


# ---------------------------------------------------------------------- the sample


def _facts(sample: Sample, modalities: Sequence[Modality]) -> Facts:
    said = "" if sample.words is None else " ".join(sample.words)
    facts = [("id", _cut(sample.id))]
    if said:
        facts.append(("words", _cut(said)))
    for name, text in sample.about.items():
        # a transcript is mostly what the words are
        if text.split() != said.split():
            facts.append((name, _cut(text)))
    for modality in modalities:
        sequence = sample.sequences.get(modality)
        steps = "missing" if sequence is None else f"{len(sequence)} steps of {sequence.shape[1]}"
        facts.append((modality, steps))
    return Facts(facts)


def _cut(text: str, most: int = MOST_TOLD) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
