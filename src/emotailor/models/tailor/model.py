"""TAILOR: versatile multi-modal learning for multi-label emotion recognition (AAAI 2022).

Notable:

- three uni-modal Transformer encoders yield V, A, T;
- adversarial refinement splits each into a common part C^m (one generator G for all modalities,
  trained against a modality discriminator D through gradient reversal) and a private part P^m
  (its own extractor f_m), kept apart by an orthogonality loss;
- a hierarchical cross-modal encoder fuses P^v, P^a, P^t and C = C^v + C^a + C^t from fine to
  coarse granularity (Eq. 8);
- a label-guided decoder lets label embeddings attend to each other and then to the fused sequence,
  so that each label reads its own representation and has its own classifier;
- ``refinement``, ``refinement_losses``, ``label_decoder`` and ``modality_tokens`` take parts away,
  as Table 3 does: what a setting does not need is not built, and its losses are not there.

Zhang, Chen, Shen and Wang: Tailor Versatile Multi-Modal Learning for Multi-Label Emotion
Recognition. AAAI 2022.

Symbols: B batch, T steps (tau), d width ``hidden_size``, L labels (l), m modality; V, A, T
``encoded``, C^m ``common``, P^m ``private``, G ``generator``, f_m ``extractors``, D
``discriminator``, M ``memory``, H ``label_representations``.

Every place where the authors' program departs from the paper is a switch of ``TailorConfig``,
marked DIVERGENCE here; an unmarked departure is a bug. These hold for both presets:
DIVERGENCE (reduction): Eq. 6, 7 and 16 sum over samples where Eq. 4 and 5 divide by n. All terms
are means over the samples (and labels, and each sample's steps), as in the program: only then are
alpha, beta and gamma independent of the batch size.
DIVERGENCE (three encoders): the paper writes one CME; each fusion has its own weights.
DIVERGENCE (discriminator bias): b of Eq. 2 has a row per step; here, as in the program, one bias
per class serves all steps.
DIVERGENCE (one layer): the fully connected networks G and f_m are one linear layer, dropout, tanh.
DIVERGENCE (padding in front): data are stored without padding, so a sequence that a file pads in
front starts at step 0 here, and behind its padding in the program.
DIVERGENCE (label dropout): the program repeats the labels for every sample, so that each sample
drops out other parts of them; here label self-attention runs once per batch, since nothing in it
depends on the sample. Without dropout the two are equal.
DIVERGENCE (unaligned): a sum of C^v, C^a and C^t needs equal lengths, so paper and program align by
CTC first. ``common="concatenate"`` is ours: C is the three end to end, and the last fusion finds by
its attention what belongs together.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import ModelOutput
from emotailor.models.encoding import EncodedModel
from emotailor.models.tailor.config import Block, TailorConfig
from emotailor.models.tailor.pooled_decoder import PooledDecoderLayer
from emotailor.nn.adversarial import reverse_gradient, squared_overlap, step_cross_entropy
from emotailor.nn.dropout import Dropout
from emotailor.nn.encoder import (
    CrossModalEncoder,
    DecoderLayer,
    Stream,
    TransformerShape,
)
from emotailor.nn.plain import is_plain
from emotailor.nn.sequence import cleared, first_real, masked_mean

Representations = dict[Modality, Float[Tensor, "batch steps size"]]
Masks = dict[Modality, Bool[Tensor, "batch steps"]]
Decoded = tuple[
    Float[Tensor, "batch labels size"],
    Float[Tensor, "_ heads labels labels"] | None,
    Float[Tensor, "batch heads labels steps"] | None,
]


class Extractor(nn.Sequential):
    """G or f_m of Eq. 1: linear map, dropout, tanh; (B, T, d) -> (B, T, d)."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__(nn.Linear(size, size), Dropout(dropout), nn.Tanh())


