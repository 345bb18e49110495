"""DFG: Graph Memory Fusion Network with an interpretable dynamic fusion graph (ACL 2018).

Notable:
- a system of LSTMs, one per modality, each on its own;
- at every step a dynamic fusion graph whose vertices are all non-empty sets of modalities: the
  unimodal ones are read off the LSTM states h(t-1) and h(t), every larger set is computed from the
  sets it contains, and a summary vertex T from all of them;
- each of the 19 edges is scaled by an efficacy, inferred from the unimodal vertices: how strong
  that connection is at that step, the model's own explanation;
- a multi-view gated memory u keeps the summaries over time;
- only u is a recurrence of its own: the LSTMs run fused, and the graphs of all steps at once.

Zadeh, Liang, Poria, Cambria and Morency: Multimodal Language Analysis in the Wild: CMU-MOSEI
Dataset and Interpretable Dynamic Fusion Graph. ACL 2018. Symbols: l, a, v text, audio, visual;
z_s vertex of the set s; D_s its network; alpha efficacies; T (tau) summary vertex; u memory, u^
its candidate; gamma_1, gamma_2 its retain and update gate. Vertices and efficacies are ordered
l, a, v: text, audio, visual (``VERTEX_ORDER``), as in the paper and its programs.

Adaptations: one logit per label with binary cross-entropy; two modalities (5 edges) as well as
three. Masked steps never happened: every LSTM carries its state over them, and the memory stays as
it is at steps that no modality has. A missing modality keeps the zero state its LSTM starts from.

Two programs are followed: the authors' own of the graph, and MMSA's of the whole network. Every
place where they depart from the paper is a switch of ``DFGConfig``, marked DIVERGENCE here; an
unmarked departure is a bug. These hold for both faces:
DIVERGENCE (no feedback): the paper mentions a network D_z that turns T into an update of the LSTMs,
without an equation; as in the program, the LSTMs do not see the graph.
DIVERGENCE (registered networks): both programs keep the networks of the larger vertices outside
their parameters, so that they are never trained or saved; here they are parameters like the others.
DIVERGENCE (last step): the program reads states and memory at the last padded step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput, classification_loss
from emotailor.models.dfg.config import DFGConfig
from emotailor.nn.dropout import Dropout
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import carried

VERTEX_ORDER: tuple[Modality, ...] = ("text", "audio", "visual")
SUMMARY = "summary"


@dataclass(frozen=True)
class GraphState:
    """The graph of one or more steps.

    Attributes:
        vertices: name -> (..., width), in the order of ``DynamicFusionGraph.vertices``.
        efficacies: (..., edges).
        summary: T, (..., size).
    """

    vertices: Mapping[str, Float[Tensor, "*steps _"]]
    efficacies: Float[Tensor, "*steps edges"]
    summary: Float[Tensor, "*steps size"]


class DynamicFusionGraph(nn.Module):
    """The dynamic fusion graph over all non-empty sets of modalities.

    An edge leads from z_i to z_j where the set i is part of the set j, and from every vertex to the
    summary; z_j = D_j([alpha_ij z_i for all i]).

    Args:
        sizes: name of each modality -> width of its vertex, in the order of the sets.
        size: width of all other vertices and of the summary.
        hidden: inner width of every D_j.
        efficacy_sizes: the two inner widths of D_alpha.
        efficacy: ``sigmoid``, or ``linear`` for unbounded ones.
        activation: ``relu`` inside all networks, or ``none``.

    Attributes:
        vertices: names of the vertices; a set of modalities is joined with ``_``.
        edges: (source, target) of each efficacy, in order.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        size: int,
        hidden: int,
        efficacy_sizes: tuple[int, int],
        *,
        efficacy: str,
        activation: str,
    ) -> None:
        super().__init__()
        names = list(sizes)
        sets = [s for count in range(1, len(names) + 1) for s in combinations(names, count)]
        sources = {
            "_".join(s): ["_".join(part) for part in sets if set(part) < set(s)]
            for s in sets
            if len(s) > 1
        }
        self.vertices = tuple("_".join(s) for s in sets)
        sources[SUMMARY] = list(self.vertices)
        self.sources = sources
        self.edges = tuple((i, j) for j, parts in sources.items() for i in parts)
        self.sigmoid = efficacy == "sigmoid"
        widths = {vertex: sizes.get(vertex, size) for vertex in self.vertices}
        self.networks = nn.ModuleDict(
            {
                j: self._network(activation, sum(widths[i] for i in parts), hidden, size)
                for j, parts in sources.items()
            }
        )
        self.efficacy_network = self._network(
            activation, sum(sizes.values()), *efficacy_sizes, len(self.edges)
        )

    @staticmethod
    def _network(activation: str, *sizes: int) -> nn.Sequential:
        # DIVERGENCE (activation): in the programs every network is a product of linear maps
        between = nn.ReLU if activation == "relu" else nn.Identity
        layers = [layer for i, j in pairwise(sizes) for layer in (nn.Linear(i, j), between())]
        return nn.Sequential(*layers[:-1])

    def forward(self, unimodal: Sequence[Float[Tensor, "*steps _"]]) -> GraphState:
        """Compute all vertices from the unimodal ones, each (..., width) in the order of sizes."""
        vertices = dict(zip(self.vertices, unimodal, strict=False))
        efficacies = self.efficacy_network(torch.cat(list(unimodal), -1))
        # DIVERGENCE (efficacy): the paper's neurons are sigmoid; the programs' are not squashed
        if self.sigmoid:
            efficacies = efficacies.sigmoid()
        edge = iter(efficacies.split(1, -1))
        for target, parts in self.sources.items():
            scaled = torch.cat([next(edge) * vertices[part] for part in parts], -1)
            vertices[target] = self.networks[target](scaled)
        summary = vertices.pop(SUMMARY)
        return GraphState(vertices, efficacies, summary)


