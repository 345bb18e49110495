"""SGM: targets, loss, probabilities of label sets, beam search, and each switch."""

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.errors import ConfigError
from emotailor.models.base import LabelStatistics
from emotailor.models.sgm.config import SGMConfig
from emotailor.models.sgm.decoding import IGNORED, label_targets
from emotailor.models.sgm.model import SGM
from emotailor.training.recipe import recipe

TEXT, NAMES = 11, ("a", "b", "c")


def small(labels: int = 3, *, seed: int = 1, **changes: Any) -> SGM:
    torch.manual_seed(seed)
    sizes = {"label_size": 5, "encoder_size": 7, "least_prefix": 0.0, **changes}
    model = SGM(SGMConfig.parse(sizes), {"text": TEXT}, labels).eval()
    for parameter in model.parameters():  # wide enough for labels to matter
        parameter.data.mul_(3)
    return model


def texts(lengths: list[int], *, seed: int = 2, labels: Tensor | None = None) -> Batch:
    torch.manual_seed(seed)
    mask = torch.arange(max(1, *lengths)) < torch.tensor(lengths)[:, None]
    x = torch.randn(*mask.shape, TEXT) * mask[..., None]
    return Batch({"text": x}, {"text": mask}, labels, [str(i) for i in range(len(lengths))])


def constant(weights: list[float], **changes: Any) -> SGM:
    """A model whose next token has these odds whatever was written: end, then labels."""
    model = small(len(weights) - 1, **changes)
    model.decoder.output.weight.data.zero_()
    model.decoder.output.bias.data.copy_(torch.tensor(weights).log())
    return model


def of_sequences(model: SGM, batch: Batch) -> dict[tuple[int, ...], Tensor]:
    """The probability of every sequence of distinct labels, one sequence at a time."""
    model.config = model.config.replace(mask_training=True)
    memory, state = model.encode(batch)
    found = {}
    for count in range(model.num_labels + 1):
        for labels in permutations(range(model.num_labels), count):
            tokens = torch.tensor([*(1 + k for k in labels), 0]).expand(len(batch), -1)
            steps = model.teach(memory, state, tokens).log_softmax(-1)
            found[labels] = steps.gather(2, tokens[..., None]).sum((1, 2)).exp()
    return found


def test_sizes_are_the_papers() -> None:
    model: Any = SGM(SGMConfig.paper(), {"text": 300}, 6)
    for layers in (model.encoder.ahead, model.encoder.back):
        assert [(x.input_size, x.hidden_size) for x in layers] == [(300, 256), (512, 256)]
    assert (model.decoder.rnn.input_size, model.decoder.rnn.hidden_size) == (256, 512)
    assert model.decoder.embedding.weight.shape == (8, 256)  # end, six labels, begin
    assert model.decoder.output.weight.shape == (7, 512)
    settings = recipe("sgm", "paper")
    assert (settings.learning_rate, settings.batch_size, settings.clip_norm) == (1e-3, 64, 10.0)
    assert settings.threshold == 0.5
    theirs = SGMConfig.authors()
    assert (theirs.decoder_size, theirs.beam, theirs.temperature) == (512, 1, 0.1)


def test_the_decoder_cannot_have_more_layers_than_the_encoder() -> None:
    with pytest.raises(ConfigError, match="at most encoder_layers = 1"):
        SGMConfig.parse({"encoder_layers": 1})
    model = small(encoder_layers=2, decoder_layers=1)
    _, state = model.encode(texts([3, 2]))
    assert state.hidden.shape == (1, 2, 14)


def test_targets_are_ordered_by_frequency_ties_by_index() -> None:
    model = small(5)
    held = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 0]])  # 1 1 2 2 0
    model.prepare(LabelStatistics.of("abcde", held))
    assert model.order.tolist() == [2, 3, 0, 1, 4]
    labels = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]])
    assert label_targets(labels, model.order).tolist() == [
        [3, 1, 2, 0],
        [0, IGNORED, IGNORED, IGNORED],
        [4, 5, 0, IGNORED],
    ]
    assert label_targets(labels[1:2], model.order).tolist() == [[0]]  # no label: the end alone
    assert "order" in model.state_dict()


