"""The card of a model that ships, for the terminal."""

from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.evaluation.comparison import Interval
from emotailor.evaluation.display import number, title_of
from emotailor.evaluation.tables import terminal_table
from emotailor.models.table import find_system
from emotailor.shipped.card import COMPARED, Damaged, LabelScores, OtherText, ShippedCard


def render_shipped(card: ShippedCard) -> RenderableType:
    """Return everything that there is to know of a model that ships, to be printed."""
    return Group(
        *_head(card),
        _labels(card),
        *_lines(card),
        Text("It must not be used for:"),
        *[Text(f"  - {purpose}") for purpose in card.not_for],
        Text("Licences:"),
        *[Text(f"  {what}: {licence}") for what, licence in card.licences.items()],
    )


def _head(card: ShippedCard) -> list[Text]:
    """Return what the model is, of what it was made and how it does, a line each."""
    title = find_system(card.system).title
    size = f"{card.weights_bytes / 1e6:.1f} MB"
    counts = [f"{split} {count:,}" for split, count in card.samples.items()]
    samples = ", ".join(counts)
    scores = [f"{title_of(name)} {_ends(card.scores[name])}" for name in COMPARED]
    scored = "; ".join(scores)

    name = card.data["name"]
    return [
        Text(f"{card.name}: {title}, settings of {card.recipe}, seed {card.seed}, {size}"),
        Text(f"reads: {card.reads}"),
        Text(f"trained on: {name} ({samples} samples)"),
        Text(f"test, thresholds {card.thresholds}: {scored}"),
    ]


def _labels(card: ShippedCard) -> RenderableType:
    columns = ("holds", "named", "precision", "recall", "AP [95 %]", "AUC [95 %]")
    table = terminal_table("labels, test", *columns)
    for name, label in card.labels.items():
        table.add_row(*map(Text, [name, *_cells(label)]))
    return table


def _cells(label: LabelScores) -> list[str]:
    plain = (label.held, label.named, label.precision, label.recall)
    ranked = (label.average_precision, label.roc_auc)
    return [*map(number, plain), *map(_ends, ranked)]


def _lines(card: ShippedCard) -> list[Text]:
    """Return what it was compared with, and where else it was tried, a line each."""
    noted = card.calibration
    errors = f"{number(noted.test_before)} -> {number(noted.test_after)}"
    lines = [f"probabilities: {noted.method} scaling; expected calibration error on test {errors}"]

    for other in card.beside:
        differences = [f"{title_of(name)} {other.differences[name]}" for name in COMPARED]
        lines.append(f"against {other.name} (thresholds {other.thresholds}):")
        lines += [f"  {difference}" for difference in differences]

    lines += [_damaged(damaged) for damaged in card.damaged]
    lines += [_elsewhere(other) for other in card.other_texts]
    return [Text(line) for line in lines]


def _damaged(damaged: Damaged) -> str:
    changes = [f"{title_of(name)} {damaged.differences[name].value:+.3f}" for name in COMPARED]
    return f"{damaged.name}: {', '.join(changes)}"


def _elsewhere(other: OtherText) -> str:
    areas = ", ".join(f"{name} {number(area.value)}" for name, area in other.roc_auc.items())
    precision = other.scores["mean_average_precision"]
    return (
        f"{other.name} ({other.kind}, {other.samples:,}): mAP {_ends(precision)}, "
        f"label frequencies {number(other.frequencies)}; AUC {areas}"
    )


def _ends(interval: Interval) -> str:
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"
