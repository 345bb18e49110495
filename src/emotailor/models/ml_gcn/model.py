"""ML-GCN: multi-label image recognition with graph convolutional networks (CVPR 2019).

Notable:

- classifiers are not learned one by one: two graph convolutions turn label vectors into one
  classifier per label, over a graph of which labels occur together;
- the graph is a constant of the training split: conditional frequencies, cut at a threshold, and
  re-weighted so that a label keeps 1 - p of itself and takes p from its neighbours;
- the input is described by the maximum of each channel; logits are its products with the
  classifiers, without a bias.

Chen, Wei, Wang and Guo: Multi-Label Image Recognition with Graph Convolutional Networks. CVPR 2019.
Symbols: B batch, T steps, L labels, E label_size, D feature_size, t threshold (tau),
p neighbour_share, N_i samples with label i, M_ij samples with both.

    P_ij = M_ij / N_i = P(j | i)
    b_ij = 1 where P_ij >= t, i != j                                  (Eq. 7)
    A_ij = p b_ij / sum_i b_ij, A_ii = 1 - p                          (Eq. 8, as corrected)
    H_1 = leaky(A^ Z G_1), W = A^ H_1 G_2, A^ = S^-1/2 A S^-1/2       (Eq. 2, 3), S row sums of A
    logits = W max_t x_t                                              (Eq. 4, 5)

For emotion recognition: a bidirectional LSTM over the visual sequence stands for ResNet-101, its
D channels for the feature map's, its real steps for the map's positions. Label vectors Z come from
``LabelStatistics.vectors`` and stay fixed; where the user has none they are trained, or one-hot.
A label that never occurs in training has no edges. A sequence without steps is described by zeros.
With few labels a threshold can leave edges towards one label only, or none; ``prepare`` warns then,
and ``threshold="auto"`` takes the largest of ``THRESHOLDS`` with edges towards two labels or more.

Where the authors' program departs from the paper there is a switch of ``MLGCNConfig``, marked
DIVERGENCE here. These hold for both presets:
DIVERGENCE (reweight): Eq. 8 is printed with a sum over rows, and the authors corrected it to
columns, as in their program; ``reweight="rows"`` is the misprint.
DIVERGENCE (diagonal): A is divided by 1 - p throughout, as in the program: p / (1 - p) beside the
1 of the diagonal. The normalisation cancels it.
DIVERGENCE (constant graph): the program keeps A among its parameters without training it; here it
is a buffer.
DIVERGENCE (label counts): the program divides by zero where a label has no training sample.
"""

import warnings
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.checker import DataWarning
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, LabelStatistics, ModelOutput, classification_loss
from emotailor.models.ml_gcn.config import MLGCNConfig
from emotailor.nn.label_vectors import LabelVectors
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import masked_max

THRESHOLDS = tuple(k / 20 for k in range(19, 0, -1))
"""0.95, 0.90, ... 0.05: what ``threshold="auto"`` chooses from."""

EPSILON = 1e-6  # the program's, where a sum of edges is 0


def conditional_frequencies(
    together: Float[Tensor, "labels labels"],
) -> Float[Tensor, "labels labels"]:
    """Return P_ij = M_ij / N_i in float64, with zeros on the diagonal and where N_i is 0.

    Args:
        together: M, with N on the diagonal.
    """
    counts = together.double()  # so that 2 of 5 is 0.4 and reaches a threshold of 0.4
    shares = counts / counts.diagonal().clamp(min=1)[:, None]
    return shares.fill_diagonal_(0.0)


def reweighted(
    edges: Bool[Tensor, "labels labels"], neighbour_share: float, *, rows: bool = False
) -> Float[Tensor, "labels labels"]:
    """Return A of Eq. 8 over 1 - p.

    Args:
        edges: b of Eq. 7.
        neighbour_share: p.
        rows: divide by the sums of rows instead of columns.
    """
    b = edges.float()
    share = neighbour_share / (1 - neighbour_share)
    axis = 1 if rows else 0
    total = b.sum(axis, keepdim=True)
    diagonal = torch.eye(len(b), device=b.device)
    return share * b / (total + EPSILON) + diagonal


def normalised(
    correlation: Float[Tensor, "labels labels"], *, transpose: bool
) -> Float[Tensor, "labels labels"]:
    """Return A^ = S^-1/2 A S^-1/2 with S the row sums of A; ``transpose`` puts A^T between them."""
    scale = correlation.sum(1).rsqrt()
    middle = correlation.T if transpose else correlation
    return scale[:, None] * middle * scale


def chosen_threshold(shares: Float[Tensor, "labels labels"]) -> float:
    """Return the largest of ``THRESHOLDS`` with edges towards two labels or more.

    Where none has, the smallest one.

    Args:
        shares: P_ij.
    """
    for threshold in THRESHOLDS:
        reached = (shares >= threshold).any(0)
        if reached.sum() >= 2:
            return threshold
    return THRESHOLDS[-1]


