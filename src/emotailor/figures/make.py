"""Figures 4 to 7 of the paper for a trained run, and what a reader asks next.

Each figure is written as ``NAME.svg`` and ``NAME.png`` beside the numbers behind it, ``NAME.json``.
A figure that the run, the system or the data cannot give is skipped with its reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.figures import draw_inside, draw_scores, drawing
from emotailor.figures.claims import check_claims, planted_together, render_claims
from emotailor.figures.numbers import (
    Numbers,
    RunView,
    SkipFigure,
    attention_numbers,
    correlation_numbers,
    discriminator_numbers,
    loss_numbers,
    tsne_numbers,
)
from emotailor.figures.planted import explanation_numbers
from emotailor.figures.representations import POINTS
from emotailor.figures.scores import (
    co_occurrence_numbers,
    precision_recall_numbers,
    reliability_numbers,
    threshold_numbers,
)
from emotailor.figures.store import (
    IMAGES,
    Claim,
    FigureFolder,
    FigureIndex,
    IndexedData,
    plain,
)
from emotailor.runs.run import Run
from emotailor.shipped.find import beside

Compute = Callable[[RunView], Numbers]
Draw = Callable[[Mapping[str, Any]], Figure]

FIGURES: Mapping[str, tuple[Compute, Draw]] = {
    "figure4-losses": (loss_numbers, draw_inside.losses),
    "figure5-discriminator": (discriminator_numbers, draw_inside.discriminator),
    "figure6-tsne": (tsne_numbers, draw_inside.tsne),
    "figure7-label-correlation": (correlation_numbers, draw_inside.label_correlation),
    "precision-recall": (precision_recall_numbers, draw_scores.precision_recall),
    "reliability": (reliability_numbers, draw_scores.reliability),
    "thresholds": (threshold_numbers, draw_scores.thresholds),
    "co-occurrence": (co_occurrence_numbers, draw_scores.co_occurrence),
    "attention": (attention_numbers, draw_inside.attention),
    "explanations": (explanation_numbers, draw_scores.explanations),
}
"""Name -> numbers of a run, and the drawing of these numbers; names as in the store."""


@dataclass(frozen=True)
class FigureReport:
    """What was made of a run.

    Attributes:
        folder: folder of all files.
        written: files in the order of writing.
        skipped: figure -> why it could not be made.
        claims: the claims, for a system with TAILOR's representations.
        split: split of the samples looked at.
        planted: whether the data have a planted truth.
        notes: what a reader of the figures should know.
    """

    folder: Path
    written: tuple[Path, ...]
    skipped: Mapping[str, str]
    claims: tuple[Claim, ...]
    split: str
    planted: bool
    notes: tuple[str, ...]


def make_figures(
    run: str | Path,
    *,
    out: str | Path | None = None,
    against: str | Path | None = None,
    data: str | Path | None = None,
    split: str = "test",
    device: str = "auto",
    points: int = POINTS,
    seed: int = 0,
) -> FigureReport:
    """Write every figure that a trained run can give, and check the paper's claims.

    Args:
        run: run folder or model folder.
        out: folder to write to; by default ``figures`` in ``run``.
        against: a run to lay beside it in Figure 6, trained without the adversarial and the
            orthogonality terms.
        data: stored data set; by default the one the run was trained on.
        split: name of the split.
        device: device to compute on.
        points: most steps drawn of each kind of representation, for t-SNE and the probe.
        seed: seed of their draw, and of t-SNE.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, it is empty, or it has other labels.
        ConfigError: the folder cannot be written to, or holds something else.
    """
    path = None if data is None else Path(data)
    folder = FigureFolder(beside(run, "figures") if out is None else Path(out))
    folder.check()

    # everything is opened before anything is written
    settings: dict[str, Any] = {"split": split, "device": device, "points": points, "seed": seed}
    view = RunView(Run.open(run), data=path, **settings)
    if against is not None:
        same_data = path or view.run.data_path
        view.against = RunView(Run.open(against), data=same_data, **settings)

    with folder.replacing() as new:
        return _fill(new, view, folder.path)


def _fill(folder: FigureFolder, view: RunView, path: Path) -> FigureReport:
    """Write all figures into an empty folder, whose place will be ``path``; the index last."""
    written, skipped = _draw_all(view, folder)
    planted = planted_together(view.dataset, view.names)
    claims = _claims(view, planted)
    split = view.part.name
    is_planted = planted is not None
    claims_file = folder.write_claims(claims, split=split, planted=is_planted)
    if claims_file is not None:
        written.append(claims_file)

    notes = _notes(view)
    index = FigureIndex(
        run=view.folder_name,
        system=view.run.model.system,
        against=None if view.against is None else view.against.folder_name,
        split=split,
        data=IndexedData(
            name=view.dataset.card.name,
            fingerprint=view.dataset.card.fingerprint,
        ),
        written=[file.name for file in written],
        skipped=skipped,
        notes=notes,
    )
    written.append(folder.write_index(index))
    return FigureReport(
        folder=path,
        written=tuple(path / file.name for file in written),
        skipped=skipped,
        claims=tuple(claims),
        split=split,
        planted=is_planted,
        notes=tuple(notes),
    )


def _draw_all(view: RunView, folder: FigureFolder) -> tuple[list[Path], dict[str, str]]:
    """Draw every figure; return the files, and why the others were skipped."""
    written: list[Path] = []
    skipped: dict[str, str] = {}
    for name, (compute, draw) in FIGURES.items():
        try:
            found = compute(view)
        except SkipFigure as reason:
            skipped[name] = str(reason)
            continue

        # drawn from what is stored, so that it can be drawn again from the file
        numbers = plain(found)
        with drawing.style():
            figure = draw(numbers)
            images = {kind: drawing.render(figure, kind) for kind in IMAGES}
        written += folder.write_figure(name, numbers, images)
    return written, skipped


def _claims(view: RunView, planted: Any) -> list[Claim]:
    """Check the claims; none for a system that has nothing of what they are about."""
    internals = view.internals
    if not internals.verdicts and internals.correlation is None:
        return []
    training = view.split_used_as("train")
    if training is None:
        training = view.part
    return check_claims(
        internals,
        view.names,
        view.probabilities,
        training_labels=view.labels_of(training),
        planted=planted,
    )


def _notes(view: RunView) -> list[str]:
    notes = []
    trained_with = view.run.model.fingerprint
    fingerprint = view.dataset.card.fingerprint

    # not every model folder says what it was trained on
    if trained_with is not None and trained_with != fingerprint:
        notes.append("the data are not those the model was trained on")
    if view.part.name == "train":
        notes.append("these samples were trained on")
    return notes


def render_report(report: FigureReport) -> RenderableType:
    """Return what was written, what was not and why, and the claims."""
    lines: list[RenderableType] = []
    if report.claims:
        claims = render_claims(report.claims, split=report.split, planted=report.planted)
        lines.append(claims)

    # a figure is several files: a line for each figure
    kinds_of: dict[str, list[str]] = {}
    for file in report.written:
        kinds = kinds_of.setdefault(file.stem, [])
        kinds.append(file.suffix.removeprefix("."))

    lines.append(Text(f"in {report.folder}:", style="bold"))
    for name, kinds in kinds_of.items():
        files = ", ".join(kinds)
        lines.append(Text(f"  {name:26} {files}"))

    remarks = [f"skipped {name}: {why}" for name, why in report.skipped.items()]
    remarks += [f"note: {note}" for note in report.notes]
    lines += [Text(remark, style="yellow") for remark in remarks]
    return Group(*lines)
