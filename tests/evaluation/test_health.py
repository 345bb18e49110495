"""The checks of a result, against numbers by hand."""

import numpy as np
import pytest

from emotailor.evaluation.health import (
    Training,
    below,
    findings,
    near_constant,
    one_sided,
    tied,
)
from emotailor.evaluation.metrics import Metrics, evaluate

NAMES = ("happy", "sad", "angry")


def judged(labels: np.ndarray, probabilities: np.ndarray) -> Metrics:
    return evaluate(labels, probabilities, NAMES, 0.5)


@pytest.fixture
def labels() -> np.ndarray:
    """60 samples: every second is happy, every third sad, every fifth angry."""
    i = np.arange(60)
    return np.stack([i % 2 == 0, i % 3 == 0, i % 5 == 0], 1).astype(np.uint8)


def test_a_model_that_knows_is_silent(labels: np.ndarray) -> None:
    probabilities = np.where(labels == 1, 0.8, 0.1)
    chance = {"label frequencies": judged(labels, np.full(labels.shape, 0.4))}
    training = Training(epochs=5, learning_rate=1e-4, scores=[0.1, 0.5, 0.6, 0.6, 0.4])
    found = findings(
        judged(labels, probabilities), probabilities, baselines=chance, training=training
    )
    assert found == []


def test_every_probability_between_two_numbers() -> None:
    column = np.linspace(0.38, 0.42, 101)
    found = near_constant(np.stack([column, column, column], 1), NAMES)
    assert found is not None
    assert found.kind == "near-constant"
    assert ".380 and .420" in found.what


@pytest.mark.parametrize(
    ("middle", "half", "flat"),
    # logits at .5 are four times the probability: .5 +- .02 spans .16 in all, .144 in the middle
    [(0.5, 0.02, True), (0.5, 0.03, False), (0.02, 0.001, True), (0.02, 0.01, False)],
)
def test_the_limit_is_in_logits(middle: float, half: float, flat: bool) -> None:
    column = np.linspace(middle - half, middle + half, 101)
    wide = np.linspace(0.1, 0.9, 101)
    found = near_constant(np.stack([wide, column, wide], 1), NAMES)
    assert (found is not None) == flat
    if found is not None:
        assert "sad" in found.what
        assert "happy" not in found.what


def test_label_frequencies_are_constant_each() -> None:
    found = near_constant(np.tile([0.5, 0.3, 0.01], (40, 1)), NAMES)
    assert found is not None
    assert "happy .500 to .500, sad .300 to .300, angry .010 to .010" in found.what
    assert near_constant(np.array([[0.5, 0.3, 0.01]]), NAMES) is None


def test_labels_never_and_always_predicted(labels: np.ndarray) -> None:
    probabilities = np.where(labels == 1, 0.8, 0.1)
    probabilities[:, 1] *= 0.5
    probabilities[:, 2] = 0.6
    never, always = one_sided(judged(labels, probabilities))
    assert (never.kind, always.kind) == ("never predicted", "always predicted")
    assert "sad (20 samples have it)" in never.what
    assert "angry (48 samples lack it)" in always.what


def test_a_rare_label_may_be_missed(labels: np.ndarray) -> None:
    # 9 of 45 samples are angry, then 10 of 50
    for count, kinds in ((45, []), (50, ["never predicted"])):
        some = labels[:count]
        probabilities = np.where(some == 1, 0.8, 0.1)
        probabilities[:, 2] *= 0.5
        assert [one.kind for one in one_sided(judged(some, probabilities))] == kinds


@pytest.mark.parametrize(
    ("scores", "count"),
    [
        ([0.528] * 8, 8),
        ([0.1, 0.5, 0.5, 0.4, 0.5], 3),
        ([0.1, 0.5, 0.5, 0.4, 0.3], 0),  # two are chance
        ([0.5] * 3 + [0.4] * 10, 0),  # less than a quarter
        ([0.5, 0.5, 0.5, float("nan")], 0),
        ([], 0),
    ],
)
def test_epochs_that_tie(scores: list[float], count: int) -> None:
    found = tied(Training(epochs=len(scores), learning_rate=1e-4, scores=scores))
    assert (found is not None) == (count > 0)
    if found is not None:
        assert found.what.startswith(f"{count} of {len(scores)} epochs tie")


def test_below_a_baseline_as_printed(labels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    good = judged(labels, np.where(labels == 1, 0.8, 0.1))
    poor = judged(labels, rng.random(labels.shape))
    assert below(good, {"logistic regression": poor}) is None
    assert below(good, {"logistic regression": good}) is None
    found = below(poor, {"label frequencies": poor, "logistic regression": good})
    assert found is not None
    assert "label frequencies" not in found.what
    assert "mean AUC" in found.what
    assert "--model br)" in found.advice

    # the regression that is ahead is named, not another of that kind
    found = below(poor, {"logistic regression": good}, strength=0.03)
    assert found is not None
    assert "--model br --set model.C=0.03)" in found.advice

    # what prints alike is equally good
    alike = poor.model_copy(update={"micro_f1": poor.micro_f1 + 1e-5})
    assert below(poor, {"label frequencies": alike}) is None


@pytest.mark.parametrize(
    ("training", "advice"),
    [
        (
            Training(8, 5e-5, updates=160),
            "train longer or with a higher rate: --epochs 25 --lr 0.001",
        ),
        (Training(30, 5e-5, updates=600), "train with a higher rate: --lr 0.001"),
        # a lower rate learns less in a few updates
        (Training(2, 1e-3, updates=6), "train longer: --epochs 60"),
        (Training(40, 1e-2, updates=120), "train longer: --epochs 80"),
        (Training(40, 1e-3, updates=800), "train with a lower rate: --lr 0.0001"),
        (Training(), "look at the features with `emotailor data inspect`"),
    ],
)
def test_what_to_try(training: Training, advice: str) -> None:
    found = near_constant(np.full((9, 3), 0.4), NAMES, training)
    assert found is not None
    assert found.advice == advice
    assert str(found).endswith(f"; {advice}")
