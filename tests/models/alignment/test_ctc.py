"""The CTC alignment module: sums by hand, the loss by enumeration, masks, what it refuses."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from emotailor.errors import ModelError
from emotailor.models.alignment.ctc import CTCAlignment

DIM, STEPS, LONGEST = 5, 7, 3


def module(**settings: str) -> CTCAlignment:
    torch.manual_seed(0)
    return CTCAlignment(DIM, LONGEST, **settings).eval()  # type: ignore[arg-type]


def source(rows: int = 2, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(rows, steps, DIM), torch.ones(rows, steps, dtype=torch.bool)


def enumerated(probabilities: Tensor, target: int) -> float:
    """Minus log of the summed probability of all paths (T, classes) that read 1..target."""
    total = 0.0
    steps, classes = probabilities.shape
    for path in product(range(classes), repeat=steps):
        read = [c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        if read == list(range(1, target + 1)):
            total += math.prod(float(probabilities[t, c]) for t, c in enumerate(path))
    return -math.log(total)


def probabilities_of(ctc: CTCAlignment, x: Tensor, mask: Tensor, classes: int) -> Tensor:
    activations, _, _ = ctc.lstm(x, mask)
    return activations[..., :classes].softmax(-1)


def test_aligned_steps_are_weighted_sums_over_the_source() -> None:
    ctc, (x, mask) = module(), source()
    found = ctc(x, mask, torch.tensor([3, 2]))
    p = probabilities_of(ctc, x, mask, 4)
    assert found.values.shape == (2, 3, DIM)
    assert found.weights.shape == (2, 3, STEPS)
    for s in range(3):
        by_hand = sum(p[0, t, s + 1] * x[0, t] for t in range(STEPS))
        torch.testing.assert_close(found.values[0, s], by_hand)
    # the second target has no third position: nothing is left over for it
    assert found.weights[1, 2].abs().max() == 0
    torch.testing.assert_close(found.weights[1, :2], probabilities_of(ctc, x, mask, 3)[1, :, 1:].mT)


@pytest.mark.parametrize(("steps", "target"), [(5, 3), (4, 2), (3, 3), (4, 1)])
def test_the_loss_is_that_of_all_paths_that_pass_the_positions_in_order(
    steps: int, target: int
) -> None:
    ctc, (x, mask) = module(), source(1, steps)
    found = ctc(x, mask, torch.tensor([target]))
    p = probabilities_of(ctc, x, mask, target + 1)[0].detach()
    assert found.loss is not None
    assert found.loss.item() == pytest.approx(enumerated(p, target), rel=1e-5)


def test_the_program_has_one_path_over_the_first_frames() -> None:
    ctc, (x, mask) = module(frames="first", positions="all"), source()
    found = ctc(x, mask, torch.tensor([1, 2]))
    p = probabilities_of(ctc, x, mask, LONGEST + 1)
    by_hand = -torch.stack([p[:, t, t + 1] for t in range(LONGEST)]).log().sum(0)
    torch.testing.assert_close(found.loss, by_hand)
    assert found.values.shape == (2, LONGEST, DIM)  # whatever the targets' lengths


def test_a_source_shorter_than_its_target_has_no_loss_and_no_gradient_from_it() -> None:
    ctc, (x, mask) = module(), source(3)
    mask[0, 2:] = False  # 2 steps for 3 positions
    mask[1] = False  # no source
    found = ctc(x, mask, torch.tensor([3, 3, 0]))  # and no target
    assert found.loss.tolist() == [0, 0, 0]
    found.loss.sum().backward()
    for name, parameter in ctc.named_parameters():
        assert parameter.grad is None or parameter.grad.abs().max() == 0, name
    assert found.values[1].abs().max() == 0
    assert found.values[2].abs().max() == 0


@pytest.mark.parametrize("garbage", [3.0, 1e30, float("nan")])
def test_masked_steps_never_happened(garbage: float) -> None:
    ctc, (x, mask) = module(), source()
    kept = torch.tensor([0, 2, 3, 6])
    mask[:, [1, 4, 5]] = False
    x[:, [1, 4, 5]] = garbage
    x.requires_grad_()
    targets = torch.tensor([3, 2])
    found = ctc(x, mask, targets)
    short = ctc(x.detach()[:, kept], mask[:, kept], targets)
    torch.testing.assert_close(found.values, short.values)
    torch.testing.assert_close(found.weights[..., kept], short.weights)
    torch.testing.assert_close(found.loss, short.loss)
    assert found.weights[..., [1, 4, 5]].abs().max() == 0
    (found.values.sum() + found.loss.sum()).backward()
    assert x.grad is not None
    assert x.grad[:, [1, 4, 5]].abs().max() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ctc.parameters())


def test_batch_mates_change_nothing() -> None:
    ctc, (x, mask) = module(), source(3)
    mask[1, 4:] = False
    targets = torch.tensor([1, 3, 2])
    together = ctc(x, mask, targets)
    for i, n in enumerate(targets.tolist()):
        alone = ctc(x[[i]], mask[[i]], targets[[i]])
        torch.testing.assert_close(together.values[[i], :n], alone.values)
        torch.testing.assert_close(together.loss[[i]], alone.loss)


def test_training_makes_the_alignment_advance() -> None:
    torch.manual_seed(2)
    ctc = CTCAlignment(4, 4)
    x = torch.eye(4).repeat_interleave(3, 0)[None]  # four events of three steps each
    mask = torch.ones(1, 12, dtype=torch.bool)
    optimizer = torch.optim.Adam(ctc.parameters(), 0.05)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = ctc(x, mask, torch.tensor([4])).loss.sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    # each position takes most of its weight from later steps than the one before
    weights = ctc(x, mask, torch.tensor([4])).weights[0]
    centres = (weights * torch.arange(12.0)).sum(1) / weights.sum(1)
    assert (centres.diff() > 0).all()


def test_half_precision() -> None:
    ctc, (x, mask) = module(), source()
    with torch.autocast("cpu", torch.bfloat16):
        found = ctc(x, mask, torch.tensor([3, 2]))
    exact = ctc(x, mask, torch.tensor([3, 2]))
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.loss, exact.loss, rtol=0.02, atol=0.02)
    torch.testing.assert_close(found.values.float(), exact.values, rtol=0.05, atol=0.05)
    exact_loss = ctc.double()(x.double(), mask, torch.tensor([3, 2])).loss
    torch.testing.assert_close(exact.loss.double(), exact_loss, rtol=1e-5, atol=1e-5)


def test_a_target_that_is_too_long() -> None:
    with pytest.raises(ModelError, match="a target of 4 steps"):
        module()(*source(), torch.tensor([3, 4]))


def test_without_loss() -> None:
    assert module()(*source(), torch.tensor([3, 2]), loss=False).loss is None
