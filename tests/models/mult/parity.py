"""MulT beside the authors' program (yaohungt/Multimodal-Transformer): outputs and gradients."""

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.mult.config import MulTConfig
from emotailor.models.mult.model import MulT
from emotailor.nn.cross_attention import embed
from tests.models.alignment import parity as ctc
from tests.models.tailor.parity import Recorder
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, Comparison

LETTERS: dict[str, Modality] = {"l": "text", "a": "audio", "v": "visual"}
INPUTS: dict[Modality, str] = {"text": "text", "audio": "audio", "visual": "vision"}
LAYER = {
    "self_attn.in_proj_": "attention.in_proj.",
    "self_attn.out_proj.": "attention.out_proj.",
    "layer_norms.0.": "attention_norm.",
    "layer_norms.1.": "feedforward_norm.",
    "layer_norm.": "norm.",
    "fc1.": "inner.",
    "fc2.": "outer.",
}
"""Parts of a Transformer under the program's names and ours."""


def transformer_name(theirs: str) -> str:
    """``trans_l_with_a`` -> ``cross.text_from_audio``, ``trans_l_mem`` -> ``memories.text``."""
    found = re.fullmatch(r"trans_([lav])_(?:with_([lav])|mem)", theirs)
    assert found, theirs
    target, source = LETTERS[found[1]], LETTERS.get(found[2])
    return f"memories.{target}" if source is None else f"cross.{target}_from_{source}"


def network_name(theirs: str) -> str:
    """The name in a ``CrossModalNetwork`` of a parameter ``trans_X_with_Y...``, ``trans_X_mem``."""
    module, _, rest = theirs.partition(".")
    for old, new in LAYER.items():
        rest = rest.replace(old, new)
    return f"{transformer_name(module)}.{rest}"


def our_name(theirs: str) -> str:
    """Our name of one of the program's parameters."""
    if theirs.startswith("trans_"):
        return f"network.{network_name(theirs)}"
    if theirs.startswith("proj_"):
        return f"projections.{LETTERS[theirs[5]]}.conv.weight"
    module, _, rest = theirs.partition(".")
    return {"proj1": "block.0.", "proj2": "block.3.", "out_layer": "classifier."}[module] + rest


def build(case: Case) -> MulT:
    """Our model with their weights."""
    c = case.info["config"]
    config = MulTConfig.authors().replace(
        hidden_size=c["d"],
        heads=c["num_heads"],
        layers=c["layers"],
        memory_layers=max(c["layers"], 3),
        future_mask=c["attn_mask"],
        # cases with masks expect each sample's own true lengths
        attend_to_padding="in.mask_text" not in case.io,
    )
    dims = {m: c[f"orig_d_{letter}"] for letter, m in LETTERS.items()}
    model = MulT(config, dims, c["output_dim"])
    state = {our_name(name): weight for name, weight in case.weights.items()}
    if c["orig_d_a"] == c["d"]:
        del state["projections.audio.conv.weight"]  # there and unused
    model.load_state_dict(state)
    return model.eval()


