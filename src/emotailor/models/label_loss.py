"""The loss of the labels' logits, which settings may replace for every system that uses it.

With p the probability of a label and q = 1 - p:

- cross-entropy: - log p for a label that holds, - log q for one that does not;
- focal loss (Lin et al., ICCV 2017): - q^γ log p and - p^γ log q;
- asymmetric loss (Ridnik et al., ICCV 2021): - q^γ+ log p and - p_m^γ- log(1 - p_m), with
  p_m = max(p - m, 0).

Each is a mean over samples and labels. Labels that hold may weigh more, each label by its own
weight.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LossKind = Literal["cross_entropy", "focal", "asymmetric"]

TINY = 1e-8
"""Below this, a probability shifted by the margin counts as this: its powers stay finite."""


class LabelLoss(nn.Module):
    """The loss of (B, L) logits; a module, so that its weights move with the model.

    Nothing of it is stored with a model.

    Args:
        kind: which loss.
        gamma_positive: exponent of a label that holds; for the focal loss both are equal.
        gamma_negative: exponent of a label that does not.
        margin: m of the asymmetric loss.
        positive_weight: (L,), by which the loss of labels that hold is multiplied; None for 1.
    """

    positive_weight: Float[Tensor, "labels"] | None

    def __init__(
        self,
        kind: LossKind = "cross_entropy",
        *,
        gamma_positive: float = 0.0,
        gamma_negative: float = 0.0,
        margin: float = 0.0,
        positive_weight: Float[Tensor, "labels"] | None = None,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.margin = margin
        self.register_buffer("positive_weight", positive_weight, persistent=False)

    def forward(
        self, logits: Float[Tensor, "batch labels"], labels: Float[Tensor, "batch labels"]
    ) -> Float[Tensor, ""]:
        """Return the mean over samples and labels."""
        if self.kind == "cross_entropy":
            return F.binary_cross_entropy_with_logits(
                logits, labels, pos_weight=self.positive_weight
            )

        logits = logits.float()  # powers of small numbers need it
        log_p = F.logsigmoid(logits)
        log_q = F.logsigmoid(-logits)
        positive = -torch.exp(self.gamma_positive * log_q) * log_p
        if self.margin:
            shifted = (logits.sigmoid() - self.margin).clamp(min=TINY)
            negative = -(shifted**self.gamma_negative) * torch.log1p(-shifted)
        else:
            negative = -torch.exp(self.gamma_negative * log_p) * log_q

        if self.positive_weight is not None:
            positive = positive * self.positive_weight
        return (labels * positive + (1 - labels) * negative).mean()

    def extra_repr(self) -> str:
        """Show the kind."""
        return self.kind
