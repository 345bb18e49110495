"""MISA: modality-invariant and -specific representations (ACM MM 2020).

Notable:

- two bidirectional LSTMs per modality; the final states of both make one utterance vector u_m;
- one shared encoder maps every u_m to an invariant vector h_m^c, an encoder of its own to a
  specific vector h_m^p;
- the invariant vectors are drawn together by their central moments (CMD), the specific ones kept
  apart from them and from each other (difference), and both together must still tell u_m
  (reconstruction);
- a Transformer layer over the 2M vectors as tokens fuses them; a head reads all of them.

Hazarika, Zimmermann and Poria: MISA: Modality-Invariant and -Specific Representations for
Multimodal Sentiment Analysis. ACM MM 2020. Symbols: B batch, T steps, M modalities (m), H width
(d_h), L labels; L_sim, L_diff, L_recon, weighted by alpha, beta, gamma.

Adapted to multi-label emotion recognition: one logit per label and binary cross-entropy in place of
the task loss; word vectors go straight into the LSTM. Each modality is encoded by itself, so
sequences may differ in length. A missing modality has zero vectors, is not attended, and is left
out of the batch statistics of all losses.

Every place where the authors' program departs from the paper is a switch of ``MISAConfig``, marked
DIVERGENCE here. These hold for both presets:
DIVERGENCE (reduction): L_diff is the mean over the H x H entries, which is the paper's squared
Frobenius norm over H^2, as in the program; beta is tuned to it.
DIVERGENCE (interval): CMD has no factors 1/(b-a)^k; they are 1 for the sigmoid's interval.
DIVERGENCE (token order): shared tokens first, as in the paper, and v, a, t among them; the program
has the private ones first, and t, v, a. The order of the head's columns is all it decides.
DIVERGENCE (unused discriminator): the program's ``sp_discriminator`` is in no loss and left out.
DIVERGENCE (batch of one): CMD has gradient 0 where two moments agree; the program's is NaN there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.misa.config import MISAConfig
from emotailor.models.misa.similarity import central_moments, moment_distance
from emotailor.nn.adversarial import reverse_gradient
from emotailor.nn.dropout import Dropout
from emotailor.nn.encoder import AttentionBlock, TransformerShape
from emotailor.nn.exporting import is_exporting
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import cleared, masked_mean, mean_present


@dataclass(frozen=True)
class ModalityVectors:
    """The vectors of every modality; 0 where it is missing, except ``rebuilt``.

    Attributes:
        utterance: u_m, (B, M, H).
        shared: h_m^c, (B, M, H).
        private: h_m^p, (B, M, H).
        rebuilt: D(h_m^c + h_m^p), (B, M, H).
        present: (B, M), True where the modality is there.
    """

    utterance: Float[Tensor, "batch modalities size"]
    shared: Float[Tensor, "batch modalities size"]
    private: Float[Tensor, "batch modalities size"]
    rebuilt: Float[Tensor, "batch modalities size"]
    present: Bool[Tensor, "batch modalities"]


ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "hardshrink": nn.Hardshrink,
    "hardtanh": nn.Hardtanh,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "rrelu": nn.RReLU,
    "tanh": nn.Tanh,
}
"""Name in the settings -> layer, with torch's own constants.

