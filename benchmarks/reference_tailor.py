"""Drives the authors' TAILOR from a checkout of kniter1/TAILOR that the user has."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from benchmarks.reference import Checkout, Reference, import_from, pad_steps
from benchmarks.specification import DIMS
from emotailor.data.batching import Batch
from emotailor.models.tailor.config import TailorConfig

STEPS = 60
NUM_LABELS = 6
CHECKOUT = Checkout(
    "--reference", "kniter1/TAILOR", ("src/models/models.py", "src/models/optimization.py")
)
# module -> names taken from it
_DOWNLOADERS: dict[str, tuple[str, ...]] = {
    "boto3": (),
    "botocore.exceptions": ("ClientError",),
    "requests": (),
    "tqdm": ("tqdm",),
}


def import_reference(folder: Path, module: str) -> Any:
    """Import a module of the checkout, such as ``src.models.models``."""
    return import_from(folder, module, _DOWNLOADERS)


def _arguments(config: TailorConfig) -> Namespace:
    """What the authors' command line would have parsed."""
    return Namespace(
        local_rank=0,
        aligned=True,
        text_dim=DIMS["text"],
        video_dim=DIMS["visual"],
        audio_dim=DIMS["audio"],
        max_words=STEPS,
        max_frames=STEPS,
        max_sequence=STEPS,
        max_label=NUM_LABELS,
        num_classes=NUM_LABELS,
        hidden_size=config.hidden_size,
        bert_num_hidden_layers=config.text_layers,
        visual_num_hidden_layers=config.visual_layers,
        audio_num_hidden_layers=config.audio_layers,
        cross_num_hidden_layers=config.cross_layers,
        decoder_num_hidden_layers=config.decoder_layers,
    )


class ReferenceTailor(Reference):
    """The authors' model and optimizer, at the sizes they published.

    Args:
        folder: their checkout.
        device: to compute on.
        learning_rate: peak of their schedule.
        total_steps: length of their schedule.
    """

    checkout = CHECKOUT
    clip_norm = 1.0

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        learning_rate: float = 5e-5,
        total_steps: int = 5100,
    ) -> None:
        models = import_reference(folder, "src.models.models")
        optimization = import_reference(folder, "src.models.optimization")
        names = [f"{part}-base" for part in ("bert", "visual", "audio", "cross", "decoder")]
        arguments = _arguments(TailorConfig.authors())
        self.device = device
        self.model = models.TAILOR.from_pretrained(*names, task_config=arguments).to(device)
        plain: list[torch.nn.Parameter] = []
        decayed: list[torch.nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            exempt = "bias" in name or "LayerNorm.weight" in name
            (plain if exempt else decayed).append(parameter)
        self.optimizer = optimization.BertAdam(
            [
                {"params": decayed, "weight_decay": 0.01},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=learning_rate,
            warmup=0.1,
            schedule="warmup_linear",
            t_total=total_steps,
            weight_decay=0.01,
            max_grad_norm=1.0,
        )
        self.label_ids = torch.arange(NUM_LABELS, device=device)
        self.label_mask = torch.ones_like(self.label_ids)

    def prepare(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        """Pad to 60 steps, with masks of ones, as their data code supplies it."""
        tensors: list[torch.Tensor] = []
        for m in ("text", "visual", "audio"):
            padded = pad_steps(batch.values[m], STEPS).to(self.device)
            tensors += [padded, torch.ones(padded.shape[:2], dtype=torch.long, device=self.device)]
        labels = batch.labels
        if labels is None:  # their forward pass wants some
            labels = torch.zeros(len(batch), NUM_LABELS)
        return *tensors, labels.to(self.device)

    def shapes(self, inputs: tuple[torch.Tensor, ...]) -> list[tuple[int, int]]:
        """Return rows and padded steps of what is computed at once: the whole batch."""
        return [(len(inputs[0]), STEPS)]

    def _forward(self, inputs: tuple[torch.Tensor, ...], *, training: bool) -> Any:
        *features, labels = inputs
        return self.model(
            *features,
            self.label_ids,
            self.label_mask,
            groundTruth_labels=labels,
            training=training,
        )

    def loss(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the sum of their losses."""
        loss: torch.Tensor = self._forward(inputs, training=True)[0]
        return loss

    @torch.no_grad()
    def predict(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the probabilities, (B, L), as their evaluation does."""
        self.model.eval()
        scores: torch.Tensor = self._forward(inputs, training=False)[2].cpu()
        return scores
