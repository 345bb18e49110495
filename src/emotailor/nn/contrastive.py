"""Supervised contrastive loss over a batch and a queue of earlier rows, all of them anchors.

Notable:

- of N rows most are in the queue, and pairs of two queue rows have no gradient: their sums are kept
  from step to step, and change only where rows have entered since;
- so a step computes the pairs of its new rows alone, each once, for the value and the gradient;
- nothing is ever subtracted from a kept sum, so no rounding piles up: the queue is cut into blocks,
  every row has a sum for each block, and the sums of a block that rows enter are new ones;
- the plain way of ``nn.plain`` forms the matrix of all pairs, as the equation does.

Symbols: n new rows, Q rows of the queue, N = n + Q, p width of a row, tau temperature, s_ik the
score f_i . f_k / tau of a pair.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from emotailor.nn.plain import is_plain

BLOCK = 64
"""Rows of the queue whose exponentials are kept as one sum for every row."""

GUARD = 1e-12
"""Share of e^(s_ii) that the programs add to each sum of exponentials, so that none is 0."""

RANGE = 40.0
"""How far a score may lie above that of a row with itself: e^40 is far from the largest float."""


@dataclass(frozen=True)
class _Part:
    """Consecutive new rows that enter the same block of the queue.

    Attributes:
        start, end: the rows.
        block: number of the block.
        whole: whether they fill it.
    """

    start: int
    end: int
    block: int
    whole: bool


@dataclass(frozen=True)
class _Pairs:
    """Sums of exponentials over the pairs of new rows; a row is never paired with itself.

    Attributes:
        of_new: (n, blocks), of each new row with the blocks of the queue.
        of_parts: (parts, N), of the queue's rows and the new ones with each part of the new rows.
        shares: of each part (its rows, N), the exponentials themselves; empty where not kept.
    """

    of_new: Float[Tensor, "new blocks"]
    of_parts: Float[Tensor, "parts all"]
    shares: list[Float[Tensor, "_ all"]]


class ContrastiveQueue(nn.Module):
    """The last rows of earlier batches with their classes, without gradients.

    Everything is in buffers, so that a resumed training has the same rows, and the same sums to the
    last bit. Sums that are not stored, as in models of earlier versions, are computed when needed.

    Args:
        start: (Q, p), the first rows; their class is -1, which means none.
        squared_length: of the rows that enter, and about that of the first ones.

    Attributes:
        pair_sums: (blocks, Q), of row k the sum of ``exp(s_jk - squared_length / tau)`` over the
            rows j of each block, without k itself.
        pair_temperature: tau for which they hold; 0 where they do not.
    """

    rows: Float[Tensor, "queued size"]
    classes: Int64[Tensor, "queued"]
    pointer: Int64[Tensor, ""]
    pair_sums: Float[Tensor, "blocks queued"]
    pair_temperature: Float[Tensor, ""]

    derived_buffers = ("pair_sums", "pair_temperature")
    """Buffers that follow from the others, and may be absent in what is stored."""

    def __init__(self, start: Float[Tensor, "queued size"], *, squared_length: float = 1.0) -> None:
        super().__init__()
        self.squared_length = squared_length
        size = len(start)
        blocks = -(-size // BLOCK)

        self.register_buffer("rows", start)
        self.register_buffer("classes", torch.full((size,), -1))
        self.register_buffer("pointer", torch.tensor(0))
        self.register_buffer("pair_sums", torch.zeros(blocks, size, dtype=start.dtype))
        self.register_buffer("pair_temperature", torch.tensor(0.0, dtype=torch.float64))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *others: Any
    ) -> None:
        """Load the buffers; sums that are not there do not hold."""
        # a model that is loaded may have no memory yet, where what is stored has some
        device = state_dict.get(f"{prefix}rows", self.rows).device
        for name in self.derived_buffers:
            buffer = getattr(self, name)
            absent = torch.zeros_like(buffer, device=device)
            state_dict.setdefault(f"{prefix}{name}", absent)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def add(self, rows: Float[Tensor, "rows size"], classes: Int64[Tensor, "rows"]) -> None:
        """Write rows from the pointer on, around the end; of too many the last ones stay."""
        self._write(rows, classes)
        self.pair_temperature.zero_()

    def _write(self, rows: Float[Tensor, "rows size"], classes: Int64[Tensor, "rows"]) -> None:
        size = len(self.rows)
        places = self._places(len(rows))

        # of too many the last ones stay
        places = places[-size:]
        self.rows[places] = rows[-size:].detach()
        self.classes[places] = classes[-size:]

        self.pointer.add_(len(rows))
        self.pointer.remainder_(size)

    def _places(self, count: int) -> Int64[Tensor, "count"]:
        """Where so many new rows go."""
        offsets = torch.arange(count, device=self.rows.device)
        return (self.pointer + offsets) % len(self.rows)

    # ------------------------------------------------------------------ sums of pairs

    def parts(self, count: int) -> list[_Part]:
        """Cut new rows at the ends of the blocks that they are to enter."""
        size = len(self.rows)
        pointer = int(self.pointer)

        found = []
        start = 0
        while start < count:
            place = (pointer + start) % size
            block = place // BLOCK
            first = block * BLOCK
            after = min(first + BLOCK, size)
            end = min(start + after - place, count)
            whole = end - start == after - first
            found.append(_Part(start, end, block, whole))
            start = end
        return found

    def takes(self, features: Float[Tensor, "all size"], temperature: float) -> bool:
        """Whether no exponential of theirs is too large, as in a queue far shorter than it is wide.

        Where columns have the length 1, the first rows of such a queue are long.
        """
        longest = features.detach().square().sum(1).amax()
        # NaN, of a training that went wrong, is no reason to form a matrix of all pairs
        too_long = longest > self.squared_length + RANGE * temperature
        return not too_long

    def exponentials(
        self,
        part: Float[Tensor, "part size"],
        features: Float[Tensor, "all size"],
        temperature: float,
    ) -> Float[Tensor, "part all"]:
        """``exp(s_ik - squared_length / tau)`` of some rows with others."""
        scores = (part / temperature) @ features.T
        scores.sub_(self.squared_length / temperature)
        return scores.exp_()

    def of_blocks(self, shares: Float[Tensor, "part all"]) -> Float[Tensor, "part blocks"]:
        """Sum the first Q columns block by block."""
        size = len(self.rows)
        count = size // BLOCK  # of whole blocks
        even = count * BLOCK
        blocks = shares[:, :even].unflatten(1, (count, BLOCK))
        sums = blocks.sum(2)
        if even == size:
            return sums

        rest = shares[:, even:size].sum(1, keepdim=True)
        return torch.cat([sums, rest], 1)

    def hold_sums(self, temperature: float) -> None:
        """Compute the sums of all blocks, unless they hold already."""
        wanted = self.pair_temperature.new_tensor(temperature)
        if self.pair_temperature == wanted:
            return
        for block in range(len(self.pair_sums)):
            self._sum_block(block, temperature)
        self.pair_temperature.fill_(temperature)

    def _sum_block(self, block: int, temperature: float) -> None:
        start = block * BLOCK
        part = self.rows[start : start + BLOCK]
        shares = self.exponentials(part, self.rows, temperature)
        shares.diagonal(start).zero_()
        self.pair_sums[block] = shares.sum(0)

    def enter(
        self,
        rows: Float[Tensor, "rows size"],
        classes: Int64[Tensor, "rows"],
        pairs: _Pairs,
        temperature: float,
    ) -> None:
        """Write rows whose pairs with the queue are known, and keep its sums up to date.

        Args:
            rows: (n, p).
            classes: (n,).
            pairs: of these rows, by the parts in which they enter.
            temperature: tau.
        """
        size = len(self.rows)
        if len(rows) > size:
            self.add(rows, classes)
            return

        parts = self.parts(len(rows))
        places = self._places(len(rows))
        self._write(rows, classes)

        # blocks that no row enters: the new rows' sums with them
        self.pair_sums[:, places] = pairs.of_new.T

        # blocks of new rows alone: every row's sums with these
        found = pairs.of_parts[:, :size]
        found[:, places] = pairs.of_parts[:, size:]
        for sums, part in zip(found, parts, strict=True):
            if part.whole:
                self.pair_sums[part.block] = sums

        # blocks of old and new rows, at most at either end
        mixed = {part.block for part in parts if not part.whole}
        for block in sorted(mixed):
            self._sum_block(block, temperature)


class _Known(torch.autograd.Function):
    """A scalar whose gradient with respect to some rows is known with it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return incoming * gradient, None, None