def test_the_loss_is_a_mean_over_tokens() -> None:
    model = constant([4.0, 2.0, 1.0, 1.0])  # end 1/2, labels 1/4 1/8 1/8
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    loss = model(texts([3, 4], labels=labels)).losses["sequence"]
    tokens = [1 / 4, 1 / 8, 1 / 2, 1 / 2]  # unmasked in training
    assert loss.item() == pytest.approx(-sum(map(math.log, tokens)) / 4)
    assert not model.sample_means
    model.config = model.config.replace(mask_training=True)
    loss = model(texts([3, 4], labels=labels)).losses["sequence"]
    tokens = [1 / 4, 1 / 6, 4 / 5, 1 / 2]  # without those that were written
    assert loss.item() == pytest.approx(-sum(map(math.log, tokens)) / 4)


def test_a_label_has_the_probability_of_all_sequences_that_contain_it() -> None:
    model = constant([2.0, 1.0, 1.0])
    probabilities = model(texts([4])).logits.sigmoid()
    # first (1/4), or after the other (1/4 * 1/3)
    torch.testing.assert_close(probabilities, torch.full((1, 2), 1 / 3))


def test_all_ordered_subsets_are_summed() -> None:
    model, batch = small(), texts([5, 3, 1])
    logits = model(batch).logits
    each = of_sequences(model, batch)
    assert len(each) == 16
    torch.testing.assert_close(torch.stack(list(each.values())).sum(0), torch.ones(3))
    for k in range(3):
        held = torch.stack([p for labels, p in each.items() if k in labels]).sum(0)
        torch.testing.assert_close(logits[:, k].sigmoid(), held)


def test_improbable_prefixes_count_as_if_they_ended() -> None:
    batch = texts([5, 3, 1])
    exact = small(4)(batch).logits.sigmoid()
    for least in (1e-3, 1e-2, 0.1):
        cut = small(4, least_prefix=least)
        memory, state = cut.encode(batch)
        held, mass, _ = cut.score(memory, state)
        torch.testing.assert_close(mass, torch.ones(3))
        difference = (exact - held).max()
        assert 0 < difference < 64 * least
        assert (held <= exact + 1e-6).all()  # only what would have followed is missing
    model = constant([1.0, 8.0, 1.0], least_prefix=0.5)  # goes on after label 0 alone
    found = model(texts([2])).logits.sigmoid()
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.1 + 0.8 * 0.5]]))


def test_many_labels_are_scored_by_the_beam() -> None:
    batch = texts([5, 3])
    exact = small(4)(batch).logits
    wide = small(4, exact_limit=1, beam=24)(batch).logits
    torch.testing.assert_close(exact, wide)
    narrow = small(4, exact_limit=1, beam=2)
    held, mass, _ = narrow.score(*narrow.encode(batch))
    torch.testing.assert_close(mass, torch.ones(2))
    assert not torch.allclose(held, exact.sigmoid(), atol=1e-3)
    many = small(9, beam=3)
    assert many(batch).logits.shape == (2, 9)
    assert torch.isfinite(many(batch).logits).all()


def test_many_samples_are_scored_in_parts() -> None:
    model, batch = small(), texts([1 + i % 5 for i in range(37)])
    memory, state = model.encode(batch)
    one = model.score(memory, state)[0]
    for i in (0, 15, 16, 36):
        alone = model.score(memory.part(i, 1), state.rows(torch.tensor([i])))[0]
        torch.testing.assert_close(one[i : i + 1], alone)


def test_decoding_finds_the_most_probable_sequence() -> None:
    batch = texts([5, 3, 1, 4, 2, 2])
    model = small(beam=16)
    model.decoder.output.bias.data[0] -= 2  # so that sequences are longer
    found = model.decode(batch)
    each = of_sequences(model, batch)
    best = [max(each, key=lambda s: each[s][i].item()) for i in range(6)]
    assert found == [list(s) for s in best]
    assert any(len(s) > 1 for s in found)


def test_decoding_never_repeats_a_label_and_respects_its_limit() -> None:
    batch = texts([5, 3])
    model = constant([0.01, 5.0, 4.0, 3.0, 2.0], beam=2)
    assert model.decode(batch) == [[0, 1, 2, 3]] * 2
    model.config = model.config.replace(max_steps=2)
    assert model.decode(batch) == [[0, 1]] * 2  # none ended: the best open one
    model.config = model.config.replace(max_steps=6, search="program")
    assert max(map(len, model.decode(batch))) > 4  # labels repeat
    model.config = model.config.replace(beam=1)
    assert model.decode(batch) == [[0, 1, 2, 3]] * 2  # its greedy decoding has a mask


