"""Cutting samples that are longer than a model can take, and saying so."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError

MaxSteps = int | Mapping[Modality, int]
"""The most steps of every modality, or of each."""

EXPECTED = "a number of steps from 1 on, or one for some modalities, such as text=50,audio=400"


def parse_max_steps(text: str) -> MaxSteps:
    """Return what ``60`` or ``text=50,audio=400`` says.

    Raises:
        ConfigError: it is neither.
    """
    if text.isdecimal():
        return int(text)

    limits: dict[Modality, int] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        of_name = [m for m in MODALITIES if m == name.strip()]
        if not of_name or not number.strip().isdecimal():
            raise ConfigError(f"max_steps {text!r}", expected=EXPECTED)
        limits[of_name[0]] = int(number)
    return limits


def limits_of(most: MaxSteps, *, aligned: bool) -> dict[Modality, int]:
    """Return modality -> the most steps.

    Args:
        most: one number for all modalities, or modality -> number.
        aligned: whether the model takes word-aligned data, which have one number of steps.

    Raises:
        ConfigError: a number is not positive, a modality is unknown, or an aligned model is to get
            several numbers.
    """
    limits = dict.fromkeys(MODALITIES, most) if isinstance(most, int) else dict(most)

    known = set(MODALITIES)
    if not limits or min(limits.values()) < 1 or not known.issuperset(limits):
        raise ConfigError(
            f"max_steps {most!r}",
            expected=EXPECTED,
        )
    if aligned and not isinstance(most, int):
        raise ConfigError(
            "max_steps of single modalities",
            expected="one number: the model takes word-aligned data, in which step i is the same "
            "word in every modality",
        )
    return limits


def first_steps(
    sample: Sample, limits: Mapping[Modality, int], *, aligned: bool
) -> tuple[Sample, dict[Modality, int]]:
    """Return a sample with the first steps alone, and modality -> how many were cut off.

    Args:
        sample: of any length; it is not changed.
        limits: modality -> the most steps.
        aligned: whether the words of the sample belong to the steps of every modality.
    """
    unseen: dict[Modality, int] = {}
    for m, sequence in sample.sequences.items():
        steps = len(sequence) if np.ndim(sequence) else 0
        if m in limits and steps > limits[m]:
            unseen[m] = steps - limits[m]
    if not unseen:
        return sample, {}

    sequences = dict(sample.sequences)
    missing = dict(sample.missing)
    times = dict(sample.times)
    for m in unseen:
        kept = slice(limits[m])
        sequences[m] = sequences[m][kept]
        if m in missing:
            missing[m] = missing[m][kept]
        if m in times:
            times[m] = times[m][kept]

    # of an aligned sample a word belongs to a step of all modalities, else to one of the text
    words = sample.words
    of_words = next(iter(unseen)) if aligned else "text"
    if words is not None and of_words in unseen:
        words = list(words)[: limits[of_words]]
    cut = replace(sample, sequences=sequences, missing=missing, times=times, words=words)
    return cut, unseen
