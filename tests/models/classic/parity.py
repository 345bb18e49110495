"""BR, LP and CC beside scikit-learn: refitted, and with the recorded coefficients."""

import torch
from torch import Tensor

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
from tests.parity.case import Case, Comparison

REFITTED, STORED, COEFFICIENTS = 1e-5, 1e-12, 3e-5
"""Largest difference of a refit, of a prediction with their coefficients, and of coefficients."""


def build(case: Case) -> dict[str, PooledModel]:
    """Our models, not fitted; ``soft`` is the chain that is fed probabilities."""
    c, labels = case.info["config"], case.io["y_train"].shape[1]
    names = tuple("abcdefghijkl"[:labels])
    dims, own = {"text": int(c["features"])}, {"C": c["C"], "deviation": False}
    order = tuple(names[k] for k in c["chain_order"])
    models: dict[str, PooledModel] = {
        "br": BinaryRelevance(BinaryRelevanceConfig(**own), dims, labels),
        "lp": LabelPowerset(LabelPowersetConfig(**own), dims, labels),
        "cc": ClassifierChain(ClassifierChainConfig(order=order, **own), dims, labels),
        "soft": ClassifierChain(
            ClassifierChainConfig(order=order, feed="probabilities", **own), dims, labels
        ),
    }
    for model in models.values():
        model.prepare(LabelStatistics.of(names, case.io["y_train"]))
    return models


def load_weights(case: Case, models: dict[str, PooledModel]) -> None:
    """Give our models the recorded coefficients."""
    w, order = case.weights, case.info["config"]["chain_order"]
    for name in ("br", "lp"):
        models[name].coef.data = w[f"{name}.coef"]
        models[name].intercept.data = w[f"{name}.intercept"]
    models["lp"].sets = case.io["lp.label_sets"].to(torch.uint8)
    for name in ("cc", "soft"):
        chain = models[name]
        for k, label in enumerate(order):
            coef = w[f"cc.link{k}.coef"]
            chain.coef[0, label] = coef[: chain.width]
            chain.label_coef[0, label, order[:k]] = coef[chain.width :]
            chain.intercept[0, label] = w[f"cc.link{k}.intercept"].item()


def coefficients(case: Case, models: dict[str, PooledModel]) -> dict[str, Tensor]:
    """What our models learned, under the recorded names."""
    order, chain = case.info["config"]["chain_order"], models["cc"]
    parts = ("coef", "intercept")
    found = {f"{m}.{part}": getattr(models[m], part) for m in ("br", "lp") for part in parts}
    for k, label in enumerate(order):
        weights = (chain.coef[0, label], chain.label_coef[0, label, order[:k]])
        found[f"cc.link{k}.coef"] = torch.cat(weights)
        found[f"cc.link{k}.intercept"] = chain.intercept[0, label][None]
    return found


def outputs(case: Case, models: dict[str, PooledModel]) -> dict[str, Tensor]:
    """Every recorded number, from the features of the case."""
    x, lp = case.io["x_test"], models["lp"]
    assert isinstance(lp, LabelPowerset)
    scores = {name: model.logits_of(x).sigmoid() for name, model in models.items()}
    sets = lp.log_set_probabilities(x).exp()
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
        "lp.predicted_class": sets.argmax(1),
        "lp.predictions": lp.sets[sets.argmax(1)],
        "lp.label_marginals": scores["lp"],
    }


def compare(case: Case) -> Comparison:
    """Refit and compare all; then predict with the recorded coefficients and compare all again."""
    comparison, models = Comparison(), build(case)
    for model in models.values():
        model.learn(case.io["x_train"], case.io["y_train"].to(torch.uint8))
    learned, refitted = coefficients(case, models), outputs(case, models)
    stored = build(case)
    load_weights(case, stored)
    predicted = outputs(case, stored)
    for name, expected in case.weights.items():
        comparison.add(f"weights/{name}", learned[name], expected, COEFFICIENTS)
    for name, expected in case.io.items():
        if name in ("x_train", "y_train", "x_test", "y_test"):
            continue
        if name not in refitted:
            comparison.missing(name)
            continue
        exact = not expected.is_floating_point()
        comparison.add(name, refitted[name], expected, 0.0 if exact else REFITTED)
        if name not in ("lp.label_sets", "lp.train_class"):  # given with the coefficients
            comparison.add(f"stored/{name}", predicted[name], expected, 0.0 if exact else STORED)
    return comparison
