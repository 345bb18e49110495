"""Fit the statistics of CMU-MOSEI that synthetic data follow, from its label table.

    python scripts/fit_mosei_statistics.py ../shared/data/mosei_labels/segments.csv

Only counts leave the table: of each of the 64 label sets, and of each length in words. They are
written to ``src/emotailor/data/mosei_statistics.json``, which is part of the package.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.data.sample import EMOTIONS, canonical_label

WORDS_PER_SECOND = 2.6
MAX_WORDS = 60
OUTPUT = Path(__file__).resolve().parents[1] / "src/emotailor/data/mosei_statistics.json"


def fit(table: Path) -> dict[str, Any]:
    """Count label sets and lengths over the segments of the paper's three splits.

    Args:
        table: CSV with columns ``split``, ``start`` and ``end`` (seconds) and one intensity 0..3
            per emotion; a label holds where its intensity is above 0.

    Returns:
        What :mod:`emotailor.data.synthetic` reads.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"]]
    columns = {canonical_label(column): column for column in rows[0]}
    intensity = np.array([[float(row[columns[e]]) for e in EMOTIONS] for row in rows])
    codes = (intensity > 0) @ (1 << np.arange(len(EMOTIONS)))
    seconds = np.array([float(row["end"]) - float(row["start"]) for row in rows])
    words = np.clip(np.rint(seconds * WORDS_PER_SECOND), 1, MAX_WORDS).astype(int)
    return {
        "source": "CMU-MOSEI label table: the segments of the train, valid and test splits",
        "segments": len(rows),
        "label_names": list(EMOTIONS),
        "label_set_counts": np.bincount(codes, minlength=1 << len(EMOTIONS)).tolist(),
        "words_per_second": WORDS_PER_SECOND,
        "word_counts": np.bincount(words, minlength=MAX_WORDS + 1)[1:].tolist(),
    }


def main() -> None:
    """Parse the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("table", type=Path, help="segments.csv")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    statistics = fit(arguments.table)
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in statistics.items()]
    arguments.output.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{arguments.output}: {statistics['segments']} segments")


if __name__ == "__main__":
    main()
