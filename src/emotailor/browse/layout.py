"""What the pages look like: those of a report, with forms and links between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from emotailor.browse.choice import Choice
from emotailor.report.page import Cell, Content, Markup, Page, element, joined

MOST_OF_AN_ID = 80
"""Characters of an id on a page of many."""


@dataclass(frozen=True)
class ServedPage(Page):
    """A page that its server gives styles and a script, and the rules for both.

    Attributes:
        way: links to other pages, instead of those to the sections of this one.
    """

    way: Sequence[Markup] = field(default_factory=tuple)

    def _head(self) -> Markup:
        return element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", self.title),
            # a browser would look for one that is not there
            element("link", rel="icon", href="data:,"),
            element("link", rel="stylesheet", href="/static/page.css"),
            element("link", rel="stylesheet", href="/static/browse.css"),
            element("script", src="/static/browse.js", defer="defer"),
        )

    def _contents(self, links: Sequence[Markup]) -> Markup | None:
        if self.way:
            return element("nav", *self.way, aria_label="pages")
        return super()._contents(links)


def link(text: Content, address: str, **attributes: str) -> Markup:
    """Return a link."""
    return element("a", text, href=address, **attributes)


@dataclass(frozen=True)
class LinkCell(Cell):
    """A cell of a table that leads somewhere.

    Attributes:
        address: where to.
        name: what it leads to, for those who hear the link alone.
    """

    address: str = ""
    name: str = ""

    def markup(self) -> Markup:
        """Return its HTML."""
        return link(self.text, self.address, aria_label=self.name)


@dataclass(frozen=True)
class Raw:
    """Markup that is made elsewhere.

    Attributes:
        parts: elements, one after the other.
    """

    parts: Sequence[Markup]

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        return joined(self.parts)


@dataclass(frozen=True)
class Field:
    """A choice of a form.

    Attributes:
        name: of the field in the address.
        title: what is chosen.
        options: value -> what it is called.
        value: that which is chosen now.
    """

    name: str
    title: str
    options: Sequence[tuple[str, str]]
    value: str

    def markup(self) -> Markup:
        """Return its HTML."""
        options = []
        for value, text in self.options:
            chosen = {"selected": "selected"} if value == self.value else {}
            options.append(element("option", text, value=value, **chosen))
        box = element("select", *options, name=self.name, id=f"f-{self.name}")
        return element("div", element("label", self.title, for_=f"f-{self.name}"), box)


@dataclass(frozen=True)
class ChoiceForm:
    """The form that says which samples are listed.

    Attributes:
        fields: what can be chosen.
        words: what is searched for.
    """

    fields: Sequence[Field]
    words: str

    def markup(self, level: int) -> Markup:
        """Return its HTML."""
        search = element(
            "input", type="search", name="words", id="f-words", value=self.words, maxlength="200"
        )
        label = element("label", "words or id", for_="f-words")
        return element(
            "form",
            *[field.markup() for field in self.fields],
            element("div", label, search),
            element("button", "Show", type="submit"),
            class_="choice",
            method="get",
            action="/#samples",
            role="search",
        )


def pager(choice: Choice, pages: int, anchor: str = "#samples") -> Markup | None:
    """Return links to the other pages of a list; None where it has one."""
    if pages < 2:
        return None

    near = {1, pages, *range(choice.page - 2, choice.page + 3)}
    numbers = sorted(number for number in near if 1 <= number <= pages)
    items: list[Content] = []
    if choice.page > 1:
        before = choice.but(page=choice.page - 1).address(f"/{anchor}")
        items.append(link("previous", before, rel="prev"))
    last = 0
    for number in numbers:
        if number > last + 1:
            items.append(element("span", "…"))
        last = number
        if number == choice.page:
            items.append(element("b", str(number), aria_current="page"))
        else:
            address = choice.but(page=number).address(f"/{anchor}")
            items.append(link(str(number), address, aria_label=f"page {number}"))
    if choice.page < pages:
        after = choice.but(page=choice.page + 1).address(f"/{anchor}")
        items.append(link("next", after, rel="next"))
    return element("nav", *items, class_="pager", aria_label="pages of the list")


def sample_address(position: int, choice: Choice, **more: str) -> str:
    """Return the address of the page of a sample."""
    return choice.address(f"/sample/{quote(str(position))}", **more)


def short_id(text: str) -> str:
    """Return an id that does not fill a page."""
    return text if len(text) <= MOST_OF_AN_ID else f"{text[: MOST_OF_AN_ID - 1]}…"


def isolated(text: str) -> Markup:
    """Return a text that cannot turn the direction of what stands beside it."""
    return element("bdi", text)
