"""TAILOR beside the authors' program (kniter1/TAILOR): outputs, losses, gradients, optimizer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.evaluation.metrics import decide, evaluate
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import CTCAligned
from emotailor.models.base import ModelOutput
from emotailor.models.tailor.checkpoint import MODALITY_CLASSES, convert_state, entries
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.training.optimizer import build_optimizer, learning_rate
from emotailor.training.run_config import recipe
from tests.models.alignment import parity as ctc
from tests.parity.case import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Case, CaseError, Comparison
from tests.parity.recurrent import block_name

FUSIONS = {"va": 0, "vat": 1, "pc": 2}
CLASSES = [MODALITIES.index(m) for m in MODALITY_CLASSES]  # ours of their text, visual, audio
ALIGNERS: dict[Modality, str] = {
    "visual": f"v2t_ctc.{ctc.PREFIX}",
    "audio": f"a2t_ctc.{ctc.PREFIX}",
}


def compare(case: Case) -> Comparison:
    """Compare one case of any kind recorded for TAILOR."""
    component = case.info.get("component", "whole model")
    if component == "evaluation metrics":
        return compare_metrics(case)
    if component == "CTCModule":
        return compare_alignment(case)
    if component == "optimiser trajectory":
        return compare_optimizer(case)
    if component == "whole model":
        return compare_model(case)
    raise CaseError(f"{case.path}: component {component!r} is not supported yet")


def build(case: Case) -> tuple[Tailor | CTCAligned, TailorConfig]:
    """Our model with their weights, behind alignment modules where theirs is."""
    c = case.info["config"]
    config = TailorConfig.authors().replace(
        hidden_size=c["hidden_size"],
        feedforward_size=c["intermediate_size"],
        heads=c["heads"],
        **{f"{name}_layers": count for name, count in c["layers"].items()},
        max_steps=c["text_len"],  # the program's second block starts where the first ends
        layer_norm_eps=c["layer_norm_eps"],
        adversarial_weight=c["loss_weights"]["adv"],
        orthogonality_weight=c["loss_weights"]["diff"],
        common_semantics_weight=c["loss_weights"]["cml"],
        attend_to_padding=False,  # the cases bring masks of their own
    )
    dims = {"visual": c["video_dim"], "audio": c["audio_dim"], "text": c["text_dim"]}
    model = Tailor(config, dims, c["num_classes"])
    inner = {name: x for name, x in case.weights.items() if "_ctc." not in name}
    model.load_state_dict(convert_state(inner, config))
    if c["aligned"]:
        return model.eval(), config
    settings = AlignmentConfig.authors().replace(
        target_steps=c["text_len"], weight=c["loss_weights"]["ctc"]
    )
    wrapped = CTCAligned(settings, model)
    for m, prefix in ALIGNERS.items():
        module = ctc.build(case.weights, prefix, frames="first", positions="all")
        wrapped.aligners[m].load_state_dict(module.state_dict())
    return wrapped.eval(), config


def read_batch(io: dict[str, Tensor], prefix: str = "") -> Batch:
    """The recorded inputs as a batch."""
    values = {m: io[f"{prefix}input/{m}"] for m in MODALITIES}
    masks = {m: io[f"{prefix}input/{m}_mask"].bool() for m in MODALITIES}
    for m, x in values.items():  # recorded for the steps after the alignment, and all ones
        if x.shape[1] != masks[m].shape[1]:
            assert masks[m].all()
            masks[m] = torch.ones(x.shape[:2], dtype=torch.bool)
    labels = io[f"{prefix}input/labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


class Recorder:
    """Keeps the inputs and outputs of named modules of one forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, Any] = {}
        for name, module in model.named_modules():
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.inputs[name], self.outputs[name] = inputs, output

        return hook


def system_of(model: Tailor | CTCAligned) -> Tailor:
    """TAILOR itself, without what may be before it."""
    found = model.model if isinstance(model, CTCAligned) else model
    assert isinstance(found, Tailor)
    return found


