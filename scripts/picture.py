"""Draw the picture of the README: the answers of the demo as the terminal shows them.

emotailor demo
python scripts/picture.py runs/demo docs/images/demo.svg
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from emotailor.commands.demo import Demo, plan_demo, show_answers


def main(folder: str, target: str) -> None:
    """Write what the demo shows of its answers as an SVG file."""
    plan = plan_demo(Path(folder))
    console = Console(record=True, width=80, file=io.StringIO())
    console.print("$ emotailor demo\n…", highlight=False)
    show_answers(Demo(plan), console)
    svg = console.export_svg(title="emotailor", unique_id="demo")

    # whoever looks at the picture fetches nothing: the fonts of their machine will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(target).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
