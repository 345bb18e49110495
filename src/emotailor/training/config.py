"""Settings of training; each system lays its recipes over them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat

from emotailor.config import Config
from emotailor.training.devices import canonical_device


class TrainingConfig(Config):
    """How a neural model is trained. Defaults are the paper's, its silences filled as noted."""

    epochs: int = Field(20, ge=1)  # passes over the training split; program
    # samples in a batch; the last of an epoch may be smaller, none is dropped; program
    batch_size: int = Field(64, ge=1)
    accumulate: int = Field(1, ge=1)  # batches for each optimizer step
    optimizer: Literal["adam", "bert_adam"] = "adam"  # bert_adam is the program's variant
    # peak of the schedule; paper, aligned; unaligned: 1e-4
    learning_rate: float = Field(1e-5, gt=0)
    # learning rate after the warm-up: linear falls to 0 at the last step, constant stays, cosine
    # is half a wave over all steps, the warm-up too, as in LDDU's program
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    # share of all steps in which the learning rate rises; program
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)  # decoupled weight decay; program: 0.01
    # largest norm of the whole gradient; 0: no clipping; program
    clip_norm: float = Field(1.0, ge=0)
    # probability with which each modality of a sample is hidden, never all; for data that will lack
    # modalities
    modality_dropout: float = Field(0.0, ge=0, lt=1)
    # decay of the average of parameters that is validated and kept; 0: none
    average: float = Field(0.0, ge=0, lt=1)
    # epochs without a better one after which training stops; none: never
    patience: int | None = Field(None, ge=1)
    # threshold of the micro-F1 that selects the model
    select_by: Literal["fixed", "tuned"] = "fixed"
    threshold: float = Field(0.35, ge=0, lt=1)  # the fixed decision threshold; program
    # loss of the labels; focal: Lin et al., ICCV 2017; asymmetric: Ridnik et al., ICCV 2021
    loss: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    focal_gamma: float = Field(2.0, ge=0)  # exponent of the focal loss
    # exponent of the asymmetric loss where a label does not hold
    gamma_negative: float = Field(4.0, ge=0)
    gamma_positive: float = Field(1.0, ge=0)  # exponent of the asymmetric loss where a label holds
    # asymmetric loss: taken off the probability of a label that does not hold
    margin: float = Field(0.05, ge=0, lt=1)
    # weight of a label where it holds; balanced: negatives over positives of the training split
    positive_weight: Literal["none", "balanced"] | dict[str, PositiveFloat] = "none"
    # a trained model whose weights are taken where they fit, given by --start-from: a run folder, a
    # model folder, or words, which ships; none: all are fresh
    start_from: str | None = Field(None, min_length=1)
    seed: int = Field(42, ge=0, lt=2**32)  # seed of weights, dropout and data order
    # auto, cpu, gpu, cuda, cuda:1 or mps; auto: CUDA, else MPS, else the CPU; gpu: not the CPU
    device: Annotated[str, AfterValidator(canonical_device)] = "auto"
    # bf16: autocast in training steps; auto: bf16 where the device has fast units for it
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # no short cuts: plain torch, whole batches, no threads of ours; for the search for a bug
    plain: bool = False
    checkpoint_steps: int = Field(200, ge=1)  # optimizer steps between checkpoints within an epoch
    # split whose predictions are kept after every epoch, such as test; nothing but
    # `evaluate --protocols` reads them; none: nothing is kept
    protocols: str | None = Field(None, min_length=1)
