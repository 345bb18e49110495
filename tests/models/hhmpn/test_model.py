"""HHMPN: the label graph, the three kinds of messages, fusion, and each switch."""

from typing import Any

import pytest
import torch
from torch import nn

from emotailor.data.batching import Batch, collate
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ConfigError, ModelError
from emotailor.models.base import LabelStatistics
from emotailor.models.hhmpn.config import HHMPNConfig
from emotailor.models.hhmpn.model import HHMPN
from tests.helpers import DIMS, random_samples
from tests.systems import padded

NAMES = ("happy", "sad", "angry", "fear")
SMALL = HHMPNConfig(
    hidden_size=6,
    encoder_heads=2,
    encoder_layers=1,
    memory_layers=1,
    decoder_layers=2,
    decoder_heads=3,
    feedforward_size=17,
    score_size=5,
)


def build(dims: dict[Modality, int] = DIMS, **changes: Any) -> HHMPN:
    torch.manual_seed(0)
    return HHMPN(SMALL.replace(**changes), dims, len(NAMES)).eval()


def batch_of(count: int = 5, missing: float = 0.0) -> Batch:
    return collate(random_samples(count, labels=4, missing=missing), DIMS, aligned=True)


def test_authors_have_the_sizes_of_the_program() -> None:
    with torch.device("meta"):
        model: Any = HHMPN(HHMPNConfig.authors(), {"visual": 35, "audio": 74, "text": 300}, 6)

    assert [len(x.layers) for x in model.network.cross.values()] == [6] * 6
    memories = [(x.shape.size, len(x.layers)) for x in model.network.memories.values()]
    assert memories == [(1024, 6)] * 3
    assert [len(x) for x in model.decoders.values()] == [3] * 3
    first = model.decoders["text"][0]
    assert (first.from_features.heads, first.update_1.inner.out_features) == (8, 512)

    # where they lie: the page of the system says so
    assert millions(model.network.cross) == 113
    assert millions(model.network.memories) == 227
    assert millions(model) == 368  # the program's own labels talk to no one


def test_the_default_has_a_laptops_size() -> None:
    with torch.device("meta"):
        model: Any = HHMPN(HHMPNConfig.paper(), {"visual": 35, "audio": 74, "text": 300}, 6)

    assert millions(model.network.cross) == 2
    assert millions(model.network.memories) == 5
    assert millions(model) == 10


def millions(module: nn.Module) -> int:
    """Parameters, in millions."""
    return round(sum(p.numel() for p in module.parameters()) / 1e6)


def test_the_graph_by_hand() -> None:
    model = build(graph_threshold=0.5)
    held = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]])
    # happy 4, sad 2, angry 1, fear never: 2 / sqrt(8) = 0.71, 1 / sqrt(4) = 0.5
    model.prepare(LabelStatistics.of(NAMES, held))
    assert model.graph.int().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert "graph" in model.state_dict()
    batch = batch_of()
    output = model(batch, features=True)
    for m in MODALITIES:
        weights = output.features[f"label_correlation.{m}"]
        assert ((weights > 0) == model.graph).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(5, 3, 4))
    model.total_loss(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_threshold_of_zero_still_needs_labels_to_occur_together() -> None:
    model = build(graph_threshold=0.0)
    model.prepare(LabelStatistics.of(NAMES, torch.eye(4)))
    assert torch.equal(model.graph, torch.eye(4, dtype=torch.bool))


def test_labels_talk_only_where_switched_on() -> None:
    """With their own embedding alone as a start, a label depends on others through the graph."""
    batch = batch_of()
    for on in (False, True):
        model = build(label_to_label=on)
        before = model(batch).logits
        with torch.no_grad():
            model.labels.weight[3] += 1
        moved = (model(batch).logits - before).abs().amax(0)
        assert (moved[:3] > 1e-6).all() == on
        assert moved[3] > 1e-6
    assert "graph" not in build(label_to_label=False).state_dict()


def test_messages_from_features_by_hand() -> None:
    model: Any = build(decoder_heads=1, decoder_layers=1)
    batch = batch_of()
    message = model.decoders["audio"][0].from_features
    assert isinstance(message.merge, torch.nn.Identity)  # one head needs no merging
    features = model(batch, features=True).features
    states, stream = model.labels.weight, features["encoder.audio"]
    keys, values = (stream @ message.memory.weight.T).chunk(2, -1)
    scores = (states @ message.queries.weight.T) @ keys.mT / 6**0.5
    weights = scores.masked_fill(~batch.masks["audio"][:, None], -torch.inf).softmax(-1)
    torch.testing.assert_close(features["attention.audio"][:, 0], weights)
    found, _ = message(states.expand(5, -1, -1), stream, batch.masks["audio"][:, None])
    torch.testing.assert_close(found, message.norm(states + weights @ values))


def test_fusion_and_logits_by_hand() -> None:
    model, batch = build(), batch_of(missing=0.5)
    output = model(batch, features=True)
    features = output.features
    there = torch.stack([batch.masks[m].any(1) for m in ("text", "audio", "visual")], 1)
    assert not there.all()
    weights = features["modality_weights"]
    assert ((weights > 0) == there[:, None]).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(5, 4))
    fused = sum(
        weights[..., k, None] * model.fusion.angles[m](features[f"label_states.{m}"])
        for k, m in enumerate(("text", "audio", "visual"))
    )
    torch.testing.assert_close(model.fusion.output(fused), features["label_representations"])
    by_hand = (features["label_representations"] * model.labels.weight).sum(-1) / 6**0.5
    torch.testing.assert_close(output.logits, by_hand)


