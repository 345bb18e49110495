"""What explanations compute once instead of for every hidden step changes no number."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import Modality, Sample
from emotailor.models.adapters.bert import AdaptedLayer
from emotailor.models.adapters.config import AdapterConfig
from emotailor.nn.plain import plain_paths
from emotailor.serving.samples import _hide, _variants
from tests.helpers import DIMS, random_samples
from tests.serving.test_predictor import model_of, summing
from tests.systems import tiny_model

SHARING = {"tailor": 1e-10, "carat": 1e-6, "lddu": 1e-6}
"""System -> largest difference: in double precision, where it can compute so."""
STEPS = 7


def variants(modality: Modality, *, double: bool = True) -> Batch:
    """A sample of three modalities without each part of one."""
    rng = np.random.default_rng(4)
    sequences: dict[Modality, np.ndarray] = {}
    for m, dim in DIMS.items():
        sequences[m] = rng.normal(size=(STEPS, dim)).astype(np.float32)
    one = collate([Sample("x", sequences)], DIMS, aligned=True)
    found = _variants(one, modality, _hide(STEPS, 2))
    if not double:
        return found
    return found._mapped(lambda x: x.double() if x.is_floating_point() else x)


class Rows:
    """How many rows a module was given at each call."""

    def __init__(self, module: nn.Module) -> None:
        self.seen: list[int] = []
        module.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        first = given[0]
        self.seen.append(len(first if isinstance(first, Tensor) else first.values))


@pytest.mark.parametrize("modality", DIMS)
@pytest.mark.parametrize("name", SHARING)
def test_what_all_variants_share_is_encoded_once(name: str, modality: Modality) -> None:
    model = tiny_model(name, DIMS)
    batch = variants(modality, double=name == "tailor")
    if name == "tailor":
        model = model.double()
    assert len(batch) == STEPS + 1
    assert batch.shared == frozenset(DIMS) - {modality}
    with torch.inference_mode(), plain_paths():
        expected = model(batch).logits
    rows = {m: Rows(model.encoders[m]) for m in DIMS}
    with torch.inference_mode():
        found = model(batch).logits
    assert {m: r.seen for m, r in rows.items()} == {
        m: [STEPS + 1 if m == modality else 1] for m in DIMS
    }
    torch.testing.assert_close(found, expected, atol=SHARING[name], rtol=0)
    # else nothing was hidden
    assert (found - found[0]).abs().amax(0).min() > 1e-4


def test_a_fusion_of_what_is_shared_is_computed_once() -> None:
    model = tiny_model("tailor", DIMS).double()
    counts = {}
    for modality in DIMS:
        rows = [Rows(encoder) for encoder in model.fusion]
        with torch.inference_mode():
            model(variants(modality))
        counts[modality] = [r.seen[-1] for r in rows]
    # fused in this order: visual, audio, text, common
    many = STEPS + 1
    assert counts == {
        "visual": [many, many, many],
        "audio": [many, many, many],
        "text": [1, many, many],
    }


def test_a_training_shares_nothing() -> None:
    """What is dropped out differs from row to row."""
    model = tiny_model("tailor", DIMS).double().train()
    rows = Rows(model.encoders["visual"])
    model(variants("text"))
    assert rows.seen == [STEPS + 1]


@pytest.mark.parametrize("texts", [1, 5])
def test_adapters_in_the_weights_are_adapters_beside_them(texts: int) -> None:
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True).eval()
    adapters = AdaptedLayer(12, 20, AdapterConfig(rank=3)).eval()
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(texts, 6, 12)
    real = torch.ones(texts, 6, dtype=torch.bool)
    real[0, 4:] = False
    with torch.inference_mode():
        found = adapters(layer, x, real)
        with plain_paths():
            expected = adapters(layer, x, real)
        without = layer(x, src_key_padding_mask=~real)
    torch.testing.assert_close(found[real], expected[real], atol=2e-6, rtol=0)
    assert (found[real] - without[real]).abs().max() > 0.1


def test_steps_of_some_modalities_alone() -> None:
    predictor = summing()
    (one, *_) = random_samples(1, seed=2)
    whole = predictor.explain(one)
    part = predictor.explain(one, steps_of=("text",))
    assert part.modalities == whole.modalities
    for label in predictor.label_names:
        assert set(part.steps[label]) == {"text"}
        np.testing.assert_array_equal(part.steps[label]["text"], whole.steps[label]["text"])
    assert set(part.window) == {"text"}
    none = predictor.explain(one, steps_of=())
    assert none.steps[predictor.label_names[0]] == {}
    assert none.modalities == whole.modalities


def test_evidence_is_what_hiding_by_hand_gives() -> None:
    predictor = summing()
    (one, *_) = random_samples(1, seed=2)
    found = predictor.explain(one)
    evidence = model_of(predictor).evidence(one)
    for k, label in enumerate(predictor.label_names):
        for m, steps in evidence.items():
            assert np.isclose(found.modalities[label][m], steps[:, k].sum(), atol=1e-5)


def test_held_alone() -> None:
    predictor = summing()
    samples = random_samples(9, seed=5)
    outcomes = list(predictor.stream(samples, explain="held"))
    explained = [bool(getattr(o, "explanation", None)) for o in outcomes]
    assert explained == [bool(getattr(o, "labels", None)) for o in outcomes]
    assert any(explained)
