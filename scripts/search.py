"""Random search of settings on the validation split, with equal effort for every system.

    python scripts/search.py DATA --systems all --trials 6 --out search/

Every trial of a system draws settings from its row of ``SPACES`` and from ``TRAINING`` and trains
them with a few seeds; the test split is never read. Trials are ranked by the mean of validation
micro-F1 (threshold tuned on the same split) and mAP. Finished trials are kept in the output folder,
so the search goes on where it stopped. It ends by writing ``best.toml`` for `emotailor benchmark
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
from emotailor.configs.systems import SYSTEMS
from emotailor.files import write_text

Settings = dict[str, Any]

TRAINING: dict[str, list[Any]] = {
    "learning_rate": [3e-4, 1e-3, 3e-3],
    "weight_decay": [0.0, 0.1],
}
FIXED: Settings = {"batch_size": 32, "select_by": "tuned", "schedule": "linear"}


def _transformer(width: int, layers: int) -> Settings:
    names = ("visual_layers", "audio_layers", "text_layers")
    return {
        "hidden_size": width,
        "feedforward_size": 2 * width,
        "heads": 4,
        "initial_std": 0.1 if width < 128 else 0.05,
        **dict.fromkeys(names, layers),
    }


def _hhmpn(width: int, layers: int) -> Settings:
    return {
        "hidden_size": width,
        "feedforward_size": width,
        "encoder_layers": layers,
        "memory_layers": layers,
        "decoder_layers": 2,
        "decoder_heads": 4,
    }


C: list[Settings] = [{"C": value} for value in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)]

SPACES: Mapping[str, list[list[Settings]]] = {
    "br": [C],
    "lp": [C],
    "cc": [C],
    "sgm": [
        [{"label_size": 32, "encoder_size": 32}, {"label_size": 64, "encoder_size": 64}],
        [{"dropout": 0.2, "attention_dropout": 0.2}, {"dropout": 0.5, "attention_dropout": 0.5}],
        [{"encoder_layers": 1, "decoder_layers": 1}, {"encoder_layers": 2, "decoder_layers": 2}],
    ],
    "lsan": [
        [{"state_size": 64, "attention_size": 50}, {"state_size": 128, "attention_size": 100}],
        [{"classifier_size": 64}, {"classifier_size": 128}],
        [{"dropout": 0.3}, {"dropout": 0.6}],
    ],
    "ml_gcn": [
        [{"feature_size": 64, "graph_size": 64}, {"feature_size": 128, "graph_size": 128}],
        [{"label_size": 32}, {"label_size": 64}],
        [{"threshold": 0.4}, {"threshold": "auto"}],
    ],
    "dfg": [
        [
            {"text_size": 32, "audio_size": 16, "visual_size": 32, "memory_size": 64},
            {"text_size": 64, "audio_size": 16, "visual_size": 64, "memory_size": 128},
        ],
        [{"vertex_size": 32, "vertex_hidden": 32}, {"vertex_size": 64, "vertex_hidden": 64}],
        [{"classifier_dropout": 0.3}, {"classifier_dropout": 0.7}],
    ],
    "raven": [
        [{"cell_size": 32, "hidden_size": 64}, {"cell_size": 64, "hidden_size": 128}],
        [{"dropout": 0.2}, {"dropout": 0.5}],
        [{"shift_weight": 0.2}, {"shift_weight": 1.0}],
    ],
    "mult": [
        [{"hidden_size": 32, "heads": 4}, {"hidden_size": 40, "heads": 8}],
        [{"layers": 1, "memory_layers": 1}, {"layers": 2, "memory_layers": 2}],
        [{"embedding_dropout": 0.3}, {"embedding_dropout": 0.6}],
    ],
    "simm": [
        [{"hidden_size": 64}, {"hidden_size": 128}],
        [{"adversarial_weight": 0.1}, {"adversarial_weight": 0.5}],
        [{"orthogonality_weight": 0.01}, {"orthogonality_weight": 0.1}],
    ],
    "misa": [
        [
            {"hidden_size": 64, "feedforward_size": 128},
            {"hidden_size": 128, "feedforward_size": 256},
        ],
        [{"dropout": 0.2}, {"dropout": 0.5}],
        [{"similarity_weight": 0.3}, {"similarity_weight": 1.0}],
    ],
    "hhmpn": [
        [_hhmpn(32, 1), _hhmpn(64, 1), _hhmpn(64, 2)],
        [{"embedding_dropout": 0.25}, {"embedding_dropout": 0.5}],
        [{"dropout": 0.2}, {"dropout": 0.4}],
    ],
    "carat": [
        [_transformer(64, 1), _transformer(128, 1), _transformer(128, 2)],
        [{"input_dropout": 0.2}, {"input_dropout": 0.6}],
        [{"contrastive_weight": 0.1, "queue_size": 2048}, {"queue_size": 2048}],
    ],
    "tailor": [
        [_transformer(64, 1), _transformer(128, 1), _transformer(128, 2)],
        [{"input_dropout": 0.2}, {"input_dropout": 0.6}],
        [{"dropout": 0.1, "cross_layers": 1}, {"dropout": 0.3, "cross_layers": 2}],
    ],
}
"""Per system its choices: one of each list is drawn. All have three, of two or three ways each."""


def rank(record: Mapping[str, Any]) -> float:
    """Mean of the validation micro-F1 and mAP of a trial."""
    return float(record["valid"]["micro_f1"] + record["valid"]["mean_average_precision"]) / 2


def draw(system: str, trial: int) -> Settings:
    """Return the nested settings of a trial; they depend on system and number alone."""
    choices = SPACES[system]
    if len(choices) == 1:  # a grid, tried in order
        return {"model": choices[0][trial % len(choices[0])], "training": {"select_by": "tuned"}}
    rng = np.random.default_rng([20260101, trial, *system.encode()])
    model = merge(*(options[int(rng.integers(len(options)))] for options in choices))
    training = {name: values[int(rng.integers(len(values)))] for name, values in TRAINING.items()}
    return {"model": model, "training": {**FIXED, **training}}


def run(task: tuple[str, str, int, int, Settings]) -> dict[str, Any]:
    """Train one trial of a system with some seeds and return its validation scores."""
    import torch

    from emotailor.configs.run import RunConfig
    from emotailor.training.run import train

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
            scores.append(train(config, Path(folder) / "run").best["valid"])
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
