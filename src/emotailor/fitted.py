"""Tables that fit a terminal of any width: no word and no number in them is cut."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table


class FittedTable(Table):
    """A table that is shown in parts, one below the other, where it is too wide.

    Each part begins with the first column. In a column that wraps, lines are broken between words.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """Render the table, or its parts."""
        least = [_least_width(console, options, self, column) for column in self.columns]
        groups = _groups(self, least, options.max_width)
        for place, group in enumerate(groups):
            part = _part(self, group, is_first=place == 0)
            _set_widths(console, options, part, [least[index] for index in group])
            yield from Table.__rich_console__(part, console, options)


def _least_width(console: Console, options: ConsoleOptions, table: Table, column: Column) -> int:
    """Return the width that a column needs for its longest word, or its longest cell."""
    widths = [1]
    for cell in _cells(table, column):
        measured = Measurement.get(console, options.update(max_width=10_000), cell)
        widths.append(measured.maximum if column.no_wrap else measured.minimum)

    longest = max(widths)
    return longest if column.max_width is None else min(longest, column.max_width)


def _cells(table: Table, column: Column) -> list[RenderableType]:
    cells = list(column.cells)
    if table.show_header:
        cells.append(column.header)
    return cells


def _around(table: Table, columns: int) -> int:
    """Return the width of borders and padding of some columns."""
    _, right, _, left = table.padding
    around = (left + right) * columns
    if not table.pad_edge:
        around -= left + right
    if table.box is not None:
        around += columns - 1
        if table.show_edge:
            around += 2
    return around


def _groups(table: Table, least: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of each part, with the first column in all of them."""
    groups: list[list[int]] = [[0]] if least else []
    for index in range(1, len(least)):
        longer = [*groups[-1], index]
        needed = sum(least[i] for i in longer) + _around(table, len(longer))
        if needed > width and len(groups[-1]) > 1:
            groups.append([0, index])
        else:
            groups[-1] = longer
    return groups


def _part(table: Table, group: Sequence[int], *, is_first: bool) -> Table:
    """Return a table of some of the columns; the title stands above the first part alone."""
    part = Table(
        title=table.title if is_first else None,
        title_style=table.title_style,
        title_justify=table.title_justify,
        box=table.box,
        padding=table.padding,
        pad_edge=table.pad_edge,
        show_header=table.show_header,
        show_edge=table.show_edge,
    )
    for place, index in enumerate(group):
        column = replace(table.columns[index], _index=place)
        part.columns.append(column)
    part.rows = list(table.rows)
    return part


def _set_widths(
    console: Console, options: ConsoleOptions, table: Table, least: Sequence[int]
) -> None:
    """Give each column what it wants, and take from the widest where the table is too wide."""
    widths = []
    for column, needed in zip(table.columns, least, strict=True):
        wanted = [needed]
        for cell in _cells(table, column):
            measured = Measurement.get(console, options.update(max_width=10_000), cell)
            wanted.append(measured.maximum)
        longest = max(wanted)
        widths.append(longest if column.max_width is None else min(longest, column.max_width))

    room = options.max_width - _around(table, len(widths))
    while sum(widths) > room:
        spare = [width - needed for width, needed in zip(widths, least, strict=True)]
        shrinking = [width if left > 0 else 0 for width, left in zip(widths, spare, strict=True)]
        if max(shrinking) == 0:
            # a word is wider than the terminal: that one is cut, and no other
            shrinking = widths
        widths[shrinking.index(max(shrinking))] -= 1

    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
        column.overflow = "fold"
