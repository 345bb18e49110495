"""Heat maps, and the one rule for their colours.

A colour means the same in every run: no map is stretched over the values that it happens to have.

- A share goes from 0 to 1.
- A difference of shares goes as far to both sides of zero: to 0.1, 0.25, 0.5 or 1, whichever is
  the first that holds every value.
- Attention is told in multiples of even attention, on a scale of halvings and doublings whose
  middle is even attention. The scale goes from 1/2 to 2, or to 1/4 and 4, or to 1/8 and 8, the
  first that holds every value; what is beyond has the last colour, and the bar then ends in an
  arrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import FigureBase

from emotailor.figures.drawing import GREY, SMALL, all_short, decimal, ink, percent

SEQUENTIAL, DIVERGING = "cividis", "PuOr"
REACHES = (0.1, 0.25, 0.5, 1.0)  # of differences
DOUBLINGS = (1, 2, 3)  # of attention
FEW = 12  # labels up to which cells are large and hold their numbers
ROOM_FOR_NAME = 0.14  # inches from one name to the next

Extend = Literal["neither", "min", "max", "both"]


@dataclass(frozen=True)
class Scale:
    """What the colours of a map mean.

    Attributes:
        cmap: name of the colour map.
        norm: limits of the colours.
        title: title of the colour bar.
        ticks: places on the colour bar.
        names: their names.
        extend: on which side values lie beyond the limits.
    """

    cmap: str
    norm: Normalize
    title: str
    ticks: tuple[float, ...]
    names: tuple[str, ...]
    extend: Extend = "neither"

    @property
    def colors(self) -> Colormap:
        """The colour map; what is not known is light grey."""
        return mpl.colormaps[self.cmap].with_extremes(bad="#eeeeee")


def scale_of_shares(title: str) -> Scale:
    """Return the scale of shares: from 0 to 1 whatever the values."""
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    names = tuple(percent(tick) for tick in ticks)
    return Scale(SEQUENTIAL, Normalize(0, 1), title, ticks, names)


def scale_of_differences(values: np.ndarray, title: str) -> Scale:
    """Return the scale of differences of shares; zero has the middle colour."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    reach = next((step for step in REACHES if largest <= step), 1.0)
    ticks = (-reach, 0.0, reach)
    names = tuple(_signed_percent(tick) for tick in ticks)
    return Scale(DIVERGING, Normalize(-reach, reach), title, ticks, names)


def _signed_percent(value: float) -> str:
    text = f"{100 * value:+g}"
    return "0" if value == 0 else text.replace("-", "\u2212")


def scale_of_attention(multiples: np.ndarray) -> Scale:
    """Return the scale of multiples of even attention, for their logarithms to the base of 2."""
    logs = doublings(multiples)
    known = logs[~np.isnan(logs)]
    lowest = float(known.min(initial=0.0))
    highest = float(known.max(initial=0.0))
    largest = max(-lowest, highest)
    reach = next((step for step in DOUBLINGS if largest <= step), DOUBLINGS[-1])

    beyond: Extend = "neither"
    if lowest < -reach:
        beyond = "both" if highest > reach else "min"
    elif highest > reach:
        beyond = "max"

    steps = range(-reach, reach + 1)
    names = tuple(f"1/{2**-step}" if step < 0 else f"{2**step}" for step in steps)
    return Scale(
        DIVERGING,
        Normalize(-reach, reach),
        "times even attention",
        tuple(float(step) for step in steps),
        names,
        beyond,
    )


def doublings(multiples: np.ndarray) -> np.ndarray:
    """Return logarithms to the base of 2; nothing at all is beyond any scale, NaN stays."""
    floor = 2.0 ** -(DOUBLINGS[-1] + 1)
    return np.asarray(np.log2(np.maximum(multiples, floor)))


def heat(
    panel: Axes,
    values: np.ndarray,
    scale: Scale,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]] | None = None,
) -> Any:
    """Draw a heat map, with a text in each cell if there are not too many; return its image.

    Args:
        panel: where to draw.
        values: what the colours show, (rows, columns); NaN is not known.
        scale: what the colours mean.
        rows: names of the rows.
        columns: names of the columns.
        texts: text of each cell; None for none.
    """
    known = np.ma.masked_invalid(values)
    image = panel.imshow(known, cmap=scale.colors, norm=scale.norm, aspect="auto")
    name_rows(panel, rows)
    panel.set_xticks(
        range(len(columns)),
        all_short(columns),
        rotation=90 if len(columns) > FEW else 45,
        ha="center" if len(columns) > FEW else "right",
        va="top",
        rotation_mode="default" if len(columns) > FEW else "anchor",
    )
    panel.tick_params(length=0)
    frame(panel)

    if texts is not None and max(values.shape) <= FEW + 1:
        _write_in_cells(panel, values, scale, texts)
    return image


def frame(panel: Axes) -> None:
    """Draw a thin frame: cells of the middle colour are as light as the page."""
    for spine in panel.spines.values():
        spine.set_visible(True)
        spine.set_color("#cccccc")
        spine.set_linewidth(0.6)


def name_rows(panel: Axes, rows: Sequence[str]) -> None:
    """Name the rows of a map or of bars."""
    panel.set_yticks(range(len(rows)), all_short(rows))


def _write_in_cells(
    panel: Axes, values: np.ndarray, scale: Scale, texts: Sequence[Sequence[str]]
) -> None:
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": SMALL}
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            panel.text(j, i, "\u2013", color=GREY, **centred)
            continue

        cell_color = scale.colors(scale.norm(value))[:3]
        panel.text(j, i, texts[i][j], color=ink(cell_color), **centred)


def in_percent(values: np.ndarray) -> list[list[str]]:
    """Return the texts of cells of shares."""
    return [[percent(value) for value in row] for row in np.nan_to_num(values)]


def in_decimals(values: np.ndarray, digits: int) -> list[list[str]]:
    """Return the texts of cells of attention."""
    return [[decimal(value, digits) for value in row] for row in np.nan_to_num(values)]


def side_of(names: int, most: float) -> float:
    """Return the inches that so many names need beside a map, at least for cells to be seen."""
    return min(max(ROOM_FOR_NAME * names, 1.5), most)


def color_bar(
    figure: FigureBase, image: Any, panels: Sequence[Axes], scale: Scale, *, below: bool = True
) -> Any:
    """Add the colour bar of a map, with the limits of its scale."""
    place: dict[str, Any] = {"location": "right", "shrink": 0.7, "aspect": 25}
    if below:
        place = {"location": "bottom", "shrink": 0.6, "aspect": 30}

    bar = figure.colorbar(image, ax=list(panels), pad=0.02, extend=scale.extend, **place)
    bar.set_ticks(list(scale.ticks), labels=list(scale.names))
    bar.outline.set_visible(False)
    bar.set_label(scale.title)
    return bar
