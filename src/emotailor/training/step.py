"""One optimizer step, which the training loop, its timing and the benchmarks all make.

- A batch is computed in parts, and the gradients of the parts add up to those of the batch.
- On a CPU each thread computes parts of its own, where the model allows it.
- Several batches may be accumulated; every sample of them counts the same.
- Then the gradient is clipped, the parameters are updated, and so is their average.
"""

import copy
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from jaxtyping import Float, Int64
from torch import Tensor

from emotailor.data.batching import Batch, split_by_steps
from emotailor.models.base import EmotionModel
from emotailor.nn.plain import is_plain
from emotailor.nn.recurrent import compact_weights
from emotailor.training.config import TrainingConfig
from emotailor.training.optimizer import build_optimizer
from emotailor.training.precision import Precision, chosen_precision
from emotailor.training.replay import Replay
from emotailor.training.threads import Losses, Workers, backward_of_parts

CPU_PART_STEPS = 640
"""Steps of each modality that one thread computes at once on a CPU."""


Part = TypeVar("Part", bound=Sized)
"""Samples that are computed at once: their numbers, or the samples."""


@dataclass(frozen=True)
class PartLosses:
    """What one part of a batch lost.

    Attributes:
        losses: name -> mean over the samples of the part; ``total`` is the objective.
        samples: how many samples the means count for.
    """

    losses: Losses
    samples: float


def new_accelerator(device: torch.device, *, some_rest: bool = False) -> Accelerator:
    """Return what runs the same step on one device or on several processes.

    Args:
        device: to train on.
        some_rest: whether there are updates in which some parameters have no gradient; processes
            would wait for those of each other.
    """
    # accelerate keeps one global state; a second run in this process may need another one
    AcceleratorState._reset_state(reset_partial_state=True)
    processes = DistributedDataParallelKwargs(find_unused_parameters=some_rest)
    return Accelerator(
        cpu=device.type == "cpu", device_placement=False, kwargs_handlers=[processes]
    )


