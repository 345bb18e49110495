"""What is measured: our TAILOR in one of its faces, with the calls our training loop makes."""

import torch

from benchmarks.specification import Specification
from emotailor.configs.training import TrainingConfig
from emotailor.data.batching import Batch
from emotailor.models.factory import build_model
from emotailor.training.optimizer import build_optimizer, learning_rate

TOTAL_STEPS = 5100  # 20 epochs over 16,326 samples


class OurTailor:
    """Our model and optimizer.

    Args:
        spec: what to build.
        device: to compute on.
    """

    def __init__(self, spec: Specification, device: torch.device) -> None:
        self.device, self.bf16 = device, spec.precision == "bf16"
        self.training = TrainingConfig.authors()
        self.model = build_model("tailor", spec.model, spec.dims, spec.num_labels).to(device)
        self.optimizer = build_optimizer(self.model, self.training)
        self.step = 0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def prepare(self, batch: Batch) -> Batch:
        """Move a batch to the device."""
        return batch.to(self.device)

    def train_step(self, batch: Batch) -> float:
        """Take one optimizer step; return the loss."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.training, self.step, TOTAL_STEPS)
        with self._autocast():
            loss = self.model.total_loss(self.model(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        assert self.training.clip_norm is not None
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return float(loss.detach())

    @torch.inference_mode()
    def predict(self, batch: Batch) -> torch.Tensor:
        """Return the probabilities, (B, L)."""
        self.model.eval()
        with self._autocast():
            logits = self.model(batch).logits
        probabilities: torch.Tensor = logits.float().sigmoid().cpu()
        return probabilities