@dataclass(frozen=True)
class MemoryState:
    """What the memory did at every step; each (B, T, size), gates only where asked for."""

    memory: Float[Tensor, "batch steps size"]
    candidate: Float[Tensor, "batch steps size"]
    retain: Float[Tensor, "batch steps size"] | None = None
    update: Float[Tensor, "batch steps size"] | None = None


class GatedMemory(nn.Module):
    """The multi-view gated memory: u(t) = gamma_1 u(t-1) + gamma_2 u^(t), from u = 0.

    u^ = tanh(D_u(T)); gamma_k = sigmoid(D_gamma_k([T, u(t-1)])).
    """

    def __init__(self, config: DFGConfig) -> None:
        super().__init__()
        q, size = config.vertex_size, config.memory_size
        self.candidate = nn.Sequential(
            nn.Linear(q, config.candidate_hidden),
            nn.ReLU(),
            Dropout(config.candidate_dropout),
            nn.Linear(config.candidate_hidden, size),
            nn.Tanh(),
        )
        self.retain_hidden = nn.Linear(q + size, config.retain_hidden)
        self.retain_dropout = Dropout(config.retain_dropout)
        self.retain = nn.Linear(config.retain_hidden, size)
        self.update_hidden = nn.Linear(q + size, config.update_hidden)
        self.update_dropout = Dropout(config.update_dropout)
        self.update = nn.Linear(config.update_hidden, size)

    def forward(
        self,
        summary: Float[Tensor, "batch steps size"],
        mask: Bool[Tensor, "batch steps"],
        *,
        gates: bool = False,
    ) -> MemoryState:
        """Run over the steps; where the mask is False, the memory stays as it is.

        What does not depend on the memory is computed for all steps at once; a step of the loop is
        one product for the hidden layers of both gates and one for each gate.
        """
        batch, q = len(summary), summary.shape[-1]
        sizes = [self.retain.in_features, self.update.in_features]
        hidden = (self.retain_hidden, self.update_hidden)
        weight, bias = torch.cat([x.weight for x in hidden]), torch.cat([x.bias for x in hidden])
        steps = summary.transpose(0, 1)
        from_summary = F.linear(steps, weight[:, :q], bias)
        candidate = self.candidate(steps)
        keep = None
        if self.training:
            ones = [from_summary.new_ones(*steps.shape[:2], size) for size in sizes]
            keep = torch.cat([self.retain_dropout(ones[0]), self.update_dropout(ones[1])], -1)
        to_hidden = weight[:, q:].T
        to_retain, to_update = self.retain.weight.T, self.update.weight.T
        whole = mask.all(0).tolist()
        memory = summary.new_zeros(batch, self.retain.out_features)
        memories, opened = [], []
        slices = zip(from_summary.unbind(0), candidate.unbind(0), mask.unbind(1), strict=True)
        for t, (given, proposed, real) in enumerate(slices):
            inner = torch.addmm(given, memory, to_hidden).relu()
            if keep is not None:
                inner = inner * keep[t]
            for_retain, for_update = torch.split(inner, sizes, -1)
            retain = torch.addmm(self.retain.bias, for_retain, to_retain).sigmoid()
            update = torch.addmm(self.update.bias, for_update, to_update).sigmoid()
            new = torch.addcmul(update * proposed, retain, memory)
            memory = new if whole[t] else torch.where(real[:, None], new, memory)
            memories.append(memory)
            if gates:
                opened.append((retain, update))
        shown = [torch.stack(x, 1) for x in zip(*opened, strict=True)] if gates else [None, None]
        return MemoryState(torch.stack(memories, 1), candidate.transpose(0, 1), *shown)


