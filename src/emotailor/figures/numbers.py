"""The numbers behind the figures of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Shaped

from emotailor.data.dataset import Split
from emotailor.data.sample import Modality
from emotailor.errors import ConfigError, DataError, ModelError
from emotailor.evaluation.metrics import LabelMetrics, Metrics, decide, evaluate, ratio
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.figures.representations import (
    KINDS,
    POINTS,
    QUANTILES,
    Drawn,
    Internals,
    Kind,
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
        return self.run.folder.resolve().name

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
    for name in first.train:
        train[name] = [epoch.train[name] for epoch in history]

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
    return {
        "epochs": epochs,
        "train": train,
        "valid": {"loss": valid_loss, "micro_f1": valid_f1},
        "weights": weights,
        "chance": _losses_by_chance(list(train), modalities),
        "best_epoch": best,
        "caption": f"{view.title}; dotted: epoch {best}, whose model was kept",
    }


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
        "caption": f"{view.of_split}; lines: 10th to 90th percentile of the steps; "
        f"dashed: chance, {chance:.2f}",
    }


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

    even = 1 / len(names)
    lowest = heads.min()
    highest = heads.max()
    return {
        "labels": list(names),
        "heads": heads.tolist(),
        "caption": f"{view.title}; softmax(r) of Eq. 11{which}; between {lowest:.3f} and "
        f"{highest:.3f}, where even attention would be {even:.3f}",
    }


# ---------------------------------------------------------------------- what a reader asks next


def precision_recall_curve(
    labels: Shaped[np.ndarray, "n"], probabilities: Shaped[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """Return precision and recall at every distinct probability from the first hit on.

    A curve drawn with the precision held to the left of each recall has the average precision as
    its area.
    """
    order = np.argsort(-probabilities, kind="stable")
    sorted_labels = labels[order].astype(np.int64)
    hits = sorted_labels.cumsum()

    # samples of one probability are predicted together: the last of them counts
    changes = np.diff(probabilities[order]) != 0
    is_last = np.append(changes, True)
    last = np.flatnonzero(is_last)  # (points,)
    hits = hits[last]
    predicted = last + 1

    found = hits > 0  # before the first hit there is no recall
    precision = ratio(hits, predicted)[found]
    recall = ratio(hits, labels.sum())[found]
    return precision, recall


def precision_recall_numbers(view: RunView) -> Numbers:
    """The curve of each label, and where the thresholds are on it."""
    by_mode = {}
    for mode, chosen in view.run.model.thresholds.items():
        cuts = chosen.array(view.names)
        by_mode[mode] = evaluate(view.labels, view.probabilities, view.names, cuts)

    found: Numbers = {}
    samples = len(view.labels)
    for j, name in enumerate(view.names):
        labels = view.labels[:, j]
        probabilities = view.probabilities[:, j]
        precision, recall = precision_recall_curve(labels, probabilities)

        marks = {}
        for mode, metrics in by_mode.items():
            marks[mode] = _threshold_mark(metrics.labels[name])

        own = view.metrics.labels[name]
        found[name] = {
            "support": own.support,
            "frequency": own.support / samples,
            "average_precision": own.average_precision,
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "thresholds": marks,
        }

    caption = f"{view.of_split}; AP: average precision"
    return {"labels": found, "caption": caption}


def _threshold_mark(label: LabelMetrics) -> Numbers:
    return {
        "threshold": label.threshold,
        "predicted": label.predicted,
        "precision": label.precision,
        "recall": label.recall,
    }


def threshold_numbers(view: RunView) -> Numbers:
    """Micro-averaged scores at thresholds from 0 to 1, on validation and on the split."""
    chosen = {}
    for mode, thresholds in view.run.model.thresholds.items():
        chosen[mode] = thresholds.array(view.names)

    # every label may have kept the tuned one
    tuned = chosen.get("tuned")
    per_label = chosen.get("per_label")
    if tuned is not None and per_label is not None and np.array_equal(tuned, per_label):
        del chosen["per_label"]

    grid = np.linspace(0, 1, 101).tolist()
    splits = {}
    part = view.part
    valid = view.split_used_as("valid")
    if valid is not None and valid.name != part.name:
        labels = view.labels_of(valid)
        probabilities = view.predictor.predict_proba(valid)
        splits[valid.name] = _scores_at(grid, chosen, labels, probabilities)
    splits[part.name] = _scores_at(grid, chosen, view.labels, view.probabilities)

    return {
        "threshold": grid,
        "splits": splits,
        "caption": f"{view.title}; curves: one threshold for all labels; tuned and per label: "
        "chosen on the validation split",
    }


def _scores_at(
    grid: Sequence[float],
    chosen: Mapping[ThresholdMode, Float64[np.ndarray, "labels"]],
    labels: Shaped[np.ndarray, "n labels"],
    probabilities: Shaped[np.ndarray, "n labels"],
) -> Numbers:
    """Return the scores of a split at each threshold of a grid, and at those that were chosen."""
    curves: dict[str, list[float | None]] = {}
    for cut in grid:
        scores = micro_scores(labels, probabilities, cut)
        for name, score in scores.items():
            curves.setdefault(name, []).append(score)

    modes = {}
    for mode, cuts in chosen.items():
        # where labels differ, no one threshold can be drawn
        first = cuts[0]
        one_for_all = bool((cuts == first).all())
        threshold = float(first) if one_for_all else None
        scores = micro_scores(labels, probabilities, cuts)
        modes[mode] = {"threshold": threshold, **scores}

    return {
        "samples": len(labels),
        "curves": curves,
        "modes": modes,
    }


def micro_scores(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: float | np.ndarray
) -> dict[str, float | None]:
    """Return micro-averaged precision (None where nothing is predicted), recall and F1."""
    decisions = decide(probabilities, thresholds)  # (n, L)
    correct = decisions & (labels == 1)
    hits = int(correct.sum())
    predicted = int(decisions.sum())
    true = int(labels.sum())

    precision = None
    if predicted:
        precision = hits / predicted
    recall = ratio(hits, true)
    f1 = ratio(2 * hits, predicted + true)
    return {
        "micro_precision": precision,
        "micro_recall": float(recall),
        "micro_f1": float(f1),
    }


def co_occurrence_numbers(view: RunView) -> Numbers:
    """Share of the samples with label i in which label j is predicted, and in which it is true."""
    if len(view.names) < 2:
        raise SkipFigure("one label has no other to be confused with")

    truth = view.labels.astype(np.float64)  # (n, L)
    decisions = decide(view.probabilities, view.predictor.thresholds)
    decided = decisions.astype(np.float64)  # (n, L)

    # a row of the figure for each label, and one for samples without any
    unlabelled = truth.sum(1) == 0
    rows = np.column_stack([truth, unlabelled])  # (n, L + 1)
    support = rows.sum(0)
    with np.errstate(invalid="ignore"):  # a row without samples is NaN
        predicted = rows.T @ decided / support[:, None]  # (L + 1, L)
        true = rows.T @ truth / support[:, None]

    mode = view.predictor.mode.replace("_", " ")
    *of_labels, without = support.astype(int).tolist()
    return {
        "labels": list(view.names),
        "support": of_labels,
        "unlabelled": without,
        "predicted": predicted.tolist(),
        "true": true.tolist(),
        "caption": f"{view.of_split}, {mode} thresholds; in brackets: samples of the row; "
        "\u2013: no such samples",
    }


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

    density = attention.density.tolist()  # (blocks, L, bins)
    return {
        "labels": list(view.names),
        "blocks": list(blocks),
        "shares": shares,
        "even": _by_name(blocks, attention.even),
        "density": dict(zip(blocks, density, strict=True)),
        "caption": f"{view.of_split}, mean of heads and samples; dashed: every step alike",
    }
