"""LSAN: label-specific document representation for multi-label text classification (EMNLP 2019).

Notable:

- a bidirectional LSTM reads the text; its states are H, forward half F, backward half K;
- self-attention has a softmax over the words for each label and yields M^s, one document per label
  read from the content alone;
- label attention compares label vectors C with the states, without softmax or scaling, and yields
  M^l, one document per label read through what the label means;
- adaptive fusion weighs the two for every sample and label;
- each label is scored from its own document, by one small network that all labels share.

Xiao, Huang, Chen and Jing: Label-Specific Document Representation for Multi-Label Text
Classification. EMNLP 2019. Symbols: B batch, T steps (n words), L labels, k state_size,
d_a attention_size, b classifier_size.

    A^s = softmax(W_2 tanh(W_1 H)),  M^s = A^s H
    M^l = [(C F) F ; (C K) K]
    beta = sigmoid(M^l w_4), alpha = sigmoid(M^s w_3),  M = (beta M^l + alpha M^s) / (alpha + beta)
    y_j = sigmoid(w_6 relu(W_5 M_j))

For emotion recognition: the text features are the words, so there is no word table to train, and
C comes from ``LabelStatistics.vectors`` (word vectors of the emotions' names, mapped to width k by
a trained matrix where theirs is another), or is drawn at random and trained where the user has
none. The sum in C F F is over the words, so it grows with the length of the text, in both sources;
``label_attention="mean"`` divides it by the number of words. A text without words has zero
documents.

Every place where the authors' program departs from the paper is a switch of ``LSANConfig``, marked
DIVERGENCE here. These hold for both presets:
DIVERGENCE (start state): the program draws the LSTM's first state at random at every call, when
testing too; here it is zero, or what the caller gives.
DIVERGENCE (padding): the program lets padded words into the LSTM, the softmax and the sum; here
they are masked.
DIVERGENCE (loss scale): the program divides the mean cross-entropy by the batch size once more,
which Adam does not notice but for its epsilon; here it is the mean over batch and labels.
DIVERGENCE (evaluation): the program never leaves training mode, so its tests drop words out.
DIVERGENCE (fusion in logarithms): the two weights are a softmax of log-sigmoids, which is the same
quotient, but not 0 / 0 where both sigmoids vanish.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, LabelStatistics, ModelOutput, classification_loss
from emotailor.models.lsan.config import LSANConfig
from emotailor.nn.dropout import Dropout
from emotailor.nn.label_vectors import LabelVectors
from emotailor.nn.recurrent import RecurrentEncoder
from emotailor.nn.sequence import masked_softmax

State = Float[Tensor, "2 batch size"]


class LSAN(EmotionModel):
    """The LSAN model.

    Args:
        config: settings.
        dims: the width of the text.
        num_labels: L.
    """

    takes_label_loss = True

    parts_in_threads = True
    takes_unaligned = True

    def __init__(self, config: LSANConfig, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__(dims, num_labels)
        self.config = config
        k = config.state_size
        inner = config.attention_size
        # DIVERGENCE (biases): the paper's equations have none; the program's layers do
        bias = config.biases
        self.dropout = Dropout(config.dropout)
        self.encoder = RecurrentEncoder(dims["text"], k, bidirectional=True)
        self.labels = LabelVectors(num_labels, k)  # C
        self.label_projection: nn.Linear | None = None

        self.attention_inner = nn.Linear(2 * k, inner, bias=bias)  # W_1
        self.attention_outer = nn.Linear(inner, num_labels, bias=bias)  # W_2
        self.self_fusion = nn.Linear(2 * k, 1, bias=bias)  # w_3
        self.label_fusion = nn.Linear(2 * k, 1, bias=bias)  # w_4
        self.classifier = self._classifier()

    def _classifier(self) -> nn.Module:
        config = self.config
        width = 2 * config.state_size
        bias = config.biases
        # DIVERGENCE (classifier): the program averages the documents over the labels and maps the
        # mean to all logits at once, so that no label reads its own document
        if config.classifier == "average":
            return nn.Linear(width, self.num_labels, bias=bias)
        return nn.Sequential(
            nn.Linear(width, config.classifier_size, bias=bias),  # W_5
            nn.ReLU(),
            nn.Linear(config.classifier_size, 1, bias=bias),  # w_6
        )

    def prepare(self, statistics: LabelStatistics) -> None:
        """Start C from the labels' word vectors, where there are any.

        Raises:
            ModelError: there is not one finite vector per label.
        """
        if statistics.vectors is None:
            return
        # DIVERGENCE (train_label_vectors): the program reads the label vectors without gradient
        self.labels.take(statistics.vectors, train=self.config.train_label_vectors)
        self._project()

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Give the label vectors the width of the stored ones."""
        stored = shapes.get("labels.weight")
        if stored is None:
            return
        _, width = stored
        if width != self.labels.size:
            self.labels.resize(width)
            self._project()

    def _project(self) -> None:
        """Map label vectors to width k where theirs is another."""
        size = self.labels.size
        if size == self.config.state_size:
            return
        self.label_projection = nn.Linear(
            size,
            self.config.state_size,
            bias=False,
            device=self.labels.weight.device,
        )

    def forward(
        self, batch: Batch, *, features: bool = False, start: tuple[State, State] | None = None
    ) -> ModelOutput:
        """Compute logits, the cross-entropy and, if asked, features.

        Args:
            batch: with text.
            features: whether to return features.
            start: h and c of the LSTM before the first step, each (2, B, k); zeros by default.

        Features, by name:
            ``encoder.text``: H, (B, T, 2k).
            ``attention.text``: A^s, (B, 1, L, T); over the real steps it sums to 1.
            ``label_attention.forward``, ``label_attention.backward``: C F and C K, (B, L, T), of
            any sign and size.
            ``documents.self``, ``documents.label``, ``documents``: M^s, M^l and M, (B, L, 2k).
            ``label_share``: beta / (alpha + beta), (B, L), the weight of M^l.
        """
        mask = batch.masks["text"]
        words = self.dropout(batch.values["text"])
        states, _, _ = self.encoder(words, mask, start)
        states = states * mask[..., None]  # H, (B, T, 2k)

        by_content, attention = self._self_attention(states, mask)  # M^s, (B, L, 2k)
        by_label, scores = self._label_attention(states, mask)  # M^l, (B, L, 2k)

        # the shares beta / (alpha + beta) and alpha / (alpha + beta), each (B, L, 1)
        fusion = torch.stack([self.label_fusion(by_label), self.self_fusion(by_content)])
        share, rest = F.logsigmoid(fusion).softmax(0)
        documents = share * by_label + rest * by_content
        logits = self._classify(documents)

        named = {}
        if features:
            named = {
                "encoder.text": states,
                "attention.text": attention[:, None],
                "label_attention.forward": scores[:, 0],
                "label_attention.backward": scores[:, 1],
                "documents.self": by_content,
                "documents.label": by_label,
                "documents": documents,
                "label_share": share.squeeze(-1),
            }
        return ModelOutput(logits, classification_loss(logits, batch, self.label_loss), named)

    def _self_attention(
        self, states: Float[Tensor, "batch steps width"], mask: Bool[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, "batch labels width"], Float[Tensor, "batch labels steps"]]:
        """Return M^s = A^s H and A^s = softmax(W_2 tanh(W_1 H))."""
        inner = torch.tanh(self.attention_inner(states))  # (B, T, d_a)
        scores = self.attention_outer(inner)  # (B, T, L)
        attention = masked_softmax(scores.transpose(1, 2), mask)
        return attention.to(states.dtype) @ states, attention

    def _label_attention(
        self, states: Float[Tensor, "batch steps width"], mask: Bool[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, "batch labels width"], Float[Tensor, "batch 2 labels steps"]]:
        """Return M^l and the scores C F and C K; states are 0 at masked steps, so they add 0."""
        labels: Tensor = self.labels.weight
        if self.label_projection is not None:
            labels = self.label_projection(labels)

        halves = torch.stack(states.chunk(2, -1), 1)  # F and K: (B, 2, T, k)
        labels = labels.to(halves.dtype)
        scores = labels @ halves.transpose(2, 3)  # (B, 2, L, T)
        read = scores @ halves  # (B, 2, L, k)
        documents = read.transpose(1, 2).flatten(2)  # (B, L, 2k)

        if self.config.label_attention == "mean":
            words = mask.sum(1).clamp(min=1)
            documents = documents / words[:, None, None]
        return documents, scores

    def _classify(
        self, documents: Float[Tensor, "batch labels width"]
    ) -> Float[Tensor, "batch labels"]:
        """Return the logits, of every label's own document or of the mean document."""
        if self.config.classifier == "average":
            return self.classifier(documents.mean(1))
        return self.classifier(documents).squeeze(-1)