``prelu`` learns one slope in each place where it is used. ``rrelu`` draws its slopes in training
and takes their mean in evaluation.
"""


class MISA(EmotionModel):
    """The MISA model.

    Args:
        config: settings.
        dims: modality -> feature width; two or more.
        num_labels: L.
    """

    takes_label_loss = True

    sample_means = False  # CMD and the difference loss are of the batch as a whole
    takes_unaligned = True

    def __init__(self, config: MISAConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        h = config.hidden_size
        count = len(self.modalities)

        self.encoders = nn.ModuleDict()
        for m in self.modalities:
            self.encoders[m] = UtteranceEncoder(config, dims[m])

        self.private = nn.ModuleDict()  # E_p, one per modality
        for m in self.modalities:
            self.private[m] = nn.Linear(h, h)
        self.shared = nn.Linear(h, h)  # E_c, one for all

        # DIVERGENCE (decoder): the paper has one decoder D, the program one per modality
        decoders = 1 if config.decoder == "shared" else count
        self.decoders = nn.ModuleList(nn.Linear(h, h) for _ in range(decoders))

        self.discriminator: nn.Sequential | None = None
        if config.similarity == "adversarial":
            self.discriminator = nn.Sequential(
                nn.Linear(h, h),
                activation(config),
                Dropout(config.dropout),
                nn.Linear(h, count),
            )

        shape = TransformerShape(
            size=h,
            feedforward=config.feedforward_size,
            heads=config.heads,
            dropout=config.fusion_dropout,
            eps=config.layer_norm_eps,
        )
        self.fusion = FusionLayer(shape)
        self.head = self._head(2 * count * h, count * h)

    def _head(self, width: int, hidden: int) -> nn.Sequential:
        """The layers that read all fused tokens, (B, 2M * H)."""
        config = self.config
        # DIVERGENCE (head): the paper projects the joint vector, the program has a hidden layer
        if config.head == "linear":
            return nn.Sequential(
                Dropout(config.dropout),
                nn.Linear(width, self.num_labels),
            )
        return nn.Sequential(
            nn.Linear(width, hidden),
            Dropout(config.dropout),
            activation(config),
            nn.Linear(hidden, self.num_labels),
        )

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Alpha, beta and gamma of the objective."""
        config = self.config
        return {
            "classification": 1.0,
            "similarity": config.similarity_weight,
            "difference": config.difference_weight,
            "reconstruction": config.reconstruction_weight,
        }

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the four losses and, if asked, features.

        Features, by name (m a modality):
            ``utterance.m``: u_m; ``shared.m``: h_m^c; ``private.m``: h_m^p; ``reconstruction.m``:
            u_m, rebuilt from both; each (B, H), 0 where the modality is missing.
            ``fused``: the tokens after the Transformer, (B, 2M, H); shared then private, v, a, t.
            ``fusion_attention``: the attention of the tokens to each other, (B, heads, 2M, 2M),
            rows are queries.
            ``discriminator.m``: in the adversarial variant, probabilities (B, M) over modalities.
        """
        vectors = self._vectors(batch)

        tokens = torch.cat([vectors.shared, vectors.private], 1)  # (B, 2M, H)
        real = vectors.present.repeat(1, 2)  # (B, 2M)
        fused, attention = self.fusion(
            tokens,
            real,
            need_weights=features,
        )  # (B, 2M, H)
        # the head reads zeros for a missing modality
        fused = fused * real[..., None]
        logits = self.head(fused.flatten(1))

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            losses = self._losses(logits, vectors, batch.labels)

        named: dict[str, Tensor] = {}
        if features:
            assert attention is not None
            named = self._features(vectors)
            named["fused"] = fused
            named["fusion_attention"] = attention
        return ModelOutput(logits, losses, named)

    def _vectors(self, batch: Batch) -> ModalityVectors:
        """Encode every modality, and split u_m into what is shared and what is its own."""
        there = [batch.masks[m].any(1) for m in self.modalities]
        present = torch.stack(there, 1)  # (B, M)
        here = present[..., None]

        encoded = []
        for m in self.modalities:
            values = self._values(batch, m)
            vector = self.encoders[m](values, batch.masks[m])
            encoded.append(vector)
        utterance = torch.stack(encoded, 1) * here  # (B, M, H)

        own = []
        for k, m in enumerate(self.modalities):
            u = utterance[:, k]
            own.append(self.private[m](u))
        private = torch.stack(own, 1).sigmoid()
        private = private * here
        shared = self.shared(utterance).sigmoid()
        shared = shared * here

        return ModalityVectors(
            utterance=utterance,
            shared=shared,
            private=private,
            rebuilt=self._reconstruct(private + shared),
            present=present,
        )

    def _losses(
        self,
        logits: Float[Tensor, "batch labels"],
        vectors: ModalityVectors,
        labels: Float[Tensor, "batch labels"],
    ) -> dict[str, Float[Tensor, ""]]:
        """The task loss, L_sim, L_diff and L_recon, unweighted."""
        present = vectors.present
        error = (vectors.rebuilt - vectors.utterance).square()
        return {
            "classification": self.label_loss(logits, labels),
            "similarity": self._similarity(vectors.shared, present),
            "difference": self._difference(
                vectors.private,
                vectors.shared,
                present,
            ),
            "reconstruction": mean_present(error.mean(-1), present),
        }

    def _features(self, vectors: ModalityVectors) -> dict[str, Tensor]:
        # what is rebuilt of a missing modality means nothing
        rebuilt = vectors.rebuilt * vectors.present[..., None]
        kinds = {
            "utterance": vectors.utterance,
            "shared": vectors.shared,
            "private": vectors.private,
            "reconstruction": rebuilt,
        }

        named: dict[str, Tensor] = {}
        for k, m in enumerate(self.modalities):
            for kind, x in kinds.items():
                named[f"{kind}.{m}"] = x[:, k]

            if self.discriminator is not None:
                judged = self.discriminator(vectors.shared[:, k])
                named[f"discriminator.{m}"] = judged.softmax(-1)
        return named

    def _values(self, batch: Batch, m: Modality) -> Float[Tensor, "batch steps dim"]:
        """Return the sequences of a modality, 0 at masked steps unless normalised."""
        mask = batch.masks[m]
        values = cleared(batch.values[m], mask)

        # DIVERGENCE (utterance_norm): the program z-normalises what is not text in each utterance
        if m == "text" or not self.config.utterance_norm:
            return values

        mean = masked_mean(values, mask)  # (B, dim)
        centred = values - mean[:, None]
        variance = masked_mean(centred.square(), mask)
        deviation = (variance + 1e-12).sqrt()
        if is_exporting():
            # what optimises graphs takes 1e-12 for nothing
            deviation = 1e-6 * (1e12 * variance + 1).sqrt()
        return centred / deviation[:, None]

    def _reconstruct(
        self, total: Float[Tensor, "batch modalities size"]
    ) -> Float[Tensor, "batch modalities size"]:
        """D(h_m^c + h_m^p) of each modality."""
        if len(self.decoders) == 1:
            return self.decoders[0](total)

        rebuilt = []
        for k, decoder in enumerate(self.decoders):
            x = total[:, k]  # (B, H)
            rebuilt.append(decoder(x))
        return torch.stack(rebuilt, 1)

    def _similarity(
        self,
        shared: Float[Tensor, "batch modalities size"],
        present: Bool[Tensor, "batch modalities"],
    ) -> Float[Tensor, ""]:
        """L_sim: mean over the pairs of CMD, or the modality discriminator's cross-entropy."""
        if self.discriminator is not None:
            reversed_shared = scaled_reversal(shared, self.config.reversal_weight)
            logits = self.discriminator(reversed_shared)  # (B, M, M)
            log_probabilities = F.log_softmax(logits, -1)

            # modality k is class k
            truth = log_probabilities.diagonal(dim1=1, dim2=2)  # (B, M)
            return -mean_present(truth, present)

        by_modality = shared.transpose(0, 1)  # (M, B, H)
        moments = central_moments(
            by_modality,
            present.T,
            self.config.moments,
        )  # (M, K, H)
        left, right = pairs(present.shape[1])
        distances = moment_distance(moments[left], moments[right])

        # a modality that the whole batch lacks has no moments
        seen = present.any(0)  # (M,)
        both_seen = seen[left] & seen[right]
        return mean_present(distances, both_seen)

    def _difference(
        self,
        private: Float[Tensor, "batch modalities size"],
        shared: Float[Tensor, "batch modalities size"],
        present: Bool[Tensor, "batch modalities"],
    ) -> Float[Tensor, ""]:
        """L_diff: overlap of h_m^p with h_m^c, and of the private vectors with each other."""
        modalities = present.shape[1]
        left, right = pairs(modalities)

        # P pairs: (private, shared) of each modality, then every two private ones
        a = torch.cat([private, private[:, left]], 1)  # (B, P, H)
        b = torch.cat([shared, private[:, right]], 1)
        both_there = present[:, left] & present[:, right]
        rows = torch.cat([present, both_there], 1)
        rows = rows[..., None]  # (B, P, 1)

        a = self._unit_rows(a, rows)
        b = self._unit_rows(b, rows)
        a = a.transpose(0, 1)  # (P, B, H)
        b = b.transpose(0, 1)
        overlap = a.mT @ b  # (P, H, H)

        of_pairs = overlap.square().mean((1, 2))  # (P,)
        return of_pairs.sum()

    def _unit_rows(
        self, x: Float[Tensor, "batch pairs size"], rows: Bool[Tensor, "batch pairs 1"]
    ) -> Float[Tensor, "batch pairs size"]:
        """Centre over the batch, then scale each sample's vector to length 1."""
        count = rows.sum(0).clamp(min=1)
        mean = (x * rows).sum(0) / count
        centred = (x - mean) * rows

        norms = torch.linalg.vector_norm(
            centred,
            dim=-1,
            keepdim=True,
        )
        # DIVERGENCE (detach_norms): the program takes the norms as constants
        if self.config.detach_norms:
            norms = norms.detach()
        return centred / (norms + 1e-6)


