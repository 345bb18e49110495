"""RAVEN: gates and shifts by hand, words of several frames, masks, and its switches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, ModelError
from emotailor.models.raven.config import RAVENConfig
from emotailor.models.raven.model import RAVEN, OneStepLSTM, WordPositionNorm
from emotailor.nn.recurrent import RecurrentEncoder
from tests.helpers import DIMS, LABELS, random_samples
from tests.systems import TINY, batch_of, padded


def build(dims: dict[Modality, int] = DIMS, seed: int = 0, **changes: object) -> RAVEN:
    torch.manual_seed(seed)
    return RAVEN(RAVENConfig.parse({**TINY["raven"], **changes}), dims, len(LABELS)).eval()


def authors(**changes: object) -> RAVEN:
    program = RAVENConfig.authors().model_dump()
    return build(**{**program, **TINY["raven"], "frame_size": 5, **changes})


def changed(batch: Batch, masks: dict[Modality, Tensor]) -> Batch:
    """The same batch with other masks, its hidden values filled with garbage."""
    values = {m: x.masked_fill(~masks[m][..., None], torch.nan) for m, x in batch.values.items()}
    return Batch(values, masks, batch.labels, batch.ids)


def test_presets() -> None:
    paper, program = RAVENConfig.paper(), RAVENConfig.authors()
    assert (paper.cell_size, paper.hidden_size, paper.layers) == (150, 300, 1)
    assert (paper.shift_weight, paper.dropout, paper.max_frames) == (0.2, 0.2, 1)
    assert (paper.gate, paper.shift_limit, paper.audio_norm) == ("sigmoid", "word_norm", "none")
    assert not paper.detach_shift
    assert not paper.frame_size
    assert program == paper.replace(
        max_frames=20,
        frame_size=150,
        gate="linear",
        shift_limit="unit_norm",
        audio_norm="word_position",
        detach_shift=True,
    )
    with pytest.raises(ConfigError, match="shift_weight"):
        RAVENConfig.parse({"shift_weight": -1})


WORDS: dict[Modality, int] = {"audio": 7, "text": 2}


def shifted(model: RAVEN, shift: tuple[float, float]) -> Tensor:
    """The word (3, 4), of norm 5, with ``shift`` as h_m."""
    with torch.no_grad():
        model.mixing.weight.zero_()
        model.mixing.bias.copy_(torch.tensor(shift))
    words, mask = torch.tensor([[[3.0, 4.0], [7.0, 7.0]]]), torch.tensor([[True, False]])
    frames: dict[Modality, Tensor] = {"audio": torch.randn(1, 2, 1, 7)}
    counts: dict[Modality, Tensor] = {"audio": torch.tensor([[1, 0]])}
    found = model.classify(words, mask, frames, counts)[1].words
    assert found[0, 1].abs().max() == 0  # padding stays the zero vector
    return found[0, 0]


@pytest.mark.parametrize(
    ("limit", "short", "long"),
    [
        ("word_norm", (3.0, 4.5), (3.0, 6.0)),  # alpha = 1, and 0.4 * 5 / 4
        ("unit_norm", (3.0, 5.0), (3.0, 6.0)),  # alpha = 0.4 * 5, and 0.4 * 5 / 4
    ],
)
def test_shifts_by_hand(limit: str, short: tuple[float, float], long: tuple[float, float]) -> None:
    model = build(WORDS, shift_weight=0.4, shift_limit=limit)
    torch.testing.assert_close(shifted(model, (0.0, 0.5)), torch.tensor(short))
    torch.testing.assert_close(shifted(model, (0.0, 4.0)), torch.tensor(long))
    torch.testing.assert_close(shifted(model, (0.0, 0.0)), torch.tensor((3.0, 4.0)))


@pytest.mark.parametrize("limit", ["word_norm", "unit_norm"])
def test_zero_words_and_zero_shifts_have_finite_gradients(limit: str) -> None:
    model = build(WORDS, shift_limit=limit)
    with torch.no_grad():
        model.mixing.weight.zero_()
        model.mixing.bias.zero_()
    words = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]], requires_grad=True)
    mask = torch.tensor([[True, True]])
    counts: dict[Modality, Tensor] = {"audio": torch.tensor([[1, 1]])}
    model.classify(words, mask, {"audio": torch.randn(1, 2, 1, 7)}, counts)[0].sum().backward()
    for x in (words, *model.parameters()):
        assert x.grad is None or torch.isfinite(x.grad).all()


@pytest.mark.parametrize("gate", ["sigmoid", "linear"])
def test_gates_read_state_and_word(gate: str) -> None:
    model: Any = build(gate=gate)
    batch = batch_of(random_samples(4), DIMS)
    features = model(batch, features=True).features
    for m in ("visual", "audio"):
        both = torch.cat([features[f"state.{m}"], batch.values["text"]], -1)
        expected = model.networks[m].gate(both).squeeze(-1)
        expected = expected.sigmoid() if gate == "sigmoid" else expected
        torch.testing.assert_close(features[f"gate.{m}"], expected)


def test_the_mixed_shift_is_the_gated_sum_of_both_modalities() -> None:
    model, batch = build(shift_weight=1e6), batch_of(random_samples(4), DIMS)  # alpha = 1
    features = model(batch, features=True).features
    parts = [features[f"gate.{m}"][..., None] * features[f"state.{m}"] for m in ("visual", "audio")]
    expected = (
        parts[0] @ model.mixing.weight[:, :7].T
        + parts[1] @ model.mixing.weight[:, 7:].T
        + model.mixing.bias
    )
    real = batch.masks["text"]
    torch.testing.assert_close(features["shift"][real], expected[real])


def test_one_step_of_an_lstm() -> None:
    torch.manual_seed(0)
    whole, one, x = RecurrentEncoder(5, 3), OneStepLSTM(5, 3), torch.randn(11, 5)
    rows = [*range(3), *range(6, 12)]  # input, candidate and output gate
    with torch.no_grad():
        lstm: Any = whole.ahead[0]
        one.gates.weight.copy_(lstm.weight_ih_l0[rows])
        one.gates.bias.copy_((lstm.bias_ih_l0 + lstm.bias_hh_l0)[rows])
    expected = whole(x[:, None], torch.ones(11, 1, dtype=torch.bool))[1][0, 0]
    torch.testing.assert_close(one(x), expected)


def test_recurrent_weights_exist_only_for_words_of_several_frames() -> None:
    names = set(build().state_dict())
    assert not any("weight_hh" in name for name in names if name.startswith("networks"))
    several = set(build(max_frames=2).state_dict())
    assert "networks.audio.lstm.ahead.0.weight_hh_l0" in several


def several_frames(model: RAVEN, frames: Tensor, count: int) -> Tensor:
    """The state of the only word, of which ``count`` audio frames are real."""
    counts: dict[Modality, Tensor] = {"audio": torch.tensor([[count]])}
    mask = torch.ones(1, 1, dtype=torch.bool)
    shift = model.classify(torch.ones(1, 1, 2), mask, {"audio": frames}, counts)[1]
    return shift.states["audio"][0, 0]


def test_states_are_read_at_the_frame_count_of_each_word() -> None:
    model: Any = build(WORDS, max_frames=4)
    frames = torch.randn(1, 1, 4, 7)
    lstm = model.networks["audio"].lstm.ahead[0]
    assert several_frames(model, frames, 0).abs().max() == 0
    for count in (1, 3, 4):
        expected = lstm(frames[0, 0, :count])[0][-1]
        torch.testing.assert_close(several_frames(model, frames, count), expected)
        garbage = frames.clone()
        garbage[:, :, count:] = torch.nan
        torch.testing.assert_close(several_frames(model, garbage, count), expected)


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(ModelError, match="words of up to 3 frames"):
        several_frames(build(WORDS, max_frames=2), torch.randn(1, 1, 3, 7), 1)


def test_a_detached_shift_trains_the_word_level_alone() -> None:
    batch = batch_of(random_samples(5), DIMS)
    logits = []
    for detached in (True, False):
        model = build(detach_shift=detached)
        output = model(batch)
        model.total_loss(output).backward()
        logits.append(output.logits)
        trained = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
        words = {"lstm", "classifier"}
        assert trained == (words if detached else words | {"networks", "mixing"})
    torch.testing.assert_close(*logits, atol=0, rtol=0)


def test_normalisation_by_word_position() -> None:
    norm, x = WordPositionNorm(4), torch.randn(5, 3, 2, 7)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.25, 0.0, 0.0]))
    second = x[:, 1]
    expected = 2 * (second - second.mean()) / (second.var(correction=0) + 1e-5).sqrt() + 0.25
    torch.testing.assert_close(norm.eval()(x)[:, 1], expected)


def test_only_the_program_depends_on_batch_mates() -> None:
    samples = random_samples(5)
    for model, depends in ((build(), False), (authors(), True)):
        together = model(batch_of(samples, DIMS)).logits[:1]
        alone = model(batch_of(samples[:1], DIMS)).logits
        assert torch.allclose(together, alone, atol=1e-6) != depends
        assert model.sample_means != depends


def test_the_program_has_a_maximum_of_words() -> None:
    model = authors(max_words=6)
    lengths: dict[Modality, int] = {"visual": 6, "audio": 6, "text": 6}
    model.check_lengths(lengths, aligned=True)
    with pytest.raises(ModelError, match="7 words") as error:
        model.check_lengths({**lengths, "text": 7}, aligned=True)
    assert "model.max_words=7" in str(error.value)
    build().check_lengths({**lengths, "text": 1000}, aligned=True)
    with pytest.raises(ModelError, match="unaligned"):
        build().check_lengths(lengths, aligned=False)


def test_the_program_without_audio_has_nothing_to_normalise() -> None:
    config = RAVENConfig.authors().replace(**TINY["raven"], max_words=3)
    model = RAVEN(config, {"visual": 5, "text": 11}, len(LABELS)).eval()
    batch = batch_of(random_samples(4), {"visual": 5, "text": 11})
    assert batch.values["text"].shape[1] > 3
    assert model(batch).logits.shape == (4, len(LABELS))


def test_hidden_words_never_happened() -> None:
    model = build()
    sample = next(s for s in random_samples(9) if len(s.sequences["text"]) > 5)
    whole = batch_of([sample], DIMS)
    keep = torch.arange(whole.masks["text"].shape[1]) % 3 != 1
    shorter = Batch({m: x[:, keep] for m, x in whole.values.items()},
                    {m: x[:, keep] for m, x in whole.masks.items()}, None, whole.ids)  # fmt: skip
    for hidden in (DIMS, ("text",)):  # behaviour that accompanies no word is not seen
        masks = {m: x & keep if m in hidden else x for m, x in whole.masks.items()}
        torch.testing.assert_close(model(changed(whole, masks)).logits, model(shorter).logits)


def test_a_missing_modality_has_zero_states() -> None:
    model, batch = build(), batch_of(random_samples(4), DIMS)
    masks = {**batch.masks, "audio": torch.zeros_like(batch.masks["audio"])}
    output = model(changed(batch, masks), features=True)
    assert output.features["state.audio"].abs().max() == 0
    assert output.features["state.visual"][batch.masks["text"]].abs().amax(-1).min() > 0
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_without_words_the_bias_decides(preset: str) -> None:
    model = build() if preset == "paper" else authors()
    model.train()
    batch = batch_of(random_samples(4), DIMS)
    for hidden in (("text",), tuple(DIMS)):
        masks = {m: torch.zeros_like(x) if m in hidden else x for m, x in batch.masks.items()}
        output = model(changed(batch, masks))
        torch.testing.assert_close(output.logits, model.classifier.bias.expand(4, -1))
        model.total_loss(output).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_padding_changes_neither_results_nor_gradients() -> None:
    batch, gradients = batch_of(random_samples(5), DIMS), []
    for given in (batch, padded(batch, 4, torch.nan)):
        model = build()
        model.total_loss(model(given)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_features() -> None:
    batch = batch_of(random_samples(4), DIMS)
    steps = batch.values["text"].shape[1]
    features = build()(batch, features=True).features
    assert {name: tuple(x.shape) for name, x in features.items()} == {
        "shift": (4, steps, 11),
        "words": (4, steps, 11),
        "representation": (4, 13),
        "state.visual": (4, steps, 7),
        "state.audio": (4, steps, 7),
        "gate.visual": (4, steps),
        "gate.audio": (4, steps),
    }
    words = batch.values["text"] * batch.masks["text"][..., None]
    torch.testing.assert_close(features["words"] - words, features["shift"])
    longest = features["shift"].norm(dim=-1) / words.norm(dim=-1).clamp(min=1e-6)
    assert longest.max() <= 0.2 + 1e-5


def test_half_precision_stays_close() -> None:
    batch = batch_of(random_samples(5), DIMS)
    for model in (build(), build(max_frames=3)):
        for kind in (torch.float16, torch.bfloat16):
            with torch.autocast("cpu", dtype=kind):
                logits = model(batch).logits
            torch.testing.assert_close(logits.float(), model(batch).logits, atol=2e-2, rtol=2e-2)
