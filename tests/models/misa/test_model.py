"""What is specific to MISA: its losses by hand, its switches, the order of states, missing rows."""

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import nn

from emotailor.data.batching import Batch
from emotailor.errors import ConfigError
from emotailor.models.misa.config import Activation, MISAConfig
from emotailor.models.misa.model import ACTIVATIONS, MISA
from emotailor.training.recipe import recipe
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import batch_of

DIM = 14


def build(**changes: object) -> MISA:
    torch.manual_seed(0)
    config = MISAConfig().replace(hidden_size=DIM, feedforward_size=17, **changes)
    return MISA(config, DIMS, len(LABELS)).eval()


def batch(count: int = 6) -> Batch:
    return batch_of(random_samples(count), DIMS)


def test_sizes_and_weights_by_default() -> None:
    model = MISA(MISAConfig.paper(), {"visual": 35, "audio": 74, "text": 300}, 6)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    for m, dim in model.dims.items():
        assert shapes[f"encoders.{m}.first.ahead.0.weight_ih_l0"] == (4 * dim, dim)
        assert shapes[f"encoders.{m}.second.back.0.weight_ih_l0"] == (4 * dim, 2 * dim)
        assert shapes[f"encoders.{m}.projection.weight"] == (128, 4 * dim)
        assert shapes[f"private.{m}.weight"] == (128, 128)
    assert shapes["shared.weight"] == (128, 128)
    assert shapes["fusion.inner.weight"] == (2048, 128)
    assert shapes["head.1.weight"] == (6, 6 * 128)
    assert model.fusion.attention.attention.heads == 2
    assert model.loss_weights == {
        "classification": 1.0,
        "similarity": 1.0,
        "difference": 0.3,
        "reconstruction": 1.0,
    }


def test_the_two_faces() -> None:
    paper, authors = MISAConfig.paper(), MISAConfig.authors()
    switches = {"decoder", "head", "detach_norms", "utterance_norm"}
    changed = {n for n in MISAConfig.model_fields if getattr(paper, n) != getattr(authors, n)}
    assert changed == switches
    assert recipe("misa") == recipe("misa", "authors")
    model: Any = build(**{name: getattr(authors, name) for name in switches})
    assert len(model.decoders) == 3
    assert [type(x) for x in model.head[1:]][1:] == [nn.ReLU, nn.Linear]
    assert (model.head[0].in_features, model.head[0].out_features) == (6 * DIM, 3 * DIM)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="hidden_size 14 must be a multiple of heads 3"):
        build(heads=3)


X0 = [-2.0, -0.25, 0.25, 2.0]
ACTIVATED = {
    "elu": [math.exp(-2) - 1, math.exp(-0.25) - 1, 0.25, 2.0],
    "hardshrink": [-2.0, 0.0, 0.0, 2.0],
    "hardtanh": [-1.0, -0.25, 0.25, 1.0],
    "leaky_relu": [-0.02, -0.0025, 0.25, 2.0],
    "prelu": [-0.5, -0.0625, 0.25, 2.0],
    "relu": [0.0, 0.0, 0.25, 2.0],
    "rrelu": [-2 * 11 / 48, -0.25 * 11 / 48, 0.25, 2.0],  # the mean of 1/8 and 1/3
    "tanh": [math.tanh(x) for x in X0],
}


def test_every_activation_of_the_settings_has_numbers() -> None:
    assert set(ACTIVATED) == set(get_args(Activation)) == set(ACTIVATIONS)
    assert MISAConfig().activation == MISAConfig.authors().activation == "relu"
    with pytest.raises(ConfigError, match="swish"):
        build(activation="swish")


@pytest.mark.parametrize("name", sorted(ACTIVATED))
def test_activation_by_hand_in_all_three_places(name: str) -> None:
    model: Any = build(activation=name, similarity="adversarial", head="mlp")
    layers = [x.activation for x in model.encoders.values()]
    layers += [model.discriminator[1], model.head[2]]
    for layer in layers:
        torch.testing.assert_close(layer(torch.tensor(X0)), torch.tensor(ACTIVATED[name]))

    encoder = model.encoders["visual"]
    with torch.no_grad():
        encoder.projection.weight *= 20  # some values below -1
    seen: list[torch.Tensor] = []
    encoder.projection.register_forward_hook(lambda _m, _x, y: seen.append(y))
    encoder.projection_norm.register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    model(batch())
    before, after = seen
    torch.testing.assert_close(after, layers[0](before))
    assert not torch.equal(after, before)


def test_prelu_learns_one_slope_in_each_place() -> None:
    model = build(activation="prelu", similarity="adversarial", head="mlp").train()
    places = [f"encoders.{m}.activation.weight" for m in DIMS]
    places += ["discriminator.1.weight", "head.2.weight"]
    stored = model.state_dict()
    assert all(stored[place].tolist() == [0.25] for place in places)
    model.total_loss(model(batch())).backward()
    for place in places:
        gradient = model.get_parameter(place).grad
        assert gradient is not None, place
        assert gradient.abs() > 1e-8, place