class UtteranceEncoder(nn.Module):
    """u_m of a sequence: two bidirectional recurrent layers, then a dense layer.

    Both recurrent layers have as many units per direction as the features are wide.

    Args:
        config: settings.
        dim: width of the features.
    """

    def __init__(self, config: MISAConfig, dim: int) -> None:
        super().__init__()
        self.first = RecurrentEncoder(
            dim,
            dim,
            bidirectional=True,
            cell=config.cell,
        )
        self.norm = nn.LayerNorm(2 * dim, config.layer_norm_eps)
        self.second = RecurrentEncoder(
            2 * dim,
            dim,
            bidirectional=True,
            cell=config.cell,
        )

        self.projection = nn.Linear(4 * dim, config.hidden_size)
        self.activation = activation(config)
        self.projection_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

        for name, parameter in self.named_parameters():
            if "weight_hh" in name:  # the stacked gates as one matrix, as in the program
                nn.init.orthogonal_(parameter)

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch size"]:
        """Return (B, H) from the real steps of (B, T, dim); arbitrary where there are none."""
        states, first, _ = self.first(values, mask)  # first: (1, 2, B, dim)
        _, second, _ = self.second(self.norm(states), mask)
        finals = torch.cat([first, second])  # (layers, directions, B, dim)

        # in the program's order: forward of both layers, then backward of both
        finals = finals.permute(2, 1, 0, 3)
        vector = finals.flatten(1)  # (B, 4 dim)

        projected = self.activation(self.projection(vector))
        return self.projection_norm(projected)


