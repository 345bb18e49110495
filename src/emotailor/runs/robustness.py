"""What becomes of a model when modalities are missing or damaged."""

import re
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float, Shaped

from emotailor.data.damage import Damage, Kind, damaged
from emotailor.data.dataset import Split
from emotailor.data.modality_names import parse_modalities
from emotailor.data.sample import MODALITIES, Modality
from emotailor.encoders.base import TextEncoder
from emotailor.encoders.mishearing import misheard
from emotailor.errors import ConfigError, ModelError
from emotailor.evaluation.comparison import paired_bootstrap
from emotailor.evaluation.metrics import evaluate
from emotailor.evaluation.robustness import WHOLE, Robust
from emotailor.models.adapters.model import TextAdapted
from emotailor.serving.encoder import encoder_of
from emotailor.serving.predictor import Predictor

EACH = "each"
"""Stands for every modality, one after the other."""


def wanted_damages(
    predictor: Predictor, without: Sequence[str], *, corrupt: bool, aligned: bool
) -> list[Damage]:
    """Return what is to happen to samples.

    Args:
        predictor: the model.
        without: modalities to take away, such as ``visual,audio`` for both together, or ``each``
            for each by itself.
        corrupt: whether each modality is damaged in every other way too.
        aligned: whether the data are word-aligned.

    Raises:
        ConfigError: there is no such modality, the model does not take it, or nothing would be
            left.
    """
    taken = predictor.modalities
    found: list[Damage] = []
    for text in without:
        if text == EACH and len(taken) > 1:
            found += [Damage("without", (m,)) for m in taken]
            continue

        if text == EACH:
            raise _nothing_left(text, taken)

        asked = parse_modalities(re.split(r"[,+\s]+", text.strip()))
        named = tuple(m for m in MODALITIES if m in asked)
        strange = [m for m in named if m not in taken]
        if strange:
            raise ConfigError(
                f"--without {text}: the model takes {', '.join(taken)}",
                expected=f"some of its modalities, or {EACH}",
            )
        if len(named) == len(taken):
            raise _nothing_left(text, taken)
        found.append(Damage("without", named))

    if corrupt:
        for m in taken:
            found += [Damage(kind, (m,)) for kind in _ways(predictor, m, aligned=aligned)]
    return list(dict.fromkeys(found))


def _nothing_left(text: str, taken: Sequence[Modality]) -> ConfigError:
    return ConfigError(
        f"--without {text}: nothing would be left for a model that takes {', '.join(taken)}",
        expected="some of its modalities, not all",
    )


def _ways(predictor: Predictor, m: Modality, *, aligned: bool) -> list[Kind]:
    """Return the ways in which a modality can be damaged so that the model can tell."""
    ways: list[Kind] = []
    # words that are read anew have no noise
    reads_words = m == "text" and isinstance(predictor.model, TextAdapted)
    if not reads_words:
        ways.append("noise")
    if aligned and len(predictor.modalities) > 1:
        ways.append("late")
    return [*ways, "holes"]


def robustness_of(
    predictor: Predictor,
    part: Split,
    labels: Shaped[np.ndarray, "n labels"],
    probabilities: Float[np.ndarray, "n labels"],
    damages: Sequence[Damage],
    *,
    corrupt: bool,
    groups: np.ndarray,
    resamples: int,
    aligned: bool,
) -> tuple[list[Robust], list[str]]:
    """Return how a model does on samples as they are, and after each damage.

    Args:
        predictor: the model.
        part: the samples.
        labels: (n, L), as the model orders them.
        probabilities: (n, L), of the samples as they are.
        damages: what happens to them; where it is nothing, nothing is returned.
        corrupt: whether their words are misheard, too.
        groups: (n,), the video of each.
        resamples: number of bootstrap resamples; 0 for no intervals.
        aligned: whether the data are word-aligned.

    Returns:
        A row for each, and notes: why words are not misheard where they should be.
    """
    if not damages:
        return [], []

    changed = [(damage, partial(damaged, part, damage, aligned=aligned)) for damage in damages]
    notes = []
    if corrupt and "text" in predictor.modalities:
        hearing, why_not = _hearing_of(predictor, part)
        if hearing is None:
            notes.append(f"no words misheard: {why_not}")
        else:
            wrong = partial(misheard, part, hearing, aligned=aligned)
            changed.append((Damage("misheard", ("text",)), wrong))

    found = [_judged(predictor, labels, probabilities, None)]
    for damage, samples in changed:
        after = predictor.predict_proba(samples())
        row = _judged(predictor, labels, after, damage)
        if resamples:
            tested = paired_bootstrap(
                labels,
                after,
                probabilities,
                thresholds_a=predictor.thresholds,
                thresholds_b=predictor.thresholds,
                groups=groups,
                resamples=resamples,
                ranking=False,
            )
            row = row.model_copy(update={"difference": tested.get("micro_f1")})
        found.append(row)
    return found, notes


def _hearing_of(predictor: Predictor, part: Split) -> tuple[TextEncoder | None, str | None]:
    """Return what encodes misheard words; where that cannot be, None and why."""
    try:
        encoder = encoder_of(predictor)
    except (ConfigError, ModelError) as error:
        return None, error.found

    # a vector of a whole text needs no word for each step
    said_in = part.words if encoder.pooling == "words" else part.text
    spoken = np.flatnonzero(part.present("text")).tolist()
    unknown = [i for i in spoken if not said_in(i)]
    if unknown:
        return None, f"the words of {len(unknown)} of {len(spoken)} samples are not known"
    return encoder, None


def _judged(
    predictor: Predictor, labels: np.ndarray, probabilities: np.ndarray, damage: Damage | None
) -> Robust:
    metrics = evaluate(labels, probabilities, predictor.label_names, predictor.thresholds)
    overall = metrics.overall()
    return Robust(
        name=WHOLE if damage is None else damage.describe(),
        kind=None if damage is None else damage.kind,
        modalities=() if damage is None else damage.modalities,
        micro_f1=overall["micro_f1"],
        mean_average_precision=overall["mean_average_precision"],
        mean_roc_auc=overall["mean_roc_auc"],
    )
