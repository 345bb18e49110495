"""A page of HTML without network or scripts, and the only place with markup.

What is shown is data, not markup: names of labels, ids and paths may hold anything. Every text
becomes HTML in :func:`element` alone, which escapes it. Besides, the page forbids itself scripts,
requests and forms.
"""

import base64
import html
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from emotailor.files import write_text

STYLE_FILE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'"
PNG = b"\x89PNG\r\n\x1a\n"
SENTENCE = 24  # characters from which a cell needs room for a line of text
STRIPES = 60
"""Most cells of a :class:`Strip`: longer sequences are averaged."""

# what a browser would drop or turn the text around with: controls, bidi overrides, lone surrogates
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_VOID = ("img", "meta", "br")


@dataclass(frozen=True)
class Markup:
    """HTML that is safe as it stands."""

    text: str


Content = str | Markup | None


def escape(text: str) -> Markup:
    """Return HTML that shows ``text`` as it is, inside elements and in attributes."""
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True))


def element(name: str, /, *children: Content, **attributes: str) -> Markup:
    """Return an element; text in it and in its attributes is escaped.

    Args:
        name: of the element.
        children: texts and elements; None is left out.
        attributes: ``class_`` and ``aria_label`` become ``class`` and ``aria-label``.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value).text}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    inside = "".join(
        (child if isinstance(child, Markup) else escape(child)).text
        for child in children
        if child is not None
    )
    return Markup(f"<{name}{given}>{inside}</{name}>")


def joined(parts: Sequence[Markup]) -> Markup:
    """Return elements one after the other."""
    return Markup("\n".join(part.text for part in parts))


# ---------------------------------------------------------------------- parts of a page


@runtime_checkable
class Block(Protocol):
    """A part of a page; ``level`` is that of the headings inside it."""

    def markup(self, level: int) -> Markup:
        """Return its HTML."""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: of it.
        kind: ``note`` is set small, ``warning`` stands out.
    """

    text: str
    kind: Literal["plain", "note", "warning"] = "plain"

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return element("p", self.text, class_=self.kind)


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: Sequence[str]
    kind: Literal["plain", "warning"] = "plain"

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return element("ul", *(element("li", text) for text in self.texts), class_=self.kind)


@dataclass(frozen=True)
class Code:
    """What one types into a terminal, or reads in a file."""

    text: str

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return element("pre", element("code", self.text), tabindex="0")


@dataclass(frozen=True)
class Range:
    """A value and its interval, drawn on an axis.

    Attributes:
        low: lower end of the interval.
        value: between the two.
        high: upper end.
        axis: its two ends.
        zero: where to draw a line, if anywhere.
    """

    low: float
    value: float
    high: float
    axis: tuple[float, float]
    zero: float | None = None

    def markup(self) -> Markup:
        """Return its HTML."""
        low, value, high = (self._place(x) for x in (self.low, self.value, self.high))
        line = None
        if self.zero is not None:
            line = element("i", class_="zero", style=f"left:{self._place(self.zero):.1f}%")
        return element(
            "span",
            line,
            element("i", class_="bar", style=f"left:{low:.1f}%;width:{max(high - low, 0.5):.1f}%"),
            element("i", class_="dot", style=f"left:{value:.1f}%"),
            class_="range",
            aria_hidden="true",
        )

    def _place(self, x: float) -> float:
        start, end = self.axis
        return 100.0 * min(max((x - start) / (end - start or 1.0), 0.0), 1.0)


