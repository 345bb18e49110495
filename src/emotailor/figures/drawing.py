"""How every figure looks: style, size, colours, and the parts that figures share.

A figure is as wide as the text of a printed page, so that its letters are printed in the size that
is given here. Text in SVG stays text. Colours are those of Okabe and Ito; what they tell apart is
told apart by place, marker or line as well, so that all of it survives colour blindness and grey.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine

from emotailor.text import visible

Numbers = Mapping[str, Any]

DPI = 150
WIDTH = 7.2
"""Inches between the margins of a printed page: no figure is wider."""

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY, BLACK = "#CC79A7", "#56B4E9", "#777777", "#000000"
OKABE_ITO = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
COLORS = {"visual": GREEN, "audio": BLUE, "text": RED, "common": PURPLE}  # the paper's three
MARKS = (
    ("o", ORANGE, 10.0),
    ("s", RED, 7.5),
    ("^", BLACK, 5.0),
    ("D", SKY, 3.5),
    ("P", GREEN, 2.5),
)
"""Marker, colour and size of each kind of threshold: where they meet, all are seen."""

WHITE = {"facecolor": "white", "edgecolor": "none"}  # behind text
LONGEST_NAME = 18  # characters of a label in a figure; the numbers have the whole name
SMALL = 8  # points of the smallest text
DARK_GREY = "#444444"  # captions and remarks
LINE_HEIGHT = {"title": 15.5, "summary": 13.0, "caption": 11.5}  # points
LETTER_WIDTH = {"title": 0.092, "summary": 0.070, "caption": 0.061}  # inches
POINTS_PER_INCH = 72

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
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


# ---------------------------------------------------------------------- figure and panels


def new_figure(numbers: Numbers, title: str, height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure: its title, what is seen, whose it is, and what was left out.

    Args:
        numbers: ``summary`` says what is seen, ``caption`` of which run and samples, ``left_out``
            has a line for each thing that could not be drawn.
        title: what the figure is about.
        height: height of the panels in inches; the room for the text above is added.
        width: width in inches.
    """
    texts = [("title", title)]
    if numbers.get("summary"):
        texts.append(("summary", numbers["summary"]))
    texts.append(("caption", numbers["caption"]))
    texts += [("caption", f"Not drawn: {line}") for line in numbers.get("left_out", ())]
    lines = _wrapped(texts, width)

    points = sum(LINE_HEIGHT[kind] for kind, _ in lines)
    head = (points + 8) / POINTS_PER_INCH
    total = height + head
    layout = ConstrainedLayoutEngine(
        w_pad=0.06,
        h_pad=0.06,
        wspace=0.03,
        hspace=0.06,
        rect=(0, 0, 1, height / total),
    )
    figure = Figure(figsize=(width, total), layout=layout)
    FigureCanvasAgg(figure)
    _write_head(figure, lines)
    return figure


def _wrapped(texts: Sequence[tuple[str, str]], width: float) -> list[tuple[str, str]]:
    """Return the lines of the head of a figure, each with its kind."""
    lines = []
    for kind, text in texts:
        letters = int((width - 0.15) / LETTER_WIDTH[kind])
        lines += [(kind, line) for line in textwrap.wrap(visible(text), letters)]
    return lines


def _write_head(figure: Figure, lines: Sequence[tuple[str, str]]) -> None:
    width, total = figure.get_size_inches()
    looks: dict[str, dict[str, Any]] = {
        "title": {"fontsize": STYLE["figure.titlesize"], "weight": "bold"},
        "summary": {"fontsize": STYLE["font.size"]},
        "caption": {"fontsize": SMALL, "color": DARK_GREY},
    }

    # places are shares of the figure
    down = 0.07
    for kind, line in lines:
        place = {"x": 0.09 / width, "y": 1 - down / total}
        figure.text(s=line, ha="left", va="top", **place, **looks[kind])
        down += LINE_HEIGHT[kind] / POINTS_PER_INCH


def rows_of(count: int, columns: int) -> int:
    """Return the number of rows that ``count`` panels need."""
    return -(-count // columns)


def columns_for(count: int, most: int) -> int:
    """Return the number of columns that fills the rows best: 5 panels are 3 and 2, not 4 and 1."""
    rows = rows_of(count, most)
    return rows_of(count, rows)


def grid(figure: FigureBase, count: int, columns: int, **settings: Any) -> list[Axes]:
    """Return panels in rows of ``columns``; those left over are taken away."""
    every = figure.subplots(rows_of(count, columns), columns, squeeze=False, **settings)
    panels: list[Axes] = list(every.flat)
    for panel in panels[count:]:
        panel.remove()

    # the last panel of each column has the names of the shared axis, also above a gap
    kept = panels[:count]
    for panel in kept[-columns:]:
        panel.tick_params(labelbottom=True)
    return kept


# ---------------------------------------------------------------------- text and numbers


def short(name: str) -> str:
    """Return a name that fits beside a figure, and of which every character can be drawn."""
    shown = visible(name)
    if len(shown) <= LONGEST_NAME:
        return shown
    return shown[: LONGEST_NAME - 1] + "…"


def all_short(names: Sequence[str]) -> list[str]:
    """Return names that fit beside a figure."""
    return [short(name) for name in names]


def array(values: Any) -> np.ndarray:
    """Return the numbers of a JSON file, None as NaN."""
    return np.array(values, dtype=np.float64)


def decimal(value: float, digits: int = 2) -> str:
    """Return a share without the leading zero, as papers print it."""
    text = f"{abs(value):.{digits}f}"
    rounds_to_zero = float(text) == 0
    if text.startswith("0."):
        text = text.removeprefix("0")

    # no minus before a zero; a true minus is as wide as a digit
    if value < 0 and not rounds_to_zero:
        return f"\u2212{text}"
    return text


def percent(value: float) -> str:
    """Return a share in percent, for cells without room for a decimal point."""
    return decimal(100 * value, digits=0)


# ---------------------------------------------------------------------- colours


def lighter(color: Any, share: float = 0.55) -> tuple[float, ...]:
    """Return a colour mixed with ``share`` of white."""
    return tuple(1 - (1 - x) * (1 - share) for x in to_rgb(color))


def ink(color: Any) -> str:
    """Return black or white, whichever is readable on a colour."""
    red, green, blue = to_rgb(color)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return "white" if luma < 0.5 else "black"


# ---------------------------------------------------------------------- legends


def legend_of_all(figure: Figure, panels: Sequence[Axes], columns: int = 3) -> None:
    """Add a legend of what any panel shows, each thing once."""
    shown: dict[str, Any] = {}
    for panel in panels:
        handles, names = panel.get_legend_handles_labels()
        shown.update(zip(names, handles, strict=True))
    if not shown:
        return

    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=min(len(shown), columns),
    )
