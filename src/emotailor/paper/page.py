"""The report of a reproduction: our numbers beside the published ones, and their limits."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotailor.comparison.published import TABLE_2
from emotailor.comparison.results import (
    StoredBenchmark,
    StoredSystem,
    find_benchmark,
    read_benchmark,
)
from emotailor.errors import DataError
from emotailor.evaluation.display import TITLES
from emotailor.evaluation.tables import TESTED, duration, short, signed, spread
from emotailor.figures.store import FigureFolder
from emotailor.models.system import PUBLISHED_METRICS
from emotailor.report.benchmark import benchmark_sections
from emotailor.report.figures import FIGURES, claims_sections, embedded, not_drawn
from emotailor.report.page import (
    Block,
    Cell,
    Code,
    Facts,
    Folded,
    Image,
    Items,
    Page,
    Section,
    Table,
    Text,
)
from emotailor.report.parts import machine_facts

CANNOT_COMPARE = (
    "P and R: the authors' program gives its metric function the prediction where the truth "
    "belongs, so its P and R are exchanged. Whether the tables were read off it is not known. Here "
    "both are as defined. Acc and micro-F1 are symmetric: compare these.",
    "Definitions: the paper defines neither Acc nor P, R and F1. Acc is taken as the mean over "
    "samples of the Jaccard index of true and predicted labels, the others as micro-averaged: so "
    "the published P and R give the published F1, but for HHMPN on aligned data (.556 printed, "
    ".544 from its P and R).",
    "Threshold: the paper gives none, the authors' program predicts above 0.35. Here one threshold "
    "per run is tuned on the validation split.",
    "Selection: here the epoch with the highest micro-F1 on validation is tested. The authors' "
    "program keeps a reference to the live model and so tests the last epoch, whatever the paper's "
    "“best model” means.",
    "Test samples: the authors' program drops the last incomplete test batch, 51 of 4,659 "
    "segments. Here every sample is tested.",
    "Runs: the paper does not say how many runs a number is of, and gives no deviation. Here it is "
    "the mean over seeds, with its standard deviation.",
    "The other systems: the paper does not say how they were brought to these data, nor their "
    "settings. Here each follows its own paper and program; its page in the documentation lists "
    "what was adapted.",
    "Unaligned: in the paper every system but MulT has a CTC alignment module before it. Here, "
    "too, but BR, LP and CC are fitted without the gradients that would train one, and systems "
    "that take text alone have nothing to align.",
    "Table 3: the paper describes its rows by their titles alone, so what is left of each variant "
    "is our reading.",
    "CARAT (AAAI 2024) is newer than the paper; its row is an extra one.",
)
"""What differs between the published numbers and these."""

NEWER = {"carat": "CARAT (2024, not in the paper)"}


def paper_page(out: Path, content: Mapping[str, Any]) -> Page:
    """Return the page of a reproduction.

    Args:
        out: folder of it.
        content: of ``reproduction.json``.
    """
    stages = content["stages"]
    problems = [str(line) for line in content["missing"]]
    problems += [
        f"{stage['title']}: {stage['runs'] - stage['done']} of {stage['runs']} runs are not done."
        for stage in stages.values()
        if stage["done"] < stage["runs"]
    ]
    summary: list[Block] = []
    if problems:
        summary.append(Text("This is not all of it. What is missing:", "warning"))
        summary.append(Items(problems, "warning"))
    if content["left_out"]:
        summary += [Text("Left out:"), Items(content["left_out"])]
    sections = [_stage(out / name, stage) for name, stage in stages.items()]
    sections += _figures(out / "figures")
    sections.append(Section("What cannot be compared", [Items(CANNOT_COMPARE)]))
    sections.append(_time(content))
    sections.append(_again(content))
    done, runs = (sum(stage[key] for stage in stages.values()) for key in ("done", "runs"))
    return Page(
        "TAILOR (AAAI 2022): Table 2, Table 3 and figures",
        f"{done} of {runs} runs, on {content['device']}",
        sections,
        summary,
    )


# ---------------------------------------------------------------------- tables


def _stage(folder: Path, stage: Mapping[str, Any]) -> Section:
    file = find_benchmark(folder)
    try:
        if file is None:
            raise DataError("nothing has been run yet")
        found = read_benchmark(file)
        inside, _ = benchmark_sections(folder)
    except DataError as error:
        return Section(stage["title"], [Text(error.found, "warning")])
    blocks: list[Block] = [_beside(found), *_reading(found, stage)]
    blocks.append(Folded("Everything behind this table", inside))
    return Section(stage["title"], blocks)


def _beside(found: StoredBenchmark) -> Table:
    """Our numbers beside the published ones, where there are any."""
    paper = any(system.published for system in found.systems.values())
    header = ["system", "runs"]
    for metric in PUBLISHED_METRICS:
        header += [TITLES[metric], "paper"] if paper else [TITLES[metric]]
    header += [f"{TITLES[TESTED]} - paper's"] if paper else []
    rows = [_row(name, system, paper=paper) for name, system in found.systems.items()]
    reference = found.test.reference if found.test else None
    marked = [i for i, name in enumerate(found.systems) if name == reference]
    title = f"{found.data.name}, split {found.split}: mean ± standard deviation over runs"
    return Table(header, rows, title, marked)


def _row(name: str, system: StoredSystem, *, paper: bool) -> list[str | Cell]:
    done = sum(bool(run.metrics) for run in system.runs)
    row: list[str | Cell] = [NEWER.get(name, system.title), f"{done}/{len(system.runs)}"]
    values = system.summary.overall if system.summary else {}
    for metric in PUBLISHED_METRICS:
        value = values.get(metric)
        row.append(
            spread(value) if value else system.status if metric == PUBLISHED_METRICS[0] else ""
        )
        if paper:
            row.append(short(system.published[metric]) if metric in system.published else "n/a")
    if paper:
        both = TESTED in values and TESTED in system.published
        row.append(signed(values[TESTED].mean - system.published[TESTED]) if both else "n/a")
    return row


def _reading(found: StoredBenchmark, stage: Mapping[str, Any]) -> list[Block]:
    """What one must know who reads this table."""
    blocks: list[Block] = []
    if not stage["paper"] and stage["title"] != "Figure 6":
        blocks.append(Text("The data are not the paper's: its numbers are left out.", "note"))
    if found.test is not None:
        certain = [
            f"{system.title} ({signed(d.value)}, {signed(d.low)} to {signed(d.high)})"
            for system in found.systems.values()
            if (d := system.minus_reference.get(TESTED)) is not None and (d.low > 0 or d.high < 0)
        ]
        reference = found.systems[found.test.reference].title
        text = f"{TITLES[TESTED]} minus that of {reference}, where the 95 % interval excludes 0: "
        blocks.append(Text(text + (", ".join(certain) or "nowhere") + ".", "note"))
    return [*blocks, *(Text(line, "note") for line in found.findings)]


# ---------------------------------------------------------------------- figures


def _figures(path: Path) -> list[Section]:
    folder = FigureFolder(path)
    try:
        index = folder.read_index()
        blocks: list[Block] = []
        for name in index.drawn:
            caption = FIGURES.get(name, name)
            blocks.append(Image(embedded(folder.image(name, "svg")), caption, caption))
    except (DataError, OSError):
        return [Section("Figures", [Text("There are none.", "warning")])]
    blocks += not_drawn(index)
    return [Section("Figures", blocks), *claims_sections(folder)]


# ---------------------------------------------------------------------- time and commands


def _time(content: Mapping[str, Any]) -> Section:
    calls: Sequence[Mapping[str, Any]] = content["calls"]
    titles = {name: stage["title"] for name, stage in content["stages"].items()}
    blocks: list[Block] = [Text(call["summary"]) for call in calls[-1:]]
    rows = [
        (
            f"call {number}, {titles.get(name, name)}",
            duration(seconds),
            duration(call["taken"][name]) if name in call["taken"] else "",
        )
        for number, call in enumerate(calls, 1)
        for name, seconds in call["expected"].items()
    ]
    if rows:
        header = ("stage", "expected", "taken")
        note = "Calls that were stopped are not listed."
        blocks.append(Folded("By stage", [Table(header, rows), Text(note, "note")]))
    return Section("Time", blocks or [Text("Nothing was trained in a call that ended.")])


def _again(content: Mapping[str, Any]) -> Section:
    options = content["options"]
    command = ["emotailor", "reproduce", "paper", "--data", options["data"]]
    for key, option in (
        ("unaligned", "--unaligned"), ("seeds", "--seeds"), ("seed", "--seed"),
        ("preset", "--preset"), ("config_file", "--config"), ("device", "--device"),
        ("jobs", "--jobs"),
    ):  # fmt: skip
        if options.get(key) is not None:
            command += [option, str(options[key])]
    for setting in options.get("settings", ()):
        command += ["--set", setting]
    command += ["--out", options["out"]]
    facts = [("reproduced with", f"emotailor {content['emotailor']}"), *machine_facts()]
    blocks: list[Block] = [Text("The same command goes on, or repeats nothing:")]
    blocks += [Code(shlex.join(command)), Facts(facts)]
    systems = ", ".join(TABLE_2["aligned"])
    blocks.append(Text(f"Systems of Table 2: {systems}.", "note"))
    return Section("Versions and command", blocks)
