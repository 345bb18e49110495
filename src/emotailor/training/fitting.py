"""Training of the systems that are fitted at once, into the same run folders."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotailor.data.batching import Batch
from emotailor.errors import ConfigError, ModelError
from emotailor.models.base import FittedModel
from emotailor.training.checkpoint import Progress, damage_of, read_progress, save_progress
from emotailor.training.every_epoch import keep_epoch
from emotailor.training.history import EpochRecord, write_history
from emotailor.training.model_folder import save_model
from emotailor.training.progress import OnEpoch, Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import RunFolder, TrainResult
from emotailor.training.setup import TrainingData
from emotailor.training.validation import describe_model, validate


class Fitter:
    """Fits one system to one data set, into one run folder.

    Args:
        config: everything that determines the run; of ``training`` the seed, the batch size (of
            reading) and the threshold count.
        run: the run folder; created, or left as it is where the fit is done.
        reporter: is told what happens.
        on_epoch: is called with the one record of the fit.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: it lacks modalities that the system needs, or the fit is to start from a model.
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
        if config.training.start_from is not None:
            raise ConfigError(
                f"training.start_from with {config.system}, which is fitted at once",
                expected="a system that is trained by gradients",
                fix="leave --start-from out",
            )
        self.data = TrainingData(config, self.reporter)

    def train(self) -> TrainResult:
        """Fit, validate and store the model, unless that has been done and it is still whole.

        Raises:
            ConfigError: the run folder belongs to another configuration.
            ModelError: the data cannot be learned from.
        """
        with self.folder.held(), self.reporter:
            self.folder.claim(self.config, self.data.dataset.card.fingerprint)
            return self._earlier_fit() or self._fit()

    def _earlier_fit(self) -> TrainResult | None:
        """Return what an earlier call has fitted; None where it has to be fitted (again)."""
        progress = read_progress(self.folder.checkpoint, self.reporter.message)
        if progress is None or not progress.finished or progress.best is None:
            return None

        damage = damage_of(self.folder.model)
        if damage is not None:
            self.reporter.message(f"{damage.found}; it is fitted again")
            return None

        self.reporter.message(f"{self.folder.path} is already trained; nothing to do")
        return TrainResult(self.folder.path, progress.best, progress.history)

    def _fit(self) -> TrainResult:
        started = time.monotonic()
        self.reporter.start(1, 0)
        model = self.data.build()
        if not isinstance(model, FittedModel):
            raise ModelError(f"{self.config.system} is trained by gradients, not fitted")

        model.fit(self._batches())
        model.eval()
        thresholds, valid = validate(model, self.data, self.config)
        seconds = round(time.monotonic() - started, 3)
        record = EpochRecord(epoch=1, step=1, train={}, valid=valid, seconds=seconds)

        card = describe_model(self.config, self.data, thresholds, record)
        save_model(self.folder.model, card, model, self.data.standardizer)
        write_history(self.folder.path, [record])
        keep_epoch(self.folder.path, model, self.data, record)

        # last, because it tells the next call that everything is there
        done = Progress(epoch=1, step=1, history=[record], best=record, finished=True)
        save_progress(self.folder.checkpoint, done)
        self.reporter.epoch(record, best=True)
        if self.on_epoch is not None:
            self.on_epoch(record)
        return TrainResult(self.folder.path, record, [record])

    def _batches(self) -> Iterator[Batch]:
        """Yield all used training samples in their order, each batch read when it is asked for."""
        size = self.config.training.batch_size
        numbers = np.arange(len(self.data.positions))
        for start in range(0, len(numbers), size):
            yield self.data.batch(numbers[start : start + size])
