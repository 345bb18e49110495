"""The optimizers and the learning-rate schedule of the two recipes."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from emotailor.errors import ModelError
from emotailor.models.base import EmotionModel
from emotailor.nn.plain import is_plain
from emotailor.training.config import TrainingConfig


class BertAdam(Optimizer):
    """Adam as the authors' program runs it.

    No bias correction, epsilon outside the root, decoupled weight decay inside the scheduled rate;
    before its update each tensor's gradient is clipped to norm ``max_norm`` once more.

    Args:
        params: parameters or groups of them.
        lr: learning rate; the schedule sets it before every step.
        betas: decay of the two moments.
        eps: added to the root of the second moment.
        weight_decay: times the parameter, added to the update.
        max_norm: of each tensor's gradient.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_norm: float = 1.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "max_norm": max_norm,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()

        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                if not self.state[p]:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
                    self.state[p]["exp_avg_sq"] = torch.zeros_like(p)

            if is_plain():
                for p in params:
                    self._update_one(p, group)
            elif params:
                for part in _cached_parts(params):
                    self._update(part, group)
        return loss

    def _update_one(self, p: Tensor, group: dict[str, Any]) -> None:
        """Update one parameter, as the definition says."""
        assert p.grad is not None
        first = self.state[p]["exp_avg"]
        second = self.state[p]["exp_avg_sq"]
        beta1, beta2 = group["betas"]

        # the gradient, clipped to max_norm
        norm = p.grad.norm()
        scale = group["max_norm"] / (norm + 1e-6)
        gradient = p.grad * scale.clamp(max=1.0)

        # the two moments
        first.mul_(beta1)
        first.add_((1 - beta1) * gradient)
        second.mul_(beta2)
        second.add_((1 - beta2) * gradient**2)

        # the update
        root = second.sqrt() + group["eps"]
        decay = group["weight_decay"] * p
        update = first / root + decay
        p.sub_(group["lr"] * update)

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters together: the same, an operation for all of them at a time."""
        first = [self.state[p]["exp_avg"] for p in params]
        second = [self.state[p]["exp_avg_sq"] for p in params]
        beta1, beta2 = group["betas"]

        # the gradients, each clipped to max_norm
        gradients = [p.grad for p in params if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients))  # (parameters,)
        scales = group["max_norm"] / (norms + 1e-6)
        scales = scales.clamp(max=1.0)
        gradients = list(torch._foreach_mul(gradients, list(scales)))

        # the two moments
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)

        # the updates
        roots = torch._foreach_sqrt(second)
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(first, roots)

        decay = group["weight_decay"]
        if decay:
            torch._foreach_add_(updates, params, alpha=decay)
        torch._foreach_add_(params, updates, alpha=-group["lr"])


CACHED_NUMBERS = 2**17
"""Numbers of parameters that are updated at once on a CPU."""


def _cached_parts(params: list[Tensor]) -> Iterator[list[Tensor]]:
    """Cut parameters into lists that a CPU's cache holds; on other devices leave them together."""
    part: list[Tensor] = []
    size = 0
    for p in params:
        count = p.numel()
        is_full = size + count > CACHED_NUMBERS
        if part and is_full and p.device.type == "cpu":
            yield part
            part = []
            size = 0

        # a parameter that is too large alone is a part of its own
        part.append(p)
        size += count
    yield part


def undecayed_names(model: nn.Module) -> set[str]:
    """Parameters that weight decay leaves alone: biases and layer-normalisation weights."""
    names: set[str] = set()
    for name, _ in model.named_parameters():
        # the name of the parameter itself, not that of a module around it
        last = name.rsplit(".", 1)[-1]
        if "bias" in last:
            names.add(name)

    for prefix, module in model.named_modules():
        if isinstance(module, nn.LayerNorm):
            names.add(f"{prefix}.weight")
    return names


def build_optimizer(model: EmotionModel, config: TrainingConfig) -> Optimizer:
    """Build the optimizer of a recipe over the parameters of ``model``."""
    exempt = undecayed_names(model) - model.always_decayed
    named = list(model.named_parameters())
    decayed = [p for name, p in named if name not in exempt]
    others = [p for name, p in named if name in exempt]

    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]

    rate = config.learning_rate
    if config.optimizer == "bert_adam":
        return BertAdam(groups, rate)

    if is_plain():
        return torch.optim.AdamW(groups, rate, foreach=False)

    # one pass over the parameters; on the CPU ten times faster than torch's default
    return torch.optim.AdamW(groups, rate, fused=True)


def rate_of_step(model: EmotionModel, config: TrainingConfig, step: int, total: int) -> float:
    """Return the learning rate of an update: the model's own choice, or the schedule's.

    Args:
        model: may choose by ``learning_rate_factor``.
        config: peak rate, schedule and warm-up share.
        step: optimizer step, from 0.
        total: number of optimizer steps of the whole training.

    Raises:
        ModelError: the model's factor is negative or not finite.
    """
    factor = model.learning_rate_factor(step, total)
    if factor is None:
        return learning_rate(config, step, total)

    if not math.isfinite(factor) or factor < 0:
        raise ModelError(
            f"the model's learning_rate_factor({step}, {total}) is {factor}",
            expected="a number from 0 on, times training.learning_rate",
            fix="correct the method learning_rate_factor of the model",
        )
    return config.learning_rate * factor


def learning_rate(config: TrainingConfig, step: int, total: int) -> float:
    """Linear warm-up over a share of all steps, then what the schedule says.

    ``linear`` decays to 0 at the last step, ``constant`` stays. ``cosine`` is half of
    ``1 + cos(pi x)``, with x the share of all steps that is done: at the end of the warm-up the
    rate falls at once from the peak to what the wave has there.

    Args:
        config: peak rate and warm-up share.
        step: optimizer step, from 0.
        total: number of optimizer steps of the whole training.
    """
    # the program counts from 0, so that its first update has rate 0 and changes nothing
    done = step if config.optimizer == "bert_adam" else step + 1
    peak = config.learning_rate
    warmup_steps = config.warmup * total
    if config.schedule == "constant" or done < warmup_steps:
        rising = done / max(warmup_steps, 1)
        return peak * min(rising, 1.0)

    if config.schedule == "cosine":
        wave = math.cos(math.pi * done / total)
        return peak * (1 + wave) / 2

    left = total - step
    falling_steps = (1 - config.warmup) * total
    falling = left / max(falling_steps, 1)
    return peak * min(falling, 1.0)
