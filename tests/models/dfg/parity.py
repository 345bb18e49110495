"""DFG beside the authors' graph (CMU-MultimodalSDK) and MMSA's Graph-MFN."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.dfg.config import DFGConfig
from emotailor.models.dfg.model import DFG, VERTEX_ORDER, DynamicFusionGraph
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, Comparison

LETTERS = {"text": "l", "audio": "a", "visual": "v"}
INPUTS: dict[Modality, str] = {"text": "in.text", "audio": "in.audio", "visual": "in.video"}
SETS = {"0_1": "text_audio", "0_2": "text_visual", "1_2": "audio_visual",
        "0_1_2": "text_audio_visual"}  # fmt: skip


def graph_names(prefix: str = "") -> dict[str, str]:
    """Theirs -> ours, of the fusion graph."""
    names = {}
    for suffix in ("weight", "bias"):
        pairs = {"t_network": "networks.summary"}
        pairs |= {f"networks.{k}": f"networks.{ours}" for k, ours in SETS.items()}
        for theirs, ours in pairs.items():
            names[f"{theirs}.0.{suffix}"] = f"{ours}.0.{suffix}"
            names[f"{theirs}.1.0.{suffix}"] = f"{ours}.2.{suffix}"
        for theirs, k in (("0", 0), ("1.0", 2), ("2", 4)):
            names[f"efficacy_model.{theirs}.{suffix}"] = f"efficacy_network.{k}.{suffix}"
    if prefix:
        names = {f"graph_mfn.{theirs}": f"{prefix}{ours}" for theirs, ours in names.items()}
    return names


def model_names() -> dict[str, str]:
    """Theirs -> ours, of the whole network."""
    names = graph_names("graph.")
    for m, letter in LETTERS.items():
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"lstm_{letter}.{part}"] = f"lstms.{m}.ahead.0.{part}_l0"
    for suffix in ("weight", "bias"):
        names |= {f"{c}_transform.{suffix}": f"unimodal.{m}.{suffix}" for m, c in LETTERS.items()}
        pairs = {"gamma1_fc1": "memory.retain_hidden", "gamma1_fc2": "memory.retain"}
        pairs |= {"gamma2_fc1": "memory.update_hidden", "gamma2_fc2": "memory.update"}
        pairs |= {"att2_fc1": "memory.candidate.0", "att2_fc2": "memory.candidate.3"}
        pairs |= {"out_fc1": "classifier.0", "out_fc2": "classifier.3"}
        names |= {f"{theirs}.{suffix}": f"{ours}.{suffix}" for theirs, ours in pairs.items()}
    return names


def load(model: nn.Module, case: Case, names: dict[str, str]) -> None:
    """Copy all of their weights."""
    assert set(case.weights) == set(names)
    model.load_state_dict({names[name]: tensor for name, tensor in case.weights.items()})
    model.eval()


def compare_found(
    case: Case, found: dict[str, Tensor], scalar: Tensor, wanted: dict[str, Tensor]
) -> Comparison:
    """Compare all recorded tensors; gradients of the scalar with respect to ``wanted``."""
    computed = torch.autograd.grad(scalar, list(wanted.values()))
    gradients = dict(zip(wanted, computed, strict=True))
    comparison = Comparison()
    for name, expected in case.io.items():
        if name.startswith(("in.", "aux.")):
            continue
        gradient = gradients.get(name.removeprefix("grad.linear."))
        if name.startswith("grad.linear.") and gradient is not None:
            comparison.add(name, gradient, expected, GRADIENT_TOLERANCE)
        elif name in found:
            comparison.add(name, found[name], expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    return comparison


def compare_graph(case: Case) -> Comparison:
    """The fusion graph alone."""
    c, io = case.info["config"], case.io
    sizes: dict[str, int] = dict(zip(VERTEX_ORDER, c["in_dimensions"], strict=True))
    graph = DynamicFusionGraph(
        sizes,
        c["out_dimension"],
        c["pattern_hidden"],
        (c["efficacy_hidden"], c["efficacy_out"]),
        efficacy="linear",
        activation="none",
    )
    names = graph_names()
    load(graph, case, names)
    inputs = {f"in.modality_{k}": io[f"in.modality_{k}"].requires_grad_() for k in range(3)}
    state = graph(list(inputs.values()))
    found = {f"out.node_{k}": state.vertices[ours] for k, ours in SETS.items()}
    found |= {"out.t": state.summary, "out.efficacies": state.efficacies}
    scalar = (state.summary * io["aux.R"]).sum() + (state.efficacies * io["aux.R_eff"]).sum()
    parameters = {theirs: graph.get_parameter(ours) for theirs, ours in names.items()}
    return compare_found(case, found, scalar, inputs | parameters)


def compare(case: Case) -> Comparison:
    """Compare one case: the graph alone, or the whole network."""
    c, io = case.info["config"], case.io
    if c["kind"] == "dfg":
        return compare_graph(case)
    text, audio, visual = c["hidden_dims"]
    config = DFGConfig.authors().replace(
        text_size=text,
        audio_size=audio,
        visual_size=visual,
        vertex_size=c["inner_node_dim"],
        memory_size=c["memsize"],
        candidate_hidden=c["NNConfig"]["shapes"],
        retain_hidden=c["gamma1Config"]["shapes"],
        update_hidden=c["gamma2Config"]["shapes"],
        classifier_hidden=c["outConfig"]["shapes"],
    )
    dims = dict(zip(VERTEX_ORDER, c["feature_dims"], strict=True))
    names = model_names()
    model = DFG(config, dims, c["num_classes"])
    load(model, case, names)
    values = {m: io[name].requires_grad_() for m, name in INPUTS.items()}
    shape = values["text"].shape[:2]
    mask = io.get("in.mask", torch.ones(shape, dtype=torch.bool))
    batch = Batch(values, dict.fromkeys(values, mask), io["in.labels"], ["x"] * shape[0])
    output = model(batch, features=True)
    features = output.features
    found = {f"mid.node_{k}": features[f"vertex.{ours}"] for k, ours in SETS.items()}
    found |= {f"mid.singleton_{c}": features[f"vertex.{m}"] for m, c in LETTERS.items()}
    found |= {
        "out.logits": output.logits,
        "mid.efficacies": features["efficacies"],
        "mid.t_output": features["summary"],
        "mid.c_hat": features["candidate"],
        "mid.gamma1": features["retain_gate"],
        "mid.gamma2": features["update_gate"],
        "mid.mem": features["memory"],
        "mid.mem_last": features["memory"][:, -1],
        "mid.last_hs": features["representation"],
        "loss.bce_mean": output.losses["classification"],
        "loss.l1_mean": F.l1_loss(output.logits, io["in.labels"]),
    }
    scalar = (output.logits * io["aux.R"]).sum()
    wanted = {theirs: model.get_parameter(ours) for theirs, ours in names.items()}
    wanted |= {INPUTS[m]: x for m, x in values.items()}
    return compare_found(case, found, scalar, wanted)
