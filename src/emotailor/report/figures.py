"""The figures of a run on its report, and the paper's claims: stored, if whole, or drawn."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emotailor.errors import ConfigError, EmotailorError
from emotailor.report.page import (
    Block,
    Image,
    Items,
    Section,
    Table,
    Text,
)
from emotailor.report.subject import Subject, sentence
from emotailor.training.model_folder import find_model_folder

LARGE_SVG = 400_000  # bytes from which a smaller PNG is taken
FIGURES = {
    "figure4-losses": "Losses of every epoch (Figure 4 of the paper).",
    "figure5-discriminator": "What the modality discriminator sees (Figure 5).",
    "figure6-tsne": "Common and private representations (Figure 6).",
    "figure7-label-correlation": "Correlation of labels inside the model (Figure 7).",
    "precision-recall": "Precision and recall of each label, and where its thresholds are.",
    "thresholds": "Scores at every threshold.",
    "co-occurrence": "Which labels are predicted where a label is true.",
    "attention": "Attention of labels over modalities and time.",
}


def figure_sections(subject: Subject) -> tuple[list[Section], list[str]]:
    """The figures of the run and the claims checked with them; made where they are not there."""
    folder = subject.run / "figures"
    index = _read_index(subject, folder)
    if index is not None:
        return _show_figures(folder, index)
    if subject.part is None:
        subject.missing.append("No figures of this model are stored: they are left out.")
        return [], []
    from emotailor.figures.make import make_figures

    with tempfile.TemporaryDirectory() as temporary:
        for place in (folder, Path(temporary) / "figures"):  # the folder may be a colleague's
            try:
                make_figures(
                    subject.run, out=place, data=subject.data, split=subject.split,
                    device=subject.device,
                )  # fmt: skip
                found = json.loads((place / "index.json").read_text(encoding="utf-8"))
                return _show_figures(place, found)
            except (PermissionError, ConfigError):
                continue
            except EmotailorError as error:
                subject.missing.append(f"{sentence(error.found)} Figures are left out.")
                break
    return [], []


def _read_index(subject: Subject, folder: Path) -> dict[str, Any] | None:
    """Return what was drawn earlier; None where it was not from this model and these data."""
    file = folder / "index.json"
    try:
        index: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        card = subject.predictor.card
        wanted = card.data.get("fingerprint")
        if subject.dataset is not None:
            wanted = subject.dataset.card.fingerprint
        same = (index["system"], index["split"], index["data"]["fingerprint"]) == (
            card.system, subject.split, wanted,
        )  # fmt: skip
        model = find_model_folder(subject.run) / "model.json"
        files = [folder / Path(str(name)).name for name in index["written"]]
        whole = isinstance(index["skipped"], dict) and all(one.is_file() for one in files)
        fresh = subject.part is None or model.stat().st_mtime <= file.stat().st_mtime
        return index if same and whole and fresh else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _show_figures(folder: Path, index: Mapping[str, Any]) -> tuple[list[Section], list[str]]:
    drawn = [Path(str(name)) for name in index["written"] if Path(str(name)).suffix == ".svg"]
    blocks: list[Block] = []
    for name in drawn:
        caption = FIGURES.get(name.stem, f"{name.stem}.")
        numbers = f" The numbers are in {folder.name}/{name.stem}.json of the run folder."
        content = embedded(folder / name.name)
        blocks.append(Image(content, f"Figure {name.stem}: {caption}", caption + numbers))
    skipped = [f"{name}: {why}" for name, why in index["skipped"].items()]
    if skipped:
        blocks += [Text("Not drawn:", "note"), Items(skipped)]
    sections = [Section("Figures", blocks)] if blocks else []
    return [*sections, *_claims(folder, index)], [str(note) for note in index.get("notes", ())]


def embedded(file: Path) -> bytes:
    """Return a figure for a page: its SVG, or the PNG where the SVG is large.

    In the SVG text is text. Readers without its font have one as wide.
    """
    content = file.read_bytes()
    png = file.with_suffix(".png")
    if len(content) > LARGE_SVG and png.is_file() and png.stat().st_size < len(content):
        return png.read_bytes()
    return content.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")


def _claims(folder: Path, index: Mapping[str, Any]) -> list[Section]:
    if "claims.json" not in index["written"]:
        return []
    try:
        found = json.loads((folder / "claims.json").read_text(encoding="utf-8"))["claims"]
        words = {True: "yes", False: "no", None: "not checked"}
        rows = [
            (str(c["statement"]), words[c["holds"]], str(c["found"]), str(c["expected"]))
            for c in found
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    table = Table(("claim of the paper", "holds here", "found", "expected"), rows)
    return [Section("Claims", [table])]
