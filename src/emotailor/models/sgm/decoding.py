"""Label sequences for and from a step-by-step decoder: targets, probabilities, beam search.

Notable:

- token 0 ends a sequence and token 1 + k is label k; a decoder may have more tokens after these;
- the hypotheses of all samples are the rows of one tensor, sorted by their sample, so that nothing
  is computed for those that were left out;
- two searches share this form: ``beam_search`` keeps the best few hypotheses, ``label_sequences``
  goes through all sequences of distinct labels, level by level of their prefix tree.

Symbols: B samples, N hypotheses of all samples, L labels, V outputs of the decoder (end, labels and
what else it has), T steps that it attends to.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

END = 0
NEVER = -1e7
"""The logit of what must not follow: finite, so that a softmax of such logits alone is too."""

IGNORED = -100
"""Stands after the end of a target."""


@runtime_checkable
class Rows(Protocol):
    """What a decoder knows of N hypotheses."""

    def rows(self, chosen: Int64[Tensor, "chosen"]) -> Any:
        """Return the same of the chosen hypotheses."""


StateT = TypeVar("StateT", bound=Rows)
Step = Callable[
    [Tensor, StateT, Tensor, Tensor | None],
    tuple[Tensor, StateT, Tensor],
]
"""(tokens (N,), state, sample of each (N,), banned next tokens (N, V) or None) -> (logits (N, V),
state, attention (N, T))."""


def label_targets(
    labels: Float[Tensor, "batch labels"], order: Int64[Tensor, "labels"]
) -> Int64[Tensor, "batch length"]:
    """Return each sample's label tokens in the given order, the end token, then IGNORED."""
    held = labels > 0.5
    held = held[:, order]
    count = held.sum(1, keepdim=True)  # (B, 1)
    longest = int(count.max())

    # a stable sort puts the places of the labels that hold first, and keeps their order
    places = torch.sort(~held, dim=1, stable=True).indices
    label = order[places]
    tokens = 1 + label
    tokens = F.pad(tokens, (0, 1))  # (B, L + 1)

    step = torch.arange(tokens.shape[1], device=tokens.device)
    tokens = tokens.masked_fill(step == count, END)
    tokens = tokens.masked_fill(step > count, IGNORED)
    return tokens[:, : longest + 1]


def number_within(sample: Int64[Tensor, "rows"], samples: int) -> Int64[Tensor, "rows"]:
    """Number the rows of each sample from 0; ``sample`` is sorted."""
    counts = torch.bincount(sample, minlength=samples)  # (B,)
    first_row = counts.cumsum(0) - counts
    row = torch.arange(len(sample), device=sample.device)
    return row - first_row[sample]


def best_of_each(
    scores: Float[Tensor, "rows"], sample: Int64[Tensor, "rows"], samples: int, count: int
) -> Int64[Tensor, "kept"]:
    """Return the rows with the ``count`` largest scores of each sample, the best first."""
    by_score = torch.sort(scores, descending=True, stable=True).indices
    by_sample = torch.sort(sample[by_score], stable=True).indices
    # sample by sample, the best first
    order = by_score[by_sample]
    rank = number_within(sample[order], samples)
    return order[rank < count]


def repeats_trigram(tokens: Int64[Tensor, "rows length"]) -> Bool[Tensor, "rows"]:
    """Return which rows hold the same three tokens in a row twice."""
    rows, length = tokens.shape
    if length < 4:
        return torch.zeros(rows, dtype=torch.bool, device=tokens.device)

    grams = tokens.unfold(1, 3, 1)  # (N, G, 3)
    equal = grams[:, :, None] == grams[:, None]  # (N, G, G, 3)
    same = equal.all(-1)

    # a trigram is always the same as itself
    earlier = same.tril(-1)
    return earlier.flatten(1).any(1)


def is_among(tokens: Int64[Tensor, "rows length"], outputs: int) -> Bool[Tensor, "rows outputs"]:
    """Return which of the tokens 0 .. outputs - 1 each row holds."""
    rows = tokens.shape[0]
    none = torch.zeros(rows, outputs, dtype=torch.bool, device=tokens.device)
    return none.scatter(1, tokens, True)