@dataclass(frozen=True)
class _Anchors:
    """All N anchors: the queue's rows, then the new ones.

    Attributes:
        rows: (N, p).
        squares: (N,), squared length of each.
        index: (N,), class of each, 0 where it has none.
        counted: (N,), whether it has a class, and others of that class.
        sums: (classes, p), sum of the rows of each class.
        weights: (classes,), ``1 / (tau (rows of the class - 1))``; 0 where that is no number.
    """

    rows: Float[Tensor, "all size"]
    squares: Float[Tensor, "all"]
    index: Int64[Tensor, "all"]
    counted: Bool[Tensor, "all"]
    sums: Float[Tensor, "classes size"]
    weights: Float[Tensor, "classes"]

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "all size"],
        owners: Int64[Tensor, "all"],
        temperature: float,
    ) -> "_Anchors":
        """Sort rows by their classes, -1 for none."""
        known = owners >= 0
        index = owners.clamp(min=0)
        classes = int(index.amax()) + 1
        members = torch.bincount(index[known], minlength=classes)

        zeros = rows.new_zeros(classes, rows.shape[1])
        sums = zeros.index_add(0, index[known], rows[known])
        others = (members - 1).clamp(min=1).to(rows.dtype)
        paired = members > 1
        return cls(
            rows=rows,
            squares=rows.square().sum(1),
            index=index,
            counted=known & paired[index],
            sums=sums,
            weights=paired / (others * temperature),
        )

    @property
    def positive(self) -> Float[Tensor, ""]:
        """The sum over anchors of the mean score with the others of the class.

        The products of a class's rows with each other sum to the squared length of their sum, so no
        matrix of pairs is needed.
        """
        own = self.squares * self.counted
        zeros = torch.zeros_like(self.weights)
        of_classes = zeros.index_add(0, self.index, own)

        products = self.sums.square().sum(1) - of_classes
        return (self.weights * products).sum()

    def positive_gradient(self, new: int) -> Float[Tensor, "new size"]:
        """Its gradient with respect to the last rows: each is in a pair twice."""
        first = len(self.rows) - new
        index = self.index[first:]
        others = self.sums[index] - self.rows[first:]
        return 2 * self.weights[index, None] * others


