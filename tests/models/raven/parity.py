"""RAVEN beside the authors' program (victorywys/RAVEN)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.sample import Modality
from emotailor.models.raven.config import RAVENConfig
from emotailor.models.raven.model import RAVEN
from tests.models.tailor.parity import Recorder
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, Comparison

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
    c = case.info["config"]
    config = RAVENConfig.authors().replace(
        cell_size=c["cellDim"],
        hidden_size=c["hiddenDim"],
        layers=c["layer"],
        shift_weight=c["shift_weight"],
        dropout=c["dropProb"],
        frame_size=c["normDim"],
        max_frames=20,
        max_words=c["padding_len"],
        detach_shift=detach_shift,
    )
    dims: dict[Modality, int]
    dims = {"visual": c["facetDim"], "audio": c["covarepDim"], "text": c["wordDim"]}
    model = RAVEN(config, dims, c["num_outputs"])
    names = parameter_names(c["layer"])
    assert set(case.weights) - UNUSED == set(names)
    model.load_state_dict({ours: exchange(n, case.weights[n]) for n, ours in names.items()})
    return model.eval()


def word_states(model: RAVEN, words: Tensor) -> list[Tensor]:
    """The states of each layer of the word-level LSTM, one layer after the other."""
    found, words = [], words.transpose(0, 1)
    for layer in model.lstm.ahead:
        words = layer(words)[0]
        found.append(words.transpose(0, 1))
    return found


def run(case: Case, *, detach_shift: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All recorded values and gradients that we have."""
    io = case.io
    model = build(case, detach_shift=detach_shift)
    words = io["in.words"].clone().requires_grad_()
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
    names = parameter_names(model.config.layers)
    wanted = {n: model.get_parameter(ours) for n, ours in names.items()} | {"in.words": words}
    scalar = (logits * io["aux.R"]).sum()
    computed = torch.autograd.grad(scalar, list(wanted.values()), allow_unused=True)
    gradients = {
        n: exchange(n, g) for n, g in zip(wanted, computed, strict=True) if g is not None
    }  # what gets no gradient is left out
    return found, gradients


def compare(case: Case) -> Comparison:
    """Compare values, both families of gradients, and which parameters get none."""
    comparison = Comparison()
    found, gradients = {}, {}
    for family, detached in FAMILIES.items():
        found, gradients[family] = run(case, detach_shift=detached)
    for name, expected in case.io.items():
        if name.startswith(("in.", "aux.")):
            continue
        family = next((f for f in FAMILIES if name.startswith(f)), "")
        gradient = gradients.get(family, {}).get(name.removeprefix(family))
        if gradient is not None:
            comparison.add(name, gradient, expected, GRADIENT_TOLERANCE)
        elif name in found:
            comparison.add(name, found[name], expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    for family in FAMILIES:
        recorded = set(case.info["notes"][f"no_gradient_{family.split('.')[1]}"]) - UNUSED
        ours = set(parameter_names(case.info["config"]["layer"])) - set(gradients[family])
        same = torch.tensor(float(recorded == ours))
        comparison.add(f"{family}none", same, torch.ones(()), 0.0)
    return comparison
