"""The one training loop of all neural models.

Data order depends on (seed, epoch) alone and every random state is in the checkpoint, so a training
that was killed at any moment goes on and ends, on CPU, with bit-identical weights.
"""

import copy
import fcntl
import json
import math
import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from emotailor.configs.run import RunConfig
from emotailor.configs.systems import find_system
from emotailor.configs.training import TrainingConfig
from emotailor.data.batching import Batch, Standardizer, collate, epoch_batches, split_by_steps
from emotailor.data.dataset import MODALITIES, Modality, Split
from emotailor.data.store import open_dataset, read_statistics
from emotailor.errors import ConfigError, DataError, EmotailorError, ModelError
from emotailor.evaluation.metrics import Metrics, evaluate
from emotailor.evaluation.thresholds import ThresholdMode, Thresholds
from emotailor.files import remove_temporaries, write_json, write_text
from emotailor.models.base import EmotionModel
from emotailor.models.factory import build_model
from emotailor.training.checkpoint import (
    STATE_FILE,
    Progress,
    load_checkpoint,
    read_progress,
    save_checkpoint,
)
from emotailor.training.inference import predict_probabilities
from emotailor.training.model_folder import ModelCard, save_model
from emotailor.training.optimizer import build_optimizer, learning_rate
from emotailor.training.progress import Reporter

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
REPORT_STEPS = 10
DEVICE_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
CPU_PART_STEPS = 512  # steps of each modality computed at once on a CPU


