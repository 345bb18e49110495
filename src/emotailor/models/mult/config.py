"""Settings of MulT (ACL 2019)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class MulTConfig(Config):
    """MulT (ACL 2019). Defaults are those of its Table 5 for CMU-MOSEI; see :meth:`authors`.

    Fields from ``future_mask`` on are places where the authors' program departs from the paper; in
    ``model.py`` or ``nn/cross_attention.py`` each acts where ``DIVERGENCE`` names it.
    """

    hidden_size: int = Field(40, ge=2)  # d, one width for all modalities; paper: 40, program: 30
    heads: int = Field(8, ge=1)  # paper: 8, program: 5
    layers: int = Field(4, ge=1)  # D, of each cross-modal Transformer; paper: 4, program: 5
    memory_layers: int = Field(4, ge=1)  # of each memory; the program: max(layers, 3)
    visual_kernel: int = Field(3, ge=1)  # k_V, steps a convolution covers; paper: 3, program: 1
    audio_kernel: int = Field(3, ge=1)  # k_A; paper: 3, program: 1
    text_kernel: int = Field(3, ge=1)  # k_L; paper: 1 or 3, program: 1

    embedding_dropout: float = Field(0.3, ge=0, lt=1)  # raw text, embeddings; paper: 0.3
    attention_dropout: float = Field(0.1, ge=0, lt=1)  # text as source, memories; paper: 0.1
    attention_dropout_visual: float = Field(0.1, ge=0, lt=1)  # visual as source; paper: 0.1
    attention_dropout_audio: float = Field(0.1, ge=0, lt=1)  # audio as source; paper: 0.1
    relu_dropout: float = Field(0.1, ge=0, lt=1)  # inside feed-forward parts; the program's
    residual_dropout: float = Field(0.1, ge=0, lt=1)  # on what each part adds; the program's
    output_dropout: float = Field(0.1, ge=0, lt=1)  # inside the output block; paper: 0.1

    future_mask: bool = False  # the program's queries see no later keys
    residual: Literal["normalised", "stream"] = "normalised"  # what parts are added to
    always_project: bool = True  # the program leaves a modality whose width is d as it is
    zero_frame_rule: bool = False  # the program gives no position where channel 0 is exactly 0
    attend_to_padding: bool = False  # the program has no key masks and reads the last padded step

    @model_validator(mode="after")
    def _check(self) -> "MulTConfig":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}"
            )
        for name in ("visual_kernel", "audio_kernel", "text_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} must be odd, to be centred")
        return self

    @classmethod
    def paper(cls) -> "MulTConfig":
        """The model as its paper describes it (its silences filled from the program)."""
        return cls()

    @classmethod
    def authors(cls) -> "MulTConfig":
        """The model as the authors' program computes it."""
        return cls(
            hidden_size=30,
            heads=5,
            layers=5,
            memory_layers=5,
            visual_kernel=1,
            audio_kernel=1,
            text_kernel=1,
            embedding_dropout=0.25,
            attention_dropout_visual=0.0,
            attention_dropout_audio=0.0,
            output_dropout=0.0,
            future_mask=True,
            residual="stream",
            always_project=False,
            zero_frame_rule=True,
            attend_to_padding=True,
        )


RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": {  # Table 5, CMU-MOSEI; patience is ours
        "epochs": 20,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "clip_norm": 1.0,
        "schedule": "constant",
        "warmup": 0.0,
        "patience": 5,
        "threshold": 0.5,
    },
    "authors": {  # the program's defaults; it divides the rate by 10 on plateaus of 20 epochs
        "epochs": 40,
        "batch_size": 24,
        "learning_rate": 1e-3,
        "clip_norm": 0.8,
        "schedule": "constant",
        "warmup": 0.0,
        "patience": 5,
        "threshold": 0.5,
    },
}
"""Both decide between two classes by the larger score, which is a threshold of 0.5."""