def class_numbers(
    held: Bool[Tensor, "batch labels"], modalities: int
) -> Int64[Tensor, "batch modalities labels"]:
    """Number the classes of modality m and label l: 2 L m + l where it holds, else L more.

    Args:
        held: (B, L), whether a label holds.
        modalities: M.
    """
    labels = held.shape[1]
    modality = torch.arange(modalities, device=held.device)
    label = torch.arange(labels, device=held.device)
    of_modality = 2 * labels * modality[:, None]  # (M, 1)

    absent = ~held[:, None]  # (B, 1, L)
    return of_modality + label + labels * absent


def supervised_contrast(
    rows: Float[Tensor, "rows size"],
    classes: Int64[Tensor, "rows"],
    queue: ContrastiveQueue,
    temperature: float,
    *,
    enter: bool = False,
) -> Float[Tensor, ""]:
    """Supervised contrastive loss (Khosla et al. 2020) in which every row is an anchor.

    The mean over the N anchors i, of batch and queue, of
    ``-1/|P(i)| sum_{j in P(i)} log(e^{s_ij} / (sum_{k != i} e^{s_ik} + 1e-12 e^{s_ii}))``, where
    P(i) are the other rows of its class; an anchor without any adds 0. Time and memory grow with
    n N.

    Args:
        rows: (n, p) of the queue's squared length.
        classes: (n,), from 0.
        queue: rows of earlier batches.
        temperature: tau.
        enter: whether the rows enter the queue afterwards.
    """
    features = torch.cat([queue.rows, rows])  # (N, p)
    owners = torch.cat([queue.classes, classes])
    if is_plain() or not queue.takes(features, temperature):
        loss = _plain_contrast(features, owners, temperature)
        if enter:
            queue.add(rows, classes)
        return loss

    value, gradient = _contrast_of_new(
        _Anchors.of(features.detach(), owners, temperature),
        classes,
        queue,
        temperature,
        learned=rows.requires_grad and torch.is_grad_enabled(),
        enter=enter,
    )
    if gradient is None:
        return value
    known: Tensor = _Known.apply(rows, value, gradient)  # type: ignore[no-untyped-call]
    return known


