"""How long a training takes on this machine: a few of its steps, timed."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from emotailor.data.batching import epoch_batches
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.errors import InterruptedRunError
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.factory import model_class
from emotailor.training.inference import predict_probabilities
from emotailor.training.loop import Trainer
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.run_folder import TrainResult
from emotailor.training.setup import TrainingData

BUDGET = 1.0  # seconds of steps
MOST_STEPS = 20
FIT_SAMPLES = 512
VALID_BATCHES = 2


def load_everything() -> None:
    """Import and start what the first training of a process imports and starts."""
    import sklearn.linear_model  # noqa: F401
    from accelerate import Accelerator

    Accelerator(cpu=True)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def time_start() -> float:
    """Return the seconds that a process takes until a training can begin."""
    code = "from emotailor.training.timing import load_everything as go; go()"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)
    return time.monotonic() - began


@dataclass(frozen=True)
class Speed:
    """What a training is expected to cost, in seconds.

    Attributes:
        setup: before the first step.
        epoch: all steps of one epoch, or the whole fit.
        sample: predicting one sample, as in validation and testing.
        valid: validation samples, predicted once an epoch.
        epochs: at most; early stopping may end it before.
    """

    setup: float
    epoch: float
    sample: float
    valid: int
    epochs: int

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.setup + self.epochs * (self.epoch + self.valid * self.sample)


def time_training(config: RunConfig, threads: int, *, budget: float = BUDGET) -> Speed:
    """Train for a moment, leaving nothing behind, and return what the whole is expected to cost.

    The batches timed are those of the first epoch whose numbers of steps are nearest to the mean,
    and the others are taken to cost as much per step. For a fitted system the fit of 512 samples
    is timed, and taken to grow with their number.

    Args:
        config: of the run.
        threads: it would have, on a CPU.
        budget: seconds of training steps; at least one is made, after a smaller one to warm up.

    Raises:
        EmotailorError: as the training itself.
        InterruptedRunError: SIGINT or SIGTERM arrived.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="emotailor-timing-") as folder:
            if issubclass(model_class(config.system), FittedModel):
                return _time_fit(config)
            return _Stopwatch(config, Path(folder) / "run", budget).time()
    finally:
        torch.set_num_threads(before)


def _time_fit(config: RunConfig) -> Speed:
    began = time.monotonic()
    data = TrainingData(config, Reporter())
    model = data.build()
    setup = time.monotonic() - began
    assert isinstance(model, FittedModel)
    count, size = len(data.positions), config.training.batch_size
    # spread over the split, so that all labels are among them
    places = np.unique(np.linspace(0, count - 1, min(count, FIT_SAMPLES)).astype(np.int64))
    began = time.monotonic()
    model.fit(data.batch(places[i : i + size]) for i in range(0, len(places), size))
    fit = (time.monotonic() - began) * count / len(places)
    model.eval()
    return Speed(setup, fit, _time_sample(model, data, size), len(data.valid_split), 1)


def _time_sample(model: EmotionModel, data: TrainingData, batch_size: int) -> float:
    """Seconds of predicting a validation sample."""
    split = data.valid_split
    count = min(len(split), VALID_BATCHES * batch_size)
    chosen = np.linspace(0, len(split) - 1, count).astype(np.int64)
    part = _part(data.dataset, split, chosen)
    began = time.monotonic()
    predict_probabilities(
        model,
        part,
        data.dims,
        aligned=data.dataset.aligned,
        standardizer=data.standardizer,
        batch_size=batch_size,
    )
    return (time.monotonic() - began) / len(part)


def _part(dataset: EmotionDataset, split: Split, chosen: np.ndarray) -> Split:
    return EmotionDataset.from_samples(
        {split.name: [split.sample(int(i)) for i in np.unique(chosen)]},
        name=dataset.card.name,
        label_names=dataset.label_names,
        dims=dataset.dims,
        aligned=dataset.aligned,
    )[split.name]


class _Enough(Exception):  # noqa: N818 - it is no error
    """The steps that are needed have been timed."""


class _Stopwatch(Trainer):
    """Trains as a training does, on the most typical batches, until it has been timed."""

    def __init__(self, config: RunConfig, run: Path, budget: float) -> None:
        self.began, self.budget = time.monotonic(), budget
        self.taken: list[float] = []  # seconds of each timed update
        self.work: list[int] = []  # padded steps in it
        super().__init__(config, run)

    def time(self) -> Speed:
        """Train for a moment."""
        try:
            self.train()
        except _Enough:
            pass
        except InterruptedRunError:
            raise InterruptedRunError(
                "stopped while steps were timed; nothing has been trained",
                fix="run the same command again",
            ) from None
        settings = self.training
        sample = _time_sample(self.kept, self.data, settings.batch_size)
        epoch = sum(self.taken) / sum(self.work) * self.whole
        return Speed(self.setup, epoch, sample, len(self.data.valid_split), settings.epochs)

    def _train(self, stop: list[int]) -> TrainResult:
        self.stop = stop
        return super()._train(stop)

    def _run_epoch(self, stop: list[int]) -> dict[str, float]:
        self.setup = time.monotonic() - self.began
        order = epoch_batches(
            self.data.lengths, self.training.batch_size, seed=self.training.seed, epoch=0
        )
        split, positions = self.data.train_split, self.data.positions
        self.lengths = [split.lengths(m)[positions] for m in self.data.dims]
        work = np.array([self._steps(batch) for batch in order])
        self.whole = int(work.sum())
        self.typical = [order[i] for i in np.argsort(np.abs(work - work.mean()), kind="stable")]
        return super()._run_epoch(stop)

    def _optimizer_step(self, order: list[np.ndarray]) -> None:
        if not hasattr(self, "warm"):  # a first step makes ready what later ones find
            few = 2 * self.workers.count if self.device.type == "cpu" else None
            self._timed_step([batch[:few] for batch in self.typical])
            self.warm = True
        self.taken.append(self._timed_step(self.typical))
        used = min(self.training.accumulate, len(order))
        self.work.append(sum(map(self._steps, self.typical[:used])))
        self._stop_if_asked(self.stop)
        if sum(self.taken) >= self.budget or len(self.taken) >= MOST_STEPS:
            raise _Enough
        self.typical = self.typical[used:] + self.typical[:used]

    def _steps(self, batch: np.ndarray) -> int:
        """How many steps of all modalities a batch is padded to."""
        return len(batch) * sum(int(lengths[batch].max()) for lengths in self.lengths)

    def _timed_step(self, order: list[np.ndarray]) -> float:
        began = time.monotonic()
        self.progress.batch = self.progress.samples = 0
        super()._optimizer_step(order)
        self.progress.batch = 0
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - began
