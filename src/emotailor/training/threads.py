"""Parts of a batch computed at the same time, by threads of one core each.

On a CPU torch spreads every operation over all cores and waits for the slowest of them after each:
for the small operations of these models that costs 15 %, and on a machine busy with other work
several times the whole. Threads that each compute a part from beginning to end never wait.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotailor.models.base import EmotionModel
from emotailor.nn.dropout import own_randomness
from emotailor.nn.plain import is_plain

Losses = dict[str, Float[Tensor, ""]]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Threads to compute with; with one, everything happens in the calling thread.

    Args:
        count: number of threads.
        pool: the threads; None for the calling thread alone.
    """

    def __init__(self, count: int, pool: ThreadPoolExecutor | None) -> None:
        self.count = count
        self._pool = pool

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``function`` of every item, in order; the first exception is raised."""
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))


@contextmanager
def worker_threads(device: torch.device) -> Iterator[Workers]:
    """Yield as many workers as torch has threads on a CPU; one elsewhere and on plain paths."""
    count = torch.get_num_threads() if device.type == "cpu" else 1
    if count == 1 or is_plain():
        yield Workers(1, None)
        return

    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield Workers(count, pool)
    finally:
        torch.set_num_threads(count)  # part of the setting is shared by all threads


def backward_of_parts(
    model: EmotionModel,
    loss_of: Callable[[Item], tuple[Float[Tensor, ""], Losses]],
    parts: Sequence[Item],
    weights: Sequence[float],
    workers: Workers,
    *,
    backward: Callable[[Float[Tensor, ""]], None],
) -> list[Losses]:
    """Add the gradients of the weighted losses of all parts, in threads where that is possible.

    Args:
        model: whose parameters get the gradients.
        loss_of: part -> objective, losses by name.
        parts: of a batch.
        weights: of each part's objective.
        workers: to compute with.
        backward: adds the gradients of an objective, where one part follows the other.
    """
    if len(parts) > 1 and workers.count > 1 and model.parts_in_threads:
        return backward_in_threads(model, loss_of, parts, weights, workers)

    # one part after the other: only the activations of one are in memory
    found = []
    for part, weight in zip(parts, weights, strict=True):
        loss, losses = loss_of(part)
        backward(loss * weight)
        found.append(losses)
    return found


def backward_in_threads(
    model: nn.Module,
    loss_of: Callable[[Item], tuple[Float[Tensor, ""], Losses]],
    parts: Sequence[Item],
    weights: Sequence[float],
    workers: Workers,
) -> list[Losses]:
    """Add the gradients of the weighted losses of all parts; return what is to be reported.

    The result does not depend on which thread is faster: each part has random numbers of its own,
    and the gradients are added in order.

    Args:
        model: whose parameters get the gradients; its only random numbers are nn.dropout's.
        loss_of: part -> objective, losses by name.
        parts: of a batch.
        weights: of each part's objective.
        workers: to compute with.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def compute(job: tuple[Item, float, int]) -> tuple[Losses, tuple[Tensor | None, ...]]:
        part, weight, seed = job
        with own_randomness(seed):
            loss, losses = loss_of(part)

        # not backward(), which would write to the parameters from several threads
        weighted = loss * weight
        gradients = torch.autograd.grad(weighted, parameters, allow_unused=True)
        return losses, gradients

    seeds = torch.randint(2**62, (len(parts),)).tolist()
    jobs = list(zip(parts, weights, seeds, strict=True))
    results = workers.map(compute, jobs)

    # added in the order of the parts, whichever thread was done first
    for _, gradients in results:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is None:
                continue  # the loss of this part does not depend on the parameter

            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad.add_(gradient)
    return [losses for losses, _ in results]
