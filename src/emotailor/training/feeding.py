"""How batches reach the device: from memory on the device itself where they fit, else in advance.

On a GPU a step of these models takes a few milliseconds, less than collating its batch on the CPU
and copying it. So the training split is put on the device once, ragged and standardised, and a
batch is one gather; where it does not fit, a thread prepares the next batch during the step.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.nn.plain import is_plain
from emotailor.training.modality_dropout import Shown, hide, shown_modalities
from emotailor.training.setup import TrainingData

SHARE_OF_MEMORY = 0.5  # of what is free on the device

STEPS_ROUNDED = 8
"""Batches on the device are padded to a multiple of it: fewer shapes, so more can be replayed."""


def rounded_steps(longest: int, limit: int) -> int:
    """Return to how many steps a batch on the device is padded.

    Args:
        longest: steps of its longest sequence.
        limit: steps of the longest sequence of all samples.
    """
    multiples = math.ceil(longest / STEPS_ROUNDED)
    steps = min(STEPS_ROUNDED * multiples, limit)
    return max(1, steps)


class ResidentSamples:
    """The used training samples on a device; all sequences of a modality in one table.

    Args:
        data: what is trained on.
        device: where to put them.
    """

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self.device = device
        self.aligned = data.dataset.aligned
        self.ids = [data.train_split.ids[i] for i in data.positions]
        self.labels = data.labels().to(device)

        # a trained text encoder alone reads them
        self.words: list[Sequence[str] | None] | None = None
        if data.adapters.rank:
            self.words = [data.train_split.words(int(i)) for i in data.positions]

        self.lengths: dict[Modality, Int64[np.ndarray, "n"]] = {}
        self.longest: dict[Modality, int] = {}  # of all samples: no batch needs more
        self.starts: dict[Modality, Int64[Tensor, "n"]] = {}
        self.tables: dict[Modality, Float[Tensor, "entries dim"]] = {}
        self.missing: dict[Modality, Bool[Tensor, "entries"]] = {}  # where any step is missing
        for m, dim in data.dims.items():
            sequences, missing = self._sequences(data, m, dim)
            lengths = np.array([len(x) for x in sequences], np.int64)

            # entry 0 is what padding reads, so the first sequence starts at 1
            padding = np.zeros((1, dim), np.float32)
            table = np.concatenate([padding, *sequences])  # (entries, dim)
            lacking = np.concatenate([np.zeros(1, np.bool_), *missing])  # (entries,)
            table[lacking] = 0
            ends = np.cumsum(lengths)
            starts = 1 + ends - lengths

            # the lengths stay on the CPU, which has to know the longest of each batch
            self.lengths[m] = lengths
            self.longest[m] = int(lengths.max())
            self.starts[m] = torch.from_numpy(starts).to(device)
            self.tables[m] = torch.from_numpy(table).to(device)
            if lacking.any():
                self.missing[m] = torch.from_numpy(lacking).to(device)

    @staticmethod
    def _sequences(
        data: TrainingData, m: Modality, dim: int
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return one modality of all used samples, standardised, and which steps it lacks.

        A sample that lacks the modality has no steps.
        """
        found = []
        missing = []
        for position in data.positions:
            sample = data.train_split.sample(int(position))
            x = sample.sequences.get(m)
            if x is None:
                x = np.zeros((0, dim), np.float32)
            if data.standardizer is not None:
                x = data.standardizer(m, x)
            found.append(x)

            lacking = sample.missing.get(m)
            if lacking is None:
                lacking = np.zeros(len(x), np.bool_)
            missing.append(lacking)
        return found, missing

    @staticmethod
    def size(data: TrainingData) -> int:
        """Bytes they would take."""
        used_bytes = 0
        for m, dim in data.dims.items():
            lengths = data.train_split.lengths(m)[data.positions]
            steps = int(lengths.sum())
            used_bytes += 4 * dim * steps
        return used_bytes

    def batch(self, numbers: Int64[np.ndarray, "_"]) -> Batch:
        """Return the same batch as ``data.batch(numbers)``, on the device."""
        lengths_here = {m: lengths[numbers] for m, lengths in self.lengths.items()}
        longest = {}
        for m, lengths in lengths_here.items():
            longest[m] = rounded_steps(int(lengths.max()), self.longest[m])
        if self.aligned:
            # one time axis for all modalities
            longest_of_all = max(longest.values())
            longest = dict.fromkeys(longest, longest_of_all)

        rows = self._on_device(numbers)  # (B,)
        values: dict[Modality, Tensor] = {}
        masks: dict[Modality, Bool[Tensor, "batch _"]] = {}
        for m, table in self.tables.items():
            lengths = self._on_device(lengths_here[m])
            steps = torch.arange(longest[m], device=self.device)
            mask = steps < lengths[:, None]  # (B, T)

            starts = self.starts[m][rows]
            entries = starts[:, None] + steps
            entries = torch.where(mask, entries, 0)
            if m in self.missing:
                mask = mask & ~self.missing[m][entries]

            masks[m] = mask
            values[m] = table[entries]  # (B, T, dim)

        ids = [self.ids[i] for i in numbers]
        words = None if self.words is None else [self.words[i] for i in numbers]
        return Batch(values, masks, self.labels[rows], ids, words)

    def _on_device(self, numbers: Int64[np.ndarray, "_"]) -> Int64[Tensor, "_"]:
        """Copy numbers of the CPU to the device."""
        return torch.from_numpy(numbers).to(self.device, non_blocking=True)


