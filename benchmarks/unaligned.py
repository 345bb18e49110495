"""What the CTC alignment module costs: one training step of TAILOR with and without it.

Without it TAILOR takes a batch whose modalities have all --target steps; with it visual and audio
have --source steps and are aligned first. Both take turns in one process, in the parts that the
training loop computes at once (--whole: everything at once), with its optimizer and clipping. On a
busy machine compare the processor seconds. With --ragged lengths differ from sample to sample, from
a tenth of these up to all.

The profile times the module's own parts, forward and backward, on the whole batch: the LSTM, the
softmax with the weighted sum, and the CTC loss.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks import memory, report
from benchmarks.specification import DIMS
from emotailor.config import parse_overrides
from emotailor.data.batching import Batch, split_by_steps
from emotailor.data.sample import MODALITIES
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.ctc import CTCAlignment
from emotailor.models.base import EmotionModel
from emotailor.models.factory import build_model
from emotailor.models.tailor.config import TailorConfig
from emotailor.training.recipe import recipe
from emotailor.training.step import CPU_PART_STEPS, TrainingStep
from emotailor.training.threads import Workers

LABELS = 6


def draw(size: int, source: int, target: int, *, ragged: bool) -> Batch:
    """A batch of random features; its longest sample has the steps given."""
    steps = {"visual": source, "audio": source, "text": target}
    share = torch.linspace(0.1, 1, size) if ragged and size > 1 else torch.ones(size)
    values, masks = {}, {}
    for m in MODALITIES:
        lengths = (share * steps[m]).ceil()
        masks[m] = torch.arange(steps[m]) < lengths[:, None]
        values[m] = torch.randn(size, steps[m], DIMS[m]) * masks[m][..., None]
    labels = (torch.rand(size, LABELS) < 0.25).float()
    return Batch(values, masks, labels, [str(i) for i in range(size)])


class Program:
    """A model and its optimizer.

    Args:
        config: of TAILOR.
        alignment: what is before it.
        batch: on which it is trained.
        whole: compute the batch at once.
    """

    def __init__(
        self,
        config: TailorConfig,
        alignment: AlignmentConfig,
        batch: Batch,
        *,
        whole: bool,
    ) -> None:
        torch.manual_seed(0)
        self.model: EmotionModel = build_model("tailor", config, DIMS, LABELS, alignment)
        training = recipe("tailor", aligned=False)
        self.learning_rate = training.learning_rate
        # one worker: both programs take turns, and processor seconds are compared
        self.training_step = TrainingStep(self.model, training, Workers(1, None))
        self.parts = [batch] if whole else split(batch)
        self.steps_done = 0

    def step(self) -> None:
        """Take one optimizer step."""
        self.training_step.train_mode()
        size = sum(len(part) for part in self.parts)
        self.training_step.add_batch(
            self.parts, lambda part: part, batch_size=size, update_size=size
        )
        self.steps_done += 1
        self.training_step.update(self.learning_rate, self.steps_done)


def split(batch: Batch) -> list[Batch]:
    """The parts that the training loop computes at once, by the steps of the text."""
    lengths = batch.masks["text"].sum(1).numpy()
    rows = [torch.from_numpy(part) for part in split_by_steps(lengths, CPU_PART_STEPS)]
    assert batch.labels is not None
    parts = []
    for r in rows:
        longest = {m: int(x[r].sum(1).max()) for m, x in batch.masks.items()}
        parts.append(
            Batch(
                {m: x[r, : longest[m]] for m, x in batch.values.items()},
                {m: x[r, : longest[m]] for m, x in batch.masks.items()},
                batch.labels[r],
                [batch.ids[i] for i in r],
            )
        )
    return parts


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and processor seconds of one call."""
    started, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - used


