"""The contract of a model.

A model maps a batch to logits, unweighted losses by name and, when asked, the representations a
reader wants to see. It knows nothing of files, devices or epochs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from emotailor.config import Config
from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.errors import ModelError
from emotailor.models.label_loss import LabelLoss
from emotailor.models.system import Variant
from emotailor.nn.exporting import is_exporting


@dataclass(frozen=True)
class ModelOutput:
    """What a forward pass yields.

    Attributes:
        logits: (B, L), one per label.
        losses: unweighted parts of the objective by name; empty without labels.
        features: named tensors for figures and explanations; empty unless asked for.
    """

    logits: Float[Tensor, "batch labels"]
    losses: Mapping[str, Float[Tensor, ""]]
    features: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelStatistics:
    """What a model may know of the training split's labels before it is trained.

    Attributes:
        names: names of the L labels.
        samples: number of samples.
        together: (L, L), number of samples in which both labels hold; one label on the diagonal.
        vectors: (L, E), a word vector per label, where the user gave them.
    """

    names: Sequence[str]
    samples: int
    together: Float[Tensor, "labels labels"]
    vectors: Float[Tensor, "labels embedding"] | None = None

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        labels: Shaped[Tensor, "samples labels"],
        vectors: Float[Tensor, "labels embedding"] | None = None,
    ) -> "LabelStatistics":
        """Count the labels of the training samples."""
        held = labels.float()
        together = held.T @ held  # (L, L)
        return cls(
            names=tuple(names),
            samples=len(held),
            together=together,
            vectors=vectors,
        )

    @property
    def counts(self) -> Float[Tensor, "labels"]:
        """(L,), how many samples have each label."""
        return self.together.diagonal()


class EmotionModel(nn.Module, ABC):
    """Base of all systems.

    Args:
        dims: modality -> feature width, of the modalities the model takes, in the order v, a, t.
        num_labels: L.

    Attributes:
        modalities: modalities of ``dims``, in the order in which the model goes through them.
    """

    # What a system from outside the package says of itself: its row of the table is made of it.
    # The systems of the package have their rows in ``models/<name>/system.py``.

    config_class: ClassVar[type[Config]] = Config
    """The class of its settings; ``Config`` itself has none."""

    title: ClassVar[str] = ""
    """The name in tables; by default the name of the class."""

    paper: ClassVar[str] = ""
    """The citation, where there is one."""

    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training settings that differ from the defaults, such as ``{"learning_rate": 1e-3}``."""

    can_take: ClassVar[tuple[Modality, ...]] = MODALITIES
    """The modalities it can take, and takes by default."""

    must_have: ClassVar[tuple[Modality, ...]] = ()
    """The modalities it cannot do without."""

    at_least: ClassVar[int] = 1
    """The number of modalities it needs."""

    variants: ClassVar[Mapping[str, Variant]] = {}
    """Name -> what `emotailor ablate` switches in it."""

    search: ClassVar[Sequence[Sequence[Mapping[str, Any]]]] = ()
    """Settings worth trying: a search draws one of each list."""

    sample_means: bool = True
    """Whether every loss is a mean over samples, so that a batch may be computed in parts."""

    parts_in_threads: bool = False
    """Whether threads may compute parts of a batch: only ``nn.dropout`` draws random numbers."""

    replayable: bool = False
    """Whether every batch of one shape takes the same operations on a GPU, none of which waits for
    the host, so that they may be recorded once and replayed."""

    takes_label_loss: bool = False
    """Whether the loss ``classification`` is ``label_loss``, which settings may replace."""

    takes_unaligned: bool = False
    """Whether the modalities of a sample may differ in length."""

    def __init__(self, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.num_labels = num_labels
        self.label_loss = LabelLoss()
        self.modalities: tuple[Modality, ...] = tuple(m for m in MODALITIES if m in dims)

    @property
    def device(self) -> torch.device:
        """The device of the parameters, or else of the buffers; the CPU if there are neither."""
        found = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if found is None else found.device

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The weight of each loss in the objective; by default one cross-entropy is all."""
        return {"classification": 1.0}

    @property
    def always_decayed(self) -> set[str]:
        """Parameters under weight decay although they are biases or of a normalisation."""
        return set()

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Refuse, before any work, data whose sequences the model cannot take.

        Args:
            longest: modality -> steps of the longest sequence.
            aligned: whether the data are word-aligned; one modality alone always is.

        Raises:
            ModelError: they are too long, or need aligning first.
        """
        if not aligned and len(longest) > 1 and not self.takes_unaligned:
            raise ModelError(
                f"unaligned sequences (longest: {dict(longest)} steps)",
                expected="word-aligned data, where every modality has the same steps",
                fix="leave alignment.kind at auto, or align the data to words when converting it "
                "(`emotailor data convert --align`)",
            )

    def check_batch(self, batch: Batch) -> None:
        """Refuse a batch whose sequences the model cannot take.

        Whoever runs an exported graph checks lengths before.

        Raises:
            ModelError: as in ``check_lengths``.
        """
        if is_exporting():
            return
        steps = {m: batch.values[m].shape[1] for m in self.modalities}
        different = set(steps.values())
        self.check_lengths(steps, aligned=len(different) == 1)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Take what depends on the training split's labels: graphs, orders, frequencies.

        Called once before a training, never when a trained model is loaded: what the model keeps
        must be a buffer or a parameter.

        Raises:
            ModelError: the labels, or the word vectors given for them, cannot be used.
        """

    def hand_over_input_norms(self, modalities: Iterable[Modality]) -> nn.ModuleDict:
        """Give away the normalisation of raw features, to be done before the model.

        Args:
            modalities: whose features come normalised from now on.

        Returns:
            Modality -> its normalisation, which the model no longer holds; nothing for a modality
            that the model does not normalise, and by default.
        """
        return nn.ModuleDict()

    def use_label_loss(self, loss: LabelLoss) -> None:
        """Replace the cross-entropy of the labels."""
        self.label_loss = loss

    def begin_update(self, step: int, steps: int) -> None:
        """Be told of an update before its batches come; to be overridden.

        What is remembered of it must be a buffer, or a resumed training would not know.

        Args:
            step: of the update, from 0.
            steps: number of updates of the whole training.
        """

    def learning_rate_factor(self, step: int, steps: int) -> float | None:
        """Choose the learning rate of an update; to be overridden.

        Args:
            step: of the update, from 0.
            steps: number of updates of the whole training.

        Returns:
            What ``training.learning_rate`` is multiplied with; None for the schedule of the
            settings.
        """
        return None

    def sampling_weights(
        self, labels: Float[Tensor, "samples labels"]
    ) -> Float[Tensor, "samples"] | None:
        """Choose how often training samples come; to be overridden.

        Called once at every start of a training, also when it is resumed: the answer must depend on
        the labels alone.

        Args:
            labels: (n, L), 0 or 1, of the training samples.

        Returns:
            (n,), weights by which n samples are drawn with replacement in each epoch; None for
            every sample once per epoch.
        """
        return None

    def role_of(self, name: str) -> str:
        """Return what a parameter is for: one of the same role in another model may replace it.

        By default that is its name, where it says of which modality it is; else its name and the
        modalities of the model, among which it does its work.

        Args:
            name: in the state dict.
        """
        if any(part in MODALITIES for part in name.split(".")):
            return name
        return f"{name} among {', '.join(self.modalities)}"

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Give tensors whose sizes come from the training data the shapes of stored ones.

        Args:
            shapes: name in the state dict -> shape.
        """

    @abstractmethod
    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, losses (when the batch has labels) and, if asked, features."""

    def total_loss(self, output: ModelOutput) -> Float[Tensor, ""]:
        """The weighted sum of the losses."""
        weighted = [self.loss_weights[name] * loss for name, loss in output.losses.items()]
        return sum(weighted[1:], start=weighted[0])


class FittedModel(EmotionModel):
    """Base of the systems that are fitted at once, without gradients or epochs.

    What they learn is kept in parameters that need no gradient, and in buffers. Their loss is
    reported, and not minimised.
    """

    takes_positive_weight: bool = False
    """Whether ``fit`` lets labels that hold weigh more, as ``training.positive_weight`` asks."""

    @abstractmethod
    def fit(self, batches: Iterable[Batch]) -> None:
        """Learn from labelled batches that together are the training split.

        Raises:
            ModelError: they cannot be learned from.
        """

    @abstractmethod
    def predict_logits(self, batch: Batch) -> Float[Tensor, "batch labels"]:
        """Return the logit of each label."""

    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits and, for a batch with labels, their cross-entropy."""
        logits = self.predict_logits(batch)
        return ModelOutput(logits, classification_loss(logits, batch, self.label_loss))


def classification_loss(
    logits: Float[Tensor, "batch labels"], batch: Batch, loss: LabelLoss | None = None
) -> dict[str, Float[Tensor, ""]]:
    """Return the loss of the labels as ``classification``; nothing for a batch without labels.

    Args:
        logits: (B, L).
        batch: with or without labels.
        loss: the model's ``label_loss``, which settings may replace; None for the binary
            cross-entropy.
    """
    if batch.labels is None:
        return {}
    return {"classification": (loss or LabelLoss())(logits, batch.labels)}


def logit_of(probabilities: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the logits whose sigmoid gives these probabilities, finite at 0 and 1."""
    tiny = torch.finfo(probabilities.dtype).eps
    return torch.logit(probabilities.clamp(tiny, 1 - tiny))
