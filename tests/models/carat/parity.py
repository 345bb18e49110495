"""CARAT beside the authors' program (chengzju/CARAT): both branches, losses, gradients, buffers."""

from unittest.mock import patch

import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.base import ModelOutput
from emotailor.models.carat import model as carat
from emotailor.models.carat.config import CARATConfig
from emotailor.models.carat.model import CARAT
from emotailor.models.tailor.checkpoint import Entry, entries
from emotailor.models.tailor.config import TailorConfig
from tests.models.contrast import kept_contrast
from tests.models.tailor.parity import read_batch
from tests.parity.case import Case, CaseError, Comparison, Limits
from tests.parity.recorder import Recorder

GRADIENT_TOLERANCE = 2e-4  # the reference's own noise reaches 2e-5 for one gradient

THEIRS = ("text", "visual", "audio")  # the order of their rows and concatenations
ORDER = [MODALITIES.index(m) for m in THEIRS]  # their k-th modality among ours
REBUILDERS = {"audio": "tv2a", "visual": "ta2v", "text": "va2t"}
SIGNS = ("pos", "neg")
ACTIVATION = "gelu (erf form) in encoders, relu in heads"
MASK_FILL = "additive -10000 in encoders, minus infinity in label attention"


def simple_entries(config: CARATConfig) -> list[Entry]:
    """The parameters that are one tensor here and there (or stacked along the first axis)."""
    layers = {f"{m}_layers": getattr(config, f"{m}_layers") for m in MODALITIES}
    encoder = TailorConfig(**layers, max_steps=config.max_steps)
    found = [
        Entry(e.ours, tuple(name.replace("bert.", "text.") for name in e.theirs), e.rows)
        for e in entries(encoder)
        if e.ours.startswith("encoders.")
    ]
    names = {"aggregation.0": "agg.linear.0", "aggregation.2": "agg.output"}
    for m in MODALITIES:
        names[f"input_norms.{m}"] = f"{m}_norm.norm2d"
        for ours, theirs in (("projections", "proj"), ("decoders", "de_proj")):
            names[f"{ours}.{m}.0"] = f"{theirs}_{m}.linear.0"
            names[f"{ours}.{m}.2"] = f"{theirs}_{m}.output"
    for ours, theirs in names.items():
        found += [Entry(f"{ours}.{x}", (f"{theirs}.{x}",)) for x in ("weight", "bias")]
    found += [
        Entry(f"rebuilders.{m}.bias", (f"{theirs}.output.bias",))
        for m, theirs in REBUILDERS.items()
    ]
    return found


def our_state(weights: dict[str, Tensor], config: CARATConfig) -> dict[str, Tensor]:
    """Their parameters and buffers as a state dict of ours."""
    labels = weights["text_pos_protos"].shape[0]
    state = {entry.ours: entry.to_ours(weights) for entry in simple_entries(config)}
    for m, theirs in REBUILDERS.items():
        blocks = dict(zip(THEIRS, weights[f"{theirs}.output.weight"].chunk(3, 1), strict=True))
        state[f"rebuilders.{m}.weight"] = torch.cat([blocks[k] for k in MODALITIES], 1)
    state["label_queries"] = torch.stack(
        [weights[f"{m}_attention.attention.weight"] for m in MODALITIES]
    )
    state["classifiers"] = torch.stack([weights[f"{m}_clf_weight"] for m in MODALITIES])
    state["prototypes"] = torch.stack(
        [torch.stack([weights[f"{m}_{s}_protos"] for s in SIGNS]) for m in MODALITIES]
    )
    state["queue.rows"] = weights["queue"]
    state["queue.classes"] = our_classes(weights["queue_label"][:, 0].long(), labels)
    state["queue.pointer"] = weights["queue_ptr"][0]
    return state


