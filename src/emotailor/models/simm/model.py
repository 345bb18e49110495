"""SIMM: multi-view multi-label learning with view-specific information extraction (IJCAI 2019).

Notable:

- every view is mapped into one shared subspace (c^v); a view discriminator D is to be confused
  there, so that c^v holds only what the views have in common, and the labels are predicted from
  each c^v alone, so that it is not mere noise;
- every view also keeps a specific vector s^v, orthogonal to the mean c of the shared ones;
- the labels are predicted from [s^1; ...; s^V; c].

Wu, Chen, Hu, Wang, Xie, Tu and Zhang: Multi-View Multi-Label Learning with View-Specific
Information Extraction. IJCAI 2019. Symbols: B batch, V views, d width, L labels; s^v specific,
c^v and c shared, D discriminator, L_adv confusion, L_sml labels from the shared vectors,
L_specific orthogonality.

Adapted to multi-label emotion recognition: a view is a modality, and its vector the mean over the
real steps of its sequence, so sequences may differ in length and order plays no part. A missing
modality has a zero specific vector and is left out of the mean of the shared vectors and of the
means in the losses.

Every place where the authors' program departs from the paper is a switch of ``SIMMConfig``, marked
DIVERGENCE here. These hold for both presets:
DIVERGENCE (reduction): all losses are means over samples and views (and labels), as in the program,
so that their weights depend on the size of neither.
DIVERGENCE (decision): the program decides at a logit of 0.5; that is the ``threshold`` of the
recipe ``authors``, and no part of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, ModelOutput
from emotailor.models.simm.config import SIMMConfig
from emotailor.nn.adversarial import reverse_gradient, squared_overlap
from emotailor.nn.sequence import masked_mean, mean_present


@dataclass(frozen=True)
class ViewVectors:
    """What the views of a batch hold, each on its own and together.

    Attributes:
        specific: s^v, (B, V, d); 0 where the view is missing.
        by_view: c^v, (B, V, d); 0 where the view is missing.
        shared: c, the mean of c^v over the views that are there, (B, d).
        present: (B, V), True where the view is there.
    """

    specific: Float[Tensor, "batch views size"]
    by_view: Float[Tensor, "batch views size"]
    shared: Float[Tensor, "batch size"]
    present: Bool[Tensor, "batch views"]

    @property
    def joint(self) -> Float[Tensor, "batch width"]:
        """[s^1; ...; s^V; c], (B, (V + 1) d)."""
        return torch.cat([self.specific.flatten(1), self.shared], 1)


class SIMM(EmotionModel):
    """The SIMM model.

    Args:
        config: settings.
        dims: modality -> feature width; two or more.
        num_labels: L.
    """

    takes_label_loss = True
    replayable = True

    sample_means = False  # exp(-CE) is not a mean over samples, and all_pairs is over B x B
    takes_unaligned = True

    def __init__(self, config: SIMMConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        d = config.hidden_size
        views = len(self.modalities)
        joint = (views + 1) * d  # width of [s^1; ...; s^V; c]

        self.specific = self._layer_per_view(d)  # x^v -> s^v
        self.entry = self._layer_per_view(d)  # x^v -> what ``shared`` reads
        self.shared = nn.Linear(d, d)  # -> c^v; one for all views

        self.classifier = nn.Linear(joint, num_labels)
        self.shared_classifier = nn.Linear(d, num_labels)
        self.discriminator = nn.Linear(d, views)  # D

    def _layer_per_view(self, size: int) -> nn.ModuleDict:
        layers = nn.ModuleDict()
        for m in self.modalities:
            layers[m] = nn.Linear(self.dims[m], size)
        return layers

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The weights of L_ml, L_sml, L_adv and L_specific."""
        return {
            "classification": 1.0,
            "shared_classification": self.config.shared_weight,
            "adversarial": self.config.adversarial_weight,
            "orthogonality": self.config.orthogonality_weight,
        }

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the four losses and, if asked, features.

        Features, by name (m a modality):
            ``specific.m``: s^v, (B, d); 0 where the modality is missing.
            ``shared.m``: c^v, (B, d); ``shared``: the mean c of all c^v, (B, d).
            ``shared_logits.m``: logits of the labels, from c^v alone, (B, L).
            ``discriminator.m``: probabilities (B, V) over the modalities, in the order v, a, t.
        """
        vectors = self._vectors(batch)
        logits = self.classifier(vectors.joint)  # (B, L)

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            losses = self._losses(logits, vectors, batch.labels)

        named: dict[str, Tensor] = {}
        if features:
            named = self._features(vectors)

        return ModelOutput(logits, losses, named)

    def _vectors(self, batch: Batch) -> ViewVectors:
        """Map every view into its specific space and into the shared one."""
        specific = []
        entered = []
        present = []
        for m in self.modalities:
            mask = batch.masks[m]
            x = masked_mean(batch.values[m], mask)  # (B, dim)
            own = self.specific[m](x)
            specific.append(own.relu())
            common = self.entry[m](x)
            entered.append(common.relu())
            present.append(mask.any(1))  # (B,)

        there = torch.stack(present, 1)  # (B, V)
        here = there[..., None]
        # a missing view is zeros to all that follows, whatever the biases say
        by_view = self.shared(torch.stack(entered, 1)) * here
        return ViewVectors(
            specific=torch.stack(specific, 1) * here,  # (B, V, d)
            by_view=by_view,
            shared=masked_mean(by_view, there),
            present=there,
        )

    def _losses(
        self,
        logits: Float[Tensor, "batch labels"],
        vectors: ViewVectors,
        labels: Float[Tensor, "batch labels"],
    ) -> dict[str, Float[Tensor, ""]]:
        """L_ml, L_sml, L_adv and L_specific, unweighted."""
        by_view = vectors.by_view
        present = vectors.present
        return {
            "classification": self.label_loss(logits, labels),
            "shared_classification": self._shared_labels(
                by_view,
                present,
                labels,
            ),
            "adversarial": self._confusion(by_view, present),
            "orthogonality": self._orthogonality(
                vectors.specific,
                vectors.shared,
                present,
            ),
        }

    def _features(self, vectors: ViewVectors) -> dict[str, Tensor]:
        named = {"shared": vectors.shared}
        for v, m in enumerate(self.modalities):
            specific = vectors.specific[:, v]  # (B, d)
            shared = vectors.by_view[:, v]
            judged = self.discriminator(shared)  # (B, V)

            named[f"specific.{m}"] = specific
            named[f"shared.{m}"] = shared
            named[f"shared_logits.{m}"] = self.shared_classifier(shared)
            named[f"discriminator.{m}"] = judged.softmax(-1)

        return named

    def _shared_labels(
        self,
        by_view: Float[Tensor, "batch views size"],
        present: Bool[Tensor, "batch views"],
        labels: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """L_sml: the labels, predicted from each c^v alone."""
        logits = self.shared_classifier(by_view)  # (B, V, L)
        target = labels[:, None].expand_as(logits)
        loss = F.binary_cross_entropy_with_logits(
            logits,
            target,
            reduction="none",
        )  # (B, V, L)
        return mean_present(loss.mean(-1), present)

    def _confusion(
        self, by_view: Float[Tensor, "batch views size"], present: Bool[Tensor, "batch views"]
    ) -> Float[Tensor, ""]:
        """L_adv = exp(-CE), where D names the view of each c^v; it falls as D is confused."""
        weight: Tensor = self.discriminator.weight
        bias: Tensor = self.discriminator.bias
        # DIVERGENCE (adversary): the program lets D minimise L_adv too, so that D learns to be
        # wrong; reversing the gradient of D's own parameters makes it learn to be right
        if self.config.adversary == "reversal":
            weight = reverse_gradient(weight)
            bias = reverse_gradient(bias)

        named = F.linear(by_view, weight, bias)  # (B, V, V)
        log_probabilities = F.log_softmax(named, -1)
        right = log_probabilities.diagonal(dim1=1, dim2=2)  # view v is class v
        return mean_present(right, present).exp()

    def _orthogonality(
        self,
        specific: Float[Tensor, "batch views size"],
        shared: Float[Tensor, "batch size"],
        present: Bool[Tensor, "batch views"],
    ) -> Float[Tensor, ""]:
        """L_specific: the overlap of s^v and c."""
        kind = self.config.orthogonality
        # squares overflow half precision
        specific = specific.float()
        shared = shared.float()

        # DIVERGENCE (orthogonality): the program also makes s^v of one sample orthogonal to c of
        # every other, so that the loss depends on the batch
        if kind == "all_pairs":
            views = present.shape[1]
            by_view = specific.transpose(0, 1)  # (V, B, d)
            repeated = shared.expand(views, -1, -1)  # (V, B, d)
            total = views * squared_overlap(by_view, repeated)
            samples = present.any(1).sum()
            pairs = present.sum() * samples
            return total / pairs.clamp(min=1)

        products = specific * shared[:, None]  # (B, V, d)
        overlap = products.sum(-1)  # (B, V)
        if kind == "squared":
            return mean_present(overlap.square(), present)

        return mean_present(overlap.abs(), present)
