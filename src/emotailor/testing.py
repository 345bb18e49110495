"""Checks for a system of your own: what every system of the package must pass."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import Modality, Sample
from emotailor.evaluation.thresholds import Thresholds
from emotailor.models.base import EmotionModel, FittedModel, LabelStatistics
from emotailor.models.factory import build_model
from emotailor.models.system import System
from emotailor.models.table import use_system
from emotailor.nn.sequence import cleared
from emotailor.training.model_folder import ModelCard, load_model, save_model

DIMS: Mapping[Modality, int] = {"visual": 5, "audio": 7, "text": 11}
"""The widths of the features: distinct primes, so that a swapped axis fails."""

LABELS = ("happy", "sad", "angry")
SAMPLES = 13
TOLERANCE = 1e-5


def random_samples(count: int, *, longest: int = 9, seed: int = 0) -> list[Sample]:
    """Return aligned samples whose labels can be read off the first features."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        steps = int(rng.integers(1, longest + 1))
        labels = rng.integers(0, 2, len(LABELS))

        # each modality shows one label: its first feature is 2 higher where the label is there
        sequences: dict[Modality, np.ndarray] = {}
        for label, (modality, width) in zip(labels, DIMS.items(), strict=True):
            values = rng.normal(size=(steps, width)).astype(np.float32)  # (T, d)
            values[:, 0] += 2.0 * label
            sequences[modality] = values

        sample_id = f"video{number}[0]"
        samples.append(Sample(sample_id, sequences, labels.astype(np.uint8)))
    return samples


def check_system(
    system: str | type[Any], settings: Mapping[str, Any] | None = None, *, learns: bool = True
) -> None:
    """Check that a system keeps the contract of a model.

    Padding changes nothing; what a missing step holds is never read, and no gradient reaches it; a
    sample does not depend on the others in its batch; every loss has a weight; gradients reach
    every parameter; eight samples can be learned by heart; a saved model gives the same numbers.

    Args:
        system: the class, or ``module:Class``, or a name of the table.
        settings: settings of the model; small ones make it quick.
        learns: whether to check that eight samples can be learned (some hundred steps).

    Raises:
        AssertionError: the system breaks a rule, and which.
        ConfigError: there is no such system, or a setting is wrong.
    """
    row = use_system(system)
    settings = dict(settings or {})
    dims = row.choose(DIMS, None)
    model = _build(row, dims, settings)
    samples = random_samples(SAMPLES)
    batch = collate(samples, dims, aligned=True)

    if isinstance(model, FittedModel):
        model.fit([batch])
    else:
        _check_losses(model, batch)
        _check_gradients(model, batch)

    model.eval()
    _check_shape(model, batch)
    _check_padding(model, batch)
    _check_missing_steps(model, batch)
    _check_independence(model, samples, dims)
    _check_saving(row, model, settings, batch)
    if learns and not isinstance(model, FittedModel):
        _check_learning(_build(row, dims, settings), dims)


def _build(row: System, dims: Mapping[Modality, int], settings: Mapping[str, Any]) -> EmotionModel:
    """Return a fresh model that knows the labels of some samples."""
    torch.manual_seed(0)
    config = row.config.parse(settings, prefix="model.")
    model = build_model(row.name, config, dims, len(LABELS))

    labels = []
    for sample in random_samples(60):
        assert sample.labels is not None
        labels.append(sample.labels.tolist())
    model.prepare(LabelStatistics.of(LABELS, torch.tensor(labels)))
    return model


def _unlabelled(batch: Batch) -> Batch:
    return replace(batch, labels=None)


def _largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


def _check_losses(model: EmotionModel, batch: Batch) -> None:
    """Check that every loss has a weight, and that a loss needs labels."""
    losses = model(batch).losses
    assert losses, "a batch with labels gives no loss"

    named = sorted(losses)
    weighted = sorted(model.loss_weights)
    assert named == weighted, f"the losses are {named}, but loss_weights has {weighted}"

    # prediction has no labels
    unlabelled = sorted(model(_unlabelled(batch)).losses)
    assert not unlabelled, f"a batch without labels gives the losses {unlabelled}"


def _check_gradients(model: EmotionModel, batch: Batch) -> None:
    """Check that the total loss reaches every parameter that can be trained."""
    model.train()
    model.zero_grad()
    loss = model.total_loss(model(batch))
    torch.autograd.backward(loss)

    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue

        # a gradient of zeros trains nothing either
        gradient = parameter.grad
        reached = gradient is not None and bool(gradient.abs().max() > 0)
        assert reached, f"no gradient reaches the parameter {name}"


def _check_shape(model: EmotionModel, batch: Batch) -> None:
    """Check that there is one finite logit for each sample and label."""
    logits = model(_unlabelled(batch)).logits
    shape = tuple(logits.shape)
    wanted = (SAMPLES, len(LABELS))
    assert shape == wanted, f"logits have the shape {shape}, not {wanted}"
    assert torch.isfinite(logits).all(), "some logits are not finite"


