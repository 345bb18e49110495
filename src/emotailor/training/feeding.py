"""How batches reach the device: from memory on the device itself where they fit, else in advance.

On a GPU a step of these models takes a few milliseconds, less than collating its batch on the CPU
and copying it. So the training split is put on the device once, ragged and standardised, and a
batch is one gather; where it does not fit, a thread prepares the next batch during the step.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.training.setup import TrainingData

SHARE_OF_MEMORY = 0.5  # of what is free on the device


class ResidentSamples:
    """The used training samples on a device.

    Args:
        data: what is trained on.
        device: where to put them.
    """

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self.aligned, self.device = data.dataset.aligned, device
        self.ids = [data.train_split.ids[i] for i in data.positions]
        labels = data.train_split.labels[data.positions].astype(np.float32)
        self.labels = torch.from_numpy(labels).to(device)
        self.lengths: dict[Modality, Int64[np.ndarray, "n"]] = {}
        self.starts: dict[Modality, Int64[Tensor, "n"]] = {}
        self.tables: dict[Modality, Float[Tensor, "rows dim"]] = {}
        for m, dim in data.dims.items():
            sequences = [data.train_split.sample(int(i)).sequences.get(m) for i in data.positions]
            known = [np.zeros((0, dim), np.float32) if x is None else x for x in sequences]
            if (standardizer := data.standardizer) is not None:
                known = [standardizer(m, x) for x in known]
            lengths = np.array([len(x) for x in known], np.int64)
            # row 0 is what padding reads
            flat = np.concatenate([np.zeros((1, dim), np.float32), *known])
            self.lengths[m] = lengths
            self.starts[m] = torch.from_numpy(1 + np.cumsum(lengths) - lengths).to(device)
            self.tables[m] = torch.from_numpy(flat).to(device)

    @staticmethod
    def size(data: TrainingData) -> int:
        """Bytes they would take."""
        split, positions = data.train_split, data.positions
        return sum(4 * dim * int(split.lengths(m)[positions].sum()) for m, dim in data.dims.items())

    def batch(self, chosen: Int64[np.ndarray, "_"]) -> Batch:
        """Return the same batch as ``data.batch(chosen)``, on the device."""
        longest = {m: max(1, int(x[chosen].max())) for m, x in self.lengths.items()}
        if self.aligned:
            longest = dict.fromkeys(longest, max(longest.values()))
        rows = torch.from_numpy(chosen).to(self.device, non_blocking=True)
        values: dict[Modality, Tensor] = {}
        masks: dict[Modality, Bool[Tensor, "batch _"]] = {}
        for m, table in self.tables.items():
            lengths = torch.from_numpy(self.lengths[m][chosen]).to(self.device, non_blocking=True)
            steps = torch.arange(longest[m], device=self.device)
            masks[m] = steps < lengths[:, None]
            places = torch.where(masks[m], self.starts[m][rows][:, None] + steps, 0)
            values[m] = table[places]
        return Batch(values, masks, self.labels[rows], [self.ids[i] for i in chosen])


class Feeder:
    """Gives the training loop its batches, on the device.

    Args:
        data: what is trained on.
        device: to train on.
    """

    def __init__(self, data: TrainingData, device: torch.device) -> None:
        self.data, self.device = data, device
        self.resident: ResidentSamples | None = None
        self.ahead: ThreadPoolExecutor | None = None
        self.next: tuple[bytes, Future[Batch]] | None = None
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            if ResidentSamples.size(data) <= SHARE_OF_MEMORY * free:
                self.resident = ResidentSamples(data, device)
            else:
                self.ahead = ThreadPoolExecutor(1)

    def batch(
        self, chosen: Int64[np.ndarray, "_"], following: Int64[np.ndarray, "_"] | None = None
    ) -> Batch:
        """Return a batch of used training samples.

        Args:
            chosen: their places in ``data.positions``.
            following: those of the batch after it, to be prepared meanwhile.
        """
        if self.resident is not None:
            return self.resident.batch(chosen)
        if self.ahead is None:
            return self.data.batch(chosen).to(self.device)
        known = self.next is not None and self.next[0] == chosen.tobytes()
        batch = self.next[1].result() if known and self.next else self.data.batch(chosen)
        self.next = None
        if following is not None:
            self.next = following.tobytes(), self.ahead.submit(self._pinned, following)
        return batch.to(self.device)

    def _pinned(self, chosen: Int64[np.ndarray, "_"]) -> Batch:
        batch = self.data.batch(chosen)
        return batch.pin_memory() if self.device.type == "cuda" else batch
