"""LSAN beside the authors' program (EMNLP2019LSAN/LSAN): outputs, loss and gradients."""

import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.models.base import ModelOutput
from emotailor.models.lsan.config import LSANConfig
from emotailor.models.lsan.model import LSAN
from tests.parity.case import Case, Comparison, Limits
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
    if layer == "lstm":
        return f"encoder.{block_name(rest)}"
    return f"{LAYERS[layer]}.{rest}"


def aside(case: Case) -> set[str]:
    """The inputs, the start state of the LSTM among them."""
    return {"x", "lengths", "y", "h0", "c0"}


def build(case: Case) -> LSAN:
    """Our model with their weights."""
    options = case.options
    options.without_effect("seed", "batch", "max_len")
    options.without_effect("start_state")  # it is given
    config = LSANConfig.authors().replace(
        state_size=options.take("lstm_hid_dim"), attention_size=options.take("d_a")
    )
    model = LSAN(config, {"text": options.take("emb_size")}, options.take("n_classes"))
    case.load_weights(model, {our_name(name): x for name, x in case.weights.items()})
    return model.eval()


def gather(output: ModelOutput) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    features = output.features
    return {
        "lstm_outputs": features["encoder.text"],
        "self_attention": features["attention.text"].squeeze(1),
        "self_attended": features["documents.self"],
        "label_attention_forward": features["label_attention.forward"],
        "label_attention_backward": features["label_attention.backward"],
        "label_attended": features["documents.label"],
        "fusion_weight_label": features["label_share"],
        "fusion_weight_self": 1 - features["label_share"],
        "fused": features["documents"],
        "document": features["documents"].mean(1),
        "logits": output.logits,
        "probabilities": output.logits.sigmoid(),
        "loss_bce_mean": output.losses["classification"],
    }


def compare(case: Case) -> Comparison:
    """Run one case without masks, as the program does, from the recorded start state."""
    model = build(case)
    io = case.io
    words = io["x"].clone().requires_grad_()
    mask = torch.ones(words.shape[:2], dtype=torch.bool)
    batch = Batch({"text": words}, {"text": mask}, io["y"], [str(i) for i in range(len(words))])
    output = model(batch, features=True, start=(io["h0"], io["c0"]))
    found: dict[str, Tensor | None] = {**gather(output)}

    # the program divides the mean once more, by the number of samples
    loss = output.losses["classification"] / case.options.take("loss_divisor", len(words))
    loss.backward()
    found["loss"] = loss
    found["grad.x"] = words.grad
    for theirs in case.weights:
        found[f"grad.{theirs}"] = model.get_parameter(our_name(theirs)).grad
    return Comparison.of(case, found, aside(case), Limits(output=TOLERANCE))
