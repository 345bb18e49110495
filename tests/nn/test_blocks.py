"""The shared blocks against hand-computed values and torch's own layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from emotailor.nn import dropout_attention
from emotailor.nn.adversarial import reverse_gradient, squared_overlap, step_cross_entropy
from emotailor.nn.attention import MultiHeadAttention, additive, attendable, split_heads
from emotailor.nn.dropout import KeepWeights, draw_seed
from emotailor.nn.encoder import CrossModalEncoder, SequenceEncoder, Stream, TransformerShape

SHAPE = TransformerShape(size=12, feedforward=17, heads=3, dropout=0.0, eps=1e-12)


def test_attention_equals_torchs_own_layer() -> None:
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(12, 3, 0.0), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = (
        ours.in_proj.weight.data,
        ours.in_proj.bias.data,
    )
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    queries, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 4:] = False
    out, weights = ours(queries, memory, mask, need_weights=True)
    expected, expected_weights = theirs(
        queries, memory, memory, key_padding_mask=~mask, average_attn_weights=False
    )
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(weights, expected_weights)


def test_one_query_batch_serves_every_row_of_memory() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, 0.0)
    queries, memory = torch.randn(1, 5, 12), torch.randn(2, 7, 12)
    once, _ = attention(queries, memory)
    repeated, _ = attention(queries.repeat(2, 1, 1), memory)
    torch.testing.assert_close(once, repeated)


def test_a_bias_in_place_of_a_mask() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, 0.0)
    queries, memory = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    bias = additive(attendable(mask), torch.float32)[:, None, None]
    masked, weights = attention(queries, memory, mask, need_weights=True)
    biased, same_weights = attention(queries, memory, bias=bias, need_weights=True)
    torch.testing.assert_close(masked, biased)
    torch.testing.assert_close(weights, same_weights)
    # in a batch of one too, whose queries might serve any memory
    alone, _ = attention(queries[1:], memory[1:], bias=bias[1:])
    torch.testing.assert_close(alone, biased[1:])


def test_heads_are_parts_of_the_width() -> None:
    x = torch.arange(12.0).view(1, 2, 6)  # two steps of three heads of two
    assert split_heads(x, 3)[0].tolist() == [
        [[0, 1], [6, 7]],
        [[2, 3], [8, 9]],
        [[4, 5], [10, 11]],
    ]


@pytest.mark.parametrize("chunk", [1, 60, 2**18])
def test_attention_with_dropout_and_its_written_out_gradient(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same masks, drawn again, in plain operations."""
    monkeypatch.setattr(dropout_attention, "CHUNK", chunk)
    torch.manual_seed(0)
    attention = MultiHeadAttention(12, 3, 0.4)
    x = torch.randn(2, 5, 12, requires_grad=True)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    weights = torch.randn(2, 5, 12)
    torch.manual_seed(7)
    out, _ = attention(x, None, mask)
    found = torch.autograd.grad((out * weights).sum(), [x, *attention.parameters()])
    torch.manual_seed(7)
    source = KeepWeights(0.4, draw_seed())
    rows = max(1, chunk // 25)
    keep = torch.cat([source.draw((min(rows, 6 - i), 5, 5)) for i in range(0, 6, rows)])
    q, k, v = (
        part.view(2, 5, 3, 4).transpose(1, 2) for part in attention.in_proj(x).chunk(3, dim=-1)
    )
    scores = (q @ k.mT / 2).masked_fill(~mask[:, None, None, :], -torch.inf)
    mixed = (scores.softmax(-1) * keep.view(2, 3, 5, 5)) @ v
    plain = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, plain)
    expected = torch.autograd.grad((plain * weights).sum(), [x, *attention.parameters()])
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert (keep == 0).float().mean().item() == pytest.approx(0.4, abs=0.15)


def test_attention_to_nothing_is_finite_with_finite_gradients() -> None:
    attention = MultiHeadAttention(12, 3, 0.0)
    x = torch.randn(2, 5, 12, requires_grad=True)
    mask = torch.tensor([[True] * 5, [False] * 5])
    out, _ = attention(x, None, mask)
    out.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(out).all()
    assert torch.isfinite(x.grad).all()


def test_reversed_gradient_by_hand() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = (reverse_gradient(x) * torch.tensor([3.0, 5.0])).sum()
    assert y.item() == 13.0
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-3.0, -5.0]


def test_step_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)], [7.0, 7.0]]])  # (1, 2, 2)
    mask = torch.tensor([[True, False]])
    assert step_cross_entropy(logits, 1, mask).item() == pytest.approx(math.log(4 / 3))
    assert step_cross_entropy(logits, 0, mask).item() == pytest.approx(math.log(4))
    both = (math.log(4 / 3) + math.log(2)) / 2
    assert step_cross_entropy(logits, 1, None).item() == pytest.approx(both)


def test_squared_overlap_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0]], [[0.0, 1.0]]])  # (B 2, T 1, d 2)
    y = torch.tensor([[[3.0, 4.0]], [[5.0, 0.0]]])
    assert squared_overlap(x, y).item() == ((3 + 8) ** 2 + 0) / 2


@pytest.mark.parametrize(("steps", "size"), [(11, 3), (3, 11)])
def test_squared_overlap_is_the_same_whichever_product_is_formed(steps: int, size: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, steps, size).double(), torch.randn(2, steps + 2, size).double()
    expected = sum(torch.linalg.matrix_norm(a @ b.T) ** 2 for a, b in zip(x, y, strict=True)) / 2
    torch.testing.assert_close(squared_overlap(x, y), expected)


def test_encoder_layer_equals_torchs_own_layer() -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(7, SHAPE, layers=1, max_steps=13).eval()
    theirs = nn.TransformerEncoderLayer(
        12, 3, 17, dropout=0.0, activation=F.gelu, layer_norm_eps=1e-12, batch_first=True
    )
    layer = encoder.layers[0]
    names = {
        "self_attn.in_proj_": "attention.attention.in_proj.",
        "self_attn.out_proj.": "attention.attention.out_proj.",
        "linear1.": "feedforward.inner.",
        "linear2.": "feedforward.outer.",
        "norm1.": "attention.norm.",
        "norm2.": "feedforward.norm.",
    }
    state = {
        theirs_name + kind: layer.state_dict()[ours_name + kind]
        for theirs_name, ours_name in names.items()
        for kind in ("weight", "bias")
    }
    theirs.load_state_dict(state)
    x, mask = torch.randn(2, 5, 12), torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(layer(x, mask), theirs.train()(x))


def test_positions_of_a_joined_block_do_not_depend_on_padding() -> None:
    torch.manual_seed(0)
    encoder = CrossModalEncoder(SHAPE, 1, 26, tokens=True).eval()
    a, b = torch.randn(2, 4, 12), torch.randn(2, 3, 12)
    full = torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    short = encoder(Stream.start("a", a, full[0], 13), Stream.start("b", b, full[1], 13))
    padded_a, padded_mask = F.pad(a, (0, 0, 0, 5)), F.pad(full[0], (0, 5))
    long = encoder(Stream.start("a", padded_a, padded_mask, 13), Stream.start("b", b, full[1], 13))
    assert short.blocks == (("a", 4), ("b", 3))
    assert long.blocks == (("a", 9), ("b", 3))
    assert long.positions.tolist() == [*range(9), 13, 14, 15]
    torch.testing.assert_close(short.values[:, :4], long.values[:, :4])
    torch.testing.assert_close(short.values[:, 4:], long.values[:, 9:])
