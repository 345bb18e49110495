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
DIVERGENCE here. These hold for both faces:
DIVERGENCE (reduction): all losses are means over samples and views (and labels), as in the program,
so that their weights depend on the size of neither.
DIVERGENCE (decision): the program decides at a logit of 0.5; that is the ``threshold`` of the
recipe ``authors``, and no part of the model.
"""

from collections.abc import Mapping

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


class SIMM(EmotionModel):
    """The SIMM model.

    Args:
        config: settings.
        dims: modality -> feature width; two or more.
        num_labels: L.
    """

    sample_means = False  # exp(-CE) is not a mean over samples, and all_pairs is over B x B
    takes_unaligned = True

    def __init__(self, config: SIMMConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        d, views = config.hidden_size, len(self.modalities)
        self.specific = nn.ModuleDict({m: nn.Linear(dims[m], d) for m in self.modalities})
        self.entry = nn.ModuleDict({m: nn.Linear(dims[m], d) for m in self.modalities})
        self.shared = nn.Linear(d, d)  # one for all views
        self.classifier = nn.Linear((views + 1) * d, num_labels)
        self.shared_classifier = nn.Linear(d, num_labels)
        self.discriminator = nn.Linear(d, views)

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
            ``shared.m``: c^v, (B, d); ``shared``: their mean c, (B, d).
            ``shared_logits.m``: of the labels, from c^v alone, (B, L).
            ``discriminator.m``: probabilities (B, V) over the modalities, in the order v, a, t.
        """
        present = torch.stack([batch.masks[m].any(1) for m in self.modalities], 1)
        pooled = {m: self._pool(batch.values[m], batch.masks[m]) for m in self.modalities}
        here = present[..., None]
        specific = torch.stack([self.specific[m](x).relu() for m, x in pooled.items()], 1) * here
        entered = torch.stack([self.entry[m](x).relu() for m, x in pooled.items()], 1)
        by_view = self.shared(entered) * here
        shared = masked_mean(by_view, present)
        logits = self.classifier(torch.cat([specific.flatten(1), shared], 1))

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            losses = {
                "classification": F.binary_cross_entropy_with_logits(logits, batch.labels),
                "shared_classification": self._shared_labels(by_view, present, batch.labels),
                "adversarial": self._confusion(by_view, present),
                "orthogonality": self._orthogonality(specific, shared, present),
            }
        named: dict[str, Tensor] = {}
        if features:
            named["shared"] = shared
            for k, m in enumerate(self.modalities):
                named[f"specific.{m}"], named[f"shared.{m}"] = specific[:, k], by_view[:, k]
                named[f"shared_logits.{m}"] = self.shared_classifier(by_view[:, k])
                named[f"discriminator.{m}"] = self.discriminator(by_view[:, k]).softmax(-1)
        return ModelOutput(logits, losses, named)

    @staticmethod
    def _pool(
        values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch dim"]:
        """The vector of a view; whatever padding holds, even NaN, is not read."""
        return masked_mean(values.masked_fill(~mask[..., None], 0.0), mask)

    def _shared_labels(
        self,
        by_view: Float[Tensor, "batch views size"],
        present: Bool[Tensor, "batch views"],
        labels: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """L_sml: the labels, predicted from each c^v alone."""
        logits = self.shared_classifier(by_view)
        target = labels[:, None].expand_as(logits)
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
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
            weight, bias = reverse_gradient(weight), reverse_gradient(bias)
        log_probabilities = F.log_softmax(F.linear(by_view, weight, bias), -1)
        right = log_probabilities.diagonal(dim1=1, dim2=2)  # view v is class v
        return mean_present(right, present).exp()

    def _orthogonality(
        self,
        specific: Float[Tensor, "batch views size"],
        shared: Float[Tensor, "batch size"],
        present: Bool[Tensor, "batch views"],
    ) -> Float[Tensor, ""]:
        """L_specific: the overlap of s^v and c."""
        specific, shared = specific.float(), shared.float()  # squares overflow half precision
        # DIVERGENCE (orthogonality): the program also makes s^v of one sample orthogonal to c of
        # every other, so that the loss depends on the batch
        if self.config.orthogonality == "all_pairs":
            views = present.shape[1]
            total = views * squared_overlap(specific.transpose(0, 1), shared.expand(views, -1, -1))
            return total / (present.sum() * present.any(1).sum()).clamp(min=1)
        overlap = (specific * shared[:, None]).sum(-1)
        squared = self.config.orthogonality == "squared"
        return mean_present(overlap.square() if squared else overlap.abs(), present)
