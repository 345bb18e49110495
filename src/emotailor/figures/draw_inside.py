"""Drawings of what a model is like inside: Figures 4 to 7 of the paper, and attention.

Every function takes what is stored as ``NAME.json`` and returns a figure; nothing is computed here
but places on the page.
"""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator

from emotailor.figures.drawing import (
    BLACK,
    BLUE,
    COLORS,
    GREEN,
    GREY,
    LETTER_WIDTH,
    OKABE_ITO,
    ORANGE,
    RED,
    SMALL,
    WHITE,
    WIDTH,
    Numbers,
    array,
    columns_for,
    decimal,
    grid,
    ink,
    lighter,
    new_figure,
    rows_of,
)
from emotailor.figures.heat import (
    FEW,
    color_bar,
    doublings,
    frame,
    heat,
    in_decimals,
    name_rows,
    scale_of_attention,
    side_of,
)

# ---------------------------------------------------------------------- losses


def losses(numbers: Numbers) -> Figure:
    """Draw Figure 4: every loss per epoch, the objective first, and what validation says.

    Losses start at zero, so that a fall is seen in its proportion; the first and the last value
    are written beside the line. The losses of the discriminator have one axis.
    """
    names = [name for name in numbers["train"] if name != "total"]
    count = 1 + len(names) + 2  # the objective, each loss, two of validation
    columns = columns_for(count, 3)
    height = 0.1 + 1.75 * rows_of(count, columns)
    figure = new_figure(numbers, "Losses per epoch", height)
    panels = grid(figure, count, columns)

    for panel in panels:
        _epoch_axis(panel, numbers)
    objective, *of_parts, loss, f1 = panels

    _line(objective, numbers, numbers["train"]["total"], BLACK)
    objective.set_title("objective, the weighted sum")
    top = _top_of_adversarial(numbers)
    for name, panel in zip(names, of_parts, strict=True):
        _one_loss(panel, numbers, name, top)

    _line(loss, numbers, numbers["valid"]["loss"], RED)
    loss.set_title("validation: cross-entropy")
    _line(f1, numbers, numbers["valid"]["micro_f1"], GREEN)
    f1.set(ylim=(0, 1), title="validation: micro-F1")
    return figure


def _epoch_axis(panel: Axes, numbers: Numbers) -> None:
    epochs = numbers["epochs"]
    panel.grid(axis="y")
    panel.axvline(numbers["best_epoch"], color=GREY, linewidth=1, linestyle=":")
    panel.set_xlabel("epoch")
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)


def _line(panel: Axes, numbers: Numbers, values: Sequence[float], color: str) -> None:
    """Draw a line over epochs from zero on, with its first and its last value."""
    epochs = numbers["epochs"]
    y = array(values)

    # marks of many epochs would run together
    marker = "o" if len(epochs) <= 25 else ""
    panel.plot(epochs, y, color=color, marker=marker, markersize=3)

    # a loss may be below zero: a part of an objective that is taken away
    lowest = float(np.nanmin(y, initial=0.0))
    highest = float(np.nanmax(y, initial=0.0))
    span = highest - lowest or 1.0
    bottom = lowest - 0.1 * span if lowest < 0 else 0.0
    panel.set_ylim(bottom, highest + 0.2 * span)
    panel.yaxis.set_major_locator(MaxNLocator(4))

    ends = {0: "left", len(epochs) - 1: "right"}
    for place, side in ends.items():
        if not np.isnan(y[place]):
            _value_of_epoch(panel, epochs[place], float(y[place]), side)


def _value_of_epoch(panel: Axes, epoch: int, value: float, side: str) -> None:
    panel.annotate(
        three_digits(value),
        (epoch, value),
        (0, 4),
        fontsize=SMALL,
        textcoords="offset points",
        ha=side,
        va="bottom",
    )


