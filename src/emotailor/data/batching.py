"""Batches: what a model sees, and the order in which it sees it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor

from emotailor.data.card import FloatType
from emotailor.data.dataset import Split
from emotailor.data.sample import MODALITIES, Modality, Sample


@dataclass(frozen=True)
class Batch:
    """Samples padded to the longest among them.

    Attributes:
        values: modality -> (B, T, d); zeros where masked.
        masks: modality -> (B, T), True at real steps; a row without any is a missing modality. A
            step that an aligned sample has and the modality lacks is False, as padding is.
        labels: (B, L), 0 or 1, or None where they are unknown.
        ids: id of each sample.
        words: of each sample, the word of each step of its text, or None where nobody knows. Steps
            of padding have none.
        shared: modalities whose rows are all the same, as in explanations: a model may compute what
            depends on these alone once.
    """

    values: Mapping[Modality, Float[Tensor, "batch _ _"]]
    masks: Mapping[Modality, Bool[Tensor, "batch _"]]
    labels: Float[Tensor, "batch labels"] | None
    ids: Sequence[str]
    words: Sequence[Sequence[str] | None] | None = None
    shared: frozenset[Modality] = frozenset()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities in this batch, in the order v, a, t."""
        return tuple(m for m in MODALITIES if m in self.values)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on ``device``."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the same batch in memory from which copies to a GPU need not wait."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def copied(self) -> "Batch":
        """Return a batch with the same contents in memory of its own."""
        return self._mapped(lambda tensor: tensor.clone())

    @property
    def device(self) -> torch.device:
        """Where its values are."""
        first = next(iter(self.values.values()))
        return first.device

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Return a batch of what ``change`` makes of every tensor."""
        values = {m: change(array) for m, array in self.values.items()}
        masks = {m: change(mask) for m, mask in self.masks.items()}
        labels = self.labels
        if labels is not None:
            labels = change(labels)
        return replace(self, values=values, masks=masks, labels=labels)


@dataclass(frozen=True)
class Standardizer:
    """Shifts and scales features by the training split's mean and standard deviation.

    Attributes:
        mean: modality -> (dim,).
        std: modality -> (dim,); a feature that is constant in training has 0 and is set to 0.
    """

    mean: Mapping[Modality, Float32[np.ndarray, "_"]]
    std: Mapping[Modality, Float32[np.ndarray, "_"]]
    limit: float = 10.0  # in standard deviations: one corrupt frame must not rule a batch

    @classmethod
    def from_statistics(
        cls,
        statistics: Mapping[str, np.ndarray],
        modalities: Sequence[Modality],
        dtypes: Mapping[Modality, FloatType] | None = None,
    ) -> "Standardizer":
        """Build from what ``read_statistics`` returns.

        Args:
            statistics: of the training split.
            modalities: those to standardise.
            dtypes: modality -> type of its values, as the card of the data set has them; a feature
                that varies less than the type can tell apart counts as constant.
        """
        known = dtypes or {}
        mean = {}
        std = {}
        for m in modalities:
            mean[m] = statistics[f"{m}.mean"]
            found = statistics[f"{m}.std"]
            told_apart = _spacing(mean[m], known.get(m, "float32"))
            std[m] = np.where(found > told_apart, found, 0).astype(np.float32)
        return cls(mean, std)

    def __call__(
        self, modality: Modality, values: Float[np.ndarray, "steps dim"]
    ) -> Float32[np.ndarray, "steps dim"]:
        """Standardise the steps of one sequence; what comes out at missing ones means nothing."""
        shifted = values - self.mean[modality]
        shifted *= self.scales[modality]
        return np.clip(shifted, -self.limit, self.limit, out=shifted)

    @cached_property
    def scales(self) -> dict[Modality, Float32[np.ndarray, "_"]]:
        """Modality -> (dim,), what shifted features are multiplied with; 0 for constant ones."""
        scales = {}
        for m, std in self.std.items():
            # what varies by rounding alone (relative to its size) carries nothing
            size = np.abs(self.mean[m])
            size = np.maximum(size, 1e-6)
            real = std > 1e-6 * size

            # 1 in the division where there is nothing to divide by
            divisor = np.where(real, std, 1)
            scale = np.where(real, 1 / divisor, 0)
            scales[m] = scale.astype(np.float32)
        return scales


def _spacing(values: Float[np.ndarray, "dim"], dtype: FloatType) -> Float[np.ndarray, "dim"]:
    """Return how far apart neighbours of these values are in float16; 0 for float32."""
    if dtype == "float32":
        return np.zeros_like(values)
    return np.spacing(np.abs(values).astype(np.float16)).astype(np.float32)


def collate(
    samples: Sequence[Sample],
    dims: Mapping[Modality, int],
    *,
    aligned: bool,
    standardize: Standardizer | None = None,
) -> Batch:
    """Pad samples to the longest among them, per modality (jointly when ``aligned``).

    Args:
        samples: at least one; sequences of modalities outside ``dims`` are left out.
        dims: modality -> feature width, of the modalities the model takes.
        aligned: pad all modalities to one common length.
        standardize: applied to every sequence before padding.
    """
    longest = _longest(samples, dims)
    if aligned:
        common = max(longest.values())
        longest = dict.fromkeys(longest, common)

    values = {}
    masks = {}
    for m, dim in dims.items():
        # zeros where masked: (B, T, d) and (B, T)
        shape = (len(samples), longest[m])
        padded = np.zeros((*shape, dim), np.float32)
        mask = np.zeros(shape, np.bool_)

        for row, sample in enumerate(samples):
            sequence = sample.sequences.get(m)
            if sequence is None or not len(sequence):
                continue  # a missing modality has no real step

            if standardize is not None:
                sequence = standardize(m, sequence)

            steps = len(sequence)
            padded[row, :steps] = sequence
            mask[row, :steps] = True

            missing = sample.missing.get(m)
            if missing is not None:
                padded[row, :steps][missing] = 0
                mask[row, :steps] = ~missing

        # no copy: both sides share the memory
        values[m] = torch.from_numpy(padded)
        masks[m] = torch.from_numpy(mask)

    ids = [sample.id for sample in samples]
    labels = _labels(samples)
    words = [sample.words for sample in samples]
    return Batch(values, masks, labels, ids, words)


def _longest(samples: Sequence[Sample], dims: Mapping[Modality, int]) -> dict[Modality, int]:
    """Return the number of steps of the longest sequence per modality, at least 1."""
    longest = {}
    for m in dims:
        lengths = [len(sample.sequences.get(m, ())) for sample in samples]
        # a modality that all samples lack still has one step, which is masked
        longest[m] = max([1, *lengths])
    return longest


def _labels(samples: Sequence[Sample]) -> Float[Tensor, "batch labels"] | None:
    """Return the labels of all samples; None where those of one are unknown."""
    known = [sample.labels for sample in samples if sample.labels is not None]
    if len(known) < len(samples):
        return None
    stacked = np.stack(known)
    return torch.from_numpy(stacked.astype(np.float32))


POOL_BATCHES = 32


def epoch_batches(
    lengths: Shaped[np.ndarray, "n"], batch_size: int, *, seed: int, epoch: int
) -> list[Int64[np.ndarray, "_"]]:
    """Return the batches of one epoch: every position once, neighbours in length together.

    The samples are shuffled, sorted by length within pools of some batches, cut into batches, and
    the batches shuffled again: little padding, and over epochs every sample still meets every
    other. The result depends on the arguments alone.

    Args:
        lengths: (n,), steps of each sample.
        batch_size: samples per batch; one batch of the epoch may be smaller.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    # another order every epoch, and the same one when a run is resumed
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))

    # neighbours in length together, within pools that are large enough to mix samples
    pool = POOL_BATCHES * batch_size
    found = []
    for start in range(0, len(order), pool):
        end = start + pool
        part = order[start:end]
        by_length = np.argsort(lengths[part], kind="stable")
        ordered = part[by_length]
        found += _cut(ordered, batch_size)

    # short and long batches in turn
    shuffled = rng.permutation(len(found))
    return [found[i] for i in shuffled]


