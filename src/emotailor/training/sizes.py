"""What a training needs, by sizes alone: no step is made, no parameter has a value.

A training step costs about six operations for each parameter and step of a sequence: two forward
and four backward. A model of several modalities shows each parameter the steps of one of them, so
the mean over the modalities counts. How far that is off is in ``docs/reproduce.md``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import Modality
from emotailor.models.adapters.model import Adapters
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.base import EmotionModel, FittedModel
from emotailor.models.factory import build_model, model_class
from emotailor.models.table import find_system
from emotailor.shapes import shapes_alone
from emotailor.training.adapters import load_adapters, resolve_adapters
from emotailor.training.alignment import resolve_alignment
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import choose_device
from emotailor.training.timing import Speed

FORWARD = 2
TRAINING = 6
TRAINING_FROZEN = 4  # parameters that only pass gradients on
"""Operations for each parameter and step of a sequence."""

SHARE_OF_RATE = 0.5
"""The share of the rate of large matrix products that a model reaches."""

UPDATE_SECONDS = {"cpu": 0.01, "cuda": 0.03, "mps": 0.03}
"""What an update costs beside its operations: those on a GPU are small, and have to be started."""

BYTES = 4  # of a parameter, float32

_counted: dict[tuple[type[EmotionModel], str], int] = {}


@dataclass(frozen=True)
class RunSize:
    """How large a training is.

    Attributes:
        parameters: number of parameters of the model; 0 for a fitted system.
        frozen: number of parameters that are computed with, and neither trained nor stored.
        samples: number of samples to train on.
        steps: steps of all these sequences, the mean over the modalities.
        valid: number of samples to validate on.
        has_average: whether a second copy of the model averages the parameters.
    """

    parameters: int
    frozen: int
    samples: int
    steps: float
    valid: int
    has_average: bool

    @property
    def stored(self) -> int:
        """Bytes of a finished run: its model, and a copy if that is of the last epoch."""
        return 2 * BYTES * self.parameters

    @property
    def while_training(self) -> int:
        """Bytes of a run under way: its model, and two checkpoints with the optimizer's moments."""
        copies = 4 if self.has_average else 3
        return BYTES * self.parameters * (1 + 2 * copies)


def size_of(config: RunConfig, dataset: EmotionDataset) -> RunSize:
    """Return how large a training is.

    Args:
        config: its settings.
        dataset: its data set, opened.

    Raises:
        EmotailorError: the system cannot be trained on the data.
    """
    row = find_system(config.system)
    split = dataset[config.data.train_split]
    dims = row.choose(dataset.dims, config.data.modalities)

    lengths = [split.lengths(m).sum() for m in dims]
    parameters = 0
    frozen = 0
    if not issubclass(model_class(config.system), FittedModel):
        alignment = resolve_alignment(config.alignment, row, dims, dataset, split)
        wanted = resolve_adapters(config.adapters, row, dims, dataset, split)
        adapters = load_adapters(wanted, dataset.card.extraction.get("text"))
        parameters = _parameters(config, dims, len(dataset.label_names), alignment, adapters)
        if adapters is not None:
            frozen = adapters.encoder.parameters

    return RunSize(
        parameters=parameters,
        frozen=frozen,
        samples=len(split),
        steps=float(np.mean(lengths)),
        valid=len(dataset[config.data.valid_split]),
        has_average=config.training.average > 0,
    )


def _parameters(
    config: RunConfig,
    dims: Mapping[Modality, int],
    labels: int,
    alignment: AlignmentConfig,
    adapters: Adapters | None,
) -> int:
    """Return the number of parameters of a model, which is built once, whoever asks."""
    settings = [config.system, config.model.to_json(), dims, labels, alignment.to_json()]
    if adapters is not None:
        settings.append(adapters.config.to_json())
    key = (model_class(config.system), json.dumps(settings, sort_keys=True))
    if key not in _counted:
        # the largest system would fill a laptop
        with shapes_alone():
            model = build_model(
                config.system, config.model, dims, labels, alignment, adapters=adapters
            )
        _counted[key] = sum(parameter.numel() for parameter in model.parameters())
    return _counted[key]


def estimate_speed(size: RunSize, config: RunConfig, rate: float) -> Speed | None:
    """Return what a training will roughly cost; None for a fitted system, which has no steps.

    Args:
        size: its size.
        config: its settings.
        rate: operations a second, of :func:`~emotailor.training.precision.matmul_rate`.
    """
    if not size.parameters:
        return None

    settings = config.training
    updates = size.samples / (settings.batch_size * settings.accumulate)
    device = choose_device(settings.device)

    # operations for each step of a sequence
    trained = TRAINING * size.parameters + TRAINING_FROZEN * size.frozen
    predicted = FORWARD * (size.parameters + size.frozen)

    seconds_of_one = size.steps / (rate * SHARE_OF_RATE)
    epoch = trained * seconds_of_one + updates * UPDATE_SECONDS[device.type]
    sample = predicted / size.samples * seconds_of_one
    return Speed(setup=0.0, epoch=epoch, sample=sample, valid=size.valid, epochs=settings.epochs)
