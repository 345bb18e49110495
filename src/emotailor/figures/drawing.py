"""Figures from the numbers behind them: one function per figure, and their style in one place.

Every function takes what is stored as ``NAME.json`` and returns a figure; nothing is computed here
but places on the page. Text in SVG stays text, fonts are at least 9 pt, the colours are those of
Okabe and Ito, and heat maps are cividis, so that all of it survives colour blindness and print.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from emotailor.text import visible

Numbers = Mapping[str, Any]

DPI = 150
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#777777", "#000000"
OKABE_ITO = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
COLORS = {"visual": GREEN, "audio": BLUE, "text": RED, "common": PURPLE}  # the paper's three
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
MARKS = (("o", ORANGE), ("s", RED), ("^", PURPLE))  # marker and colour of each kind of threshold
WHITE = {"facecolor": "white", "edgecolor": "none"}  # behind text
LONGEST_NAME = 18  # characters of a label in a figure; the numbers have the whole name
FEW = 12  # labels up to which cells are large and hold their numbers
SMALL = 9  # points of the smallest text
DARK_GREY = "#444444"  # captions and remarks
LINE_HEIGHT = {"title": 17.5, "caption": 12.5}  # points
POINTS_PER_INCH = 72

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "emotailor",  # the same figure has the same bytes
    "text.parse_math": False,  # a label may be called $x$
    "path.simplify": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the style, and keep quiet about letters of labels that the font lacks."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # what users have set for their own figures must not show here
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        yield


def render(figure: Figure, file_format: str) -> bytes:
    """Return a figure as ``svg`` or ``png``; the same figure gives the same bytes."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()  # finding places takes longer than drawing: once is enough
        figure.set_layout_engine("none")

    # no dates and no versions
    metadata = {"Software": None}
    if file_format == "svg":
        metadata = {"Date": None, "Creator": None}

    stream = io.BytesIO()
    figure.savefig(stream, format=file_format, metadata=metadata)
    return stream.getvalue()


# ---------------------------------------------------------------------- parts


def _figure(width: float, height: float, title: str, caption: str) -> Figure:
    """Return an empty figure with its title, which says what is seen, and its caption below.

    Args:
        width: width in inches.
        height: height of the panels in inches; the room for title and caption is added.
        title: what is seen.
        caption: which run and which samples.
    """
    # a letter of the title is about 0.108 inches wide, one of the caption 0.076
    title_lines = textwrap.wrap(visible(title), max(20, int(width / 0.108)))
    caption_lines = textwrap.wrap(visible(caption), max(30, int(width / 0.076)))
    title_height = LINE_HEIGHT["title"] * len(title_lines)
    caption_height = LINE_HEIGHT["caption"] * len(caption_lines)
    head = (title_height + caption_height + 6) / POINTS_PER_INCH
    total = height + head

    layout = ConstrainedLayoutEngine(
        w_pad=0.08,
        h_pad=0.08,
        wspace=0.04,
        hspace=0.06,
        rect=(0, 0, 1, height / total),
    )
    figure = Figure(figsize=(width, total), layout=layout)
    FigureCanvasAgg(figure)

    # places are shares of the figure
    place: dict[str, Any] = {"x": 0.09 / width, "ha": "left", "va": "top"}
    title_top = 1 - 0.08 / total
    figure.suptitle("\n".join(title_lines), y=title_top, weight="bold", **place)

    caption_top = 1 - (0.08 + LINE_HEIGHT["title"] / POINTS_PER_INCH * len(title_lines)) / total
    figure.text(
        y=caption_top,
        s="\n".join(caption_lines),
        fontsize=SMALL,
        color=DARK_GREY,
        **place,
    )
    return figure


