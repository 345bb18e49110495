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
DIVERGENCE here. These hold for both faces:
DIVERGENCE (reduction): L_diff is the mean over the H x H entries, which is the paper's squared
Frobenius norm over H^2, as in the program; beta is tuned to it.
DIVERGENCE (interval): CMD has no factors 1/(b-a)^k; they are 1 for the sigmoid's interval.
DIVERGENCE (token order): shared tokens first, as in the paper, and v, a, t among them; the program
has the private ones first, and t, v, a. The order of the head's columns is all it decides.
DIVERGENCE (unused discriminator): the program's ``sp_discriminator`` is in no loss and left out.
DIVERGENCE (batch of one): CMD has gradient 0 where two moments agree; the program's is NaN there.
"""

from collections.abc import Mapping
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
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import masked_mean, mean_present


class UtteranceEncoder(nn.Module):
    """u_m of a sequence: two bidirectional recurrent layers, then a dense layer.

    Both recurrent layers have as many units per direction as the features are wide.

    Args:
        config: settings.
        dim: width of the features.
    """

    def __init__(self, config: MISAConfig, dim: int) -> None:
        super().__init__()
        self.first = RecurrentEncoder(dim, dim, bidirectional=True, cell=config.cell)
        self.norm = nn.LayerNorm(2 * dim, config.layer_norm_eps)
        self.second = RecurrentEncoder(2 * dim, dim, bidirectional=True, cell=config.cell)
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
        states, first, _ = self.first(values, mask)
        _, second, _ = self.second(self.norm(states), mask)
        # in the program's order: forward of both layers, then backward of both
        both = torch.cat([first, second]).permute(2, 1, 0, 3).flatten(1)
        return self.projection_norm(self.activation(self.projection(both)))


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
        inner = self.dropout(self.inner(x).relu())
        return self.norm(x + self.dropout(self.outer(inner))), weights


class MISA(EmotionModel):
    """The MISA model.

    Args:
        config: settings.
        dims: modality -> feature width; two or more.
        num_labels: L.
    """

    sample_means = False  # CMD and the difference loss are of the batch as a whole
    takes_unaligned = True

    def __init__(self, config: MISAConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        h, count = config.hidden_size, len(self.modalities)
        self.encoders = nn.ModuleDict(
            {m: UtteranceEncoder(config, dims[m]) for m in self.modalities}
        )
        self.private = nn.ModuleDict({m: nn.Linear(h, h) for m in self.modalities})  # E_p
        self.shared = nn.Linear(h, h)  # E_c
        # DIVERGENCE (decoder): the paper has one decoder D, the program one per modality
        decoders = 1 if config.decoder == "shared" else count
        self.decoders = nn.ModuleList(nn.Linear(h, h) for _ in range(decoders))
        self.discriminator = (
            nn.Sequential(
                nn.Linear(h, h), activation(config), Dropout(config.dropout), nn.Linear(h, count)
            )
            if config.similarity == "adversarial"
            else None
        )
        self.fusion = FusionLayer(
            TransformerShape(
                h,
                config.feedforward_size,
                config.heads,
                config.fusion_dropout,
                config.layer_norm_eps,
            )
        )
        # DIVERGENCE (head): the paper projects the joint vector, the program has a hidden layer
        self.head = (
            nn.Sequential(Dropout(config.dropout), nn.Linear(2 * count * h, num_labels))
            if config.head == "linear"
            else nn.Sequential(
                nn.Linear(2 * count * h, count * h),
                Dropout(config.dropout),
                activation(config),
                nn.Linear(count * h, num_labels),
            )
        )

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Alpha, beta and gamma of the objective."""
        return {
            "classification": 1.0,
            "similarity": self.config.similarity_weight,
            "difference": self.config.difference_weight,
            "reconstruction": self.config.reconstruction_weight,
        }

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the four losses and, if asked, features.

        Features, by name (m a modality):
            ``utterance.m``: u_m; ``shared.m``: h_m^c; ``private.m``: h_m^p; ``reconstruction.m``:
            of u_m from both; each (B, H), 0 where the modality is missing.
            ``fused``: the tokens after the Transformer, (B, 2M, H); shared then private, v, a, t.
            ``fusion_attention``: of the tokens to each other, (B, heads, 2M, 2M), rows are queries.
            ``discriminator.m``: of the adversarial variant, probabilities (B, M) over modalities.
        """
        masks = batch.masks
        present = torch.stack([masks[m].any(1) for m in self.modalities], 1)
        here = present[..., None]
        encoded = [self.encoders[m](self._values(batch, m), masks[m]) for m in self.modalities]
        utterance = torch.stack(encoded, 1) * here
        private = torch.stack(
            [self.private[m](utterance[:, k]) for k, m in enumerate(self.modalities)], 1
        )
        private, shared = private.sigmoid() * here, self.shared(utterance).sigmoid() * here
        rebuilt = self._reconstruct(private + shared)
        tokens = present.repeat(1, 2)
        fused, attention = self.fusion(
            torch.cat([shared, private], 1), tokens, need_weights=features
        )
        fused = fused * tokens[..., None]
        logits = self.head(fused.flatten(1))

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            losses = {
                "classification": F.binary_cross_entropy_with_logits(logits, batch.labels),
                "similarity": self._similarity(shared, present),
                "difference": self._difference(private, shared, present),
                "reconstruction": mean_present((rebuilt - utterance).square().mean(-1), present),
            }
        named: dict[str, Tensor] = {}
        if features:
            assert attention is not None
            named["fused"], named["fusion_attention"] = fused, attention
            rebuilt = rebuilt * here
            for k, m in enumerate(self.modalities):
                named[f"utterance.{m}"], named[f"shared.{m}"] = utterance[:, k], shared[:, k]
                named[f"private.{m}"], named[f"reconstruction.{m}"] = private[:, k], rebuilt[:, k]
                if self.discriminator is not None:
                    named[f"discriminator.{m}"] = self.discriminator(shared[:, k]).softmax(-1)
        return ModelOutput(logits, losses, named)

    def _values(self, batch: Batch, m: Modality) -> Float[Tensor, "batch steps dim"]:
        mask = batch.masks[m]
        values = batch.values[m].masked_fill(~mask[..., None], 0.0)
        # DIVERGENCE (utterance_norm): the program z-normalises what is not text in each utterance
        if self.config.utterance_norm and m != "text":
            centred = values - masked_mean(values, mask)[:, None]
            variance = masked_mean(centred.square(), mask)[:, None]
            values = centred / (variance + 1e-12).sqrt()
        return values

    def _reconstruct(
        self, total: Float[Tensor, "batch modalities size"]
    ) -> Float[Tensor, "batch modalities size"]:
        """D(h_m^c + h_m^p) of each modality."""
        if len(self.decoders) == 1:
            return self.decoders[0](total)
        return torch.stack([decoder(total[:, k]) for k, decoder in enumerate(self.decoders)], 1)

    def _similarity(
        self,
        shared: Float[Tensor, "batch modalities size"],
        present: Bool[Tensor, "batch modalities"],
    ) -> Float[Tensor, ""]:
        """L_sim: mean over the pairs of CMD, or the modality discriminator's cross-entropy."""
        if self.discriminator is not None:
            logits = self.discriminator(scaled_reversal(shared, self.config.reversal_weight))
            truth = F.log_softmax(logits, -1).diagonal(dim1=1, dim2=2)  # modality k is class k
            return -mean_present(truth, present)
        moments = central_moments(shared.transpose(0, 1), present.T, self.config.moments)
        left, right = pairs(present.shape[1])
        seen = present.any(0)
        distances = moment_distance(moments[left], moments[right])
        return mean_present(distances, seen[left] & seen[right])

    def _difference(
        self,
        private: Float[Tensor, "batch modalities size"],
        shared: Float[Tensor, "batch modalities size"],
        present: Bool[Tensor, "batch modalities"],
    ) -> Float[Tensor, ""]:
        """L_diff: overlap of h_m^p with h_m^c, and of the private vectors with each other."""
        left, right = pairs(present.shape[1])
        rows = torch.cat([present, present[:, left] & present[:, right]], 1)[..., None]
        a = torch.cat([private, private[:, left]], 1)
        b = torch.cat([shared, private[:, right]], 1)
        a, b = (self._unit_rows(x, rows).transpose(0, 1) for x in (a, b))
        return (a.mT @ b).square().mean((1, 2)).sum()

    def _unit_rows(
        self, x: Float[Tensor, "batch pairs size"], rows: Bool[Tensor, "batch pairs 1"]
    ) -> Float[Tensor, "batch pairs size"]:
        """Centre over the batch, then scale each sample's vector to length 1."""
        mean = (x * rows).sum(0) / rows.sum(0).clamp(min=1)
        centred = (x - mean) * rows
        norms = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
        # DIVERGENCE (detach_norms): the program takes the norms as constants
        if self.config.detach_norms:
            norms = norms.detach()
        return centred / (norms + 1e-6)


def activation(config: MISAConfig) -> nn.Module:
    """The activation of dense layers."""
    return nn.ReLU() if config.activation == "relu" else nn.LeakyReLU()


def pairs(count: int) -> tuple[list[int], list[int]]:
    """Return the first and the second of every unordered pair."""
    found = list(combinations(range(count), 2))
    return [a for a, _ in found], [b for _, b in found]


def scaled_reversal(x: Float[Tensor, "*shape"], weight: float) -> Float[Tensor, "*shape"]:
    """Return ``x``, exactly; its gradient is multiplied by ``-weight``."""
    reversed_x = reverse_gradient(x)
    return x.detach() + weight * (reversed_x - reversed_x.detach())
