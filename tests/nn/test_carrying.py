"""The LSTM that carries its state over masked steps, against torch's own on the real steps."""

import torch

from emotailor.nn.carrying import CarryingLSTM


def test_masked_steps_never_happened() -> None:
    torch.manual_seed(0)
    model, x = CarryingLSTM(5, 3, 2), torch.randn(3, 7, 5)
    mask = torch.tensor(
        [[1, 1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0]]
    ).bool()
    states = model(x, mask)
    torch.testing.assert_close(states[0], model.rnn(x[:1])[0][0])
    alone = model.rnn(x[1:2, [1, 4, 5]])[0][0]
    expected = torch.stack([torch.zeros(3), *alone[[0, 0, 0, 1, 2, 2]]])
    torch.testing.assert_close(states[1], expected)
    assert states[2].abs().max() == 0


def test_gradients_come_from_real_steps_alone() -> None:
    torch.manual_seed(1)
    model, x = CarryingLSTM(5, 3), torch.randn(2, 4, 5, requires_grad=True)
    mask = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    model(x, mask)[:, -1].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(-1) > 0).equal(mask)
