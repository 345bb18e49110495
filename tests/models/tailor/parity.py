"""TAILOR beside the authors' program (kniter1/TAILOR): outputs, losses, gradients, optimizer."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.evaluation.metrics import decide, evaluate
from emotailor.models.alignment.config import AlignmentConfig
from emotailor.models.alignment.model import CTCAligned, align_before
from emotailor.models.base import ModelOutput
from emotailor.models.tailor.checkpoint import MODALITY_CLASSES, convert_state, entries
from emotailor.models.tailor.config import TailorConfig
from emotailor.models.tailor.model import Tailor
from emotailor.training.optimizer import build_optimizer, learning_rate
from emotailor.training.recipe import recipe
from tests.models.alignment import parity as ctc
from tests.parity.case import Case, CaseError, Comparison, Limits, Options
from tests.parity.recorder import Recorder
from tests.parity.recurrent import block_name

FUSIONS = {"va": 0, "vat": 1, "pc": 2}
CLASSES = [MODALITIES.index(m) for m in MODALITY_CLASSES]  # ours of their text, visual, audio
ALIGNERS: dict[Modality, str] = {
    "visual": f"v2t_ctc.{ctc.PREFIX}",
    "audio": f"a2t_ctc.{ctc.PREFIX}",
}
PAIRS = {"text_visual": "visual_text", "text_audio": "audio_text", "visual_audio": "visual_audio"}
"""Private representations that are kept apart, under the program's names and ours."""

WHOLE_MODEL = "whole model"
METRICS = "evaluation metrics"
JACCARD = "mean over samples of |pred and true| / |pred or true|"
LINEAR = "linear warm-up then linear decay"


def compare(case: Case) -> Comparison:
    """Compare one case of any kind recorded for TAILOR."""
    kinds = {
        WHOLE_MODEL: compare_model,
        METRICS: compare_metrics,
        "CTCModule": compare_alignment,
        "optimiser trajectory": compare_optimizer,
    }
    component = case.info.get("component", WHOLE_MODEL)
    if component not in kinds:
        raise CaseError(f"{case.path}: component {component!r} is not supported yet")
    return kinds[component](case)


def aside(case: Case) -> set[str]:
    """The inputs, of every step where there are several."""
    if case.info.get("component") == METRICS:
        return {"labels", "probabilities"}
    return {name for name in case.io if name.startswith("input/") or "/input/" in name}


def build(case: Case) -> tuple[Tailor | CTCAligned, TailorConfig]:
    """Our model with their weights, behind alignment modules where theirs is."""
    options = case.options
    options.without_effect("seed", "batch", "video_len", "audio_len", "masks", "wstd")
    options.without_effect("max_positions", "cross_max_positions")  # lengths of stored tables
    options.described("activation", "gelu (erf", "gelu (erf form)")
    options.described("mask_fill", "-10000", "-10000")
    layers = options.part("layers")
    weights = options.part("loss_weights")
    ml = positive_weight(weights)

    config = TailorConfig.authors().replace(
        hidden_size=options.take("hidden_size"),
        feedforward_size=options.take("intermediate_size"),
        heads=options.take("heads"),
        text_layers=layers.take("text"),
        visual_layers=layers.take("visual"),
        audio_layers=layers.take("audio"),
        cross_layers=layers.take("cross"),
        decoder_layers=layers.take("decoder"),
        max_steps=options.take("text_len"),  # their second block starts where the first ends
        layer_norm_eps=options.take("layer_norm_eps", 1e-12),
        adversarial_weight=weights.take("adv") / ml,
        orthogonality_weight=weights.take("diff") / ml,
        common_semantics_weight=weights.take("cml") / ml,
        attend_to_padding=False,  # the cases bring masks of their own
    )
    dims: dict[Modality, int] = {
        "visual": options.take("video_dim"),
        "audio": options.take("audio_dim"),
        "text": options.take("text_dim"),
    }
    model = Tailor(config, dims, options.take("num_classes"))
    inner = {name: x for name, x in case.weights.items() if "_ctc." not in name}
    case.load_weights(model, convert_state(inner, config))

    ctc_weight = weights.take("ctc", 0.0)
    if options.only("aligned", True, False):
        return model.eval(), config
    return align(case, model, ctc_weight / ml).eval(), config


def positive_weight(weights: Options) -> float:
    """The weight of the classification loss: 1 in our model, so the others are divided by it."""
    ml = float(weights.take("ml", 1))
    if ml <= 0:
        raise CaseError(f"{weights.source}: ml = {ml} is not supported; supported: above 0")
    return ml