def _rows(count: int, columns: int) -> int:
    """Return the number of rows that ``count`` panels need."""
    return -(-count // columns)


def _columns(count: int, most: int) -> int:
    """Return the number of columns that fills the rows best: 5 panels are 3 and 2, not 4 and 1."""
    rows = _rows(count, most)
    return _rows(count, rows)


def _grid(figure: Figure, count: int, columns: int, **settings: Any) -> list[Axes]:
    """Return panels in rows of ``columns``; those left over are taken away."""
    grid = figure.subplots(_rows(count, columns), columns, squeeze=False, **settings)
    panels: list[Axes] = list(grid.flat)
    for panel in panels[count:]:
        panel.remove()
    return panels[:count]


def short(name: str) -> str:
    """Return a name that fits beside a figure, and of which every character can be drawn."""
    shown = visible(name)
    if len(shown) <= LONGEST_NAME:
        return shown
    return shown[: LONGEST_NAME - 1] + "…"


def _all_short(names: Sequence[str]) -> list[str]:
    return [short(name) for name in names]


def _lighter(color: str, share: float = 0.55) -> tuple[float, ...]:
    """Return a colour mixed with ``share`` of white."""
    return tuple(1 - (1 - x) * (1 - share) for x in to_rgb(color))


def _array(values: Any) -> np.ndarray:
    """Return the numbers of a JSON file, None as NaN."""
    return np.array(values, dtype=np.float64)


def _decimal(value: float, digits: int = 2) -> str:
    """Return a share without the leading zero, as papers print it."""
    text = f"{abs(value):.{digits}f}"
    rounds_to_zero = float(text) == 0
    if text.startswith("0."):
        text = text.removeprefix("0")

    # no minus before a zero; a true minus is as wide as a digit
    if value < 0 and not rounds_to_zero:
        return f"\u2212{text}"
    return text


def _ink(color: Any) -> str:
    """Return black or white, whichever is readable on a colour."""
    red, green, blue = to_rgb(color)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return "white" if luma < 0.5 else "black"


def _heat(
    panel: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    cmap: str = SEQUENTIAL,
    norm: Normalize | None = None,
    digits: int = 2,
) -> Any:
    """Draw a heat map with a number in each cell, if there are not too many; return its image."""
    if norm is None:
        largest = float(np.nanmax(values, initial=0.0))
        norm = Normalize(0, max(largest, 1e-9))
    colors: Colormap = mpl.colormaps[cmap].with_extremes(bad="#eeeeee")
    known = np.ma.masked_invalid(values)
    image = panel.imshow(known, cmap=colors, norm=norm, aspect="auto")

    # slanted names, their ends below the columns
    panel.set_xticks(
        range(len(columns)),
        _all_short(columns),
        rotation=45,
        ha="right",
        rotation_mode="anchor",
    )
    panel.set_yticks(range(len(rows)), _all_short(rows))
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)

    if max(values.shape) <= FEW:
        _numbers_in_cells(panel, values, colors, norm, digits)
    return image


def _numbers_in_cells(
    panel: Axes, values: np.ndarray, colors: Colormap, norm: Normalize, digits: int
) -> None:
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            panel.text(j, i, "\u2013", color=GREY, **centred)
            continue

        cell_color = colors(norm(value))[:3]
        text = _decimal(value, digits)
        panel.text(j, i, text, color=_ink(cell_color), **centred)


def _color_bar(figure: Figure, image: Any, panels: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    bar.set_label(label)


# ---------------------------------------------------------------------- figures 4 to 7


def losses(numbers: Numbers) -> Figure:
    """Draw Figure 4: every loss per epoch, the objective first, and what validation says."""
    epochs = numbers["epochs"]
    train = numbers["train"]
    names = [name for name in train if name != "total"]

    count = 1 + len(names) + 1  # the objective, each loss, validation
    columns = _columns(count, 4)
    rows = _rows(count, columns)
    width = 3.6 * columns
    height = 0.2 + 2.6 * rows
    figure = _figure(width, height, "Losses per epoch", numbers["caption"])
    panels = _grid(figure, count, columns)

    for panel in panels:
        panel.grid(axis="y")
        panel.axvline(numbers["best_epoch"], color=GREY, linewidth=1, linestyle=":")
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)

    # marks of many epochs would run together
    marker = "o" if len(epochs) <= 25 else ""
    line: dict[str, Any] = {"marker": marker, "markersize": 3.5}

    objective, *of_parts, validation = panels
    objective.plot(epochs, train["total"], color=BLACK, **line)
    objective.set_title("objective, the weighted sum")
    objective.set_ylabel("loss")
    for name, panel in zip(names, of_parts, strict=True):
        _one_loss(panel, numbers, name, line)
    _validation(validation, numbers, line)
    return figure


