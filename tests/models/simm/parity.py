"""SIMM beside the authors' program: vectors, logits, losses and their variants, gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.simm.config import SIMMConfig
from emotailor.models.simm.model import SIMM
from emotailor.training.recipe import recipe
from tests.parity.case import Case, CaseError, Comparison, Limits
from tests.parity.recorder import Recorder

TOLERANCE = 1e-5
VARIANTS = {"F": "all_pairs", "L2": "squared", "L1": "absolute"}
HEADS = {
    "fc_comm_extract": "shared",
    "fc_predictor": "classifier",
    "fc_comm_predictor": "shared_classifier",
    "discriminator": "discriminator",
}


def views_of(case: Case) -> tuple[Modality, ...]:
    """The modalities that stand for the views of a case, in their order."""
    dims = case.options.take("view_dims")
    if not 2 <= len(dims) <= len(MODALITIES):
        raise CaseError(
            f"{case.path}: view_dims = {dims} is not supported; supported: two or three views"
        )
    return MODALITIES[: len(dims)]


def parameter_names(views: Sequence[Modality]) -> dict[str, str]:
    """The program's name -> ours."""
    layers = dict(HEADS)
    for k, m in enumerate(views):
        layers[f"view_blocks.{k}.fc_private"] = f"specific.{m}"
        layers[f"view_blocks.{k}.fc_extract_comm"] = f"entry.{m}"
    return {f"{a}.{p}": f"{b}.{p}" for a, b in layers.items() for p in ("weight", "bias")}


def main_weight(case: Case) -> float:
    """The weight of the labels' loss: 1 in our model, so the others are divided by it."""
    weight = float(case.options.part("loss_coefficient").take("ML_loss"))
    if weight <= 0:
        raise CaseError(f"{case.path}: ML_loss = {weight} is not supported; supported: above 0")
    return weight


def build(case: Case, orthogonality: str | None = None) -> SIMM:
    """Our model with their weights, and with another orthogonality than theirs if asked."""
    options = case.options
    options.without_effect("seed", "batch")
    views = views_of(case)
    weights = options.part("loss_coefficient")
    ml = main_weight(case)
    variant = VARIANTS[options.only("regularization_type", *VARIANTS)]
    config = SIMMConfig.authors().replace(
        hidden_size=options.take("comm_feature_nums"),
        adversarial_weight=weights.take("GAN_loss") / ml,
        shared_weight=weights.take("comm_ML_loss") / ml,
        orthogonality_weight=weights.take("orthogonal_regularization") / ml,
        orthogonality=orthogonality or variant,
    )
    dims = dict(zip(views, options.take("view_dims"), strict=True))
    model = SIMM(config, dims, options.take("label_num"))
    names = parameter_names(views)
    unknown = sorted(set(case.weights) - set(names))
    if unknown:
        raise CaseError(f"{case.path}: unknown weights {', '.join(unknown)}")
    case.load_weights(model, {names[name]: x for name, x in case.weights.items()})
    return model.eval()


def gather(case: Case, model: SIMM, output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    features = output.features
    losses = output.losses
    found = {
        "shared": features["shared"],
        "final_features": seen.inputs["classifier"][0],
        "logits": output.logits,
        "loss.ml": losses["classification"],
        "loss.adversarial": losses["adversarial"],
        "loss.shared_ml": losses["shared_classification"],
        "loss.orthogonal": losses["orthogonality"],
        "loss.total": main_weight(case) * model.total_loss(output),
        "inference.logits": output.logits,
    }
    views = views_of(case)
    for k, m in enumerate(views):
        shared = features[f"shared.{m}"]
        found[f"specific_{k}"] = features[f"specific.{m}"]
        found[f"shared_{k}"] = shared
        found[f"shared_in_{k}"] = seen.inputs["shared"][0][:, k]
        found[f"shared_logits_{k}"] = features[f"shared_logits.{m}"]
        logits = model.discriminator(shared)
        found[f"view_logits_{k}"] = logits
        found[f"view_ce_{k}"] = F.cross_entropy(logits, torch.full((len(logits),), k))
    shared_scores = [features[f"shared_logits.{m}"].sigmoid() for m in views]
    found["inference.shared_probabilities"] = torch.stack(shared_scores).mean(0)
    threshold = recipe("simm", "authors").threshold
    found["inference.reference_decision"] = (output.logits.sigmoid() > threshold).float()
    return found


def aside(case: Case) -> set[str]:
    """The inputs: labels and views."""
    return {"y"} | {f"view_{k}" for k in range(len(views_of(case)))}


def compare(case: Case) -> Comparison:
    """Compare one case: all recorded values, and the gradients of the total loss."""
    model = build(case)
    views = views_of(case)
    inputs = {m: case.io[f"view_{k}"].clone().requires_grad_() for k, m in enumerate(views)}
    values = {m: x[:, None] for m, x in inputs.items()}  # one step: the mean over it is itself
    masks = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    labels = case.io["y"]
    batch = Batch(values, masks, labels, [str(i) for i in range(len(labels))])
    seen = Recorder(model)
    output = model(batch, features=True)

    found: dict[str, Tensor | None] = {**gather(case, model, output, seen)}
    for theirs, ours in VARIANTS.items():
        other = build(case, ours)(batch)
        found[f"orthogonal_variant_{theirs}"] = other.losses["orthogonality"]
    (main_weight(case) * model.total_loss(output)).backward()
    for theirs, name in parameter_names(views).items():
        found[f"grad.{theirs}"] = model.get_parameter(name).grad
    for k, m in enumerate(views):
        found[f"grad.view_{k}"] = inputs[m].grad
    limits = Limits(TOLERANCE, TOLERANCE, exact=("inference.reference_decision",))
    return Comparison.of(case, found, aside(case), limits)
