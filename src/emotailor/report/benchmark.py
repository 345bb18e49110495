"""The report of a benchmark or of ablations: all systems in one table, and what is behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.plan import REFERENCE, side_by_side
from emotailor.comparison.results import (
    FILES,
    StoredBenchmark,
    StoredData,
    StoredRun,
    StoredSystem,
    find_benchmark,
    read_benchmark,
)
from emotailor.data.dataset import EmotionDataset
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.evaluation.baselines import ALL_LABELS
from emotailor.evaluation.calibration import Calibration, pooled_bins
from emotailor.evaluation.comparison import PairedDifference, Spread, spread_of
from emotailor.evaluation.display import number, title_of
from emotailor.evaluation.protocols import RULES
from emotailor.evaluation.tables import (
    COLUMNS,
    OF_LABELS,
    SIGN,
    TESTED,
    duration,
    short,
    signed,
    spread,
)
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import FULL, PRESETS, Preset
from emotailor.report.calibration import ERRORS, curve_table
from emotailor.report.chart import chart_of_systems
from emotailor.report.page import (
    Block,
    Cell,
    Code,
    DotPlot,
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
    departures,
    departures_from,
    machine_facts,
    plain_mode,
    settings_blocks,
    settings_options,
    shell,
)
from emotailor.report.verdict import (
    below_sentences,
    best_sentence,
    difference_sentence,
    holm,
    labels_of_systems,
    lines_of,
)
from emotailor.text import plural
from emotailor.training.run_config import RunConfig

Row = list[str | Cell]
"""A row of a table."""

LEAST_REACH = 0.05
"""Least difference that the axis of differences holds: smaller ones look small."""

ERRORS_SHOWN = {
    "expected_calibration_error": "calibration error",
    "equal_mass_error": "equal mass",
    "error_by_chance": "by chance",
    "brier_score": "Brier score",
}
"""Attributes of a calibration that are shown, with their titles."""

SKIPPED = ": skipped: "  # in a note on systems that were left out

SAME_EVERYWHERE = "P and R are as defined; the program of TAILOR's authors exchanges the two."


def benchmark_page(folder: Path) -> tuple[Page, list[str]]:
    """Return the report of a benchmark or of ablations, and what had to be left out of it.

    Raises:
        DataError: it is damaged, or it has not ended.
    """
    file = find_benchmark(folder)
    assert file is not None
    found = read_benchmark(file)
    sections, missing = benchmark_sections(folder)

    warnings = list(missing)
    failed = _count_of_failed(found)
    if failed:
        runs = "1 run" if failed == 1 else f"{failed} runs"
        warnings.append(f"{runs} failed; the numbers are of the others.")

    summary: list[Block] = [*_verdict(found)]
    if warnings:
        summary.append(Items(warnings, "warning"))
    summary.append(_headline(found))

    kind = FILES[file.name]
    title = f"{kind} on {found.data.name}"
    mode = plain_mode(found.thresholds)
    name = folder.resolve().name  # a name also for the folder "."
    subtitle = f"{found.split} split, thresholds {mode}, from {name}"

    page = Page(title, subtitle, sections, summary)
    return page, missing


def _count_of_failed(found: StoredBenchmark) -> int:
    failed = 0
    for system in found.systems.values():
        failed += sum(1 for run in system.runs if run.failed)
    return failed


def benchmark_sections(folder: Path) -> tuple[list[Section], list[str]]:
    """Return the sections of :func:`benchmark_page`, for a page of several, and what is left out.

    Raises:
        DataError: there is no benchmark, it is damaged, or it has not ended.
    """
    file = find_benchmark(folder)
    if file is None:
        raise DataError(f"no benchmark at {folder}", expected=f"a folder with {' or '.join(FILES)}")
    found = read_benchmark(file)
    data, missing, dataset = _data(found)
    chart = chart_of_systems(found, folder, dataset, lines_of(_baselines(found)))
    sections = [
        _results(found, chart),
        *_differences(found),
        *_published(found),
        *_rules(found),
        *_labels(found),
        *_calibration(found),
        _costs(found),
        *_problems(found),
        _runs(found),
        data,
        _settings(found),
        _again(found, folder, file),
        _notes(found),
    ]
    return sections, missing


# ---------------------------------------------------------------------- numbers


def _tested(found: StoredBenchmark) -> dict[str, StoredSystem]:
    """Return the systems of which at least one run was tested."""
    return {name: system for name, system in found.systems.items() if system.summary is not None}


def _mean(system: StoredSystem, metric: str) -> float | None:
    """Return the mean of a metric over the runs; None where there is none."""
    if system.summary is None or metric not in system.summary.overall:
        return None
    return system.summary.overall[metric].mean


def _baselines(found: StoredBenchmark) -> dict[str, float]:
    """Return the score of each baseline on the same samples."""
    scores = {name: one.metrics.micro_f1 for name, one in found.baselines.items()}

    # to predict everything is no system: the frequencies say more of the labels
    scores.pop(ALL_LABELS, None)
    return scores


def _verdict(found: StoredBenchmark) -> list[Verdict]:
    """Return what a reader must know who reads nothing else; nothing where nothing was tested."""
    best = _best(found)
    if best is None:
        return []

    scores = {}
    for system in _tested(found).values():
        mean = _mean(system, TESTED)
        if mean is not None:
            scores[system.title] = mean
    baselines = _baselines(found)
    sentences = [best_sentence(best.title, scores[best.title], len(scores), baselines)]

    reference = _reference(found)
    differences = {}
    for system in _tested(found).values():
        if TESTED in system.minus_reference:
            differences[system.title] = system.minus_reference[TESTED]
    if reference is not None and differences:
        sentences.append(difference_sentence(reference.title, differences))
    sentences.append(labels_of_systems(_best_of_labels(found)))

    problems = below_sentences(scores, baselines)
    if found.test is not None and found.test.weak and reference is not None:
        problems.append(
            f"{reference.title}, with which the others are compared, does not beat what needs no "
            "model: a small p says little."
        )
    return [Verdict(sentences, problems)]


def _best_of_labels(found: StoredBenchmark) -> dict[str, tuple[str, float]]:
    """Return for each label the system with the best F1, and that F1."""
    tested = _tested(found)
    best: dict[str, tuple[str, float]] = {}
    for name in _label_names(tested):
        for system in tested.values():
            f1 = _of_label(system, name, "f1")
            if f1 is None:
                continue
            if name not in best or f1.mean > best[name][1]:
                best[name] = (system.title, f1.mean)
    return best


def _headline(found: StoredBenchmark) -> Tiles:
    """Return the best score, that of the reference, and how much was tested."""
    tiles: list[Tile] = []
    score = title_of(TESTED)
    best = _best(found)
    if best is not None:
        tiles.append(_score_tile(f"best {score}", best))

    # a reference that is the best system has its tile already
    reference = _reference(found)
    if reference is not None and reference is not best:
        tiles.append(_score_tile(f"{score} of the reference", reference))

    planned = 0
    done = 0
    for system in found.systems.values():
        planned += len(system.runs)
        done += system.done

    tested = len(_tested(found))
    tiles.append(Tile("systems", f"{tested} of {len(found.systems)}", "tested"))
    tiles.append(Tile("runs", f"{done} of {planned}", "tested"))
    return Tiles(tiles)


def _reference(found: StoredBenchmark) -> StoredSystem | None:
    """Return the system that the others are compared with; None where it was not tested."""
    if found.test is None:
        return None
    return _tested(found).get(found.test.reference)


def _best(found: StoredBenchmark) -> StoredSystem | None:
    """Return the system with the best score; None where none was tested."""
    ranked = []
    for name, system in _tested(found).items():
        mean = _mean(system, TESTED)
        if mean is not None:
            ranked.append((mean, name))
    if not ranked:
        return None
    _, name = max(ranked)
    return found.systems[name]


def _score_tile(title: str, system: StoredSystem) -> Tile:
    assert system.summary is not None
    score = system.summary.overall[TESTED]
    detail = system.title
    if score.std is not None:
        detail += f" ± {short(score.std)}"
    return Tile(title, short(score.mean), detail)


def _results(found: StoredBenchmark, chart: DotPlot | None) -> Section:
    columns = _columns(found)
    best = {metric: _best_in_column(found, metric) for metric in columns}

    rows = []
    for system in found.systems.values():
        planned = len(system.runs)
        runs = f"{system.done}/{planned}" if planned else ""
        title = f"{system.title} {SIGN}" if system.below else system.title
        row: Row = [title, runs]
        if system.summary is None:
            row += _row_of_status(system, len(columns))
        else:
            row += _row_of_scores(system.summary.overall, best)
        rows.append(row)

    # below the systems what they must beat; marked, so that nobody takes it for one of them
    marked = []
    for name, baseline in found.baselines.items():
        marked.append(len(rows))
        values = baseline.metrics.overall()
        rows.append([name, "", *(_baseline_cell(values.get(metric)) for metric in columns)])

    titles = [title_of(metric) for metric in columns]
    header = ["system", "runs", *titles]
    table = Table(header, rows, "All systems on the same samples", marked)

    note = "Mean ± standard deviation (n - 1) over runs; the best of a column is bold."
    if found.baselines:
        note += f" Shaded: baselines. {SIGN} a baseline is better, in micro-F1, mAP or mean AUC."
    blocks: list[Block] = [table, Text(note, "note")]
    if chart is not None:
        blocks.insert(0, chart)
    return Section("Results", blocks)


def _baseline_cell(value: float | None) -> str:
    return "" if value is None else short(value)


def _row_of_status(system: StoredSystem, columns: int) -> Row:
    """Return why a system has no scores, in the first of its columns."""
    status = Cell(system.status, quiet=True)
    empty = [""] * (columns - 1)
    return [status, *empty]


def _row_of_scores(overall: Mapping[str, Spread], best: Mapping[str, str]) -> Row:
    """Return the scores of a system, in the order of ``best``: metric -> best mean."""
    row: Row = []
    for metric, best_mean in best.items():
        value = overall.get(metric)
        is_best = False
        if value is not None:
            # compared as printed: what prints alike is equally good
            is_best = short(value.mean) == best_mean

        cell = Cell(spread(value), strong=is_best)
        row.append(cell)
    return row


def _columns(found: StoredBenchmark) -> list[str]:
    """Return the metrics of a table, those of others last."""
    return [*COLUMNS, *found.metrics]


def _best_in_column(found: StoredBenchmark, metric: str) -> str:
    """Return the best mean as it is printed: what prints alike is equally good."""
    means = []
    for system in found.systems.values():
        mean = _mean(system, metric)
        if mean is not None:
            means.append(mean)

    if not means:
        return ""
    return short(max(means))


def _differences(found: StoredBenchmark) -> list[Section]:
    """Return the paired tests against the reference, one table for each metric."""
    test = found.test
    if test is None or test.reference not in found.systems:
        return []

    reference = found.systems[test.reference].title
    by_metric: dict[str, dict[str, PairedDifference]] = {}
    for metric in (TESTED, "accuracy", "macro_f1"):
        for system in found.systems.values():
            if metric in system.minus_reference:
                of_metric = by_metric.setdefault(metric, {})
                of_metric[system.title] = system.minus_reference[metric]
    if not by_metric:
        return []

    # one axis for all tables, as all are differences of scores
    axis = _axis_of([one for of_metric in by_metric.values() for one in of_metric.values()])
    tables: list[Block] = []
    for metric, differences in by_metric.items():
        title = f"{title_of(metric)} minus that of {reference}"
        tables.append(_difference_table(differences, title, axis))

    note = (
        f"Paired bootstrap, {test.resamples:,} resamples of whole videos; p is two-sided. The "
        "last column corrects it for the number of systems (Holm): below .05 one may speak of a "
        "difference. A small p says that two systems differ on such samples, not that either is "
        "good, and nothing of other seeds."
    )
    first, *others = tables
    blocks: list[Block] = [first, Text(note, "note")]
    if others:
        blocks.append(Folded("The same for other metrics", others))
    return [Section(f"Difference from {reference}", blocks)]


def _axis_of(differences: Sequence[PairedDifference]) -> tuple[float, float]:
    """Return an axis for all differences, with zero in its middle."""
    reach = LEAST_REACH
    for found in differences:
        reach = max(reach, abs(found.low), abs(found.high))
    return -reach, reach


def _difference_table(
    differences: Mapping[str, PairedDifference], title: str, axis: tuple[float, float]
) -> Table:
    corrected = holm({name: found.p_value for name, found in differences.items()})
    rows = []
    for name, found in differences.items():
        chart = Range(found.low, found.value, found.high, axis, zero=0.0)
        difference = Cell(signed(found.value), chart=chart)
        low = signed(found.low)
        high = signed(found.high)
        p_value = f"{found.p_value:.4f}"
        rows.append((name, difference, f"{low} to {high}", p_value, f"{corrected[name]:.4f}"))

    # all intervals have one level
    first = next(iter(differences.values()))
    level = 100 * first.level
    header = ("system", "difference", f"{level:g} % interval", "p", "p, corrected")
    return Table(header, rows, title)


def _published(found: StoredBenchmark) -> list[Section]:
    """Return what was measured beside what was published; nothing where nothing was."""
    published: set[str] = set()
    for system in found.systems.values():
        published.update(system.published)

    metrics = [metric for metric in COLUMNS if metric in published]
    if not metrics:
        return []

    header = ["system"]
    for metric in metrics:
        header += [title_of(metric), "paper"]

    rows = []
    for system in found.systems.values():
        row: Row = [system.title]
        for metric in metrics:
            row.append(_measured_cell(system, metric))
            row.append(_published_cell(system, metric))
        rows.append(row)

    title = "Measured, published"
    if found.paper:
        title = f"Measured here and published ({found.paper})"
    blocks: list[Block] = [Table(header, rows, title)]

    # of the notes, those on where the published numbers are from
    notes = [note for note in found.notes if note.startswith(("Paper:", "This is not the"))]
    blocks += [Text(note, "note") for note in notes]
    return [Section("Published numbers", blocks)]


def _measured_cell(system: StoredSystem, metric: str) -> str | Cell:
    mean = _mean(system, metric)
    return "" if mean is None else Cell(short(mean), strong=True)


def _published_cell(system: StoredSystem, metric: str) -> str:
    value = system.published.get(metric)
    return "" if value is None else short(value)


def _rules(found: StoredBenchmark) -> list[Section]:
    """Return what the rule of each author would have reported; nothing where it was not kept."""
    rows = []
    for system in _tested(found).values():
        kept = [run.protocols for run in system.runs if run.metrics]
        every = [one for one in kept if one is not None]
        if len(every) < len(kept):
            continue

        row: Row = [system.title]
        for letter in RULES:
            score = spread_of([one.rules[letter].micro_f1 for one in every])
            row.append(Cell(spread(score), strong=letter == system.rule))
        rows.append(row)
    if not rows:
        return []

    title = f"{title_of(TESTED)} by rule; that of the system's authors is bold"
    table = Table(("system", *RULES), rows, title)
    meant = [f"{letter}: {rule.title}" for letter, rule in RULES.items()]
    note = (
        f"{'; '.join(meant)}. All are of the same trainings. Rules c and d choose on the samples "
        "that they report: no estimate of anything."
    )
    return [Section("What each author's rule would have reported", [table, Text(note, "note")])]


def _labels(found: StoredBenchmark) -> list[Section]:
    """Return F1, AP and AUC of each label; nothing where no run was tested."""
    tested = _tested(found)
    names = _label_names(tested)
    if not names:
        return []

    blocks: list[Block] = []
    for metric, title in {"f1": "F1", **OF_LABELS}.items():
        blocks.append(_label_table(found, names, metric, f"{title} of each label"))
    return [Section("Labels", blocks)]


def _label_table(found: StoredBenchmark, names: Sequence[str], metric: str, title: str) -> Table:
    """Return one metric of each label, of all systems and baselines."""
    tested = _tested(found)
    best = {name: _best_of_label(tested, name, metric) for name in names}
    rows: list[Row] = []
    for system in tested.values():
        cells = [_label_cell(_of_label(system, name, metric), best[name]) for name in names]
        rows.append([system.title, *cells])

    marked = []
    for baseline, one in found.baselines.items():
        marked.append(len(rows))
        values = [getattr(one.metrics.labels[name], metric) for name in names]
        rows.append([baseline, *map(_baseline_cell, values)])
    return Table(("system", *names), rows, title, marked)


def _calibration(found: StoredBenchmark) -> list[Section]:
    """Return how far the probabilities can be believed; nothing where that was not measured."""
    measured: dict[str, list[Calibration]] = {}
    for system in _tested(found).values():
        measured[system.title] = [run.calibration for run in system.runs if run.calibration]
    for name, baseline in found.baselines.items():
        measured[name] = [baseline.calibration] if baseline.calibration else []

    rows = []
    curves: list[Block] = []
    for title, runs in measured.items():
        if not runs:
            continue
        rows.append([title, *(_error_cell(runs, error) for error in ERRORS_SHOWN)])
        curves.append(curve_table(pooled_bins(runs), title))
    if not rows:
        return []

    table = Table(("system", *ERRORS_SHOWN.values()), rows, "Mean over the runs; less is better")
    blocks: list[Block] = [table, Text(ERRORS, "note")]
    blocks.append(Folded("Reliability curves, the decisions of all runs together", curves))
    return [Section("Calibration", blocks)]


def _error_cell(runs: Sequence[Calibration], error: str) -> str:
    return spread(spread_of([getattr(run, error) for run in runs]))


def _label_cell(value: Spread | None, best: str) -> Cell:
    """Return a metric of a label; bold where it prints like the best, unless all are zero."""
    if value is None:
        return Cell(spread(None))
    is_best = value.mean > 0 and number(value.mean) == best
    return Cell(spread(value), strong=is_best)


def _label_names(tested: Mapping[str, StoredSystem]) -> list[str]:
    for system in tested.values():
        if system.summary is not None:
            return list(system.summary.labels)
    return []


def _of_label(system: StoredSystem, label: str, metric: str) -> Spread | None:
    """Return a metric of a label over the runs; None where there is none."""
    if system.summary is None:
        return None
    return system.summary.labels.get(label, {}).get(metric)


def _best_of_label(tested: Mapping[str, StoredSystem], label: str, metric: str) -> str:
    """Return the best value of a label as it is printed; empty where it is defined in no run."""
    values = [_of_label(system, label, metric) for system in tested.values()]
    printed = [number(value.mean) for value in values if value is not None]
    return max(printed, default="")


def _costs(found: StoredBenchmark) -> Section:
    rows = [_cost_row(system) for system in _tested(found).values()]
    header = ("system", "training", "parameters", "epochs", "epochs selected")
    table = Table(header, rows, "What training took")

    note = "Training: mean of a run, validation included."
    at_once = found.jobs.get("at_once")
    if at_once is not None:
        threads = found.jobs.get("threads")
        each = "1 thread" if threads == 1 else f"{threads} threads"
        beside = side_by_side(at_once, found.jobs.get("gpus", 0))
        note += f" {beside}, {each} each: runs side by side share the machine."

    return Section("Costs", [table, Text(note, "note")])


def _cost_row(system: StoredSystem) -> Row:
    """Return what the runs of a system took; a cell is empty where nothing is known."""
    time = ""
    if system.seconds is not None:
        time = duration(system.seconds)

    parameters = ""
    if system.parameters is not None:
        parameters = f"{system.parameters:,}"

    epochs = []
    selected = []
    for run in system.runs:
        if run.epochs is not None:
            epochs.append(str(run.epochs))
        if run.selected_epoch is not None:
            selected.append(str(run.selected_epoch))

    return [system.title, time, parameters, ", ".join(epochs), ", ".join(selected)]


def _problems(found: StoredBenchmark) -> list[Section]:
    """Return the runs that failed and the systems that were skipped; nothing where none were."""
    failed = []
    skipped = []
    for system in found.systems.values():
        title = system.title
        if system.skipped:
            skipped.append((title, "skipped", system.skipped, ""))

        for run in system.runs:
            if run.failed:
                what = f"seed {run.seed} failed"
                why = " ".join(run.failed.split())  # in one line
                failed.append((title, what, why, run.log))

    rows = [*failed, *skipped]
    if not rows:
        return []
    table = Table(("system", "what", "why", "log"), rows)
    return [Section("Failed and skipped", [table])]


def _runs(found: StoredBenchmark) -> Section:
    columns = _columns(found)
    titles = [title_of(metric) for metric in columns]
    header = ["run", *titles, "training", "notes"]

    rows = []
    for system in found.systems.values():
        for run in system.runs:
            name = f"{system.title}, seed {run.seed}"
            scores = _scores_of(run, found.thresholds, columns)
            time = "" if run.seconds is None else duration(run.seconds)
            notes = "failed" if run.failed else "; ".join(run.notes)
            rows.append([name, *scores, time, notes])

    # folded: a benchmark may have hundreds of runs
    table = Table(header, rows)
    folded = Folded(f"All {len(rows)} runs", [table])
    return Section("Runs", [folded])


def _scores_of(run: StoredRun, thresholds: ThresholdMode, columns: Sequence[str]) -> list[str]:
    """Return the scores of a run, empty where there are none."""
    metrics = run.metrics.get(thresholds)
    if metrics is None:
        return [""] * len(columns)

    values = metrics.overall()
    scores = []
    for metric in columns:
        score = ""
        if metric in values:
            score = number(values[metric])
        scores.append(score)
    return scores


# ---------------------------------------------------------------------- what stands behind them


def _data(found: StoredBenchmark) -> tuple[Section, list[str], EmotionDataset | None]:
    """Return the card of the data set and the data set; a short one and None where it is gone."""
    stored = found.data
    try:
        dataset = open_dataset(stored.path)
        if dataset.card.fingerprint != stored.fingerprint:
            raise DataError(f"{stored.path} holds other data by now")

    except DataError as error:
        missing = f"The card of the data set is short: {error.found}."
        return _short_card(stored), [missing], None
    return data_section(dataset, stored.path), [], dataset


def _short_card(data: StoredData) -> Section:
    """Return what the benchmark itself says about its data."""
    sequences = "word-aligned" if data.aligned else "unaligned"
    facts = [
        ("name", data.name),
        ("path", data.path),
        ("fingerprint", data.fingerprint),
        ("sequences", sequences),
    ]

    for split, count in data.samples.items():
        name = f"samples, {split}"
        facts.append((name, f"{count:,}"))
    return Section("Data set", [Facts(facts)])


def _config(system: StoredSystem) -> RunConfig | None:
    """Return the settings of the first run; None where this version does not know them."""
    if system.config is None:
        return None
    try:
        return RunConfig.parse(system.config)
    except ConfigError:
        return None


def _settings(found: StoredBenchmark) -> Section:
    blocks: list[Block] = []
    aligned = found.data.aligned
    for name, system in found.systems.items():
        title = f"{system.title} ({name})"
        config = _config(system)
        if config is not None:
            block = _known_settings(title, system, config, aligned=aligned)
            blocks.append(block)

        # a system of others: its settings as they are stored
        elif system.config is not None:
            text = json.dumps(system.config, indent=2, ensure_ascii=False)
            blocks.append(Folded(title, [Code(text)]))

    if not blocks:
        blocks.append(Text("No system was trained."))
    return Section("Settings", blocks)


def _known_settings(
    title: str, system: StoredSystem, config: RunConfig, *, aligned: bool
) -> Folded:
    from_preset = departures(config, aligned=aligned)
    changed = len(from_preset.values)
    verb = "departs" if changed == 1 else "depart"
    title = f"{title}: {plural(changed, 'setting')} {verb} from the preset"

    blocks: list[Block] = []
    if system.paper:
        blocks.append(Text(system.paper, "note"))
    blocks += settings_blocks(config, aligned=aligned)
    return Folded(title, blocks)


def _again(found: StoredBenchmark, folder: Path, file: Path) -> Section:
    blocks: list[Block] = []
    command = benchmark_command(found, str(folder))
    if command is None:
        where = f"{folder.name}/SYSTEM/seedN.json"
        text = f"The settings of each run are in {where}, for --config."
        blocks.append(Text(text))
    else:
        blocks.append(Text("To train and test all of it again:"))
        blocks.append(Code(command))

    # the benchmark may be of another version than the page
    made_with = ("benchmark made with", f"emotailor {found.emotailor}")
    facts = [made_with, *machine_facts()]
    blocks.append(Facts(facts))

    note = f"Everything on this page is in {file.name} of the folder."
    blocks.append(Text(note, "note"))
    return Section("Versions and commands", blocks)


def benchmark_command(found: StoredBenchmark, out: str) -> str | None:
    """Return the command that does it all again; None where options cannot say it."""
    configs = {}
    for name, system in found.systems.items():
        config = _config(system)
        if config is not None:
            configs[name] = config
        elif system.config is not None:  # a system of others, whose settings are not known here
            return None

    if found.is_ablation:  # the variants switch what is theirs
        configs = {name: config for name, config in configs.items() if name == FULL}
    if not configs:
        return None

    preset, changes = _nearest_preset(found, configs)
    options = settings_options(changes[FULL]) if found.is_ablation else _shared_options(changes)
    if options is None:
        return None

    first = next(iter(configs.values()))  # the first seed is the same in all
    command = _ablate(found, first) if found.is_ablation else _benchmark(found)
    seeds = max(len(system.runs) for system in found.systems.values())
    command += ["--seeds", str(seeds)]
    command += ["--seed", str(first.training.seed)]
    command += ["--preset", preset]
    command += ["--thresholds", found.thresholds]
    command += ["--split", found.split]
    command += options
    command += ["--out", f"{out}-again"]
    return shell(command)


def _benchmark(found: StoredBenchmark) -> list[str]:
    names = []
    for name, system in found.systems.items():
        # a system of others is named by its code
        names.append(system.code or name)

    command = ["emotailor", "benchmark"]
    command += ["--data", found.data.path]
    command += ["--models", ",".join(names)]
    return command


def _ablate(found: StoredBenchmark, config: RunConfig) -> list[str]:
    command = ["emotailor", "ablate"]
    command += ["--data", found.data.path]

    if config.system != REFERENCE:  # the default
        full = found.systems[FULL]
        command += ["--model", full.code or config.system]

    variants = ",".join(found.systems)
    command += ["--variants", variants]
    return command


Changes = dict[str, dict[str, Any]]


def _nearest_preset(
    found: StoredBenchmark, configs: Mapping[str, RunConfig]
) -> tuple[Preset, Changes]:
    """Return the preset that needs the fewest changes, and the changes of each system."""
    candidates: list[tuple[Preset, Changes]] = []
    for preset in PRESETS:
        changes = {}
        for name, config in configs.items():
            changes[name] = _changes(config, preset, found)
        candidates.append((preset, changes))

    return min(candidates, key=_number_of_changes)


def _number_of_changes(candidate: tuple[Preset, Changes]) -> int:
    _, changes = candidate
    return sum(len(values) for values in changes.values())


def _changes(config: RunConfig, preset: Preset, found: StoredBenchmark) -> dict[str, Any]:
    from_preset = departures_from(config, preset, aligned=found.data.aligned)
    return {key: value for key, (value, _) in from_preset.values.items()}


def _shared_options(given: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Return ``--set`` once for all systems where they agree, and else for each.

    None where a value cannot be given so.
    """
    shared = _shared(list(given.values()))
    options = settings_options(shared)
    if options is None:
        return None

    for name, values in given.items():
        own = {key: value for key, value in values.items() if key not in shared}
        more = settings_options(own, f"{name}:")
        if more is None:
            return None
        options += more
    return options


def _shared(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all systems have alike; those of a model are never shared."""
    first, *others = given
    shared = {}
    for key, value in first.items():
        if key.startswith("model."):
            continue

        everywhere = all(key in values and values[key] == value for values in others)
        if everywhere:
            shared[key] = value
    return shared


def _notes(found: StoredBenchmark) -> Section:
    # systems that were skipped have a table of their own
    texts = [note for note in found.notes if SKIPPED not in note]
    texts.append(SAME_EVERYWHERE)
    return Section("How to read this page", [Items(texts)])
