"""What a trained model makes of a split: representations, verdicts, correlations, attention.

One pass over the split, batch by batch. What is kept does not grow with the split: a bounded number
of steps drawn with a seed, histograms and sums.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from emotailor.data.batching import Batch, Standardizer, collate
from emotailor.data.dataset import Split
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.adapters.model import TextAdapted
from emotailor.models.alignment.model import CTCAligned
from emotailor.models.base import EmotionModel

Kind = Literal["common", "private"]
KINDS: tuple[Kind, ...] = ("common", "private")

POINTS = 300
"""Steps drawn of each kind of representation."""

TIME_BINS = 20
"""Parts of a sequence's length for which attention is summed."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_HISTOGRAM = 1000  # bins of a probability: quantiles are exact to 0.001


@dataclass(frozen=True)
class Drawn:
    """Steps drawn from one kind of representation.

    Attributes:
        values: representations of the steps, (points, d).
        samples: position in the split of the sample each step belongs to, (points,).
    """

    values: Float32[np.ndarray, "points size"]
    samples: Int64[np.ndarray, "points"]


@dataclass(frozen=True)
class Verdict:
    """What the discriminator says of the real steps of one modality.

    Attributes:
        steps: number of steps.
        mean: probability of each modality, averaged over the steps, (M,).
        std: standard deviation of that probability over the steps, (M,).
        quantiles: the ``QUANTILES`` of that probability over the steps, (5, M).
        accuracy: share of the steps whose most probable modality is the right one.
    """

    steps: int
    mean: Float64[np.ndarray, "modalities"]
    std: Float64[np.ndarray, "modalities"]
    quantiles: Float64[np.ndarray, "5 modalities"]
    accuracy: float


@dataclass(frozen=True)
class LabelAttention:
    """Where each label looks, averaged over heads and samples.

    Attributes:
        blocks: names of the parts of the sequence that is attended to.
        mass: attention that falls on real steps, (L, blocks).
        padding: attention that falls on padding, (L,); 0 but for models that see padding.
        even: what each block would get if every step got the same, (blocks,).
        density: attention over relative time, (blocks, L, bins); 1 everywhere if it is even, NaN
            where a block gets none.
    """

    blocks: tuple[str, ...]
    mass: Float64[np.ndarray, "labels blocks"]
    padding: Float64[np.ndarray, "labels"]
    even: Float64[np.ndarray, "blocks"]
    density: Float64[np.ndarray, "blocks labels bins"]

    @property
    def joint(self) -> bool:
        """Whether a label divides one attention among the blocks, so that their shares compare."""
        total = self.mass.sum(1) + self.padding
        sums_to_one = bool(np.allclose(total, 1, atol=1e-3))
        return len(self.blocks) > 1 and sums_to_one


@dataclass(frozen=True)
class Internals:
    """What a model shows of itself on a split; empty or None where a system has no such thing.

    Attributes:
        modalities: modalities the model takes, in the order of the discriminator's classes.
        drawn: kind -> modality -> drawn steps.
        verdicts: kind -> modality -> what the discriminator says of it.
        correlation: softmax(r) of Eq. 11, (heads, L, L); rows are the labels that attend.
        attention: attention of labels to the steps of each block.
    """

    modalities: tuple[Modality, ...]
    drawn: Mapping[Kind, Mapping[Modality, Drawn]] = field(default_factory=dict)
    verdicts: Mapping[Kind, Mapping[Modality, Verdict]] = field(default_factory=dict)
    correlation: Float64[np.ndarray, "heads labels labels"] | None = None
    attention: LabelAttention | None = None


