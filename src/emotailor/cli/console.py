"""Where the command line prints."""

import os
import re
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from emotailor.text import visible


class SafeConsole(Console):
    """A console on which no text can move the cursor or turn the direction of a line.

    In a terminal, lines end between words. Elsewhere a line is as long as it is, for programs.
    """

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print as rich does; a line that would be left to the terminal is broken at a space."""
        if soft_wrap and self.is_terminal:
            objects = tuple(self._broken(one, options.get("markup")) for one in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def _broken(self, given: Any, markup: bool | None) -> Any:
        """Return a text in lines that fit the terminal; anything else as it is."""
        if isinstance(given, str):
            given = Text(given) if markup is False else Text.from_markup(given)
        # a table knows the width by itself
        if not isinstance(given, Text):
            return given
        return broken(given, self.width)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object; what does not show in its texts is written as an escape."""
        for text, style, control in super().render(renderable, options):
            # the codes of rich itself come as controls
            shown = text if control else visible(text)
            yield Segment(shown, style, control)


COMMAND = "next: "
"""What stands before a command that can be copied."""


def broken(text: Text, width: int) -> Text:
    r"""Return a text whose lines end between words; a longer word, such as a path, stays whole.

    Where the line is a command to copy, ``\`` at its end says to a shell that it goes on.

    Args:
        text: one or more lines.
        width: columns of a line.
    """
    lines = []
    for line in text.split("\n", allow_blank=True):
        plain = line.plain
        indent = len(plain) - len(plain.lstrip())
        goes_on = " \\" if plain.startswith(COMMAND) else ""
        # the sign that a line goes on needs room at its end
        parts = line.divide(_breaks(plain, width - len(goes_on), indent))
        for place, part in enumerate(parts):
            # the blank between two words would stand at the end of a line
            part.rstrip()
            if place < len(parts) - 1:
                part.append(goes_on)
            lines.append(Text(" " * (indent + 2)) + part if place else part)
    return Text("\n").join(lines)


def _breaks(line: str, width: int, indent: int) -> list[int]:
    """Return where the lines behind the first begin."""
    found = []
    room = width
    used = indent
    for word in re.finditer(r"\S+", line):
        if used > indent and used + cell_len(word[0]) > room:
            found.append(word.start())
            # lines behind the first are two columns further in
            room = width - 2
            used = indent
        used += cell_len(word[0]) + 1
    return found


# of several processes the first speaks
out = SafeConsole(quiet=os.environ.get("RANK", "0") != "0")
err = SafeConsole(stderr=True)


def say(*renderables: Any) -> None:
    """Print tables, and lines of text as they are."""
    for renderable in renderables:
        # a line may hold paths and ids: they are not wrapped, and no markup is looked for in them
        line = isinstance(renderable, str)
        out.print(renderable, soft_wrap=line, markup=not line, highlight=False)


def note(line: str) -> None:
    """Print a line beside the results: to the other stream."""
    err.print(f"note: {line}", soft_wrap=True, markup=False, highlight=False)
