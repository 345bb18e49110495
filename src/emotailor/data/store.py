"""Data sets on disk: safetensors shards beside a ``dataset.json``.

    my_data/
      dataset.json                  schema, label names, dims, aligned, counts, provenance, hashes
      train-00000-HASH.safetensors  labels, ids and, per modality, values and offsets
      statistics-HASH.safetensors   mean and standard deviation per feature, from the training split

A data set appears under its name only when it is complete: it is written to a temporary folder,
which is then renamed. Where one is replaced, its files move beside the old ones, whose names have
other hashes, and ``dataset.json`` changes last: whoever reads the old one finds its own files or
none. Reading maps the files into memory and copies nothing.
"""

import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from emotailor import __version__
from emotailor.config import first_problem
from emotailor.data.card import (
    CARD_FILE,
    FOLDER,
    SCHEMA_VERSION,
    DatasetCard,
    FileCard,
    SplitCard,
)
from emotailor.data.checker import DataWarning, SampleChecker
from emotailor.data.dataset import EmotionDataset, Ragged, Shard, Split
from emotailor.data.sample import Modality, Sample
from emotailor.errors import DataError
from emotailor.files import sha256_of, write_hashed, write_json
from emotailor.text import NAME, is_name
from emotailor.verified import read_json

SHARD_BYTES = 256 * 2**20
MOMENT_ROWS = 2**14
_AGAIN = "make the data set again, or copy the file again"
STATISTICS = "statistics"
SUFFIX = ".safetensors"

_SPLIT_NAME = re.compile(r"\w[\w-]*", re.ASCII)
_NUMPY_TYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}


class _Moments:
    """Running mean and variance per feature (Chan's pairwise update), in float64."""

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean: Float64[np.ndarray, "dim"] = np.zeros(dim)
        self.m2: Float64[np.ndarray, "dim"] = np.zeros(dim)

    def add(self, values: Float32[np.ndarray, "steps dim"]) -> None:
        for start in range(0, len(values), MOMENT_ROWS):  # a float64 copy of a shard is large
            self._add(values[start : start + MOMENT_ROWS])

    def _add(self, values: Float32[np.ndarray, "steps dim"]) -> None:
        wide = values.astype(np.float64)
        mean = wide.mean(0)
        within = np.square(wide - mean).sum(0)

        # what two parts differ by is weighted by the sizes of both
        rows = len(values)
        total = self.count + rows
        share = rows / total
        delta = mean - self.mean
        between = delta**2 * (self.count * rows / total)

        self.mean = self.mean + delta * share
        self.m2 = self.m2 + within + between
        self.count = total

    @property
    def std(self) -> Float64[np.ndarray, "dim"]:
        return np.sqrt(self.m2 / max(self.count, 1))


