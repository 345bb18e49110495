"""The report of one trained run: how good, where wrong and why, on what, with which settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.published import published_numbers, published_setting
from emotailor.errors import ModelError
from emotailor.evaluation.display import Published, number, title_of
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.robustness import HEADER as HEADER_OF_DAMAGE
from emotailor.evaluation.robustness import robustness_cells
from emotailor.evaluation.tables import TESTED, duration, with_ends
from emotailor.models.table import find_system
from emotailor.report.calibration import calibration_section
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
    Verdict,
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
from emotailor.report.source import PageSource, open_source, results_of
from emotailor.report.verdict import (
    baseline_sentence,
    label_sentences,
    lines_of,
    score_sentence,
)
from emotailor.runs.protocols import HEADER, epochs_sentence, protocol_cells
from emotailor.runs.stored import StoredEvaluation
from emotailor.text import sentence
from emotailor.training.history import METRICS_FILE, EpochRecord
from emotailor.training.run_config import RunConfig

COMPARED = ("accuracy", "micro_f1", "mean_average_precision", "mean_roc_auc")
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
        split: name of the split; by default ``test``.
        device: device to compute on.

    Raises:
        ModelError: there is no model, or it is damaged.
        DataError: data or split were given, and cannot be used.
    """
    source = open_source(run, data, split, device)
    results = results_of(source)
    evaluation = None if results is None else results[0]
    summary: list[Block] = []
    sections: list[Section] = []
    notes: list[str] = []

    # how good
    if evaluation is not None:
        notes += evaluation.notes
        summary.append(_verdict(evaluation))
        summary.append(_headline(evaluation))
        sections.append(_metrics(source, evaluation))
        sections += _rules(evaluation)
        sections += _robustness(evaluation)
        sections.append(_labels(evaluation))
    if results is not None:
        sections.append(calibration_section(*results))

    # how it was trained, and what the model is like inside
    sections += _history(source)
    figures, notes_on_figures = figure_sections(source)
    sections += figures
    notes += [note for note in notes_on_figures if note not in notes]

    # where wrong, and on what
    if results is not None:
        sections.append(mistakes_section(source, *results))
    if source.dataset is not None:
        sections.append(data_section(source.dataset, str(source.data_path)))

    # how to make it again
    sections.append(_settings(source))
    sections.append(_versions(source))
    sections.append(_reading(evaluation))

    # last, because every part may leave something out
    warnings = [*source.missing, *map(sentence, notes)]
    if warnings:
        summary.append(Items(warnings, "warning"))

    page = Page(_title(source), _subtitle(source), sections, summary)
    return page, source.missing


def _title(source: PageSource) -> str:
    return f"{source.run.title} on {source.data_name}"


def _subtitle(source: PageSource) -> str:
    parts = [f"{source.split} split"]
    if source.config is not None:
        parts.append(f"seed {source.config.training.seed}")
    run = source.run
    parts.append(f"from {run.name if run.is_named else run.folder.resolve().name}")
    return ", ".join(parts)


# ---------------------------------------------------------------------- how good


def _verdict(evaluation: StoredEvaluation) -> Verdict:
    """Return what a reader must know who reads nothing else."""
    metrics = evaluation.metrics[evaluation.thresholds]
    found = evaluation.intervals.get(TESTED)
    baselines = {name: one.micro_f1 for name, one in evaluation.baselines.items()}
    sentences = [
        score_sentence(metrics, found, evaluation.split),
        baseline_sentence(metrics.micro_f1, baselines, evaluation.differences),
        *label_sentences(metrics.labels, metrics.samples),
    ]
    problems = [sentence(finding) for finding in evaluation.findings or ()]
    return Verdict(sentences, problems)


def _headline(evaluation: StoredEvaluation) -> Tiles:
    metrics = evaluation.metrics[evaluation.thresholds].overall()
    return Tiles([_tile(evaluation, name, metrics[name]) for name in HEADLINE])


