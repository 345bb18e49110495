"""Evidence of an utterance: all of it, and what a timeline needs, beside doing it in full.

In full, every hidden step is a pass through the whole model (the plain way). Ours leaves out what
hidden steps do not change: encoders of other modalities, the fusions before the one that they
enter, pieces of hidden words; and adapters are part of the weights. A timeline needs the evidence
of whole modalities and of each word, and nothing of single pictures and sounds.

Models are TAILOR with the paper's sizes and drawn weights, on three aligned modalities, and with
--model also a trained one, on --data. All ways explain the same utterances in turns, so that the
ratios stand even where other work disturbs the seconds, which are those of the processor.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from emotailor.data.sample import EMOTIONS, Modality, Sample
from emotailor.data.store import open_dataset
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.nn.plain import plain_paths
from emotailor.serving.prediction import Explanation
from emotailor.serving.predictor import Predictor
from emotailor.training.model_folder import LoadedModel, ModelCard

DIMS: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
WAYS = ("in full", "ours", "for a timeline")


def paper_model() -> Predictor:
    """Return TAILOR of the paper's sizes, with drawn weights."""
    torch.manual_seed(0)
    config = TailorConfig(initial_std=0.1)
    model = Tailor(config, DIMS, len(EMOTIONS)).eval()
    card = ModelCard(
        system="tailor",
        config=config.to_json(),
        label_names=EMOTIONS,
        dims=DIMS,
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(EMOTIONS, 0.5)},
    )
    return Predictor(LoadedModel(card, model, None))


def drawn_samples(count: int) -> list[Sample]:
    """Return utterances of 10 to 30 words."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        steps = int(rng.integers(10, 31))
        sequences = {}
        for m, dim in DIMS.items():
            sequences[m] = rng.normal(size=(steps, dim)).astype(np.float32)
        words = [f"word{i}" for i in range(steps)]
        samples.append(Sample(f"utterance{number}", sequences, words=words))
    return samples


def measure(predictor: Predictor, samples: Sequence[Sample]) -> dict[str, Any]:
    """Explain samples in each way in turns."""
    ways: dict[str, Callable[[Sample], Explanation]] = {
        "in full": predictor.explain,
        "ours": predictor.explain,
        "for a timeline": lambda sample: predictor.explain(sample, steps_of=("text",)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    apart = 0.0
    predictor.explain(samples[0])  # what is loaded at first use is not counted
    for sample in samples:
        found = {}
        for way, explain in ways.items():
            with plain_paths() if way == "in full" else nullcontext():
                start = time.process_time()
                found[way] = explain(sample)
                seconds[way].append(time.process_time() - start)
        for way in WAYS[1:]:
            apart = max(apart, _apart(found["in full"], found[way]))

    full = seconds["in full"]
    ratios = {}
    for way in WAYS[1:]:
        pairs = zip(full, seconds[way], strict=True)
        ratios[way] = statistics.median(slow / fast for slow, fast in pairs)
    steps = [len(next(iter(sample.sequences.values()))) for sample in samples]
    return {"seconds": seconds, "ratios": ratios, "apart": apart, "steps": statistics.mean(steps)}


def _apart(one: Explanation, other: Explanation) -> float:
    """Return the largest difference of evidence that both have."""
    differences = []
    for label, steps in other.steps.items():
        for m, drops in steps.items():
            differences.append(float(np.abs(drops - one.steps[label][m]).max()))
        for m, drop in other.modalities[label].items():
            differences.append(abs(drop - one.modalities[label][m]))
    return max(differences)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print and save; return what was saved."""
    parser = report.parser(__doc__)
    parser.add_argument("--utterances", type=report.positive, default=10)
    parser.add_argument("--model", type=Path, help="a run folder or model folder")
    parser.add_argument("--data", type=Path, help="a data set that it fits, with a split test")
    parser.add_argument("--threads", type=report.positive, help="of torch; default: its own choice")
    args = parser.parse_args(arguments)
    report.check_json(args.json)
    if args.threads:
        torch.set_num_threads(args.threads)

    rows = {"TAILOR, paper": measure(paper_model(), drawn_samples(args.utterances))}
    if args.model is not None and args.data is not None:
        split = open_dataset(args.data)["test"]
        samples = [split.sample(i) for i in range(min(args.utterances, len(split)))]
        predictor = Predictor.load(args.model, device="cpu")
        rows[args.model.name] = measure(predictor, samples)

    machine = report.describe_machine("cpu", args.threads)
    report.show(
        "Evidence of an utterance, median CPU s and median ratio to doing it in full",
        ["model", "steps", *[f"s {way}" for way in WAYS], *WAYS[1:], "apart"],
        [_cells(name, row) for name, row in rows.items()],
        [report.machine_line(machine)],
    )
    result = {"benchmark": "explaining", "machine": machine, "models": rows}
    report.save(args.json, result)
    return result


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    seconds = [f"{statistics.median(row['seconds'][way]):.2f}" for way in WAYS]
    ratios = [f"{row['ratios'][way]:.1f}" for way in WAYS[1:]]
    return [name, f"{row['steps']:.0f}", *seconds, *ratios, f"{row['apart']:.0e}"]


if __name__ == "__main__":
    report.run(main)
