"""The post-norm Transformer encoder of sequences, and the decoder of labels.

Notable:

- the same layers serve raw features (projected, then summed with positions) and joint sequences
  (summed with positions and modality tokens);
- padding is masked in attention and never read elsewhere;
- the place of a step in a joint sequence does not depend on the padding of the batch
  (:class:`Stream`).

Symbols: B batch, T steps, d width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.nn.attention import MultiHeadAttention
from emotailor.nn.dropout import Dropout


@dataclass(frozen=True)
class TransformerShape:
    """Sizes shared by the layers of an encoder or decoder."""

    size: int  # width d
    feedforward: int  # inner width of the feed-forward part
    heads: int
    dropout: float  # on attention weights and on each part's output
    eps: float  # of layer normalisation


class AttentionBlock(nn.Module):
    """Attention, dropout, residual sum, layer normalisation."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(shape.size, shape.heads, shape.dropout)
        self.dropout = Dropout(shape.dropout)
        self.norm = nn.LayerNorm(shape.size, shape.eps)

    def forward(
        self,
        x: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"] | None = None,
        mask: Bool[Tensor, "batch keys"] | None = None,
        *,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch queries size"], Float[Tensor, "batch heads queries keys"] | None
    ]:
        """Return the new state of the queries and, if asked, the attention weights."""
        attended, weights = self.attention(
            x,
            memory,
            mask,
            need_weights=need_weights,
        )
        added = self.dropout(attended)
        # a batch of one is spread over the batch of the memory here
        x = x + added  # (B, Q, d)
        state = self.norm(x)
        return state, weights


