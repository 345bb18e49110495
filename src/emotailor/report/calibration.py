"""The section of a report on how far the probabilities can be believed."""

from collections.abc import Sequence

from emotailor.evaluation.calibration import Bin, calibration
from emotailor.evaluation.display import number
from emotailor.report.page import Block, Cell, Range, Section, Table, Text
from emotailor.runs.stored import StoredEvaluation, StoredPredictions

NORMAL = 1.96  # standard deviations that hold 95 %
READING = (
    "Of the decisions in a row, the dot is the share that holds, the line across it the mean "
    "probability that the model gave, and the bar what chance alone may do to the share (95 %, if "
    "all were independent). A model is to be believed where the bars touch their lines."
)
ERRORS = (
    "Calibration error: mean distance of probability and share over ten bins of equal width; "
    "equal mass: over ten bins with as many decisions each; by chance: what right probabilities "
    "would show in so few samples. Brier score: mean of (p - y)². Less is better."
)


def calibration_section(evaluation: StoredEvaluation, predictions: StoredPredictions) -> Section:
    """Return the reliability curve with its counts, and the errors of each label."""
    found = evaluation.calibration
    if found is None:  # stored before it was measured
        found = calibration(predictions.labels, predictions.probabilities, predictions.label_names)

    shown = curve_table(found.bins, "Reliability: all labels of all samples")
    rows = []
    for name, errors in {"all labels": found, **found.labels}.items():
        row = (
            name,
            number(errors.expected_calibration_error),
            number(errors.equal_mass_error),
            number(errors.error_by_chance),
            number(errors.brier_score),
        )
        rows.append(row)
    titles = ("label", "calibration error", "equal mass", "by chance", "Brier score")
    by_label = Table(titles, rows, "Errors")

    sentence = f"{str(found).capitalize()}."
    blocks: list[Block] = [
        Text(sentence),
        shown,
        Text(READING, "note"),
        by_label,
        Text(ERRORS, "note"),
    ]
    return Section("Calibration", blocks)


def curve_table(bins: Sequence[Bin], title: str) -> Table:
    """Return a reliability curve with its counts."""
    header = ("probability", "decisions", "mean p", "holds")
    return Table(header, [_row(one) for one in bins], title)


def _row(one: Bin) -> tuple[str | Cell, ...]:
    low, high = _by_chance(one)
    chart = Range(low, one.share_true, high, axis=(0.0, 1.0), zero=one.mean_probability)
    return (
        f"{one.low:g} to {one.high:g}",
        f"{one.count:,}",
        number(one.mean_probability),
        Cell(number(one.share_true), chart=chart),
    )


def _by_chance(one: Bin) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share that holds."""
    share = one.share_true
    n = one.count
    square = NORMAL**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    variance = share * (1 - share) / n + square / (4 * n**2)
    half = NORMAL * variance**0.5 / (1 + square / n)
    return middle - half, middle + half
