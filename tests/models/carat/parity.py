"""CARAT beside the authors' program (chengzju/CARAT): both branches, losses, gradients, buffers."""

from unittest.mock import patch

import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES
from emotailor.models.base import ModelOutput
from emotailor.models.carat import model as carat
from emotailor.models.carat.config import CARATConfig
from emotailor.models.carat.contrastive import ContrastiveQueue, supervised_contrast
from emotailor.models.carat.model import CARAT
from emotailor.models.tailor.checkpoint import Entry, entries
from emotailor.models.tailor.config import TailorConfig
from tests.models.tailor.parity import Recorder, read_batch
from tests.parity.case import OUTPUT_TOLERANCE, Case, Comparison

GRADIENT_TOLERANCE = 2e-4  # the reference's own noise reaches 2e-5 for one gradient

THEIRS = ("text", "visual", "audio")  # the order of their rows and concatenations
ORDER = [MODALITIES.index(m) for m in THEIRS]  # their k-th modality among ours
REBUILDERS = {"audio": "tv2a", "visual": "ta2v", "text": "va2t"}
SIGNS = ("pos", "neg")


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
    assert len(new) <= size
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
    c = case.info["config"]
    w = c["loss_weights"]
    config = CARATConfig.authors().replace(
        hidden_size=c["hidden_size"],
        feedforward_size=c["intermediate_size"],
        heads=c["heads"],
        **{f"{name}_layers": count for name, count in c["layers"].items()},
        max_steps=c["max_positions"],
        latent_size=c["proj_size"],
        queue_size=c["queue"],
        prototype_momentum=c["proto_m"],
        temperature=c["temperature"],
        layer_norm_eps=c["layer_norm_eps"],
        dropout=0.0,  # the cases are recorded without it
        label_weight=w["lsr_clf_weight"],
        first_weight=w["aug_clf_weight"],
        contrastive_weight=w["cl_weight"],
        decoded_mse_weight=w["recon_mse_weight"],
        first_mse_weight=w["aug_mse_weight"],
        second_mse_weight=w["beta_mse_weight"],
        aggregation_weight=w["total_aug_clf_weight"],
        shuffled_weight=w["shuffle_aug_clf_weight"],
        attend_to_padding=False,  # the cases bring masks of their own
    )
    dims = {"visual": c["video_dim"], "audio": c["audio_dim"], "text": c["text_dim"]}
    model = CARAT(config, dims, c["num_classes"])
    model.load_state_dict(our_state(case.weights, config))
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


def compare(case: Case) -> Comparison:
    """The evaluation branch, then the training branch: outputs, losses, gradients and buffers."""
    model, config = build(case)
    batch = read_batch(case.io)
    threshold = case.info["config"]["threshold"]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    unlabelled = Batch(batch.values, batch.masks, None, batch.ids)
    found = {"eval/probabilities": model.eval()(unlabelled).logits.sigmoid()}
    repeated = model(batch)  # with labels, evaluation must leave the state alone
    assert torch.equal(repeated.logits.sigmoid(), found["eval/probabilities"])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())

    model.train()
    seen = Recorder(model)
    given: list[Tensor] = []

    def keep(rows: Tensor, classes: Tensor, queue: ContrastiveQueue, temperature: float) -> Tensor:
        # copies: the queue moves in place afterwards
        given.extend(x.detach().clone() for x in (rows, classes, queue.rows, queue.classes))
        return supervised_contrast(rows, classes, queue, temperature)

    with (
        patch.object(model, "draw_shuffle", lambda samples: our_shuffle(case.io)),
        patch.object(carat, "supervised_contrast", keep),
    ):
        output = model(batch, features=True)
    order = their_rows(len(batch), model.num_labels)
    found |= gather(output, seen) | loss_terms(model, output)
    found |= contrast_terms(*given, order)
    found["probabilities"] = output.logits.sigmoid()
    for prefix in ("", "eval/"):
        found[f"{prefix}predictions"] = (found[f"{prefix}probabilities"] > threshold).float()
    buffers = their_buffers(model, int(state["queue.pointer"]), order, model.num_labels)
    found |= {f"after/{name}": tensor for name, tensor in buffers.items()}
    computed = parameter_gradients(model, found["loss/total"])
    gradients = their_parameters(computed, case.weights, config)
    found |= {f"grad/{name}": gradient for name, gradient in gradients.items()}

    exact = ("predictions", "eval/predictions", "after/queue_label", "after/queue_ptr")
    exact += ("contrast/positive_mask_rowsum",)
    comparison = Comparison()
    for name, expected in case.io.items():
        if name.startswith(("input/", "shuffle/")):  # what the program was given or drew
            continue
        tolerance = GRADIENT_TOLERANCE if name.startswith("grad/") else OUTPUT_TOLERANCE
        if name in found:
            comparison.add(name, found[name], expected, 0.0 if name in exact else tolerance)
        else:
            comparison.missing(name)
    return comparison
