"""The contract: ragged sequences, splits addressed by position, samples checked on the way in."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotailor.data.dataset import EmotionDataset, Ragged, Shard, Split
from emotailor.data.sample import EMOTIONS, Modality, Sample, canonical_label
from emotailor.errors import DataError

DIMS: dict[Modality, int] = {"visual": 2, "audio": 3, "text": 5}
LABELS = ("happy", "sad", "proud")


def sequence(steps: int, dim: int, start: float = 0) -> np.ndarray:
    return (start + np.arange(steps * dim)).reshape(steps, dim).astype(np.float32)


def build(samples: list[Sample], *, aligned: bool = False) -> EmotionDataset:
    return EmotionDataset.from_samples(
        {"train": samples}, name="x", label_names=LABELS, dims=DIMS, aligned=aligned
    )


def sample(name: str = "a", labels: Any = (0, 1, 0), **sequences: Any) -> Sample:
    given_sequences: dict[Any, Any] = sequences or {"text": sequence(7, 5)}
    return Sample(name, given_sequences, np.array(labels, np.uint8))


@pytest.mark.parametrize(
    ("given_name", "canonical"),
    [
        ("anger", "angry"), ("Happiness", "happy"), (" SAD ", "sad"), ("fear", "fear"),
        ("surprised", "surprise"), ("Proud", "Proud"), ("fearful", "fear"),
    ],
)  # fmt: skip
def test_canonical_labels(given_name: str, canonical: str) -> None:
    assert canonical_label(given_name) == canonical
    assert all(canonical_label(name) == name for name in EMOTIONS)


@given(st.lists(st.one_of(st.none(), st.integers(0, 7)), max_size=11))
def test_ragged_gives_back_what_was_packed(lengths: list[int | None]) -> None:
    sequences = [None if n is None else sequence(n, 3, 100 * i) for i, n in enumerate(lengths)]
    ragged = Ragged.pack(sequences, 3)
    assert len(ragged) == len(lengths)
    assert ragged.lengths.tolist() == [n or 0 for n in lengths]
    assert ragged.values.shape == (sum(n or 0 for n in lengths), 3)
    for found, packed in zip((ragged[i] for i in range(len(ragged))), sequences, strict=True):
        np.testing.assert_array_equal(found, np.zeros((0, 3)) if packed is None else packed)


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=5))
def test_a_split_of_several_shards_is_one_sequence_of_samples(shards: list[list[int]]) -> None:
    lengths = [n for shard in shards for n in shard]
    sequences = [sequence(n, 2, 10 * i) for i, n in enumerate(lengths)]
    packed, start = [], 0
    for shard in shards:
        part = Ragged.pack(sequences[start : start + len(shard)], 2)
        packed.append(Shard({"visual": part}, len(shard)))
        start += len(shard)
    ids = [str(i) for i in range(len(lengths))]
    split = Split("train", ids, np.zeros((len(ids), 3), np.uint8), packed)
    assert len(split) == len(lengths)
    assert split.lengths("visual").tolist() == lengths if lengths else not len(split)
    assert [s.id for s in split] == ids
    for i, expected in enumerate(sequences):
        np.testing.assert_array_equal(split.sequence("visual", i), expected)
        assert split.index_of(str(i)) == i


def test_samples_hold_the_modalities_they_have() -> None:
    split = build(
        [
            sample("a", visual=sequence(7, 2), text=sequence(3, 5)),
            sample("b", (1, 0, 1), audio=sequence(11, 3), text=sequence(0, 5)),
        ]
    )["train"]
    assert split.modalities == ("visual", "audio", "text")
    assert list(split.sample(0).sequences) == ["visual", "text"]
    assert list(split.sample(1).sequences) == ["audio"]
    assert split.sequence("text", 1).shape == (0, 5)
    assert split.present("text").tolist() == [True, False]
    assert split.lengths("audio").tolist() == [0, 11]
    assert split.labels.tolist() == [[0, 1, 0], [1, 0, 1]]


def test_what_is_not_there_is_named() -> None:
    dataset = build([sample("a")])
    with pytest.raises(DataError, match=r"no split 'test'[\s\S]*train"):
        dataset["test"]
    with pytest.raises(DataError, match=r"no sample 'z'[\s\S]*'a'"):
        dataset["train"].index_of("z")
    for index in (-1, 1):
        with pytest.raises(IndexError):
            dataset["train"].sample(index)


def test_a_data_set_knows_its_shape() -> None:
    dataset = build([sample("a")])
    assert dataset.label_names == LABELS
    assert dataset.dims == DIMS
    assert dataset.modalities == ("visual", "audio", "text")
    assert dataset.aligned is False


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample("a"), sample("a")], r"'a' of split 'train': its id already occurs"),
        ([sample("a", (0, 1))], r"labels \[0, 1\][\s\S]*happy, sad, proud"),
        ([sample("a", (0, 2, 0))], r"labels \[0, 2, 0\]"),
        ([sample("a", ())], r"labels \[\][\s\S]*None where"),
        ([sample("a", text=sequence(7, 3))], r"text is float32 of shape \(7, 3\)[\s\S]*5\)"),
        ([sample("a", text=sequence(0, 5))], "it has no modality"),
        ([sample("a", text=sequence(2, 5), visual=sequence(3, 2))], "in an aligned data set"),
    ],
)
def test_samples_that_do_not_fit(samples: list[Sample], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(samples, aligned=True)


def test_an_aligned_set_allows_missing_modalities() -> None:
    both = sample("a", text=sequence(3, 5), visual=sequence(3, 2))
    one = sample("b", visual=sequence(7, 2))
    assert build([both, one], aligned=True)["train"].lengths("text").tolist() == [3, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_names": ("a", "a")}, "label names"),
        ({"dims": {}}, "modalities and dims"),
        ({"dims": {"text": 0}}, "modalities and dims"),
    ],
)
def test_declarations_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    declared = {"name": "x", "label_names": LABELS, "dims": DIMS, "aligned": False}
    with pytest.raises(DataError, match=message):
        EmotionDataset.from_samples({"train": []}, **{**declared, **changes})
