"""Losses of the labels by the settings, against values computed by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emotailor.errors import ConfigError
from emotailor.models.base import LabelStatistics
from emotailor.models.label_loss import LabelLoss
from emotailor.models.table import SYSTEMS
from emotailor.training.config import TrainingConfig
from emotailor.training.losses import positive_weights, set_loss
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData
from tests.helpers import LABELS as LABEL_NAMES
from tests.helpers import random_samples
from tests.systems import batch_of, label_statistics, tiny_model, usable_dims

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


def by_hand(logits: np.ndarray, labels: np.ndarray, setting: str) -> float:
    """The loss of a setting by its definition, in double precision."""
    p = 1 / (1 + np.exp(-logits))
    q = 1 - p
    weight = np.array([3.0, 0.5, 7.0]) if "weight" in setting else np.ones(3)
    holds = -np.log(p)
    lacks = -np.log(q)
    if setting.startswith("focal"):
        holds *= q**1.5
        lacks *= p**1.5
    if setting.startswith("asymmetric"):
        shifted = np.maximum(p - 0.1, 1e-8)
        holds *= q**0.5
        lacks = -(shifted**3) * np.log(1 - shifted)
    return float((labels * weight * holds + (1 - labels) * lacks).mean())


SETTINGS: dict[str, dict[str, Any]] = {
    "weight": {"positive_weight": dict(zip(LABEL_NAMES, (3.0, 0.5, 7.0), strict=True))},
    "focal": {"loss": "focal", "focal_gamma": 1.5},
    "focal, weight": {
        "loss": "focal",
        "focal_gamma": 1.5,
        "positive_weight": dict(zip(LABEL_NAMES, (3.0, 0.5, 7.0), strict=True)),
    },
    "asymmetric": {
        "loss": "asymmetric",
        "gamma_positive": 0.5,
        "gamma_negative": 3.0,
        "margin": 0.1,
    },
}


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name not in OTHERS])
def test_the_loss_of_a_batch_is_that_of_the_setting(system: str) -> None:
    """Its logits and its other losses stay; what is minimised changes by this loss alone."""
    samples = random_samples(11, seed=4)
    batch = batch_of(samples, usable_dims(system))
    assert batch.labels is not None
    truth = batch.labels.numpy()
    statistics = label_statistics(samples)

    model = tiny_model(system)
    heard: list[torch.Tensor] = []
    model.label_loss.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    plain = model(batch)
    if system != "carat":  # it predicts by the mean of several logits, and learns each
        assert torch.equal(heard[0], plain.logits)
    logits = heard[0].detach().double().numpy()
    before = plain.losses["classification"].item()
    assert before == pytest.approx(by_hand(logits, truth, "plain"), rel=1e-5)

    weight = model.loss_weights["classification"]
    assert weight > 0
    for setting, training in SETTINGS.items():
        set_loss(model, TrainingConfig(**training), statistics)
        found = model(batch)
        assert torch.equal(found.logits, plain.logits)

        now = found.losses["classification"].item()
        assert now == pytest.approx(by_hand(logits, truth, setting), rel=1e-5), setting
        assert abs(now - before) > 0.01, setting
        for name in plain.losses.keys() - {"classification"}:
            assert torch.equal(found.losses[name], plain.losses[name]), (setting, name)

        moved = (model.total_loss(found) - model.total_loss(plain)).item()
        assert moved == pytest.approx(weight * (now - before), rel=1e-3), setting


@pytest.mark.parametrize("system", ["lp", "sgm"])
@pytest.mark.parametrize("training", [{"loss": "focal"}, {"positive_weight": "balanced"}])
def test_systems_that_learn_in_another_way_refuse(
    data: Path, system: str, training: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=next(iter(training.values()))) as refused:
        built(data, system, **training)
    assert "--thresholds macro" in str(refused.value)


@pytest.mark.parametrize("system", ["br", "cc"])
def test_regressions_take_weights_and_no_other_loss(data: Path, system: str) -> None:
    model = built(data, system, positive_weight={LABEL_NAMES[1]: 4.0})
    assert model.positive_weight.tolist() == [1.0, 4.0, 1.0]
    with pytest.raises(ConfigError, match="'focal'") as refused:
        built(data, system, loss="focal", positive_weight="balanced")
    assert "training.positive_weight" in str(refused.value)
