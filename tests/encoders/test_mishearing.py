"""Misheard samples: which step has what, by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from emotailor.data.damage import packed
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.mishearing import Heard
from emotailor.data.sample import Modality, Sample
from emotailor.encoders import mishearing
from emotailor.encoders.mishearing import misheard
from tests.encoders.tiny import Lengths

LABELS = ("happy", "sad")
SAID = ["I", "was", "???", "glad"]
HEARD = [
    Heard(None, 0), Heard("gone", 1), Heard("was", None), Heard("???", 2), Heard("glad", 3)
]  # fmt: skip
"""``I`` dropped, ``was`` replaced, ``was`` put in."""


def split_of(*samples: Sample, aligned: bool) -> Split:
    dims: dict[Modality, int] = {}
    for sample in samples:
        dims |= {m: x.shape[1] for m, x in sample.sequences.items()}
    dataset = EmotionDataset.from_samples(
        {"test": samples}, name="x", label_names=LABELS, dims=dims, aligned=aligned
    )
    return dataset["test"]


def said(words: Sequence[str], **sequences: np.ndarray) -> Sample:
    vectors = Lengths().encode([words])[0].vectors
    labels = np.array([0, 1], np.uint8)
    found: dict[Modality, np.ndarray] = {"text": vectors, **sequences}  # type: ignore[dict-item]
    return Sample("v[0]", found, labels, words=list(words))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is heard in one way."""
    monkeypatch.setattr(mishearing, "mishear", lambda *_: HEARD)


@pytest.mark.usefixtures("heard")
def test_of_text_alone_a_dropped_word_is_gone() -> None:
    split = split_of(said(SAID), aligned=True)
    (found,) = misheard(split, Lengths(), aligned=True)
    assert found.words == ["gone", "was", "???", "glad"]
    assert found.sequences["text"].tolist() == [[4, 2], [3, 1], [0, 0], [4, 1]]
    assert found.missing["text"].tolist() == [False, False, True, False]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


@pytest.mark.usefixtures("heard")
def test_aligned_modalities_keep_the_step_of_a_dropped_word_and_lack_one_that_nobody_said() -> None:
    audio = np.array([[10], [11], [12], [13], [14]], np.float32)
    sample = said([*SAID, "day"], audio=audio)
    sample = Sample(
        sample.id, sample.sequences, None, {"audio": np.array([0, 0, 0, 1, 0], np.bool_)},
        sample.words,
    )  # fmt: skip
    (found,) = misheard(split_of(sample, aligned=True), Lengths(), aligned=True)
    assert found.words == ["", "gone", "was", "???", "glad"]
    assert found.sequences["text"].tolist() == [[0, 0], [4, 2], [3, 1], [0, 0], [4, 1]]
    assert found.missing["text"].tolist() == [True, False, False, True, False]
    assert found.sequences["audio"].tolist() == [[10], [11], [0], [12], [0]]
    assert found.missing["audio"].tolist() == [False, False, True, False, True]


@pytest.mark.usefixtures("heard")
def test_unaligned_text_has_the_words_that_have_a_vector_and_no_times() -> None:
    sample = said(["I", "was", "so", "glad"], audio=np.ones((7, 3), np.float32))
    times: dict[Modality, np.ndarray] = {"text": np.zeros((4, 2)), "audio": np.ones((7, 2))}
    sample = Sample(sample.id, sample.sequences, None, {}, sample.words, times)
    (found,) = misheard(split_of(sample, aligned=False), Lengths(), aligned=False)
    assert found.words == ["gone", "was", "glad"]
    assert found.sequences["text"].tolist() == [[4, 2], [3, 1], [4, 1]]
    assert found.sequences["audio"].shape == (7, 3)
    assert list(found.times) == ["audio"]


@pytest.mark.usefixtures("heard")
def test_a_vector_of_a_whole_text_is_computed_anew() -> None:
    sample = Sample(
        "v[0]", {"text": np.zeros((1, 2), np.float32)}, about={"transcript": "I am so sad"}
    )
    (found,) = misheard(split_of(sample, aligned=True), Lengths("sentence"), aligned=True)
    # the mean of gone, was, ??? and glad
    assert found.sequences["text"].tolist() == [[11 / 4, 1]]


def test_no_text_becomes_longer_than_the_longest_and_nothing_is_heard_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = [Heard("glad", 0), Heard("day", None), Heard("I", 1)]
    monkeypatch.setattr(mishearing, "mishear", lambda words, *_: many if words else [])
    silent = Sample("w[0]", {"audio": np.ones((3, 1), np.float32)}, words=["not", "in", "text"])
    split = split_of(said(["I", "was"]), silent, aligned=True)
    first, second = misheard(split, Lengths(), aligned=True)
    assert first.words == ["glad", "day"]
    assert second == silent


def test_what_is_drawn_depends_on_the_seed_and_the_id() -> None:
    rng = np.random.default_rng(0)
    words = [f"{'a' * int(length)}" for length in rng.integers(1, 30, 200)]
    split = split_of(said(words), aligned=True)
    once, again = (misheard(split, Lengths(), aligned=True)[0] for _ in range(2))
    assert once == again
    assert once.words != words
    other = misheard(split, Lengths(), aligned=True, seed=1)[0]
    assert once.words != other.words
    renamed = packed(split, list(split), aligned=True)
    object.__setattr__(renamed, "ids", ["another"])
    assert misheard(renamed, Lengths(), aligned=True)[0].words != once.words
