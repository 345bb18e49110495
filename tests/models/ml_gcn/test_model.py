"""ML-GCN: the label graph by hand, its threshold, label vectors, pooling."""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.checker import DataWarning
from emotailor.errors import ConfigError, ModelError
from emotailor.models.base import LabelStatistics
from emotailor.models.ml_gcn.config import MLGCNConfig
from emotailor.models.ml_gcn.model import MLGCN, conditional_frequencies, normalised, reweighted
from emotailor.training.recipe import recipe
from tests.systems import TINY

NAMES = ("happy", "sad", "angry")

# 10 happy, 5 sad, 2 angry; happy and sad 4 times, sad and angry once
TOGETHER = torch.tensor([[10.0, 4.0, 0.0], [4.0, 5.0, 1.0], [0.0, 1.0, 2.0]])
SHARES = torch.tensor([[0.0, 0.4, 0.0], [0.8, 0.0, 0.2], [0.0, 0.5, 0.0]])


def build(**changes: Any) -> MLGCN:
    """A tiny model that has seen no labels yet."""
    torch.manual_seed(0)
    config = MLGCNConfig.parse({**TINY["ml_gcn"], **changes})
    return MLGCN(config, {"visual": 5}, 3).eval()


def counted(
    together: Tensor = TOGETHER, names: Sequence[str] = NAMES, vectors: Tensor | None = None
) -> LabelStatistics:
    return LabelStatistics(names, 20, together, vectors)


def visual(values: Tensor, mask: Tensor | None = None, labels: Tensor | None = None) -> Batch:
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Batch({"visual": values}, {"visual": mask}, labels, [str(i) for i in range(len(values))])


def mosei_statistics() -> LabelStatistics:
    """How often the labels of CMU-MOSEI occur together."""
    file = resources.files("emotailor.data") / "mosei_statistics.json"
    card = json.loads(file.read_text(encoding="utf-8"))
    sets = torch.tensor(card["label_set_counts"])
    held = torch.tensor([[k >> j & 1 for j in range(6)] for k in range(64)])
    together = ((held * sets[:, None]).T @ held).float()
    return LabelStatistics(card["label_names"], card["segments"], together)


def test_sizes_and_training_of_the_paper() -> None:
    model = MLGCN(MLGCNConfig.paper(), {"visual": 35}, 6)
    assert model.labels.weight.shape == (6, 300)
    assert model.first.weight.shape == (1024, 300)
    assert model.second.weight.shape == (512, 1024)
    assert model.activation.negative_slope == 0.2
    assert (model.config.threshold, model.config.neighbour_share) == (0.4, 0.2)
    assert not [n for n, _ in model.named_parameters() if "bias" in n and "encoder" not in n]
    training = recipe("ml_gcn")
    assert (training.epochs, training.batch_size, training.weight_decay) == (100, 16, 1e-4)
    assert (training.threshold, training.clip_norm, training.patience) == (0.5, 10, 5)
    assert recipe("ml_gcn", "authors").epochs == 20


def test_conditional_frequencies_by_hand() -> None:
    found = conditional_frequencies(TOGETHER)
    torch.testing.assert_close(found.float(), SHARES)
    # counted exactly: 4 of 10 and 1 of 5 reach thresholds of 0.4 and 0.2
    assert (found >= 0.4).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, True, False],
    ]
    assert (found >= 0.2)[1, 2]


