"""A page of HTML without network, and the only place with markup.

What is shown is data, not markup: names of labels, ids and paths may hold anything. Every text
becomes HTML in :func:`element` alone, which escapes it. Besides, the page forbids itself requests,
forms, and scripts but for one of ours, where there is one.
"""

import base64
import hashlib
import html
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from emotailor.files import write_text

STYLE_FILE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; img-src data:; form-action 'none'; style-src-attr 'unsafe-inline'"
OWN_MEDIA = "media-src 'self' file:"  # beside the page, on a disk or on the same server
PNG = b"\x89PNG\r\n\x1a\n"
SENTENCE = 24  # characters from which a cell needs room for a line of text
MARKS = ("solid", "dashed", "dotted")
"""How lines to compare with are drawn: they are told apart without their colour."""

WIDE = 480  # CSS pixels from which a picture does not shrink to the width of a phone
MOST_STEPS = 5  # between the numbers of an axis
FAINTEST = 0.02  # strength of a colour from which it is seen
STRIPES = 60
"""Most cells of a :class:`Strip`: longer sequences are averaged."""

# what a browser would drop or turn the text around with: controls, bidi overrides, lone surrogates
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_VOID = ("img", "meta", "br", "input", "link")


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
        name: name of the element.
        children: texts and elements; None is left out.
        attributes: ``class_`` and ``aria_label`` become ``class`` and ``aria-label``.
    """
    start = name
    for key, value in attributes.items():
        html_name = key.rstrip("_").replace("_", "-")
        escaped = escape(value).text
        start += f' {html_name}="{escaped}"'

    # void elements have no content and no end
    if name in _VOID:
        return Markup(f"<{start}>")

    inside = ""
    for child in children:
        if child is not None:
            inside += _as_markup(child).text
    return Markup(f"<{start}>{inside}</{name}>")


def _as_markup(content: str | Markup) -> Markup:
    return content if isinstance(content, Markup) else escape(content)


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
        text: text of the paragraph.
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
        items = [element("li", text) for text in self.texts]
        return element("ul", *items, class_=self.kind)


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
        value: value between the two ends.
        high: upper end of the interval.
        axis: the two ends of the axis.
        zero: place of a line across the axis; None for no line.
        marks: values to compare with, as lines in the order of :data:`MARKS`.
        points: single values behind the value, such as those of several runs.
    """

    low: float
    value: float
    high: float
    axis: tuple[float, float]
    zero: float | None = None
    marks: Sequence[float] = ()
    points: Sequence[float] = ()

    def markup(self) -> Markup:
        """Return its HTML."""
        line = None
        if self.zero is not None:
            line = self._line("zero", self.zero)

        marks = zip(MARKS, self.marks, strict=False)
        others = [self._line(f"mark {kind}", x) for kind, x in marks]
        others += [self._line("point", x) for x in self.points]

        low = self._place(self.low)
        high = self._place(self.high)
        width = max(high - low, 0.5)  # so that it can be seen
        bar = element("i", class_="bar", style=f"left:{low:.1f}%;width:{width:.1f}%")

        dot = self._line("dot", self.value)

        # the numbers stand beside it: a reader of the screen needs no chart
        return element(
            "span",
            line,
            *others,
            bar,
            dot,
            class_="range",
            aria_hidden="true",
        )

    def _line(self, kind: str, x: float) -> Markup:
        """Return a line or a dot at a value."""
        place = self._place(x)
        return element("i", class_=kind, style=f"left:{place:.1f}%")

    def _place(self, x: float) -> float:
        """Return the place of a value on the axis in percent; what is beyond is at its end."""
        start, end = self.axis
        length = end - start or 1.0
        share = (x - start) / length
        return 100.0 * min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class Strip:
    """Evidence along a sequence: one cell a step, or some steps a cell.

    Attributes:
        values: value of each step.
        scale: the value that has the full colour.
        text: what the strip shows, for those who do not see it.
    """

    values: Sequence[float]
    scale: float
    text: str

    def markup(self) -> Markup:
        """Return its SVG."""
        means = self._cells()
        cells = [self._cell(place, mean) for place, mean in enumerate(means)]
        return element(
            "svg",
            element("title", self.text),
            *cells,
            class_="strip",
            viewBox=f"0 0 {max(len(means), 1)} 1",
            preserveAspectRatio="none",
            role="img",
        )

    def _cells(self) -> list[float]:
        """Return the value of each cell, a mean where a cell has several steps."""
        steps = len(self.values)
        cells = min(steps, STRIPES)

        means = []
        for i in range(cells):
            # rounded ends: cells differ by one step at most
            first = round(i * steps / cells)
            end = round((i + 1) * steps / cells)
            inside = self.values[first:end]
            mean = sum(inside) / len(inside)
            means.append(mean)
        return means

    def _cell(self, place: int, mean: float) -> Markup | None:
        """Return a cell; None where its colour is too faint to be seen."""
        strength = _strength(mean, self.scale)
        if strength < FAINTEST:
            return None
        return element(
            "rect",
            class_="for" if mean > 0 else "against",
            x=str(place),
            width="1",
            height="1",
            fill_opacity=f"{strength:.2f}",
        )


