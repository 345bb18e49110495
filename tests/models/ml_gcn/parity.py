"""ML-GCN beside the authors' program (chenzhaomin123/ML_GCN): graph, outputs, loss, gradients."""

import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.models.base import LabelStatistics
from emotailor.models.ml_gcn.config import MLGCNConfig
from emotailor.models.ml_gcn.model import MLGCN, conditional_frequencies
from tests.models.tailor.parity import Recorder
from tests.parity.case import GRADIENT_TOLERANCE, Case, Comparison

TOLERANCE = 1e-5
GRAPH_TOLERANCE = 1e-6

GRAPH = ("conditional", "A", "adjacency")
LAYERS = {"gc1.weight": "first", "gc2.weight": "second"}


class Given(nn.Module):
    """Stands for the encoder, as the recorded feature map stands for the program's."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None, None]:
        return x, None, None


def build(case: Case) -> MLGCN:
    """Our model with their weights, prepared with their label counts."""
    c, io = case.info["config"], case.io
    ratio = c["p_offdiagonal"]
    config = MLGCNConfig.authors().replace(
        feature_size=c["feature_dim"],
        graph_size=c["gcn_hidden"],
        slope=c["leaky_relu_slope"],
        threshold=c["t"],
        neighbour_share=ratio / (1 + ratio),
        train_label_vectors=True,  # so that the recorded gradient can be compared
    )
    count = c["num_classes"]
    model = MLGCN(config, {"visual": c["feature_dim"]}, count)
    together = (io["cooccurrence"] + torch.diag(io["counts"])).float()
    names = [f"label {i}" for i in range(count)]
    model.prepare(LabelStatistics(names, 0, together, io["label_embedding"]))
    with torch.no_grad():
        for theirs, ours in LAYERS.items():
            model.get_parameter(f"{ours}.weight").copy_(case.weights[theirs].T)
    model.encoder = Given()  # type: ignore[assignment]
    return model.eval()


def compare(case: Case) -> Comparison:
    """Build the graph from the recorded counts, then run with the recorded matrix ``A``."""
    model, io = build(case), case.io
    comparison = Comparison()
    comparison.add("A (weights)", model.correlation, case.weights["A"], GRAPH_TOLERANCE)
    together = (io["cooccurrence"] + torch.diag(io["counts"])).float()
    found: dict[str, Tensor] = {
        "conditional": conditional_frequencies(together),
        "binary": model.edges.float(),
        "A": model.correlation.clone(),
    }
    model.load_state_dict({**model.state_dict(), "correlation": case.weights["A"]})

    feature_map = io["feature_map"].clone().requires_grad_(True)
    steps = feature_map.flatten(2).transpose(1, 2)  # positions of the map are steps
    mask = torch.ones(steps.shape[:2], dtype=torch.bool)
    batch = Batch({"visual": steps}, {"visual": mask}, io["y"], [str(i) for i in range(len(steps))])
    seen = Recorder(model)
    output = model(batch, features=True)
    found |= {
        "adjacency": output.features["label_graph"],
        "pooled": output.features["pooled.visual"],
        "gcn1": seen.inputs["activation"][0],
        "gcn1_activated": seen.outputs["activation"],
        "classifiers": output.features["label_classifiers"],
        "logits": output.logits,
        "loss": output.losses["classification"],
        "predictions": (output.logits >= 0).float(),
    }
    output.losses["classification"].backward()
    gradients = {
        "grad.feature_map": feature_map.grad,
        "grad.label_embedding": model.labels.weight.grad,
        "grad.gc1.weight": model.first.weight.grad,
        "grad.gc2.weight": model.second.weight.grad,
    }
    for name, expected in io.items():
        if name in ("counts", "cooccurrence", "label_embedding", "feature_map", "y"):
            continue
        if name in gradients:
            ours = gradients[name]
            assert ours is not None
            ours = ours.T if "gc" in name else ours
            comparison.add(name, ours, expected, GRADIENT_TOLERANCE)
        elif name in found:
            exact = name in ("binary", "predictions")
            limit = 0.0 if exact else GRAPH_TOLERANCE if name in GRAPH else TOLERANCE
            comparison.add(name, found[name], expected, limit)
        else:
            comparison.missing(name)
    return comparison
