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

Numbers = Mapping[str, Any]

DPI = 150
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#777777", "#000000"
OKABE_ITO = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
COLORS = {"visual": GREEN, "audio": BLUE, "text": RED, "common": PURPLE}  # the paper's three
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
MARKS = (("o", ORANGE), ("s", RED), ("^", PURPLE))  # of the kinds of thresholds
WHITE = {"facecolor": "white", "edgecolor": "none"}  # behind text
LONGEST_NAME = 18  # of a label in a figure; the numbers have the whole

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
    metadata = {"Date": None, "Creator": None} if file_format == "svg" else {"Software": None}
    stream = io.BytesIO()
    figure.savefig(stream, format=file_format, metadata=metadata)
    return stream.getvalue()


# ---------------------------------------------------------------------- parts


def _figure(width: float, height: float, title: str, caption: str) -> Figure:
    """A figure whose title says what is seen, and below it of what."""
    head = textwrap.wrap(title, max(20, int(width / 0.108)))
    below = textwrap.wrap(caption, max(30, int(width / 0.076)))
    top = (17.5 * len(head) + 12.5 * len(below) + 6) / 72  # inches
    tall = height + top
    layout = ConstrainedLayoutEngine(
        w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06, rect=(0, 0, 1, height / tall)
    )
    figure = Figure(figsize=(width, tall), layout=layout)
    FigureCanvasAgg(figure)
    place: dict[str, Any] = {"x": 0.09 / width, "ha": "left", "va": "top"}
    figure.suptitle("\n".join(head), y=1 - 0.08 / tall, weight="bold", **place)
    figure.text(y=1 - (0.08 + 17.5 / 72 * len(head)) / tall, s="\n".join(below), fontsize=9,
                color="#444444", **place)  # fmt: skip
    return figure


