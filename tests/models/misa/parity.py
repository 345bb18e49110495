"""MISA beside the authors' program: vectors, logits, losses, gradients of total and terms."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.misa.config import MISAConfig
from emotailor.models.misa.model import MISA
from emotailor.models.misa.similarity import central_moments, moment_distance
from tests.parity.case import Case, CaseError, Comparison, Limits
from tests.parity.recorder import Recorder
from tests.parity.recurrent import block_name

LETTERS: dict[Modality, str] = {"visual": "v", "audio": "a", "text": "t"}
SIZES: dict[Modality, str] = {
    "visual": "visual_size",
    "audio": "acoustic_size",
    "text": "embedding_size",
}
CLASSES = [MODALITIES.index(m) for m in ("text", "visual", "audio")]  # theirs: t, v, a
TOKENS = [k + 3 * half for half in (1, 0) for k in CLASSES]  # theirs: private t v a, shared t v a
INPUTS = (
    "in.sentences",
    "in.visual",
    "in.acoustic",
    "in.lengths",
    "in.labels",
    "aux.R",
    "mid.text_embedded",
)
ACTIVATIONS = {
    "elu": "elu",
    "hardshrink": "hardshrink",
    "hardtanh": "hardtanh",
    "leakyrelu": "leaky_relu",
    "prelu": "prelu",
    "relu": "relu",
    "rrelu": "rrelu",
    "tanh": "tanh",
}
"""The program's name of an activation -> ours."""
UNUSED = ("embed.", "sp_discriminator.")
"""The word table, which we do not have, and a part of the program that is in no loss."""


def module_names(case: Case) -> dict[str, str]:
    """The program's module (or parameter prefix) -> ours."""
    fusion = "transformer_encoder.layers.0."
    names = {
        "shared.shared_1.": "shared.",
        "fusion.fusion_layer_1.": "head.0.",
        "fusion.fusion_layer_3.": "head.3.",
        f"{fusion}self_attn.in_proj_": "fusion.attention.attention.in_proj.",
        f"{fusion}self_attn.out_proj.": "fusion.attention.attention.out_proj.",
        f"{fusion}norm1.": "fusion.attention.norm.",
        f"{fusion}linear1.": "fusion.inner.",
        f"{fusion}linear2.": "fusion.outer.",
        f"{fusion}norm2.": "fusion.norm.",
        "discriminator.discriminator_layer_1.": "discriminator.0.",
        "discriminator.discriminator_layer_2.": "discriminator.3.",
    }
    for k, (m, x) in enumerate(LETTERS.items()):
        names |= {
            f"{x}layer_norm.": f"encoders.{m}.norm.",
            f"project_{x}.project_{x}.": f"encoders.{m}.projection.",
            f"project_{x}.project_{x}_layer_norm.": f"encoders.{m}.projection_norm.",
            f"private_{x}.private_{x}_{3 if x == 'a' else 1}.": f"private.{m}.",
            f"recon_{x}.recon_{x}_1.": f"decoders.{k}.",
        }
    return names


def is_slope(theirs: str) -> bool:
    """Whether a parameter is the slope of the program's one trained activation."""
    return "activation" in theirs


def slopes(model: MISA) -> list[Tensor]:
    """The slopes of our activations, one in each place; all of them are the program's one."""
    return [m.weight for m in model.modules() if isinstance(m, nn.PReLU)]


def renamed(case: Case) -> dict[str, str]:
    """The program's parameter -> ours, of those that we have under a name of its own."""
    prefixes = module_names(case)
    found = {}
    for theirs in case.weights:
        for prefix, ours in prefixes.items():
            if theirs.startswith(prefix) and not is_slope(theirs):
                found[theirs] = ours + theirs.removeprefix(prefix)
        for m, x in LETTERS.items():
            for number, layer in (("1", "first"), ("2", "second")):
                prefix = f"{x}rnn{number}."
                if theirs.startswith(prefix):
                    parameter = block_name(theirs.removeprefix(prefix))
                    found[theirs] = f"encoders.{m}.{layer}.{parameter}"
    return found


def reordered(name: str, x: Tensor, *, to_ours: bool) -> Tensor:
    """Exchange the program's order of tokens and classes with ours where a parameter has it."""
    tokens = sorted(range(6), key=TOKENS.__getitem__) if to_ours else TOKENS
    classes = sorted(range(3), key=CLASSES.__getitem__) if to_ours else CLASSES
    if name == "fusion.fusion_layer_1.weight":
        return x.unflatten(1, (6, -1))[:, tokens].flatten(1)
    if name.startswith("discriminator.discriminator_layer_2."):
        return x[classes]
    return x


