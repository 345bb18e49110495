"""HHMPN beside the authors' program (MANLP-suda/HHMPN): outputs, intermediates and gradients."""

import re
from typing import Any

import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.hhmpn.config import HHMPNConfig
from emotailor.models.hhmpn.model import HHMPN
from tests.models.mult.parity import LETTERS, network_name
from tests.parity.case import Case, Comparison, Limits
from tests.parity.recorder import Recorder

READERS: dict[str, Modality] = {"l": "text", "a": "visual", "v": "audio"}
"""The program's head -> the decoder that it serves."""

ORDER: tuple[Modality, ...] = ("text", "visual", "audio")
"""The order of the program's modality weights."""

WHOLE = {
    "decoder.tgt_word_emb.": "labels.",
    "tgt_word_proj.linear.": "output.",
    "decoder.multi_angle_fus.out_put.": "fusion.output.",
    "decoder.multi_angle_fus.get_score_1.": "fusion.score.0.",
    "decoder.multi_angle_fus.get_score_2.": "fusion.score.1.",
    "decoder.multi_angle_fus.get_angle_1.": "fusion.angles.text.",
    "decoder.multi_angle_fus.get_angle_2.": "fusion.angles.visual.",
    "decoder.multi_angle_fus.get_angle_3.": "fusion.angles.audio.",
}
"""Modules under the program's names and ours; the others follow rules."""

ROUND = {
    "enc_attn.w_qs.": "from_features.queries.",
    "enc_attn.w_ks.": "from_features.memory.keys.",  # stacked with the values
    "enc_attn.w_vs.": "from_features.memory.values.",
    "enc_attn.fc.": "from_features.merge.",
    "enc_attn.layer_norm.": "from_features.norm.",
    "pos_ffn1.": "update_1.",
    "pos_ffn2.": "update_2.",
    "w_1.": "inner.",
    "w_2.": "outer.",
    "layer_norm.": "norm.",
}


def our_name(theirs: str) -> str:
    """Our name of one of the program's parameters."""
    for old, new in WHOLE.items():
        if theirs.startswith(old):
            return new + theirs.removeprefix(old)
    module, _, rest = theirs.removeprefix("encoder.mult.").partition(".")
    if re.fullmatch(r"trans_[lav]_(with_[lav]|mem)", module):
        return f"network.{network_name(f'{module}.{rest}')}"
    if module.startswith("align_"):
        return f"projections.{LETTERS[module[-1]]}.{rest}"
    if head := re.fullmatch(r"(?:trans|out_layer)_([lav])([12]?)", module):
        place = {"1": 0, "2": 2, "": 3}[head[2]]
        return f"heads.{READERS[head[1]]}.{place}.{rest}"
    stack, _, rest = rest.partition(".")
    for old, new in ROUND.items():
        rest = rest.replace(old, new)
    return f"decoders.{stack.removeprefix('layer_').removesuffix('_stack')}.{rest}"