def _tile(evaluation: StoredEvaluation, name: str, value: float | None) -> Tile:
    title = title_of(name)
    printed = number(value)
    found = evaluation.intervals.get(name)
    details = []
    if found is not None:
        details.append(f"{100 * found.level:g} % interval {interval(found)}")

    scores = {}
    for baseline, metrics in evaluation.baselines.items():
        score = metrics.overall()[name]
        if score is not None:
            scores[baseline] = score
    marks = []
    for baseline, score in lines_of(scores).items():
        marks.append(score)
        details.append(f"{baseline} {number(score)}")

    detail = "\n".join(details)
    if value is None or not details:
        return Tile(title, printed, detail)

    # without an interval the bar is as short as the dot
    low, high = (value, value) if found is None else (found.low, found.high)
    chart = Range(low, value, high, axis=(0.0, 1.0), marks=marks)
    return Tile(title, printed, detail, chart)


def _metrics(source: PageSource, evaluation: StoredEvaluation) -> Section:
    """Return all metrics under every kind of threshold, beside what was published."""
    published = _published(source)
    level = _level(evaluation)
    table = _metrics_table(evaluation, level, published)
    blocks: list[Block] = [table]

    note = "Thresholds were chosen on validation data. "
    if level is not None:
        note += INTERVALS
    note += "Of the Hamming loss, less is better."
    blocks.append(Text(note, "note"))

    if published is not None:
        blocks.append(Text(published.note, "note"))

    own = evaluation.metrics[evaluation.thresholds]
    blocks += _labels_left_out(own)
    blocks += _baselines(evaluation)
    return Section("Metrics", blocks)


def _baselines(evaluation: StoredEvaluation) -> list[Block]:
    """Return the run beside what it must beat, on the same samples; nothing without any."""
    if not evaluation.baselines:
        return []

    own = evaluation.metrics[evaluation.thresholds]
    rows = []
    for name, metrics in {"this model": own, **evaluation.baselines}.items():
        overall = metrics.overall()
        difference = evaluation.differences.get(name)
        gain = "" if difference is None else with_ends(difference)
        rows.append([name, *(number(overall[metric]) for metric in COMPARED), gain])

    titles = [title_of(metric) for metric in COMPARED]
    header = ("", *titles, f"{title_of(TESTED)}: model - this")
    return [Table(header, rows, "Beside baselines", [0])]


def _rules(evaluation: StoredEvaluation) -> list[Section]:
    """Return what the rules of other programs would report; nothing where nobody asked."""
    found = evaluation.protocols
    if found is None:
        return []

    table = Table(HEADER, protocol_cells(found), "The same training, by rule")
    note = Text(epochs_sentence(found), "note")
    return [Section("What each author's rule would have reported", [table, note])]


def _robustness(evaluation: StoredEvaluation) -> list[Section]:
    """Return how the model does on damaged samples; nothing where nobody asked."""
    found = evaluation.robustness
    if not found:
        return []

    table = Table(HEADER_OF_DAMAGE, robustness_cells(found), "The same samples, damaged")
    return [Section("With modalities missing or damaged", [table])]


def _metrics_table(
    evaluation: StoredEvaluation, level: float | None, published: Published | None
) -> Table:
    """Return a row for each metric; columns that would be empty are left out."""
    own = evaluation.thresholds
    others = [mode for mode in evaluation.metrics if mode != own]

    header = ["metric", plain_mode(own)]
    if level is not None:
        header.append(f"{level:g} % interval")
    header += [plain_mode(mode) for mode in others]
    if published is not None:
        header.append(published.title)

    values = {}
    for mode, metrics in evaluation.metrics.items():
        values[mode] = metrics.overall()

    rows = []
    for name, value in values[own].items():
        cell = Cell(number(value), strong=True)
        row: list[str | Cell] = [title_of(name), cell]
        if level is not None:
            found = evaluation.intervals.get(name)
            row.append(interval(found))

        for mode in others:
            other = values[mode].get(name)
            row.append(number(other))
        if published is not None:
            row.append(published.cell(name))
        rows.append(row)

    samples = evaluation.metrics[own].samples
    title = f"{samples:,} samples, by kind of threshold"
    return Table(header, rows, title)


def _level(evaluation: StoredEvaluation) -> float | None:
    """Return the level of the intervals in percent; None where there are none."""
    for found in evaluation.intervals.values():
        return 100 * found.level
    return None


def _published(source: PageSource) -> Published | None:
    """Return what was published of this system on these data; None where nothing was."""
    # papers report the test split
    if source.dataset is None or source.split != "test":
        return None
    setting = published_setting(source.dataset)
    if setting is None:
        return None

    system = source.run.system
    published = published_numbers(setting, system)
    return published if published.values else None


