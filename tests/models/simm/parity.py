"""SIMM beside the authors' program: vectors, logits, losses and their variants, gradients."""

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES
from emotailor.models.base import ModelOutput
from emotailor.models.simm.config import SIMMConfig
from emotailor.models.simm.model import SIMM
from emotailor.training.run_config import recipe
from tests.models.tailor.parity import Recorder
from tests.parity.case import Case, Comparison

TOLERANCE = 1e-5
VARIANTS = {"F": "all_pairs", "L2": "squared", "L1": "absolute"}
HEADS = {
    "fc_comm_extract": "shared",
    "fc_predictor": "classifier",
    "fc_comm_predictor": "shared_classifier",
    "discriminator": "discriminator",
}


def parameter_names() -> dict[str, str]:
    """The program's name -> ours."""
    layers = dict(HEADS)
    for k, m in enumerate(MODALITIES):
        layers[f"view_blocks.{k}.fc_private"] = f"specific.{m}"
        layers[f"view_blocks.{k}.fc_extract_comm"] = f"entry.{m}"
    return {f"{a}.{p}": f"{b}.{p}" for a, b in layers.items() for p in ("weight", "bias")}


def build(case: Case, orthogonality: str | None = None) -> SIMM:
    """Our model with their weights."""
    c = case.info["config"]
    weights = c["loss_coefficient"]
    assert weights["ML_loss"] == 1.0
    config = SIMMConfig.authors().replace(
        hidden_size=c["comm_feature_nums"],
        adversarial_weight=weights["GAN_loss"],
        shared_weight=weights["comm_ML_loss"],
        orthogonality_weight=weights["orthogonal_regularization"],
        orthogonality=orthogonality or VARIANTS[c["regularization_type"]],
    )
    model = SIMM(config, dict(zip(MODALITIES, c["view_dims"], strict=True)), c["label_num"])
    names = parameter_names()
    model.load_state_dict({names[name]: x for name, x in case.weights.items()})
    return model.eval()


def gather(case: Case, model: SIMM, output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    features, losses = output.features, output.losses
    found = {
        "shared": features["shared"],
        "final_features": seen.inputs["classifier"][0],
        "logits": output.logits,
        "loss.ml": losses["classification"],
        "loss.adversarial": losses["adversarial"],
        "loss.shared_ml": losses["shared_classification"],
        "loss.orthogonal": losses["orthogonality"],
        "loss.total": model.total_loss(output),
        "inference.logits": output.logits,
    }
    for k, m in enumerate(MODALITIES):
        found[f"specific_{k}"], found[f"shared_{k}"] = (
            features[f"specific.{m}"],
            features[f"shared.{m}"],
        )
        found[f"shared_in_{k}"] = seen.inputs["shared"][0][:, k]
        found[f"shared_logits_{k}"] = features[f"shared_logits.{m}"]
        logits = model.discriminator(features[f"shared.{m}"])
        found[f"view_logits_{k}"] = logits
        found[f"view_ce_{k}"] = F.cross_entropy(logits, torch.full((len(logits),), k))
    shared = [features[f"shared_logits.{m}"].sigmoid() for m in MODALITIES]
    found["inference.shared_probabilities"] = torch.stack(shared).mean(0)
    threshold = recipe("simm", "authors").threshold
    found["inference.reference_decision"] = (output.logits.sigmoid() > threshold).float()
    return found


def compare(case: Case) -> Comparison:
    """Compare one case: all recorded values, and the gradients of the total loss."""
    model = build(case)
    inputs = {m: case.io[f"view_{k}"].requires_grad_() for k, m in enumerate(MODALITIES)}
    values = {m: x[:, None] for m, x in inputs.items()}  # one step: the mean over it is itself
    masks = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    batch = Batch(values, masks, case.io["y"], [str(i) for i in range(len(case.io["y"]))])
    seen = Recorder(model)
    output = model(batch, features=True)
    found = gather(case, model, output, seen)
    for theirs, ours in VARIANTS.items():
        other = build(case, ours)(batch)
        found[f"orthogonal_variant_{theirs}"] = other.losses["orthogonality"]
    model.total_loss(output).backward()
    for theirs, name in parameter_names().items():
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        found[f"grad.{theirs}"] = gradient
    for k, m in enumerate(MODALITIES):
        gradient = inputs[m].grad
        assert gradient is not None
        found[f"grad.view_{k}"] = gradient
    comparison = Comparison()
    for name, expected in case.io.items():
        if name in ("y", "view_0", "view_1", "view_2"):
            continue
        if name in found:
            exact = name == "inference.reference_decision"
            comparison.add(name, found[name], expected.detach(), 0.0 if exact else TOLERANCE)
        else:
            comparison.missing(name)
    return comparison
