"""MulT: sizes of the paper, switches, convolutions, masks with holes, missing modalities."""

from typing import Any

import pytest
import torch

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError
from emotailor.models.mult.config import MulTConfig
from emotailor.models.mult.model import MulT
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import padded

REAL: dict[Modality, int] = {"visual": 35, "audio": 74, "text": 300}
SMALL = MulTConfig(
    hidden_size=6, heads=3, layers=1, memory_layers=2, visual_kernel=3, text_kernel=5
)
STEPS: dict[Modality, int] = {"visual": 7, "audio": 11, "text": 5}


def build(seed: int = 0, dims: dict[Modality, int] = DIMS, **changes: Any) -> MulT:
    torch.manual_seed(seed)
    return MulT(SMALL.replace(**changes), dims, len(LABELS)).eval()


def unaligned(count: int = 3, lengths: dict[Modality, list[int]] | None = None) -> Batch:
    """Sequences of different lengths, each modality padded by itself."""
    generator = torch.Generator().manual_seed(1)
    values = {m: torch.randn(count, STEPS[m], DIMS[m], generator=generator) for m in MODALITIES}
    masks = {
        m: torch.arange(STEPS[m])
        < torch.tensor((lengths or {}).get(m, [STEPS[m]] * count))[:, None]
        for m in MODALITIES
    }
    labels = torch.randint(0, 2, (count, len(LABELS)), generator=generator).float()
    return Batch(values, masks, labels, [str(i) for i in range(count)])


def test_sizes_of_the_paper_and_of_the_program() -> None:
    model: Any = MulT(MulTConfig.paper(), REAL, 6)
    assert len(model.network.cross) == 6
    assert [len(x.layers) for x in model.network.cross.values()] == [4] * 6
    assert [x.shape.size for x in model.network.memories.values()] == [80] * 3
    assert {m: tuple(x.conv.weight.shape) for m, x in model.projections.items()} == {
        "text": (40, 300, 3), "audio": (40, 74, 3), "visual": (40, 35, 3)
    }  # fmt: skip
    assert model.block[0].in_features == 240
    assert model.network.cross["text_from_audio"].layers[0].attention.heads == 8
    theirs = MulTConfig.authors()
    assert (theirs.hidden_size, theirs.heads, theirs.layers, theirs.text_kernel) == (30, 5, 5, 1)


def test_dropout_of_attention_depends_on_the_source() -> None:
    network: Any = MulT(MulTConfig.authors(), REAL, 6).network
    rates = {name: x.layers[0].attention.dropout for name, x in network.cross.items()}
    assert {n: r for n, r in rates.items() if r} == {
        "audio_from_text": 0.1,
        "visual_from_text": 0.1,
    }
    assert {x.layers[0].attention.dropout for x in network.memories.values()} == {0.1}


def test_logits_and_loss_by_hand() -> None:
    model, batch = build(), unaligned()
    output = model(batch, features=True)
    summary = output.features["summary"]
    assert summary.shape == (3, 6 * 6)
    inner, outer = model.block[0], model.block[3]
    hidden = outer(inner(summary).clamp(min=0)) + summary
    torch.testing.assert_close(output.logits, model.classifier(hidden))
    p, y = output.logits.sigmoid(), batch.labels
    assert y is not None
    by_hand = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(output.losses["classification"], by_hand)
    torch.testing.assert_close(model(batch).logits, output.logits)  # which computes less
    for k, m in enumerate(("text", "audio", "visual")):
        last = output.features[f"memory.{m}"][:, -1]
        torch.testing.assert_close(summary[:, 12 * k : 12 * (k + 1)], last)


def test_convolutions_see_their_neighbours_and_zeros_beyond_the_ends() -> None:
    model, batch = build(), unaligned()
    before = model(batch, features=True).features["projected.visual"]
    weight = model.get_parameter("projections.visual.conv.weight")
    x = batch.values["visual"]
    by_hand = x[:, 0] @ weight[..., 1].T + x[:, 1] @ weight[..., 2].T
    torch.testing.assert_close(before[:, 0], by_hand)
    x[:, 3] += 1
    moved = (model(batch, features=True).features["projected.visual"] - before).abs().amax((0, 2))
    assert (moved > 1e-6).tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize("future_mask", [False, True])
def test_each_sample_of_different_lengths_is_as_if_alone(future_mask: bool) -> None:
    model = build(future_mask=future_mask)
    lengths: dict[Modality, list[int]] = {
        "visual": [7, 2, 4], "audio": [3, 11, 0], "text": [5, 1, 4]
    }  # fmt: skip
    batch = unaligned(lengths=lengths)
    together = model(batch).logits
    for i in range(3):
        cut = {m: max(lengths[m][i], 1) for m in MODALITIES}
        alone = Batch(
            {m: x[i : i + 1, : cut[m]] for m, x in batch.values.items()},
            {m: x[i : i + 1, : cut[m]] for m, x in batch.masks.items()},
            None,
            ["alone"],
        )
        torch.testing.assert_close(model(alone).logits[0], together[i], atol=1e-6, rtol=1e-5)