class FeedForwardBlock(nn.Module):
    """Two linear maps with a non-linearity between, dropout, residual sum, layer normalisation.

    Args:
        shape: sizes.
        activation: the non-linearity between the linear maps.
    """

    def __init__(
        self, shape: TransformerShape, activation: Callable[[Tensor], Tensor] = F.gelu
    ) -> None:
        super().__init__()
        size = shape.size
        width = shape.feedforward
        self.activation = activation

        self.inner = nn.Linear(size, width)
        self.outer = nn.Linear(width, size)
        self.dropout = Dropout(shape.dropout)
        self.norm = nn.LayerNorm(size, shape.eps)

    def forward(self, x: Float[Tensor, "batch steps size"]) -> Float[Tensor, "batch steps size"]:
        """Return the new state, same shape."""
        hidden = self.inner(x)  # (B, T, feedforward)
        hidden = self.activation(hidden)
        added = self.outer(hidden)  # (B, T, d)
        x = x + self.dropout(added)
        return self.norm(x)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward part."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attention = AttentionBlock(shape)
        self.feedforward = FeedForwardBlock(shape)

    def forward(
        self, x: Float[Tensor, "batch steps size"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps size"]:
        """Return the new state, same shape; masked steps are never attended."""
        x, _ = self.attention(x, None, mask)
        return self.feedforward(x)


class DecoderLayer(nn.Module):
    """Self-attention of the queries, attention to a memory, then the feed-forward part."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.self_attention = AttentionBlock(shape)
        self.memory_attention = AttentionBlock(shape)
        self.feedforward = FeedForwardBlock(shape)

    def forward(
        self,
        x: Float[Tensor, "qbatch queries size"],
        memory: Float[Tensor, "batch keys size"],
        mask: Bool[Tensor, "batch keys"],
        *,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch queries size"],
        Float[Tensor, "qbatch heads queries queries"] | None,
        Float[Tensor, "batch heads queries keys"] | None,
    ]:
        """Return the new state and, if asked, the weights of both attentions."""
        x, self_weights = self.self_attention(x, need_weights=need_weights)
        x, memory_weights = self.memory_attention(
            x,
            memory,
            mask,
            need_weights=need_weights,
        )
        state = self.feedforward(x)
        return state, self_weights, memory_weights


class PositionEmbedding(nn.Module):
    """Adds learned positions (and token types, if any), then normalises and drops out.

    Args:
        shape: sizes.
        positions: rows of the position table.
        types: rows of the token-type table; 0 for none.
    """

    def __init__(self, shape: TransformerShape, positions: int, types: int = 0) -> None:
        super().__init__()
        size = shape.size
        self.position = nn.Embedding(positions, size)
        self.token = None
        if types:
            self.token = nn.Embedding(types, size)

        self.norm = nn.LayerNorm(size, shape.eps)
        self.dropout = Dropout(shape.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch steps size"],
        positions: Int64[Tensor, "steps"],
        types: Int64[Tensor, "steps"] | None = None,
    ) -> Float[Tensor, "batch steps size"]:
        """Return the embedded steps, same shape."""
        # the same for all samples
        added = self.position(positions)  # (T, d)
        if self.token is not None and types is not None:
            kinds = self.token(types)  # (T, d)
            added = added + kinds

        x = x + added
        x = self.norm(x)
        return self.dropout(x)


class SequenceEncoder(nn.Module):
    """Encoder of one raw sequence: projection to width d, positions, Transformer layers.

    Args:
        dim: width of the raw features.
        shape: sizes.
        layers: number of Transformer layers.
        max_steps: rows of the position table.
    """

    def __init__(self, dim: int, shape: TransformerShape, layers: int, max_steps: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, shape.size)
        self.embedding = PositionEmbedding(shape, max_steps)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(layers))

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps size"]:
        """Return (B, T, d) from (B, T, dim)."""
        steps = values.shape[1]
        positions = torch.arange(steps, device=values.device)

        x = self.projection(values)  # (B, T, d)
        x = self.embedding(x, positions)
        for layer in self.layers:
            x = layer(x, mask)

        return x


@dataclass(frozen=True)
class Stream:
    """A sequence of representations on its way through the cross-modal encoders.

    Attributes:
        values: (B, T, d).
        mask: (B, T), True at real steps.
        positions: (T,), the place of each step; independent of how much padding the batch has.
        slots: how many places are reserved, so that what is appended starts after them.
        blocks: name and number of steps of each part, in order.
    """

    values: Float[Tensor, "batch steps size"]
    mask: Bool[Tensor, "batch steps"]
    positions: Int64[Tensor, "steps"]
    slots: int
    blocks: tuple[tuple[str, int], ...]

    @classmethod
    def start(
        cls,
        name: str,
        values: Float[Tensor, "batch steps size"],
        mask: Bool[Tensor, "batch steps"],
        slots: int,
    ) -> "Stream":
        """A stream of one block whose steps take places 0, 1, ..."""
        steps = values.shape[1]
        positions = torch.arange(steps, device=values.device)
        only = (name, steps)
        return cls(
            values=values,
            mask=mask,
            positions=positions,
            slots=slots,
            blocks=(only,),
        )

    @classmethod
    def joined(cls, parts: Sequence["Stream"]) -> "Stream":
        """The parts end to end, each in its own places after those of the parts before it."""
        positions: list[Tensor] = []
        blocks: list[tuple[str, int]] = []
        taken = 0  # places of the parts before
        for part in parts:
            positions.append(taken + part.positions)
            blocks.extend(part.blocks)
            taken += part.slots

        return cls(
            values=torch.cat([part.values for part in parts], 1),
            mask=torch.cat([part.mask for part in parts], 1),
            positions=torch.cat(positions),
            slots=taken,
            blocks=tuple(blocks),
        )

    def row(self, number: int) -> "Stream":
        """One row of it, as a batch of one."""
        one = slice(number, number + 1)
        return replace(self, values=self.values[one], mask=self.mask[one])

    def repeated(self, count: int) -> "Stream":
        """A stream of one row as one of many; one of many stays as it is."""
        if self.values.shape[0] == count:
            return self
        values = self.values.expand(count, -1, -1)
        mask = self.mask.expand(count, -1)
        return replace(self, values=values, mask=mask)


class CrossModalEncoder(nn.Module):
    """CME(A, B): Transformer over A and B end to end, with positions and tokens (Fig. 3).

    Args:
        shape: sizes.
        layers: n_c, number of Transformer layers.
        slots: rows of the position table.
        tokens: add modality token embeddings E_A, E_B.
    """

    def __init__(self, shape: TransformerShape, layers: int, slots: int, *, tokens: bool) -> None:
        super().__init__()
        types = 2 if tokens else 0  # E_A and E_B
        self.embedding = PositionEmbedding(shape, slots, types)
        self.layers = nn.ModuleList(EncoderLayer(shape) for _ in range(layers))

    def forward(self, first: Stream, second: Stream) -> Stream:
        """Return the joint representation Z of both, (B, T_first + T_second, d)."""
        joint = Stream.joined([first, second])

        # token type 0 for A, 1 for B
        types = torch.cat(
            [torch.zeros_like(first.positions), torch.ones_like(second.positions)],
        )

        x = self.embedding(joint.values, joint.positions, types)
        for layer in self.layers:
            x = layer(x, joint.mask)
        return replace(joint, values=x)