def _cut(positions: Int64[np.ndarray, "n"], size: int) -> list[Int64[np.ndarray, "_"]]:
    """Cut positions into parts of ``size``; the last may be smaller."""
    starts = range(0, len(positions), size)
    return [positions[start : start + size] for start in starts]


def split_by_steps(
    lengths: Shaped[np.ndarray, "n"], limit: int, multiple: int = 1
) -> list[Int64[np.ndarray, "_"]]:
    """Cut samples into parts of similar length and about equal numbers of steps, longest first.

    Args:
        lengths: (n,), steps of each sample, at least 1.
        limit: about how many padded steps a part may have; a longer sample is a part by itself.
        multiple: the number of parts is a multiple of this, where there are enough samples.

    Returns:
        Positions per part; together every position once.
    """
    # longest first
    order = np.argsort(-lengths, kind="stable")
    ordered = lengths[order]
    ends = np.cumsum(ordered)
    total = int(ends[-1])

    samples = len(order)
    count = _parts(total, limit, multiple, samples)

    # a sample belongs to the part in which its middle lies
    middles = ends - ordered / 2
    share = middles * count / total
    part = share.astype(np.int64)
    part = np.minimum(part, count - 1)

    # a long sample can leave the part behind it empty
    found = []
    for k in range(count):
        positions = order[part == k]
        if len(positions):
            found.append(positions)
    return found


def _parts(total: int, limit: int, multiple: int, samples: int) -> int:
    """Return into how many parts of about ``limit`` steps ``total`` steps are cut."""
    # at least one sample a part
    enough = math.ceil(total / limit)
    rounded_up = math.ceil(enough / multiple) * multiple
    return min(rounded_up, samples)


def batches(
    split: Split,
    dims: Mapping[Modality, int],
    *,
    batch_size: int,
    aligned: bool,
    standardize: Standardizer | None = None,
    order: Sequence[int] | np.ndarray | None = None,
) -> Iterator[Batch]:
    """Yield batches of a split in ``order`` (default: as stored); the last may be smaller."""
    if order is None:
        order = np.arange(len(split))
    positions = np.asarray(order)
    for part in _cut(positions, batch_size):
        samples = [split.sample(int(index)) for index in part]
        yield collate(samples, dims, aligned=aligned, standardize=standardize)
