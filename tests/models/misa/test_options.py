"""Options of the program that no recorded case has, beside a computation from the equations."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.models.misa import parity as misa
from tests.parity.case import Case, CaseError
from tests.parity.options import difference, in_float64, recorded
from tests.parity.systems import compare

__all__ = ["in_float64"]  # a fixture of every test here


def misa_logits(case: Case, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The logits from torch's own layers, as the notes state the equations; of an LSTM."""
    w = case.weights
    lengths = case.io["in.lengths"]

    def layer(name: str, x: Tensor) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def recurrent(name: str, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        kind = {4: nn.LSTM, 3: nn.GRU}[len(w[f"{name}.weight_hh_l0"]) // dim]
        rnn = kind(x.shape[-1], dim, bidirectional=True)
        rnn.load_state_dict(
            {n.removeprefix(f"{name}."): t for n, t in w.items() if n.startswith(f"{name}.")}
        )
        out, end = rnn(pack_padded_sequence(x, lengths))
        return pad_packed_sequence(out)[0], end[0] if kind is nn.LSTM else end

    private, shared = [], []
    for x, entry in (("t", None), ("v", "in.visual"), ("a", "in.acoustic")):
        if entry is None:
            values = F.embedding(case.io["in.sentences"], w["embed.weight"])
        else:
            values = case.io[entry]
        dim = values.shape[-1]
        states, first = recurrent(f"{x}rnn1", values, dim)
        _, second = recurrent(f"{x}rnn2", norm(f"{x}layer_norm", states), dim)
        vector = torch.cat([first[0], second[0], first[1], second[1]], 1)
        projected = activation(layer(f"project_{x}.project_{x}", vector))
        u = norm(f"project_{x}.project_{x}_layer_norm", projected)
        number = 3 if x == "a" else 1
        private.append(layer(f"private_{x}.private_{x}_{number}", u).sigmoid())
        shared.append(layer("shared.shared_1", u).sigmoid())

    tokens = torch.stack([*private, *shared])
    prefix = "transformer_encoder.layers.0."
    inner = len(w[f"{prefix}linear1.weight"])
    fusion = nn.TransformerEncoderLayer(tokens.shape[-1], 2, inner).eval()
    fusion.load_state_dict(
        {n.removeprefix(prefix): t for n, t in w.items() if n.startswith(prefix)}
    )
    joint = fusion(tokens).transpose(0, 1).flatten(1)
    return layer("fusion.fusion_layer_3", activation(layer("fusion.fusion_layer_1", joint)))


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("relu", F.relu),
        ("leakyrelu", lambda x: torch.where(x > 0, x, 0.01 * x)),
        ("tanh", torch.tanh),
        ("elu", lambda x: torch.where(x > 0, x, x.exp() - 1)),
        ("hardtanh", lambda x: x.clamp(-1, 1)),
        ("hardshrink", lambda x: torch.where(x.abs() > 0.5, x, 0.0)),
        ("rrelu", lambda x: torch.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2)),
        ("prelu", lambda x: torch.where(x > 0, x, 0.4 * x)),
    ],
)
def test_misa_with_every_activation_of_the_program(
    name: str, activation: Callable[[Tensor], Tensor]
) -> None:
    case = recorded("misa", "cmd_gru_leakyrelu")
    if name == "leakyrelu":  # this computation gives what the program gave
        own = misa_logits(case, activation)
        torch.testing.assert_close(own, case.io["out.logits"], rtol=1e-5, atol=1e-5)

    slope = {"fusion.fusion_layer_1_activation.weight": torch.tensor([0.4])}
    changed = case.changed({"activation": name}, weights=slope if name == "prelu" else {})
    changed = changed.changed(io={"out.logits": misa_logits(changed, activation)})
    assert difference(compare(changed), "out.logits") < 1e-9


def test_the_slope_of_misa_is_one_for_all_places() -> None:
    """The program has one activation for all its layers: its gradient is the sum of ours."""
    case = recorded("misa", "cmd_gru_leakyrelu")
    names = "activation.weight", "grad.linear_plus_aux.activation.weight"
    # without the difference loss, through whose norms no gradient goes
    options = {"activation": "prelu", "diff_weight": 0.0}

    def scalar(slope: float) -> float:
        weights = {names[0]: torch.tensor([slope])}
        changed = case.changed(options, weights=weights)
        model = misa.build(changed)
        words, visual = changed.weights["embed.weight"], changed.io["in.visual"]
        output = model(misa.read_batch(changed, words, visual), features=True)
        linear = (output.logits * changed.io["aux.R"]).sum()
        auxiliary = model.total_loss(output) - output.losses["classification"]
        return (linear + auxiliary).item()

    slope, step = 0.3, 1e-5
    expected = torch.tensor([(scalar(slope + step) - scalar(slope - step)) / (2 * step)])
    changed = case.changed(options, {names[1]: expected}, {names[0]: torch.tensor([slope])})
    assert difference(compare(changed), names[1]) < 1e-6


@pytest.mark.parametrize(
    ("option", "value"), [("activation", "softsign"), ("rnncell", "rnn"), ("use_bert", True)]
)
def test_an_option_that_we_do_not_have_is_named(option: str, value: object) -> None:
    case = recorded("misa", "cmd_gru_leakyrelu")
    with pytest.raises(CaseError) as caught:
        compare(case.changed({option: value}))
    for part in (option, str(value), "cmd_gru_leakyrelu"):
        assert part in str(caught.value)
