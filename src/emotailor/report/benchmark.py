"""The report of a benchmark or of ablations: all systems in one table, and what is behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.plan import REFERENCE
from emotailor.comparison.results import (
    FILES,
    StoredBenchmark,
    StoredSystem,
    find_benchmark,
    read_benchmark,
)
from emotailor.data.store import open_dataset
from emotailor.errors import ConfigError, DataError
from emotailor.evaluation.display import TITLES, number, title_of
from emotailor.evaluation.tables import (
    COLUMNS,
    TESTED,
    duration,
    short,
    signed,
    spread,
)
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


def benchmark_page(folder: Path) -> tuple[Page, list[str]]:
    """Return the report of a benchmark or of ablations, and what had to be left out of it.

    Raises:
        DataError: it is damaged, or it has not ended.
    """
    file = find_benchmark(folder)
    assert file is not None
    found = read_benchmark(file)
    sections, missing = benchmark_sections(folder)
    failed = [run for system in found.systems.values() for run in system.runs if run.failed]
    summary: list[Block] = [_headline(found)]
    warnings = list(missing)
    if failed:
        runs = "1 run" if len(failed) == 1 else f"{len(failed)} runs"
        warnings.append(f"{runs} failed; the numbers are of the others.")
    if warnings:
        summary.insert(0, Items(warnings, "warning"))
    kind = FILES[file.name]
    page = Page(
        f"{kind} on {found.data.name}",
        f"{found.split} split, thresholds {plain_mode(found.thresholds)}, "
        f"from {folder.resolve().name}",
        sections,
        summary,
    )
    return page, missing


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
    return {name: system for name, system in found.systems.items() if system.summary is not None}


def _mean(system: StoredSystem, metric: str) -> float | None:
    spreads = {} if system.summary is None else system.summary.overall
    return spreads[metric].mean if metric in spreads else None


def _headline(found: StoredBenchmark) -> Tiles:
    tested = _tested(found)
    runs = [run for system in found.systems.values() for run in system.runs]
    done = sum(bool(run.metrics) for run in runs)
    tiles = [
        Tile("systems", f"{len(tested)} of {len(found.systems)}", "tested"),
        Tile("runs", f"{done} of {len(runs)}", "tested"),
    ]
    ranked = [(mean, name) for name, s in tested.items() if (mean := _mean(s, TESTED)) is not None]
    if ranked:
        best = tested[max(ranked)[1]]
        tiles.insert(0, _score_tile(f"best {TITLES[TESTED]}", best))
    reference = tested.get(found.test.reference) if found.test else None
    if ranked and reference is not None and reference is not best:
        tiles.insert(1, _score_tile(f"{TITLES[TESTED]} of the reference", reference))
    return Tiles(tiles)


def _score_tile(title: str, system: StoredSystem) -> Tile:
    assert system.summary is not None
    found = system.summary.overall[TESTED]
    deviation = "" if found.std is None else f" ± {short(found.std)}"
    return Tile(title, short(found.mean), f"{system.title}{deviation}")


def _results(found: StoredBenchmark) -> Section:
    best = {}
    columns = (*COLUMNS, *found.metrics)
    for metric in columns:
        means = [mean for s in found.systems.values() if (mean := _mean(s, metric)) is not None]
        best[metric] = short(max(means)) if means else ""  # what prints alike is equally good
    rows: list[Sequence[str | Cell]] = []
    for system in found.systems.values():
        row: list[str | Cell] = [system.title]
        row.append(f"{system.done}/{len(system.runs)}" if system.runs else "")
        if system.summary is None:
            rows.append([*row, Cell(system.status, quiet=True), *[""] * (len(columns) - 1)])
            continue
        for metric in columns:
            value = system.summary.overall.get(metric)
            strong = value is not None and short(value.mean) == best[metric]
            row.append(Cell(spread(value), strong))
        rows.append(row)
    header = ("system", "runs", *(title_of(metric) for metric in columns))
    note = Text(
        "Mean ± standard deviation (n - 1) over runs; the best of a column is bold.", "note"
    )
    return Section("Results", [Table(header, rows, "All systems on the same samples"), note])


def _differences(found: StoredBenchmark) -> list[Section]:
    if found.test is None or found.test.reference not in found.systems:
        return []
    reference = found.systems[found.test.reference].title
    tables = []
    for metric in (TESTED, "accuracy", "macro_f1"):
        each = {
            system.title: system.minus_reference[metric]
            for system in found.systems.values()
            if metric in system.minus_reference
        }
        reach = max((abs(x) for d in each.values() for x in (d.low, d.high)), default=1.0)
        rows = [
            (
                title,
                Cell(signed(d.value), chart=Range(d.low, d.value, d.high, (-reach, reach), 0.0)),
                f"{signed(d.low)} to {signed(d.high)}",
                f"{d.p_value:.4f}",
            )
            for title, d in each.items()
        ]
        if rows:
            level = 100 * next(iter(each.values())).level
            header = ("system", "difference", f"{level:g} % interval", "p")
            tables.append(Table(header, rows, f"{TITLES[metric]} minus that of {reference}"))
    if not tables:
        return []
    note = (
        f"Paired bootstrap, {found.test.resamples:,} resamples of whole videos; p is two-sided, "
        "not corrected for the number of comparisons, and does not cover other seeds."
    )
    blocks: list[Block] = [tables[0], Text(note, "note")]
    if tables[1:]:
        blocks.append(Folded("The same for other metrics", tables[1:]))
    return [Section(f"Difference from {reference}", blocks)]


def _published(found: StoredBenchmark) -> list[Section]:
    metrics = [m for m in COLUMNS if any(m in s.published for s in found.systems.values())]
    if not metrics:
        return []
    header = ["system"]
    for metric in metrics:
        header += [TITLES[metric], "paper"]
    rows = []
    for system in found.systems.values():
        row: list[str | Cell] = [system.title]
        for metric in metrics:
            mean = _mean(system, metric)
            row.append(Cell(short(mean), strong=True) if mean is not None else "")
            row.append(short(system.published[metric]) if metric in system.published else "")
        rows.append(row)
    title = f"Measured here and published ({found.paper})" if found.paper else "Measured, published"
    notes = [text for text in found.notes if text.startswith(("Paper:", "This is not the"))]
    return [Section("Published numbers", [Table(header, rows, title), *_small(notes)])]


def _small(texts: Sequence[str]) -> list[Text]:
    return [Text(text, "note") for text in texts]


def _labels(found: StoredBenchmark) -> list[Section]:
    tested = {n: s.summary for n, s in _tested(found).items() if s.summary is not None}
    names = list(next(iter(tested.values())).labels) if tested else []
    if not names:
        return []
    best = {
        name: max(number(x.labels[name]["f1"].mean) for x in tested.values() if name in x.labels)
        for name in names
    }
    rows = []
    for system, summary in tested.items():
        row: list[str | Cell] = [found.systems[system].title]
        for name in names:
            value = summary.labels.get(name, {}).get("f1")
            strong = value is not None and value.mean > 0 and number(value.mean) == best[name]
            row.append(Cell(spread(value), strong))
        rows.append(row)
    return [Section("Labels", [Table(("system", *names), rows, "F1 of each label")])]


def _costs(found: StoredBenchmark) -> Section:
    rows = []
    for system in _tested(found).values():
        epochs = [str(run.epochs) for run in system.runs if run.epochs is not None]
        chosen = [str(r.selected_epoch) for r in system.runs if r.selected_epoch is not None]
        rows.append(
            (
                system.title,
                "" if system.seconds is None else duration(system.seconds),
                "" if system.parameters is None else f"{system.parameters:,}",
                ", ".join(epochs),
                ", ".join(chosen),
            )
        )
    header = ("system", "training", "parameters", "epochs", "epochs selected")
    side, threads = found.jobs.get("at_once"), found.jobs.get("threads")
    note = "Training: mean of a run, validation included."
    if side is not None:
        each = "1 thread" if threads == 1 else f"{threads} threads"
        note += f" {side} at a time, {each} each: runs side by side share the machine."
    return Section("Costs", [Table(header, rows, "What training took"), Text(note, "note")])


def _problems(found: StoredBenchmark) -> list[Section]:
    skipped = [(s.title, "skipped", s.skipped, "") for s in found.systems.values() if s.skipped]
    failed = [
        (s.title, f"seed {r.seed} failed", " ".join(r.failed.split()), r.log)
        for s in found.systems.values()
        for r in s.runs
        if r.failed
    ]
    if not skipped and not failed:
        return []
    header = ("system", "what", "why", "log")
    return [Section("Failed and skipped", [Table(header, [*failed, *skipped])])]


def _runs(found: StoredBenchmark) -> Section:
    rows = []
    columns = (*COLUMNS, *found.metrics)
    for system in found.systems.values():
        for run in system.runs:
            metrics = run.metrics.get(found.thresholds)
            values = {} if metrics is None else metrics.overall()
            rows.append(
                (
                    f"{system.title}, seed {run.seed}",
                    *(number(values[m]) if m in values else "" for m in columns),
                    "" if run.seconds is None else duration(run.seconds),
                    "failed" if run.failed else "; ".join(run.notes),
                )
            )
    header = ("run", *(title_of(metric) for metric in columns), "training", "notes")
    return Section("Runs", [Folded(f"All {len(rows)} runs", [Table(header, rows)])])


# ---------------------------------------------------------------------- what stands behind them


def _data(found: StoredBenchmark) -> tuple[Section, list[str]]:
    try:
        dataset = open_dataset(found.data.path)
        if dataset.card.fingerprint != found.data.fingerprint:
            raise DataError(f"{found.data.path} holds other data by now")
    except DataError as error:
        facts = [
            ("name", found.data.name),
            ("path", found.data.path),
            ("fingerprint", found.data.fingerprint),
            ("sequences", "word-aligned" if found.data.aligned else "unaligned"),
            *((f"samples, {name}", f"{n:,}") for name, n in found.data.samples.items()),
        ]
        missing = f"The card of the data set is short: {error.found}."
        return Section("Data set", [Facts(facts)]), [missing]
    return data_section(dataset, found.data.path), []


def _config(system: StoredSystem) -> RunConfig | None:
    """The settings of the first run; None where this version does not know them."""
    try:
        return None if system.config is None else RunConfig.parse(system.config)
    except ConfigError:
        return None


def _settings(found: StoredBenchmark) -> Section:
    blocks: list[Block] = []
    for name, system in found.systems.items():
        config = _config(system)
        if config is not None:
            inside = settings_blocks(config, aligned=found.data.aligned)
            changed = len(departures(config, aligned=found.data.aligned).values)
            title = f"{system.title} ({name}): {changed} settings depart from the preset"
            cited = [Text(system.paper, "note")] if system.paper else []
            blocks.append(Folded(title, [*cited, *inside]))
        elif system.config is not None:
            text = json.dumps(system.config, indent=2, ensure_ascii=False)
            blocks.append(Folded(f"{system.title} ({name})", [Code(text)]))
    return Section("Settings", blocks or [Text("No system was trained.")])


def _again(found: StoredBenchmark, folder: Path, file: Path) -> Section:
    facts = [("benchmark made with", f"emotailor {found.emotailor}"), *machine_facts()]
    blocks: list[Block] = [Facts(facts)]
    command = benchmark_command(found, str(folder))
    if command is not None:
        blocks = [Text("To train and test all of it again:"), Code(command), *blocks]
    else:
        text = f"The settings of each run are in {folder.name}/SYSTEM/seedN.json, for --config."
        blocks.insert(0, Text(text))
    blocks.append(Text(f"Everything on this page is in {file.name} of the folder.", "note"))
    return Section("Versions and commands", blocks)


def benchmark_command(found: StoredBenchmark, out: str) -> str | None:
    """Return the command that does it all again; None where options cannot say it."""
    configs = {name: config for name, s in found.systems.items() if (config := _config(s))}
    trained = {name for name, system in found.systems.items() if system.config is not None}
    if trained - set(configs):  # a system of others, whose settings are not known here
        return None
    ablation = found.is_ablation
    if ablation:  # the variants switch what is theirs
        configs = {name: config for name, config in configs.items() if name == FULL}
    if not configs:
        return None
    presets: tuple[Preset, ...] = ("paper", "authors")
    preset, given = min(
        ((p, {n: _changes(c, p, found) for n, c in configs.items()}) for p in presets),
        key=lambda one: sum(map(len, one[1].values())),
    )
    options = settings_options(given[FULL]) if ablation else _shared_options(given)
    if options is None:
        return None
    command = ["emotailor", "ablate" if ablation else "benchmark", "--data", found.data.path]
    if ablation:
        system = configs[FULL].system
        if system != REFERENCE:
            command += ["--model", found.systems[FULL].code or system]
        command += ["--variants", ",".join(found.systems)]
    else:
        names = [system.code or name for name, system in found.systems.items()]
        command += ["--models", ",".join(names)]
    command += ["--seeds", str(max(len(s.runs) for s in found.systems.values()))]
    command += ["--seed", str(next(iter(configs.values())).training.seed), "--preset", preset]
    command += ["--thresholds", found.thresholds, "--split", found.split]
    return shell([*command, *options, "--out", f"{out}-again"])


def _changes(config: RunConfig, preset: Preset, found: StoredBenchmark) -> dict[str, Any]:
    from_preset = departures_from(config, preset, aligned=found.data.aligned)
    return {key: value for key, (value, _) in from_preset.values.items()}


def _shared_options(given: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """``--set`` once for all systems where they agree, and else for each."""
    shared = {
        key: value
        for key, value in next(iter(given.values())).items()
        if not key.startswith("model.")
        and all(key in values and values[key] == value for values in given.values())
    }
    options = settings_options(shared)
    for name, values in given.items():
        own = {key: value for key, value in values.items() if key not in shared}
        more = settings_options(own, f"{name}:")
        if options is None or more is None:
            return None
        options = options + more
    return options


def _notes(found: StoredBenchmark) -> Section:
    own = tuple(f"{s.title}: " for s in found.systems.values())  # shown with their systems
    texts = [text for text in found.notes if not text.startswith(own)]
    about = [
        f"{system.title}: {note}"
        for system in found.systems.values()
        for note in sorted({note for run in system.runs for note in run.notes})
    ]
    texts.append("P and R are as defined; the program of TAILOR's authors exchanges the two.")
    return Section("How to read this page", [Items([*texts, *about])])