@dataclass(frozen=True)
class Hypotheses(Generic[StateT]):
    """N token sequences of one length that may go on.

    Attributes:
        sample: (N,), the sample of each, ascending.
        tokens: (N, length), what was written, in its order.
        last: (N,), the token that the decoder reads next: the last one written, or before the
            first the one that begins a sequence.
        log_probs: (N,), of what was written.
        state: of the decoder, before it reads ``last``.
    """

    sample: Int64[Tensor, "rows"]
    tokens: Int64[Tensor, "rows length"]
    last: Int64[Tensor, "rows"]
    log_probs: Float[Tensor, "rows"]
    state: StateT

    @classmethod
    def empty(cls, state: StateT, begin: Int64[Tensor, "samples"]) -> "Hypotheses[StateT]":
        """Return one hypothesis per sample, with nothing written."""
        samples = len(begin)
        sample = torch.arange(samples, device=begin.device)
        return cls(
            sample=sample,
            tokens=sample.new_empty(samples, 0),
            last=begin,
            log_probs=torch.zeros(samples, device=begin.device),
            state=state,
        )

    def chosen(self, rows: Int64[Tensor, "chosen"]) -> "Hypotheses[StateT]":
        """Return the hypotheses of these rows."""
        return Hypotheses(
            sample=self.sample[rows],
            tokens=self.tokens[rows],
            last=self.last[rows],
            log_probs=self.log_probs[rows],
            state=self.state.rows(rows),
        )

    def continued(
        self,
        rows: Int64[Tensor, "chosen"],
        token: Int64[Tensor, "chosen"],
        log_probs: Float[Tensor, "chosen"],
    ) -> "Hypotheses[StateT]":
        """Write one more token after each of these rows; a row may be continued many times.

        Args:
            rows: what is continued, ascending in its samples.
            token: what is written.
            log_probs: of the longer sequences.
        """
        written = self.tokens[rows]
        return Hypotheses(
            sample=self.sample[rows],
            tokens=torch.cat([written, token[:, None]], 1),
            last=token,
            log_probs=log_probs,
            state=self.state.rows(rows),
        )


@dataclass(frozen=True)
class Prefixes:
    """N label sequences of one length, which may go on.

    Attributes:
        sample: (N,), the sample of each.
        labels: (N, length), in the order they were written.
        log_probs: (N,), of the prefixes.
        following: (N, V), log-probability of each next token.
        continued: (N, L), the labels with which a prefix goes on at the next length; not those
            that are left out.
        attention: (N, T), of the step that writes the next token.
    """

    sample: Int64[Tensor, "rows"]
    labels: Int64[Tensor, "rows length"]
    log_probs: Float[Tensor, "rows"]
    following: Float[Tensor, "rows outputs"]
    continued: Bool[Tensor, "rows labels"]
    attention: Float[Tensor, "rows steps"]


def label_sequences(
    step: Step[StateT],
    state: StateT,
    ids: Int64[Tensor, "samples"],
    num_labels: int,
    *,
    least: float = 0.0,
    width: int | None = None,
) -> Iterator[Prefixes]:
    """Yield the sequences of distinct labels, level by level of their prefix tree.

    Args:
        step: of the decoder.
        state: of the decoder, one row per sample.
        ids: (B,), the tokens that begin each sample's sequences.
        num_labels: L.
        least: prefixes that are less probable are left out, with all that continues them; 0: none.
        width: how many prefixes per sample and length are kept, the most probable; None for all.
    """
    samples = len(ids)
    shown = slice(1, 1 + num_labels)  # the labels among the outputs
    floor = math.log(least) if least else -math.inf
    prefixes = Hypotheses.empty(state, ids)
    attention = torch.empty(0)
    outputs = 0  # V; known after the first step

    for length in range(num_labels + 1):
        labels = prefixes.tokens - 1
        sample = prefixes.sample
        log_probs = prefixes.log_probs

        all_written = length == num_labels
        if all_written and outputs <= num_labels + 1:
            # nothing but the end can follow all labels
            following = log_probs.new_full((len(sample), outputs), NEVER)
            following[:, END] = 0
            steps = attention.shape[1]
            attention = attention.new_zeros(len(sample), steps)
        else:
            banned = None
            if length:
                banned = is_among(prefixes.tokens, outputs)
            logits, state, attention = step(
                prefixes.last,
                prefixes.state,
                sample,
                banned,
            )
            prefixes = replace(prefixes, state=state)
            following = logits.log_softmax(-1)
            outputs = logits.shape[1]

        longer = log_probs[:, None] + following[:, shown]  # (N, L)
        probable = longer > floor
        continued = probable & ~is_among(labels, num_labels)
        row, label = continued.nonzero(as_tuple=True)

        if width is not None:
            score = longer[row, label]
            kept = best_of_each(score, sample[row], samples, width)
            row = row[kept]
            label = label[kept]

            continued = torch.zeros_like(continued)
            continued[row, label] = True

        yield Prefixes(
            sample=sample,
            labels=labels,
            log_probs=log_probs,
            following=following,
            continued=continued,
            attention=attention,
        )
        if not len(row):
            return

        token = 1 + label
        prefixes = prefixes.continued(row, token, longer[row, label])


