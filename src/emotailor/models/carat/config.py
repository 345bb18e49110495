"""Settings of CARAT (AAAI 2024), and the two presets: the method and the authors' program."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config, check_multiple


class CARATConfig(Config):
    """CARAT (AAAI 2024). Defaults are the shipped script's, with the program's defects repaired.

    Fields from ``queue_start`` on are the places where the authors' program is repaired; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    hidden_size: int = Field(256, ge=2)  # d, width of every representation; program
    # inner width of the encoders' feed-forward parts; program
    feedforward_size: int = Field(256, ge=1)
    heads: int = Field(8, ge=1)  # attention heads of the encoders; program
    visual_layers: int = Field(4, ge=1)  # layers of the visual encoder; program
    audio_layers: int = Field(4, ge=1)  # layers of the audio encoder; program
    text_layers: int = Field(6, ge=1)  # layers of the text encoder; program
    max_steps: int = Field(60, ge=1)  # rows of the position tables; program, aligned
    latent_size: int = Field(64, ge=1)  # p, width of the contrastive space; program
    queue_size: int = Field(8192, ge=1)  # Q, rows of earlier batches that are remembered; program
    # momentum of the moving averages that are prototypes; program
    prototype_momentum: float = Field(0.99, ge=0, lt=1)
    temperature: float = Field(0.07, gt=0)  # tau, temperature of the contrastive loss; program

    dropout: float = Field(0.3, ge=0, lt=1)  # dropout of encoders, attention and outputs; program
    # dropout of the raw features, for small data sets; ours
    input_dropout: float = Field(0.0, ge=0, lt=1)
    input_norm: bool = True  # layer normalisation of the raw features; program
    layer_norm_eps: float = Field(1e-12, gt=0)  # epsilon of all layer normalisation; program
    # deviation of the normal initialisation of the encoders; program
    initial_std: float = Field(0.02, gt=0)

    label_weight: float = Field(0.01, ge=0)  # weight of the loss label_classification; program
    first_weight: float = Field(0.1, ge=0)  # weight of the loss first_classification; program
    contrastive_weight: float = Field(1.0, ge=0)  # weight of the loss contrastive; program
    decoded_mse_weight: float = Field(1.0, ge=0)  # weight of the loss decoded_mse; program
    first_mse_weight: float = Field(1.0, ge=0)  # weight of the loss first_mse; program
    second_mse_weight: float = Field(0.0, ge=0)  # weight of the loss second_mse; program
    aggregation_weight: float = Field(1.0, ge=0)  # weight of the loss aggregation; program
    shuffled_weight: float = Field(0.1, ge=0)  # weight of the loss shuffled_aggregation; program

    # axis along which the first, random queue has length 1; program: the columns
    queue_start: Literal["unit_rows", "unit_columns"] = "unit_rows"
    # how samples and modalities are exchanged; program: both at once
    shuffle: Literal["in_turn", "at_once"] = "in_turn"
    # whether sequences are padded to max_steps and nothing is masked; program: yes
    attend_to_padding: bool = False

    @model_validator(mode="after")
    def _check(self) -> "CARATConfig":
        check_multiple(self, "hidden_size", "heads")
        return self

    @classmethod
    def tuned(cls) -> "CARATConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(
            hidden_size=128,
            feedforward_size=256,
            heads=4,
            visual_layers=2,
            audio_layers=2,
            text_layers=2,
            input_dropout=0.2,
            initial_std=0.05,
            queue_size=2048,
        )

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
