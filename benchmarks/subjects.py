"""What is measured: one of our systems, with the calls our training loop makes."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.specification import Specification
from emotailor.data.batching import Batch
from emotailor.models.base import EmotionModel, FittedModel, LabelStatistics
from emotailor.models.factory import build_model, model_class
from emotailor.training.feeding import STEPS_ROUNDED, rounded_steps
from emotailor.training.optimizer import learning_rate
from emotailor.training.recipe import recipe
from emotailor.training.step import TrainingStep
from emotailor.training.threads import worker_threads

TRAIN_SAMPLES = 16326  # of CMU-MOSEI
TOTAL_STEPS = 5100  # 20 epochs over them
LABEL_RATE = 0.25


def build(spec: Specification, device: torch.device) -> Any:
    """Return what a specification describes; each takes what its own prepare() returns."""
    if spec.reference is not None:
        from benchmarks.reference_systems import REFERENCES
        from benchmarks.reference_tailor import ReferenceTailor

        programs: dict[str, Any] = {"tailor": ReferenceTailor, **REFERENCES}
        return programs[spec.system](spec.reference, device)
    fitted = issubclass(model_class(spec.system), FittedModel)
    return OurFit(spec) if fitted else OurSystem(spec, device)


def build_prepared(spec: Specification) -> EmotionModel:
    """Return our model, prepared with the labels of an imagined training split."""
    model = build_model(spec.system, spec.model, spec.dims, spec.num_labels)
    labels = torch.rand(TRAIN_SAMPLES, spec.num_labels) < LABEL_RATE
    model.prepare(LabelStatistics.of([str(i) for i in range(spec.num_labels)], labels))
    return model


def part_of(batch: Batch, rows: torch.Tensor, lengths: torch.Tensor) -> Batch:
    """Return some rows of a batch, padded to the longest of them alone.

    Args:
        batch: the whole.
        rows: of the part.
        lengths: (B,), steps of each sample.
    """
    longest = int(lengths[rows].max())
    return Batch(
        {m: x[rows, :longest] for m, x in batch.values.items()},
        {m: x[rows, :longest] for m, x in batch.masks.items()},
        None if batch.labels is None else batch.labels[rows],
        [batch.ids[i] for i in rows],
    )


class OurSystem:
    """One of our models and its optimizer, under the recipe of its authors' program.

    Args:
        spec: what to build.
        device: to compute on.
    """

    def __init__(self, spec: Specification, device: torch.device) -> None:
        self.device = device
        self.config = spec.model
        self.training = recipe(spec.system, "authors").replace(precision=spec.precision)
        self.model = build_prepared(spec).to(device)
        # a worker process ends by being killed: nobody leaves this, but it must be kept
        self.held = ExitStack()
        self.workers = self.held.enter_context(worker_threads(device))
        self.step = TrainingStep(self.model, self.training, self.workers)
        self.steps_done = 0

    def prepare(self, batch: Batch) -> list[Batch]:
        """Move a batch to the device, in the parts that our loop and our prediction compute."""
        lengths = torch.stack([mask.sum(1) for mask in batch.masks.values()]).amax(0)
        found = self.step.rows_of_parts(lengths.numpy())
        if len(found) == 1:
            batch = self._as_on_device(batch, int(lengths.max()))
            return [batch.to(self.device)]
        return [part_of(batch, torch.from_numpy(rows), lengths) for rows in found]

    def _as_on_device(self, batch: Batch, longest: int) -> Batch:
        """Return a batch with the padding that it has in a training on a GPU."""
        if self.device.type == "cpu":
            return batch
        limit = getattr(self.config, "max_steps", STEPS_ROUNDED * longest)
        more = rounded_steps(longest, limit) - longest
        values = {m: F.pad(x, (0, 0, 0, more)) for m, x in batch.values.items()}
        masks = {m: F.pad(mask, (0, more)) for m, mask in batch.masks.items()}
        return replace(batch, values=values, masks=masks)

    def shapes(self, parts: list[Batch]) -> list[tuple[int, int]]:
        """Return rows and padded steps of what is computed at once."""
        padded = getattr(self.config, "pad_to_max_steps", False)  # a setting of TAILOR
        always = self.config.max_steps if padded else 0  # type: ignore[attr-defined]
        return [
            (len(part), max(always, *(x.shape[1] for x in part.values.values()))) for part in parts
        ]

    def train_step(self, parts: list[Batch]) -> float:
        """Take one optimizer step; return the loss."""
        self.step.train_mode()
        size = sum(len(part) for part in parts)
        found = self.step.add_batch(parts, lambda part: part, batch_size=size, update_size=size)
        rate = learning_rate(self.training, self.steps_done, TOTAL_STEPS)
        self.steps_done += 1
        self.step.update(rate, self.steps_done)
        return float(sum(part.losses["total"] * part.samples for part in found)) / size

    def predict(self, parts: list[Batch]) -> torch.Tensor:
        """Return the probabilities, (B, L)."""
        self.model.eval()

        def probabilities(part: Batch) -> torch.Tensor:
            with torch.inference_mode():
                return self.model(part).logits.float().sigmoid().cpu()

        return torch.cat(self.workers.map(probabilities, parts))


class OurFit:
    """A system that is fitted at once, without steps: its whole fit to the batch is measured.

    Args:
        spec: what to build.
    """

    def __init__(self, spec: Specification) -> None:
        self.model = build_prepared(spec)

    def prepare(self, batch: Batch) -> Batch:
        """Take the batch as it is."""
        return batch

    def shapes(self, batch: Batch) -> list[tuple[int, int]]:
        """Return rows and padded steps."""
        return [(len(batch), max(x.shape[1] for x in batch.values.values()))]

    def train_step(self, batch: Batch) -> None:
        """Fit; there is no loss to return."""
        assert isinstance(self.model, FittedModel)
        self.model.fit([batch])
