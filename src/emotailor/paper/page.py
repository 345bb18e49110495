"""The report of a reproduction: our numbers beside the published ones, and their limits."""

import re
import shlex
from collections.abc import Mapping
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
from emotailor.models.table import SYSTEMS
from emotailor.paper.results import StoredReproduction, StoredStage
from emotailor.report.benchmark import benchmark_sections
from emotailor.report.figures import READING, claims_sections, embedded, not_drawn
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
    "CARAT (AAAI 2024) and LDDU (2025) are newer than the paper; their rows are extra ones.",
)
"""What differs between the published numbers and these."""

OPTIONS = {
    "unaligned": "--unaligned",
    "seeds": "--seeds",
    "seed": "--seed",
    "preset": "--preset",
    "config_file": "--config",
    "device": "--device",
    "jobs": "--jobs",
}
"""Option of ``plan_paper`` -> option of the command line."""


def paper_page(out: Path, found: StoredReproduction) -> Page:
    """Return the page of a reproduction.

    Args:
        out: folder of the reproduction.
        found: what is known of it.
    """
    sections = []
    for name, stage in found.stages.items():
        sections.append(_stage(out / name, stage))
    sections += _figures(out / "figures")
    sections.append(Section("What cannot be compared", [Items(CANNOT_COMPARE)]))
    sections.append(_time(found))
    sections.append(_again(found))
    return Page(
        title="TAILOR (AAAI 2022): Table 2, Table 3 and figures",
        subtitle=f"{found.done} of {found.runs} runs, on {found.device}",
        sections=sections,
        summary=_summary(found),
    )


def _summary(found: StoredReproduction) -> list[Block]:
    """Return what is missing, and what was left out."""
    problems = list(found.missing)
    for stage in found.stages.values():
        left = stage.runs - stage.done
        if left:
            problems.append(f"{stage.title}: {left} of {stage.runs} runs are not done.")

    blocks: list[Block] = []
    if problems:
        blocks.append(Text("This is not all of it. What is missing:", "warning"))
        blocks.append(Items(problems, "warning"))

    if found.left_out:
        blocks.append(Text("Left out:"))
        blocks.append(Items(found.left_out))
    return blocks


# ---------------------------------------------------------------------- tables


def _stage(folder: Path, stage: StoredStage) -> Section:
    """Return the section of one comparison of runs."""
    file = find_benchmark(folder)
    if file is None:
        return Section(stage.title, [Text("nothing has been run yet", "warning")])

    # a damaged table costs its own section, not the page
    try:
        found = read_benchmark(file)
        inside, _ = benchmark_sections(folder)
    except DataError as error:
        return Section(stage.title, [Text(error.found, "warning")])

    blocks: list[Block] = [_beside(found)]
    blocks += _reading(found, stage)
    blocks.append(Folded("Everything behind this table", inside))
    return Section(stage.title, blocks)


def _beside(found: StoredBenchmark) -> Table:
    """Return our numbers beside the published ones, where there are any."""
    systems = found.systems
    paper = any(system.published for system in systems.values())

    rows = []
    marked = []
    for number, (name, system) in enumerate(systems.items()):
        rows.append(_row(name, system, paper=paper))
        if found.test is not None and name == found.test.reference:
            marked.append(number)

    return Table(
        header=_header(paper=paper),
        rows=rows,
        title=f"{found.data.name}, split {found.split}: mean ± standard deviation over runs",
        marked=marked,
    )


def _header(*, paper: bool) -> list[str]:
    """Return the header of the table; a published number stands right of ours."""
    header = ["system", "runs"]
    for metric in PUBLISHED_METRICS:
        header.append(TITLES[metric])
        if paper:
            header.append("paper")

    if paper:
        header.append(f"{TITLES[TESTED]} - paper's")
    return header


def _row(name: str, system: StoredSystem, *, paper: bool) -> list[str | Cell]:
    """Return the row of one system; ``paper`` says whether the table has published numbers."""
    runs = f"{system.done}/{len(system.runs)}"
    row: list[str | Cell] = [_title(name, system), runs]
    ours = system.summary.overall if system.summary else {}
    published = system.published

    for metric in PUBLISHED_METRICS:
        if metric in ours:
            row.append(spread(ours[metric]))
        elif metric == PUBLISHED_METRICS[0]:
            row.append(system.status)  # once in a row is enough
        else:
            row.append("")

        if paper:
            row.append(short(published[metric]) if metric in published else "n/a")

    if not paper:
        return row

    if TESTED in ours and TESTED in published:
        difference = ours[TESTED].mean - published[TESTED]
        row.append(signed(difference))
    else:
        row.append("n/a")
    return row


