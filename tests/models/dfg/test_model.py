"""DFG: the fusion graph and the gated memory by hand, masks, and its switches."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, ModelError
from emotailor.models.dfg.config import DFGConfig
from emotailor.models.dfg.model import DFG, DynamicFusionGraph, GatedMemory, cells
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import carried
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import TINY, batch_of, padded

EDGES = [
    ("text", "text_audio"),
    ("audio", "text_audio"),
    ("text", "text_visual"),
    ("visual", "text_visual"),
    ("audio", "audio_visual"),
    ("visual", "audio_visual"),
    ("text", "text_audio_visual"),
    ("audio", "text_audio_visual"),
    ("visual", "text_audio_visual"),
    ("text_audio", "text_audio_visual"),
    ("text_visual", "text_audio_visual"),
    ("audio_visual", "text_audio_visual"),
    ("text", "summary"),
    ("audio", "summary"),
    ("visual", "summary"),
    ("text_audio", "summary"),
    ("text_visual", "summary"),
    ("audio_visual", "summary"),
    ("text_audio_visual", "summary"),
]


def build(dims: dict[Modality, int] = DIMS, seed: int = 0, **changes: object) -> DFG:
    torch.manual_seed(seed)
    return DFG(DFGConfig.parse({**TINY["dfg"], **changes}), dims, len(LABELS)).eval()


def changed(batch: Batch, masks: dict[Modality, Tensor], fill: float = 0.0) -> Batch:
    """The same batch with other masks, its hidden values filled with something else."""
    values = {m: x.masked_fill(~masks[m][..., None], fill) for m, x in batch.values.items()}
    return Batch(values, masks, batch.labels, batch.ids)


def test_presets() -> None:
    paper, authors = DFGConfig.paper(), DFGConfig.authors()
    assert (paper.text_size, paper.audio_size, paper.visual_size) == (64, 16, 64)
    assert (paper.memory_size, paper.vertex_size, paper.vertex_hidden) == (300, 128, 100)
    assert (paper.efficacy, paper.activation, paper.vertex_states) == ("sigmoid", "relu", "hidden")
    assert authors == paper.replace(efficacy="linear", activation="none")
    with pytest.raises(ConfigError, match="efficacy"):
        DFGConfig.parse({"efficacy": "softmax"})


def test_nineteen_edges_in_the_order_of_the_paper() -> None:
    assert list(build().edges) == EDGES
    two = build({"visual": 5, "audio": 7})
    pair = "audio_visual"
    into_pair, out = [("audio", pair), ("visual", pair)], ["audio", "visual", pair]
    assert list(two.edges) == [*into_pair, *((i, "summary") for i in out)]


def test_every_vertex_network_is_trained_and_saved() -> None:
    model = build()
    names = {name.split(".")[2] for name in model.state_dict() if name.startswith("graph.networks")}
    assert names == {target for _, target in EDGES}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(model.state_dict())


def sum_graph(efficacy: str, bias: Tensor, activation: str = "none") -> DynamicFusionGraph:
    """A graph of widths 1 in which a vertex is the sum of its scaled sources."""
    graph = DynamicFusionGraph(
        {"text": 1, "audio": 1, "visual": 1}, 1, 1, (1, 1), efficacy=efficacy, activation=activation
    )
    with torch.no_grad():
        for name, parameter in graph.named_parameters():
            parameter.fill_(float("networks" in name and "weight" in name))
        last: Any = graph.efficacy_network[-1]
        last.bias.copy_(bias)
    return graph


UNIMODAL = [torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[4.0]])]


def test_graph_by_hand_with_efficacies_of_one_half() -> None:
    state = sum_graph("sigmoid", torch.zeros(19))(UNIMODAL)
    expected = {"text": 1, "audio": 2, "visual": 4, "text_audio": 1.5, "text_visual": 2.5,
                "audio_visual": 3, "text_audio_visual": 7}  # fmt: skip
    assert {name: x.item() for name, x in state.vertices.items()} == expected
    assert state.summary.item() == 0.5 * 21
    assert (state.efficacies == 0.5).all()


def test_graph_by_hand_with_the_number_of_each_edge_as_efficacy() -> None:
    state = sum_graph("linear", torch.arange(19.0))(UNIMODAL)
    found = {name: x.item() for name, x in state.vertices.items()}
    assert found["text_audio"] == 0 * 1 + 1 * 2
    assert found["text_visual"] == 2 * 1 + 3 * 4
    assert found["audio_visual"] == 4 * 2 + 5 * 4
    assert found["text_audio_visual"] == 6 * 1 + 7 * 2 + 8 * 4 + 9 * 2 + 10 * 14 + 11 * 28
    assert state.summary.item() == 12 + 13 * 2 + 14 * 4 + 15 * 2 + 16 * 14 + 17 * 28 + 18 * 518


def test_activation_acts_inside_the_networks() -> None:
    for activation, expected in (("none", -3.0), ("relu", 0.0)):
        graph: Any = sum_graph("linear", torch.ones(19), activation)
        with torch.no_grad():
            graph.networks["text_audio"][0].weight.fill_(-1)
        assert graph(UNIMODAL).vertices["text_audio"].item() == expected


def test_memory_by_hand() -> None:
    sizes = {"vertex_size": 1, "memory_size": 1, "candidate_hidden": 1}
    config = DFGConfig.parse({**sizes, "retain_hidden": 1, "update_hidden": 1})
    memory: Any = GatedMemory(config).eval()
    with torch.no_grad():
        for parameter in memory.parameters():
            parameter.zero_()
        memory.candidate[0].weight.fill_(1)
        memory.candidate[3].weight.fill_(1)
        memory.retain.bias.fill_(torch.tensor(0.25).logit())
    state = memory(torch.tensor([[[1.0], [-1.0], [2.0]]]), torch.tensor([[True, True, True]]))
    one, two = torch.tensor(1.0).tanh(), torch.tensor(2.0).tanh()
    expected = torch.stack([one / 2, one / 8, one / 32 + two / 2])
    torch.testing.assert_close(state.memory.flatten(), expected)
    masked = memory(torch.tensor([[[1.0], [9.0], [2.0]]]), torch.tensor([[True, False, True]]))
    torch.testing.assert_close(
        masked.memory.flatten(), torch.stack([one / 2, one / 2, one / 8 + two / 2])
    )


def test_memory_follows_its_equations_step_by_step() -> None:
    torch.manual_seed(3)
    memory = GatedMemory(DFGConfig.parse(TINY["dfg"])).eval()
    summary, u = torch.randn(5, 3, 13), torch.zeros(5, 17)
    state = memory(summary, torch.ones(5, 3, dtype=torch.bool), gates=True)
    for t in range(3):
        both = torch.cat([summary[:, t], u], -1)
        retain = memory.retain(memory.retain_hidden(both).relu()).sigmoid()
        update = memory.update(memory.update_hidden(both).relu()).sigmoid()
        u = retain * u + update * memory.candidate(summary[:, t])
        assert state.retain is not None
        assert state.update is not None
        torch.testing.assert_close(state.retain[:, t], retain)
        torch.testing.assert_close(state.update[:, t], update)
        torch.testing.assert_close(state.memory[:, t], u)


@pytest.mark.parametrize("gate", ["retain", "update"])
def test_each_gate_has_its_own_dropout(gate: str) -> None:
    rates = {"candidate_dropout": 0, "retain_dropout": 0, "update_dropout": 0}
    torch.manual_seed(3)
    memory = GatedMemory(DFGConfig.parse({**TINY["dfg"], **rates, f"{gate}_dropout": 0.99}))
    summary, mask = torch.randn(5, 1, 13), torch.ones(5, 1, dtype=torch.bool)
    kept, dropped = (
        memory.eval()(summary, mask, gates=True),
        memory.train()(summary, mask, gates=True),
    )
    torch.testing.assert_close(kept.candidate, dropped.candidate)
    for name in ("retain", "update"):
        same = torch.allclose(getattr(kept, name), getattr(dropped, name))
        assert same == (name != gate)


def test_cells_of_all_steps_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    lstm, x = RecurrentEncoder(5, 3), torch.randn(2, 7, 5)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0, 0], [0, 1, 1, 1, 1, 1, 1]]).bool()
    cell = nn.LSTMCell(5, 3)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({n: getattr(lstm.ahead[0], f"{n}_l0") for n in names})
    h, c, expected = torch.zeros(2, 3), torch.zeros(2, 3), []
    for t in range(7):
        new = cell(x[:, t], (h, c))
        h, c = (torch.where(mask[:, t, None], a, b) for a, b in zip(new, (h, c), strict=True))
        expected.append(c)
    hidden = carried(lstm(x, mask)[0], mask)
    found = cells(lstm, x, hidden, mask)
    torch.testing.assert_close(found, torch.stack(expected, 1))


@pytest.mark.parametrize("states", ["hidden", "cell"])
def test_hidden_steps_never_happened(states: str) -> None:
    model = build(vertex_states=states)
    sample = next(s for s in random_samples(9) if len(s.sequences["text"]) > 5)
    whole = batch_of([sample], DIMS)
    keep = torch.arange(whole.masks["text"].shape[1]) % 3 != 1
    masks = {m: whole.masks[m] & keep for m in DIMS}
    shorter = Batch({m: x[:, keep] for m, x in whole.values.items()},
                    {m: x[:, keep] for m, x in whole.masks.items()}, None, whole.ids)  # fmt: skip
    hidden = changed(whole, masks, torch.nan)
    torch.testing.assert_close(model(hidden).logits, model(shorter).logits)


def test_a_modality_hidden_at_a_step_keeps_its_state_while_the_others_go_on() -> None:
    model = build()
    batch = batch_of([s for s in random_samples(9) if len(s.sequences["text"]) > 3], DIMS)
    masks = {m: x.clone() for m, x in batch.masks.items()}
    masks["audio"][:, 2] = False
    out = model(changed(batch, masks), features=True).features
    h = model.lstms["audio"](batch.values["audio"], masks["audio"])[0][:, 1]
    expected = model.unimodal["audio"](torch.cat([h, h], -1)).relu()
    torch.testing.assert_close(out["vertex.audio"][:, 2], expected)
    assert (out["memory"][:, 2] - out["memory"][:, 1]).abs().amax(-1).min() > 0


def test_a_missing_modality_keeps_the_zero_state() -> None:
    model = build()
    batch = batch_of(random_samples(4), DIMS)
    masks = {**batch.masks, "audio": torch.zeros_like(batch.masks["audio"])}
    output = model(changed(batch, masks, torch.nan), features=True)
    assert output.features["representation"][:, 7:12].abs().max() == 0
    assert torch.isfinite(output.logits).all()


def test_a_sample_without_any_modality_is_finite() -> None:
    model = build().train()
    batch = batch_of(random_samples(3), DIMS)
    nothing = {m: torch.zeros_like(x) for m, x in batch.masks.items()}
    output = model(changed(batch, nothing, torch.nan), features=True)
    assert output.features["memory"].abs().max() == 0
    model.total_loss(output).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_padding_changes_neither_results_nor_gradients(preset: str) -> None:
    switches = getattr(DFGConfig, preset)().model_dump(
        include={"efficacy", "activation", "vertex_states"}
    )
    batch, gradients = batch_of(random_samples(5), DIMS), []
    for given in (batch, padded(batch, 4, torch.nan)):
        model = build(**switches)
        model.total_loss(model(given)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_features() -> None:
    batch = batch_of(random_samples(4), DIMS)
    steps = batch.values["text"].shape[1]
    features = build()(batch, features=True).features
    shapes = {name: tuple(x.shape[2:]) for name, x in features.items() if x.ndim == 3}
    assert shapes == {
        "efficacies": (19,),
        "vertex.text": (7,),
        "vertex.audio": (5,),
        "vertex.visual": (3,),
        **{f"vertex.{name}": (13,) for name in sorted({j for _, j in EDGES} - {"summary"})},
        "summary": (13,),
        **dict.fromkeys(("candidate", "retain_gate", "update_gate", "memory"), (17,)),
    }
    assert features["efficacies"].shape[:2] == (4, steps)
    assert features["representation"].shape == (4, 7 + 5 + 3 + 17)
    assert 0 < features["efficacies"].min() < features["efficacies"].max() < 1


def test_unbounded_efficacies_may_be_negative() -> None:
    features = build(efficacy="linear")(batch_of(random_samples(4), DIMS), features=True).features
    assert features["efficacies"].min() < 0


def test_modalities_of_different_lengths_are_refused() -> None:
    batch = batch_of(random_samples(2), DIMS)
    values = {**batch.values, "audio": batch.values["audio"][:, :1]}
    masks = {**batch.masks, "audio": batch.masks["audio"][:, :1]}
    with pytest.raises(ModelError, match="unaligned"):
        build()(Batch(values, masks, None, batch.ids))


def test_half_precision_stays_close() -> None:
    model, batch = build(), batch_of(random_samples(5), DIMS)
    for kind in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=kind):
            output = model(batch)
        torch.testing.assert_close(output.logits.float(), model(batch).logits, atol=2e-2, rtol=2e-2)