def test_real_steps_keep_their_places_beside_masked_ones() -> None:
    model, batch = build(audio_kernel=1), unaligned()
    whole = model(batch, features=True).features
    hidden, left = [0, 4, 5, 10], [1, 2, 3, 6, 7, 8, 9]
    batch.masks["audio"][:, hidden] = False
    batch.values["audio"][:, hidden] = torch.nan
    seen = model(batch, features=True).features

    # a kernel of one step: what is projected of the others is the same
    torch.testing.assert_close(
        seen["projected.audio"][:, left], whole["projected.audio"][:, left], rtol=0, atol=0
    )
    assert seen["projected.audio"][:, hidden].abs().max() == 0

    # with one layer a score depends on query and key alone, so the others share what is freed
    name = "cross_attention.text_from_audio"
    assert seen[name][..., hidden].abs().max() == 0
    rest = whole[name][..., left]
    torch.testing.assert_close(seen[name][..., left], rest / rest.sum(-1, keepdim=True))


def test_a_convolution_sees_zeros_at_a_masked_step() -> None:
    model, batch = build(), unaligned()
    batch.masks["visual"][:, 3] = False
    weight = model.get_parameter("projections.visual.conv.weight")
    x = batch.values["visual"]
    found = model(batch, features=True).features["projected.visual"]
    torch.testing.assert_close(found[:, 2], x[:, 1] @ weight[..., 0].T + x[:, 2] @ weight[..., 1].T)
    torch.testing.assert_close(found[:, 4], x[:, 4] @ weight[..., 1].T + x[:, 5] @ weight[..., 2].T)


def test_a_missing_target_has_summary_0_and_reaches_no_other() -> None:
    model = build()
    batch = unaligned(lengths={"visual": [7, 0, 7]})
    summary = model(batch, features=True).features["summary"]
    assert (summary[1, 24:] == 0).all()
    assert (summary[[0, 2], 24:] != 0).any()
    batch.values["visual"][1] = 9
    assert torch.equal(model(batch, features=True).features["summary"], summary)
    everything = model(unaligned(lengths={m: [0, 0, 0] for m in MODALITIES}))
    model.total_loss(everything).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_two_modalities_have_two_transformers_and_memories_of_width_d() -> None:
    model = build(dims={"visual": 5, "text": 11})
    assert list(model.network.cross) == ["text_from_visual", "visual_from_text"]
    features = model(unaligned(), features=True).features
    assert features["memory.text"].shape == (3, 5, 6)
    assert features["cross_attention.visual_from_text"].shape == (3, 3, 7, 5)


def test_future_mask_hides_later_keys() -> None:
    batch = unaligned()
    for masked in (False, True):
        seen = build(future_mask=masked)(batch, features=True).features
        weights = seen["cross_attention.text_from_audio"]  # 5 queries, 11 keys: offset 6
        assert (weights[:, :, 0, 7:].abs().max() == 0) == masked
        assert weights[:, :, 4].min() > 0


def test_zero_frames_lose_their_position_alone() -> None:
    batch = unaligned()
    batch.values["text"][:, 2] = 0
    logits = [build(zero_frame_rule=on, text_kernel=1)(batch).logits for on in (False, True)]
    assert (logits[0] - logits[1]).abs().max() > 1e-4
    batch.values["text"][:, 2] = 1
    logits = [build(zero_frame_rule=on, text_kernel=1)(batch).logits for on in (False, True)]
    assert torch.equal(*logits)


def test_a_modality_of_width_d_is_left_as_it_is_by_the_program() -> None:
    dims: dict[Modality, int] = {"visual": 6, "audio": 7, "text": 11}
    assert set(build(dims=dims).projections) == {"visual", "audio", "text"}
    model = build(dims=dims, always_project=False)
    assert set(model.projections) == {"audio", "text"}
    batch = unaligned()
    visual = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(3))
    values = {**batch.values, "visual": visual}
    seen = model(Batch(values, batch.masks, None, batch.ids), features=True).features
    assert torch.equal(seen["projected.visual"], visual)


def test_the_program_reads_padding_but_not_what_it_holds() -> None:
    batch = collate(random_samples(4), DIMS, aligned=True)
    model = build(attend_to_padding=True)
    plain, more, other = (
        model(x).logits for x in (batch, padded(batch, 4, 0.0), padded(batch, 4, 5.0))
    )
    assert (plain - more).abs().max() > 1e-4
    assert torch.equal(more, other)


def test_autocast_gives_finite_logits_near_the_exact_ones() -> None:
    model, batch = build(future_mask=True), unaligned(lengths={"audio": [11, 0, 3]})
    exact = model(batch).logits
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(batch).logits.float(), exact, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"heads": 4}, "multiple of heads"), ({"audio_kernel": 2}, "audio_kernel 2 must be odd")],
)
def test_settings_that_do_not_go_together(changes: dict[str, int], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        SMALL.replace(**changes)
