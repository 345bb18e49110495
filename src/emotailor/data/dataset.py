"""The data contract: what a sample, a split and a data set are.

- A sample has an id, up to three sequences (visual, audio, text) and a 0/1 vector over *named*
  labels, where its labels are known. Each sequence has its own length; no padding is ever stored.
- A modality that a sample lacks is a sequence of length zero. That is its only encoding, so it
  cannot be confused with a sequence of zeros.
- A step that an aligned sample has and one of its modalities lacks is marked as missing.
- A split holds its sequences raggedly: one ``values (total_steps, dim)`` array per modality and
  shard, with ``offsets (n + 1,)``. The arrays may be memory maps; nothing is read before its use.

Nothing here needs torch, so that opening and inspecting a data set stays light.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import index as as_index
from typing import Any, SupportsIndex, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, UInt8

from emotailor.data.card import DatasetCard, FloatType
from emotailor.data.checker import SampleChecker
from emotailor.data.display import (
    Outline,
    SplitCounts,
    dataset_line,
    dataset_table,
    listed,
    short,
    split_line,
)
from emotailor.data.extraction import Extraction
from emotailor.data.ids import Videos
from emotailor.data.sample import (
    HOW_TO_DIVIDE,
    MODALITIES,
    TRANSCRIPT,
    UNSPLIT,
    Modality,
    Sample,
)
from emotailor.data.split_names import in_order, split_meant
from emotailor.errors import DataError
from emotailor.frames import data_frame

DefaultT = TypeVar("DefaultT")


@dataclass(frozen=True)
class Ragged:
    """Sequences of one modality, laid end to end.

    Attributes:
        values: (total_steps, dim).
        offsets: (n + 1,); sequence i is ``values[offsets[i]:offsets[i + 1]]``.
        missing: (total_steps,), True at steps that the modality lacks; None where it lacks none.
        times: (total_steps, 2), start and end in seconds, NaN where unknown; None where all are.
        check: is called before values are used; raises where they are damaged.
    """

    values: Float[np.ndarray, "total dim"]
    offsets: Int64[np.ndarray, "n_plus_1"]
    missing: Bool[np.ndarray, "total"] | None = None
    times: Float64[np.ndarray, "total 2"] | None = None
    check: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        steps, dim = self.values.shape
        return f"Ragged({len(self):,} sequences, {steps:,} steps of {dim})"

    def __getitem__(self, index: int) -> Float[np.ndarray, "steps dim"]:
        if self.check is not None:
            self.check()
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Int64[np.ndarray, "n"]:
        """Number of steps of each sequence; 0 where the modality is missing."""
        return np.diff(self.offsets)

    def steps(self, index: int) -> slice:
        """Return where sequence ``index`` lies."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    @classmethod
    def pack(
        cls,
        sequences: Sequence[Float[np.ndarray, "_ dim"] | None],
        dim: int,
        *,
        dtype: str = "float32",
    ) -> "Ragged":
        """Lay ``sequences`` end to end; None becomes a sequence of length zero."""
        empty = np.zeros((0, dim), dtype)
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
        values = values.astype(dtype, copy=False)
        return cls(values, np.array(offsets, np.int64))


