"""The contrastive loss of CARAT and LDDU, as shipped: pairs of new rows alone, beside all pairs.

A step is the loss and its gradient for the new rows of a batch of 64 with six labels, and their way
into the queue. In full, the matrix of all pairs is formed and differentiated by torch (the plain
way); ours computes the pairs of the new rows, and keeps what it knows of the queue's. Both get the
same rows and the same queue, in turns, so the ratio stands even where other work disturbs the
seconds.

Printed: seconds of the clock and of the processor, the median of the ratios, the largest difference
of a gradient relative to the largest gradient, and the seconds of our first step, which computes
all pairs of the queue once. In full a step of CARAT takes some GiB.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import report
from emotailor.models.carat.config import CARATConfig
from emotailor.models.lddu.config import LDDUConfig
from emotailor.nn.contrastive import ContrastiveQueue, supervised_contrast
from emotailor.nn.plain import plain_paths

MODALITIES = 3
LABELS = 6
CLASSES = MODALITIES * LABELS * 2


@dataclass(frozen=True)
class Sizes:
    """What a system contrasts.

    Attributes:
        per_sample: rows of a sample.
        width: of a row.
        squared_length: of a row.
        queue: rows of the queue.
        temperature: that of the scores.
    """

    per_sample: int
    width: int
    squared_length: float
    queue: int
    temperature: float


def sizes_of(system: str) -> Sizes:
    """Return the sizes of a system as its program ships it."""
    if system == "carat":
        carat = CARATConfig.paper()
        # of the representation and of both rebuildings
        rows = 3 * MODALITIES * LABELS
        return Sizes(rows, carat.latent_size, 1.0, carat.queue_size, carat.temperature)

    lddu = LDDUConfig.paper()
    return Sizes(
        per_sample=MODALITIES * LABELS,
        width=2 * lddu.latent_size,
        squared_length=2.0,
        queue=lddu.queue_size,
        temperature=2 * lddu.temperature,
    )


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        seconds: of the clock.
        cpu_seconds: of the processor.
        loss: its value.
        gradient: of the rows.
    """

    seconds: float
    cpu_seconds: float
    loss: float
    gradient: Tensor


def timed(contrast: Callable[[Tensor], Tensor], rows: Tensor) -> Step:
    """Compute loss and gradient."""
    learned = rows.clone().requires_grad_()
    clock = time.perf_counter()
    cpu = time.process_time()
    loss = contrast(learned)
    torch.autograd.backward(loss)
    cpu_seconds = time.process_time() - cpu
    seconds = time.perf_counter() - clock
    assert learned.grad is not None
    return Step(seconds, cpu_seconds, loss.item(), learned.grad)


def measure(sizes: Sizes, batch: int, repeats: int) -> dict[str, Any]:
    """Measure both ways in turns, over steps of a training."""
    source = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        drawn = torch.randn(count, sizes.width, generator=source)
        rows = F.normalize(drawn, dim=1) * sizes.squared_length**0.5
        return rows, torch.randint(CLASSES, (count,), generator=source)

    rows, classes = draw(sizes.queue)
    queue = ContrastiveQueue(rows, squared_length=sizes.squared_length)
    queue.classes.copy_(classes)

    def contrast(learned: Tensor) -> Tensor:
        return supervised_contrast(learned, classes, queue, sizes.temperature, enter=True)

    def in_full(learned: Tensor) -> Tensor:
        other = deepcopy(queue)
        with plain_paths():
            return supervised_contrast(learned, classes, other, sizes.temperature, enter=True)

    ours: list[Step] = []
    full: list[Step] = []
    for _ in range(repeats + 1):
        rows, classes = draw(batch * sizes.per_sample)
        full.append(timed(in_full, rows))
        ours.append(timed(contrast, rows))

    apart = [_apart(a, b) for a, b in zip(ours, full, strict=True)]
    # the first step computes all pairs of the queue
    pairs = list(zip(ours[1:], full[1:], strict=True))
    return {
        "new_rows": batch * sizes.per_sample,
        "queue": sizes.queue,
        "width": sizes.width,
        "ours": [step.seconds for step in ours[1:]],
        "full": [step.seconds for step in full[1:]],
        "ours_cpu": [step.cpu_seconds for step in ours[1:]],
        "full_cpu": [step.cpu_seconds for step in full[1:]],
        "first": ours[0].seconds,
        "ratio": statistics.median(b.seconds / a.seconds for a, b in pairs),
        "cpu_ratio": statistics.median(b.cpu_seconds / a.cpu_seconds for a, b in pairs),
        "loss_apart": max(abs(a.loss / b.loss - 1) for a, b in zip(ours, full, strict=True)),
        "gradient_apart": max(apart),
    }


def _apart(ours: Step, full: Step) -> float:
    """The largest difference of the gradients, relative to the largest."""
    difference = (ours.gradient - full.gradient).abs().max()
    return float(difference / full.gradient.abs().max())


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument(
        "--systems", nargs="+", choices=("carat", "lddu"), default=["lddu", "carat"]
    )
    parser.add_argument("--batch", type=report.positive, default=64)
    parser.add_argument("--repeats", type=report.positive, default=3)
    parser.add_argument("--threads", type=report.positive, help="of torch; default: its own choice")
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)

    rows = {name: measure(sizes_of(name), args.batch, args.repeats) for name in args.systems}
    machine = report.describe_machine("cpu", args.threads)
    report.show(
        "Contrastive loss and its gradient, median of a step",
        [
            "system", "new rows", "queue", "width", "s ours", "s in full", "CPU s ours",
            "CPU s in full", "ratio", "CPU ratio", "gradients apart", "s first",
        ],
        [_cells(name, row) for name, row in rows.items()],
        [report.machine_line(machine)],
    )  # fmt: skip
    result = {"benchmark": "contrast", "machine": machine, "batch": args.batch, "systems": rows}
    report.save(args.json, result)
    return result


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    times = [statistics.median(row[key]) for key in ("ours", "full", "ours_cpu", "full_cpu")]
    sizes = [str(row[key]) for key in ("new_rows", "queue", "width")]
    return [
        name,
        *sizes,
        *[f"{seconds:.2f}" for seconds in times],
        f"{row['ratio']:.1f}",
        f"{row['cpu_ratio']:.1f}",
        f"{row['gradient_apart']:.0e}",
        f"{row['first']:.2f}",
    ]


if __name__ == "__main__":
    report.run(main)
