"""Seconds and memory of one training step of TAILOR.

A step is the forward pass with dropout and all losses, the backward pass, clipping and the update
of the optimizer; making the batch is not counted. Our model runs in both its faces under the
authors' recipe. With --reference the authors' own program takes the same batches in turns with
ours, padded to 60 steps as its data code does it. Each program is a process of its own.

--lengths full: every sequence has 60 steps. --lengths mosei: the lengths of CMU-MOSEI's
utterances, in batches as our training forms them.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks import comparison, report


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    return comparison.run("training_step", "Training step", __doc__, "train", arguments)


if __name__ == "__main__":
    report.run(main)
