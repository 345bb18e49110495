"""Figures 4 to 7 of the paper for a trained run, and what a reader asks next.

Each figure is written as ``NAME.svg`` and ``NAME.png`` beside the numbers behind it, ``NAME.json``.
A figure that the run, the system or the data cannot give is skipped with its reason.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.figures import drawing
from emotailor.figures.claims import Claim, check_claims, planted_together, render_claims
from emotailor.figures.numbers import (
    Numbers,
    SkipFigure,
    Subject,
    attention_numbers,
    co_occurrence_numbers,
    correlation_numbers,
    discriminator_numbers,
    loss_numbers,
    precision_recall_numbers,
    threshold_numbers,
    tsne_numbers,
)
from emotailor.figures.representations import (
    POINTS,
)
from emotailor.files import replacing_file, write_json
from emotailor.folders import FolderKind
from emotailor.runs.run import trained_on

INDEX_FILE = "index.json"
FORMAT = "emotailor-figures"
CLAIMS_FILE = "claims.json"
SIGNIFICANT = 6  # digits of the stored numbers


Draw = Callable[[Mapping[str, Any]], Figure]

FIGURES: dict[str, tuple[Callable[[Subject], Numbers], Draw]] = {
    "figure4-losses": (loss_numbers, drawing.losses),
    "figure5-discriminator": (discriminator_numbers, drawing.discriminator),
    "figure6-tsne": (lambda subject: tsne_numbers(subject, None), drawing.tsne),
    "figure7-label-correlation": (correlation_numbers, drawing.label_correlation),
    "precision-recall": (precision_recall_numbers, drawing.precision_recall),
    "thresholds": (threshold_numbers, drawing.thresholds),
    "co-occurrence": (co_occurrence_numbers, drawing.co_occurrence),
    "attention": (attention_numbers, drawing.attention),
}
"""Name -> numbers of a run, and the drawing of these numbers."""


def _is_index(index: Any) -> bool:
    """Return whether an ``index.json`` is one of ours."""
    if not isinstance(index, dict):
        return False
    if "format" not in index:  # as earlier versions wrote it
        return {"against", "skipped"} <= set(index)
    return bool(index["format"] == FORMAT)


FOLDER = FolderKind(
    name="folder of figures",
    marker=INDEX_FILE,
    recognises=_is_index,
    writes=(
        INDEX_FILE,
        CLAIMS_FILE,
        *(f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png", "json")),
    ),
)


@dataclass(frozen=True)
class FigureReport:
    """What was made of a run.

    Attributes:
        folder: where everything lies.
        written: files, in the order in which they were written.
        skipped: figure -> why it could not be made.
        claims: checked, for a system with TAILOR's representations.
        split: of the samples looked at.
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
        split: its name.
        device: to compute on.
        points: most steps drawn of each kind of representation, for t-SNE and the probe.
        seed: of their draw, and of t-SNE.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, it is empty, or it has other labels.
        ConfigError: the folder cannot be written to, or holds something else.
    """
    run, path = Path(run), None if data is None else Path(data)
    folder = run / "figures" if out is None else Path(out)
    FOLDER.check(folder)
    settings: dict[str, Any] = {"split": split, "device": device, "points": points, "seed": seed}
    subject = Subject(run, data=path, **settings)
    other = None
    if against is not None:
        other = Subject(Path(against), data=path or trained_on(run), **settings)
    FOLDER.mark(folder, {"format": FORMAT})
    figures = dict(FIGURES)
    figures["figure6-tsne"] = (lambda s: tsne_numbers(s, other), drawing.tsne)
    written: list[Path] = []
    skipped: dict[str, str] = {}
    for name, (compute, draw) in figures.items():
        files = [folder / f"{name}.{kind}" for kind in ("svg", "png", "json")]
        try:
            numbers = plain(compute(subject))
        except SkipFigure as reason:
            skipped[name] = str(reason)
            for file in files:  # of an earlier run, which must not be taken for this one's
                file.unlink(missing_ok=True)
            continue
        with drawing.style():
            figure = draw(numbers)
            for file in files[:2]:
                _write_bytes(file, drawing.render(figure, file.suffix[1:]))
        write_json(files[2], numbers)
        written += files
    claims, planted = _claims(subject)
    if claims:
        write_json(
            folder / CLAIMS_FILE,
            plain({"split": split, "planted": planted, "claims": [c.to_json() for c in claims]}),
        )
        written.append(folder / CLAIMS_FILE)
    else:
        (folder / CLAIMS_FILE).unlink(missing_ok=True)
    card, fingerprint = subject.predictor.card, subject.dataset.card.fingerprint
    notes = []
    if card.data.get("fingerprint") not in (None, fingerprint):
        notes.append("the data are not those the model was trained on")
    if split == "train":
        notes.append("these samples were trained on")
    write_json(
        folder / INDEX_FILE,
        {
            "format": FORMAT,
            "run": run.resolve().name,
            "system": card.system,
            "against": None if other is None else other.run.resolve().name,
            "split": split,
            "data": {"name": subject.dataset.card.name, "fingerprint": fingerprint},
            "written": [file.name for file in written],
            "skipped": skipped,
            "notes": notes,
        },
    )
    written.append(folder / INDEX_FILE)
    return FigureReport(
        folder, tuple(written), skipped, tuple(claims), split, planted, tuple(notes)
    )


def _claims(subject: Subject) -> tuple[list[Claim], bool]:
    """Check the claims; none for a system that has nothing of what they are about."""
    planted = planted_together(subject.dataset, subject.names)
    internals = subject.internals
    if not internals.verdicts and internals.correlation is None:
        return [], planted is not None
    training = subject.split_named("train_split", "train")
    found = check_claims(
        internals,
        subject.names,
        subject.probabilities,
        training_labels=subject.labels_of(training if training is not None else subject.part),
        planted=planted,
    )
    return found, planted is not None


def plain(value: Any) -> Any:
    """Return JSON values: NaN as None, other numbers to six digits."""
    if isinstance(value, Mapping):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{SIGNIFICANT}g}") if math.isfinite(value) else None
    return value


def _write_bytes(path: Path, content: bytes) -> None:
    with replacing_file(path) as temporary:
        temporary.write_bytes(content)


def render_report(report: FigureReport) -> RenderableType:
    """Return what was written, what was not and why, and the claims."""
    lines: list[RenderableType] = []
    if report.claims:
        lines.append(render_claims(report.claims, split=report.split, planted=report.planted))
    by_name: dict[str, list[str]] = {}
    for file in report.written:
        by_name.setdefault(file.stem, []).append(file.suffix[1:])
    lines.append(Text(f"in {report.folder}:", style="bold"))
    lines += [Text(f"  {name:26} {', '.join(kinds)}") for name, kinds in by_name.items()]
    lines += [
        Text(f"skipped {name}: {why}", style="yellow") for name, why in report.skipped.items()
    ]
    lines += [Text(f"note: {note}", style="yellow") for note in report.notes]
    return Group(*lines)
