"""The figures of a run on its report, and the paper's claims: stored, if whole, or drawn."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from emotailor.errors import ConfigError, DataError, EmotailorError
from emotailor.figures.store import INDEX_FILE, VERSION, FigureFolder, FigureIndex
from emotailor.report.page import (
    Block,
    Image,
    Items,
    Section,
    Table,
    Text,
)
from emotailor.report.source import PageSource
from emotailor.text import sentence
from emotailor.training.model_folder import find_model_folder
from emotailor.verified import read_settled

LARGE_SVG = 400_000  # bytes from which a smaller PNG is taken
READING = {
    "figure4-losses": "Losses of every epoch (Figure 4 of TAILOR's paper). A model that learns has "
    "a falling objective; where validation gets worse again, it learns its samples by heart.",
    "figure5-discriminator": "What the modality discriminator sees (Figure 5). By the paper all "
    "bars on the left are at the dashed line, and on the right one bar of three stands high.",
    "figure6-tsne": "Common and private representations (Figure 6). By the paper the common ones "
    "of all modalities lie mixed and the private ones apart.",
    "figure7-label-correlation": "Attention among labels (Figure 7). Purple: more than even; "
    "orange: less; pale: about even.",
    "precision-recall": "Precision and recall of each label. A curve near its dashed line is no "
    "better than guessing.",
    "reliability": "Probabilities against what is true. Below the diagonal the model is too sure, "
    "above it not sure enough; the boxes below say how many decisions there are.",
    "thresholds": "Scores at every threshold. A flat top says that the choice matters little.",
    "co-occurrence": "Which labels are predicted where a label is true. On the right, purple is "
    "predicted too often and orange too rarely.",
    "attention": "Attention of labels. It tells what the model reads from the fused sequence, "
    "not what the prediction rests on: for that see the evidence of the mistakes.",
    "explanations": "Explanations against the planted truth. Full bars are right, hatched wrong.",
}
"""Figure -> how to read it."""

HOLDS: Mapping[bool | None, str] = {True: "yes", False: "no", None: "not checked"}


def figure_sections(source: PageSource) -> tuple[list[Section], list[str]]:
    """Return the figures of a run and the claims checked with them, and notes on them.

    Figures that are stored are taken, if they are of this model; else they are drawn and stored.
    """
    folder = FigureFolder(source.run.folder / "figures")
    stored = read_settled(folder.path / INDEX_FILE, partial(_stored, source, folder))
    if stored is not None:
        return stored
    if source.part is None:
        source.missing.append("No figures of this model are stored: they are left out.")
        return [], []

    # the run may be a colleague's, where nothing may be written
    with tempfile.TemporaryDirectory() as temporary:
        elsewhere = FigureFolder(Path(temporary) / "figures")
        for place in [elsewhere] if source.run.is_named else [folder, elsewhere]:
            try:
                return _drawn(source, place)
            except (OSError, ConfigError):
                continue
            except EmotailorError as error:
                source.missing.append(f"{sentence(error.found)} Figures are left out.")
                break
    return [], []


def _stored(source: PageSource, folder: FigureFolder) -> tuple[list[Section], list[str]] | None:
    """Return the stored figures as they are now; None where they are not of this model.

    Raises:
        DataError: another process has replaced some of them meanwhile.
        OSError: likewise.
    """
    index = _stored_index(source, folder)
    if index is None:
        return None

    sections = _sections(folder, index)
    folder.check_whole(index)
    return sections


def _drawn(source: PageSource, folder: FigureFolder) -> tuple[list[Section], list[str]]:
    """Draw the figures into a folder and return them."""
    from emotailor.figures.make import make_figures

    make_figures(
        source.run.name,
        out=folder.path,
        data=source.data_path,
        split=source.split,
        device=source.device,
    )
    return _sections(folder, folder.read_index())


def _stored_index(source: PageSource, folder: FigureFolder) -> FigureIndex | None:
    """Return what was drawn earlier; None where it was not from this model and these data."""
    try:
        index = folder.read_index()
    except DataError:
        return None

    # where the data are gone, those the model was trained on count
    fingerprint = source.run.model.fingerprint
    if source.dataset is not None:
        fingerprint = source.dataset.card.fingerprint

    drawn_of = (index.system, index.split, index.data.fingerprint)
    if drawn_of != (source.run.system, source.split, fingerprint):
        return None
    if not folder.is_whole(index):
        return None

    # old figures, and those of an earlier version, are better than none
    trained_since = _trained_at(source) > folder.written_at
    is_old = trained_since or index.version < VERSION
    can_draw_again = source.part is not None
    return None if is_old and can_draw_again else index


def _trained_at(source: PageSource) -> float:
    """Return the time at which the model was written, in seconds since 1970."""
    card = find_model_folder(source.run.folder) / "model.json"
    return card.stat().st_mtime


def _sections(folder: FigureFolder, index: FigureIndex) -> tuple[list[Section], list[str]]:
    """Return the figures of a folder, the claims, and the notes on them."""
    blocks: list[Block] = [_image(folder, name) for name in index.drawn]
    blocks += not_drawn(index)

    sections = []
    if blocks:
        sections.append(Section("Figures", blocks))
    if index.has_claims:
        sections += claims_sections(folder)
    return sections, index.notes


def _image(folder: FigureFolder, name: str) -> Image:
    """Return a figure, in words for those who do not see it, and how to read it."""
    # a figure of a later version has no words here
    reading = READING.get(name, f"{name}.")
    seen = " ".join([reading, *folder.summary(name)])
    numbers = f"The numbers are in {folder.path.name}/{name}.json of the run folder."
    return Image(
        content=embedded(folder.image(name, "svg")),
        text=f"Figure {name}: {seen}",
        caption=f"{reading} {numbers}",
    )


def not_drawn(index: FigureIndex) -> list[Block]:
    """Return the figures that were skipped and why; nothing where none were."""
    if not index.skipped:
        return []
    skipped = [f"{name}: {why}" for name, why in index.skipped.items()]
    return [Text("Not drawn:", "note"), Items(skipped)]


def embedded(file: Path) -> bytes:
    """Return a figure for a page: its SVG, or the PNG where the SVG is large.

    In the SVG text is text. Readers without its font have one as wide.
    """
    content = file.read_bytes()
    if len(content) > LARGE_SVG:
        png = file.with_suffix(".png")
        if png.is_file() and png.stat().st_size < len(content):
            return png.read_bytes()

    font = b"'DejaVu Sans'"
    fallback = b"'DejaVu Sans', Verdana, sans-serif"
    return content.replace(font, fallback)


def claims_sections(folder: FigureFolder) -> list[Section]:
    """Return the claims as a section; none where none were checked, or the file is damaged."""
    try:
        stored = folder.read_claims()
    except DataError:
        return []
    if stored is None:
        return []

    header = ("claim of the paper", "holds here", "found", "expected")
    rows = []
    for claim in stored.claims:
        holds = HOLDS[claim.holds]
        rows.append((claim.statement, holds, claim.found, claim.expected))
    return [Section("Claims", [Table(header, rows)])]
