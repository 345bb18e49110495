"""The checks that every sample passes on its way into a data set."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8

from emotailor.data.card import FloatType
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError
from emotailor.text import NAME, is_name

SHOWN = 5
"""How many of the features with values that are not finite are named."""

_ABOUT_NAME = re.compile(r"\w[\w -]{0,63}", re.ASCII)


RENAME = "give it another name in the source"


class DataWarning(UserWarning):
    """Something in the data was repaired or looks wrong, but it can be used."""


class SampleChecker:
    """Checks samples against what a data set declares, and repairs non-finite values.

    Args:
        name: name of the data set, for messages.
        label_names: names of the label columns; distinct; none where no sample has labels.
        dims: feature width per modality.
        aligned: whether all modalities of a sample must have the same number of steps.
        dtypes: type of the values per modality; by default that of the first sample that has it,
            float16 where it is float16 and else float32.
    """

    def __init__(
        self,
        name: str,
        label_names: Sequence[str],
        dims: Mapping[Modality, int],
        aligned: bool,
        dtypes: Mapping[Modality, FloatType] | None = None,
    ) -> None:
        distinct = set(label_names)
        if len(distinct) != len(label_names):
            raise DataError(f"label names {list(label_names)}", expected="distinct ones")
        _check_text(f"name {name!r}", name)

        unnamed = [label for label in label_names if not is_name(label)]
        if unnamed:
            raise DataError(f"label name {unnamed[0]!r}", expected=NAME, fix=RENAME)

        unknown = set(dims) - set(MODALITIES)
        too_narrow = any(dim < 1 for dim in dims.values())
        if unknown or too_narrow or not dims:
            known = ", ".join(MODALITIES)
            raise DataError(
                f"modalities and dims {dict(dims)}",
                expected=f"at least one of {known}, each with a width of 1 or more",
            )

        self.name = name
        self.label_names = tuple(label_names)
        self.aligned = aligned

        # in the order of the paper, whatever the order given
        self.dims: dict[Modality, int] = {m: dims[m] for m in MODALITIES if m in dims}
        self.dtypes: dict[Modality, FloatType] = dict(dtypes or {})

        # values that are not finite, by modality and feature, and the samples that hold any
        self.nonfinite: Counter[tuple[Modality, int]] = Counter()
        self.nonfinite_samples: Counter[Modality] = Counter()

        self._seen: dict[str, str] = {}  # id -> split

    def dtype_of(self, modality: Modality) -> FloatType:
        """Return the type in which values of a modality are stored."""
        return self.dtypes.get(modality, "float32")

    def check(self, split: str, sample: Sample) -> Sample:
        """Return ``sample`` as it will be stored.

        Raises:
            DataError: duplicate id, wrong dims or types, labels that are not 0/1, no modality at
                all, different lengths or missing steps that do not fit, or attachments that do
                not fit the steps.
        """
        where = f"sample {sample.id!r} of split {split!r}"
        if not is_name(sample.id):
            raise DataError(f"{where}: its id cannot be shown", expected=NAME, fix=RENAME)

        # an id names a sample in predictions, so it must name one alone
        if sample.id in self._seen:
            other = self._seen[sample.id]
            raise DataError(
                f"{where}: its id already occurs in split {other!r}",
                expected="every sample id once in the whole data set",
            )
        self._seen[sample.id] = split

        labels = self._labels(where, sample)
        sequences, missing = self.check_sequences(where, sample)
        lengths = {m: len(sequence) for m, sequence in sequences.items()}
        self._check_lengths(where, lengths)
        checked = Sample(sample.id, sequences, labels, missing)
        return self.with_attachments(where, checked, sample)

    def _labels(self, where: str, sample: Sample) -> UInt8[np.ndarray, "labels"] | None:
        """Return the labels of a sample as they will be stored; None where they are unknown."""
        # readers give labels of any kind of number
        given: Any = sample.labels
        if given is None:
            return None

        labels = np.asarray(given)
        wanted = (len(self.label_names),)
        if labels.shape == wanted and np.isin(labels, (0, 1)).all():
            # with no label to be known, nothing is known
            return labels.astype(np.uint8) if self.label_names else None

        names = ", ".join(self.label_names)
        raise DataError(
            f"{where}: labels {labels.tolist()}",
            expected=f"a 0 or 1 for each of {names or 'no label'}, or None where all are unknown",
        )

    def check_sequences(
        self, where: str, sample: Sample
    ) -> tuple[dict[Modality, Float[np.ndarray, "_ _"]], dict[Modality, Bool[np.ndarray, "_"]]]:
        """Return the sequences of a sample and their missing steps as they will be stored.

        Values at missing steps are 0. A modality that lacks all steps is left out.

        Args:
            where: names the sample in messages.
            sample: its labels do not matter here.

        Raises:
            DataError: wrong dims or types, no modality at all, or missing steps that do not fit.
        """
        unknown = sorted(set(sample.sequences) - set(self.dims))
        if unknown:
            raise DataError(
                f"{where}: unexpected modality {unknown}", expected=f"some of {list(self.dims)}"
            )

        sequences = {}
        missing = {}
        for m, array in sample.sequences.items():
            # no step at all is a missing modality
            if not np.size(array):
                continue

            values = self._numbers(where, m, array)
            lacking = self._missing(where, sample, m, len(values))
            if lacking is None:
                sequences[m] = self._repaired(m, values)
            elif not lacking.all():
                values[lacking] = 0
                missing[m] = lacking
                sequences[m] = self._repaired(m, values)
        if not sequences:
            raise DataError(f"{where}: it has no modality", expected="at least one non-empty one")

        return sequences, missing

    def _check_lengths(self, where: str, lengths: Mapping[Modality, int]) -> None:
        """Refuse different lengths in an aligned data set."""
        distinct = set(lengths.values())
        if self.aligned and len(distinct) > 1:
            raise DataError(
                f"{where}: lengths {lengths} in an aligned data set",
                expected="the same number of steps in every modality",
                fix="mark the data set as unaligned, or align it to words first",
            )

    def with_attachments(self, where: str, checked: Sample, given: Sample) -> Sample:
        """Return a checked sample with the words, times and texts of the one that was given.

        Raises:
            DataError: they do not fit its steps, or cannot be stored.
        """
        lengths = {m: len(sequence) for m, sequence in checked.sequences.items()}
        return replace(
            checked,
            words=self._words(where, given, lengths),
            times=_times(where, given, lengths),
            about=_about(where, given),
        )

    def _missing(
        self, where: str, sample: Sample, modality: Modality, steps: int
    ) -> Bool[np.ndarray, "steps"] | None:
        """Return which steps of a sequence are missing; None where none is."""
        given: Any = sample.missing.get(modality)
        if given is None:
            return None

        lacking = np.asarray(given)
        if lacking.dtype != np.bool_ or lacking.shape != (steps,):
            found = f"{lacking.dtype} of shape {lacking.shape}"
            raise DataError(
                f"{where}: the missing steps of {modality} are {found}",
                expected=f"bool of shape ({steps},), True where the step is missing",
            )
        if not lacking.any():
            return None
        if not self.aligned:
            raise DataError(
                f"{where}: {modality} lacks {int(lacking.sum())} of its own steps",
                expected="missing steps in aligned data alone",
                fix="leave those steps out: unaligned sequences may have any length",
            )
        return lacking

    def _numbers(self, where: str, modality: Modality, array: Any) -> Float[np.ndarray, "_ _"]:
        """Return the values of a sequence in the type in which they are stored, a copy."""
        dim = self.dims[modality]
        values = np.asarray(array)
        numeric = values.dtype.kind in "fiub"
        if not numeric or values.ndim != 2 or values.shape[1] != dim:
            found = f"{values.dtype} of shape {values.shape}"
            raise DataError(
                f"{where}: {modality} is {found}",
                expected=f"numbers of shape (steps, {dim})",
            )

        own: FloatType = "float16" if values.dtype == np.float16 else "float32"
        stored = self.dtypes.setdefault(modality, own)
        if own == "float32" and stored == "float16":
            raise DataError(
                f"{where}: {modality} is {values.dtype}, which float16 cannot hold without loss",
                expected="float16, as the data set declares or the first sample has it",
                fix=f'declare dtypes={{"{modality}": "float32"}} where the data set is written',
            )

        with np.errstate(over="ignore"):  # beyond float32 becomes inf, and is counted as such
            return values.astype(stored)

    def _repaired(
        self, modality: Modality, values: Float[np.ndarray, "_ _"]
    ) -> Float[np.ndarray, "_ _"]:
        """Put 0 in the place of values that are not finite, and count them."""
        # one such value would make a loss NaN
        finite = np.isfinite(values)  # (steps, dim)
        if finite.all():
            return values

        bad = ~finite
        self._count(modality, bad)
        values[bad] = 0
        return values

    def _words(
        self, where: str, sample: Sample, lengths: Mapping[Modality, int]
    ) -> list[str] | None:
        """Return the words of a sample, one per step; None where they are unknown."""
        if not sample.words:
            return None

        words = list(sample.words)
        steps = max(lengths.values()) if self.aligned else lengths.get("text", 0)
        if len(words) != steps:
            raise DataError(
                f"{where}: {len(words)} words for {steps} steps",
                expected="one word per step of the text, or of all modalities where aligned",
            )
        for word in words:
            _check_text(f"{where}: word {word!r}", word)
        return words

    def _count(self, modality: Modality, bad: Bool[np.ndarray, "steps dim"]) -> None:
        self.nonfinite_samples[modality] += 1
        per_feature = bad.sum(0)  # (dim,)
        for column in np.nonzero(per_feature)[0].tolist():
            self.nonfinite[modality, column] += int(per_feature[column])

    def repairs(self) -> list[str]:
        """Say how many non-finite values were replaced by 0, and where."""
        lines = []
        for modality in self.dims:
            counts = {}
            for (m, column), count in self.nonfinite.items():
                if m == modality:
                    counts[column] = count
            if not counts:
                continue

            # the worst features first
            worst = sorted(counts, key=lambda column: -counts[column])
            named = [f"feature {column} ({counts[column]})" for column in worst[:SHOWN]]
            shown = ", ".join(named)
            rest = len(worst) - SHOWN
            if rest > 0:
                shown += f" and {rest} more features"

            total = sum(counts.values())
            samples = self.nonfinite_samples[modality]
            line = (
                f"{modality}: {total} non-finite values in {samples} samples replaced by 0: {shown}"
            )
            lines.append(line)
        return lines


def _times(
    where: str, sample: Sample, lengths: Mapping[Modality, int]
) -> dict[Modality, Float64[np.ndarray, "_ 2"]]:
    """Return start and end of each step, of the modalities that the sample has."""
    times = {}
    for m, given in sample.times.items():
        if m not in lengths:
            continue

        of_steps = np.asarray(given)
        wanted = (lengths[m], 2)
        if of_steps.dtype.kind not in "fiu" or of_steps.shape != wanted:
            raise DataError(
                f"{where}: times of {m} are {of_steps.dtype} of shape {of_steps.shape}",
                expected=f"start and end in seconds, numbers of shape {wanted}",
            )
        if not np.isfinite(of_steps).all():
            raise DataError(
                f"{where}: times of {m} are not finite",
                expected="start and end of every step in seconds, or no times at all",
            )
        times[m] = of_steps.astype(np.float64)
    return times


def _about(where: str, sample: Sample) -> dict[str, str]:
    """Return what else there is to tell; empty texts are left out."""
    about = {}
    for name, text in sample.about.items():
        if not isinstance(name, str) or not _ABOUT_NAME.fullmatch(name):
            raise DataError(
                f"{where}: about {name!r}",
                expected="a name of letters, digits, spaces, '_' and '-', such as 'source'",
            )
        _check_text(f"{where}: {name}", text)
        if text:
            about[name] = text
    return about


def _check_text(where: str, text: Any) -> None:
    """Refuse what cannot be stored as UTF-8.

    Raises:
        DataError: it is no text, or has half of a character in it.
    """
    if not isinstance(text, str):
        raise DataError(f"{where}: {type(text).__name__}", expected="text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds {text[error.start]!r}, half of a character",
            expected="text that can be stored as UTF-8",
            fix="read the source with its own encoding",
        ) from error
