"""The numbers behind the figures of a run."""

import json
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from emotailor.data.dataset import Split
from emotailor.data.sample import Modality
from emotailor.data.store import open_dataset
from emotailor.errors import DataError
from emotailor.evaluation.metrics import Metrics, decide, evaluate, ratio
from emotailor.figures.representations import (
    KINDS,
    POINTS,
    QUANTILES,
    Drawn,
    Internals,
    collect,
    probe_accuracy,
)
from emotailor.runs.run import matching_labels, trained_on
from emotailor.serving.predictor import Predictor
from emotailor.training.run_folder import CONFIG_FILE, METRICS_FILE

TERMS = {"adversarial": "adversarial_weight", "orthogonality": "orthogonality_weight"}

Numbers = dict[str, Any]


class SkipFigure(Exception):  # noqa: N818 - it is no error
    """A figure cannot be made; the message says why."""


class Subject:
    """A trained run on one split of a data set.

    Args:
        run: run or model folder.
        data: stored data set; by default the one it was trained on.
        split: name of the split.
        device: to compute on.
        points: most steps drawn of each kind of representation.
        seed: of their draw, and of t-SNE.

    Raises:
        ModelError: there is no model, or the data do not fit it.
        DataError: there is no such data set or split, it is empty, or it has other labels.
    """

    def __init__(
        self,
        run: Path,
        *,
        data: Path | None,
        split: str,
        device: str = "auto",
        points: int = POINTS,
        seed: int = 0,
    ) -> None:
        self.run, self.points, self.seed = run, points, seed
        self.predictor = Predictor.load(run, device=device)
        path = data if data is not None else trained_on(run)
        self.dataset = open_dataset(path)
        self.part = self.dataset[split]
        if not len(self.part):
            raise DataError(f"split {split!r} of {path} is empty", expected="at least one sample")
        self.names = self.predictor.label_names
        self.labels = self.labels_of(self.part)
        self.probabilities = self.predictor.predict_proba(self.part)

    @property
    def title(self) -> str:
        """How the run is called in captions."""
        return f"{self.run.resolve().name} ({self.predictor.card.system})"

    @property
    def of_split(self) -> str:
        """Which samples a caption is about."""
        return f"{self.title}, {self.part.name} split, {len(self.part):,} samples"

    def labels_of(self, split: Split) -> np.ndarray:
        """Return the labels of a split in the model's order, (n, L)."""
        return matching_labels(self.dataset, split, self.names)

    def split_named(self, key: str, default: str) -> Split | None:
        """Return the split that the run used as ``data.<key>``, if it is there and not empty."""
        try:
            config = json.loads((self.run / CONFIG_FILE).read_text(encoding="utf-8"))
            name = str(config["config"]["data"].get(key, default))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            name = default
        split = self.dataset.splits.get(name)
        return split if split is not None and len(split) else None

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
            aligned=self.predictor.card.aligned,
            standardizer=self.predictor.standardizer,
            points=self.points,
            seed=self.seed,
        )

    def lacks(self, what: str) -> SkipFigure:
        """The reason why a figure of the model's insides cannot be made."""
        return SkipFigure(f"the model ({self.predictor.card.system}, as trained) has no {what}")


# ---------------------------------------------------------------------- figures 4 to 7


