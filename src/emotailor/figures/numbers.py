"""The numbers behind the figures of what a model is like inside, and the run they are from.

Each has a ``summary``, what a reader should see in the figure, and ``left_out``, a line for each
part that this run or these data cannot show.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64

from emotailor.data.dataset import Split
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.metrics import Metrics, evaluate
from emotailor.figures.representations import (
    KINDS,
    POINTS,
    QUANTILES,
    Drawn,
    Internals,
    Kind,
    LabelAttention,
    Verdict,
    collect,
    probe_accuracy,
)
from emotailor.runs.data import matching_labels
from emotailor.runs.run import Run
from emotailor.training.history import METRICS_FILE, EpochRecord

TERMS = {"adversarial": "adversarial_weight", "orthogonality": "orthogonality_weight"}
"""The two terms of Eq. 17 that refine representations, and the settings of their weights."""

ADVERSARIAL = ("adversarial_common", "adversarial_private")
"""Losses of the modality discriminator."""

SAME = 1e-6
"""Attention whose multiples of even attention differ by less does not change over time."""

NEARLY_EVEN = 0.05
"""Attention that departs from even by no more than this share of it is called even."""

Numbers = dict[str, Any]
SplitUse = Literal["train", "valid"]


class SkipFigure(Exception):  # noqa: N818 - it is no error
    """A figure cannot be made; the message says why."""


class RunView:
    """A trained run on one split of a data set: what all figures are made from.

    Args:
        run: the run.
        data: stored data set; by default the one it was trained on.
        split: name of the split.
        device: device to compute on.
        points: most steps drawn of each kind of representation.
        seed: seed of their draw, and of t-SNE.

    Attributes:
        run: the run.
        predictor: the trained model.
        dataset: the data set.
        path: where it is stored; None where the run itself must say so.
        part: the split.
        labels: labels of the split in the model's order, (n, L).
        probabilities: what the model predicts, (n, L).
        against: a run to lay beside this one in Figure 6; None for none.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, it is empty, or it has other labels.
    """

    def __init__(
        self,
        run: Run,
        *,
        data: Path | None,
        split: str,
        device: str = "auto",
        points: int = POINTS,
        seed: int = 0,
    ) -> None:
        self.run = run
        self.points = points
        self.seed = seed
        self.against: RunView | None = None
        self.predictor = run.predictor(device=device)

        path = run.data_path if data is None else data
        self.path = path
        self.dataset = run.dataset(path).with_labels()
        self.predictor.check_extraction(self.dataset)
        self.part = self.dataset[split]
        if len(self.part) == 0:
            raise DataError(f"split {split!r} of {path} is empty", expected="at least one sample")

        # in the model's order: a data set may have another
        self.names = run.label_names
        self.labels = self.labels_of(self.part)
        self.probabilities = self.predictor.predict_proba(self.part)

    @property
    def folder_name(self) -> str:
        """The name of the run folder, also where it was given as ``.``."""
        return self.run.name if self.run.is_named else self.run.folder.resolve().name

    @property
    def title(self) -> str:
        """The run as captions name it."""
        return f"{self.folder_name} ({self.run.model.system})"

    @property
    def of_split(self) -> str:
        """The samples that a caption is about."""
        return f"{self.title}, {self.part.name} split, {len(self.part):,} samples"

    def labels_of(self, split: Split) -> np.ndarray:
        """Return the labels of a split in the model's order, (n, L)."""
        return matching_labels(self.dataset, split, self.names)

    def split_used_as(self, use: SplitUse) -> Split | None:
        """Return the split that the run trained or validated on, if it is there and not empty."""
        split = self.dataset.splits.get(self._name_of_split(use))
        if split is None or not len(split):
            return None
        return split

    def _name_of_split(self, use: SplitUse) -> str:
        """Return the name that the settings of the training give; else its usual name."""
        try:
            config = self.run.config
        except ConfigError:  # the model is whole, and so are its figures
            config = None
        if config is None:
            return use
        return config.data.train_split if use == "train" else config.data.valid_split

    @cached_property
    def metrics(self) -> Metrics:
        """The metrics of the split."""
        return evaluate(self.labels, self.probabilities, self.names, self.predictor.thresholds)

    @cached_property
    def internals(self) -> Internals:
        """What the model shows of itself on the split."""
        return collect(
            self.predictor.model,
            self.part,
            aligned=self.run.model.aligned,
            standardizer=self.predictor.standardizer,
            points=self.points,
            seed=self.seed,
        )

    def lacks(self, what: str) -> SkipFigure:
        """Return the reason why a figure of the model's insides cannot be made."""
        return SkipFigure(f"the model ({self.run.model.system}, as trained) has no {what}")


