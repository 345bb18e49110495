"""Features that lie beside a table: one file for all rows, or files of one sample each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from emotailor.data.readers._common import Block, Unreadable, require_file, unreadable
from emotailor.data.readers.account import Account
from emotailor.data.readers.array_files import SUFFIXES, load_arrays, one_sequence, read_one
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError

Labels = UInt8[np.ndarray, "labels"]
Lengths = Int64[np.ndarray, "rows"]
Steps = Float[np.ndarray, "steps dim"]
FILES = (".npy", *SUFFIXES)
"""The endings of files that hold the features of one sample."""


@runtime_checkable
class Features(Protocol):
    """Where the features of the samples come from."""

    dims: dict[Modality, int]
    lengths: Lengths | None
    """Number of steps of each row, 0 where it has none; None where that shows in its file alone."""

    def of(self, row: int, name: str) -> Sample:
        """Return what is known of a row; a modality without a file is missing."""


def sample_of(
    features: Sequence[Features],
    row: int,
    name: str,
    labels: Labels | None = None,
    *,
    keep_going: bool,
) -> Sample:
    """Return the sample of a row.

    Args:
        features: where its sequences come from.
        row: number of the row.
        name: id of the sample.
        labels: its labels; None where nobody knows them.
        keep_going: return :class:`Unreadable` where a file of the sample is damaged.

    Raises:
        DataError: a file is damaged.
    """
    sequences: dict[Modality, Steps] = {}
    missing: dict[Modality, Bool[np.ndarray, "steps"]] = {}
    words = None
    try:
        for source in features:
            found = source.of(row, name)
            sequences |= found.sequences
            missing |= found.missing
            words = words or found.words
    except DataError as error:
        if not keep_going:
            raise
        return Unreadable(name, {}, error=error)
    return Sample(name, sequences, labels, missing, words)


class OneArray:
    """A row per sample in one ``.npy`` file.

    Raises:
        DataError: it is damaged, or has not ``count`` rows.
    """

    def __init__(self, m: Modality, file: Path, count: int) -> None:
        require_file(file, "an array with one row per row of the CSV")
        with unreadable(file, "a complete .npy file of numbers"):
            array = np.load(file, mmap_mode="r", allow_pickle=False)

        block = Block(str(file), array, vectors=True)
        rows = len(block)
        if rows != count:
            raise DataError(f"{file} has {rows} rows", expected=f"the {count} of the CSV")
        self._modality = m
        self._block = block
        self.dims = {m: block.dim}
        self.lengths: Lengths | None = block.lengths

    def of(self, row: int, name: str) -> Sample:
        """Return the row."""
        return Sample(name, {self._modality: self._block[row]})


class PerSample:
    """One file per sample and modality.

    Args:
        m: the modality.
        files: the file of each row; None where there is none.
        account: is told which files are read.
        keep_going: look for a file that is whole where the first is damaged.

    Raises:
        DataError: the first file is damaged.
    """

    lengths: Lengths | None = None

    def __init__(
        self,
        m: Modality,
        files: Sequence[Path | None],
        account: Account,
        *,
        keep_going: bool = False,
    ) -> None:
        self._modality = m
        self._files = files
        self._account = account
        self._first: tuple[int, ...] | None = None
        self.dims: dict[Modality, int] = {}

        for file in files:
            if file is None:
                continue
            try:
                first = read_sequence(file)
            except DataError:
                if not keep_going:
                    raise
                continue
            self._first = first.shape
            self.dims[m] = first.shape[1]
            break

    def of(self, row: int, name: str) -> Sample:
        """Return what the file of a row holds."""
        file = self._files[row]
        if file is None:
            return Sample(name, {})

        self._account.opened.add(file)
        sequence = read_sequence(file)
        self._refuse_turned(name, sequence.shape)
        return Sample(name, {self._modality: sequence})

    def _refuse_turned(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a sequence whose rows, not its columns, are as many as in the first one."""
        steps, dim = shape
        first = self._first or shape
        turned = dim != first[1] and steps in first
        if turned:
            raise DataError(
                f"{self._modality} of {name!r} has the shape {shape}, and the first one {first}",
                expected="(steps, dim), with the same dim in every file",
                fix="turn the arrays that lie as (dim, steps)",
            )


class Together:
    """One file per sample with all of its modalities.

    Args:
        files: the file of each row; None where there is none.
        account: takes in what the files hold.
        keep_going: look for a file that is whole where the first is damaged.

    Raises:
        DataError: the first of them is damaged or holds no sequence.
    """

    lengths: Lengths | None = None

    def __init__(
        self, files: Sequence[Path | None], account: Account, *, keep_going: bool = False
    ) -> None:
        self._files = files
        self._account = account
        self.dims: dict[Modality, int] = {}
        self._find_dims(keep_going=keep_going)

    def _find_dims(self, *, keep_going: bool) -> None:
        """Find out the width of each modality, from the first file that has it."""
        for file in self._files:
            if file is None:
                continue
            try:
                sample = read_one(file, Account())
            except DataError:
                if not keep_going:
                    raise
                continue
            for m, sequence in sample.sequences.items():
                self.dims.setdefault(m, sequence.shape[1])
            # most often all are in the first
            if len(self.dims) == len(MODALITIES):
                return

    def of(self, row: int, name: str) -> Sample:
        """Return what the file of a row holds."""
        file = self._files[row]
        if file is None:
            return Sample(name, {})
        self._account.opened.add(file)
        return read_one(file, self._account)


def read_sequence(file: Path) -> Steps:
    """Return the sequence in a ``.npy`` file, or in one of several arrays that holds only one.

    Raises:
        DataError: it is missing or damaged, or holds something else.
    """
    require_file(file, "an array of numbers")
    return one_sequence(str(file), _load(file))


def _load(file: Path) -> np.ndarray:
    expected = "a complete .npy file, or .npz with one array, of numbers"
    if file.suffix.lower() in SUFFIXES:
        arrays = load_arrays(file)
        if len(arrays) != 1:
            raise DataError(f"{file} holds {list(arrays)[:8]}", expected="one array")
        return np.asarray(next(iter(arrays.values())))

    with unreadable(file, expected), file.open("rb") as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    return np.asarray(array)


def file_of(folder: Path, name: str) -> Path | None:
    """Return the file of a sample in a folder; None where there is none."""
    for suffix in FILES:
        file = folder / f"{name}{suffix}"
        if file.exists():
            return file
    return None
