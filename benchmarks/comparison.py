"""Several programs over the same batches, in turns, each in a process of its own."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Literal

import numpy as np
from jaxtyping import Int64

from benchmarks import report
from benchmarks.flops import forward_flops, training_flops
from benchmarks.specification import LENGTHS, Lengths, Specification, draw_lengths
from benchmarks.worker import Worker
from emotailor.config import parse_overrides
from emotailor.errors import ConfigError
from emotailor.models.tailor.config import TailorConfig

FACES = ["program", "paper"]  # computing as the authors' program does, and as in the paper
Command = Literal["train", "predict"]
Shapes = list[tuple[int, int]]  # rows and padded steps of what is computed at once
TIMES = ["s/step", "min-max", "CPU s", "samples/s"]
MEMORY_AND_RATIOS = ["GiB peak", "faster", "less CPU", "smaller"]
TRAIN_SAMPLES, TEST_SAMPLES = 16326, 4659  # CMU-MOSEI's splits


@dataclass(frozen=True)
class Program:
    """One row of a table."""

    name: str
    spec: Specification


def parse(doc: str | None, command: Command, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line of a comparison.

    Raises:
        ConfigError: a value cannot be used.
    """
    parser = report.parser(doc)
    parser.add_argument("--reference", type=Path, help="a checkout of kniter1/TAILOR")
    parser.add_argument("--repeats", type=report.positive, default=5, help="measured per program")
    parser.add_argument("--warmup", type=report.positive, default=1, help="unmeasured before")
    parser.add_argument("--batch", type=report.positive, default=64)
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--faces", nargs="+", choices=FACES, default=FACES, help="of our model")
    parser.set_defaults(precision=["fp32"])
    if command == "train":
        parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"])
    report.add_device(parser)
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    args.device = report.choose_device(args.device)
    if args.reference is not None:
        from benchmarks.reference_tailor import CHECKOUT

        args.reference = CHECKOUT.check(args.reference)
        if args.set:
            raise ConfigError(
                "--set beside --reference",
                expected="one of the two: the authors' program has the published sizes alone",
            )
    args.set = parse_overrides(args.set)
    programs(args, "full")  # a wrong setting is reported before anything is measured
    return args


def programs(args: argparse.Namespace, lengths: Lengths) -> list[Program]:
    """Return ours with the program's computation, ours as in the paper, and the reference."""
    same = TailorConfig.authors()
    if lengths == "mosei":
        same = same.replace(pad_to_max_steps=False, attend_to_padding=False)
    faces = {"program": same, "paper": TailorConfig.paper()}
    common = {"device": args.device, "threads": args.threads}
    found = []
    for precision in args.precision:
        for face in dict.fromkeys(args.faces):
            model = faces[face].replace(**args.set)
            name = f"ours ({face})" if precision == "fp32" else f"ours ({face}) {precision}"
            found.append(Program(name, Specification(model=model, precision=precision, **common)))
    if args.reference is not None:
        found.append(Program("reference", Specification(reference=args.reference, **common)))
    return found


def choose_batches(
    kind: Lengths, command: Command, batch: int, steps: int, repeats: int
) -> list[Int64[np.ndarray, "_"]]:
    """Return the lengths of the batches to measure.

    For ``mosei`` they are drawn for a whole split and cut into batches as our training (or
    prediction) does it; of these, ordered by their longest sequence, ``repeats`` at equal
    distances stand for all.
    """
    if kind == "full":
        return [draw_lengths("full", batch, steps, 0)] * repeats
    count = max(TRAIN_SAMPLES if command == "train" else TEST_SAMPLES, batch)
    lengths = draw_lengths(kind, count, steps, 0)
    if command == "train":
        from emotailor.data.batching import epoch_batches

        groups = [lengths[part] for part in epoch_batches(lengths, batch, seed=0, epoch=0)]
    else:
        ordered = np.sort(lengths)
        groups = [ordered[i : i + batch] for i in range(0, count, batch)]
    groups = sorted((g for g in groups if len(g) == batch), key=lambda g: int(g.max()))
    return [groups[int((i + 0.5) / repeats * len(groups))] for i in range(repeats)]


