"""The unaligned setting: a CTC alignment module before any system.

Notable:
- visual and audio sequences, each at its own rate, become sequences of as many steps as the text
  has, and the system behind sees word-aligned data;
- the modules are trained with the system, by its own losses through what is aligned and by the CTC
  loss ``ctc``, the sum over the modalities.

Zhang et al. (TAILOR, AAAI 2022) put it before every system but MulT, from whose paper it comes
(Tsai et al., ACL 2019); neither says more of it than that. See ``ctc.py`` for the equations.
Symbols: B batch, T steps of a source, S of the target, m modality.

The target's length is that of the text. Where the text is missing, it is what the shortest of the
other modalities lets expect: its steps over ``steps_per_target``. A missing modality stays missing.

Departures of the authors' program are switches of ``AlignmentConfig``, marked DIVERGENCE here and
in ``models/alignment/ctc.py``; these hold for both faces:
DIVERGENCE (short sources): CTC has no solution where a source has fewer steps than its target; such
a sample has no CTC loss here. The program pads every source to 500 steps.
DIVERGENCE (gradient): of the program's two possible bindings of warp-ctc one ignores the weight of
the loss in the gradient; here the gradient is that of the weighted loss.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ModelError
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.ctc import Aligned, CTCAlignment
from emotailor.models.base import EmotionModel, LabelStatistics, ModelOutput
from emotailor.nn.sequence import span


class CTCAligned(EmotionModel):
    """A system behind alignment modules.

    Args:
        config: settings; ``target_steps`` must be known by now.
        model: the system, of at least one modality that is not the target.
    """

    takes_unaligned = True

    def __init__(self, config: AlignmentConfig, model: EmotionModel) -> None:
        super().__init__(model.dims, model.num_labels)
        self.config, self.model = config, model
        self.sources = tuple(m for m in MODALITIES if m in model.dims and m != config.target)
        if config.target_steps is None or not self.sources:
            raise ModelError(
                f"alignment of {', '.join(model.dims)} to {config.target_steps} steps",
                expected=f"a modality beside {config.target}, and a number of steps",
                fix="set alignment.kind=none, or alignment.target_steps",
            )
        self.target_steps: int = config.target_steps
        self.aligners = nn.ModuleDict(
            {
                m: CTCAlignment(
                    model.dims[m],
                    self.target_steps,
                    layers=config.layers,
                    frames=config.frames,
                    positions=config.positions,
                )
                for m in self.sources
            }
        )
        # DIVERGENCE (norm_first): the program aligns what its layer normalisation yields; taken out
        # of the system, which would normalise what is aligned
        self.norms = nn.ModuleDict()
        norms = getattr(model, "input_norms", {})
        for m in self.sources if config.norm_first else ():
            if m in norms:
                self.norms[m], norms[m] = norms[m], nn.Identity()
        self.parts_in_threads = model.parts_in_threads
        self.sample_means = model.sample_means and config.reduction != "sum"

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The system's, and that of the CTC loss."""
        return {**self.model.loss_weights, "ctc": self.config.weight}

    @property
    def always_decayed(self) -> set[str]:
        """The system's, under their names here."""
        moved = {f"input_norms.{m}.{kind}" for m in self.norms for kind in ("weight", "bias")}
        decayed = self.model.always_decayed
        return {f"model.{name}" for name in decayed - moved} | {
            name.replace("input_norms.", "norms.", 1) for name in decayed & moved
        }

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require a target that the modules can take, and a system that can take its length.

        Raises:
            ModelError: the target is too long, for the modules or for the system.
        """
        steps = longest.get(self.config.target, 0)
        if steps > self.target_steps:
            raise ModelError(
                f"a {self.config.target} sequence of {steps} steps",
                expected=f"at most alignment.target_steps = {self.target_steps}",
                fix=f"train with --set alignment.target_steps={steps}",
            )
        self.model.check_lengths(dict.fromkeys(self.dims, self.target_steps), aligned=True)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Show the system the labels."""
        self.model.prepare(statistics)

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Resize the system's tensors."""
        inner = {k.removeprefix("model."): x for k, x in shapes.items() if k.startswith("model.")}
        self.model.resize(inner)

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
        output = self.model(self._aligned_batch(batch, lengths, found), features=features)
        losses, named = dict(output.losses), dict(output.features)
        if batch.labels is not None:
            parts = {m: self._reduce(x, batch.masks[m]) for m, x in found.items()}
            losses["ctc"] = torch.stack(list(parts.values())).sum()
            if features:
                named |= {f"loss.ctc.{m}": x for m, x in parts.items()}
        if features:
            for m, x in found.items():
                named[f"alignment.{m}"] = x.weights
                shares = x.weights / x.weights.sum(-1, keepdim=True).clamp(min=1e-12)
                for name in (f"attention.{m}", f"attention.common.{m}"):
                    if (attention := named.get(name)) is not None:
                        # a system may pad further; padding consists of no source step
                        named[name] = attention[..., : shares.shape[1]] @ shares[:, None]
        return ModelOutput(output.logits, losses, named)

    def target_lengths(self, batch: Batch) -> Int64[Tensor, "batch"]:
        """Return how many steps the target of each sample has; 0 for a sample of nothing."""
        estimates = []
        for m in self.sources:
            steps = batch.masks[m].sum(1) / self.config.steps_per_target.get(m, 1.0)
            steps = steps.round().clamp(1, self.target_steps)
            estimates.append(torch.where(batch.masks[m].any(1), steps, torch.inf))
        shortest = torch.stack(estimates).amin(0)
        expected = torch.where(shortest.isinf(), 0.0, shortest).long()
        mask = batch.masks.get(self.config.target)
        if mask is None:
            return expected
        # up to the last real step: a step hidden in the middle keeps its place
        return torch.where(mask.any(1), span(mask), expected)

    def _align(self, batch: Batch, lengths: Int64[Tensor, "batch"]) -> dict[Modality, Aligned]:
        found: dict[Modality, Aligned] = {}
        for m in self.sources:
            values, mask = batch.values[m], batch.masks[m]
            if m in self.norms:
                values = self.norms[m](values.masked_fill(~mask[..., None], 0.0))
            found[m] = self.aligners[m](values, mask, lengths, loss=batch.labels is not None)
        return found

    def _aligned_batch(
        self, batch: Batch, lengths: Int64[Tensor, "batch"], found: Mapping[Modality, Aligned]
    ) -> Batch:
        """The batch that the system sees: all modalities of S steps."""
        steps = max(1, next(iter(found.values())).values.shape[1])
        real = torch.arange(steps, device=lengths.device) < lengths[:, None]
        values, masks = {}, {}
        for m in self.model.dims:
            x, mask = batch.values[m], batch.masks[m]
            if m in found:
                x, mask = found[m].values, real & mask.any(1, keepdim=True)
            # a batch may be padded to more steps than any target has
            values[m] = F.pad(x, (0, 0, 0, steps - x.shape[1]))
            masks[m] = F.pad(mask, (0, steps - mask.shape[1]))
        return Batch(values, masks, batch.labels, batch.ids)

    def _reduce(self, aligned: Aligned, mask: Tensor) -> Float[Tensor, ""]:
        assert aligned.loss is not None
        # DIVERGENCE (reduction): the program adds up the batch, beside losses that are means
        if self.config.reduction == "sum":
            return aligned.loss.sum()
        if self.config.reduction == "step_mean":
            return (aligned.loss / mask.sum(1).clamp(min=1)).mean()
        return aligned.loss.mean()
