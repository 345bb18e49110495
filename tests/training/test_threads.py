"""Threads that compute parts of a batch: the same numbers as one, in every run."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from emotailor.data.batching import Batch
from emotailor.nn.dropout import draw_seed, own_randomness
from emotailor.training.inference import predict_probabilities
from emotailor.training.threads import Workers, backward_in_threads, worker_threads
from tests.helpers import DIMS, LABELS, random_samples
from tests.runs.runs import threads
from tests.systems import batch_of, tiny_model

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threads(2):
        yield


def test_workers_keep_the_order_and_leave_torch_as_it_was(two_threads: None) -> None:
    with worker_threads(CPU) as workers:
        assert workers.count == 2
        assert workers.map(lambda i: (i * i, torch.get_num_threads()), range(5)) == [
            (0, 1), (1, 1), (4, 1), (9, 1), (16, 1)
        ]  # fmt: skip
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda i: 1 // i, [1, 0])
    assert torch.get_num_threads() == 2


def test_one_worker_needs_no_threads() -> None:
    assert Workers(1, None).map(lambda i: i + 1, [1, 2]) == [2, 3]


def test_randomness_of_a_thread_is_its_own() -> None:
    torch.manual_seed(0)
    with own_randomness(5):
        first = [draw_seed(), draw_seed()]
    state = torch.get_rng_state()
    draw_seed()
    with own_randomness(5):
        assert [draw_seed(), draw_seed()] == first
    torch.set_rng_state(state)
    with own_randomness(6):
        assert draw_seed() not in first
    assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn from the global state


def gradients(workers: Workers, parts: list[Batch]) -> list[Tensor]:
    model = tiny_model("tailor", dropout=0.3).train()
    torch.manual_seed(3)

    def loss_of(part: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss = model.total_loss(model(part))
        return loss, {"total": loss.detach()}

    found = backward_in_threads(model, loss_of, parts, [0.25, 0.75], workers)
    assert [set(x) for x in found] == [{"total"}] * 2
    return [p.grad for p in model.parameters() if p.grad is not None]


def test_gradients_do_not_depend_on_the_threads(two_threads: None) -> None:
    samples = random_samples(9)
    parts = [batch_of(samples[:4], DIMS), batch_of(samples[4:], DIMS)]
    alone = gradients(Workers(1, None), parts)
    with worker_threads(CPU) as workers:
        first = gradients(workers, parts)
        for _ in range(3):
            again = gradients(workers, parts)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    torch.testing.assert_close(first, alone)  # two threads for one product round differently
    assert len(first) == len(list(tiny_model("tailor").parameters()))


def test_prediction_does_not_depend_on_the_threads(two_threads: None) -> None:
    from emotailor.data.dataset import EmotionDataset

    split = EmotionDataset.from_samples(
        {"test": random_samples(23)}, name="x", label_names=LABELS, dims=DIMS, aligned=True
    )["test"]
    model = tiny_model("tailor")
    threaded = predict_probabilities(
        model, split, DIMS, aligned=True, standardizer=None, batch_size=3
    )
    with threads(1):
        alone = predict_probabilities(
            model, split, DIMS, aligned=True, standardizer=None, batch_size=3
        )
    np.testing.assert_allclose(threaded, alone, atol=1e-6)
    one = model(batch_of([split.sample(5)], DIMS)).logits.sigmoid()
    np.testing.assert_allclose(threaded[5], one[0].detach(), atol=1e-5)