def three_digits(value: float) -> str:
    """Return a loss with three digits: ``0.510``, ``2.00``, ``6,510``."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def _top_of_adversarial(numbers: Numbers) -> float:
    """Return the end of the axis that the losses of the discriminator share."""
    highest = 0.0
    for name, chance in numbers["chance"].items():
        largest = float(np.nanmax(array(numbers["train"][name]), initial=0.0))
        highest = max(highest, chance, largest)
    return 1.2 * highest


def _one_loss(panel: Axes, numbers: Numbers, name: str, top: float) -> None:
    """Draw one part of the objective, and what it would be if the discriminator guessed."""
    color = ORANGE if name == "adversarial_common" else BLUE
    _line(panel, numbers, numbers["train"][name], color)

    title = name.replace("_", " ")
    weight = numbers["weights"][name]
    panel.set_title(f"{weight:g} · {title}")

    chance = numbers["chance"].get(name)
    if chance is None:
        return
    panel.set_ylim(0, top)
    panel.axhline(chance, color=GREY, linewidth=1.2, linestyle="--", zorder=0)


# ---------------------------------------------------------------------- the discriminator


def discriminator(numbers: Numbers) -> Figure:
    """Draw Figure 5: probabilities of the discriminator, as bars with the spread over steps."""
    modalities = numbers["modalities"]
    kinds = numbers["kinds"]
    title = "Which modality does the discriminator see behind a representation?"
    figure = new_figure(numbers, title, 2.7)

    panels = grid(figure, len(kinds), len(kinds), sharey=True)
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
            decimal(mean),
            (place, top),
            (0, 2),
            fontsize=SMALL,
            ha="center",
            textcoords="offset points",
            bbox={**WHITE, "pad": 0.5},
        )


# ---------------------------------------------------------------------- t-SNE


def tsne(numbers: Numbers) -> Figure:
    """Draw Figure 6: t-SNE of the kinds of representation, one panel per run."""
    runs = numbers["runs"]
    count = len(runs)
    side = WIDTH / 2 if count > 1 else 4.6
    title = "t-SNE of common and private representations"
    figure = new_figure(numbers, title, side + 0.7, width=side * count)
    panels = grid(figure, count, count)

    # titles and remarks are as wide as their panel
    letters = int((side - 0.3) / LETTER_WIDTH["caption"])
    for panel, run in zip(panels, runs, strict=True):
        for group in run["groups"]:
            _scatter(panel, group)
        panel.set_title(textwrap.fill(run["title"], letters))

        # places in the plane have no unit: a frame instead of axes
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_color("#bbbbbb")

        lines = [textwrap.fill(line, letters) for line in run["note"].splitlines()]
        if lines:
            panel.set_xlabel("\n".join(lines), fontsize=SMALL)

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
        "facecolors": lighter(color),
        "edgecolors": color,
    }
    if kind == "common":
        look = {
            "marker": "o",
            "linewidths": 0.3,
            "facecolors": color,
            "edgecolors": "white",
        }

    points = array(group["points"])  # (points, 2)
    x, y = points.T
    panel.scatter(x, y, s=13, label=f"{kind}, {modality}", **look)


def _legend_by_kind(figure: Figure, panels: Sequence[Axes]) -> None:
    """Add a legend: a row for each kind."""
    handles, names = panels[0].get_legend_handles_labels()
    count = len(names)
    columns = max(1, rows_of(count, 2))

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


# ---------------------------------------------------------------------- label correlations


def label_correlation(numbers: Numbers) -> Figure:
    """Draw Figure 7: the attention of labels to labels, per head and on average.

    Colours tell how many times even attention it is; the cells have the attention itself.
    """
    names = numbers["labels"]
    heads = array(numbers["heads"])  # (heads, L, L)
    shown = {f"head {k}": head for k, head in enumerate(heads, 1)}
    if len(heads) > 1:
        shown["mean of the heads"] = heads.mean(0)

    count = len(shown)
    labels = len(names)
    columns = columns_for(count, 3 if labels <= FEW else 2)
    rows = rows_of(count, columns)
    side = side_of(labels, 4.0)
    height = 1.5 + (side + 0.35) * rows
    title = "How much each label (row) attends to each label (column)"
    figure = new_figure(numbers, title, height)
    panels = grid(figure, count, columns, sharex=True, sharey=True)

    # one scale for all heads, so that their colours compare
    scale = scale_of_attention(heads * labels)
    digits = 3 if labels <= 6 else 2
    for panel, (head_name, head) in zip(panels, shown.items(), strict=True):
        image = heat(
            panel,
            doublings(head * labels),
            scale,
            rows=names,
            columns=names,
            texts=in_decimals(head, digits),
        )
        panel.set_title(head_name)
    color_bar(figure, image, panels, scale)
    return figure


# ---------------------------------------------------------------------- attention


def attention(numbers: Numbers) -> Figure:
    """Draw where each label looks: shares of the blocks, and relative time."""
    labels = len(numbers["labels"])
    side = side_of(labels, 6.0)
    over_time = numbers["density"]
    has_shares = numbers["shares"] is not None

    columns = columns_for(len(over_time), 4) if over_time else 0
    rows = rows_of(len(over_time), columns) if over_time else 0
    of_shares = side + 0.75 if has_shares else 0.0
    of_time = (side + 0.4) * rows + 0.75 if rows else 0.0
    title = "Where each label looks"
    figure = new_figure(numbers, title, of_shares + of_time)

    # two parts, one below the other: bars, and maps over time
    heights = [height for height in (of_shares, of_time) if height]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()
    if has_shares:
        bars = parts.pop(0)
        _shares_of_blocks(bars.subplots(), numbers)
    if over_time:
        _attention_over_time(parts[0], columns, numbers)
    return figure


def _shares_of_blocks(panel: Axes, numbers: Numbers) -> None:
    """Draw for each label a bar that its attention to the blocks divides."""
    names = numbers["labels"]
    left = np.zeros(len(names))
    looks = cycle(OKABE_ITO)
    for block in [*numbers["blocks"], "padding"]:
        share = array(numbers["shares"][block])  # (L,)
        is_padding = block == "padding"
        if is_padding and share.max() < 0.005:
            continue
        modality, _, part = block.partition(".")  # common.audio is a part of the common block
        other_color = next(looks)  # is drawn for every block, so that colours stay in their order
        color = "#bbbbbb" if is_padding else COLORS.get(modality, other_color)
        shade = lighter(color, 0.35) if part else color
        panel.barh(
            range(len(names)),
            share,
            left=left,
            label=block,
            height=0.75,
            color=shade,
            hatch={"audio": "//", "text": ".."}.get(part),
            edgecolor="white",
            linewidth=0.8,
        )
        if len(names) <= FEW:
            _numbers_in_bars(panel, share, left, shade)
        left += share

    _even_attention(panel, numbers)
    name_rows(panel, names)
    panel.invert_yaxis()
    panel.set(xlim=(0, 1), title="over the parts of the fused sequence, in the order of the legend")
    panel.set_xlabel("share of the attention")
    panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1)


def _numbers_in_bars(panel: Axes, share: np.ndarray, left: np.ndarray, shade: Any) -> None:
    for row, value in enumerate(share):
        if value < 0.05:  # the number would be wider than the bar
            continue
        middle = left[row] + value / 2
        panel.text(
            middle,
            row,
            decimal(value),
            ha="center",
            va="center",
            fontsize=SMALL,
            color=ink(shade),
        )


def _even_attention(panel: Axes, numbers: Numbers) -> None:
    """Draw the edges that the bars would have if every step got the same."""
    padding = array(numbers["shares"]["padding"])
    not_padding = 1 - padding.mean()

    even = numbers["even"]
    widths = [even[block] for block in numbers["blocks"]]
    inner_edges = np.cumsum(widths)[:-1]  # the last is the end of the bars
    for edge in inner_edges:
        panel.axvline(edge * not_padding, color="black", linewidth=1, linestyle=(0, (3, 3)))


def _attention_over_time(figure: FigureBase, columns: int, numbers: Numbers) -> None:
    """Draw for each block the attention over relative time, in multiples of even attention."""
    names = numbers["labels"]
    densities = {}
    for block, rows in numbers["density"].items():
        densities[block] = array(rows)  # (L, bins)
    panels = grid(figure, len(densities), columns, sharex=True, sharey=True)

    # one scale for all blocks
    every = np.stack(list(densities.values()))
    scale = scale_of_attention(every)
    for panel, (block, density) in zip(panels, densities.items(), strict=True):
        image = panel.imshow(
            np.ma.masked_invalid(doublings(density)),
            cmap=scale.colors,
            norm=scale.norm,
            aspect="auto",
            extent=(0, 1, len(names) - 0.5, -0.5),
            interpolation="nearest",
        )
        panel.set_title(f"{block}: over time")
        panel.set_xticks([0, 0.5, 1], ["start", "", "end"])
        name_rows(panel, names)
        panel.tick_params(length=0)
        frame(panel)
    color_bar(figure, image, panels, scale)
