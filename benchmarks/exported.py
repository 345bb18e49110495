"""Prediction by ONNX Runtime beside PyTorch: TAILOR of the paper's sizes, drawn weights.

The ways compute the same batches in turns, with the same number of threads, so that their ratio
stands even where other work disturbs the seconds. Samples have CMU-MOSEI's lengths (--lengths full:
all 60 steps); with --unaligned text has 50 steps, audio and visual 500 each. Making batches is not
counted, and neither is standardisation, which is inside a graph: these models have none. `int8` is
the graph with weights of 8 bits.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.specification import DIMS, draw_lengths
from emotailor.data.batching import Batch
from emotailor.data.sample import EMOTIONS, Modality
from emotailor.evaluation.thresholds import Thresholds
from emotailor.export.int8 import rounded
from emotailor.export.onnx_model import run_graph, start_session
from emotailor.export.record import record
from emotailor.files import write_json
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.training.model_folder import LoadedModel, ModelCard

UNALIGNED: dict[Modality, int] = {"visual": 500, "audio": 500, "text": 50}
ALIGNED = 60
Way = Literal["torch", "onnx", "int8"]


def paper_model(*, aligned: bool) -> LoadedModel:
    """Return TAILOR of the paper's sizes, with drawn weights."""
    torch.manual_seed(0)
    config = TailorConfig(initial_std=0.1)
    if not aligned:
        config = TailorConfig(initial_std=0.1, common="concatenate", modality_max_steps=UNALIGNED)
    model = Tailor(config, DIMS, len(EMOTIONS)).eval()
    card = ModelCard(
        system="tailor",
        config=config.to_json(),
        label_names=EMOTIONS,
        dims=DIMS,
        aligned=aligned,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(EMOTIONS, 0.5)},
    )
    return LoadedModel(card, model, None)


def batch_of(lengths: Sequence[dict[Modality, int]], seed: int) -> Batch:
    """Return drawn features of these lengths, padded to the longest."""
    rng = np.random.default_rng(seed)
    values = {}
    masks = {}
    for m, dim in DIMS.items():
        own = np.array([one[m] for one in lengths])
        mask = np.arange(own.max()) < own[:, None]
        x = rng.normal(size=(*mask.shape, dim)) * mask[..., None]
        values[m] = torch.from_numpy(x.astype(np.float32))
        masks[m] = torch.from_numpy(mask)
    return Batch(values, masks, None, [str(k) for k in range(len(lengths))])


def draw_batches(size: int, count: int, *, aligned: bool, full: bool) -> list[Batch]:
    """Return batches of one size."""
    batches = []
    for number in range(count):
        if aligned:
            drawn = draw_lengths("full" if full else "mosei", size, ALIGNED, number)
            lengths = [dict.fromkeys(DIMS, int(steps)) for steps in drawn]
        else:
            lengths = [UNALIGNED] * size
        batches.append(batch_of(lengths, number))
    return batches


def measure(
    ways: dict[Way, Callable[[Batch], object]], batches: Sequence[Batch], repeats: int
) -> dict[Way, dict[str, list[float]]]:
    """Return wall and processor seconds of each way, a number for each batch and repeat."""
    found: dict[Way, dict[str, list[float]]] = {way: {"wall": [], "cpu": []} for way in ways}
    for batch in batches[:2]:
        for compute in ways.values():
            compute(batch)
    for _ in range(repeats):
        for batch in batches:
            for way, compute in ways.items():
                wall = time.perf_counter()
                cpu = time.process_time()
                compute(batch)
                found[way]["cpu"].append(time.process_time() - cpu)
                found[way]["wall"].append(time.perf_counter() - wall)
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--batch", type=report.positive, nargs="+", default=[1, 8, 64])
    parser.add_argument("--batches", type=report.positive, default=20)
    parser.add_argument("--repeats", type=report.positive, default=3)
    parser.add_argument("--threads", type=report.positive, default=torch.get_num_threads())
    parser.add_argument("--lengths", choices=["mosei", "full"], default="mosei")
    parser.add_argument("--unaligned", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)

    loaded = paper_model(aligned=not given.unaligned)
    graph = record(loaded, ())
    sessions = {
        "onnx": start_session(graph, given.threads),
        "int8": start_session(rounded(graph), given.threads),
    }

    def by_torch(batch: Batch) -> object:
        with torch.inference_mode():
            return loaded.model(batch).logits

    def by_graph(name: str) -> Callable[[Batch], object]:
        session = sessions[name]
        return lambda batch: run_graph(session, ["logits"], batch.values, batch.masks)

    ways: dict[Way, Callable[[Batch], object]] = {
        "torch": by_torch,
        "onnx": by_graph("onnx"),
        "int8": by_graph("int8"),
    }
    rows = []
    for size in given.batch:
        count = max(2, given.batches // size)
        batches = draw_batches(
            size, count, aligned=not given.unaligned, full=given.lengths == "full"
        )
        seconds = measure(ways, batches, given.repeats)
        row: dict[str, Any] = {"batch": size, "batches": count}
        for way, clocks in seconds.items():
            for clock, values in clocks.items():
                row[f"{way} {clock}"] = statistics.median(values)
        rows.append(row)

    saved = {
        "benchmark": "exported",
        "machine": report.describe_machine(threads=given.threads),
        "lengths": "unaligned" if given.unaligned else given.lengths,
        "rows": rows,
    }
    _show(saved)
    if given.json:
        write_json(given.json, saved)
    return saved


def _show(saved: dict[str, Any]) -> None:
    table = Table("batch", "way", "ms", "CPU ms", "times faster", "less CPU")
    for row in saved["rows"]:
        for way in ("torch", "onnx", "int8"):
            wall = row[f"{way} wall"]
            cpu = row[f"{way} cpu"]
            table.add_row(
                str(row["batch"]),
                way,
                f"{1e3 * wall:.1f}",
                f"{1e3 * cpu:.1f}",
                f"{row['torch wall'] / wall:.2f}",
                f"{row['torch cpu'] / cpu:.2f}",
            )
    machine = saved["machine"]
    console = Console()
    console.print(table)
    console.print(
        f"{machine['device_name']}, {machine['threads']} threads, load {machine['load']:.1f}, "
        f"lengths {saved['lengths']}: medians"
    )


if __name__ == "__main__":
    report.run(main)
