"""Losses of the labels by the settings, against values computed by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from emotailor.errors import ConfigError
from emotailor.models.base import LabelStatistics
from emotailor.models.label_loss import LabelLoss
from emotailor.models.table import SYSTEMS
from emotailor.training.config import TrainingConfig
from emotailor.training.losses import positive_weights
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData

P = 0.8  # probability of both labels; the first holds, the second does not
LOGITS = torch.full((1, 2), math.log(P / (1 - P)))
LABELS = torch.tensor([[1.0, 0.0]])
OTHERS = ("br", "lp", "cc", "sgm")


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        (LabelLoss(), -(math.log(0.8) + math.log(0.2)) / 2),
        # gamma 2: 0.2² and 0.8²
        (
            LabelLoss("focal", gamma_positive=2.0, gamma_negative=2.0),
            -(0.04 * math.log(0.8) + 0.64 * math.log(0.2)) / 2,
        ),
        # the negative's probability counts as 0.8 - 0.3 = 0.5, to the power of 4
        (
            LabelLoss("asymmetric", gamma_positive=1.0, gamma_negative=4.0, margin=0.3),
            -(0.2 * math.log(0.8) + 0.0625 * math.log(0.5)) / 2,
        ),
        (
            LabelLoss(positive_weight=torch.tensor([3.0, 7.0])),
            -(3 * math.log(0.8) + math.log(0.2)) / 2,
        ),
        (
            LabelLoss(
                "focal",
                gamma_positive=2.0,
                gamma_negative=2.0,
                positive_weight=torch.tensor([3.0, 7.0]),
            ),
            -(3 * 0.04 * math.log(0.8) + 0.64 * math.log(0.2)) / 2,
        ),
    ],
)
def test_losses_by_hand(loss: LabelLoss, wanted: float) -> None:
    assert loss(LOGITS, LABELS).item() == pytest.approx(wanted, rel=1e-6)


def test_the_default_is_the_cross_entropy_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 5, generator=generator) * 4
    labels = (torch.rand(7, 5, generator=generator) < 0.3).float()
    assert torch.equal(
        LabelLoss()(logits, labels), F.binary_cross_entropy_with_logits(logits, labels)
    )
    assert LabelLoss().state_dict() == {}
    assert LabelLoss(positive_weight=torch.ones(5)).state_dict() == {}


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_extreme_logits_have_finite_losses_and_gradients(gamma: float, margin: float) -> None:
    logits = torch.tensor([[-200.0, -20.0, 0.0, 20.0, 200.0]] * 2, requires_grad=True)
    labels = torch.tensor([[1.0] * 5, [0.0] * 5])
    loss = LabelLoss("asymmetric", gamma_positive=gamma, gamma_negative=gamma, margin=margin)
    found = loss(logits, labels)
    found.backward()
    assert torch.isfinite(found)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_weights_of_labels_that_hold() -> None:
    labels = torch.tensor([[1, 0, 1, 0]] + [[0, 0, 1, 1]] * 3)
    statistics = LabelStatistics.of(["a", "b", "c", "d"], labels)

    def of(wanted: Any) -> list[float] | None:
        found = positive_weights(TrainingConfig(positive_weight=wanted), statistics)
        return None if found is None else found.tolist()

    assert of("none") is None
    assert of("balanced") == pytest.approx([3.0, 1.0, 1.0, 1 / 3])
    assert of({"c": 2.5}) == [1.0, 1.0, 2.5, 1.0]
    with pytest.raises(ConfigError, match="'e'"):
        of({"e": 2.0})


def built(data: Path, system: str, **training: Any) -> Any:
    config = RunConfig.build({"data": {"path": str(data)}, "training": training}, system=system)
    return TrainingData(config, Reporter()).build()


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name not in OTHERS])
def test_the_setting_reaches_the_system(data: Path, system: str) -> None:
    model = built(data, system, loss="focal", focal_gamma=1.5, positive_weight="balanced")
    assert model.label_loss.kind == "focal"
    assert model.label_loss.gamma_negative == 1.5
    assert model.label_loss.positive_weight is not None


@pytest.mark.parametrize("system", OTHERS)
@pytest.mark.parametrize("training", [{"loss": "focal"}, {"positive_weight": "balanced"}])
def test_systems_that_learn_in_another_way_refuse(
    data: Path, system: str, training: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(training.values()))):
        built(data, system, **training)