def draw_moments(
    count: int, points: int, seed: int
) -> tuple[Int64[np.ndarray, "drawn"], Float64[np.ndarray, "drawn each"]]:
    """Draw samples, and moments in them as shares of their length; at most ``points`` moments.

    The same for every model: two models are then compared on the same moments.

    Args:
        count: number of samples in the split.
        points: most moments in all.
        seed: seed of the draw.

    Returns:
        Positions of the drawn samples, in order, and the moments of each.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    chosen = np.sort(shuffled[:points])
    drawn = len(chosen)

    # each sample is divided into parts of the same length, with a moment in each
    parts = max(1, points // max(drawn, 1))
    within_part = rng.random((drawn, parts))
    moments = (np.arange(parts) + within_part) / parts
    return chosen, moments


class _Discriminations:
    """Sums over the steps that a discriminator has seen of one modality.

    Attributes:
        own: position of the right modality among the discriminator's classes.
    """

    def __init__(self, modalities: int, own: int) -> None:
        self.own = own
        self.hits = 0
        self.histogram = np.zeros((modalities, _HISTOGRAM), np.int64)
        self.total = np.zeros(modalities)
        self.total_of_squares = np.zeros(modalities)

    def add(self, probabilities: Float64[np.ndarray, "steps modalities"]) -> None:
        """Add what was said of some steps."""
        scaled = probabilities * _HISTOGRAM
        last = _HISTOGRAM - 1  # a probability of 1 is in the last bin
        bins = np.minimum(scaled.astype(np.int64), last)  # (steps, M)
        for k, column in enumerate(bins.T):
            counts = np.bincount(column, minlength=_HISTOGRAM)
            self.histogram[k] += counts

        squares = np.square(probabilities)
        self.total += probabilities.sum(0)
        self.total_of_squares += squares.sum(0)

        most_probable = probabilities.argmax(1)
        right = most_probable == self.own
        self.hits += int(right.sum())

    def verdict(self) -> Verdict | None:
        """Return the verdict; None where no step was seen."""
        steps = int(self.histogram[0].sum())
        if not steps:
            return None

        mean = self.total / steps
        variance = self.total_of_squares / steps - mean**2
        return Verdict(
            steps=steps,
            mean=mean,
            std=np.sqrt(np.maximum(variance, 0)),
            quantiles=self._quantiles(steps),
            accuracy=self.hits / steps,
        )

    def _quantiles(self, steps: int) -> Float64[np.ndarray, "5 modalities"]:
        """Return the middles of the bins in which the quantiles lie."""
        wanted = np.array(QUANTILES) * steps  # numbers of steps

        bins = []
        for counts in self.histogram:
            reached = counts.cumsum()
            bins.append(np.searchsorted(reached, wanted))

        by_quantile = np.stack(bins, axis=1)  # (5, M)
        middles = (by_quantile + 0.5) / _HISTOGRAM
        return np.asarray(middles)


class _AttentionSums:
    """Sums over samples of the attention to one block."""

    def __init__(self, labels: int, bins: int) -> None:
        self.time = np.zeros((labels, bins))
        self.padding = np.zeros(labels)
        self.even = 0.0

    def add(
        self,
        attention: Float64[np.ndarray, "labels steps"],
        real: Bool[np.ndarray, "steps"],
        total: int,
    ) -> None:
        """Add one sample, with ``total`` real steps in all blocks."""
        self.padding += attention[:, ~real].sum(1)
        self.even += real.sum() / max(total, 1)
        if not real.any():
            return

        # the sample ends with its last real step
        length = int(np.flatnonzero(real)[-1]) + 1
        to_real = attention * real

        # attention up to the end of each step, 0 before the first
        labels = len(attention)
        reached = np.zeros((labels, length + 1))
        np.cumsum(to_real[:, :length], 1, out=reached[:, 1:])

        # a step covers its part of the time: what was attended up to a moment is interpolated
        bins = self.time.shape[1]
        ends_of_steps = np.arange(length + 1) / length
        ends_of_bins = np.arange(bins + 1) / bins
        for label, row in enumerate(reached):
            up_to_bin = np.interp(ends_of_bins, ends_of_steps, row)
            self.time[label] += np.diff(up_to_bin)


@dataclass(frozen=True)
class _RealSteps:
    """Which steps of the samples of a batch are real.

    Attributes:
        blocks: block that labels attend to -> its mask.
        representations: modality -> mask of its representations.
    """

    blocks: Mapping[str, Bool[np.ndarray, "batch _"]]
    representations: Mapping[Modality, Bool[np.ndarray, "batch _"]]

    def in_all_blocks(self, samples: int) -> Int64[np.ndarray, "batch"]:
        """Return the number of real steps in all blocks together."""
        total = np.zeros(samples, np.int64)
        for mask in self.blocks.values():
            total += mask.sum(1)
        return total


def _real_steps(model: EmotionModel, batch: Batch, blocks: Iterable[str]) -> _RealSteps:
    """Return the real steps of each block attended to, and of each representation.

    Behind a CTC alignment a modality has as many steps as the text; attention to it is spread over
    the steps before the alignment.
    """
    outer = {m: mask.cpu().numpy() for m, mask in batch.masks.items()}  # where attention is
    inner = dict(outer)  # where representations are

    if isinstance(model, TextAdapted):
        model = model.model
    if isinstance(model, CTCAligned):
        target = model.target_lengths(batch).cpu().numpy()
        positions = np.arange(target.max())
        of_target = positions < target[:, None]  # (B, S)
        for m in model.sources:
            there = outer[m].any(1, keepdims=True)
            inner[m] = of_target & there

    by_block: dict[str, np.ndarray] = {str(m): mask for m, mask in outer.items()}
    for m, mask in inner.items():
        by_block[f"common.{m}"] = mask

    # any other block is of all modalities: a step that any of them has
    longest = max(mask.shape[1] for mask in inner.values())
    every = np.stack([_of_length(mask, longest) for mask in inner.values()])  # (M, B, T)
    in_any: Bool[np.ndarray, "batch _"] = np.any(every, axis=0)

    of_blocks = {block: by_block.get(block, in_any) for block in blocks}
    return _RealSteps(of_blocks, inner)


def _of_length(mask: Bool[np.ndarray, "batch _"], steps: int) -> Bool[np.ndarray, "batch steps"]:
    """Return a mask of so many steps: models may pad further, or cut padding off."""
    more = steps - mask.shape[1]
    if more <= 0:
        return mask[:, :steps]
    return np.pad(mask, ((0, 0), (0, more)))


class _Collector:
    """Keeps what is wanted of each batch.

    Attributes:
        moments: position of a drawn sample -> its moments, as shares of its length.
        steps: kind and modality -> sample and step -> representation.
        judged: kind and modality -> what the discriminator said.
        attended: block -> attention to it.
        correlation: sum over samples of softmax(r), (heads, L, L).
        samples: number of samples seen.
    """

    def __init__(self, model: EmotionModel, count: int, points: int, seed: int, bins: int) -> None:
        self.model = model
        self.bins = bins
        self.samples = 0

        # in the order of the discriminator's classes
        self.modalities = tuple(m for m in MODALITIES if m in model.dims)

        chosen, moments = draw_moments(count, points, seed)
        positions = chosen.tolist()
        self.moments = dict(zip(positions, moments, strict=True))

        self.steps: dict[tuple[Kind, Modality], dict[tuple[int, int], np.ndarray]] = {}
        self.judged: dict[tuple[Kind, Modality], _Discriminations] = {}
        self.attended: dict[str, _AttentionSums] = {}
        self.correlation: np.ndarray | None = None

    def add(self, chosen: Int64[np.ndarray, "batch"], batch: Batch) -> None:
        """Run the model over some samples and keep what is wanted.

        Args:
            chosen: positions of the samples in the split.
            batch: the same samples.
        """
        features = self.model(batch, features=True).features
        attention = self._attention_in(features)
        real = _real_steps(self.model, batch, attention)

        for kind in KINDS:
            for m in self.modalities:
                x = features.get(f"{kind}.{m}")  # (B, T, d)
                if x is None or x.ndim != 3:  # of some systems, a vector per utterance
                    continue

                key = (kind, m)
                mask = real.representations[m]
                said = features.get(f"discriminator.{kind}.{m}")  # (B, T, M)
                self._add_steps(key, chosen, x, mask)
                self._add_verdicts(key, said, mask)

        samples = len(chosen)
        correlation = features.get("label_correlation")
        self._add_attention(attention, real, samples)
        self._add_correlation(correlation, samples)
        self.samples += samples

    def _attention_in(self, features: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
        """Return the attention of labels to each block, (B, L, T), mean of its heads."""
        labels = self.model.num_labels
        found = {}
        for name, x in features.items():
            if not name.startswith("attention."):
                continue

            # of labels: (B, heads, L, T)
            if x.ndim != 4 or x.shape[2] != labels:
                continue

            block = name.removeprefix("attention.")
            mean = x.mean(1).double()
            found[block] = mean.cpu().numpy()
        return found

    def _add_steps(
        self,
        key: tuple[Kind, Modality],
        chosen: Int64[np.ndarray, "batch"],
        x: Float[Tensor, "batch steps size"],
        mask: Bool[np.ndarray, "batch _"],
    ) -> None:
        """Keep the representations at the drawn moments, where the step is real."""
        kept = self.steps.setdefault(key, {})
        for row, position in enumerate(chosen.tolist()):
            if position not in self.moments:
                continue

            # a sample may lack the modality: no steps, no places
            real = np.flatnonzero(mask[row])
            if not len(real):
                continue

            length = real[-1] + 1
            places = self.moments[position] * length
            distinct = np.unique(places.astype(np.int64))  # in a short sample, two may meet
            for place in np.intersect1d(distinct, real).tolist():
                values = x[row, place].float()
                kept[position, place] = values.cpu().numpy()

    def _add_verdicts(
        self,
        key: tuple[Kind, Modality],
        said: Float[Tensor, "batch steps modalities"] | None,
        mask: Bool[np.ndarray, "batch _"],
    ) -> None:
        """Add what the discriminator says of all real steps."""
        if said is None:
            return

        if key not in self.judged:
            _, modality = key
            own = self.modalities.index(modality)
            classes = len(self.modalities)
            self.judged[key] = _Discriminations(classes, own)

        probabilities = said.double().cpu().numpy()
        real = _of_length(mask, said.shape[1])
        self.judged[key].add(probabilities[real])

    def _add_attention(
        self, attention: Mapping[str, np.ndarray], real: _RealSteps, samples: int
    ) -> None:
        total = real.in_all_blocks(samples)
        labels = self.model.num_labels
        for block, x in attention.items():
            if block not in self.attended:
                self.attended[block] = _AttentionSums(labels, self.bins)

            sums = self.attended[block]
            mask = _of_length(real.blocks[block], x.shape[2])
            for row in range(samples):
                sums.add(x[row], mask[row], int(total[row]))

    def _add_correlation(self, correlation: Tensor | None, samples: int) -> None:
        """Add softmax(r), which is a mean over the samples of the batch."""
        if correlation is None:
            return

        mean = correlation.double().cpu().numpy()
        summed = mean * samples
        if self.correlation is None:
            self.correlation = summed
        else:
            self.correlation = self.correlation + summed

    def result(self) -> Internals:
        """Return what was collected, drawn steps in the order of the split."""
        drawn: dict[Kind, dict[Modality, Drawn]] = {}
        for (kind, m), kept in self.steps.items():
            if kept:
                of_kind = drawn.setdefault(kind, {})
                of_kind[m] = _in_order(kept)

        verdicts: dict[Kind, dict[Modality, Verdict]] = {}
        for (kind, m), judged in self.judged.items():
            verdict = judged.verdict()
            if verdict is not None:
                by_modality = verdicts.setdefault(kind, {})
                by_modality[m] = verdict

        correlation = None
        if self.correlation is not None:
            correlation = self.correlation / self.samples

        return Internals(
            modalities=self.modalities,
            drawn=drawn,
            verdicts=verdicts,
            correlation=correlation,
            attention=self._attention(),
        )

    def _attention(self) -> LabelAttention | None:
        if not self.attended:
            return None

        sums = list(self.attended.values())
        time = np.stack([x.time for x in sums])  # (blocks, L, bins)
        mass = time.sum(2)  # (blocks, L)
        padding = np.sum([x.padding for x in sums], axis=0)  # (L,)
        even = np.array([x.even for x in sums])  # (blocks,)

        # even attention gives each bin one part of the mass: a density of 1
        density = np.full_like(time, np.nan)
        mass_of_bins = mass[..., None]
        there = mass_of_bins > 0
        np.divide(time * self.bins, mass_of_bins, out=density, where=there)

        return LabelAttention(
            blocks=tuple(self.attended),
            mass=mass.T / self.samples,
            padding=padding / self.samples,
            even=even / self.samples,
            density=density,
        )


def _in_order(kept: Mapping[tuple[int, int], np.ndarray]) -> Drawn:
    """Return kept steps in the order of the split: sample and step -> representation."""
    places = sorted(kept)
    values = np.stack([kept[place] for place in places])  # (points, d)
    samples = [position for position, _ in places]
    return Drawn(values.astype(np.float32), np.array(samples, np.int64))


@torch.inference_mode()
def collect(
    model: EmotionModel,
    split: Split,
    *,
    aligned: bool,
    standardizer: Standardizer | None,
    points: int = POINTS,
    seed: int = 0,
    bins: int = TIME_BINS,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Internals:
    """Run a model over every sample of a split and collect what figures need.

    Args:
        model: the model; it is in evaluation mode afterwards.
        split: at least one sample.
        aligned: whether the modalities of a sample have the same steps.
        standardizer: the standardizer of the model.
        points: most steps kept of each kind of representation and modality.
        seed: seed of the draw; models are compared on the same moments of the same samples.
        bins: number of parts of relative time.
        batch_size: number of samples at once.
        progress: is told how many samples are done.
    """
    model.eval()
    count = len(split)
    collector = _Collector(model, count, points, seed, bins)

    # samples of like length share a batch, the longest first
    lengths = [split.lengths(m) for m in model.dims]
    longest = np.max(lengths, axis=0)  # (n,)
    order = np.argsort(-longest, kind="stable")

    for start in range(0, count, batch_size):
        chosen = order[start : start + batch_size]
        samples = [split.sample(position) for position in chosen.tolist()]
        batch = collate(samples, model.dims, aligned=aligned, standardize=standardizer)
        unlabelled = replace(batch, labels=None)  # nothing here needs a loss
        collector.add(chosen, unlabelled.to(model.device))

        if progress is not None:
            progress(start + len(chosen))
    return collector.result()


# ---------------------------------------------------------------------- a probe


def probe_accuracy(groups: Mapping[Any, Drawn], *, seed: int = 0) -> float | None:
    """Return how well a linear probe, trained afresh, tells groups of drawn steps apart.

    A logistic regression on half of the samples names the group of the steps of the other half.
    The recalls of the groups are averaged, so that chance is 1 / groups. A discriminator that
    was trained against a generator may have been fooled; a fresh one has not.

    Args:
        groups: name -> its steps; at least two.
        seed: seed of the halves.

    Returns:
        The accuracy, or None where a group has too few samples.
    """
    from sklearn.linear_model import LogisticRegression

    if len(groups) < 2:
        return None

    drawn = list(groups.values())
    steps = np.concatenate([group.values for group in drawn])  # (points, d)
    samples = np.concatenate([group.samples for group in drawn])  # (points,)
    sizes = [len(group.samples) for group in drawn]
    target = np.repeat(list(groups), sizes)  # (points,), names of groups

    # every group must be in both halves
    first = _half_of_samples(samples, seed)
    second = ~first
    for half in (first, second):
        there = np.unique(target[half])
        if len(there) < len(groups):
            return None

    steps = steps.astype(np.float64)
    steps = _standardized(steps, by=steps[first])
    probe = LogisticRegression(C=0.1, max_iter=1000)
    probe.fit(steps[first], target[first])

    answers = probe.predict(steps[second])
    truth = target[second]
    right = answers == truth

    recalls = []
    for name in groups:
        of_group = truth == name
        recalls.append(right[of_group].mean())
    return float(np.mean(recalls))


def _half_of_samples(samples: Int64[np.ndarray, "points"], seed: int) -> Bool[np.ndarray, "points"]:
    """Return which steps are of one half of the samples: steps of one sample are alike."""
    unique = np.unique(samples)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(unique)
    half = len(unique) // 2
    return np.isin(samples, shuffled[:half])


def _standardized(
    values: Float64[np.ndarray, "n size"], *, by: Float64[np.ndarray, "m size"]
) -> Float64[np.ndarray, "n size"]:
    """Return values with the mean and deviation of ``by`` taken out."""
    deviation = by.std(0)
    scale = np.where(deviation > 1e-9, deviation, 1)
    return np.asarray((values - by.mean(0)) / scale)
