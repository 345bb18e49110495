"""One way of reading a data set, measured in a fresh process: ``python -m benchmarks.data_worker``.

Takes one JSON object as its argument and prints one. torch is imported before the clock starts: all
ways need it for their batches.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import memory
from benchmarks.reference_tailor import import_reference
from emotailor.data.batching import Standardizer, collate, epoch_batches
from emotailor.data.sample import EMOTIONS, MODALITIES
from emotailor.data.store import open_dataset, read_statistics

STEPS = 60
_IDS = {"happy": 4, "sad": 5, "angry": 6, "surprise": 7, "disgust": 8, "fear": 9}
Batches = Callable[[], Iterator[Any]]


def write_padded(stored: Path, file: Path) -> None:
    """Write a stored data set in the layout of the authors' file: padded arrays in one dict."""
    split = open_dataset(stored)["train"]
    content: dict[str, Any] = {}
    for m in split.modalities:
        dim = split.sequence(m, 0).shape[1]
        content[f"src-{m}"] = np.zeros((len(split), STEPS, dim), np.float32)
        for i in range(len(split)):
            sequence = split.sequence(m, i)
            content[f"src-{m}"][i, : len(sequence)] = sequence
    names = [_IDS[name] for name in EMOTIONS]
    # first and last of a list mark its ends
    content["tgt"] = [[2, *np.array(names)[row == 1].tolist(), 3] for row in split.labels]
    torch.save({"train": content}, file, pickle_protocol=4)


def open_ours(path: Path, batch: int, *, standardize: bool) -> Batches:
    """Open our stored data set; batches as our training makes them."""
    dataset = open_dataset(path)
    split = dataset["train"]
    scale = None
    if standardize:
        scale = Standardizer.from_statistics(read_statistics(path), list(dataset.dims))

    def batches() -> Iterator[Any]:
        for positions in epoch_batches(split.lengths("text"), batch, seed=0, epoch=0):
            samples = [split.sample(int(i)) for i in positions]
            yield collate(samples, dataset.dims, aligned=True, standardize=scale)

    return batches


def open_padded(path: Path, batch: int) -> Batches:
    """Load the padded file; batches by indexing its arrays, the least that can be done."""
    content = torch.load(path, weights_only=False)["train"]

    def batches() -> Iterator[Any]:
        order = np.random.default_rng(0).permutation(len(content["tgt"]))
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            yield [torch.from_numpy(content[f"src-{m}"][part]) for m in MODALITIES]

    return batches


def open_reference(path: Path, batch: int, checkout: Path) -> Batches:
    """Read the padded file through the authors' data code, with the settings of their script."""
    data = import_reference(checkout, "src.dataloaders.cmu_dataloader")
    dataset = data.AlignedMoseiDataset(str(path), "train")
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True)
    return lambda: iter(loader)


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Open, take the first batch, then an epoch of batches."""
    kind, path, batch = request["kind"], Path(request["path"]), request["batch"]
    before = memory.resident()
    started = time.perf_counter()
    if kind == "padded":
        batches = open_padded(path, batch)
    elif kind == "reference":
        batches = open_reference(path, batch, Path(request["checkout"]))
    else:
        batches = open_ours(path, batch, standardize=kind == "standardized")
    opened = time.perf_counter()
    held, peak = memory.resident(), memory.peak()
    next(batches())
    first = time.perf_counter()
    count = sum(1 for _ in batches())
    ended = time.perf_counter()
    return {
        "open_seconds": opened - started,
        "first_batch_seconds": first - started,
        "epoch_seconds": ended - first,
        "batches": count,
        "memory_before": before,
        "memory_opened": held,
        "memory_peak_opening": peak,
        "memory_peak": memory.peak(),
        "memory_private": memory.private(),
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if asked["kind"] == "write":
        write_padded(Path(asked["stored"]), Path(asked["path"]))
        print("{}")
    else:
        print(json.dumps(measure(asked)))