def test_rrelu_draws_slopes_in_training_alone() -> None:
    model, views = build(activation="rrelu", dropout=0.0, fusion_dropout=0.0), batch()
    assert torch.equal(model(views).logits, model(views).logits)
    model.train()
    first, second = model(views).logits, model(views).logits
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    first = model(views).logits
    torch.manual_seed(5)
    assert torch.equal(model(views).logits, first)


def test_recurrent_weights_start_orthogonal() -> None:
    weight = build().get_parameter("encoders.audio.second.back.0.weight_hh_l0")
    assert weight.shape == (28, 7)
    torch.testing.assert_close(weight.T @ weight, torch.eye(7), atol=1e-5, rtol=0)


def test_order_of_the_states_in_the_utterance_vector() -> None:
    """First forward, second forward, first backward, second backward."""
    encoder: Any = build().encoders["visual"]
    with torch.no_grad():
        first, second = encoder.first, encoder.second
        for k, (rnn,) in enumerate([first.ahead, second.ahead, first.back, second.back]):
            for parameter in rnn.parameters():
                parameter.zero_()
            gates = rnn.bias_ih_l0.view(4, 5)  # input, forget, cell, output
            gates[0], gates[1], gates[2], gates[3] = 50.0, -50.0, 0.1 * (k + 1), 50.0
    seen: list[torch.Tensor] = []
    encoder.projection.register_forward_hook(lambda _m, x, _y: seen.append(x[0]))
    encoder(torch.randn(1, 3, 5), torch.ones(1, 3, dtype=torch.bool))
    expected = [math.tanh(math.tanh(0.1 * (k + 1))) for k in range(4)]
    torch.testing.assert_close(seen[0][0], torch.tensor(expected).repeat_interleave(5))


