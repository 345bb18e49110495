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

    kind: Literal["auto", "ctc", "none"] = "auto"  # auto: where the paper's protocol has it
    weight: float = Field(0.5, ge=0)  # of the CTC loss; the program's
    layers: int = Field(2, ge=1)  # of the LSTM; the paper of MulT, whose module it is
    target: Modality = "text"  # the others are aligned to its steps
    target_steps: int | None = Field(None, ge=1)  # L; None: those of the data's longest target
    steps_per_target: dict[Modality, Rate] = Field(default_factory=dict)  # {}: the data's medians

    frames: Literal["all", "first"] = "all"  # the program's loss reads the first L frames alone
    positions: Literal["own", "all"] = "own"  # all: padding of the target counts as positions
    reduction: Literal["step_mean", "mean", "sum"] = "step_mean"  # of the loss; the program: sum
    norm_first: bool = False  # the program aligns features that are normalised already

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
