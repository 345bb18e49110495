"""How strongly the CTC loss of the alignment modules should count: gradients and validation scores.

For each setting of ``alignment`` a small TAILOR is trained on unaligned data. Printed, at the first
and at the last step: the norm of the weighted CTC gradient over that of all other losses, for all
parameters and for those of the modules alone; and the best validation micro-F1 (tuned thresholds)
and mean average precision, means over seeds. ``docs/unaligned.md`` has its results.

    emotailor data synthesize --no-aligned --out small --set train=400 --set valid=200
        --set test=200 --set noise=0.5 --set missing=0.1
        --set visual_dim=12 --set audio_dim=13 --set text_dim=17
    python scripts/alignment_weight.py small --seeds 2
"""

import argparse
import tempfile
from pathlib import Path
from statistics import fmean

import torch

from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.base import EmotionModel
from emotailor.training.model_folder import load_model
from emotailor.training.progress import Reporter
from emotailor.training.run import train
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData

PROGRAM = {"frames": "first", "positions": "all", "reduction": "sum"}
STUDY = {
    "no CTC loss": {"weight": 0.0},
    "per step, 0.05": {"weight": 0.05},
    "per step, 0.5": {"weight": 0.5},
    "per step, 5": {"weight": 5.0},
    "per sample, 0.5": {"weight": 0.5, "reduction": "mean"},
    "batch sum, 0.5": {"weight": 0.5, "reduction": "sum"},
    "the program's, 0.5": {"weight": 0.5, **PROGRAM},
}
MODEL = {
    "hidden_size": 64,
    "feedforward_size": 64,
    "heads": 4,
    "visual_layers": 1,
    "audio_layers": 1,
    "text_layers": 1,
    "cross_layers": 1,
    "dropout": 0.1,
}
TRAINING = {"learning_rate": 1e-3, "batch_size": 32, "select_by": "tuned", "device": "cpu"}


def shares(model: EmotionModel, data: TrainingData) -> tuple[float, float]:
    """Norm of the weighted CTC gradient over that of the other losses: all, modules alone."""
    batch = data.batch(torch.arange(min(32, len(data.positions))).numpy())
    losses = model(batch).losses
    ctc = losses["ctc"] * model.loss_weights["ctc"]
    rest = sum(model.loss_weights[k] * x for k, x in losses.items() if k != "ctc")
    named = dict(model.named_parameters())
    norms = []
    for scalar in (ctc, rest):
        found = torch.autograd.grad(
            scalar, list(named.values()), retain_graph=True, allow_unused=True
        )
        parts = {k: g.norm() for k, g in zip(named, found, strict=True) if g is not None}
        modules = [g for k, g in parts.items() if k.startswith("aligners.")]
        norms.append((torch.stack(list(parts.values())).norm(), torch.stack(modules).norm()))
    (ctc_all, ctc_modules), (rest_all, rest_modules) = norms
    return float(ctc_all / rest_all), float(ctc_modules / rest_modules)


def main() -> None:
    """Train every setting and print its row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    print("setting | CTC/rest, all | modules | at the end, all | modules | micro-F1 | mAP")
    for name, changes in STUDY.items():
        first, last, f1, precision = [], [], [], []
        for seed in range(args.seeds):
            settings = {
                "data": {"path": str(args.data)},
                "model": MODEL,
                "training": {**TRAINING, "epochs": args.epochs, "seed": seed},
                "alignment": AlignmentConfig(**changes).to_json(),  # type: ignore[arg-type]
            }
            config = RunConfig.build(settings, aligned=False)
            data = TrainingData(config, Reporter())
            first.append(shares(data.build(), data))
            with tempfile.TemporaryDirectory() as folder:
                result = train(config, Path(folder) / "run")
                last.append(shares(load_model(result.run).model, data))
            f1.append(max(x.score("micro_f1") for x in result.history))
            precision.append(max(x.score("mean_average_precision") for x in result.history))
        columns = [fmean(x) for x in (*zip(*first, strict=True), *zip(*last, strict=True))]
        scores = f"{fmean(f1):.3f} ({min(f1):.3f}-{max(f1):.3f}) | {fmean(precision):.3f}"
        print(name, *(f"{x:.3g}" for x in columns), scores, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
