"""ML-GCN beside the authors' program (chenzhaomin123/ML_GCN): graph, outputs, loss, gradients."""

import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.models.base import LabelStatistics
from emotailor.models.ml_gcn.config import MLGCNConfig
from emotailor.models.ml_gcn.model import EPSILON, MLGCN, conditional_frequencies
from tests.parity.case import Case, Comparison, Limits
from tests.parity.recorder import Recorder

TOLERANCE = 1e-5
GRAPH_TOLERANCE = 1e-6

GRAPH_LIMITS = dict.fromkeys(("conditional", "A", "adjacency"), GRAPH_TOLERANCE)
LAYERS = {"gc1.weight": "first", "gc2.weight": "second"}


class Given(nn.Module):
    """Stands for the encoder, as the recorded feature map stands for the program's."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, None, None]:
        return x, None, None


def co_occurrence(case: Case) -> Tensor:
    """How many samples hold both labels; on the diagonal, how many hold one."""
    return (case.io["cooccurrence"] + torch.diag(case.io["counts"])).float()


def build(case: Case) -> MLGCN:
    """Our model with their weights, prepared with their label counts."""
    options = case.options
    options.without_effect("seed", "batch")
    options.without_effect("label_dim")  # that of the label vectors
    options.only("epsilon", EPSILON, default=EPSILON)
    channels = options.take("feature_dim")
    ratio = options.take("p_offdiagonal")  # p / (1 - p)
    config = MLGCNConfig.authors().replace(
        feature_size=channels + channels % 2,  # ours is even; the encoder and G_2 are replaced
        graph_size=options.take("gcn_hidden"),
        slope=options.take("leaky_relu_slope"),
        threshold=options.take("t"),
        neighbour_share=ratio / (1 + ratio),
        train_label_vectors=True,  # so that the recorded gradient can be compared
    )
    count = options.take("num_classes")
    model = MLGCN(config, {"visual": channels}, count)
    model.encoder = Given()  # type: ignore[assignment]
    model.second = nn.Linear(config.graph_size, channels, bias=False)
    names = [f"label {i}" for i in range(count)]
    statistics = LabelStatistics(names, 0, co_occurrence(case), case.io["label_embedding"])
    model.prepare(statistics)
    with torch.no_grad():
        for theirs, ours in LAYERS.items():
            model.get_parameter(f"{ours}.weight").copy_(case.weights[theirs].T)
    return model.eval()


def aside(case: Case) -> set[str]:
    """The inputs: label counts, label vectors, feature maps and labels."""
    return {"counts", "cooccurrence", "label_embedding", "feature_map", "y"}


def read_batch(feature_map: Tensor, labels: Tensor) -> Batch:
    """A feature map as a sequence: its positions are steps."""
    steps = feature_map.flatten(2).transpose(1, 2)
    mask = torch.ones(steps.shape[:2], dtype=torch.bool)
    return Batch({"visual": steps}, {"visual": mask}, labels, [str(i) for i in range(len(steps))])


def compare(case: Case) -> Comparison:
    """Build the graph from the recorded counts, then run with the recorded matrix ``A``."""
    model = build(case)
    found: dict[str, Tensor | None] = {
        "conditional": conditional_frequencies(co_occurrence(case)),
        "binary": model.edges.float(),
        "A": model.correlation.clone(),
    }
    from_counts = model.correlation
    case.load_weights(model, {**model.state_dict(), "correlation": case.weights["A"]})

    feature_map = case.io["feature_map"].clone().requires_grad_()
    seen = Recorder(model)
    output = model(read_batch(feature_map, case.io["y"]), features=True)
    loss = output.losses["classification"]
    loss.backward()
    found |= {
        "adjacency": output.features["label_graph"],
        "pooled": output.features["pooled.visual"],
        "gcn1": seen.inputs["activation"][0],
        "gcn1_activated": seen.outputs["activation"],
        "classifiers": output.features["label_classifiers"],
        "logits": output.logits,
        "loss": loss,
        "predictions": (output.logits >= 0).float(),
        "grad.feature_map": feature_map.grad,
        "grad.label_embedding": model.labels.weight.grad,
    }
    for theirs, ours in LAYERS.items():
        gradient = model.get_parameter(f"{ours}.weight").grad
        found[f"grad.{theirs}"] = None if gradient is None else gradient.T
    limits = Limits(output=TOLERANCE, exact=("binary", "predictions"), named=GRAPH_LIMITS)
    comparison = Comparison.of(case, found, aside(case), limits)
    comparison.add("A (weights)", from_counts, case.weights["A"], GRAPH_TOLERANCE)
    return comparison
