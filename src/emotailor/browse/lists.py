"""The first page: how good one run is, or two, and the samples to look at."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from emotailor.browse.choice import (
    ORDERS,
    ORDERS_OF_TWO,
    SHOWN,
    WHO,
    Choice,
    chosen,
    who_is_right,
)
from emotailor.browse.judged import Judged
from emotailor.browse.layout import (
    ChoiceForm,
    Field,
    LinkCell,
    Raw,
    ServedPage,
    isolated,
    link,
    pager,
    sample_address,
    short_id,
)
from emotailor.evaluation.display import number, title_of
from emotailor.report.page import (
    Block,
    Cell,
    Content,
    Markup,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
    element,
)
from emotailor.report.parts import interval, plain_mode
from emotailor.text import plural

A_PAGE = 50
"""Samples on one page of a list."""

SAID = 160
"""Characters of what is said, in a list."""

FIRST = ("micro_f1", "macro_f1", "mean_average_precision", "mean_roc_auc")


def list_page(one: Judged, other: Judged | None, choice: Choice) -> ServedPage:
    """Return the first page.

    Args:
        one: the answers of a run.
        other: those of a second one on the same samples; None for none.
        choice: which samples are listed.
    """
    card = one.dataset.card
    title = one.name if other is None else f"A: {one.name}, B: {other.name}"
    about = (
        f"{one.run.title} on split {one.part.name} of {card.name}, "
        f"{plural(len(one), 'sample')}, thresholds {plain_mode(one.evaluation.thresholds)}"
    )
    if other is not None:
        about = (
            f"A is {one.run.title}, B is {other.run.title}; split {one.part.name} of "
            f"{card.name}, {plural(len(one), 'sample')}"
        )
    summary = [_tiles(one)] if other is None else [_tiles(one, "A: "), _tiles(other, "B: ")]
    labels = _label_table(one, choice) if other is None else _pair_table(one, other)
    return ServedPage(
        title,
        about,
        sections=[
            Section("Labels", [labels]),
            Section("Samples", _samples(one, other, choice)),
        ],
        summary=summary,
    )


# ---------------------------------------------------------------------- scores


def _tiles(one: Judged, before: str = "") -> Tiles:
    metrics = one.metrics.overall()
    tiles = []
    for name in FIRST:
        found = one.evaluation.intervals.get(name)
        detail = interval(found)
        tiles.append(Tile(f"{before}{title_of(name)}", number(metrics[name]), detail))
    right = int((~one.wrong).all(1).sum())
    share = f"{right / len(one):.1%} of {len(one):,}"
    tiles.append(Tile(f"{before}all labels right", f"{right:,}", share))
    return Tiles(tiles)


def _label_table(one: Judged, choice: Choice) -> Table:
    """Return what is stored of each label; counts lead to the samples that they count."""
    header = ("label", "true", "named", "not true", "missed", "threshold", "P", "R", "F1", "AP",
              "AUC")  # fmt: skip
    rows = []
    for column, name in enumerate(one.label_names):
        label = one.metrics.labels[name]
        true = one.true[:, column]
        named = one.named[:, column]
        counts = {
            "true": int(true.sum()),
            "named": int(named.sum()),
            "false-positive": int((named & ~true).sum()),
            "false-negative": int((~named & true).sum()),
        }
        row: list[str | Cell] = [name]
        for show, count in counts.items():
            order = "confident" if show.startswith("false") else "probable"
            address = Choice(label=name, show=show, order=order).address("/#samples")
            told = f"{name}: {SHOWN[show]}, {plural(count, 'sample')}"
            row.append(LinkCell(f"{count:,}", address=address, name=told))
        row.append(f"{one.thresholds[column]:.3f}")
        scores = (label.precision, label.recall, label.f1, label.average_precision, label.roc_auc)
        row += [number(score) for score in scores]
        rows.append(row)

    marked = [place for place, name in enumerate(one.label_names) if name == choice.label]
    return Table(header, rows, "Scores of each label", marked)


def _pair_table(one: Judged, other: Judged) -> Table:
    """Return how often both, one or neither run is right, of all labels together and of each."""
    kinds = ("both", "a", "b", "neither", "differ")
    rows = []
    for label in ("", *one.label_names):
        counted = who_is_right(one, other, label)
        row: list[str | Cell] = [label or "all labels together"]
        for kind in kinds:
            count = int(counted[kind].sum())
            address = Choice(label=label, who=kind, order="apart").address("/#samples")
            told = f"{label or 'all labels'}: {WHO[kind]}, {plural(count, 'sample')}"
            row.append(LinkCell(f"{count:,}", address=address, name=told))
        if label:
            found = [judged.metrics.labels[label].f1 for judged in (one, other)]
        else:
            found = [judged.metrics.micro_f1 for judged in (one, other)]
        row += [number(score) for score in found]
        rows.append(row)
    header = ("label", *(WHO[kind] for kind in kinds), "F1 of A", "F1 of B")
    return Table(header, rows, "Who is right")


# ---------------------------------------------------------------------- samples


def _samples(one: Judged, other: Judged | None, choice: Choice) -> list[Block]:
    positions = chosen(one, other, choice)
    pages = max(1, math.ceil(len(positions) / A_PAGE))
    choice = choice.but(page=min(choice.page, pages))
    first = (choice.page - 1) * A_PAGE
    shown = positions[first : first + A_PAGE]

    told = f"{plural(len(positions), 'sample')} of {len(one):,}"
    if len(positions) > len(shown):
        told += f", {first + 1:,} to {first + len(shown):,}"
    heading = element("p", told, class_="note", role="status", id="samples")
    parts: list[Block] = [_form(one, other, choice), Raw([heading])]
    if not len(shown):
        return [*parts, Text("None: choose other samples.")]

    links = pager(choice, pages)
    around = [] if links is None else [Raw([links])]
    return [*parts, SampleList(one, other, choice, shown), *around]


def _form(one: Judged, other: Judged | None, choice: Choice) -> ChoiceForm:
    labels = [("", "any"), *((name, name) for name in one.label_names)]
    fields = [Field("label", "label", labels, choice.label)]
    if other is None:
        fields.append(Field("show", "which samples", list(SHOWN.items()), choice.show))
        fields.append(Field("order", "order", list(ORDERS.items()), choice.order))
    else:
        truth = [("all", "true or not"), ("true", "true")]
        fields.append(Field("show", "the label is", truth, choice.show))
        fields.append(Field("who", "which samples", list(WHO.items()), choice.who))
        fields.append(Field("order", "order", list(ORDERS_OF_TWO.items()), choice.order))
    return ChoiceForm(fields, choice.words)


@dataclass(frozen=True, eq=False)
class SampleList:
    """Samples, each with what is said, what is true and what is named.

    Attributes:
        one: the answers of a run.
        other: those of a second one; None for none.
        choice: which samples.
        positions: of the samples on this page.
    """

    one: Judged
    other: Judged | None
    choice: Choice
    positions: Int64[np.ndarray, "shown"]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        items = [self._item(position) for position in self.positions.tolist()]
        return element("ol", *items, class_="samples")

    def _item(self, position: int) -> Markup:
        part = self.one.part
        name = link(
            isolated(short_id(part.ids[position])),
            sample_address(position, self.choice),
            class_="id",
        )
        said = part.text(position)
        words = None
        if said:
            words = element("p", isolated(said if len(said) <= SAID else f"{said[: SAID - 1]}…"))
        marks = [Marks(self.one, position, self.choice.label).markup()]
        if self.other is not None:
            other = Marks(self.other, position, self.choice.label).markup()
            marks = [_of_run("A", marks[0]), _of_run("B", other)]
        return element("li", name, words, *marks)


def _of_run(name: str, marks: Markup) -> Markup:
    return element("div", element("b", name), marks, class_="of-run")


@dataclass(frozen=True, eq=False)
class Marks:
    """What is true and what is named of a sample, a mark for each label of which either is so.

    Attributes:
        one: the answers of a run.
        position: of the sample.
        label: the label that is shown in every case; empty for none.
    """

    one: Judged
    position: int
    label: str = ""

    def markup(self) -> Markup:
        """Return its HTML."""
        marks: list[Content] = []
        for column, name in enumerate(self.one.label_names):
            is_true = bool(self.one.true[self.position, column])
            is_named = bool(self.one.named[self.position, column])
            if not is_true and not is_named and name != self.label:
                continue
            kind, sign, told = outcome(is_true=is_true, is_named=is_named)
            p = f"{self.one.probabilities[self.position, column]:.2f}"
            marks.append(
                element(
                    "li",
                    element("span", f"{sign} ", aria_hidden="true"),
                    isolated(name),
                    f" {p}",
                    element("i", f" {told}"),
                    class_=kind,
                )
            )
        if not marks:
            marks.append(element("li", "nothing true, nothing named", class_="none"))
        return element("ul", *marks, class_="marks")


def outcome(*, is_true: bool, is_named: bool) -> tuple[str, str, str]:
    """Return how a decision is shown: its class, its sign, and in words."""
    if is_true and is_named:
        return "right", "✓", "right"
    if is_named:
        return "wrong", "+", "not true"
    if is_true:
        return "wrong", "−", "missed"  # noqa: RUF001
    return "none", "·", "rightly not named"
