"""Samples as they come in from the world: without a modality, noisy, late, or with holes.

What a model makes of them says how far it can be trusted outside of a clean test split. All damage
depends on the seed and on the id of the sample alone.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from emotailor.data.card import FloatType
from emotailor.data.checker import SampleChecker
from emotailor.data.dataset import Shard, Split
from emotailor.data.mishearing import WRONG
from emotailor.data.moments import Moments
from emotailor.data.sample import Modality, Sample

Kind = Literal["without", "noise", "late", "holes", "misheard"]

NOISE = 1.0
"""Standard deviation of the noise, in standard deviations of each feature over the split."""

LATE = 3
"""Steps by which a modality comes too late."""

HOLES = 0.3
"""Share of the steps that are missing."""

Deviations = Mapping[Modality, Float[np.ndarray, "_"]]


@dataclass(frozen=True)
class Damage:
    """One thing that happens to samples.

    Attributes:
        kind: ``without``: the modalities are not there. ``noise``: each value has Gaussian noise of
            one standard deviation of its feature. ``late``: each step comes three steps later, and
            the last ones are lost. ``holes``: 30 % of the steps are missing. ``misheard``: 15 % of
            the words are wrong; :func:`emotailor.encoders.mishearing.misheard` does this one.
        modalities: whose.
    """

    kind: Kind
    modalities: tuple[Modality, ...]

    def describe(self) -> str:
        """Return what it is in some words, such as ``visual: 30% of steps gone``."""
        names = " and ".join(self.modalities)
        match self.kind:
            case "without":
                return f"without {names}"
            case "noise":
                return f"{names}: noise of {NOISE:g} sd"
            case "late":
                return f"{names}: {LATE} steps late"
            case "misheard":
                return f"{names}: {WRONG:.0%} misheard"
            case "holes":
                what = "words" if self.modalities == ("text",) else "steps"
                return f"{names}: {HOLES:.0%} of {what} gone"


def damaged(split: Split, damage: Damage, *, aligned: bool, seed: int = 0) -> Split:
    """Return a split with the same samples, damaged.

    Args:
        split: the samples.
        damage: what happens to each; anything but ``misheard``.
        aligned: whether step i of every modality is the same moment. Then a step that is lost stays
            as a missing one; else it is gone. A modality keeps one step at least.
        seed: of what is drawn.
    """
    deviations: dict[Modality, np.ndarray] = {}
    if damage.kind == "noise":
        deviations = {m: deviations_of(split, m) for m in damage.modalities}

    samples = []
    for sample in split:
        rng = draw_for(sample, f"{damage.kind} {damage.modalities}", seed)
        changed = sample
        for m in damage.modalities:
            if m in sample.sequences:
                changed = _changed(changed, m, damage.kind, rng, deviations, aligned=aligned)
        samples.append(changed)

    return packed(split, samples, aligned=aligned)


def packed(split: Split, samples: Sequence[Sample], *, aligned: bool) -> Split:
    """Return a split with the ids and labels of another one, and with these samples.

    Args:
        split: the other one.
        samples: one for each of its samples, in their order.
        aligned: whether step i of every modality is the same moment.
    """
    dims = {m: _width(split, m) for m in split.modalities}
    wide: dict[Modality, FloatType] = dict.fromkeys(dims, "float32")
    checker = SampleChecker("samples", (), dims, aligned, wide)
    return Split(split.name, split.ids, split.labels, [Shard.pack(samples, checker)], split.known)


def draw_for(sample: Sample, what: str, seed: int) -> np.random.Generator:
    """Return random numbers of their own for each sample and each thing that happens to it."""
    return np.random.default_rng([seed, zlib.crc32(sample.id.encode()), zlib.crc32(what.encode())])


def deviations_of(split: Split, m: Modality) -> Float[np.ndarray, "dim"]:
    """Return the standard deviation of each feature of a modality over all real steps, (dim,)."""
    moments = Moments(_width(split, m))
    for sample in split:
        if m in sample.sequences:
            moments.add(sample.sequences[m], sample.missing.get(m))
    return moments.std.astype(np.float32)


def _width(split: Split, m: Modality) -> int:
    return int(split.shards[0].sequences[m].values.shape[1])


def _changed(
    sample: Sample,
    m: Modality,
    kind: Kind,
    rng: np.random.Generator,
    deviations: Deviations,
    *,
    aligned: bool,
) -> Sample:
    match kind:
        case "without":
            return _without(sample, m, aligned=aligned)
        case "noise":
            x = sample.sequences[m]
            noise = rng.standard_normal(x.shape, np.float32) * (NOISE * deviations[m])
            return _with_values(sample, m, x + noise)
        case "late":
            return _late(sample, m)
        case _:
            return _holed(sample, m, _lost(sample, m, rng), aligned=aligned)


def _with_values(sample: Sample, m: Modality, x: Float[np.ndarray, "steps dim"]) -> Sample:
    return replace(sample, sequences={**sample.sequences, m: x})


def _without(sample: Sample, m: Modality, *, aligned: bool) -> Sample:
    sequences = {k: x for k, x in sample.sequences.items() if k != m}

    # words are of the steps that are left, or of nothing
    words = sample.words
    if not sequences or (m == "text" and not aligned):
        words = None
    return replace(
        sample,
        sequences=sequences,
        missing={k: x for k, x in sample.missing.items() if k != m},
        times={k: x for k, x in sample.times.items() if k != m},
        words=words,
    )


def _late(sample: Sample, m: Modality) -> Sample:
    """Move a modality to later steps; the first ones are missing then."""
    x = sample.sequences[m]
    steps = len(x)
    first = min(LATE, steps)
    moved = np.zeros_like(x)
    moved[first:] = x[: steps - first]

    before = sample.missing.get(m, np.zeros(steps, np.bool_))
    missing = np.ones(steps, np.bool_)
    missing[first:] = before[: steps - first]
    words = sample.words
    if m == "text" and words is not None:
        # an encoder that is trained along reads them; those of the first steps are hidden
        words = [*words[:first], *words[: steps - first]]
    changed = _with_values(sample, m, moved)
    return replace(changed, missing={**sample.missing, m: missing}, words=words)


def _lost(sample: Sample, m: Modality, rng: np.random.Generator) -> Bool[np.ndarray, "steps"]:
    """Draw which steps are lost: of those that are there one stays at least."""
    draws = rng.random(len(sample.sequences[m]))
    lost = draws < HOLES
    real = ~sample.missing.get(m, np.zeros(len(draws), np.bool_))
    if real.any() and lost[real].all():
        # the one that came nearest to staying
        last = np.argmax(np.where(real, draws, -1.0))
        lost[last] = False
    return lost


def _holed(
    sample: Sample, m: Modality, lost: Bool[np.ndarray, "steps"], *, aligned: bool
) -> Sample:
    """Take steps away."""
    x = sample.sequences[m]
    if aligned:
        missing = lost | sample.missing.get(m, np.zeros(len(x), np.bool_))
        return replace(sample, missing={**sample.missing, m: missing})

    kept = ~lost
    changed = _with_values(sample, m, x[kept])
    if m in sample.times:
        changed = replace(changed, times={**sample.times, m: sample.times[m][kept]})
    if m == "text" and sample.words is not None:
        changed = replace(changed, words=_those(sample.words, kept))
    return changed


def _those(words: Sequence[str], kept: Bool[np.ndarray, "steps"]) -> list[str]:
    return [word for word, stays in zip(words, kept.tolist(), strict=True) if stays]