def _one_loss(panel: Axes, numbers: Numbers, name: str, line: Mapping[str, Any]) -> None:
    """Draw one part of the objective, and what it would be if the discriminator guessed."""
    color = ORANGE if name == "adversarial_common" else BLUE
    values = _array(numbers["train"][name])
    panel.plot(numbers["epochs"], values, color=color, **line)

    title = name.replace("_", " ")
    weight = numbers["weights"][name]
    panel.set_title(f"{title} (weight {weight:g})")

    chance = numbers["chance"].get(name)
    if chance is None:
        return
    panel.axhline(chance, color=GREY, linewidth=1.2, linestyle="--")

    # on the line, at the right edge
    panel.annotate(
        "a guessing discriminator",
        (1, chance),
        (-2, 0),
        fontsize=SMALL,
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="center",
        color=DARK_GREY,
        bbox={**WHITE, "pad": 1},
    )


def _validation(panel: Axes, numbers: Numbers, line: Mapping[str, Any]) -> None:
    epochs = numbers["epochs"]
    valid = numbers["valid"]
    loss = valid["loss"]
    panel.plot(epochs, loss, color=RED, label="cross-entropy", **line)
    panel.plot(epochs, valid["micro_f1"], color=GREEN, linestyle="--", label="micro-F1", **line)

    # the F1 is at most 1, the loss may be larger
    largest = float(np.nanmax(_array(loss)))
    panel.set_ylim(0, max(1.0, largest))
    panel.set_title("validation")
    panel.legend(loc="best")


def discriminator(numbers: Numbers) -> Figure:
    """Draw Figure 5: probabilities of the discriminator, as bars with the spread over steps."""
    modalities = numbers["modalities"]
    kinds = numbers["kinds"]
    bars = len(modalities) * len(kinds)
    figure = _figure(
        1.2 + 1.7 * bars,
        3.3,
        "Which modality does the discriminator see behind a representation?",
        numbers["caption"],
    )

    panels = _grid(figure, len(kinds), len(kinds), sharey=True)
    for panel, (kind, found) in zip(panels, kinds.items(), strict=True):
        _answers(panel, modalities, found)
        symbol = "C" if kind == "common" else "P"  # of the paper
        panel.set_title(f"{kind} representations {symbol}")

    first = panels[0]
    first.set_ylabel("probability, mean over steps")

    # the bars are the same in all panels: one legend
    handles, names = first.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(modalities))
    return figure


def _answers(panel: Axes, modalities: Sequence[str], found: Mapping[str, Any]) -> None:
    """Draw what the discriminator says of one kind of representation, beside chance."""
    count = len(modalities)
    for position in range(count):
        _bars_of_answer(panel, modalities, found, position)
    panel.axhline(1 / count, color=GREY, linewidth=1.2, linestyle="--", zorder=0)

    names = [f"of {m}" for m in modalities]
    panel.set_xticks(range(count), names)
    panel.set_ylim(0, 1.12)  # room for the numbers above the bars
    panel.set_yticks(np.linspace(0, 1, 6))


def _bars_of_answer(
    panel: Axes, modalities: Sequence[str], found: Mapping[str, Any], position: int
) -> None:
    """Draw the probability of one modality, a bar for each modality that is judged."""
    answer = modalities[position]
    places = []
    means = []
    low = []
    high = []
    for i, modality in enumerate(modalities):
        if modality not in found:  # the discriminator does not see it
            continue

        verdict = found[modality]
        places.append(i)
        means.append(verdict["mean"][answer])
        low.append(verdict["quantiles"]["0.1"][answer])
        high.append(verdict["quantiles"]["0.9"][answer])

    # bars of one place stand side by side, the middle one at the place itself
    count = len(modalities)
    width = 0.8 / count
    beside_middle = position - (count - 1) / 2
    x = np.array(places) + beside_middle * width
    panel.bar(x, means, width * 0.92, color=COLORS[answer], label=f"probability of {answer}")
    panel.vlines(x, low, high, color="#333333", linewidth=1.4)

    tops = np.maximum(means, high)
    for place, mean, top in zip(x, means, tops, strict=True):
        panel.annotate(
            _decimal(mean),
            (place, top),
            (0, 2),
            fontsize=SMALL,
            ha="center",
            textcoords="offset points",
            bbox={**WHITE, "pad": 0.5},
        )


