"""Directional cross-modal Transformers (Tsai et al. 2019): every modality reads every other.

Masks here are prefixes: whoever calls moves the real steps of each sequence to its front
(:func:`emotailor.nn.sequence.compact`), so that positions and lengths count real steps alone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn.attention import MultiHeadAttention, additive, attendable
from emotailor.nn.dropout import Dropout


@dataclass(frozen=True)
class CrossShape:
    """What the Transformers of a network share."""

    size: int  # width d; the feed-forward parts are four times as wide
    heads: int
    layers: int
    embedding_dropout: float  # on the embedded queries and sources
    relu_dropout: float  # inside the feed-forward parts
    residual_dropout: float  # on what each part adds
    future_mask: bool = False  # a query sees no key behind its own step
    residual: Literal["stream", "normalised"] = "stream"  # what each part is added to
    zero_frames: bool = False  # steps whose first channel is exactly 0 get no position


def sinusoids(steps: int, size: int) -> Float[Tensor, "steps size"]:
    """Return the embedding of positions 1, 2, ..., ``steps``.

    The first half of the channels are sin(t w_k), the second half cos(t w_k), with
    w_k = 10000^(-k / (h - 1)) and h = floor(size / 2); an odd width ends with a channel of zeros.
    """
    half = size // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10000) / max(half - 1, 1)))
    angles = torch.arange(1, steps + 1)[:, None] * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, size % 2))


def embed(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"], *, zero_frames: bool
) -> Float[Tensor, "batch steps size"]:
    """Scale by the root of the width and add positions; masked steps become 0.

    With ``zero_frames`` a step whose first channel is exactly 0 gets no position.
    """
    places = sinusoids(x.shape[1], x.shape[2]).to(x.device, x.dtype)
    shown = mask & (x[..., 0] != 0) if zero_frames else mask
    return (math.sqrt(x.shape[2]) * x + places * shown[..., None]) * mask[..., None]


def key_bias(
    queries: Bool[Tensor, "batch queries"], keys: Bool[Tensor, "batch keys"], *, future_mask: bool
) -> Float[Tensor, "batch 1 _ keys"]:
    """Return what is added to attention scores: 0 where a query may see a key, else -inf.

    With ``future_mask``, query i of a sample sees key j only if j <= i + |K - Q|, where Q and K
    are that sample's true lengths. A row without any real key may be attended everywhere.
    """
    shown = attendable(keys)[:, None, :]
    if future_mask:
        apart = (keys.sum(1) - queries.sum(1)).abs()[:, None, None]
        i = torch.arange(queries.shape[1], device=keys.device)[:, None]
        j = torch.arange(keys.shape[1], device=keys.device)
        shown = shown & (j <= i + apart)
    return additive(shown, torch.float32)[:, None]


def initialise(*linears: nn.Linear) -> None:
    """Draw weights by Glorot's rule, of a stacked matrix as a whole, and set biases to 0."""
    for linear in linears:
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)


class CrossLayer(nn.Module):
    """Pre-norm attention to a source, then a pre-norm feed-forward part with ReLU.

    One layer normalisation serves queries and source. Each part is added to the stream itself, or
    to the normalised stream, as in the equations of Tsai et al.
    """

    def __init__(self, shape: CrossShape, attention_dropout: float) -> None:
        super().__init__()
        self.normalised = shape.residual == "normalised"
        self.attention = MultiHeadAttention(shape.size, shape.heads, attention_dropout)
        initialise(self.attention.in_proj, self.attention.out_proj)
        self.attention_norm = nn.LayerNorm(shape.size)
        self.feedforward_norm = nn.LayerNorm(shape.size)
        self.inner = nn.Linear(shape.size, 4 * shape.size)
        self.outer = nn.Linear(4 * shape.size, shape.size)
        self.relu_dropout = Dropout(shape.relu_dropout)
        self.residual_dropout = Dropout(shape.residual_dropout)
        initialise(self.inner, self.outer)

    def forward(
        self,
        x: Float[Tensor, "batch queries size"],
        source: Float[Tensor, "batch keys size"] | None,
        bias: Float[Tensor, "batch 1 _ keys"],
        *,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None
    ]:
        """Return the new state of the queries and, if asked, the attention weights."""
        normed = self.attention_norm(x)
        keys = None if source is None else self.attention_norm(source)
        read, weights = self.attention(normed, keys, bias=bias, need_weights=need_weights)
        x = (normed if self.normalised else x) + self.residual_dropout(read)
        normed = self.feedforward_norm(x)
        added = self.outer(self.relu_dropout(F.relu(self.inner(normed))))
        return (normed if self.normalised else x) + self.residual_dropout(added), weights