def _labels_left_out(metrics: Metrics) -> list[Block]:
    """Say which labels two of the means leave out, and why."""
    left_out = {
        "mean_average_precision": (metrics.without_average_precision, "positives"),
        "mean_roc_auc": (metrics.without_roc_auc, "positives or no negatives"),
    }

    notes: list[Block] = []
    for name, (labels, need) in left_out.items():
        if not labels:
            continue

        title = title_of(name)
        names = ", ".join(labels)
        why = f"{title} leaves out {names}: no {need} among these samples."
        notes.append(Text(why, "note"))
    return notes


def _labels(evaluation: StoredEvaluation) -> Section:
    header = ("label", "threshold", "true", "predicted", "P", "R", "F1", "AP", "AUC")
    metrics = evaluation.metrics[evaluation.thresholds]

    rows = []
    for name, label in metrics.labels.items():
        # a bar from zero: a range whose value is at its end
        bar = Range(0.0, label.f1, label.f1, (0.0, 1.0))
        row = (
            name,
            number(label.threshold),
            f"{label.support:,}",
            f"{label.predicted:,}",
            number(label.precision),
            number(label.recall),
            Cell(number(label.f1), chart=bar),
            number(label.average_precision),
            number(label.roc_auc),
        )
        rows.append(row)

    mode = plain_mode(evaluation.thresholds)
    table = Table(header, rows, f"Thresholds {mode}")
    note = "true, predicted: samples. AP: average precision. Both AP and AUC need no threshold."
    return Section("Labels", [table, Text(note, "note")])


# ---------------------------------------------------------------------- how it was trained


def _history(source: PageSource) -> list[Section]:
    """Return the losses and validation scores of every epoch; none for a bare model folder."""
    run = source.run
    try:
        history = run.history
    except ModelError:
        file = run.folder / METRICS_FILE
        source.missing.append(f"{file} is damaged: the history of the training is left out.")
        return []

    if not history:
        return []
    weights = source.predictor.model.loss_weights
    return [_training(history, weights, best=run.model.selected_epoch)]


def _training(
    history: Sequence[EpochRecord], weights: Mapping[str, float], *, best: int | None
) -> Section:
    """Return what the records of the epochs say.

    Args:
        history: the records.
        weights: part of the loss -> its weight; 1 where there is none.
        best: the epoch whose model was kept.
    """
    first = history[0]
    last = history[-1]
    losses = list(first.train)
    time = duration(last.seconds)

    # a system that is fitted at once has no losses
    if not losses:
        text = _fitted(first, time)
        return Section("Training", [Text(text)])

    # the total is what it is; of its parts only what they add to it can be compared
    scale = {name: weights.get(name, 1.0) for name in losses} | {"total": 1.0}
    rows = [_epoch(record, scale, best) for record in history]
    marked = [i for i, record in enumerate(history) if record.epoch == best]
    epochs = len(rows)
    count = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    text = f"{count} in {time}. "
    if marked:
        text += f"The model is that of epoch {best}, which is marked."

    names = [name.replace("_", " ") for name in losses]
    header = ("epoch", "micro-F1", "Acc", "cross-entropy", *names, "time so far")
    title = "Micro-F1, Acc and cross-entropy on validation data; training loss"
    if len(losses) > 1:
        title += ", and its parts times their weights"
    shown: Block = Table(header, rows, title, marked)
    if epochs > LONG_HISTORY:
        shown = Folded(f"All {epochs} epochs", [shown])
    return Section("Training", [Text(text), shown])


def _fitted(epoch: EpochRecord, time: str) -> str:
    f1 = number(epoch.score("micro_f1"))
    accuracy = number(epoch.score("accuracy"))
    return f"Fitted at once in {time}; on validation data micro-F1 {f1}, accuracy {accuracy}."


def _epoch(
    record: EpochRecord, scale: Mapping[str, float], best: int | None
) -> Sequence[str | Cell]:
    """Return the row of an epoch; ``scale`` is what each loss is shown times."""
    is_best = record.epoch == best
    row: list[str | Cell] = [Cell(str(record.epoch), strong=is_best)]
    row.append(number(record.score("micro_f1")))
    row.append(number(record.score("accuracy")))

    # losses have no common scale: four digits, whatever their size
    row.append(_loss(record.score("loss")))
    row += [_loss(scale[name] * record.train[name]) for name in scale]

    row.append(duration(record.seconds))
    return row


