"""Seconds and memory of prediction with TAILOR: probabilities of one batch, dropout off.

Making the batch is not counted. With --reference the authors' own program takes the same batches
in turns with ours, padded to 60 steps as its data code does it. Each program is a process of its
own.

--lengths full: every sequence has 60 steps. --lengths mosei: the lengths of CMU-MOSEI's
utterances, in batches ordered by length as our prediction forms them.
"""

from collections.abc import Sequence
from typing import Any

from benchmarks import comparison, report


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    return comparison.run("inference", "Inference", __doc__, "predict", arguments)


if __name__ == "__main__":
    report.run(main)
