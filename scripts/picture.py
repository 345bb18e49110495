"""Draw the picture of the README: a prediction as the terminal shows it.

emotailor demo
python scripts/picture.py runs/demo/run runs/demo/data docs/images/predict.svg
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

import emotailor
from emotailor.runs.outputs import render_predictions

SHOWN = 2
"""The number of samples: the first ones of the test split."""


def main(run: str, data: str, target: str) -> None:
    """Predict the first test samples, and write what the terminal shows as an SVG file."""
    predictions = emotailor.predict(run, data, limit=SHOWN, explain=True, device="cpu")

    console = Console(record=True, width=78, file=io.StringIO())
    console.print(f"$ emotailor predict {run} {data} --limit {SHOWN}", highlight=False)
    console.print(render_predictions(predictions))
    svg = console.export_svg(title="emotailor", unique_id="predict")
    # whoever looks at the picture fetches nothing: the fonts of their machine will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    Path(target).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
