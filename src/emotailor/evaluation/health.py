"""Is this model worth anything? What is suspicious about its numbers, in plain lines.

Each check is a pure function of what was predicted, or of the scores of the epochs:

- ``near_constant``: the probabilities hardly differ between samples;
- ``one_sided``: a label is never predicted, or for every sample;
- ``tied``: many epochs share the highest score, so the choice among them says nothing;
- ``below``: a baseline is better.

The limits are chosen so that a run that has learned something is silent; ``docs/evaluation.md``
states them. A finding says what was seen and what to try.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from emotailor.evaluation.baselines import BLIND
from emotailor.evaluation.display import title_of
from emotailor.evaluation.metrics import Metrics
from emotailor.evaluation.regression import REGRESSION
from emotailor.evaluation.tables import short

BELOW = "below a baseline"
"""Kind of the finding that marks a system in tables."""

LEAST_SPREAD = 0.2
"""A label is near-constant where its middle 90 % of logits span less than this."""

LEAST_POSITIVES = 10
"""A label is missed where it is never predicted though at least so many samples have it."""

TIED_EPOCHS = 3
TIED_SHARE = 0.25
"""Epochs tie where at least so many, and at least this share of all, have the highest score."""

COMPARED = {"micro_f1": 0.001, "mean_average_precision": 0.01, "mean_roc_auc": 0.01}
"""Metric -> by how much a baseline must be better to be named, both numbers as printed."""

RARE = (
    "try a threshold for each label (--thresholds macro) or --set training.positive_weight=balanced"
)
ENOUGH_UPDATES = 500
"""Updates of the parameters after which more of them are not the first thing to try."""
MOST_EPOCHS = 60
"""Epochs that are advised at most, unless as many were tried: few samples are learned by heart."""
HIGHER_RATE = 1e-3


@dataclass(frozen=True)
class Finding:
    """One suspicious thing.

    Attributes:
        kind: ``near-constant``, ``never predicted``, ``always predicted``, ``tied epochs`` or
            ``below a baseline``.
        what: what was seen.
        advice: what to try.
    """

    kind: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}"


@dataclass(frozen=True)
class Training:
    """How a model was trained, so that advice can name other values.

    Attributes:
        epochs: number of epochs; None for a system that is fitted at once, or where unknown.
        learning_rate: the learning rate; None likewise.
        updates: number of updates of the parameters in these epochs.
        scores: validation score of each epoch by which epochs are compared.
        metric: name of that score.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    updates: int = 0
    scores: Sequence[float] = ()
    metric: str = "micro_f1"

    def longer(self) -> str:
        """Say what to try where too little was learned."""
        if self.epochs is None or self.learning_rate is None:
            return "look at the features with `emotailor data inspect`"

        is_short = self.updates < ENOUGH_UPDATES
        is_slow = self.learning_rate < HIGHER_RATE
        longer = f"--epochs {self._more_epochs()}"
        faster = f"--lr {HIGHER_RATE:g}"
        if is_short and is_slow:
            return f"train longer or with a higher rate: {longer} {faster}"
        if is_short:
            return f"train longer: {longer}"
        if is_slow:
            return f"train with a higher rate: {faster}"
        return f"train with a lower rate: --lr {self.learning_rate / 10:g}"

    def _more_epochs(self) -> int:
        """Return the epochs that give updates enough, at least twice those that were."""
        assert self.epochs is not None
        per_epoch = max(self.updates / self.epochs, 1)
        enough = math.ceil(ENOUGH_UPDATES / per_epoch)
        return max(min(enough, MOST_EPOCHS), 2 * self.epochs)


UNKNOWN = Training()


def findings(
    metrics: Metrics,
    probabilities: Float[np.ndarray, "n labels"],
    *,
    baselines: Mapping[str, Metrics] | None = None,
    training: Training | None = None,
    strength: float | None = None,
) -> list[Finding]:
    """Return everything that is suspicious, the worst first; empty for a run that is well.

    Args:
        metrics: of the system on some samples.
        probabilities: of the system on the same samples, (n, L).
        baselines: name -> metrics on the same samples.
        training: how the system was trained.
        strength: C of the regression among the baselines.
    """
    known = training or UNKNOWN
    names = tuple(metrics.labels)
    found = [
        near_constant(probabilities, names, known),
        below(metrics, baselines or {}, known, strength),
        tied(known),
        *one_sided(metrics),
    ]
    return [finding for finding in found if finding is not None]


# ---------------------------------------------------------------------- checks


def near_constant(
    probabilities: Float[np.ndarray, "n labels"],
    names: Sequence[str],
    training: Training = UNKNOWN,
) -> Finding | None:
    """Say which labels have nearly the same probability for every sample; None where none has.

    A label is so where the middle 90 % of its logits span less than ``LEAST_SPREAD``: at .4 that
    is .376 to .424, at .02 it is .018 to .022. A single sample tells nothing.
    """
    if len(probabilities) < 2:
        return None

    spans = _spans(probabilities)
    flat = np.flatnonzero(spans < LEAST_SPREAD).tolist()
    if not flat:
        return None

    ranges = _ranges(probabilities, names, flat)
    what = f"nearly the same probability for all samples: {ranges}"
    if len(flat) < len(names):
        return Finding("near-constant", what, RARE)

    if _all_alike(probabilities):
        low = short(float(probabilities.min()))
        high = short(float(probabilities.max()))
        what = f"every probability lies between {low} and {high}"
    what += ": the model has learned nothing yet"
    return Finding("near-constant", what, training.longer())


