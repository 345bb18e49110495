"""The report of one trained run: how good, where wrong and why, on what, with which settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison import published
from emotailor.evaluation.display import TITLES, number
from emotailor.evaluation.metrics import OVERALL
from emotailor.evaluation.tables import duration
from emotailor.models.table import find_system
from emotailor.report.figures import figure_sections
from emotailor.report.mistakes import mistakes_section
from emotailor.report.page import (
    Block,
    Cell,
    Code,
    Facts,
    Folded,
    Items,
    Page,
    Range,
    Section,
    Table,
    Text,
    Tile,
    Tiles,
)
from emotailor.report.parts import (
    data_section,
    interval,
    machine_facts,
    plain_mode,
    settings_blocks,
    shell,
    training_command,
)
from emotailor.report.subject import (
    StoredEvaluation,
    Subject,
    evaluation_of,
    open_subject,
    sentence,
)
from emotailor.training.run_folder import METRICS_FILE

HEADLINE = ("micro_f1", "accuracy", "macro_f1", "mean_average_precision")
LONG_HISTORY = 12  # epochs from which their table is folded
INTERVALS = (
    "Intervals: bootstrap, whole videos drawn with replacement; they say how the number would vary "
    "with other test samples, not with another seed. "
)


def run_page(
    run: Path,
    *,
    data: Path | None = None,
    split: str | None = None,
    device: str = "auto",
) -> tuple[Page, list[str]]:
    """Return the report of a run, and what had to be left out of it.

    Args:
        run: run or model folder.
        data: stored data set; by default the one the run was trained on. Where that is gone, what
            needs it is left out.
        split: its name; by default ``test``.
        device: to compute on.

    Raises:
        ModelError: there is no model, or it is damaged.
        DataError: data or split were given, and cannot be used.
    """
    subject = open_subject(run, data, split, device)
    evaluation, predictions = evaluation_of(subject)
    notes = [] if evaluation is None else list(evaluation.notes)
    summary: list[Block] = []
    sections: list[Section] = []
    if evaluation is not None:
        summary.append(_headline(evaluation))
        sections += [_metrics(subject, evaluation), _labels(evaluation)]
    sections += _history(subject)
    figures, more = figure_sections(subject)
    sections += figures
    notes += [note for note in more if note not in notes]
    if evaluation is not None and predictions is not None:
        sections.append(mistakes_section(subject, evaluation, predictions))
    if subject.dataset is not None:
        sections.append(data_section(subject.dataset, str(subject.data)))
    sections += [_settings(subject), _versions(subject), _reading(subject, evaluation)]
    if subject.missing or notes:
        summary.insert(0, Items([*subject.missing, *map(sentence, notes)], "warning"))
    seed = "" if subject.config is None else f", seed {subject.config.training.seed}"
    page = Page(
        f"{subject.title} on {subject.data_name}",
        f"{subject.split} split{seed}, from {run.resolve().name}",
        sections,
        summary,
    )
    return page, subject.missing


# ---------------------------------------------------------------------- how good


def _headline(evaluation: StoredEvaluation) -> Tiles:
    metrics = evaluation.metrics[evaluation.thresholds].overall()
    tiles = []
    for name in HEADLINE:
        found, value = evaluation.intervals.get(name), metrics[name]
        detail, chart = "", None
        if found is not None:
            detail = f"{100 * found.level:g} % interval {interval(found)}"
            chart = Range(found.low, found.value, found.high, (0.0, 1.0))
        tiles.append(Tile(TITLES[name], number(value), detail, chart))
    return Tiles(tiles)


def _metrics(subject: Subject, evaluation: StoredEvaluation) -> Section:
    own, others = (
        evaluation.thresholds,
        [m for m in evaluation.metrics if m != evaluation.thresholds],
    )
    header = ["metric", plain_mode(own)]
    level = next((100 * x.level for x in evaluation.intervals.values()), None)
    if level is not None:
        header.append(f"{level:g} % interval")
    header += [plain_mode(mode) for mode in others]
    setting = None if subject.dataset is None else published.published_setting(subject.dataset.card)
    paper: Mapping[str, float] = {}
    if setting is not None and subject.split == "test":
        paper = published.TABLE_2[setting].get(subject.predictor.card.system, {})
    if paper:
        header.append(f"paper, {setting}")
    values = {mode: metrics.overall() for mode, metrics in evaluation.metrics.items()}
    rows = []
    for name in OVERALL:
        row: list[str | Cell] = [TITLES[name], Cell(number(values[own][name]), strong=True)]
        if level is not None:
            row.append(interval(evaluation.intervals.get(name)))
        row += [number(values[mode][name]) for mode in others]
        if paper:
            row.append(number(paper[name]) if name in paper else "")
        rows.append(row)
    metrics = evaluation.metrics[own]
    blocks: list[Block] = [
        Table(header, rows, f"{metrics.samples:,} samples, by kind of threshold"),
        Text(
            "Thresholds were chosen on validation data. "
            + (INTERVALS if level is not None else "")
            + "Of the Hamming loss, less is better.",
            "note",
        ),
    ]
    if paper:
        blocks.append(Text(published.NOTE, "note"))
    for name, left, need in (
        ("mean_average_precision", metrics.without_average_precision, "positives"),
        ("mean_roc_auc", metrics.without_roc_auc, "positives or no negatives"),
    ):
        if left:
            why = f"{TITLES[name]} leaves out {', '.join(left)}: no {need} among these samples."
            blocks.append(Text(why, "note"))
    return Section("Metrics", blocks)


def _labels(evaluation: StoredEvaluation) -> Section:
    header = ("label", "threshold", "true", "predicted", "P", "R", "F1", "AP", "AUC")
    rows = [
        (
            name,
            *(number(label.threshold), f"{label.support:,}", f"{label.predicted:,}"),
            *(number(label.precision), number(label.recall)),
            Cell(number(label.f1), chart=Range(0.0, label.f1, label.f1, (0.0, 1.0))),
            *(number(label.average_precision), number(label.roc_auc)),
        )
        for name, label in evaluation.metrics[evaluation.thresholds].labels.items()
    ]
    title = f"Thresholds {plain_mode(evaluation.thresholds)}"
    note = "true, predicted: samples. AP: average precision. Both AP and AUC need no threshold."
    return Section("Labels", [Table(header, rows, title), Text(note, "note")])


# ---------------------------------------------------------------------- how it was trained


def _history(subject: Subject) -> list[Section]:
    file = subject.run / METRICS_FILE
    if not file.is_file():
        return []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        names = list(records[0]["train"])
        best = subject.predictor.card.selection.get("epoch")
        rows: list[Sequence[str | Cell]] = [
            (
                Cell(str(int(r["epoch"])), strong=r["epoch"] == best),
                number(float(r["valid"]["micro_f1"])),
                number(float(r["valid"]["accuracy"])),
                _loss(r["valid"]["loss"]),
                *(_loss(r["train"][name]) for name in names),
                duration(float(r["seconds"])),
            )
            for r in records
        ]
        marked = [i for i, r in enumerate(records) if r["epoch"] == best]
        seconds = float(records[-1]["seconds"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        subject.missing.append(f"{file} is damaged: the history of the training is left out.")
        return []
    if not names:
        valid = records[0]["valid"]
        text = (
            f"Fitted at once in {duration(seconds)}; on validation data micro-F1 "
            f"{number(valid['micro_f1'])}, accuracy {number(valid['accuracy'])}."
        )
        return [Section("Training", [Text(text)])]
    losses = (name.replace("_", " ") for name in names)
    header = ("epoch", "micro-F1", "Acc", "cross-entropy", *losses, "time so far")
    count = "1 epoch" if len(records) == 1 else f"{len(records)} epochs"
    text = f"{count} in {duration(seconds)}. "
    text += f"The model is that of epoch {best}, which is marked." if marked else ""
    table = Table(
        header,
        rows,
        "Micro-F1, Acc and cross-entropy on validation data; losses of training",
        marked,
    )
    shown: Block = (
        table if len(rows) <= LONG_HISTORY else Folded(f"All {len(rows)} epochs", [table])
    )
    return [Section("Training", [Text(text), shown])]


def _loss(value: Any) -> str:
    return f"{float(value):.4g}"


# ---------------------------------------------------------------------- what it is


def _settings(subject: Subject) -> Section:
    card = subject.predictor.card
    if subject.config is None:
        rows = [(key, str(value)) for key, value in card.config.items()]
        blocks: list[Block] = [
            Text("The folder does not say how it was trained; these are the model's settings."),
            Folded(f"All {len(rows)} settings", [Table(("setting", "value"), rows)]),
        ]
    else:
        blocks = settings_blocks(subject.config, aligned=card.aligned)
        command = training_command(subject.config, str(subject.run), aligned=card.aligned)
        blocks += [Text("To train it again:"), Code(command)]
    blocks += [Text("To make this page again:"), Code(_page_command(subject))]
    return Section("Settings", blocks)


def _page_command(subject: Subject) -> str:
    command = ["emotailor", "report", str(subject.run)]
    if subject.config is None or str(subject.data) != subject.config.data.path:
        command += ["--data", str(subject.data)] if subject.data is not None else []
    return shell(command + (["--split", subject.split] if subject.split != "test" else []))


def _versions(subject: Subject) -> Section:
    card = subject.predictor.card
    model = subject.predictor.model
    size = sum(p.numel() for p in model.parameters())
    size = size or sum(b.numel() for b in model.buffers() if b.is_floating_point())
    facts = [
        ("system", f"{subject.title}: {find_system(card.system).paper}"),
        ("takes", ", ".join(f"{m} ({d} features)" for m, d in subject.predictor.dims.items())),
        ("parameters", f"{size:,}"),
        ("trained with", ", ".join(f"{name} {text}" for name, text in card.versions.items())),
    ]
    if card.device is not None:
        facts.append(("trained on", card.device))
    if card.weights is not None:
        facts.append(("weights, SHA-256", card.weights.sha256))
    facts += [(f"data, {key}", str(value)) for key, value in card.data.items()]
    return Section("Model and versions", [Facts([*facts, *machine_facts()])])


def _reading(subject: Subject, evaluation: StoredEvaluation | None) -> Section:
    """What a reader must know who has nothing but this page."""
    texts = [
        "A label is predicted where its probability is strictly above its threshold. Acc: mean "
        "over samples of the number of labels that are true and predicted, over that of labels "
        "that are either. P, R and F1 are micro-averaged over all pairs of sample and label, "
        "macro-F1 is the mean over labels.",
        "P and R are as defined. The program of TAILOR's authors exchanges the two, and so may "
        "the numbers published; Acc and F1 are not affected.",
        "This is one run. How much depends on the seed, only several runs can tell.",
    ]
    if evaluation is not None:
        texts.append(
            f"Evaluated on {evaluation.data.get('name', '?')}, fingerprint "
            f"{evaluation.data.get('fingerprint', '?')}, split {evaluation.split}."
        )
    return Section("How to read this page", [Items(texts)])