def test_a_label_that_never_occurs_has_no_edges() -> None:
    together = torch.tensor([[4.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    model = build(threshold=0.5)
    model.prepare(counted(together))
    expected = torch.tensor([[1.0, 0.25, 0.0], [0.25, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(model.correlation, expected, atol=1e-6, rtol=0)
    assert (model.num_edges, model.num_columns) == (2, 2)
    assert torch.isfinite(model(visual(torch.randn(2, 4, 5))).logits).all()


def test_graph_by_hand() -> None:
    model = build(threshold=0.4)
    model.prepare(counted())
    # column sad has two edges, which share 0.25; column happy has one
    expected = torch.tensor([[1.0, 0.125, 0.0], [0.25, 1.0, 0.0], [0.0, 0.125, 1.0]])
    torch.testing.assert_close(model.correlation, expected, atol=1e-6, rtol=0)
    assert model.edges.int().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert (model.num_edges, model.num_columns, model.graph_threshold) == (3, 2, 0.4)


def test_rows_are_the_misprint_of_equation_8() -> None:
    edges = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 0]]).bool()
    rows = reweighted(edges, 0.5, rows=True)
    torch.testing.assert_close(
        rows, torch.tensor([[1, 0.5, 0.5], [1, 1, 0], [0, 1, 1.0]]), atol=1e-5, rtol=0
    )
    columns = reweighted(edges, 0.5)
    torch.testing.assert_close(
        columns, torch.tensor([[1, 0.5, 1], [1, 1, 0], [0, 0.5, 1.0]]), atol=1e-5, rtol=0
    )
    model = build(threshold=0.4, reweight="rows")
    model.prepare(counted())
    torch.testing.assert_close(
        model.correlation[0], torch.tensor([1.0, 0.25, 0]), atol=1e-6, rtol=0
    )


def test_normalisation_and_transpose_by_hand() -> None:
    a = torch.tensor([[1.0, 3.0], [0.0, 1.0]])  # row sums 4 and 1
    plain = torch.tensor([[0.25, 1.5], [0.0, 1.0]])
    torch.testing.assert_close(normalised(a, transpose=False), plain)
    turned = torch.tensor([[0.25, 0.0], [1.5, 1.0]])
    torch.testing.assert_close(normalised(a, transpose=True), turned)
    # 1 - p on the diagonal or 1: the same after normalisation
    torch.testing.assert_close(normalised(0.8 * a, transpose=True), turned)
    assert not MLGCNConfig.paper().transpose
    assert MLGCNConfig.authors().transpose


def test_what_a_label_collects() -> None:
    """One edge, angry -> sad: without the transpose angry reads sad, with it sad reads angry."""
    together = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 2.0], [0.0, 2.0, 2.0]])
    for transpose, reader in ((False, 2), (True, 1)):
        model = build(threshold=0.9, transpose=transpose)
        with pytest.warns(DataWarning):
            model.prepare(counted(together))
        graph = model(visual(torch.zeros(1, 2, 5)), features=True).features["label_graph"]
        assert [i for i in range(3) if (graph[i] > 0).sum() == 2] == [reader]


def test_graph_of_mosei_at_the_papers_threshold() -> None:
    model = MLGCN(MLGCNConfig(graph_size=3, feature_size=2), {"visual": 5}, 6)
    model.prepare(mosei_statistics())
    assert (model.num_edges, model.num_columns) == (6, 4)


def test_auto_takes_the_largest_threshold_with_two_columns() -> None:
    model = MLGCN(MLGCNConfig(graph_size=3, feature_size=2, threshold="auto"), {"visual": 5}, 6)
    model.prepare(mosei_statistics())
    assert (model.num_edges, model.num_columns, model.graph_threshold) == (2, 2, 0.55)
    small = build(threshold="auto")
    small.prepare(counted())
    assert (small.graph_threshold, small.num_columns) == (0.5, 2)  # sad -> happy, angry -> sad


@pytest.mark.parametrize(
    ("threshold", "message"), [(0.6, "edges towards 'happy' only"), (0.9, "no edges")]
)
def test_a_poor_graph_is_warned_of(threshold: float, message: str) -> None:
    model = build(threshold=threshold)
    with pytest.warns(DataWarning, match=f"at threshold {threshold} .*{message}"):
        model.prepare(counted())


def test_auto_warns_where_no_threshold_helps() -> None:
    model = build(threshold="auto")
    with pytest.warns(DataWarning, match=r"at threshold 0\.05 the label graph has no edges"):
        model.prepare(counted(torch.diag(torch.tensor([3.0, 2.0, 1.0]))))
    assert torch.equal(model.correlation, torch.eye(3))


