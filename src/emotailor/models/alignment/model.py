"""The unaligned setting: a CTC alignment module before any system.

Notable:

- visual and audio sequences, each at its own rate, become sequences of as many steps as the text
  has, and the system behind the modules sees word-aligned data;
- the modules are trained with the system: by the system's losses, through the aligned sequences,
  and by the CTC loss ``ctc``, the sum over the modalities;
- the length of the target is the length of the text; where the text is missing, it is estimated
  from the shortest other modality: its steps over ``steps_per_target``;
- a missing modality stays missing.

Zhang et al. (TAILOR, AAAI 2022) put the module before every system but MulT, from whose paper it
comes (Tsai et al., ACL 2019). Neither paper says more about it. The equations are in ``ctc.py``.

Symbols: B batch, T steps of a source, S steps of the target, m modality.

Departures of the authors' program are switches of ``AlignmentConfig``, marked DIVERGENCE here and
in ``models/alignment/ctc.py``; these hold for both presets:
DIVERGENCE (short sources): CTC has no solution where a source has fewer steps than its target; such
a sample has no CTC loss here. The program pads every source to 500 steps.
DIVERGENCE (gradient): of the program's two possible bindings of warp-ctc one ignores the weight of
the loss in the gradient; here the gradient is that of the weighted loss.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ModelError, TooLongError
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.ctc import Aligned, CTCAlignment
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.wrapped import WrappedModel
from emotailor.nn.sequence import cleared, span


def align_before(config: AlignmentConfig, model: EmotionModel) -> "CTCAligned":
    """Put alignment modules before a system.

    With ``norm_first`` the system hands over the normalisation of what is aligned: those parameters
    then belong to the aligned model, and the system takes these modalities as they come.

    Raises:
        ModelError: see :class:`CTCAligned`.
    """
    # DIVERGENCE (norm_first): the program aligns what its layer normalisation yields
    norms = None
    if config.norm_first:
        norms = model.hand_over_input_norms(_sources(config, model))
    return CTCAligned(config, model, norms)


def _sources(config: AlignmentConfig, model: EmotionModel) -> tuple[Modality, ...]:
    """Return the modalities to align: all that the system takes, beside the target."""
    return tuple(m for m in MODALITIES if m in model.dims and m != config.target)


class CTCAligned(WrappedModel):
    """A system behind alignment modules.

    Args:
        config: settings; ``target_steps`` must be known by now.
        model: the system, of at least one modality that is not the target.
        norms: modality -> normalisation of its raw features before they are aligned, which the
            system then does not do itself (see :func:`align_before`).

    Raises:
        ModelError: nothing is to be aligned, or the number of target steps is not known.
    """

    def __init__(
        self,
        config: AlignmentConfig,
        model: EmotionModel,
        norms: nn.ModuleDict | None = None,
    ) -> None:
        super().__init__(model)
        self.config = config
        self.sources = _sources(config, model)
        if config.target_steps is None or not self.sources:
            raise ModelError(
                f"alignment of {', '.join(model.dims)} to {config.target_steps} steps",
                expected=f"a modality beside {config.target}, and a number of steps",
                fix="train with --set alignment.kind=none, or with --set alignment.target_steps=N",
            )
        self.target_steps: int = config.target_steps

        self.aligners = nn.ModuleDict()
        for m in self.sources:
            self.aligners[m] = CTCAlignment(
                model.dims[m],
                self.target_steps,
                layers=config.layers,
                frames=config.frames,
                positions=config.positions,
            )
        self.norms = nn.ModuleDict() if norms is None else norms

        self.takes_unaligned = True
        self.sample_means = model.sample_means and config.reduction != "sum"

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The system's weights, and the weight of the CTC loss."""
        return {**super().loss_weights, "ctc": self.config.weight}

    @property
    def always_decayed(self) -> set[str]:
        """The system's, under their names here, and the weights of the normalisation."""
        return super().always_decayed | {f"norms.{m}.weight" for m in self.norms}

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require a target that the modules can take, and a system that can take its length.

        Raises:
            ModelError: the target is too long, for the modules or for the system.
        """
        # 0 where the data lack the target
        steps = longest.get(self.config.target, 0)
        if steps > self.target_steps:
            raise TooLongError(
                f"a {self.config.target} sequence of {steps} steps",
                most=self.target_steps,
                expected=f"at most alignment.target_steps = {self.target_steps}",
                fix=f"train with --set alignment.target_steps={steps}",
            )

        # the system sees every modality at the steps of the target
        aligned_lengths = dict.fromkeys(self.dims, self.target_steps)
        self.model.check_lengths(aligned_lengths, aligned=True)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Align, and compute what the system computes, with the loss ``ctc``.

        Features, by name (m a modality that was aligned), beside the system's own:
            ``alignment.m``: the share of each source step in each target position, (B, S, T).
            ``attention.m``: (B, heads, L, T), where the system has it: a label's attention to a
            position is spread over the source steps it consists of.
            ``loss.ctc.m``: the parts of the loss.

        Raises:
            ModelError: a target is longer than ``target_steps``.
        """
        lengths = self.target_lengths(batch)
        found = self._align(batch, lengths)
        aligned = self._aligned_batch(batch, lengths, found)
        output = self.model(aligned, features=features)

        losses = dict(output.losses)
        named = dict(output.features)
        if batch.labels is not None:
            parts = []
            for m, x in found.items():
                part = self._reduce(x, batch.masks[m])
                parts.append(part)
                if features:
                    named[f"loss.ctc.{m}"] = part
            losses["ctc"] = torch.stack(parts).sum()

        if features:
            for m, x in found.items():
                named[f"alignment.{m}"] = x.weights
                _spread_attention(named, m, x.weights)
        return ModelOutput(output.logits, losses, named)

    def target_lengths(self, batch: Batch) -> Int64[Tensor, "batch"]:
        """Return how many steps the target of each sample has; 0 for a sample of nothing."""
        expected = self._expected_lengths(batch)
        mask = batch.masks.get(self.config.target)
        if mask is None:
            return expected

        # up to the last real step: one that is masked in the middle keeps its place
        there = mask.any(1)
        return torch.where(there, span(mask), expected)

    def _expected_lengths(self, batch: Batch) -> Int64[Tensor, "batch"]:
        """Estimate the length of the target from the shortest source; 0 without any source."""
        estimates = []
        for m in self.sources:
            mask = batch.masks[m]
            rate = self.config.steps_per_target.get(m, 1.0)
            steps = span(mask) / rate
            steps = steps.round().clamp(1, self.target_steps)

            there = mask.any(1)
            estimates.append(torch.where(there, steps, torch.inf))

        stacked = torch.stack(estimates)  # (sources, B)
        shortest = stacked.amin(0)
        without = shortest.isinf()
        return torch.where(without, 0.0, shortest).long()

    def _align(self, batch: Batch, lengths: Int64[Tensor, "batch"]) -> dict[Modality, Aligned]:
        """Bring every source to the steps of the target."""
        found: dict[Modality, Aligned] = {}
        for m in self.sources:
            values = batch.values[m]
            mask = batch.masks[m]
            if m in self.norms:
                values = cleared(values, mask)
                values = self.norms[m](values)

            found[m] = self.aligners[m](
                values,
                mask,
                lengths,
                loss=batch.labels is not None,
            )
        return found

    def _aligned_batch(
        self, batch: Batch, lengths: Int64[Tensor, "batch"], found: Mapping[Modality, Aligned]
    ) -> Batch:
        """The batch that the system sees: all modalities of S steps."""
        first = next(iter(found.values()))
        steps = max(1, first.values.shape[1])
        position = torch.arange(steps, device=lengths.device)
        real = position < lengths[:, None]  # (B, S)

        values = {}
        masks = {}
        for m in self.model.dims:
            mask = batch.masks[m]
            x = batch.values[m]
            if m in found:
                x = found[m].values
                there = mask.any(1, keepdim=True)
                mask = real & there

            # negative where a batch is padded to more steps than any target has
            more = steps - x.shape[1]
            values[m] = F.pad(x, (0, 0, 0, more))
            more = steps - mask.shape[1]
            masks[m] = F.pad(mask, (0, more))

        return Batch(values, masks, batch.labels, batch.ids)

    def _reduce(self, aligned: Aligned, mask: Bool[Tensor, "batch steps"]) -> Float[Tensor, ""]:
        """Return one loss for the losses of the samples."""
        assert aligned.loss is not None
        # DIVERGENCE (reduction): the program adds up the batch, beside losses that are means
        if self.config.reduction == "sum":
            return aligned.loss.sum()

        if self.config.reduction == "step_mean":
            steps = mask.sum(1).clamp(min=1)
            per_step = aligned.loss / steps
            return per_step.mean()

        return aligned.loss.mean()


def _spread_attention(
    named: dict[str, Tensor],
    modality: Modality,
    weights: Float[Tensor, "batch positions steps"],
) -> None:
    """Replace attention to target positions by attention to the source steps they consist of.

    Args:
        named: features of the system; those of the modality's attention change.
        modality: m.
        weights: (B, S, T), the share of each source step in each position.
    """
    totals = weights.sum(-1, keepdim=True)
    shares = weights / totals.clamp(min=1e-12)  # each position sums to 1
    positions = shares.shape[1]

    for name in (f"attention.{modality}", f"attention.common.{modality}"):
        if name not in named:
            continue

        # a system may pad further; padding consists of no source step
        attention = named[name][..., :positions]  # (B, heads, L, S)
        named[name] = attention @ shares[:, None]  # (B, heads, L, T)
