"""The contract of a neural model, and the registry of all systems.

A model maps a batch to logits, unweighted losses by name and, when asked, the representations a
reader wants to see. It knows nothing of files, devices or epochs.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.dataset import Modality


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


class EmotionModel(nn.Module, ABC):
    """Base of the neural systems.

    Args:
        dims: modality -> feature width, of the modalities the model takes, in the order v, a, t.
        num_labels: L.
    """

    sample_means: ClassVar[bool] = True
    """Whether every loss is a mean over samples, so that a batch may be computed in parts."""

    def __init__(self, dims: Mapping[Modality, int], num_labels: int) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.num_labels = num_labels

    @property
    @abstractmethod
    def loss_weights(self) -> Mapping[str, float]:
        """The weight of each loss in the objective."""

    @property
    def always_decayed(self) -> set[str]:
        """Parameters under weight decay although they are biases or of a normalisation."""
        return set()

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Refuse, before any work, data whose sequences the model cannot take.

        Args:
            longest: modality -> steps of the longest sequence.
            aligned: whether the data are word-aligned.

        Raises:
            ModelError: they are too long, or need aligning first.
        """

    @abstractmethod
    def forward(self, batch: Batch, *, features: bool = False) -> ModelOutput:
        """Compute logits, losses (when the batch has labels) and, if asked, features."""

    def total_loss(self, output: ModelOutput) -> Float[Tensor, ""]:
        """The weighted sum of the losses."""
        weighted = [self.loss_weights[name] * loss for name, loss in output.losses.items()]
        return sum(weighted[1:], start=weighted[0])
