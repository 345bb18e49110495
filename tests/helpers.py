"""Small data sets and models that many tests share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotailor.data.dataset import EmotionDataset
from emotailor.data.sample import MODALITIES, Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.models.tailor.config import TailorConfig

DIMS: dict[Modality, int] = {"visual": 5, "audio": 7, "text": 11}
LABELS = ("happy", "sad", "angry")


def stored_name(folder: Path, stem: str) -> str:
    """The name of a file of a data set, which ends in its hash: of "train-00000", or "truth"."""
    (file,) = folder.glob(f"{stem}-*.safetensors")
    return file.name


SMALL = TailorConfig(
    hidden_size=12,
    feedforward_size=17,
    heads=3,
    visual_layers=1,
    audio_layers=2,
    text_layers=1,
    cross_layers=1,
    max_steps=13,
    dropout=0.1,
)
"""A tiny TAILOR whose sizes are all different."""


def random_samples(
    count: int,
    *,
    seed: int = 0,
    prefix: str = "video",
    longest: int = 9,
    missing: float = 0.0,
    labels: int = len(LABELS),
) -> list[Sample]:
    """Aligned samples whose labels can be read off the first features of each modality."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        steps = int(rng.integers(1, longest + 1))
        y = rng.integers(0, 2, labels).astype(np.uint8)
        sequences: dict[Modality, np.ndarray] = {}
        for k, m in enumerate(MODALITIES):
            x = rng.normal(size=(steps, DIMS[m])).astype(np.float32)
            x[:, 0] += 2.0 * y[k % labels]
            if not sequences or rng.random() >= missing:
                sequences[m] = x
        samples.append(Sample(f"{prefix}{i}[0]", sequences, y))
    return samples


def holed_samples(count: int, *, seed: int = 0) -> list[Sample]:
    """Random samples of at least four steps, in which every modality lacks steps of its own.

    Each modality lacks its first, its last or a middle step, and some more; the visual one of the
    fourth sample lacks all.
    """
    rng = np.random.default_rng(seed)
    long = [s for s in random_samples(4 * count, seed=seed) if len(s.sequences["text"]) >= 4]
    samples = []
    for i, sample in enumerate(long[:count]):
        missing: dict[Modality, np.ndarray] = {}
        for k, m in enumerate(MODALITIES):
            steps = len(sample.sequences[m])
            lacks = rng.random(steps) < 0.2
            lacks[(0, steps - 1, steps // 2)[(i + k) % 3]] = True
            lacks[(1, 1, steps - 2)[(i + k) % 3]] = False
            missing[m] = lacks
        if i == 3:
            missing["visual"][:] = True
        sequences = {m: np.where(missing[m][:, None], 0, x) for m, x in sample.sequences.items()}
        samples.append(replace(sample, sequences=sequences, missing=missing))
    assert len(samples) == count
    return samples


def small_dataset(path: Path, *, train: int = 23, valid: int = 11, test: int = 7) -> EmotionDataset:
    """A stored data set of random samples."""
    sizes = {"train": train, "valid": valid, "test": test}
    return write_dataset(
        path,
        {
            split: random_samples(size, seed=k, prefix=split)
            for k, (split, size) in enumerate(sizes.items())
        },
        name="small",
        label_names=LABELS,
        dims=DIMS,
        aligned=True,
    )


@contextmanager
def descriptors(free: int) -> Iterator[None]:
    """Let this process open no more than ``free`` files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def have_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let torch say that there are so many GPUs; nothing can be computed on them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
