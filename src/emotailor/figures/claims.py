"""The paper's claims about a trained model, checked: do they hold for this run?

On synthetic data the truth is planted, so that what is learned can be laid beside it.

- Common representations cannot be told apart: the discriminator gives the right modality about
  1 / M of the probability, and so does a probe trained afresh.
- Private ones can: it gives the right modality most of it.
- Label correlations (Eq. 11) are those of the labels: rank correlation, over all pairs of two
  different labels, with the phi coefficients that were planted and with those of the training
  split. Its p-value is that of Mantel's test: labels are permuted, rows and columns together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice, permutations
from math import factorial
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Shaped
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import EMOTIONS
from emotailor.data.synthetic import is_planted, mosei_statistics
from emotailor.figures.representations import Internals, Kind, probe_accuracy

NEAR = 0.1
"""How far from chance a mean probability or an accuracy may be to count as chance."""

LEVEL = 0.05
"""A rank correlation is said to be there where it is positive with a p-value below this."""

_PERMUTATIONS = 5040  # 7!: with more labels as many are drawn


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        name: in ``claims.json``.
        statement: what is claimed.
        expected: what would bear it out.
        found: what was found, or why nothing could be.
        holds: whether it does; None where it could not be checked.
        numbers: behind ``found``.
    """

    name: str
    statement: str
    expected: str
    found: str
    holds: bool | None
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


# ---------------------------------------------------------------------- correlations of labels


def phi_coefficients(together: Float[np.ndarray, "labels labels"]) -> Float64[np.ndarray, "l l"]:
    """Return the correlations of 0/1 labels from the shares of samples in which both hold.

    Args:
        together: (L, L), P(i and j); the diagonal holds P(i).

    Returns:
        (L, L), NaN for a label that always or never holds.
    """
    share = np.diag(together)
    deviation = np.sqrt(share * (1 - share))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(
            (together - np.outer(share, share)) / np.outer(deviation, deviation), np.float64
        )


