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
unmarked departure is a bug. These hold for both presets:
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
from emotailor.nn.exporting import is_exporting, over_steps
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import carried, cleared

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


@dataclass(frozen=True)
class MemoryState:
    """What the memory did at every step.

    Attributes:
        memory: u, (B, T, size).
        candidate: u^, (B, T, size).
        retain: gamma_1, (B, T, size); only where asked for.
        update: gamma_2, (B, T, size); only where asked for.
    """

    memory: Float[Tensor, "batch steps size"]
    candidate: Float[Tensor, "batch steps size"]
    retain: Float[Tensor, "batch steps size"] | None = None
    update: Float[Tensor, "batch steps size"] | None = None


Gated = tuple[
    Float[Tensor, "batch size"],
    Float[Tensor, "batch size"],
    Float[Tensor, "batch size"],
]


class DFG(EmotionModel):
    """The Graph-MFN.

    Args:
        config: settings.
        dims: modality -> feature width, of two or three modalities.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True

    def __init__(self, config: DFGConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.modalities = tuple(m for m in VERTEX_ORDER if m in dims)
        widths: dict[str, int] = {
            "text": config.text_size,
            "audio": config.audio_size,
            "visual": config.visual_size,
        }
        sizes = {str(m): widths[m] for m in self.modalities}
        total = sum(sizes.values())

        self.lstms = nn.ModuleDict()
        for m in self.modalities:
            self.lstms[m] = RecurrentEncoder(dims[m], sizes[m])
        self.unimodal = nn.ModuleDict()  # [h(t-1); h(t)] -> the vertex of one modality
        for name, size in sizes.items():
            self.unimodal[name] = nn.Linear(2 * size, size)

        self.graph = DynamicFusionGraph(
            sizes,
            size=config.vertex_size,
            hidden=config.vertex_hidden,
            efficacy_sizes=(config.vertex_hidden, config.vertex_size),
            efficacy=config.efficacy,
            activation=config.activation,
        )
        self.memory = GatedMemory(config)
        # [h_l, h_a, h_v, u]
        width = total + config.memory_size
        self.classifier = nn.Sequential(
            nn.Linear(width, config.classifier_hidden),
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
        vertices = []
        last = []
        for m in self.modalities:
            hidden, vertex = self._read(m, batch)
            vertices.append(vertex)
            last.append(hidden[:, -1])
        graph = self.graph(vertices)

        # a step that any modality has
        masks = [batch.masks[m] for m in self.modalities]
        real = torch.stack(masks).any(0)  # (B, T)
        memory = self.memory(graph.summary, real, gates=features)
        last.append(memory.memory[:, -1])

        representation = torch.cat(last, -1)
        logits = self.classifier(representation)
        losses = classification_loss(logits, batch, self.label_loss)

        named: dict[str, Tensor] = {}
        if features:
            named = self._features(graph, memory)
            named["representation"] = representation
        return ModelOutput(logits, losses, named)

    def _read(
        self, m: Modality, batch: Batch
    ) -> tuple[Float[Tensor, "batch steps size"], Float[Tensor, "batch steps size"]]:
        """Return h(t) and the vertex z of one modality at every step."""
        lstm = self.lstms[m]
        mask = batch.masks[m]
        x = cleared(batch.values[m], mask)
        states, _, _ = lstm(x, mask)
        hidden = carried(states, mask)

        compared = hidden
        # DIVERGENCE (vertex_states): the MFN before this paper compared cell memories
        if self.config.vertex_states == "cell":
            compared = cells(lstm, x, hidden, mask)

        earlier = before(compared)
        both = torch.cat([earlier, compared], -1)  # [h(t-1); h(t)]
        vertex = self.unimodal[m](both)
        return hidden, vertex.relu()

    @staticmethod
    def _features(graph: GraphState, memory: MemoryState) -> dict[str, Tensor]:
        assert memory.retain is not None
        assert memory.update is not None
        named = {
            "efficacies": graph.efficacies,
            "summary": graph.summary,
            "retain_gate": memory.retain,
            "update_gate": memory.update,
            "candidate": memory.candidate,
            "memory": memory.memory,
        }
        for vertex, x in graph.vertices.items():
            named[f"vertex.{vertex}"] = x
        return named


def before(states: Float[Tensor, "batch steps size"]) -> Float[Tensor, "batch steps size"]:
    """Return the state before each step: that of the last step, 0 before the first."""
    return F.pad(states, (0, 0, 1, 0))[:, :-1]


def cells(
    lstm: nn.Module,
    x: Float[Tensor, "batch steps dim"],
    hidden: Float[Tensor, "batch steps size"],
    mask: Bool[Tensor, "batch steps"],
) -> Float[Tensor, "batch steps size"]:
    """Return c(t) of a one-layer LSTM that yielded the hidden states h(t), carried over masks.

    With all h(t) known, the gates of all steps are computed at once; the rest is elementwise.
    """
    weights = {}
    for name, parameter in lstm.named_parameters():
        weights[name.removeprefix("ahead.0.")] = parameter

    from_input = F.linear(
        x,
        weights["weight_ih_l0"],
        weights["bias_ih_l0"],
    )
    from_state = F.linear(
        before(hidden),
        weights["weight_hh_l0"],
        weights["bias_hh_l0"],
    )
    gates = from_input + from_state  # (B, T, 4 * size)
    entered, forgot, proposed, _ = gates.chunk(4, -1)

    # c(t) = keep c(t-1) + new; a masked step keeps everything
    real = mask[..., None]
    kept = torch.where(real, forgot.sigmoid(), 1.0)
    new = entered.sigmoid() * proposed.tanh()
    added = torch.where(real, new, 0.0)

    cell = torch.zeros_like(added[:, 0])
    if is_exporting():
        by_step = (kept.transpose(0, 1), added.transpose(0, 1))
        carried_on = over_steps(lambda c, given: given[0] * c + given[1], cell, by_step)
        return carried_on.transpose(0, 1)

    found = []
    steps = zip(kept.unbind(1), added.unbind(1), strict=True)
    for keep, add in steps:
        cell = torch.addcmul(add, keep, cell)
        found.append(cell)

    return torch.stack(found, 1)


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
        self.sigmoid = efficacy == "sigmoid"
        self.sources = vertex_sources(list(sizes))
        self.vertices = tuple(self.sources[SUMMARY])  # the summary is computed from all

        edges: list[tuple[str, str]] = []
        for target, sources in self.sources.items():
            edges.extend((source, target) for source in sources)
        self.edges = tuple(edges)

        self.networks = nn.ModuleDict()  # D_j
        for target, sources in self.sources.items():
            width = 0
            for source in sources:
                width += sizes.get(source, size)
            self.networks[target] = network(
                activation,
                width,
                hidden,
                size,
            )

        unimodal = sum(sizes.values())
        self.efficacy_network = network(  # D_alpha
            activation,
            unimodal,
            *efficacy_sizes,
            len(self.edges),
        )

    def forward(self, unimodal: Sequence[Float[Tensor, "*steps _"]]) -> GraphState:
        """Compute all vertices from the unimodal ones, each (..., width) in the order of sizes."""
        all_unimodal = torch.cat(list(unimodal), -1)
        efficacies = self.efficacy_network(all_unimodal)  # (..., edges)
        # DIVERGENCE (efficacy): the paper's neurons are sigmoid; the programs' are not squashed
        if self.sigmoid:
            efficacies = efficacies.sigmoid()

        # the unimodal vertices come first; the others follow, each after those it is computed from
        vertices = dict(zip(self.vertices, unimodal, strict=False))
        alphas = iter(efficacies.split(1, -1))
        for target, sources in self.sources.items():
            scaled = []
            for source in sources:
                alpha = next(alphas)  # (..., 1)
                scaled.append(alpha * vertices[source])

            joined = torch.cat(scaled, -1)
            vertices[target] = self.networks[target](joined)

        summary = vertices.pop(SUMMARY)
        return GraphState(vertices, efficacies, summary)


def vertex_sources(names: Sequence[str]) -> dict[str, list[str]]:
    """Return what every vertex but the unimodal ones is computed from, smaller sets first.

    Args:
        names: the modalities.

    Returns:
        Vertex -> the vertices of all its proper subsets; the summary comes last and has all.
    """
    sets: list[tuple[str, ...]] = []
    for count in range(1, len(names) + 1):
        sets.extend(combinations(names, count))

    sources = {}
    for whole in sets:
        parts = [vertex_name(part) for part in sets if set(part) < set(whole)]
        if not parts:
            continue  # a unimodal vertex is given

        name = vertex_name(whole)
        sources[name] = parts

    sources[SUMMARY] = [vertex_name(vertex) for vertex in sets]
    return sources


def vertex_name(modalities: Sequence[str]) -> str:
    """Return the name of the vertex of a set of modalities, such as ``text_audio``."""
    return "_".join(modalities)


def network(activation: str, *sizes: int) -> nn.Sequential:
    """Return a deep network of linear layers; the sizes are those before and after each."""
    # DIVERGENCE (activation): in the programs every network is a product of linear maps
    between = nn.ReLU if activation == "relu" else nn.Identity
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers.append(nn.Linear(before, after))
        layers.append(between())
    return nn.Sequential(*layers[:-1])


class GatedMemory(nn.Module):
    """The multi-view gated memory: u(t) = gamma_1 u(t-1) + gamma_2 u^(t), from u = 0.

    u^ = tanh(D_u(T)); gamma_k = sigmoid(D_gamma_k([T, u(t-1)])).
    """

    def __init__(self, config: DFGConfig) -> None:
        super().__init__()
        q = config.vertex_size
        size = config.memory_size
        both = q + size  # width of [T, u(t-1)]
        self.candidate = nn.Sequential(
            nn.Linear(q, config.candidate_hidden),
            nn.ReLU(),
            Dropout(config.candidate_dropout),
            nn.Linear(config.candidate_hidden, size),
            nn.Tanh(),
        )

        self.retain_hidden = nn.Linear(both, config.retain_hidden)
        self.retain_dropout = Dropout(config.retain_dropout)
        self.retain = nn.Linear(config.retain_hidden, size)

        self.update_hidden = nn.Linear(both, config.update_hidden)
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
        steps = summary.transpose(0, 1)  # (T, B, q)
        q = summary.shape[-1]

        # both hidden layers as one: their weights on T and on u(t-1)
        retain_in = self.retain_hidden
        update_in = self.update_hidden
        weight = torch.cat([retain_in.weight, update_in.weight])
        bias = torch.cat([retain_in.bias, update_in.bias])
        from_summary = F.linear(steps, weight[:, :q], bias)  # (T, B, hidden of both gates)

        # what multiplies u(t-1), and then the hidden layers
        to_hidden = weight[:, q:].T
        to_retain = self.retain.weight.T
        to_update = self.update.weight.T
        sizes = [self.retain.in_features, self.update.in_features]

        candidate = self.candidate(steps)  # (T, B, size)
        memory = summary.new_zeros(summary.shape[0], self.retain.out_features)

        def advance(memory: Tensor, given: Tensor, proposed: Tensor, keep: Tensor | None) -> Gated:
            """Return u(t), gamma_1 and gamma_2."""
            inner = torch.addmm(given, memory, to_hidden).relu()
            if keep is not None:
                inner = inner * keep
            for_retain, for_update = torch.split(inner, sizes, -1)

            retain = torch.addmm(self.retain.bias, for_retain, to_retain)
            retain = retain.sigmoid()
            update = torch.addmm(self.update.bias, for_update, to_update)
            update = update.sigmoid()
            return torch.addcmul(update * proposed, retain, memory), retain, update

        if is_exporting():
            states = over_steps(
                lambda u, step: torch.where(step[2], advance(u, step[0], step[1], None)[0], u),
                memory,
                (from_summary, candidate, mask.T[..., None]),
            )
            return MemoryState(states.transpose(0, 1), candidate.transpose(0, 1))

        keep = self._dropout_weights(from_summary)
        whole = mask.all(0).tolist()  # steps that every sample has
        memories = []
        retains = []
        updates = []
        slices = zip(
            from_summary.unbind(0),
            candidate.unbind(0),
            mask.unbind(1),
            strict=True,
        )
        for t, (given, proposed, real) in enumerate(slices):
            dropped = None if keep is None else keep[t]
            new, retain, update = advance(memory, given, proposed, dropped)
            memory = new if whole[t] else torch.where(real[:, None], new, memory)

            memories.append(memory)
            if gates:
                retains.append(retain)
                updates.append(update)

        return MemoryState(
            memory=torch.stack(memories, 1),
            candidate=candidate.transpose(0, 1),
            retain=torch.stack(retains, 1) if gates else None,
            update=torch.stack(updates, 1) if gates else None,
        )

    def _dropout_weights(
        self, hidden: Float[Tensor, "steps batch hidden"]
    ) -> Float[Tensor, "steps batch hidden"] | None:
        """Draw the dropout of both hidden layers for all steps at once; None in evaluation."""
        if not self.training:
            return None

        steps, batch, _ = hidden.shape
        ones = hidden.new_ones(steps, batch, self.retain.in_features)
        for_retain = self.retain_dropout(ones)
        ones = hidden.new_ones(steps, batch, self.update.in_features)
        for_update = self.update_dropout(ones)
        return torch.cat([for_retain, for_update], -1)
