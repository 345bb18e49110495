"""BERT with low-rank adapters: a weight W becomes W + scale * U D, and U and D alone are trained.

Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022. D is drawn, U starts at
zero, so that a fresh model computes what the encoder does.

Symbols: r rank, d width of the encoder, D ``down`` (r, in), U ``up`` (out, r).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.encoders.bert import Bert
from emotailor.models.adapters.config import AdapterConfig
from emotailor.nn.attention import attend_itself, attendable
from emotailor.nn.dropout import Dropout
from emotailor.nn.plain import is_plain


class LowRank(nn.Module):
    """What is added to a linear map: (..., in) -> (..., out).

    Args:
        inputs: width of what enters.
        outputs: width of what leaves.
        config: rank and scale.
    """

    def __init__(self, inputs: int, outputs: int, config: AdapterConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.down = nn.Parameter(torch.empty(config.rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, config.rank))
        nn.init.normal_(self.down, std=inputs**-0.5)

    def forward(self, x: Float[Tensor, "*steps inputs"]) -> Float[Tensor, "*steps outputs"]:
        """Return the addition."""
        narrow = F.linear(x, self.down)  # (..., r)
        return F.linear(narrow, self.scale * self.up)

    def merged(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs inputs"]:
        """Return the weight of the linear map with the addition in it: W + scale * U D."""
        return torch.addmm(weight, self.up, self.down, alpha=self.scale)


@dataclass(frozen=True, eq=False)
class Merged:
    """The weights of a layer with the adapters in them.

    Attributes:
        qkv: (3 d, d).
        mixed: (d, d).
        inner: (inner, d).
        outer: (d, inner).
    """

    qkv: Float[Tensor, "_ width"]
    mixed: Float[Tensor, "width width"]
    inner: Float[Tensor, "inner width"]
    outer: Float[Tensor, "width inner"]


class AdaptedLayer(nn.Module):
    """The adapters of one layer, and what the layer computes with them.

    The layer itself is handed over with every call: its parameters belong to no model.

    Args:
        width: d.
        inner: width of the feed-forward part.
        config: settings.
    """

    def __init__(self, width: int, inner: int, config: AdapterConfig) -> None:
        super().__init__()
        self.query = LowRank(width, width, config)
        self.key = LowRank(width, width, config)
        self.value = LowRank(width, width, config)
        self.mixed = LowRank(width, width, config)
        self.inner = LowRank(width, inner, config)
        self.outer = LowRank(inner, width, config)
        self.entering = Dropout(config.dropout)
        self.leaving = Dropout(config.encoder_dropout)
        self.attention_rate = config.encoder_dropout
        self._settled: Merged | None = None

    def settle(self, layer: nn.TransformerEncoderLayer) -> None:
        """Compute the weights with the adapters in them once, until anything changes them.

        Args:
            layer: that comes with every call from now on.
        """
        with torch.no_grad():
            self._settled = self._merge(layer)

    def train(self, mode: bool = True) -> "AdaptedLayer":
        """Begin to train, or end; in training the weights change."""
        if mode:
            self._settled = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> "AdaptedLayer":
        # another device, another type
        self._settled = None
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._settled = None
        super()._load_from_state_dict(*args, **kwargs)

    def forward(
        self,
        layer: nn.TransformerEncoderLayer,
        x: Float[Tensor, "texts steps width"],
        real: Bool[Tensor, "texts steps"],
    ) -> Float[Tensor, "texts steps width"]:
        """Return the output of the adapted layer.

        Args:
            layer: of the encoder.
            x: its input.
            real: the steps that may be attended to.
        """
        # what enters an adapter is dropped out in training alone
        if not self.training and not is_plain():
            return self._merged(layer, x, real)

        attended = self._attend(layer.self_attn, x, real)
        x = layer.norm1(x + self.leaving(attended))

        widened = layer.linear1(x) + self.inner(self.entering(x))
        active = F.gelu(widened)
        narrowed = layer.linear2(active) + self.outer(self.entering(active))
        found: Tensor = layer.norm2(x + self.leaving(narrowed))
        return found

    def _attend(
        self,
        attention: nn.MultiheadAttention,
        x: Float[Tensor, "texts steps width"],
        real: Bool[Tensor, "texts steps"],
    ) -> Float[Tensor, "texts steps width"]:
        entering = self.entering(x)
        added = [self.query(entering), self.key(entering), self.value(entering)]
        qkv = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        qkv = qkv + torch.cat(added, -1)  # (texts, steps, 3 d)

        rate = self.attention_rate if self.training else 0.0
        mixed, _ = attend_itself(qkv, _shown(real), heads=attention.num_heads, rate=rate)
        return attention.out_proj(mixed) + self.mixed(self.entering(mixed))

    def _merged(
        self,
        layer: nn.TransformerEncoderLayer,
        x: Float[Tensor, "texts steps width"],
        real: Bool[Tensor, "texts steps"],
    ) -> Float[Tensor, "texts steps width"]:
        """Return the output of the layer by weights with the adapters in them.

        One product in place of three and a sum, each of which would be as large as the output: in
        half the time, and for a single sentence in no more.
        """
        # where gradients are asked for, they have to reach the adapters
        weights = self._settled
        if weights is None or torch.is_grad_enabled():
            weights = self._merge(layer)

        attention = layer.self_attn
        qkv = F.linear(x, weights.qkv, attention.in_proj_bias)  # (texts, steps, 3 d)
        mixed, _ = attend_itself(qkv, _shown(real), heads=attention.num_heads, rate=0.0)
        attended = F.linear(mixed, weights.mixed, attention.out_proj.bias)
        x = layer.norm1(x + attended)

        active = F.gelu(F.linear(x, weights.inner, layer.linear1.bias))
        narrowed = F.linear(active, weights.outer, layer.linear2.bias)
        found: Tensor = layer.norm2(x + narrowed)
        return found

    def _merge(self, layer: nn.TransformerEncoderLayer) -> Merged:
        parts = layer.self_attn.in_proj_weight.chunk(3)
        adapters = (self.query, self.key, self.value)
        qkv = [adapter.merged(part) for adapter, part in zip(adapters, parts, strict=True)]
        return Merged(
            torch.cat(qkv),
            self.mixed.merged(layer.self_attn.out_proj.weight),
            self.inner.merged(layer.linear1.weight),
            self.outer.merged(layer.linear2.weight),
        )


def _shown(real: Bool[Tensor, "texts steps"]) -> Bool[Tensor, "texts steps"] | None:
    """Return which steps may be attended to; None where all may."""
    return None if bool(real.all()) else attendable(real)


class AdaptedBert(nn.Module):
    """The adapters of a BERT.

    Args:
        layers: number of layers of the encoder.
        width: d.
        inner: width of its feed-forward parts.
        config: settings; ``layers`` of them may be more than there are, and all are adapted then.
    """

    def __init__(self, layers: int, width: int, inner: int, config: AdapterConfig) -> None:
        super().__init__()
        adapted = layers if config.layers is None else min(config.layers, layers)
        self.leaving = Dropout(config.encoder_dropout)
        self.layers = nn.ModuleList()
        for _ in range(adapted):
            self.layers.append(AdaptedLayer(width, inner, config))

    def forward(
        self,
        bert: Bert,
        pieces: Int64[Tensor, "texts steps"],
        real: Bool[Tensor, "texts steps"],
        place: Int64[Tensor, "texts steps"] | None = None,
    ) -> Float[Tensor, "texts steps width"]:
        """Return the output of the last layer.

        Args:
            bert: the encoder.
            pieces: numbers of pieces, with those that begin and end a text.
            real: the steps that may be attended to.
            place: where each piece stands in its text; by default one after the other.
        """
        first = self._first(bert)
        with torch.no_grad():  # nothing below the first adapted layer is trained
            x = bert(pieces, real, first, place)
        if not first:
            x = self.leaving(x)

        for adapters, layer in zip(self.layers, bert.layers[first:], strict=True):
            x = adapters(layer, x, real)
        return x

    def settle(self, bert: Bert) -> None:
        """Put the adapters into the weights once, until anything changes them.

        Args:
            bert: the encoder, the same one as in later calls.
        """
        first = self._first(bert)
        for adapters, layer in zip(self.layers, bert.layers[first:], strict=True):
            assert isinstance(adapters, AdaptedLayer)
            assert isinstance(layer, nn.TransformerEncoderLayer)
            adapters.settle(layer)

    def _first(self, bert: Bert) -> int:
        """Return the number of the first adapted layer."""
        return len(bert.layers) - len(self.layers)
