"""The table of systems, and the card of one: paper, inputs, size, losses, recipe, settings."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.config import Config, shown
from emotailor.data.sample import EMOTIONS, Modality
from emotailor.data.store import open_dataset
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.system import Preset, System
from emotailor.models.table import SYSTEMS, find_system
from emotailor.training.config import TrainingConfig
from emotailor.training.run_config import recipe

MOSEI_DIMS: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
"""Feature widths of CMU-MOSEI in the paper (Table 1)."""

_MACHINE = ("seed", "device", "precision", "checkpoint_steps")  # settings that are no recipe


@dataclass(frozen=True)
class Setting:
    """A setting of a system.

    Attributes:
        name: as in ``--set model.NAME=VALUE``.
        paper: its default.
        authors: its value in the authors' program.
        comment: its meaning and where the default comes from.
    """

    name: str
    paper: Any
    authors: Any
    comment: str


@dataclass(frozen=True)
class Card:
    """All there is to know of a system before it is trained.

    Attributes:
        row: of the table of systems.
        kind: ``neural``, or ``fitted`` at once without gradients.
        takes_unaligned: whether it can do with modalities of different lengths by itself.
        data: what the sizes are for.
        dims: modality -> feature width.
        labels: how many.
        parameters: trained by gradients, by preset; a fitted system has none.
        losses: weight of each loss in the objective, by preset.
        training: settings of training, by preset.
        settings: those of the model.
    """

    row: System
    kind: str
    takes_unaligned: bool
    data: str
    dims: Mapping[Modality, int]
    labels: int
    parameters: Mapping[Preset, int]
    losses: Mapping[Preset, Mapping[str, float]]
    training: Mapping[Preset, TrainingConfig]
    settings: tuple[Setting, ...]


def field_comments(config: type[Config]) -> dict[str, str]:
    """Return the comments beside the fields of a configuration class, inherited ones included.

    A field has the comments of all lines of its definition; without one, or where the source is
    not there, it has the empty string.
    """
    found = dict.fromkeys(config.model_fields, "")
    for parent in reversed(config.__mro__):
        if not issubclass(parent, Config) or parent is Config:
            continue
        try:
            source = textwrap.dedent(inspect.getsource(parent))
            tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
            (tree,) = ast.parse(source).body
        except (OSError, TypeError, ValueError, SyntaxError, tokenize.TokenError):
            continue
        comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
        for node in tree.body if isinstance(tree, ast.ClassDef) else ():
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                text = " ".join(comments[line] for line in lines if line in comments)
                if node.target.id in found:
                    found[node.target.id] = text
    return found


def venue(row: System) -> str:
    """Where and when a system was published: the last sentence of its citation."""
    return row.paper.rstrip(". ").rpartition(". ")[2]


def kind_of(row: System) -> str:
    """Return ``fitted`` or ``neural``."""
    from emotailor.models.base import FittedModel
    from emotailor.models.factory import model_class

    return "fitted" if issubclass(model_class(row.name), FittedModel) else "neural"


def list_models() -> Table:
    """Return the table of all systems."""
    table = Table(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "title", "published in", "modalities", "kind"):
        table.add_column(column, overflow="fold")
    for row in SYSTEMS.values():
        table.add_row(row.name, row.title, venue(row), ", ".join(row.modalities), kind_of(row))
    return table


def describe(name: str, data: Path | None = None) -> Card:
    """Return the card of a system.

    Args:
        name: of the system.
        data: stored data set whose widths and labels count; by default those of CMU-MOSEI.

    Raises:
        ConfigError: no such system, or it cannot work with that data set.
        DataError: no such data set.
    """
    import torch

    from emotailor.models.factory import build_model, model_class
    from emotailor.training.alignment import resolve_alignment

    row = find_system(name)
    dataset = None if data is None else open_dataset(data)
    there, labels, title = MOSEI_DIMS, len(EMOTIONS), "CMU-MOSEI"
    if dataset is not None:
        there, labels, title = dataset.dims, len(dataset.label_names), dataset.card.name
    dims = row.choose(there, None)
    parameters: dict[Preset, int] = {}
    losses: dict[Preset, Mapping[str, float]] = {}
    presets: tuple[Preset, ...] = ("paper", "authors")
    for preset in presets:
        alignment = None
        if dataset is not None:
            wanted: AlignmentConfig = getattr(AlignmentConfig, preset)()
            alignment = resolve_alignment(wanted, row, dims, dataset, dataset["train"])
        with torch.device("meta"):  # shapes alone: nothing is drawn, no memory is used
            model = build_model(name, row.preset(preset), dims, labels, alignment)
        parameters[preset] = sum(p.numel() for p in model.parameters())
        losses[preset] = dict(model.loss_weights)
    aligned = dataset is None or dataset.aligned
    paper, authors = dict(row.preset("paper")), dict(row.preset("authors"))
    comments = field_comments(row.config)
    return Card(
        row=row,
        kind=kind_of(row),
        takes_unaligned=model_class(name).takes_unaligned,
        data=title,
        dims=dims,
        labels=labels,
        parameters=parameters,
        losses=losses,
        training={preset: recipe(name, preset, aligned=aligned) for preset in presets},
        settings=tuple(
            Setting(field, value, authors[field], comments[field]) for field, value in paper.items()
        ),
    )


def render_card(card: Card) -> RenderableType:
    """Return a card for the terminal."""
    row = card.row
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("takes", Text(_takes(card)))
    widths = ", ".join(f"{m} {width}" for m, width in card.dims.items())
    facts.add_row(
        "parameters",
        Text(f"{_size(card)}\nfor {card.data}: {widths}; {card.labels} labels"),
    )
    losses = {preset: shown(weights) for preset, weights in card.losses.items()}
    facts.add_row("losses", Text(_both(losses["paper"], losses["authors"])))
    facts.add_row("train", Text(f"emotailor train --model {row.name} --data DATA"))
    return Group(
        Text(f"{row.title} ({card.kind})", style="bold"),
        Text(row.paper),
        Text(),
        facts,
        *_recipe(card),
        *_settings(card),
    )


def _takes(card: Card) -> str:
    row = card.row
    parts = [", ".join(row.modalities)]
    if row.at_least > 1:
        parts.append(f"at least {row.at_least} of them")
    if row.required:
        parts.append(f"never without {', '.join(row.required)}")
    if row.reads_unaligned or (card.takes_unaligned and card.kind == "fitted"):
        parts.append("word-aligned or unaligned data")
    elif card.kind == "fitted":
        parts.append("word-aligned data only")
    elif len(row.modalities) > 1:  # one modality alone has nothing to be aligned with
        parts.append("word-aligned data; others through an alignment module")
    return "; ".join(parts)


def _size(card: Card) -> str:
    if card.kind == "fitted":
        return "fitted to the data at once, none trained by gradients"
    return _both(f"{card.parameters['paper']:,}", f"{card.parameters['authors']:,}")


def _both(paper: str, authors: str) -> str:
    return paper if paper == authors else f"{paper}\nauthors: {authors}"


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, overflow="fold")
    return table


def _recipe(card: Card) -> list[RenderableType]:
    if card.kind == "fitted":
        return [
            Text("Of training.* it uses the seed, the batch_size of reading and the threshold.")
        ]
    table = _table("training.", "paper", "authors")
    paper, authors = card.training["paper"], card.training["authors"]
    for name, value in dict(paper).items():
        if name not in _MACHINE:
            other = getattr(authors, name)
            table.add_row(name, Text(shown(value)), Text(shown(other) if other != value else ""))
    return [table]


def _settings(card: Card) -> list[RenderableType]:
    if not card.settings:
        return [Text("The model has no settings.")]
    table = _table("model.", "value", "meaning and source")
    table.columns[1].max_width = 26  # what is left of 80 columns is for the meaning
    for setting in card.settings:
        value = _both(shown(setting.paper), shown(setting.authors))
        table.add_row(setting.name, Text(value), Text(setting.comment))
    return [table]
