"""The history of scores: counted by id, with room for every training sample."""

import copy

import torch

from emotailor.models.lddu.history import FREE, ScoreHistory, _key_of


def scores(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows)


def test_scores_of_an_id_add_up_wherever_it_stands_in_a_batch() -> None:
    history = ScoreHistory(4, 2)
    history.add(["a", "b"], scores((0.1, 0.2), (0.5, 0.5)))
    history.add(["c", "a"], scores((0.9, 0.0), (0.3, 0.6)))
    mean = history.mean_with(["a", "b", "new"], scores((0.2, 0.1), (1.0, 0.0), (0.7, 0.4)))
    torch.testing.assert_close(mean, scores((0.2, 0.3), (0.75, 0.25), (0.7, 0.4)))
    assert sorted(history.counts.tolist()) == [0, 1, 1, 2]


def test_an_id_may_be_in_a_batch_twice() -> None:
    history = ScoreHistory(3, 2)
    history.add(["a", "a"], scores((0.1, 0.2), (0.5, 0.4)))
    assert history.counts.max() == 2
    mean = history.mean_with(["a"], scores((0.0, 0.0)))
    torch.testing.assert_close(mean, scores((0.2, 0.2)))


def test_gradients_flow_into_the_newest_scores_alone() -> None:
    history = ScoreHistory(3, 2)
    given = scores((0.1, 0.2)).requires_grad_()
    history.add(["a"], given)
    assert not history.sums.requires_grad
    newest = scores((0.3, 0.4), (0.5, 0.6)).requires_grad_()
    history.mean_with(["a", "b"], newest).sum().backward()
    assert newest.grad is not None
    torch.testing.assert_close(newest.grad, scores((0.5, 0.5), (1.0, 1.0)))


def test_it_never_grows_and_counts_no_more_than_it_has_room_for() -> None:
    history = ScoreHistory(2, 2)
    for _ in range(3):
        history.add(["a", "b", "c"], scores((0.1, 0.2), (0.3, 0.4), (0.5, 0.6)))
    assert history.counts.tolist() == [3, 3]
    assert (history.keys != FREE).all()
    ones = torch.ones(3, 2)
    means = history.mean_with(["a", "b", "c"], ones)
    left_out = (means == ones).all(1)
    assert left_out.sum() == 1


def test_without_room_there_is_no_history() -> None:
    history = ScoreHistory(0, 2)
    history.add(["a"], scores((0.1, 0.2)))
    newest = scores((0.3, 0.4))
    assert torch.equal(history.mean_with(["a"], newest), newest)


def test_it_is_stored() -> None:
    history = ScoreHistory(3, 2)
    history.add(["a", "b"], scores((0.1, 0.2), (0.5, 0.5)))
    other = ScoreHistory(0, 2)
    other.make_room(3)
    other.load_state_dict(copy.deepcopy(history.state_dict()))
    newest = scores((0.3, 0.4), (0.0, 0.1))
    ids = ["b", "a"]
    assert torch.equal(other.mean_with(ids, newest), history.mean_with(ids, newest))
    other.add(["z", "b"], newest)
    assert sorted(other.counts.tolist()) == [1, 1, 2]


def test_keys_are_whole_numbers_of_64_bits_that_say_nothing_of_order() -> None:
    keys = [_key_of(f"video{i}[{k}]") for i in range(100) for k in range(10)]
    assert len(set(keys)) == 1000
    assert FREE not in keys
    assert _key_of("video0[0]") == -2056807346208248494
    assert 2**60 < max(map(abs, keys)) <= 2**63