def one_sided(metrics: Metrics) -> list[Finding]:
    """Say which labels are never predicted though samples have them, or always though not all do.

    Labels that fewer than ``LEAST_POSITIVES`` samples have, or lack, are left out.
    """
    never = []
    always = []
    for name, label in metrics.labels.items():
        negatives = metrics.samples - label.support
        if label.predicted == 0 and label.support >= LEAST_POSITIVES:
            never.append(f"{name} ({label.support:,} samples have it)")
        if label.predicted == metrics.samples and negatives >= LEAST_POSITIVES:
            always.append(f"{name} ({negatives:,} samples lack it)")

    found = []
    if never:
        what = f"never predicted: {', '.join(never)}"
        found.append(Finding("never predicted", what, RARE))
    if always:
        what = f"predicted for every sample: {', '.join(always)}"
        advice = "try a threshold for each label: --thresholds macro"
        found.append(Finding("always predicted", what, advice))
    return found


def tied(training: Training) -> Finding | None:
    """Say that many epochs share the highest validation score; None where few do."""
    scores = np.array(training.scores, np.float64)
    if not len(scores) or np.isnan(scores).any():
        return None

    best = scores.max()
    count = int((scores == best).sum())
    if count < TIED_EPOCHS or count < TIED_SHARE * len(scores):
        return None

    metric = title_of(training.metric)
    what = (
        f"{count} of {len(scores)} epochs tie at the highest validation {metric}, "
        f"{short(float(best))}"
    )
    return Finding("tied epochs", what, training.longer())


def below(
    metrics: Metrics,
    baselines: Mapping[str, Metrics],
    training: Training = UNKNOWN,
    strength: float | None = None,
) -> Finding | None:
    """Say by which baselines a system is beaten, and in which metrics; None where by none."""
    own = metrics.overall()
    others = {name: found.overall() for name, found in baselines.items()}
    beaten = below_in(own, others)
    if not beaten:
        return None

    # whoever is behind regressions alone has learned something
    advice = "search settings for this system"
    if REGRESSION in beaten:
        regression = "--model br"
        if strength is not None:
            regression += f" --set model.C={strength:g}"
        advice = f"use the regression ({regression}), or search settings for this system"
    if any(name in BLIND for name in beaten):
        advice = training.longer()
    return Finding(BELOW, f"below {in_words(own, others, beaten)}", advice)


def below_in(
    own: Mapping[str, float | None], others: Mapping[str, Mapping[str, float | None]]
) -> dict[str, list[str]]:
    """Return the baselines that are better, with the metrics in which they are.

    Of several linear ones only that with the highest micro-F1 is named.

    Numbers are compared as they are printed: what prints alike is equally good. In the two metrics
    that need no threshold, less than .01 is not named: in those a linear model is seldom far away.

    Args:
        own: metric -> value of the system.
        others: name of a baseline -> metric -> value.
    """
    found: dict[str, list[str]] = {}
    for name, values in others.items():
        better = []
        for metric, gap in COMPARED.items():
            ours = own.get(metric)
            theirs = values.get(metric)
            if ours is None or theirs is None:
                continue
            thousandths = round(1000 * theirs) - round(1000 * ours)
            if thousandths >= 1000 * gap:
                better.append(metric)
        if better:
            found[name] = better
    return _without_weaker(found, others)


def _without_weaker(
    found: Mapping[str, list[str]], others: Mapping[str, Mapping[str, float | None]]
) -> dict[str, list[str]]:
    """Leave out all linear baselines but the one with the highest micro-F1: one is enough to say.

    Args:
        found: name of a baseline that is better -> the metrics in which it is.
        others: name of a baseline -> metric -> value.
    """
    linear = [name for name in found if name not in BLIND]
    if not linear:
        return dict(found)

    strongest = max(linear, key=lambda name: others[name].get("micro_f1") or 0.0)
    return {name: found[name] for name in found if name in BLIND or name == strongest}


def in_words(
    own: Mapping[str, float | None],
    others: Mapping[str, Mapping[str, float | None]],
    beaten: Mapping[str, Sequence[str]],
) -> str:
    """Return ``label frequencies (micro-F1 .528 against .581)``.

    Args:
        own: metric -> value of the system.
        others: name of a baseline -> metric -> value.
        beaten: what ``below_in`` returns.
    """
    parts = []
    for name, better in beaten.items():
        pairs = []
        for metric in better:
            ours = own[metric]
            theirs = others[name][metric]
            assert ours is not None and theirs is not None
            pairs.append(f"{title_of(metric)} {short(ours)} against {short(theirs)}")
        parts.append(f"{name} ({', '.join(pairs)})")
    return " and ".join(parts)


# ---------------------------------------------------------------------- parts


def _spans(probabilities: Float[np.ndarray, "n labels"]) -> Float64[np.ndarray, "labels"]:
    """Return how far the middle 90 % of the logits of each label are apart."""
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    logits = np.log(p) - np.log1p(-p)
    low, high = np.quantile(logits, [0.05, 0.95], axis=0)
    spans: Float64[np.ndarray, "labels"] = high - low
    return spans


def _all_alike(probabilities: Float[np.ndarray, "n labels"]) -> bool:
    """Whether the labels, too, have nearly the same probability."""
    span = _spans(probabilities.reshape(-1, 1))
    return bool(span[0] < 2 * LEAST_SPREAD)


def _ranges(
    probabilities: Float[np.ndarray, "n labels"], names: Sequence[str], columns: Sequence[int]
) -> str:
    parts = []
    for j in columns:
        low, high = np.quantile(probabilities[:, j].astype(np.float64), [0.05, 0.95])
        parts.append(f"{names[j]} {short(float(low))} to {short(float(high))}")
    return ", ".join(parts)
