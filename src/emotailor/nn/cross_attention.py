"""Directional cross-modal Transformers (Tsai et al. 2019): every modality reads every other.

Notable:

- steps keep their places where others are masked: a position is the place in the sample, and a
  sequence is as long as its last real step is far (:func:`emotailor.nn.sequence.span`);
- every layer reads the same embedding of the source, not the state of the source's own layers;
- where only the last step is wanted, the last layer computes only that (``last_only``).

Symbols: B batch, Q queries, K keys, T steps, d width, M modalities.
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
from emotailor.nn.sequence import cleared, span


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


def sinusoids(
    steps: int, size: int, device: torch.device | None = None
) -> Float[Tensor, "steps size"]:
    """Return the embedding of positions 1, 2, ..., ``steps``.

    The first half of the channels are sin(t w_k), the second half cos(t w_k), with
    w_k = 10000^(-k / (h - 1)) and h = floor(size / 2); an odd width ends with a channel of zeros.
    It is computed on ``device``, by default on the CPU.
    """
    half = size // 2  # h

    # w_k, from 1 down to 1 / 10000
    last = max(half - 1, 1)
    slope = -math.log(10000) / last
    k = torch.arange(half, device=device)
    exponents = k * slope
    rates = torch.exp(exponents)  # (h,)

    positions = torch.arange(1, steps + 1, device=device)
    angles = positions[:, None] * rates  # (T, h)
    sines = angles.sin()
    cosines = angles.cos()
    waves = torch.cat([sines, cosines], 1)  # (T, 2 h)

    # an odd width has one channel more
    odd = size % 2
    return F.pad(waves, (0, odd))


def embed(
    x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"], *, zero_frames: bool
) -> Float[Tensor, "batch steps size"]:
    """Scale by the root of the width and add positions; masked steps become 0.

    With ``zero_frames`` a step whose first channel is exactly 0 gets no position.
    """
    steps, size = x.shape[1:]
    positions = sinusoids(steps, size, x.device)
    positions = positions.to(x.dtype)

    # the steps that get a position
    placed = mask
    if zero_frames:
        filled = x[..., 0] != 0
        placed = mask & filled

    scaled = math.sqrt(size) * x
    added = positions * placed[..., None]  # (B, T, d)
    embedded = scaled + added

    return cleared(embedded, mask)


def key_bias(
    queries: Bool[Tensor, "batch queries"], keys: Bool[Tensor, "batch keys"], *, future_mask: bool
) -> Float[Tensor, "batch 1 _ keys"]:
    """Return what is added to attention scores: 0 where a query may see a key, else -inf.

    With ``future_mask``, query i of a sample sees key j only if ``j <= i + |K - Q|``, where Q and K
    are that sample's true lengths. A query that could see masked keys alone sees these, since a
    softmax over nothing is NaN: an embedded source is 0 there, as where all of it is missing.
    """
    if not future_mask:
        bias = additive(attendable(keys), torch.float32)  # (B, K)
        return bias[:, None, None]

    apart = (span(keys) - span(queries)).abs()  # |K - Q|
    i = torch.arange(queries.shape[1], device=keys.device)
    j = torch.arange(keys.shape[1], device=keys.device)

    # the last key that each query sees
    latest = i[:, None] + apart[:, None, None]  # (B, Q, 1)
    past = j <= latest  # (B, Q, K)

    shown = past & keys[:, None]
    none = ~shown.any(-1, keepdim=True)  # (B, Q, 1)
    bias = additive(shown | (none & past), torch.float32)

    # the same for all heads
    return bias[:, None]


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
        size = shape.size
        width = 4 * size  # inner width of the feed-forward part
        self.normalised = shape.residual == "normalised"

        self.attention = MultiHeadAttention(
            size,
            shape.heads,
            attention_dropout,
        )
        initialise(self.attention.in_proj, self.attention.out_proj)
        self.attention_norm = nn.LayerNorm(size)

        self.feedforward_norm = nn.LayerNorm(size)
        self.inner = nn.Linear(size, width)
        self.outer = nn.Linear(width, size)
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
        # attention
        normed = self.attention_norm(x)
        keys = None
        if source is not None:
            keys = self.attention_norm(source)
        read, weights = self.attention(
            normed,
            keys,
            bias=bias,
            need_weights=need_weights,
        )
        read = self.residual_dropout(read)
        base = normed if self.normalised else x
        x = base + read

        # feed-forward part
        normed = self.feedforward_norm(x)
        hidden = self.inner(normed)  # (B, Q, 4 d)
        hidden = F.relu(hidden)
        hidden = self.relu_dropout(hidden)
        added = self.outer(hidden)  # (B, Q, d)
        added = self.residual_dropout(added)
        base = normed if self.normalised else x
        return base + added, weights


class CrossTransformer(nn.Module):
    """Layers in which one sequence reads another (or itself), and a last normalisation.

    Args:
        shape: sizes.
        attention_dropout: dropout rate of the attention weights.
    """

    def __init__(self, shape: CrossShape, attention_dropout: float) -> None:
        super().__init__()
        self.shape = shape
        self.dropout = Dropout(shape.embedding_dropout)
        self.layers = nn.ModuleList()
        for _ in range(shape.layers):
            layer = CrossLayer(shape, attention_dropout)
            self.layers.append(layer)
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
            mask: (B, Q).
            source: (B, K, d), embedded, 0 at masked steps; None for self-attention.
            source_mask: (B, K).
            need_weights: also return the weights of the last layer (B, heads, Q, K).
            last_only: return the last real step of each row alone (B, 1, d); the last layer then
                computes nothing else. Of a row without real steps it is arbitrary.
        """
        key_mask = mask
        if source_mask is not None:
            key_mask = source_mask
        bias = key_bias(mask, key_mask, future_mask=self.shape.future_mask)

        x = self.dropout(x)
        if source is not None:
            source = self.dropout(source)

        final = len(self.layers) - 1
        weights = None
        for k, layer in enumerate(self.layers):
            # earlier layers need all steps: in self-attention they are the source of this one
            if last_only and k == final:
                if source is None:
                    source = x
                x, bias = _last_query(x, bias, mask)
            x, weights = layer(x, source, bias, need_weights=need_weights)

        state = self.norm(x)
        return state, weights


