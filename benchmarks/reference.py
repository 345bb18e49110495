"""What drives the authors' programs shares: a checkout that the user has, imported, never changed.

Packages that a program imports and does not use for what is measured are replaced by empty modules
where they are not installed.
"""

import importlib
import logging
import sys
import types
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.errors import ConfigError


@dataclass(frozen=True)
class Checkout:
    """A program that is on GitHub.

    Attributes:
        option: of the command line that names its folder.
        repository: ``owner/name``.
        needed: files that it must hold.
    """

    option: str
    repository: str
    needed: tuple[str, ...]

    def check(self, folder: Path) -> Path:
        """Return the absolute path of a checkout.

        Raises:
            ConfigError: it does not hold the program.
        """
        missing = [name for name in self.needed if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{self.option} {folder} holds no {missing[0]}",
                expected=f"a checkout of {self.repository}",
                fix=f"git clone https://github.com/{self.repository}, and name that folder",
            )
        return folder.resolve()


def _stand_in(name: str, attributes: tuple[str, ...]) -> None:
    """Put an empty module in place of one that is not installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        parent, _, child = name.rpartition(".")
        if parent:
            _stand_in(parent, (child,))
        module = types.ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (Exception,), {}))
        sys.modules[name] = module


def import_from(folder: Path, module: str, unused: Mapping[str, tuple[str, ...]]) -> Any:
    """Import a module that lies in a folder.

    Args:
        folder: put in front of where modules are looked for.
        module: such as ``src.models.models``.
        unused: modules that may be absent, and the names taken from each.
    """
    for name, attributes in unused.items():
        _stand_in(name, attributes)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def pad_steps(x: Float[Tensor, "batch steps dim"], steps: int) -> Float[Tensor, "batch padded dim"]:
    """Add zeros until there are ``steps`` steps."""
    return F.pad(x, (0, 0, 0, max(steps - x.shape[1], 0)))


class Reference(ABC):
    """An authors' model and optimizer, with the calls that their training loop makes.

    Attributes:
        checkout: where the program is.
        model: theirs.
        optimizer: theirs.
        clip_norm: to which their loop clips the gradient.
    """

    checkout: ClassVar[Checkout]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    clip_norm: float | None = None

    @abstractmethod
    def prepare(self, batch: Any) -> Any:
        """Turn a batch into what their data code supplies."""

    @abstractmethod
    def shapes(self, inputs: Any) -> list[tuple[int, int]]:
        """Return rows and padded steps of what is computed at once."""

    @abstractmethod
    def loss(self, inputs: Any) -> Float[Tensor, ""]:
        """Return their objective."""

    def clip(self) -> None:
        """Clip the norm of the whole gradient, where they do."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)

    def train_step(self, inputs: Any) -> float:
        """Take one step, as their loop does; return the loss."""
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.loss(inputs)
        loss.backward()
        self.clip()
        self.optimizer.step()
        return float(loss.detach())
