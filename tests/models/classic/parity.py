"""BR, LP and CC beside scikit-learn: refitted, and with the recorded coefficients."""

from typing import Any

import torch
from torch import Tensor

from emotailor.data.sample import Modality
from emotailor.models.base import LabelStatistics
from emotailor.models.classic.config import (
    BinaryRelevanceConfig,
    ClassifierChainConfig,
    LabelPowersetConfig,
)
from emotailor.models.classic.model import (
    BinaryRelevance,
    ClassifierChain,
    LabelPowerset,
    PooledModel,
)
from tests.parity.case import Case, Comparison, Limits

REFITTED = 1e-5
"""Largest difference of what a refit predicts."""
STORED = 1e-12
"""Largest difference of a prediction with their coefficients."""
COEFFICIENTS = 3e-5
"""Largest difference of coefficients."""

GIVEN = ("lp.label_sets", "lp.train_class")
"""Entries that come with the coefficients."""


def aside(case: Case) -> set[str]:
    """The data set."""
    return {"x_train", "y_train", "x_test", "y_test"}


def build(case: Case) -> dict[str, PooledModel]:
    """Our models, not fitted; ``soft`` is the chain that is fed probabilities."""
    options = case.options
    options.without_effect("seed", "seed_note", "n_train", "n_test", "rates", "num_label_sets")
    # both solve the same convex problem, to these tolerances
    options.without_effect("solver", "tolerance", "largest_deviation_between_two_solvers")
    options.described("penalty", "L2", "L2")
    labels = case.io["y_train"].shape[1]
    names = tuple(f"label {k}" for k in range(labels))
    dims: dict[Modality, int] = {"text": int(options.take("features"))}
    own = {"C": options.take("C"), "deviation": False}
    order = tuple(names[k] for k in options.take("chain_order"))
    hard = ClassifierChainConfig(order=order, **own)
    soft = hard.replace(feed="probabilities")
    models: dict[str, PooledModel] = {
        "br": BinaryRelevance(BinaryRelevanceConfig(**own), dims, labels),
        "lp": LabelPowerset(LabelPowersetConfig(**own), dims, labels),
        "cc": ClassifierChain(hard, dims, labels),
        "soft": ClassifierChain(soft, dims, labels),
    }
    statistics = LabelStatistics.of(names, case.io["y_train"])
    for model in models.values():
        model.prepare(statistics)
    return models


def load_weights(case: Case, models: dict[str, PooledModel]) -> None:
    """Give our models the recorded coefficients."""
    weights = case.weights
    order = case.options.take("chain_order")
    for name in ("br", "lp"):
        models[name].coef.data = weights[f"{name}.coef"]
        models[name].intercept.data = weights[f"{name}.intercept"]
    models["lp"].sets = case.io["lp.label_sets"].to(torch.uint8)
    for name in ("cc", "soft"):
        chain: Any = models[name]
        for k, label in enumerate(order):
            # of the features, then of the labels before it in the chain
            coef = weights[f"cc.link{k}.coef"]
            chain.coef[0, label] = coef[: chain.width]
            chain.label_coef[0, label, order[:k]] = coef[chain.width :]
            chain.intercept[0, label] = weights[f"cc.link{k}.intercept"].item()


def coefficients(case: Case, models: dict[str, PooledModel]) -> dict[str, Tensor]:
    """What our models learned, under the recorded names."""
    order = case.options.take("chain_order")
    chain: Any = models["cc"]
    found: dict[str, Tensor] = {}
    for name in ("br", "lp"):
        model: Any = models[name]
        found[f"{name}.coef"] = model.coef
        found[f"{name}.intercept"] = model.intercept
    for k, label in enumerate(order):
        weights = (chain.coef[0, label], chain.label_coef[0, label, order[:k]])
        found[f"cc.link{k}.coef"] = torch.cat(weights)
        found[f"cc.link{k}.intercept"] = chain.intercept[0, label][None]
    return found


def outputs(case: Case, models: dict[str, PooledModel]) -> dict[str, Tensor]:
    """Every recorded number, from the features of the case."""
    x = case.io["x_test"]
    lp = models["lp"]
    assert isinstance(lp, LabelPowerset)
    scores = {name: model.logits_of(x).sigmoid() for name, model in models.items()}
    sets = lp.log_set_probabilities(x).exp()
    best = sets.argmax(1)
    truth = case.io["y_train"][:, None] == lp.sets
    return {
        "br.probabilities": scores["br"],
        "br.predictions": scores["br"] > 0.5,
        "cc.probabilities": scores["cc"],
        "cc.predictions": scores["cc"] > 0.5,
        "cc.probabilities_soft_chain": scores["soft"],
        "lp.label_sets": lp.sets,
        "lp.train_class": truth.all(2).int().argmax(1),
        "lp.set_probabilities": sets,
        "lp.predicted_class": best,
        "lp.predictions": lp.sets[best],
        "lp.label_marginals": scores["lp"],
    }


def compare(case: Case) -> Comparison:
    """Refit and compare all; then predict with the recorded coefficients and compare all again."""
    models = build(case)
    for model in models.values():
        model.learn(case.io["x_train"], case.io["y_train"].to(torch.uint8))
    learned = coefficients(case, models)
    stored = build(case)
    load_weights(case, stored)
    predicted = outputs(case, stored)

    exact = [name for name, x in case.io.items() if not x.is_floating_point()]
    limits = Limits(output=REFITTED, exact=exact)
    comparison = Comparison.of(case, outputs(case, models), aside(case), limits)
    for name, expected in case.weights.items():
        comparison.add(f"weights/{name}", learned[name], expected, COEFFICIENTS)
    for name, ours in predicted.items():
        if name in case.io and name not in GIVEN:
            limit = 0.0 if name in exact else STORED
            comparison.add(f"stored/{name}", ours, case.io[name], limit)
    return comparison