@dataclass(frozen=True)
class Spoken:
    """Words, each with the evidence at it as its colour.

    Attributes:
        words: in their order.
        values: value of each.
        scale: the value that has the full colour.
        text: what the colours show, for those who do not see them.
    """

    words: Sequence[str]
    values: Sequence[float]
    scale: float
    text: str

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        words: list[Content] = []
        for word, value in zip(self.words, self.values, strict=True):
            words += [self._word(word, value), " "]
        return element("p", *words, class_="spoken", aria_label=self.text)

    def _word(self, word: str, value: float) -> Markup:
        """Return a word; one of no weight has no colour."""
        strength = _strength(value, self.scale)
        if strength < FAINTEST:
            return element("span", word)
        return element(
            "span",
            word,
            class_="for" if value > 0 else "against",
            style=f"--strength:{100 * strength:.0f}%",
            title=f"{value:+.2f}",
        )


def _strength(value: float, scale: float) -> float:
    """Return how strong the colour of a value is, from 0 to 1."""
    return min(abs(value) / scale, 1.0) if scale > 0 else 0.0


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        text: text of the cell.
        strong: whether the text is set bold.
        quiet: whether the text is a remark that stands in place of a value.
        chart: chart before the text.
    """

    text: str
    strong: bool = False
    quiet: bool = False
    chart: Range | Strip | None = None

    def markup(self) -> Markup:
        """Return its HTML."""
        text = escape(self.text)
        if self.strong:
            text = element("b", self.text)
        if self.quiet:
            text = element("i", self.text)
        if self.chart is None:
            return text

        if not self.text:
            return self.chart.markup()

        # as wide as any number of the column, so that the charts stand exactly below each other
        number = element("span", text, class_="beside")
        return joined([self.chart.markup(), number])


_NUMBER = re.compile(r"[-+±.,\d\s%/()\[\]:]*\d[-+±.,\d\s%/()\[\]:a-z]*|n/a|")


@dataclass(frozen=True)
class Table:
    """A table; where it is wider than the page it scrolls by itself.

    Attributes:
        header: titles of the columns.
        rows: cells in the order of the header.
        title: title of the table.
        marked: positions of rows that stand out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""
    marked: Sequence[int] = ()

    def markup(self, level: int) -> Markup:
        """Return its HTML; columns of numbers are set to the right."""
        columns = range(len(self.header))
        numeric = [self._is_numeric(column) for column in columns]
        head = element("thead", self._head(numeric))

        positions = range(len(self.rows))
        rows = [self._row(position, numeric) for position in positions]
        body = element("tbody", *rows)

        caption = None
        if self.title:
            caption = element("caption", self.title)
        table = element("table", caption, head, body)

        # what scrolls must have a name and be reached with the keyboard
        name = self.title or ", ".join(self.header)
        return element(
            "div",
            table,
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label=name,
        )

    def _is_numeric(self, column: int) -> bool:
        """Whether a column holds numbers; the first one names the rows."""
        return column > 0 and all(_is_number(row[column]) for row in self.rows)

    def _head(self, numeric: Sequence[bool]) -> Markup:
        cells = []
        for title, is_numeric in zip(self.header, numeric, strict=True):
            kind = "number" if is_numeric else "text"
            cells.append(element("th", title, scope="col", class_=kind))
        return element("tr", *cells)

    def _row(self, position: int, numeric: Sequence[bool]) -> Markup:
        row = self.rows[position]
        cells = []
        for column, is_numeric in enumerate(numeric):
            given = row[column]
            cell = self._cell(given, column, is_numeric)
            cells.append(cell)

        kind = "plain"
        if position in self.marked:
            kind = "marked"
        return element("tr", *cells, class_=kind)

    def _cell(self, given: str | Cell, column: int, is_numeric: bool) -> Markup:
        cell = given if isinstance(given, Cell) else Cell(given)
        content = cell.markup()

        kind = "text"
        if is_numeric:
            kind = "number"
        elif len(cell.text) > SENTENCE:
            kind = "prose"

        # the first cell names its row
        if column == 0:
            return element("th", content, scope="row", class_=kind)
        return element("td", content, class_=kind)


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
        pairs = []
        for name, text in self.rows:
            term = element("dt", name)
            description = element("dd", text)
            pairs.append(element("div", term, description))
        return element("dl", *pairs)


