"""The one training loop of all neural models.

Data order depends on (seed, epoch) alone and every random state is in the checkpoint, so a training
that was killed at any moment goes on and ends, on CPU, with bit-identical weights.
"""

import copy
import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from jaxtyping import Float
from torch import Tensor

from emotailor.data.batching import epoch_batches, split_by_steps
from emotailor.errors import InterruptedRunError, ModelError
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.models.base import EmotionModel
from emotailor.training.checkpoint import (
    STATE_FILE,
    Progress,
    damage_of,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from emotailor.training.config import TrainingConfig
from emotailor.training.feeding import Feeder
from emotailor.training.model_folder import save_model
from emotailor.training.optimizer import build_optimizer, learning_rate
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import RunFolder, TrainResult, stop_requests
from emotailor.training.setup import TrainingData, choose_device
from emotailor.training.threads import backward_of_parts, worker_threads
from emotailor.training.validation import describe_model, validate

REPORT_STEPS = 10
CPU_PART_STEPS = 640  # steps of each modality that one thread computes at once on a CPU


class Trainer:
    """Trains one system on one data set into one run folder.

    Args:
        config: everything that determines the run.
        run: the run folder; created, or continued where it stopped.
        reporter: is told what happens.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: the run folder belongs to another configuration.
    """

    def __init__(self, config: RunConfig, run: Path, reporter: Reporter | None = None) -> None:
        self.config, self.folder = config, RunFolder(run)
        self.training: TrainingConfig = config.training
        self.reporter = reporter or Reporter()
        self.data = TrainingData(config, self.reporter)

    # ------------------------------------------------------------------ one run

    def train(self) -> TrainResult:
        """Train to the end, or go on where an earlier call was stopped.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived; the checkpoint is saved.
            ModelError: the loss became NaN or infinite, or what an earlier call stored is damaged.
        """
        device = choose_device(self.training.device)
        # accelerate keeps one global state; a second run in this process may need another one
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = Accelerator(cpu=device.type == "cpu", device_placement=False)
        alone = self.accelerator.num_processes == 1
        self.device = device if alone else self.accelerator.device
        if not self.accelerator.is_main_process:  # the main process writes and speaks for all
            self.reporter = Reporter()
            self.accelerator.wait_for_everyone()
            return self._train_or_return()
        with self.folder.held(), self.reporter:
            self.folder.claim(self.config, self.data.dataset.card.fingerprint)
            self.accelerator.wait_for_everyone()
            return self._train_or_return()

    def _train_or_return(self) -> TrainResult:
        progress = read_progress(self.folder.checkpoint) or Progress()
        self.damage = None if progress.best is None else damage_of(self.folder.model)
        if progress.finished and progress.best is not None and self.damage is None:
            self.reporter.message(f"{self.folder.path} is already trained; nothing to do")
            return TrainResult(self.folder.path, progress.best, progress.history)
        if not progress.step and self.folder.model.exists():
            self.reporter.message(
                f"no checkpoint in {self.folder.path}: training starts anew and replaces its model"
            )
        with stop_requests() as stop, worker_threads(self.device) as self.workers:
            return self._train(stop)

    @property
    def use_bf16(self) -> bool:
        """Whether training steps run in bf16; validation always runs in fp32."""
        if self.training.precision == "auto":
            return self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return self.training.precision == "bf16"

    def _train(self, stop: list[int]) -> TrainResult:
        settings = self.training
        self.model = self.data.build().to(self.device)
        self.optimizer = build_optimizer(self.model, settings)
        self.feeder = Feeder(self.data, self.device)
        self.averaged = copy.deepcopy(self.model) if settings.average else None
        self.progress = Progress()
        if (self.folder.checkpoint / STATE_FILE).is_file():
            self.progress = load_checkpoint(
                self.folder.checkpoint, self._state(), self.optimizer, self.device
            )
            if self.damage is not None:
                self._restore_model(self.damage)
            if not self.progress.finished:
                self.reporter.message(
                    f"going on in {self.folder.path} at epoch {self.progress.epoch + 1}, "
                    f"step {self.progress.step}"
                )
        self.trained, self.stepper = self.accelerator.prepare(self.model, self.optimizer)
        self.saved_step = self.progress.step
        self.total_steps = settings.epochs * math.ceil(self.batches_per_epoch / settings.accumulate)
        self.reporter.start(self.total_steps, self.progress.step)
        while not self.progress.finished:
            self._finish_epoch(self._run_epoch(stop))
            self.progress.finished = self._is_finished()
            self._save_checkpoint(needed=self.progress.finished or bool(stop))
            if not self.progress.finished:
                self._stop_if_asked(stop)
        assert self.progress.best is not None
        return TrainResult(self.folder.path, self.progress.best, self.progress.history)

    def _restore_model(self, damage: ModelError) -> None:
        """Store the selected model again, which the checkpoint has at the end of its epoch.

        Raises:
            ModelError: training has gone on since.
        """
        progress = self.progress
        assert progress.best is not None
        if progress.batch or progress.best["epoch"] != progress.epoch:
            raise ModelError(
                f"the selected model of {self.folder.path} is damaged: {damage.found}",
                expected=f"the model of epoch {progress.best['epoch']}; the checkpoint is of later "
                "steps, so it cannot be made from that",
                fix=f"put {self.folder.model} back from a copy, or remove {self.folder.path} and "
                "train again",
            )
        thresholds, _ = validate(self.kept, self.data, self.config)
        self._save_model(thresholds, progress.best)
        self.reporter.message(f"{damage.found}; it is restored from the checkpoint")

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over the training split; the last may be smaller."""
        return math.ceil(len(self.data.positions) / self.training.batch_size)

    def _is_finished(self) -> bool:
        progress, patience = self.progress, self.training.patience
        assert progress.best is not None
        if patience is not None and progress.epoch - progress.best["epoch"] >= patience:
            self.reporter.message(f"no better epoch for {patience} epochs: stopping early")
            return True
        return progress.epoch >= self.training.epochs

    def _state(self) -> dict[str, EmotionModel]:
        """The models whose parameters belong to a checkpoint."""
        return {"model": self.model} | ({"averaged": self.averaged} if self.averaged else {})

    @property
    def kept(self) -> EmotionModel:
        """The model that is validated and kept: the average of parameters, if there is one."""
        return self.averaged or self.model

    def _save_checkpoint(self, *, needed: bool) -> None:
        """Save if ``needed``, or if the last checkpoint is ``checkpoint_steps`` steps old."""
        due = self.progress.step - self.saved_step >= self.training.checkpoint_steps
        if (needed or due) and self.accelerator.is_main_process:
            save_checkpoint(
                self.folder.checkpoint, self.progress, self._state(), self.optimizer, self.device
            )
        if needed or due:
            self.saved_step = self.progress.step

    # ------------------------------------------------------------------ one epoch

    def _run_epoch(self, stop: list[int]) -> dict[str, float]:
        """Train on what is left of the epoch; return its mean losses."""
        progress = self.progress
        order = epoch_batches(
            self.data.lengths,
            self.training.batch_size,
            seed=self.training.seed,
            epoch=progress.epoch,
        )
        self.trained.train()
        self.sums = {k: torch.tensor(v, device=self.device) for k, v in progress.sums.items()}
        clock = time.monotonic()
        means = {k: v / progress.samples for k, v in progress.sums.items()}
        while progress.batch < self.batches_per_epoch:
            self._optimizer_step(order)
            last = progress.batch == self.batches_per_epoch
            # reading the losses waits for the device: not at every step
            if last or stop or progress.step % REPORT_STEPS == 0:
                progress.sums = {k: float(v) for k, v in self.sums.items()}
                means = {k: v / progress.samples for k, v in progress.sums.items()}
                self._check_finite(means)
                self.reporter.step(progress.step, progress.samples, means)
                progress.seconds += time.monotonic() - clock
                clock = time.monotonic()
                self._save_checkpoint(needed=bool(stop))
                self._stop_if_asked(stop)
        return means

    def _stop_if_asked(self, stop: list[int]) -> None:
        if stop:
            raise InterruptedRunError(
                f"stopped by {signal.Signals(stop[0]).name} in epoch {self.progress.epoch + 1}, "
                f"after step {self.progress.step}; all of it is saved in {self.folder.path}",
                fix="run the same command again to go on from here",
            )

    def _optimizer_step(self, order: list[np.ndarray]) -> None:
        """Accumulate the gradients of a group of batches and update the parameters."""
        settings, progress = self.training, self.progress
        group = min(settings.accumulate, self.batches_per_epoch - progress.batch)
        for parameters in self.stepper.param_groups:
            parameters["lr"] = learning_rate(settings, progress.step, self.total_steps)
        whole = sum(len(order[progress.batch + i]) for i in range(group))
        for _ in range(group):
            chosen = order[progress.batch]
            parts = self._parts(chosen)
            self.following = self._following(order)
            shares = [self._share(part, chosen) for part in parts]
            weights = [share * len(chosen) / whole for share in shares]
            found = backward_of_parts(
                self.model,
                self._loss,
                parts,
                weights,
                self.workers,
                backward=self.accelerator.backward,
            )
            for share, losses in zip(shares, found, strict=True):
                for name, value in losses.items():
                    old = self.sums.get(name, torch.zeros((), device=self.device))
                    self.sums[name] = old + value.float() * (share * len(chosen))
            progress.batch += 1
            progress.samples += len(chosen)
        if settings.clip_norm:
            self.accelerator.clip_grad_norm_(self.trained.parameters(), settings.clip_norm)
        self.stepper.step()
        self.stepper.zero_grad()
        progress.step += 1
        if self.averaged is not None:
            # early on the average forgets faster, or it would remember the random start for long
            decay = min(settings.average, progress.step / (10 + progress.step))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay
                )
                for kept, now in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                    kept.copy_(now)

    def _loss(self, part: np.ndarray) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the objective on some samples, and what is to be reported of it."""
        batch = self.feeder.batch(part, self.following)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bf16):
            output = self.trained(batch)
            loss = self.model.total_loss(output)
        losses = {"total": loss, **output.losses}
        return loss, {name: value.detach() for name, value in losses.items()}

    def _parts(self, chosen: np.ndarray) -> list[np.ndarray]:
        """What of a batch is computed at once; the gradients of the parts add up to the batch's.

        On one CPU parts of similar length whose activations fit its caches are faster than the
        whole batch, take a fraction of the memory, hold hardly any padding, and each thread can
        have its own.
        """
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        if world > 1:  # each process takes its share; none may be left without work
            return [chosen[rank::world] if len(chosen) >= world else chosen]
        if self.device.type != "cpu" or not self.model.sample_means:
            return [chosen]
        lengths = self.data.lengths[chosen]
        parts = split_by_steps(lengths, CPU_PART_STEPS, self.workers.count)
        return [chosen[part] for part in parts]

    def _following(self, order: list[np.ndarray]) -> np.ndarray | None:
        """The samples to prepare while the device computes, where that is done in advance."""
        later = order[self.progress.batch + 1 : self.progress.batch + 2]
        return self._parts(later[0])[0] if later and self.feeder.ahead is not None else None

    def _share(self, part: np.ndarray, chosen: np.ndarray) -> float:
        """The weight of a part, so that the gradients of the whole batch come out as its mean."""
        if len(part) == len(chosen):
            return 1.0
        # distributed training averages over the processes what it should add up
        return len(part) / len(chosen) * self.accelerator.num_processes

    def _check_finite(self, means: Mapping[str, float]) -> None:
        wrong = {name: value for name, value in means.items() if not math.isfinite(value)}
        if wrong:
            raise ModelError(
                f"the training diverged at step {self.progress.step}: {wrong}",
                expected="finite losses",
                fix="lower training.learning_rate, or standardize the data; the last checkpoint "
                f"and the best model so far are kept in {self.folder.path}",
            )

    def _finish_epoch(self, train_losses: Mapping[str, float]) -> None:
        """Validate, keep the model if it is the best, and write the epoch down."""
        started = time.monotonic()
        thresholds, valid = validate(self.kept, self.data, self.config)
        progress = self.progress
        progress.epoch += 1
        progress.batch = progress.samples = 0
        progress.sums = {}
        progress.seconds += time.monotonic() - started
        record = {
            "epoch": progress.epoch,
            "step": progress.step,
            "train": dict(train_losses),
            "valid": valid,
            "seconds": round(progress.seconds, 3),
        }
        progress.history.append(record)
        better = progress.best is None or valid["micro_f1"] > progress.best["valid"]["micro_f1"]
        if better:
            progress.best = record
        if self.accelerator.is_main_process:
            if better:
                self._save_model(thresholds, record)
            self.folder.write_history(progress.history)
        self.reporter.epoch(record, best=better)

    def _save_model(
        self, thresholds: dict[ThresholdMode, Thresholds], record: dict[str, Any]
    ) -> None:
        card = describe_model(self.config, self.data, thresholds, record)
        save_model(self.folder.model, card, self.kept, self.data.standardizer)
