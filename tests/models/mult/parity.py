"""MulT beside the authors' program (yaohungt/Multimodal-Transformer): outputs and gradients."""

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import ModelOutput
from emotailor.models.mult.config import MulTConfig
from emotailor.models.mult.model import MulT
from emotailor.nn.cross_attention import embed
from tests.models.alignment import parity as ctc
from tests.parity.case import Case, Comparison, Limits
from tests.parity.recorder import Recorder

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

TRANSFORMERS = [
    *(f"trans_{x}_with_{y}" for x in LETTERS for y in LETTERS if x != y),
    *(f"trans_{x}_mem" for x in LETTERS),
]


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
    ours = {"proj1": "block.0", "proj2": "block.3", "out_layer": "classifier"}
    return f"{ours[module]}.{rest}"


def unused_projections(case: Case) -> list[str]:
    """The letters of the modalities that have the model's width: the program projects them not."""
    width = case.options.take("d")
    return [letter for letter in LETTERS if case.options.take(f"orig_d_{letter}") == width]


def build(case: Case) -> MulT:
    """Our model with their weights."""
    options = case.options
    options.without_effect(
        "attn_dropout",
        "attn_dropout_a",
        "attn_dropout_v",
        "relu_dropout",
        "res_dropout",
        "out_dropout",
        "embed_dropout",
        "per_sample",  # the case then has masks
    )
    for letter in LETTERS:  # the program can also build one target modality alone
        options.only(f"{letter}only", True, default=True)
    layers = options.take("layers")
    config = MulTConfig.authors().replace(
        hidden_size=options.take("d"),
        heads=options.take("num_heads"),
        layers=layers,
        memory_layers=max(layers, 3),
        future_mask=options.only("attn_mask", True, False),
        # cases with masks expect each sample's own true lengths
        attend_to_padding="in.mask_text" not in case.io,
    )
    dims = {m: options.take(f"orig_d_{letter}") for letter, m in LETTERS.items()}
    model = MulT(config, dims, options.take("output_dim"))
    unused = {f"proj_{letter}.weight" for letter in unused_projections(case)}
    state = {our_name(n): weight for n, weight in case.weights.items() if n not in unused}
    case.load_weights(model, state)
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
    for name in TRANSFORMERS:
        place = f"network.{transformer_name(name)}"
        x, _ = seen.outputs[place]
        found[f"mid.{name}"] = x.transpose(0, 1)
        found |= gather_layers(name, place, seen)
        found |= gather_positions(name, model, output)
    return found


def gather_layers(name: str, place: str, seen: Recorder) -> dict[str, Tensor]:
    """What each layer of a Transformer yields, and what its attention does."""
    found: dict[str, Tensor] = {}
    i = 0
    while f"{place}.layers.{i}" in seen.outputs:
        read, weights = seen.outputs[f"{place}.layers.{i}.attention"]
        found[f"mid.{name}.layers.{i}"] = seen.outputs[f"{place}.layers.{i}"][0].transpose(0, 1)
        found[f"mid.{name}.layers.{i}.self_attn.0"] = read.transpose(0, 1)
        if weights is not None:  # of the last layer, or of the only one
            found[f"mid.{name}.layers.{i}.self_attn.1"] = weights.mean(1)
        i += 1
    return found


def gather_positions(name: str, model: MulT, output: ModelOutput) -> dict[str, Tensor]:
    """The embeddings of the positions of queries and keys of a cross-modal Transformer."""
    letters = re.fullmatch(r"trans_([lav])_with_([lav])", name)
    if letters is None:
        return {}
    found: dict[str, Tensor] = {}
    for kind, letter in zip(("query", "key"), letters.groups(), strict=True):
        x = output.features[f"projected.{LETTERS[letter]}"]
        real = torch.ones(x.shape[:2], dtype=torch.bool)
        embedded = embed(x, real, zero_frames=model.config.zero_frame_rule)
        found[f"mid.{name}.pos_{kind}"] = embedded - x.shape[-1] ** 0.5 * x
    return found


def gradients(model: MulT, batch: Batch, loss: Tensor) -> dict[str, Tensor]:
    """Gradients under our parameter names, and of the inputs under ``in.``."""
    wanted: dict[str, Tensor] = dict(model.named_parameters())
    wanted |= {f"in.{name}": batch.values[m] for m, name in INPUTS.items()}
    found = torch.autograd.grad(loss, list(wanted.values()), retain_graph=True)
    return dict(zip(wanted, found, strict=True))


def aside(case: Case) -> set[str]:
    """The inputs, and the weights of the scalar whose gradients are recorded."""
    return {name for name in case.io if name.startswith(("in.", "aux."))}


def compare_alignment(case: Case) -> Comparison:
    """The CTC alignment module: its output, its loss and the gradients of both."""
    case.options.without_effect("in_dim", "out_seq_len")  # the weights show them
    ours = ctc.Measured(case, case.io["in.x"])
    assert ours.aligned.loss is not None
    loss = ours.aligned.loss
    # ours are those of the positions alone; with the blank they sum to 1
    positions = ours.aligned.weights.mT
    blank = 1 - positions.sum(-1, keepdim=True)
    found: dict[str, Tensor | None] = {
        "out.aligned": ours.aligned.values,
        "out.position_activations": ours.activations,
        "mid.position_prob": torch.cat([blank, positions], -1),
        "loss.ctc_per_sample": loss,
        "loss.ctc_sum": loss.sum(),
    }
    scalars = {"linear": (ours.aligned.values * case.io["aux.R"]).sum(), "ctc_sum": loss.sum()}
    for name in case.io:
        kind, _, rest = name.partition(".")
        scalar, _, parameter = rest.partition(".")
        if kind == "grad" and scalar in scalars:
            found[name] = ours.gradient(scalars[scalar], parameter.removeprefix("in."))
    return Comparison.of(case, found, aside(case), Limits())


def compare(case: Case) -> Comparison:
    """Compare one case: the whole model, or the alignment module in front of other systems."""
    if case.options.only("kind", "mult", "ctc") == "ctc":
        return compare_alignment(case)
    model = build(case)
    batch = read_batch(case.io)
    forward = gather(model, batch)
    found: dict[str, Tensor | None] = {**forward}
    scalars = {
        "bce": forward["loss.bce_mean"],
        "linear": (forward["out.logits"] * case.io["aux.R"]).sum(),
    }
    by_scalar = {name: gradients(model, batch, scalar) for name, scalar in scalars.items()}
    for name in case.io:
        kind, _, rest = name.partition(".")
        scalar, _, parameter = rest.partition(".")
        if kind == "grad" and scalar in by_scalar:
            ours = parameter if parameter.startswith("in.") else our_name(parameter)
            found[name] = by_scalar[scalar].get(ours)
    return Comparison.of(case, found, aside(case), Limits())