@dataclass(frozen=True)
class Tile:
    """A number that the reader sees first.

    Attributes:
        title: title of the number.
        value: the number.
        detail: lines below the number.
        chart: interval of the number, and what to compare it with.
    """

    title: str
    value: str
    detail: str = ""
    chart: Range | None = None

    def markup(self) -> Markup:
        """Return its HTML."""
        chart = None
        if self.chart is not None:
            chart = self.chart.markup()

        details = [element("span", line, class_="detail") for line in self.detail.splitlines()]

        return element(
            "div",
            element("span", self.title, class_="name"),
            element("strong", self.value),
            chart,
            *details,
            class_="tile",
        )


@dataclass(frozen=True)
class Tiles:
    """Numbers side by side."""

    tiles: Sequence[Tile]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        tiles = [tile.markup() for tile in self.tiles]
        return element("div", *tiles, class_="tiles")


@dataclass(frozen=True)
class Verdict:
    """What a reader must know who reads nothing else.

    Attributes:
        sentences: the verdict; the first is set large.
        problems: what is wrong.
    """

    sentences: Sequence[str]
    problems: Sequence[str] = ()

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        first, *others = self.sentences
        parts = [element("p", first, class_="first")]
        if others:
            parts.append(element("p", " ".join(others)))
        if self.problems:
            items = [element("li", problem) for problem in self.problems]
            parts.append(element("ul", *items, class_="warning"))
        return element("div", *parts, class_="verdict", role="note", aria_label="verdict")


@dataclass(frozen=True)
class Dot:
    """A row of a :class:`DotPlot`.

    Attributes:
        name: what the row is about.
        value: its value.
        low: lower end of its interval; the value itself for none.
        high: upper end of its interval.
        text: the value in words.
        between: the interval in words; empty for none.
        points: single values behind the value, such as those of several runs.
    """

    name: str
    value: float
    low: float
    high: float
    text: str
    between: str = ""
    points: Sequence[float] = ()


