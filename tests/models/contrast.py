"""What the contrastive loss of a model is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest.mock import patch

from torch import Tensor

from emotailor.nn.contrastive import ContrastiveQueue, supervised_contrast


@contextmanager
def kept_contrast(module: ModuleType) -> Iterator[list[Tensor]]:
    """Keep the rows, their classes, and the queue's rows and classes before they enter it.

    Args:
        module: of the model.
    """
    given: list[Tensor] = []

    def keep(
        rows: Tensor,
        classes: Tensor,
        queue: ContrastiveQueue,
        temperature: float,
        *,
        enter: bool,
    ) -> Tensor:
        # copies: the queue moves in place afterwards
        given.extend(x.detach().clone() for x in (rows, classes, queue.rows, queue.classes))
        return supervised_contrast(rows, classes, queue, temperature, enter=enter)

    with patch.object(module, "supervised_contrast", keep):
        yield given
