"""Settings of training; each system lays its recipes over them."""

from typing import Literal

from pydantic import Field

from emotailor.config import Config


class TrainingConfig(Config):
    """How a neural model is trained. Defaults are the paper's, its silences filled as noted."""

    epochs: int = Field(20, ge=1)  # the program's
    batch_size: int = Field(64, ge=1)
    accumulate: int = Field(1, ge=1)  # batches per optimizer step
    optimizer: Literal["adam", "bert_adam"] = "adam"  # bert_adam: the program's variant
    learning_rate: float = Field(1e-5, gt=0)  # peak; the paper: 1e-5 aligned, 1e-4 unaligned
    schedule: Literal["linear", "constant"] = "linear"  # of the rate after the warm-up
    warmup: float = Field(0.1, ge=0, lt=1)  # share of all steps; the program's
    weight_decay: float = Field(0.0, ge=0)  # decoupled; the program: 0.01
    clip_norm: float = Field(1.0, ge=0)  # of the whole gradient, 0 for none; the program's
    average: float = Field(0.0, ge=0, lt=1)  # decay of the parameter average that is kept; 0: none
    patience: int | None = Field(None, ge=1)  # stop after so many epochs without a better one
    select_by: Literal["fixed", "tuned"] = "fixed"  # threshold of the micro-F1 that selects
    threshold: float = Field(0.35, ge=0, lt=1)  # the fixed decision threshold; the program's
    seed: int = Field(42, ge=0, lt=2**32)
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on GPUs that have it
    checkpoint_steps: int = Field(200, ge=1)  # optimizer steps between checkpoints within an epoch
