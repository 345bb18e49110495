"""What a notebook shows: HTML tables, and data frames where pandas is installed."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from typing import Any

from emotailor.errors import ConfigError


def format_number(value: float | None) -> str:
    """Return a metric with three decimals, as papers print them; "n/a" where undefined."""
    if value is None:
        return "n/a"
    return f"{value:.3f}"


def html_table(
    header: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str = ""
) -> str:
    """Return an HTML table; everything in it is text, not markup.

    Args:
        header: titles of the columns; empty for a table without them.
        rows: cells; the first cell of a row is its title.
        caption: text above the table.
    """
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    if header:
        titles = [_html_cell("th", title) for title in header]
        cells = "".join(titles)
        lines.append(f"<thead><tr>{cells}</tr></thead>")

    lines.append("<tbody>")
    for title, *values in rows:
        heading = _html_cell("th", title)
        cells = "".join(_html_cell("td", value) for value in values)
        lines.append(f"<tr>{heading}{cells}</tr>")
    lines.append("</tbody></table>")

    return "\n".join(lines)


def _html_cell(tag: str, value: object) -> str:
    text = escape(str(value))
    return f"<{tag}>{text}</{tag}>"


def data_frame(rows: Sequence[Mapping[str, Any]], *, index: str) -> Any:
    """Return rows as a ``pandas.DataFrame``; pandas is optional, so it is no type here.

    Args:
        rows: rows, each column -> value.
        index: column that becomes the index.

    Raises:
        ConfigError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ConfigError(
            "a data frame needs pandas, which is not installed",
            fix="install it with `pip install pandas`",
        ) from error

    frame = pandas.DataFrame(list(rows))
    return frame.set_index(index)
