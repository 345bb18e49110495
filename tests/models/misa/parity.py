"""MISA beside the authors' program: vectors, logits, losses, gradients of total and terms."""

import torch
from torch import Tensor
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.misa.config import MISAConfig
from emotailor.models.misa.model import MISA
from emotailor.models.misa.similarity import central_moments, moment_distance
from tests.models.tailor.parity import Recorder
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, Comparison
from tests.parity.recurrent import block_name

LETTERS: dict[Modality, str] = {"visual": "v", "audio": "a", "text": "t"}
SIZES: dict[Modality, str] = {
    "visual": "visual_size",
    "audio": "acoustic_size",
    "text": "embedding_size",
}
CLASSES = [MODALITIES.index(m) for m in ("text", "visual", "audio")]  # theirs: t, v, a
TOKENS = [k + 3 * half for half in (1, 0) for k in CLASSES]  # theirs: private t v a, shared t v a
INPUTS = {"in.sentences", "in.visual", "in.acoustic", "in.lengths", "in.labels", "aux.R",
          "mid.text_embedded"}  # fmt: skip


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


def renamed(case: Case) -> dict[str, str]:
    """The program's parameter -> ours, of those that we have."""
    found = {}
    for theirs in case.weights:
        for prefix, ours in module_names(case).items():
            if theirs.startswith(prefix):
                found[theirs] = ours + theirs.removeprefix(prefix)
        for m, x in LETTERS.items():
            for number, layer in (("1", "first"), ("2", "second")):
                if theirs.startswith(prefix := f"{x}rnn{number}."):
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
    c = case.info["config"]
    config = MISAConfig.authors().replace(
        hidden_size=c["hidden_size"],
        cell=c["rnncell"],
        activation={"relu": "relu", "leakyrelu": "leaky_relu"}[c["activation"]],
        dropout=c["dropout"],
        similarity="cmd" if c["use_cmd_sim"] else "adversarial",
        reversal_weight=c["reverse_grad_weight"],
        difference_weight=c["diff_weight"],
        similarity_weight=c["sim_weight"],
        reconstruction_weight=c["recon_weight"],
        layer_norm_eps=case.info["layer_norm_eps"],
        utterance_norm=False,  # the cases bring features as they are
    )
    model = MISA(config, {m: c[size] for m, size in SIZES.items()}, c["num_classes"])
    names = renamed(case)
    unused = {n for n in case.weights if n.startswith(("embed.", "sp_discriminator."))}
    assert set(names) == set(case.weights) - unused
    state = {names[n]: reordered(n, case.weights[n], to_ours=True) for n in names}
    model.load_state_dict(state)
    return model.eval()


def read_batch(case: Case, words: Tensor, visual: Tensor) -> Batch:
    """The recorded inputs, batch first, words embedded by the program's table."""
    embedded = F.embedding(case.io["in.sentences"], words)
    by_name = {"visual": visual, "audio": case.io["in.acoustic"], "text": embedded}
    values = {m: by_name[m].transpose(0, 1) for m in MODALITIES}
    steps = torch.arange(len(embedded))
    mask = steps < case.io["in.lengths"][:, None]
    labels = case.io["in.labels"]
    return Batch(
        values, dict.fromkeys(MODALITIES, mask), labels, [str(i) for i in range(len(labels))]
    )


def difference(model: MISA, left: Tensor, right: Tensor) -> Tensor:
    """The difference loss of one pair of (B, H) matrices."""
    rows = torch.ones(len(left), 1, 1, dtype=torch.bool)
    a, b = (model._unit_rows(x[:, None], rows)[:, 0] for x in (left, right))
    return (a.T @ b).square().mean()