def _check_padding(model: EmotionModel, batch: Batch) -> None:
    """Check that steps behind the mask change nothing, whatever they hold."""
    plain = model(_unlabelled(batch)).logits

    # four more steps: (B, T, d) -> (B, T + 4, d)
    values = {}
    masks = {}
    for modality, sequence in batch.values.items():
        values[modality] = F.pad(sequence, (0, 0, 0, 4), value=3.0)
        masks[modality] = F.pad(batch.masks[modality], (0, 4))

    longer = Batch(values, masks, None, batch.ids)
    padded = model(longer).logits
    difference = _largest(plain - padded)
    assert difference < TOLERANCE, (
        f"four more steps of padding change a logit by {difference:.2g}: a mask is not honoured"
    )


def _check_missing_steps(model: EmotionModel, batch: Batch) -> None:
    """Check that nothing is read at steps that a sample lacks, wherever they are."""
    lacking = _with_missing_steps(batch)
    plain = model(_unlabelled(lacking)).logits

    # the same samples with huge numbers at the missing steps
    values = {}
    for modality, sequence in lacking.values.items():
        real = lacking.masks[modality][..., None]  # (B, T, 1)
        values[modality] = torch.where(real, sequence, 1e6).requires_grad_()
    filled = replace(lacking, values=values)

    output = model(filled)
    difference = _largest(plain - output.logits)
    assert difference < TOLERANCE, (
        f"what a missing step holds changes a logit by {difference:.2g}: a mask is not honoured"
    )
    if isinstance(model, FittedModel):
        return

    model.zero_grad()
    torch.autograd.backward(model.total_loss(output))
    for modality, sequence in values.items():
        if sequence.grad is None:
            continue  # a modality that the model does not read

        masked = ~lacking.masks[modality]
        reached = _largest(sequence.grad[masked])
        assert reached == 0, (
            f"a gradient of {reached:.2g} reaches a missing step of {modality}: its values are read"
        )


def _with_missing_steps(batch: Batch) -> Batch:
    """Return the batch with about a third of its steps missing, other ones in each modality.

    They are among the first, the middle and the last steps. Every sample keeps a step.
    """
    values = {}
    masks = {}
    for number, (modality, mask) in enumerate(batch.masks.items()):
        steps = torch.arange(mask.shape[1])
        rows = torch.arange(len(mask))
        lacks = (steps + rows[:, None] + number) % 3 == 0  # (B, T)
        short = mask.sum(1, keepdim=True) < 3
        masks[modality] = mask & (short | ~lacks)
        values[modality] = cleared(batch.values[modality], masks[modality])
    return replace(batch, values=values, masks=masks)


def _check_independence(
    model: EmotionModel, samples: list[Sample], dims: Mapping[Modality, int]
) -> None:
    """Check that the logits of a sample do not depend on the others in its batch."""

    def logits(part: list[Sample]) -> Tensor:
        batch = collate(part, dims, aligned=True)
        return model(_unlabelled(batch)).logits

    together = logits(samples)
    alone = torch.cat([logits([sample]) for sample in samples])
    difference = _largest(together - alone)
    assert difference < TOLERANCE, (
        f"a logit of a sample changes by {difference:.2g} with the other samples of its batch"
    )


def _check_saving(
    row: System,
    model: EmotionModel,
    settings: Mapping[str, Any],
    batch: Batch,
) -> None:
    """Check that a saved model, loaded again, gives the same numbers."""
    config = row.config.parse(settings)
    card = ModelCard(
        system=row.name,
        config=config.to_json(),
        label_names=LABELS,
        dims=dict(model.dims),
        aligned=True,
        standardized=False,
        thresholds={"fixed": Thresholds.fixed(LABELS)},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        save_model(path, card, model, None)
        loaded = load_model(path).model

    unlabelled = _unlabelled(batch)
    before = model(unlabelled).logits
    after = loaded(unlabelled).logits
    assert torch.equal(before, after), (
        "a saved model gives other numbers: keep what it learns in parameters or buffers"
    )


def _check_learning(model: EmotionModel, dims: Mapping[Modality, int]) -> None:
    """Check that eight samples can be learned by heart."""
    model.train()
    _without_dropout(model)

    batch = collate(random_samples(8, seed=3), dims, aligned=True)
    assert batch.labels is not None
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss = model.total_loss(model(batch))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    model.eval()
    decided = model(_unlabelled(batch)).logits > 0
    wrong = int((decided != batch.labels.bool()).sum())
    assert wrong == 0, f"after 300 steps on eight samples, {wrong} of 24 labels are still wrong"


def _without_dropout(model: EmotionModel) -> None:
    """Switch dropout off: what is dropped out cannot be learned by heart."""
    for module in model.modules():
        # torch calls the rate ``p``; modules of others have names of their own
        for name in ("p", "rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