def read_batch(io: dict[str, Tensor]) -> Batch:
    """The recorded inputs as a batch; without recorded masks, every frame is real."""
    values = {m: io[f"in.{name}"].clone().requires_grad_() for m, name in INPUTS.items()}
    whole = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    masks = {m: io.get(f"in.mask_{name}", whole[m]) for m, name in INPUTS.items()}
    labels = io["in.labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


def gather(model: MulT, batch: Batch) -> dict[str, Tensor]:
    """Every recorded output, under the name it has in the case."""
    logits = model(batch).logits  # computes less than with features
    seen = Recorder(model)
    output = model(batch, features=True)
    assert batch.labels is not None
    found = {
        "out.logits": logits,
        "out.last_hs": output.features["summary"],
        "loss.bce_mean": output.losses["classification"],
        "loss.l1_mean": F.l1_loss(logits, batch.labels),
    }
    for letter, m in LETTERS.items():
        found[f"mid.proj_{letter}"] = output.features[f"projected.{m}"].mT
        for other in LETTERS:
            name = f"trans_{letter}_with_{other}" if other != letter else f"trans_{letter}_mem"
            x, _ = seen.outputs[f"network.{transformer_name(name)}"]
            found[f"mid.{name}"] = x.transpose(0, 1)
    first = "network.cross.text_from_audio.layers.0"
    read, weights = seen.outputs[f"{first}.attention"]
    found["mid.trans_l_with_a.layers.0.self_attn.0"] = read.transpose(0, 1)
    found["mid.trans_l_with_a.layers.0.self_attn.1"] = weights.mean(1)
    found["mid.trans_l_with_a.layers.0"] = seen.outputs[first][0].transpose(0, 1)
    for kind, m in (("query", "text"), ("key", "audio")):
        x = output.features[f"projected.{m}"]
        places = embed(x, torch.ones_like(x[..., 0], dtype=torch.bool), zero_frames=True)
        found[f"mid.trans_l_with_a.pos_{kind}"] = places - x.shape[-1] ** 0.5 * x
    return found


def gradients(model: MulT, batch: Batch, loss: Tensor) -> dict[str, Tensor]:
    """Gradients under our parameter names, and of the inputs under ``in.``."""
    wanted = dict(model.named_parameters())
    wanted |= {f"in.{name}": batch.values[m] for m, name in INPUTS.items()}  # type: ignore[misc]
    found = torch.autograd.grad(loss, list(wanted.values()), retain_graph=True)
    return dict(zip(wanted, found, strict=True))


def compare_alignment(case: Case) -> Comparison:
    """The CTC alignment module: its output, its loss and the gradients of both."""
    ours = ctc.Measured(case, case.io["in.x"])
    assert ours.aligned.loss is not None
    loss = ours.aligned.loss
    found = {
        "out.aligned": ours.aligned.values,
        "out.position_activations": ours.activations,
        "loss.ctc_per_sample": loss,
        "loss.ctc_sum": loss.sum(),
    }
    scalars = {"linear": (ours.aligned.values * case.io["aux.R"]).sum(), "ctc_sum": loss.sum()}
    comparison = Comparison()
    for name, expected in case.io.items():
        kind, _, rest = name.partition(".")
        if kind in ("in", "aux"):
            continue
        if kind == "grad":
            scalar, _, parameter = rest.partition(".")
            gradient = ours.gradient(scalars[scalar], parameter.removeprefix("in."))
            comparison.add(name, gradient, expected, GRADIENT_TOLERANCE)
        elif name == "mid.position_prob":  # all but the blank's
            weights = ours.aligned.weights.mT
            comparison.add(name, weights, expected[..., 1:], OUTPUT_TOLERANCE)
        elif name in found:
            comparison.add(name, found[name], expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    return comparison


def compare(case: Case) -> Comparison:
    """Compare one case: the whole model, or the alignment module in front of other systems."""
    if case.info["config"]["kind"] == "ctc":
        return compare_alignment(case)
    model, batch = build(case), read_batch(case.io)
    found = gather(model, batch)
    by_loss = {
        "linear": gradients(model, batch, (found["out.logits"] * case.io["aux.R"]).sum()),
        "bce": gradients(model, batch, found["loss.bce_mean"]),
    }
    comparison = Comparison()
    for name, expected in case.io.items():
        kind, _, rest = name.partition(".")
        if kind in ("in", "aux"):
            continue
        if kind == "grad":
            loss, _, parameter = rest.partition(".")
            ours = parameter if parameter.startswith("in.") else our_name(parameter)
            comparison.add(name, by_loss[loss][ours], expected, GRADIENT_TOLERANCE)
        elif name in found:
            comparison.add(name, found[name], expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    return comparison