def tsne(numbers: Numbers) -> Figure:
    """Draw Figure 6: t-SNE of the kinds of representation, one panel per run."""
    runs = numbers["runs"]
    count = len(runs)
    figure = _figure(
        0.4 + 4.9 * count,
        5.5,
        "t-SNE of common and private representations",
        numbers["caption"],
    )
    panels = _grid(figure, count, count)

    for panel, run in zip(panels, runs, strict=True):
        for group in run["groups"]:
            _scatter(panel, group)
        panel.set_title(run["title"])

        # places in the plane have no unit: a frame instead of axes
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_color("#bbbbbb")

        if run["note"]:
            panel.set_xlabel(run["note"], fontsize=SMALL)

    _legend_by_kind(figure, panels)
    return figure


def _scatter(panel: Axes, group: Mapping[str, Any]) -> None:
    """Draw the steps of one kind and modality: filled circles if common, light triangles if not."""
    kind = group["kind"]
    modality = group["modality"]
    color = COLORS[modality]

    look: dict[str, Any] = {
        "marker": "^",
        "linewidths": 0.6,
        "facecolors": _lighter(color),
        "edgecolors": color,
    }
    if kind == "common":
        look = {
            "marker": "o",
            "linewidths": 0.3,
            "facecolors": color,
            "edgecolors": "white",
        }

    points = _array(group["points"])  # (points, 2)
    x, y = points.T
    panel.scatter(x, y, s=13, label=f"{kind}, {modality}", **look)


def _legend_by_kind(figure: Figure, panels: Sequence[Axes]) -> None:
    """Add a legend: a row for each kind under one panel, all in a row under several."""
    handles, names = panels[0].get_legend_handles_labels()
    count = len(names)
    columns = count
    if len(panels) == 1:
        columns = max(1, _rows(count, 2))

    # a legend is filled column by column
    order = []
    for column in range(columns):
        places = (column, column + columns)
        order += [place for place in places if place < count]

    figure.legend(
        [handles[i] for i in order],
        [names[i] for i in order],
        loc="outside lower center",
        ncols=columns,
        markerscale=1.8,
    )


def label_correlation(numbers: Numbers) -> Figure:
    """Draw Figure 7: the attention of labels to labels, per head and on average."""
    names = numbers["labels"]
    heads = _array(numbers["heads"])  # (heads, L, L)
    shown = {f"head {k}": head for k, head in enumerate(heads, 1)}
    if len(heads) > 1:
        shown["mean of the heads"] = heads.mean(0)

    count = len(shown)
    columns = _columns(count, 3)
    rows = _rows(count, columns)
    cell = 0.44 if len(names) <= FEW else 0.22
    side = max(cell * len(names), 1.8)

    # beside the cells: names, and the gaps between panels
    width = 1.0 + (side + 1.0) * columns
    height = 0.1 + (side * 0.8 + 1.1) * rows
    figure = _figure(
        width,
        height,
        "Learned label correlations: how much each label (row) attends to each label (column)",
        numbers["caption"],
    )
    panels = _grid(figure, count, columns)

    # one scale for all heads, so that their colours compare
    lowest = float(heads.min())
    highest = float(heads.max())
    norm = Normalize(lowest, max(highest, lowest + 1e-9))
    digits = 3 if np.ptp(heads) < 0.1 else 2

    for panel, (title, head) in zip(panels, shown.items(), strict=True):
        image = _heat(panel, head, names, names, norm=norm, digits=digits)
        panel.set_title(title)
    _color_bar(figure, image, panels, "attention, rows sum to 1")
    return figure


# ---------------------------------------------------------------------- what a reader asks next