def profile(batch: Batch, repeats: int) -> dict[str, float]:
    """Processor seconds of the parts of both modules, forward and backward; the least of some."""
    found = {"lstm": 0.0, "softmax and sum": 0.0, "ctc loss": 0.0}
    lengths = batch.masks["text"].sum(1)
    for m in ("visual", "audio"):
        module = CTCAlignment(DIMS[m], int(lengths.max()))
        values, mask = batch.values[m], batch.masks[m]

        def lstm(module: CTCAlignment = module, x: Any = values, mask: Any = mask) -> None:
            module.lstm(x, mask)[0].sum().backward()

        def aligned(
            loss: bool, module: CTCAlignment = module, x: Any = values, mask: Any = mask
        ) -> None:
            result = module(x, mask, lengths, loss=loss)
            total = result.values.sum()
            (total if result.loss is None else total + result.loss.sum()).backward()

        works: list[Callable[[], None]] = [lstm, lambda: aligned(False), lambda: aligned(True)]
        times = [min(clocked(work)[1] for _ in range(repeats + 1)) for work in works]
        for key, more, less in zip(found, times, [0.0, *times], strict=False):
            found[key] += max(more - less, 0.0)
    return found


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--batch", type=report.positive, default=64)
    parser.add_argument("--source", type=report.positive, default=500, help="visual, audio steps")
    parser.add_argument("--target", type=report.positive, default=50, help="steps of the text")
    parser.add_argument("--repeats", type=report.positive, default=3)
    parser.add_argument("--threads", type=report.positive, help="of torch; default: its own choice")
    parser.add_argument("--ragged", action="store_true", help="lengths that differ")
    parser.add_argument("--whole", action="store_true", help="compute the whole batch at once")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of TAILOR"
    )
    args = parser.parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = TailorConfig.paper().replace(**parse_overrides(args.set))
    ctc = AlignmentConfig(kind="ctc", target_steps=args.target)
    none = AlignmentConfig(kind="none")
    plain, native = (
        draw(args.batch, n, args.target, ragged=args.ragged) for n in (args.target, args.source)
    )
    programs = {
        "without": Program(config, none, plain, whole=args.whole),
        "aligned": Program(config, ctc, native, whole=args.whole),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for _ in range(args.repeats + 1):  # in turns; the first is not counted
        for name, program in programs.items():
            times[name].append(clocked(program.step))
    rows: list[dict[str, Any]] = [
        {
            "program": name,
            "seconds": [a for a, _ in taken[1:]],
            "cpu_seconds": [b for _, b in taken[1:]],
            "seconds_median": median(a for a, _ in taken[1:]),
            "cpu_seconds_median": median(b for _, b in taken[1:]),
        }
        for name, taken in times.items()
    ]
    base = rows[0]
    for row in rows:
        for key in ("seconds", "cpu_seconds"):
            row[f"added_{key}"] = row[f"{key}_median"] / base[f"{key}_median"] - 1
    result: dict[str, Any] = {
        "benchmark": "unaligned",
        "machine": report.describe_machine(threads=args.threads),
        "settings": {**vars(args), "json": None},
        "rows": rows,
        "profile_cpu_seconds": profile(native, args.repeats),
        "memory_peak": memory.peak(),
    }
    report.show(
        f"TAILOR step, batch {args.batch}, steps {args.source}/{args.source}/{args.target}",
        ["program", "s/step", "CPU s", "added", "added CPU"],
        [
            [
                row["program"],
                f"{row['seconds_median']:.2f}",
                f"{row['cpu_seconds_median']:.2f}",
                f"{row['added_seconds']:+.0%}",
                f"{row['added_cpu_seconds']:+.0%}",
            ]
            for row in rows
        ],
        [
            "module, whole batch, CPU s: "
            + ", ".join(f"{k} {v:.2f}" for k, v in result["profile_cpu_seconds"].items()),
            f"peak memory of both: {report.gib(result['memory_peak'])} GiB",
        ],
    )
    report.save(args.json, result)
    return result


if __name__ == "__main__":
    report.run(main)
