"""A decoder layer whose queries do not choose what they read, to measure what attention adds."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from emotailor.nn.dropout import Dropout
from emotailor.nn.encoder import AttentionBlock, FeedForwardBlock, TransformerShape
from emotailor.nn.sequence import masked_mean


class SumBlock(nn.Module):
    """What is left of an attention block without its attention: LN(x + dropout(added))."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.dropout = Dropout(shape.dropout)
        self.norm = nn.LayerNorm(shape.size, shape.eps)

    def forward(
        self,
        x: Float[Tensor, "qbatch queries size"],
        added: Float[Tensor, "batch 1 size"] | None = None,
    ) -> Float[Tensor, "_ queries size"]:
        """Return the new state, of as many samples as ``added`` has."""
        if added is not None:
            x = x + self.dropout(added)
        return self.norm(x)


class PooledDecoderLayer(nn.Module):
    """A decoder layer in which every query gets the mean of the memory's real steps.

    Args:
        shape: sizes.
        correlation: keep the self-attention of the queries.
    """

    def __init__(self, shape: TransformerShape, *, correlation: bool) -> None:
        super().__init__()
        self.self_attention = AttentionBlock(shape) if correlation else SumBlock(shape)
        self.memory_attention = SumBlock(shape)
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
        None,
    ]:
        """Return the new state and, if asked, the weights of the labels' self-attention."""
        weights = None
        if isinstance(self.self_attention, AttentionBlock):
            x, weights = self.self_attention(x, need_weights=need_weights)
        else:
            x = self.self_attention(x)

        # every query gets the same
        pooled = masked_mean(memory, mask)  # (B, d)
        x = self.memory_attention(x, pooled[:, None])
        x = self.feedforward(x)
        return x, weights, None