# ---------------------------------------------------------------------- figures 4 to 7


def loss_numbers(view: RunView) -> Numbers:
    """Figure 4: the losses of every epoch, from ``metrics.jsonl``."""
    history = _history(view)
    epochs = [epoch.epoch for epoch in history]
    valid_loss = [epoch.score("loss") for epoch in history]
    valid_f1 = [epoch.score("micro_f1") for epoch in history]

    first = history[0]
    train = {}
    left_out = []
    for name in first.train:
        values = [epoch.train[name] for epoch in history]
        if name != "total" and not any(values):
            left_out.append(f"{name.replace('_', ' ')}: zero in every epoch")
            continue
        train[name] = values

    # a part that has no weight counts once
    loss_weights = view.predictor.model.loss_weights
    weights = {}
    for name in train:
        if name != "total":
            weights[name] = loss_weights.get(name, 1.0)

    best = view.run.model.selected_epoch
    if best is None:
        best = epochs[-1]

    modalities = len(view.predictor.dims)
    chance = _losses_by_chance(list(train), modalities)
    return {
        "epochs": epochs,
        "train": train,
        "valid": {"loss": valid_loss, "micro_f1": valid_f1},
        "weights": weights,
        "chance": chance,
        "best_epoch": best,
        "summary": summary_of_losses(epochs, train["total"], valid_f1, best),
        "left_out": left_out,
        "caption": f"{view.title}; before a title: its weight in the objective; dotted: epoch "
        f"{best}, whose model was kept{_meaning_of_dashes(chance)}",
    }


def _meaning_of_dashes(chance: Mapping[str, float]) -> str:
    if not chance:
        return ""
    guess = next(iter(chance.values()))  # the same for all
    return f"; dashed: a discriminator that guesses, {guess:.2f}"


def summary_of_losses(
    epochs: Sequence[int], objective: Sequence[float], f1: Sequence[float], best: int
) -> str:
    """Say how far the objective fell, and what validation gained."""
    of_best = f1[epochs.index(best)] if best in epochs else f1[-1]
    if len(epochs) == 1:
        return f"One epoch: objective {objective[0]:#.3g}, validation micro-F1 {of_best:.3f}."

    kept = f"from {f1[0]:.3f} to {of_best:.3f} in the epoch kept"
    if best == epochs[0]:
        kept = f"{of_best:.3f} in the first epoch, which is kept"
    return (
        f"The objective went from {objective[0]:#.3g} to {objective[-1]:#.3g} in {len(epochs)} "
        f"epochs; validation micro-F1 {kept}."
    )


def _history(view: RunView) -> list[EpochRecord]:
    """Return the records of a training by gradients."""
    try:
        history = view.run.history
    except ModelError as error:
        raise SkipFigure(error.found) from error

    run = view.run
    if not history:
        raise SkipFigure(f"no {METRICS_FILE} in {run.folder}: it was not trained here")
    if not history[0].train:
        raise SkipFigure(f"the model ({run.model.system}) is fitted at once")
    return history


def _losses_by_chance(names: Sequence[str], modalities: int) -> dict[str, float]:
    """Return the adversarial losses of a discriminator that guesses.

    Each adversarial loss is a sum over the modalities of a cross-entropy.
    """
    guessing = modalities * math.log(modalities)
    return {name: guessing for name in ADVERSARIAL if name in names}


def discriminator_numbers(view: RunView) -> Numbers:
    """Figure 5: what the discriminator says of each kind of representation."""
    internals = view.internals
    modalities = internals.modalities

    # of one modality there is nothing to tell
    if not internals.verdicts or len(modalities) < 2:
        raise view.lacks("modality discriminator over steps")

    kinds: Numbers = {}
    for kind, verdicts in internals.verdicts.items():
        kinds[kind] = {}
        for m, verdict in verdicts.items():
            kinds[kind][m] = _verdict_numbers(verdict, modalities)

    chance = 1 / len(modalities)
    return {
        "modalities": list(modalities),
        "kinds": kinds,
        "summary": _summary_of_verdicts(kinds, chance),
        "caption": f"{view.of_split}; lines: 10th to 90th percentile of the steps; "
        f"dashed: chance, {chance:.2f}",
    }


def _summary_of_verdicts(kinds: Numbers, chance: float) -> str:
    """Say how probable the right modality is to the discriminator, for each kind."""
    parts = []
    for kind, verdicts in kinds.items():
        right = [verdict["mean"][m] for m, verdict in verdicts.items()]
        parts.append(f"{min(right):.2f} to {max(right):.2f} for {kind} ones")
    return (
        f"The right modality gets {', '.join(parts)} (chance {chance:.2f}); by the paper it is "
        "chance for common and much more for private ones."
    )


