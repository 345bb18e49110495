"""The data contract: what a sample, a split and a data set are.

- A sample has an id, up to three sequences (visual, audio, text) and a 0/1 vector over *named*
  labels. Each sequence has its own length; no padding is ever stored.
- A modality that a sample lacks is a sequence of length zero. That is its only encoding, so it
  cannot be confused with a sequence of zeros.
- A split holds its sequences raggedly: one ``values (total_steps, dim)`` array per modality and
  shard, with ``offsets (n + 1,)``. The arrays may be memory maps; nothing is read before its use.

Nothing here needs torch, so that opening and inspecting a data set stays light.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from emotailor.data.card import DatasetCard
from emotailor.data.checker import SampleChecker
from emotailor.data.display import Outline, SplitCounts, dataset_line, dataset_table, split_line
from emotailor.data.ids import Videos
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.errors import DataError


@dataclass(frozen=True)
class Ragged:
    """Sequences of one modality, laid end to end.

    Attributes:
        values: (total_steps, dim).
        offsets: (n + 1,); sequence i is ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: Float32[np.ndarray, "total dim"]
    offsets: Int64[np.ndarray, "n_plus_1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Float32[np.ndarray, "steps dim"]:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, "n"]:
        """Number of steps of each sequence; 0 where the modality is missing."""
        return np.diff(self.offsets)

    @classmethod
    def pack(cls, sequences: Sequence[Float32[np.ndarray, "_ dim"] | None], dim: int) -> "Ragged":
        """Lay ``sequences`` end to end; None becomes a sequence of length zero."""
        empty = np.zeros((0, dim), np.float32)
        arrays = [empty]  # so that there is something to lay end to end
        offsets = [0]
        total = 0
        for sequence in sequences:
            if sequence is not None:
                arrays.append(sequence)
                total += len(sequence)
            # twice the same place where the modality is missing
            offsets.append(total)

        values = np.concatenate(arrays)  # (total_steps, dim)
        values = values.astype(np.float32, copy=False)
        return cls(values, np.array(offsets, np.int64))


@dataclass(frozen=True)
class Shard:
    """A contiguous part of a split: ragged sequences of its samples, per modality."""

    sequences: Mapping[Modality, Ragged]
    size: int


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of one named split, addressed by position.

    Attributes:
        name: ``train``, ``valid``, ``test`` or any other.
        ids: id of each sample.
        labels: (n, labels), 0 or 1.
        shards: parts of the split, in which the sequences lie.
    """

    name: str
    ids: Sequence[str]
    labels: UInt8[np.ndarray, "n labels"]
    shards: Sequence[Shard]
    _starts: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # position of the first sample of each shard, and one past the last
        starts = np.cumsum([0, *(shard.size for shard in self.shards)]).tolist()
        object.__setattr__(self, "_starts", starts)

    def __repr__(self) -> str:
        return split_line(self.name, len(self), self.labels.shape[1], self.modalities)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index + len(self) if index < 0 else index)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(i) for i in range(len(self)))

    def sequence(self, modality: Modality, index: int) -> Float32[np.ndarray, "steps dim"]:
        """Return the sequence of one sample, (steps, dim); zero steps where it is missing."""
        # the shard that holds the sample, and the place of the sample in it
        shard = bisect_right(self._starts, index) - 1
        place = index - self._starts[shard]
        return self.shards[shard].sequences[modality][place]

    def sample(self, index: int) -> Sample:
        """Return sample ``index`` with the sequences it has."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a split of {len(self)}")
        sequences = {m: self.sequence(m, index) for m in self.modalities}
        present = {m: s for m, s in sequences.items() if len(s)}
        return Sample(self.ids[index], present, self.labels[index])

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities stored, in the order v, a, t."""
        if not self.shards:
            return ()
        return tuple(m for m in MODALITIES if m in self.shards[0].sequences)

    def lengths(self, modality: Modality) -> Int64[np.ndarray, "n"]:
        """Number of steps per sample; 0 where the modality is missing."""
        if not self.shards:
            return np.zeros(0, np.int64)
        parts = [shard.sequences[modality].lengths for shard in self.shards]
        return np.concatenate(parts)

    def present(self, modality: Modality) -> Bool[np.ndarray, "n"]:
        """Whether each sample has this modality."""
        return self.lengths(modality) > 0

    def index_of(self, sample_id: str) -> int:
        """Return the position of a sample.

        Raises:
            DataError: no sample has this id.
        """
        ids = list(self.ids)
        try:
            return ids.index(sample_id)
        except ValueError as error:
            raise DataError(
                f"no sample {sample_id!r} in split {self.name!r}",
                expected=f"one of its {len(ids)} ids, such as {ids[:3]}",
            ) from error


@dataclass(frozen=True, eq=False)
class EmotionDataset:
    """Named splits over the same modalities and the same named labels.

    Two data sets are equal where they hold the same samples; their names do not matter. Stored
    ones are compared by the fingerprint of their files, so that no feature is read.

    Attributes:
        card: everything known about the data but the arrays themselves.
        splits: split name -> Split.
    """

    card: DatasetCard
    splits: Mapping[str, Split]

    def __repr__(self) -> str:
        sizes = {name: len(split) for name, split in self.splits.items()}
        return dataset_line(self._shown, sizes)

    def _repr_html_(self) -> str:
        counts = {}
        for name, split in self.splits.items():
            held = split.labels.sum(axis=0, dtype=np.int64)  # (labels,)
            counts[name] = SplitCounts(len(split), held.tolist())
        return dataset_table(self._shown, counts)

    @property
    def _shown(self) -> Outline:
        dims: dict[str, int] = {m: self.card.dims[m] for m in self.modalities}
        return Outline(self.card.name, self.label_names, dims, self.aligned)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EmotionDataset):
            return NotImplemented

        # stored ones have hashes, so that no feature has to be read
        if self.card.splits and other.card.splits:
            return self.card.fingerprint == other.card.fingerprint

        if self._outline() != other._outline():
            return False
        return all(_same_samples(split, other.splits[name]) for name, split in self.splits.items())

    def __hash__(self) -> int:
        return hash(self._outline())

    def _outline(self) -> tuple[object, ...]:
        """Return all that two equal data sets share and that is known without reading them."""
        sizes = sorted((name, len(split)) for name, split in self.splits.items())
        widths = tuple((m, self.dims[m]) for m in self.modalities)
        return self.label_names, widths, self.aligned, tuple(sizes)

    def __getitem__(self, split: str) -> Split:
        try:
            return self.splits[split]
        except KeyError as error:
            raise DataError(
                f"the data set {self.card.name!r} has no split {split!r}",
                expected=f"one of {', '.join(sorted(self.splits)) or 'none: it is empty'}",
            ) from error

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the label columns, in their order."""
        return tuple(self.card.label_names)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities this data set has, in the order v, a, t."""
        return tuple(m for m in MODALITIES if m in self.card.dims)

    @property
    def dims(self) -> dict[Modality, int]:
        """Feature width per modality."""
        return dict(self.card.dims)

    @property
    def aligned(self) -> bool:
        """Whether step i of every modality of a sample is the same moment (the same word)."""
        return self.card.aligned

    def videos(self, split: str) -> list[str]:
        """Return the video of each sample of a split, as far as all ids together tell."""
        all_ids = chain.from_iterable(part.ids for part in self.splits.values())
        videos = Videos(all_ids)
        return [videos.of(sample_id) for sample_id in self[split].ids]

    @classmethod
    def from_samples(
        cls,
        splits: Mapping[str, Iterable[Sample]],
        *,
        name: str,
        label_names: Sequence[str],
        dims: Mapping[Modality, int],
        aligned: bool,
    ) -> "EmotionDataset":
        """Build a data set in memory; the same checks as on disk apply.

        Raises:
            DataError: a sample does not fit the dims, labels or alignment declared.
        """
        checker = SampleChecker(name, tuple(label_names), dict(dims), aligned)
        built = {}
        for split_name, samples in splits.items():
            checked = [checker.check(split_name, sample) for sample in samples]
            built[split_name] = _pack_split(split_name, checked, checker)

        card = DatasetCard(
            name=name,
            label_names=checker.label_names,
            dims=checker.dims,
            aligned=aligned,
            splits={},  # there are no files
        )
        return cls(card, built)


def _same_samples(one: Split, other: Split) -> bool:
    """Whether two splits of equal size hold the same ids, labels and sequences in one order."""
    if list(one.ids) != list(other.ids):
        return False
    if not np.array_equal(one.labels, other.labels):
        return False

    for index in range(len(one)):
        for m in one.modalities:
            ours = one.sequence(m, index)
            theirs = other.sequence(m, index)
            if not np.array_equal(ours, theirs):
                return False
    return True


def _pack_split(name: str, samples: Sequence[Sample], checker: SampleChecker) -> Split:
    """Lay the samples of a split end to end, in one shard."""
    ids = [sample.id for sample in samples]

    # (n, labels), also where there is no sample
    held = [sample.labels for sample in samples if sample.labels is not None]
    labels = np.array(held, np.uint8)
    labels = labels.reshape(len(samples), len(checker.label_names))

    sequences = {}
    for m, dim in checker.dims.items():
        own = [sample.sequences.get(m) for sample in samples]
        sequences[m] = Ragged.pack(own, dim)

    # no shard rather than an empty one, as on disk
    shards = []
    if samples:
        shards.append(Shard(sequences, len(samples)))
    return Split(name, ids, labels, shards)
