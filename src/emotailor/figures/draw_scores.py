"""Drawings of what a model predicts: curves, thresholds, pairs of labels, reliability, the plant.

Every function takes what is stored as ``NAME.json`` and returns a figure; nothing is computed here
but places on the page.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from emotailor.figures.drawing import (
    BLACK,
    BLUE,
    COLORS,
    GREY,
    MARKS,
    ORANGE,
    SMALL,
    Numbers,
    array,
    columns_for,
    grid,
    ink,
    legend_of_all,
    lighter,
    new_figure,
    rows_of,
    short,
)
from emotailor.figures.heat import (
    FEW,
    Scale,
    color_bar,
    heat,
    in_percent,
    name_rows,
    scale_of_differences,
    scale_of_shares,
    side_of,
)

TITLE_WIDTH = 28
"""Characters of a line above one of three panels in a row."""

# ---------------------------------------------------------------------- precision and recall


def precision_recall(numbers: Numbers) -> Figure:
    """Draw a precision-recall curve per label, with what the thresholds make of it."""
    labels = numbers["labels"]
    count = len(labels)
    columns = columns_for(count, 3 if count <= 9 else 4)
    rows = rows_of(count, columns)
    height = 0.7 + 1.85 * rows
    figure = new_figure(numbers, "Precision and recall of each label", height)
    panels = grid(figure, count, columns, sharex=True, sharey=True)

    for panel, (name, label) in zip(panels, labels.items(), strict=True):
        _one_label(panel, name, label)

    # axes are named at the left and at the bottom alone
    for panel in panels[::columns]:
        panel.set_ylabel("precision")
    for panel in panels[-columns:]:
        panel.set_xlabel("recall")
    legend_of_all(figure, panels)
    return figure


def _one_label(panel: Axes, name: str, label: Mapping[str, Any]) -> None:
    """Draw the curve of a label, and the points that the thresholds reach."""
    panel.set(xlim=(0, 1.03), ylim=(0, 1.05))
    panel.grid(visible=True)

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
    never = _threshold_marks(panel, label["thresholds"])

    average = label["average_precision"]
    title = f"{short(name)}: AP {average:.2f}"
    if never:
        said = textwrap.fill(f"never predicted: {never}", TITLE_WIDTH)
        title += f"\n{said}"
    panel.set_title(title)


def _threshold_marks(panel: Axes, by_mode: Mapping[str, Any]) -> str:
    """Mark the points that the thresholds reach; name those at which nothing is predicted."""
    never = []
    for (mode, point), (marker, color, size) in zip(by_mode.items(), MARKS, strict=False):
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
            markeredgewidth=0.4,
            markersize=size,
            linestyle="none",
            clip_on=False,
            label=f"{plain_mode} threshold",
        )

    if len(never) == len(by_mode) > 1:
        return "any threshold"
    return ", ".join(never)


# ---------------------------------------------------------------------- thresholds


@dataclass(frozen=True)
class _Curve:
    """How a score is drawn."""

    title: str
    color: str
    line: str
    width: float = 1.4


_CURVES = {
    "micro_precision": _Curve("precision", BLUE, "--"),
    "micro_recall": _Curve("recall", ORANGE, "-."),
    "micro_f1": _Curve("micro-F1", BLACK, "-", width=2.2),
}


def thresholds(numbers: Numbers) -> Figure:
    """Draw micro-F1, precision and recall against one threshold for all labels, per split."""
    splits = numbers["splits"]
    count = len(splits)
    width = 7.2 if count > 1 else 4.6
    figure = new_figure(numbers, "The effect of the decision threshold", 3.7, width)
    panels = grid(figure, count, count, sharey=True)

    for panel, (split, found) in zip(panels, splits.items(), strict=True):
        panel.grid(visible=True)
        _scores(panel, numbers["threshold"], found["curves"])
        for (mode, point), look in zip(found["modes"].items(), MARKS, strict=False):
            plain_mode = mode.replace("_", " ")
            _chosen_threshold(panel, plain_mode, point, look)

        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
        samples = found["samples"]
        panel.set_title(f"{split} split ({samples:,} samples)")
        panel.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.2), ncols=2, columnspacing=1.2)

    panels[0].set_ylabel("score")
    return figure


def _scores(panel: Axes, cuts: Sequence[float], curves: Mapping[str, Any]) -> None:
    """Draw each score against the threshold."""
    for name, look in _CURVES.items():
        values = array(curves[name])
        panel.plot(
            cuts,
            values,
            color=look.color,
            linestyle=look.line,
            linewidth=look.width,
            label=look.title,
        )


def _chosen_threshold(
    panel: Axes, mode: str, point: Mapping[str, Any], look: tuple[str, str, float]
) -> None:
    """Mark a chosen threshold and the micro-F1 it reaches."""
    marker, color, size = look
    threshold = point["threshold"]
    f1 = point["micro_f1"]
    reached = f"F1 {f1:.3f}"

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
        markersize=size,
        linestyle="none",
        label=f"{mode} {threshold:.2f}: {reached}",
    )


# ---------------------------------------------------------------------- pairs of labels


def co_occurrence(numbers: Numbers) -> Figure:
    """Draw what is predicted beside a true label, what is true beside it, and the difference."""
    names = numbers["labels"]
    rows = _rows_with_counts(numbers)
    few = max(len(names), len(rows)) <= FEW

    # many labels need the width of the page for each map
    columns = 3 if few else 1
    side = side_of(len(rows), 5.0)
    height = side + 1.6 if few else 3 * (side + 0.3) + 1.4
    title = "Which labels are predicted where a label is true"
    figure = new_figure(numbers, title, height)
    panels = grid(figure, 3, columns, sharex=True, sharey=True)

    predicted = array(numbers["predicted"])  # (rows, L)
    true = array(numbers["true"])
    difference = predicted - true

    # one scale for what is predicted and what is true
    shares = scale_of_shares("% of the samples of the row")
    differences = scale_of_differences(difference, "difference in % points")
    maps = {
        "predicted (%)": (predicted, shares),
        "true (%)": (true, shares),
        "predicted minus true": (difference, differences),
    }
    images = []
    for panel, (map_title, (values, scale)) in zip(panels, maps.items(), strict=True):
        texts = in_percent(values)
        image = heat(panel, values, scale, rows=rows, columns=names, texts=texts)
        panel.set_title(map_title)
        images.append(image)

    _bars(figure, images, panels, (shares, differences), below=few)
    panels[0 if few else 1].set_ylabel("samples in which this label is true")
    return figure


def _bars(
    figure: Figure,
    images: Sequence[Any],
    panels: Sequence[Axes],
    scales: tuple[Scale, Scale],
    *,
    below: bool,
) -> None:
    """Add a colour bar for the two maps of shares, and one for that of differences."""
    shares, differences = scales
    color_bar(figure, images[0], panels[:2], shares, below=below)
    color_bar(figure, images[2], panels[2:], differences, below=below)


def _rows_with_counts(numbers: Numbers) -> list[str]:
    """Return the names of the rows, each with its number of samples."""
    rows = []
    for name, support in numbers["rows"].items():
        rows.append(f"{short(name)} ({support:,})")
    if numbers["unlabelled"]:
        rows.append(f"no label ({numbers['unlabelled']:,})")
    return rows


# ---------------------------------------------------------------------- reliability


def reliability(numbers: Numbers) -> Figure:
    """Draw how often labels are true against the probability that they got.

    The diagonal is a model that is right about how sure it is. Below the curve stands how many
    pairs of sample and label each bin has.
    """
    curves = numbers["curves"]
    figure = new_figure(numbers, "When the model says 80 %, is it true in 80 %?", 3.7, width=4.6)
    curve, counts = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    curve.grid(visible=True)
    curve.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="as sure as right")

    looks = zip(curves.items(), MARKS_OF_CURVES, strict=False)
    for (name, bins), (marker, color) in looks:
        _reliability_curve(curve, name, bins, marker, color)
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is true")
    curve.legend(loc="upper left")

    first = next(iter(curves.values()))
    edges = array([one["low"] for one in first])
    widths = array([one["high"] - one["low"] for one in first])
    sizes = array([one["count"] for one in first])
    counts.bar(edges, sizes, widths, align="edge", color=lighter(BLUE), edgecolor="white")
    counts.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    counts.set(xlabel="probability", ylabel="pairs")
    return figure


MARKS_OF_CURVES = (("o", BLUE), ("s", ORANGE))
"""Marker and colour of the curve as stored, and of one to lay beside it."""


def _reliability_curve(
    panel: Axes, name: str, bins: Sequence[Mapping[str, Any]], marker: str, color: str
) -> None:
    x = array([one["mean_probability"] for one in bins])
    y = array([one["share_true"] for one in bins])

    sizes = array([one["count"] for one in bins])
    spread = np.abs(_wilson(y, sizes) - y)  # (2, bins)
    panel.errorbar(
        x,
        y,
        yerr=spread,
        color=color,
        marker=marker,
        markersize=4.5,
        linewidth=1.4,
        elinewidth=0.9,
        label=name,
    )


def _wilson(
    shares: Float64[np.ndarray, "bins"], sizes: Float64[np.ndarray, "bins"]
) -> Float64[np.ndarray, "2 bins"]:
    """Return Wilson's 95 % interval of shares, as if the decisions were independent."""
    z = 1.96
    added = z**2 / sizes
    middle = shares + added / 2

    variance = shares * (1 - shares) + added / 4
    half = z * np.sqrt(variance / sizes)
    both = np.stack([middle - half, middle + half])
    ends = both / (1 + added)
    return np.asarray(ends.clip(0, 1))


