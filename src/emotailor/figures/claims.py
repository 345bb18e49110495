"""The paper's claims about a trained model, checked: do they hold for this run?

On synthetic data the truth is planted, so that what is learned can be laid beside it.

- Common representations cannot be told apart: the discriminator gives the right modality about
  1 / M of the probability, and so does a probe trained afresh.
- Private ones can: it gives the right modality most of it.
- Label correlations (Eq. 11) are those of the labels: rank correlation, over all pairs of two
  different labels, with the phi coefficients that were planted and with those of the training
  split. Its p-value is that of Mantel's test: labels are permuted, rows and columns together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from math import factorial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped
from rich.console import Group, RenderableType
from rich.text import Text

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import EMOTIONS, Modality
from emotailor.data.synthetic import is_planted, mosei_statistics
from emotailor.figures.representations import KINDS, Internals, Kind, probe_accuracy
from emotailor.figures.store import Claim
from emotailor.fitted import FittedTable

NEAR = 0.1
"""How far from chance a mean probability or an accuracy may be to count as chance."""

LEVEL = 0.05
"""A rank correlation is said to be there where it is positive with a p-value below this."""

_PERMUTATIONS = 5040  # 7!: with more labels as many are drawn


# ---------------------------------------------------------------------- correlations of labels


def phi_coefficients(together: Float[np.ndarray, "labels labels"]) -> Float64[np.ndarray, "l l"]:
    """Return the correlations of 0/1 labels from the shares of samples in which both hold.

    Args:
        together: P(i and j), (L, L); the diagonal holds P(i).

    Returns:
        The correlations, (L, L); NaN for a label that always or never holds.
    """
    share = np.diag(together)  # (L,)
    deviation = np.sqrt(share * (1 - share))
    covariances = together - np.outer(share, share)
    deviations = np.outer(deviation, deviation)

    # a label that always or never holds has no deviation: 0 / 0
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = covariances / deviations
    return np.asarray(correlations, np.float64)


def ranks(values: Float[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return ranks from 1; ties share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()  # the last rank of each distinct value
    mean = last - (counts - 1) / 2
    return np.asarray(mean[inverse], np.float64)


def rank_correlation(
    x: Float[np.ndarray, "labels labels"], y: Float[np.ndarray, "labels labels"], *, seed: int = 0
) -> dict[str, float | int] | None:
    """Return Spearman's rho over the pairs of two different labels, with Mantel's p-value.

    Args:
        x: values of pairs of labels, (L, L); the diagonal is left out.
        y: values of the same pairs.
        seed: seed of the permutations, where there are more than 7 labels.

    Returns:
        ``rho``, one-sided ``p`` (chance of a rho as large if labels had nothing to do with each
        other) and ``labels``; labels with a NaN are left out. None with fewer than 3 labels, or
        where all values are the same.
    """
    keep = _without_nan(x, y)
    count = int(keep.sum())
    if count < 3:
        return None

    # ranks of the pairs around zero, so that products are covariances
    kept = np.ix_(keep, keep)
    a = _centred_ranks(x[kept])
    b = _centred_ranks(y[kept])
    squares_of_a = (a**2).sum()
    squares_of_b = (b**2).sum()
    scale = float(np.sqrt(squares_of_a * squares_of_b))
    if scale == 0:
        return None

    found = []
    for order in _orders(count, seed):
        permuted = a[np.ix_(order, order)]  # rows and columns together: Mantel
        covariance = (permuted * b).sum()
        found.append(covariance)
    correlations = np.array(found) / scale

    # the first order changes nothing; equal ones may differ in the last digits
    rho = float(correlations[0])
    as_large = correlations >= rho - 1e-12
    p = float(as_large.mean())
    return {"rho": rho, "p": p, "labels": count}


def _off_diagonal(count: int) -> Bool[np.ndarray, "l l"]:
    return ~np.eye(count, dtype=bool)


def _without_nan(
    x: Float[np.ndarray, "labels labels"], y: Float[np.ndarray, "labels labels"]
) -> Bool[np.ndarray, "labels"]:
    """Return which labels have a value with most others.

    A label that always or never holds has none with any; each other label lacks that one alone.
    """
    labels = len(x)
    unknown = np.isnan(x) | np.isnan(y)
    unknown &= _off_diagonal(labels)  # the diagonal is not used

    known = labels - unknown.sum(1)
    return np.asarray(known > labels / 2)


def _centred_ranks(values: Float[np.ndarray, "l l"]) -> Float64[np.ndarray, "l l"]:
    """Return the ranks of all pairs of two different labels less their mean; zeros elsewhere."""
    off = _off_diagonal(len(values))
    middle = (off.sum() + 1) / 2
    centred = np.zeros(values.shape)
    centred[off] = ranks(values[off]) - middle
    return centred


def _orders(count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield permutations of labels, first that which changes nothing: all, or as many drawn."""
    if factorial(count) <= _PERMUTATIONS:
        for order in permutations(range(count)):
            yield np.array(order)
        return

    yield np.arange(count)
    rng = np.random.default_rng(seed)
    for _ in range(_PERMUTATIONS - 1):
        yield rng.permutation(count)