class LabelDecoder(nn.Module):
    """Label embeddings, their self-attention (Eq. 9-12), attention to modalities (Eq. 13-14)."""

    def __init__(self, config: TailorConfig, shape: TransformerShape, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_labels, shape.size)
        # DIVERGENCE (label_norm): the program normalises and drops out the label embedding
        self.norm = nn.LayerNorm(shape.size, shape.eps) if config.label_norm else None
        self.dropout = Dropout(shape.dropout if config.label_norm else 0.0)

        self.layers = nn.ModuleList()
        for _ in range(config.decoder_layers):
            if config.label_decoder == "full":
                self.layers.append(DecoderLayer(shape))
            else:
                correlation = config.label_decoder == "correlation"
                self.layers.append(PooledDecoderLayer(shape, correlation=correlation))

    def label_states(self) -> Float[Tensor, "1 labels size"]:
        """The embedded labels, the same for every sample."""
        labels = self.embedding.weight[None]  # (1, L, d)
        if self.norm is not None:
            labels = self.norm(labels)
        return self.dropout(labels)

    def forward(self, memory: Stream, *, need_weights: bool = False) -> Decoded:
        """Return H and the weights of the last layer's two attentions, if there are any."""
        labels = self.label_states()
        correlation = None
        attention = None
        for layer in self.layers:
            labels, correlation, attention = layer(
                labels, memory.values, memory.mask, need_weights=need_weights
            )
        return labels, correlation, attention