def precision_recall(numbers: Numbers) -> Figure:
    """Draw a precision-recall curve per label, with what the thresholds make of it."""
    labels = numbers["labels"]
    count = len(labels)
    columns = _columns(count, 4)
    rows = _rows(count, columns)
    width = max(3.0 * columns, 6.5)  # room for the legend
    height = 0.7 + 2.4 * rows
    figure = _figure(width, height, "Precision and recall of each label", numbers["caption"])
    panels = _grid(figure, count, columns, sharex=True, sharey=True)

    for panel, (name, label) in zip(panels, labels.items(), strict=True):
        _one_label(panel, name, label)

    # axes are named at the left and at the bottom alone
    for panel in panels[::columns]:
        panel.set_ylabel("precision")
    for panel in panels[-columns:]:
        panel.set_xlabel("recall")
        panel.tick_params(labelbottom=True)  # also where the last row is not full

    _legend_of_all(figure, panels)
    return figure


def _one_label(panel: Axes, name: str, label: Mapping[str, Any]) -> None:
    """Draw the curve of a label; a label that is never true has none."""
    panel.set(xlim=(0, 1.02), ylim=(0, 1.05))
    panel.grid(visible=True)

    average = label["average_precision"]
    if average is None:
        panel.set_title(short(name))
        reason = "never true\nin this split"
        panel.text(0.5, 0.5, reason, ha="center", va="center", fontsize=SMALL)
        return

    panel.set_title(f"{short(name)}: AP {average:.2f}")
    _curve(panel, label)
    _threshold_marks(panel, label["thresholds"])


def _curve(panel: Axes, label: Mapping[str, Any]) -> None:
    # the first precision is held down to recall 0
    first = label["precision"][0]
    precision = [first, *label["precision"]]
    recall = [0, *label["recall"]]
    panel.step(recall, precision, where="pre", color=BLUE, label="this model")

    # who predicts a label at random is right as often as it is true
    panel.axhline(
        label["frequency"],
        color=GREY,
        linestyle="--",
        linewidth=1.2,
        label="chance: the label's frequency",
    )


def _threshold_marks(panel: Axes, by_mode: Mapping[str, Any]) -> None:
    """Mark the points that the thresholds reach, and name those at which nothing is predicted."""
    never = []
    for (mode, point), (marker, color) in zip(by_mode.items(), MARKS, strict=False):
        plain_mode = mode.replace("_", " ")
        if not point["predicted"]:
            never.append(plain_mode)
            continue

        panel.plot(
            point["recall"],
            point["precision"],
            marker=marker,
            color=color,
            markeredgecolor="white",
            markersize=8,
            linestyle="none",
            clip_on=False,
            label=f"{plain_mode} threshold",
        )

    if not never:
        return
    which = ", ".join(never)
    if len(never) == len(by_mode) > 1:
        which = "any threshold"
    text = f"not predicted at {which}"
    panel.text(0.98, 0.9, text, ha="right", fontsize=SMALL, transform=panel.transAxes)


def _legend_of_all(figure: Figure, panels: Sequence[Axes]) -> None:
    """Add a legend of what any panel shows, each thing once."""
    shown: dict[str, Any] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        shown.update(zip(names, handles, strict=True))
    if not shown:  # no label is ever true
        return

    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=min(len(shown), 3),
    )


@dataclass(frozen=True)
class _Curve:
    """How a score is drawn."""

    title: str
    color: str
    line: str
    width: float = 1.6


_CURVES = {
    "micro_precision": _Curve("precision", BLUE, "--"),
    "micro_recall": _Curve("recall", ORANGE, "-."),
    "micro_f1": _Curve("micro-F1", BLACK, "-", width=2.4),
}


def thresholds(numbers: Numbers) -> Figure:
    """Draw micro-F1, precision and recall against one threshold for all labels, per split."""
    splits = numbers["splits"]
    count = len(splits)
    width = 0.6 + 5.0 * count
    figure = _figure(width, 3.9, "The effect of the decision threshold", numbers["caption"])
    panels = _grid(figure, count, count, sharey=True)

    for panel, (split, found) in zip(panels, splits.items(), strict=True):
        panel.grid(visible=True)
        _scores(panel, numbers["threshold"], found["curves"])
        for (mode, point), (marker, color) in zip(found["modes"].items(), MARKS, strict=False):
            plain_mode = mode.replace("_", " ")
            _chosen_threshold(panel, plain_mode, point, marker, color)

        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
        samples = found["samples"]
        panel.set_title(f"{split} split ({samples:,} samples)")
        panel.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, columnspacing=1.2)

    panels[0].set_ylabel("score")
    return figure