def empirical_together(labels: Shaped[np.ndarray, "n labels"]) -> Float64[np.ndarray, "l l"]:
    """Return the share of samples in which two labels hold, (L, L)."""
    y = labels.astype(np.float64)
    return np.asarray(y.T @ y / len(y), np.float64)


def planted_together(
    dataset: EmotionDataset, names: Sequence[str]
) -> Float64[np.ndarray, "l l"] | None:
    """Return the planted probabilities that two labels hold, or None for data of other sources."""
    if not is_planted(dataset):
        return None
    if set(names) != set(EMOTIONS):
        return None

    # the statistics are in the order of EMOTIONS
    order = [EMOTIONS.index(name) for name in names]
    together = mosei_statistics().cooccurrence
    return together[np.ix_(order, order)]


# ---------------------------------------------------------------------- the claims


def check_claims(
    internals: Internals,
    names: Sequence[str],
    probabilities: Float[np.ndarray, "n labels"],
    *,
    training_labels: Shaped[np.ndarray, "m labels"],
    planted: Float64[np.ndarray, "l l"] | None,
) -> list[Claim]:
    """Check the claims that can be checked; the others say why not.

    Args:
        internals: what the model shows of itself on some split.
        names: names of the labels.
        probabilities: probabilities of the labels on the same split.
        training_labels: labels of the training split.
        planted: result of :func:`planted_together`.
    """
    found = [
        _discriminator_common(internals),
        _probe(internals),
        _discriminator_private(internals),
    ]

    # what the correlations of the model are laid beside
    references: dict[str, np.ndarray] = {}
    if planted is not None and len(names) > 1:
        references["planted"] = phi_coefficients(planted)
    if len(training_labels):
        together = empirical_together(training_labels)
        references["training"] = phi_coefficients(together)

    for name, reference in references.items():
        claim = _attention_of_labels(internals, name, reference)
        found.append(claim)
    for name, reference in references.items():
        claim = _predictions(probabilities, name, reference)
        found.append(claim)
    return found


_NO_DISCRIMINATOR = "the model has no discriminator of them"


def _discriminator_common(internals: Internals) -> Claim:
    chance = 1 / len(internals.modalities)
    right = _probability_of_right(internals, "common")

    # without a discriminator the claim is neither true nor false
    holds = None
    if right:
        holds = all(abs(p - chance) <= NEAR for p in right.values())

    return Claim(
        "discriminator_common",
        "common: the discriminator cannot tell the modality",
        f"P(right) within {NEAR:g} of {chance:.3f}",
        found=_by_modality(right) or _NO_DISCRIMINATOR,
        holds=holds,
        numbers=_verdict_numbers(internals, "common", right),
    )


def _discriminator_private(internals: Internals) -> Claim:
    chance = 1 / len(internals.modalities)
    clear = (1 + chance) / 2  # halfway from chance to certainty
    right = _probability_of_right(internals, "private")

    holds = None
    if right:
        holds = all(p >= clear for p in right.values())

    return Claim(
        "discriminator_private",
        "private: the discriminator can tell it",
        f"P(right) at least {clear:.3f}",
        found=_by_modality(right) or _NO_DISCRIMINATOR,
        holds=holds,
        numbers=_verdict_numbers(internals, "private", right),
    )


def _probability_of_right(internals: Internals, kind: Kind) -> dict[Modality, float]:
    """Return the mean probability of the right modality; empty without a discriminator."""
    modalities = internals.modalities
    if len(modalities) < 2:
        return {}

    found = {}
    verdicts = internals.verdicts.get(kind, {})
    for m, verdict in verdicts.items():
        own = modalities.index(m)
        found[m] = float(verdict.mean[own])
    return found


def _by_modality(right: Mapping[Modality, float]) -> str:
    return ", ".join(f"{m} {p:.3f}" for m, p in right.items())


