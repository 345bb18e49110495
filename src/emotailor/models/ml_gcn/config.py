"""Settings of ML-GCN (CVPR 2019)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from emotailor.config import Config


class MLGCNConfig(Config):
    """ML-GCN (CVPR 2019). Defaults are the paper's; see :meth:`authors` for the program's.

    ``transpose`` is where the authors' program departs from the paper; in ``model.py`` it
    is marked with ``DIVERGENCE`` where it acts.
    """

    # D, both directions of the encoder together; ours, for the 2048 of ResNet-101
    feature_size: int = Field(512, ge=2)
    graph_size: int = Field(1024, ge=1)  # width between the two graph layers; paper and program
    # width of label vectors that nobody gives; that of the paper's GloVe vectors
    label_size: int = Field(300, ge=1)
    # label vectors where nobody gives any; ours
    label_nodes: Literal["trained", "one_hot"] = "trained"
    # whether vectors that the user gives are trained; paper and program: no
    train_label_vectors: bool = False
    slope: float = Field(0.2, ge=0, lt=1)  # slope of LeakyReLU below 0; paper and program
    # t (tau), Eq. 7: an edge i -> j where P(j given i) >= t; auto: chosen from the labels; paper
    # and program
    threshold: float | Literal["auto"] = 0.4
    # p, Eq. 8; paper; 0.25 : 1 in the program is the same ratio
    neighbour_share: float = Field(0.2, gt=0, lt=1)
    # sum in Eq. 8 over a column, as corrected by the authors; rows: as printed
    reweight: Literal["columns", "rows"] = "columns"

    # direction of propagation: whether a label collects from the labels that imply it; program: yes
    transpose: bool = False

    @field_validator("threshold", mode="before")
    @classmethod
    def _check_threshold(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value == "auto" or (number and 0 < value <= 1):
            return value
        raise ValueError(f"{value!r} must be a share above 0 and at most 1, or 'auto'")

    @model_validator(mode="after")
    def _check(self) -> "MLGCNConfig":
        if self.feature_size % 2:
            raise ValueError(f"feature_size {self.feature_size} must be even: two directions")
        return self

    @classmethod
    def tuned(cls) -> "MLGCNConfig":
        """The method at a size that a laptop trains and small data suit; see docs/results.md."""
        return cls(feature_size=64, graph_size=64, label_size=64, threshold="auto")

    @classmethod
    def paper(cls) -> "MLGCNConfig":
        """The model as the paper describes it, with its Eq. 8 as the authors corrected it."""
        return cls()

    @classmethod
    def authors(cls) -> "MLGCNConfig":
        """The model as the authors' program computes it."""
        return cls(transpose=True)


_RECIPE = {
    "batch_size": 16,  # the program's
    "learning_rate": 1e-3,  # ours: both sources use SGD, whose rates do not carry over to Adam
    "weight_decay": 1e-4,  # paper and program
    "schedule": "linear",  # both sources lower the rate, in steps
    "warmup": 0.0,
    "clip_norm": 10.0,  # the program's
    "threshold": 0.5,  # the program decides at logit 0
}

RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": {**_RECIPE, "epochs": 100, "patience": 5},  # epochs: paper; patience: ours
    "authors": {**_RECIPE, "epochs": 20},
}
"""Paper: 100 epochs, the rate divided by 10 every 40; program: 20 epochs."""
