"""The numbers behind the figures of what a model predicts.

Each has a ``summary``, what a reader should see in the figure, and ``left_out``, a line for each
thing that these samples cannot show.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Shaped

from emotailor.evaluation.calibration import calibration
from emotailor.evaluation.metrics import LabelMetrics, decide, evaluate, ratio
from emotailor.evaluation.thresholds import ThresholdMode
from emotailor.figures.numbers import Numbers, RunView, SkipFigure


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

    # a label that is never true has no curve, one that always is has a line
    found: Numbers = {}
    never_true = []
    samples = len(view.labels)
    for j, name in enumerate(view.names):
        own = view.metrics.labels[name]
        if own.average_precision is None:
            never_true.append(name)
            continue

        labels = view.labels[:, j]
        probabilities = view.probabilities[:, j]
        precision, recall = precision_recall_curve(labels, probabilities)

        marks = {}
        for mode, metrics in by_mode.items():
            marks[mode] = _threshold_mark(metrics.labels[name])

        found[name] = {
            "support": own.support,
            "frequency": own.support / samples,
            "average_precision": own.average_precision,
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "thresholds": marks,
        }

    if not found:
        raise SkipFigure(f"no label is true in the {view.part.name} split")

    left_out = []
    if never_true:
        names = ", ".join(never_true)
        left_out.append(f"{names}: never true in the {view.part.name} split")
    return {
        "labels": found,
        "summary": _summary_of_curves(found),
        "left_out": left_out,
        "caption": f"{view.of_split}; AP: average precision, the area under the curve; marks lie "
        "over each other where thresholds decide alike",
    }


def _summary_of_curves(labels: Mapping[str, Numbers]) -> str:
    """Name the labels that the model ranks best and worst, against guessing."""
    gains = {}
    for name, label in labels.items():
        gains[name] = label["average_precision"] - label["frequency"]
    best = max(gains, key=lambda name: gains[name])
    worst = min(gains, key=lambda name: gains[name])

    text = f"Farthest above guessing: {_against_guessing(best, labels[best])}"
    if worst != best:
        text += f"; least: {_against_guessing(worst, labels[worst])}"
    return f"{text}."


def _against_guessing(name: str, label: Numbers) -> str:
    average = label["average_precision"]
    frequency = label["frequency"]
    return f"{name}, AP {average:.2f} where guessing gives {frequency:.2f}"


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
    part = view.part
    seen = {}
    valid = view.split_used_as("valid")
    if valid is not None and valid.name != part.name:
        seen[valid.name] = (view.labels_of(valid), view.predictor.predict_proba(valid))
    seen[part.name] = (view.labels, view.probabilities)

    # without anything to find every F1 is zero, whatever the threshold
    splits = {}
    left_out = []
    for name, (labels, probabilities) in seen.items():
        if not labels.any():
            left_out.append(f"the {name} split: no label is true in it")
            continue
        splits[name] = _scores_at(grid, chosen, labels, probabilities)
    if not splits:
        raise SkipFigure(f"no label is true in the {part.name} split")

    return {
        "threshold": grid,
        "splits": splits,
        "summary": _summary_of_thresholds(grid, splits),
        "left_out": left_out,
        "caption": f"{view.title}; curves: one threshold for all labels; tuned and per label: "
        "chosen on the validation split",
    }


def _summary_of_thresholds(grid: Sequence[float], splits: Mapping[str, Numbers]) -> str:
    """Say what the chosen threshold reaches on the last split, and what the best would."""
    name, found = list(splits.items())[-1]
    curve = found["curves"]["micro_f1"]
    best = max(curve)
    cut = grid[curve.index(best)]
    text = f"On {name} the best single threshold, {cut:.2f}, would give micro-F1 {best:.3f}"

    tuned = found["modes"].get("tuned")
    if tuned is not None:
        text += f"; the tuned one gives {tuned['micro_f1']:.3f}"
    return f"{text}."


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
    *of_labels, without = support.astype(int).tolist()
    true_names = [name for name, count in zip(view.names, of_labels, strict=True) if count]
    if not true_names:
        raise SkipFigure(f"no label is true in the {view.part.name} split")

    # a row without samples has no shares
    rows = rows[:, support > 0]
    predicted = rows.T @ decided / rows.sum(0)[:, None]  # (rows, L)
    true = rows.T @ truth / rows.sum(0)[:, None]

    left_out = []
    never_true = [name for name in view.names if name not in true_names]
    if never_true:
        left_out.append(f"rows of labels that are never true: {', '.join(never_true)}")
    if not without:
        left_out.append("a row of samples without a label: there are none")

    mode = view.predictor.mode.replace("_", " ")
    counts = dict(zip(view.names, of_labels, strict=True))
    return {
        "labels": list(view.names),
        "rows": {name: counts[name] for name in true_names},
        "unlabelled": without,
        "predicted": predicted.tolist(),
        "true": true.tolist(),
        "summary": _summary_of_pairs(view.names, true_names, predicted - true),
        "left_out": left_out,
        "caption": f"{view.of_split}, {mode} thresholds; in brackets: samples of the row; on the "
        "diagonal on the left: recall",
    }


def _summary_of_pairs(
    names: Sequence[str],
    rows: Sequence[str],
    differences: Float64[np.ndarray, "rows labels"],
) -> str:
    """Name the largest difference between what is predicted and what is true beside a label."""
    sizes = np.abs(differences)
    row, column = np.unravel_index(sizes.argmax(), sizes.shape)
    value = float(differences[row, column])

    # the last row is of samples without a label
    where = "where no label is true"
    if row < len(rows):
        where = f"where {rows[row]} is true"

    how = "more" if value > 0 else "less"
    points = f"{100 * abs(value):.0f} % points {how} than true"
    return f"Largest difference: {where}, {names[column]} is predicted {points}."


def reliability_numbers(view: RunView) -> Numbers:
    """How often labels are true against the probability that they got."""
    found = calibration(view.labels, view.probabilities, view.names)
    bins = [one.model_dump() for one in found.bins]
    error = found.expected_calibration_error
    chance = found.error_by_chance

    highest = found.highest
    text = (
        f"Of what gets {highest.low:.1f} to {highest.high:.1f}, on average "
        f"{highest.mean_probability:.2f}, {100 * highest.share_true:.0f} % are true; expected "
        f"calibration error {error:.3f}, where {chance:.3f} would be chance."
    )
    return {
        "curves": {"this model": bins},
        "expected_calibration_error": error,
        "error_by_chance": chance,
        "summary": text,
        "left_out": [],
        "caption": f"{view.of_split}, all labels together; bars: 95 % of each share, as if "
        "decisions were independent",
    }
