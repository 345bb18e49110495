"""A model's own learning rate and sampling, and training without short cuts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from emotailor.errors import InterruptedRunError, ModelError
from emotailor.models.factory import build_model
from emotailor.models.tailor.model import Tailor
from emotailor.nn.plain import is_plain
from emotailor.training import optimizer, step
from emotailor.training.order import check_weights, epoch_order
from emotailor.training.run import train
from emotailor.training.threads import worker_threads
from tests.helpers import DIMS, LABELS, SMALL
from tests.runs.runs import one_thread
from tests.training.test_loop import MODEL, StopAt, assert_identical, config, whole_checkpoints

STILL = {**MODEL, "dropout": 0.0, "refinement_dropout": 0.0}


def rare_first(self: Tailor, labels: Float[Tensor, "samples labels"]) -> Float[Tensor, "samples"]:
    """The rarer the labels of a sample, the heavier it is."""
    rarity = 1 / labels.sum(0).clamp(min=1)
    return (labels @ rarity) + 0.01


# ---------------------------------------------------------------------- learning rate


def test_a_model_may_choose_its_learning_rate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    update = step.TrainingStep.update

    def seen(self: step.TrainingStep, learning_rate: float, number: int) -> None:
        rates.append(learning_rate)
        update(self, learning_rate, number)

    monkeypatch.setattr(step.TrainingStep, "update", seen)
    monkeypatch.setattr(Tailor, "learning_rate_factor", lambda _, at, steps: at / steps)
    with one_thread():
        train(config(data, epochs=1, learning_rate=0.5e-3), tmp_path / "run")
    assert rates == pytest.approx([0.5e-3 * at / 6 for at in range(6)])


@pytest.mark.parametrize("factor", [-0.5, math.nan, math.inf])
def test_an_impossible_learning_rate_is_refused(
    data: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    settings = config(data).training
    model = Tailor.__new__(Tailor)
    monkeypatch.setattr(Tailor, "learning_rate_factor", lambda *_: factor)
    with pytest.raises(ModelError, match="learning_rate_factor"):
        optimizer.rate_of_step(model, settings, 3, 10)


# ---------------------------------------------------------------------- sampling


def test_samples_are_drawn_by_their_weights(data: Path) -> None:
    settings = config(data, batch_size=50).training
    lengths = np.arange(1, 401)
    weights = np.zeros(400)
    weights[7] = 3.0
    weights[11] = 1.0
    first, again, later = (
        np.sort(np.concatenate(epoch_order(lengths, settings, epoch, weights)))
        for epoch in (0, 0, 1)
    )
    assert first.tolist() == again.tolist()
    assert first.tolist() != later.tolist()
    assert len(first) == 400
    assert set(first) == {7, 11}
    assert 0.65 < (first == 7).mean() < 0.85  # 3/4 but for chance


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        (torch.ones(4), r"\(4,\)"),
        (torch.tensor([1.0, -1.0, 1.0]), "negative"),
        (torch.tensor([1.0, math.nan, 1.0]), "infinite"),
        (torch.zeros(3), "zeros"),
    ],
)
def test_impossible_weights_are_refused(weights: Tensor, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        check_weights(weights, 3)


def test_a_training_that_draws_samples_is_resumed_to_the_bit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tailor, "sampling_weights", rare_first)
    settings = config(data, epochs=3, accumulate=2)
    with one_thread(), whole_checkpoints():
        train(settings, tmp_path / "whole")
        with pytest.raises(InterruptedRunError):
            train(settings, tmp_path / "stopped", StopAt(6))
        train(settings, tmp_path / "stopped")
        assert_identical(tmp_path / "whole", tmp_path / "stopped")

        monkeypatch.undo()
        usual = train(settings, tmp_path / "usual")
    drawn = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert str(usual.history[0].train["total"]) not in drawn  # it makes a difference


# ---------------------------------------------------------------------- plain


@pytest.mark.parametrize("name", ["adam", "bert_adam"])
def test_plain_training_loses_the_same_step_by_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Nothing is random here, so both ways differ by rounding alone."""
    losses: dict[bool, list[float]] = {False: [], True: []}
    objective = step.TrainingStep._objective
    parts: set[bool] = set()

    def seen(self: step.TrainingStep, batch: Any) -> Any:
        found = objective(self, batch)
        losses[is_plain()].append(float(found[1]["total"]) * len(batch))
        if is_plain():
            parts.add(len(batch) in (11, 1))
        return found

    monkeypatch.setattr(step.TrainingStep, "_objective", seen)
    for plain in (False, True):
        settings = config(
            data, epochs=2, batch_size=11, optimizer=name, weight_decay=0.01, plain=plain
        ).replace(model=STILL)
        with one_thread():
            train(settings, tmp_path / str(plain))
    assert not is_plain()
    assert parts == {True}  # whole batches
    assert len(losses[True]) == len(losses[False]) == 6
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_plain_training_uses_no_short_cuts(data: Path) -> None:
    from emotailor.nn.plain import plain_paths
    from emotailor.training.optimizer import build_optimizer

    model = build_model("tailor", SMALL, DIMS, len(LABELS))
    settings = config(data).training
    fast = build_optimizer(model, settings)
    with plain_paths():
        slow = build_optimizer(model, settings)
        with worker_threads(torch.device("cpu")) as workers:
            assert workers.count == 1
    assert fast.defaults["fused"]
    assert not slow.defaults["fused"]
    assert slow.defaults["foreach"] is False
