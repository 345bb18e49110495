"""HHMPN: heterogeneous hierarchical message passing network (AAAI 2021).

Notable:

- feature to feature: MulT's directional cross-modal Transformers, one output stream per modality;
- feature to label: in one decoder per modality, label nodes attend to that modality's stream;
- label to label: in each round they then attend to their neighbours in the graph of labels that
  occur together in the training split;
- modality to label: each label weighs its states from the modalities;
- a label's logit is the product of its fused state with its own output vector.

Zhang, Ju, Zhang, Li, Li, Zhu and Zhou: Multi-Modal Multi-Label Emotion Recognition with
Heterogeneous Hierarchical Message Passing. AAAI 2021. The decoder is that of LaMP (Lanchantin,
Sekhon and Qi: Neural Message Passing for Multi-Label Classification, ECML 2019).

Symbols: B batch, T steps, d width ``hidden_size``, L labels, M modalities, m one of them; S senders
of messages.

The system is a multi-label emotion recogniser already; it is generalised to any M >= 2 modalities
and, where the streams are not crossed, to unaligned ones.

Every place where the authors' program departs from the method is a switch of ``HHMPNConfig``,
marked DIVERGENCE here. These hold for both presets, with those of ``models/mult/model.py`` on
positions, normalisation, source dropout and padding:
DIVERGENCE (score bias): the program's score of a modality has two biases; the softmax removes them.
DIVERGENCE (zero rows): the program's label attention hides frames of zeros, here masked steps.
DIVERGENCE (missing modality): a modality that a sample lacks is left out of the modality softmax;
in the program it is a sequence of zeros.
DIVERGENCE (round): rounds are ordered as in LaMP, features, feed-forward, labels, feed-forward.
DIVERGENCE (scale): shared embeddings are multiplied by d^-0.5 before they are output vectors, as in
Transformers that share them; without it initial logits would be of the order of sqrt(d).
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ModelError
from emotailor.models.base import EmotionModel, LabelStatistics, ModelOutput, classification_loss
from emotailor.models.hhmpn.config import HHMPNConfig
from emotailor.nn.attention import attendable, join_heads, split_heads
from emotailor.nn.cross_attention import CrossModalNetwork, CrossShape
from emotailor.nn.dropout import Dropout
from emotailor.nn.encoder import FeedForwardBlock, TransformerShape
from emotailor.nn.sequence import cleared, masked_softmax

Streams = dict[Modality, Float[Tensor, "batch _ size"]]
Masks = dict[Modality, Bool[Tensor, "batch _"]]

CROSSED: Mapping[Modality, Modality] = {"text": "visual", "visual": "text", "audio": "audio"}
"""Decoder -> the modality whose stream it reads in the program."""


class Message(nn.Module):
    """Attention without biases, dropout, residual sum, layer normalisation."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        size = shape.size
        heads = shape.heads
        self.size = size
        self.heads = heads

        self.queries = nn.Linear(size, size, bias=False)
        self.memory = nn.Linear(size, 2 * size, bias=False)  # keys, values
        merge = nn.Linear(size, size, bias=False)  # drawn even where one head needs none
        self.merge = merge if heads > 1 else nn.Identity()

        self.weight_dropout = Dropout(shape.dropout)
        self.dropout = Dropout(shape.dropout)
        self.norm = nn.LayerNorm(size, shape.eps)

        width = size // heads
        std = math.sqrt(2 / (size + width))
        nn.init.normal_(self.queries.weight, std=std)
        nn.init.normal_(self.memory.weight, std=std)
        nn.init.xavier_normal_(merge.weight)

    def forward(
        self,
        states: Float[Tensor, "batch labels size"],
        senders: Float[Tensor, "batch keys size"],
        mask: Bool[Tensor, "#batch #labels keys"],
    ) -> tuple[Float[Tensor, "batch labels size"], Float[Tensor, "batch heads labels keys"]]:
        """Return the new label states and the weights of the messages.

        Args:
            states: (B, L, d).
            senders: (B, S, d), what messages come from.
            mask: (B, 1, S) or (1, L, S), True where there is an edge.
        """
        width = self.size // self.heads
        queries = self.queries(states)
        q = split_heads(queries, self.heads)  # (B, heads, L, d / heads)
        q = q * width**-0.5

        both = self.memory(senders)  # (B, S, 2 d)
        keys, values = both.chunk(2, -1)
        k = split_heads(keys, self.heads)  # (B, heads, S, d / heads)
        v = split_heads(values, self.heads)

        no_edge = ~mask[:, None]
        scores = q @ k.mT  # (B, heads, L, S)
        scores = scores.masked_fill(no_edge, -torch.inf)
        weights = scores.softmax(-1)

        dropped = self.weight_dropout(weights)
        read = join_heads(dropped @ v)  # (B, L, d)
        added = self.dropout(self.merge(read))
        return self.norm(states + added), weights


