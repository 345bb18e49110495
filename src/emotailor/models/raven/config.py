"""Settings of RAVEN (AAAI 2019), and its two presets: the paper and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from emotailor.config import Config


class RAVENConfig(Config):
    """RAVEN (AAAI 2019). Defaults follow the paper; see :meth:`authors` for the program's.

    Fields from ``frame_size`` on are the places where the authors' program departs from the paper;
    in ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    cell_size: int = Field(150, ge=1)  # C, width of h_v and h_a; program
    hidden_size: int = Field(300, ge=1)  # H, width of the word-level LSTM; program
    layers: int = Field(1, ge=1)  # layers of the word-level LSTM; program
    shift_weight: float = Field(0.2, gt=0)  # beta; program
    dropout: float = Field(0.2, ge=0, lt=1)  # dropout of frames and shifted words; program
    # S, most frames of a word; ours, for aligned data; program: 20
    max_frames: int = Field(1, ge=1)

    # P, width of projected frames, 0 for none; paper: none; program: 150
    frame_size: int = Field(0, ge=0)
    gate: Literal["sigmoid", "linear"] = "sigmoid"  # range of w_v and w_a; paper; program: linear
    # where alpha sets in: at beta times the word's norm, or at 1; paper; program: unit_norm
    shift_limit: Literal["word_norm", "unit_norm"] = "word_norm"
    # word_position: batch statistics for each position of the word; ours: none; program:
    # word_position
    audio_norm: Literal["none", "word_position"] = "none"
    # N, positions of audio_norm = word_position, unused otherwise; program
    max_words: int = Field(50, ge=1)
    # whether no gradient goes through the shift; paper: no; program: yes
    detach_shift: bool = False

    @classmethod
    def tuned(cls) -> "RAVENConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(cell_size=64, hidden_size=128)

    @classmethod
    def paper(cls) -> "RAVENConfig":
        """The model as the paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "RAVENConfig":
        """The model as the authors' program computes it."""
        return cls(
            max_frames=20,
            frame_size=150,
            gate="linear",
            shift_limit="unit_norm",
            audio_norm="word_position",
            detach_shift=True,
        )


_PROGRAM: Mapping[str, Any] = {
    "epochs": 500,
    "patience": 5,  # ours: the program runs all of its epochs
    "batch_size": 20,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warmup": 0.0,
    "clip_norm": 0.0,
    "threshold": 0.5,
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {"paper": _PROGRAM, "authors": _PROGRAM}
"""The defaults of the authors' program, which has no configuration for MOSEI."""