def measure(
    entries: Sequence[Program],
    command: Command,
    kind: Lengths,
    batches: Sequence[Int64[np.ndarray, "_"]],
    *,
    warmup: int,
    between: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Run programs over the same batches, in turns; return a row of numbers for each.

    Args:
        entries: the programs.
        command: what each does with a batch.
        kind: of the lengths, which decides whether median or mean is typical.
        batches: lengths of the sequences of each batch.
        warmup: unmeasured batches before.
        between: called after each round.
    """
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(entry.spec)) for entry in entries]
        for entry, worker in zip(entries, workers, strict=True):
            rows.append({"program": entry.name, "lengths": kind, **worker.ready})
            rows[-1]["memory_built"] = worker.memory()["now"]
        for number in range(warmup):
            # from the longest on: with enough of them every shape has come before it is measured
            chosen = batches[-1 - number % len(batches)]
            for worker in workers:
                worker.run(command, chosen, seed=number)
        answers: list[list[dict[str, Any]]] = [[] for _ in entries]
        for number, chosen in enumerate(batches, start=warmup):
            for found, worker in zip(answers, workers, strict=True):
                found.append(worker.run(command, chosen, seed=number))
            between()
        memory = [worker.memory() for worker in workers]
    # the batches of mosei differ, and stand for an epoch: their mean is what it costs
    typical = median if kind == "full" else fmean
    for row, found, held in zip(rows, answers, memory, strict=True):
        for name in ("seconds", "cpu_seconds"):
            row[name] = [answer[name] for answer in found]
            row[f"{name}_per_step"] = typical(row[name])
        row |= {f"seconds_{key}": x for key, x in report.spread(row["seconds"]).items()}
        row["samples_per_second"] = len(batches[0]) / row["seconds_per_step"]
        row["shapes"] = [answer["shapes"] for answer in found]
        row["losses"] = [answer["loss"] for answer in found] if command == "train" else None
        row["memory_peak"], row["device_memory_peak"] = held["peak"], held["device_peak"]
    return rows


def compare(args: argparse.Namespace, command: Command, lengths: Lengths) -> dict[str, Any]:
    """Measure all programs on one kind of lengths.

    Returns:
        ``rows``, one per program, and ``rates``, the machine's matrix-product rates.
    """
    entries = programs(args, lengths)
    steps = entries[0].spec.tailor.max_steps
    batches = choose_batches(lengths, command, args.batch, steps, args.repeats)
    rates = [report.product_rates(args.device, args.threads)]

    def between() -> None:
        rates.append(report.product_rates(args.device, args.threads))

    rows = measure(entries, command, lengths, batches, warmup=args.warmup, between=between)
    best = report.best_rates(rates)
    for entry, row in zip(entries, rows, strict=True):
        work = [_flops(entry.spec, command, shape) for shape in row["shapes"]]
        rate = sum(work) / sum(row["seconds"]) / 1e9
        row["precision"] = entry.spec.precision
        row["gflop_per_step"] = fmean(work) / 1e9
        row["gflop_per_second"] = rate
        row["share_of_product_rate"] = rate / best[entry.spec.precision]
        row["reference"] = ratios(row, rows[-1]) if args.reference is not None else None
    return {"rows": rows, "rates": best, "threads": rows[0]["threads"]}


def _flops(spec: Specification, command: Command, shapes: Shapes) -> int:
    model, dims, labels = spec.tailor, spec.dims, spec.num_labels
    if command == "train":
        return sum(training_flops(model, dims, labels, rows, steps) for rows, steps in shapes)
    return sum(
        forward_flops(model, dims, labels, rows, steps, losses=False) for rows, steps in shapes
    )


def ratios(row: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return how many times faster and smaller than the reference; the spread is per round."""
    rounds = [r / o for r, o in zip(reference["seconds"], row["seconds"], strict=True)]
    where = "memory_peak" if row["device_memory_peak"] is None else "device_memory_peak"
    return {
        "faster": reference["seconds_per_step"] / row["seconds_per_step"],
        "faster_min": min(rounds),
        "faster_max": max(rounds),
        "less_cpu": reference["cpu_seconds_per_step"] / row["cpu_seconds_per_step"],
        "smaller": reference[where] / row[where],
    }


def run(
    name: str, title: str, doc: str | None, command: Command, arguments: Sequence[str] | None
) -> dict[str, Any]:
    """Measure, print and save one comparison."""
    args = parse(doc, command, arguments)
    found = {lengths: compare(args, command, lengths) for lengths in dict.fromkeys(args.lengths)}
    parts = list(found.values())
    rates = report.best_rates(part["rates"] for part in parts)
    machine = report.describe_machine(args.device, parts[0]["threads"])
    rows = [row for part in parts for row in part["rows"]]
    for row in rows:
        row["share_of_product_rate"] = row["gflop_per_second"] / rates[row["precision"]]
    result = {
        "benchmark": name,
        "machine": machine,
        "product_gflop_per_second": rates,
        "settings": {
            "batch": args.batch,
            "repeats": args.repeats,
            "warmup": args.warmup,
            "reference": args.reference is not None,
            "set": args.set,
        },
        "rows": rows,
    }
    report.show(
        f"{title}, batch {args.batch}",
        [
            *("program", "lengths", "steps", *TIMES),
            *("GFLOP", "GFLOP/s", "of product rate", *MEMORY_AND_RATIOS),
        ],
        [_cells(row) for row in rows],
        [
            report.machine_line(machine, rates),
            explain(args.device),
        ],
    )
    report.save(args.json, result)
    return result


def explain(device: str) -> str:
    """Say what the numbers of a comparison are."""
    return (
        "s/step: median (full), mean over batches that stand for an epoch (mosei). GiB: "
        + ("of the device" if device.startswith("cuda") else "resident memory")
        + ". faster, less CPU, smaller: the authors' program is 1."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        row["program"],
        row["lengths"],
        steps_cell(row),
        *time_cells(row),
        f"{row['gflop_per_step']:.1f}",
        f"{row['gflop_per_second']:.1f}",
        f"{row['share_of_product_rate']:.0%}",
        *memory_and_ratio_cells(row),
    ]


def steps_cell(row: Mapping[str, Any]) -> str:
    """Write the steps that were computed."""
    steps = [max(steps for _, steps in shape) for shape in row["shapes"]]
    return str(steps[0]) if min(steps) == max(steps) else f"{min(steps)}-{max(steps)}"


def time_cells(row: Mapping[str, Any]) -> list[str]:
    """Write what stands under ``TIMES``."""
    return [
        f"{row['seconds_per_step']:.3f}",
        f"{row['seconds_min']:.3f}-{row['seconds_max']:.3f}",
        f"{row['cpu_seconds_per_step']:.2f}",
        f"{row['samples_per_second']:.1f}",
    ]


def memory_and_ratio_cells(row: Mapping[str, Any]) -> list[str]:
    """Write what stands under ``MEMORY_AND_RATIOS``."""
    found, device = row["reference"], row["device_memory_peak"]
    return [
        report.gib(row["memory_peak"] if device is None else device),
        f"{found['faster']:.2f} ({found['faster_min']:.2f}-{found['faster_max']:.2f})"
        if found
        else "-",
        f"{found['less_cpu']:.2f}" if found else "-",
        f"{found['smaller']:.2f}" if found else "-",
    ]
