"""Data sets on disk: safetensors shards beside a ``dataset.json``.

    my_data/
      dataset.json            schema, label names, dims, aligned, counts, provenance, SHA-256 sums
      train-00000.safetensors labels, ids and, per modality, values and offsets
      statistics.safetensors  mean and standard deviation per feature, from the training split alone

A data set appears under its name only when it is complete: it is written to a temporary folder,
which is then renamed. Reading maps the files into memory and copies nothing.
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
from emotailor.files import replacing_folder, sha256_of, write_json, write_shared

SHARD_BYTES = 256 * 2**20
MOMENT_ROWS = 2**14
STATISTICS_FILE = "statistics.safetensors"

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
        m2 = np.square(wide - mean).sum(0)
        total = self.count + len(values)
        delta = mean - self.mean
        self.mean = self.mean + delta * (len(values) / total)
        self.m2 = self.m2 + m2 + delta**2 * (self.count * len(values) / total)
        self.count = total

    @property
    def std(self) -> Float64[np.ndarray, "dim"]:
        return np.sqrt(self.m2 / max(self.count, 1))


class DatasetWriter:
    """Writes samples one by one into a stored data set; complete or absent, never half-written.

    Use as a context manager. Memory stays below one shard, whatever the number of samples.

    Args:
        path: folder to create.
        name: of the data set.
        label_names: of the label columns.
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
        FOLDER.check_new(self._path, overwrite=overwrite)
        self._checker = SampleChecker(name, label_names, dims, aligned)
        self._provenance = dict(provenance or {})
        self._shard_bytes = shard_bytes
        self._replacing = replacing_folder(self._path, overwrite=overwrite)
        self._folder: Path | None = None
        self._pending: defaultdict[str, list[Sample]] = defaultdict(list)
        self._pending_bytes: Counter[str] = Counter()
        self._shards: defaultdict[str, list[FileCard]] = defaultdict(list)
        self._label_sums: defaultdict[str, np.ndarray] = defaultdict(
            lambda: np.zeros(len(label_names), np.int64)
        )
        self._moments = {m: _Moments(d) for m, d in self._checker.dims.items()}
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
        self._pending_bytes[split] += sum(s.nbytes for s in checked.sequences.values())
        if self._pending_bytes[split] >= self._shard_bytes:
            self._flush(split)

    def note(self, line: str) -> None:
        """Record something a reader of this data set should know (kept in ``repairs``)."""
        self._notes.append(line)

    def attach(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store more arrays beside the data, in ``<name>.safetensors`` (F32, I64 or U8)."""
        assert self._folder is not None
        file = self._folder / f"{name}.safetensors"
        contiguous = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        write_shared(file, lambda path: save_file(contiguous, path))
        self._attachments.append(FileCard(file=file.name, sha256=sha256_of(file)))

    def _flush(self, split: str) -> None:
        assert self._folder is not None
        samples = self._pending.pop(split, [])
        self._pending_bytes[split] = 0
        labels = np.array([s.labels for s in samples], np.uint8)
        encoded = [s.id.encode() for s in samples]
        tensors: dict[str, np.ndarray] = {
            "labels": labels.reshape(len(samples), len(self._checker.label_names)),
            "ids.bytes": np.frombuffer(b"".join(encoded), np.uint8),
            "ids.offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64),
        }
        for m, dim in self._checker.dims.items():
            ragged = Ragged.pack([s.sequences.get(m) for s in samples], dim)
            tensors[f"{m}.values"], tensors[f"{m}.offsets"] = ragged.values, ragged.offsets
            if split == "train":
                self._moments[m].add(ragged.values)
        self._label_sums[split] += labels.sum(0, dtype=np.int64)
        file = self._folder / f"{split}-{len(self._shards[split]):05d}.safetensors"
        write_shared(file, lambda path: save_file(tensors, path))
        self._shards[split].append(
            FileCard(file=file.name, sha256=sha256_of(file), samples=len(samples))
        )

    def _finish(self) -> None:
        assert self._folder is not None
        for split in list(self._pending):
            self._flush(split)
        if not self._shards:
            raise DataError(
                f"no samples to write to {self._path}", expected="at least one sample in one split"
            )
        statistics = None
        if self._shards["train"]:
            file = self._folder / STATISTICS_FILE
            arrays = {f"{m}.mean": x.mean.astype(np.float32) for m, x in self._moments.items()}
            arrays |= {f"{m}.std": x.std.astype(np.float32) for m, x in self._moments.items()}
            write_shared(file, lambda path: save_file(arrays, path))
            statistics = FileCard(file=file.name, sha256=sha256_of(file))
        names = self._checker.label_names
        repairs = self._checker.repairs()
        card = DatasetCard(
            name=self._checker.name,
            label_names=names,
            dims=self._checker.dims,
            aligned=self._checker.aligned,
            splits={
                split: SplitCard(
                    samples=sum(s.samples for s in shards),
                    label_counts=dict(zip(names, self._label_sums[split].tolist(), strict=True)),
                    shards=shards,
                )
                for split, shards in self._shards.items()
                if shards
            },
            statistics=statistics,
            attachments=self._attachments,
            provenance={"emotailor": __version__, **self._provenance},
            repairs=repairs + self._notes,
        )
        write_json(self._folder / CARD_FILE, card.model_dump(mode="json"))
        for line in repairs:
            warnings.warn(f"{self._path}: {line}", DataWarning, stacklevel=3)


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
    try:
        return DatasetCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise DataError(
            f"{file} is damaged or of another version: {where}: {problem['msg']}",
            expected=f"a data set of schema version {SCHEMA_VERSION}",
            fix="convert the data again",
        ) from None


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
        ) from None
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
        kind = _NUMPY_TYPES[entry["dtype"]]
        tensors[key] = np.asarray(data[begin:end]).view(kind).reshape(entry["shape"])
    return tensors


def _open_shard(file: Path, card: DatasetCard) -> tuple[list[str], np.ndarray, Shard]:
    tensors = map_tensors(file)
    kinds: dict[str, tuple[type, int]] = {"labels": (np.uint8, 2), "ids.bytes": (np.uint8, 1)}
    kinds |= {f"{part}.offsets": (np.int64, 1) for part in ("ids", *card.dims)}
    kinds |= {f"{m}.values": (np.float32, 2) for m in card.dims}
    try:
        for key, (kind, ndim) in kinds.items():
            if tensors[key].dtype != kind or tensors[key].ndim != ndim:
                found = f"{tensors[key].dtype} of shape {tensors[key].shape}"
                raise ValueError(f"{key} is {found}")
        raw, id_offsets = tensors["ids.bytes"].tobytes(), tensors["ids.offsets"].tolist()
        ids = [raw[a:b].decode() for a, b in pairwise(id_offsets)]
        sequences = {
            m: Ragged(tensors[f"{m}.values"], np.array(tensors[f"{m}.offsets"])) for m in card.dims
        }
        labels = np.array(tensors["labels"])
        fits = labels.shape == (len(ids), len(card.label_names)) and labels.max(initial=0) <= 1
        fits &= id_offsets == sorted(id_offsets) and id_offsets[:1] == [0]
        fits &= id_offsets[-1] == len(raw)
        fits &= all(
            len(r) == len(ids)
            and r.values.shape == (r.offsets[-1], card.dims[m])
            and r.offsets[0] == 0
            and (r.lengths >= 0).all()
            for m, r in sequences.items()
        )
    except (KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{file} does not hold what {CARD_FILE} says: {error!r}", fix="convert the data again"
        ) from None
    if not fits:
        raise DataError(
            f"{file}: its arrays do not fit each other or {CARD_FILE}",
            fix="run `emotailor data validate` for details, or convert the data again",
        )
    return ids, labels, Shard(sequences, len(ids))


def open_dataset(path: str | Path) -> EmotionDataset:
    """Open a stored data set; its sequences are mapped, not read.

    Raises:
        DataError: there is none, a shard is missing or truncated, or the parts do not fit.
    """
    folder, card = Path(path), read_card(path)
    splits = {}
    for name, split_card in card.splits.items():
        ids: list[str] = []
        labels: list[np.ndarray] = [np.zeros((0, len(card.label_names)), np.uint8)]
        shards = []
        for file_card in split_card.shards:
            shard_ids, shard_labels, shard = _open_shard(folder / file_card.file, card)
            ids += shard_ids
            labels.append(shard_labels)
            shards.append(shard)
        if len(ids) != split_card.samples:
            raise DataError(
                f"{folder}: split {name!r} holds {len(ids)} samples",
                expected=f"the {split_card.samples} that {CARD_FILE} names",
                fix="convert the data again",
            )
        splits[name] = Split(name, ids, np.concatenate(labels), shards)
    return EmotionDataset(card, splits)


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
    try:
        if sha256_of(file) != card.statistics.sha256:
            raise ValueError(f"its SHA-256 is not the one in {CARD_FILE}")
        arrays = dict(load_file(file))
        for m, dim in card.dims.items():
            for name in (f"{m}.mean", f"{m}.std"):
                if arrays[name].shape != (dim,) or not np.isfinite(arrays[name]).all():
                    raise ValueError(f"{name} is not {dim} finite numbers")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{file} cannot be used: {error}", fix="convert the data again") from None
    return arrays


def read_attachment(path: str | Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays stored beside a data set with ``DatasetWriter.attach``.

    Raises:
        DataError: there is no data set, it has no such attachment, or the file is damaged.
    """
    names = [attachment.file for attachment in read_card(path).attachments]
    if f"{name}.safetensors" not in names:
        raise DataError(f"the data set {path} has no {name!r} beside it: {names or 'nothing'}")
    file = Path(path) / f"{name}.safetensors"
    try:
        return dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} cannot be read: {error}", fix="make the data set again") from None
