"""Random search of settings on the validation split, with equal effort for every system.

    python scripts/search.py DATA --systems all --trials 6 --out search/

Every trial of a system draws settings from its row of the table of systems (``search``) and from
``TRAINING``, and trains
them with a few seeds; the test split is never read. Trials are ranked by the mean of validation
micro-F1 (threshold tuned on the same split) and mAP. Finished trials are kept in the output folder,
so the search resumes where it stopped. It ends by writing ``best.toml`` for `emotailor benchmark
--config`.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from emotailor.config import merge, parse_overrides
from emotailor.files import write_text
from emotailor.models.table import SYSTEMS

Settings = dict[str, Any]

TRAINING: dict[str, list[Any]] = {
    "learning_rate": [3e-4, 1e-3, 3e-3],
    "weight_decay": [0.0, 0.1],
}
FIXED: Settings = {"batch_size": 32, "select_by": "tuned", "schedule": "linear"}


def rank(record: Mapping[str, Any]) -> float:
    """Mean of the validation micro-F1 and mAP of a trial."""
    return float(record["valid"]["micro_f1"] + record["valid"]["mean_average_precision"]) / 2


def draw(system: str, trial: int) -> Settings:
    """Return the nested settings of a trial; they depend on system and number alone."""
    choices = SYSTEMS[system].search
    if len(choices) == 1:  # a grid, tried in order
        return {"model": choices[0][trial % len(choices[0])], "training": {"select_by": "tuned"}}
    rng = np.random.default_rng([20260101, trial, *system.encode()])
    model = merge(*(options[int(rng.integers(len(options)))] for options in choices))
    training = {name: values[int(rng.integers(len(values)))] for name, values in TRAINING.items()}
    return {"model": model, "training": {**FIXED, **training}}


def run(task: tuple[str, str, int, int, Settings]) -> dict[str, Any]:
    """Train one trial of a system with some seeds and return its validation scores."""
    import torch

    from emotailor.training.run import train
    from emotailor.training.run_config import RunConfig

    data, system, trial, seeds, given = task
    torch.set_num_threads(1)
    settings = merge(draw(system, trial), given)
    scores = []
    for seed in range(seeds):
        config = RunConfig.build(
            settings,
            {"data": {"path": data}, "training": {"seed": seed, "device": "cpu"}},
            system=system,
        )
        with tempfile.TemporaryDirectory() as folder:
            scores.append(train(config, Path(folder) / "run").best.valid)
    keys = ("micro_f1", "mean_average_precision", "mean_roc_auc", "loss")
    means = {key: float(np.mean([score[key] for score in scores])) for key in keys}
    return {"system": system, "trial": trial, "valid": means, "settings": settings}


def to_toml(best: Mapping[str, Settings]) -> str:
    """Write the settings of every system as tables of `emotailor benchmark --config`."""
    lines = ["# Found by scripts/search.py on validation data alone.\n"]
    for system, settings in best.items():
        for room, values in settings.items():
            lines.append(f"\n[{system}.{room}]\n")
            lines += [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    return "".join(lines)


def main() -> None:
    """Search, then print the best trial of each system and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="stored data set")
    parser.add_argument("--systems", default="all", help="names, separated by commas")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE, for every trial")
    parser.add_argument("--out", type=Path, default=Path("search"))
    args = parser.parse_args()
    systems = list(SYSTEMS) if args.systems == "all" else args.systems.split(",")
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "trials.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(record["system"], record["trial"]) for record in done}
    given = parse_overrides(args.set)
    tasks = [
        (args.data, system, trial, args.seeds, given)
        for trial in range(args.trials)
        for system in systems
        if (system, trial) not in known
    ]
    with ProcessPoolExecutor(args.jobs) as pool, log.open("a") as file:
        for task, future in [(task, pool.submit(run, task)) for task in tasks]:
            try:
                record = future.result()
            except Exception as error:  # one trial must not end the others
                print(f"{task[1]}, trial {task[2]}: {error}")
                continue
            done.append(record)
            print(json.dumps(record), file=file, flush=True)
    best = {}
    for system in systems:
        records = [record for record in done if record["system"] == system]
        if records:
            first = max(records, key=rank)
            best[system] = first["settings"]
            print(f"{system}: {len(records)} trials, best {rank(first):.4f} {first['valid']}")
    write_text(args.out / "best.toml", to_toml(best))


if __name__ == "__main__":
    main()