class CrossTransformer(nn.Module):
    """Layers in which one sequence reads another (or itself), and a last normalisation.

    Args:
        shape: sizes.
        attention_dropout: on the attention weights.
    """

    def __init__(self, shape: CrossShape, attention_dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = Dropout(shape.embedding_dropout)
        self.layers = nn.ModuleList(
            CrossLayer(shape, attention_dropout) for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.size)

    def forward(
        self,
        x: Float[Tensor, "batch queries size"],
        mask: Bool[Tensor, "batch queries"],
        source: Float[Tensor, "batch keys size"] | None = None,
        source_mask: Bool[Tensor, "batch keys"] | None = None,
        *,
        need_weights: bool = False,
        last_only: bool = False,
    ) -> tuple[Float[Tensor, "batch _ size"], Float[Tensor, "batch heads _ keys"] | None]:
        """Read an embedded source, the same in every layer.

        Args:
            x: (B, Q, d), embedded queries.
            mask: (B, Q), a prefix.
            source: (B, K, d), embedded; None for self-attention.
            source_mask: (B, K), a prefix.
            need_weights: also return the weights of the last layer (B, heads, Q, K).
            last_only: return the last real step of each row alone (B, 1, d); the last layer then
                computes nothing else. Of a row without real steps it is arbitrary.
        """
        bias = key_bias(
            mask, mask if source_mask is None else source_mask, future_mask=self.shape.future_mask
        )
        x = self.dropout(x)
        source = None if source is None else self.dropout(source)
        weights = None
        for k, layer in enumerate(self.layers):
            if last_only and k == len(self.layers) - 1:
                source = x if source is None else source
                rows, last = torch.arange(len(x), device=x.device), (mask.sum(1) - 1).clamp(min=0)
                bias = bias.expand(-1, -1, x.shape[1], -1)[rows, :, last][:, :, None]
                x = x[rows, last][:, None]
            x, weights = layer(x, source, bias, need_weights=need_weights)
        return self.norm(x), weights


class CrossModalNetwork(nn.Module):
    """Each modality reads every other one; what it read goes through its own memory.

    Args:
        names: of M >= 2 modalities, in the order in which what a target read is concatenated.
        shape: of the M (M - 1) cross-modal Transformers, each of width d.
        memory_layers: layers of the M memories, each of width (M - 1) d.
        source_dropout: on the attention weights of the Transformers that read a modality.
        memory_dropout: on those of a modality's memory.

    A sample without a source is read as a source of zeros: its message is the same learned vector
    at every step.
    """

    def __init__(
        self,
        names: Iterable[str],
        shape: CrossShape,
        memory_layers: int,
        source_dropout: Mapping[str, float],
        memory_dropout: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.shape, self.names = shape, tuple(names)
        self.cross = nn.ModuleDict(
            {
                f"{target}_from_{source}": CrossTransformer(shape, source_dropout[source])
                for target in self.names
                for source in self.names
                if source != target
            }
        )
        wide = replace(shape, size=(len(self.names) - 1) * shape.size, layers=memory_layers)
        self.memories = nn.ModuleDict(
            {m: CrossTransformer(wide, memory_dropout[m]) for m in self.names}
        )

    def forward(
        self,
        streams: Mapping[str, Float[Tensor, "batch _ size"]],
        masks: Mapping[str, Bool[Tensor, "batch _"]],
        *,
        need_weights: bool = False,
        last_only: bool = False,
    ) -> tuple[dict[str, Float[Tensor, "batch _ width"]], dict[str, Tensor]]:
        """Return the memory of each modality (B, T, (M - 1) d), and weights by name if asked.

        Args:
            streams: modality -> (B, T, d), projected to one width; lengths may differ.
            masks: modality -> (B, T), prefixes.
            need_weights: return the attention of the last layer of each cross-modal Transformer,
                (B, heads, T of the target, T of the source), under ``target_from_source``.
            last_only: return each memory at the last real step of each row alone, (B, 1, ...).
        """
        zero_frames = self.shape.zero_frames
        embedded = {m: embed(streams[m], masks[m], zero_frames=zero_frames) for m in self.names}
        memories, weights = {}, {}
        for target in self.names:
            read = []
            for source in (m for m in self.names if m != target):
                name = f"{target}_from_{source}"
                x, seen = self.cross[name](
                    embedded[target],
                    masks[target],
                    embedded[source],
                    masks[source],
                    need_weights=need_weights,
                )
                read.append(x)
                if seen is not None:
                    weights[name] = seen
            joint = embed(torch.cat(read, -1), masks[target], zero_frames=zero_frames)
            memories[target], _ = self.memories[target](joint, masks[target], last_only=last_only)
        return memories, weights