def _title(name: str, system: StoredSystem) -> str:
    """Return the title of a row; a system that the paper's table has not says so."""
    title = system.title
    known = SYSTEMS.get(name)
    if known is None or known.published:  # a variant, or a row of Table 2
        return title

    # a citation names its year
    year = re.search(r"\b(?:19|20)\d\d\b", known.paper)
    if year is None:
        return f"{title} (not in the paper)"
    return f"{title} ({year[0]}, not in the paper)"


def _reading(found: StoredBenchmark, stage: StoredStage) -> list[Block]:
    """Return what a reader of this table must know."""
    lines = []

    # Figure 6 is a picture: it has no published numbers to leave out
    if not stage.paper and stage.title != "Figure 6":
        lines.append("The data are not the paper's: its numbers are left out.")

    if found.test is not None:
        reference = found.systems[found.test.reference]
        certain = ", ".join(_certain(found)) or "nowhere"
        lines.append(
            f"{TITLES[TESTED]} minus that of {reference.title}, "
            f"where the 95 % interval excludes 0: {certain}."
        )

    lines += found.findings
    return [Text(line, "note") for line in lines]


def _certain(found: StoredBenchmark) -> list[str]:
    """Return the systems whose difference from the reference is surely not 0."""
    lines = []
    for system in found.systems.values():
        difference = system.minus_reference.get(TESTED)
        if difference is None:
            continue
        if difference.low <= 0 <= difference.high:
            continue

        value = signed(difference.value)
        low = signed(difference.low)
        high = signed(difference.high)
        lines.append(f"{system.title} ({value}, {low} to {high})")
    return lines


# ---------------------------------------------------------------------- figures


def _figures(path: Path) -> list[Section]:
    """Return the sections of the figures and of what they show; one line where there are none."""
    folder = FigureFolder(path)
    blocks: list[Block] = []
    # figures that are lost or damaged must not cost the tables
    try:
        index = folder.read_index()
        folder.check_whole(index)
        for name in index.drawn:
            picture = embedded(folder.image(name, "svg"))
            caption = READING.get(name, name)
            blocks.append(Image(picture, caption, caption))
    except (DataError, OSError):
        return [Section("Figures", [Text("There are none.", "warning")])]

    blocks += not_drawn(index)
    return [Section("Figures", blocks), *claims_sections(folder)]


# ---------------------------------------------------------------------- time and commands


def _time(found: StoredReproduction) -> Section:
    """Return the expected and the taken time of every call that has ended."""
    if not found.calls:
        return Section("Time", [Text("Nothing was trained in a call that ended.")])

    last = found.calls[-1]
    blocks: list[Block] = [Text(last.summary)]

    # an earlier call may have done other stages
    rows = []
    for number, call in enumerate(found.calls, 1):
        for name, expected in call.expected.items():
            title = _title_of_stage(found, name)
            taken = call.taken.get(name)
            rows.append(
                (
                    f"call {number}, {title}",
                    duration(expected),
                    "" if taken is None else duration(taken),
                )
            )
    if rows:
        table = Table(("stage", "expected", "taken"), rows)
        note = Text("Calls that were stopped are not listed.", "note")
        blocks.append(Folded("By stage", [table, note]))
    return Section("Time", blocks)


def _title_of_stage(found: StoredReproduction, name: str) -> str:
    """Return the title of a stage; its name where only an earlier call had that stage."""
    stage = found.stages.get(name)
    return name if stage is None else stage.title


def _again(found: StoredReproduction) -> Section:
    """Return the command that resumes the reproduction, and what it was made with."""
    command = _command(found.options)
    program = f"emotailor {found.emotailor}"
    facts = [("reproduced with", program), *machine_facts()]
    systems = ", ".join(TABLE_2["aligned"])

    blocks: list[Block] = [
        Text("The same command resumes it, and repeats nothing:"),
        Code(command),
        Facts(facts),
        Text(f"Systems of Table 2: {systems}.", "note"),
    ]
    return Section("Versions and command", blocks)


def _command(options: Mapping[str, Any]) -> str:
    """Return the command that has these options, as one types it."""
    words = ["emotailor", "reproduce", "paper", "--data", options["data"]]
    for key, option in OPTIONS.items():
        value = options.get(key)
        if value is not None:
            words += [option, str(value)]

    for setting in options.get("settings", ()):
        words += ["--set", setting]

    words += ["--out", options["out"]]
    return shlex.join(words)
