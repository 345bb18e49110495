"""Probabilities of a trained network over many samples."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32

from emotailor.data.batching import Standardizer, collate
from emotailor.data.dataset import Split
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel
from emotailor.training.threads import worker_threads

GPU_BATCHES = 8
"""Batches that are computed at once on a GPU, which would otherwise wait for the host."""


def predict_probabilities(
    model: EmotionModel,
    split: Split,
    dims: Mapping[Modality, int],
    *,
    aligned: bool,
    standardizer: Standardizer | None,
    batch_size: int = 64,
) -> Float32[np.ndarray, "n labels"]:
    """Return the probability of every label for every sample, (n, L), in the split's order.

    Samples are batched by length, so that little is spent on padding; a model's results do not
    depend on its batch mates.
    """
    device = model.device
    was_training = model.training
    model.eval()

    lengths = [split.lengths(m) for m in dims if m in split.modalities]
    longest = np.max(lengths, axis=0)  # (n,)
    longest_first = np.argsort(-longest, kind="stable")
    found = np.zeros((len(split), model.num_labels), np.float32)
    at_once = batch_size * GPU_BATCHES if device.type == "cuda" else batch_size

    def fill(start: int) -> None:
        chosen = longest_first[start : start + at_once]
        samples = [split.sample(int(i)) for i in chosen]
        batch = collate(samples, dims, aligned=aligned, standardize=standardizer)

        # with labels the losses would be computed too
        unlabelled = replace(batch, labels=None).to(device)
        with torch.inference_mode():
            output = model(unlabelled)
            probabilities = output.logits.float().sigmoid()

        found[chosen] = probabilities.cpu().numpy()

    starts = range(0, len(split), at_once)
    with worker_threads(device) as workers:
        workers.map(fill, starts)

    model.train(was_training)
    return found