def ranks(values: Float[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Return ranks from 1; ties share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[inverse], np.float64)


def rank_correlation(
    x: Float[np.ndarray, "labels labels"], y: Float[np.ndarray, "labels labels"], *, seed: int = 0
) -> dict[str, float | int] | None:
    """Return Spearman's rho over the pairs of two different labels, with Mantel's p-value.

    Args:
        x: (L, L); the diagonal is left out.
        y: likewise.
        seed: of the permutations, where there are more than 7 labels.

    Returns:
        ``rho``, one-sided ``p`` (chance of a rho as large if labels had nothing to do with each
        other) and ``labels``; labels with a NaN are left out. None with fewer than 3 labels, or
        where all values are the same.
    """
    off = ~np.eye(len(x), dtype=bool)
    known = ~(np.isnan(np.where(off, x, 0)) | np.isnan(np.where(off, y, 0)))
    keep = known.sum(1) > len(x) / 2
    x, y = x[np.ix_(keep, keep)], y[np.ix_(keep, keep)]
    count = len(x)
    if count < 3:
        return None
    off = ~np.eye(count, dtype=bool)
    a, b = np.zeros((count, count)), np.zeros((count, count))
    a[off], b[off] = ranks(x[off]), ranks(y[off])
    middle = (off.sum() + 1) / 2
    a[off] -= middle
    b[off] -= middle
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if scale == 0:
        return None
    if factorial(count) <= _PERMUTATIONS:
        orders = np.array(list(permutations(range(count))))
    else:
        rng = np.random.default_rng(seed)
        drawn = (rng.permutation(count) for _ in range(_PERMUTATIONS - 1))
        orders = np.array([np.arange(count), *islice(drawn, _PERMUTATIONS - 1)])
    found = np.array([(a[np.ix_(order, order)] * b).sum() for order in orders]) / scale
    rho = float(found[0])  # the first order changes nothing
    return {"rho": rho, "p": float((found >= rho - 1e-12).mean()), "labels": count}


def empirical_together(labels: Shaped[np.ndarray, "n labels"]) -> Float64[np.ndarray, "l l"]:
    """Return the share of samples in which two labels hold, (L, L)."""
    y = labels.astype(np.float64)
    return np.asarray(y.T @ y / len(y), np.float64)


def planted_together(
    dataset: EmotionDataset, names: Sequence[str]
) -> Float64[np.ndarray, "l l"] | None:
    """Return the planted probabilities that two labels hold, or None for data of other sources."""
    if not is_planted(dataset) or set(names) != set(EMOTIONS):
        return None
    order = [EMOTIONS.index(name) for name in names]
    return mosei_statistics().cooccurrence[np.ix_(order, order)]


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
        internals: of the model, on some split.
        names: of the labels.
        probabilities: of the labels, on the same split.
        training_labels: of the training split.
        planted: of :func:`planted_together`.
    """
    found = [_discriminator(internals, "common"), _probe(internals)]
    found.append(_discriminator(internals, "private"))
    references: dict[str, np.ndarray] = {}
    if planted is not None and len(names) > 1:
        references["planted"] = phi_coefficients(planted)
    if len(training_labels):
        references["training"] = phi_coefficients(empirical_together(training_labels))
    for name, reference in references.items():
        found.append(_attention_of_labels(internals, name, reference))
    for name, reference in references.items():
        found.append(_predictions(probabilities, name, reference))
    return found


def _discriminator(internals: Internals, kind: Kind) -> Claim:
    verdicts, count = internals.verdicts.get(kind, {}), len(internals.modalities)
    chance = 1 / count
    clear = (1 + chance) / 2  # halfway from chance to certainty
    common = kind == "common"
    name = f"discriminator_{kind}"
    statement = (
        "common: the discriminator cannot tell the modality"
        if common
        else "private: the discriminator can tell it"
    )
    expected = (
        f"P(right) within {NEAR:g} of {chance:.3f}" if common else f"P(right) at least {clear:.3f}"
    )
    if not verdicts or count < 2:
        return Claim(name, statement, expected, "the model has no discriminator of them", None)
    right = {
        m: float(verdict.mean[internals.modalities.index(m)]) for m, verdict in verdicts.items()
    }
    holds = all(abs(p - chance) <= NEAR if common else p >= clear for p in right.values())
    return Claim(
        name,
        statement,
        expected,
        ", ".join(f"{m} {p:.3f}" for m, p in right.items()),
        holds,
        {
            "chance": chance,
            "right": right,
            "accuracy": {m: verdict.accuracy for m, verdict in verdicts.items()},
            "steps": {m: verdict.steps for m, verdict in verdicts.items()},
        },
    )


def _probe(internals: Internals) -> Claim:
    name = "probe_common"
    statement = "common: nor can a fresh linear probe"
    count = len(internals.modalities)
    expected = f"accuracy at most {1 / count + NEAR:.3f}"
    accuracies = {
        kind: probe_accuracy(internals.drawn[kind])
        for kind in ("common", "private")
        if len(internals.drawn.get(kind, {})) > 1
    }
    reached = accuracies.get("common")
    if reached is None:
        why = "no common representations" if "common" not in accuracies else "too few samples"
        return Claim(name, statement, expected, why, None)
    private = accuracies.get("private")
    text = f"{reached:.3f}" + ("" if private is None else f" (private: {private:.3f})")
    numbers = {"chance": 1 / count, **accuracies}
    return Claim(name, statement, expected, text, reached <= 1 / count + NEAR, numbers)


_REFERENCES = {
    "planted": "the planted correlations",
    "training": "those of the training labels",
}


def _attention_of_labels(internals: Internals, reference: str, phi: np.ndarray) -> Claim:
    name = f"label_correlation_{reference}"
    statement = f"attention of labels ranks as {_REFERENCES[reference]}"
    heads = internals.correlation
    if heads is None:
        return Claim(name, statement, _expected(), "the model has no label correlations", None)
    numbers = {
        "mean": rank_correlation(heads.mean(0), phi),
        "heads": [rank_correlation(head, phi) for head in heads],
    }
    return _judge(name, statement, numbers)


def _predictions(probabilities: np.ndarray, reference: str, phi: np.ndarray) -> Claim:
    name = f"prediction_correlation_{reference}"
    statement = f"correlations of predictions rank as {_REFERENCES[reference]}"
    if probabilities.shape[1] < 2 or len(probabilities) < 2:
        return Claim(name, statement, _expected(), "one label, or one sample", None)
    with np.errstate(invalid="ignore", divide="ignore"):
        predicted = np.asarray(np.corrcoef(probabilities.astype(np.float64).T))
    return _judge(name, statement, {"mean": rank_correlation(predicted, phi)})


def _expected() -> str:
    return f"rho above 0, p below {LEVEL:g}"


def _judge(name: str, statement: str, numbers: Mapping[str, Any]) -> Claim:
    mean = numbers["mean"]
    if mean is None:
        why = "fewer than 3 labels with a correlation, or all the same"
        return Claim(name, statement, _expected(), why, None, numbers)
    holds = mean["rho"] > 0 and mean["p"] < LEVEL
    text = f"rho {mean['rho']:.3f}, p {mean['p']:.3f}"
    if per_head := [head["rho"] for head in numbers.get("heads", ()) if head is not None]:
        text += f" (heads {min(per_head):.2f} to {max(per_head):.2f})"
    return Claim(name, statement, _expected(), text, holds, numbers)


def render_claims(claims: Sequence[Claim], *, split: str, planted: bool) -> RenderableType:
    """Return the claims as a table."""
    table = Table(title=Text(f"Claims, on split {split}"), title_justify="left")
    for column in ("claim", "expected", "found", "holds"):
        table.add_column(column)
    looks = {True: ("yes", "green"), False: ("no", "red"), None: ("n/a", "dim")}
    for claim in claims:
        table.add_row(claim.statement, claim.expected, claim.found, Text(*looks[claim.holds]))
    if planted:
        return table
    note = "The data have no planted truth: correlations are compared with the training labels."
    return Group(table, Text(note, style="dim"))