@dataclass(frozen=True)
class Strip:
    """Evidence along a sequence: one cell a step, or some steps a cell.

    Attributes:
        values: one per step.
        scale: the value that has the full colour.
        text: what it shows, for those who do not see it.
    """

    values: Sequence[float]
    scale: float
    text: str

    def markup(self) -> Markup:
        """Return its SVG."""
        count = len(self.values)
        cells = min(count, STRIPES)
        edges = [round(i * count / cells) for i in range(cells + 1)] if cells else []
        parts = []
        for i in range(cells):
            part = self.values[edges[i] : edges[i + 1]]
            mean = sum(part) / len(part)
            strength = min(abs(mean) / self.scale, 1) if self.scale > 0 else 0
            if strength >= 0.02:  # fainter than that cannot be seen
                side = "for" if mean > 0 else "against"
                parts.append(
                    element(
                        "rect",
                        class_=side,
                        x=str(i),
                        width="1",
                        height="1",
                        fill_opacity=f"{strength:.2f}",
                    )
                )
        return element(
            "svg",
            element("title", self.text),
            *parts,
            class_="strip",
            viewBox=f"0 0 {max(cells, 1)} 1",
            preserveAspectRatio="none",
            role="img",
        )


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: in it.
        strong: whether it is set bold.
        quiet: whether it is a remark that stands in place of a value.
        chart: drawn before the text.
    """

    text: str
    strong: bool = False
    quiet: bool = False
    chart: Range | Strip | None = None

    def markup(self) -> Markup:
        """Return its HTML."""
        text = element("b", self.text) if self.strong else escape(self.text)
        if self.quiet:
            text = element("i", self.text)
        return joined([self.chart.markup(), text]) if self.chart else text


_NUMBER = re.compile(r"[-+±.,\d\s%/()\[\]:]*\d[-+±.,\d\s%/()\[\]:a-z]*|n/a|")


@dataclass(frozen=True)
class Table:
    """A table; where it is wider than the page it scrolls by itself.

    Attributes:
        header: titles of the columns.
        rows: cells in the order of the header.
        title: of the table.
        marked: positions of rows that stand out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""
    marked: Sequence[int] = ()

    def markup(self, level: int) -> Markup:
        """Return its HTML; columns of numbers are set to the right."""
        columns = range(len(self.header))
        right = [j > 0 and all(_is_number(row[j]) for row in self.rows) for j in columns]
        head = element("tr", *(
            element("th", title, scope="col", class_="number" if right[j] else "text")
            for j, title in enumerate(self.header)
        ))  # fmt: skip
        body = [
            element("tr", *(self._cell(row[j], j, right[j]) for j in columns),
                    class_="marked" if i in self.marked else "plain")
            for i, row in enumerate(self.rows)
        ]  # fmt: skip
        table = element(
            "table",
            element("caption", self.title) if self.title else None,
            element("thead", head),
            element("tbody", *body),
        )
        name = self.title or ", ".join(self.header)
        return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)

    def _cell(self, cell: str | Cell, column: int, right: bool) -> Markup:
        inside = cell.markup() if isinstance(cell, Cell) else escape(cell)
        text = cell.text if isinstance(cell, Cell) else cell
        kind = "number" if right else "prose" if len(text) > SENTENCE else "text"
        if column == 0:
            return element("th", inside, scope="row", class_=kind)
        return element("td", inside, class_=kind)


def _is_number(cell: str | Cell) -> bool:
    if isinstance(cell, Cell):
        return cell.quiet or _is_number(cell.text)
    return _NUMBER.fullmatch(cell) is not None


@dataclass(frozen=True)
class Facts:
    """Names and what there is to say of each."""

    rows: Sequence[tuple[str, str]]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        pairs = (element("div", element("dt", k), element("dd", v)) for k, v in self.rows)
        return element("dl", *pairs)


@dataclass(frozen=True)
class Tile:
    """A number that the reader sees first.

    Attributes:
        title: of the number.
        value: the number.
        detail: below it.
        chart: its interval, drawn.
    """

    title: str
    value: str
    detail: str = ""
    chart: Range | None = None