def _verdict_numbers(verdict: Verdict, modalities: Sequence[Modality]) -> Numbers:
    quantiles = {}
    for share, values in zip(QUANTILES, verdict.quantiles, strict=True):
        key = f"{share:g}"
        quantiles[key] = _by_name(modalities, values)

    return {
        "steps": verdict.steps,
        "mean": _by_name(modalities, verdict.mean),
        "std": _by_name(modalities, verdict.std),
        "quantiles": quantiles,
        "accuracy": verdict.accuracy,
    }


def _by_name(names: Sequence[str], values: Float64[np.ndarray, "names"]) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def tsne_numbers(view: RunView) -> Numbers:
    """Figure 6: t-SNE of drawn steps, of the run and of one to lay beside it."""
    runs = [_embedded(view)]
    moments = "moments"
    if view.against is not None:
        runs.insert(0, _embedded(view.against))
        moments = "the same moments"
    return {
        "runs": runs,
        "summary": "Groups that lie apart are kinds of representation that the model tells apart; "
        "the probes below say how well, in the full space.",
        "caption": f"{moments} drawn from {view.part.name} split, "
        f"{len(view.part):,} samples; distances between far groups mean nothing",
    }


@dataclass(frozen=True)
class _Group:
    """Drawn steps of one kind of representation of one modality."""

    kind: Kind
    modality: Modality
    drawn: Drawn


def _embedded(view: RunView) -> Numbers:
    """Return places of drawn steps in the plane, and what probes tell of them."""
    groups = _groups(view)
    if len(groups) < 2:
        raise view.lacks("common and private representations of each step")

    # one t-SNE of all: places of different groups compare
    values = np.concatenate([group.drawn.values for group in groups])  # (points, d)
    count = len(values)
    if count < 10:
        raise SkipFigure(f"{count} steps are too few for t-SNE")

    # a perplexity must be less than the number of points
    perplexity = min(30.0, (count - 1) / 3)
    places = _tsne(values, perplexity, view.seed)  # (points, 2)

    start = 0
    drawn_groups = []
    for group in groups:
        end = start + len(group.drawn.samples)
        numbers = _group_numbers(view, group, places[start:end])
        drawn_groups.append(numbers)
        start = end

    probes, lines = _probes(view.internals.drawn)
    return {
        "run": view.folder_name,
        "title": _terms(view),
        "note": "\n".join(lines),
        "probe": probes,
        "perplexity": perplexity,
        "groups": drawn_groups,
    }


def _groups(view: RunView) -> list[_Group]:
    """Return the drawn steps, first those of common representations."""
    groups = []
    for kind in KINDS:
        by_modality = view.internals.drawn.get(kind, {})
        groups += [_Group(kind, m, drawn) for m, drawn in by_modality.items()]
    return groups


def _group_numbers(
    view: RunView, group: _Group, places: Float64[np.ndarray, "points 2"]
) -> Numbers:
    """Return the steps of a group, and the samples that they are of."""
    ids = view.part.ids
    samples = [ids[position] for position in group.drawn.samples.tolist()]
    return {
        "kind": group.kind,
        "modality": group.modality,
        "samples": samples,
        "points": places.tolist(),
    }


def _tsne(
    values: Float32[np.ndarray, "points size"], perplexity: float, seed: int
) -> Float64[np.ndarray, "points 2"]:
    from sklearn.manifold import TSNE

    # a spread of one in both runs: the panels then look alike where the data do
    spread = max(float(values.std()), 1e-12)
    scaled = values / spread

    embedding = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    places = embedding.fit_transform(scaled)
    return np.asarray(places, np.float64)


def _probes(
    drawn: Mapping[Kind, Mapping[Modality, Drawn]],
) -> tuple[dict[str, float | None], list[str]]:
    """Return how well probes tell modalities, and common from private; and the same in words."""
    accuracies: dict[str, float | None] = {}
    joined = {}
    told = []
    most = 1  # modalities of a kind
    for kind in KINDS:
        if kind not in drawn:
            continue

        by_modality = drawn[kind]
        joined[kind] = _joined(list(by_modality.values()))
        most = max(most, len(by_modality))
        if len(by_modality) > 1:
            accuracy = probe_accuracy(by_modality)
            accuracies[kind] = accuracy
            if accuracy is not None:
                told.append(f"{kind} {accuracy:.2f}")

    lines = []
    if told:
        lines.append(f"probe names the modality: {', '.join(told)} (chance {1 / most:.2f})")

    # a model may have one kind of representation only
    between = None
    if len(joined) == 2:
        between = probe_accuracy(joined)
    if between is not None:
        lines.append(f"probe tells common from private: {between:.2f} (chance 0.50)")

    accuracies["common_or_private"] = between
    return accuracies, lines