def build(case: Case) -> MISA:
    """Our model with their weights."""
    options = case.options
    options.without_effect("dropout", "vocab")
    options.without_effect("sp_weight")  # of a loss that the program never adds
    options.only("use_bert", False, default=False)
    cmd = options.only("use_cmd_sim", True, False)
    config = MISAConfig.authors().replace(
        hidden_size=options.take("hidden_size"),
        cell=options.only("rnncell", "lstm", "gru"),
        activation=ACTIVATIONS[options.only("activation", *ACTIVATIONS)],
        feedforward_size=len(case.weights["transformer_encoder.layers.0.linear1.weight"]),
        similarity="cmd" if cmd else "adversarial",
        reversal_weight=options.take("reverse_grad_weight", 1.0),
        difference_weight=options.take("diff_weight"),
        similarity_weight=options.take("sim_weight"),
        reconstruction_weight=options.take("recon_weight"),
        layer_norm_eps=case.info.get("layer_norm_eps", 1e-5),
        utterance_norm=False,  # the cases bring features as they are
    )
    dims = {m: options.take(size) for m, size in SIZES.items()}
    model = MISA(config, dims, options.take("num_classes"))
    load(case, model)
    return model.eval()


def load(case: Case, model: MISA) -> None:
    """Give our model their weights."""
    names = renamed(case)
    unknown = sorted(
        n for n in set(case.weights) - set(names) if not n.startswith(UNUSED) and not is_slope(n)
    )
    if unknown:
        raise CaseError(f"{case.path}: unknown weights {', '.join(unknown)}")
    state = {ours: reordered(n, case.weights[n], to_ours=True) for n, ours in names.items()}
    slope = next((x for n, x in case.weights.items() if is_slope(n)), None)
    if slope is not None:
        places = [n for n, m in model.named_modules() if isinstance(m, nn.PReLU)]
        state |= {f"{place}.weight": slope.view(1) for place in places}
    case.load_weights(model, state)