def _verdict_numbers(
    internals: Internals, kind: Kind, right: Mapping[Modality, float]
) -> dict[str, Any]:
    if not right:
        return {}

    accuracy = {}
    steps = {}
    for m, verdict in internals.verdicts[kind].items():
        accuracy[m] = verdict.accuracy
        steps[m] = verdict.steps

    chance = 1 / len(internals.modalities)
    return {
        "chance": chance,
        "right": right,
        "accuracy": accuracy,
        "steps": steps,
    }


def _probe(internals: Internals) -> Claim:
    chance = 1 / len(internals.modalities)
    most = chance + NEAR
    accuracies: dict[str, float | None] = {}
    for kind in KINDS:
        drawn = internals.drawn.get(kind, {})
        if len(drawn) > 1:
            accuracies[kind] = probe_accuracy(drawn)

    claim = Claim(
        "probe_common",
        "common: nor can a fresh linear probe",
        f"accuracy at most {most:.3f}",
        found="no common representations",
        holds=None,
    )
    if "common" not in accuracies:
        return claim
    common = accuracies["common"]
    if common is None:
        return replace(claim, found="too few samples")

    text = f"{common:.3f}"
    private = accuracies.get("private")
    if private is not None:
        text += f" (private: {private:.3f})"
    numbers = {"chance": chance, **accuracies}
    return replace(claim, found=text, holds=common <= most, numbers=numbers)


_REFERENCES = {
    "planted": "the planted correlations",
    "training": "those of the training labels",
}


def _attention_of_labels(internals: Internals, reference: str, phi: np.ndarray) -> Claim:
    name = f"label_correlation_{reference}"
    statement = f"attention of labels ranks as {_REFERENCES[reference]}"
    heads = internals.correlation  # (heads, L, L)
    if heads is None:
        return Claim(name, statement, _expected(), "the model has no label correlations", None)

    # the claim is about the mean; the heads are told beside it
    mean = rank_correlation(heads.mean(0), phi)
    of_heads = [rank_correlation(head, phi) for head in heads]
    return _judge(name, statement, {"mean": mean, "heads": of_heads})


def _predictions(probabilities: np.ndarray, reference: str, phi: np.ndarray) -> Claim:
    name = f"prediction_correlation_{reference}"
    statement = f"correlations of predictions rank as {_REFERENCES[reference]}"
    samples, labels = probabilities.shape
    if labels < 2 or samples < 2:
        return Claim(name, statement, _expected(), "one label, or one sample", None)

    by_label = probabilities.astype(np.float64).T  # (L, n)

    # a label that is always as probable has no correlation: NaN
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.asarray(np.corrcoef(by_label))  # (L, L)

    mean = rank_correlation(predicted, phi)
    return _judge(name, statement, {"mean": mean})


def _expected() -> str:
    return f"rho above 0, p below {LEVEL:g}"


def _judge(name: str, statement: str, numbers: Mapping[str, Any]) -> Claim:
    """Return the claim that a rank correlation is positive and not by chance."""
    mean = numbers["mean"]
    if mean is None:
        why = "fewer than 3 labels with a correlation, or all the same"
        return Claim(name, statement, _expected(), why, None, numbers)

    rho = mean["rho"]
    p = mean["p"]
    text = f"rho {rho:.3f}, p {p:.3f}"

    # a head may have none where the mean has one
    heads = numbers.get("heads", ())
    of_heads = [head["rho"] for head in heads if head is not None]
    if of_heads:
        lowest = min(of_heads)
        highest = max(of_heads)
        text += f" (heads {lowest:.2f} to {highest:.2f})"

    holds = rho > 0 and p < LEVEL
    return Claim(name, statement, _expected(), text, holds, numbers)


def render_claims(claims: Sequence[Claim], *, split: str, planted: bool) -> RenderableType:
    """Return the claims as a table."""
    title = Text(f"Claims, on split {split}")
    table = FittedTable(title=title, title_justify="left")
    for column in ("claim", "expected", "found", "holds"):
        table.add_column(column)

    looks = {True: ("yes", "green"), False: ("no", "red"), None: ("n/a", "dim")}
    for claim in claims:
        word, color = looks[claim.holds]
        holds = Text(word, color)
        table.add_row(claim.statement, claim.expected, claim.found, holds)

    if planted:
        return table
    note = "The data have no planted truth: correlations are compared with the training labels."
    return Group(table, Text(note, style="dim"))
