"""What the rules of other programs would report of one training, from what its epochs predict.

The rule of this project chooses epoch and thresholds on validation data. Programs that papers are
computed with use other rules, some of which choose on the test split. Each rule here is applied to
the same predictions, so that the numbers differ by the rule alone:

======  ==============  =======================  ==============================================
letter  epoch           threshold                used by
======  ==============  =======================  ==============================================
a       by validation   by validation            this project
b       the last        the program's own        TAILOR's program, but for the exchange
c       best on test    the program's own        LDDU's program as shipped
d       best on test    searched on test         LDDU's published log
e       the last        the program's own        TAILOR's program: P and R exchanged, the last
                                                 incomplete batch of the test split dropped
f       by validation   the program's own        CARAT's and HHMPN's programs
======  ==============  =======================  ==============================================

By c and d a number is no estimate of anything: the test split has chosen what it is to judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from pydantic import BaseModel, ConfigDict, Field

from emotailor.errors import DataError
from emotailor.evaluation.comparison import Spread, spread_of
from emotailor.evaluation.metrics import (
    check_labels,
    check_probabilities,
    decide,
    evaluate,
    threshold_vector,
)
from emotailor.evaluation.thresholds import tune_threshold

Letter = Literal["a", "b", "c", "d", "e", "f"]
LETTERS: tuple[Letter, ...] = get_args(Letter)

Chosen = Literal["validation", "last", "test"]
Cut = Literal["validation", "fixed", "test"]


@dataclass(frozen=True)
class Rule:
    """How a program comes from the epochs of a training to the numbers that it reports.

    Attributes:
        epoch: which epoch is reported.
        threshold: which threshold decides.
        exchanged: precision and recall are exchanged, and the last incomplete batch of the test
            split is dropped.
        title: the rule in words.
    """

    epoch: Chosen
    threshold: Cut
    title: str
    exchanged: bool = False


RULES: Mapping[Letter, Rule] = {
    "a": Rule("validation", "validation", "epoch and threshold from validation (ours)"),
    "b": Rule("last", "fixed", "last epoch, fixed threshold"),
    "c": Rule("test", "fixed", "best epoch on test, fixed threshold"),
    "d": Rule("test", "test", "best epoch and threshold on test"),
    "e": Rule("last", "fixed", "as b, P and R exchanged, last batch dropped", exchanged=True),
    "f": Rule("validation", "fixed", "epoch from validation, fixed threshold"),
}


class Reported(BaseModel):
    """What one rule reports.

    Attributes:
        epoch: the epoch it takes, from 1.
        thresholds: label -> threshold that decides.
        samples: number of samples it judges.
        accuracy: as ``Metrics.accuracy``.
        micro_precision: as reported: of rule e it is the recall.
        micro_recall: as reported: of rule e it is the precision.
        micro_f1: as ``Metrics.micro_f1``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    thresholds: dict[str, float]
    samples: int
    accuracy: float
    micro_precision: float
    micro_recall: float
    micro_f1: float