def read_batch(case: Case, words: Tensor, visual: Tensor) -> Batch:
    """The recorded inputs, batch first, words embedded by the program's table."""
    embedded = F.embedding(case.io["in.sentences"], words)
    by_name = {"visual": visual, "audio": case.io["in.acoustic"], "text": embedded}
    values = {m: by_name[m].transpose(0, 1) for m in MODALITIES}
    masks = dict.fromkeys(MODALITIES, real_steps(case))
    labels = case.io["in.labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


def real_steps(case: Case) -> Tensor:
    """(B, T), True at the steps that are no padding; one length serves all modalities."""
    steps = torch.arange(len(case.io["in.sentences"]))
    return steps < case.io["in.lengths"][:, None]


def difference(model: MISA, left: Tensor, right: Tensor) -> Tensor:
    """The difference loss of one pair of (B, H) matrices."""
    rows = torch.ones(len(left), 1, 1, dtype=torch.bool)
    a = model._unit_rows(left[:, None], rows)[:, 0]
    b = model._unit_rows(right[:, None], rows)[:, 0]
    return (a.T @ b).square().mean()


def gather_losses(case: Case, model: MISA, output: ModelOutput) -> dict[str, Tensor]:
    """The losses, their parts and their sums."""
    losses = output.losses
    features = output.features
    mse = F.mse_loss(output.logits, case.io["in.labels"])
    total = model.total_loss(output)
    auxiliary = total - losses["classification"]
    similarity = "sim_cmd" if model.discriminator is None else "sim_adversarial"
    shared_text, shared_visual = features["shared.text"], features["shared.visual"]
    every = torch.ones(len(shared_text), dtype=torch.bool)
    moments = [
        central_moments(x, every, model.config.moments) for x in (shared_text, shared_visual)
    ]
    return {
        "loss.task_bce": losses["classification"],
        "loss.task_mse": mse,
        "loss.diff": losses["difference"],
        "loss.recon": losses["reconstruction"],
        f"loss.{similarity}": losses["similarity"],
        "loss.total_bce": total,
        "loss.total_authors_mse": mse + auxiliary,
        "loss.scalar_linear_plus_aux": (output.logits * case.io["aux.R"]).sum() + auxiliary,
        "loss.diff_private_t_shared_t": difference(model, features["private.text"], shared_text),
        "loss.diff_private_a_private_v": difference(
            model, features["private.audio"], features["private.visual"]
        ),
        "loss.cmd_shared_t_shared_v": moment_distance(*moments),
    }


def gather_text(case: Case, model: MISA, seen: Recorder) -> dict[str, Tensor]:
    """The first layer of the text's encoder; padding is not compared, but filled as theirs is."""
    real = real_steps(case)[..., None]
    states = seen.outputs["encoders.text.first"][0]
    normed = seen.outputs["encoders.text.norm"]
    # where the program has zeros after its first layer, it has the norm's bias after the norm
    bias = model.get_parameter("encoders.text.norm.bias")
    normed = torch.where(real, normed, bias)
    return {
        "mid.text_rnn1_out": (states * real).transpose(0, 1),
        "mid.text_rnn1_normed": normed.transpose(0, 1),
    }


def gather_vectors(
    case: Case, model: MISA, output: ModelOutput, seen: Recorder
) -> dict[str, Tensor]:
    """The vectors of each modality, and what the program computes from them for no loss."""
    features = output.features
    unused = "sp_discriminator.sp_discriminator_layer_1"
    weight, bias = case.weights[f"{unused}.weight"], case.weights[f"{unused}.bias"]
    found: dict[str, Tensor] = {}
    shared = []
    for m, x in LETTERS.items():
        private = features[f"private.{m}"]
        shared.append(features[f"shared.{m}"])
        found[f"mid.utterance_{x}"] = seen.inputs[f"encoders.{m}.projection"][0]
        found[f"mid.utt_{x}_orig"] = features[f"utterance.{m}"]
        found[f"mid.utt_{x}_recon"] = features[f"reconstruction.{m}"]
        found[f"mid.utt_private_{x}"] = private
        found[f"mid.utt_shared_{x}"] = shared[-1]
        found[f"mid.sp_logits_{x}"] = F.linear(private, weight, bias)
        if model.discriminator is not None:
            found[f"mid.domain_logits_{x}"] = model.discriminator(shared[-1])[:, CLASSES]
    found["mid.sp_logits_shared"] = F.linear(torch.stack(shared).mean(0), weight, bias)
    return found


def gather(case: Case, model: MISA, output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    found = {
        "out.logits": output.logits,
        "mid.fusion_hidden_pre_activation": seen.outputs["head.0"],
        "mid.transformer_out": output.features["fused"].transpose(0, 1)[TOKENS],
    }
    found |= gather_text(case, model, seen)
    found |= gather_vectors(case, model, output, seen)
    return found | gather_losses(case, model, output)


def aside(case: Case) -> set[str]:
    """The inputs, and the weights of the scalar whose gradients are recorded."""
    return set(INPUTS)


def gradient(
    model: MISA, inputs: dict[str, Tensor], names: dict[str, str], scalar: Tensor, theirs: str
) -> Tensor | None:
    """The gradient of a scalar with respect to one of the program's parameters or inputs."""
    if is_slope(theirs):
        each = torch.autograd.grad(scalar, slopes(model), retain_graph=True, allow_unused=True)
        return sum((x for x in each if x is not None), torch.zeros(()))
    if theirs in inputs:
        wanted = inputs[theirs]
    elif theirs in names:
        wanted = model.get_parameter(names[theirs])
    else:
        return None
    (found,) = torch.autograd.grad(scalar, wanted, retain_graph=True, allow_unused=True)
    return None if found is None else reordered(theirs, found, to_ours=False)


def compare(case: Case) -> Comparison:
    """Compare one case: all recorded values and gradients."""
    model = build(case)
    words = case.weights["embed.weight"].clone().requires_grad_()
    visual = case.io["in.visual"].clone().requires_grad_()
    seen = Recorder(model)
    output = model(read_batch(case, words, visual), features=True)
    found: dict[str, Tensor | None] = {**gather(case, model, output, seen)}

    scalars = {
        "linear_plus_aux": found["loss.scalar_linear_plus_aux"],
        "diff": output.losses["difference"],
        "sim": output.losses["similarity"],
        "recon": output.losses["reconstruction"],
    }
    inputs = {"embed.weight": words, "in.visual": visual}
    names = renamed(case)
    for name in case.io:
        kind, _, rest = name.partition(".")
        term, _, parameter = rest.partition(".")
        if kind == "grad" and term in scalars:
            found[name] = gradient(model, inputs, names, scalars[term], parameter)

    # a sum of terms that cancel: its difference is relative to their size
    weighted = (case.io["out.logits"] * case.io["aux.R"]).abs().sum().item()
    scales = {"loss.scalar_linear_plus_aux": weighted}
    return Comparison.of(case, found, aside(case), Limits(), scales)