def _joined(parts: Sequence[Drawn]) -> Drawn:
    values = [part.values for part in parts]
    samples = [part.samples for part in parts]
    return Drawn(np.concatenate(values), np.concatenate(samples))


def _terms(view: RunView) -> str:
    """Say with which of the two terms of Eq. 17 a run was trained."""
    config = view.run.model.config
    losses = config.get("refinement_losses", ())

    # a term is used where it is listed and its weight is not zero
    used = []
    for name, weight in TERMS.items():
        if name in losses and config.get(weight):
            used.append(name)

    how, terms = ("with", used) if used else ("without", TERMS)
    names = " and ".join(terms)
    return f"{view.folder_name}: {how} {names} terms"


def correlation_numbers(view: RunView) -> Numbers:
    """Figure 7: softmax(r) of Eq. 11 per head."""
    names = view.names
    if len(names) < 2:
        raise SkipFigure("one label has no correlation with another")

    heads = view.internals.correlation  # (heads, L, L)
    if heads is None:
        raise view.lacks("label correlations")

    # with one decoder layer the correlations do not depend on the sample
    layers = int(view.run.model.config.get("decoder_layers", 1))
    which = ""
    if layers > 1:
        which = f"; decoder layer {layers}, mean of samples"

    return {
        "labels": list(names),
        "heads": heads.tolist(),
        "summary": _summary_of_correlations(heads),
        "caption": f"{view.title}; softmax(r) of Eq. 11{which}; rows sum to 1; colours: multiples "
        "of even attention",
    }


def _summary_of_correlations(heads: Float64[np.ndarray, "heads labels labels"]) -> str:
    """Say how far the attention among labels is from even."""
    even = 1 / heads.shape[-1]
    lowest = float(heads.min())
    highest = float(heads.max())
    farthest = max(highest - even, even - lowest) / even
    if farthest <= NEARLY_EVEN:
        return (
            f"Attention is even, {even:.3f}, to within {farthest:.1%}: no label looks at another "
            "more than at the rest."
        )
    return f"Attention lies between {lowest:.3f} and {highest:.3f}, where even is {even:.3f}."


def attention_numbers(view: RunView) -> Numbers:
    """Attention of each label over modalities and over relative time."""
    attention = view.internals.attention
    if attention is None:
        raise view.lacks("attention of each label to steps")

    # shares compare only where a label divides one attention among the blocks
    blocks = attention.blocks
    shares = None
    if attention.joint:
        by_block = attention.mass.T.tolist()  # (blocks, L)
        shares = dict(zip(blocks, by_block, strict=True))
        shares["padding"] = attention.padding.tolist()

    density, left_out = _over_time(attention)
    if shares is None and not density:
        raise SkipFigure("attention over one step is the same for every label")
    if shares is None:
        left_out.insert(0, "shares of the modalities: each has an attention of its own")

    return {
        "labels": list(view.names),
        "blocks": list(blocks),
        "shares": shares,
        "even": _by_name(blocks, attention.even),
        "density": density,
        "summary": _summary_of_attention(view.names, attention),
        "left_out": left_out,
        "caption": f"{view.of_split}, mean of heads and samples; dashed: every step alike",
    }


def _over_time(attention: LabelAttention) -> tuple[dict[str, list[list[float]]], list[str]]:
    """Return attention over relative time of each block, and which blocks have none."""
    density = {}
    flat = []
    for block, rows in zip(attention.blocks, attention.density, strict=True):
        known = rows[~np.isnan(rows).any(1)]  # (labels with attention, bins)
        has_moments = bool((np.ptp(known, axis=1) > SAME).any())
        if has_moments:
            density[block] = rows.tolist()
        else:
            flat.append(block)

    if not flat:
        return density, []
    which = "any block" if not density else ", ".join(flat)
    return density, [f"attention over time of {which}: it is the same at every moment"]


def _summary_of_attention(names: Sequence[str], attention: LabelAttention) -> str:
    """Name the block and the label whose attention is farthest from even; empty without shares."""
    if not attention.joint:
        return ""

    more = attention.mass - attention.even  # (L, blocks)
    label, block = np.unravel_index(np.abs(more).argmax(), more.shape)
    share = float(attention.mass[label, block])
    even = float(attention.even[block])
    return (
        f"Farthest from even: {names[label]} gives {share:.2f} of its attention to "
        f"{attention.blocks[block]}, where even would be {even:.2f}."
    )
