"""Samples that are too long: cut to their first steps, or split into parts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from emotailor.data.ids import part_id
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import ConfigError
from emotailor.text import plural

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
        aligned: whether the data are word-aligned, and so have one number of steps.

    Raises:
        ConfigError: a number is not positive, a modality is unknown, or aligned data are to get
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
            expected="one number: in word-aligned data step i is the same word in every modality",
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
    for m, steps in _steps_of(sample).items():
        if m in limits and steps > limits[m]:
            unseen[m] = steps - limits[m]
    if not unseen:
        return sample, {}

    kept = {m: slice(limits[m]) for m in unseen}
    return _piece(sample, kept, aligned=aligned), unseen


def parts_of(sample: Sample, limits: Mapping[Modality, int], *, aligned: bool) -> list[Sample]:
    """Return a sample as parts of about equal length, none of which is too long.

    Each part has the labels and texts of the sample, and its id with ``~1``, ``~2`` and so on
    behind it, which is of the same video. Where modalities have steps of their own, all are
    divided into as many parts, so that each part is of one share of the time.

    Args:
        sample: of any length; one that is not too long is returned as it is.
        limits: modality -> the most steps.
        aligned: whether the words of the sample belong to the steps of every modality.
    """
    lengths = _steps_of(sample)
    count = 1
    for m, steps in lengths.items():
        if m in limits:
            needed = -(-steps // limits[m])  # rounded up
            count = max(count, needed)
    if count == 1:
        return [sample]

    parts = []
    for number in range(count):
        spans = {}
        for m, steps in lengths.items():
            first = number * steps // count
            end = (number + 1) * steps // count
            spans[m] = slice(first, end)
        part = _piece(sample, spans, aligned=aligned)
        parts.append(replace(part, id=part_id(sample.id, number + 1)))
    return parts


class Shortened:
    """Cuts or splits the samples that are too long, and counts them.

    Args:
        most: the most steps.
        longer: ``cut`` or ``split``.
        aligned: whether the data are word-aligned.

    Attributes:
        long: number of samples that were too long.
        added: by how many samples there are more than before.
        unseen: modality -> number of steps that were cut off.

    Raises:
        ConfigError: ``most`` makes no sense.
    """

    def __init__(self, most: MaxSteps, longer: str, *, aligned: bool) -> None:
        self._limits = limits_of(most, aligned=aligned)
        self._most = most
        self._splits = longer == "split"
        self._aligned = aligned
        self.long = 0
        self.added = 0
        self.unseen: Counter[Modality] = Counter()

    def samples(self, samples: Iterable[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
        """Yield samples that are not too long, each with its split."""
        for split, sample in samples:
            parts = self._shorten(sample)
            for part in parts:
                yield split, part

    def _shorten(self, sample: Sample) -> list[Sample]:
        # cutting must not hide that modalities have other numbers of steps than each other
        distinct = set(_steps_of(sample).values()) - {0}
        if self._aligned and len(distinct) > 1:
            return [sample]

        if self._splits:
            parts = parts_of(sample, self._limits, aligned=self._aligned)
            self.added += len(parts) - 1
            self.long += len(parts) > 1
            return parts

        cut, unseen = first_steps(sample, self._limits, aligned=self._aligned)
        self.unseen.update(unseen)
        self.long += bool(unseen)
        return [cut]

    def notes(self) -> list[str]:
        """Return a line about what was too long; complete only after the samples ended."""
        limits = str(self._most)
        if not isinstance(self._most, int):
            limits = ", ".join(f"{m} {steps}" for m, steps in self._limits.items())
        told = f"{plural(self.long, 'sample')} of more than {limits} steps"
        if not self.long:
            return [told]
        if self._splits:
            parts = self.long + self.added
            return [f"{told}: split into {parts} parts, with the same labels"]

        lost = ", ".join(f"{m} {steps}" for m, steps in self.unseen.items())
        return [f"{told}: cut to the first ones; steps left out: {lost}"]


def _steps_of(sample: Sample) -> dict[Modality, int]:
    """Return modality -> number of steps."""
    return {m: len(x) if np.ndim(x) else 0 for m, x in sample.sequences.items()}


def _piece(sample: Sample, spans: Mapping[Modality, slice], *, aligned: bool) -> Sample:
    """Return a sample with some of its steps; a modality without a span keeps all."""
    sequences = dict(sample.sequences)
    missing = dict(sample.missing)
    times = dict(sample.times)
    for m, span in spans.items():
        sequences[m] = sequences[m][span]
        if m in missing:
            missing[m] = missing[m][span]
        if m in times:
            times[m] = times[m][span]

    # of an aligned sample a word belongs to a step of all modalities, else to one of the text
    words = sample.words
    of_words: Modality = "text"
    if aligned:
        of_words = max(spans, key=lambda m: np.size(sample.sequences[m]))
    if words is not None and of_words in spans:
        words = list(words)[spans[of_words]]
    return replace(sample, sequences=sequences, missing=missing, times=times, words=words)
