"""HHMPN beside the authors' program (MANLP-suda/HHMPN): outputs, intermediates and gradients."""

import re

import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.hhmpn.config import HHMPNConfig
from emotailor.models.hhmpn.model import HHMPN
from tests.models.mult.parity import LETTERS, network_name
from tests.models.tailor.parity import Recorder
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, Comparison

READERS: dict[str, Modality] = {"l": "text", "a": "visual", "v": "audio"}
"""The program's head -> the decoder that it serves."""

ORDER: tuple[Modality, ...] = ("text", "visual", "audio")
"""Of the program's modality weights."""

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
    found = {our_name(n): w[..., 0] if w.ndim == 3 else w for n, w in weights.items()}
    for name in [n for n in found if ".memory.keys." in n]:
        keys = found.pop(name)
        values = found.pop(name.replace(".keys.", ".values."))
        found[name.replace(".keys.", ".")] = torch.cat([keys, values])
    return {n: w for n, w in found.items() if not (n.startswith("fusion.score") and "bias" in n)}


def build(case: Case) -> HHMPN:
    """Our model with their weights."""
    c = case.info["config"]
    config = HHMPNConfig.authors().replace(
        hidden_size=c["d"],
        encoder_heads=c["enc_heads"],
        encoder_layers=c["enc_layers"],
        memory_layers=c["memory_layers"],
        decoder_layers=c["dec_layers"],
        decoder_heads=c["dec_heads"],
        feedforward_size=c["ffn"],
    )
    model = HHMPN(config, {m: c[f"{m}_dim"] for m in MODALITIES}, c["num_classes"])
    model.load_state_dict(convert(case.weights))
    return model.eval()


def read_batch(io: dict[str, Tensor]) -> Batch:
    """The recorded inputs as a batch; all-zero frames are padding."""
    values = {m: io[f"input/{m}"] for m in MODALITIES}
    masks = {m: (x != 0).any(-1) for m, x in values.items()}
    labels = io["input/labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


def gather(
    model: HHMPN, output: ModelOutput, seen: Recorder, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Every recorded output, under the name it has in the case."""
    features, outputs = output.features, seen.outputs
    place = [model.modalities.index(m) for m in ORDER]
    # the constant that the program's two biases add to every score
    score = "decoder.multi_angle_fus.get_score_"
    offset = weights[f"{score}2.weight"] @ weights[f"{score}1.bias"] + weights[f"{score}2.bias"]
    found = {
        "logits": output.logits,
        "probabilities": output.logits.sigmoid(),
        "predictions": (output.logits.sigmoid() >= 0.5).float(),
        "label_score_matrix": features["label_representations"] @ model.output_vectors().T,
        "loss/bce": output.losses["classification"],
        "fusion/out": features["label_representations"],
        "fusion/weight": features["modality_weights"][..., place],
        "fusion/score": outputs["fusion.score"][..., place, 0] + offset,
    }
    for m in ORDER:
        found[f"enc/projected/{m}"] = features[f"projected.{m}"]
        found[f"enc/out_for_{m}_decoder"] = features[f"encoder.{m}"]
        found[f"enc/memory/{m}"] = features[f"memory.{m}"].transpose(0, 1)
        found[f"fusion/angle/{m}"] = outputs[f"fusion.angles.{m}"]
        for source in (x for x in ORDER if x != m):
            x, _ = outputs[f"network.cross.{m}_from_{source}"]
            found[f"enc/cross/{m}_from_{source}"] = x.transpose(0, 1)
        for i in range(len(model.decoders[m])):
            states, attention, _ = outputs[f"decoders.{m}.{i}"]
            found[f"dec/{m}/layer/{i}"] = states
            found[f"dec/{m}/attention/{i}"] = attention.transpose(0, 1).flatten(0, 1)
    return found


def gradient(model: nn.Module, name: str, like: Tensor) -> Tensor | None:
    """The gradient of one of the program's parameters, in its shape."""
    ours = our_name(name)
    stacked = ours.replace(".keys.", ".").replace(".values.", ".")
    found = model.get_parameter(stacked).grad
    if found is not None and stacked != ours:
        found = found.chunk(2)[".values." in ours]
    return None if found is None else found.reshape(like.shape)


def compare(case: Case) -> Comparison:
    """Compare one case of the whole model."""
    model = build(case)
    seen = Recorder(model)
    output = model(read_batch(case.io), features=True)
    found = gather(model, output, seen, case.weights)
    model.total_loss(output).backward()
    comparison = Comparison()
    for name, expected in case.io.items():
        kind, _, rest = name.partition("/")
        if kind == "input":
            continue
        if kind == "grad":
            ours, tolerance = gradient(model, rest, expected), GRADIENT_TOLERANCE
        else:
            ours = found.get(name)
            tolerance = 0.0 if name == "predictions" else OUTPUT_TOLERANCE
        if ours is None:
            comparison.missing(name)
        else:
            comparison.add(name, ours, expected, tolerance)
    return comparison