def test_length_norm_prefers_longer_sequences() -> None:
    model = constant([1.1, 1.0], global_embedding="off")
    assert model.decode(texts([2])) == [[]]  # .524 against .476
    model.config = model.config.replace(length_norm=True)
    assert model.decode(texts([2])) == [[0]]  # .524 ** (1 / 2) against .476 ** (1 / 3)


def test_the_gate_mixes_label_and_average() -> None:
    model = small(2)
    decoder = model.decoder
    decoder.embedding.weight.data = torch.arange(20.0).view(4, 5)
    for gate in (decoder.gate_label, decoder.gate_average):
        gate.weight.data.zero_()
        gate.bias.data.fill_(math.log(3) / 2)  # together: H = 3/4
    _, state = model.encode(texts([2]))
    begin = torch.tensor([3])
    torch.testing.assert_close(decoder.read(begin, state), decoder.embedding(begin))
    odds = torch.tensor([[1.0, 1.0, 2.0]]).log()
    state = type(state)(state.hidden, state.cells, state.context, odds)
    average = decoder.embedding.weight.data[0] * 0.25 + decoder.embedding.weight.data[1] * 0.25
    average = average + decoder.embedding.weight.data[2] * 0.5
    label = decoder.embedding.weight.data[1]
    expected = 0.75 * average + 0.25 * label
    torch.testing.assert_close(decoder.read(torch.tensor([1]), state)[0], expected)


def test_the_programs_global_embedding() -> None:
    model = small(2, global_embedding="beside", special_outputs=True)
    decoder = model.decoder
    assert decoder.embedding.weight.shape == (6, 5)
    assert decoder.outputs == 6
    assert decoder.rnn.input_size == 10
    _, state = model.encode(texts([2]))
    seen: list[Tensor] = []
    decoder.gate_average.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    x = decoder.read(torch.tensor([3]), state)
    torch.testing.assert_close(seen[0][0], decoder.embedding.weight.mean(0))
    torch.testing.assert_close(x[:, :5], decoder.embedding(torch.tensor([3])))
    probabilities = torch.tensor([[1.0, 2, 3, 4, 5, 6]])
    state = type(state)(state.hidden, state.cells, state.context, probabilities.log())
    model.decoder.config = model.config.replace(temperature=0.5)
    decoder.read(torch.tensor([1]), state)
    weights = probabilities**2 / (probabilities**2).sum()
    torch.testing.assert_close(seen[1], weights @ decoder.embedding.weight)