@torch.no_grad()
def _contrast_of_new(
    anchors: _Anchors,
    classes: Int64[Tensor, "new"],
    queue: ContrastiveQueue,
    temperature: float,
    *,
    learned: bool,
    enter: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "new size"] | None]:
    """The loss and, if learned, its gradient for the new rows, from their pairs alone."""
    size = len(queue.rows)
    count = len(anchors.rows)
    new = len(classes)

    queue.hold_sums(temperature)
    pairs = _pairs_of_new(anchors.rows, queue, temperature, keep=learned)

    # sums of exponentials over all k != i; those of two new rows are in both parts
    totals = pairs.of_parts.sum(0)  # (N,)
    totals[:size] += queue.pair_sums.sum(0)
    totals[size:] += pairs.of_new.sum(1)
    shift = queue.squared_length / temperature
    itself = anchors.squares / temperature - shift
    totals += GUARD * itself.exp()

    log_sums = (totals.log() + shift) * anchors.counted
    value = (log_sums.sum() - anchors.positive) / count

    gradient = None
    if learned:
        # softmax of row i at k, times what the loss gives row i, is its exponential times this
        scales = anchors.counted / totals  # (N,)
        gradient = -anchors.positive_gradient(new)
        for part, shares in zip(queue.parts(new), pairs.shares, strict=True):
            own = scales[size + part.start : size + part.end]
            weights = shares.mul_(own[:, None] + scales)
            found = weights @ anchors.rows
            gradient[part.start : part.end] += found / temperature
        gradient /= count

    if enter:
        queue.enter(anchors.rows[size:], classes, pairs, temperature)
    return value, gradient


def _pairs_of_new(
    features: Float[Tensor, "all size"],
    queue: ContrastiveQueue,
    temperature: float,
    *,
    keep: bool,
) -> _Pairs:
    """Compute the pairs of the new rows with all rows, part by part."""
    size = len(queue.rows)
    new = features[size:]
    parts = queue.parts(len(new))
    of_new = new.new_empty(len(new), len(queue.pair_sums))
    of_parts = new.new_empty(len(parts), len(features))

    kept = []
    for number, part in enumerate(parts):
        own = new[part.start : part.end]
        shares = queue.exponentials(own, features, temperature)
        # no row is paired with itself
        shares.diagonal(size + part.start).zero_()
        of_new[part.start : part.end] = queue.of_blocks(shares)
        of_parts[number] = shares.sum(0)
        if keep:
            kept.append(shares)

    return _Pairs(of_new, of_parts, kept)


def _plain_contrast(
    features: Float[Tensor, "all size"], owners: Int64[Tensor, "all"], temperature: float
) -> Float[Tensor, ""]:
    """The same loss from the matrix of all pairs, as its equation says."""
    products = features @ features.T
    scores = products / temperature  # (N, N)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    same = owners[:, None] == owners
    positive = same & (owners >= 0) & ~itself
    others = positive.sum(1)  # |P(i)|

    # the guard is a number that no gradient flows into
    guard = scores.detach() + math.log(GUARD)
    guarded = torch.where(itself, guard, scores)
    log_sums = guarded.logsumexp(1)

    positive_sums = (scores * positive).sum(1)
    mean = positive_sums / others.clamp(min=1)
    loss = torch.where(others > 0, log_sums - mean, 0.0)
    return loss.mean()
