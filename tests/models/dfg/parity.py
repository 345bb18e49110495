"""DFG beside the authors' graph (CMU-MultimodalSDK) and MMSA's Graph-MFN."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.base import ModelOutput
from emotailor.models.dfg.config import DFGConfig
from emotailor.models.dfg.model import DFG, VERTEX_ORDER, DynamicFusionGraph
from tests.parity.case import Case, CaseError, Comparison, Limits

LETTERS = {"text": "l", "audio": "a", "visual": "v"}
INPUTS: dict[Modality, str] = {"text": "in.text", "audio": "in.audio", "visual": "in.video"}
KINDS = ("weight", "bias")


def joint_vertices(names: list[str]) -> dict[str, str]:
    """The program's name of each vertex of several modalities (``0_1``) -> ours."""
    found: dict[str, str] = {}
    for count in range(2, len(names) + 1):
        for chosen in combinations(range(len(names)), count):
            theirs = "_".join(str(k) for k in chosen)
            found[theirs] = "_".join(names[k] for k in chosen)
    return found


SETS = joint_vertices(list(VERTEX_ORDER))


def graph_names(sets: Mapping[str, str]) -> dict[str, str]:
    """The program's parameters of the fusion graph -> ours."""
    modules = {"t_network": "networks.summary"}
    modules |= {f"networks.{theirs}": f"networks.{ours}" for theirs, ours in sets.items()}
    layers: dict[str, str] = {}
    for theirs, ours in modules.items():
        layers[f"{theirs}.0"] = f"{ours}.0"
        layers[f"{theirs}.1.0"] = f"{ours}.2"
    layers |= {
        "efficacy_model.0": "efficacy_network.0",
        "efficacy_model.1.0": "efficacy_network.2",
        "efficacy_model.2": "efficacy_network.4",
    }
    return {f"{t}.{kind}": f"{o}.{kind}" for t, o in layers.items() for kind in KINDS}


def model_names() -> dict[str, str]:
    """The program's parameters of the whole network -> ours."""
    names = {f"graph_mfn.{t}": f"graph.{o}" for t, o in graph_names(SETS).items()}
    for m, letter in LETTERS.items():
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"lstm_{letter}.{part}"] = f"lstms.{m}.ahead.0.{part}_l0"
    layers = {f"{letter}_transform": f"unimodal.{m}" for m, letter in LETTERS.items()}
    layers |= {
        "gamma1_fc1": "memory.retain_hidden",
        "gamma1_fc2": "memory.retain",
        "gamma2_fc1": "memory.update_hidden",
        "gamma2_fc2": "memory.update",
        "att2_fc1": "memory.candidate.0",
        "att2_fc2": "memory.candidate.3",
        "out_fc1": "classifier.0",
        "out_fc2": "classifier.3",
    }
    return names | {f"{t}.{kind}": f"{o}.{kind}" for t, o in layers.items() for kind in KINDS}


def load(model: nn.Module, case: Case, names: Mapping[str, str]) -> None:
    """Copy all of their weights."""
    unknown = sorted(set(case.weights) - set(names))
    if unknown:
        raise CaseError(f"{case.path}: unknown weights {', '.join(unknown)}")
    case.load_weights(model, {names[name]: tensor for name, tensor in case.weights.items()})
    model.eval()


def aside(case: Case) -> set[str]:
    """The inputs, and the weights of the scalar whose gradients are recorded."""
    return {name for name in case.io if name.startswith(("in.", "aux."))}


def compare_found(
    case: Case, found: Mapping[str, Tensor], scalar: Tensor, wanted: Mapping[str, Tensor]
) -> Comparison:
    """Compare all recorded tensors; gradients of the scalar with respect to ``wanted``."""
    computed = torch.autograd.grad(scalar, list(wanted.values()))
    gradients = zip(wanted, computed, strict=True)
    both = {**found, **{f"grad.linear.{name}": gradient for name, gradient in gradients}}
    return Comparison.of(case, both, aside(case), Limits())