def align(case: Case, model: Tailor, weight: float) -> CTCAligned:
    """Put our alignment modules with their weights before the model."""
    settings = AlignmentConfig.authors().replace(
        target_steps=model.config.max_steps,
        weight=weight,
        layers=ctc.layers_of(case.weights, ALIGNERS["visual"]),
    )
    wrapped = align_before(settings, model)
    for m, prefix in ALIGNERS.items():
        module = ctc.build(case.weights, prefix, frames="first", positions="all")
        case.load_weights(wrapped.aligners[m], module.state_dict())

    # the program's masks are those of the aligned sequences; its alignment knows none
    masks = {m: case.io[f"input/{m}_mask"].bool() for m in MODALITIES}

    def give_masks(_: nn.Module, inputs: tuple[Batch, ...]) -> tuple[Batch, ...]:
        batch = inputs[0]
        return (Batch(batch.values, masks, batch.labels, batch.ids), *inputs[1:])

    model.register_forward_pre_hook(give_masks)
    return wrapped


def total_loss(case: Case, model: Tailor | CTCAligned, output: ModelOutput) -> Tensor:
    """The program's total: ours, times the weight that ours divides by."""
    return positive_weight(case.options.part("loss_weights")) * model.total_loss(output)


def read_batch(io: dict[str, Tensor], prefix: str = "", *, aligned: bool = True) -> Batch:
    """The recorded inputs as a batch; before an alignment every step is real."""
    values = {m: io[f"{prefix}input/{m}"] for m in MODALITIES}
    if aligned:
        masks = {m: io[f"{prefix}input/{m}_mask"].bool() for m in MODALITIES}
    else:
        masks = {m: torch.ones(x.shape[:2], dtype=torch.bool) for m, x in values.items()}
    labels = io[f"{prefix}input/labels"]
    return Batch(values, masks, labels, [str(i) for i in range(len(labels))])


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
        every_frame = ctc.build(case.weights, prefix)
        aligned = every_frame(normed, batch.masks[m], model.target_lengths(batch))
        found[f"loss/ctc_full_length/{m}"] = aligned.loss.sum()
    return found


def gather_encoders(model: Tailor, output: ModelOutput, seen: Recorder) -> dict[str, Tensor | None]:
    """What is recorded of the encoders and of the representations they are refined into."""
    found: dict[str, Tensor | None] = {}
    for m in MODALITIES:
        found[f"norm/{m}"] = seen.outputs.get(f"input_norms.{m}")
        found[f"embed/{m}"] = seen.outputs[f"encoders.{m}.embedding"]
        encoder: Any = model.encoders[m]
        for i in range(len(encoder.layers)):
            found[f"encoder_layer/{m}/{i}"] = seen.outputs[f"encoders.{m}.layers.{i}"]
        found[f"encoder_out/{m}"] = output.features[f"encoder.{m}"]
        for kind in ("private", "common"):
            x = output.features[f"{kind}.{m}"]
            found[f"{kind}/{m}"] = x
            found[f"discriminator_logits/{kind}_{m}"] = model.discriminator(x)[..., CLASSES]
    found["common/sum"] = sum_of(output.features[f"common.{m}"] for m in MODALITIES)
    return found


def gather_fusion(model: Tailor, seen: Recorder, samples: int) -> dict[str, Tensor]:
    """What is recorded of the three cross-modal encoders."""
    found: dict[str, Tensor] = {}
    for name, stage in FUSIONS.items():
        place = f"fusion.{stage}"
        x, positions, types = seen.inputs[f"{place}.embedding"]
        assert positions.tolist() == list(range(x.shape[1]))
        found[f"cross_in/{name}"] = x
        found[f"cross_type/{name}"] = types.expand(samples, -1)
        found[f"cross_embed/{name}"] = seen.outputs[f"{place}.embedding"]
        encoder: Any = model.fusion[stage]
        for i in range(len(encoder.layers)):
            found[f"cross_layer/{name}/{i}"] = seen.outputs[f"{place}.layers.{i}"]
        found[f"cross_out/{name}"] = seen.outputs[place].values
        found[f"cross_mask/{name}"] = seen.outputs[place].mask
    return found


def gather_decoder(
    model: Tailor, output: ModelOutput, seen: Recorder, samples: int
) -> dict[str, Tensor]:
    """What is recorded of the decoder; our first label states are the same for every sample."""
    labels = seen.outputs["decoder.norm"].expand(samples, -1, -1)
    found = {
        "decoder/label_embedding": labels,
        "decoder/out": output.features["label_representations"],
    }
    for i in range(len(model.decoder.layers)):
        state, weights = seen.outputs[f"decoder.layers.{i}.self_attention"]
        found[f"decoder/after_label_self_attention/{i}"] = state.expand(samples, -1, -1)
        found[f"decoder/label_self_attention/{i}"] = weights.expand(samples, -1, -1, -1)
        state, weights = seen.outputs[f"decoder.layers.{i}.memory_attention"]
        found[f"decoder/after_label_to_modality/{i}"] = state
        found[f"decoder/label_to_modality_attention/{i}"] = weights
    return found


