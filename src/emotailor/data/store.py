"""Data sets on disk: safetensors shards beside a ``dataset.json``.

    my_data/
      dataset.json                  schema, label names, dims, aligned, counts, provenance, hashes
      train-00000-HASH.safetensors  labels, ids and, per modality, values and offsets
      statistics-HASH.safetensors   mean and standard deviation per feature, from the training split

A data set appears under its name only when it is complete: it is written to a temporary folder,
which is then renamed. Where one is replaced, its files move beside the old ones, whose names have
other hashes, and ``dataset.json`` changes last: whoever reads the old one finds its own files or
none. Reading maps the files into memory and copies nothing; what is read is compared with its hash
first.
"""

import hashlib
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from emotailor import __version__
from emotailor.config import first_problem
from emotailor.data.card import (
    CARD_FILE,
    FOLDER,
    SCHEMA_VERSION,
    DatasetCard,
    FileCard,
    FloatType,
    ShardCard,
    SplitCard,
)
from emotailor.data.checker import DataWarning, SampleChecker
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.extraction import Extraction
from emotailor.data.moments import Moments
from emotailor.data.sample import Modality, Sample
from emotailor.data.shard import open_shard, shard_card, shard_tensors
from emotailor.data.tensors import AGAIN, check_file, damaged, unreadable
from emotailor.errors import DataError
from emotailor.files import write_hashed, write_json
from emotailor.verified import is_there, read_json, read_settled

SHARD_BYTES = 256 * 2**20
STATISTICS = "statistics"
SUFFIX = ".safetensors"

_SPLIT_NAME = re.compile(r"\w[\w-]{0,63}", re.ASCII)  # the names of files begin with it


