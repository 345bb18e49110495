"""LDDU: latent distributions and uncertainty-aware fusion (Findings of ACL 2025).

Notable:

- a Transformer encoder per modality; each label attends to its steps, so that every label has its
  own representation in every modality;
- each of these becomes a normal distribution: a mean, which says what was seen, and a deviation,
  which says how uncertain that is; nothing is sampled;
- a supervised contrastive loss, over the batch and a queue of earlier rows, gathers distributions
  that share modality, label and whether the label holds;
- three opinions on every label: of a head that all labels share, on the representations, and of
  each label's own heads, on the means and on the deviations. The first is also the share that the
  means have in the probability; the rest is the deviations';
- a calibration loss holds the sizes of the deviations against the common scores, as shares.

Huang, Zhong, Lei, Gao, Yang, Wang, Li and Wei: Latent Distribution Decouple for Uncertain-Aware
Multimodal Multi-label Emotion Recognition. Findings of ACL 2025.

Symbols: B batch, M modalities, m one of them, L labels, T steps, d ``hidden_size``, r
``attention_size``, p ``latent_size``, Q ``queue_size``, tau ``temperature``, mu ``mean``, sigma
``deviation``.

The paper is about this task, so nothing had to be adapted. Its text was not at hand: the method is
the one that the authors' program computes, and a switch marks where that program is repaired. Two
repairs are inferred. The program keeps a history of scores that no loss reads, and takes a softmax
of their mean: here that softmax is the target of the calibration (``history``). The program's two
softmaxes of the calibration run over different sets, so that the loss cannot reach 0 and changes
with the size of the batch: here both run over the labels of a sample (``uncertainty_shares``).

Generalised: any number of labels, where the program has heads for six; any set of modalities;
concatenations are in the order visual, audio, text.

Missing modalities: a missing modality has a representation of zeros and the distribution of mean 0
and deviation 1, and no row in the contrast.

In evaluation the losses change neither queue nor history.

These hold for both presets:
DIVERGENCE (logarithms): the program takes logarithms of probabilities, which are cut at -100 and
lose their gradient where a sigmoid is 0 or 1 in single precision; here they are computed from
logits. Likewise the calibration takes a log-softmax where the program's logarithm of a softmax can
become infinite.
DIVERGENCE (random stream): the program's latent encoders draw dropout masks, when testing too, and
do not use them; here nothing is drawn.
DIVERGENCE (queue history): the program's queue keeps the computation that led to its rows, which
grows over the steps; here rows are detached. No number depends on it.
DIVERGENCE (queue labels): labels of a queue not yet filled are random reals in the program; here
the class -1. Neither equals any class.
DIVERGENCE (unaligned): the program cannot run on unaligned sequences; here every modality is read
in its own steps, and training aligns them first unless told otherwise.
DIVERGENCE (padding in front): data are stored without padding, so a sequence that a file pads in
front starts at step 0 here, and behind its padding in the program.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import ModelError
from emotailor.models.base import LabelStatistics, ModelOutput
from emotailor.models.encoding import EncodedModel
from emotailor.models.lddu.config import LDDUConfig
from emotailor.models.lddu.history import ScoreHistory
from emotailor.nn.contrastive import ContrastiveQueue, class_numbers, supervised_contrast
from emotailor.nn.dropout import Dropout
from emotailor.nn.sequence import masked_softmax

HISTORY = "history.keys"
"""The buffer whose length is the number of training samples."""


class LabelAttention(nn.Module):
    """Each label reads the steps of one modality, with a single head.

    Args:
        config: settings.
    """

    def __init__(self, config: LDDUConfig) -> None:
        super().__init__()
        d = config.hidden_size
        r = config.attention_size
        self.query_map = nn.Linear(d, r)
        self.step_map = nn.Linear(d, r)  # key and value at once
        self.dropout = Dropout(config.context_dropout)
        self.output_map = nn.Linear(r, d)

    def forward(
        self,
        labels: Float[Tensor, "labels size"],
        steps: Float[Tensor, "batch steps size"],
        mask: Bool[Tensor, "batch steps"],
    ) -> tuple[Float[Tensor, "batch labels size"], Float[Tensor, "batch labels steps"]]:
        """Return what each label has read, and its attention to the steps."""
        queries = self.query_map(labels)  # (L, r)
        keys = self.step_map(steps)  # (B, T, r)
        scores = keys @ queries.T
        scores = scores.mT / queries.shape[1] ** 0.5  # (B, L, T)
        weights = masked_softmax(scores, mask)

        context = weights.to(keys.dtype) @ keys  # (B, L, r)
        context = self.dropout(context)
        return self.output_map(context), weights


class LatentEncoder(nn.Module):
    """Mean and log variance of a representation's latent distribution.

    Args:
        config: settings.
    """

    def __init__(self, config: LDDUConfig) -> None:
        super().__init__()
        d = config.hidden_size
        half = d // 2
        wide = 3 * (d // 4)

        self.hidden = nn.Sequential(
            nn.Linear(d, wide),
            nn.ReLU(),
            nn.Linear(wide, half),
            nn.ReLU(),
            nn.Linear(half, half),
            nn.ReLU(),
        )
        self.mean = nn.Linear(half, config.latent_size)
        self.log_variance = nn.Linear(half, config.latent_size)

    def forward(
        self, x: Float[Tensor, "batch labels size"]
    ) -> tuple[Float[Tensor, "batch labels latent"], Float[Tensor, "batch labels latent"]]:
        """Return mean and log variance, (B, L, p) each."""
        hidden = self.hidden(x)  # (B, L, d // 2)
        return self.mean(hidden), self.log_variance(hidden)


class LabelHeads(nn.Module):
    """A head of its own for each label: linear map, dropout, ReLU, linear map to one logit.

    Args:
        num_labels: L.
        inputs: width of what a head reads.
        inner: width between the two maps.
        dropout: rate.
    """

    def __init__(self, num_labels: int, inputs: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner_weight = nn.Parameter(torch.empty(num_labels, inner, inputs))
        self.inner_bias = nn.Parameter(torch.empty(num_labels, inner))
        self.outer_weight = nn.Parameter(torch.empty(num_labels, inner))
        self.outer_bias = nn.Parameter(torch.empty(num_labels))
        self.dropout = Dropout(dropout)

        # as torch draws linear maps
        for parameter in (self.inner_weight, self.inner_bias):
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5)
        for parameter in (self.outer_weight, self.outer_bias):
            nn.init.uniform_(parameter, -(inner**-0.5), inner**-0.5)

    def forward(self, x: Float[Tensor, "batch labels inputs"]) -> Float[Tensor, "batch labels"]:
        """Return the logit of each label."""
        hidden = torch.einsum("bli,lhi->blh", x, self.inner_weight)
        hidden = self.dropout(hidden + self.inner_bias)
        logits = torch.einsum("blh,lh->bl", hidden.relu(), self.outer_weight)
        return logits + self.outer_bias


class LDDU(EncodedModel):
    """The LDDU model.

    Args:
        config: settings.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        history: of the common scores of the training samples; None without ``history``.
    """

    takes_label_loss = True

    sample_means = False
    takes_unaligned = True

    config: LDDUConfig

    def __init__(self, config: LDDUConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(config, dims, num_labels)
        if not self.modalities:
            raise ModelError("LDDU is to take no modality", expected="at least one")
        d = config.hidden_size
        half = d // 2
        count = len(self.modalities)
        latents = count * config.latent_size
        rate = config.head_dropout

        self.labels = nn.Embedding(num_labels, d)
        self.attention = nn.ModuleDict()
        for m in self.modalities:
            self.attention[m] = LabelAttention(config)
        self.latent_encoders = nn.ModuleDict()
        for m in self.modalities:
            self.latent_encoders[m] = LatentEncoder(config)

        self.common_head = nn.Sequential(
            nn.Linear(count * d, half),
            Dropout(rate),
            nn.ReLU(),
            nn.Linear(half, 1),
        )
        self.mean_heads = LabelHeads(num_labels, latents, half, rate)
        self.deviation_heads = LabelHeads(num_labels, latents, half, rate)

        # DIVERGENCE (queue_start): the program normalises along the queue instead of each row
        axis = 1 if config.queue_start == "unit_rows" else 0
        rows = torch.randn(config.queue_size, 2 * config.latent_size)
        self.queue = ContrastiveQueue(F.normalize(rows, dim=axis), squared_length=2.0)

        # DIVERGENCE (history): the program's has an entry for every sample of every step
        self.history: ScoreHistory | None = None
        if config.history:
            self.history = ScoreHistory(0, num_labels)
        self._draw_weights()

    def _draw_weights(self) -> None:
        """Draw initial weights, as the program does."""
        self.encoders.apply(self._initialise)
        nn.init.xavier_uniform_(self.labels.weight)
        for module in self.latent_encoders.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Those of the shipped script by default."""
        config = self.config
        return {
            "classification": config.classification_weight,
            "common_classification": config.common_weight,
            "contrastive": config.contrastive_weight,
            "calibration": config.calibration_weight,
        }

    def prepare(self, statistics: LabelStatistics) -> None:
        """Make room for the history of every training sample."""
        if self.history is not None:
            self.history.make_room(statistics.samples)

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Make room for a stored history."""
        if self.history is not None and HISTORY in shapes:
            self.history.make_room(shapes[HISTORY][0])

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the losses and, if asked, features.

        In training, a batch with labels also enters the queue and the history.

        Features, by name (m a modality):
            ``encoder.m``: (B, T, d); ``attention.m``: each label's attention to its steps,
            (B, 1, L, T).
            ``label.m``: representation of each label, (B, L, d).
            ``mean.m``, ``log_variance.m``, ``deviation.m``: its distribution, (B, L, p).
            ``uncertainty``: length of the deviations of all modalities, (B, L).
            ``logits.common``, ``logits.mean``, ``logits.deviation``: the three opinions, (B, L).

        Raises:
            ModelError: a sequence is longer than ``max_steps``.
        """
        # a label attention without a mask reads masked steps as they are given
        clear = self.config.mask_label_attention or self.config.attend_to_padding
        masks, encoded = self.encode(batch, clear=clear)
        read, attention, there = self._read(encoded, masks)
        real = there[..., None, None]  # (B, M, 1, 1)
        label = torch.where(real, read, 0.0)  # (B, M, L, d)

        mean, log_variance = self._distributions(label, real)  # (B, M, L, p)
        deviation = (log_variance / 2).exp()
        of_sample = _side_by_side(deviation)  # (B, L, M p)
        uncertainty = of_sample.norm(dim=-1)

        common = self.common_head(_side_by_side(label)).squeeze(-1)
        logits = {
            "common": common.float(),
            "mean": self.mean_heads(_side_by_side(mean)).float(),
            "deviation": self.deviation_heads(of_sample).float(),
        }
        output = _mixed(logits["common"], logits["mean"], logits["deviation"])

        losses: dict[str, Float[Tensor, ""]] = {}
        if batch.labels is not None:
            labels = batch.labels
            losses["classification"] = self.label_loss(output, labels)
            losses["common_classification"] = F.binary_cross_entropy_with_logits(
                logits["common"], labels
            )
            with torch.autocast(output.device.type, enabled=False):  # in full precision
                losses["contrastive"] = self._contrast(mean, deviation, there, labels)
                scores = logits["common"].sigmoid()
                losses["calibration"] = self._calibrate(batch.ids, uncertainty, scores)

        if not features:
            return ModelOutput(output, losses)

        parts = {
            "label": label,
            "mean": mean,
            "log_variance": log_variance,
            "deviation": deviation,
        }
        named = self.named(encoded, attention, parts, logits)
        named["uncertainty"] = uncertainty
        return ModelOutput(output, losses, named)

    def _read(
        self,
        encoded: Mapping[Modality, Float[Tensor, "batch _ size"]],
        masks: Mapping[Modality, Bool[Tensor, "batch _"]],
    ) -> tuple[
        Float[Tensor, "batch modalities labels size"],
        dict[Modality, Float[Tensor, "batch labels _"]],
        Bool[Tensor, "batch modalities"],
    ]:
        """Return what labels read in each modality, their attention, and what is not missing."""
        read = []
        attention = {}
        there = []
        for m in self.modalities:
            mask = masks[m]
            # DIVERGENCE (mask_label_attention): the program's label attention knows no mask
            if not self.config.mask_label_attention:
                mask = torch.ones_like(mask)

            found, attention[m] = self.attention[m](self.labels.weight, encoded[m], mask)
            read.append(found)
            there.append(mask.any(1))

        return torch.stack(read, 1), attention, torch.stack(there, 1)

    def _distributions(
        self,
        label: Float[Tensor, "batch modalities labels size"],
        real: Bool[Tensor, "batch modalities 1 1"],
    ) -> tuple[
        Float[Tensor, "batch modalities labels latent"],
        Float[Tensor, "batch modalities labels latent"],
    ]:
        """Return mean and log variance in each modality; 0 and 0 where it is missing."""
        means = []
        log_variances = []
        for k, encode in enumerate(self.latent_encoders.values()):
            mean, log_variance = encode(label[:, k])
            means.append(mean)
            log_variances.append(log_variance)

        mean = torch.stack(means, 1).float()
        log_variance = torch.stack(log_variances, 1).float()
        return torch.where(real, mean, 0.0), torch.where(real, log_variance, 0.0)

    def _contrast(
        self,
        mean: Float[Tensor, "batch modalities labels latent"],
        deviation: Float[Tensor, "batch modalities labels latent"],
        there: Bool[Tensor, "batch modalities"],
        labels: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """The contrastive loss; in training, the rows enter the queue afterwards.

        A row is a mean and a deviation, each of length 1, end to end. A class is a modality, a
        label and whether the label holds.
        """
        directions = [F.normalize(x, dim=-1) for x in (mean, deviation)]
        joint = torch.cat(directions, -1)  # (B, M, L, 2 p)
        held = labels >= 0.5
        classes = class_numbers(held, len(self.modalities))  # (B, M, L)

        # a missing modality has no distribution of its own
        used = there[..., None].expand_as(classes)
        rows = joint[used]  # (N, 2 p)
        classes = classes[used]

        # a row has the squared length 2, so a product is halved before the temperature
        return supervised_contrast(
            rows,
            classes,
            self.queue,
            2 * self.config.temperature,
            enter=self.training,
        )

    def _calibrate(
        self,
        ids: Sequence[str],
        uncertainty: Float[Tensor, "batch labels"],
        scores: Float[Tensor, "batch labels"],
    ) -> Float[Tensor, ""]:
        """The divergence of the shares of uncertainty and of scores, in both directions.

        In training, the scores enter the history afterwards.
        """
        expected = scores
        if self.history is not None:
            expected = self.history.mean_with(ids, scores)
            if self.training:
                self.history.add(ids, scores.detach())

        log_wanted = expected.log_softmax(-1)
        # DIVERGENCE (uncertainty_shares): the program takes one softmax of the whole batch
        if self.config.uncertainty_shares == "sample":
            log_found = uncertainty.log_softmax(-1)
        else:
            log_found = uncertainty.flatten().log_softmax(-1).view_as(uncertainty)

        apart = log_wanted.exp() - log_found.exp()
        divergence = apart * (log_wanted - log_found)  # (B, L)
        return divergence.mean() / 2


def _side_by_side(
    x: Float[Tensor, "batch modalities labels size"],
) -> Float[Tensor, "batch labels _"]:
    """Join what a label has in all modalities: visual, audio, text."""
    return x.transpose(1, 2).flatten(2)


def _mixed(
    common: Float[Tensor, "batch labels"],
    mean: Float[Tensor, "batch labels"],
    deviation: Float[Tensor, "batch labels"],
) -> Float[Tensor, "batch labels"]:
    """The logit of ``c m + (1 - c) s``, of the sigmoids c, m and s of the arguments.

    The logarithms of the probability and of what is left of 1 are sums of exponentials of
    logarithms, so nothing is lost near 0 and 1.
    """
    share = F.logsigmoid(common)
    rest = F.logsigmoid(-common)

    by_mean = share + F.logsigmoid(mean)
    by_deviation = rest + F.logsigmoid(deviation)
    holds = torch.logaddexp(by_mean, by_deviation)

    by_mean = share + F.logsigmoid(-mean)
    by_deviation = rest + F.logsigmoid(-deviation)
    absent = torch.logaddexp(by_mean, by_deviation)
    return holds - absent
