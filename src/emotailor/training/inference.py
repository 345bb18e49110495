"""Probabilities of a trained network over many samples."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32

from emotailor.data.batching import Standardizer, batches
from emotailor.data.dataset import Modality, Split
from emotailor.models.base import EmotionModel


@torch.inference_mode()
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
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    longest = np.max([split.lengths(m) for m in dims if m in split.modalities], axis=0)
    order = np.argsort(-longest, kind="stable")
    found = np.zeros((len(split), model.num_labels), np.float32)
    done = 0
    for batch in batches(
        split, dims, batch_size=batch_size, aligned=aligned, standardize=standardizer, order=order
    ):
        unlabelled = replace(batch, labels=None)  # with labels the losses would be computed too
        logits = model(unlabelled.to(device)).logits.float()
        found[order[done : done + len(batch)]] = logits.sigmoid().cpu().numpy()
        done += len(batch)
    model.train(was_training)
    return found