class DatasetWriter:
    """Writes samples one by one into a stored data set; complete or absent, never half-written.

    Use as a context manager. Memory stays below one shard, whatever the number of samples.

    Args:
        path: folder to create.
        name: name of the data set.
        label_names: names of the label columns.
        dims: feature width per modality.
        aligned: whether all modalities of a sample have the same steps.
        provenance: where the data come from (any JSON).
        overwrite: replace an existing data set.
        shard_bytes: size at which a shard is closed.

    Raises:
        DataError: ``path`` exists and ``overwrite`` is false or it is no data set, or a sample
            does not fit.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        label_names: Sequence[str],
        dims: Mapping[Modality, int],
        aligned: bool,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._path = Path(path)
        self._shard_bytes = shard_bytes
        self._provenance = dict(provenance or {})

        # before hours of work, not after
        FOLDER.check_new(self._path, overwrite=overwrite)
        self._checker = SampleChecker(name, label_names, dims, aligned)

        # the folder gets its name when it is complete
        self._replacing = FOLDER.replacing(self._path, overwrite=overwrite)
        self._folder: Path | None = None

        # per split: samples that wait for a shard
        self._pending: defaultdict[str, list[Sample]] = defaultdict(list)
        self._pending_bytes: Counter[str] = Counter()

        # per split: what is written already
        none = np.zeros(len(label_names), np.int64)
        self._shards: defaultdict[str, list[FileCard]] = defaultdict(list)
        self._label_sums: defaultdict[str, np.ndarray] = defaultdict(none.copy)
        self._moments = {m: _Moments(dim) for m, dim in self._checker.dims.items()}
        self._attachments: list[FileCard] = []
        self._notes: list[str] = []

    def __enter__(self) -> "DatasetWriter":
        self._folder = self._replacing.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self._finish()
            except BaseException as finish_error:
                self._replacing.__exit__(
                    type(finish_error), finish_error, finish_error.__traceback__
                )
                raise
        self._replacing.__exit__(kind, error, trace)

    def add(self, split: str, sample: Sample) -> None:
        """Append one sample to a split."""
        if not _SPLIT_NAME.fullmatch(split):
            raise DataError(
                f"split name {split!r}", expected="letters, digits, '_' and '-', such as 'train'"
            )

        checked = self._checker.check(split, sample)
        self._shards.setdefault(split, [])  # splits keep the order in which they first came
        self._pending[split].append(checked)

        # a shard is closed as soon as it is large enough
        for sequence in checked.sequences.values():
            self._pending_bytes[split] += sequence.nbytes
        if self._pending_bytes[split] >= self._shard_bytes:
            self._flush(split)

    def note(self, line: str) -> None:
        """Record something a reader of this data set should know (kept in ``repairs``)."""
        self._notes.append(line)

    def attach(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store more arrays beside the data, in a file of this name (F32, I64 or U8)."""
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        self._attachments.append(self._save(name, contiguous))

    def _flush(self, split: str) -> None:
        """Write what is pending of a split as its next shard."""
        samples = self._pending.pop(split, [])
        self._pending_bytes[split] = 0
        tensors = self._tensors(samples)
        labels = tensors["labels"]
        self._label_sums[split] += labels.sum(0, dtype=np.int64)

        # what is not seen in training must not leak into the statistics
        if split == "train":
            for m, moments in self._moments.items():
                moments.add(tensors[f"{m}.values"])

        number = len(self._shards[split])
        card = self._save(f"{split}-{number:05d}", tensors, len(samples))
        self._shards[split].append(card)

    def _tensors(self, samples: Sequence[Sample]) -> dict[str, np.ndarray]:
        """Return the arrays of a shard by name."""
        tensors = _id_tensors(samples)

        # (samples, labels), also where there is no sample
        labels = np.array([sample.labels for sample in samples], np.uint8)
        names = self._checker.label_names
        tensors["labels"] = labels.reshape(len(samples), len(names))

        for m, dim in self._checker.dims.items():
            sequences = [sample.sequences.get(m) for sample in samples]
            ragged = Ragged.pack(sequences, dim)
            tensors[f"{m}.values"] = ragged.values
            tensors[f"{m}.offsets"] = ragged.offsets
        return tensors

    def _save(self, stem: str, tensors: dict[str, np.ndarray], samples: int = 0) -> FileCard:
        """Write a file whose name begins with ``stem`` and ends in its hash."""
        assert self._folder is not None

        def write(file: Path) -> None:
            save_file(tensors, file)

        name, digest = write_hashed(self._folder, stem, SUFFIX, write)
        return FileCard(file=name, sha256=digest, samples=samples)

    def _finish(self) -> None:
        assert self._folder is not None
        for split in list(self._pending):
            self._flush(split)
        if not self._shards:
            raise DataError(
                f"no samples to write to {self._path}", expected="at least one sample in one split"
            )

        repairs = self._checker.repairs()
        card = DatasetCard(
            name=self._checker.name,
            label_names=self._checker.label_names,
            dims=self._checker.dims,
            aligned=self._checker.aligned,
            statistics=self._save_statistics(),
            splits=self._split_cards(),
            attachments=self._attachments,
            provenance={"emotailor": __version__, **self._provenance},
            repairs=repairs + self._notes,
        )
        write_json(self._folder / CARD_FILE, card.model_dump(mode="json"))
        for line in repairs:
            warnings.warn(f"{self._path}: {line}", DataWarning, stacklevel=3)

    def _save_statistics(self) -> FileCard | None:
        # there is nothing else that they may be of
        if not self._shards["train"]:
            return None

        means = {}
        stds = {}
        for m, moments in self._moments.items():
            means[f"{m}.mean"] = moments.mean.astype(np.float32)
            stds[f"{m}.std"] = moments.std.astype(np.float32)

        # the bytes of a file, and so its hash, depend on the order
        arrays = means | stds
        return self._save(STATISTICS, arrays)

    def _split_cards(self) -> dict[str, SplitCard]:
        cards = {}
        for split, shards in self._shards.items():
            if not shards:
                continue
            counts = self._label_sums[split].tolist()
            cards[split] = SplitCard(
                samples=sum(shard.samples for shard in shards),
                label_counts=dict(zip(self._checker.label_names, counts, strict=True)),
                shards=shards,
            )
        return cards