def gather(
    case: Case, model: Tailor, output: ModelOutput, seen: Recorder
) -> dict[str, Tensor | None]:
    """Every recorded intermediate and output, under the name it has in the case."""
    samples = len(output.logits)
    case.options.only("threshold_rule", "strictly greater", default="strictly greater")
    probabilities = output.logits.sigmoid()
    common = seen.outputs["common_classifier"]
    found = gather_encoders(model, output, seen)
    found |= gather_fusion(model, seen, samples)
    found |= gather_decoder(model, output, seen, samples)
    found |= {
        "logits": output.logits,
        "probabilities": probabilities,
        "predictions": (probabilities > case.options.take("threshold", 0.35)).float(),
        "common_logits": common,
        "common_probabilities": common.sigmoid(),
    }
    return found


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    return torch.stack(list(tensors)).sum(0)


def loss_parts(output: ModelOutput) -> dict[str, Tensor]:
    """The loss terms under the program's names, without the total."""
    parts = {
        name.removeprefix("loss."): x
        for name, x in output.features.items()
        if name.startswith("loss.")
    }
    found = {
        "ml": output.losses["classification"],
        "cml": output.losses["common_semantics"],
        "adv_common": output.losses["adversarial_common"],
        "adv_private": output.losses["adversarial_private"],
    }
    for m in MODALITIES:
        found[f"adv/common_{m}"] = parts[f"adversarial_common.{m}"]
        found[f"adv/private_{m}"] = parts[f"adversarial_private.{m}"]
        found[f"diff/common_private_{m}"] = parts[f"orthogonality.common_private_{m}"]
    for theirs, ours in PAIRS.items():
        found[f"diff/private_{theirs}"] = parts[f"orthogonality.private_{ours}"]
    found["diff_common_private"] = sum_of(found[f"diff/common_private_{m}"] for m in MODALITIES)
    found["diff_private_private"] = sum_of(found[f"diff/private_{pair}"] for pair in PAIRS)
    return found


