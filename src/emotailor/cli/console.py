"""Where the command line prints."""

import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from emotailor.text import visible


class SafeConsole(Console):
    """A console on which no text can move the cursor or turn the direction of a line."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object; what does not show in its texts is written as an escape."""
        for text, style, control in super().render(renderable, options):
            # the codes of rich itself come as controls
            shown = text if control else visible(text)
            yield Segment(shown, style, control)


# of several processes the first speaks
out = SafeConsole(quiet=os.environ.get("RANK", "0") != "0")
err = SafeConsole(stderr=True)


def say(*renderables: Any) -> None:
    """Print tables, and lines of text as they are."""
    for renderable in renderables:
        # a line may hold paths and ids: they are not wrapped, and no markup is looked for in them
        line = isinstance(renderable, str)
        out.print(renderable, soft_wrap=line, markup=not line, highlight=False)
