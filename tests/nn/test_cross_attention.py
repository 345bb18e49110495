"""Directional cross-modal Transformers: positions, masks, attention, residuals."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from emotailor.nn.attention import MultiHeadAttention
from emotailor.nn.cross_attention import (
    CrossLayer,
    CrossModalNetwork,
    CrossShape,
    CrossTransformer,
    embed,
    initialise,
    key_bias,
    sinusoids,
)

SHAPE = CrossShape(
    size=6, heads=2, layers=2, embedding_dropout=0.0, relu_dropout=0.0, residual_dropout=0.0
)


def prefix(lengths: list[int], steps: int) -> torch.Tensor:
    return torch.arange(steps) < torch.tensor(lengths)[:, None]


def test_positions_by_hand() -> None:
    found = sinusoids(3, 5)
    for t in (1, 2, 3):
        slow = t * 1e-4
        expected = [math.sin(t), math.sin(slow), math.cos(t), math.cos(slow), 0.0]
        torch.testing.assert_close(found[t - 1], torch.tensor(expected))


def test_embedding_scales_adds_positions_and_clears_masked_steps() -> None:
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    x[0, 1, 0] = 0
    mask = prefix([3, 2], 3)
    plain = embed(x, mask, zero_frames=False)
    torch.testing.assert_close(plain[0], 2 * x[0] + sinusoids(3, 4))
    assert plain[1, 2].abs().max() == 0
    ruled = embed(x, mask, zero_frames=True)
    torch.testing.assert_close(ruled[0, 1], 2 * x[0, 1])
    torch.testing.assert_close(ruled[:, [0, 2]], plain[:, [0, 2]])


def test_the_future_mask_is_offset_by_the_true_lengths() -> None:
    queries, keys = prefix([3, 2, 2], 3), prefix([4, 3, 0], 5)
    seen = key_bias(queries, keys, future_mask=True)[:, 0] == 0
    assert seen[0].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    assert seen[1].int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    assert seen[2].any(-1).all()  # nothing to see: a softmax over nothing would be NaN
    longer = key_bias(prefix([4], 4), prefix([2], 2), future_mask=True)[0, 0] == 0
    assert longer.all()  # the offset is the absolute difference
    plain = key_bias(queries, keys, future_mask=False)[:, 0, 0] == 0
    assert plain.int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_the_future_mask_counts_places_and_never_hides_every_key() -> None:
    # lengths count up to the last real step: three queries, keys of one, three and no steps
    keys = torch.tensor([[True, False, False], [False, False, True], [False, False, False]])
    queries = torch.tensor([[True, False, True], [True, True, True], [True, False, False]])
    seen = key_bias(queries, keys, future_mask=True)[:, 0] == 0
    assert seen[0].int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    # the first two queries see no real key, so they see masked ones, but none of the future
    assert seen[1].int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert seen[2].int().tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("last_only", [False, True])
def test_a_source_with_masked_steps_is_the_embedded_source_without_them(last_only: bool) -> None:
    torch.manual_seed(0)
    model = CrossTransformer(SHAPE, 0.0)
    x, mask = torch.randn(2, 5, 6), torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).bool()
    source, left = torch.randn(2, 4, 6), [1, 3]
    source_mask = torch.tensor([[False, True, False, True]] * 2)
    embedded = embed(source, source_mask, zero_frames=False)
    torch.testing.assert_close(
        embedded[:, left], math.sqrt(6) * source[:, left] + sinusoids(4, 6)[left]
    )
    found, _ = model(x, mask, embedded, source_mask, last_only=last_only)
    cut, _ = model(x, mask, embedded[:, left], source_mask[:, left])
    if last_only:
        cut = cut[torch.arange(2), [3, 4]][:, None]
    torch.testing.assert_close(found, cut)


def test_attention_by_hand() -> None:
    attention = MultiHeadAttention(2, 1, 0.0).eval()
    initialise(attention.in_proj, attention.out_proj)  # no biases
    with torch.no_grad():
        attention.in_proj.weight.copy_(torch.eye(2).repeat(3, 1))
        attention.out_proj.weight.copy_(2 * torch.eye(2))
    queries = torch.tensor([[[math.sqrt(2) * math.log(3), 0.0]]])
    source = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    bias = torch.tensor([0.0, 0.0, -math.inf])[None, None, None]
    read, weights = attention(queries, source, bias=bias, need_weights=True)
    torch.testing.assert_close(weights[0, 0, 0], torch.tensor([0.75, 0.25, 0.0]))
    torch.testing.assert_close(read[0, 0], torch.tensor([1.5, 0.5]))
    fused, nothing = attention(queries, source, bias=bias)
    torch.testing.assert_close(fused, read)
    assert nothing is None


def test_self_attention_is_attention_to_oneself() -> None:
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(6, 3, 0.0).eval(), torch.randn(2, 5, 6)
    bias = key_bias(prefix([5, 3], 5), prefix([5, 3], 5), future_mask=True)
    torch.testing.assert_close(attention(x, bias=bias)[0], attention(x, x, bias=bias)[0])


def test_dropout_is_on_the_attention_weights_and_only_in_training() -> None:
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(6, 3, 0.5), torch.randn(2, 5, 6)
    bias = torch.zeros(2, 1, 1, 5)
    drawn = torch.stack([attention.train()(x, bias=bias)[0] for _ in range(400)])
    assert drawn.std(0).min() > 0.01
    exact = attention.eval()(x, bias=bias)[0]
    torch.testing.assert_close(drawn.mean(0), exact, atol=0.1, rtol=0)


@pytest.mark.parametrize("residual", ["stream", "normalised"])
def test_what_each_part_is_added_to(residual: str) -> None:
    layer = CrossLayer(
        CrossShape(6, 2, 1, 0.0, 0.0, 0.0, residual=residual),  # type: ignore[arg-type]
        0.0,
    )
    for linear in (layer.attention.out_proj, layer.outer):
        torch.nn.init.zeros_(linear.weight)
    x = 3 + torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    found, _ = layer(x, None, torch.zeros(2, 1, 1, 5))
    twice = F.layer_norm(F.layer_norm(x, (6,)), (6,))
    torch.testing.assert_close(found, x if residual == "stream" else twice)


@pytest.mark.parametrize("future_mask", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_the_last_step_alone_is_the_last_step_of_all(future_mask: bool, cross: bool) -> None:
    torch.manual_seed(0)
    shape = CrossShape(6, 2, 2, 0.0, 0.0, 0.0, future_mask=future_mask)
    model = CrossTransformer(shape, 0.0)
    x, mask = torch.randn(3, 5, 6), prefix([5, 2, 4], 5)
    given = (torch.randn(3, 7, 6), prefix([3, 7, 1], 7)) if cross else ()
    whole, _ = model(x, mask, *given)
    last, _ = model(x, mask, *given, last_only=True)
    torch.testing.assert_close(last[:, 0], whole[torch.arange(3), torch.tensor([4, 1, 3])])


def network() -> CrossModalNetwork:
    torch.manual_seed(0)
    rates = dict.fromkeys(("text", "audio", "visual"), 0.0)
    return CrossModalNetwork(("text", "audio", "visual"), SHAPE, 1, rates, rates).eval()


def test_every_ordered_pair_has_a_transformer_and_every_target_a_memory() -> None:
    model = network()
    assert list(model.cross) == [
        "text_from_audio", "text_from_visual", "audio_from_text",
        "audio_from_visual", "visual_from_text", "visual_from_audio",
    ]  # fmt: skip
    streams = {m: torch.randn(2, t, 6) for m, t in zip(model.names, (3, 5, 7), strict=True)}
    masks = {m: prefix([2, x.shape[1]], x.shape[1]) for m, x in streams.items()}
    memories, weights = model(streams, masks, need_weights=True)
    assert {m: x.shape for m, x in memories.items()} == {
        "text": (2, 3, 12), "audio": (2, 5, 12), "visual": (2, 7, 12)
    }  # fmt: skip
    assert weights["audio_from_visual"].shape == (2, 2, 5, 7)
    assert weights["audio_from_visual"][0, ..., 2:].abs().max() == 0


def test_a_missing_source_sends_every_step_the_same_learned_message() -> None:
    model: Any = network()
    attention = model.cross["text_from_audio"].layers[0].attention
    torch.nn.init.normal_(attention.in_proj.bias)
    seen: list[torch.Tensor] = []
    attention.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    streams = {m: torch.randn(1, 3, 6) for m in model.names}
    masks = {m: prefix([0 if m == "audio" else 3], 3) for m in model.names}
    first, _ = model(streams, masks)
    torch.testing.assert_close(seen[0], seen[0][:, :1].expand(1, 3, 6))
    # neither the values nor the amount of padding matter
    streams["audio"], masks["audio"] = torch.randn(1, 8, 6), prefix([0], 8)
    again, _ = model(streams, masks)
    torch.testing.assert_close(first["text"], again["text"])
    assert all(torch.isfinite(x).all() for x in first.values())
