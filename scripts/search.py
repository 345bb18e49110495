"""Random search of TAILOR settings on the validation split; the test split is never read.

    python scripts/search.py DATA --trials 60 --seeds 3 --out search.jsonl

Every trial draws settings from ``SPACE`` and trains them with a few seeds. Trials are ranked by
:func:`rank` of the selected epoch's scores (threshold tuned on the same split), averaged over the
seeds. Finished trials are kept in the output file, so the search goes on where it stopped.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

SPACE: dict[str, list[Any]] = {
    "model.hidden_size": [64, 128],
    "model.feedforward_size": [128],
    "model.heads": [4],
    "model.layers": [1, 2],  # of each uni-modal encoder
    "model.cross_layers": [1, 2],
    "model.input_dropout": [0.2, 0.4, 0.6],
    "model.dropout": [0.1, 0.3],
    "model.refinement_dropout": [0.1],
    "model.initial_std": [0.05, 0.1],
    "model.discriminator": ["linear", "mlp"],
    "training.learning_rate": [3e-4, 5e-4, 1e-3],
    "training.weight_decay": [0.03, 0.3, 1.0],
    "training.batch_size": [32, 64],
    "training.epochs": [20, 40],
}


def rank(record: dict[str, Any]) -> float:
    """Mean of the validation micro-F1 and mAP of a trial."""
    return float(record["valid"]["micro_f1"] + record["valid"]["mean_average_precision"]) / 2


def draw(trial: int) -> dict[str, dict[str, Any]]:
    """Return the nested settings of a trial; they depend on its number alone."""
    rng = np.random.default_rng([20260101, trial])
    flat = {key: values[int(rng.integers(len(values)))] for key, values in SPACE.items()}
    layers = flat.pop("model.layers")
    flat |= {f"model.{m}_layers": layers for m in ("visual", "audio", "text")}
    settings: dict[str, dict[str, Any]] = {"model": {}, "training": {"select_by": "tuned"}}
    for key, value in flat.items():
        room, _, name = key.partition(".")
        settings[room][name] = value
    return settings


def run(task: tuple[str, int, int]) -> dict[str, Any]:
    """Train one trial with some seeds and return its validation scores."""
    import torch

    from emotailor.configs.run import RunConfig
    from emotailor.training.loop import train

    data, trial, seeds = task
    torch.set_num_threads(1)
    settings = draw(trial)
    scores = []
    for seed in range(seeds):
        config = RunConfig.build(
            settings, {"data": {"path": data}, "training": {"seed": seed, "device": "cpu"}}
        )
        with tempfile.TemporaryDirectory() as folder:
            scores.append(train(config, Path(folder) / "run").best["valid"])
    keys = ("micro_f1", "mean_average_precision", "mean_roc_auc", "loss")
    means = {key: float(np.mean([score[key] for score in scores])) for key in keys}
    return {"trial": trial, "valid": means, "settings": settings}


def main() -> None:
    """Search, then print the best trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="stored data set")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("search.jsonl"))
    parser.add_argument("--refine", type=Path, help="only the best trials of this earlier search")
    args = parser.parse_args()
    done = []
    if args.out.exists():
        done = [json.loads(line) for line in args.out.read_text().splitlines()]
    wanted = set(range(args.trials))
    if args.refine:
        first = [json.loads(line) for line in args.refine.read_text().splitlines()]
        best = sorted(first, key=rank, reverse=True)[: args.trials]
        wanted = {record["trial"] for record in best}
    left = sorted(wanted - {record["trial"] for record in done})
    with ProcessPoolExecutor(args.jobs) as pool, args.out.open("a") as file:
        for record in pool.map(run, [(args.data, trial, args.seeds) for trial in left]):
            done.append(record)
            print(json.dumps(record), file=file, flush=True)
    for record in sorted(done, key=rank, reverse=True)[:5]:
        print(json.dumps(record))


if __name__ == "__main__":
    main()