def _scores(panel: Axes, grid: Sequence[float], curves: Mapping[str, Any]) -> None:
    """Draw each score against the threshold."""
    for name, look in _CURVES.items():
        values = _array(curves[name])
        panel.plot(
            grid,
            values,
            color=look.color,
            linestyle=look.line,
            linewidth=look.width,
            label=look.title,
        )


def _chosen_threshold(
    panel: Axes, mode: str, point: Mapping[str, Any], marker: str, color: str
) -> None:
    """Mark a chosen threshold and the micro-F1 it reaches."""
    threshold = point["threshold"]
    f1 = point["micro_f1"]
    reached = f"micro-F1 {f1:.3f}"

    # each label has its own, so there is no place on the axis
    if threshold is None:
        panel.axhline(f1, color=color, linestyle=":", label=f"{mode}: {reached}")
        return

    panel.axvline(threshold, color=color, linewidth=1, zorder=0)
    panel.plot(
        threshold,
        f1,
        marker=marker,
        color=color,
        markeredgecolor="white",
        markersize=9,
        linestyle="none",
        label=f"{mode} {threshold:.2f}: {reached}",
    )


def co_occurrence(numbers: Numbers) -> Figure:
    """Draw what is predicted beside a true label, what is true beside it, and the difference."""
    names = numbers["labels"]
    rows = _rows_with_counts(numbers)
    side, height = _sides_of_map(len(names), len(rows))
    figure = _figure(
        2.6 + 3 * (side + 0.55),
        1.5 + height,
        "Which labels are predicted where a label is true",
        numbers["caption"],
    )
    panels = _grid(figure, 3, 3, sharey=True)

    # (L + 1, L): the last row is of samples without a label
    predicted = _array(numbers["predicted"])
    true = _array(numbers["true"])
    difference = predicted - true

    # one scale for what is predicted and what is true
    shares = Normalize(0, 1)
    image = _heat(panels[0], predicted, rows, names, norm=shares)
    _heat(panels[1], true, rows, names, norm=shares)
    _color_bar(figure, image, panels[:2], "share of samples")

    # zero has the middle colour; 0.05 keeps noise pale
    largest = float(np.nanmax(np.abs(difference), initial=0.0))
    reach = max(largest, 0.05)
    around_zero = Normalize(-reach, reach)
    image = _heat(panels[2], difference, rows, names, cmap=DIVERGING, norm=around_zero)
    _color_bar(figure, image, panels[2:], "difference")

    titles = ("predicted", "true", "predicted minus true")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title)
        panel.set_xlabel("label (column)")
    panels[0].set_ylabel("samples in which this label is true (row)")
    return figure


def _rows_with_counts(numbers: Numbers) -> list[str]:
    """Return the names of the rows, each with its number of samples."""
    rows = []
    for name, support in zip(numbers["labels"], numbers["support"], strict=True):
        row = f"{short(name)} ({support:,})"
        rows.append(row)

    unlabelled = numbers["unlabelled"]
    rows.append(f"no label ({unlabelled:,})")
    return rows


def _sides_of_map(columns: int, rows: int) -> tuple[float, float]:
    """Return width and height of a heat map in inches; cells of many labels are small squares."""
    if columns <= FEW:
        width = max(0.46 * columns, 2.0)
        height = max(0.4 * rows, 1.5)
        return width, height

    side = max(0.22 * columns, 2.0)
    return side, side