def gradients(
    model: Tailor | CTCAligned, config: TailorConfig, loss: Tensor, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients of ``loss`` under the program's parameter names; none where there is none."""
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
        for theirs in weights:
            if theirs.startswith(prefix):
                name = f"aligners.{m}.{ctc.OURS}{block_name(theirs.removeprefix(prefix))}"
                if name in ours:
                    found[theirs] = ours[name]
    return found


def recorded_gradients(
    case: Case, model: Tailor | CTCAligned, config: TailorConfig, terms: dict[str, Tensor]
) -> dict[str, Tensor | None]:
    """The gradients of the total loss and of single terms, as far as they are recorded."""
    by_term: dict[str, dict[str, Tensor]] = {}
    found: dict[str, Tensor | None] = {}
    for name in case.io:
        kind, _, rest = name.partition("/")
        if kind == "grad":
            term, parameter = "total", rest
        elif kind == "grad_term":
            term, _, parameter = rest.partition("/")
        else:
            continue
        if term in terms and term not in by_term:
            by_term[term] = gradients(model, config, terms[term], case.weights)
        found[name] = by_term.get(term, {}).get(parameter)
    return found


def compare_model(case: Case) -> Comparison:
    """Whole model: intermediates, outputs, loss terms, gradients of the total and of each term."""
    model, config = build(case)
    batch = read_batch(case.io, aligned=not isinstance(model, CTCAligned))
    tailor = system_of(model)
    seen = Recorder(tailor)
    around = Recorder(model)
    output = model(batch, features=True)

    found: dict[str, Tensor | None] = {**gather(case, tailor, output, seen)}
    terms = {**loss_parts(output), "total": total_loss(case, model, output)}
    found |= {f"loss/{name}": x for name, x in terms.items()}
    if isinstance(model, CTCAligned):
        found |= gather_alignment(model, case, batch, output, around)
        terms["ctc"] = output.losses["ctc"]
    found |= recorded_gradients(case, model, config, terms)
    return Comparison.of(case, found, aside(case), Limits())


def compare_alignment(case: Case) -> Comparison:
    """The alignment module alone, with the loss as shipped and over the native length."""
    case.options.without_effect("seed", "batch", "native_len", "in_dim", "out_len", "lstm_layers")
    case.options.only("blank", 0, default=0)
    found: dict[str, Tensor] = {}
    for frames, kind in (("first", "shipped_length"), ("all", "native_length")):
        ours = ctc.Measured(case, case.io["input/x"], frames=frames, positions="all")
        assert ours.aligned.loss is not None
        loss = ours.aligned.loss.sum()
        found[f"loss/{kind}"] = loss
        for name in ctc.parts(case.weights, ""):
            found[f"grad_{kind}/{name}"] = ours.gradient(loss, name)

    found["raw_lstm"] = ours.activations
    found["pseudo_aligned"] = ours.aligned.values
    # ours are those of the positions alone; with the blank they sum to 1
    positions = ours.aligned.weights.mT
    blank = 1 - positions.sum(-1, keepdim=True)
    found["probabilities"] = torch.cat([blank, positions], -1)
    return Comparison.of(case, found, aside(case), Limits())


def parameters_after(
    case: Case, model: Tailor, config: TailorConfig, rows: dict[str, int]
) -> dict[str, Tensor]:
    """Our parameters under the program's names; what we do not have keeps its first value."""
    after: dict[str, Tensor] = dict(case.weights)
    for entry in entries(config):
        used = None if entry.rows is None else len(entry.rows)
        for name, ours in entry.to_theirs(model.get_parameter(entry.ours), rows).items():
            # rows that no position of ours reads are never updated
            kept = after[name][len(ours) if used is None else used :]
            after[name] = torch.cat([ours[: len(ours) - len(kept)], kept])
    return after


def build_their_optimizer(
    case: Case, model: Tailor, recorded: Options
) -> tuple[Any, torch.optim.Optimizer]:
    """The training settings and our optimizer under the recorded options."""
    recorded.only("name", "BertAdam", default="BertAdam")
    recorded.only("bias_correction", False, default=False)
    recorded.described("schedule", LINEAR, LINEAR)
    recorded.described("decay", "decoupled", "decoupled")
    recorded.described("clip", "global norm 1.0", "global norm 1.0")
    recorded.without_effect("decayed")  # the numbers show which parameters are
    settings = recipe("tailor", "authors").replace(
        learning_rate=recorded.take("lr"),
        warmup=recorded.take("warmup"),
        weight_decay=recorded.take("weight_decay"),
    )
    optimizer = build_optimizer(model, settings)
    for group in optimizer.param_groups:
        group["betas"] = tuple(recorded.take("betas", (0.9, 0.999)))
        group["eps"] = recorded.take("eps", 1e-6)
    return settings, optimizer


def compare_optimizer(case: Case) -> Comparison:
    """Updates by the authors' optimizer: loss, gradient norm, rate and parameters at each step."""
    case.options.only("aligned", True)
    case.options.without_effect("threshold", "threshold_rule")
    model, config = build(case)
    assert isinstance(model, Tailor)
    recorded = Options(f"{case.path}: optimiser", case.info["optimiser"])
    settings, optimizer = build_their_optimizer(case, model, recorded)

    rows = {name: len(tensor) for name, tensor in case.weights.items()}
    found: dict[str, Tensor] = {}
    losses, norms, rates = [], [], []
    for step in range(recorded.take("steps")):
        rate = learning_rate(settings, step, recorded.take("t_total"))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = total_loss(case, model, model(read_batch(case.io, f"step{step}/")))
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm))
        optimizer.step()

        losses.append(loss.detach())
        rates.append(rate)
        for name, ours in parameters_after(case, model, config, rows).items():
            found[f"step{step}/after/{name}"] = ours.clone()

    found["loss_per_step"] = torch.stack(losses)
    found["lr_used"] = torch.tensor(rates)
    found["grad_norm_before_clip"] = torch.stack(norms)
    comparison = Comparison.of(case, found, aside(case), Limits())
    if unread := recorded.unread():
        comparison.notes.append(f"options of the optimizer unknown here: {', '.join(unread)}")
    return comparison


def compare_metrics(case: Case) -> Comparison:
    """The shipped evaluation, whose printed precision and recall are exchanged."""
    case.options.without_effect("seed", "n", "classes")
    case.options.described("accuracy", JACCARD, JACCARD)
    threshold = case.options.take("threshold")
    labels = case.io["labels"].numpy().astype(np.uint8)
    # scores of float32, as the program decides on them
    probabilities = case.io["probabilities"].numpy().astype(np.float32)
    names = [f"label {i}" for i in range(labels.shape[1])]
    ours = evaluate(labels, probabilities, names, threshold)

    decisions = decide(probabilities, threshold).astype(np.float64)
    reported = [ours.micro_f1, ours.micro_recall, ours.micro_precision, round(ours.accuracy, 4)]
    found = {
        "predictions": torch.from_numpy(decisions),
        "true_precision_recall": torch.tensor([ours.micro_precision, ours.micro_recall]),
        "reported": torch.tensor(reported),
    }
    return Comparison.of(case, found, aside(case), Limits(output=1e-6, exact=("predictions",)))
