"""A data set of texts with the encoder that made it, and the settings of a run on it."""

import csv
from pathlib import Path

import emotailor
from tests.encoders import tiny
from tests.runs.runs import MODEL, TRAINING

__all__ = ["SPLITS", "TRAINING", "make_home", "settings"]

SPLITS = ["train"] * 23 + ["valid"] * 7 + ["test"] * 5


def make_home(home: Path) -> Path:
    """A folder with ``table.csv``, ``tiny-bert`` and ``data``, which the one made of the other."""
    tiny.need("tokenizers")
    home.mkdir(parents=True, exist_ok=True)
    file = home / "table.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "split", "happy", "sad", "text"])
        for i, (split, text) in enumerate(zip(SPLITS, tiny.said(len(SPLITS)), strict=True)):
            rows.writerow([f"v{i}[0]", split, int("great" in text), int("is" in text), text])

    tiny.write_bert(home / "tiny-bert")
    emotailor.convert(file, home / "data", encoder=home / "tiny-bert")
    return home


def settings(home: Path, **adapters: object) -> dict[str, object]:
    """A tiny TAILOR behind an encoder that is trained along, unless told otherwise."""
    asked = {"rank": 3, "encoder": str(home / "tiny-bert"), **adapters}
    return {
        "data": {"path": str(home / "data")},
        "model": MODEL,
        "training": TRAINING,
        "adapters": asked,
    }
