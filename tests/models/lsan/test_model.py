"""LSAN: documents and fusion by hand, label vectors, switches, words that are not there."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.errors import ModelError
from emotailor.models.base import LabelStatistics
from emotailor.models.lsan.config import LSANConfig
from emotailor.models.lsan.model import LSAN
from emotailor.training.recipe import recipe
from tests.systems import TINY, tiny_model

NAMES = ("happy", "sad", "angry")


def build(**changes: Any) -> LSAN:
    model = tiny_model("lsan", **changes)
    assert isinstance(model, LSAN)
    return model


def text(values: Tensor, mask: Tensor | None = None, labels: Tensor | None = None) -> Batch:
    if mask is None:
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Batch({"text": values}, {"text": mask}, labels, [str(i) for i in range(len(values))])


def with_vectors(vectors: Tensor) -> LabelStatistics:
    return LabelStatistics.of(NAMES, torch.ones(4, 3), vectors)


class Given(nn.Module):
    """Yields the input as the states of the LSTM."""

    def forward(
        self, x: Tensor, mask: Tensor, start: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, None, None]:
        return x * mask[..., None], None, None


def by_hand(**changes: Any) -> LSAN:
    """Two labels, k = 1, words given as states (F, K), all weights simple numbers."""
    config = LSANConfig(state_size=1, attention_size=1, classifier_size=2, **changes)
    model = LSAN(config, {"text": 2}, 2).eval()
    model.encoder = Given()  # type: ignore[assignment]
    numbers = {
        "labels.weight": [[2.0], [-1.0]],
        "attention_inner.weight": [[1.0, 0.0]],
        "attention_outer.weight": [[0.0], [3.0]],
        "self_fusion.weight": [[0.0, 0.5]],
        "label_fusion.weight": [[0.1, 0.0]],
    }
    with torch.no_grad():
        for name, value in numbers.items():
            model.get_parameter(name).copy_(torch.tensor(value))
    return model


WORDS = torch.tensor([[[1.0, 3.0], [2.0, -1.0], [9.0, 9.0]]])
REAL = torch.tensor([[True, True, False]])


def test_sizes_and_training_of_the_paper() -> None:
    model: Any = LSAN(LSANConfig.paper(), {"text": 300}, 6)
    for (rnn,) in (model.encoder.ahead, model.encoder.back):
        assert (rnn.input_size, rnn.hidden_size) == (300, 300)
    assert model.attention_inner.weight.shape == (200, 600)
    assert model.attention_outer.weight.shape == (6, 200)
    assert [tuple(p.shape) for p in model.classifier.parameters()] == [(256, 600), (1, 256)]
    assert model.labels.weight.shape == (6, 300)
    assert model.dropout.rate == 0.3
    training = recipe("lsan")
    assert (training.learning_rate, training.batch_size, training.epochs) == (1e-3, 64, 10)
    assert (training.schedule, training.clip_norm, training.weight_decay) == ("constant", 0, 0)


def test_documents_by_hand() -> None:
    named = by_hand()(text(WORDS, REAL), features=True).features
    # label attention: C F and C K, summed over the two real words
    scores = torch.tensor([[[2.0, 4.0, 0.0], [-1.0, -2.0, 0.0]]])
    torch.testing.assert_close(named["label_attention.forward"], scores)
    documents = torch.tensor([[[2.0 * (1 + 4), 2.0 * (9 + 1)], [-5.0, -10.0]]])
    torch.testing.assert_close(named["documents.label"], documents)
    # self-attention: the same weight for both words, and softmax(3 tanh F)
    second = F.softmax(3 * torch.tanh(torch.tensor([1.0, 2.0])), 0)
    weights = torch.stack([torch.tensor([0.5, 0.5]), second])
    torch.testing.assert_close(named["attention.text"][0, 0, :, :2], weights)
    assert named["attention.text"][..., 2].abs().max() == 0
    torch.testing.assert_close(named["documents.self"][0], weights @ WORDS[0, :2])
    # fusion: sigmoids over their sum
    label, own = (0.1 * documents[..., 0]).sigmoid(), (0.5 * named["documents.self"][..., 1])
    share = label / (label + own.sigmoid())
    torch.testing.assert_close(named["label_share"], share)
    mixed = share[..., None] * documents + (1 - share[..., None]) * named["documents.self"]
    torch.testing.assert_close(named["documents"], mixed)


def test_mean_label_attention_divides_by_the_real_words() -> None:
    total = by_hand()(text(WORDS, REAL), features=True).features["documents.label"]
    mean = by_hand(label_attention="mean")(text(WORDS, REAL), features=True).features
    torch.testing.assert_close(mean["documents.label"], total / 2)


@pytest.mark.parametrize("classifier", ["per_label", "average"])
def test_logits_and_loss_by_hand(classifier: str) -> None:
    model = by_hand(classifier=classifier)
    y = torch.tensor([[1.0, 0.0]])
    output = model(text(WORDS, REAL, y), features=True)
    documents = output.features["documents"][0]
    weights = [p.detach() for p in model.classifier.parameters()]
    if classifier == "average":
        expected = weights[0] @ documents.mean(0)
    else:
        expected = ((documents @ weights[0].T).relu() @ weights[1].T).squeeze(-1)
    torch.testing.assert_close(output.logits[0], expected)
    loss = -(expected[0].sigmoid().log() + (1 - expected[1].sigmoid()).log()) / 2
    torch.testing.assert_close(output.losses["classification"], loss)


@pytest.mark.parametrize(("classifier", "changed"), [("per_label", 1), ("average", 2)])
def test_which_logits_a_label_vector_reaches(classifier: str, changed: int) -> None:
    """The averaged head mixes the documents of all labels; the other keeps them apart."""
    model = by_hand(classifier=classifier)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.copy_(torch.arange(1.0, 1 + parameter.numel()).view_as(parameter))
    before = model(text(WORDS, REAL)).logits
    with torch.no_grad():
        model.labels.weight[0] += 0.5
    after = model(text(WORDS, REAL)).logits
    assert int((before != after).sum()) == changed


def test_fusion_where_both_sigmoids_vanish() -> None:
    model = by_hand()
    with torch.no_grad():
        model.self_fusion.weight.copy_(torch.tensor([[0.0, -400.0]]))
        model.label_fusion.weight.copy_(torch.tensor([[-400.0, 0.0]]))
    output = model(text(WORDS, REAL, torch.ones(1, 2)), features=True)
    assert torch.isfinite(output.logits).all()
    torch.testing.assert_close(output.features["label_share"][0], torch.tensor([0.0, 1.0]))
    output.losses["classification"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_biases_are_a_switch() -> None:
    assert not [n for n, _ in build().named_parameters() if n.endswith("bias")]
    found = {n for n, _ in build(biases=True).named_parameters() if n.endswith("bias")}
    layers = ("attention_inner", "attention_outer", "self_fusion", "label_fusion")
    assert found == {f"{n}.bias" for n in (*layers, "classifier.0", "classifier.2")}


def test_authors_preset() -> None:
    config = LSANConfig.authors()
    assert (config.classifier, config.biases, config.train_label_vectors) == (
        "average",
        True,
        False,
    )
    paper = LSANConfig.paper()
    assert (paper.classifier, paper.biases, paper.train_label_vectors) == ("per_label", False, True)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("width", [7, 19])
def test_label_vectors_given(train: bool, width: int) -> None:
    vectors = torch.randn(3, width, generator=torch.Generator().manual_seed(1))
    model = build(train_label_vectors=train)
    model.prepare(with_vectors(vectors))
    assert torch.equal(model.labels.weight, vectors)
    assert model.labels.weight.requires_grad == train
    assert (model.label_projection is None) == (width == 7)
    states = torch.randn(2, 5, 14)
    mask = torch.ones(2, 5, dtype=torch.bool)
    labels = vectors if width == 7 else vectors @ model.label_projection.weight.T  # type: ignore[union-attr]
    _, scores = model._label_attention(states, mask)
    torch.testing.assert_close(scores[:, 0], labels @ states[..., :7].transpose(1, 2))
    torch.testing.assert_close(scores[:, 1], labels @ states[..., 7:].transpose(1, 2))


def test_label_vectors_of_another_width_are_loaded() -> None:
    model = build()
    model.prepare(with_vectors(torch.randn(3, 19)))
    state = model.state_dict()
    fresh = LSAN(LSANConfig.parse(TINY["lsan"]), {"text": 11}, 3).eval()
    fresh.resize({name: tuple(x.shape) for name, x in state.items()})
    fresh.load_state_dict(state)
    x = torch.randn(2, 5, 11)
    assert torch.equal(fresh(text(x)).logits, model(text(x)).logits)


def test_without_vectors_they_are_trained_whatever_the_switch() -> None:
    assert build(train_label_vectors=False).labels.weight.requires_grad


@pytest.mark.parametrize(
    ("vectors", "found"),
    [
        (torch.zeros(4, 7), r"\(4, 7\)"),
        (torch.full((3, 7), torch.nan), r"\(3, 7\), not all finite"),
    ],
)
def test_wrong_label_vectors_are_refused(vectors: Tensor, found: str) -> None:
    with pytest.raises(ModelError, match=f"label vectors of the shape {found}"):
        build().labels.take(vectors, train=True)


def test_the_start_state_is_zero_unless_given() -> None:
    model, x = build(), torch.randn(2, 5, 11)
    zero, other = torch.zeros(2, 2, 7), torch.ones(2, 2, 7)
    plain = model(text(x)).logits
    assert torch.equal(plain, model(text(x)).logits)
    assert torch.equal(plain, model(text(x), start=(zero, zero)).logits)
    assert not torch.equal(plain, model(text(x), start=(other, other)).logits)


def test_hidden_words_never_happened_whatever_they_hold() -> None:
    model, x = build(), torch.randn(3, 5, 11)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 2], mask[2] = False, False
    x[~mask] = torch.nan
    y = torch.tensor([[1.0, 0.0, 1.0]]).expand(3, -1)
    output = model.train()(text(x, mask, y))
    output.losses["classification"].backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    logits = model.eval()(text(x, mask)).logits
    assert logits[2].tolist() == [0, 0, 0]  # no word: zero documents, and no bias
    keep = [0, 1, 3, 4]
    torch.testing.assert_close(logits[:2], model(text(x[:2, keep])).logits)