@dataclass(frozen=True)
class Tiles:
    """Numbers side by side."""

    tiles: Sequence[Tile]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return element("div", *(
            element(
                "div",
                element("span", tile.title, class_="name"),
                element("strong", tile.value),
                tile.chart.markup() if tile.chart else None,
                element("span", tile.detail, class_="detail") if tile.detail else None,
                class_="tile",
            )
            for tile in self.tiles
        ), class_="tiles")  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A picture, inside the page.

    Attributes:
        content: SVG or PNG.
        text: what it shows, for those who do not see it.
        caption: below it.
    """

    content: bytes
    text: str
    caption: str = ""

    def markup(self, level: int) -> Markup:
        """Return its HTML; as an image, an SVG can neither run nor style anything."""
        kind = "png" if self.content.startswith(PNG) else "svg+xml"
        encoded = base64.b64encode(self.content).decode("ascii")
        width, height = size_of(self.content)
        image = element(
            "img",
            src=f"data:image/{kind};base64,{encoded}",
            alt=self.text,
            class_="wide" if width > 1.5 * height else "square",
            style=f"max-width:{1.2 * width:.0f}px" if width else "",
        )
        frame = element("div", image, class_="scroll", tabindex="0", role="group",
                        aria_label=self.text)  # fmt: skip
        caption = element("figcaption", self.caption) if self.caption else None
        return element("figure", frame, caption)


def size_of(content: bytes) -> tuple[float, float]:
    """Return width and height of a PNG of 150 dots an inch or an SVG in CSS pixels; else zeros."""
    if content.startswith(PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return width * 96 / 150, height * 96 / 150
    sizes = dict(re.findall(rb'\b(width|height)="([\d.]+)pt"', content[:4096]))
    return tuple(float(sizes.get(name, 0)) * 96 / 72 for name in (b"width", b"height"))  # type: ignore[return-value]


@dataclass(frozen=True)
class Card:
    """A few blocks in a frame.

    Attributes:
        title: of the card.
        blocks: in it.
    """

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Cards:
    """Cards side by side, where there is room."""

    cards: Sequence[Card]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return element("div", *(
            element(
                "article",
                element(f"h{min(level, 6)}", card.title),
                *(block.markup(level + 1) for block in card.blocks),
            )
            for card in self.cards
        ), class_="cards")  # fmt: skip


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when the reader opens them."""

    title: str
    blocks: Sequence[Block]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        inside = (block.markup(level) for block in self.blocks)
        return element("details", element("summary", self.title), *inside)


@dataclass(frozen=True)
class Section:
    """A part with a heading; it may hold others."""

    title: str
    blocks: Sequence[Block]

    def markup(self, level: int, name: str | None = None) -> Markup:
        """Return its HTML, with ``name`` for links to it."""
        attributes = {} if name is None else {"id": name}
        heading = element(f"h{min(level, 6)}", self.title)
        inside = (block.markup(level + 1) for block in self.blocks)
        return element("section", heading, *inside, **attributes)


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: of the page.
        subtitle: what it is about, in a line.
        sections: in order; the page begins with links to them.
        summary: blocks before the first section.
    """

    title: str
    subtitle: str = ""
    sections: Sequence[Section] = ()
    summary: Sequence[Block] = field(default_factory=tuple)

    def to_html(self) -> str:
        """Return the page; it loads nothing and runs nothing."""
        names = [f"s{i}" for i in range(1, len(self.sections) + 1)]
        style = Markup(STYLE_FILE.read_text(encoding="utf-8"))
        head = element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="color-scheme", content="light dark"),
            element("title", self.title),
            element("style", style),
        )
        links = (
            element("a", section.title, href=f"#{name}")
            for section, name in zip(self.sections, names, strict=True)
        )
        body = element(
            "body",
            element("header", element("h1", self.title), element("p", self.subtitle)),
            element("nav", *links, aria_label="contents") if len(names) > 1 else None,
            element(
                "main",
                *(block.markup(2) for block in self.summary),
                *(s.markup(2, name) for s, name in zip(self.sections, names, strict=True)),
            ),
        )
        return f'<!DOCTYPE html>\n<html lang="en">\n{head.text}\n{body.text}\n</html>\n'

    def write(self, path: Path) -> Path:
        """Write the page to ``path`` at once; return it."""
        write_text(path, self.to_html())
        return path