def _last_query(
    x: Float[Tensor, "batch queries size"],
    bias: Float[Tensor, "batch 1 _ keys"],
    mask: Bool[Tensor, "batch queries"],
) -> tuple[Float[Tensor, "batch 1 size"], Float[Tensor, "batch 1 1 keys"]]:
    """Return the last real query of each row, and what is added to its scores."""
    batch, queries, _ = x.shape
    rows = torch.arange(batch, device=x.device)

    # of a row without real steps the first is read
    last = (span(mask) - 1).clamp(min=0)
    query = x[rows, last]  # (B, d)

    # a bias that serves all queries has one row
    of_all = bias.expand(-1, -1, queries, -1)  # (B, 1, Q, K)
    of_query = of_all[rows, :, last]  # (B, 1, K)
    return query[:, None], of_query[:, :, None]


class CrossModalNetwork(nn.Module):
    """Each modality reads every other one; what it read goes through its own memory.

    Args:
        names: M >= 2 modalities, in the order in which what a target read is concatenated.
        shape: sizes of the M (M - 1) cross-modal Transformers, each of width d.
        memory_layers: number of layers of the M memories, each of width (M - 1) d.
        source_dropout: modality -> dropout rate of the attention weights where it is read.
        memory_dropout: modality -> dropout rate of the attention weights in its memory.

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
        self.shape = shape
        self.names = tuple(names)

        self.cross = nn.ModuleDict()
        for target in self.names:
            for source in self._sources(target):
                name = f"{target}_from_{source}"
                dropout = source_dropout[source]
                self.cross[name] = CrossTransformer(shape, dropout)

        # a memory reads the messages of all other modalities side by side
        sources = len(self.names) - 1
        width = sources * shape.size
        wide = replace(shape, size=width, layers=memory_layers)
        self.memories = nn.ModuleDict()
        for m in self.names:
            self.memories[m] = CrossTransformer(wide, memory_dropout[m])

    def _sources(self, target: str) -> list[str]:
        """Return the modalities that a target reads, in their order."""
        return [name for name in self.names if name != target]

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
            masks: modality -> (B, T).
            need_weights: return the attention of the last layer of each cross-modal Transformer,
                (B, heads, T of the target, T of the source), under ``target_from_source``.
            last_only: return each memory at the last real step of each row alone, (B, 1, ...).
        """
        zero_frames = self.shape.zero_frames
        # once for all who read a modality
        embedded: dict[str, Tensor] = {}
        for m in self.names:
            embedded[m] = embed(streams[m], masks[m], zero_frames=zero_frames)

        memories: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        for target in self.names:
            read: list[Tensor] = []  # one message for each source
            for source in self._sources(target):
                name = f"{target}_from_{source}"
                message, seen = self.cross[name](
                    embedded[target],
                    masks[target],
                    embedded[source],
                    masks[source],
                    need_weights=need_weights,
                )
                read.append(message)  # (B, T, d)
                if seen is not None:
                    weights[name] = seen

            joint = torch.cat(read, -1)  # (B, T, (M - 1) d)
            joint = embed(joint, masks[target], zero_frames=zero_frames)
            memories[target], _ = self.memories[target](
                joint,
                masks[target],
                last_only=last_only,
            )
        return memories, weights
