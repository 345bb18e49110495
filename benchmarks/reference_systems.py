"""Drives the authors' MulT and MISA, and MMSA's Graph-MFN (DFG), from checkouts that the user has.

Each has the sizes of our ``authors()`` preset, six outputs and binary cross-entropy in place of its
task loss. What the programs decide apart from that, they decide here too.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmarks.reference import Checkout, Reference, import_from, pad_steps
from benchmarks.specification import DIMS
from emotailor.data.batching import Batch
from emotailor.data.sample import Modality
from emotailor.models.dfg.config import DFGConfig
from emotailor.models.misa.config import MISAConfig
from emotailor.models.mult.config import MulTConfig
from emotailor.training.recipe import recipe

STEPS = 50  # of every sequence in the files that MulT's program and MMSA read
NUM_LABELS = 6
ORDER: tuple[Modality, ...] = ("text", "audio", "visual")  # of the arguments of both


def labels_of(batch: Batch) -> Float[Tensor, "batch labels"]:
    """Return the labels, which a batch to train on has."""
    assert batch.labels is not None
    return batch.labels


class PaddedReference(Reference):
    """A program that takes text, audio and visual as three tensors of ``STEPS`` steps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare(self, batch: Batch) -> list[Tensor]:
        """Pad to ``STEPS`` steps, as their data are."""
        inputs = [pad_steps(batch.values[m], STEPS) for m in ORDER]
        return [x.to(self.device) for x in (*inputs, labels_of(batch))]

    def shapes(self, inputs: list[Tensor]) -> list[tuple[int, int]]:
        """Return rows and padded steps of what is computed at once: the whole batch."""
        return [(inputs[0].shape[0], inputs[0].shape[1])]


class ReferenceMulT(PaddedReference):
    """MulT of yaohungt/Multimodal-Transformer.

    Args:
        folder: the checkout.
        device: to compute on.
    """

    checkout = Checkout(
        "--mult",
        "yaohungt/Multimodal-Transformer",
        ("src/models.py", "modules/transformer.py"),
    )

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(device)
        config, training = MulTConfig.authors(), recipe("mult", "authors")
        self.clip_norm = training.clip_norm
        arguments = Namespace(
            orig_d_l=DIMS["text"],
            orig_d_a=DIMS["audio"],
            orig_d_v=DIMS["visual"],
            lonly=True,
            aonly=True,
            vonly=True,
            num_heads=config.heads,
            layers=config.layers,
            attn_dropout=config.attention_dropout,
            attn_dropout_a=config.attention_dropout_audio,
            attn_dropout_v=config.attention_dropout_visual,
            relu_dropout=config.relu_dropout,
            res_dropout=config.residual_dropout,
            out_dropout=config.output_dropout,
            embed_dropout=config.embedding_dropout,
            attn_mask=config.future_mask,
            output_dim=NUM_LABELS,
        )
        self.model = import_from(folder, "src.models", {}).MULTModel(arguments).to(device)
        for name, module in self.model.named_modules():
            if name.endswith("embed_positions"):  # fails on a view since clone() keeps strides
                module.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        rate = training.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate)

    def loss(self, inputs: list[Tensor]) -> Float[Tensor, ""]:
        """Return the cross-entropy."""
        *values, labels = inputs
        return F.binary_cross_entropy_with_logits(self.model(*values)[0], labels)


class ReferenceDFG(PaddedReference):
    """Graph-MFN of thuiar/MMSA, which clips nothing.

    Args:
        folder: the checkout.
        device: to compute on.
    """

    checkout = Checkout("--mmsa", "thuiar/MMSA", ("src/MMSA/models/singleTask/Graph_MFN.py",))

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(device)
        config, training = DFGConfig.authors(), recipe("dfg", "authors")
        gates = {
            "NNConfig": (config.candidate_hidden, config.candidate_dropout),
            "gamma1Config": (config.retain_hidden, config.retain_dropout),
            "gamma2Config": (config.update_hidden, config.update_dropout),
            "outConfig": (config.classifier_hidden, config.classifier_dropout),
        }
        arguments = Namespace(
            feature_dims=[DIMS[m] for m in ORDER],
            hidden_dims=[config.text_size, config.audio_size, config.visual_size],
            memsize=config.memory_size,
            inner_node_dim=config.vertex_size,
            train_mode="classification",
            num_classes=NUM_LABELS,
            device=device,
            **{name: {"shapes": size, "drop": drop} for name, (size, drop) in gates.items()},
        )
        # the module alone: its package imports what only other systems need
        module = import_from((folder / self.checkout.needed[0]).parent, "Graph_MFN", {})
        self.model = module.Graph_MFN(arguments).to(device)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )

    def loss(self, inputs: list[Tensor]) -> Float[Tensor, ""]:
        """Return the cross-entropy."""
        *values, labels = inputs
        return F.binary_cross_entropy_with_logits(self.model(*values)["M"], labels)


