"""Batches: what a model sees, and the order in which it sees it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Tensor

from emotailor.data.dataset import Split
from emotailor.data.sample import MODALITIES, Modality, Sample


@dataclass(frozen=True)
class Batch:
    """Samples padded to the longest among them.

    Attributes:
        values: modality -> (B, T, d); zeros where masked.
        masks: modality -> (B, T), True at real steps; a row without any is a missing modality.
        labels: (B, L), 0 or 1, or None where they are unknown.
        ids: one per sample.
    """

    values: Mapping[Modality, Float[Tensor, "batch _ _"]]
    masks: Mapping[Modality, Bool[Tensor, "batch _"]]
    labels: Float[Tensor, "batch labels"] | None
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities in this batch, in the order v, a, t."""
        return tuple(m for m in MODALITIES if m in self.values)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the same batch on ``device``."""
        return replace(
            self,
            values={m: v.to(device, non_blocking=True) for m, v in self.values.items()},
            masks={m: v.to(device, non_blocking=True) for m, v in self.masks.items()},
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "Batch":
        """Return the same batch in memory from which copies to a GPU need not wait."""
        return replace(
            self,
            values={m: v.pin_memory() for m, v in self.values.items()},
            masks={m: v.pin_memory() for m, v in self.masks.items()},
            labels=None if self.labels is None else self.labels.pin_memory(),
        )


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
        cls, statistics: Mapping[str, np.ndarray], modalities: Sequence[Modality]
    ) -> "Standardizer":
        """Build from what ``read_statistics`` returns."""
        return cls(
            {m: statistics[f"{m}.mean"] for m in modalities},
            {m: statistics[f"{m}.std"] for m in modalities},
        )

    def __call__(
        self, modality: Modality, values: Float32[np.ndarray, "steps dim"]
    ) -> Float32[np.ndarray, "steps dim"]:
        """Standardise the steps of one sequence."""
        shifted = values - self.mean[modality]
        shifted *= self._scales[modality]
        return np.clip(shifted, -self.limit, self.limit, out=shifted)

    @cached_property
    def _scales(self) -> dict[Modality, Float32[np.ndarray, "_"]]:
        scales = {}
        for m, std in self.std.items():
            # what varies by rounding alone (relative to its size) carries nothing
            real = std > 1e-6 * np.maximum(np.abs(self.mean[m]), 1e-6)
            scales[m] = np.where(real, 1 / np.where(real, std, 1), 0).astype(np.float32)
        return scales


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
    longest = {m: max([1, *(len(s.sequences.get(m, ())) for s in samples)]) for m in dims}
    if aligned:
        longest = dict.fromkeys(longest, max(longest.values()))
    values, masks = {}, {}
    for m, dim in dims.items():
        padded = np.zeros((len(samples), longest[m], dim), np.float32)
        mask = np.zeros((len(samples), longest[m]), np.bool_)
        for row, sample in enumerate(samples):
            sequence = sample.sequences.get(m)
            if sequence is not None and len(sequence):
                steps = len(sequence)
                padded[row, :steps] = sequence if standardize is None else standardize(m, sequence)
                mask[row, :steps] = True
        values[m], masks[m] = torch.from_numpy(padded), torch.from_numpy(mask)
    known = [s.labels for s in samples if s.labels is not None]
    labels = None
    if len(known) == len(samples):
        labels = torch.from_numpy(np.stack(known).astype(np.float32))
    return Batch(values, masks, labels, [s.id for s in samples])


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
        seed: of the run.
        epoch: from 0.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    found = []
    for start in range(0, len(order), pool := POOL_BATCHES * batch_size):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        found += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [found[i] for i in rng.permutation(len(found))]


def split_by_steps(
    lengths: Shaped[np.ndarray, "n"], limit: int, multiple: int = 1
) -> list[Int64[np.ndarray, "_"]]:
    """Cut samples into parts of similar length and about equal numbers of steps, longest first.

    Args:
        lengths: (n,), steps of each sample, at least 1.
        limit: about how many padded steps a part may have; a longer sample is a part by itself.
        multiple: of how many the number of parts is to be a multiple, where there are samples
            enough.

    Returns:
        Positions per part; together every position once.
    """
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    count = -(-int(ends[-1]) // limit)
    count = min(-(-count // multiple) * multiple, len(order))
    # a sample belongs to the part in which its middle lies
    middles = ends - lengths[order] / 2
    part = np.minimum((middles * count / ends[-1]).astype(np.int64), count - 1)
    return [order[part == k] for k in range(count) if (part == k).any()]


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
    positions = np.arange(len(split)) if order is None else np.asarray(order)
    for start in range(0, len(positions), batch_size):
        samples = [split.sample(int(i)) for i in positions[start : start + batch_size]]
        yield collate(samples, dims, aligned=aligned, standardize=standardize)
