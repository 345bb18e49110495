"""LDDU beside the authors' program (201983290498/lddu_mmer): both branches, losses, gradients."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.evaluation.metrics import Metrics, decide
from emotailor.evaluation.metrics import evaluate as measure
from emotailor.models.base import ModelOutput
from emotailor.models.lddu import model as lddu
from emotailor.models.lddu.config import LDDUConfig
from emotailor.models.lddu.model import LDDU
from emotailor.models.tailor.checkpoint import Entry, entries
from emotailor.models.tailor.config import TailorConfig
from tests.models.contrast import kept_contrast
from tests.models.tailor.parity import JACCARD, read_batch
from tests.parity.case import Case, Comparison, Limits
from tests.parity.recorder import Recorder

GRADIENT_TOLERANCE = 2e-4  # the reference's own noise reaches 2e-5 for one gradient

ZERO = "grad_zero/"
NOISE = 2e-6
"""Gradients that are 0 by their equation, and the largest that was recorded of them."""

MODEL_THRESHOLD = 0.21  # what the model itself decides by, whatever the script's option
HEADS = {"mean_heads": "final_classifier", "deviation_heads": "var_classifier1"}
ACTIVATION = "gelu (erf form) in encoders, relu in latent encoders and heads"
MASK_FILL = "additive -10000 in encoders, none in label attention"
METRICS = "evaluation metrics"
SEARCH = "thresholds 0.150 to 0.295 in steps of 0.005, strictly better wins"
EXCHANGED = "takes (truth, prediction) and is called with (prediction, truth)"


def compare(case: Case) -> Comparison:
    """Compare one case of the model or of the evaluation."""
    if case.info.get("component") == METRICS:
        return compare_metrics(case)
    return compare_model(case)


def aside(case: Case) -> set[str]:
    """What the program was given, and gradients of 0, which it recorded as noise."""
    if case.info.get("component") == METRICS:
        return {"labels", "probabilities", "search/grid"}
    return {name for name in case.io if name.startswith(("input/", ZERO))}


# ---------------------------------------------------------------------- names


def simple_entries(config: LDDUConfig) -> list[Entry]:
    """The parameters that are one tensor here and there (or stacked along the first axis)."""
    layers = {f"{m}_layers": getattr(config, f"{m}_layers") for m in MODALITIES}
    encoders = TailorConfig(**layers, max_steps=config.max_steps, input_norm=True)
    starts = ("encoders.", "input_norms.")
    found = [entry for entry in entries(encoders) if entry.ours.startswith(starts)]
    found.append(Entry("labels.weight", ("embedding_layer.weight",)))

    names = {"common_head.0": "common_classfier.0", "common_head.3": "common_classfier.3"}
    for slot, m in enumerate(MODALITIES):
        of_labels = "label_wise_attention"
        names[f"attention.{m}.query_map"] = f"{of_labels}.label_projection.{slot}"
        names[f"attention.{m}.step_map"] = f"{of_labels}.seq_projection.{slot}"
        names[f"attention.{m}.output_map"] = f"{of_labels}.out_projection.{slot}"
        latent = f"latent_encoders.{m}"
        names[f"{latent}.hidden.0"] = f"encoder.{slot}.linear.0"
        names[f"{latent}.hidden.2"] = f"encoder.{slot}.linear.1"
        names[f"{latent}.hidden.4"] = f"encoder.{slot}.output"
        names[f"{latent}.mean"] = f"encoder.{slot}.fc_mu"
        names[f"{latent}.log_variance"] = f"encoder.{slot}.fc_var"
    for ours, theirs in names.items():
        found += [Entry(f"{ours}.{x}", (f"{theirs}.{x}",)) for x in ("weight", "bias")]
    return found


def our_state(weights: dict[str, Tensor], config: LDDUConfig, labels: int) -> dict[str, Tensor]:
    """Their parameters and buffers as a state dict of ours."""
    state = {entry.ours: entry.to_ours(weights) for entry in simple_entries(config)}
    for ours, theirs in HEADS.items():
        for layer, name in (("0", "inner"), ("3", "outer")):
            for kind in ("weight", "bias"):
                parts = [weights[f"{theirs}.{j}.{layer}.{kind}"] for j in range(labels)]
                stacked = torch.stack(parts)
                # their second map has one row, ours none
                state[f"{ours}.{name}_{kind}"] = stacked if name == "inner" else stacked[:, 0]
    state["queue.rows"] = weights["queue"].clone()
    state["queue.classes"] = our_classes(weights["queue_label"][:, 0], 6 * labels)
    state["queue.pointer"] = weights["queue_ptr"][0].clone()
    return state


def our_classes(theirs: Tensor, count: int) -> Tensor:
    """The class of each row, -1 where it has a random real, which equals none."""
    whole = theirs == theirs.round()
    known = whole & (theirs >= 0) & (theirs < count)
    return torch.where(known, theirs, -1).long()


def their_parameters(
    ours: dict[str, Tensor], weights: dict[str, Tensor], config: LDDUConfig
) -> dict[str, Tensor]:
    """Tensors laid out as our parameters (such as gradients), under the program's names."""
    rows = {name: len(tensor) for name, tensor in weights.items() if tensor.ndim}
    found: dict[str, Tensor] = {}
    for entry in simple_entries(config):
        found |= entry.to_theirs(ours[entry.ours], rows)
    for heads, theirs in HEADS.items():
        for layer, name in (("0", "inner"), ("3", "outer")):
            for kind in ("weight", "bias"):
                for j, part in enumerate(ours[f"{heads}.{name}_{kind}"]):
                    shaped = part if name == "inner" else part[None]
                    found[f"{theirs}.{j}.{layer}.{kind}"] = shaped
    return found


