"""Gradients on a GPU by replaying what it did for an earlier batch of the same shape.

A step of these models is some thousands of small operations, and the GPU waits for the host to
start each of them. A CUDA graph holds all of them, and the host starts it at once. It computes the
same from other inputs, so long as the shapes are the same. So the second batch of a shape is
recorded, and later ones are replayed.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotailor.data.batching import Batch
from emotailor.training.threads import Losses

Objective = Callable[[Batch], tuple[Float[Tensor, ""], Losses]]
"""What is minimised on a batch, and the losses that are reported."""

MOST_SHAPES = 48
"""Shapes that are recorded; batches of any other are computed as ever."""

TRIAL_RUNS = 2
"""Passes before a recording, in which libraries choose their kernels and take their memory."""


@dataclass(frozen=True)
class Recording:
    """What the GPU does for every batch of one shape.

    Attributes:
        graph: the operations.
        batch: where they read their input.
        losses: where they leave what is reported.
        gradients: where they leave the gradient of each parameter; None for one that has none.
    """

    graph: torch.cuda.CUDAGraph
    batch: Batch
    losses: Losses
    gradients: Sequence[Tensor | None]


class Replay:
    """Computes the gradients of batches, from recordings where there are any.

    Args:
        model: whose parameters get the gradients; it is ``replayable``.
        objective: what is minimised.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        self.model = model
        self.objective = objective
        self.parameters = [p for p in model.parameters() if p.requires_grad]

        # every recording leaves its gradients here, and takes its memory from the same pool
        self.gradients: dict[int, Tensor] = {}
        self.pool: Any = None

        self.seen: set[Hashable] = set()
        self.recordings: dict[Hashable, Recording] = {}

    def set_gradients(self, batch: Batch) -> Losses:
        """Give the parameters the gradients of a batch, and return its losses.

        Both are valid until the next call. No parameter may have a gradient yet.
        """
        recording = self._recording_for(batch)
        if recording is None:
            losses, gradients = self._gradients_of(batch)
            self._give(gradients)
            return losses

        _copy(batch, recording.batch)
        recording.graph.replay()
        self._give(recording.gradients)
        return recording.losses

    def _give(self, gradients: Sequence[Tensor | None]) -> None:
        """Make these the gradients of the parameters."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def _recording_for(self, batch: Batch) -> Recording | None:
        """Return the recording of the batch's shape; None where the shape is not worth one."""
        shape = _shape_of(batch)
        if shape in self.recordings:
            return self.recordings[shape]

        # recording costs as much as several steps, so the shape must have come before
        is_new = shape not in self.seen
        self.seen.add(shape)
        if is_new or len(self.recordings) >= MOST_SHAPES:
            return None

        recording = self._record(batch)
        self.recordings[shape] = recording
        return recording

    def _record(self, batch: Batch) -> Recording:
        """Record what is done for one batch, without a trace in the model or the random numbers."""
        held = batch.copied()
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        random_state = torch.cuda.get_rng_state(batch.device)

        # CUDA asks for another stream than the usual one
        stream = torch.cuda.Stream(batch.device)
        stream.wait_stream(torch.cuda.current_stream(batch.device))
        with torch.cuda.stream(stream):
            for _ in range(TRIAL_RUNS):
                _, found = self._gradients_of(held)
        torch.cuda.current_stream(batch.device).wait_stream(stream)
        for number, gradient in enumerate(found):
            if gradient is not None and number not in self.gradients:
                self.gradients[number] = torch.empty_like(gradient)

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            losses, found = self._gradients_of(held)
            new = {number: g for number, g in enumerate(found) if g is not None}
            kept = {number: self.gradients[number] for number in new}
            torch._foreach_copy_(list(kept.values()), list(new.values()))
        self.pool = graph.pool()

        for buffer, before in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(before)
        torch.cuda.set_rng_state(random_state, batch.device)
        gradients = [kept.get(number) for number in range(len(found))]
        return Recording(graph, held, losses, gradients)

    def _gradients_of(self, batch: Batch) -> tuple[Losses, tuple[Tensor | None, ...]]:
        """Return the losses of a batch, and the gradient of each parameter."""
        loss, losses = self.objective(batch)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        return losses, gradients


def _tensors(batch: Batch) -> list[Tensor]:
    """Return what a batch holds, in a fixed order."""
    assert batch.labels is not None
    return [*batch.values.values(), *batch.masks.values(), batch.labels]


def _shape_of(batch: Batch) -> Hashable:
    """Return what two batches must have in common to be computed by one recording."""
    modalities = tuple(batch.values)
    shapes = tuple(tuple(tensor.shape) for tensor in _tensors(batch))
    return modalities, shapes


def _copy(batch: Batch, into: Batch) -> None:
    """Copy the contents of a batch into the tensors of another of the same shape."""
    pairs = zip(_tensors(into), _tensors(batch), strict=True)
    for target, source in pairs:
        target.copy_(source, non_blocking=True)
