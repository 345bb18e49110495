"""BR, LP and CC: what multi-label classification was before neural networks.

Binary relevance: Boutell, Luo, Shen and Brown. Learning Multi-Label Scene Classification. Pattern
Recognition 2004. Label powerset: Tsoumakas and Katakis. Multi-Label Classification: An Overview.
IJDWM 2007. Classifier chain: Read, Pfahringer, Holmes and Frank. Classifier Chains for Multi-Label
Classification. Machine Learning 2011.

Notable:

- ``BinaryRelevance`` is one independent logistic regression per label.
- ``LabelPowerset`` is one softmax regression over the label sets seen in training. A label's
  probability is its marginal, the sum over the sets that contain it.
- ``ClassifierChain`` predicts one label after the other; each link also sees the labels before it,
  the true ones in training and its own decisions afterwards.
- The optimum of each regression is unique, so a fit depends on nothing but the data.
- scikit-learn fits; prediction is a few lines of torch, in double precision and on the CPU.

Symbols: x pooled features, w ``coef``, b ``intercept``, C inverse strength of the penalty; see
``models/classic/logistic.py`` for the regressions.

Adapted to sequences of several modalities: x is the mean and the standard deviation over the real
steps of each modality, concatenated and standardised over the training samples that have the
modality. A missing modality enters as the training mean, which is 0 then. The TAILOR paper says
neither which features nor which base learner its BR, LP and CC rows have; this choice is ours.

DIVERGENCE (constant_labels): a label that is constant in training is predicted as this constant,
where a regression has no solution.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.errors import ModelError
from emotailor.models.base import FittedModel, LabelStatistics
from emotailor.models.classic.config import (
    BinaryRelevanceConfig,
    ClassifierChainConfig,
    LabelPowersetConfig,
    LogisticConfig,
)
from emotailor.models.classic.logistic import fit_logistic, fit_softmax
from emotailor.models.label_loss import LabelLoss
from emotailor.nn.exporting import is_exporting
from emotailor.nn.sequence import cleared, masked_mean

LARGEST_LOGIT = 36.0
"""Bound of what a model yields: a probability within 2.4e-16 of 0 or 1."""


class PooledModel(FittedModel):
    """Base of the three: features pooled over the steps, and where they are computed.

    Args:
        config: what all of them share.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        mean: (F,), of the pooled features in training.
        inverse_std: (F,), one over their deviation; 0 where a feature is constant in training.
        fitted: whether ``fit`` has been called.
        positive_weight: (L,), weight of the samples where a label holds; None for 1. For the fit:
            it is not stored.
    """

    takes_unaligned = True
    positive_weight: Float64[np.ndarray, "labels"] | None = None
    mean: Tensor
    inverse_std: Tensor
    fitted: Tensor

    def __init__(
        self, config: LogisticConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(dims, num_labels)
        self.deviation = config.deviation
        self.strength = config.C
        # numbers per feature: its mean and, if asked, its deviation
        pooled = 2 if config.deviation else 1
        self.width = pooled * sum(dims.values())

        zeros = torch.zeros(self.width, dtype=torch.float64)
        self.register_buffer("mean", zeros)
        self.register_buffer("inverse_std", zeros.clone())
        self.register_buffer("fitted", torch.tensor(False))

    @abstractmethod
    def learn(
        self, x: Float64[Tensor, "samples features"], labels: UInt8[Tensor, "samples labels"]
    ) -> None:
        """Fit the regressions on features as they are."""

    @abstractmethod
    def logits_of(
        self, x: Float64[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples labels"]:
        """Return the logit of each label from features as they are; it may be infinite."""

    def use_label_loss(self, loss: LabelLoss) -> None:
        """Take the weights of labels that hold; the loss that is reported has none."""
        if loss.positive_weight is not None:
            self.positive_weight = loss.positive_weight.double().numpy()

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Pool, standardise and fit the regressions.

        Raises:
            ModelError: there are no samples, or some without labels or with values that are not
                finite, or a regression does not converge.
        """
        pooled = []
        present = []
        labels = []
        for batch in batches:
            if batch.labels is None:
                raise ModelError("training samples without labels", expected="labels for all")

            x, there = self.pool(batch)
            check_finite(x, batch.ids)
            pooled.append(x)
            present.append(there)
            labels.append(batch.labels.cpu().to(torch.uint8))
        if not pooled:
            raise ModelError("no samples to train on")

        x = torch.cat(pooled)
        there = torch.cat(present)
        self.measure(x, there)
        standardised = self.standardised(x, there)
        self.learn(standardised, torch.cat(labels))
        self.fitted.fill_(True)

    def measure(
        self, x: Float64[Tensor, "samples features"], present: Bool[Tensor, "samples features"]
    ) -> None:
        """Keep the mean and the deviation of every feature, over the samples that have it."""
        # a modality that nobody has: mean 0, and never used
        count = present.sum(0).clamp(min=1)
        total = (x * present).sum(0)
        mean = total / count

        centred = (x - mean) * present
        variance = centred.square().sum(0) / count
        std = variance.sqrt()

        # what differs by rounding alone is constant
        real = std > 1e-6 * mean.abs()
        inverse = torch.where(real, 1 / std, 0.0)
        self.mean.copy_(mean)
        self.inverse_std.copy_(inverse)

    def predict_logits(self, batch: Batch) -> Float[Tensor, "batch labels"]:
        """Return the logit of each label, within ±36.

        Raises:
            ModelError: the model has not been fitted.
        """
        # what a graph is exported of has been fitted
        if not is_exporting() and not self.fitted:
            raise ModelError(
                f"{type(self).__name__} has not been trained",
                fix="call fit first",
            )

        x, present = self.pool(batch)
        standardised = self.standardised(x, present)
        logits = self.logits_of(standardised)
        finite = logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)

        # computed on the CPU, wanted where the batch is
        first = next(iter(self.dims))
        device = batch.values[first].device
        return finite.float().to(device)

    def pool(
        self, batch: Batch
    ) -> tuple[Float64[Tensor, "batch features"], Bool[Tensor, "batch features"]]:
        """Return mean and deviation over the real steps, and where the modality is present."""
        batch = batch.to("cpu")
        pooled = []
        present = []
        for m in self.dims:
            mask = batch.masks[m]
            values = cleared(batch.values[m], mask).double()

            # a missing modality has the mean 0
            mean = masked_mean(values, mask)  # (B, dim)
            there = mask.any(1, keepdim=True)
            there = there.expand_as(mean)
            pooled.append(mean)
            present.append(there)
            if not self.deviation:
                continue

            centred = values - mean[:, None]
            variance = masked_mean(centred.square(), mask)
            pooled.append(variance.sqrt())
            present.append(there)

        x = torch.cat(pooled, 1)  # (B, F)
        return x, torch.cat(present, 1)

    def standardised(
        self, x: Float64[Tensor, "samples features"], present: Bool[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples features"]:
        """Return pooled features in deviations from the training mean; 0 where absent."""
        scaled = (x - self.mean) * self.inverse_std
        return scaled.masked_fill(~present, 0.0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PooledModel":
        """Stay on the CPU and in double precision wherever the model is sent: MPS has none."""
        return self


class BinaryRelevance(PooledModel):
    """One logistic regression per label.

    Args:
        config: of the base learner and its features.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        coef: (L, F).
        intercept: (L,); minus or plus infinity for a constant label.
    """

    takes_positive_weight = True

    def __init__(
        self, config: BinaryRelevanceConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(config, dims, num_labels)
        self.coef = learned(num_labels, self.width)
        self.intercept = learned(num_labels)

    def learn(
        self, x: Float64[Tensor, "samples features"], labels: UInt8[Tensor, "samples labels"]
    ) -> None:
        """Fit one regression per label."""
        coef, intercept = fit_logistic(
            x.numpy(),
            labels.numpy(),
            self.strength,
            self.positive_weight,
        )
        self.coef.data = torch.from_numpy(coef)
        self.intercept.data = torch.from_numpy(intercept)

    def logits_of(
        self, x: Float64[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples labels"]:
        """Return x w + b of each label."""
        return x @ self.coef.T + self.intercept


class LabelPowerset(PooledModel):
    """One softmax regression over the S label sets seen in training.

    Args:
        config: of the base learner, its features and the scores.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        sets: (S, L), 0 or 1, in lexicographic order; S is 0 before ``fit``.
        coef: (S, F).
        intercept: (S,).
    """

    sets: Tensor

    def __init__(
        self, config: LabelPowersetConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(config, dims, num_labels)
        self.scores = config.scores
        self._allocate(0)

    def _allocate(self, sets: int) -> None:
        empty = torch.zeros(sets, self.num_labels, dtype=torch.uint8)
        self.register_buffer("sets", empty)
        self.coef = learned(sets, self.width)
        self.intercept = learned(sets)

    def resize(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Make room for as many label sets as were stored."""
        stored = shapes.get("sets", (0, self.num_labels))
        self._allocate(stored[0])

    def learn(
        self, x: Float64[Tensor, "samples features"], labels: UInt8[Tensor, "samples labels"]
    ) -> None:
        """Fit the regression; a set seen once is still a class, the empty set is one like any."""
        sets, classes = np.unique(labels.numpy(), axis=0, return_inverse=True)
        coef, intercept = fit_softmax(x.numpy(), classes.reshape(-1), self.strength)
        self.sets = torch.from_numpy(sets)
        self.coef.data = torch.from_numpy(coef)
        self.intercept.data = torch.from_numpy(intercept)

    def log_set_probabilities(
        self, x: Float64[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples sets"]:
        """Return log P(set | x)."""
        scores = x @ self.coef.T + self.intercept
        return scores.log_softmax(1)

    def logits_of(
        self, x: Float64[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples labels"]:
        """Return the logit of each marginal, or ±inf for the labels in and out of the best set.

        A marginal above 0.5 need not mean that the most probable set contains the label.
        """
        log_p = self.log_set_probabilities(x)  # (N, S)
        held = self.sets.bool()  # (S, L)
        if self.scores == "best_set":
            best = log_p.argmax(1)  # (N,)
            decided = torch.where(held[best], torch.inf, -torch.inf)
            return decided.double()

        each = log_p[..., None]  # (N, S, 1)
        inside = each.masked_fill(~held, -torch.inf)  # (N, S, L)
        outside = each.masked_fill(held, -torch.inf)
        return inside.logsumexp(1) - outside.logsumexp(1)


class ClassifierChain(PooledModel):
    """Logistic regressions in a chain, or several chains that are averaged.

    The mean over several chains is that of their probabilities; each is trained on all samples.

    Args:
        config: of the base learner, its features and the chains.
        dims: modality -> feature width.
        num_labels: L.

    Attributes:
        orders: (K, L), the labels of each chain from its first link to its last.
        coef: (K, L, F), by label, not by link.
        label_coef: (K, L, L), weight of each (last axis) earlier label; 0 for those not earlier.
        intercept: (K, L); minus or plus infinity for a constant label.
    """

    takes_positive_weight = True
    orders: Tensor

    def __init__(
        self, config: ClassifierChainConfig, dims: Mapping[Modality, int], num_labels: int
    ) -> None:
        super().__init__(config, dims, num_labels)
        self.config = config
        chains = config.chains

        unknown = torch.full((chains, num_labels), -1)  # before ``fit``
        self.register_buffer("orders", unknown)

        self.coef = learned(chains, num_labels, self.width)
        self.label_coef = learned(chains, num_labels, num_labels)
        self.intercept = learned(chains, num_labels)

    def prepare(self, statistics: LabelStatistics) -> None:
        """Find the labels of a given order.

        Raises:
            ModelError: the order does not name every label once.
        """
        order = self.config.order
        if order is None:
            return

        names = list(statistics.names)
        if sorted(order) != sorted(names):
            raise ModelError(
                f"model.order = {', '.join(order)}",
                expected=f"each of {', '.join(names)}, once",
            )

        # a given order is that of a single chain
        chain = [names.index(name) for name in order]
        self.orders[0] = torch.tensor(chain)

    def learn(
        self, x: Float64[Tensor, "samples features"], labels: UInt8[Tensor, "samples labels"]
    ) -> None:
        """Choose the orders and fit every link on the true labels before it.

        Random orders come from torch's random state, which a run sets from its seed.

        Raises:
            ModelError: an order is given, and ``prepare`` has not been called.
        """
        self._choose_orders(labels)

        # what a link may be fitted on: the features, then the labels
        known = np.concatenate([x.numpy(), labels.numpy()], 1)
        features = list(range(self.width))
        self.label_coef.zero_()

        for chain, order in enumerate(self.orders.tolist()):
            for link, label in enumerate(order):
                earlier = order[:link]
                columns = features + [self.width + j for j in earlier]
                inputs = known[:, columns]
                target = labels[:, [label]]
                weight = None
                if self.positive_weight is not None:
                    weight = self.positive_weight[[label]]
                coef, intercept = fit_logistic(
                    inputs,
                    target.numpy(),
                    self.strength,
                    weight,
                )

                weights = torch.from_numpy(coef[0])
                of_features = weights[: self.width]
                of_labels = weights[self.width :]
                self.coef[chain, label] = of_features
                self.label_coef[chain, label, earlier] = of_labels
                self.intercept[chain, label] = float(intercept[0])

    def _choose_orders(self, labels: UInt8[Tensor, "samples labels"]) -> None:
        """Draw random orders for several chains; else take the given one, or the frequencies'."""
        config = self.config
        if config.chains > 1:
            drawn = [torch.randperm(self.num_labels) for _ in self.orders]
            self.orders = torch.stack(drawn)
            return

        if config.order is None:
            counts = labels.sum(0)
            by_count = torch.argsort(counts, descending=True, stable=True)
            self.orders = by_count[None]
            return

        if (self.orders < 0).any():
            raise ModelError("the names of the labels are unknown", fix="call prepare before fit")

    def logits_of(
        self, x: Float64[Tensor, "samples features"]
    ) -> Float64[Tensor, "samples labels"]:
        """Return the logit of the mean probability over the chains."""
        chains = range(len(self.orders))
        each = [self._follow(x, chain) for chain in chains]
        logits = torch.stack(each)  # (K, N, L)

        # log of sums: exact in the tails, and for one chain the logit itself
        held = F.logsigmoid(logits)
        not_held = F.logsigmoid(-logits)
        return held.logsumexp(0) - not_held.logsumexp(0)

    def _follow(
        self, x: Float64[Tensor, "samples features"], chain: int
    ) -> Float64[Tensor, "samples labels"]:
        """Return the logits of one chain; each link is fed what the earlier ones said."""
        soft = self.config.feed == "probabilities"
        logits = x @ self.coef[chain].T + self.intercept[chain]
        said = torch.zeros_like(logits)

        labels = torch.arange(self.num_labels)
        for label in self.orders[chain].split(1):  # (1,), never looked into
            weights = self.label_coef[chain].index_select(0, label)[0]  # (L,)
            heard = said @ weights  # (N,)
            own = labels == label  # (L,)
            logits = torch.where(own, logits + heard[:, None], logits)

            decided = logits.sigmoid() if soft else (logits > 0).double()
            said = torch.where(own, decided, said)

        return logits


def check_finite(x: Float64[Tensor, "samples features"], ids: Sequence[str]) -> None:
    """Raise a ModelError where a sample has values that are not finite."""
    finite = torch.isfinite(x).all(1)
    if finite.all():
        return

    bad = int((~finite).nonzero()[0])
    raise ModelError(
        f"sample {ids[bad]!r} has values that are not finite",
        expected="finite values; converting data replaces others by 0 and says so",
    )


def learned(*shape: int) -> nn.Parameter:
    """Return a parameter that is fitted, and that no gradient trains."""
    return nn.Parameter(torch.zeros(shape, dtype=torch.float64), requires_grad=False)
