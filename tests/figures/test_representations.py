"""What is collected of a model: by hand on a model whose features are known, and on a real one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from emotailor.data.batching import Batch, collate
from emotailor.data.dataset import EmotionDataset, Split
from emotailor.data.sample import Modality, Sample
from emotailor.figures.representations import (
    POINTS,
    Drawn,
    Internals,
    _Collector,
    collect,
    draw_moments,
    probe_accuracy,
)
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import CTCAligned
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.tailor.model import Tailor
from tests.helpers import DIMS, LABELS, SMALL, random_samples

TWO: dict[Modality, int] = {"visual": 2, "text": 3}


class Known(EmotionModel):
    """Representations are the features; the rest is chosen so that it can be checked by hand.

    The discriminator says "visual" with the first feature as probability. Both labels attend to
    the first step of the visual modality: the first label alone, the second half and half with the
    last place of the text, which is padding in all but the longest sample.
    """

    def __init__(self) -> None:
        super().__init__(TWO, 2)
        self.own = nn.Linear(1, 1)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        return {"classification": 1.0}

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        named = {}
        for m, x in batch.values.items():
            garbage = torch.where(batch.masks[m][..., None], x, 77.0)
            named[f"private.{m}"] = garbage
            said = garbage[..., 0]
            named[f"discriminator.private.{m}"] = torch.stack([said, 1 - said], -1)
            named[f"attention.{m}"] = torch.zeros(len(x), 1, 2, x.shape[1])
        named["attention.visual"][:, :, 0, 0] = 1.0
        named["attention.visual"][:, :, 1, 0] = 0.5
        named["attention.text"][:, :, 1, -1] = 0.5
        return ModelOutput(torch.zeros(len(batch.ids), 2), {}, named if features else {})


def known_split(*firsts: list[float], text: int | None = 1) -> Split:
    """Samples whose visual steps start with ``firsts``, and whose text has as many steps."""
    samples = []
    for i, values in enumerate(firsts):
        column = np.array(values, np.float32)[:, None]
        sequences: dict[Modality, np.ndarray] = {"visual": column.repeat(2, 1)}
        if text is not None:
            sequences["text"] = (1 - column).repeat(3, 1)
        samples.append(Sample(f"s{i}", sequences, np.array([1, 0], np.uint8)))
    dataset = EmotionDataset.from_samples(
        {"test": samples}, name="known", label_names=("a", "b"), dims=TWO, aligned=True
    )
    return dataset["test"]


def known(split: Split, **settings: Any) -> Internals:
    return collect(Known(), split, aligned=True, standardizer=None, **settings)


def test_verdicts_are_means_over_real_steps() -> None:
    found = known(known_split([0.9, 0.7], [0.2], [0.6]), batch_size=2)
    assert found.modalities == ("visual", "text")
    assert set(found.verdicts) == {"private"}
    visual, text = found.verdicts["private"]["visual"], found.verdicts["private"]["text"]
    assert visual.steps == text.steps == 4
    np.testing.assert_allclose(visual.mean, [0.6, 0.4], atol=1e-6)
    np.testing.assert_allclose(visual.std, [np.std([0.9, 0.7, 0.2, 0.6])] * 2, atol=1e-6)
    assert visual.accuracy == 3 / 4  # 0.2 says text
    np.testing.assert_allclose(text.mean, [0.4, 0.6], atol=1e-6)
    assert text.accuracy == 3 / 4
    # the lowest of four values is the 10 % quantile, the highest the 90 % one
    np.testing.assert_allclose(visual.quantiles[0], [0.2, 0.1], atol=2e-3)
    np.testing.assert_allclose(visual.quantiles[-1], [0.9, 0.8], atol=2e-3)


def test_attention_over_blocks_and_relative_time() -> None:
    found = known(known_split([0.5, 0.5, 0.5, 0.5], [0.5, 0.5]), bins=4).attention
    assert found is not None
    assert found.blocks == ("visual", "text")
    assert found.joint
    # the first label: all on the first visual step
    np.testing.assert_allclose(found.mass[0], [1, 0])
    # a step of four is the first quarter, a step of two the first half
    np.testing.assert_allclose(found.density[0, 0], [4 * 0.75, 4 * 0.25, 0, 0])
    assert np.isnan(found.density[1, 0]).all()  # it never looks at the text
    # the second: half of it on the last text place, real in the longer sample alone
    np.testing.assert_allclose(found.mass[1], [0.5, 0.25])
    np.testing.assert_allclose(found.padding, [0, 0.25])
    np.testing.assert_allclose(found.density[1, 1], [0, 0, 0, 4])
    np.testing.assert_allclose(found.even, [0.5, 0.5])


def test_a_missing_modality_adds_nothing() -> None:
    found = known(known_split([0.9], [0.3], text=None))
    assert set(found.drawn["private"]) == {"visual"}
    assert set(found.verdicts["private"]) == {"visual"}
    assert found.attention is not None
    np.testing.assert_allclose(found.attention.even, [1, 0])


def test_a_missing_step_adds_nothing_and_keeps_its_place() -> None:
    column = np.array([0.0, 0.9, 0.0, 0.7], np.float32)[:, None]
    lacks = np.array([True, False, True, False])
    sample = Sample(
        "s[0]",
        {"visual": column.repeat(2, 1), "text": np.full((4, 3), 0.5, np.float32)},
        None,
        {"visual": lacks},
    )
    collector = _Collector(Known(), 1, POINTS, 0, 4)
    collector.add(np.array([0]), collate([sample], TWO, aligned=True))
    found = collector.result()

    visual = found.verdicts["private"]["visual"]
    assert visual.steps == 2
    np.testing.assert_allclose(visual.mean, [0.8, 0.2], atol=1e-6)
    assert found.verdicts["private"]["text"].steps == 4
    drawn = found.drawn["private"]["visual"]
    assert drawn.values[:, 0].tolist() == pytest.approx([0.9, 0.7])

    # the labels look at the first visual step, which is missing, and at the last of the text
    attention = found.attention
    assert attention is not None
    np.testing.assert_allclose(attention.mass, [[0.0, 0.0], [0.0, 0.5]])
    np.testing.assert_allclose(attention.padding, [1, 0.5])
    np.testing.assert_allclose(attention.even, [1 / 3, 2 / 3])
    np.testing.assert_allclose(attention.density[1, 1], [0, 0, 0, 4])


def test_drawn_steps_are_bounded_and_real() -> None:
    split = known_split(*([i / 10, i / 10 + 0.05] for i in range(7)))
    every = known(split, points=100).drawn["private"]["visual"]
    assert every.values.shape == (14, 2)
    np.testing.assert_array_equal(every.samples, np.repeat(np.arange(7), 2))
    np.testing.assert_allclose(every.values[:, 0], np.arange(14) / 20, atol=1e-6)
    few = known(split, points=3)
    again = known(split, points=3, batch_size=2)
    for m, drawn in few.drawn["private"].items():
        assert len(drawn.samples) == 3
        np.testing.assert_array_equal(drawn.values, again.drawn["private"][m].values)
    other = known(split, points=3, seed=1).drawn["private"]["visual"]
    assert not np.array_equal(few.drawn["private"]["visual"].values, other.values)


def test_moments_are_those_of_every_model() -> None:
    chosen, moments = draw_moments(1000, 30, 5)
    assert len(set(chosen.tolist())) == 30
    assert moments.shape == (30, 1)
    chosen, moments = draw_moments(4, 30, 5)
    assert chosen.tolist() == [0, 1, 2, 3]
    assert moments.shape == (4, 7)
    assert ((moments * 7).astype(int) == np.arange(7)).all()  # one in each seventh
    np.testing.assert_array_equal(moments, draw_moments(4, 30, 5)[1])


@pytest.fixture(scope="module")
def split() -> Split:
    dataset = EmotionDataset.from_samples(
        {"test": random_samples(11, seed=3, missing=0.2)},
        name="small", label_names=LABELS, dims=DIMS, aligned=True,
    )  # fmt: skip
    return dataset["test"]


def test_tailor_shows_what_its_features_are(split: Split) -> None:
    torch.manual_seed(0)
    model = Tailor(SMALL.replace(initial_std=0.2), DIMS, len(LABELS)).eval()
    found = collect(model, split, aligned=True, standardizer=None, points=500, batch_size=4)
    assert set(found.drawn) == set(found.verdicts) == {"common", "private"}
    batch = collate(list(split), DIMS, aligned=True)
    with torch.no_grad():
        features = model(batch, features=True).features
    for kind in ("common", "private"):
        for m in DIMS:
            real, drawn = batch.masks[m], found.drawn[kind][m]
            wanted = features[f"{kind}.{m}"][real].numpy()
            np.testing.assert_allclose(drawn.values, wanted, atol=1e-5)  # 500 are all of them
            rows = np.nonzero(real.numpy())[0]
            np.testing.assert_array_equal(drawn.samples, rows)
            said = features[f"discriminator.{kind}.{m}"][real].numpy()
            verdict = found.verdicts[kind][m]
            np.testing.assert_allclose(verdict.mean, said.mean(0), atol=1e-5)
            assert verdict.steps == len(said)
    assert found.correlation is not None
    np.testing.assert_allclose(found.correlation, features["label_correlation"], atol=1e-6)
    assert found.attention is not None
    assert found.attention.blocks == ("visual", "audio", "text", "common")
    assert found.attention.joint
    np.testing.assert_allclose(found.attention.padding, 0, atol=1e-6)
    shares = [features[f"attention.{b}"].mean((0, 1)).sum(-1) for b in found.attention.blocks]
    np.testing.assert_allclose(found.attention.mass.T, torch.stack(shares), atol=1e-5)


def test_parts_taken_away_are_not_there(split: Split) -> None:
    torch.manual_seed(0)
    config = SMALL.replace(refinement="private", label_decoder="embedding", refinement_losses=())
    found = collect(Tailor(config, DIMS, 3), split, aligned=True, standardizer=None)
    assert set(found.drawn) == {"private"}
    assert found.verdicts == {}
    assert found.correlation is None


def test_behind_an_alignment_steps_are_those_of_the_text() -> None:
    rng = np.random.default_rng(0)
    lengths: dict[Modality, int] = {"visual": 9, "audio": 7, "text": 3}
    samples = [
        Sample(f"u{i}", {m: rng.normal(size=(steps, DIMS[m])).astype(np.float32)
                         for m, steps in lengths.items()}, np.array([1, 0, 1], np.uint8))
        for i in range(5)
    ]  # fmt: skip
    dataset = EmotionDataset.from_samples(
        {"test": samples}, name="long", label_names=LABELS, dims=DIMS, aligned=False
    )
    torch.manual_seed(0)
    model = CTCAligned(AlignmentConfig(target_steps=5), Tailor(SMALL, DIMS, 3))
    found = collect(model, dataset["test"], aligned=False, standardizer=None)
    for m in DIMS:
        assert found.verdicts["common"][m].steps == 5 * 3
    assert found.attention is not None
    assert np.isfinite(found.attention.density).all()
    np.testing.assert_allclose(found.attention.mass.sum(1) + found.attention.padding, 1, atol=1e-4)


def test_a_probe_tells_what_is_apart_and_no_more() -> None:
    rng = np.random.default_rng(0)
    samples = np.arange(200)
    near = {m: Drawn(rng.normal(size=(200, 3)).astype(np.float32), samples) for m in "vat"}
    far = {m: Drawn(x.values + 9 * k, samples) for k, (m, x) in enumerate(near.items())}
    guessed, told = probe_accuracy(near), probe_accuracy(far)
    assert guessed is not None
    assert abs(guessed - 1 / 3) < 0.08
    assert told == 1
    one = {m: Drawn(x.values[:1], samples[:1]) for m, x in near.items()}
    assert probe_accuracy(one) is None
    assert probe_accuracy({"v": near["v"]}) is None