def test_special_outputs_take_probability_that_is_divided_out() -> None:
    model = small(2, special_outputs=True)
    model.decoder.output.weight.data.zero_()
    model.decoder.output.bias.data.zero_()  # six tokens, equally likely
    held, mass, _ = model.score(*model.encode(texts([2])))
    sequences = {(): 1 / 6, (0,): 1 / 30, (1,): 1 / 30, (0, 1): 1 / 120, (1, 0): 1 / 120}
    assert mass.item() == pytest.approx(sum(sequences.values()))
    assert held[0].tolist() == pytest.approx([1 / 30 + 2 / 120] * 2)
    expected = (1 / 30 + 2 / 120) / sum(sequences.values())
    assert model(texts([2])).logits.sigmoid()[0].tolist() == pytest.approx([expected] * 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": "additive"},
        {"attention": "selu"},
        {"feed_context": True},
        {"gate": "linear"},
        {"global_embedding": "off"},
        {"global_embedding": "beside"},
        {"directions": "summed"},
        {"reversed_text": True},
        {"cell": "gru"},
        {"special_outputs": True},
        {"temperature": 0.5},
        {"encoder_layers": 3},
    ],
)
def test_switches_change_the_result_and_keep_the_rules(changes: dict[str, Any]) -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])
    batch, model = texts([5, 3, 0], labels=labels), small(**changes)
    output = model(batch, features=True)
    assert not torch.allclose(output.logits, small()(batch).logits)
    batch.values["text"][1, 3:] = math.nan  # garbage
    batch.values["text"][2] = math.inf
    torch.testing.assert_close(model(batch).logits, output.logits)
    alone = Batch({"text": batch.values["text"][1:2, :3]}, {"text": batch.masks["text"][1:2, :3]},
                  None, ["1"])  # fmt: skip
    torch.testing.assert_close(model(alone).logits, output.logits[1:2], atol=1e-5, rtol=1e-5)
    assert model.decode(alone) == model.decode(batch)[1:2]
    model.total_loss(model.train()(batch)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_additive_attention_as_printed() -> None:
    model, batch = small(attention="additive"), texts([4, 2])
    attention = model.decoder.attention
    memory, _ = model.encode(batch)
    s = torch.randn(2, 14)
    _, context, weights = attention(s, torch.arange(2), memory)
    assert attention.key is not None
    for i, steps in enumerate((4, 2)):
        h = memory.states[i, :steps]
        scores = torch.tanh(attention.query(s[i]) + h @ attention.key.weight.T)
        a = (scores @ attention.score.weight[0]).softmax(0)
        torch.testing.assert_close(weights[i, :steps], a)
        torch.testing.assert_close(context[i], a @ h)
    assert weights[1, 2:].abs().max() == 0


def test_padding_dilutes_the_programs_attention() -> None:
    short, both = texts([2]), texts([2, 6])
    both.values["text"][0, :2] = short.values["text"][0]
    model = small(attend_to_padding=True)
    assert not torch.allclose(model(short).logits, model(both).logits[:1], atol=1e-4)
    model = small()
    torch.testing.assert_close(model(short).logits, model(both).logits[:1])


def test_reversed_text_is_the_text_from_its_end() -> None:
    batch = texts([4, 4])
    turned = Batch({"text": batch.values["text"].flip(1)}, batch.masks, None, batch.ids)
    ours, theirs = small(), small(reversed_text=True)
    torch.testing.assert_close(ours(turned).logits, theirs(batch).logits)


def test_hidden_words_never_happened() -> None:
    batch = texts([5, 5])
    mask = torch.tensor([[True, False, True, True, False]] * 2)
    for changes in ({}, {"reversed_text": True}):
        model = small(**changes)
        holes = model(Batch(batch.values, {"text": mask}, None, batch.ids), features=True)
        words = Batch({"text": batch.values["text"][:, [0, 2, 3]]}, {"text": mask[:, [0, 2, 3]]},
                      None, batch.ids)  # fmt: skip
        gone = model(words, features=True)
        torch.testing.assert_close(holes.logits, gone.logits)
        left = holes.features["attention.text"]
        torch.testing.assert_close(left[..., [0, 2, 3]], gone.features["attention.text"])
        assert left[..., [1, 4]].abs().max() == 0


def test_the_attention_of_a_label_is_that_of_the_steps_that_write_it() -> None:
    model, batch = constant([1.0, 3.0, 1.0], global_embedding="off"), texts([4, 2, 0])
    attention = model(batch, features=True).features["attention.text"]
    assert attention.shape == (3, 1, 2, 4)
    torch.testing.assert_close(attention.sum(-1)[:2], torch.ones(2, 1, 2))
    assert attention[2].abs().max() == 0
    memory, state = model.encode(batch)
    sample, begin = torch.arange(3), torch.full((3,), 3)
    _, after, first = model.decoder(memory, begin, state, sample)
    _, _, second = model.decoder(memory, torch.full((3,), 2), after, sample)
    # label 0: first (3/5), or after label 1 (1/5 * 3/4)
    expected = (0.6 * first + 0.15 * second) / 0.75
    torch.testing.assert_close(attention[:2, 0, 0], expected[:2])


def test_half_precision() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1]])
    model, batch = small(), texts([5, 3, 0], labels=labels)
    plain = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch, features=True)
        found = model.decode(batch)
    torch.testing.assert_close(output.logits, plain.logits, atol=0.2, rtol=0.1)
    assert output.logits.dtype == torch.float32
    assert found == model.decode(batch)
    model.total_loss(output).backward()


def test_a_label_that_never_occurs_comes_last_and_is_scored() -> None:
    model = small()
    model.prepare(LabelStatistics.of(NAMES, torch.tensor([[0, 1, 1], [0, 0, 1]])))
    assert model.order.tolist() == [2, 1, 0]
    assert torch.isfinite(model(texts([1])).logits).all()
