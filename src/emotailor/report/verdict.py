"""The first lines of a report, for somebody who reads nothing else.

They say how good the result is and how sure that is, how it stands against what needs no model,
and which labels were learned. The rules:

- One is *better* than another where the interval of the difference lies above zero, *worse* where
  it lies below, and else *not clearly different*. Without an interval the numbers are compared as
  they are printed.
- A label is *learned* where samples that have it get higher probabilities than others: where
  its AUC is further above one half than that of guesses is in 19 of 20 cases (Mann and Whitney's
  test, one-sided, for its numbers of samples).
"""

import math
from collections.abc import Mapping, Sequence

from emotailor.evaluation.baselines import ALL_LABELS, WORD_NAMES
from emotailor.evaluation.comparison import Interval, PairedDifference
from emotailor.evaluation.display import title_of
from emotailor.evaluation.metrics import LabelMetrics, Metrics
from emotailor.evaluation.tables import TESTED, short

SCORE = "Micro-F1"
"""The metric of the verdict, at the start of a sentence."""

ABOVE_CHANCE = 1.645
"""Standard deviations that 19 of 20 guesses do not reach."""

MOST_NAMED = 6
"""Labels or systems that a sentence names; it counts the others."""


def lines_of(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the baselines that a chart has lines for: of those on words the best one alone.

    Args:
        scores: name of a baseline -> its score.
    """
    lines = {name: score for name, score in scores.items() if name not in WORD_NAMES}
    lines.pop(ALL_LABELS, None)

    of_words = {name: score for name, score in scores.items() if name in WORD_NAMES}
    if of_words:
        best = max(of_words, key=lambda name: of_words[name])
        lines[best] = of_words[best]
    return lines


# ---------------------------------------------------------------------- a run


def score_sentence(metrics: Metrics, found: Interval | None, split: str) -> str:
    """Say how good a run is: ``Micro-F1 .586 on 180 samples of the test split``."""
    samples = f"{metrics.samples:,} samples of the {split} split"
    text = f"{SCORE} {short(metrics.micro_f1)} on {samples}"
    if found is None:
        return f"{text}; how sure that is cannot be told from these samples."

    level = f"{100 * found.level:g} %"
    return f"{text} ({level} interval {short(found.low)} to {short(found.high)})."


def baseline_sentence(
    own: float, baselines: Mapping[str, float], differences: Mapping[str, PairedDifference]
) -> str:
    """Say how a score stands against baselines, the groups in one sentence.

    Args:
        own: micro-F1 of the run.
        baselines: name -> its micro-F1 on the same samples; may be empty.
        differences: name -> the run minus the baseline; a baseline may have none.
    """
    words: dict[str, list[str]] = {}
    for name, value in baselines.items():
        if name == ALL_LABELS:
            continue
        relation = relation_to(own, value, differences.get(name))
        words.setdefault(relation, []).append(f"{name} ({short(value)})")

    parts = [f"{relation} {_and(names)}" for relation, names in words.items()]
    if not parts:
        return "It could not be compared with what needs no model."
    return f"That is {_and(parts)}."


def relation_to(own: float, other: float, difference: PairedDifference | None) -> str:
    """Return how a score stands against another, by the rule of this module."""
    if difference is not None:
        if difference.low > 0:
            return "better than"
        if difference.high < 0:
            return "worse than"
        return "not clearly different from"

    # as printed: what prints alike is equally good
    if short(own) == short(other):
        return "equal to"
    return "above" if own > other else "below"


# ---------------------------------------------------------------------- labels


def label_sentences(labels: Mapping[str, LabelMetrics], samples: int) -> list[str]:
    """Say which labels were learned, the best first, and which were not."""
    told = [name for name, label in labels.items() if is_told_apart(label, samples)]
    told.sort(key=lambda name: -(labels[name].roc_auc or 0))
    one_sided = [name for name, label in labels.items() if label.roc_auc is None]
    not_told = [name for name in labels if name not in (*told, *one_sided)]

    sentences = []
    if told:
        sentences.append(f"Learned, the best first: {_and(told)}.")
    if not_told:
        sentences.append(f"Not learned, no better than guessing: {_and(not_told)}.")
    if one_sided:
        what = "all samples have them, or none"
        sentences.append(f"These samples say nothing of {_and(one_sided)}: {what}.")
    return sentences


def is_told_apart(label: LabelMetrics, samples: int) -> bool:
    """Whether a label was learned, by the rule of this module; never without both classes."""
    if label.roc_auc is None:
        return False

    positives = label.support
    negatives = samples - positives
    deviation = math.sqrt((samples + 1) / (12 * positives * negatives))  # of guesses
    return label.roc_auc > 0.5 + ABOVE_CHANCE * deviation


# ---------------------------------------------------------------------- a benchmark


def best_sentence(title: str, score: float, rows: int, baselines: Mapping[str, float]) -> str:
    """Say which system is best, and what needs no system reaches."""
    text = f"The best of {rows} systems is {title} with {title_of(TESTED)} {short(score)}"
    if rows == 1:
        text = f"{title} reaches {title_of(TESTED)} {short(score)}"
    others = [f"{name} {short(value)}" for name, value in baselines.items()]
    if not others:
        return f"{text}."
    return f"{text}; for comparison, {_and(others)}."


def below_sentences(scores: Mapping[str, float], baselines: Mapping[str, float]) -> list[str]:
    """Say which systems are below which baseline; one sentence if none is.

    Args:
        scores: title of a system -> its mean micro-F1.
        baselines: name -> micro-F1 on the same samples.
    """
    sentences = []
    for name, value in baselines.items():
        below = [title for title, score in scores.items() if round(score, 3) < round(value, 3)]
        if below:
            count = f"{len(below)} of {len(scores)}"
            sentences.append(f"Below {name} ({short(value)}): {count}, {_and(below)}.")
    if baselines and not sentences:
        sentences.append("No system is below these baselines.")
    return sentences


def difference_sentence(reference: str, differences: Mapping[str, PairedDifference]) -> str:
    """Say which systems differ from the reference, after correction for their number."""
    corrected = holm({title: found.p_value for title, found in differences.items()})
    groups: dict[str, list[str]] = {"better": [], "worse": [], "not clearly different": []}
    for title, found in differences.items():
        level = 1 - found.level
        group = "not clearly different"
        if corrected[title] < level:
            group = "better" if found.value > 0 else "worse"
        groups[group].append(title)

    parts = [f"{group}: {_and(names)}" for group, names in groups.items() if names]
    return f"Against {reference}, {'; '.join(parts)}."


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for their number, by Holm's method (1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is below one before
    it, and none above 1.
    """
    count = len(p_values)
    ordered = sorted(p_values, key=lambda name: p_values[name])

    corrected = {}
    largest = 0.0
    for rank, name in enumerate(ordered):
        multiplied = (count - rank) * p_values[name]
        largest = max(largest, min(multiplied, 1.0))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def labels_of_systems(best: Mapping[str, tuple[str, float]]) -> str:
    """Say how well each label is found at best: label -> title of the best system and its F1."""
    ranked = sorted(best, key=lambda name: -best[name][1])
    found = [name for name in ranked if best[name][1] > 0]
    lost = [name for name in ranked if best[name][1] == 0]

    parts = [f"{name} {short(best[name][1])} ({best[name][0]})" for name in found]
    sentences = []
    if parts:
        sentences.append(f"Best F1 of each label: {_and(parts, most=len(parts))}.")
    if lost:
        sentences.append(f"No system finds {_and(lost)}.")
    return " ".join(sentences)


# ---------------------------------------------------------------------- words


def _and(parts: Sequence[str], most: int = MOST_NAMED) -> str:
    """Return ``a, b and c``; of many the first, and how many more there are."""
    if len(parts) > most:
        more = len(parts) - most
        parts = [*parts[:most], f"{more} more"]
    if len(parts) == 1:
        return parts[0]
    *first, last = parts
    return f"{', '.join(first)} and {last}"