def compare_graph(case: Case) -> Comparison:
    """The fusion graph alone, of two modalities or more."""
    options = case.options
    dims = options.take("in_dimensions")
    names: list[str] = [f"m{k}" for k in range(len(dims))]
    if len(dims) == len(VERTEX_ORDER):
        names = list(VERTEX_ORDER)
    graph = DynamicFusionGraph(
        dict(zip(names, dims, strict=True)),
        options.take("out_dimension"),
        options.take("pattern_hidden"),
        (options.take("efficacy_hidden"), options.take("efficacy_out")),
        efficacy="linear",
        activation="none",
    )
    sets = joint_vertices(names)
    parameters = graph_names(sets)
    load(graph, case, parameters)

    inputs = {f"in.modality_{k}": case.io[f"in.modality_{k}"] for k in range(len(dims))}
    inputs = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    state = graph(list(inputs.values()))
    found = {f"out.node_{theirs}": state.vertices[ours] for theirs, ours in sets.items()}
    found["out.t"] = state.summary
    found["out.efficacies"] = state.efficacies
    scalar = (state.summary * case.io["aux.R"]).sum()
    scalar = scalar + (state.efficacies * case.io["aux.R_eff"]).sum()
    wanted = {theirs: graph.get_parameter(ours) for theirs, ours in parameters.items()}
    return compare_found(case, found, scalar, inputs | wanted)


def build(case: Case) -> DFG:
    """Our whole network with their weights."""
    options = case.options
    options.without_effect("per_sample")  # the case then has a mask
    options.only("train_mode", "classification", "regression", default="classification")
    options.without_effect("num_classes")  # of regression: one output
    outputs = len(case.weights["out_fc2.bias"])
    hidden: dict[str, int] = {}
    for name in ("NNConfig", "gamma1Config", "gamma2Config", "outConfig"):
        part = options.part(name)
        part.without_effect("drop")
        hidden[name] = part.take("shapes")

    text, audio, visual = options.take("hidden_dims")
    config = DFGConfig.authors().replace(
        text_size=text,
        audio_size=audio,
        visual_size=visual,
        vertex_size=options.take("inner_node_dim"),
        memory_size=options.take("memsize"),
        candidate_hidden=hidden["NNConfig"],
        retain_hidden=hidden["gamma1Config"],
        update_hidden=hidden["gamma2Config"],
        classifier_hidden=hidden["outConfig"],
    )
    dims = dict(zip(VERTEX_ORDER, options.take("feature_dims"), strict=True))
    model = DFG(config, dims, outputs)
    load(model, case, model_names())
    return model


def gather(case: Case, output: ModelOutput) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    features = output.features
    found = {f"mid.node_{k}": features[f"vertex.{ours}"] for k, ours in SETS.items()}
    for m, letter in LETTERS.items():
        found[f"mid.singleton_{letter}"] = features[f"vertex.{m}"]
    return found | {
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
        "loss.l1_mean": F.l1_loss(output.logits, case.io["in.labels"]),
    }


def compare(case: Case) -> Comparison:
    """Compare one case: the graph alone, or the whole network."""
    if case.options.only("kind", "dfg", "graph_mfn") == "dfg":
        return compare_graph(case)
    model = build(case)
    values = {m: case.io[name].clone().requires_grad_() for m, name in INPUTS.items()}
    shape = values["text"].shape[:2]
    mask = case.io.get("in.mask", torch.ones(shape, dtype=torch.bool))
    ids = [str(i) for i in range(shape[0])]
    batch = Batch(values, dict.fromkeys(values, mask), case.io["in.labels"], ids)
    output = model(batch, features=True)

    scalar = (output.logits * case.io["aux.R"]).sum()
    wanted: dict[str, Tensor] = {
        theirs: model.get_parameter(ours) for theirs, ours in model_names().items()
    }
    wanted |= {INPUTS[m]: x for m, x in values.items()}
    return compare_found(case, gather(case, output), scalar, wanted)