class TrainingStep:
    """A model, its optimizer, and how a batch becomes an update.

    Gradients of batches are added by ``add_batch``, and used by ``update``.

    Args:
        model: on its device.
        config: how it is trained.
        workers: threads to compute with.
        accelerator: what runs the step; None for one process on the device of the model.
        precision: of the step; None for what ``config`` means on this device.

    Attributes:
        model: the model; under several processes accelerate has a wrapper around it.
        optimizer: over its parameters.
        averaged: the model with averaged parameters; None without ``config.average``.
    """

    def __init__(
        self,
        model: EmotionModel,
        config: TrainingConfig,
        workers: Workers,
        accelerator: Accelerator | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.workers = workers
        self.device = model.device
        chosen = precision or chosen_precision(config.precision, self.device)
        self.bf16 = chosen == "bf16"
        self.optimizer = build_optimizer(model, config)

        self.averaged: EmotionModel | None = None
        if config.average:
            self.averaged = copy.deepcopy(model)
            compact_weights(self.averaged)

        # the wrappers know of the other processes, if there are any
        self._accelerator = accelerator or new_accelerator(self.device)
        wrapped, wrapped_optimizer = self._accelerator.prepare(model, self.optimizer)
        self._wrapped = wrapped
        self._wrapped_optimizer = wrapped_optimizer

        self._parameters = list(wrapped.parameters())
        self._replay: Replay | None = None
        if self._may_replay():
            self._replay = Replay(model, self._objective)

    def _may_replay(self) -> bool:
        """Whether steps may be recorded, and replayed for other batches."""
        alone = self._accelerator.num_processes == 1
        on_gpu = self.device.type == "cuda"
        return on_gpu and alone and self.model.replayable and not is_plain()

    @property
    def kept(self) -> EmotionModel:
        """The model that is validated and stored: the average of parameters, if there is one."""
        return self.averaged or self.model

    @property
    def models(self) -> dict[str, EmotionModel]:
        """Every model whose parameters belong to a checkpoint, by the name it has there."""
        if self.averaged is None:
            return {"model": self.model}
        return {"model": self.model, "averaged": self.averaged}

    def train_mode(self) -> None:
        """Switch dropout and the like on."""
        self._wrapped.train()

    # ------------------------------------------------------------------ gradients

    def rows_of_parts(self, lengths: Int64[np.ndarray, "batch"]) -> list[Int64[np.ndarray, "_"]]:
        """Return which rows of a batch are computed at once.

        On one CPU, parts of similar length whose activations fit its caches are faster than the
        whole batch. They take a fraction of the memory, hold hardly any padding, and each thread
        can have its own.

        Args:
            lengths: (B,), steps of each sample of the batch.
        """
        rows = np.arange(len(lengths))
        processes = self._accelerator.num_processes
        if processes > 1:
            # each process takes its share; none may be left without work
            if len(rows) < processes:
                return [rows]
            own = rows[self._accelerator.process_index :: processes]
            return [own]

        if self.device.type != "cpu" or not self.model.sample_means or is_plain():
            return [rows]
        return split_by_steps(lengths, CPU_PART_STEPS, self.workers.count)

    def add_batch(
        self,
        parts: Sequence[Part],
        load: Callable[[Part], Batch],
        *,
        batch_size: int,
        update_size: int,
    ) -> list[PartLosses]:
        """Add the gradients of one batch; return the losses of its parts.

        Args:
            parts: what of the batch is computed at once, by ``rows_of_parts``.
            load: part -> its samples on the device; called by the thread that computes the part.
            batch_size: samples of the batch.
            update_size: samples of all batches of this update.
        """
        # a replay replaces gradients: it can't add to those of another batch
        is_whole_update = len(parts) == 1 and batch_size == update_size
        if self._replay is not None and is_whole_update:
            batch = load(parts[0])
            losses = self._replay.set_gradients(batch)
            return [PartLosses(losses, float(batch_size))]

        # a loss is a mean over the samples of its part: weighted by its share of the batch, it
        # adds to the mean over the batch
        shares = [self._share(len(part), batch_size) for part in parts]
        # and that counts, in the mean over all samples of the update, as much as it has samples
        weights = [share * batch_size / update_size for share in shares]

        losses_of_parts = backward_of_parts(
            self.model,
            lambda part: self._objective(load(part)),
            parts,
            weights,
            self.workers,
            backward=self._accelerator.backward,
        )
        return [
            PartLosses(found, share * batch_size)
            for share, found in zip(shares, losses_of_parts, strict=True)
        ]

    def _share(self, part_size: int, batch_size: int) -> float:
        """Return the share of a part in the mean over its batch."""
        if part_size == batch_size:
            return 1.0
        # distributed training averages over the processes what it should add up
        return part_size / batch_size * self._accelerator.num_processes

    def _objective(self, batch: Batch) -> tuple[Float[Tensor, ""], Losses]:
        """Return the objective on some samples, and what is to be reported of it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output = self._wrapped(batch)
            loss = self.model.total_loss(output)

        # reported values must not keep the graph of the part alive
        losses = {"total": loss, **output.losses}
        reported = {name: value.detach() for name, value in losses.items()}
        return loss, reported

    # ------------------------------------------------------------------ update

    def update(self, learning_rate: float, number: int) -> None:
        """Clip the added gradients, change the parameters by them, and forget them.

        Args:
            learning_rate: of this update.
            number: of the update, from 1.
        """
        optimizer = self._wrapped_optimizer
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        clip_norm = self.config.clip_norm
        if clip_norm:
            self._accelerator.clip_grad_norm_(self._parameters, clip_norm)

        optimizer.step()
        optimizer.zero_grad()
        if self.averaged is not None:
            self._average(self.averaged, number)

    @torch.no_grad()
    def _average(self, averaged: EmotionModel, number: int) -> None:
        # early on the average forgets faster, or it would remember the random start for long
        early_decay = number / (10 + number)
        decay = min(self.config.average, early_decay)

        kept: list[Tensor] = list(averaged.parameters())
        trained: list[Tensor] = list(self.model.parameters())
        torch._foreach_lerp_(kept, trained, 1 - decay)

        # buffers are not trained: the newest counts
        buffers = zip(averaged.buffers(), self.model.buffers(), strict=True)
        for mine, current in buffers:
            mine.copy_(current)