def gather_alignment(
    model: CTCAligned, case: Case, batch: Batch, output: ModelOutput, seen: Recorder
) -> dict[str, Tensor]:
    """What is recorded of the alignment modules and their losses."""
    found = {"loss/ctc": output.losses["ctc"]}
    for m, prefix in ALIGNERS.items():
        normed = seen.outputs[f"norms.{m}"]
        found[f"norm/{m}"] = normed
        found[f"ctc/raw_lstm/{m}"] = seen.outputs[f"aligners.{m}.lstm"][0]
        found[f"ctc/pseudo_aligned/{m}"] = seen.outputs[f"aligners.{m}"].values
        found[f"loss/ctc/{m}"] = output.features[f"loss.ctc.{m}"]
        every = ctc.build(case.weights, prefix)(normed, batch.masks[m], model.target_lengths(batch))
        found[f"loss/ctc_full_length/{m}"] = every.loss.sum()
    return found


def gather(model: Tailor, output: ModelOutput, seen: Recorder, size: int) -> dict[str, Tensor]:
    """Every recorded intermediate, under the name it has in the case."""
    found: dict[str, Tensor] = {}
    features, outputs = output.features, seen.outputs
    for m in MODALITIES:
        found[f"norm/{m}"] = outputs.get(f"input_norms.{m}")
        found[f"embed/{m}"] = outputs[f"encoders.{m}.embedding"]
        for i in range(len(model.encoders[m].layers)):
            found[f"encoder_layer/{m}/{i}"] = outputs[f"encoders.{m}.layers.{i}"]
        found[f"encoder_out/{m}"] = features[f"encoder.{m}"]
        for kind in ("private", "common"):
            x = features[f"{kind}.{m}"]
            found[f"{kind}/{m}"] = x
            found[f"discriminator_logits/{kind}_{m}"] = model.discriminator(x)[..., CLASSES]
    found["common/sum"] = sum(features[f"common.{m}"] for m in MODALITIES)
    for name, stage in FUSIONS.items():
        x, positions, types = seen.inputs[f"fusion.{stage}.embedding"]
        assert positions.tolist() == list(range(x.shape[1]))
        found[f"cross_in/{name}"] = x
        found[f"cross_type/{name}"] = types.expand(size, -1)
        found[f"cross_embed/{name}"] = outputs[f"fusion.{stage}.embedding"]
        layers = len(model.fusion[stage].layers)
        for i in range(layers):
            found[f"cross_layer/{name}/{i}"] = outputs[f"fusion.{stage}.layers.{i}"]
        found[f"cross_out/{name}"] = outputs[f"fusion.{stage}"].values
        found[f"cross_mask/{name}"] = outputs[f"fusion.{stage}"].mask
    found["decoder/label_embedding"] = outputs["decoder.norm"].expand(size, -1, -1)
    for i in range(len(model.decoder.layers)):
        layer = f"decoder.layers.{i}"
        state, weights = outputs[f"{layer}.self_attention"]
        found[f"decoder/after_label_self_attention/{i}"] = state.expand(size, -1, -1)
        found[f"decoder/label_self_attention/{i}"] = weights.expand(size, -1, -1, -1)
        state, weights = outputs[f"{layer}.memory_attention"]
        found[f"decoder/after_label_to_modality/{i}"] = state
        found[f"decoder/label_to_modality_attention/{i}"] = weights
    found["decoder/out"] = features["label_representations"]
    found["logits"] = output.logits
    found["probabilities"] = output.logits.sigmoid()
    found["predictions"] = (output.logits.sigmoid() > 0.35).float()
    found["common_logits"] = outputs["common_classifier"]
    found["common_probabilities"] = found["common_logits"].sigmoid()
    return found


