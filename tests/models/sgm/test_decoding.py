"""Searching label sequences of decoders whose probabilities are written down."""

import torch
from torch import Tensor

from emotailor.models.sgm.decoding import (
    beam_search,
    best_of_each,
    label_probabilities,
    label_sequences,
    number_within,
    repeats_trigram,
)

Odds = dict[tuple[int, ...], list[float]]


class Written:
    """What was written so far."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def rows(self, chosen: Tensor) -> "Written":
        return Written(self.tokens[chosen])


class Table:
    """A decoder with the odds of the next token, by the sample and what was written."""

    def __init__(self, *odds: Odds) -> None:
        self.odds, self.calls = odds, 0

    def __call__(
        self, ids: Tensor, state: Written, sample: Tensor, banned: Tensor | None
    ) -> tuple[Tensor, Written, Tensor]:
        self.calls += 1
        tokens = torch.cat([state.tokens, ids[:, None]], 1)
        logits = torch.tensor(
            [self.odds[i].get(tuple(t[1:]), [1.0, 0.0, 0.0])  # else it ends
             for i, t in zip(sample.tolist(), tokens.tolist(), strict=True)]
        ).log()  # fmt: skip
        if banned is not None:
            logits = logits.masked_fill(banned, -1e7)
        return logits.clamp(min=-1e7), Written(tokens), torch.ones(len(ids), 2) / 2


def begin(samples: int) -> tuple[Written, Tensor]:
    return Written(torch.zeros(samples, 0, dtype=torch.long)), torch.full((samples,), 3)


# greedy takes label 0 and then ends with .3; the best is label 1 alone with .4
TRAP: Odds = {
    (): [0.1, 0.5, 0.4],
    (1,): [0.6, 0.0, 0.4],
    (2,): [1.0, 0.0, 0.0],
    (1, 2): [1.0, 0.0, 0.0],
}
SURE: Odds = {(): [0.9, 0.1, 0.0]}


def test_rows_of_samples() -> None:
    sample = torch.tensor([0, 0, 2, 2, 2, 3])
    assert number_within(sample, 5).tolist() == [0, 1, 0, 1, 2, 0]
    scores = torch.tensor([1.0, 2, 5, 7, 6, 0])
    assert best_of_each(scores, sample, 5, 2).tolist() == [1, 0, 3, 4, 5]


def test_repeated_trigrams() -> None:
    rows = [[1, 2, 3, 1, 2, 3], [1, 2, 3, 4, 1, 2], [5, 5, 5, 5, 1, 2], [1, 2, 1, 2, 1, 4]]
    assert repeats_trigram(torch.tensor(rows)).tolist() == [True, False, True, True]
    assert repeats_trigram(torch.tensor([[1, 1, 1]])).tolist() == [False]


def test_a_beam_finds_what_greedy_misses() -> None:
    found = {
        width: beam_search(Table(TRAP, SURE), *begin(2), beam=width, max_steps=3)
        for width in (1, 2)
    }
    assert found == {1: [[1], []], 2: [[2], []]}


def test_each_hypothesis_has_its_own_mask_and_past() -> None:
    """Hypothesis 2 1 is the best; 1, of the first slot, must not be masked in it."""
    odds = {(): [0.1, 0.5, 0.4], (1,): [0.1, 0.8, 0.1], (2,): [0.05, 0.9, 0.05], (2, 1): [1, 1, 1]}
    found = beam_search(Table(odds), *begin(1), beam=2, max_steps=3)  # type: ignore[arg-type]
    assert found == [[2, 1]]


def test_a_search_stops_when_nothing_can_become_better() -> None:
    step = Table(SURE)
    assert beam_search(step, *begin(1), beam=2, max_steps=9) == [[]]
    assert step.calls == 1
    step = Table(TRAP)
    beam_search(step, *begin(1), beam=2, max_steps=9)
    assert step.calls == 2


def test_the_best_open_hypothesis_where_none_ended() -> None:
    odds = {(): [0.0, 0.6, 0.4], (1,): [0.0, 0.0, 1.0]}
    assert beam_search(Table(odds), *begin(1), beam=2, max_steps=1) == [[1]]


def test_without_masks_labels_repeat_but_not_trigrams() -> None:
    again = [0.3, 0.7, 0.0]
    odds = {(1,) * n: again for n in range(9)}
    found = beam_search(
        Table(odds), *begin(1), beam=1, max_steps=9, distinct=False, length_norm=True
    )
    assert found == [[1, 1, 1, 1]]  # open: the repeated trigram has no children


def test_probabilities_of_labels() -> None:
    levels = list(label_sequences(Table(TRAP, SURE), *begin(2), 2))
    assert [len(level.sample) for level in levels] == [2, 4, 4]
    held, mass, attention = label_probabilities(levels, 2, need_attention=True)
    torch.testing.assert_close(held, torch.tensor([[0.5, 0.6], [0.1, 0.0]]))
    torch.testing.assert_close(mass, torch.ones(2))
    assert attention is not None
    torch.testing.assert_close(attention[0], torch.full((2, 2), 0.5))


def test_what_is_left_out_counts_as_ended() -> None:
    for options in ({"least": 0.45}, {"width": 1}):
        levels = list(label_sequences(Table(TRAP), *begin(1), 2, **options))
        assert levels[0].continued.tolist() == [[True, False]]
        held, mass, attention = label_probabilities(levels, 1)
        torch.testing.assert_close(held, torch.tensor([[0.5, 0.6]]))
        torch.testing.assert_close(mass, torch.ones(1))
        assert attention is None
    levels = list(label_sequences(Table(TRAP), *begin(1), 2, least=0.55))
    held, mass, _ = label_probabilities(levels, 1)
    torch.testing.assert_close(held, torch.tensor([[0.5, 0.4]]))  # 2 after 1 is left out
    torch.testing.assert_close(mass, torch.ones(1))


def test_nothing_is_computed_where_only_the_end_can_follow() -> None:
    step = Table(TRAP)
    levels = list(label_sequences(step, *begin(1), 2))
    assert (len(levels), step.calls) == (3, 2)