class Feeder:
    """Gives the training loop its batches, on the device.

    Args:
        data: what is trained on.
        device: to train on.
    """

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self.data = data
        self.device = device
        self.resident: ResidentSamples | None = None
        self.ahead: ThreadPoolExecutor | None = None
        self.next: tuple[bytes, Future[Batch]] | None = None
        self.shown: Shown | None = None
        if device.type != "cuda" or is_plain():
            return

        free, _ = torch.cuda.mem_get_info(device)
        if ResidentSamples.size(data) <= SHARE_OF_MEMORY * free:
            self.resident = ResidentSamples(data, device)
        else:
            self.ahead = ThreadPoolExecutor(1)

    def begin_epoch(self, epoch: int) -> None:
        """Draw what is hidden in an epoch, where the settings ask for it.

        Args:
            epoch: its number, from 0.
        """
        settings = self.data.config.training
        if not settings.modality_dropout:
            return

        split = self.data.train_split
        present = {}
        for m in self.data.dims:
            real = split.lengths(m) > split.missing_steps(m)
            present[m] = real[self.data.positions]
        self.shown = shown_modalities(
            present, settings.modality_dropout, seed=settings.seed, epoch=epoch
        )

    def batch(
        self, numbers: Int64[np.ndarray, "_"], following: Int64[np.ndarray, "_"] | None = None
    ) -> Batch:
        """Return a batch of used training samples, without what is hidden in this epoch.

        Args:
            numbers: of the samples.
            following: numbers of the batch after it, to be prepared meanwhile.
        """
        batch = self._whole(numbers, following)
        if self.shown is None:
            return batch
        return hide(batch, {m: seen[numbers] for m, seen in self.shown.items()})

    def _whole(
        self, numbers: Int64[np.ndarray, "_"], following: Int64[np.ndarray, "_"] | None
    ) -> Batch:
        """Return a batch with all that the samples have."""
        if self.resident is not None:
            return self.resident.batch(numbers)

        if self.ahead is None:
            batch = self.data.batch(numbers)
            return batch.to(self.device)

        # the first batch of an epoch was not prepared
        prepared = self._prepared(numbers)
        batch = self.data.batch(numbers) if prepared is None else prepared

        self.next = None
        if following is not None:
            future = self.ahead.submit(self._pinned, following)
            self.next = (following.tobytes(), future)
        return batch.to(self.device)

    def _prepared(self, numbers: Int64[np.ndarray, "_"]) -> Batch | None:
        """Return the batch that was prepared, or None where it is another one."""
        if self.next is None:
            return None

        key, future = self.next
        return future.result() if key == numbers.tobytes() else None

    def _pinned(self, numbers: Int64[np.ndarray, "_"]) -> Batch:
        batch = self.data.batch(numbers)
        if self.device.type != "cuda":
            return batch
        return batch.pin_memory()