class DatasetWriter:
    """Writes samples one by one into a stored data set; complete or absent, never half-written.

    Use as a context manager. Memory stays below one shard, whatever the number of samples.

    Args:
        path: folder to create.
        name: name of the data set.
        label_names: names of the label columns; none where no sample has labels.
        dims: feature width per modality.
        aligned: whether all modalities of a sample have the same steps.
        dtypes: type of the values per modality; by default that of the first sample that has it,
            float16 where it is float16 and else float32. float16 in a set of float32 is widened;
            anything else in a set of float16 is refused.
        extraction: how the features were extracted per modality, where that is known.
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
        dtypes: Mapping[Modality, FloatType] | None = None,
        extraction: Mapping[Modality, Extraction] | None = None,
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._path = Path(path)
        self._shard_bytes = shard_bytes
        self._provenance = dict(provenance or {})
        self._extraction = dict(extraction or {})

        # before hours of work, not after
        FOLDER.check_new(self._path, overwrite=overwrite)
        self._checker = SampleChecker(name, label_names, dims, aligned, dtypes)

        # the folder gets its name when it is complete
        self._replacing = FOLDER.replacing(self._path, overwrite=overwrite)
        self._folder: Path | None = None

        # per split: samples that wait for a shard
        self._pending: defaultdict[str, list[Sample]] = defaultdict(list)
        self._pending_bytes: Counter[str] = Counter()

        # per split: what is written already
        none = np.zeros(len(label_names), np.int64)
        self._shards: defaultdict[str, list[ShardCard]] = defaultdict(list)
        self._labelled: Counter[str] = Counter()
        self._label_sums: defaultdict[str, np.ndarray] = defaultdict(none.copy)
        self._moments = {m: Moments(dim) for m, dim in self._checker.dims.items()}
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
                f"split name {split[:80]!r}",
                expected="up to 64 letters, digits, '_' and '-', such as 'train'",
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

    def tell(self, **more: Any) -> None:
        """Add to the provenance what is known only now (any JSON)."""
        self._provenance.update(more)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the label columns."""
        return self._checker.label_names

    def attach(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store more arrays beside the data, in a file of this name."""
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        self._attachments.append(self._save(name, contiguous))

    def _flush(self, split: str) -> None:
        """Write what is pending of a split as its next shard."""
        assert self._folder is not None
        samples = self._pending.pop(split, [])
        self._pending_bytes[split] = 0
        tensors = shard_tensors(samples, self._checker)
        self._label_sums[split] += tensors["labels"].sum(0, dtype=np.int64)
        self._labelled[split] += sum(sample.labels is not None for sample in samples)

        # what is not seen in training must not leak into the statistics
        if split == "train":
            for m, moments in self._moments.items():
                missing = tensors.get(f"{m}.missing")
                lacking = None if missing is None else missing.astype(np.bool_)
                moments.add(tensors[f"{m}.values"], lacking)

        number = len(self._shards[split])
        written = self._save(f"{split}-{number:05d}", tensors)
        card = shard_card(self._folder / written.file, len(samples), written.sha256)
        self._shards[split].append(card)

    def _save(self, stem: str, tensors: dict[str, np.ndarray]) -> FileCard:
        """Write a file whose name begins with ``stem`` and ends in its hash."""
        assert self._folder is not None

        def write(file: Path) -> None:
            save_file(tensors, file)

        name, digest = write_hashed(self._folder, stem, SUFFIX, write)
        return FileCard(file=name, sha256=digest)

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
            dtypes={m: self._checker.dtype_of(m) for m in self._checker.dims},
            aligned=self._checker.aligned,
            extraction=self._extraction,
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
            samples = sum(shard.samples for shard in shards)
            labelled = self._labelled[split]
            cards[split] = SplitCard(
                samples=samples,
                label_counts=dict(zip(self._checker.label_names, counts, strict=True)),
                labelled=labelled if labelled < samples else None,
                shards=shards,
            )
        return cards


def write_dataset(
    path: str | Path,
    splits: Mapping[str, Iterable[Sample]],
    *,
    name: str,
    label_names: Sequence[str],
    dims: Mapping[Modality, int],
    aligned: bool,
    dtypes: Mapping[Modality, FloatType] | None = None,
    extraction: Mapping[Modality, Extraction] | None = None,
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
        dtypes=dtypes,
        extraction=extraction,
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
    if not is_there(file):
        raise DataError(
            f"no data set at {path}",
            expected=f"a folder with a {CARD_FILE}, as `emotailor data convert` writes it",
            fix="check the path, or make one with `emotailor data convert` or "
            "`emotailor data synthesize`",
        )

    fix = "convert the data again"
    content = read_json(file, fix=fix, expected="the card of a data set")
    try:
        return DatasetCard.model_validate(content)
    except ValidationError as error:
        raise DataError(
            f"{file} is damaged or of another version: {first_problem(error)}",
            expected=f"a data set of schema version 1 to {SCHEMA_VERSION}",
            fix=fix,
        ) from error


def open_dataset(path: str | Path) -> EmotionDataset:
    """Open a stored data set; its sequences are mapped, not read.

    Everything else is compared with its hash now, the features of a shard when they are first
    used. Where a data set of version 1 has no hashes of parts, whole files are compared now. If
    another process replaces the data set meanwhile, the new one is opened.

    Raises:
        DataError: there is none, a shard is missing, truncated or altered, or the parts do not
            fit.
    """
    folder = Path(path)
    return read_settled(folder / CARD_FILE, partial(_open, folder))


def _open(folder: Path) -> EmotionDataset:
    """Open a stored data set as it is now.

    Raises:
        DataError: as :func:`open_dataset`.
    """
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
    known: list[np.ndarray] = [np.zeros(0, np.bool_)]
    shards = []
    for own in card.splits[name].shards:
        found = open_shard(folder, card, own)
        ids += found.ids
        labels.append(found.labels)
        of_shard = found.known
        if of_shard is None:
            of_shard = np.ones(len(found.ids), np.bool_)
        known.append(of_shard)
        shards.append(found.shard)

    every = np.concatenate(labels)  # (n, labels)
    labelled = np.concatenate(known)  # (n,)
    return Split(name, ids, every, shards, None if labelled.all() else labelled)


def read_statistics(path: str | Path, card: DatasetCard | None = None) -> dict[str, np.ndarray]:
    """Return ``<modality>.mean`` and ``<modality>.std`` of the training split, each (dim,).

    Args:
        path: folder of the data set.
        card: of the data set as it was opened; read anew by default. If another data set has taken
            its place since, its statistics are refused.

    Raises:
        DataError: the data set has no training split, or the file is damaged.
    """
    if card is None:
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
            raise DataError(f"{file} cannot be used: {found}", fix=AGAIN)
    return arrays


def _load(file: Path, sha256: str) -> dict[str, np.ndarray]:
    """Read all arrays of a safetensors file.

    Raises:
        DataError: the file is missing or damaged, or its SHA-256 is another.
    """
    check_file(file)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error

    if hashlib.sha256(content).hexdigest() != sha256:
        raise damaged(file, "it does not have")
    try:
        return dict(load(content))
    except (SafetensorError, ValueError) as error:
        raise unreadable(file, error) from error


def read_attachment(path: str | Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays stored beside a data set with ``DatasetWriter.attach``.

    Raises:
        DataError: there is no data set, it has no such attachment, or the file is damaged.
    """
    folder = Path(path)
    return read_settled(folder / CARD_FILE, partial(_attachment, folder, name))


def _attachment(path: Path, name: str) -> dict[str, np.ndarray]:
    """Read an attachment as it is now.

    Raises:
        DataError: as :func:`read_attachment`.
    """
    card = read_card(path)
    attached = card.attachment(name)
    if attached is None:
        found = [attachment.file for attachment in card.attachments] or "nothing"
        raise DataError(f"the data set {path} has no {name!r} beside it: {found}")

    return _load(path / attached.file, attached.sha256)
