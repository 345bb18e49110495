"""The loss that the settings ask for, in the place of a system's own cross-entropy."""

import torch
from jaxtyping import Float
from torch import Tensor

from emotailor.errors import ConfigError
from emotailor.models.base import EmotionModel, FittedModel, LabelStatistics
from emotailor.models.label_loss import LabelLoss
from emotailor.training.config import TrainingConfig


def changes_loss(config: TrainingConfig) -> bool:
    """Whether the settings ask for another loss than the plain cross-entropy."""
    return config.loss != "cross_entropy" or config.positive_weight not in ("none", {})


def set_loss(model: EmotionModel, config: TrainingConfig, statistics: LabelStatistics) -> None:
    """Give a model the loss of the settings.

    Args:
        model: to be trained.
        config: settings of the training.
        statistics: of the training labels.

    Raises:
        ConfigError: the system cannot take these settings, or a weight is for a label that the data
            do not have.
    """
    if not changes_loss(config):
        return
    _check_that_it_takes(model, config)

    positive = negative = margin = 0.0
    if config.loss == "focal":
        positive = negative = config.focal_gamma
    elif config.loss == "asymmetric":
        positive = config.gamma_positive
        negative = config.gamma_negative
        margin = config.margin

    loss = LabelLoss(
        config.loss,
        gamma_positive=positive,
        gamma_negative=negative,
        margin=margin,
        positive_weight=positive_weights(config, statistics),
    )
    model.use_label_loss(loss)


def _check_that_it_takes(model: EmotionModel, config: TrainingConfig) -> None:
    """Refuse a loss or weights that the system cannot learn by.

    Raises:
        ConfigError: it cannot.
    """
    if model.takes_label_loss:
        return

    if isinstance(model, FittedModel) and model.takes_positive_weight:
        if config.loss == "cross_entropy":
            return
        raise ConfigError(
            f"training.loss = {config.loss!r} for a system that fits logistic regressions",
            expected="cross_entropy: it is what a logistic regression minimises",
            fix="use training.positive_weight, or decide by --thresholds macro, or choose another "
            "system",
        )

    raise ConfigError(
        f"training.loss = {config.loss!r}, training.positive_weight = "
        f"{config.positive_weight!r} for a system without a cross-entropy of its labels",
        expected="cross_entropy and none: by its paper, the system learns in another way",
        fix="leave both settings out and decide by --thresholds macro, or choose another system",
    )


def positive_weights(
    config: TrainingConfig, statistics: LabelStatistics
) -> Float[Tensor, "labels"] | None:
    """Return the weight of each label where it holds, (L,); None for 1 everywhere.

    Raises:
        ConfigError: a weight is for a label that the data do not have.
    """
    wanted = config.positive_weight
    if wanted == "none":
        return None

    if wanted == "balanced":
        held = statistics.counts
        others = statistics.samples - held
        # a label that always or never holds teaches nothing by its weight
        is_usable = (held > 0) & (others > 0)
        ratio = others / held.clamp(min=1)
        return torch.where(is_usable, ratio, 1.0)

    unknown = [name for name in wanted if name not in statistics.names]
    if unknown:
        raise ConfigError(
            f"training.positive_weight has the label {unknown[0]!r}",
            expected=f"labels of the data: {', '.join(statistics.names)}",
        )

    weights = [wanted.get(name, 1.0) for name in statistics.names]
    return torch.tensor(weights)