def our_classes(theirs: Tensor, labels: int) -> Tensor:
    """Their modalities are numbered text, visual, audio."""
    modality = torch.tensor(ORDER)[theirs // (2 * labels)]
    return modality * 2 * labels + theirs % (2 * labels)


def their_parameters(
    ours: dict[str, Tensor], weights: dict[str, Tensor], config: CARATConfig
) -> dict[str, Tensor]:
    """Tensors laid out as our parameters (such as gradients), under the program's names."""
    rows = {name: len(tensor) for name, tensor in weights.items()}
    found: dict[str, Tensor] = {}
    for entry in simple_entries(config):
        found |= entry.to_theirs(ours[entry.ours], rows)
    for m, theirs in REBUILDERS.items():
        blocks = ours[f"rebuilders.{m}.weight"].chunk(3, 1)
        found[f"{theirs}.output.weight"] = torch.cat([blocks[k] for k in ORDER], 1)
    for k, m in enumerate(MODALITIES):
        found[f"{m}_attention.attention.weight"] = ours["label_queries"][k]
        found[f"{m}_clf_weight"] = ours["classifiers"][k]
    return found


def their_rows(batch: int, labels: int) -> Tensor:
    """Our row of each of theirs: sample, kind of representation, modality (ordered), label."""
    rows = torch.arange(batch * 3 * 3 * labels).view(batch, 3, 3, labels)
    return rows[:, :, ORDER].flatten()


def their_buffers(model: CARAT, before: int, new: Tensor, labels: int) -> dict[str, Tensor]:
    """The buffers after a training step; ``new`` orders the rows that entered at ``before``."""
    size = len(model.queue.rows)
    places = (before + torch.arange(len(new))) % size
    queue, classes = model.queue.rows.clone(), model.queue.classes.clone()
    queue[places], classes[places] = queue[places[new]], classes[places[new]]
    inverse = torch.tensor(ORDER).argsort()  # their number of our modality
    classes = inverse[classes // (2 * labels)] * 2 * labels + classes % (2 * labels)
    found = {"queue": queue, "queue_label": classes[:, None].float()}
    found["queue_ptr"] = model.queue.pointer[None]
    for k, m in enumerate(MODALITIES):
        for s, sign in enumerate(SIGNS):
            found[f"{m}_{sign}_protos"] = model.prototypes[k, s]
    return found


def build(case: Case) -> tuple[CARAT, CARATConfig]:
    """Our model with their weights."""
    options = case.options
    options.without_effect("seed", "batch", "len", "padding")
    options.without_effect("ptr")  # it is among the weights, too
    options.described("activation", ACTIVATION, ACTIVATION)
    options.described("mask_fill", MASK_FILL, MASK_FILL)
    layers = options.part("layers")
    weights = options.part("loss_weights")
    config = CARATConfig.authors().replace(
        hidden_size=options.take("hidden_size"),
        feedforward_size=options.take("intermediate_size"),
        heads=options.take("heads"),
        text_layers=layers.take("text"),
        visual_layers=layers.take("visual"),
        audio_layers=layers.take("audio"),
        max_steps=options.take("max_positions"),
        latent_size=options.take("proj_size"),
        queue_size=options.take("queue"),
        prototype_momentum=options.take("proto_m"),
        temperature=options.take("temperature", 0.07),
        layer_norm_eps=options.take("layer_norm_eps", 1e-12),
        dropout=0.0,  # the cases are recorded without it
        label_weight=weights.take("lsr_clf_weight"),
        first_weight=weights.take("aug_clf_weight"),
        contrastive_weight=weights.take("cl_weight"),
        decoded_mse_weight=weights.take("recon_mse_weight"),
        first_mse_weight=weights.take("aug_mse_weight"),
        second_mse_weight=weights.take("beta_mse_weight"),
        aggregation_weight=weights.take("total_aug_clf_weight"),
        shuffled_weight=weights.take("shuffle_aug_clf_weight"),
        attend_to_padding=False,  # the cases bring masks of their own
    )
    dims: dict[Modality, int] = {
        "visual": options.take("video_dim"),
        "audio": options.take("audio_dim"),
        "text": options.take("text_dim"),
    }
    model = CARAT(config, dims, options.take("num_classes"))
    case.load_weights(model, our_state(case.weights, config))
    return model, config


def our_shuffle(io: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The recorded permutations, with modalities in our order."""
    place = [THEIRS.index(m) for m in MODALITIES]  # their number of our k-th modality
    number = torch.tensor(ORDER)  # our number of their k-th modality
    return io["shuffle/sample_index"][:, place], number[io["shuffle/modality_index"]][:, place]


def gather(output: ModelOutput, seen: Recorder) -> dict[str, Tensor]:
    """Every recorded intermediate of the training branch, under the name it has in the case."""
    features = output.features
    names = {"label": "label_repr", "decoded": "recon", "prototype": "padding"}
    names |= {"first": "aug", "second": "beta", "latent.label": "latent"}
    names |= {"latent.first": "latent_aug", "latent.second": "latent_beta"}
    found: dict[str, Tensor] = {}
    for m in MODALITIES:
        found[f"norm/{m}"] = seen.outputs[f"input_norms.{m}"]
        found[f"embed/{m}"] = seen.outputs[f"encoders.{m}.embedding"]
        found[f"encoder_out/{m}"] = features[f"encoder.{m}"]
        found[f"label_attention/{m}"] = features[f"attention.{m}"][:, 0]
        for ours, theirs in names.items():
            found[f"{theirs}/{m}"] = features[f"{ours}.{m}"]
    for ours, theirs in (("label", "label_repr"), ("first", "aug"), ("second", "beta")):
        found[f"clf_out/{theirs}"] = features[f"logits.{ours}"]
    found["agg_logits"] = features["logits.aggregation"][:, ORDER]
    found["agg_logits_shuffled"] = features["logits.shuffled_aggregation"][:, ORDER]
    return found


def loss_terms(model: CARAT, output: ModelOutput) -> dict[str, Tensor]:
    """The loss terms under the program's names."""
    names = {
        "clf_label_repr": "label_classification",
        "clf_aug": "first_classification",
        "clf_beta": "classification",
        "contrastive": "contrastive",
        "mse_recon": "decoded_mse",
        "mse_aug": "first_mse",
        "mse_beta": "second_mse",
        "agg": "aggregation",
        "agg_shuffled": "shuffled_aggregation",
    }
    terms = {f"loss/{theirs}": output.losses[ours] for theirs, ours in names.items()}
    return terms | {"loss/total": model.total_loss(output)}


def contrast_terms(
    rows: Tensor, classes: Tensor, queue: Tensor, queue_classes: Tensor, order: Tensor
) -> dict[str, Tensor]:
    """The rows of the contrastive loss and how many equal each one's class, itself included."""
    together = torch.cat([classes[order], queue_classes])
    return {
        "contrast/features": torch.cat([rows[order], queue]),
        "contrast/positive_mask_rowsum": (together[:, None] == together).sum(1).float(),
    }


def parameter_gradients(model: CARAT, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter, by name."""
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def aside(case: Case) -> set[str]:
    """What the program was given, and the permutations that it drew."""
    return {name for name in case.io if name.startswith(("input/", "shuffle/"))}


EXACT = (
    "predictions",
    "eval/predictions",
    "after/queue_label",
    "after/queue_ptr",
    "contrast/positive_mask_rowsum",
)
"""Decisions, classes and counts."""


def evaluate(model: CARAT, batch: Batch) -> Tensor:
    """The probabilities of the evaluation branch, which must leave prototypes and queue alone."""
    model.eval()(batch)  # what is known of the queue's pairs is computed when needed
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unlabelled = Batch(batch.values, batch.masks, None, batch.ids)
    probabilities = model(unlabelled).logits.sigmoid()
    assert torch.equal(model(batch).logits.sigmoid(), probabilities)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    return probabilities


def train(
    model: CARAT, batch: Batch, io: dict[str, Tensor]
) -> tuple[ModelOutput, Recorder, list[Tensor]]:
    """Run the training branch with the recorded permutations.

    Returns the output, what every module did, and what the contrastive loss was given: rows, their
    classes, and the queue's rows and classes before they entered it.
    """
    seen = Recorder(model)
    with (
        patch.object(model, "draw_shuffle", lambda samples: our_shuffle(io)),
        kept_contrast(carat) as given,
    ):
        output = model.train()(batch, features=True)
    return output, seen, given


def compare(case: Case) -> Comparison:
    """The evaluation branch, then the training branch: outputs, losses, gradients and buffers."""
    case.options.only("threshold_rule", "strictly greater", default="strictly greater")
    threshold = case.options.take("threshold", 0.25)
    model, config = build(case)
    batch = read_batch(case.io)
    order = their_rows(len(batch), model.num_labels)
    if len(order) > config.queue_size:
        raise CaseError(
            f"{case.path}: queue = {config.queue_size} is not supported; supported: at least the "
            f"{len(order)} rows of a batch"
        )

    pointer = int(model.state_dict()["queue.pointer"])
    found: dict[str, Tensor] = {"eval/probabilities": evaluate(model, batch)}
    output, seen, given = train(model, batch, case.io)
    found |= gather(output, seen)
    found |= loss_terms(model, output)
    rows, classes, queue_rows, queue_classes = given
    found |= contrast_terms(rows, classes, queue_rows, queue_classes, order)
    found["probabilities"] = output.logits.sigmoid()
    for prefix in ("", "eval/"):
        found[f"{prefix}predictions"] = (found[f"{prefix}probabilities"] > threshold).float()

    buffers = their_buffers(model, pointer, order, model.num_labels)
    found |= {f"after/{name}": tensor for name, tensor in buffers.items()}
    computed = parameter_gradients(model, found["loss/total"])
    gradients = their_parameters(computed, case.weights, config)
    found |= {f"grad/{name}": gradient for name, gradient in gradients.items()}
    limits = Limits(gradient=GRADIENT_TOLERANCE, exact=EXACT)
    return Comparison.of(case, found, aside(case), limits)