class Round(nn.Module):
    """Messages from features, then from labels, each followed by an update."""

    def __init__(self, config: HHMPNConfig) -> None:
        super().__init__()
        shape = TransformerShape(
            config.hidden_size,
            config.feedforward_size,
            config.decoder_heads,
            config.dropout,
            eps=1e-5,
        )
        self.from_features = Message(shape)
        self.update_1 = FeedForwardBlock(shape, F.relu)
        # DIVERGENCE (label_to_label): the program switches label self-attention off
        self.from_labels = Message(shape) if config.label_to_label else None
        self.update_2 = FeedForwardBlock(shape, F.relu)

    def forward(
        self,
        states: Float[Tensor, "batch labels size"],
        stream: Float[Tensor, "batch steps size"],
        mask: Bool[Tensor, "batch steps"],
        graph: Bool[Tensor, "labels labels"] | None,
    ) -> tuple[
        Float[Tensor, "batch labels size"],
        Float[Tensor, "batch heads labels steps"],
        Float[Tensor, "batch heads labels labels"] | None,
    ]:
        """Return the new label states and the weights of both kinds of messages."""
        shown = attendable(mask)
        shown = shown[:, None]  # (B, 1, T)
        states, attention = self.from_features(states, stream, shown)
        states = self.update_1(states)

        correlation = None
        if self.from_labels is not None and graph is not None:
            edges = graph[None]  # (1, L, L)
            states, correlation = self.from_labels(states, states, edges)

        states = self.update_2(states)
        return states, attention, correlation


