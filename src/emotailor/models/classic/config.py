"""Settings of the classic systems: BR, LP and CC."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from emotailor.config import Config


class LogisticConfig(Config):
    """What the three share: pooled features, and logistic regression as the base learner.

    The TAILOR paper gives neither for its BR, LP and CC rows.
    """

    # inverse strength of the penalty: each regression minimises 0.5 |w|^2 + C sum(log loss), the
    # intercept free; ours
    C: float = Field(3e-3, gt=0)
    # whether the standard deviation over steps is pooled beside the mean; ours
    deviation: bool = True


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

    # marginals: P(label) is the sum over the sets that contain it; best_set: certain of the labels
    # of the most probable set, but nothing to rank; ours; best_set is the paper's
    scores: Literal["marginals", "best_set"] = "marginals"

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

    # all labels by name, first to last; none: the most frequent in training first, ties by index;
    # ours
    order: tuple[str, ...] | None = None
    # what later links hear of earlier ones; decisions: whether p > 0.5; paper
    feed: Literal["decisions", "probabilities"] = "decisions"
    # m, number of chains; above 1: random orders (from training.seed), probabilities averaged;
    # paper
    chains: int = Field(1, ge=1)

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
    "tuned": {"threshold": 0.5},
    "paper": {"threshold": 0.5},
    "authors": {"threshold": 0.5},
}
"""A logistic regression decides at 0.5. Of training only this, the seed and the splits count."""