class Protocols(BaseModel):
    """What every rule reports of one training.

    Attributes:
        fixed: the threshold of the authors' program.
        batch: samples in a batch of the authors' program.
        rules: letter -> what that rule reports.
        fixed_epochs: micro-F1 of all epochs, each under the fixed threshold.
        searched_epochs: micro-F1 of all epochs, each under the threshold that is best for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fixed: float
    batch: int = Field(ge=1)
    rules: dict[Letter, Reported]
    fixed_epochs: Spread
    searched_epochs: Spread


@dataclass(frozen=True)
class _Epoch:
    """One epoch on the tested split.

    Attributes:
        probabilities: (n, L).
        fixed_f1: micro-F1 under the fixed threshold.
        searched: the threshold with the highest micro-F1.
        searched_f1: that micro-F1.
    """

    probabilities: Float64[np.ndarray, "n labels"]
    fixed_f1: float
    searched: float
    searched_f1: float


def protocols(
    labels: Shaped[np.ndarray, "n labels"],
    epochs: Sequence[Float[np.ndarray, "n labels"]],
    label_names: Sequence[str],
    *,
    selected: int,
    thresholds: Float64[np.ndarray, "labels"],
    fixed: float,
    batch: int,
) -> Protocols:
    """Apply every rule to the predictions of all epochs on one split.

    Of epochs that are equally good on the test split the last is taken, as LDDU's program does. To
    drop the last incomplete batch is to leave out the samples at the end; TAILOR's program shuffles
    before, so there it is chance which they are. A split smaller than a batch is kept whole.

    Args:
        labels: of the tested split, 0 or 1.
        epochs: probabilities of the first epoch, the second, ...
        label_names: names of the columns.
        selected: the epoch that validation data chose, from 1.
        thresholds: the thresholds that validation data chose for it.
        fixed: the threshold of the authors' program.
        batch: samples in a batch of the authors' program.

    Raises:
        DataError: there is no epoch ``selected``, or arrays do not fit.
    """
    truth = check_labels(labels)
    if not 1 <= selected <= len(epochs):
        raise DataError(
            f"epoch {selected} of a training with the predictions of {len(epochs)} epochs",
            expected="one of these epochs",
        )

    judged = [_judged(truth, found, fixed) for found in epochs]
    fixed_scores = [one.fixed_f1 for one in judged]
    searched_scores = [one.searched_f1 for one in judged]
    best_fixed = _last_best(fixed_scores)
    best_searched = _last_best(searched_scores)

    count = len(label_names)
    cuts: dict[Cut, Float64[np.ndarray, "labels"]] = {
        "validation": thresholds,
        "fixed": threshold_vector(fixed, count),
        "test": threshold_vector(judged[best_searched].searched, count),
    }
    places: dict[Chosen, int] = {
        "validation": selected - 1,
        "last": len(epochs) - 1,
        "test": best_fixed,
    }

    reported = {}
    for letter, rule in RULES.items():
        index = places[rule.epoch]
        if rule.threshold == "test":
            index = best_searched

        probabilities = judged[index].probabilities
        reported[letter] = _reported(
            rule,
            truth,
            probabilities,
            label_names,
            cuts[rule.threshold],
            epoch=index + 1,
            batch=batch,
        )
    return Protocols(
        fixed=fixed,
        batch=batch,
        rules=reported,
        fixed_epochs=spread_of(fixed_scores),
        searched_epochs=spread_of(searched_scores),
    )


def _judged(
    truth: Bool[np.ndarray, "n labels"], found: Float[np.ndarray, "n labels"], fixed: float
) -> _Epoch:
    """Return how an epoch does under the fixed threshold, and under the best one."""
    probabilities = check_probabilities(found, truth.shape)
    searched = tune_threshold(truth, probabilities)
    return _Epoch(
        probabilities=probabilities,
        fixed_f1=_micro_f1(truth, probabilities, fixed),
        searched=searched,
        searched_f1=_micro_f1(truth, probabilities, searched),
    )


def _micro_f1(
    truth: Bool[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
    threshold: float,
) -> float:
    decided = decide(probabilities, threshold)
    both = int((truth & decided).sum())
    either = int(truth.sum()) + int(decided.sum())
    return 2 * both / either if either else 0.0


def _last_best(scores: Sequence[float]) -> int:
    """Return the index of the highest score; of equals the last."""
    best = max(scores)
    return max(index for index, score in enumerate(scores) if score == best)


def _reported(
    rule: Rule,
    truth: Bool[np.ndarray, "n labels"],
    probabilities: Float64[np.ndarray, "n labels"],
    label_names: Sequence[str],
    cuts: Float64[np.ndarray, "labels"],
    *,
    epoch: int,
    batch: int,
) -> Reported:
    """Return the numbers of one rule for the epoch and the thresholds that it has chosen."""
    samples = len(truth)
    if rule.exchanged and samples >= batch:
        samples -= samples % batch

    metrics = evaluate(truth[:samples], probabilities[:samples], label_names, cuts)
    precision = metrics.micro_precision
    recall = metrics.micro_recall
    if rule.exchanged:
        precision, recall = recall, precision

    return Reported(
        epoch=epoch,
        thresholds=dict(zip(label_names, cuts.tolist(), strict=True)),
        samples=samples,
        accuracy=metrics.accuracy,
        micro_precision=precision,
        micro_recall=recall,
        micro_f1=metrics.micro_f1,
    )