def loss_parts(model: Tailor | CTCAligned, output: ModelOutput) -> dict[str, Tensor]:
    """The loss terms under the program's names."""
    parts = {k.removeprefix("loss."): v for k, v in output.features.items() if "loss." in k}
    found = {
        "ml": output.losses["classification"],
        "cml": output.losses["common_semantics"],
        "adv_common": output.losses["adversarial_common"],
        "adv_private": output.losses["adversarial_private"],
        "total": model.total_loss(output),
    }
    for m in MODALITIES:
        found[f"adv/common_{m}"] = parts[f"adversarial_common.{m}"]
        found[f"adv/private_{m}"] = parts[f"adversarial_private.{m}"]
        found[f"diff/common_private_{m}"] = parts[f"orthogonality.common_private_{m}"]
    pairs = {
        "text_visual": "visual_text",
        "text_audio": "audio_text",
        "visual_audio": "visual_audio",
    }
    for theirs, ours in pairs.items():
        found[f"diff/private_{theirs}"] = parts[f"orthogonality.private_{ours}"]
    found["diff_common_private"] = sum(found[f"diff/common_private_{m}"] for m in MODALITIES)
    found["diff_private_private"] = sum(found[f"diff/private_{pair}"] for pair in pairs)
    return found


def gradients(
    model: Tailor | CTCAligned, config: TailorConfig, loss: Tensor, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients of ``loss`` under the program's parameter names; zero where there is none."""
    named = dict(model.named_parameters())
    if isinstance(model, CTCAligned):
        inner = {n.removeprefix("model."): x for n, x in named.items() if n.startswith("model.")}
        outer = {n: x for n, x in named.items() if not n.startswith("model.")}
        named = inner | {n.replace("norms.", "input_norms.", 1): x for n, x in outer.items()}
    computed = torch.autograd.grad(loss, list(named.values()), retain_graph=True, allow_unused=True)
    ours = {n: g for n, g in zip(named, computed, strict=True) if g is not None}
    rows = {name: len(tensor) for name, tensor in weights.items()}
    found: dict[str, Tensor] = {}
    for entry in entries(config):
        if entry.ours in ours:
            found |= entry.to_theirs(ours[entry.ours], rows)
    for m, prefix in ALIGNERS.items():
        start = f"aligners.{m}.{ctc.OURS}"
        theirs = {block_name(n.removeprefix(prefix)): n for n in weights if n.startswith(prefix)}
        found |= {theirs[n.removeprefix(start)]: g for n, g in ours.items() if n.startswith(start)}
    return found


def compare_alignment(case: Case) -> Comparison:
    """The alignment module alone, with the loss as shipped and over the native length."""
    comparison = Comparison()
    for frames, name in (("first", "shipped_length"), ("all", "native_length")):
        ours = ctc.Measured(case, case.io["input/x"], frames=frames, positions="all")
        assert ours.aligned.loss is not None
        loss = ours.aligned.loss.sum()
        comparison.add(f"loss/{name}", loss, case.io[f"loss/{name}"], OUTPUT_TOLERANCE)
        prefix = f"grad_{name}/"
        for key, expected in case.io.items():
            if key.startswith(prefix):
                gradient = ours.gradient(loss, key.removeprefix(prefix))
                comparison.add(key, gradient, expected, GRADIENT_TOLERANCE)
    weights = ours.aligned.weights.mT
    for name, found in (("raw_lstm", ours.activations), ("pseudo_aligned", ours.aligned.values)):
        comparison.add(name, found, case.io[name], OUTPUT_TOLERANCE)
    # all but the blank's
    comparison.add("probabilities", weights, case.io["probabilities"][..., 1:], OUTPUT_TOLERANCE)
    return comparison


def compare_model(case: Case) -> Comparison:
    """Whole model: intermediates, outputs, loss terms, gradients of the total and of each term."""
    model, config = build(case)
    batch = read_batch(case.io)
    tailor = system_of(model)
    seen, around = Recorder(tailor), Recorder(model)
    output = model(batch, features=True)
    found = gather(tailor, output, seen, len(batch))
    terms = loss_parts(model, output)
    found |= {f"loss/{name}": x for name, x in terms.items()}
    if isinstance(model, CTCAligned):
        found |= gather_alignment(model, case, batch, output, around)
    by_term: dict[str, dict[str, Tensor]] = {}
    comparison = Comparison()
    for name, expected in case.io.items():
        kind, _, rest = name.partition("/")
        if kind == "input":
            continue
        if kind in ("grad", "grad_term"):
            term, parameter = ("total", rest) if kind == "grad" else rest.split("/", 1)
            if term not in by_term:
                by_term[term] = gradients(model, config, terms[term], case.weights)
            if parameter in by_term[term]:
                comparison.add(name, by_term[term][parameter], expected, GRADIENT_TOLERANCE)
            else:
                comparison.missing(name)
        elif name in found:
            comparison.add(name, found[name], expected, OUTPUT_TOLERANCE)
        else:
            comparison.missing(name)
    return comparison


def compare_optimizer(case: Case) -> Comparison:
    """Updates by the authors' optimizer: loss, gradient norm, rate and parameters at each step."""
    model, config = build(case)
    recorded = case.info["optimiser"]
    settings = recipe("tailor", "authors").replace(
        learning_rate=recorded["lr"],
        warmup=recorded["warmup"],
        weight_decay=recorded["weight_decay"],
    )
    optimizer = build_optimizer(model, settings)
    rows = {name: len(tensor) for name, tensor in case.weights.items()}
    comparison = Comparison()
    losses, norms, rates = [], [], []
    for step in range(recorded["steps"]):
        rate = learning_rate(settings, step, recorded["t_total"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model.total_loss(model(read_batch(case.io, f"step{step}/")))
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm))
        optimizer.step()
        losses.append(loss)
        rates.append(rate)
        after = dict(case.weights)  # what has no counterpart of ours never changes
        for entry in entries(config):
            for name, ours in entry.to_theirs(model.get_parameter(entry.ours), rows).items():
                unused = len(ours) - (len(entry.rows) if entry.rows is not None else len(ours))
                after[name] = (
                    ours if not unused else torch.cat([ours[:-unused], after[name][-unused:]])
                )
        prefix = f"step{step}/after/"
        for name, expected in case.io.items():
            if name.startswith(prefix):
                comparison.add(name, after[name.removeprefix(prefix)], expected, OUTPUT_TOLERANCE)
    comparison.add("loss_per_step", torch.stack(losses), case.io["loss_per_step"], OUTPUT_TOLERANCE)
    comparison.add("lr_used", torch.tensor(rates), case.io["lr_used"], OUTPUT_TOLERANCE)
    expected = case.io["grad_norm_before_clip"]
    comparison.add("grad_norm_before_clip", torch.stack(norms), expected, GRADIENT_TOLERANCE)
    return comparison


def compare_metrics(case: Case) -> Comparison:
    """The shipped evaluation, whose printed precision and recall are exchanged."""
    labels = case.io["labels"].numpy().astype(np.uint8)
    probabilities = case.io["probabilities"].numpy()
    names = [f"label {i}" for i in range(labels.shape[1])]
    threshold = case.info["config"]["threshold"]
    ours = evaluate(labels, probabilities, names, threshold)
    comparison = Comparison()
    decisions = torch.from_numpy(decide(probabilities, threshold).astype(np.float32))
    comparison.add("predictions", decisions, case.io["predictions"], 0.0)
    true_order = torch.tensor([ours.micro_precision, ours.micro_recall])
    comparison.add("true_precision_recall", true_order, case.io["true_precision_recall"], 1e-6)
    reported = torch.tensor(
        [ours.micro_f1, ours.micro_recall, ours.micro_precision, round(ours.accuracy, 4)]
    )
    comparison.add("reported", reported, case.io["reported"], 1e-6)
    return comparison
