"""LSAN beside the authors' program (EMNLP2019LSAN/LSAN): outputs, loss and gradients."""

import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.models.lsan.config import LSANConfig
from emotailor.models.lsan.model import LSAN
from tests.parity.case import GRADIENT_TOLERANCE, Case, Comparison
from tests.parity.recurrent import block_name

TOLERANCE = 1e-5

LAYERS = {
    "label_embed": "labels",
    "linear_first": "attention_inner",
    "linear_second": "attention_outer",
    "weight1": "label_fusion",
    "weight2": "self_fusion",
    "output_layer": "classifier",
}


def our_name(theirs: str) -> str:
    """Our name of a parameter of the program."""
    layer, _, rest = theirs.partition(".")
    return f"encoder.{block_name(rest)}" if layer == "lstm" else f"{LAYERS[layer]}.{rest}"


def compare(case: Case) -> Comparison:
    """Run one case without masks, as the program does, from the recorded start state."""
    c = case.info["config"]
    config = LSANConfig.authors().replace(state_size=c["lstm_hid_dim"], attention_size=c["d_a"])
    model = LSAN(config, {"text": c["emb_size"]}, c["n_classes"])
    model.load_state_dict({our_name(name): x for name, x in case.weights.items()})
    model.eval()

    io = case.io
    words = io["x"].clone().requires_grad_(True)
    mask = torch.ones(words.shape[:2], dtype=torch.bool)
    batch = Batch({"text": words}, {"text": mask}, io["y"], [str(i) for i in range(len(words))])
    output = model(batch, features=True, start=(io["h0"], io["c0"]))
    named, mean_loss = output.features, output.losses["classification"]
    loss = mean_loss / c["loss_divisor"]
    found: dict[str, Tensor] = {
        "lstm_outputs": named["encoder.text"],
        "self_attention": named["attention.text"].squeeze(1),
        "self_attended": named["documents.self"],
        "label_attention_forward": named["label_attention.forward"],
        "label_attention_backward": named["label_attention.backward"],
        "label_attended": named["documents.label"],
        "fusion_weight_label": named["label_share"],
        "fusion_weight_self": 1 - named["label_share"],
        "fused": named["documents"],
        "document": named["documents"].mean(1),
        "logits": output.logits,
        "probabilities": output.logits.sigmoid(),
        "loss_bce_mean": mean_loss,
        "loss": loss,
    }
    loss.backward()
    comparison = Comparison()
    for name, expected in io.items():
        if name in ("x", "lengths", "y", "h0", "c0"):
            continue
        if name.startswith("grad."):
            theirs = name.removeprefix("grad.")
            ours = words.grad if theirs == "x" else model.get_parameter(our_name(theirs)).grad
            assert ours is not None
            comparison.add(name, ours, expected, GRADIENT_TOLERANCE)
        elif name in found:
            comparison.add(name, found[name], expected, TOLERANCE)
        else:
            comparison.missing(name)
    return comparison
