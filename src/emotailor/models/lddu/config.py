"""Settings of LDDU (Findings of ACL 2025), and the presets: method, authors' program, ours."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config, check_multiple


class LDDUConfig(Config):
    """LDDU (Findings of ACL 2025). Defaults are the shipped script's, with the defects repaired.

    Fields from ``queue_start`` on are the places where the authors' program is repaired; in
    ``model.py`` each is marked with ``DIVERGENCE`` where it acts.
    """

    # d, width of encoders, label embeddings and label representations; program
    hidden_size: int = Field(256, ge=4)
    # inner width of the encoders' feed-forward parts; program
    feedforward_size: int = Field(256, ge=1)
    heads: int = Field(8, ge=1)  # attention heads of the encoders; program
    visual_layers: int = Field(3, ge=1)  # layers of the visual encoder; program
    audio_layers: int = Field(3, ge=1)  # layers of the audio encoder; program
    text_layers: int = Field(3, ge=1)  # layers of the text encoder; program
    max_steps: int = Field(60, ge=1)  # rows of the position tables; program
    attention_size: int = Field(256, ge=1)  # r, width of the label attention; program
    latent_size: int = Field(128, ge=1)  # p, width of means and deviations; program
    queue_size: int = Field(8192, ge=1)  # Q, rows of earlier batches that are remembered; program
    temperature: float = Field(0.07, gt=0)  # tau, temperature of the contrastive loss; program

    dropout: float = Field(0.3, ge=0, lt=1)  # dropout of the encoders and their attention; program
    # dropout of what a label has read, before the output map; program
    context_dropout: float = Field(0.1, ge=0, lt=1)
    # dropout in the heads, before their non-linearity; program
    head_dropout: float = Field(0.1, ge=0, lt=1)
    # dropout of the raw features, for small data sets; ours
    input_dropout: float = Field(0.0, ge=0, lt=1)
    input_norm: bool = True  # layer normalisation of the raw features; program
    layer_norm_eps: float = Field(1e-12, gt=0)  # epsilon of all layer normalisation; program
    # deviation of the normal initialisation of the encoders; program
    initial_std: float = Field(0.02, gt=0)

    classification_weight: float = Field(1.0, ge=0)  # weight of the loss classification; program
    common_weight: float = Field(0.3, ge=0)  # weight of the loss common_classification; program
    contrastive_weight: float = Field(1.0, ge=0)  # weight of the loss contrastive; program
    calibration_weight: float = Field(0.3, ge=0)  # weight of the loss calibration; program

    # axis along which the first, random queue has length 1; program: the columns
    queue_start: Literal["unit_rows", "unit_columns"] = "unit_rows"
    # whether the uncertainties are held against the mean of all common scores that a sample has
    # had in training; program: against the latest alone
    history: bool = True
    # what the shares of uncertainty sum to 1 over, while those of the scores do in every sample;
    # program: the batch
    uncertainty_shares: Literal["sample", "batch"] = "sample"
    # whether labels attend to real steps alone; program: no
    mask_label_attention: bool = True
    # whether sequences are padded to max_steps and nothing is masked; program: yes
    attend_to_padding: bool = False

    @model_validator(mode="after")
    def _check(self) -> "LDDUConfig":
        check_multiple(self, "hidden_size", "heads")
        return self

    @classmethod
    def tuned(cls) -> "LDDUConfig":
        """The method at a size that a laptop trains; chosen as docs/systems/lddu.md says."""
        return cls(
            hidden_size=128,
            feedforward_size=256,
            heads=4,
            visual_layers=2,
            audio_layers=2,
            text_layers=2,
            attention_size=128,
            latent_size=64,
            input_dropout=0.2,
            initial_std=0.05,
            queue_size=2048,
            contrastive_weight=0.1,
        )

    @classmethod
    def paper(cls) -> "LDDUConfig":
        """The method, its sizes and weights from the shipped script."""
        return cls()

    @classmethod
    def authors(cls) -> "LDDUConfig":
        """The model as the authors' program computes it."""
        return cls(
            queue_start="unit_columns",
            history=False,
            uncertainty_shares="batch",
            mask_label_attention=False,
            attend_to_padding=True,
        )


_SCRIPT = {
    "epochs": 30,
    "learning_rate": 2e-4,
    "schedule": "cosine",
    "weight_decay": 0.01,
    "threshold": 0.21,
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": _SCRIPT,
    "authors": {**_SCRIPT, "optimizer": "bert_adam"},
}
"""The shipped script; its batches of 64, warm-up, clipping and seed are the defaults."""