@pytest.mark.parametrize("threshold", [0, -0.1, 1.5, "automatic", True, None])
def test_wrong_thresholds_are_refused(threshold: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.threshold: .* must be a share above 0"):
        MLGCNConfig.parse({"threshold": threshold}, prefix="model.")


def test_an_odd_feature_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="feature_size 7 must be even"):
        MLGCNConfig.parse({"feature_size": 7})


def test_the_graph_is_kept_but_not_trained() -> None:
    model = build()
    model.prepare(counted())
    assert "correlation" in model.state_dict()
    assert {n for n, _ in model.named_parameters() if "encoder" not in n} == {
        "labels.weight",
        "first.weight",
        "second.weight",
    }
    fresh = MLGCN(model.config, model.dims, 3).eval()
    assert fresh.num_edges == 0
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.edges, model.edges)
    assert fresh.graph_threshold == model.graph_threshold == 0.4


def test_classifiers_by_hand() -> None:
    model = MLGCN(MLGCNConfig(graph_size=2, feature_size=2, label_size=1), {"visual": 5}, 2).eval()
    with torch.no_grad():
        model.labels.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        model.first.weight.copy_(torch.tensor([[1.0], [-10.0]]))
        model.second.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    # no edges: label 0 is (1, -10) -> (1, -2) -> (1, -4); label 1 is (-1, 10) -> (-0.2, 20)
    named = model(visual(torch.randn(3, 4, 5)), features=True)
    expected = torch.tensor([[1.0, -4.0], [-0.2, 20.0]])
    torch.testing.assert_close(named.features["label_classifiers"], expected)
    pooled = named.features["encoder.visual"].amax(1)
    torch.testing.assert_close(named.logits, pooled @ expected.T)


class Given(nn.Module):
    """Yields the input as the encoded sequence."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None, None]:
        return x, None, None


def test_the_maximum_is_over_real_steps_alone() -> None:
    model = build()
    model.encoder = Given()  # type: ignore[assignment]
    x = -1 - torch.rand(2, 5, 14)  # below 0, so that a zeroed step would be the maximum
    mask = torch.tensor([[True, False, True, False, False], [False] * 5])
    output = model(visual(x, mask), features=True)
    expected = torch.maximum(x[0, 0], x[0, 2])
    torch.testing.assert_close(output.features["pooled.visual"][0], expected)
    assert output.logits[1].tolist() == [0, 0, 0]  # no steps: zeros, and no bias


def test_hidden_frames_never_happened_whatever_they_hold() -> None:
    model, x = build(), torch.randn(3, 5, 5)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2], mask[2] = False, False
    x[~mask] = torch.nan
    labels = torch.tensor([[1.0, 0.0, 1.0]]).expand(3, -1)
    model(visual(x, mask, labels)).losses["classification"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    keep = [0, 1, 3, 4]
    logits = model(visual(x, mask)).logits
    torch.testing.assert_close(logits[:2], model(visual(x[:2, keep])).logits)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("nodes", ["trained", "one_hot"])
def test_label_vectors_given(train: bool, nodes: str) -> None:
    vectors = torch.randn(3, 19)
    model = build(train_label_vectors=train, label_nodes=nodes)
    model.prepare(counted(vectors=vectors))
    assert torch.equal(model.labels.weight, vectors)
    assert model.labels.weight.requires_grad == train
    assert model.first.weight.shape == (13, 19)
    fresh = MLGCN(model.config, model.dims, 3).eval()
    fresh.resize({name: tuple(x.shape) for name, x in model.state_dict().items()})
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(2, 4, 5)
    assert torch.equal(fresh(visual(x)).logits, model(visual(x)).logits)


def test_label_vectors_where_none_are_given() -> None:
    trained, one_hot = build(), build(label_nodes="one_hot")
    assert trained.labels.weight.shape == (3, TINY["ml_gcn"]["label_size"])
    assert trained.labels.weight.requires_grad
    assert torch.equal(one_hot.labels.weight, torch.eye(3))
    assert not one_hot.labels.weight.requires_grad


def test_wrong_label_vectors_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(3, 7\), not all finite"):
        build().prepare(counted(vectors=torch.full((3, 7), torch.inf)))