class FusionLayer(nn.Module):
    """A post-norm Transformer layer over tokens: self-attention, then a feed-forward part (ReLU).

    Args:
        shape: sizes.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attention = AttentionBlock(shape)
        self.inner = nn.Linear(shape.size, shape.feedforward)
        self.outer = nn.Linear(shape.feedforward, shape.size)
        self.dropout = Dropout(shape.dropout)
        self.norm = nn.LayerNorm(shape.size, shape.eps)

    def forward(
        self,
        x: Float[Tensor, "batch tokens size"],
        mask: Bool[Tensor, "batch tokens"],
        *,
        need_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch tokens size"], Float[Tensor, "batch heads tokens tokens"] | None
    ]:
        """Return the new state of the tokens and, if asked, the attention weights."""
        x, weights = self.attention(x, None, mask, need_weights=need_weights)
        inner = self.inner(x).relu()
        outer = self.outer(self.dropout(inner))
        return self.norm(x + self.dropout(outer)), weights


def activation(config: MISAConfig) -> nn.Module:
    """Return a new layer of the chosen activation, for u_m, head and discriminator."""
    return ACTIVATIONS[config.activation]()


def pairs(count: int) -> tuple[list[int], list[int]]:
    """Return the first and the second of every unordered pair of ``range(count)``."""
    found = list(combinations(range(count), 2))
    return [a for a, _ in found], [b for _, b in found]


def scaled_reversal(x: Float[Tensor, "*shape"], weight: float) -> Float[Tensor, "*shape"]:
    """Return ``x``, exactly; its gradient is multiplied by ``-weight``."""
    reversed_x = reverse_gradient(x)
    return x.detach() + weight * (reversed_x - reversed_x.detach())
