"""The table of systems, and the card of one: paper, inputs, size, losses, recipe, settings."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.config import Config, shown
from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import EMOTIONS, Modality
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError
from emotailor.evaluation.display import title_of
from emotailor.fitted import FittedTable
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.system import PRESETS, PUBLISHED_METRICS, Preset, System
from emotailor.models.table import available_models, find_system
from emotailor.training.config import TrainingConfig
from emotailor.training.recipe import recipe, training_samples

if TYPE_CHECKING:
    from emotailor.models.base import EmotionModel

MOSEI_DIMS: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
"""Feature widths of CMU-MOSEI in the paper (Table 1)."""

_FOR_TOOLS = ("# fmt: skip",)  # comments that say nothing to a reader
_MACHINE = ("seed", "device", "precision", "checkpoint_steps")  # settings that are no recipe


@dataclass(frozen=True)
class Setting:
    """A setting of a system.

    Attributes:
        name: the name, as in ``--set model.NAME=VALUE``.
        paper: its default.
        authors: its value in the authors' program.
        tuned: its value in the preset ``tuned``.
        comment: its meaning and where the default comes from.
    """

    name: str
    paper: Any
    authors: Any
    tuned: Any
    comment: str


@dataclass(frozen=True)
class Card:
    """All there is to know of a system before it is trained.

    Attributes:
        row: row of the table of systems.
        kind: ``neural``, or ``fitted`` at once without gradients.
        takes_unaligned: whether it can do with modalities of different lengths by itself.
        data: name of the data set that the sizes are for.
        dims: modality -> feature width.
        labels: number of labels.
        parameters: preset -> number of parameters trained by gradients; a fitted system has none.
        losses: preset -> weight of each loss in the objective.
        training: preset -> settings of training.
        settings: settings of the model.
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


# ---------------------------------------------------------------------- comments in the source


def field_comments(config: type[Config]) -> dict[str, str]:
    """Return the comments beside the fields of a configuration class, inherited ones included.

    A field has the comments directly above it and those of all lines of its definition; without
    one, or where the source is not there, it has the empty string.
    """
    found = dict.fromkeys(config.model_fields, "")

    # the class itself comes last: its comment on a field replaces an inherited one
    for parent in reversed(config.__mro__):
        is_config = issubclass(parent, Config) and parent is not Config
        if not is_config:
            continue

        for field, text in _own_comments(parent).items():
            if field in found:
                found[field] = text
    return found


def _own_comments(config: type) -> dict[str, str]:
    """Return the comments beside the fields that a class itself defines; none without source."""
    try:
        source = textwrap.dedent(inspect.getsource(config))
        beside, alone = _comments_by_line(source)
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, ValueError, SyntaxError, tokenize.TokenError):
        return {}
    if not isinstance(tree, ast.ClassDef):
        return {}

    by_line = {**beside, **alone}
    found = {}
    for node in tree.body:
        # a field: a name with a type
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue

        # with the comments directly above it
        first = node.lineno
        while first - 1 in alone:
            first -= 1
        last = node.end_lineno or node.lineno

        lines = range(first, last + 1)
        comments = [by_line[line] for line in lines if line in by_line]
        found[node.target.id] = " ".join(comments)
    return found


def _comments_by_line(source: str) -> tuple[dict[int, str], dict[int, str]]:
    """Return the comments beside code, and those on lines of their own; a syntax tree has none.

    Raises:
        SyntaxError, tokenize.TokenError: the source is not whole.
    """
    reader = io.StringIO(source)
    beside = {}
    alone = {}
    for token in tokenize.generate_tokens(reader.readline):
        if token.type != tokenize.COMMENT or token.string in _FOR_TOOLS:
            continue

        line, _ = token.start
        text = token.string.lstrip("# ")
        if token.line.lstrip().startswith("#"):
            alone[line] = text
        else:
            beside[line] = text
    return beside, alone


# ---------------------------------------------------------------------- the list


def venue(row: System) -> str:
    """Return where and when a system was published: the last sentence of its citation."""
    sentences = row.paper.rstrip(". ").rpartition(". ")
    return sentences[2]


