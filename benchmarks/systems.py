"""Seconds and memory of one training step of the other systems, beside their authors' programs.

A step is the forward pass with dropout and all losses, the backward pass, clipping and the update
of the optimizer; making the batch is not counted. With a checkout of its program the
program takes the same batches in turns with our system under its authors() preset, each in a
process of its own. A system without a checkout is measured alone under its paper() preset. BR, LP
and CC have no steps: their whole fit to the batch is measured.

--lengths full: every sequence has 50 steps, as in the files of these programs. --lengths mosei: the
lengths of CMU-MOSEI's utterances, in batches as our training forms them; MulT's program and MMSA
compute on 50 steps then too, the others and ours on the longest of what is computed at once.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.comparison import (
    MEMORY_AND_RATIOS,
    TIMES,
    Program,
    choose_batches,
    explain,
    measure,
    memory_and_ratio_cells,
    ratios,
    steps_cell,
    time_cells,
)
from benchmarks.specification import LENGTHS, Lengths, Specification
from emotailor.errors import ConfigError
from emotailor.models.table import SYSTEMS, find_system


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line.

    Raises:
        ConfigError: a value cannot be used.
    """
    from benchmarks.reference_systems import REFERENCES

    others = [name for name in SYSTEMS if name != "tailor"]
    parser = report.parser(__doc__)
    for name, program in REFERENCES.items():
        found = program.checkout
        parser.add_argument(
            found.option, dest=name, type=Path, help=f"a checkout of {found.repository}"
        )
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=others,
        metavar="SYSTEM",
        help=f"some of {', '.join(others)}; default: those with a checkout, or all",
    )
    parser.add_argument("--repeats", type=report.positive, default=5, help="measured per program")
    parser.add_argument("--warmup", type=report.positive, default=1, help="unmeasured before")
    parser.add_argument("--batch", type=report.positive, default=64)
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    report.add_device(parser, settings=False)
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    args.device = report.choose_device(args.device)
    args.references = {
        name: program.checkout.check(getattr(args, name))
        for name, program in REFERENCES.items()
        if getattr(args, name) is not None
    }
    args.systems = list(dict.fromkeys(args.systems or args.references or others))
    unused = [name for name in args.references if name not in args.systems]
    if unused:
        option = REFERENCES[unused[0]].checkout.option
        raise ConfigError(
            f"{option} beside --systems {' '.join(args.systems)}",
            expected=f"{unused[0]} among the systems",
        )
    return args


def programs(args: argparse.Namespace, system: str, lengths: Lengths) -> list[Program]:
    """Return ours and, where there is a checkout, the authors' program."""
    common = {"system": system, "device": args.device, "threads": args.threads}
    folder = args.references.get(system)
    face = "paper" if folder is None else "authors"
    model = getattr(find_system(system).config, face)()
    if folder is None:
        return [Program("ours (paper)", Specification(model=model, **common))]
    if lengths == "mosei" and hasattr(model, "attend_to_padding"):
        model = model.replace(attend_to_padding=False)
    ours = Specification(model=model, **common)
    theirs = Specification(model=model, reference=folder, **common)
    return [Program("ours (program)", ours), Program("reference", theirs)]


def measure_system(args: argparse.Namespace, system: str, lengths: Lengths) -> list[dict[str, Any]]:
    """Return a row for each program of a system on one kind of lengths."""
    from benchmarks.reference_systems import STEPS

    batches = choose_batches(lengths, "train", args.batch, STEPS, args.repeats)
    entries = programs(args, system, lengths)
    rows = measure(entries, "train", lengths, batches, warmup=args.warmup)
    for row in rows:
        row["system"] = system
        row["reference"] = ratios(row, rows[-1]) if len(rows) > 1 else None
    return rows


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    args = parse(arguments)
    rows = [
        row
        for lengths in dict.fromkeys(args.lengths)
        for system in args.systems
        for row in measure_system(args, system, lengths)
    ]
    machine = report.describe_machine(args.device, rows[0]["threads"])
    result = {
        "benchmark": "systems",
        "machine": machine,
        "settings": {
            "batch": args.batch,
            "repeats": args.repeats,
            "warmup": args.warmup,
            "references": list(args.references),
        },
        "rows": rows,
    }
    report.show(
        f"Training step of the other systems, batch {args.batch}",
        ["system", "program", "lengths", "steps", "parameters", *TIMES, *MEMORY_AND_RATIOS],
        [_cells(row) for row in rows],
        [report.machine_line(machine), explain(args.device)],
    )
    report.save(args.json, result)
    return result


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        find_system(row["system"]).title,
        row["program"],
        row["lengths"],
        steps_cell(row),
        f"{row['parameters']:,}" if row["parameters"] else "-",
        *time_cells(row),
        *memory_and_ratio_cells(row),
    ]


if __name__ == "__main__":
    report.run(main)
