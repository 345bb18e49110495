"""What named modules of a model read and yield in one forward pass."""

from collections.abc import Callable
from typing import Any

from torch import nn


class Recorder:
    """Keeps the inputs and outputs of every named module of the latest forward pass."""

    def __init__(self, model: nn.Module) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, Any] = {}
        for name, module in model.named_modules():
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.inputs[name] = inputs
            self.outputs[name] = output

        return hook
