"""The verdict: its numbers by hand, its words by their rules."""

import json
from pathlib import Path

import numpy as np
import pytest

from emotailor.evaluation.comparison import Interval, PairedDifference
from emotailor.evaluation.metrics import LabelMetrics, evaluate
from emotailor.report.verdict import (
    baseline_sentence,
    below_sentences,
    best_sentence,
    difference_sentence,
    holm,
    is_told_apart,
    label_sentences,
    labels_of_systems,
    relation_to,
    score_sentence,
)


def difference(low: float, value: float, high: float, p: float = 0.5) -> PairedDifference:
    return PairedDifference(value=value, low=low, high=high, level=0.95, p_value=p)


def label(support: int, predicted: int, auc: float | None) -> LabelMetrics:
    return LabelMetrics(
        threshold=0.5, support=support, predicted=predicted, precision=0, recall=0, f1=0,
        average_precision=None, roc_auc=auc,
    )  # fmt: skip


def test_how_good() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1]])
    metrics = evaluate(labels, labels * 0.9, ("a", "b"), 0.5)
    interval = Interval(value=1.0, low=0.9, high=1.0, level=0.95)
    said = score_sentence(metrics, interval, "test")
    assert "Micro-F1 1.000 on 3 samples of the test split" in said
    assert "95 % interval .900 to 1.000" in said
    assert "interval" not in score_sentence(metrics, None, "test")


@pytest.mark.parametrize(
    ("found", "relation"),
    [
        (difference(0.01, 0.02, 0.03), "better than"),
        (difference(-0.03, -0.02, -0.01), "worse than"),
        (difference(-0.01, 0.0, 0.01), "not clearly different from"),
        (difference(0.0, 0.02, 0.04), "not clearly different from"),
    ],
)
def test_better_is_what_the_interval_says(found: PairedDifference, relation: str) -> None:
    assert relation_to(0.9, 0.1, found) == relation


def test_without_an_interval_the_printed_numbers_count() -> None:
    assert relation_to(0.5814, 0.5811, None) == "equal to"
    assert relation_to(0.582, 0.581, None) == "above"
    assert relation_to(0.58, 0.581, None) == "below"


def test_against_baselines() -> None:
    baselines = {"all labels": 0.5, "label frequencies": 0.581, "logistic regression": 0.675}
    differences = {
        "label frequencies": difference(-0.02, 0.005, 0.03),
        "logistic regression": difference(-0.12, -0.09, -0.05),
    }
    said = baseline_sentence(0.586, baselines, differences)
    assert said == (
        "That is not clearly different from label frequencies (.581) and worse than "
        "logistic regression (.675)."
    )
    assert "all labels" not in said
    assert baseline_sentence(0.586, {}, {}).startswith("It could not be compared")


def test_a_label_is_learned_where_guesses_would_rarely_rank_it_so() -> None:
    """With 23 of 180 samples, the AUC of a guess has the deviation .0646."""
    deviation = np.sqrt(181 / (12 * 23 * 157))
    assert deviation == pytest.approx(0.0646, abs=1e-4)
    assert is_told_apart(label(23, 5, 0.5 + 1.66 * deviation), 180)
    assert not is_told_apart(label(23, 5, 0.5 + 1.63 * deviation), 180)
    assert not is_told_apart(label(0, 5, None), 180)

    # simulated: guesses are called learned in one of 20 cases
    rng = np.random.default_rng(3)
    learned = 0
    truth = np.zeros((180, 1), np.uint8)
    truth[:23] = 1
    for _ in range(400):
        found = evaluate(truth, rng.random((180, 1)), ("x",), 0.5).labels["x"]
        learned += is_told_apart(found, 180)
    assert 0.02 < learned / 400 < 0.09


def test_labels_that_fail_are_named() -> None:
    labels = {
        "happy": label(90, 180, 0.7), "sad": label(80, 70, 0.8), "fear": label(20, 0, 0.45),
        "rare": label(0, 0, None),
    }  # fmt: skip
    learned, not_learned, nothing = label_sentences(labels, 180)
    assert learned.endswith("sad and happy.")
    assert not_learned.endswith("fear.")
    assert "of rare:" in nothing
    assert label_sentences({"sad": label(80, 70, 0.8)}, 180) == [f"{learned[:25]}sad."]


def test_of_a_benchmark() -> None:
    scores = {"MulT": 0.668, "BR": 0.658, "LSAN": 0.57}
    baselines = {"label frequencies": 0.581, "logistic regression": 0.66}
    best = best_sentence("MulT", 0.668, 3, baselines)
    assert "MulT with micro-F1 .668" in best
    assert "logistic regression .660" in best
    frequencies, regression = below_sentences(scores, baselines)
    assert "1 of 3, LSAN" in frequencies
    assert "2 of 3, BR and LSAN" in regression
    assert below_sentences({"MulT": 0.7}, baselines) == ["No system is below these baselines."]
    assert below_sentences(scores, {}) == []
    labels = labels_of_systems({"fear": ("BR", 0.0), "sad": ("MulT", 0.61)})
    assert "sad .610 (MulT)" in labels
    assert "No system finds fear" in labels


def test_holm_by_hand() -> None:
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.6})
    assert found == pytest.approx({"b": 0.04, "c": 0.09, "a": 0.09, "d": 0.6})
    assert list(found) == ["a", "b", "c", "d"]
    assert holm({"a": 0.7, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_a_difference_counts_after_correction() -> None:
    """Three p values of .02 are no three differences."""
    thrice = {name: difference(0.001, 0.02, 0.04, p=0.02) for name in "abc"}
    assert "not clearly different: a, b and c" in difference_sentence("TAILOR", thrice)
    clear = {**thrice, "d": difference(-0.2, -0.1, -0.05, p=0.001)}
    assert "worse: d" in difference_sentence("TAILOR", clear)


def test_many_names_are_counted() -> None:
    scores = {f"s{i}": 0.1 for i in range(14)}
    (said,) = below_sentences(scores, {"label frequencies": 0.5})
    assert "14 of 14" in said
    assert "8 more" in said
    assert "s6" not in said


def test_the_numbers_on_the_page_are_the_stored_ones(tmp_path: Path, data: Path) -> None:
    from emotailor.evaluation.tables import short
    from emotailor.figures import make as figures
    from emotailor.report.write import write_report
    from tests.runs.runs import train_tiny

    run = train_tiny(data, tmp_path / "run", epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", {})  # they have tests of their own
        page = write_report(run, device="cpu").file.read_text(encoding="utf-8")

    stored = json.loads((run / "evaluation-test.json").read_text())
    start = page.index('class="verdict"')
    verdict = page[start : page.index('class="tiles"')]
    found = stored["intervals"]["micro_f1"]
    for number in (
        stored["metrics"][stored["thresholds"]]["micro_f1"], found["low"], found["high"],
        stored["baselines"]["label frequencies"]["micro_f1"],
        stored["baselines"]["logistic regression"]["micro_f1"],
    ):  # fmt: skip
        assert short(number) in verdict
    for finding in stored["findings"]:
        what, _ = finding.split("; ", 1)
        assert what[1:] in verdict
