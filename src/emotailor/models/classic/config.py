"""Settings of the classic systems: BR, LP and CC."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class LogisticConfig(Config):
    """What the three share: pooled features, and logistic regression as the base learner.

    The TAILOR paper gives neither for its BR, LP and CC rows.
    """

    C: float = Field(3e-3, gt=0)  # inverse strength of the penalty: 0.5|w|^2 + C sum(loss); ours
    deviation: bool = True  # pool the deviation over the steps beside their mean; ours


class BinaryRelevanceConfig(LogisticConfig):
    """Binary relevance (Boutell et al., 2004)."""

    @classmethod
    def paper(cls) -> "BinaryRelevanceConfig":
        """The method as published, on features of ours."""
        return cls()

    @classmethod
    def authors(cls) -> "BinaryRelevanceConfig":
        """The same: the authors published no program of it."""
        return cls()


class LabelPowersetConfig(LogisticConfig):
    """Label powerset (Tsoumakas and Katakis, 2007)."""

    scores: Literal["marginals", "best_set"] = "marginals"  # best_set: certain of its labels; ours

    @classmethod
    def paper(cls) -> "LabelPowersetConfig":
        """The method as published, on features of ours."""
        return cls()

    @classmethod
    def authors(cls) -> "LabelPowersetConfig":
        """The same: the authors published no program of it."""
        return cls()


class ClassifierChainConfig(LogisticConfig):
    """Classifier chain (Read et al., 2011)."""

    order: tuple[str, ...] | None = None  # all labels by name; None: most frequent first; ours
    feed: Literal["decisions", "probabilities"] = "decisions"  # of earlier links; the paper's
    chains: int = Field(1, ge=1)  # above 1: so many random orders, averaged; the paper's m

    @model_validator(mode="after")
    def _check(self) -> "ClassifierChainConfig":
        if self.order is not None and self.chains > 1:
            raise ValueError(f"order is for one chain, and {self.chains} chains have random orders")
        return self

    @classmethod
    def paper(cls) -> "ClassifierChainConfig":
        """The method as published, on features of ours."""
        return cls()

    @classmethod
    def authors(cls) -> "ClassifierChainConfig":
        """The same: the authors published no program of it."""
        return cls()


RECIPES: Mapping[Any, Mapping[str, Any]] = {
    "paper": {"threshold": 0.5},
    "authors": {"threshold": 0.5},
}
"""A logistic regression decides at 0.5. Of training only this, the seed and the splits count."""