def every_sequence(
    step: Step[StateT],
    state: StateT,
    ids: Int64[Tensor, "samples"],
    num_labels: int,
    *,
    least: float = 0.0,
    width: int | None = None,
) -> Iterator[Prefixes]:
    """Yield what :func:`label_sequences` yields, with as many rows for every sample.

    For a graph that is exported, which cannot have as many rows as a batch happens to need. A
    prefix that is left out stays as a row of probability 0, and so does all that continues it.

    Args:
        step: as for :func:`label_sequences`.
        state: as for :func:`label_sequences`.
        ids: as for :func:`label_sequences`.
        num_labels: as for :func:`label_sequences`.
        least: as for :func:`label_sequences`.
        width: as for :func:`label_sequences`.
    """
    samples = ids.shape[0]
    first = torch.arange(samples, device=ids.device)[:, None]  # (B, 1)
    shown = slice(1, 1 + num_labels)  # the labels among the outputs
    floor = math.log(least) if least else -math.inf
    going = Hypotheses(
        sample=first[:, 0],
        tokens=first[:, :0],
        last=ids,
        log_probs=torch.zeros_like(ids, dtype=torch.float32),
        state=state,
    )
    count = 1  # R, rows of a sample
    outputs = 0  # V; known after the first step
    attention = torch.empty(0)
    written: list[tuple[int, ...]] = [()]  # of each row, where all rows are gone through

    for length in range(num_labels + 1):
        all_written = length == num_labels
        if all_written and outputs <= num_labels + 1:
            # nothing but the end can follow all labels
            ends = torch.arange(outputs, device=ids.device) == END
            rows = going.last.shape[0]
            following = torch.where(ends, 0.0, NEVER).expand(rows, -1)
            attention = attention.new_zeros(rows, attention.shape[1])
        else:
            banned = is_among(going.tokens, outputs) if length else None
            logits, state, attention = step(going.last, going.state, going.sample, banned)
            going = replace(going, state=state)
            following = logits.log_softmax(-1)
            outputs = logits.shape[1]

        longer = going.log_probs[:, None] + following[:, shown]  # (B R, L)
        labels = going.tokens - 1
        continued = longer > floor
        if length:
            continued = continued & ~is_among(labels, num_labels)

        # of each sample the longer sequences, whichever of them are continued
        scores = longer.masked_fill(~continued, -math.inf).reshape(samples, count * num_labels)
        if width is None:
            pairs = [(r, k) for r, before in enumerate(written) for k in range(num_labels)]
            pairs = [(r, k) for r, k in pairs if k not in written[r]]
            written = [(*written[r], k) for r, k in pairs]
            places = torch.tensor([r * num_labels + k for r, k in pairs], dtype=torch.int64)
            chosen = places.expand(samples, -1)  # (B, R')
            log_probs = scores.index_select(1, places)
        else:
            kept = min(width, count * num_labels)
            log_probs, chosen = scores.topk(kept, 1)
            none = torch.zeros_like(scores, dtype=torch.bool)
            is_kept = none.scatter(1, chosen, log_probs > -math.inf)
            continued = is_kept.reshape(-1, num_labels)

        yield Prefixes(
            sample=going.sample,
            labels=labels,
            log_probs=going.log_probs,
            following=following,
            continued=continued,
            attention=attention,
        )
        if all_written:
            return

        row = (first * count + chosen // num_labels).flatten()
        label = (chosen % num_labels).flatten()
        count = chosen.shape[1]
        going = going.continued(row, 1 + label, log_probs.flatten())


class LabelSums:
    """Sums over the sequences that contain a label, collected level by level.

    Args:
        first: the prefixes of length 0.
        samples: B.

    Attributes:
        held: (B, L), the probability of all sequences with a label.
        mass: (B,), the probability of all sequences.
        looks: (B, L, T), the attention of the steps that may write a label, each weighted by the
            probability that it does; summed, not averaged.
    """

    def __init__(self, first: Prefixes, samples: int) -> None:
        labels = first.continued.shape[1]
        steps = first.attention.shape[1]
        zeros = first.log_probs.new_zeros
        self.mass: Tensor = zeros(samples)
        self.held: Tensor = zeros(samples, labels)
        self.looks: Tensor = zeros(samples, labels, steps)

    def add(self, level: Prefixes, *, need_attention: bool) -> None:
        """Add the sequences that end at a level, and those that are left out there."""
        labels = level.continued.shape[1]
        shown = slice(1, 1 + labels)  # the labels among the outputs
        sample = level.sample
        log_probs = level.log_probs[:, None]
        longer = log_probs + level.following
        next_token = longer.exp()  # (N, V)
        end = next_token[:, END]
        label = next_token[:, shown]

        # what is left out counts as if it ended right after its last label
        cut = label.masked_fill(level.continued, 0)  # (N, L)
        ending = end + cut.sum(1)  # (N,)
        self.mass = self.mass.index_add(0, sample, ending)

        one_hot = F.one_hot(level.labels, labels)  # (N, length, L)
        holds = one_hot.sum(1)  # (N, L)
        with_label = ending[:, None] * holds
        with_label = with_label + cut
        self.held = self.held.index_add(0, sample, with_label)

        if need_attention:
            attention = level.attention[:, None]
            look = label[..., None] * attention  # (N, L, T)
            self.looks = self.looks.index_add(0, sample, look)


def label_probabilities(
    levels: Iterable[Prefixes], samples: int, *, need_attention: bool = False
) -> tuple[
    Float[Tensor, "samples labels"],
    Float[Tensor, "samples"],
    Float[Tensor, "samples labels steps"] | None,
]:
    """Sum the probabilities of the sequences that contain a label.

    A prefix that was left out counts as if it ended there: this moves no sum by more than the
    probability of all that were left out, and only by what would have followed them.

    Args:
        levels: from :func:`label_sequences`.
        samples: B.
        need_attention: also return the attention.

    Returns:
        The probability of all sequences with a label (B, L), and of all sequences (B,), below 1
        where a decoder has tokens beside labels and end. The attention of the steps that may write
        a label (B, L, T), weighted by their probability of doing so.
    """
    remaining = iter(levels)
    first = next(remaining)
    sums = LabelSums(first, samples)
    sums.add(first, need_attention=need_attention)
    for level in remaining:
        sums.add(level, need_attention=need_attention)

    if not need_attention:
        return sums.held, sums.mass, None

    total = sums.looks.sum(-1, keepdim=True)
    total = total.clamp(min=1e-30)
    return sums.held, sums.mass, sums.looks / total


class Answers:
    """The best sequence of each sample so far.

    Args:
        samples: B.
        device: where hypotheses are.

    Attributes:
        best: (B,), the score of the best ended sequence; minus infinity where none has ended.
        tokens: that sequence of each sample, without its end; or the best open one.
    """

    def __init__(self, samples: int, device: torch.device) -> None:
        self.best = torch.full((samples,), -math.inf, device=device)
        self.tokens: list[list[int]] = [[] for _ in range(samples)]

    def take_ended(
        self, found: Hypotheses[Any], ended: Bool[Tensor, "rows"], score: Float[Tensor, "rows"]
    ) -> None:
        """Keep what has ended where it scores higher than the best so far."""
        for row in true_rows(ended):
            sample = int(found.sample[row])
            if score[row] > self.best[sample]:
                written = found.tokens[row, :-1]
                self.best[sample] = score[row]
                self.tokens[sample] = written.tolist()

    def take_open(self, found: Hypotheses[Any], rows: list[int]) -> None:
        """Keep hypotheses that have not ended, where none of their sample has.

        Args:
            found: the hypotheses; the best of a sample comes first.
            rows: those to take, ascending.
        """
        for row in reversed(rows):  # so that the best is the last to be written
            sample = int(found.sample[row])
            if self.best[sample] == -math.inf:
                self.tokens[sample] = found.tokens[row].tolist()


def true_rows(mask: Bool[Tensor, "rows"]) -> list[int]:
    """Return the indices where a mask is True, ascending."""
    return mask.nonzero().flatten().tolist()


def beam_search(
    step: Step[StateT],
    state: StateT,
    ids: Int64[Tensor, "samples"],
    *,
    beam: int,
    max_steps: int,
    distinct: bool = True,
    length_norm: bool = False,
) -> list[list[int]]:
    """Return the best sequence of each sample: its tokens without begin and end.

    Each step keeps the ``beam`` most probable hypotheses of a sample, those that end among them.
    If none has ended after ``max_steps``, the best open one is returned. A beam of 1 is greedy.

    Args:
        step: of the decoder.
        state: of the decoder, one row per sample.
        ids: (B,), the tokens that begin each sample's sequences.
        beam: hypotheses kept per sample.
        max_steps: the most tokens written, the end included.
        distinct: no token is written twice, and a sample's search goes on while an open hypothesis
            can become the best. Otherwise only repeated trigrams are barred, and it stops when the
            best hypothesis of a step ends.
        length_norm: the best ended hypothesis has the largest log-probability per token, begin and
            end included, instead of the largest log-probability.
    """
    samples = len(ids)
    going = Hypotheses.empty(state, ids)
    answers = Answers(samples, ids.device)
    outputs = 0  # V; known after the first step

    for length in range(max_steps):
        # 1. what may follow each hypothesis, and how probable it is
        banned = None
        if distinct and length:
            banned = is_among(going.tokens, outputs)
        logits, state, _ = step(
            going.last,
            going.state,
            going.sample,
            banned,
        )
        going = replace(going, state=state)
        following = logits.log_softmax(-1)
        longer = going.log_probs[:, None] + following  # (N, V)
        outputs = logits.shape[1]

        if banned is None:
            # a hypothesis that has repeated itself ends here
            repeated = repeats_trigram(going.tokens)
            barred = repeated[:, None].expand_as(longer)
        else:
            barred = banned
        stuck = barred.all(1)
        answers.take_open(going, true_rows(stuck))

        # 2. the best few continuations of each sample, the best first
        allowed = ~barred
        row, token = allowed.nonzero(as_tuple=True)
        kept = best_of_each(
            longer[row, token],
            going.sample[row],
            samples,
            beam,
        )
        row = row[kept]
        token = token[kept]
        found = going.continued(row, token, longer[row, token])

        # 3. those that have ended are answers
        ended = found.last == END
        score = found.log_probs
        if length_norm:
            score = score / (length + 2)  # the tokens written, and the one that begins
        answers.take_ended(found, ended, score)

        # 4. the others go on, where they can still become the best
        hopeful = ~ended
        if not distinct:
            rank = number_within(found.sample, samples)
            leads = rank == 0
            finished = found.sample[leads & ended]
            done = torch.bincount(finished, minlength=samples) > 0  # (B,)
            hopeful = hopeful & ~done[found.sample]
        elif not length_norm:
            # probabilities only fall
            best = answers.best[found.sample]
            hopeful = hopeful & (found.log_probs > best)

        (rows,) = hopeful.nonzero(as_tuple=True)
        going = found.chosen(rows)
        if not len(rows):
            break

    rows_left = range(len(going.sample))
    answers.take_open(going, list(rows_left))
    return answers.tokens
