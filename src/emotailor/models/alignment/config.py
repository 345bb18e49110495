"""Settings of the unaligned setting: how sequences of different rates are brought together."""

from typing import Annotated, Literal

from pydantic import Field

from emotailor.config import Config
from emotailor.data.sample import Modality

Rate = Annotated[float, Field(gt=0)]


class AlignmentConfig(Config):
    """The CTC alignment module. Defaults follow the paper; see :meth:`authors` for the program.

    Fields from ``frames`` on are the places where the authors' program departs from the evident
    intention; in ``ctc.py`` and ``model.py`` beside this file each is marked with ``DIVERGENCE``.
    """

    # the CTC module or none; auto: as the paper's protocol has it for the system
    kind: Literal["auto", "ctc", "none"] = "auto"
    weight: float = Field(0.5, ge=0)  # weight of the CTC loss; program
    layers: int = Field(2, ge=1)  # layers of the LSTM; paper of MulT, from which the module comes
    target: Modality = "text"  # the modality whose steps the others are aligned to
    # L, number of positions; none: steps of the longest target sequence of the data
    target_steps: int | None = Field(None, ge=1)
    # source steps for each target step, where a sample lacks the target; {}: medians of the
    # training split
    steps_per_target: dict[Modality, Rate] = Field(default_factory=dict)

    # real steps in the CTC loss; first: as many as there are positions; program: first
    frames: Literal["all", "first"] = "all"
    # positions of a sample: the steps of its own target; all: always L; program: all
    positions: Literal["own", "all"] = "own"
    # loss per source step, then the mean over samples; mean: over samples; sum: over the batch;
    # program: sum
    reduction: Literal["step_mean", "mean", "sum"] = "step_mean"
    # whether the system's input normalisation comes before the alignment; program: yes
    norm_first: bool = False

    @classmethod
    def tuned(cls) -> "AlignmentConfig":
        """The same as ``paper``: nothing else was tried."""
        return cls.paper()

    @classmethod
    def paper(cls) -> "AlignmentConfig":
        """The loss over all frames and over the sample's own target positions."""
        return cls()

    @classmethod
    def authors(cls) -> "AlignmentConfig":
        """The module as the authors' program of TAILOR computes it."""
        return cls(
            target_steps=50, frames="first", positions="all", reduction="sum", norm_first=True
        )
