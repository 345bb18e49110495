"""Where the command line prints."""

import os
from typing import Any

from rich.console import Console

out = Console(quiet=os.environ.get("RANK", "0") != "0")  # of several processes the first speaks
err = Console(stderr=True)


def say(*renderables: Any) -> None:
    """Print tables, and lines of text as they are."""
    for renderable in renderables:
        # a line may hold paths and ids: they are not wrapped, and no markup is looked for in them
        line = isinstance(renderable, str)
        out.print(renderable, soft_wrap=line, markup=not line, highlight=False)