def before(states: Float[Tensor, "batch steps size"]) -> Float[Tensor, "batch steps size"]:
    """Return the state before each step: that of the last step, 0 before the first."""
    return F.pad(states[:, :-1], (0, 0, 1, 0))


def cells(
    lstm: nn.Module,
    x: Float[Tensor, "batch steps dim"],
    hidden: Float[Tensor, "batch steps size"],
    mask: Bool[Tensor, "batch steps"],
) -> Float[Tensor, "batch steps size"]:
    """Return c(t) of a one-layer LSTM that yielded the hidden states h(t), carried over masks.

    With all h(t) known, the gates of all steps are computed at once; the rest is elementwise.
    """
    given = {name.removeprefix("ahead.0."): part for name, part in lstm.named_parameters()}
    gates = F.linear(x, given["weight_ih_l0"], given["bias_ih_l0"])
    gates = gates + F.linear(before(hidden), given["weight_hh_l0"], given["bias_hh_l0"])
    entered, forgot, proposed, _ = gates.chunk(4, -1)
    real = mask[..., None]
    kept = torch.where(real, forgot.sigmoid(), 1.0)
    added = torch.where(real, entered.sigmoid() * proposed.tanh(), 0.0)
    cell, found = added.new_zeros(added.shape[0], added.shape[2]), []
    for keep, new in zip(kept.unbind(1), added.unbind(1), strict=True):
        cell = torch.addcmul(new, keep, cell)
        found.append(cell)
    return torch.stack(found, 1)


class DFG(EmotionModel):
    """The Graph-MFN.

    Args:
        config: settings.
        dims: modality -> feature width, of two or three modalities.
        num_labels: L.
    """

    parts_in_threads = True

    def __init__(self, config: DFGConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.modalities = tuple(m for m in VERTEX_ORDER if m in dims)
        widths = {"text": config.text_size, "audio": config.audio_size}
        widths["visual"] = config.visual_size
        sizes = {m: widths[m] for m in self.modalities}
        self.lstms = nn.ModuleDict({m: RecurrentEncoder(dims[m], sizes[m]) for m in sizes})
        self.unimodal = nn.ModuleDict({m: nn.Linear(2 * n, n) for m, n in sizes.items()})
        self.graph = DynamicFusionGraph(
            {str(m): n for m, n in sizes.items()},
            config.vertex_size,
            config.vertex_hidden,
            (config.vertex_hidden, config.vertex_size),
            efficacy=config.efficacy,
            activation=config.activation,
        )
        self.memory = GatedMemory(config)
        self.classifier = nn.Sequential(
            nn.Linear(sum(sizes.values()) + config.memory_size, config.classifier_hidden),
            nn.ReLU(),
            Dropout(config.classifier_dropout),
            nn.Linear(config.classifier_hidden, num_labels),
        )

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """(source, target) of each efficacy in the feature ``efficacies``, in order."""
        return self.graph.edges

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the loss and, if asked, features.

        Features, by name; at padded steps their values mean nothing:
            ``efficacies``: alpha of every edge, (B, T, edges), in the order of ``edges``.
            ``vertex.<set>``: (B, T, width) for each set, such as ``vertex.text_audio``.
            ``summary``: T, (B, T, vertex_size).
            ``candidate``, ``retain_gate``, ``update_gate``, ``memory``: (B, T, memory_size).
            ``representation``: what is classified, [h_l, h_a, h_v, u] at the end.

        Raises:
            ModelError: the modalities differ in length.
        """
        self.check_batch(batch)
        vertices, last = [], []
        for m in self.modalities:
            mask = batch.masks[m]
            x = batch.values[m].masked_fill(~mask[..., None], 0)
            states = hidden = carried(self.lstms[m](x, mask)[0], mask)
            # DIVERGENCE (vertex_states): the MFN before this paper compared cell memories
            if self.config.vertex_states == "cell":
                states = cells(self.lstms[m], x, hidden, mask)
            vertices.append(self.unimodal[m](torch.cat([before(states), states], -1)).relu())
            last.append(hidden[:, -1])
        graph = self.graph(vertices)
        real = torch.stack([batch.masks[m] for m in self.modalities]).any(0)
        memory = self.memory(graph.summary, real, gates=features)
        representation = torch.cat([*last, memory.memory[:, -1]], -1)
        logits = self.classifier(representation)
        losses = classification_loss(logits, batch)
        named: dict[str, Tensor] = {}
        if features:
            assert memory.retain is not None
            assert memory.update is not None
            named = {f"vertex.{name}": x for name, x in graph.vertices.items()}
            named |= {"efficacies": graph.efficacies, "summary": graph.summary}
            named |= {"retain_gate": memory.retain, "update_gate": memory.update}
            named |= {"candidate": memory.candidate, "memory": memory.memory}
            named["representation"] = representation
        return ModelOutput(logits, losses, named)