def attention(numbers: Numbers) -> Figure:
    """Draw where each label looks: shares of the blocks, and relative time."""
    labels = len(numbers["labels"])
    has_shares = numbers["shares"] is not None
    count = len(numbers["blocks"])
    if has_shares:
        count += 1

    columns = min(count, 3)
    rows = _rows(count, columns)
    height = max(0.3 * labels, 1.7)
    figure = _figure(
        1.2 + 4.0 * columns,
        0.4 + (height + 0.85) * rows,
        "Where each label looks: over modalities and over time",
        numbers["caption"],
    )
    panels = _grid(figure, count, columns)

    if has_shares:
        _shares_of_blocks(panels[0], numbers)
        panels = panels[1:]
    _attention_over_time(figure, panels, numbers)
    return figure


def _shares_of_blocks(panel: Axes, numbers: Numbers) -> None:
    """Draw for each label a bar that its attention to the blocks divides."""
    names = numbers["labels"]
    left = np.zeros(len(names))
    looks = cycle(OKABE_ITO)
    for block in [*numbers["blocks"], "padding"]:
        share = _array(numbers["shares"][block])  # (L,)
        is_padding = block == "padding"
        if is_padding and share.max() < 0.005:
            continue
        modality, _, part = block.partition(".")  # common.audio is a part of the common block
        other_color = next(looks)  # is drawn for every block, so that colours stay in their order
        color = "#bbbbbb" if is_padding else COLORS.get(modality, other_color)
        shade = _lighter(color, 0.35) if part else color
        panel.barh(
            range(len(names)),
            share,
            left=left,
            label=block,
            height=0.75,
            color=shade,
            hatch={"audio": "//", "text": ".."}.get(part),
            edgecolor="white",
            linewidth=0.5,
        )
        if len(names) <= FEW:
            _numbers_in_bars(panel, share, left, shade)
        left += share

    _even_attention(panel, numbers)
    panel.set_yticks(range(len(names)), _all_short(names))
    panel.invert_yaxis()
    panel.set(xlim=(0, 1), title="share of each block")
    panel.set_xlabel("share of the attention")
    panel.legend(
        loc="upper center",
        bbox_to_anchor=(0.45, -0.24),
        ncols=4,
        handlelength=1,
        columnspacing=0.9,
        handletextpad=0.4,
    )


def _numbers_in_bars(panel: Axes, share: np.ndarray, left: np.ndarray, shade: Any) -> None:
    for row, value in enumerate(share):
        if value < 0.08:  # the number would be wider than the bar
            continue
        middle = left[row] + value / 2
        panel.text(
            middle,
            row,
            _decimal(value),
            ha="center",
            va="center",
            fontsize=SMALL,
            color=_ink(shade),
        )


def _even_attention(panel: Axes, numbers: Numbers) -> None:
    """Draw the edges that the bars would have if every step got the same."""
    padding = _array(numbers["shares"]["padding"])
    not_padding = 1 - padding.mean()

    even = numbers["even"]
    widths = [even[block] for block in numbers["blocks"]]
    inner_edges = np.cumsum(widths)[:-1]  # the last is the end of the bars
    for edge in inner_edges:
        panel.axvline(edge * not_padding, color="black", linewidth=1, linestyle=(0, (3, 3)))


def _attention_over_time(figure: Figure, panels: Sequence[Axes], numbers: Numbers) -> None:
    """Draw for each block the attention over relative time, 1 where it is even."""
    names = numbers["labels"]
    densities = {}
    spread = 0.1
    for block in numbers["blocks"]:
        density = _array(numbers["density"][block])  # (L, bins)
        densities[block] = density
        deviation = np.nanmax(np.abs(density - 1), initial=0)
        spread = max(spread, float(deviation))

    # one scale for all blocks; even attention has the middle colour
    norm = Normalize(1 - spread, 1 + spread)
    colors = mpl.colormaps[DIVERGING].with_extremes(bad="#dddddd")

    for panel, (block, density) in zip(panels, densities.items(), strict=True):
        image = panel.imshow(
            np.ma.masked_invalid(density),
            cmap=colors,
            norm=norm,
            aspect="auto",
            extent=(0, 1, len(names) - 0.5, -0.5),
            interpolation="nearest",
        )
        panel.set_title(f"{block}: over time")
        panel.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
        panel.set_yticks(range(len(names)), _all_short(names))
        panel.tick_params(length=0)

    _color_bar(figure, image, panels, "times even attention")
