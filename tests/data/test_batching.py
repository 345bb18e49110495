"""Batches: padding, standardisation and the order of an epoch."""

import numpy as np
import pytest
import torch

from emotailor.data.batching import Standardizer, batches, collate, epoch_batches, split_by_steps
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Modality, Sample
from tests.helpers import DIMS, LABELS, random_samples


def test_collate_by_hand() -> None:
    dims: dict[Modality, int] = {"visual": 1, "text": 2}
    a = Sample(
        "a", {"visual": np.array([[1.0], [2.0], [3.0]], np.float32)}, np.array([1, 0], np.uint8)
    )
    b = Sample("b", {"text": np.array([[4.0, 5.0]], np.float32)}, np.array([0, 1], np.uint8))
    batch = collate([a, b], dims, aligned=False)
    assert batch.values["visual"].tolist() == [[[1], [2], [3]], [[0], [0], [0]]]
    assert batch.masks["visual"].tolist() == [[True] * 3, [False] * 3]
    assert batch.values["text"].tolist() == [[[0, 0]], [[4, 5]]]
    assert batch.masks["text"].tolist() == [[False], [True]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [[1, 0], [0, 1]]
    joint = collate([a, b], dims, aligned=True)
    assert joint.values["text"].shape == (2, 3, 2)


def test_labels_are_none_where_one_is_unknown() -> None:
    a, b = random_samples(2)
    assert collate([a, Sample("x", b.sequences)], DIMS, aligned=True).labels is None


def test_standardizer_by_hand() -> None:
    standardize = Standardizer(
        {"visual": np.array([1.0, 5.0], np.float32)}, {"visual": np.array([2.0, 0.0], np.float32)}
    )
    values = np.array([[3.0, 5.0], [-1.0, 9.0], [1000.0, 5.0]], np.float32)
    assert standardize("visual", values).tolist() == [[1, 0], [-1, 0], [10, 0]]


def test_what_float16_cannot_tell_apart_is_constant() -> None:
    """all-MiniLM-L6-v2 has such a feature: 1e-7 everywhere, and its last bit is noise."""
    statistics = {
        "text.mean": np.array([-1e-7, 1.0, 1.0, 0.0], np.float32),
        "text.std": np.array([1.3e-8, 5e-4, 2e-3, 1e-7], np.float32),
    }
    narrow = Standardizer.from_statistics(statistics, ["text"], {"text": "float16"})
    # neighbours of 1 differ by 2**-10, those of 0 by 6e-8
    assert narrow.std["text"].tolist() == pytest.approx([0, 0, 2e-3, 1e-7])
    values = np.array([[3e-7, 1.1, 1.002, 2e-7]], np.float32)
    assert narrow("text", values)[0].tolist() == pytest.approx([0, 0, 1, 2], rel=1e-3)

    wide = Standardizer.from_statistics(statistics, ["text"])
    assert wide.std["text"].tolist() == statistics["text.std"].tolist()


def test_words_are_those_of_the_samples() -> None:
    one = Sample("a", {"text": np.ones((2, 3), np.float32)}, words=["so", "great"])
    other = Sample("b", {"text": np.ones((1, 3), np.float32)})
    batch = collate([one, other], {"text": 3}, aligned=True)
    assert batch.words == [["so", "great"], None]
    assert batch.to("cpu").words == batch.words


def test_padding_stays_zero_after_standardisation() -> None:
    samples = random_samples(5)
    ones = {m: np.ones(d, np.float32) for m, d in DIMS.items()}
    batch = collate(samples, DIMS, aligned=True, standardize=Standardizer(ones, ones))
    for m in DIMS:
        assert (batch.values[m][~batch.masks[m]] == 0).all()


@pytest.mark.parametrize(("count", "size"), [(1, 4), (23, 4), (500, 3), (64, 64)])
def test_an_epoch_holds_every_position_once(count: int, size: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 61, count)
    found = epoch_batches(lengths, size, seed=3, epoch=2)
    assert sorted(np.concatenate(found).tolist()) == list(range(count))
    assert len(found) == -(-count // size)
    assert sum(len(b) != size for b in found) <= 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.arange(1, 41)
    one = epoch_batches(lengths, 4, seed=1, epoch=0)
    again = epoch_batches(lengths, 4, seed=1, epoch=0)
    assert [b.tolist() for b in one] == [b.tolist() for b in again]
    for seed, epoch in ((1, 1), (2, 0)):
        other = epoch_batches(lengths, 4, seed=seed, epoch=epoch)
        assert [b.tolist() for b in one] != [b.tolist() for b in other]


def test_batches_hold_samples_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 61, 6400)
    found = epoch_batches(lengths, 64, seed=0, epoch=0)
    padded = sum(len(b) * lengths[b].max() for b in found)
    assert padded < 1.1 * lengths.sum()


def test_parts_by_hand() -> None:
    lengths = np.array([3, 60, 10, 1, 9, 70])
    # 153 steps in 3 parts of about 51; a sample belongs where its middle lies: 35, 100, 135, ...
    assert [p.tolist() for p in split_by_steps(lengths, 60)] == [[5], [1], [2, 4, 0, 3]]
    assert [p.tolist() for p in split_by_steps(lengths, 200)] == [[5, 1, 2, 4, 0, 3]]
    # a multiple of two parts: 76.5 steps each
    assert [p.tolist() for p in split_by_steps(lengths, 200, 2)] == [[5], [1, 2, 4, 0, 3]]
    assert [p.tolist() for p in split_by_steps(np.array([4, 4, 4]), 100, 4)] == [[0], [1], [2]]


def test_every_pair_of_samples_of_one_length_meets_over_epochs() -> None:
    lengths = np.full(12, 5)
    met = np.zeros((12, 12), bool)
    for epoch in range(60):
        for batch in epoch_batches(lengths, 3, seed=0, epoch=epoch):
            met[np.ix_(batch, batch)] = True
    assert met.all()


def test_batches_of_a_split_in_order() -> None:
    samples = random_samples(7)
    data = EmotionDataset.from_samples(
        {"train": samples}, name="x", label_names=LABELS, dims=DIMS, aligned=True
    )
    split: Split = data["train"]
    found = list(batches(split, DIMS, batch_size=3, aligned=True, order=[6, 5, 4, 3, 2, 1, 0]))
    assert [len(b) for b in found] == [3, 3, 1]
    assert [i for b in found for i in b.ids] == [s.id for s in reversed(samples)]
    last = found[-1]
    steps = len(samples[0].sequences["text"])
    torch.testing.assert_close(
        last.values["text"][0, :steps], torch.from_numpy(samples[0].sequences["text"])
    )
