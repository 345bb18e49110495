"""CARAT: contrastive feature reconstruction and aggregation (AAAI 2024).

Notable:

- a Transformer encoder per modality; each label attends to its steps, so that every label has its
  own representation in every modality;
- these are projected into a latent space where a supervised contrastive loss, over the batch and a
  queue of earlier rows, gathers what shares modality, label and whether the label holds; a positive
  and a negative prototype of each label and modality follow the latent rows as moving averages;
- twofold rebuilding: a modality from the decoded latents of the others and, in its own place, its
  decoded prototypes (a soft mixture in training, the closer one in evaluation); then once more from
  what the first round rebuilt, all modalities together;
- a label's logit is the maximum over modalities; beside it an aggregation head reads the labels of
  one modality together, trained also on features shuffled among samples and modalities.

Peng, Chen, Shou and Chen: CARAT: Contrastive Feature Reconstruction and Aggregation for Multi-Modal
Multi-Label Emotion Recognition. AAAI 2024.

Symbols: B batch, M modalities, m one of them, L labels, T steps, d ``hidden_size``, p
``latent_size``, Q ``queue_size``, tau ``temperature``.

The paper is about this task, so nothing had to be adapted. Its text was not at hand: the method is
the one that the authors' program computes, and a switch marks where that program is repaired.

Generalised: any two or three modalities; concatenations are in the order visual, audio, text.

Missing modalities: a missing modality has no representation. It is left out of the first maximum,
of the means of the reconstruction losses, of the prototypes and, before rebuilding, of the
contrast. For the other modalities it is replaced by the decoded even mixture of its prototypes, and
it is rebuilt like the others.

In evaluation the losses change no buffer, and the shuffle is a fixed one.

These hold for both presets:
DIVERGENCE (queue history): the program's queue keeps the computation that led to its rows, which
grows over the steps; here rows are detached. No number depends on it.
DIVERGENCE (queue labels): labels of a queue not yet filled are random reals in the program; here
the class -1. Neither equals any class.
DIVERGENCE (unaligned): the program sends unaligned sequences through an alignment module that no
loss trains; here every modality is encoded in its own steps.
DIVERGENCE (padding in front): data are stored without padding, so a sequence that a file pads in
front starts at step 0 here, and behind its padding in the program.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import ModelError
from emotailor.models.base import ModelOutput, logit_of
from emotailor.models.carat.config import CARATConfig
from emotailor.models.encoding import EncodedModel
from emotailor.nn.contrastive import ContrastiveQueue, class_numbers, supervised_contrast
from emotailor.nn.sequence import masked_softmax


class CARAT(EncodedModel):
    """The CARAT model.

    Args:
        config: settings.
        dims: modality -> feature width; two or three.
        num_labels: L.
    """

    takes_label_loss = True

    sample_means = False
    takes_unaligned = True

    config: CARATConfig
    prototypes: Float[Tensor, "modalities 2 labels latent"]

    def __init__(self, config: CARATConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(config, dims, num_labels)
        if len(self.modalities) < 2:
            raise ModelError(
                f"CARAT is to take {', '.join(self.modalities) or 'no modality'}",
                expected="at least two modalities, since each is rebuilt from the others",
                fix="choose other --modalities, or another system",
            )
        d = config.hidden_size
        p = config.latent_size
        count = len(self.modalities)
        half = d // 2

        self.label_queries = nn.Parameter(torch.empty(count, num_labels, d))
        self.projections = nn.ModuleDict()
        for m in self.modalities:
            self.projections[m] = _head(d, half, p)
        self.decoders = nn.ModuleDict()
        for m in self.modalities:
            self.decoders[m] = _head(p, half, d)
        self.rebuilders = nn.ModuleDict()
        for m in self.modalities:
            self.rebuilders[m] = nn.Linear(count * d, d)

        self.aggregation = _head(num_labels * d, d, num_labels)
        self.classifiers = nn.Parameter(torch.empty(count, num_labels, d))

        # index 0 of the second axis: prototypes of samples that have the label, 1: of the others
        self.register_buffer("prototypes", torch.zeros(count, 2, num_labels, p))

        # DIVERGENCE (queue_start): the program normalises along the queue instead of each row
        axis = 1 if config.queue_start == "unit_rows" else 0
        rows = torch.randn(config.queue_size, p)
        self.queue = ContrastiveQueue(F.normalize(rows, dim=axis))
        self._draw_weights()

    def _draw_weights(self) -> None:
        """Draw initial weights, as the program does."""
        self.encoders.apply(self._initialise)

        maps = (
            self.projections,
            self.decoders,
            self.rebuilders,
            self.aggregation,
        )
        for part in maps:
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)

        for queries, vectors in zip(self.label_queries, self.classifiers, strict=True):
            nn.init.xavier_uniform_(queries)
            nn.init.kaiming_uniform_(vectors)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Those of the shipped script by default."""
        config = self.config
        return {
            "classification": 1.0,
            "label_classification": config.label_weight,
            "first_classification": config.first_weight,
            "contrastive": config.contrastive_weight,
            "decoded_mse": config.decoded_mse_weight,
            "first_mse": config.first_mse_weight,
            "second_mse": config.second_mse_weight,
            "aggregation": config.aggregation_weight,
            "shuffled_aggregation": config.shuffled_weight,
        }

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the losses and, if asked, features.

        In training, a batch with labels also moves the prototypes and enters the queue. The
        probability of a label is the mean of what the classifiers of the second rebuilding and the
        aggregation head (averaged over modalities) give it.

        Features, by name (m a modality):
            ``encoder.m``: (B, T, d); ``attention.m``: each label's attention to its steps,
            (B, 1, L, T).
            ``label.m``, ``decoded.m``, ``prototype.m``, ``first.m``, ``second.m``: representation
            of each label, its decoded latent, the decoded prototypes, both rebuildings, (B, L, d).
            ``latent.label.m``, ``latent.first.m``, ``latent.second.m``: (B, L, p).
            ``logits.label``, ``logits.first``, ``logits.second``: maxima over modalities, (B, L).
            ``logits.aggregation`` and, with labels, ``logits.shuffled_aggregation``: (B, M, L).

        Raises:
            ModelError: a sequence is longer than ``max_steps``.
        """
        masks, encoded = self.encode(batch)
        present = [masks[m].any(1) for m in self.modalities]
        there = torch.stack(present, 1)  # (B, M)
        real = there[..., None, None]  # (B, M, 1, 1)
        attention = self._attend(encoded, masks)

        # (B, M, L, d) from here on, modalities in the order v, a, t
        read = [attention[m] @ encoded[m] for m in self.modalities]
        label = torch.stack(read, 1)
        latent = _each(self.projections, label)  # (B, M, L, p)

        nearest = self._nearest_prototypes(latent, there)
        prototype = _each(self.decoders, nearest)
        decoded = _each(self.decoders, latent)
        decoded = torch.where(real, decoded, prototype)
        first = self._rebuild(decoded, prototype)
        second = self._rebuild(first)

        logits = {
            "label": self._classify(label, there),
            "first": self._classify(first),
            "second": self._classify(second),
        }
        aggregated = self.aggregation(second.flatten(2))  # (B, M, L)
        logits["aggregation"] = aggregated.float()
        votes = logits["aggregation"].sigmoid().mean(1)
        probabilities = (logits["second"].sigmoid() + votes) / 2
        output = logit_of(probabilities)

        latents = {"label": latent}
        if features or batch.labels is not None:
            latents["first"] = _each(self.projections, first)
            latents["second"] = _each(self.projections, second)

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            rebuilt = {"decoded": decoded, "first": first, "second": second}
            with torch.autocast(output.device.type, enabled=False):  # in full precision
                for name, x in rebuilt.items():
                    error = x.float() - label.float()
                    losses[f"{name}_mse"] = _mean_square(error, real)

                mixed, targets = self._shuffle(second.float(), batch.labels)
                logits["shuffled_aggregation"] = self.aggregation(mixed.flatten(2))
                losses |= self._classification_losses(logits, batch.labels, targets)

                held = batch.labels > 0.5
                losses["contrastive"] = self._contrast(latents, there, held)

        if not features:
            return ModelOutput(output, losses)

        parts = {
            "label": label,
            "decoded": decoded,
            "prototype": prototype,
            "first": first,
            "second": second,
        }
        for name, x in latents.items():
            parts[f"latent.{name}"] = x

        named = self.named(encoded, attention, parts, logits)
        return ModelOutput(output, losses, named)

    def _attend(
        self,
        encoded: Mapping[Modality, Float[Tensor, "batch _ size"]],
        masks: Mapping[Modality, Bool[Tensor, "batch _"]],
    ) -> dict[Modality, Float[Tensor, "batch labels _"]]:
        """Return the attention of each label to the steps of each modality."""
        attention = {}
        for m, queries in zip(self.modalities, self.label_queries, strict=True):
            scores = encoded[m] @ queries.T  # (B, T, L)
            scores = scores.mT  # (B, L, T)
            attention[m] = masked_softmax(scores, masks[m])

        return attention

    def _nearest_prototypes(
        self,
        latent: Float[Tensor, "batch modalities labels latent"],
        there: Bool[Tensor, "batch modalities"],
    ) -> Float[Tensor, "batch modalities labels latent"]:
        """The prototypes of each label, mixed by their similarity; evenly where missing."""
        prototypes = self.prototypes.clone()  # the buffer moves before the gradient is computed
        unit = F.normalize(latent.float(), dim=-1)
        scores = torch.einsum("bmlp,mslp->bmls", unit, prototypes)  # s: label holds, or not

        if self.training:
            shares = scores.softmax(-1)
        else:
            # the closer one; positive only if strictly closer
            closer = scores[..., 0] > scores[..., 1]
            chosen = torch.stack([closer, ~closer], -1)
            shares = chosen.to(scores.dtype)

        real = there[..., None, None]
        shares = torch.where(real, shares, 0.5)
        return torch.einsum("bmls,mslp->bmlp", shares, prototypes)

    def _rebuild(
        self,
        parts: Float[Tensor, "batch modalities labels size"],
        own: Float[Tensor, "batch modalities labels size"] | None = None,
    ) -> Float[Tensor, "batch modalities labels size"]:
        """Map all parts, end to end, to each modality; ``own`` replaces the part of that one."""
        rebuilt = []
        for k, m in enumerate(self.modalities):
            pieces = list(parts.unbind(1))
            if own is not None:
                pieces[k] = own[:, k]

            joined = torch.cat(pieces, -1)  # (B, L, M d)
            rebuilt.append(self.rebuilders[m](joined))

        return torch.stack(rebuilt, 1)

    def _classify(
        self,
        x: Float[Tensor, "batch modalities labels size"],
        there: Bool[Tensor, "batch modalities"] | None = None,
    ) -> Float[Tensor, "batch labels"]:
        """The largest logit over modalities (those that are there; 0 where none is)."""
        logits = torch.einsum("bmld,mld->bml", x, self.classifiers)
        logits = logits.float()
        if there is None:
            return logits.amax(1)

        missing = ~there[..., None]  # (B, M, 1)
        logits = logits.masked_fill(missing, -torch.inf)
        largest = logits.amax(1)  # (B, L)

        some = there.any(1, keepdim=True)
        return torch.where(some, largest, 0.0)

    def _classification_losses(
        self,
        logits: Mapping[str, Float[Tensor, "batch *_ labels"]],
        labels: Float[Tensor, "batch labels"],
        shuffled: Float[Tensor, "batch modalities labels"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the binary cross-entropy of every kind of logits."""
        same = labels[:, None].expand_as(shuffled)
        pairs = {
            "classification": ("second", labels),
            "label_classification": ("label", labels),
            "first_classification": ("first", labels),
            "aggregation": ("aggregation", same),
            "shuffled_aggregation": ("shuffled_aggregation", shuffled),
        }
        losses = {
            loss: F.binary_cross_entropy_with_logits(logits[name], target)
            for loss, (name, target) in pairs.items()
        }
        # settings may replace the loss of the prediction; the others train what is before it
        losses["classification"] = self.label_loss(logits["second"], labels)
        return losses

    def draw_shuffle(
        self, samples: int
    ) -> tuple[Int64[Tensor, "batch modalities labels"], Int64[Tensor, "batch modalities labels"]]:
        """Draw a permutation of the samples for each modality and label, and vice versa.

        From torch's random state in training; always the same ones in evaluation.
        """
        source = None
        if not self.training:
            source = torch.Generator().manual_seed(0)

        shape = (samples, len(self.modalities), self.num_labels)
        for_samples = torch.rand(shape, generator=source)
        for_modalities = torch.rand(shape, generator=source)
        return for_samples.argsort(0), for_modalities.argsort(1)

    def _shuffle(
        self,
        x: Float[Tensor, "batch modalities labels size"],
        labels: Float[Tensor, "batch labels"],
    ) -> tuple[
        Float[Tensor, "batch modalities labels size"], Float[Tensor, "batch modalities labels"]
    ]:
        """Fill every place of each label with another feature; the targets move along.

        The features of a label are exchanged among samples, then among modalities: place b, k takes
        the feature of modality ``modalities[b, k]``, from the sample that was put there.
        """
        by_sample, by_modality = self.draw_shuffle(len(x))
        samples = by_sample.to(x.device)
        modalities = by_modality.to(x.device)

        # DIVERGENCE (shuffle): the program takes the sample drawn for place k, not for its source,
        # so that some features occur twice and others not at all
        if self.config.shuffle == "in_turn":
            samples = samples.gather(1, modalities)

        # a label keeps its own place
        own = torch.arange(x.shape[2], device=x.device)
        mixed = x[samples, modalities, own]
        targets = labels[samples, own]
        return mixed, targets

    def _contrast(
        self,
        latents: Mapping[str, Float[Tensor, "batch modalities labels latent"]],
        there: Bool[Tensor, "batch modalities"],
        held: Bool[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """The contrastive loss; in training, prototypes and queue move on afterwards.

        A class is a modality, a label and whether the label holds.
        """
        rows_of_each = list(latents.values())  # of label, first, second
        stacked = torch.stack(rows_of_each, 1).float()
        unit = F.normalize(stacked, dim=-1)  # (B, 3, M, L, p)
        classes = class_numbers(held, len(self.modalities))  # (B, M, L)
        classes = classes[:, None].expand(unit.shape[:-1])

        # a missing modality has a latent row from its rebuildings alone
        used = torch.ones_like(classes, dtype=torch.bool)
        used[:, 0] = there[..., None]
        rows = unit[used]  # (N, p)
        classes = classes[used]

        loss = supervised_contrast(
            rows,
            classes,
            self.queue,
            self.config.temperature,
            enter=self.training,
        )
        if self.training:
            of_labels = unit[:, 0].detach()  # (B, M, L, p)
            self._move_prototypes(of_labels, there, held)
        return loss

    def _move_prototypes(
        self,
        unit: Float[Tensor, "batch modalities labels latent"],
        there: Bool[Tensor, "batch modalities"],
        held: Bool[Tensor, "batch labels"],
    ) -> None:
        """Move by p <- m p + (1 - m) u for one sample after the other, in closed form.

        A sample that k later samples follow has the share (1 - m) m^k; of the old prototype m^n is
        left after n samples.
        """
        momentum = self.config.prototype_momentum
        for sign, match in enumerate((held, ~held)):
            moves = match[:, None] & there[..., None]
            moves = moves.long()  # (B, M, L)

            # how many samples still move the prototype after each
            backwards = moves.flip(0).cumsum(0)
            later = backwards.flip(0) - moves
            shares = (1 - momentum) * moves * momentum**later
            moved = torch.einsum("bml,bmlp->mlp", shares, unit)

            left = momentum ** moves.sum(0)  # (M, L)
            kept = left[..., None] * self.prototypes[:, sign]
            self.prototypes[:, sign] = kept + moved


def _head(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, inner),
        nn.ReLU(),
        nn.Linear(inner, outputs),
    )


def _each(
    maps: nn.ModuleDict, x: Float[Tensor, "batch modalities labels _"]
) -> Float[Tensor, "batch modalities labels _"]:
    """Apply the map of each modality to its slice."""
    mapped = [f(x[:, k]) for k, f in enumerate(maps.values())]
    return torch.stack(mapped, 1)


def _mean_square(
    x: Float[Tensor, "batch modalities labels size"], real: Bool[Tensor, "batch modalities 1 1"]
) -> Float[Tensor, ""]:
    """The mean square over samples, labels and width, summed over modalities."""
    squares = x.square() * real
    sums = squares.sum((0, 2, 3))  # (M,)

    samples = real.sum((0, 2, 3)).clamp(min=1)
    per_sample = x.shape[2] * x.shape[3]
    means = sums / (samples * per_sample)
    return means.sum()
