"""What a notebook shows: numbers as text, and HTML tables."""

from collections.abc import Sequence
from html import escape


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
