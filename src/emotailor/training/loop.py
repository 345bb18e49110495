"""The one training loop of all neural models.

Data order depends on (seed, epoch) alone and every random state is in the checkpoint. So a training
that was killed at any moment is resumed and ends, on CPU, with bit-identical weights.

``Trainer`` is what callers see. ``_Training`` is one call of its ``train``: it holds the model, the
step that changes it (``TrainingStep``) and where the training stands (``Progress``).
"""

import math
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from emotailor.errors import InterruptedRunError, ModelError
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.nn.plain import plain_paths
from emotailor.training.checkpoint import (
    Progress,
    damage_of,
    has_checkpoint,
    load_checkpoint,
    load_kept,
    read_progress,
    save_checkpoint,
    save_finished,
)
from emotailor.training.every_epoch import keep_epoch
from emotailor.training.feeding import Feeder
from emotailor.training.history import EpochRecord, restore_history, write_history
from emotailor.training.model_folder import save_model
from emotailor.training.optimizer import rate_of_step
from emotailor.training.order import check_weights, epoch_order
from emotailor.training.precision import Precision, chosen_precision, earlier_precision
from emotailor.training.progress import OnEpoch, Reporter
from emotailor.training.recipe import in_words, updates_per_epoch
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import RunFolder, TrainResult, stop_requests
from emotailor.training.setup import TrainingData, choose_device
from emotailor.training.starting import keep_start, load_start
from emotailor.training.step import PartLosses, TrainingStep, new_accelerator
from emotailor.training.threads import Workers, worker_threads
from emotailor.training.validation import describe_model, validate

REPORT_STEPS = 10

Numbers = Int64[ndarray, "_"]
"""Numbers of used training samples; see ``TrainingData``."""


class Trainer:
    """Trains one system on one data set into one run folder.

    Args:
        config: everything that determines the run.
        run: the run folder; created, or resumed where it stopped.
        reporter: is told what happens.
        on_epoch: is called with the record of each epoch; where it returns False, the training
            ends as if ``patience`` ended it. An error of it stops the training, which can go on.

    Attributes:
        data: the data set as the system is trained on it.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: the run folder belongs to another configuration.
    """

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        reporter: Reporter | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.config = config
        self.folder = RunFolder(run)
        self.reporter = reporter or Reporter()
        self.on_epoch = on_epoch
        self.start = load_start(config.training, self.folder.path)
        self.data = TrainingData(config, self.reporter, self.start)

    def train(self) -> TrainResult:
        """Train to the end, or resume where an earlier call was stopped.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived; the checkpoint is saved.
            ModelError: the loss became NaN or infinite, or what an earlier call stored is damaged.
        """
        device = choose_device(self.config.training.device)
        # adapters rest until the system has learned something
        accelerator = new_accelerator(device, some_rest=self.config.adapters.rank > 0)
        if accelerator.num_processes > 1:
            device = accelerator.device

        if not accelerator.is_main_process:  # the main process writes and speaks for all
            self.reporter = Reporter()
            accelerator.wait_for_everyone()
            return self._train_or_return(device, accelerator)

        with self.folder.held(), self.reporter:
            self.folder.claim(self.config, self.data.dataset.card.fingerprint)
            if self.start is not None:
                keep_start(self.start, self.folder.path)
            accelerator.wait_for_everyone()
            return self._train_or_return(device, accelerator)

    def _train_or_return(self, device: torch.device, accelerator: Accelerator) -> TrainResult:
        """Train, unless that has been done and the selected model is whole."""
        path = self.folder.path
        messages: list[str] = []  # a resumed training tells of damage itself
        found = read_progress(self.folder.checkpoint, messages.append) or Progress()

        # a model is stored with the first epoch, and later replaced by better ones
        damage = None
        if found.best is not None:
            damage = damage_of(self.folder.model)

        if found.finished and found.best is not None and damage is None:
            for message in messages:
                self.reporter.message(message)
            if accelerator.is_main_process:
                restore_history(path, found.history)
            self.reporter.message(f"{path} is already trained; nothing to do")
            return TrainResult(path, found.best, found.history)

        if not found.step and self.folder.model.exists():
            self.reporter.message(
                f"no checkpoint in {path}: training starts anew and replaces its model"
            )

        with ExitStack() as stack:
            stop = stack.enter_context(stop_requests())
            if self.config.training.plain:
                stack.enter_context(plain_paths())

            workers = stack.enter_context(worker_threads(device))
            precision = self._precision(found, device, accelerator)
            training = _Training(self, device, accelerator, workers, stop, precision=precision)
            if found.finished and damage is not None:
                return training.restore(found, damage)

            training.resume(damage)
            return training.run()

    def _precision(
        self, found: Progress, device: torch.device, accelerator: Accelerator
    ) -> Precision:
        """Return what the steps run in: a training that goes on stays with what it began in."""
        wanted = self.config.training.precision
        if found.precision is not None:
            return found.precision
        if found.step:
            return earlier_precision(wanted, device)

        # all processes compute in what the first has measured
        chosen = [chosen_precision(wanted, device)]
        if accelerator.num_processes > 1:
            broadcast_object_list(chosen)
        return chosen[0]