@dataclass(frozen=True)
class Texts:
    """Texts, laid end to end as UTF-8.

    Attributes:
        data: (bytes,).
        offsets: (n + 1,); text i is ``data[offsets[i]:offsets[i + 1]]``.
    """

    data: UInt8[np.ndarray, "bytes"]
    offsets: Int64[np.ndarray, "n_plus_1"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        raw = self.data[self.offsets[index] : self.offsets[index + 1]]
        return raw.tobytes().decode()

    @classmethod
    def pack(cls, texts: Iterable[str]) -> "Texts":
        """Lay ``texts`` end to end."""
        encoded = [text.encode() for text in texts]
        joined = b"".join(encoded)

        lengths = [len(text) for text in encoded]
        offsets = np.cumsum([0, *lengths], dtype=np.int64)
        return cls(np.frombuffer(joined, np.uint8), offsets)


@dataclass(frozen=True)
class Words:
    """The words of several samples.

    Attributes:
        texts: all words.
        offsets: (n + 1,); those of sample i are the texts from ``offsets[i]`` to
            ``offsets[i + 1]``; none where they are unknown.
    """

    texts: Texts
    offsets: Int64[np.ndarray, "n_plus_1"]

    def __getitem__(self, index: int) -> list[str] | None:
        first = int(self.offsets[index])
        end = int(self.offsets[index + 1])
        if first == end:
            return None
        return [self.texts[i] for i in range(first, end)]

    @classmethod
    def pack(cls, words: Sequence[Sequence[str] | None]) -> "Words":
        """Lay the words of samples end to end."""
        every: list[str] = []
        offsets = [0]
        for of_sample in words:
            every += of_sample or ()
            offsets.append(len(every))
        return cls(Texts.pack(every), np.array(offsets, np.int64))


@dataclass(frozen=True)
class Shard:
    """A contiguous part of a split.

    Attributes:
        sequences: those of its samples, per modality.
        size: number of samples.
        words: those of its samples; None where none has any.
        about: name -> a text per sample, empty where a sample has none.
    """

    sequences: Mapping[Modality, Ragged]
    size: int
    words: Words | None = None
    about: Mapping[str, Texts] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Shard({self.size:,} samples: {dict(self.sequences)})"

    @classmethod
    def pack(cls, samples: Sequence[Sample], checker: SampleChecker) -> "Shard":
        """Lay checked samples end to end."""
        sequences = {}
        for m, dim in checker.dims.items():
            own = [sample.sequences.get(m) for sample in samples]
            ragged = Ragged.pack(own, dim, dtype=checker.dtype_of(m))
            sequences[m] = replace(
                ragged,
                missing=_pack_missing(samples, m, ragged),
                times=_pack_times(samples, m, ragged),
            )

        words = None
        if any(sample.words for sample in samples):
            words = Words.pack([sample.words for sample in samples])

        names: dict[str, None] = {}  # each once, in the order in which they come
        for sample in samples:
            names |= dict.fromkeys(sample.about)
        about = {}
        for name in names:
            texts = [sample.about.get(name, "") for sample in samples]
            about[name] = Texts.pack(texts)

        return cls(sequences, len(samples), words, about)


def _pack_missing(
    samples: Sequence[Sample], modality: Modality, ragged: Ragged
) -> Bool[np.ndarray, "total"] | None:
    """Return which steps of all samples a modality lacks; None where it lacks none."""
    if not any(modality in sample.missing for sample in samples):
        return None

    missing = np.zeros(len(ragged.values), np.bool_)
    for index, sample in enumerate(samples):
        if modality in sample.missing:
            missing[ragged.steps(index)] = sample.missing[modality]
    return missing


def _pack_times(
    samples: Sequence[Sample], modality: Modality, ragged: Ragged
) -> Float64[np.ndarray, "total 2"] | None:
    """Return start and end of all steps, NaN where unknown; None where all are."""
    if not any(modality in sample.times for sample in samples):
        return None

    times = np.full((len(ragged.values), 2), np.nan)
    for index, sample in enumerate(samples):
        if modality in sample.times:
            times[ragged.steps(index)] = sample.times[modality]
    return times


@dataclass(frozen=True, eq=False)
class Split:
    """Samples of one named split, addressed by position, as in a list.

    ``split[0]`` and ``split[-1]`` are samples, ``split[1:3]`` is a split of two whose sequences are
    shared and not copied, and ``for sample in split`` reads one sample after the other. An id is
    ``in`` the split, and so is a sample with this id and content.

    Attributes:
        name: ``train``, ``valid``, ``test`` or any other.
        ids: id of each sample.
        labels: (n, labels), 0 or 1; 0 where they are unknown.
        shards: parts of the split, in which the sequences lie.
        known: (n,), whether the labels of each sample are known; None where all are.
        places: (n,), the place of each sample in the shards laid end to end; None where the split
            has all of their samples in their order.
    """

    name: str
    ids: Sequence[str]
    labels: UInt8[np.ndarray, "n labels"]
    shards: Sequence[Shard]
    known: Bool[np.ndarray, "n"] | None = None
    places: Int64[np.ndarray, "n"] | None = None
    _starts: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # place of the first sample of each shard, and one past the last
        starts = np.cumsum([0, *(shard.size for shard in self.shards)]).tolist()
        object.__setattr__(self, "_starts", starts)

    def __repr__(self) -> str:
        return split_line(self.name, len(self), self.labels.shape[1], self.modalities)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Split": ...

    def __getitem__(self, index: SupportsIndex | slice) -> "Sample | Split":
        if isinstance(index, slice):
            positions = range(len(self))[index]
            return self.take(np.array(positions, np.int64))

        # also an integer of NumPy
        position = as_index(index)
        return self.sample(position + len(self) if position < 0 else position)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return item in self.ids
        if not isinstance(item, Sample) or item.id not in self.ids:
            return False
        return self[self.index_of(item.id)] == item

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(i) for i in range(len(self)))

    def _find(self, index: int) -> tuple[Shard, int]:
        """Return the shard that holds a sample, and the place of the sample in it."""
        place = index if self.places is None else int(self.places[index])
        number = bisect_right(self._starts, place) - 1
        return self.shards[number], place - self._starts[number]

    def sequence(self, modality: Modality, index: int) -> Float[np.ndarray, "steps dim"]:
        """Return the sequence of one sample, (steps, dim); zero steps where it is missing."""
        shard, place = self._find(index)
        return shard.sequences[modality][place]

    def words(self, index: int) -> Sequence[str] | None:
        """Return the words of one sample, one per step; None where nobody knows."""
        shard, place = self._find(index)
        return None if shard.words is None else shard.words[place]

    def has_words(self) -> Bool[np.ndarray, "n"]:
        """Say of each sample whether its words are known, without reading them."""
        parts = [np.zeros(0, np.bool_)]
        for shard in self.shards:
            known = np.zeros(shard.size, np.bool_)
            if shard.words is not None:
                known = np.diff(shard.words.offsets) > 0
            parts.append(known)
        every = np.concatenate(parts)
        return every if self.places is None else every[self.places]

    def text(self, index: int) -> str:
        """Return what is said in one sample, its words or else its transcript; features unread.

        The empty string where nobody knows.
        """
        words = self.words(index)
        if words is not None:
            return " ".join(words)

        shard, place = self._find(index)
        transcripts = shard.about.get(TRANSCRIPT)
        return "" if transcripts is None else transcripts[place]

    def sample(self, index: int) -> Sample:
        """Return sample ``index`` with everything that it has."""
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of a split of {len(self)}")

        shard, place = self._find(index)
        sequences = {}
        missing = {}
        times = {}
        for m in self.modalities:
            ragged = shard.sequences[m]
            sequence = ragged[place]
            if not len(sequence):
                continue

            sequences[m] = sequence
            steps = ragged.steps(place)
            if ragged.missing is not None and ragged.missing[steps].any():
                missing[m] = ragged.missing[steps]
            if ragged.times is not None and not np.isnan(ragged.times[steps]).any():
                times[m] = ragged.times[steps]

        labels = self.labels[index]
        if self.known is not None and not self.known[index]:
            labels = None
        words = None if shard.words is None else shard.words[place]
        texts = {name: of_samples[place] for name, of_samples in shard.about.items()}
        about = {name: text for name, text in texts.items() if text}
        return Sample(self.ids[index], sequences, labels, missing, words, times, about)

    def take(self, positions: Int64[np.ndarray, "_"]) -> "Split":
        """Return a split of some of the samples; their sequences are shared, not copied."""
        places = positions if self.places is None else self.places[positions]
        ids = [self.ids[i] for i in positions.tolist()]
        known = None if self.known is None else self.known[positions]
        if known is not None and known.all():
            known = None
        return Split(self.name, ids, self.labels[positions], self.shards, known, places)

    @property
    def labelled(self) -> Bool[np.ndarray, "n"]:
        """Whether the labels of each sample are known."""
        if self.known is None:
            return np.ones(len(self), np.bool_)
        return self.known

    def with_labels(self) -> "Split":
        """Return the samples whose labels are known.

        Raises:
            DataError: those of none are known.
        """
        if self.known is None:
            return self
        if not self.known.any():
            raise DataError(
                f"no sample of split {self.name!r} has labels",
                expected="labels to learn from or to compare with",
                fix="convert the data with their labels; `emotailor predict` needs none",
            )
        return self.take(np.flatnonzero(self.known))

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
        every = np.concatenate(parts)
        return every if self.places is None else every[self.places]

    def missing_steps(self, modality: Modality) -> Int64[np.ndarray, "n"]:
        """Number of steps per sample that the sample has and the modality lacks."""
        counts = [_missing_steps(shard.sequences[modality]) for shard in self.shards]
        every = np.concatenate([np.zeros(0, np.int64), *counts])
        return every if self.places is None else every[self.places]

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


