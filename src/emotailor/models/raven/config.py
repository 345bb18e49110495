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

    cell_size: int = Field(150, ge=1)  # C, width of h_v and h_a; the program's
    hidden_size: int = Field(300, ge=1)  # H, width of the word-level LSTM; the program's
    layers: int = Field(1, ge=1)  # of the word-level LSTM; the program's
    shift_weight: float = Field(0.2, gt=0)  # beta; the program's
    dropout: float = Field(0.2, ge=0, lt=1)  # frames and shifted words; the program's
    max_frames: int = Field(1, ge=1)  # S, most frames of a word; ours: aligned data; program: 20

    frame_size: int = Field(0, ge=0)  # P of the projected frames; paper: 0, none; program: 150
    gate: Literal["sigmoid", "linear"] = "sigmoid"  # of w_v and w_a; paper: sigmoid, program: none
    shift_limit: Literal["word_norm", "unit_norm"] = "word_norm"  # where alpha sets in; paper: word
    audio_norm: Literal["none", "word_position"] = "none"  # program: batch statistics per position
    max_words: int = Field(50, ge=1)  # N, positions of audio_norm = word_position; the program's
    detach_shift: bool = False  # program: no gradient through the shift, so it is never trained

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