@dataclass(frozen=True)
class DotPlot:
    """Values with their intervals below each other, beside lines to compare with.

    It is made of boxes, so that its letters stay as large on a phone, and of the page's colours.

    Attributes:
        title: what is shown.
        dots: the rows, from top to bottom.
        lines: name -> value of a line across all rows.
        note: how to read it.
    """

    title: str
    dots: Sequence[Dot]
    lines: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def axis(self) -> tuple[float, float]:
        """The ends of the axis: what is shown, out to the next multiples of 0.1."""
        shown = list(self.lines.values())
        for dot in self.dots:
            shown += [dot.low, dot.high, dot.value, *dot.points]
        start = math.floor(10 * min(shown)) / 10
        end = math.ceil(10 * max(shown)) / 10
        return start, max(end, start + 0.1)

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        rows = [self._row(dot) for dot in self.dots]
        caption = element("figcaption", self.title, class_="title")
        plot = element("div", *rows, self._ticks(), class_="dots")
        note = None
        if self.note:
            note = element("p", self.note, class_="note")
        return element("figure", caption, plot, self._legend(), note)

    def _row(self, dot: Dot) -> Markup:
        chart = Range(
            dot.low,
            dot.value,
            dot.high,
            self.axis,
            marks=tuple(self.lines.values()),
            points=dot.points,
        )
        name = element("span", dot.name, class_="name")
        between = None
        if dot.between:
            between = element("i", f" {dot.between}")
        number = element("span", dot.text, between, class_="value")
        return joined([name, chart.markup(), number])

    def _ticks(self) -> Markup:
        """Return the numbers of the axis: its ends and, where they are far apart, some between."""
        start, end = self.axis
        steps = round(10 * (end - start))
        every = math.ceil(steps / MOST_STEPS)

        ticks = []
        for step in range(0, steps + 1, every):
            place = 100 * step / steps
            text = f"{start + step / 10:.1f}"
            ticks.append(element("span", text, style=f"left:{place:.1f}%"))
        nothing = element("span")
        return joined([nothing, element("span", *ticks, class_="ticks"), nothing])

    def _legend(self) -> Markup | None:
        if not self.lines:
            return None

        items = []
        for kind, (name, value) in zip(MARKS, self.lines.items(), strict=False):
            swatch = element("i", class_=f"mark {kind}")
            text = element("span", f"{name} {value:.3f}")
            items.append(element("span", swatch, text, class_="key"))
        return element("p", *items, class_="legend")


@dataclass(frozen=True)
class Image:
    """A picture, inside the page.

    Attributes:
        content: SVG or PNG.
        text: what the picture shows, for those who do not see it.
        caption: text below the picture.
    """

    content: bytes
    text: str
    caption: str = ""

    def markup(self, level: int) -> Markup:
        """Return its HTML; as an image, an SVG can neither run nor style anything."""
        kind = "png" if self.content.startswith(PNG) else "svg+xml"
        encoded = base64.b64encode(self.content).decode("ascii")

        width, height = size_of(self.content)
        # letters of a wide picture would be too small on a phone: there it scrolls
        is_wide = width > 1.5 * height or width > WIDE
        shape = "wide" if is_wide else "square"
        style = f"max-width:{1.2 * width:.0f}px" if width else ""
        image = element(
            "img",
            src=f"data:image/{kind};base64,{encoded}",
            alt=self.text,
            class_=shape,
            style=style,
        )

        # what scrolls must have a name and be reached with the keyboard
        frame = element(
            "div",
            image,
            class_="scroll",
            tabindex="0",
            role="group",
            aria_label=self.text,
        )

        caption = None
        if self.caption:
            caption = element("figcaption", self.caption)
        return element("figure", frame, caption)


def size_of(content: bytes) -> tuple[float, float]:
    """Return width and height of a picture in CSS pixels, of which an inch has 96.

    A PNG has 150 dots an inch, an SVG says its size in points. Zeros for anything else.
    """
    if content.startswith(PNG) and len(content) >= 24:
        # width and height are the first two numbers of the first chunk
        width, height = struct.unpack(">II", content[16:24])
        return width * 96 / 150, height * 96 / 150

    start = content[:4096]
    sizes = dict(re.findall(rb'\b(width|height)="([\d.]+)pt"', start))
    width = float(sizes.get(b"width", 0))
    height = float(sizes.get(b"height", 0))

    # an inch has 72 points
    return width * 96 / 72, height * 96 / 72