class _Training:
    """One call of ``Trainer.train``.

    Args:
        trainer: what is trained on what, and where to.
        device: to train on.
        accelerator: runs the steps.
        workers: threads to compute with.
        stop: signals that asked to stop, so far; grows while the training runs.
        precision: what the steps run in.

    Attributes:
        step: the model, its optimizer, and how a batch becomes an update.
        progress: where the training stands; all of it is in a checkpoint.
        sums: loss name -> sum over the samples of this epoch, on the device. ``progress.sums`` has
            them as numbers whenever they are read.
        saved_step: the update after which the last checkpoint was saved.
        rate: learning rate of the last update.
    """

    def __init__(
        self,
        trainer: Trainer,
        device: torch.device,
        accelerator: Accelerator,
        workers: Workers,
        stop: list[int],
        *,
        precision: Precision,
    ) -> None:
        self.config = trainer.config
        self.settings = trainer.config.training
        self.folder = trainer.folder
        self.reporter = trainer.reporter
        self.on_epoch = trainer.on_epoch
        self.data = trainer.data
        self.device = device
        self.is_main = accelerator.is_main_process
        self.stop = stop
        self.precision = precision

        model = self.data.build().to(device)
        self.step = TrainingStep(model, self.settings, workers, accelerator, precision)
        self.feeder = Feeder(self.data, device)

        weights = model.sampling_weights(self.data.labels())
        self.sampling_weights = check_weights(weights, len(self.data.positions))

        self.progress = Progress(precision=precision)
        self.sums: dict[str, Float[Tensor, ""]] = {}
        self.saved_step = 0
        self.rate = 0.0

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over the training split; the last may be smaller."""
        return math.ceil(len(self.data.positions) / self.settings.batch_size)

    @property
    def total_steps(self) -> int:
        """Updates of the whole training."""
        samples = len(self.data.positions)
        return self.settings.epochs * updates_per_epoch(samples, self.settings)

    # ------------------------------------------------------------------ one run

    def resume(self, damage: ModelError | None) -> None:
        """Take up the training where its checkpoint stands, if there is one.

        Args:
            damage: what is wrong with the stored model; None where it is whole, or there is none.

        Raises:
            ModelError: the checkpoint is damaged, or the stored model and past restoring.
        """
        if not has_checkpoint(self.folder.checkpoint):
            return

        self.progress = load_checkpoint(
            self.folder.checkpoint,
            self.step.models,
            self.step.optimizer,
            self.device,
            tell=self.reporter.message,
            repair=self.is_main,
        )
        self.progress.precision = self.precision
        self.saved_step = self.progress.step
        if damage is not None:
            self._store_again(self._restorable(damage), damage)
        if self.is_main:
            restore_history(self.folder.path, self.progress.history)

        self.reporter.message(
            f"going on in {self.folder.path} at epoch {self.progress.epoch + 1}, "
            f"step {self.progress.step}"
        )

    def restore(self, progress: Progress, damage: ModelError) -> TrainResult:
        """Store the selected model of a finished training again.

        Args:
            progress: where the training ended.
            damage: what is wrong with the stored model.

        Raises:
            ModelError: the checkpoint is damaged, or does not have that model any more.
        """
        self.progress = progress
        best = self._restorable(damage)
        load_kept(self.folder.checkpoint, self.step.kept, tell=self.reporter.message)
        self._store_again(best, damage)
        if self.is_main:
            restore_history(self.folder.path, progress.history)
        return TrainResult(self.folder.path, best, progress.history)

    def run(self) -> TrainResult:
        """Train all epochs that are left."""
        progress = self.progress
        if not progress.step:
            samples = len(self.data.positions)
            self.reporter.message(in_words(self.settings, samples))

        self.reporter.losses(self.step.model.loss_weights)
        self.reporter.start(self.total_steps, progress.step)
        while not progress.finished:
            losses = self._run_epoch()
            self._finish_epoch(losses)
            progress.finished = self._is_finished()
            if self._is_ended():
                progress.finished = True

            if progress.finished:
                self._save_end()
            else:
                self._save_checkpoint(needed=bool(self.stop))
                self._stop_if_asked()

        assert progress.best is not None
        return TrainResult(self.folder.path, progress.best, progress.history)

    def _is_finished(self) -> bool:
        """Whether all epochs are done, or the scores have stopped rising."""
        progress = self.progress
        assert progress.best is not None

        patience = self.settings.patience
        epochs_since_best = progress.epoch - progress.best.epoch
        if patience is not None and epochs_since_best >= patience:
            self.reporter.message(f"no better epoch for {patience} epochs: stopping early")
            return True

        return progress.epoch >= self.settings.epochs

    def _is_ended(self) -> bool:
        """Whether the caller ends the training after this epoch."""
        if self.on_epoch is None:
            return False

        try:
            goes_on = self.on_epoch(self.progress.history[-1])
        except BaseException:  # the code of the caller: the epoch is not lost for its error
            self._save_checkpoint(needed=True)
            raise
        return goes_on is False

    def _stop_if_asked(self) -> None:
        if not self.stop:
            return

        progress = self.progress
        name = signal.Signals(self.stop[0]).name
        raise InterruptedRunError(
            f"stopped by {name} in epoch {progress.epoch + 1}, "
            f"after step {progress.step}; all of it is saved in {self.folder.path}",
            fix="run the same command again to go on from here",
        )

    # ------------------------------------------------------------------ one epoch

    def _run_epoch(self) -> dict[str, float]:
        """Train on what is left of the epoch; return its mean losses."""
        progress = self.progress
        self.feeder.begin_epoch(progress.epoch)
        batches = epoch_order(
            self.data.lengths, self.settings, progress.epoch, self.sampling_weights
        )

        # a resumed epoch has sums already
        self.step.train_mode()
        self.sums = {
            name: torch.tensor(value, device=self.device) for name, value in progress.sums.items()
        }
        means = self._means()
        clock = time.monotonic()

        while progress.batch < self.batches_per_epoch:
            self._make_update(batches)
            # reading the losses waits for the device: not at every step
            is_last = progress.batch == self.batches_per_epoch
            if not (is_last or self.stop or progress.step % REPORT_STEPS == 0):
                continue

            progress.sums = {name: float(value) for name, value in self.sums.items()}
            means = self._means()
            self._check_finite(means)
            self.reporter.rate(self.rate)
            self.reporter.step(progress.step, progress.samples, means)
            progress.seconds += time.monotonic() - clock
            clock = time.monotonic()
            self._save_checkpoint(needed=bool(self.stop))
            self._stop_if_asked()
        return means

    def _make_update(self, batches: list[Numbers]) -> None:
        """Add the gradients of the next batches of the epoch, and update the parameters once.

        Args:
            batches: of the whole epoch; ``progress.batch`` of them are done.
        """
        progress = self.progress
        self.step.model.begin_update(progress.step, self.total_steps)
        end = progress.batch + self.settings.accumulate
        accumulated = batches[progress.batch : end]
        update_size = sum(len(batch) for batch in accumulated)

        for batch in accumulated:
            size = len(batch)
            following = self._first_part(batches, progress.batch + 1)
            load = partial(self.feeder.batch, following=following)
            parts = self._parts_of(batch)

            found = self.step.add_batch(parts, load, batch_size=size, update_size=update_size)
            self._add_losses(found)
            progress.batch += 1
            progress.samples += size

        # the schedule counts from 0, the average of parameters from 1
        self.rate = rate_of_step(self.step.model, self.settings, progress.step, self.total_steps)
        progress.step += 1
        self.step.update(self.rate, progress.step)

    def _add_losses(self, found: list[PartLosses]) -> None:
        """Add the losses of some parts to the sums of the epoch, without waiting for the device."""
        for part in found:
            for name, mean in part.losses.items():
                old = self.sums.get(name, torch.zeros((), device=self.device))
                self.sums[name] = old + mean.float() * part.samples

    def _parts_of(self, batch: Numbers) -> list[Numbers]:
        """Return the samples of each part of a batch that is computed at once."""
        lengths = self.data.lengths[batch]
        return [batch[rows] for rows in self.step.rows_of_parts(lengths)]

    def _first_part(self, batches: list[Numbers], index: int) -> Numbers | None:
        """Return the samples to prepare while the device computes, where that is done ahead.

        Args:
            batches: of the whole epoch.
            index: of the batch whose first part is wanted; there may be none.
        """
        if self.feeder.ahead is None or index >= len(batches):
            return None

        parts = self._parts_of(batches[index])
        return parts[0]

    def _means(self) -> dict[str, float]:
        """Return the mean losses of the epoch so far."""
        progress = self.progress
        return {name: value / progress.samples for name, value in progress.sums.items()}

    def _check_finite(self, means: Mapping[str, float]) -> None:
        wrong = {name: value for name, value in means.items() if not math.isfinite(value)}
        if wrong:
            raise ModelError(
                f"the training diverged at step {self.progress.step}: {wrong}",
                expected="finite losses",
                fix="train anew with a lower --set training.learning_rate=..., or with --set "
                "data.standardize=true; the last checkpoint "
                f"and the best model so far are kept in {self.folder.path}",
            )

    def _finish_epoch(self, train_losses: Mapping[str, float]) -> None:
        """Validate, keep the model if it is the best, and write the epoch down."""
        progress = self.progress
        started = time.monotonic()
        thresholds, valid = validate(self.step.kept, self.data, self.config)
        progress.seconds += time.monotonic() - started

        progress.epoch += 1
        progress.batch = 0
        progress.samples = 0
        progress.sums = {}
        record = EpochRecord(
            epoch=progress.epoch,
            step=progress.step,
            train=dict(train_losses),
            valid=valid,
            seconds=round(progress.seconds, 3),
        )
        progress.history.append(record)

        best = progress.best
        is_better = best is None or record.score("micro_f1") > best.score("micro_f1")
        if is_better:
            progress.best = record
        if self.is_main:
            if is_better:
                self._save_model(thresholds, record)
            write_history(self.folder.path, progress.history)
            # after the choice of the epoch, which must know nothing of it
            keep_epoch(self.folder.path, self.step.kept, self.data, record)
        self.reporter.epoch(record, best=is_better)

    # ------------------------------------------------------------------ what is stored

    def _save_checkpoint(self, *, needed: bool) -> None:
        """Save if ``needed``, or if the last checkpoint is ``checkpoint_steps`` updates old."""
        progress = self.progress
        is_due = progress.step - self.saved_step >= self.settings.checkpoint_steps
        if not needed and not is_due:
            return

        if self.is_main:
            save_checkpoint(
                self.folder.checkpoint,
                progress,
                self.step.models,
                self.step.optimizer,
                self.device,
            )
        self.saved_step = progress.step

    def _save_model(self, thresholds: dict[ThresholdMode, Thresholds], record: EpochRecord) -> None:
        card = describe_model(self.config, self.data, thresholds, record)
        save_model(self.folder.model, card, self.step.kept, self.data.standardizer)

    def _save_end(self) -> None:
        """Leave what restoring the selected model needs, and no more."""
        progress = self.progress
        is_selected = progress.best == progress.history[-1]
        kept = self.step.kept if is_selected else None
        if self.is_main:
            save_finished(self.folder.checkpoint, progress, kept)
        self.saved_step = progress.step

    def _restorable(self, damage: ModelError) -> EpochRecord:
        """Return the record of the selected model, which the checkpoint has if it is the newest.

        Raises:
            ModelError: training has gone on since.
        """
        progress = self.progress
        assert progress.best is not None
        best = progress.best
        if not progress.batch and best.epoch == progress.epoch:
            return best

        raise ModelError(
            f"the selected model of {self.folder.path} is damaged: {damage.found}",
            expected=f"the model of epoch {best.epoch}; the checkpoint is of later "
            "steps, so it cannot be made from that",
            fix=f"put {self.folder.model} back from a copy, or remove {self.folder.path} and "
            "train again",
        )

    def _store_again(self, record: EpochRecord, damage: ModelError) -> None:
        """Store the model that is in memory in place of a damaged one."""
        thresholds, _ = validate(self.step.kept, self.data, self.config)
        self._save_model(thresholds, record)
        self.reporter.message(f"{damage.found}; it is restored from the checkpoint")
