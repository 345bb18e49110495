"""MulT: multimodal Transformer for unaligned multimodal language sequences (ACL 2019).

Notable:

- temporal convolutions bring every modality to one width d;
- for each ordered pair of modalities a cross-modal Transformer lets the target's steps attend to
  the source's, which need not be aligned with them: every layer reads the source's low-level
  embedding, not the state of a Transformer of its own;
- what a target read from all its sources is concatenated and goes through a memory, a
  self-attention Transformer;
- the last step of each memory, concatenated, passes a residual block and one linear map.

Tsai, Bai, Liang, Kolter, Morency and Salakhutdinov: Multimodal Transformer for Unaligned Multimodal
Language Sequences. ACL 2019.

Symbols: B batch, T steps, d width, L labels, M modalities, m one of them; X_m ``values``, their
convolutions ``streams``, Z_{b->a} ``cross["a_from_b"]``, Z_a ``memories``.

Adapted to multi-label emotions: one logit per emotion and binary cross-entropy in place of one
sentiment score and its absolute error; any M >= 2 modalities, where the paper has three.

Every place where the authors' program departs from the paper is a switch of ``MulTConfig``, marked
DIVERGENCE here. These hold for both presets:
DIVERGENCE (positions): sines in the first half of the channels, cosines in the second, frequencies
10000^(-k/(h-1)), as in the program; the paper interleaves them.
DIVERGENCE (one normalisation): queries and source of a layer share one layer normalisation, as in
the program; the paper's equations leave it open.
DIVERGENCE (source dropout): the program drops out the embedded source twice, once for keys and once
for values; here one draw serves both. Without dropout the two are equal.
DIVERGENCE (padding): the program pads every sequence to a fixed length, here to the longest of the
batch, and masked steps are not read.
DIVERGENCE (missing modality): undefined in the paper. A missing source gives every step the same
learned message, a missing target the summary 0.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.models.mult.config import MulTConfig
from emotailor.nn.cross_attention import CrossModalNetwork, CrossShape
from emotailor.nn.dropout import Dropout
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import cleared, last_real


class TemporalConvolution(nn.Module):
    """Convolution over time without bias, as long as its input; (B, T, dim) -> (B, T, d)."""

    def __init__(self, dim: int, size: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, size, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Float[Tensor, "batch steps dim"]) -> Float[Tensor, "batch steps size"]:
        """Return the projected steps."""
        if self.conv.kernel_size == (1,):
            return F.linear(x, self.conv.weight[..., 0])
        return self.conv(x.mT).mT.contiguous()


class MulT(EmotionModel):
    """The MulT model.

    Args:
        config: settings.
        dims: modality -> feature width; at least two modalities.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True
    takes_unaligned = True

    def __init__(self, config: MulTConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        # what a target read is concatenated in the program's order t, a, v; so are the summaries
        self.modalities = tuple(m for m in reversed(MODALITIES) if m in dims)
        d = config.hidden_size

        kernels = {
            "visual": config.visual_kernel,
            "audio": config.audio_kernel,
            "text": config.text_kernel,
        }
        # DIVERGENCE (always_project): the program does not project what is of width d already
        self.projections = nn.ModuleDict()
        for m in self.modalities:
            if config.always_project or dims[m] != d:
                self.projections[m] = TemporalConvolution(dims[m], d, kernels[m])

        self.text_dropout = Dropout(config.embedding_dropout)
        shape = CrossShape(
            size=d,
            heads=config.heads,
            layers=config.layers,
            embedding_dropout=config.embedding_dropout,
            relu_dropout=config.relu_dropout,
            residual_dropout=config.residual_dropout,
            # DIVERGENCE (future_mask): the program hides later keys, the paper's equations do not
            future_mask=config.future_mask,
            # DIVERGENCE (residual): the paper adds each part to the normalised stream
            residual=config.residual,
            # DIVERGENCE (zero_frame_rule): the program's only trace of padding
            zero_frames=config.zero_frame_rule,
        )
        source_dropout: dict[str, float] = {
            "visual": config.attention_dropout_visual,
            "audio": config.attention_dropout_audio,
            "text": config.attention_dropout,
        }
        memory_dropout: dict[str, float] = dict.fromkeys(self.modalities, config.attention_dropout)
        self.network = CrossModalNetwork(
            self.modalities,
            shape,
            config.memory_layers,
            source_dropout=source_dropout,
            memory_dropout=memory_dropout,
        )

        count = len(self.modalities)
        width = count * (count - 1) * d  # of the summary
        self.block = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            Dropout(config.output_dropout),
            nn.Linear(width, width),
        )
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the loss and, if asked, features.

        Features, by name (a, b, m modalities; at masked steps their values mean nothing):
            ``projected.m``: (B, T, d).
            ``memory.m``: (B, T, (M - 1) d).
            ``cross_attention.a_from_b``: of the last layer, (B, heads, T of a, T of b).
            ``summary``: the last step of each memory, t, a, v end to end, (B, M (M - 1) d).
        """
        streams, masks = self._project(batch)
        # the memories are read at their last step, and need not compute the others
        last_only = not features and not is_plain()
        memories, weights = self.network(
            streams,
            masks,
            need_weights=features,
            last_only=last_only,
        )

        last = []
        for m in self.modalities:
            memory = memories[m]
            if last_only:
                there = masks[m].any(1, keepdim=True)
                last.append(memory[:, 0] * there)
            else:
                last.append(last_real(memory, masks[m]))
        summary = torch.cat(last, -1)  # (B, M (M - 1) d)

        refined = summary + self.block(summary)
        logits = self.classifier(refined)
        losses = classification_loss(logits, batch, self.label_loss)
        if not features:
            return ModelOutput(logits, losses)

        named: dict[str, Tensor] = {"summary": summary}
        for m in self.modalities:
            named[f"projected.{m}"] = streams[m]
            named[f"memory.{m}"] = memories[m]
        for name, x in weights.items():
            named[f"cross_attention.{name}"] = x
        return ModelOutput(logits, losses, named)

    def _project(
        self, batch: Batch
    ) -> tuple[
        dict[Modality, Float[Tensor, "batch _ size"]], dict[Modality, Bool[Tensor, "batch _"]]
    ]:
        """Return the convolved sequences (B, T, d), and their masks."""
        streams = {}
        masks = {}
        for m in self.modalities:
            mask = batch.masks[m]
            values = cleared(batch.values[m], mask)

            # DIVERGENCE (attend_to_padding): the program takes padding for real steps
            if self.config.attend_to_padding:
                mask = torch.ones_like(mask)

            if m == "text":
                values = self.text_dropout(values)
            if m in self.projections:
                values = self.projections[m](values)
            streams[m] = values
            masks[m] = mask

        return streams, masks