class InterruptedRunError(EmotailorError):
    """A signal stopped the training; a checkpoint was saved (exit code 130)."""

    exit_code = 130


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        run: the run folder; its model is ``run / "model"``.
        best: epoch, losses and validation scores of the selected model.
        history: one such record per epoch.
    """

    run: Path
    best: Mapping[str, Any]
    history: list[dict[str, Any]]


def choose_device(wanted: str) -> torch.device:
    """Turn ``auto`` into the best device there is; check any other name.

    Raises:
        ConfigError: no such device on this machine.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    problem = None
    if not DEVICE_NAME.fullmatch(wanted):
        problem = "it is not the name of a device"
    elif wanted.startswith("cuda") and not torch.cuda.is_available():
        problem = "this machine has no CUDA device that torch can use"
    elif wanted.startswith("cuda:") and int(wanted[5:]) >= torch.cuda.device_count():
        problem = f"this machine has {torch.cuda.device_count()} CUDA devices"
    elif wanted == "mps" and not torch.backends.mps.is_available():
        problem = "this machine has no MPS device that torch can use"
    if problem:
        raise ConfigError(
            f"device {wanted!r} cannot be used: {problem}",
            expected="auto, cpu, cuda, cuda:1 or mps, and such a device on this machine",
        )
    return torch.device(wanted)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Hold the run folder: two processes must not write the same one."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is training in {run}",
                fix="wait for it to end, or choose another --out",
            ) from None
        yield


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step."""
    received: list[int] = []
    try:
        old = {
            number: signal.signal(number, lambda signum, _: received.append(signum))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
    except ValueError:  # only the main thread may set handlers
        old = {}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [
            line
            for key in keys
            for line in _differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} now"]


def _is_ours(file: Path) -> bool:
    """Whether a ``config.json`` is one that a training wrote."""
    try:
        return set(json.loads(file.read_text(encoding="utf-8"))) == {"config", "fingerprint"}
    except (OSError, ValueError, TypeError):
        return False


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
        self.config, self.run = config, run
        self.training: TrainingConfig = config.training
        self.reporter = reporter or Reporter()
        self.dataset = open_dataset(config.data.path)
        self.train_split = self._nonempty(config.data.train_split)
        self.valid_split = self._nonempty(config.data.valid_split)
        self.dims = self._choose_dims()
        self.train_positions = self._usable(self.train_split)
        steps = [self.train_split.lengths(m)[self.train_positions] for m in self.dims]
        self.train_lengths = np.max(steps, axis=0)
        self.standardizer = None
        if config.data.standardize:
            if config.data.train_split != "train":
                raise ConfigError(
                    f"data.train_split = {config.data.train_split!r} with data.standardize",
                    expected="the split 'train', whose feature statistics the data set stores",
                    fix="set data.standardize=false, or store the samples as split 'train'",
                )
            statistics = read_statistics(config.data.path)
            self.standardizer = Standardizer.from_statistics(statistics, list(self.dims))

    def _nonempty(self, name: str) -> Split:
        split = self.dataset[name]
        if not len(split):
            raise DataError(f"split {name!r} of {self.config.data.path} is empty")
        return split

    def _choose_dims(self) -> dict[Modality, int]:
        system, there = find_system(self.config.system), self.dataset.dims
        wanted = self.config.data.modalities or [m for m in system.modalities if m in there]
        missing = [m for m in wanted if m not in there]
        if missing or not wanted:
            raise DataError(
                f"the data set {self.dataset.card.name!r} has no "
                + (", ".join(missing) or f"modality that {system.title} takes"),
                expected=f"some of its modalities: {', '.join(there)}",
                fix="choose others with --modalities",
            )
        return {m: there[m] for m in MODALITIES if m in wanted}

    def _usable(self, split: Split) -> np.ndarray:
        """Positions of the samples that have at least one of the chosen modalities."""
        present = np.any([split.present(m) for m in self.dims], axis=0)
        if not present.any():
            raise DataError(
                f"no sample of split {split.name!r} has any of {', '.join(self.dims)}",
                fix="choose other --modalities",
            )
        if not present.all():
            self.reporter.message(
                f"{int((~present).sum())} of {len(split)} samples of split {split.name!r} have "
                f"none of {', '.join(self.dims)} and are left out of training"
            )
        return np.nonzero(present)[0]

    # ------------------------------------------------------------------ one run

    def train(self) -> TrainResult:
        """Train to the end, or go on where an earlier call was stopped.

        Raises:
            InterruptedRunError: SIGINT or SIGTERM arrived; the checkpoint is saved.
            ModelError: the loss became NaN or infinite.
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
        with _locked(self.run), self.reporter:
            remove_temporaries(self.run)
            self._claim_folder()
            self.accelerator.wait_for_everyone()
            return self._train_or_return()

    def _train_or_return(self) -> TrainResult:
        progress = read_progress(self.checkpoint)
        if progress is not None and progress.finished and progress.best is not None:
            self.reporter.message(f"{self.run} is already trained; nothing to do")
            return TrainResult(self.run, progress.best, progress.history)
        with _stop_requests() as stop:
            return self._train(stop)

    def _claim_folder(self) -> None:
        file = self.run / CONFIG_FILE
        identity = {
            "config": self.config.to_json(),
            "fingerprint": self.dataset.card.fingerprint,
        }
        if not (self.checkpoint / STATE_FILE).is_file() and not (self.run / "model").exists():
            strange = {p.name for p in self.run.iterdir()} - {".lock", METRICS_FILE}
            if strange and not _is_ours(file):
                raise ConfigError(
                    f"{self.run} is no run folder, and not empty: it holds {min(strange)!r}",
                    expected="a run folder, or a path that is free",
                    fix="choose another --out",
                )
            write_json(file, identity)  # nothing has been trained here yet
            return
        try:
            old = json.loads(file.read_text(encoding="utf-8"))
            # settings that came after the run was started have their defaults
            old["config"] = RunConfig.parse(old["config"]).to_json()
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            old = {}
        differences = _differences(old, identity)
        # where the data lie and on what device may change without changing the run
        ignored = ("config.data.path:", "config.training.device:", "config.training.checkpoint")
        differences = [line for line in differences if not line.startswith(ignored)]
        if differences:
            raise ConfigError(
                f"{self.run} holds a run with other settings: " + "; ".join(differences[:5]),
                expected="the settings it was started with, to go on with it",
                fix="choose another --out, or remove that folder",
            )

    def _build(self) -> EmotionModel:
        torch.manual_seed(self.training.seed)
        model = build_model(
            self.config.system, self.config.model, self.dims, len(self.dataset.label_names)
        )
        # the lengths of every split, or a test sequence could turn out too long after training
        used = [split for split in self.dataset.splits.values() if len(split)]
        longest = {m: max(int(split.lengths(m).max()) for split in used) for m in self.dims}
        model.check_lengths(longest, aligned=self.dataset.aligned)
        return model

    @property
    def use_bf16(self) -> bool:
        """Whether training steps run in bf16; validation always runs in fp32."""
        if self.training.precision == "auto":
            return self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return self.training.precision == "bf16"

    def _train(self, stop: list[int]) -> TrainResult:
        settings = self.training
        self.model = self._build().to(self.device)
        self.optimizer = build_optimizer(self.model, settings)
        self.averaged = copy.deepcopy(self.model) if settings.average else None
        self.progress = Progress()
        if (self.checkpoint / STATE_FILE).is_file():
            self.progress = load_checkpoint(
                self.checkpoint, self._state(), self.optimizer, self.device
            )
            self.reporter.message(
                f"going on in {self.run} at epoch {self.progress.epoch + 1}, "
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
        return TrainResult(self.run, self.progress.best, self.progress.history)

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint."""
        return self.run / "checkpoint"

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over the training split; the last may be smaller."""
        return math.ceil(len(self.train_positions) / self.training.batch_size)

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
                self.checkpoint, self.progress, self._state(), self.optimizer, self.device
            )
        if needed or due:
            self.saved_step = self.progress.step

    # ------------------------------------------------------------------ one epoch

    def _run_epoch(self, stop: list[int]) -> dict[str, float]:
        """Train on what is left of the epoch; return its mean losses."""
        progress = self.progress
        order = epoch_batches(
            self.train_lengths,
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
                f"after step {self.progress.step}; everything so far is saved in {self.run}",
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
            for part in self._parts(chosen):
                batch = self._batch(part)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bf16):
                    output = self.trained(batch)
                    loss = self.model.total_loss(output)
                share = self._share(part, chosen)
                self.accelerator.backward(loss * (share * len(chosen) / whole))
                for name, value in {"total": loss, **output.losses}.items():
                    old = self.sums.get(name, torch.zeros((), device=self.device))
                    self.sums[name] = old + value.detach().float() * (share * len(chosen))
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

    def _parts(self, chosen: np.ndarray) -> list[np.ndarray]:
        """What of a batch is computed at once; the gradients of the parts add up to the batch's.

        On one CPU parts of similar length whose activations fit its caches are faster than the
        whole batch, take a fraction of the memory, and hold hardly any padding.
        """
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        if world > 1:  # each process takes its share; none may be left without work
            return [chosen[rank::world] if len(chosen) >= world else chosen]
        if self.device.type != "cpu" or not self.model.sample_means:
            return [chosen]
        parts = split_by_steps(self.train_lengths[chosen], CPU_PART_STEPS)
        return [chosen[part] for part in parts]

    def _share(self, part: np.ndarray, chosen: np.ndarray) -> float:
        """The weight of a part, so that the gradients of the whole batch come out as its mean."""
        if len(part) == len(chosen):
            return 1.0
        # distributed training averages over the processes what it should add up
        return len(part) / len(chosen) * self.accelerator.num_processes

    def _batch(self, chosen: np.ndarray) -> Batch:
        samples = [self.train_split.sample(int(self.train_positions[i])) for i in chosen]
        batch = collate(
            samples, self.dims, aligned=self.dataset.aligned, standardize=self.standardizer
        )
        return batch.to(self.device)

    def _check_finite(self, means: Mapping[str, float]) -> None:
        wrong = {name: value for name, value in means.items() if not math.isfinite(value)}
        if wrong:
            raise ModelError(
                f"the training diverged at step {self.progress.step}: {wrong}",
                expected="finite losses",
                fix="lower training.learning_rate, or standardize the data; the last checkpoint "
                f"and the best model so far are kept in {self.run}",
            )

    def _finish_epoch(self, train_losses: Mapping[str, float]) -> None:
        """Validate, keep the model if it is the best, and write the epoch down."""
        started = time.monotonic()
        names, labels = self.dataset.label_names, self.valid_split.labels
        probabilities = predict_probabilities(
            self.kept,
            self.valid_split,
            self.dims,
            aligned=self.dataset.aligned,
            standardizer=self.standardizer,
            batch_size=self.training.batch_size,
        )
        thresholds: dict[ThresholdMode, Thresholds] = {
            "fixed": Thresholds.fixed(names, self.training.threshold),
            "tuned": Thresholds.choose("tuned", labels, probabilities, names),
            "per_label": Thresholds.choose("per_label", labels, probabilities, names),
        }
        chosen = thresholds[self.training.select_by].array(names)
        metrics = evaluate(labels, probabilities, names, chosen)
        progress = self.progress
        progress.epoch += 1
        progress.batch = progress.samples = 0
        progress.sums = {}
        progress.seconds += time.monotonic() - started
        valid: dict[str, Any] = {"loss": _log_loss(labels, probabilities), **_summary(metrics)}
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
            lines = [json.dumps(entry, allow_nan=False) + "\n" for entry in progress.history]
            write_text(self.run / METRICS_FILE, "".join(lines))
        self.reporter.epoch(record, best=better)

    def _save_model(
        self, thresholds: dict[ThresholdMode, Thresholds], record: dict[str, Any]
    ) -> None:
        card = ModelCard(
            system=self.config.system,
            config=self.config.model.to_json(),
            label_names=self.dataset.label_names,
            dims=self.dims,
            aligned=self.dataset.aligned,
            standardized=self.standardizer is not None,
            thresholds=thresholds,
            data={
                "name": self.dataset.card.name,
                "fingerprint": self.dataset.card.fingerprint,
            },
            selection=record,
        )
        save_model(self.run / "model", card, self.kept, self.standardizer)


def _summary(metrics: Metrics) -> dict[str, Any]:
    return metrics.model_dump(mode="json", include=set(_SUMMARY))


_SUMMARY = (
    "accuracy",
    "micro_precision",
    "micro_recall",
    "micro_f1",
    "macro_f1",
    "mean_average_precision",
    "mean_roc_auc",
)


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.where(labels == 1, np.log(p), np.log1p(-p)).mean())


def train(config: RunConfig, run: str | Path, reporter: Reporter | None = None) -> TrainResult:
    """Train a system into a run folder; see :class:`Trainer`."""
    return Trainer(config, Path(run), reporter).train()