class ReferenceMISA(Reference):
    """MISA of declare-lab/MISA, with word vectors as they come in place of its word table.

    Args:
        folder: the checkout.
        device: to compute on; their program takes a GPU wherever there is one.
    """

    checkout = Checkout("--misa", "declare-lab/MISA", ("src/solver.py", "src/models.py"))

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        config, training = MISAConfig.authors(), recipe("misa", "authors")
        arguments = Namespace(
            data="mosei",
            model="MISA",
            use_bert=False,
            use_cmd_sim=config.similarity == "cmd",
            word2id={"": 0},
            pretrained_emb=None,
            embedding_size=DIMS["text"],
            visual_size=DIMS["visual"],
            acoustic_size=DIMS["audio"],
            hidden_size=config.hidden_size,
            num_classes=NUM_LABELS,
            dropout=config.dropout,
            activation=torch.nn.ReLU,
            rnncell=config.cell,
            reverse_grad_weight=config.reversal_weight,
            diff_weight=config.difference_weight,
            sim_weight=config.similarity_weight,
            recon_weight=config.reconstruction_weight,
            sp_weight=0.0,
            optimizer=torch.optim.Adam,
            learning_rate=training.learning_rate,
            clip=1.0,
        )
        unused = {"gensim": (), "tqdm": ("tqdm", "tqdm_notebook")}
        unused["transformers"] = ("BertModel", "BertConfig")
        solver = import_from(folder / "src", "solver", unused)
        self.arguments = arguments
        self.solver = solver.Solver(arguments, None, None, None, None, None)
        self.solver.build(cuda=device.type == "cuda")
        self.solver.loss_diff = solver.DiffLoss()
        self.solver.loss_recon = solver.MSE()
        self.solver.loss_cmd = solver.CMD()
        self.model, self.optimizer = self.solver.model, self.solver.optimizer
        self.model.embed = torch.nn.Identity()

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Put steps first and longest samples in front, as their data code does."""
        mask = batch.masks["text"]
        lengths, order = mask.sum(1).sort(descending=True)
        values = {m: x[order].transpose(0, 1).contiguous() for m, x in batch.values.items()}
        return {
            **{m: x.to(self.device) for m, x in values.items()},
            "lengths": lengths,  # packing wants them on the CPU
            "labels": labels_of(batch)[order].to(self.device),
        }

    def shapes(self, inputs: dict[str, Any]) -> list[tuple[int, int]]:
        """Return rows and padded steps of what is computed at once: the whole batch."""
        steps, rows, _ = inputs["text"].shape
        return [(rows, steps)]

    def loss(self, inputs: dict[str, Any]) -> Float[Tensor, ""]:
        """Return the weighted sum of cross-entropy, difference, similarity, reconstruction."""
        bert = (None, None, None)
        values = (inputs["text"], inputs["visual"], inputs["audio"])
        logits = self.model(*values, inputs["lengths"], *bert)
        weights, solver = self.arguments, self.solver
        loss = F.binary_cross_entropy_with_logits(logits, inputs["labels"])
        loss = loss + weights.diff_weight * solver.get_diff_loss()
        loss = loss + weights.sim_weight * solver.get_cmd_loss()
        return loss + weights.recon_weight * solver.get_recon_loss()

    def clip(self) -> None:
        """Clip every entry of the gradient."""
        torch.nn.utils.clip_grad_value_(self.model.parameters(), self.arguments.clip)


REFERENCES = {"mult": ReferenceMulT, "misa": ReferenceMISA, "dfg": ReferenceDFG}