X, Y = [[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]


def test_difference_by_hand() -> None:
    """Unit rows along one axis: A^T B has one entry of 2, and 4 / 2^2 is 1 for each pair."""
    model, present = build(), torch.ones(2, 2, dtype=torch.bool)
    private = torch.tensor([X, Y]).transpose(0, 1)
    for shared, expected in (([X, Y], 3.0), ([Y, X], 3.0)):
        y = torch.tensor(shared).transpose(0, 1)
        assert model._difference(3 * private + 5, y, present).item() == pytest.approx(
            expected, 1e-4
        )
    constant = torch.ones(2, 2, 2)  # nothing is left after centring
    assert model._difference(private, constant, present).item() == pytest.approx(1.0, 1e-4)
    assert model._difference(constant, constant, present).item() == 0.0


def test_difference_leaves_missing_modalities_out() -> None:
    model = build()
    present = torch.tensor([[True, True], [True, True], [False, True]])
    torch.manual_seed(3)
    private, shared = torch.rand(3, 2, 5), torch.rand(3, 2, 5)
    private[2, 0], shared[2, 0] = 0.0, 0.0

    def alone(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = (z - z.mean(0) for z in (x, y))
        x, y = (z / z.norm(dim=1, keepdim=True) for z in (x, y))
        return (x.T @ y).square().mean()

    expected = (
        alone(private[:2, 0], shared[:2, 0])
        + alone(private[:, 1], shared[:, 1])
        + alone(private[:2, 0], private[:2, 1])
    )
    torch.testing.assert_close(model._difference(private, shared, present), expected)


def test_detached_norms_change_gradients_alone() -> None:
    found = {}
    present = torch.ones(3, 2, dtype=torch.bool)
    for detach in (False, True):
        torch.manual_seed(1)
        private, shared = torch.rand(3, 2, 5, requires_grad=True), torch.rand(3, 2, 5)
        loss = build(detach_norms=detach)._difference(private, shared, present)
        (gradient,) = torch.autograd.grad(loss, private)
        found[detach] = loss, gradient
    assert found[False][0] == found[True][0]
    assert (found[False][1] - found[True][1]).abs().max() > 1e-3


def test_similarity_is_the_mean_over_pairs_that_are_there() -> None:
    """CMD of {0, 1} and {1/2, 1/2} is 1/4 + 1/16; of either and {1, 1} also the means differ."""
    model = build()
    shared = torch.tensor([[0.0, 0.5, 1.0], [1.0, 0.5, 1.0]])[..., None]
    present = torch.ones(2, 3, dtype=torch.bool)
    pair = 1 / 4 + 1 / 16
    expected = (pair + (0.5 + pair) + 0.5) / 3
    assert model._similarity(shared, present).item() == pytest.approx(expected)
    present[:, 2] = False
    assert model._similarity(shared, present).item() == pytest.approx(pair)
    present[:, 1] = False
    assert model._similarity(shared, present).item() == 0.0


def test_adversarial_similarity() -> None:
    """Cross-entropy; the discriminator minimises it, what comes before is reversed and scaled."""
    gradients = {}
    for weight in (1.0, 0.25):
        model: Any = build(similarity="adversarial", reversal_weight=weight)
        output = model(batch(), features=True)
        right = [output.features[f"discriminator.{m}"][:, k] for k, m in enumerate(DIMS)]
        torch.testing.assert_close(output.losses["similarity"], -torch.stack(right).log().mean())
        output.losses["similarity"].backward()
        gradients[weight] = model.shared.weight.grad, model.discriminator[0].weight.grad
    torch.testing.assert_close(gradients[1.0][0], 4 * gradients[0.25][0])
    torch.testing.assert_close(gradients[1.0][1], gradients[0.25][1])
    before = output.losses["similarity"]
    with torch.no_grad():
        model.discriminator[0].weight -= 0.1 * gradients[0.25][1]
    assert model(batch()).losses["similarity"] < before
    with torch.no_grad():
        model.shared.weight -= 0.1 * gradients[0.25][0]
        model.discriminator[0].weight += 0.1 * gradients[0.25][1]
    assert model(batch()).losses["similarity"] > before


def test_reconstruction_by_hand() -> None:
    model: Any = build(decoder="per_modality")
    with torch.no_grad():
        for decoder in model.decoders:
            decoder.weight.zero_()
            decoder.bias.zero_()
        model.decoders[1].bias.fill_(1.0)
    output = model(batch(), features=True)
    targets = {m: output.features[f"utterance.{m}"] for m in DIMS}
    errors = [targets["visual"], targets["audio"] - 1, targets["text"]]
    expected = torch.stack([x.square().mean() for x in errors]).mean()
    torch.testing.assert_close(output.losses["reconstruction"], expected)


@pytest.mark.parametrize("similarity", ["cmd", "adversarial"])
@pytest.mark.parametrize("detach", [False, True])
def test_a_batch_of_one_has_finite_gradients(similarity: str, detach: bool) -> None:
    model = build(similarity=similarity, detach_norms=detach).train()
    output = model(batch(1))
    assert output.losses["difference"] == 0
    model.total_loss(output).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_missing_modalities_are_zero_and_not_attended() -> None:
    model, whole = build(), batch(5)
    masks = {m: x.clone() for m, x in whole.masks.items()}
    masks["audio"][2] = False
    garbage = {m: x.masked_fill(~masks[m][..., None], torch.nan) for m, x in whole.values.items()}
    output = model.train()(replace(whole, values=garbage, masks=masks), features=True)
    model.total_loss(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    features = model.eval()(replace(whole, values=garbage, masks=masks), features=True).features
    for name in ("utterance", "shared", "private", "reconstruction"):
        assert torch.equal(features[f"{name}.audio"][2], torch.zeros(DIM))
    attention = features["fusion_attention"]
    assert attention.shape == (5, 2, 6, 6)
    assert attention[2, :, :, [1, 4]].abs().max() == 0
    assert torch.equal(features["fused"][2, [1, 4]], torch.zeros(2, DIM))
    torch.testing.assert_close(
        features["fused"][:2], model(whole, features=True).features["fused"][:2]
    )


def test_a_batch_without_anything_is_finite() -> None:
    for similarity in ("cmd", "adversarial"):
        model, views = build(similarity=similarity), batch(3)
        empty = replace(views, masks={m: torch.zeros_like(x) for m, x in views.masks.items()})
        output = model(empty)
        assert torch.isfinite(output.logits).all()
        model.total_loss(output).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_masked_steps_never_happened_and_lengths_may_differ(cell: str) -> None:
    model = build(cell=cell)
    torch.manual_seed(1)
    values = {
        m: torch.randn(2, steps, dim)
        for (m, dim), steps in zip(DIMS.items(), (3, 5, 7), strict=True)
    }
    masks = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    masks["text"][:, 2] = False
    plain = model(Batch(values, masks, None, ["a", "b"])).logits
    keep = [0, 1, 3, 4, 5, 6]
    values["text"], masks["text"] = values["text"][:, keep], masks["text"][:, keep]
    torch.testing.assert_close(model(Batch(values, masks, None, ["a", "b"])).logits, plain)
    assert model.takes_unaligned


def test_utterance_norm_is_of_visual_and_audio() -> None:
    plain = batch()
    moved = {m: 7 * x + 3 for m, x in plain.values.items()}
    for norm, invariant in ((True, True), (False, False)):
        model = build(utterance_norm=norm)
        text = replace(plain, values={**plain.values, "text": moved["text"]})
        rest = replace(plain, values={**moved, "text": plain.values["text"]})
        first = model(plain).logits
        assert torch.allclose(model(rest).logits, first, atol=1e-3) == invariant
        assert not torch.allclose(model(text).logits, first, atol=1e-3)


@pytest.mark.parametrize("activation", ["relu", "prelu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite(dtype: torch.dtype, activation: str) -> None:
    model, views = build(activation=activation).train(), batch()
    with torch.autocast("cpu", dtype):
        total = model.total_loss(model(views))
    total.backward()
    assert torch.isfinite(total)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
