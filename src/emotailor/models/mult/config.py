"""Settings of MulT (ACL 2019)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config, check_multiple


class MulTConfig(Config):
    """MulT (ACL 2019). Defaults are those of its Table 5 for CMU-MOSEI; see :meth:`authors`.

    Fields from ``future_mask`` on are places where the authors' program departs from the paper; in
    ``model.py`` or ``nn/cross_attention.py`` each acts where ``DIVERGENCE`` names it.
    """

    # d, one width for all modalities; paper (Table 5); program: 30
    hidden_size: int = Field(40, ge=2)
    heads: int = Field(8, ge=1)  # attention heads; paper (Table 5); program: 5
    # D, layers of each cross-modal Transformer; paper (Table 5); program: 5
    layers: int = Field(4, ge=1)
    # layers of each memory; program: max(layers, 3); the paper names one depth
    memory_layers: int = Field(4, ge=1)
    # k_V, steps that a convolution covers; paper (Table 5); program: 1
    visual_kernel: int = Field(3, ge=1)
    audio_kernel: int = Field(3, ge=1)  # k_A, the same for audio; paper (Table 5); program: 1
    text_kernel: int = Field(3, ge=1)  # k_L, the same for text; paper (Table 5: 1 or 3); program: 1

    # dropout of raw text and of all embedded sequences; paper (Table 5)
    embedding_dropout: float = Field(0.3, ge=0, lt=1)
    # dropout of attention with text as source, and in memories; paper (Table 5)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    # the same with visual as source; paper (Table 5); program: 0
    attention_dropout_visual: float = Field(0.1, ge=0, lt=1)
    # the same with audio as source; paper (Table 5); program: 0
    attention_dropout_audio: float = Field(0.1, ge=0, lt=1)
    relu_dropout: float = Field(0.1, ge=0, lt=1)  # dropout inside feed-forward parts; program
    residual_dropout: float = Field(0.1, ge=0, lt=1)  # dropout on what each part adds; program
    # dropout in the residual block of the output; paper (Table 5); program: 0
    output_dropout: float = Field(0.1, ge=0, lt=1)

    future_mask: bool = False  # whether a query sees no later keys; program: yes
    # what each part is added to; program: stream
    residual: Literal["normalised", "stream"] = "normalised"
    always_project: bool = True  # whether a modality of width d is projected too; program: no
    zero_frame_rule: bool = False  # no position where the first channel is exactly 0; program: yes
    attend_to_padding: bool = False  # no key masks, and the last padded step is read; program: yes

    @model_validator(mode="after")
    def _check(self) -> "MulTConfig":
        check_multiple(self, "hidden_size", "heads")
        kernels = {
            "visual_kernel": self.visual_kernel,
            "audio_kernel": self.audio_kernel,
            "text_kernel": self.text_kernel,
        }
        for name, steps in kernels.items():
            if steps % 2 == 0:
                raise ValueError(f"{name} {steps} must be odd, to be centred")
        return self

    @classmethod
    def tuned(cls) -> "MulTConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(layers=2, memory_layers=2)

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