def _loss(value: float) -> str:
    return f"{value:.4g}"


# ---------------------------------------------------------------------- what it is


def _settings(source: PageSource) -> Section:
    if source.config is None:
        blocks = _settings_of_model(source.run.model.config)
    else:
        blocks = _settings_of_training(source, source.config)

    blocks.append(Text("To make this page again:"))
    blocks.append(Code(_page_command(source)))
    return Section("Settings", blocks)


def _settings_of_model(config: Mapping[str, Any]) -> list[Block]:
    """Return the settings of a model whose training is not known."""
    rows = [(key, str(value)) for key, value in config.items()]
    table = Table(("setting", "value"), rows)
    text = "The folder does not say how it was trained; these are the model's settings."
    return [Text(text), Folded(f"All {len(rows)} settings", [table])]


def _settings_of_training(source: PageSource, config: RunConfig) -> list[Block]:
    """Return the settings of a training, and the command that does it again."""
    aligned = source.run.model.aligned
    blocks = settings_blocks(config, aligned=aligned)

    folder = str(source.run.folder)
    command = training_command(config, folder, aligned=aligned)
    blocks.append(Text("To train it again:"))
    blocks.append(Code(command))
    return blocks


def _page_command(source: PageSource) -> str:
    """Return the command that makes this page."""
    command = ["emotailor", "report", source.run.name]

    # options only where they are not the default
    by_default = None
    if source.config is not None:
        by_default = source.config.data.path
    if source.data_path is not None:
        path = str(source.data_path)
        if path != by_default:
            command += ["--data", path]

    if source.split != "test":
        command += ["--split", source.split]
    if source.run.is_named:
        command += ["--out", "report.html"]  # nothing is written beside it
    return shell(command)


def _versions(source: PageSource) -> Section:
    card = source.run.model
    paper = find_system(card.system).paper
    takes = [f"{m} ({width} features)" for m, width in card.dims.items()]
    versions = [f"{name} {text}" for name, text in card.versions.items()]

    facts = [
        ("system", f"{source.run.title}: {paper}"),
        ("takes", ", ".join(takes)),
        ("parameters", f"{_size(source):,}"),
        ("trained with", ", ".join(versions)),
    ]

    # not every model folder says these
    if card.device is not None:
        facts.append(("trained on", card.device))
    if card.weights is not None:
        facts.append(("weights, SHA-256", card.weights.sha256))

    for key, value in card.data.items():
        name = f"data, {key}"
        facts.append((name, str(value)))

    facts += machine_facts()
    return Section("Model and versions", [Facts(facts)])


def _size(source: PageSource) -> int:
    """Return the number of parameters; those of a fitted model are buffers."""
    model = source.predictor.model
    size = sum(p.numel() for p in model.parameters())
    if size:
        return size
    return sum(b.numel() for b in model.buffers() if b.is_floating_point())


def _reading(evaluation: StoredEvaluation | None) -> Section:
    """Say what a reader must know who has nothing but this page."""
    texts = [
        "A label is predicted where its probability is strictly above its threshold. Acc: mean "
        "over samples of the number of labels that are true and predicted, over that of labels "
        "that are either. P, R and F1 are micro-averaged over all pairs of sample and label, "
        "macro-F1 is the mean over labels.",
        "P and R are as defined. The program of TAILOR's authors exchanges the two, and so may "
        "the numbers published; Acc and F1 are not affected.",
        "In the verdict, better and worse: the 95 % interval of the difference in micro-F1, on the "
        "same samples, lies above or below zero; else two are not clearly different. A label is "
        "learned where its AUC is further above one half than that of guesses in 19 of 20 cases.",
        "Lines in the small charts: label frequencies (solid) gives every sample the training "
        "frequency of each label; logistic regression (dashed) sees the mean and deviation of the "
        "features over the steps; dotted, of data with words, is the best linear model that reads "
        "them. Whatever does not beat them has not learned much.",
        "This is one run. How much depends on the seed, only several runs can tell.",
    ]
    if evaluation is not None:
        name = evaluation.data.get("name", "?")
        fingerprint = evaluation.data.get("fingerprint", "?")
        texts.append(f"Evaluated on {name}, fingerprint {fingerprint}, split {evaluation.split}.")
    return Section("How to read this page", [Items(texts)])