# ---------------------------------------------------------------------- the plant


def explanations(numbers: Numbers) -> Figure:
    """Draw which modality explanations name for each label, and whether it carries the label."""
    labels = numbers["labels"]
    names = list(labels)
    height = 1.2 + 0.3 * len(names)
    title = "Do explanations name a modality that carries the planted label?"
    figure = new_figure(numbers, title, height)
    panel = figure.subplots()

    most = max(label["explained"] for label in labels.values())
    left = np.zeros(len(names))
    for modality in numbers["modalities"]:
        _named(panel, labels, modality, left)

    for row, label in enumerate(labels.values()):
        text = f"{label['right']} of {label['explained']}"
        panel.text(left[row] + 0.02 * most, row, text, va="center", fontsize=SMALL)

    name_rows(panel, [_with_carriers(name, labels[name]) for name in names])
    # where no evidence was found there are no bars, whose rows would set the limits
    rows = (len(names) - 0.5, -0.5)
    panel.set(xlim=(0, 1.15 * most), ylim=rows, xlabel="labels explained")
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if left.any():
        figure.legend(loc="outside lower center", ncols=2 * len(numbers["modalities"]))
    return figure


def _with_carriers(name: str, label: Mapping[str, Any]) -> str:
    letters = [m[0] for m in label["carriers"]]
    return f"{short(name)} ({', '.join(letters)})"


def _named(panel: Axes, labels: Mapping[str, Any], modality: str, left: np.ndarray) -> None:
    """Add to each bar the explanations that name a modality: full where it carries the label."""
    color = COLORS[modality]
    for carries in (True, False):
        counts = []
        for label in labels.values():
            is_carrier = modality in label["carriers"]
            named = label["named"].get(modality, 0)
            counts.append(named if is_carrier == carries else 0)
        if not any(counts):
            continue

        panel.barh(
            range(len(counts)),
            counts,
            left=left,
            height=0.72,
            color=color if carries else "white",
            hatch=None if carries else "////",
            edgecolor="white" if carries else color,
            linewidth=0.8,
            label=modality if carries else f"{modality}, wrong",
        )
        left += counts
        if carries:
            _counts_in_bars(panel, counts, left, color)


def _counts_in_bars(panel: Axes, counts: Sequence[int], left: np.ndarray, color: str) -> None:
    for row, count in enumerate(counts):
        if count:
            middle = left[row] - count / 2
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
            panel.text(middle, row, str(count), color=ink(color), **look)