@dataclass(frozen=True)
class Card:
    """A few blocks in a frame.

    Attributes:
        title: title of the card.
        blocks: blocks in the card.
    """

    title: str
    blocks: Sequence[Block]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        heading = _heading(level, self.title)
        inside = [block.markup(level + 1) for block in self.blocks]
        return element("article", heading, *inside)


@dataclass(frozen=True)
class Cards:
    """Cards side by side, where there is room."""

    cards: Sequence[Card]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        cards = [card.markup(level) for card in self.cards]
        return element("div", *cards, class_="cards")


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when the reader opens them."""

    title: str
    blocks: Sequence[Block]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        inside = [block.markup(level) for block in self.blocks]
        return element("details", element("summary", self.title), *inside)


def _heading(level: int, title: str) -> Markup:
    return element(f"h{min(level, 6)}", title)


@dataclass(frozen=True)
class Section:
    """A part with a heading; it may hold others."""

    title: str
    blocks: Sequence[Block]

    def markup(self, level: int, name: str | None = None) -> Markup:
        """Return its HTML, with ``name`` for links to it."""
        attributes = {} if name is None else {"id": name}
        heading = _heading(level, self.title)
        inside = [block.markup(level + 1) for block in self.blocks]
        return element("section", heading, *inside, **attributes)


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: title of the page.
        subtitle: what the page is about, in a line.
        sections: sections in order; the page begins with links to them.
        summary: blocks before the first section.
        style: what this page adds to the stylesheet of all.
        script: the one script that it runs; empty for none.
        media: whether it shows a video that lies beside it.
    """

    title: str
    subtitle: str = ""
    sections: Sequence[Section] = ()
    summary: Sequence[Block] = field(default_factory=tuple)
    style: str = ""
    script: str = ""
    media: bool = False

    @property
    def stylesheet(self) -> str:
        """The text of its ``style`` element: what all pages have, and what this one adds."""
        return STYLE_FILE.read_text(encoding="utf-8") + self.style

    def to_html(self) -> str:
        """Return the page; it loads nothing, but for a video beside it."""
        head = self._head().text
        body = self._body().text
        return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'

    def _head(self) -> Markup:
        return element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", http_equiv="Content-Security-Policy", content=self._policy()),
            element("meta", name="color-scheme", content="light dark"),
            element("title", self.title),
            element("style", Markup(self.stylesheet)),
        )

    def _body(self) -> Markup:
        title = element("h1", self.title)
        subtitle = element("p", self.subtitle)
        header = element("header", title, subtitle)

        links = []
        sections = []
        for number, section in enumerate(self.sections, 1):
            name = f"s{number}"
            link = element("a", section.title, href=f"#{name}")
            links.append(link)
            sections.append(section.markup(2, name))

        contents = self._contents(links)
        summary = [block.markup(2) for block in self.summary]
        main = element("main", *summary, *sections)
        script = None
        if self.script:
            script = element("script", Markup(self.script))
        return element("body", header, contents, main, script)

    def _contents(self, links: Sequence[Markup]) -> Markup | None:
        """Return the links to the sections; one section needs none."""
        if len(links) < 2:
            return None
        return element("nav", *links, aria_label="contents")

    def _policy(self) -> str:
        """Return what a browser may load and run for this page."""
        # no style and no script but these, whatever a text on the page may hold
        parts = [POLICY, f"style-src {_digest(self.stylesheet)}"]
        if self.script:
            parts.append(f"script-src {_digest(self.script)}")
        if self.media:
            parts.append(OWN_MEDIA)
        return "; ".join(parts)

    def write(self, path: Path) -> Path:
        """Write the page to ``path`` at once; return it."""
        write_text(path, self.to_html())
        return path


def _digest(text: str) -> str:
    """Return what stands for a text in a policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