def kind_of(row: System) -> str:
    """Return ``fitted`` or ``neural``."""
    from emotailor.models.base import FittedModel
    from emotailor.models.factory import model_class

    return "fitted" if issubclass(model_class(row.name), FittedModel) else "neural"


def list_models() -> Table:
    """Return the table of all systems, those of installed packages too."""
    table = FittedTable(title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "title", "published in", "modalities", "kind"):
        table.add_column(column, overflow="fold")

    for name in available_models():
        try:
            row = find_system(name)
            kind = kind_of(row)
        except ConfigError as error:  # an installed package that is damaged: the others are shown
            table.add_row(Text(name), Text(error.found), "", "", "")
            continue
        table.add_row(
            Text(row.name),
            Text(row.title),
            Text(venue(row)),
            ", ".join(row.modalities),
            kind,
        )
    return table


# ---------------------------------------------------------------------- the card of a system


@dataclass(frozen=True)
class _Sizes:
    """What the sizes of a model depend on.

    Attributes:
        name: name of the data set.
        dims: modality -> feature width, of all its modalities.
        labels: number of labels.
        dataset: the data set; None for CMU-MOSEI as published.
    """

    name: str
    dims: Mapping[Modality, int]
    labels: int
    dataset: EmotionDataset | None = None


def _sizes(data: Path | None) -> _Sizes:
    if data is None:
        return _Sizes("CMU-MOSEI", MOSEI_DIMS, len(EMOTIONS))
    dataset = open_dataset(data)
    return _Sizes(dataset.card.name, dataset.dims, len(dataset.label_names), dataset)


def describe(name: str, data: Path | None = None) -> Card:
    """Return the card of a system.

    Args:
        name: name of the system.
        data: stored data set whose widths and labels count; by default those of CMU-MOSEI.

    Raises:
        ConfigError: no such system, or it cannot work with that data set.
        DataError: no such data set.
    """
    from emotailor.models.factory import model_class

    row = find_system(name)
    sizes = _sizes(data)
    dims = row.choose(sizes.dims, None)
    aligned = True
    samples = None
    if sizes.dataset is not None:
        aligned = sizes.dataset.aligned
        samples = training_samples(sizes.dataset.card)

    # what may differ between the presets
    parameters = {}
    losses = {}
    training = {}
    for preset in PRESETS:
        model = _untrained(row, preset, dims, sizes)
        parameters[preset] = _count(model)
        losses[preset] = dict(model.loss_weights)
        training[preset] = recipe(name, preset, aligned=aligned, samples=samples)

    return Card(
        row=row,
        kind=kind_of(row),
        takes_unaligned=model_class(name).takes_unaligned,
        data=sizes.name,
        dims=dims,
        labels=sizes.labels,
        parameters=parameters,
        losses=losses,
        training=training,
        settings=_settings_of(row),
    )


def _untrained(
    row: System, preset: Preset, dims: Mapping[Modality, int], sizes: _Sizes
) -> "EmotionModel":
    """Return a model without values, to ask for its shapes."""
    from emotailor.models.factory import build_model
    from emotailor.shapes import shapes_alone
    from emotailor.training.alignment import resolve_alignment

    alignment = None
    if sizes.dataset is not None:
        wanted: AlignmentConfig = getattr(AlignmentConfig, preset)()
        training = sizes.dataset["train"]
        alignment = resolve_alignment(wanted, row, dims, sizes.dataset, training)
    with shapes_alone():
        return build_model(row.name, row.preset(preset), dims, sizes.labels, alignment)


def _count(model: "EmotionModel") -> int:
    return sum(p.numel() for p in model.parameters())


def _settings_of(row: System) -> tuple[Setting, ...]:
    paper = dict(row.preset("paper"))
    authors = dict(row.preset("authors"))
    tuned = dict(row.preset("tuned"))
    comments = field_comments(row.config)
    return tuple(
        Setting(name, paper[name], authors[name], tuned[name], comments[name]) for name in paper
    )


# ---------------------------------------------------------------------- the card on the terminal


