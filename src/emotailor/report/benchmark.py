"""The report of a benchmark or of ablations: all systems in one table, and what is behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.plan import REFERENCE
from emotailor.comparison.results import (
    FILES,
    StoredBenchmark,
    StoredData,
    StoredRun,
    StoredSystem,
    find_benchmark,
    read_benchmark,
)
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.evaluation.comparison import PairedDifference, Spread
from emotailor.evaluation.display import number, title_of
from emotailor.evaluation.tables import (
    COLUMNS,
    TESTED,
    duration,
    short,
    signed,
    spread,
)
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.models.system import FULL, Preset
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
    PRESETS,
    data_section,
    departures,
    departures_from,
    machine_facts,
    plain_mode,
    settings_blocks,
    settings_options,
    shell,
)
from emotailor.training.run_config import RunConfig

Row = list[str | Cell]
"""A row of a table."""

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
    failed = [run for system in found.systems.values() for run in system.runs if run.failed]
    if failed:
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
        warnings.append(f"{runs} failed; the numbers are of the others.")

    summary: list[Block] = []
    if warnings:
        summary.append(Items(warnings, "warning"))
    summary.append(_headline(found))

    title = f"{FILES[file.name]} on {found.data.name}"
    mode = plain_mode(found.thresholds)
    subtitle = f"{found.split} split, thresholds {mode}, from {folder.resolve().name}"
    return Page(title, subtitle, sections, summary), missing


def benchmark_sections(folder: Path) -> tuple[list[Section], list[str]]:
    """Return the sections of :func:`benchmark_page`, for a page of several, and what is left out.

    Raises:
        DataError: there is no benchmark, it is damaged, or it has not ended.
    """
    file = find_benchmark(folder)
    if file is None:
        raise DataError(f"no benchmark at {folder}", expected=f"a folder with {' or '.join(FILES)}")
    found = read_benchmark(file)
    data, missing = _data(found)
    sections = [
        _results(found),
        *_differences(found),
        *_published(found),
        *_labels(found),
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


def _headline(found: StoredBenchmark) -> Tiles:
    """Return the best score, that of the reference, and how much was tested."""
    tested = _tested(found)
    planned = sum(len(system.runs) for system in found.systems.values())
    done = sum(system.done for system in found.systems.values())
    tiles = [
        Tile("systems", f"{len(tested)} of {len(found.systems)}", "tested"),
        Tile("runs", f"{done} of {planned}", "tested"),
    ]

    best = _best(found)
    if best is None:
        return Tiles(tiles)
    scores = [_score_tile(f"best {title_of(TESTED)}", best)]
    reference = tested.get(found.test.reference) if found.test else None
    if reference is not None and reference is not best:
        scores.append(_score_tile(f"{title_of(TESTED)} of the reference", reference))
    return Tiles([*scores, *tiles])


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


def _results(found: StoredBenchmark) -> Section:
    columns = _columns(found)
    best = {metric: _best_in_column(found, metric) for metric in columns}
    rows = []
    for system in found.systems.values():
        runs = f"{system.done}/{len(system.runs)}" if system.runs else ""
        row: Row = [system.title, runs]
        if system.summary is None:
            empty = [""] * (len(columns) - 1)
            rows.append([*row, Cell(system.status, quiet=True), *empty])
            continue
        for metric in columns:
            value = system.summary.overall.get(metric)
            is_best = value is not None and short(value.mean) == best[metric]
            row.append(Cell(spread(value), strong=is_best))
        rows.append(row)

    header = ["system", "runs", *map(title_of, columns)]
    table = Table(header, rows, "All systems on the same samples")
    note = "Mean ± standard deviation (n - 1) over runs; the best of a column is bold."
    return Section("Results", [table, Text(note, "note")])


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
    return short(max(means)) if means else ""


def _differences(found: StoredBenchmark) -> list[Section]:
    """Return the paired tests against the reference, one table for each metric."""
    if found.test is None or found.test.reference not in found.systems:
        return []
    reference = found.systems[found.test.reference].title
    tables: list[Block] = []
    for metric in (TESTED, "accuracy", "macro_f1"):
        differences = {
            system.title: system.minus_reference[metric]
            for system in found.systems.values()
            if metric in system.minus_reference
        }
        if differences:
            title = f"{title_of(metric)} minus that of {reference}"
            tables.append(_difference_table(differences, title))
    if not tables:
        return []

    note = (
        f"Paired bootstrap, {found.test.resamples:,} resamples of whole videos; p is two-sided, "
        "not corrected for the number of comparisons, and does not cover other seeds."
    )
    first, *others = tables
    blocks: list[Block] = [first, Text(note, "note")]
    if others:
        blocks.append(Folded("The same for other metrics", others))
    return [Section(f"Difference from {reference}", blocks)]


def _difference_table(differences: Mapping[str, PairedDifference], title: str) -> Table:
    # one axis for all rows, zero in its middle
    ends = [end for found in differences.values() for end in (found.low, found.high)]
    reach = max(abs(end) for end in ends)

    rows = []
    level = 0.0
    for name, found in differences.items():
        level = level or 100 * found.level
        chart = Range(found.low, found.value, found.high, (-reach, reach), 0.0)
        rows.append(
            (
                name,
                Cell(signed(found.value), chart=chart),
                f"{signed(found.low)} to {signed(found.high)}",
                f"{found.p_value:.4f}",
            )
        )
    return Table(("system", "difference", f"{level:g} % interval", "p"), rows, title)


def _published(found: StoredBenchmark) -> list[Section]:
    """Return what was measured beside what was published; nothing where nothing was."""
    systems = found.systems.values()
    published = {metric for system in systems for metric in system.published}
    metrics = [metric for metric in COLUMNS if metric in published]
    if not metrics:
        return []

    header = ["system"]
    for metric in metrics:
        header += [title_of(metric), "paper"]
    rows = []
    for system in systems:
        row: Row = [system.title]
        for metric in metrics:
            row += [_measured_cell(system, metric), _published_cell(system, metric)]
        rows.append(row)

    title = "Measured, published"
    if found.paper:
        title = f"Measured here and published ({found.paper})"
    notes = [note for note in found.notes if note.startswith(("Paper:", "This is not the"))]
    small = [Text(note, "note") for note in notes]
    return [Section("Published numbers", [Table(header, rows, title), *small])]


def _measured_cell(system: StoredSystem, metric: str) -> str | Cell:
    mean = _mean(system, metric)
    return "" if mean is None else Cell(short(mean), strong=True)


def _published_cell(system: StoredSystem, metric: str) -> str:
    value = system.published.get(metric)
    return "" if value is None else short(value)


def _labels(found: StoredBenchmark) -> list[Section]:
    """Return the F1 of each label; nothing where no run was tested."""
    tested = _tested(found)
    names = _label_names(tested)
    if not names:
        return []
    best = {name: _best_of_label(tested, name) for name in names}
    rows = []
    for system in tested.values():
        row: Row = [system.title]
        for name in names:
            value = _label_f1(system, name)
            is_best = value is not None and value.mean > 0 and number(value.mean) == best[name]
            row.append(Cell(spread(value), strong=is_best))
        rows.append(row)
    return [Section("Labels", [Table(("system", *names), rows, "F1 of each label")])]


def _label_names(tested: Mapping[str, StoredSystem]) -> list[str]:
    for system in tested.values():
        if system.summary is not None:
            return list(system.summary.labels)
    return []


def _label_f1(system: StoredSystem, label: str) -> Spread | None:
    """Return the F1 of a label over the runs; None where there is none."""
    if system.summary is None:
        return None
    return system.summary.labels.get(label, {}).get("f1")


def _best_of_label(tested: Mapping[str, StoredSystem], label: str) -> str:
    """Return the best F1 of a label as it is printed."""
    values = [_label_f1(system, label) for system in tested.values()]
    printed = [number(value.mean) for value in values if value is not None]
    return max(printed)


def _costs(found: StoredBenchmark) -> Section:
    rows = []
    for system in _tested(found).values():
        epochs = [str(run.epochs) for run in system.runs if run.epochs is not None]
        chosen = [run.selected_epoch for run in system.runs if run.selected_epoch is not None]
        rows.append(
            (
                system.title,
                "" if system.seconds is None else duration(system.seconds),
                "" if system.parameters is None else f"{system.parameters:,}",
                ", ".join(epochs),
                ", ".join(map(str, chosen)),
            )
        )
    header = ("system", "training", "parameters", "epochs", "epochs selected")

    note = "Training: mean of a run, validation included."
    at_once = found.jobs.get("at_once")
    if at_once is not None:
        threads = found.jobs.get("threads")
        each = "1 thread" if threads == 1 else f"{threads} threads"
        note += f" {at_once} at a time, {each} each: runs side by side share the machine."
    return Section("Costs", [Table(header, rows, "What training took"), Text(note, "note")])


def _problems(found: StoredBenchmark) -> list[Section]:
    """Return the runs that failed and the systems that were skipped; nothing where none were."""
    failed = []
    skipped = []
    for system in found.systems.values():
        if system.skipped:
            skipped.append((system.title, "skipped", system.skipped, ""))
        for run in system.runs:
            if run.failed:
                why = " ".join(run.failed.split())  # in one line
                failed.append((system.title, f"seed {run.seed} failed", why, run.log))
    if not skipped and not failed:
        return []
    header = ("system", "what", "why", "log")
    return [Section("Failed and skipped", [Table(header, [*failed, *skipped])])]


def _runs(found: StoredBenchmark) -> Section:
    columns = _columns(found)
    rows = []
    for system in found.systems.values():
        for run in system.runs:
            title = f"{system.title}, seed {run.seed}"
            time = "" if run.seconds is None else duration(run.seconds)
            notes = "failed" if run.failed else "; ".join(run.notes)
            rows.append([title, *_scores_of(run, found.thresholds, columns), time, notes])
    header = ("run", *map(title_of, columns), "training", "notes")
    return Section("Runs", [Folded(f"All {len(rows)} runs", [Table(header, rows)])])


def _scores_of(run: StoredRun, thresholds: ThresholdMode, columns: Sequence[str]) -> list[str]:
    """Return the scores of a run, empty where there are none."""
    metrics = run.metrics.get(thresholds)
    if metrics is None:
        return [""] * len(columns)
    values = metrics.overall()
    return [number(values[metric]) if metric in values else "" for metric in columns]


# ---------------------------------------------------------------------- what stands behind them


def _data(found: StoredBenchmark) -> tuple[Section, list[str]]:
    """Return the card of the data set, short where the data are not there any more."""
    path = found.data.path
    try:
        dataset = open_dataset(path)
        if dataset.card.fingerprint != found.data.fingerprint:
            raise DataError(f"{path} holds other data by now")
    except DataError as error:
        missing = f"The card of the data set is short: {error.found}."
        return _short_card(found.data), [missing]
    return data_section(dataset, path), []


def _short_card(data: StoredData) -> Section:
    facts = [
        ("name", data.name),
        ("path", data.path),
        ("fingerprint", data.fingerprint),
        ("sequences", "word-aligned" if data.aligned else "unaligned"),
    ]
    facts += [(f"samples, {split}", f"{count:,}") for split, count in data.samples.items()]
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
    for name, system in found.systems.items():
        config = _config(system)
        title = f"{system.title} ({name})"
        if config is not None:
            blocks.append(_known_settings(title, system, config, aligned=found.data.aligned))
        elif system.config is not None:
            text = json.dumps(system.config, indent=2, ensure_ascii=False)
            blocks.append(Folded(title, [Code(text)]))
    return Section("Settings", blocks or [Text("No system was trained.")])


def _known_settings(
    title: str, system: StoredSystem, config: RunConfig, *, aligned: bool
) -> Folded:
    changed = len(departures(config, aligned=aligned).values)
    cited: list[Block] = []
    if system.paper:
        cited.append(Text(system.paper, "note"))
    inside = settings_blocks(config, aligned=aligned)
    return Folded(f"{title}: {changed} settings depart from the preset", [*cited, *inside])


def _again(found: StoredBenchmark, folder: Path, file: Path) -> Section:
    command = benchmark_command(found, str(folder))
    blocks: list[Block]
    if command is None:
        where = f"{folder.name}/SYSTEM/seedN.json"
        blocks = [Text(f"The settings of each run are in {where}, for --config.")]
    else:
        blocks = [Text("To train and test all of it again:"), Code(command)]

    facts = [("benchmark made with", f"emotailor {found.emotailor}"), *machine_facts()]
    note = f"Everything on this page is in {file.name} of the folder."
    return Section("Versions and commands", [*blocks, Facts(facts), Text(note, "note")])


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
    first = next(iter(configs.values()))
    seeds = max(len(system.runs) for system in found.systems.values())
    command = _ablate(found, first) if found.is_ablation else _benchmark(found)
    command += ["--seeds", str(seeds), "--seed", str(first.training.seed)]
    command += ["--preset", preset]
    command += ["--thresholds", found.thresholds, "--split", found.split]
    return shell([*command, *options, "--out", f"{out}-again"])


def _benchmark(found: StoredBenchmark) -> list[str]:
    names = [system.code or name for name, system in found.systems.items()]
    return ["emotailor", "benchmark", "--data", found.data.path, "--models", ",".join(names)]


def _ablate(found: StoredBenchmark, config: RunConfig) -> list[str]:
    command = ["emotailor", "ablate", "--data", found.data.path]
    if config.system != REFERENCE:  # the default
        command += ["--model", found.systems[FULL].code or config.system]
    return [*command, "--variants", ",".join(found.systems)]


Changes = dict[str, dict[str, Any]]


def _nearest_preset(
    found: StoredBenchmark, configs: Mapping[str, RunConfig]
) -> tuple[Preset, Changes]:
    """Return the preset that needs the fewest changes, and the changes of each system."""
    candidates: list[tuple[Preset, Changes]] = []
    for preset in PRESETS:
        changes = {name: _changes(config, preset, found) for name, config in configs.items()}
        candidates.append((preset, changes))
    return min(candidates, key=lambda one: sum(map(len, one[1].values())))


def _changes(config: RunConfig, preset: Preset, found: StoredBenchmark) -> dict[str, Any]:
    from_preset = departures_from(config, preset, aligned=found.data.aligned)
    return {key: value for key, (value, _) in from_preset.values.items()}


def _shared_options(given: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Return ``--set`` once for all systems where they agree, and else for each.

    None where a value cannot be given so.
    """
    shared = _shared(list(given.values()))
    groups = [settings_options(shared)]
    for name, values in given.items():
        own = {key: value for key, value in values.items() if key not in shared}
        groups.append(settings_options(own, f"{name}:"))

    options: list[str] = []
    for group in groups:
        if group is None:
            return None
        options += group
    return options


def _shared(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all systems have alike; those of a model are never shared."""
    first, *others = given
    shared = {}
    for key, value in first.items():
        everywhere = all(key in values and values[key] == value for values in others)
        if everywhere and not key.startswith("model."):
            shared[key] = value
    return shared


def _notes(found: StoredBenchmark) -> Section:
    titles = tuple(f"{system.title}: " for system in found.systems.values())
    general = [note for note in found.notes if not note.startswith(titles)]
    texts = [*general, SAME_EVERYWHERE]

    for system in found.systems.values():
        notes = {note for run in system.runs for note in run.notes}
        texts += [f"{system.title}: {note}" for note in sorted(notes)]
    return Section("How to read this page", [Items(texts)])