class ModalityFusion(nn.Module):
    """Modality to label: a linear map per modality, a weighted sum over modalities, a linear map.

    Args:
        modalities: modalities in the order of the weights.
        config: settings.
    """

    def __init__(self, modalities: tuple[Modality, ...], config: HHMPNConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.over = config.modality_softmax

        self.angles = nn.ModuleDict()
        for m in modalities:
            self.angles[m] = nn.Linear(d, d)

        inner = config.score_size
        self.score = nn.Sequential(
            nn.Linear(d, inner, bias=False),
            nn.Linear(inner, 1, bias=False),
        )
        self.output = nn.Linear(d, d)

    def forward(
        self,
        states: Mapping[Modality, Float[Tensor, "batch labels size"]],
        present: Bool[Tensor, "batch modalities"],
    ) -> tuple[Float[Tensor, "batch labels size"], Float[Tensor, "batch labels modalities"]]:
        """Return the fused label states and the weights; absent modalities have weight 0."""
        mapped = [self.angles[m](x) for m, x in states.items()]
        angles = torch.stack(mapped, 2)  # (B, L, M, d)
        scores = self.score(angles)  # (B, L, M, 1)
        scores = scores[..., 0]

        # DIVERGENCE (modality_softmax): the program normalises each modality over the labels
        if self.over == "labels":
            weights = scores.softmax(1)
            weights = weights * present[:, None]
        else:
            weights = masked_softmax(scores, present)

        weighted = weights[..., None] * angles
        fused = weighted.sum(2)  # (B, L, d)
        return self.output(fused), weights


class HHMPN(EmotionModel):
    """The HHMPN model.

    Args:
        config: settings.
        dims: modality -> feature width; at least two modalities.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True
    takes_unaligned = True
    graph: Tensor

    def __init__(self, config: HHMPNConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.modalities = tuple(m for m in reversed(MODALITIES) if m in dims)  # MulT's t, a, v
        d = config.hidden_size
        width = (len(self.modalities) - 1) * d  # of a memory

        self.projections = nn.ModuleDict()
        for m in self.modalities:
            self.projections[m] = nn.Linear(dims[m], d)

        shape = CrossShape(
            size=d,
            heads=config.encoder_heads,
            layers=config.encoder_layers,
            embedding_dropout=config.embedding_dropout,
            relu_dropout=config.relu_dropout,
            residual_dropout=config.residual_dropout,
            # DIVERGENCE (future_mask): the program's encoder is causal
            future_mask=config.future_mask,
        )
        attention_dropout: dict[str, float] = {
            "visual": config.attention_dropout_visual,
            "audio": config.attention_dropout_audio,
            "text": config.attention_dropout,
        }
        self.network = CrossModalNetwork(
            self.modalities,
            shape,
            config.memory_layers,
            source_dropout=attention_dropout,
            memory_dropout=attention_dropout,
        )
        self.heads = nn.ModuleDict()
        for m in self.modalities:
            self.heads[m] = nn.Sequential(
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.Linear(width, d),
            )

        # DIVERGENCE (crossed): the program's text decoder reads the visual stream, and the reverse
        self.reads: dict[Modality, Modality] = {m: m for m in self.modalities}
        if config.crossed:
            for m in self.modalities:
                if CROSSED[m] in dims:
                    self.reads[m] = CROSSED[m]

        self.labels = nn.Embedding(num_labels, d)
        self.decoders = nn.ModuleDict()
        for m in self.modalities:
            rounds = [Round(config) for _ in range(config.decoder_layers)]
            self.decoders[m] = nn.ModuleList(rounds)
        self.fusion = ModalityFusion(self.modalities, config)

        # DIVERGENCE (share_embedding): the program means to share the label embeddings with the
        # output vectors, and trains two tables
        self.output = None if config.share_embedding else nn.Linear(d, num_labels, bias=False)
        if self.output is not None:
            nn.init.xavier_normal_(self.output.weight)

        if config.label_to_label:
            graph = torch.ones(num_labels, num_labels, dtype=torch.bool)
            self.register_buffer("graph", graph)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Join labels that occur together: n_ij / sqrt(n_i n_j) >= ``graph_threshold``.

        Every label is its own neighbour; one that never occurs has no other.
        """
        if not self.config.label_to_label:
            return

        counts = statistics.counts  # n_i
        together = statistics.together  # n_ij
        products = counts[:, None] * counts  # (L, L)
        scale = products.sqrt().clamp(min=1)

        close = together / scale >= self.config.graph_threshold
        joined = close & (together > 0)
        joined.fill_diagonal_(True)
        self.graph.copy_(joined)

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require aligned sequences where the program's crossed streams are asked for.

        Raises:
            ModelError: they are unaligned.
        """
        if self.config.crossed and not aligned:
            raise ModelError(
                f"unaligned sequences (longest: {dict(longest)} steps) with crossed streams",
                expected="word-aligned data, where every modality has the same steps",
                fix="train with --set model.crossed=false, or convert the data with --align",
            )

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the loss and, if asked, features.

        Features, by name (a, b, m modalities; at masked steps their values mean nothing):
            ``projected.m``: (B, T, d); ``memory.m``: (B, T, (M - 1) d).
            ``cross_attention.a_from_b``: of the last layer, (B, heads, T of a, T of b).
            ``encoder.m``: the stream that the decoder of m reads, (B, T, d).
            ``attention.m``: each label's attention to the steps of that stream in the last round,
            (B, heads, L, T), 0 at masked steps.
            ``label_correlation.m``: its attention to the labels, (B, heads, L, L).
            ``label_states.m``: (B, L, d) after the last round.
            ``modality_weights``: (B, L, M) in the order t, a, v.
            ``label_representations``: the fused states (B, L, d).

        Raises:
            ModelError: the streams are crossed and the modalities differ in length.
        """
        self.check_batch(batch)
        streams, masks = self._project(batch)
        shown = batch.masks
        memories, weights = self.network(streams, masks, need_weights=features)

        samples = next(iter(shown.values())).shape[0]
        start = self.labels.weight.expand(samples, -1, -1)  # (B, L, d)
        graph = self.graph if self.config.label_to_label else None
        encoded = {}
        states = {}
        attention = {}
        correlation = {}
        for m in self.modalities:
            memory = memories[self.reads[m]]
            encoded[m] = self.heads[m](memory)
        for m in self.modalities:
            states[m] = start
            for layer in self.decoders[m].children():
                states[m], attention[m], correlation[m] = layer(
                    states[m],
                    encoded[m],
                    shown[m],
                    graph,
                )

        there = [shown[m].any(1) for m in self.modalities]
        present = torch.stack(there, 1)  # (B, M)
        fused, shares = self.fusion(states, present)
        products = fused * self.output_vectors()  # (B, L, d)
        logits = products.sum(-1)

        losses = classification_loss(logits, batch, self.label_loss)
        if not features:
            return ModelOutput(logits, losses)

        named: dict[str, Tensor] = {}
        for name, x in weights.items():
            named[f"cross_attention.{name}"] = x
        named["modality_weights"] = shares
        named["label_representations"] = fused

        for m in self.modalities:
            named[f"projected.{m}"] = streams[m]
            named[f"memory.{m}"] = memories[m]
            named[f"encoder.{m}"] = encoded[m]
            named[f"label_states.{m}"] = states[m]
            named[f"attention.{m}"] = attention[m] * shown[m][:, None, None]
            if correlation[m] is not None:
                named[f"label_correlation.{m}"] = correlation[m]
        return ModelOutput(logits, losses, named)

    def _project(self, batch: Batch) -> tuple[Streams, Masks]:
        """Bring all modalities to one width.

        Returns:
            By modality: the streams (B, T, d), and the masks of the encoder (B, T).
        """
        streams = {}
        masks = {}
        for m in self.modalities:
            mask = batch.masks[m]
            values = cleared(batch.values[m], mask)

            # DIVERGENCE (attend_to_padding): the program masks padding in label attention alone
            if self.config.attend_to_padding:
                mask = torch.ones_like(mask)

            streams[m] = self.projections[m](values)
            masks[m] = mask

        return streams, masks

    def output_vectors(self) -> Float[Tensor, "labels size"]:
        """What fused states are multiplied with; shared embeddings are scaled to a norm near 1."""
        if self.output is not None:
            return self.output.weight
        return self.labels.weight * self.config.hidden_size**-0.5
