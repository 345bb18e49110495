"""How long a training takes on this machine: a few of its steps, timed."""

import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from emotailor.data.batching import epoch_batches
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.factory import model_class
from emotailor.nn.plain import plain_paths
from emotailor.training.feeding import Feeder
from emotailor.training.inference import predict_probabilities
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData, choose_device
from emotailor.training.step import TrainingStep
from emotailor.training.threads import worker_threads

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
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        is_fitted = issubclass(model_class(config.system), FittedModel)
        paths = plain_paths() if config.training.plain else nullcontext()
        with paths:
            return _time_fit(config) if is_fitted else _time_steps(config, budget)
    finally:
        torch.set_num_threads(before)


def _time_fit(config: RunConfig) -> Speed:
    began = time.monotonic()
    data = TrainingData(config, Reporter())
    model = data.build()
    setup = time.monotonic() - began

    assert isinstance(model, FittedModel)
    count = len(data.positions)
    size = config.training.batch_size
    # spread over the split, so that all labels are among them
    few = min(count, FIT_SAMPLES)
    spread = np.linspace(0, count - 1, few).astype(np.int64)
    numbers = np.unique(spread)
    starts = range(0, len(numbers), size)

    began = time.monotonic()
    model.fit(data.batch(numbers[start : start + size]) for start in starts)
    seconds = time.monotonic() - began
    fit = seconds * count / len(numbers)

    model.eval()
    sample = _time_sample(model, data, size)
    valid = len(data.valid_split)
    return Speed(setup, fit, sample, valid, epochs=1)


def _time_steps(config: RunConfig, budget: float) -> Speed:
    settings = config.training
    began = time.monotonic()
    device = choose_device(settings.device)
    data = TrainingData(config, Reporter())

    # a signal ends this at once: there is nothing to save
    with worker_threads(device) as workers:
        model = data.build().to(device)
        step = TrainingStep(model, settings, workers)
        feeder = Feeder(data, device)
        stopwatch = _Stopwatch(data, step, feeder)
        setup = time.monotonic() - began

        epoch = stopwatch.time_epoch(budget)
        sample = _time_sample(step.kept, data, settings.batch_size)

    valid = len(data.valid_split)
    return Speed(setup, epoch, sample, valid, settings.epochs)


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
    seconds = time.monotonic() - began
    return seconds / len(part)


def _part(dataset: EmotionDataset, split: Split, chosen: np.ndarray) -> Split:
    """Return a split of chosen samples alone."""
    positions = np.unique(chosen)
    samples = [split.sample(int(position)) for position in positions]

    part = EmotionDataset.from_samples(
        {split.name: samples},
        name=dataset.card.name,
        label_names=dataset.label_names,
        dims=dataset.dims,
        aligned=dataset.aligned,
    )
    return part[split.name]


class _Stopwatch:
    """Times updates on the most typical batches of the first epoch.

    Args:
        data: what is trained on.
        step: makes the updates.
        feeder: gives the batches.

    Attributes:
        batches: numbers of the samples of each batch; those nearest to the mean work come first.
        whole: work of the whole epoch.
    """

    def __init__(self, data: TrainingData, step: TrainingStep, feeder: Feeder) -> None:
        self.data = data
        self.step = step
        self.feeder = feeder
        self.settings = data.config.training
        split = data.train_split
        self._lengths = [split.lengths(m)[data.positions] for m in data.dims]

        size = self.settings.batch_size
        seed = self.settings.seed
        batches = epoch_batches(data.lengths, size, seed=seed, epoch=0)
        work = np.array([self.work(batch) for batch in batches])
        self.whole = int(work.sum())

        distance = np.abs(work - work.mean())
        nearest_first = np.argsort(distance, kind="stable")
        self.batches = [batches[i] for i in nearest_first]

    def work(self, batch: np.ndarray) -> int:
        """Return how many steps of all modalities a batch is padded to."""
        return len(batch) * sum(int(lengths[batch].max()) for lengths in self._lengths)

    def time_epoch(self, budget: float) -> float:
        """Return the seconds that all updates of an epoch are expected to take.

        Args:
            budget: seconds to spend; one update is timed in any case.
        """
        step = self.step
        accumulated = min(self.settings.accumulate, len(self.batches))
        step.train_mode()

        # a first update makes ready what later ones find
        few = 2 * step.workers.count if step.device.type == "cpu" else None
        small = [batch[:few] for batch in self.batches[:accumulated]]
        self.make_update(small, 1)

        batches = self.batches
        seconds = 0.0
        work = 0
        for number in range(1, MOST_STEPS + 1):
            typical = batches[:accumulated]
            began = time.monotonic()
            self.make_update(typical, number)
            seconds += time.monotonic() - began
            work += sum(map(self.work, typical))

            if seconds >= budget:
                break

            # those used now come again after all others
            batches = batches[accumulated:] + typical
        return seconds / work * self.whole

    def make_update(self, batches: list[np.ndarray], number: int) -> None:
        """Make one update as the training does, and wait for the device."""
        step = self.step
        load = self.feeder.batch
        update_size = sum(len(batch) for batch in batches)
        for batch in batches:
            lengths = self.data.lengths[batch]
            parts = [batch[rows] for rows in step.rows_of_parts(lengths)]
            step.add_batch(parts, load, batch_size=len(batch), update_size=update_size)

        step.update(self.settings.learning_rate, number)

        # a GPU computes on while Python is done already
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