def render_card(card: Card) -> RenderableType:
    """Return a card for the terminal."""
    row = card.row
    heading = Text(f"{row.title} ({card.kind})", style="bold")
    lines: list[RenderableType] = [heading]
    if row.paper:
        lines.append(Text(row.paper))
    lines.append(Text())

    facts = FittedTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(card).items():
        facts.add_row(name, Text(text))

    lines.append(facts)
    lines.append(_recipe(card))
    lines.append(_settings(card))
    return Group(*lines)


def _facts(card: Card) -> dict[str, str]:
    row = card.row
    facts = {"takes": _takes(card)}

    # sizes depend on the widths of a data set
    widths = ", ".join(f"{m} {width}" for m, width in card.dims.items())
    sizes = f"for {card.data}: {widths}; {card.labels} labels"
    facts["parameters"] = f"{_size(card)}\n{sizes}"

    facts["losses"] = _each({preset: shown(card.losses[preset]) for preset in PRESETS})

    if row.published:
        facts["published"] = "\n".join(_published(row))
    if row.variants:
        facts["variants"] = ", ".join(row.variants)

    # a system of others is named by its code
    system = row.code or row.name
    facts["train"] = f"emotailor train --model {system} --data DATA"
    return facts


def _takes(card: Card) -> str:
    row = card.row
    parts = [", ".join(row.modalities)]
    if row.at_least > 1:
        parts.append(f"at least {row.at_least} of them")
    if row.required:
        required = ", ".join(row.required)
        parts.append(f"never without {required}")

    is_fitted = card.kind == "fitted"
    fits_unaligned = is_fitted and card.takes_unaligned
    if row.reads_unaligned or fits_unaligned:
        parts.append("word-aligned or unaligned data")
    elif is_fitted:
        parts.append("word-aligned data only")
    elif len(row.modalities) > 1:  # one modality alone has nothing to be aligned with
        parts.append("word-aligned data; others through an alignment module")
    return "; ".join(parts)


def _size(card: Card) -> str:
    if card.kind == "fitted":
        return "fitted to the data at once, none trained by gradients"
    return _each({preset: f"{card.parameters[preset]:,}" for preset in PRESETS})


def _published(row: System) -> Iterator[str]:
    """Yield a line for each half of the published table."""
    for setting, values in row.published.items():
        named = zip(PUBLISHED_METRICS, values, strict=True)
        numbers = [f"{title_of(metric)} {value:.3f}" for metric, value in named]
        yield f"{setting}: {', '.join(numbers)}"


def _each(values: Mapping[Preset, str]) -> str:
    """Return the value of the paper, and those of the presets that differ from it."""
    usual = values["paper"]
    lines = [usual]
    for preset, value in values.items():
        if value != usual:
            lines.append(f"{preset}: {value}")
    return "\n".join(lines)


def _table(*columns: str) -> Table:
    table = FittedTable(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, overflow="fold")
    return table


def _recipe(card: Card) -> RenderableType:
    if card.kind == "fitted":
        return Text("Of training.* it uses the seed, the batch_size of reading and the threshold.")

    table = _table("training.", "tuned", "paper", "authors")
    tuned = dict(card.training["tuned"])
    paper = dict(card.training["paper"])
    authors = dict(card.training["authors"])
    for name, value in tuned.items():
        if name in _MACHINE:
            continue

        # empty where the presets agree
        cells = [shown(value)]
        for other in (paper[name], authors[name]):
            differs = "" if other == value else shown(other)
            cells.append(differs)
        table.add_row(name, *map(Text, cells))
    return table


def _settings(card: Card) -> RenderableType:
    if not card.settings:
        return Text("The model has no settings.")

    table = _table("model.", "value", "meaning and source")
    table.columns[1].max_width = 26  # what is left of 80 columns is for the meaning
    for setting in card.settings:
        value = _each(
            {
                "paper": shown(setting.paper),
                "tuned": shown(setting.tuned),
                "authors": shown(setting.authors),
            }
        )
        table.add_row(setting.name, Text(value), Text(setting.comment))
    return table
