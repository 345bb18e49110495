"""Label sequences for and from a step-by-step decoder: targets, probabilities, beam search.

Token 0 ends a sequence and 1 + k is label k; a decoder may have more tokens after these. Hypotheses
of all samples are the rows of one tensor, sorted by their sample, so that nothing is computed for
those that were left out.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

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
        """Return the same of the chosen ones."""


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
    held = (labels > 0.5)[:, order]
    places = torch.sort(~held, dim=1, stable=True).indices  # those that hold, in their order
    ids = F.pad(1 + order[places], (0, 1))
    count = held.sum(1, keepdim=True)
    step = torch.arange(ids.shape[1], device=ids.device)
    ids = ids.masked_fill(step == count, END).masked_fill(step > count, IGNORED)
    return ids[:, : int(count.max()) + 1]


def number_within(sample: Int64[Tensor, "rows"], samples: int) -> Int64[Tensor, "rows"]:
    """Number the rows of each sample from 0; ``sample`` is sorted."""
    counts = torch.bincount(sample, minlength=samples)
    return torch.arange(len(sample), device=sample.device) - (counts.cumsum(0) - counts)[sample]


def best_of_each(
    scores: Float[Tensor, "rows"], sample: Int64[Tensor, "rows"], samples: int, count: int
) -> Int64[Tensor, "kept"]:
    """Return the rows with the ``count`` largest scores of each sample, the best first."""
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[torch.sort(sample[order], stable=True).indices]
    return order[number_within(sample[order], samples) < count]


def repeats_trigram(tokens: Int64[Tensor, "rows length"]) -> Bool[Tensor, "rows"]:
    """Return which rows hold the same three tokens in a row twice."""
    if tokens.shape[1] < 4:
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    grams = tokens.unfold(1, 3, 1)
    same = (grams[:, :, None] == grams[:, None]).all(-1)
    return same.tril(-1).flatten(1).any(1)


def is_among(tokens: Int64[Tensor, "rows length"], outputs: int) -> Bool[Tensor, "rows outputs"]:
    """Return which of the tokens 0 .. outputs - 1 each row holds."""
    none = torch.zeros(len(tokens), outputs, dtype=torch.bool, device=tokens.device)
    return none.scatter(1, tokens, True)


@dataclass(frozen=True)
class Prefixes:
    """N label sequences of one length, which may go on.

    Attributes:
        sample: (N,), that each belongs to.
        labels: (N, length), in the order they were written.
        log_probs: (N,), of the prefixes.
        following: (N, V), log-probability of each next token.
        continued: (N, L), the labels with which it goes on at the next length; not those that are
            left out.
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
    samples, shown = len(ids), slice(1, 1 + num_labels)
    sample = torch.arange(samples, device=ids.device)
    labels, log_probs = sample[:, None][:, :0], torch.zeros(samples, device=ids.device)
    attention, outputs = torch.empty(0), 0
    floor = math.log(least) if least else -math.inf
    for length in range(num_labels + 1):
        if length < num_labels or outputs > num_labels + 1:
            banned = is_among(1 + labels, outputs) if length else None
            logits, state, attention = step(ids, state, sample, banned)
            following, outputs = logits.log_softmax(-1), logits.shape[1]
        else:  # nothing but the end can follow all labels
            following = log_probs.new_full((len(sample), outputs), NEVER)
            following[:, END] = 0
            attention = attention.new_zeros(len(sample), attention.shape[1])
        longer = log_probs[:, None] + following[:, shown]
        continued = (longer > floor) & ~is_among(labels, num_labels)
        row, label = continued.nonzero(as_tuple=True)
        if width is not None:
            best = best_of_each(longer[row, label], sample[row], samples, width)
            row, label = row[best], label[best]
            continued = torch.zeros_like(continued)
            continued[row, label] = True
        yield Prefixes(sample, labels, log_probs, following, continued, attention)
        if not len(row):
            return
        sample, ids, log_probs = sample[row], 1 + label, longer[row, label]
        labels, state = torch.cat([labels[row], label[:, None]], 1), state.rows(row)


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
    held, mass, looks = torch.empty(0), torch.empty(0), torch.empty(0)
    for level in levels:
        labels, steps = level.continued.shape[1], level.attention.shape[1]
        if not level.labels.shape[1]:  # the first level
            mass = level.log_probs.new_zeros(samples)
            held, looks = mass.new_zeros(samples, labels), mass.new_zeros(samples, labels, steps)
        writes = (level.log_probs[:, None] + level.following).exp()
        cut = writes[:, 1 : 1 + labels].masked_fill(level.continued, 0)
        ends = writes[:, END] + cut.sum(1)
        mass = mass.index_add(0, level.sample, ends)
        there = F.one_hot(level.labels, labels).sum(1)
        held = held.index_add(0, level.sample, ends[:, None] * there + cut)
        if need_attention:
            look = writes[:, 1 : 1 + labels, None] * level.attention[:, None]
            looks = looks.index_add(0, level.sample, look)
    if not need_attention:
        return held, mass, None
    return held, mass, looks / looks.sum(-1, keepdim=True).clamp(min=1e-30)


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
    sample = torch.arange(samples, device=ids.device)
    tokens, log_probs = sample[:, None][:, :0], torch.zeros(samples, device=ids.device)
    best = torch.full_like(log_probs, -math.inf)
    answers: list[list[int]] = [[] for _ in range(samples)]
    outputs = 0
    for written in range(max_steps):
        banned = is_among(tokens, outputs) if distinct and written else None
        logits, state, _ = step(ids, state, sample, banned)
        longer, outputs = log_probs[:, None] + logits.log_softmax(-1), logits.shape[1]
        barred = repeats_trigram(tokens)[:, None].expand_as(longer) if banned is None else banned
        for i in reversed(barred.all(1).nonzero().flatten().tolist()):  # nothing may follow
            if best[sample[i]] == -math.inf:
                answers[int(sample[i])] = tokens[i].tolist()
        row, ids = (~barred).nonzero(as_tuple=True)
        kept = best_of_each(longer[row, ids], sample[row], samples, beam)
        row, ids = row[kept], ids[kept]
        sample, log_probs = sample[row], longer[row, ids]
        tokens, state = torch.cat([tokens[row], ids[:, None]], 1), state.rows(row)
        value, ended = log_probs / (written + 2 if length_norm else 1), ids == END
        for i in ended.nonzero().flatten().tolist():
            if value[i] > best[sample[i]]:
                best[sample[i]], answers[int(sample[i])] = value[i], tokens[i, :-1].tolist()
        if not distinct:
            leads = number_within(sample, samples) == 0
            done = torch.bincount(sample[leads & ended], minlength=samples) > 0
            hopeful = ~done[sample]
        else:  # probabilities only fall
            hopeful = (log_probs > best[sample]) | length_norm
        (going,) = (hopeful & ~ended).nonzero(as_tuple=True)
        sample, ids, log_probs = sample[going], ids[going], log_probs[going]
        tokens, state = tokens[going], state.rows(going)
        if not len(going):
            break
    for i in reversed(range(len(sample))):  # a sample's best comes first
        if best[sample[i]] == -math.inf:
            answers[int(sample[i])] = tokens[i].tolist()
    return answers
