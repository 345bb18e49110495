"""How much of its input TAILOR sees before it is trained, by the deviation of its initial weights.

For each ``initial_std`` a TAILOR of the preset ``tuned`` is built on the training split of a data
set, and shown 128 samples. Printed: the standard deviation of its logits over the samples, that
over the labels, and the share of the variance of the label representations (H of Eq. 14) that is
between samples. Where that share is small, the model says nearly the same of every sample, and its
gradients say little of what its input should be.

    python scripts/initial_signal.py data/mosei-text
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData

SAMPLES = 128


def measure(data: Path, changes: dict[str, float | int]) -> tuple[float, float, float]:
    """Return both deviations of the logits, and the share of the variance between samples.

    Args:
        data: stored data set.
        changes: settings of the model that differ from the preset.
    """
    config = RunConfig.for_data({"data": {"path": str(data)}, "model": changes})
    training = TrainingData(config, Reporter())
    model = training.build().eval()
    batch = training.batch(np.arange(min(SAMPLES, len(training.positions))))

    with torch.inference_mode():
        output = model(batch, features=True)
    logits = output.logits  # (B, L)
    tailored = output.features["label_representations"]  # (B, L, d)
    between = tailored.var(0).mean() / tailored.pow(2).mean()
    return logits.std(0).mean().item(), logits.mean(0).std().item(), between.item()


def main() -> None:
    """Print a line for each deviation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--std", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2])
    parser.add_argument("--text-layers", type=int, default=2)
    options = parser.parse_args()

    print("initial_std  over samples  over labels  variance of H between samples")
    for std in options.std:
        changes = {"initial_std": std, "text_layers": options.text_layers}
        samples, labels, share = measure(options.data, changes)
        print(f"{std:11g}  {samples:12.3f}  {labels:11.3f}  {share:.1%}")


if __name__ == "__main__":
    main()