def convert(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their parameters under our names: kernel-1 convolutions as maps, keys and values stacked."""
    found: dict[str, Tensor] = {}
    for theirs, weight in weights.items():
        name = our_name(theirs)
        # these biases add one constant to every score, which the softmax takes away again
        if not (name.startswith("fusion.score") and name.endswith("bias")):
            found[name] = weight[..., 0] if weight.ndim == 3 else weight

    for name in [n for n in found if ".memory.keys." in n]:
        keys = found.pop(name)
        values = found.pop(name.replace(".keys.", ".values."))
        found[name.replace(".keys.", ".")] = torch.cat([keys, values])
    return found


def build(case: Case) -> HHMPN:
    """Our model with their weights."""
    options = case.options
    options.without_effect("seed", "batch", "len", "padding")
    options.only("layer_norm_eps", 1e-5, default=1e-5)
    options.only("activation", "relu", default="relu")
    options.only("embed_scale", "sqrt(d)", default="sqrt(d)")
    options.described("encoder_norm", "pre-norm with final norm", "pre-norm with final norm")
    options.described("decoder_norm", "post-norm", "post-norm")
    options.described("mask_fill", "-1e6", "-1e6")
    config = HHMPNConfig.authors().replace(
        hidden_size=options.take("d"),
        encoder_heads=options.take("enc_heads"),
        encoder_layers=options.take("enc_layers"),
        memory_layers=options.take("memory_layers", max(options.take("enc_layers"), 3)),
        decoder_layers=options.take("dec_layers"),
        decoder_heads=options.take("dec_heads"),
        feedforward_size=options.take("ffn"),
        future_mask=options.only("causal_mask_in_encoder", True, False, default=True),
        score_size=len(case.weights["decoder.multi_angle_fus.get_score_1.weight"]),
    )
    dims = {m: options.take(f"{m}_dim") for m in MODALITIES}
    model = HHMPN(config, dims, options.take("num_classes"))
    case.load_weights(model, convert(case.weights))
    return model.eval()


def read_batch(io: dict[str, Tensor]) -> Batch:
    """The recorded inputs as a batch; all-zero frames are padding."""
    values = {m: io[f"input/{m}"] for m in MODALITIES}
    masks = {m: (x != 0).any(-1) for m, x in values.items()}
    labels = io["input/labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


def decide(case: Case, probabilities: Tensor) -> Tensor:
    """The program's decisions."""
    threshold = case.options.take("threshold", 0.5)
    rule = case.options.only(
        "threshold_rule", "greater or equal", "strictly greater", default="greater or equal"
    )
    decided = probabilities >= threshold
    if rule == "strictly greater":
        decided = probabilities > threshold
    return decided.float()


def gather(case: Case, model: HHMPN, output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded output, under the name it has in the case."""
    features = output.features
    place = [model.modalities.index(m) for m in ORDER]
    # the constant that the program's two biases add to every score
    score = "decoder.multi_angle_fus.get_score_"
    last = case.weights[f"{score}2.weight"]
    offset = last @ case.weights[f"{score}1.bias"] + case.weights[f"{score}2.bias"]
    probabilities = output.logits.sigmoid()
    found = {
        "logits": output.logits,
        "probabilities": probabilities,
        "predictions": decide(case, probabilities),
        "label_score_matrix": features["label_representations"] @ model.output_vectors().T,
        "loss/bce": output.losses["classification"],
        "fusion/out": features["label_representations"],
        "fusion/weight": features["modality_weights"][..., place],
        "fusion/score": seen.outputs["fusion.score"][..., place, 0] + offset,
    }
    for m in ORDER:
        found[f"enc/projected/{m}"] = features[f"projected.{m}"]
        found[f"enc/out_for_{m}_decoder"] = features[f"encoder.{m}"]
        found[f"enc/memory/{m}"] = features[f"memory.{m}"].transpose(0, 1)
        found[f"fusion/angle/{m}"] = seen.outputs[f"fusion.angles.{m}"]
        for source in (x for x in ORDER if x != m):
            x, _ = seen.outputs[f"network.cross.{m}_from_{source}"]
            found[f"enc/cross/{m}_from_{source}"] = x.transpose(0, 1)
        decoder: Any = model.decoders[m]
        for i in range(len(decoder)):
            states, attention, _ = seen.outputs[f"decoders.{m}.{i}"]
            found[f"dec/{m}/layer/{i}"] = states
            found[f"dec/{m}/attention/{i}"] = attention.transpose(0, 1).flatten(0, 1)
    return found


def gradient(model: nn.Module, name: str, like: Tensor) -> Tensor | None:
    """The gradient of one of the program's parameters, in its shape."""
    ours = our_name(name)
    stacked = ours.replace(".keys.", ".").replace(".values.", ".")
    found = model.get_parameter(stacked).grad
    if found is None:
        return None
    if stacked != ours:
        keys, values = found.chunk(2)
        found = values if ".values." in ours else keys
    return found.reshape(like.shape)


def aside(case: Case) -> set[str]:
    """The inputs."""
    return {name for name in case.io if name.startswith("input/")}


def compare(case: Case) -> Comparison:
    """Compare one case of the whole model."""
    model = build(case)
    seen = Recorder(model)
    output = model(read_batch(case.io), features=True)
    found: dict[str, Tensor | None] = {**gather(case, model, output, seen)}
    model.total_loss(output).backward()
    for name, expected in case.io.items():
        if name.startswith("grad/"):
            found[name] = gradient(model, name.removeprefix("grad/"), expected)
    return Comparison.of(case, found, aside(case), Limits(exact=("predictions",)))
