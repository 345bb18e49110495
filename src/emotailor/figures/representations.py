"""What a trained model makes of a split: representations, verdicts, correlations, attention.

One pass over the split, batch by batch. What is kept does not grow with the split: a bounded number
of steps drawn with a seed, histograms and sums.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from emotailor.data.batching import Batch, Standardizer, collate
from emotailor.data.dataset import Split
from emotailor.data.sample import MODALITIES, Modality
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
        values: (points, d).
        samples: (points,), position in the split of the sample each step belongs to.
    """

    values: Float32[np.ndarray, "points size"]
    samples: Int64[np.ndarray, "points"]


@dataclass(frozen=True)
class Verdict:
    """What the discriminator says of the real steps of one modality.

    Attributes:
        steps: how many there are.
        mean: (M,), probability of each modality, averaged over the steps.
        std: (M,), its standard deviation over the steps.
        quantiles: (5, M), of ``QUANTILES``.
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
        mass: (L, blocks), attention that falls on real steps.
        padding: (L,), attention that falls on padding; 0 but for models that see padding.
        even: (blocks,), what each block would get if every step got the same.
        density: (blocks, L, bins), attention over relative time; 1 everywhere if it is even. NaN
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
        return len(self.blocks) > 1 and bool(np.allclose(total, 1, atol=1e-3))


@dataclass(frozen=True)
class Internals:
    """What a model shows of itself on a split; empty or None where a system has no such thing.

    Attributes:
        modalities: those the model takes, in the order of the discriminator's classes.
        drawn: kind -> modality -> drawn steps.
        verdicts: kind -> modality -> what the discriminator says of it.
        correlation: (heads, L, L), softmax(r) of Eq. 11; rows are the labels that attend.
        attention: of labels to the steps of each block.
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
        count: samples in the split.
        points: most moments in all.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(count)[:points])
    each = max(1, points // max(len(chosen), 1))
    return chosen, (np.arange(each) + rng.random((len(chosen), each))) / each


class _Discriminations:
    """Sums over the steps that a discriminator has seen of one modality."""

    def __init__(self, modalities: int, own: int) -> None:
        self.own, self.hits = own, 0
        self.counts = np.zeros((modalities, _HISTOGRAM), np.int64)
        self.sums = np.zeros((2, modalities))

    def add(self, probabilities: Float64[np.ndarray, "steps modalities"]) -> None:
        bins = np.minimum((probabilities * _HISTOGRAM).astype(np.int64), _HISTOGRAM - 1)
        for k, column in enumerate(bins.T):
            self.counts[k] += np.bincount(column, minlength=_HISTOGRAM)
        self.sums += np.stack([probabilities.sum(0), np.square(probabilities).sum(0)])
        self.hits += int((probabilities.argmax(1) == self.own).sum())

    def verdict(self) -> Verdict | None:
        steps = int(self.counts[0].sum())
        if not steps:
            return None
        mean, square = self.sums / steps
        reached = self.counts.cumsum(1)
        quantiles = [[np.searchsorted(row, q * steps) for row in reached] for q in QUANTILES]
        return Verdict(
            steps,
            mean,
            np.sqrt(np.maximum(square - mean**2, 0)),
            (np.array(quantiles) + 0.5) / _HISTOGRAM,
            self.hits / steps,
        )


class _AttentionSums:
    """Sums over samples of the attention to one block."""

    def __init__(self, labels: int, bins: int) -> None:
        self.time = np.zeros((labels, bins))
        self.padding = np.zeros(labels)
        self.even = 0.0

    def add(self, attention: Float64[np.ndarray, "labels steps"], length: int, total: int) -> None:
        """Add one sample of ``length`` real steps here and ``total`` in all blocks."""
        self.padding += attention[:, length:].sum(1)
        self.even += length / max(total, 1)
        if length:
            # a step covers its part of the time: what was attended up to a moment is interpolated
            reached = np.zeros((len(attention), length + 1))
            np.cumsum(attention[:, :length], 1, out=reached[:, 1:])
            bins = self.time.shape[1]
            edges, moments = np.arange(length + 1) / length, np.arange(bins + 1) / bins
            self.time += np.diff([np.interp(moments, edges, row) for row in reached], axis=1)


def _block_lengths(
    model: EmotionModel, batch: Batch, blocks: Iterable[str]
) -> tuple[dict[str, Int64[np.ndarray, "batch"]], dict[Modality, Int64[np.ndarray, "batch"]]]:
    """Real steps per sample: of each block attended to, and of each representation.

    Behind a CTC alignment a modality has as many steps as the text; attention to it is spread over
    the steps before the alignment.
    """
    given = {m: mask.sum(1) for m, mask in batch.masks.items()}
    inner, outer = dict(given), dict(given)
    if isinstance(model, CTCAligned):
        target = model.target_lengths(batch)
        inner = {m: torch.where(steps > 0, target, 0) for m, steps in given.items()}
        outer = {m: given[m] if m in model.sources else inner[m] for m in given}
    longest = torch.stack(list(inner.values())).amax(0)
    lengths = {
        block: outer[block]
        if block in outer
        else next((x for m, x in inner.items() if block == f"common.{m}"), longest)
        for block in blocks
    }
    return (
        {block: x.cpu().numpy() for block, x in lengths.items()},
        {m: x.cpu().numpy() for m, x in inner.items()},
    )


class _Collector:
    """Keeps what is wanted of each batch."""

    def __init__(self, model: EmotionModel, count: int, points: int, seed: int, bins: int) -> None:
        self.model, self.bins = model, bins
        self.modalities = tuple(m for m in MODALITIES if m in model.dims)
        chosen, moments = draw_moments(count, points, seed)
        self.moments = dict(zip(chosen.tolist(), moments, strict=True))
        self.steps: dict[tuple[Kind, Modality], dict[tuple[int, int], np.ndarray]] = {}
        self.judged: dict[tuple[Kind, Modality], _Discriminations] = {}
        self.attended: dict[str, _AttentionSums] = {}
        self.correlation: np.ndarray | None = None
        self.samples = 0

    def add(self, chosen: Int64[np.ndarray, "batch"], batch: Batch) -> None:
        features = self.model(batch, features=True).features
        attention = {
            name.removeprefix("attention."): x.mean(1).double().cpu().numpy()
            for name, x in features.items()
            if name.startswith("attention.") and x.ndim == 4 and x.shape[2] == self.model.num_labels
        }
        of_blocks, of_steps = _block_lengths(self.model, batch, attention)
        self._add_steps(chosen, features, of_steps)
        total = np.sum(list(of_blocks.values()), axis=0) if of_blocks else np.zeros(len(chosen))
        for block, x in attention.items():
            sums = self.attended.setdefault(block, _AttentionSums(self.model.num_labels, self.bins))
            for row, length in enumerate(of_blocks[block].tolist()):
                sums.add(x[row], length, int(total[row]))
        if (correlation := features.get("label_correlation")) is not None:
            found = correlation.double().cpu().numpy() * len(chosen)
            self.correlation = found if self.correlation is None else self.correlation + found
        self.samples += len(chosen)

    def _add_steps(
        self,
        chosen: Int64[np.ndarray, "batch"],
        features: Mapping[str, Tensor],
        lengths: Mapping[Modality, Int64[np.ndarray, "batch"]],
    ) -> None:
        for kind in KINDS:
            for own, m in enumerate(self.modalities):
                x = features.get(f"{kind}.{m}")
                if x is None or x.ndim != 3:  # of some systems, a vector per utterance
                    continue
                kept = self.steps.setdefault((kind, m), {})
                for row, position in enumerate(chosen.tolist()):
                    if position not in self.moments or not lengths[m][row]:
                        continue
                    places = np.unique((self.moments[position] * lengths[m][row]).astype(np.int64))
                    for place in places.tolist():
                        kept[position, place] = x[row, place].float().cpu().numpy()
                said = features.get(f"discriminator.{kind}.{m}")
                if said is not None:
                    real = np.arange(said.shape[1]) < lengths[m][:, None]
                    judged = self.judged.setdefault(
                        (kind, m), _Discriminations(len(self.modalities), own)
                    )
                    judged.add(said.double().cpu().numpy()[real])

    def result(self) -> Internals:
        """Return what was collected, drawn steps in the order of the split."""
        drawn: dict[Kind, dict[Modality, Drawn]] = {}
        for (kind, m), kept in self.steps.items():
            if kept:
                places = sorted(kept)
                drawn.setdefault(kind, {})[m] = Drawn(
                    np.stack([kept[place] for place in places]).astype(np.float32),
                    np.array([position for position, _ in places], np.int64),
                )
        verdicts: dict[Kind, dict[Modality, Verdict]] = {}
        for (kind, m), judged in self.judged.items():
            if (verdict := judged.verdict()) is not None:
                verdicts.setdefault(kind, {})[m] = verdict
        correlation = None if self.correlation is None else self.correlation / self.samples
        return Internals(self.modalities, drawn, verdicts, correlation, self._attention())

    def _attention(self) -> LabelAttention | None:
        if not self.attended:
            return None
        sums = list(self.attended.values())
        time = np.stack([x.time for x in sums])
        mass = time.sum(2)
        density = np.full_like(time, np.nan)
        np.divide(time * self.bins, mass[..., None], out=density, where=mass[..., None] > 0)
        return LabelAttention(
            tuple(self.attended),
            mass.T / self.samples,
            np.sum([x.padding for x in sums], axis=0) / self.samples,
            np.array([x.even for x in sums]) / self.samples,
            density,
        )


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
        model: in evaluation mode afterwards.
        split: at least one sample.
        aligned: whether the modalities of a sample have the same steps.
        standardizer: of the model.
        points: most steps kept of each kind of representation and modality.
        seed: of their draw; models are compared on the same moments of the same samples.
        bins: of relative time.
        batch_size: samples at once.
        progress: is told how many samples are done.
    """
    model.eval()
    longest = np.max([split.lengths(m) for m in model.dims], axis=0)
    order = np.argsort(-longest, kind="stable")
    collector = _Collector(model, len(split), points, seed, bins)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        samples = [split.sample(int(i)) for i in chosen]
        batch = collate(samples, model.dims, aligned=aligned, standardize=standardizer)
        collector.add(chosen, replace(batch, labels=None).to(model.device))
        if progress is not None:
            progress(start + len(chosen))
    return collector.result()


def probe_accuracy(groups: Mapping[Any, Drawn], *, seed: int = 0) -> float | None:
    """Return how well a linear probe, trained afresh, tells groups of drawn steps apart.

    A logistic regression on half of the samples names the group of the steps of the other half.
    The recalls of the groups are averaged, so that chance is 1 / groups. A discriminator that
    was trained against a generator may have been fooled; a fresh one has not.

    Args:
        groups: name -> its steps; at least two.
        seed: of the halves.

    Returns:
        The accuracy, or None where a group has too few samples.
    """
    from sklearn.linear_model import LogisticRegression

    names = [name for name, drawn in groups.items() for _ in drawn.samples]
    values = np.concatenate([drawn.values for drawn in groups.values()]).astype(np.float64)
    samples = np.concatenate([drawn.samples for drawn in groups.values()])
    target = np.array(names)
    unique = np.unique(samples)
    first = np.isin(samples, np.random.default_rng(seed).permutation(unique)[: len(unique) // 2])
    halves = (set(target[first]), set(target[~first]))
    if len(groups) < 2 or any(len(half) < len(groups) for half in halves):
        return None
    scale = values[first].std(0)
    values = (values - values[first].mean(0)) / np.where(scale > 1e-9, scale, 1)
    probe = LogisticRegression(C=0.1, max_iter=1000).fit(values[first], target[first])
    right = probe.predict(values[~first]) == target[~first]
    return float(np.mean([right[target[~first] == name].mean() for name in groups]))
