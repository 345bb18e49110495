"""What Tab offers behind an option: names, splits, folders. Nothing heavy is imported."""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

DEPTH = 4
"""How many folders below the current one a run is looked for."""

MOST_FOLDERS = 2000
"""How many folders are looked into, so that Tab stays quick in a home folder."""

OF_A_RUN = ("model/model.json", "config.json", "model.json")
OF_A_COMPARISON = ("benchmark.json", "ablation.json")
OF_A_DATA_SET = ("dataset.json",)

Offers = list[tuple[str, str]]
"""What may stand there, each with a word on it."""


def systems(incomplete: str) -> Offers:
    """Offer the names of systems, those of installed packages too."""
    from emotailor.models.table import SYSTEMS, available_models

    offered = []
    for name in available_models():
        title = SYSTEMS[name].title if name in SYSTEMS else "installed"
        offered.append((name, title))
    return _starting(offered, incomplete)


def several_systems(incomplete: str) -> Offers:
    """Offer the names of systems behind a comma, and ``all``."""
    before, _, last = incomplete.rpartition(",")
    offered = systems(last)
    # all of them and others makes no sense: it stands alone
    if not before:
        return offered + _starting([("all", "all systems")], last)

    taken = before.split(",")
    return [(f"{before},{name}", word) for name, word in offered if name not in taken]


def variants(ctx: Any, incomplete: str) -> Offers:
    """Offer the variants of the system that the command line names."""
    from emotailor.models.table import SYSTEMS

    named = str(ctx.params.get("model") or "tailor")
    # code of others is not loaded for a Tab
    row = SYSTEMS.get(named.lower())
    if row is None:
        return []

    before, comma, last = incomplete.rpartition(",")
    offered = [(name, variant.title) for name, variant in row.variants.items()]
    return [(f"{before}{comma}{name}", title) for name, title in _starting(offered, last)]


def modalities(incomplete: str) -> Offers:
    """Offer modalities, also behind a comma."""
    from emotailor.data.sample import MODALITIES

    before, comma, last = incomplete.rpartition(",")
    offered = [(m, f"or {m[0]}") for m in MODALITIES]
    return [(f"{before}{comma}{name}", word) for name, word in _starting(offered, last)]


def splits(ctx: Any, incomplete: str) -> Offers:
    """Offer the splits of the data set that the command line names; else those of most data."""
    from emotailor.data.split_names import ORDER

    data = ctx.params.get("data") or ctx.params.get("source")
    names: Iterable[str] = ORDER if data is None else _splits_of(Path(data)) or ORDER
    return _starting([(name, "split") for name in names], incomplete)


def devices(incomplete: str) -> Offers:
    """Offer the names of devices, whether they are there or not."""
    # to find out which are there would take the seconds that torch needs
    names = ("auto", "cpu", "gpu", "cuda", "mps")
    return _starting([(name, "device") for name in names], incomplete)


def formats(incomplete: str) -> Offers:
    """Offer the formats that can be converted."""
    from emotailor.data.readers import FORMATS

    return _starting([(name, "format") for name in FORMATS], incomplete)


def encoders(incomplete: str) -> Offers:
    """Offer the encoders of text that have a name."""
    from emotailor.encoders.table import ENCODERS

    return _starting([(name, known.what) for name, known in ENCODERS.items()], incomplete)


def metrics(incomplete: str) -> Offers:
    """Offer the metrics of installed packages; one of your own is named by its place."""
    from emotailor.evaluation.custom import ENTRY_POINTS
    from emotailor.loading import installed

    return _starting([(name, "installed") for name in installed(ENTRY_POINTS)], incomplete)


def runs(incomplete: str) -> list[str]:
    """Offer the folders of runs and models, here and below."""
    return _folders(incomplete, OF_A_RUN)


def runs_and_comparisons(incomplete: str) -> list[str]:
    """Offer the folders of runs, models and comparisons, here and below."""
    return _folders(incomplete, (*OF_A_RUN, *OF_A_COMPARISON))


def data_sets(incomplete: str) -> list[str]:
    """Offer the folders of stored data sets, here and below."""
    return _folders(incomplete, OF_A_DATA_SET)


def _starting(offered: Iterable[tuple[str, str]], incomplete: str) -> Offers:
    return [(name, word) for name, word in offered if name.startswith(incomplete)]


def _splits_of(data: Path) -> list[str]:
    """Return the splits of a stored data set; none where it cannot be read."""
    try:
        card: Any = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
        return list(card["splits"])
    except (OSError, ValueError, KeyError, TypeError):  # Tab is no place for messages
        return []


def _folders(incomplete: str, markers: Iterable[str]) -> list[str]:
    """Return the folders below what is written so far that hold one of some files."""
    # the last part is not written to its end: its folder is looked into
    head, slash, _ = incomplete.rpartition("/")
    start = Path(f"{head}{slash}" or ".")
    found = []
    for folder in _below(start, DEPTH):
        written = str(folder)
        if written.startswith(incomplete) and any((folder / name).exists() for name in markers):
            found.append(written)
    return sorted(found)


def _below(start: Path, depth: int) -> Iterator[Path]:
    """Yield the folders below one, those of a level before those of the next."""
    # where the limit is reached, what is near has been seen
    level = [start]
    looked = 0
    for _ in range(depth):
        following: list[Path] = []
        for folder in level:
            looked += 1
            if looked > MOST_FOLDERS:
                return
            following += _inside(folder)
        yield from following
        level = following


def _inside(folder: Path) -> list[Path]:
    """Return the folders in a folder, without hidden ones; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []
    return [folder / name for name in names]
