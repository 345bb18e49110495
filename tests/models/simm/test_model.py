"""What is specific to SIMM: its losses by hand, its adversary, its switches, its pooled views."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.simm.config import SIMMConfig
from emotailor.models.simm.model import SIMM
from emotailor.training.recipe import recipe
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import batch_of

DIM = 13


def build(**changes: object) -> SIMM:
    torch.manual_seed(0)
    return SIMM(SIMMConfig().replace(hidden_size=DIM, **changes), DIMS, len(LABELS)).eval()


def batch(count: int = 6, missing: float = 0.0) -> Batch:
    return batch_of(random_samples(count, missing=missing), DIMS)


def test_sizes_and_weights_by_default() -> None:
    model = SIMM(SIMMConfig.paper(), {"visual": 35, "audio": 74, "text": 300}, 6)
    assert {n: tuple(p.shape) for n, p in model.named_parameters() if n.endswith("weight")} == {
        "specific.visual.weight": (64, 35),
        "specific.audio.weight": (64, 74),
        "specific.text.weight": (64, 300),
        "entry.visual.weight": (64, 35),
        "entry.audio.weight": (64, 74),
        "entry.text.weight": (64, 300),
        "shared.weight": (64, 64),
        "classifier.weight": (6, 256),
        "shared_classifier.weight": (6, 64),
        "discriminator.weight": (3, 64),
    }
    assert model.loss_weights == {
        "classification": 1.0,
        "shared_classification": 0.5,
        "adversarial": 0.5,
        "orthogonality": 0.01,
    }


def test_the_two_faces() -> None:
    paper, authors = SIMMConfig.paper(), SIMMConfig.authors()
    assert paper == SIMMConfig()
    assert authors == paper.replace(adversary="joint", orthogonality="all_pairs")
    assert recipe("simm").threshold == 0.5
    logit = torch.tensor(0.5, dtype=torch.float64)  # where the program decides
    assert recipe("simm", "authors").threshold == pytest.approx(logit.sigmoid().item())


@pytest.mark.parametrize(
    ("kind", "whole", "without_the_last"),
    [
        ("squared", 23 / 4, 19 / 3),  # 3, 3, -1, 2
        ("absolute", 9 / 4, 7 / 3),
        ("all_pairs", 76 / 8, 56 / 6),  # and, across samples, 0, 6, 1, 4
    ],
)
def test_orthogonality_by_hand(kind: str, whole: float, without_the_last: float) -> None:
    model = build(orthogonality=kind)
    specific = torch.tensor([[[1.0, 2.0], [3.0, 0.0]], [[0.0, 1.0], [2.0, 2.0]]])
    shared = torch.tensor([[1.0, 1.0], [2.0, -1.0]])
    present = torch.ones(2, 2, dtype=torch.bool)
    assert model._orthogonality(specific, shared, present).item() == pytest.approx(whole)
    specific[1, 1], present[1, 1] = 0.0, False
    assert model._orthogonality(specific, shared, present).item() == pytest.approx(without_the_last)


def test_confusion_by_hand() -> None:
    """The geometric mean of the probabilities of the right views; 1/3 from a blind D."""
    model = build()
    with torch.no_grad():
        model.discriminator.weight.zero_()
        model.discriminator.bias.zero_()
    assert model(batch()).losses["adversarial"].item() == pytest.approx(1 / 3)
    with torch.no_grad():
        model.discriminator.bias[0] = math.log(2)  # probabilities 1/2, 1/4, 1/4
    expected = (1 / 2 * 1 / 4 * 1 / 4) ** (1 / 3)
    assert model(batch()).losses["adversarial"].item() == pytest.approx(expected)


def test_only_the_papers_discriminator_learns_to_be_right() -> None:
    gradients = {}
    for adversary in ("reversal", "joint"):
        model = build(adversary=adversary)
        model(batch()).losses["adversarial"].backward()
        gradients[adversary] = {n: p.grad for n, p in model.named_parameters()}
    for name, paper in gradients["reversal"].items():
        program = gradients["joint"][name]
        if not name.startswith(("discriminator", "shared.", "entry")):
            assert paper is None
        else:
            assert paper is not None
            assert program is not None
            sign = -1.0 if name.startswith("discriminator") else 1.0
            torch.testing.assert_close(paper, sign * program)
    model, views = build(), batch()
    before = model(views).losses["adversarial"]
    before.backward()
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.1 * parameter.grad)
    assert model(views).losses["adversarial"] > before  # the right views are more probable


def test_shared_labels_are_predicted_from_each_view() -> None:
    model, views = build(), batch()
    output = model(views, features=True)
    assert views.labels is not None
    terms = []
    for m in DIMS:
        p = output.features[f"shared_logits.{m}"].sigmoid()
        y = views.labels
        terms.append(-(y * p.log() + (1 - y) * (1 - p).log()).mean())
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(output.losses["shared_classification"], expected)


TWO: dict[Modality, int] = {"audio": 2, "text": 3}


def two_views(**changes: object) -> tuple[SIMM, Batch]:
    """A model of two views of width 2, with weights by hand, and two samples of one step each."""
    model: Any = SIMM(SIMMConfig().replace(hidden_size=2, **changes), TWO, 1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.specific["audio"].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        model.specific["text"].weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        model.entry["audio"].weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
        model.entry["text"].weight.copy_(torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]]))
        model.shared.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    values: dict[Modality, torch.Tensor] = {
        "audio": torch.tensor([[[1.0, 2.0]], [[3.0, -1.0]]]),
        "text": torch.tensor([[[0.0, 1.0, 3.0]], [[1.0, 2.0, -4.0]]]),
    }
    masks = {m: torch.ones(2, 1, dtype=torch.bool) for m in TWO}
    return model, Batch(values, masks, torch.tensor([[1.0], [0.0]]), ["a", "b"])


# s^audio = [1 2], [3 0]; s^text = [0 3], [1 0]
# c^audio = [2 -4], [6 0]; c^text = [2 0], [4 -2]; c = [2 -2], [5 -1]
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("squared", (2**2 + 6**2 + 15**2 + 5**2) / 4),  # s.c: -2, -6; 15, 5
        ("absolute", (2 + 6 + 15 + 5) / 4),
        ("all_pairs", (2**2 + 6**2 + 15**2 + 5**2 + 3**2 + 3**2 + 6**2 + 2**2) / 8),
    ],
)
def test_two_views_by_hand(kind: str, expected: float) -> None:
    model, views = two_views(orthogonality=kind)
    output = model(views, features=True)
    torch.testing.assert_close(output.features["shared"], torch.tensor([[2.0, -2], [5, -1]]))
    torch.testing.assert_close(output.features["specific.text"], torch.tensor([[0.0, 3], [1, 0]]))
    assert output.losses["orthogonality"].item() == pytest.approx(expected)
    assert output.losses["adversarial"].item() == pytest.approx(1 / 2)  # a blind D, two classes
    assert output.losses["classification"].item() == pytest.approx(math.log(2))
    assert model.loss_weights["orthogonality"] == 0.01


def test_two_views_have_two_parts_and_two_classes() -> None:
    model, views = two_views()
    assert model.classifier.weight.shape == (1, 3 * 2)
    assert model.discriminator.weight.shape == (2, 2)
    with torch.no_grad():
        # reads [s^audio; s^text; c]
        model.classifier.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 0.0, 0.5, 0.0]]))
        model.discriminator.bias[0] = math.log(3)  # probabilities 3/4 and 1/4
    output = model(views)
    torch.testing.assert_close(output.logits, torch.tensor([[22.0], [105.5]]))
    assert output.losses["adversarial"].item() == pytest.approx((3 / 4 * 1 / 4) ** (1 / 2))


def test_missing_views_are_left_out() -> None:
    model, whole = build(), batch(5)
    masks = {m: x.clone() for m, x in whole.masks.items()}
    masks["audio"][2] = False
    output = model(replace(whole, masks=masks), features=True)
    features, there = output.features, (features_of(model, whole))
    assert torch.equal(features["specific.audio"][2], torch.zeros(DIM))
    rest = (there["shared.visual"][2] + there["shared.text"][2]) / 2
    torch.testing.assert_close(features["shared"][2], rest)
    torch.testing.assert_close(features["shared"][:2], there["shared"][:2])


def features_of(model: SIMM, views: Batch) -> dict[str, torch.Tensor]:
    return dict(model(views, features=True).features)


def test_a_batch_without_anything_is_finite() -> None:
    model, views = build(), batch(3)
    empty = replace(views, masks={m: torch.zeros_like(x) for m, x in views.masks.items()})
    output = model(empty)
    assert torch.isfinite(output.logits).all()
    assert output.losses["orthogonality"] == 0
    model.total_loss(output).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_views_are_means_over_real_steps() -> None:
    """Order does not matter, masked steps never happened, and lengths may differ."""
    model = build()
    torch.manual_seed(1)
    lengths = {"visual": 3, "audio": 5, "text": 7}
    values = {m: torch.randn(2, lengths[m], dim) for m, dim in DIMS.items()}
    masks = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    masks["text"][:, 2] = False
    plain = model(Batch(values, masks, None, ["a", "b"])).logits
    keep = [6, 0, 3, 1, 5, 4]
    values["text"], masks["text"] = values["text"][:, keep], masks["text"][:, keep]
    torch.testing.assert_close(model(Batch(values, masks, None, ["a", "b"])).logits, plain)
    assert model.takes_unaligned


def test_half_precision_is_finite() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        for kind in ("squared", "all_pairs"):
            model, views = build(orthogonality=kind), batch()
            large = replace(views, values={m: 10 * x for m, x in views.values.items()})
            with torch.autocast("cpu", dtype):
                total = model.total_loss(model(large))
            total.backward()
            assert torch.isfinite(total)
            for parameter in model.parameters():
                assert parameter.grad is not None
                assert torch.isfinite(parameter.grad).all()
