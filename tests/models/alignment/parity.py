"""The CTC alignment module beside the programs that have it (TAILOR's and MulT's)."""

import torch
from torch import Tensor

from emotailor.models.alignment.ctc import CTCAlignment
from tests.parity.case import Case
from tests.parity.recurrent import block_name

PREFIX = "pred_output_position_inclu_blank."
OURS = "lstm."


def build(weights: dict[str, Tensor], prefix: str = PREFIX, **settings: str) -> CTCAlignment:
    """Our module with their weights."""
    given = {k.removeprefix(prefix): x for k, x in weights.items() if k.startswith(prefix)}
    state = {OURS + block_name(k): x for k, x in given.items()}
    units, dim = given["weight_ih_l0"].shape
    module = CTCAlignment(dim, units // 4 - 1, **settings)  # type: ignore[arg-type]
    module.load_state_dict(state)
    return module.eval()


class Measured:
    """What one alignment of a recorded input yields, under our names."""

    def __init__(self, case: Case, x: Tensor, **settings: str) -> None:
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
        """Of a parameter under their name, or of the input."""
        name = parameter.removeprefix(PREFIX)
        wanted = self.x if name == "x" else self.module.get_parameter(OURS + block_name(name))
        (found,) = torch.autograd.grad(scalar, wanted, retain_graph=True)
        return found
