"""The checks that every sample passes on its way into a data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError
from emotailor.text import NAME, is_name

SHOWN = 5
"""How many of the features with values that are not finite are named."""


RENAME = "give it another name in the source"


class DataWarning(UserWarning):
    """Something in the data was repaired or looks wrong, but it can be used."""


class SampleChecker:
    """Checks samples against what a data set declares, and repairs non-finite values.

    Args:
        name: name of the data set, for messages.
        label_names: names of the label columns; distinct.
        dims: feature width per modality.
        aligned: whether all modalities of a sample must have the same number of steps.
    """

    def __init__(
        self, name: str, label_names: Sequence[str], dims: Mapping[Modality, int], aligned: bool
    ) -> None:
        distinct = set(label_names)
        if not label_names or len(distinct) != len(label_names):
            raise DataError(
                f"label names {list(label_names)}", expected="at least one, all distinct"
            )

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

        # values that are not finite, by modality and feature, and the samples that hold any
        self.nonfinite: Counter[tuple[Modality, int]] = Counter()
        self.nonfinite_samples: Counter[Modality] = Counter()

        self._seen: dict[str, str] = {}  # id -> split

    def check(self, split: str, sample: Sample) -> Sample:
        """Return ``sample`` as it will be stored.

        Raises:
            DataError: duplicate id, wrong dims, labels that are not 0/1, no modality at all, or
                different lengths in an aligned data set.
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
        sequences = self.check_sequences(where, sample)
        return Sample(sample.id, sequences, labels)

    def _labels(self, where: str, sample: Sample) -> UInt8[np.ndarray, "labels"]:
        """Return the labels of a sample as they will be stored."""
        # readers give labels of any kind of number
        given: Any = sample.labels
        if given is None:
            given = ()
        labels = np.asarray(given)

        wanted = (len(self.label_names),)
        if labels.shape == wanted and np.isin(labels, (0, 1)).all():
            return labels.astype(np.uint8)

        names = ", ".join(self.label_names)
        raise DataError(
            f"{where}: labels {labels.tolist()}", expected=f"a 0 or 1 for each of {names}"
        )

    def check_sequences(
        self, where: str, sample: Sample
    ) -> dict[Modality, Float32[np.ndarray, "_ _"]]:
        """Return the sequences of a sample as they will be stored.

        Args:
            where: names the sample in messages.
            sample: its labels do not matter here.

        Raises:
            DataError: wrong dims, no modality at all, or different lengths in an aligned data set.
        """
        unknown = sorted(set(sample.sequences) - set(self.dims))
        if unknown:
            raise DataError(
                f"{where}: unexpected modality {unknown}", expected=f"some of {list(self.dims)}"
            )

        sequences = {}
        for m, array in sample.sequences.items():
            # no step at all is a missing modality
            if np.size(array):
                sequences[m] = self._sequence(where, m, array)
        if not sequences:
            raise DataError(f"{where}: it has no modality", expected="at least one non-empty one")

        lengths = {m: len(sequence) for m, sequence in sequences.items()}
        distinct = set(lengths.values())
        if self.aligned and len(distinct) > 1:
            raise DataError(
                f"{where}: lengths {lengths} in an aligned data set",
                expected="the same number of steps in every modality",
                fix="mark the data set as unaligned, or align it to words first",
            )
        return sequences

    def _sequence(self, where: str, modality: Modality, array: Any) -> Float32[np.ndarray, "_ _"]:
        dim = self.dims[modality]
        values = np.asarray(array)
        numeric = values.dtype.kind in "fiub"
        if not numeric or values.ndim != 2 or values.shape[1] != dim:
            found = f"{values.dtype} of shape {values.shape}"
            raise DataError(
                f"{where}: {modality} is {found}",
                expected=f"numbers of shape (steps, {dim})",
            )

        with np.errstate(over="ignore"):  # beyond float32 becomes inf, and is counted as such
            values = values.astype(np.float32)

        # one such value would make a loss NaN
        finite = np.isfinite(values)  # (steps, dim)
        if finite.all():
            return values

        bad = ~finite
        self._count(modality, bad)
        values[bad] = 0
        return values

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
