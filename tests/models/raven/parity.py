"""RAVEN beside the authors' program (victorywys/RAVEN)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.sample import Modality
from emotailor.models.raven.config import RAVENConfig
from emotailor.models.raven.model import RAVEN
from tests.parity.case import Case, CaseError, Comparison, Limits
from tests.parity.recorder import Recorder

THEIRS: dict[Modality, str] = {"visual": "facet", "audio": "covarep"}
PROJECTIONS: dict[Modality, str] = {"visual": "fc_rszFacet", "audio": "fc_rszcovarep"}
UNUSED = {"normFacet.weight", "normFacet.bias"}
FAMILIES = {"grad.as_released.": True, "grad.end_to_end.": False}
"""Gradients through the program as it is, and with its graph cuts removed: ``detach_shift``."""


def parameter_names(layers: int) -> dict[str, str]:
    """Theirs -> ours; ``calcAddon.weight`` reads audio before visual."""
    names = {}
    for suffix in ("weight", "bias"):
        names[f"normcovarep.{suffix}"] = f"networks.audio.norm.{suffix}"
        names[f"calcAddon.{suffix}"] = f"mixing.{suffix}"
        names[f"fc_afterLSTM.{suffix}"] = f"classifier.{suffix}"
        for m, theirs in THEIRS.items():
            names[f"{PROJECTIONS[m]}.{suffix}"] = f"networks.{m}.project.{suffix}"
            names[f"{theirs}W.{suffix}"] = f"networks.{m}.gate.{suffix}"
        for kind in ("ih", "hh"):
            part = f"{suffix}_{kind}"
            for m, theirs in THEIRS.items():
                names[f"{theirs}LSTM.{part}_l0"] = f"networks.{m}.lstm.ahead.0.{part}_l0"
            for i in range(layers):
                names[f"lstm1.layer_{i + 1}.lstm.{part}"] = f"lstm.ahead.{i}.{part}_l0"
    return names


def exchange(name: str, tensor: Tensor) -> Tensor:
    """Exchange the audio and visual columns of the mixing network."""
    return tensor.roll(tensor.shape[1] // 2, 1) if name == "calcAddon.weight" else tensor


def build(case: Case, *, detach_shift: bool) -> RAVEN:
    """Our model with their weights."""
    options = case.options
    options.only("lastState", True, default=True)  # else the program flattens all states
    options.without_effect("dropProb")
    layers = options.take("layer")
    config = RAVENConfig.authors().replace(
        cell_size=options.take("cellDim"),
        hidden_size=options.take("hiddenDim"),
        layers=layers,
        shift_weight=options.take("shift_weight"),
        frame_size=options.take("normDim"),
        max_frames=max(2, options.take("shift_padding_len")),  # 1 is a layer of another name
        max_words=options.take("padding_len"),
        detach_shift=detach_shift,
    )
    dims: dict[Modality, int] = {
        "visual": options.take("facetDim"),
        "audio": options.take("covarepDim"),
        "text": options.take("wordDim"),
    }
    model = RAVEN(config, dims, options.take("num_outputs"))
    names = parameter_names(layers)
    used = {n: x for n, x in case.weights.items() if n not in UNUSED}
    unknown = sorted(set(used) - set(names))
    if unknown:
        raise CaseError(f"{case.path}: unknown weights {', '.join(unknown)}")
    case.load_weights(model, {names[n]: exchange(n, x) for n, x in used.items()})
    return model.eval()


def aside(case: Case) -> set[str]:
    """The inputs, and the weights of the scalar whose gradients are recorded."""
    return {name for name in case.io if name.startswith(("in.", "aux."))}


def word_states(model: RAVEN, words: Tensor) -> list[Tensor]:
    """The states of each layer of the word-level LSTM, one layer after the other."""
    found = []
    states = words.transpose(0, 1)
    for layer in model.lstm.ahead:
        states = layer(states)[0]
        found.append(states.transpose(0, 1))
    return found


def gather(model: RAVEN, io: dict[str, Tensor], words: Tensor) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    mask = torch.arange(words.shape[1]) < io["in.input_lens"][:, None]
    frames = {m: io[f"in.{theirs}"] for m, theirs in THEIRS.items()}
    counts = {m: io[f"in.{theirs}_lens"] for m, theirs in THEIRS.items()}
    seen = Recorder(model)
    logits, shift, last = model.classify(words, mask, frames, counts)
    gated = [shift.gates[m] * shift.states[m] for m in ("audio", "visual")]
    found = {
        "out.logits": logits,
        "mid.covarep_batchnormed": seen.outputs["networks.audio.norm"],
        "mid.gated_states": torch.cat(gated, -1),
        "mid.shift_raw": shift.raw,
        "mid.shift": shift.added,
        "mid.words_shifted": shift.words,
        "mid.pre_classifier": last,
        "loss.bce_mean": F.binary_cross_entropy_with_logits(logits, io["in.labels"]),
        "loss.mse_mean": F.mse_loss(logits, io["in.labels"]),
    }
    for m, theirs in THEIRS.items():
        found[f"mid.{theirs}_projected"] = seen.outputs[f"networks.{m}.project"]
        found[f"mid.{theirs}_state"] = shift.states[m]
        found[f"mid.{theirs}_gate"] = shift.gates[m]
    for i, states in enumerate(word_states(model, shift.words)):
        found[f"mid.word_lstm_layer_{i + 1}"] = states
    return found


def run(case: Case, *, detach_shift: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All recorded values, and the gradients; what gets no gradient is left out."""
    model = build(case, detach_shift=detach_shift)
    words = case.io["in.words"].clone().requires_grad_()
    found = gather(model, case.io, words)

    names = parameter_names(model.config.layers)
    wanted: dict[str, Tensor] = {
        theirs: model.get_parameter(ours) for theirs, ours in names.items()
    }
    wanted["in.words"] = words
    scalar = (found["out.logits"] * case.io["aux.R"]).sum()
    computed = torch.autograd.grad(scalar, list(wanted.values()), allow_unused=True)
    gradients = {
        theirs: exchange(theirs, gradient)
        for theirs, gradient in zip(wanted, computed, strict=True)
        if gradient is not None
    }
    return found, gradients


def compare(case: Case) -> Comparison:
    """Compare values, both families of gradients, and which parameters get none."""
    found: dict[str, Tensor] = {}
    untrained: dict[str, set[str]] = {}
    for family, detached in FAMILIES.items():
        values, gradients = run(case, detach_shift=detached)
        found |= values  # the same in both families
        found |= {f"{family}{theirs}": gradient for theirs, gradient in gradients.items()}
        untrained[family] = set(case.weights) - UNUSED - set(gradients)

    comparison = Comparison.of(case, found, aside(case), Limits())
    notes = case.info.get("notes", {})
    for family, ours in untrained.items():
        recorded = notes.get(f"no_gradient_{family.split('.')[1]}")
        if recorded is not None:
            same = torch.tensor(float(set(recorded) - UNUSED == ours))
            comparison.add(f"{family}none", same, torch.ones(()), 0.0)
    return comparison