def gather(case: Case, model: MISA, output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded value, under the name it has in the case."""
    features, losses = output.features, output.losses
    labels = case.io["in.labels"]
    task = {"bce": losses["classification"], "mse": F.mse_loss(output.logits, labels)}
    auxiliary = model.total_loss(output) - losses["classification"]
    steps = torch.arange(len(case.io["in.sentences"]))
    real = steps < case.io["in.lengths"][:, None]
    states, normed = seen.outputs["encoders.text.first"][0], seen.outputs["encoders.text.norm"]
    # where the program has zeros after its first layer, it has the norm's bias after the norm
    normed = torch.where(real[..., None], normed, model.encoders["text"].norm.bias)
    found: dict[str, Tensor] = {
        "out.logits": output.logits,
        "mid.fusion_hidden_pre_activation": seen.outputs["head.0"],
        "mid.transformer_out": features["fused"].transpose(0, 1)[TOKENS],
        "mid.text_rnn1_out": (states * real[..., None]).transpose(0, 1),
        "mid.text_rnn1_normed": normed.transpose(0, 1),
        "loss.task_bce": task["bce"],
        "loss.task_mse": task["mse"],
        "loss.diff": losses["difference"],
        "loss.recon": losses["reconstruction"],
        "loss.sim_cmd" if model.discriminator is None else "loss.sim_adversarial": losses[
            "similarity"
        ],
        "loss.total_bce": model.total_loss(output),
        "loss.total_authors_mse": task["mse"] + auxiliary,
        "loss.scalar_linear_plus_aux": (output.logits * case.io["aux.R"]).sum() + auxiliary,
    }
    private = {x: features[f"private.{m}"] for m, x in LETTERS.items()}
    shared = {x: features[f"shared.{m}"] for m, x in LETTERS.items()}
    found["loss.diff_private_t_shared_t"] = difference(model, private["t"], shared["t"])
    found["loss.diff_private_a_private_v"] = difference(model, private["a"], private["v"])
    every = torch.ones(len(labels), dtype=torch.bool)
    moments = [central_moments(shared[x], every, model.config.moments) for x in "tv"]
    found["loss.cmd_shared_t_shared_v"] = moment_distance(*moments)
    # what the program computes for no loss, from our representations
    unused = [
        case.weights[f"sp_discriminator.sp_discriminator_layer_1.{p}"] for p in ("weight", "bias")
    ]
    for m, x in LETTERS.items():
        found[f"mid.utterance_{x}"] = seen.inputs[f"encoders.{m}.projection"][0]
        found[f"mid.utt_{x}_orig"] = features[f"utterance.{m}"]
        found[f"mid.utt_{x}_recon"] = features[f"reconstruction.{m}"]
        found[f"mid.utt_private_{x}"], found[f"mid.utt_shared_{x}"] = private[x], shared[x]
        found[f"mid.sp_logits_{x}"] = F.linear(private[x], *unused)
        if model.discriminator is not None:
            found[f"mid.domain_logits_{x}"] = model.discriminator(shared[x])[:, CLASSES]
    found["mid.sp_logits_shared"] = F.linear(torch.stack(list(shared.values())).mean(0), *unused)
    return found


def compare(case: Case) -> Comparison:
    """Compare one case: all recorded values and gradients."""
    model = build(case)
    words = case.weights["embed.weight"].clone().requires_grad_()
    visual = case.io["in.visual"].clone().requires_grad_()
    seen = Recorder(model)
    output = model(read_batch(case, words, visual), features=True)
    found = gather(case, model, output, seen)
    scalars = {
        "linear_plus_aux": found["loss.scalar_linear_plus_aux"],
        "diff": output.losses["difference"],
        "sim": output.losses["similarity"],
        "recon": output.losses["reconstruction"],
    }
    inputs = {"embed.weight": words, "in.visual": visual}
    names = renamed(case)
    comparison = Comparison()
    for name, recorded in case.io.items():
        expected = recorded
        if name in INPUTS:
            continue
        kind, _, rest = name.partition(".")
        if kind == "grad":
            term, _, parameter = rest.partition(".")
            if parameter not in names and parameter not in inputs:
                comparison.missing(name)
                continue
            where = (
                inputs[parameter] if parameter in inputs else model.get_parameter(names[parameter])
            )
            (gradient,) = torch.autograd.grad(scalars[term], where, retain_graph=True)
            gradient = reordered(parameter, gradient, to_ours=False)
            comparison.add(name, gradient, expected, GRADIENT_TOLERANCE)
        elif name in found:
            ours = found[name]
            if name == "loss.scalar_linear_plus_aux":  # terms that cancel: relative to their size
                size = (case.io["out.logits"] * case.io["aux.R"]).abs().sum()
                ours, expected = torch.stack([ours, size]), torch.stack([expected, size])
            comparison.add(name, ours, expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    return comparison
