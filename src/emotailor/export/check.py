"""An ONNX graph beside the model that it was made of: the same numbers, whatever the batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import Modality, Sample
from emotailor.errors import ModelError
from emotailor.export.onnx_model import run_graph
from emotailor.training.model_folder import LoadedModel

TOLERANCE = 1e-4
"""By how much an output may differ; that of logits above 1, by this share of them."""

LONGEST = 61
"""The most steps of a random batch where the model takes sequences of any length."""

TOGETHER = 16
"""Samples of the data in a batch."""


@dataclass(frozen=True)
class Checked:
    """What was compared.

    Attributes:
        batches: number of random batches.
        samples: number of real samples.
        difference: the largest difference of a probability.
    """

    batches: int
    samples: int
    difference: float


def check_graph(
    session: Any,
    loaded: LoadedModel,
    most_steps: Mapping[Modality, int | None],
    attention: Sequence[str],
    samples: Sequence[Sample] = (),
) -> Checked:
    """Compare a graph with its model, on random batches and on samples of the data.

    Random are the features, which steps are masked, also at the beginning and in the middle, and
    which modalities are missing; lengths and batch sizes go from 1 on. What masked steps hold is
    NaN for the graph.

    Args:
        session: of ONNX Runtime.
        loaded: the model.
        most_steps: modality -> the longest sequence; None for any.
        attention: the blocks of attention in the graph.
        samples: real ones, of which the model can see something.

    Raises:
        ModelError: an output differs by more than 1e-4, or the graph cannot be run.
    """
    worst = 0.0
    batches = 0
    for raw, what in _random_batches(loaded, most_steps):
        worst = max(worst, _compare(session, loaded, raw, attention, what))
        batches += 1

    for start in range(0, len(samples), TOGETHER):
        part = samples[start : start + TOGETHER]
        raw = collate(part, loaded.model.dims, aligned=loaded.card.aligned)
        worst = max(worst, _compare(session, loaded, raw, attention, f"{len(part)} samples"))
    return Checked(batches, len(samples), worst)


def _compare(
    session: Any, loaded: LoadedModel, raw: Batch, attention: Sequence[str], what: str
) -> float:
    """Return by how much probabilities differ at most.

    Raises:
        ModelError: an output differs too much.
    """
    names = ["logits", "probabilities", *(f"attention.{block}" for block in attention)]
    hidden = {m: _unreadable(x, raw.masks[m]) for m, x in raw.values.items()}
    found = run_graph(session, names, hidden, raw.masks)
    expected = expected_of(loaded, raw, attention)
    for name, got in zip(names, found, strict=True):
        wanted = expected[name]
        allowed = TOLERANCE * np.maximum(1, np.abs(wanted)) if name == "logits" else TOLERANCE
        if got.shape != wanted.shape or not (np.abs(got - wanted) <= allowed).all():
            raise ModelError(
                f"the graph of {loaded.card.system} gives other {name} than the model, for {what}",
                expected=f"the same within {TOLERANCE:g}",
                fix="docs/export.md tells what stands in the way; nothing was written",
            )
    return float(np.abs(found[1] - expected["probabilities"]).max())


def expected_of(
    loaded: LoadedModel, raw: Batch, attention: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return what the outputs of a graph must be, by name, computed with torch.

    Args:
        loaded: the model.
        raw: features as they are in the data.
        attention: the blocks whose attention is asked for.
    """
    values = {}
    for m, x in raw.values.items():
        array = x.numpy()
        if loaded.standardizer is not None:
            steps = array.reshape(-1, array.shape[2])
            array = loaded.standardizer(m, steps).reshape(array.shape)
        standardised = torch.from_numpy(array)
        values[m] = standardised.masked_fill(~raw.masks[m][..., None], 0.0)

    with torch.inference_mode():
        output = loaded.model(replace(raw, values=values, labels=None), features=bool(attention))
    logits = output.logits.float()
    probabilities = logits.sigmoid().numpy()
    if loaded.card.scaled is not None:
        scaling = loaded.card.scaled.scaling
        probabilities = scaling.apply(probabilities, loaded.card.label_names)

    found = {"logits": logits.numpy(), "probabilities": probabilities}
    for block in attention:
        name = f"attention.{block}"
        found[name] = output.features[name].mean(1).numpy()
    return found


def _unreadable(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask[..., None], torch.nan)


def _random_batches(
    loaded: LoadedModel, most_steps: Mapping[Modality, int | None]
) -> Iterator[tuple[Batch, str]]:
    """Yield batches of raw features, and what they are."""
    rng = np.random.default_rng(5)
    longest = {m: most or LONGEST for m, most in most_steps.items()}
    if loaded.card.aligned:
        longest = dict.fromkeys(longest, min(longest.values()))

    for samples, share in ((1, 0.0), (1, 1.0), (2, 0.0), (3, 0.6), (7, 0.2), (1, 0.3)):
        values = {}
        masks = {}
        for m, dim in loaded.model.dims.items():
            # of unaligned models each modality has a length of its own
            wobble = 1.0 if loaded.card.aligned or share in (0, 1) else rng.uniform(0.6, 1)
            steps = max(1, int(share * wobble * longest[m]))
            x = _raw_features(loaded, m, rng.normal(size=(samples, steps, dim)))
            values[m] = torch.from_numpy(x.astype(np.float32))
            masks[m] = torch.from_numpy(_random_mask(rng, samples, steps))

        if samples > 2:
            # one sample without a modality, and one without any
            masks[next(iter(masks))][0] = False
            for mask in masks.values():
                mask[1] = False
        ids = [str(k) for k in range(samples)]
        sizes = ", ".join(f"{m} {x.shape[1]}" for m, x in values.items())
        yield Batch(values, masks, None, ids), f"{samples} random samples of steps: {sizes}"


def _random_mask(rng: np.random.Generator, samples: int, steps: int) -> np.ndarray:
    """Return masks (samples, steps) with gaps, also at the beginning, and padding at the end."""
    mask = rng.random((samples, steps)) < 0.8
    ends = rng.integers(1, steps + 1, samples)
    ends[0] = steps
    mask &= np.arange(steps) < ends[:, None]
    mask[0, steps - 1] = True  # at least one real step, as far back as it can be
    return mask


def _raw_features(loaded: LoadedModel, m: Modality, normal: np.ndarray) -> np.ndarray:
    """Return features as they may be in the data, some of them far out."""
    normal[..., 0] *= 30
    if loaded.standardizer is None:
        return normal
    return loaded.standardizer.mean[m] + normal * loaded.standardizer.std[m]