def test_the_program_normalises_over_labels() -> None:
    weights = build(modality_softmax="labels")(batch_of(), features=True).features
    torch.testing.assert_close(weights["modality_weights"].sum(1), torch.ones(5, 3))


def test_the_program_keeps_two_label_tables() -> None:
    model, batch = build(share_embedding=False), batch_of()
    assert model.output is not None
    features = model(batch, features=True).features
    scores = model.output(features["label_representations"])
    torch.testing.assert_close(model(batch).logits, scores.diagonal(dim1=1, dim2=2))
    assert not any(name.startswith("output.") for name in build().state_dict())


def test_the_program_crosses_the_streams_of_text_and_visual() -> None:
    model, batch = build(crossed=True), batch_of()
    features = model(batch, features=True).features
    for reader, read in {"text": "visual", "visual": "text", "audio": "audio"}.items():
        expected = model.heads[reader](features[f"memory.{read}"])
        torch.testing.assert_close(features[f"encoder.{reader}"], expected)
    plain = build()(batch, features=True).features
    torch.testing.assert_close(plain["encoder.text"], model.heads["text"](plain["memory.text"]))
    without_text = build({"visual": 5, "audio": 7}, crossed=True)
    assert without_text.reads == {"audio": "audio", "visual": "visual"}


def test_only_crossed_streams_need_alignment() -> None:
    batch = batch_of()
    values = {**batch.values, "audio": batch.values["audio"][:, :2]}
    masks = {**batch.masks, "audio": batch.masks["audio"][:, :2]}
    uneven = Batch(values, masks, None, batch.ids)
    assert build()(uneven).logits.shape == (5, 4)
    with pytest.raises(ModelError, match=r"unaligned sequences .* with crossed streams"):
        build(crossed=True)(uneven)
    build().check_lengths({"visual": 3, "text": 9}, aligned=False)


def test_future_mask_makes_the_encoder_causal() -> None:
    batch = batch_of()
    for causal in (False, True):
        model = build(future_mask=causal)
        before = model(batch, features=True).features["encoder.audio"]
        changed = {m: x.clone() for m, x in batch.values.items()}
        longest = int(batch.masks["audio"].sum(1).argmax())
        for x in changed.values():
            x[longest, -1] += 1
        after = model(Batch(changed, batch.masks, None, batch.ids), features=True).features
        moved = (after["encoder.audio"] - before)[longest].abs().amax(-1)
        assert (moved[:-1].max() == 0) == causal
        assert moved[-1] > 0


def test_the_program_reads_padding_but_not_what_it_holds() -> None:
    batch, model = batch_of(), build(attend_to_padding=True)
    plain, more, other = (
        model(x, features=True) for x in (batch, padded(batch, 4, 0.0), padded(batch, 4, 5.0))
    )
    assert (plain.logits - more.logits).abs().max() > 1e-5
    assert torch.equal(more.logits, other.logits)
    assert more.features["attention.text"][..., -4:].abs().max() == 0  # labels never see it


def test_a_masked_step_gets_no_attention_and_the_others_keep_their_places() -> None:
    model, batch = build(future_mask=True), batch_of(1)
    steps = batch.masks["text"].shape[1]
    assert steps >= 5
    whole = model(batch, features=True).features
    left = [t for t in range(steps) if t not in (0, 1)]
    batch.masks["text"][:, [0, 1]] = False
    batch.values["text"][:, [0, 1]] = torch.nan
    output = model(batch, features=True)
    assert torch.isfinite(output.logits).all()

    # labels
    attention = output.features["attention.text"]
    assert attention[..., [0, 1]].abs().max() == 0
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))

    # the encoder: a query behind the masked steps shares what they had; one before sees them alone
    name = "cross_attention.audio_from_text"
    weights = output.features[name]
    rest = whole[name][..., 2:, left]
    torch.testing.assert_close(weights[..., 2:, left], rest / rest.sum(-1, keepdim=True))
    assert (weights[..., 0, 0] == 1).all()
    torch.testing.assert_close(weights[..., 1, :2], torch.full_like(weights[..., 1, :2], 0.5))


def test_a_sample_without_any_modality_is_finite() -> None:
    model, batch = build(), batch_of(2)
    masks = {m: torch.zeros_like(x) for m, x in batch.masks.items()}
    output = model(Batch(batch.values, masks, batch.labels, batch.ids))
    assert torch.isfinite(output.logits).all()
    model.total_loss(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_autocast_gives_finite_logits_near_the_exact_ones() -> None:
    model, batch = build(), batch_of(missing=0.5)
    exact = model(batch).logits
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model(batch).logits.float(), exact, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("name", ["encoder_heads", "decoder_heads"])
def test_heads_divide_the_width(name: str) -> None:
    with pytest.raises(ConfigError, match=f"multiple of {name} 4"):
        SMALL.replace(**{name: 4})
