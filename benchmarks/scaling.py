"""How the cost of our training step grows: with the batch, the sequence, and the steps of a run.

Each size is measured in a process of its own, whose peak memory is the size's. ``growth`` is the
slope of the logarithm of the time (on a CPU: of its seconds in all threads, which other work
disturbs less) over that of the size: 1 is proportional, 2 quadratic. The run
trains on CMU-MOSEI's lengths and compares its first quarter with its last: neither time nor memory
should grow with the number of steps. The model is
that of the paper.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.comparison import choose_batches
from benchmarks.flops import training_flops
from benchmarks.specification import Specification
from benchmarks.worker import Worker
from emotailor.config import parse_overrides
from emotailor.models.tailor.config import TailorConfig


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Return the least-squares slope of log seconds over log size; None for one size."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum()) if len(set(sizes)) > 1 else None


def measure_size(spec: Specification, batch: int, steps: int, repeats: int) -> dict[str, Any]:
    """Measure the step at one size."""
    with Worker(spec) as worker:
        answers = [worker.run("train", [steps] * batch, seed) for seed in range(repeats + 1)]
        memory, threads = worker.memory(), worker.ready["threads"]
    seconds = [answer["seconds"] for answer in answers[1:]]
    flops = sum(
        training_flops(spec.tailor, spec.dims, spec.num_labels, *shape)
        for shape in answers[-1]["shapes"]
    )
    return {
        "batch": batch,
        "steps": steps,
        **{f"seconds_{key}": value for key, value in report.spread(seconds).items()},
        "cpu_seconds_median": median(answer["cpu_seconds"] for answer in answers[1:]),
        "samples_per_second": batch / median(seconds),
        "microseconds_per_sequence_step": 1e6 * median(seconds) / (batch * steps),
        "gflop_per_second": flops / median(seconds) / 1e9,
        "memory_peak": memory["peak"],
        "device_memory_peak": memory["device_peak"],
        "threads": threads,
    }


def measure_run(spec: Specification, batch: int, count: int) -> dict[str, Any]:
    """Train ``count`` steps; compare the first quarter with the last."""
    quarter = max(count // 4, 1)
    # the same lengths in each quarter, or their difference would look like drift
    lengths = choose_batches("mosei", "train", batch, spec.tailor.max_steps, quarter)
    seconds, memory = [], []
    with Worker(spec) as worker:
        for _ in range(2):  # the longest first: memory is taken once
            worker.run("train", lengths[-1], seed=0)
        for i in range(count):
            seconds.append(worker.run("train", lengths[i % quarter], seed=i)["seconds"])
            memory.append(worker.memory()["now"])
    return {
        "batch": batch,
        "count": count,
        "seconds_first_quarter": fmean(seconds[:quarter]),
        "seconds_last_quarter": fmean(seconds[-quarter:]),
        "memory_first_quarter": memory[quarter - 1],
        "memory_end": memory[-1],
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--batches", nargs="+", type=report.positive, default=[8, 16, 32, 64])
    parser.add_argument("--steps", nargs="+", type=report.positive, default=[15, 30, 60])
    parser.add_argument("--batch", type=report.positive, default=32, help="of --steps and the run")
    parser.add_argument("--run", type=report.positive, default=24, help="steps of the run")
    parser.add_argument("--repeats", type=report.positive, default=3)
    report.add_device(parser)
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    args.device = report.choose_device(args.device)
    overrides = parse_overrides(args.set)
    model = TailorConfig.paper().replace(**overrides)
    longest = max(model.max_steps, *args.steps)
    model = model.replace(max_steps=longest)
    spec = Specification(model=model, device=args.device, threads=args.threads)

    rates = [report.product_rates(args.device, args.threads)]
    full = min(60, longest)
    groups: dict[str, list[dict[str, Any]]] = {"batch": [], "steps": []}
    for batch in args.batches:
        groups["batch"].append(measure_size(spec, batch, full, args.repeats))
    for steps in args.steps:
        groups["steps"].append(measure_size(spec, args.batch, steps, args.repeats))
    drift = measure_run(spec, args.batch, args.run)
    rates.append(report.product_rates(args.device, args.threads))
    best = report.best_rates(rates)
    rows = [{"varied": name, **row} for name, part in groups.items() for row in part]
    for row in rows:
        row["share_of_product_rate"] = row["gflop_per_second"] / best["fp32"]
    cost = "cpu_seconds_median" if args.device == "cpu" else "seconds_median"
    slopes = {
        name: growth([row[name] for row in part], [row[cost] for row in part])
        for name, part in groups.items()
    }
    machine = report.describe_machine(args.device, rows[0]["threads"])
    result = {
        "benchmark": "scaling",
        "machine": machine,
        "product_gflop_per_second": best,
        "settings": {"repeats": args.repeats, "set": overrides},
        "rows": rows,
        "growth": slopes,
        "run": drift,
    }
    report.show(
        "Training step by size",
        [
            "varied",
            "batch",
            "steps",
            "s/step",
            "min-max",
            "CPU s",
            "samples/s",
            "us/sequence step",
            "GFLOP/s",
            "of product rate",
            "GiB peak",
        ],
        [_cells(row) for row in rows],
        [
            report.machine_line(machine, best),
            "growth: "
            + ", ".join(
                f"{name} {'-' if slope is None else f'{slope:.2f}'}"
                for name, slope in slopes.items()
            ),
            f"run of {drift['count']} steps, batch {drift['batch']}: "
            f"{drift['seconds_first_quarter']:.3f} s a step in its first quarter, "
            f"{drift['seconds_last_quarter']:.3f} s in its last; resident "
            f"{report.gib(drift['memory_first_quarter'])} GiB, then "
            f"{report.gib(drift['memory_end'])} GiB",
        ],
    )
    report.save(args.json, result)
    return result


def _cells(row: Mapping[str, Any]) -> list[str]:
    device = row["device_memory_peak"]
    return [
        row["varied"],
        str(row["batch"]),
        str(row["steps"]),
        f"{row['seconds_median']:.3f}",
        f"{row['seconds_min']:.3f}-{row['seconds_max']:.3f}",
        f"{row['cpu_seconds_median']:.2f}",
        f"{row['samples_per_second']:.1f}",
        f"{row['microseconds_per_sequence_step']:.0f}",
        f"{row['gflop_per_second']:.1f}",
        f"{row['share_of_product_rate']:.0%}",
        report.gib(row["memory_peak"] if device is None else device),
    ]


if __name__ == "__main__":
    report.run(main)