class Tailor(EncodedModel):
    """The TAILOR model.

    Args:
        config: settings.
        dims: modality -> feature width; a subset of the three works too.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True
    replayable = True

    config: TailorConfig
    # each is there where the settings need it
    generator: Extractor
    discriminator: nn.Module
    common_classifier: nn.Linear
    decoder: LabelDecoder

    def __init__(self, config: TailorConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        # DIVERGENCE (input_norm): the program layer-normalises the raw features, and decays the
        # weights of that
        super().__init__(config, dims, num_labels)
        self.takes_unaligned = config.takes_unaligned
        d = config.hidden_size
        shape = self.shape
        losses = list(config.loss_weights)
        self.loss_names = losses[1:]  # beside the loss of the classification

        if config.has_common:
            self.generator = Extractor(d, config.dropout)
        self.extractors = nn.ModuleDict()
        if config.has_private:
            for m in self.modalities:
                self.extractors[m] = Extractor(d, config.refinement_dropout)

        judged = [name for name in self.loss_names if name.startswith("adversarial")]
        if judged:
            self.discriminator = self._build_discriminator()
        if "common_semantics" in self.loss_names:
            self.common_classifier = nn.Linear(d, num_labels)

        self.fusion_order = [block for block in config.fusion_order if self._is_fused(block)]
        slots = 0
        for block in self.fusion_order:
            slots += self._slots(block)
        self.fusion = nn.ModuleList()
        for _ in self.fusion_order[1:]:  # each joins one more block
            encoder = CrossModalEncoder(
                shape,
                config.cross_layers,
                slots,
                tokens=config.modality_tokens,
            )
            self.fusion.append(encoder)

        # Table 3 (9): one representation for all labels, and a dense layer
        self.identical = config.label_decoder == "identical"
        if not self.identical:
            self.decoder = LabelDecoder(config, shape, num_labels)

        # DIVERGENCE (classifier): Eq. 15 has weights per label; the program shares them
        shared = config.classifier == "shared" and not self.identical
        self.classifier = nn.Linear(d, 1 if shared else num_labels)
        # DIVERGENCE (logit_dropout): the program drops out logits, not in the paper
        self.logit_dropout = Dropout(config.logit_dropout)
        self.apply(self._initialise)

    def _build_discriminator(self) -> nn.Module:
        d = self.config.hidden_size
        classes = len(self.modalities)
        # DIVERGENCE (discriminator): Eq. 2 is one linear map; the program has a hidden layer
        if self.config.discriminator == "linear":
            return nn.Linear(d, classes)

        half = d // 2
        return nn.Sequential(
            nn.Linear(d, half),
            Dropout(self.config.refinement_dropout),
            nn.ReLU(),
            nn.Linear(half, classes),
        )

    def _is_fused(self, block: Block) -> bool:
        """Whether a block of Eq. 8 is there: C, or what there is of a modality."""
        if block == "common":
            return self.config.refinement == "full"
        return block in self.modalities

    def _slots(self, block: Block) -> int:
        """Places reserved for a block in the position tables of the fusions."""
        if block != "common":
            return self.config.steps_of(block)
        if self.config.common == "sum":
            return self.config.max_steps
        return sum(self.config.steps_of(m) for m in self.modalities)

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """Alpha, beta and gamma of Eq. 17, for the losses there are."""
        return self.config.loss_weights

    def role_of(self, name: str) -> str:
        """What a parameter is for, with other modalities too; a fusion by the block it joins."""
        head, _, rest = name.partition(".")
        if head == "fusion":
            number, _, inner = rest.partition(".")
            joined = self.fusion_order[int(number) + 1]
            return f"fusion with {joined}.{inner}"

        # its outputs are the modalities of this model
        if head == "discriminator":
            return super().role_of(name)
        return name

    def most_steps(self, modality: Modality) -> tuple[str, int]:
        """Return the setting that bounds the steps of a modality, and its value."""
        own = modality in self.config.modality_max_steps
        name = f"modality_max_steps.{modality}" if own else "max_steps"
        return name, self.config.steps_of(modality)

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, the losses of Eq. 17 and, if asked, features.

        Features, by name (m a modality), as far as the settings leave them:
            ``encoder.m``, ``private.m``, ``common.m``: (B, T, d).
            ``discriminator.private.m``, ``discriminator.common.m``: probabilities (B, T, M) over
            the modalities, in the order v, a, t.
            ``label_correlation``: softmax(r) of Eq. 11 per head, (heads, L, L), rows are queries.
            ``attention.m``, ``attention.common``: each label's attention to the steps of a block,
            per head, (B, heads, L, T); over all blocks it sums to 1. A C that is not summed has a
            block ``attention.common.m`` for each modality.
            ``label_representations``: H of Eq. 14, (B, L, d).
            ``loss.<name>.<part>``: what each loss is the sum of.

        Raises:
            ModelError: a sequence is longer than ``max_steps``, or the modalities differ in length
                and C is their sum.
        """
        values, masks = self._prepare(batch)
        encoded: Representations = {}
        for m in self.modalities:
            encoded[m] = self.encode_one(m, values[m], masks[m], batch.shared)

        private, common = self._refine(encoded)
        # what there is of each modality: its private part, its common part, or all of it
        parts = private or common or encoded
        memory = self._fuse(parts, common, masks, batch.shared)

        decoded: Decoded | None = None
        if self.identical:
            pooled = masked_mean(memory.values, memory.mask)  # (B, d)
            logits = self.classifier(pooled)
        else:
            decoded = self.decoder(memory, need_weights=features)
            logits = self._classify(decoded[0])

        losses: dict[str, Float[Tensor, ""]] = {}
        named: dict[str, Tensor] = {}
        if batch.labels is not None:
            kept = self.logit_dropout(logits)
            losses["classification"] = self.label_loss(kept, batch.labels)
            for name in self.loss_names:
                terms = self._loss_terms(
                    name,
                    private,
                    common,
                    masks,
                    batch.labels,
                )
                losses[name] = _sum(list(terms.values()))
                if features:
                    for part, term in terms.items():
                        named[f"loss.{name}.{part}"] = term

        if features:
            named |= self._representations(encoded, private, common)
            named |= self._label_features(decoded, memory)
        return ModelOutput(logits, losses, named)

    def _refine(self, encoded: Representations) -> tuple[Representations, Representations]:
        """Eq. 1: the private and the common part of each modality, as far as they are built."""
        private: Representations = {}
        common: Representations = {}
        if self.config.has_private:
            for m, x in encoded.items():
                private[m] = self.extractors[m](x)
        if self.config.has_common:
            for m, x in encoded.items():
                common[m] = self.generator(x)
        return private, common

    def _representations(
        self, encoded: Representations, private: Representations, common: Representations
    ) -> dict[str, Tensor]:
        """Features: all representations, and what the discriminator says of them."""
        kinds = {"encoder": encoded, "private": private, "common": common}
        named: dict[str, Tensor] = {}
        for kind, parts in kinds.items():
            judged = f"adversarial_{kind}" in self.loss_names
            for m, x in parts.items():
                named[f"{kind}.{m}"] = x
                if not judged:
                    continue

                logits = self.discriminator(x)  # (B, T, M)
                named[f"discriminator.{kind}.{m}"] = logits.softmax(-1)
        return named

    @staticmethod
    def _label_features(decoded: Decoded | None, memory: Stream) -> dict[str, Tensor]:
        """Features: label representations, and the attention that led to them."""
        if decoded is None:
            return {}

        tailored, correlation, attention = decoded
        named: dict[str, Tensor] = {"label_representations": tailored}
        if correlation is not None:
            # deeper layers differ by sample
            named["label_correlation"] = correlation.mean(0)
        if attention is None:
            return named

        sizes = [steps for _, steps in memory.blocks]
        shares = torch.split(attention, sizes, -1)  # each (B, heads, L, T of the block)
        for block, share in zip(memory.blocks, shares, strict=True):
            name, _ = block
            named[f"attention.{name}"] = share
        return named

    def _prepare(
        self, batch: Batch
    ) -> tuple[dict[Modality, Float[Tensor, "batch steps _"]], Masks]:
        """Return normalised features and their masks, padded as the settings say."""
        config = self.config
        self.check_batch(batch)

        values = {}
        masks = {}
        for m in self.modalities:
            mask = batch.masks[m]
            x = batch.values[m]
            if not config.reads_padding:
                x = cleared(x, mask)
            # DIVERGENCE (pad_to_max_steps): the program pads everything to 60 steps
            if config.pad_to_max_steps:
                more = config.steps_of(m) - x.shape[1]
                x = F.pad(x, (0, 0, 0, more))
                mask = F.pad(mask, (0, more))
            # DIVERGENCE (attend_to_padding): the program's masks are all ones
            if config.attend_to_padding:
                mask = torch.ones_like(mask)

            values[m] = self.enter(m, x)
            masks[m] = mask
        return values, masks

    def _fuse(
        self,
        parts: Representations,
        common: Representations,
        masks: Masks,
        shared: Collection[Modality],
    ) -> Stream:
        """Hierarchical cross-modal encoder, Eq. 8: M = CME(CME(CME(P^v, P^a), P^t), C).

        As long as only modalities were fused whose rows are all the same, one row stands for all.
        """
        streams: dict[Block, Stream] = {}
        for m, x in parts.items():
            slots = self._slots(m)
            streams[m] = Stream.start(m, x, masks[m], slots)
        if "common" in self.fusion_order:
            streams["common"] = self._join_common(common, masks)

        first, *others = self.fusion_order
        fused = streams[first]
        count = fused.values.shape[0]
        alike = not self.training and not is_plain() and first in shared
        for name, encoder in zip(others, self.fusion, strict=True):
            added = streams[name]
            alike = alike and name in shared
            if alike:
                fused = fused.row(0)
                added = added.row(0)
            else:
                fused = fused.repeated(count)
            # DIVERGENCE (concatenation): the program puts audio before visual, and text before both
            if self.config.concatenation == "program" and name != "common":
                fused = encoder(added, fused)
            else:
                fused = encoder(fused, added)

        return fused.repeated(count)

    def _join_common(self, common: Representations, masks: Masks) -> Stream:
        """C of Eq. 8: the sum of C^v, C^a and C^t."""
        shown = masks
        if not self.config.mask_common:
            # DIVERGENCE (mask_common): the program sums padding too, and never masks the sum
            shown = {m: torch.ones_like(mask) for m, mask in masks.items()}

        if self.config.common == "sum":
            real_parts = [cleared(x, shown[m]) for m, x in common.items()]
            shown_parts = torch.stack([shown[m] for m in common])
            return Stream.start(
                "common",
                _sum(real_parts),
                shown_parts.any(0),
                self._slots("common"),
            )

        # DIVERGENCE (unaligned): end to end, each part from the first of its own places on
        parts = []
        for m, x in common.items():
            part = Stream.start(
                f"common.{m}",
                x,
                shown[m],
                self._slots(m),
            )
            parts.append(part)
        return Stream.joined(parts)

    def _classify(
        self, tailored: Float[Tensor, "batch labels size"]
    ) -> Float[Tensor, "batch labels"]:
        """Eq. 15: one linear function per label."""
        if self.config.classifier == "shared":
            scores = self.classifier(tailored)  # (B, L, 1)
            return scores.squeeze(-1)

        products = tailored * self.classifier.weight  # (B, L, d)
        scores = products.sum(-1)
        return scores + self.classifier.bias

    def _loss_mask(self, mask: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "batch steps"] | None:
        # DIVERGENCE (mask_losses): the program counts padding in its losses
        return mask if self.config.mask_losses else None

    def _loss_terms(
        self,
        name: str,
        private: Representations,
        common: Representations,
        masks: Masks,
        labels: Float[Tensor, "batch labels"],
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the terms of a loss, by name; the loss is their sum."""
        match name:
            case "adversarial_common":
                # the generator is trained against the discriminator
                opposed = {m: reverse_gradient(x) for m, x in common.items()}
                return self._adversarial(opposed, masks)
            case "adversarial_private":
                return self._adversarial(private, masks)
            case "orthogonality":
                return self._orthogonality(private, common, masks)
            case _:
                return self._common_semantics(common, masks, labels)

    def _adversarial(
        self, representations: Representations, masks: Masks
    ) -> dict[str, Float[Tensor, ""]]:
        """Eq. 4 and 5: the discriminator names the modality of every step."""
        terms: dict[str, Float[Tensor, ""]] = {}
        for target, m in enumerate(representations):
            logits = self.discriminator(representations[m])  # (B, T, M)
            counted = self._loss_mask(masks[m])
            terms[m] = step_cross_entropy(logits, target, counted)
        return terms

    def _orthogonality(
        self, private: Representations, common: Representations, masks: Masks
    ) -> dict[str, Float[Tensor, ""]]:
        """Eq. 6: the overlap of the common and the private part of each modality."""
        if self.config.mask_losses:
            private = {m: cleared(x, masks[m]) for m, x in private.items()}
            common = {m: cleared(x, masks[m]) for m, x in common.items()}

        terms: dict[str, Float[Tensor, ""]] = {}
        for m, own in private.items():
            overlap = squared_overlap(common[m], own)
            terms[f"common_private_{m}"] = overlap

        # DIVERGENCE (orthogonality): the program also separates the private parts pairwise
        if self.config.orthogonality == "all_pairs":
            for a, b in combinations(private, 2):
                overlap = squared_overlap(private[a], private[b])
                terms[f"private_{a}_{b}"] = overlap

        return terms

    def _common_semantics(
        self, common: Representations, masks: Masks, labels: Float[Tensor, "batch labels"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Eq. 7: the labels, predicted from C^m alone for each modality."""
        # DIVERGENCE (common_semantics): the program predicts once, from step 0 of the summed C
        if self.config.common_semantics == "sum_first_step":
            first_steps = [first_real(x, masks[m]) for m, x in common.items()]
            logits = self.common_classifier(_sum(first_steps))
            logits = self.logit_dropout(logits)
            return {"sum": F.binary_cross_entropy_with_logits(logits, labels)}

        terms: dict[str, Float[Tensor, ""]] = {}
        for m, x in common.items():
            pooled = masked_mean(x, masks[m])  # (B, d)
            logits = self.common_classifier(pooled)
            logits = self.logit_dropout(logits)
            loss = F.binary_cross_entropy_with_logits(
                logits,
                labels,
                reduction="none",
            )  # (B, L)

            # a missing modality predicts nothing
            there = masks[m].any(-1, keepdim=True)
            counted = loss * there
            terms[m] = counted.mean()

        return terms


def _sum(parts: Sequence[Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """Add tensors of one shape."""
    return torch.stack(list(parts)).sum(0)