def _missing_steps(ragged: Ragged) -> Int64[np.ndarray, "n"]:
    if ragged.missing is None:
        return np.zeros(len(ragged), np.int64)

    before = np.cumsum(ragged.missing, dtype=np.int64)  # (total,), counts up to each step
    before = np.concatenate([[0], before])
    return np.diff(before[ragged.offsets])


@dataclass(frozen=True, eq=False)
class EmotionDataset(Mapping[str, Split]):
    """Named splits over the same modalities and the same named labels.

    It is a mapping from the name of a split to the split: ``dataset["test"]``, ``list(dataset)``
    and ``len(dataset)`` are of splits, in the order train, valid, test. Names as others write them
    are understood where the data set has no such split: ``dataset["val"]`` is ``valid``.

    Two data sets are equal where they hold the same samples; their names do not matter. Stored
    ones are compared by the fingerprint of their files, so that no feature is read.

    Attributes:
        card: everything known about the data but the arrays themselves.
        splits: split name -> Split.
    """

    card: DatasetCard
    splits: Mapping[str, Split]

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", in_order(self.splits))

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
        return self.splits[self.split_name(split)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def __contains__(self, split: object) -> bool:
        return isinstance(split, str) and split_meant(split, self.splits) is not None

    @overload
    def get(self, split: str, /) -> Split | None: ...

    @overload
    def get(self, split: str, /, default: Split | DefaultT) -> Split | DefaultT: ...

    def get(self, split: str, /, default: Any = None) -> Any:
        """Return a split, or ``default`` where the data set has none of this name."""
        if split not in self:
            return default
        return self[split]

    def split_name(self, split: str) -> str:
        """Return the split that a name means: ``val``, ``dev`` and ``validation`` mean ``valid``.

        Raises:
            DataError: the data set has no such split.
        """
        found = split_meant(split, self.splits) if isinstance(split, str) else None
        if found is None:
            divide = HOW_TO_DIVIDE if list(self.splits) == [UNSPLIT] else None
            raise DataError(
                f"the data set {short(self.card.name)!r} has no split {split!r}",
                expected=f"one of {listed(list(self.splits)) or 'none: it is empty'}",
                fix=divide,
            )
        return found

    def to_dataframe(self) -> Any:
        """Return a ``pandas.DataFrame``: a row per split, its samples, and how often labels hold.

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = []
        for name, split in self.splits.items():
            held = split.labels.sum(axis=0, dtype=np.int64)  # (labels,)
            counts = dict(zip(self.label_names, held.tolist(), strict=True))
            rows.append({"split": name, "samples": len(split), **counts})
        return data_frame(rows, index="split")

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

    def with_labels(self) -> "EmotionDataset":
        """Return the samples whose labels are known; a split without any stays as it is."""
        splits = {}
        for name, split in self.splits.items():
            splits[name] = split.with_labels() if split.labelled.any() else split
        return replace(self, splits=splits)

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
        dtypes: Mapping[Modality, FloatType] | None = None,
        extraction: Mapping[Modality, Extraction] | None = None,
    ) -> "EmotionDataset":
        """Build a data set in memory; the same checks as on disk apply.

        Raises:
            DataError: a sample does not fit the dims, types, labels or alignment declared.
        """
        checker = SampleChecker(name, tuple(label_names), dict(dims), aligned, dtypes)
        built = {}
        for split_name, samples in splits.items():
            checked = [checker.check(split_name, sample) for sample in samples]
            built[split_name] = _pack_split(split_name, checked, checker)

        card = DatasetCard(
            name=name,
            label_names=checker.label_names,
            dims=checker.dims,
            dtypes={m: checker.dtype_of(m) for m in checker.dims},
            aligned=aligned,
            extraction=dict(extraction or {}),
            splits={},  # there are no files
        )
        return cls(card, built)


def _same_samples(one: Split, other: Split) -> bool:
    """Whether two splits of equal size hold the same samples in one order."""
    if list(one.ids) != list(other.ids):
        return False
    if not np.array_equal(one.labels, other.labels):
        return False
    if not np.array_equal(one.labelled, other.labelled):
        return False

    pairs = zip(one, other, strict=True)
    return all(ours == theirs for ours, theirs in pairs)


def _pack_split(name: str, samples: Sequence[Sample], checker: SampleChecker) -> Split:
    """Lay the samples of a split end to end, in one shard."""
    ids = [sample.id for sample in samples]
    labels, known = pack_labels(samples, len(checker.label_names))

    # no shard rather than an empty one, as on disk
    shards = []
    if samples:
        shards.append(Shard.pack(samples, checker))
    return Split(name, ids, labels, shards, known)


def pack_labels(
    samples: Sequence[Sample], width: int
) -> tuple[UInt8[np.ndarray, "n labels"], Bool[np.ndarray, "n"] | None]:
    """Return the labels of samples, 0 where unknown, and whether they are known (None: all are).

    Args:
        samples: checked ones.
        width: number of labels.
    """
    labels = np.zeros((len(samples), width), np.uint8)
    known = np.zeros(len(samples), np.bool_)
    for row, sample in enumerate(samples):
        if sample.labels is not None:
            labels[row] = sample.labels
            known[row] = True
    return labels, None if known.all() else known
