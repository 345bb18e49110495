"""The CTC alignment module beside the programs that have it (TAILOR's and MulT's)."""

from typing import Any

import torch
from torch import Tensor

from emotailor.models.alignment.ctc import CTCAlignment
from tests.parity.case import Case, CaseError
from tests.parity.recurrent import block_name

PREFIX = "pred_output_position_inclu_blank."
OURS = "lstm."


def parts(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The parameters of one module, without their prefix."""
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}


def layers_of(weights: dict[str, Tensor], prefix: str = PREFIX) -> int:
    """Number of layers of the LSTM."""
    return sum(name.startswith("weight_ih_l") for name in parts(weights, prefix))


def build(weights: dict[str, Tensor], prefix: str = PREFIX, **settings: Any) -> CTCAlignment:
    """Our module with their weights."""
    given = parts(weights, prefix)
    if "weight_ih_l0" not in given:
        raise CaseError(f"there are no weights {prefix}* of an alignment module")

    gates, dim = given["weight_ih_l0"].shape
    positions = gates // 4 - 1  # four gates; one class more than positions, the blank
    module = CTCAlignment(dim, positions, layers=layers_of(weights, prefix), **settings)
    module.load_state_dict({OURS + block_name(name): x for name, x in given.items()})
    return module.eval()


class Measured:
    """What one alignment of a recorded input yields, under our names."""

    def __init__(self, case: Case, x: Tensor, **settings: Any) -> None:
        self.module = build(case.weights, **settings)
        self.x = x.clone().requires_grad_()
        mask = torch.ones(x.shape[:2], dtype=torch.bool)
        targets = torch.full((len(x),), self.module.target_steps)

        seen: list[Tensor] = []
        handle = self.module.lstm.register_forward_hook(lambda _, __, out: seen.append(out[0]))
        self.aligned = self.module(self.x, mask, targets)
        handle.remove()
        self.activations = seen[0]

    def gradient(self, scalar: Tensor, parameter: str) -> Tensor:
        """The gradient of a parameter under their name, or of the input ``x``."""
        name = parameter.removeprefix(PREFIX)
        wanted = self.x if name == "x" else self.module.get_parameter(OURS + block_name(name))
        (found,) = torch.autograd.grad(scalar, wanted, retain_graph=True)
        return found
