"""Damaged samples: by hand, and never more than was asked for."""

from dataclasses import replace

import numpy as np
import pytest

from emotailor.data.damage import HOLES, LATE, Damage, damaged, deviations_of, draw_for
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import MODALITIES, Modality, Sample
from tests.helpers import DIMS, LABELS, holed_samples, random_samples


def split_of(samples: list[Sample], *, aligned: bool = True) -> Split:
    dataset = EmotionDataset.from_samples(
        {"test": samples}, name="x", label_names=LABELS, dims=DIMS, aligned=aligned
    )
    return dataset["test"]


def spoken(steps: int) -> Sample:
    sequences: dict[Modality, np.ndarray] = {}
    for m, dim in DIMS.items():
        sequences[m] = np.arange(steps * dim, dtype=np.float32).reshape(steps, dim)
    words = [f"word{i}" for i in range(steps)]
    times: dict[Modality, np.ndarray] = {
        m: np.stack([np.arange(steps), np.arange(steps) + 1], 1).astype(float) for m in DIMS
    }
    labels = np.zeros(len(LABELS), np.uint8)
    return Sample("v[0]", sequences, labels, words=words, times=times)


def test_without() -> None:
    (found,) = damaged(split_of([spoken(5)]), Damage("without", ("visual", "text")), aligned=True)
    assert list(found.sequences) == ["audio"]
    assert (found.sequences["audio"] == spoken(5).sequences["audio"]).all()
    assert found.words == spoken(5).words  # of the steps that are left
    assert list(found.times) == ["audio"]

    (found,) = damaged(
        split_of([spoken(5)], aligned=False), Damage("without", ("text",)), aligned=False
    )
    assert found.words is None
    every = damaged(split_of([spoken(5)]), Damage("without", MODALITIES), aligned=True)
    assert [every.lengths(m).tolist() for m in MODALITIES] == [[0], [0], [0]]


def test_late() -> None:
    (found,) = damaged(split_of([spoken(5)]), Damage("late", ("audio",)), aligned=True)
    before = spoken(5).sequences["audio"]
    assert LATE == 3
    assert found.missing["audio"].tolist() == [True, True, True, False, False]
    assert (found.sequences["audio"][3:] == before[:2]).all()
    assert (found.sequences["text"] == spoken(5).sequences["text"]).all()
    assert "text" not in found.missing

    # a sample that is shorter than the delay has nothing of it left
    (short,) = damaged(split_of([spoken(2)]), Damage("late", ("audio",)), aligned=True)
    assert short.missing["audio"].all()


def test_text_that_comes_late_takes_its_words_along() -> None:
    (found,) = damaged(split_of([spoken(5)]), Damage("late", ("text",)), aligned=True)
    assert found.words is not None
    assert list(found.words)[3:] == ["word0", "word1"]
    assert found.missing["text"].tolist() == [True, True, True, False, False]
    (found,) = damaged(split_of([spoken(5)]), Damage("late", ("audio",)), aligned=True)
    assert found.words == spoken(5).words


def test_one_step_stays_at_least() -> None:
    # of two steps one is missing already: it does not count as one that stays
    samples = []
    for number in range(300):
        lacking: dict[Modality, np.ndarray] = {"text": np.array([True, False])}
        samples.append(replace(spoken(2), id=f"v[{number}]", missing=lacking))
    found = damaged(split_of(samples), Damage("holes", ("text",)), aligned=True)
    assert [sample.missing["text"].tolist() for sample in found] == [[True, False]] * 300
    assert all(sample.labels is not None and not sample.labels.any() for sample in found)

    twos = [replace(spoken(2), id=f"v[{number}]") for number in range(300)]
    gone = damaged(split_of(twos, aligned=False), Damage("holes", ("audio",)), aligned=False)
    left = gone.lengths("audio")
    assert set(left.tolist()) == {1, 2}
    # both stay with .7 * .7
    assert (left == 2).mean() == pytest.approx(0.49, abs=0.08)


def test_which_steps_are_lost_by_hand() -> None:
    sample = spoken(6)
    (found,) = damaged(split_of([sample]), Damage("holes", ("audio",)), aligned=True)
    drawn = draw_for(sample, "holes ('audio',)", 0).random(6)
    assert found.missing["audio"].tolist() == (drawn < 0.3).tolist()
    assert 0 < found.missing["audio"].sum() < 6


def test_holes() -> None:
    many = split_of([spoken(1000)])
    (found,) = damaged(many, Damage("holes", ("text",)), aligned=True)
    share = found.missing["text"].mean()
    assert abs(share - HOLES) < 0.05
    assert len(found.sequences["text"]) == 1000
    (again,) = damaged(many, Damage("holes", ("text",)), aligned=True)
    (other,) = damaged(many, Damage("holes", ("text",)), aligned=True, seed=1)
    assert (again.missing["text"] == found.missing["text"]).all()
    assert (other.missing["text"] != found.missing["text"]).any()

    # without a common clock what is lost is gone, and its words and times with it
    (gone,) = damaged(
        split_of([spoken(1000)], aligned=False), Damage("holes", ("text",)), aligned=False
    )
    assert len(gone.sequences["text"]) == 1000 - int(found.missing["text"].sum())
    first = gone.sequences["text"][:, 0] / DIMS["text"]
    assert gone.words == [f"word{int(i)}" for i in first]
    assert gone.times["text"][:, 0].tolist() == first.tolist()
    assert len(gone.sequences["audio"]) == 1000


def test_noise_is_one_deviation_of_each_feature() -> None:
    whole = split_of(random_samples(200))
    changed = damaged(whole, Damage("noise", ("visual",)), aligned=True)
    before = np.concatenate([sample.sequences["visual"] for sample in whole])
    after = np.concatenate([sample.sequences["visual"] for sample in changed])
    noise = after - before
    assert noise.std(0) == pytest.approx(before.std(0), rel=0.1)
    assert abs(noise.mean()) < 0.1
    assert deviations_of(whole, "visual") == pytest.approx(before.std(0), rel=1e-4)


def test_steps_that_were_missing_stay_so_and_the_rest_is_the_same() -> None:
    samples = holed_samples(11)
    whole = split_of(samples)
    for kind in ("noise", "holes"):
        changed = damaged(whole, Damage(kind, ("audio",)), aligned=True)
        assert list(changed.ids) == list(whole.ids)
        assert (changed.labels == whole.labels).all()
        for before, after in zip(whole, changed, strict=True):
            for m in ("visual", "text"):
                assert (m in before.sequences) == (m in after.sequences)
                if m in before.sequences:
                    assert np.array_equal(before.sequences[m], after.sequences[m])
            was = before.missing.get("audio")
            if was is not None:
                assert after.missing["audio"][was].all()