def _grid(figure: Figure, count: int, columns: int, **settings: Any) -> list[Axes]:
    """Panels in rows of ``columns``; those left over are taken away."""
    rows = -(-count // columns)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **settings).flat)
    for panel in panels[count:]:
        panel.remove()
    return panels[:count]


def _columns(count: int, most: int) -> int:
    """How many columns fill the rows best: 5 panels are 3 and 2, not 4 and 1."""
    rows = -(-count // most)
    return -(-count // rows)


def short(name: str) -> str:
    """Return a name that fits beside a figure."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _lighter(color: str, share: float = 0.55) -> tuple[float, ...]:
    return tuple(1 - (1 - x) * (1 - share) for x in to_rgb(color))


def _array(values: Any) -> np.ndarray:
    """Numbers of a JSON file, None as NaN."""
    return np.array(values, dtype=np.float64)


def _decimal(value: float, digits: int = 2) -> str:
    """A share without the leading zero, as papers print it."""
    text = f"{abs(value):.{digits}f}"
    minus = "\u2212" if value < 0 and float(text) else ""
    return minus + (text[1:] if text.startswith("0.") else text)


def _ink(color: Any) -> str:
    """Black or white, whichever is readable on a color."""
    red, green, blue = to_rgb(color)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


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
    """A heat map with a number in each cell, if there are not too many."""
    scale = norm or Normalize(0, max(float(np.nanmax(values, initial=0.0)), 1e-9))
    colors: Colormap = mpl.colormaps[cmap].with_extremes(bad="#eeeeee")
    image = panel.imshow(np.ma.masked_invalid(values), cmap=colors, norm=scale, aspect="auto")
    panel.set_xticks(range(len(columns)), [short(c) for c in columns], rotation=45, ha="right",
                     rotation_mode="anchor")  # fmt: skip
    panel.set_yticks(range(len(rows)), [short(r) for r in rows])
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    if max(values.shape) <= 12:
        for (i, j), value in np.ndenumerate(values):
            if np.isnan(value):
                panel.text(j, i, "\u2013", ha="center", va="center", fontsize=9, color=GREY)
                continue
            panel.text(j, i, _decimal(value, digits), ha="center", va="center", fontsize=9,
                       color=_ink(colors(scale(value))[:3]))  # fmt: skip
    return image


def _bar(figure: Figure, image: Any, panels: Sequence[Axes], label: str) -> None:
    bar = figure.colorbar(image, ax=list(panels), shrink=0.8, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    bar.set_label(label)


# ---------------------------------------------------------------------- figures 4 to 7


def losses(numbers: Numbers) -> Figure:
    """Figure 4: every loss per epoch, the objective first, and what validation says."""
    epochs, parts = numbers["epochs"], numbers["train"]
    names = [name for name in parts if name != "total"]
    panels_needed = 1 + len(names) + 1
    columns = _columns(panels_needed, 4)
    rows = -(-panels_needed // columns)
    figure = _figure(3.6 * columns, 0.2 + 2.6 * rows, "Losses per epoch", numbers["caption"])
    panels = _grid(figure, panels_needed, columns)
    marker = "o" if len(epochs) <= 25 else ""
    for panel in panels:
        panel.grid(axis="y")
        panel.axvline(numbers["best_epoch"], color=GREY, linewidth=1, linestyle=":")
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    objective, validation = panels[0], panels[-1]
    objective.plot(epochs, parts["total"], color=BLACK, marker=marker, markersize=3.5)
    objective.set_title("objective, the weighted sum")
    objective.set_ylabel("loss")
    for name, panel in zip(names, panels[1:-1], strict=True):
        color = ORANGE if name == "adversarial_common" else BLUE
        panel.plot(epochs, _array(parts[name]), color=color, marker=marker, markersize=3.5)
        panel.set_title(f"{name.replace('_', ' ')} (weight {numbers['weights'][name]:g})")
        chance = numbers["chance"].get(name)
        if chance is not None:
            panel.axhline(chance, color=GREY, linewidth=1.2, linestyle="--")
            panel.annotate("a guessing discriminator", (1, chance), (-2, 0), fontsize=9,
                           xycoords=("axes fraction", "data"), textcoords="offset points",
                           ha="right", va="center", color="#444444",
                           bbox={**WHITE, "pad": 1})  # fmt: skip
    valid = numbers["valid"]
    validation.plot(epochs, valid["loss"], color=RED, marker=marker, markersize=3.5,
                    label="cross-entropy")  # fmt: skip
    validation.plot(epochs, valid["micro_f1"], color=GREEN, marker=marker, markersize=3.5,
                    linestyle="--", label="micro-F1")  # fmt: skip
    validation.set_ylim(0, max(1.0, float(np.nanmax(_array(valid["loss"])))))
    validation.set_title("validation")
    validation.legend(loc="best")
    return figure


def discriminator(numbers: Numbers) -> Figure:
    """Figure 5: probabilities of the discriminator, as bars with the spread over steps."""
    modalities, kinds = numbers["modalities"], list(numbers["kinds"])
    figure = _figure(
        1.2 + 1.7 * len(modalities) * len(kinds), 3.3,
        "Which modality does the discriminator see behind a representation?", numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, len(kinds), len(kinds), sharey=True)
    width = 0.8 / len(modalities)
    for panel, kind in zip(panels, kinds, strict=True):
        found = numbers["kinds"][kind]
        for k, said in enumerate(modalities):
            there = [i for i, m in enumerate(modalities) if m in found]
            rows = [found[modalities[i]] for i in there]
            means = np.array([row["mean"][said] for row in rows])
            low = np.array([row["quantiles"]["0.1"][said] for row in rows])
            high = np.array([row["quantiles"]["0.9"][said] for row in rows])
            x = np.array(there) + (k - (len(modalities) - 1) / 2) * width
            panel.bar(x, means, width * 0.92, color=COLORS[said], label=f"probability of {said}")
            panel.vlines(x, low, high, color="#333333", linewidth=1.4)
            for place, mean, top in zip(x, means, np.maximum(means, high), strict=True):
                panel.annotate(_decimal(mean), (place, top), (0, 2), fontsize=9, ha="center",
                               textcoords="offset points",
                               bbox={**WHITE, "pad": 0.5})  # fmt: skip
        panel.axhline(1 / len(modalities), color=GREY, linewidth=1.2, linestyle="--", zorder=0)
        panel.set_xticks(range(len(modalities)), [f"of {m}" for m in modalities])
        panel.set_title(f"{kind} representations {'C' if kind == 'common' else 'P'}")
        panel.set_ylim(0, 1.12)
        panel.set_yticks(np.linspace(0, 1, 6))
    panels[0].set_ylabel("probability, mean over steps")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(modalities))
    return figure


def tsne(numbers: Numbers) -> Figure:
    """Figure 6: t-SNE of the kinds of representation, one panel per run."""
    runs = numbers["runs"]
    figure = _figure(
        0.4 + 4.9 * len(runs), 5.5, "t-SNE of common and private representations",
        numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, len(runs), len(runs))
    for panel, run in zip(panels, runs, strict=True):
        for group in run["groups"]:
            x, y = _array(group["points"]).T
            common, color = group["kind"] == "common", COLORS[group["modality"]]
            panel.scatter(
                x, y, s=13, marker="o" if common else "^", linewidths=0.3 if common else 0.6,
                facecolors=color if common else _lighter(color),
                edgecolors="white" if common else color,
                label=f"{group['kind']}, {group['modality']}",
            )  # fmt: skip
        panel.set_title(run["title"])
        panel.set_xticks([])
        panel.set_yticks([])
        for spine in panel.spines.values():
            spine.set_visible(True)
            spine.set_color("#bbbbbb")
        if run["note"]:
            panel.set_xlabel(run["note"], fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    columns = max(1, -(-len(names) // 2)) if len(runs) == 1 else len(names)
    order = [i for c in range(columns) for i in (c, c + columns) if i < len(names)]
    figure.legend([handles[i] for i in order], [names[i] for i in order],
                  loc="outside lower center", ncols=columns, markerscale=1.8)  # fmt: skip
    return figure


def label_correlation(numbers: Numbers) -> Figure:
    """Figure 7: the attention of labels to labels, per head and on average."""
    names, heads = numbers["labels"], _array(numbers["heads"])
    shown = [(f"head {k + 1}", head) for k, head in enumerate(heads)]
    shown += [("mean of the heads", heads.mean(0))] if len(heads) > 1 else []
    columns = _columns(len(shown), 3)
    rows = -(-len(shown) // columns)
    cell = 0.44 if len(names) <= 12 else 0.22
    side = max(cell * len(names), 1.8)
    figure = _figure(
        1.0 + (side + 1.0) * columns, 0.1 + (side * 0.8 + 1.1) * rows,
        "Learned label correlations: how much each label (row) attends to each label (column)",
        numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, len(shown), columns)
    norm = Normalize(float(heads.min()), max(float(heads.max()), float(heads.min()) + 1e-9))
    for panel, (title, head) in zip(panels, shown, strict=True):
        image = _heat(panel, head, names, names, norm=norm, digits=3 if np.ptp(heads) < 0.1 else 2)
        panel.set_title(title)
    _bar(figure, image, panels, "attention, rows sum to 1")
    return figure


# ---------------------------------------------------------------------- what a reader asks next


def precision_recall(numbers: Numbers) -> Figure:
    """A precision-recall curve per label, with what the thresholds make of it."""
    labels = numbers["labels"]
    columns = _columns(len(labels), 4)
    rows = -(-len(labels) // columns)
    figure = _figure(
        max(3.0 * columns, 6.5), 0.7 + 2.4 * rows, "Precision and recall of each label",
        numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, len(labels), columns, sharex=True, sharey=True)
    for place, (panel, (name, label)) in enumerate(zip(panels, labels.items(), strict=True)):
        panel.set(xlim=(0, 1.02), ylim=(0, 1.05))
        panel.grid(visible=True)
        if label["average_precision"] is None:
            panel.set_title(short(name))
            panel.text(0.5, 0.5, "never true\nin this split", ha="center", va="center", fontsize=9)
        else:
            panel.set_title(f"{short(name)}: AP {label['average_precision']:.2f}")
            recall, precision = [0, *label["recall"]], label["precision"]
            panel.step(recall, [precision[0], *precision], where="pre", color=BLUE,
                       label="this model")  # fmt: skip
            panel.axhline(label["frequency"], color=GREY, linestyle="--", linewidth=1.2,
                          label="chance: the label's frequency")  # fmt: skip
            marks = label["thresholds"].items()
            for (mode, point), (marker, color) in zip(marks, MARKS, strict=False):
                if point["predicted"]:
                    panel.plot(
                        point["recall"], point["precision"], marker=marker, color=color,
                        markeredgecolor="white", markersize=8, linestyle="none", clip_on=False,
                        label=f"{mode.replace('_', ' ')} threshold",
                    )  # fmt: skip
            if never := [mode for mode, point in marks if not point["predicted"]]:
                several = len(never) == len(label["thresholds"]) > 1
                which = "any threshold" if several else ", ".join(never).replace("_", " ")
                panel.text(0.98, 0.9, f"not predicted at {which}", ha="right", fontsize=9,
                           transform=panel.transAxes)  # fmt: skip
        if place % columns == 0:
            panel.set_ylabel("precision")
        if place + columns >= len(labels):
            panel.set_xlabel("recall")
            panel.tick_params(labelbottom=True)
    keys = {k: h for p in panels for h, k in zip(*p.get_legend_handles_labels(), strict=True)}
    if keys:
        names, handles = list(keys), list(keys.values())
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 3))
    return figure


def thresholds(numbers: Numbers) -> Figure:
    """Micro-F1, precision and recall against one threshold for all labels, per split."""
    splits = numbers["splits"]
    figure = _figure(
        0.6 + 5.0 * len(splits), 3.9, "The effect of the decision threshold", numbers["caption"]
    )
    panels = _grid(figure, len(splits), len(splits), sharey=True)
    looks = {"micro_precision": ("precision", BLUE, "--"), "micro_recall": ("recall", ORANGE, "-."),
             "micro_f1": ("micro-F1", BLACK, "-")}  # fmt: skip
    for panel, (split, found) in zip(panels, splits.items(), strict=True):
        panel.grid(visible=True)
        for name, (title, color, line) in looks.items():
            curve = _array(found["curves"][name])
            panel.plot(numbers["threshold"], curve, color=color, linestyle=line,
                       linewidth=2.4 if name == "micro_f1" else 1.6, label=title)  # fmt: skip
        for (mode, point), (marker, color) in zip(found["modes"].items(), MARKS, strict=False):
            label = f"{mode.replace('_', ' ')}: micro-F1 {point['micro_f1']:.3f}"
            if point["threshold"] is None:
                panel.axhline(point["micro_f1"], color=color, linestyle=":", label=label)
            else:
                panel.axvline(point["threshold"], color=color, linewidth=1, zorder=0)
                panel.plot(point["threshold"], point["micro_f1"], marker=marker, color=color,
                           markeredgecolor="white", markersize=9, linestyle="none",
                           label=label.replace(":", f" {point['threshold']:.2f}:", 1))  # fmt: skip
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
        panel.set_title(f"{split} split ({found['samples']:,} samples)")
        panel.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2, columnspacing=1.2)
    panels[0].set_ylabel("score")
    return figure


def co_occurrence(numbers: Numbers) -> Figure:
    """What is predicted beside a true label, what is true beside it, and the difference."""
    names = numbers["labels"]
    rows = [f"{short(n)} ({c:,})" for n, c in zip(names, numbers["support"], strict=True)]
    rows.append(f"no label ({numbers['unlabelled']:,})")
    predicted, true = _array(numbers["predicted"]), _array(numbers["true"])
    cell = 0.46 if len(names) <= 12 else 0.22
    side = max(cell * len(names), 2.0)
    figure = _figure(
        2.6 + 3 * (side + 0.55), 1.5 + (max(0.4 * len(rows), 1.5) if len(names) <= 12 else side),
        "Which labels are predicted where a label is true", numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, 3, 3, sharey=True)
    largest = max(float(np.nanmax(np.abs(predicted - true), initial=0.0)), 0.05)
    for panel, title, values, cmap, norm, label in (
        (panels[0], "predicted", predicted, SEQUENTIAL, Normalize(0, 1), None),
        (panels[1], "true", true, SEQUENTIAL, Normalize(0, 1), "share of samples"),
        (panels[2], "predicted minus true", predicted - true, DIVERGING,
         Normalize(-largest, largest), "difference"),
    ):  # fmt: skip
        image = _heat(panel, values, rows, names, cmap=cmap, norm=norm)
        panel.set_title(title)
        panel.set_xlabel("label (column)")
        if label == "share of samples":
            _bar(figure, image, panels[:2], label)
        elif label:
            _bar(figure, image, [panel], label)
    panels[0].set_ylabel("samples in which this label is true (row)")
    return figure


def attention(numbers: Numbers) -> Figure:
    """Where each label looks: shares of the blocks, and relative time."""
    names, blocks = numbers["labels"], numbers["blocks"]
    time = {block: _array(numbers["density"][block]) for block in blocks}
    shares = numbers["shares"]
    count = len(blocks) + (shares is not None)
    columns = min(count, 3)
    rows = -(-count // columns)
    height = max(0.3 * len(names), 1.7)
    figure = _figure(
        1.2 + 4.0 * columns, 0.4 + (height + 0.85) * rows,
        "Where each label looks: over modalities and over time", numbers["caption"],
    )  # fmt: skip
    panels = _grid(figure, count, columns)
    if shares is not None:
        panel = panels[0]
        left = np.zeros(len(names))
        looks = cycle(OKABE_ITO)
        for block in [*blocks, "padding"]:
            values = _array(shares[block])
            if block == "padding" and values.max() < 0.005:
                continue
            base, _, part = block.partition(".")
            color = "#bbbbbb" if block == "padding" else COLORS.get(base, next(looks))
            shade = _lighter(color, 0.35) if part else color
            panel.barh(range(len(names)), values, left=left, label=block, height=0.75, color=shade,
                       hatch={"audio": "//", "text": ".."}.get(part), edgecolor="white",
                       linewidth=0.5)  # fmt: skip
            for y, value in enumerate(values):
                if value >= 0.08 and len(names) <= 12:
                    panel.text(left[y] + value / 2, y, _decimal(value), ha="center", va="center",
                               fontsize=9, color=_ink(shade))  # fmt: skip
            left += values
        real = 1 - _array(shares["padding"]).mean()
        for edge in np.cumsum([numbers["even"][block] for block in blocks])[:-1]:
            panel.axvline(edge * real, color="black", linewidth=1, linestyle=(0, (3, 3)))
        panel.set_yticks(range(len(names)), [short(n) for n in names])
        panel.invert_yaxis()
        panel.set(xlim=(0, 1), title="share of each block")
        panel.set_xlabel("share of the attention")
        panel.legend(loc="upper center", bbox_to_anchor=(0.45, -0.24), ncols=4, handlelength=1,
                     columnspacing=0.9, handletextpad=0.4)  # fmt: skip
    spread = max([0.1, *(float(np.nanmax(np.abs(x - 1), initial=0)) for x in time.values())])
    norm = Normalize(1 - spread, 1 + spread)
    timed = panels[count - len(blocks) :]
    for panel, block in zip(timed, blocks, strict=True):
        colors = mpl.colormaps[DIVERGING].with_extremes(bad="#dddddd")
        image = panel.imshow(
            np.ma.masked_invalid(time[block]), cmap=colors, norm=norm, aspect="auto",
            extent=(0, 1, len(names) - 0.5, -0.5), interpolation="nearest",
        )  # fmt: skip
        panel.set_yticks(range(len(names)), [short(n) for n in names])
        panel.set_title(f"{block}: over time")
        panel.set_xticks([0, 0.5, 1], ["start", "middle", "end"])
        panel.tick_params(length=0)
    _bar(figure, image, timed, "times even attention")
    return figure