class MLGCN(EmotionModel):
    """The ML-GCN model.

    Args:
        config: settings.
        dims: the width of the visual features.
        num_labels: L.

    Attributes:
        correlation: A, a buffer (L, L); the identity, a graph without edges, until ``prepare``.
    """

    takes_label_loss = True

    parts_in_threads = True
    takes_unaligned = True
    correlation: Tensor
    cut: Tensor

    def __init__(self, config: MLGCNConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        self.encoder = RecurrentEncoder(
            dims["visual"],
            config.feature_size // 2,
            bidirectional=True,
        )

        if config.label_nodes == "one_hot":
            self.labels = LabelVectors(num_labels, num_labels)
            nn.init.eye_(self.labels.weight)
            self.labels.weight.requires_grad_(False)
        else:
            self.labels = LabelVectors(num_labels, config.label_size)

        self.first = self._first_layer()
        self.activation = nn.LeakyReLU(config.slope)
        self.second = nn.Linear(config.graph_size, config.feature_size, bias=False)  # G_2
        nn.init.xavier_uniform_(self.second.weight)

        self.register_buffer("correlation", torch.eye(num_labels))
        self.register_buffer("cut", torch.tensor(torch.nan))

    def _first_layer(self) -> nn.Linear:
        """G_1, as wide as the label vectors."""
        layer = nn.Linear(
            self.labels.size,
            self.config.graph_size,
            bias=False,
            device=self.labels.weight.device,
        )
        nn.init.xavier_uniform_(layer.weight)
        return layer

    @property
    def edges(self) -> Bool[Tensor, "labels labels"]:
        """Eq. 7: b_ij is True where label i implies label j often enough."""
        return self.correlation.clone().fill_diagonal_(0.0) > 0

    @property
    def num_edges(self) -> int:
        """How many edges the label graph has."""
        return int(self.edges.sum())

    @property
    def num_columns(self) -> int:
        """Towards how many labels there are edges."""
        return int(self.edges.any(0).sum())

    @property
    def graph_threshold(self) -> float:
        """The threshold t of the graph, given or chosen; NaN until ``prepare``."""
        return round(float(self.cut), 6)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Build the label graph from the training split and take the labels' word vectors.

        Warns with ``DataWarning`` where the graph has edges towards one label only, or none.

        Raises:
            ModelError: there is not one finite vector per label.
        """
        config = self.config
        if statistics.vectors is not None:
            self.labels.take(statistics.vectors, train=config.train_label_vectors)
            self.first = self._first_layer()

        shares = conditional_frequencies(statistics.together)
        cut = chosen_threshold(shares) if config.threshold == "auto" else config.threshold
        correlation = reweighted(
            shares >= cut,
            config.neighbour_share,
            rows=config.reweight == "rows",
        )
        self.correlation.copy_(correlation)
        self.cut.fill_(cut)
        self._warn_of_few_edges(statistics.names, cut)

    def _warn_of_few_edges(self, names: Sequence[str], cut: float) -> None:
        """Warn where the graph has edges towards one label only, or none."""
        if self.num_columns >= 2:
            return

        found = "no edges"
        for name, reached in zip(names, self.edges.any(0).tolist(), strict=True):
            if reached:
                found = f"edges towards {name!r} only"
        warnings.warn(
            f"ML-GCN: at threshold {cut} the label graph has {found}; lower model.threshold, tune "
            "it on validation, or set it to auto",
            DataWarning,
            stacklevel=3,
        )

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Give the label vectors, and the layer that reads them, the width of the stored ones."""
        stored = shapes.get("labels.weight")
        if stored is None:
            return
        _, width = stored
        if width != self.labels.size:
            self.labels.resize(width)
            self.first = self._first_layer()

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the cross-entropy and, if asked, features.

        Features, by name:
            ``encoder.visual``: (B, T, D), 0 at masked steps.
            ``pooled.visual``: (B, D), the maximum of each channel over the real steps.
            ``label_graph``: A^, (L, L); row i holds what label i collects from each label.
            ``label_classifiers``: W, (L, D).
        """
        mask = batch.masks["visual"]
        encoded, _, _ = self.encoder(batch.values["visual"], mask)
        pooled = masked_max(encoded, mask)  # (B, D)

        # DIVERGENCE (transpose): the program transposes A after taking its row sums, so that label
        # i collects from the labels that imply it, where Eq. 2 collects from those it implies
        graph = normalised(self.correlation, transpose=self.config.transpose)
        classifiers = self._classifiers(graph)  # (L, D)
        logits = pooled @ classifiers.to(pooled.dtype).T  # (B, L)

        named = {}
        if features:
            named = {
                "encoder.visual": encoded * mask[..., None],
                "pooled.visual": pooled,
                "label_graph": graph,
                "label_classifiers": classifiers,
            }
        return ModelOutput(logits, classification_loss(logits, batch, self.label_loss), named)

    def _classifiers(self, graph: Float[Tensor, "labels labels"]) -> Float[Tensor, "labels size"]:
        """W: the label vectors after two graph convolutions (Eq. 2)."""
        nodes = self.first(self.labels.weight)  # (L, graph_size)
        hidden = self.activation(graph @ nodes)
        return graph @ self.second(hidden)