def loss_numbers(subject: Subject) -> Numbers:
    """Figure 4: the losses of every epoch, from ``metrics.jsonl``."""
    file = subject.run / METRICS_FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise SkipFigure(f"no {METRICS_FILE} in {subject.run}: it was not trained here") from None
    try:
        history = [json.loads(line) for line in lines if line.strip()]
        if not history or not history[0]["train"]:
            raise SkipFigure(f"the model ({subject.predictor.card.system}) is fitted at once")
        names = list(history[0]["train"])
        found: Numbers = {
            "epochs": [int(entry["epoch"]) for entry in history],
            "train": {name: [float(e["train"][name]) for e in history] for name in names},
            "valid": {
                name: [float(entry["valid"][name]) for entry in history]
                for name in ("loss", "micro_f1")
            },
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SkipFigure(f"{file} is damaged ({error})") from None
    weights = dict(subject.predictor.model.loss_weights)
    found["weights"] = {name: weights.get(name, 1.0) for name in names if name != "total"}
    # each adversarial loss is a sum over the modalities of a cross-entropy
    modalities = len(subject.predictor.dims)
    found["chance"] = {
        name: modalities * math.log(modalities)
        for name in ("adversarial_common", "adversarial_private")
        if name in names and subject.predictor.card.system == "tailor"
    }
    best = subject.predictor.card.selection.get("epoch", found["epochs"][-1])
    found["best_epoch"] = best
    found["caption"] = f"{subject.title}; dotted: epoch {best}, whose model was kept"
    return found


def discriminator_numbers(subject: Subject) -> Numbers:
    """Figure 5: what the discriminator says of each kind of representation."""
    internals = subject.internals
    if not internals.verdicts or len(internals.modalities) < 2:
        raise subject.lacks("modality discriminator over steps")
    order = internals.modalities

    def by_name(values: Float64[np.ndarray, "modalities"]) -> dict[Modality, float]:
        return dict(zip(order, values.tolist(), strict=True))

    kinds = {
        kind: {
            m: {
                "steps": v.steps,
                "mean": by_name(v.mean),
                "std": by_name(v.std),
                "quantiles": {
                    f"{q:g}": by_name(row) for q, row in zip(QUANTILES, v.quantiles, strict=True)
                },
                "accuracy": v.accuracy,
            }
            for m, v in verdicts.items()
        }
        for kind, verdicts in internals.verdicts.items()
    }
    return {
        "modalities": list(order),
        "kinds": kinds,
        "caption": f"{subject.of_split}; lines: 10th to 90th percentile of the steps; "
        f"dashed: chance, {1 / len(order):.2f}",
    }


def tsne_numbers(subject: Subject, against: Subject | None) -> Numbers:
    """Figure 6: t-SNE of drawn steps, of the run and of one to lay beside it."""
    runs = [_embedded(subject)]
    if against is not None:
        runs.insert(0, _embedded(against))
    moments = "the same moments" if against is not None else "moments"
    return {
        "runs": runs,
        "caption": f"{moments} drawn from {subject.part.name} split, "
        f"{len(subject.part):,} samples; distances between far groups mean nothing",
    }


def _embedded(subject: Subject) -> Numbers:
    from sklearn.manifold import TSNE

    drawn = subject.internals.drawn
    groups = [(kind, m, x) for kind in KINDS for m, x in drawn.get(kind, {}).items()]
    if len(groups) < 2:
        raise subject.lacks("common and private representations of each step")
    values = np.concatenate([x.values for _, _, x in groups])
    if len(values) < 10:
        raise SkipFigure(f"{len(values)} steps are too few for t-SNE")
    perplexity = min(30.0, (len(values) - 1) / 3)
    embedding = TSNE(perplexity=perplexity, init="pca", random_state=subject.seed)
    # a spread of one in both runs: the panels then look alike where the data do
    places = embedding.fit_transform(values / max(float(values.std()), 1e-12)).astype(np.float64)
    probes = {kind: probe_accuracy(drawn[kind]) for kind in KINDS if len(drawn.get(kind, {})) > 1}
    kinds = {kind: _joined(list(drawn[kind].values())) for kind in KINDS if kind in drawn}
    between = probe_accuracy(kinds) if len(kinds) == 2 else None
    told = ", ".join(f"{kind} {a:.2f}" for kind, a in probes.items() if a is not None)
    chance = 1 / max(len(drawn.get(kind, {})) for kind in KINDS)
    lines = [f"probe names the modality: {told} (chance {chance:.2f})"] if told else []
    if between is not None:
        lines.append(f"probe tells common from private: {between:.2f} (chance 0.50)")
    ends = np.cumsum([len(x.samples) for _, _, x in groups])[:-1]
    return {
        "run": subject.run.resolve().name,
        "title": _terms(subject),
        "note": "\n".join(lines),
        "probe": {**probes, "common_or_private": between},
        "perplexity": perplexity,
        "groups": [
            {
                "kind": kind,
                "modality": m,
                "samples": [subject.part.ids[int(i)] for i in x.samples],
                "points": points.tolist(),
            }
            for (kind, m, x), points in zip(groups, np.split(places, ends), strict=True)
        ],
    }


def _joined(parts: Sequence[Drawn]) -> Drawn:
    return Drawn(
        np.concatenate([x.values for x in parts]), np.concatenate([x.samples for x in parts])
    )


def _terms(subject: Subject) -> str:
    """Say with which of the two terms of Eq. 17 a run was trained."""
    config = subject.predictor.card.config
    losses = config.get("refinement_losses", ())
    used = [name for name, weight in TERMS.items() if name in losses and config.get(weight)]
    left = [name for name in TERMS if name not in used]
    how = f"with {' and '.join(used)}" if used else f"without {' and '.join(left)}"
    return f"{subject.run.resolve().name}: {how} terms"


def correlation_numbers(subject: Subject) -> Numbers:
    """Figure 7: softmax(r) of Eq. 11 per head."""
    if len(subject.names) < 2:
        raise SkipFigure("one label has no correlation with another")
    heads = subject.internals.correlation
    if heads is None:
        raise subject.lacks("label correlations")
    layers = int(subject.predictor.card.config.get("decoder_layers", 1))
    which = f"; decoder layer {layers}, mean of samples" if layers > 1 else ""
    return {
        "labels": list(subject.names),
        "heads": heads.tolist(),
        "caption": f"{subject.title}; softmax(r) of Eq. 11{which}; between {heads.min():.3f} and "
        f"{heads.max():.3f}, where even attention would be {1 / len(subject.names):.3f}",
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
    last = np.nonzero(np.append(np.diff(probabilities[order]) != 0, True))[0]
    hits = labels[order].astype(np.int64).cumsum()[last]
    found = hits > 0  # before the first hit there is no recall
    return ratio(hits, last + 1)[found], ratio(hits, labels.sum())[found]


def precision_recall_numbers(subject: Subject) -> Numbers:
    """The curve of each label, and where the thresholds are on it."""
    by_mode = {
        mode: evaluate(
            subject.labels, subject.probabilities, subject.names, chosen.array(subject.names)
        )
        for mode, chosen in subject.predictor.card.thresholds.items()
    }
    found: Numbers = {}
    for j, name in enumerate(subject.names):
        own = subject.metrics.labels[name]
        precision, recall = precision_recall_curve(
            subject.labels[:, j], subject.probabilities[:, j]
        )
        found[name] = {
            "support": own.support,
            "frequency": own.support / len(subject.labels),
            "average_precision": own.average_precision,
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "thresholds": {
                mode: {
                    "threshold": metrics.labels[name].threshold,
                    "predicted": metrics.labels[name].predicted,
                    "precision": metrics.labels[name].precision,
                    "recall": metrics.labels[name].recall,
                }
                for mode, metrics in by_mode.items()
            },
        }
    return {"labels": found, "caption": f"{subject.of_split}; AP: average precision"}


def threshold_numbers(subject: Subject) -> Numbers:
    """Micro-averaged scores at thresholds from 0 to 1, on validation and on the split."""
    grid = np.linspace(0, 1, 101)
    names = subject.names
    chosen = {mode: x.array(names) for mode, x in subject.predictor.card.thresholds.items()}
    if "tuned" in chosen and np.array_equal(chosen["tuned"], chosen.get("per_label", ())):
        del chosen["per_label"]  # every label kept the tuned one
    parts = {subject.part.name: (subject.labels, subject.probabilities)}
    valid = subject.split_named("valid_split", "valid")
    if valid is not None and valid.name != subject.part.name:
        scores = subject.predictor.predict_proba(valid)
        parts = {valid.name: (subject.labels_of(valid), scores), **parts}
    splits = {}
    for split, (labels, scores) in parts.items():
        curves = [micro_scores(labels, scores, cut) for cut in grid.tolist()]
        splits[split] = {
            "samples": len(labels),
            "curves": {key: [scores[key] for scores in curves] for key in curves[0]},
            "modes": {
                mode: {
                    "threshold": float(cuts[0]) if (cuts == cuts[0]).all() else None,
                    **micro_scores(labels, scores, cuts),
                }
                for mode, cuts in chosen.items()
            },
        }
    return {
        "threshold": grid.tolist(),
        "splits": splits,
        "caption": f"{subject.title}; curves: one threshold for all labels; tuned and per label: "
        "chosen on the validation split",
    }


def micro_scores(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: float | np.ndarray
) -> dict[str, float | None]:
    """Return micro-averaged precision (None where nothing is predicted), recall and F1."""
    decisions = decide(probabilities, thresholds)
    hits = int((decisions & (labels == 1)).sum())
    predicted, true = int(decisions.sum()), int(labels.sum())
    return {
        "micro_precision": hits / predicted if predicted else None,
        "micro_recall": float(ratio(hits, true)),
        "micro_f1": float(ratio(2 * hits, predicted + true)),
    }


def co_occurrence_numbers(subject: Subject) -> Numbers:
    """Share of the samples with label i in which label j is predicted, and in which it is true."""
    if len(subject.names) < 2:
        raise SkipFigure("one label has no other to be confused with")
    truth = subject.labels.astype(np.float64)
    decided = decide(subject.probabilities, subject.predictor.thresholds).astype(np.float64)
    rows = np.column_stack([truth, truth.sum(1) == 0])  # the last row: samples of no label
    support = rows.sum(0)
    with np.errstate(invalid="ignore"):
        predicted, true = (rows.T @ x / support[:, None] for x in (decided, truth))
    mode = subject.predictor.mode.replace("_", " ")
    return {
        "labels": list(subject.names),
        "support": truth.sum(0).astype(int).tolist(),
        "unlabelled": int(rows[:, -1].sum()),
        "predicted": predicted.tolist(),
        "true": true.tolist(),
        "caption": f"{subject.of_split}, {mode} thresholds; in brackets: samples of the row; "
        "\u2013: no such samples",
    }


def attention_numbers(subject: Subject) -> Numbers:
    """Attention of each label over modalities and over relative time."""
    attention = subject.internals.attention
    if attention is None:
        raise subject.lacks("attention of each label to steps")
    shares = None
    if attention.joint:
        shares = {block: attention.mass[:, k].tolist() for k, block in enumerate(attention.blocks)}
        shares["padding"] = attention.padding.tolist()
    return {
        "labels": list(subject.names),
        "blocks": list(attention.blocks),
        "shares": shares,
        "even": dict(zip(attention.blocks, attention.even.tolist(), strict=True)),
        "density": {
            block: attention.density[k].tolist() for k, block in enumerate(attention.blocks)
        },
        "caption": f"{subject.of_split}, mean of heads and samples; dashed: every step alike",
    }
