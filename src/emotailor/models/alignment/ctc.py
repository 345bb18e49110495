"""CTC alignment: a sequence at its own rate, brought to the steps of another one.

An LSTM with L + 1 units reads the source x of T steps. The softmax of its output at step t says to
which of the target's positions 1..L this step belongs, or to none of them (the blank, class 0)::

    P = softmax(LSTM(x)) of shape (T, L + 1),    aligned[s] = sum over t of P[t, s] x[t].

CTC trains P: its targets are the positions 1, 2, ..., L, so that the probable alignments are those
that pass all positions in their order (Graves et al.: Connectionist Temporal Classification. ICML
2006; as an alignment module: Tsai et al.: Multimodal Transformer. ACL 2019).

Notable:

- aligned steps are sums, not means: with T = 500 and L = 50 each is some ten frames large;
- the LSTM's outputs lie within (-1, 1), so that no position can get more than e / (e + L/e) of a
  step (0.13 for L = 50): alignments are soft, and the loss stays far from 0.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.errors import ModelError
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import cleared, compact, has_gaps, scatter_back

BLANK = 0


@dataclass(frozen=True)
class Aligned:
    """A source at the steps of the target.

    Attributes:
        values: (B, S, dim); S is the largest target length of the batch.
        weights: (B, S, T), the share of source step t in target position s; 0 at masked steps.
        loss: (B,), the CTC loss of each sample, 0 where there is none; None unless asked for.
    """

    values: Float[Tensor, "batch positions dim"]
    weights: Float[Tensor, "batch positions steps"]
    loss: Float[Tensor, "batch"] | None


class CTCAlignment(nn.Module):
    """The alignment module of one source modality.

    Args:
        dim: width of the source.
        target_steps: L, the longest target.
        layers: number of layers of the LSTM.
        frames: ``all`` real steps enter the loss, or the ``first``, as many as there are positions.
        positions: a sample has its ``own`` target positions, or ``all`` L whatever the length of
            its target is.
    """

    def __init__(
        self,
        dim: int,
        target_steps: int,
        *,
        layers: int = 2,
        frames: Literal["all", "first"] = "all",
        positions: Literal["own", "all"] = "own",
    ) -> None:
        super().__init__()
        self.target_steps = target_steps
        self.frames = frames
        self.positions = positions
        self.lstm = RecurrentEncoder(dim, target_steps + 1, layers=layers)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        target_lengths: Int64[Tensor, "batch"],
        *,
        loss: bool = True,
    ) -> Aligned:
        """Align a source to its target.

        Masked steps never happened: the LSTM does not read them, and they add nothing.

        Args:
            values: (B, T, dim).
            mask: (B, T), True at real steps, which need not come first.
            target_lengths: (B,), from 0 to L.
            loss: also compute the loss.

        Raises:
            ModelError: a target is longer than L.
        """
        longest = int(target_lengths.max())
        if longest > self.target_steps:
            raise ModelError(
                f"a target of {longest} steps",
                expected=f"at most target_steps = {self.target_steps}",
                fix=f"train with --set alignment.target_steps={longest}",
            )
        # DIVERGENCE (positions): the program's targets have L positions each, padding among them
        if self.positions == "all":
            longest = self.target_steps
            target_lengths = torch.full_like(target_lengths, longest)

        values = cleared(values, mask)
        order = None
        if has_gaps(mask):
            values, mask, order = compact(values, mask)

        activations, _, _ = self.lstm(values, mask)  # (B, T, L + 1)
        activations = activations[..., : longest + 1]  # (B, T, S + 1)
        precise = torch.promote_types(activations.dtype, torch.float32)
        activations = activations.to(precise)

        # what is beyond the sample's own target is no position: it gets no probability
        classes = torch.arange(longest + 1, device=mask.device)
        absent = classes > target_lengths[:, None]  # (B, S + 1)
        lowest = torch.finfo(activations.dtype).min
        activations = activations.masked_fill(absent[:, None], lowest)
        log_probabilities = activations.log_softmax(-1)

        of_positions = log_probabilities[..., BLANK + 1 :]
        weights = of_positions.exp() * mask[..., None]  # (B, T, S)
        shares = weights.mT.to(values.dtype)
        aligned = shares @ values  # (B, S, dim)
        if order is not None:
            weights = scatter_back(weights, order)

        losses = None
        if loss:
            losses = self._loss(
                log_probabilities,
                mask.sum(1),
                target_lengths,
            )
        return Aligned(aligned, weights.mT, losses)

    def _loss(
        self,
        log_probabilities: Float[Tensor, "batch steps classes"],
        steps: Int64[Tensor, "batch"],
        targets: Int64[Tensor, "batch"],
    ) -> Float[Tensor, "batch"]:
        """CTC of the positions 1..target over each sample's real steps, which come first.

        The loss is 0 where the source has fewer steps than the target: no alignment exists.
        """
        # DIVERGENCE (frames): the program takes the lengths of what it has aligned already, so that
        # one path is left: source step 1 to position 1, step 2 to position 2, and so on
        if self.frames == "first":
            steps = torch.minimum(steps, targets)
        possible = (steps >= targets) & (targets > 0)

        classes = log_probabilities.shape[2]
        places = torch.arange(1, classes, device=steps.device)
        places = places.expand(len(steps), -1)  # (B, S)
        loss = F.ctc_loss(
            log_probabilities.transpose(0, 1),  # (T, B, S + 1)
            places,
            torch.where(possible, steps, 1),
            torch.where(possible, targets, 0),
            blank=BLANK,
            reduction="none",
        )
        return torch.where(possible, loss, 0.0)