# ---------------------------------------------------------------------- model


def build(case: Case) -> tuple[LDDU, LDDUConfig]:
    """Our model with their weights."""
    options = case.options
    options.without_effect("seed", "batch", "len", "padding")
    options.without_effect("ptr")  # it is among the weights, too
    options.described("activation", ACTIVATION, ACTIVATION)
    options.described("mask_fill", MASK_FILL, MASK_FILL)
    options.only("slot_order", list(MODALITIES), default=list(MODALITIES))

    d = options.take("hidden_size")
    options.only("label_dim", d, default=d)
    widths = [d, 3 * (d // 4), d // 2, d // 2, d // 2]
    options.only("latent_widths", widths, default=widths)

    layers = options.part("layers")
    weights = options.part("loss_weights")
    config = LDDUConfig.authors().replace(
        hidden_size=d,
        feedforward_size=options.take("intermediate_size"),
        heads=options.take("heads"),
        text_layers=layers.take("text"),
        visual_layers=layers.take("visual"),
        audio_layers=layers.take("audio"),
        max_steps=options.take("max_positions"),
        attention_size=options.take("pro_dim"),
        latent_size=options.take("latent_size"),
        queue_size=options.take("queue"),
        temperature=options.take("temperature"),
        layer_norm_eps=options.take("layer_norm_eps", 1e-12),
        dropout=0.0,  # the cases are recorded without it
        context_dropout=0.0,
        head_dropout=0.0,
        classification_weight=weights.take("final_loss"),
        common_weight=weights.take("cml"),
        contrastive_weight=weights.take("cdl"),
        calibration_weight=weights.take("crl"),
        attend_to_padding=False,  # the cases bring masks of their own
    )
    dims: dict[Modality, int] = {
        "visual": options.take("video_dim"),
        "audio": options.take("audio_dim"),
        "text": options.take("text_dim"),
    }
    labels = options.take("num_classes")
    model = LDDU(config, dims, labels)
    case.load_weights(model, our_state(case.weights, config, labels))
    return model, config


def side_by_side(output: ModelOutput, name: str) -> Tensor:
    """What all modalities have under a name, joined."""
    return torch.cat([output.features[f"{name}.{m}"] for m in MODALITIES], -1)


def gather(output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded intermediate of the training branch, under the name it has in the case."""
    features = output.features
    names = {"label": "label_repr", "mean": "mu", "log_variance": "log_var", "deviation": "sigma"}
    samples = len(output.logits)
    found: dict[str, Tensor] = {}
    for m in MODALITIES:
        place = f"attention.{m}"
        query = seen.outputs[f"{place}.query_map"]
        found[f"norm/{m}"] = seen.outputs[f"input_norms.{m}"]
        found[f"embed/{m}"] = seen.outputs[f"encoders.{m}.embedding"]
        found[f"encoder_out/{m}"] = features[f"encoder.{m}"]
        found[f"label_query/{m}"] = query.expand(samples, -1, -1)
        found[f"label_key/{m}"] = seen.outputs[f"{place}.step_map"]
        found[f"label_attention/{m}"] = features[place][:, 0]
        found[f"label_context/{m}"] = seen.inputs[f"{place}.output_map"][0]
        found[f"latent_hidden/{m}"] = seen.outputs[f"latent_encoders.{m}.hidden"]
        for ours, theirs in names.items():
            found[f"{theirs}/{m}"] = features[f"{ours}.{m}"]

    heads = {"common": "common", "mu_head": "mean", "sigma_head": "deviation"}
    for theirs, ours in heads.items():
        found[f"{theirs}/logits"] = features[f"logits.{ours}"]
        found[f"{theirs}/score"] = features[f"logits.{ours}"].sigmoid()

    uncertainty = features["uncertainty"]
    shares = uncertainty.flatten().softmax(-1)
    found["calibration/common_softmax"] = found["common/score"].softmax(-1)
    found["calibration/sigma_softmax"] = shares.view_as(uncertainty)
    return found


def loss_terms(model: LDDU, output: ModelOutput) -> dict[str, Tensor]:
    """The loss terms under the program's names."""
    names = {
        "bce_common": "common_classification",
        "bce_output": "classification",
        "calibration": "calibration",
        "contrastive": "contrastive",
    }
    terms = {f"loss/{theirs}": output.losses[ours] for theirs, ours in names.items()}
    return terms | {"loss/total": model.total_loss(output)}


def contrast_terms(case: Case, rows: Tensor, classes: Tensor, queue: Tensor) -> dict[str, Tensor]:
    """The rows of the contrastive loss, their classes, and what the program logs of their pairs."""
    features = torch.cat([rows, queue])
    owners = torch.cat([classes.double(), case.weights["queue_label"][:, 0]])
    same = owners[:, None] == owners
    similarity = features @ features.T / 2
    others = ~torch.eye(len(features), dtype=torch.bool)
    means = [similarity[same & others].mean(), similarity[others].mean()]
    return {
        "contrast/features": features,
        "contrast/class_id": owners,
        "contrast/positive_mask_rowsum": same.sum(1).double(),
        "contrast/mean_similarity": torch.stack(means),
    }


def history_terms(output: ModelOutput) -> dict[str, Tensor]:
    """The program's history after one call: an entry for every sample, with its only score."""
    scores = output.features["logits.common"].sigmoid()
    return {
        "after/history_counts": torch.ones(len(scores)),
        "after/history_scores": scores,
        "after/history_size": torch.tensor([len(scores)]),
    }


def queue_terms(model: LDDU, case: Case) -> dict[str, Tensor]:
    """The queue after a training step; what has no class of ours keeps its random label."""
    classes = model.queue.classes.double()
    before = case.weights["queue_label"][:, 0]
    labels = torch.where(classes < 0, before, classes)
    return {
        "after/queue": model.queue.rows,
        "after/queue_label": labels[:, None],
        "after/queue_ptr": model.queue.pointer[None],
    }


def evaluate(model: LDDU, batch: Batch) -> ModelOutput:
    """The evaluation branch, which must leave the queue alone."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unlabelled = Batch(batch.values, batch.masks, None, batch.ids)
    output = model.eval()(unlabelled, features=True)
    assert isinstance(output, ModelOutput)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    return output


def train(model: LDDU, batch: Batch) -> tuple[ModelOutput, Recorder, list[Tensor]]:
    """Run the training branch.

    Returns the output, what every module did, and what the contrastive loss was given: rows, their
    classes, and the queue's rows and classes before they entered it.
    """
    seen = Recorder(model)
    with kept_contrast(lddu) as given:
        output = model.train()(batch, features=True)
    return output, seen, given


def gradients(case: Case, model: LDDU, config: LDDUConfig, loss: Tensor) -> dict[str, Tensor]:
    """The gradients under the program's names."""
    named = dict(model.named_parameters())
    computed = torch.autograd.grad(loss, list(named.values()))
    ours = dict(zip(named, computed, strict=True))
    return their_parameters(ours, case.weights, config)


EXACT = (
    "predictions",
    "eval/predictions",
    "eval/predictions_at_threshold",
    "after/queue_label",
    "after/queue_ptr",
    "after/history_counts",
    "after/history_size",
    "contrast/class_id",
    "contrast/positive_mask_rowsum",
)
"""Decisions, classes and counts; random labels of the queue are kept as they are."""


def compare_model(case: Case) -> Comparison:
    """The evaluation branch, then the training branch: outputs, losses, gradients and buffers."""
    rule = "strictly greater; the model itself always uses 0.21"
    case.options.only("threshold_rule", rule, default=rule)
    threshold = case.options.take("threshold")
    model, config = build(case)
    batch = read_batch(case.io)

    tested = evaluate(model, batch)
    probabilities = tested.logits.sigmoid()
    found: dict[str, Tensor] = {
        "eval/probabilities": probabilities,
        "eval/predictions": (probabilities > MODEL_THRESHOLD).double(),
        "eval/predictions_at_threshold": (probabilities > threshold).double(),
        "eval/mu_all": side_by_side(tested, "mean"),
        "eval/sigma_all": side_by_side(tested, "deviation"),
        "eval/sigma_norm": tested.features["uncertainty"],
    }

    output, seen, given = train(model, batch)
    found |= gather(output, seen)
    found |= loss_terms(model, output)
    rows, classes, queue_rows, _ = given
    found |= contrast_terms(case, rows, classes, queue_rows)
    found |= history_terms(output)
    found |= queue_terms(model, case)
    found["probabilities"] = output.logits.sigmoid()
    found["predictions"] = (found["probabilities"] > MODEL_THRESHOLD).double()

    computed = gradients(case, model, config, found["loss/total"])
    found |= {f"grad/{name}": x for name, x in computed.items()}
    limits = Limits(gradient=GRADIENT_TOLERANCE, exact=EXACT)
    comparison = Comparison.of(case, found, aside(case), limits)
    for name in case.io:
        if name.startswith(ZERO):
            ours = computed[name.removeprefix(ZERO)]
            comparison.add(name, ours, torch.zeros_like(ours), NOISE)
    return comparison


# ---------------------------------------------------------------------- evaluation


def printed(metrics: Metrics) -> list[float]:
    """What the program prints: precision and recall are exchanged, accuracy is rounded."""
    return [
        metrics.micro_f1,
        metrics.micro_recall,
        metrics.micro_precision,
        round(metrics.accuracy, 4),
    ]


def compare_metrics(case: Case) -> Comparison:
    """The shipped evaluation, and the search of a threshold that the authors' log shows."""
    options = case.options
    options.without_effect("seed", "n", "classes")
    options.described("accuracy", JACCARD, JACCARD)
    options.described("arguments", EXCHANGED, EXCHANGED)
    options.described("search", SEARCH, SEARCH)
    options.described("threshold_rule", "strictly greater", "strictly greater")
    threshold = options.take("threshold")

    labels = case.io["labels"].numpy().astype(np.uint8)
    # scores of float32, as the program decides on them
    scores = case.io["probabilities"].numpy().astype(np.float32)
    names = [f"label {i}" for i in range(labels.shape[1])]
    ours = measure(labels, scores, names, threshold)

    # the grid was stored in float32
    grid = [round(x, 6) for x in case.io["search/grid"].tolist()]
    tried = [measure(labels, scores, names, x) for x in grid]
    curve = [metrics.micro_f1 for metrics in tried]
    best = int(np.argmax(curve))  # the first of equal ones

    decisions = decide(scores, threshold).astype(np.float64)
    found = {
        "predictions": torch.from_numpy(decisions),
        "true_precision_recall": torch.tensor([ours.micro_precision, ours.micro_recall]),
        "reported": torch.tensor(printed(ours)),
        "gap": torch.tensor([average_precision_score(labels.ravel(), scores.ravel())]),
        "search/best_threshold": torch.tensor([grid[best]]),
        "search/micro_f1": torch.tensor(curve),
        # the threshold is logged ten times too large
        "search/reported": torch.tensor([*printed(tried[best]), 10 * grid[best]]),
    }
    return Comparison.of(case, found, aside(case), Limits(output=1e-6, exact=("predictions",)))
