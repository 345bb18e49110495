"""Batches from the device's memory, or prepared ahead, are the batches that are collated."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality, Sample
from emotailor.data.store import write_dataset
from emotailor.training.feeding import Feeder, ResidentSamples, rounded_steps
from emotailor.training.progress import Reporter
from emotailor.training.run_config import RunConfig
from emotailor.training.setup import TrainingData
from tests.helpers import DIMS, LABELS, random_samples

CPU = torch.device("cpu")


def training_data(path: Path, *, standardize: bool = True) -> TrainingData:
    if not path.exists():
        splits = {"train": random_samples(23, missing=0.4), "valid": random_samples(3, prefix="v")}
        write_dataset(path, splits, name="x", label_names=LABELS, dims=DIMS, aligned=True)
    config = RunConfig.build({"data": {"path": str(path), "standardize": standardize}})
    return TrainingData(config, Reporter())


def lacking(sample: Sample) -> Sample:
    """The same sample, in which every modality but the text lacks every other step."""
    missing: dict[Modality, np.ndarray] = {}
    for m, sequence in sample.sequences.items():
        if m != "text":
            missing[m] = np.arange(len(sequence)) % 2 == 1
    return replace(sample, missing=missing)


def assert_equal(a: Batch, b: Batch) -> None:
    assert a.ids == b.ids
    assert a.labels is not None
    assert b.labels is not None
    assert torch.equal(a.labels, b.labels)
    for m in DIMS:
        assert torch.equal(a.masks[m], b.masks[m]), m
        assert torch.equal(a.values[m], b.values[m]), m


def less_padded(batch: Batch, steps: int) -> Batch:
    """The batch without its steps behind the first ``steps``, which must all be padding."""
    for m in DIMS:
        assert not batch.masks[m][:, steps:].any(), m
        assert not batch.values[m][:, steps:].any(), m
    values = {m: x[:, :steps] for m, x in batch.values.items()}
    masks = {m: mask[:, :steps] for m, mask in batch.masks.items()}
    return replace(batch, values=values, masks=masks)


def test_batches_on_a_device_have_few_shapes() -> None:
    asked = [0, 1, 8, 9, 16, 17, 57, 60]
    assert [rounded_steps(longest, 60) for longest in asked] == [1, 8, 8, 16, 16, 24, 60, 60]


@pytest.mark.parametrize("standardize", [True, False])
def test_resident_samples_give_the_same_batches(tmp_path: Path, standardize: bool) -> None:
    data = training_data(tmp_path / "data", standardize=standardize)
    resident = ResidentSamples(data, CPU)
    longest = max(int(lengths.max()) for lengths in resident.lengths.values())
    for chosen in (np.array([3]), np.array([0, 22, 7, 7]), np.arange(23)):
        expected = data.batch(chosen)
        steps = expected.masks["text"].shape[1]
        batch = resident.batch(chosen)
        assert batch.masks["text"].shape[1] == rounded_steps(steps, longest)
        assert_equal(less_padded(batch, steps), expected)
    stored = sum(table.numel() - table.shape[1] for table in resident.tables.values())
    assert ResidentSamples.size(data) == 4 * stored


def test_resident_samples_have_the_same_missing_steps(tmp_path: Path) -> None:
    samples = [lacking(sample) for sample in random_samples(23)]
    samples[5] = replace(samples[5], labels=None)
    splits = {"train": samples, "valid": random_samples(3, prefix="v")}
    write_dataset(tmp_path / "data", splits, name="x", label_names=LABELS, dims=DIMS, aligned=True)
    data = training_data(tmp_path / "data")
    assert (len(data.positions), "video5[0]" in data.train_split.ids) == (22, False)

    every = np.arange(22)
    batch = ResidentSamples(data, CPU).batch(every)
    assert_equal(batch, data.batch(every))
    for m in ("visual", "audio"):
        assert not batch.masks[m][:, 1::2].any()
        assert not batch.values[m][:, 1::2].any()
        assert torch.equal(batch.masks[m][:, ::2], batch.masks["text"][:, ::2])


def test_a_batch_prepared_ahead_is_the_one_asked_for(tmp_path: Path) -> None:
    data = training_data(tmp_path / "data")
    feeder = Feeder(data, CPU)
    assert feeder.resident is None
    assert feeder.ahead is None
    feeder.ahead = ThreadPoolExecutor(1)
    first, second, other = np.array([1, 2]), np.array([5, 6, 8]), np.array([9])
    assert_equal(feeder.batch(first, second), data.batch(first))
    assert feeder.next is not None
    assert_equal(feeder.batch(second, first), data.batch(second))
    assert_equal(feeder.batch(other), data.batch(other))  # not what was announced
    assert feeder.next is None
