"""Write what CMU-MOSEI in the paper's split is recognised by.

Usage: python scripts/mosei.py segments.csv

The table has a row per labelled segment with the columns ``id`` (the video), ``split`` and the
intensity of each emotion. Of it only hashes and counts are kept: four bytes of the SHA-256 of each
video's id, how many segments it has, and how many segments of a split have each label.
"""

import base64
import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

EMOTIONS = {
    "happy": "happy", "sad": "sad", "anger": "angry", "surprise": "surprise",
    "disgust": "disgust", "fear": "fear",
}  # fmt: skip
OUT = Path(__file__).parents[1] / "src" / "emotailor" / "comparison" / "mosei.json"


def main() -> None:
    """Read the table, write the file."""
    with Path(sys.argv[1]).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))

    splits = {}
    for name in ("train", "valid", "test"):
        own = [row for row in rows if row["split"] == name]
        counts = Counter(row["id"] for row in own)
        packed = b""
        for video, count in sorted(counts.items()):
            packed += hashlib.sha256(video.encode()).digest()[:4] + bytes([count])

        labels = {}
        for column, label in EMOTIONS.items():
            labels[label] = sum(float(row[column]) > 0 for row in own)
        splits[name] = {"videos": base64.b85encode(packed).decode(), "labels": labels}

    OUT.write_text(json.dumps({"splits": splits}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
