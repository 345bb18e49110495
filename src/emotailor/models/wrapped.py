"""A system behind something that changes its batches: what it asks and answers stays the same."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from emotailor.data.sample import Modality
from emotailor.models.base import EmotionModel, LabelStatistics
from emotailor.models.label_loss import LabelLoss


class WrappedModel(EmotionModel):
    """Base of what stands before a system.

    Args:
        model: the system.

    Attributes:
        model: the system.
    """

    def __init__(self, model: EmotionModel) -> None:
        super().__init__(model.dims, model.num_labels)
        self.model = model
        self.parts_in_threads = model.parts_in_threads
        self.sample_means = model.sample_means
        self.takes_label_loss = model.takes_label_loss
        self.takes_unaligned = model.takes_unaligned

    @property
    def loss_weights(self) -> Mapping[str, float]:
        """The system's."""
        return self.model.loss_weights

    @property
    def always_decayed(self) -> set[str]:
        """The system's, under their names here."""
        return {f"model.{name}" for name in self.model.always_decayed}

    def check_lengths(self, longest: Mapping[Modality, int], *, aligned: bool) -> None:
        """Require what the system requires.

        Raises:
            ModelError: as the system's.
        """
        self.model.check_lengths(longest, aligned=aligned)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Show the system the labels."""
        self.model.prepare(statistics)

    def use_label_loss(self, loss: LabelLoss) -> None:
        """Replace the system's."""
        self.model.use_label_loss(loss)

    def begin_update(self, step: int, steps: int) -> None:
        """Tell the system."""
        self.model.begin_update(step, steps)

    def learning_rate_factor(self, step: int, steps: int) -> float | None:
        """The system's choice."""
        return self.model.learning_rate_factor(step, steps)

    def sampling_weights(
        self, labels: Float[Tensor, "samples labels"]
    ) -> Float[Tensor, "samples"] | None:
        """The system's choice."""
        return self.model.sampling_weights(labels)

    def role_of(self, name: str) -> str:
        """The role that a parameter of the system has there; others do what their name says."""
        inner = name.removeprefix("model.")
        return name if inner == name else self.model.role_of(inner)

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Resize the system's tensors."""
        prefix = "model."
        inner = {}
        for name, shape in shapes.items():
            if name.startswith(prefix):
                inner[name.removeprefix(prefix)] = shape
        self.model.resize(inner)