def _id_tensors(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """Return the ids as UTF-8, end to end, and where each begins."""
    # one text after the other
    encoded = [sample.id.encode() for sample in samples]
    joined = b"".join(encoded)

    lengths = [len(text) for text in encoded]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return {
        "ids.bytes": np.frombuffer(joined, np.uint8),
        "ids.offsets": offsets,
    }


def write_dataset(
    path: str | Path,
    splits: Mapping[str, Iterable[Sample]],
    *,
    name: str,
    label_names: Sequence[str],
    dims: Mapping[Modality, int],
    aligned: bool,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> EmotionDataset:
    """Store ``splits`` (name -> samples) at ``path`` and open the result."""
    with DatasetWriter(
        path,
        name=name,
        label_names=label_names,
        dims=dims,
        aligned=aligned,
        provenance=provenance,
        overwrite=overwrite,
    ) as writer:
        for split, samples in splits.items():
            for sample in samples:
                writer.add(split, sample)
    return open_dataset(path)


def read_card(path: str | Path) -> DatasetCard:
    """Read the ``dataset.json`` of a stored data set.

    Raises:
        DataError: there is none, or it is not one this version understands.
    """
    file = Path(path) / CARD_FILE
    if not file.is_file():
        raise DataError(
            f"no data set at {path}",
            expected=f"a folder with a {CARD_FILE}, as `emotailor data convert` writes it",
            fix="check the path, or make one with `emotailor data convert` or `data synthesize`",
        )

    values = read_json(file, fix=_AGAIN)
    try:
        return DatasetCard.model_validate(values)
    except ValidationError as error:
        raise DataError(
            f"{file} is damaged or of another version: {first_problem(error)}",
            expected=f"a data set of schema version {SCHEMA_VERSION}",
            fix="convert the data again",
        ) from error


def map_tensors(file: Path) -> dict[str, np.ndarray]:
    """Map the tensors of a safetensors file into memory, read-only, without reading them.

    The library's own NumPy loader copies every tensor; this reads the header alone.

    Raises:
        DataError: the file is missing, truncated or not safetensors.
    """
    try:
        with safe_open(file, framework="numpy"):  # the library checks header and sizes
            pass
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read: {error}",
            expected="a complete safetensors file",
            fix="convert the data again, or copy the file again",
        ) from error

    # the arrays lie behind the header, at the places that it names
    data = np.memmap(file, np.uint8, "r", offset=8 + size)
    tensors = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in _NUMPY_TYPES:
            raise DataError(
                f"{file}: tensor {key!r} has type {entry['dtype']}", expected="F32, I64 or U8"
            )

        begin, end = entry["data_offsets"]
        raw = np.asarray(data[begin:end])
        values = raw.view(_NUMPY_TYPES[entry["dtype"]])
        tensors[key] = values.reshape(entry["shape"])
    return tensors


def _open_shard(file: Path, card: DatasetCard) -> tuple[list[str], np.ndarray, Shard]:
    tensors = map_tensors(file)
    misfit = _wrong_types(tensors, card)
    ids: list[str] = []

    # each check relies on those before it
    if misfit is None:
        offsets = tensors["ids.offsets"]
        total = len(tensors["ids.bytes"])
        misfit = _wrong_offsets("ids.offsets", offsets, total)
    if misfit is None:
        ids, misfit = _read_ids(tensors)
    if misfit is None:
        misfit = _wrong_labels(tensors["labels"], len(ids), len(card.label_names))
    if misfit is None:
        misfit = _wrong_sequences(tensors, card, len(ids))
    if misfit is not None:
        raise DataError(
            f"{file} does not fit {CARD_FILE}: {misfit}",
            fix="run `emotailor data validate` for details, or convert the data again",
        )

    # labels and offsets are small and asked for all the time; values stay on disk
    labels = np.array(tensors["labels"])
    sequences = {}
    for m in card.dims:
        offsets = np.array(tensors[f"{m}.offsets"])
        values = tensors[f"{m}.values"]
        sequences[m] = Ragged(values, offsets)
    return ids, labels, Shard(sequences, len(ids))


def _wrong_types(tensors: Mapping[str, np.ndarray], card: DatasetCard) -> str | None:
    """Say which array of a shard is missing or of another type; None where none is."""
    for key, (kind, ndim) in _expected_arrays(card).items():
        array = tensors.get(key)
        if array is None:
            return f"it has no {key}"
        if array.dtype == kind and array.ndim == ndim:
            continue

        found = f"{array.dtype} of shape {array.shape}"
        expected = f"{np.dtype(kind)} of {ndim} dimensions"
        return f"{key} is {found}, expected {expected}"
    return None


def _expected_arrays(card: DatasetCard) -> dict[str, tuple[type, int]]:
    """Return type and number of dimensions of every array in a shard."""
    expected: dict[str, tuple[type, int]] = {
        "labels": (np.uint8, 2),
        "ids.bytes": (np.uint8, 1),
        "ids.offsets": (np.int64, 1),
    }
    for m in card.dims:
        expected[f"{m}.offsets"] = (np.int64, 1)
    for m in card.dims:
        expected[f"{m}.values"] = (np.float32, 2)
    return expected


def _wrong_offsets(key: str, offsets: np.ndarray, total: int) -> str | None:
    """Say why offsets do not run from 0 to ``total``; None where they do."""
    if not len(offsets) or offsets[0] != 0:
        return f"{key} does not begin with 0"
    last = offsets[-1]
    if last != total:
        return f"{key} ends with {last}, expected {total}"

    # equal neighbours are a sequence without steps
    steps = np.diff(offsets)
    if (steps < 0).any():
        return f"{key} falls, expected numbers that only rise"
    return None


def _read_ids(tensors: Mapping[str, np.ndarray]) -> tuple[list[str], str | None]:
    """Return the ids of a shard, and what is wrong with them."""
    raw = tensors["ids.bytes"].tobytes()
    offsets = tensors["ids.offsets"].tolist()
    ids = []
    for begin, end in pairwise(offsets):
        text = raw[begin:end]
        try:
            ids.append(text.decode())
        except UnicodeDecodeError as error:
            return [], f"ids.bytes is not UTF-8: {error}"

    strange = [name for name in ids if not is_name(name)]
    if strange:
        return [], f"ids holds {strange[0]!r}, expected {NAME}"
    return ids, None


def _wrong_labels(labels: np.ndarray, samples: int, names: int) -> str | None:
    wanted = (samples, names)
    if labels.shape != wanted:
        return f"labels has shape {labels.shape}, expected {wanted}"

    highest = labels.max(initial=0)
    if highest > 1:
        return f"labels holds {highest}, expected 0 and 1"
    return None


def _wrong_sequences(
    tensors: Mapping[str, np.ndarray], card: DatasetCard, samples: int
) -> str | None:
    for m, dim in card.dims.items():
        values = tensors[f"{m}.values"]  # (steps, dim)
        steps, width = values.shape
        if width != dim:
            return f"{m}.values has shape {values.shape}, expected (steps, {dim})"

        # one more than samples: each begins where the one before it ends
        key = f"{m}.offsets"
        offsets = tensors[key]
        wanted = samples + 1
        if len(offsets) != wanted:
            return f"{key} has {len(offsets)} numbers, expected {wanted}"

        misfit = _wrong_offsets(key, offsets, steps)
        if misfit is not None:
            return misfit
    return None


def open_dataset(path: str | Path) -> EmotionDataset:
    """Open a stored data set; its sequences are mapped, not read.

    Raises:
        DataError: there is none, a shard is missing or truncated, or the parts do not fit.
    """
    folder = Path(path)
    card = read_card(folder)
    splits = {}
    for name, split_card in card.splits.items():
        split = _open_split(folder, name, card)
        if len(split) != split_card.samples:
            raise DataError(
                f"{folder}: split {name!r} holds {len(split)} samples",
                expected=f"the {split_card.samples} that {CARD_FILE} names",
                fix="convert the data again",
            )
        splits[name] = split
    return EmotionDataset(card, splits)


def _open_split(folder: Path, name: str, card: DatasetCard) -> Split:
    """Map the shards of a split, in their order."""
    # a split without shards still has columns for its labels
    none = np.zeros((0, len(card.label_names)), np.uint8)
    ids: list[str] = []
    labels: list[np.ndarray] = [none]
    shards = []
    for file_card in card.splits[name].shards:
        file = folder / file_card.file
        shard_ids, shard_labels, shard = _open_shard(file, card)
        ids += shard_ids
        labels.append(shard_labels)
        shards.append(shard)

    every = np.concatenate(labels)  # (n, labels)
    return Split(name, ids, every, shards)


def read_statistics(path: str | Path) -> dict[str, np.ndarray]:
    """Return ``<modality>.mean`` and ``<modality>.std`` of the training split, each (dim,).

    Raises:
        DataError: the data set has no training split, or the file is damaged.
    """
    card = read_card(path)
    if card.statistics is None:
        raise DataError(
            f"{path} has no feature statistics because it has no split 'train'",
            expected="a data set with a training split",
        )

    file = Path(path) / card.statistics.file
    arrays = _load(file, card.statistics.sha256)
    for m, dim in card.dims.items():
        for key in (f"{m}.mean", f"{m}.std"):
            array = arrays.get(key)
            if array is not None and array.shape == (dim,) and np.isfinite(array).all():
                continue

            found = f"{key} is not {dim} finite numbers"
            raise DataError(f"{file} cannot be used: {found}", fix=_AGAIN)
    return arrays


def _load(file: Path, sha256: str | None = None) -> dict[str, np.ndarray]:
    """Read all arrays of a safetensors file.

    Raises:
        DataError: the file is missing or damaged, or its SHA-256 is another.
    """
    found = None
    try:
        if sha256 is not None:
            found = sha256_of(file)
        arrays = dict(load_file(file))
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}", fix=_AGAIN) from error

    if found != sha256:
        raise DataError(
            f"{file} cannot be used: its SHA-256 is not the one in {CARD_FILE}", fix=_AGAIN
        )
    return arrays


def read_attachment(path: str | Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays stored beside a data set with ``DatasetWriter.attach``.

    Raises:
        DataError: there is no data set, it has no such attachment, or the file is damaged.
    """
    card = read_card(path)
    attached = card.attachment(name)
    if attached is None:
        found = [attachment.file for attachment in card.attachments] or "nothing"
        raise DataError(f"the data set {path} has no {name!r} beside it: {found}")

    file = Path(path) / attached.file
    return _load(file)
