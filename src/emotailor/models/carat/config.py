"""Settings of CARAT (AAAI 2024), and the two presets: the method and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class CARATConfig(Config):
    """CARAT (AAAI 2024). Defaults are the shipped script's, with the program's defects repaired.

    Fields from ``queue_start`` on are the places where the authors' program is repaired; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(256, ge=2)  # d, width of every representation; the program's
    feedforward_size: int = Field(256, ge=1)  # inner width of feed-forward parts; the program's
    heads: int = Field(8, ge=1)  # of the encoders; the program's
    visual_layers: int = Field(4, ge=1)  # of the visual encoder; the program's
    audio_layers: int = Field(4, ge=1)  # of the audio encoder; the program's
    text_layers: int = Field(6, ge=1)  # of the text encoder; the program's
    max_steps: int = Field(60, ge=1)  # rows of the position tables; the program's aligned length
    latent_size: int = Field(64, ge=1)  # p, width of the contrastive space; the program's
    queue_size: int = Field(8192, ge=1)  # Q, remembered rows; the program's
    prototype_momentum: float = Field(0.99, ge=0, lt=1)  # of the prototypes; the program's
    temperature: float = Field(0.07, gt=0)  # tau of the contrastive loss; the program's

    dropout: float = Field(0.3, ge=0, lt=1)  # of the encoders; the program's
    input_dropout: float = Field(0.0, ge=0, lt=1)  # of the raw features; ours, for small data sets
    input_norm: bool = True  # layer normalisation of the raw features; the program's
    layer_norm_eps: float = Field(1e-12, gt=0)  # the program's
    initial_std: float = Field(0.02, gt=0)  # normal initialisation of the encoders; the program's

    label_weight: float = Field(0.01, ge=0)  # classification from label representations; program
    first_weight: float = Field(0.1, ge=0)  # classification from the first rebuilding; program
    contrastive_weight: float = Field(1.0, ge=0)  # the program's
    decoded_mse_weight: float = Field(1.0, ge=0)  # of decoded latents; the program's
    first_mse_weight: float = Field(1.0, ge=0)  # of the first rebuilding; the program's
    second_mse_weight: float = Field(0.0, ge=0)  # of the second rebuilding; the program's
    aggregation_weight: float = Field(1.0, ge=0)  # the program's
    shuffled_weight: float = Field(0.1, ge=0)  # aggregation of shuffled features; the program's

    queue_start: Literal["unit_rows", "unit_columns"] = "unit_rows"  # program: along the queue
    shuffle: Literal["in_turn", "at_once"] = "in_turn"  # program: of samples and modalities at once
    attend_to_padding: bool = False  # the program pads to max_steps and its masks are all ones

    @model_validator(mode="after")
    def _check(self) -> "CARATConfig":
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of heads {self.heads}"
            )
        return self

    @classmethod
    def paper(cls) -> "CARATConfig":
        """The method, its sizes and weights from the shipped script."""
        return cls()

    @classmethod
    def authors(cls) -> "CARATConfig":
        """The model as the authors' program computes it."""
        return cls(queue_start="unit_columns", shuffle="at_once", attend_to_padding=True)


_SCRIPT = {"learning_rate": 5e-5, "weight_decay": 0.01, "threshold": 0.25}

RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": _SCRIPT,
    "authors": {**_SCRIPT, "optimizer": "bert_adam"},
}
"""The shipped script; its 20 epochs of batches of 64, warm-up and clipping are the defaults."""
